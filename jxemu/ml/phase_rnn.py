"""A phase vocoder's frames, followed by an LSTM that says how likely each next one is: a mixture of normal densities.

A frame is the lowest bins of a spectrum: log amplitude, and how far each bin's phase turns beside its own frequency (the code
"delta" of `resynthesis`). The network hears frame after frame and gives the density of the next one (absolute coding) or
of the step to it (delta coding).

After sound-rnn. There amplitudes are linear, and the loss is of a batch's summed probabilities; here they are
logarithms, and it is each frame's own likelihood.
"""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from jxemu.ml.resynthesis import CODES, LEAST, analysed, locked, overlapped
from jxemu.ml.train import Schedule, Shown, digest, fit, write_model

VERSION = 1
SCHEDULE = Schedule(epochs=60, batch=16, rate=3e-3, decay=0.0)
LEAST_LOG_SIGMA = -3.0
LEAST_DEVIATION = 0.02
"""Of a channel, natural logarithm of amplitude or radians: what moves less is taken to move as much."""

PEAK = 0.5
"""Level to which the loudest sound is brought: so much above what frames tell apart."""

WARM_UP = 10
"""Frames of a sound's beginning that it hears before it goes on alone, in sequences."""

DELTA = CODES["delta"]


class PhaseError(ValueError):
    """What cannot be learned from, read or played; the message says why."""


@dataclass(frozen=True)
class Settings:
    """window : samples of a frame, the hop is a quarter.  bins : the lowest ones that are kept.  absolute : the next frame is
    said, not the step to it.  sequence : frames of a training window.  jitter : noise on what it hears in training, of each
    channel's deviation, which teaches it to come back.
    """

    rate: int
    window: int = 512
    bins: int = 40
    hidden: int = 100
    layers: int = 2
    mixtures: int = 3
    absolute: bool = True
    sequence: int = 20
    dropout: float = 0.0
    jitter: float = 0.2
    conditions: int = 0

    def __post_init__(self) -> None:
        good = self.window >= 16 and self.window % 4 == 0 and 1 <= self.bins <= self.window // 2 + 1
        if not (good and min(self.hidden, self.layers, self.mixtures, self.sequence) >= 1 and 0 <= self.dropout < 1):
            raise PhaseError(
                "a window of 16 samples or more, divisible by 4, bins up to half of it, and at least one unit, layer, mixture and frame"
            )

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return self.window // 4

    @property
    def channels(self) -> int:
        """Numbers in a frame."""
        return 2 * self.bins


# --- frames --------------------------------------------------------------------------------------


def rows_of(sound: np.ndarray, settings: Settings) -> np.ndarray:
    """A sound (n,) as frames [shape=(frames, 2 bins)]: log amplitudes, then turns."""
    rows = DELTA.encode(analysed(sound, settings.window, settings.hop), settings.window, settings.hop)
    return np.concatenate([part[:, : settings.bins] for part in np.split(rows, 2, 1)], 1)


def sound_of(rows: np.ndarray, settings: Settings, made: bool = True) -> np.ndarray:
    """Frames as a sound again; what lies above the kept bins is silence.

    made : whether they were made up, so that phases are tied together at peaks; those of a sound need not be.
    """
    whole = settings.window // 2 + 1
    parts = np.split(np.asarray(rows, float), 2, 1)
    levels, turns = (
        np.pad(part, ((0, 0), (0, whole - settings.bins)), constant_values=least)
        for part, least in zip(parts, (-np.inf, 0.0), strict=True)
    )
    decode = locked if made else DELTA.decode
    frames = decode(np.concatenate([levels, turns], 1), settings.window, settings.hop)
    return overlapped(frames, settings.window, settings.hop)


def stretched(sound: np.ndarray, settings: Settings, factor: float) -> np.ndarray:
    """A sound `factor` times as long, at its pitch: levels and turns are read slower or faster."""
    if not 0.1 <= factor <= 10:
        raise PhaseError(f"a sound can be made 0.1 to 10 times as long, not {factor:g} times")
    rows = rows_of(sound, settings)
    at = np.arange(0, len(rows) - 1 + 1e-9, 1 / factor)
    low = np.minimum(at.astype(int), len(rows) - 2)
    share = (at - low)[:, None]
    levels, turns = np.split(rows, 2, 1)
    level = levels[low] * (1 - share) + levels[low + 1] * share
    turn = np.angle(np.exp(1j * turns[low]) * (1 - share) + np.exp(1j * turns[low + 1]) * share)
    turn[0] = turns[0]
    return sound_of(np.concatenate([level, turn], 1), settings)


def crossed(first: np.ndarray, second: np.ndarray, settings: Settings, held: bool = False) -> np.ndarray:
    """The levels of one sound on the frequencies of another; with `held`, the second's loudest frame, held, as loud as the first one is."""
    rows, others = rows_of(first, settings), rows_of(second, settings)
    count = min(len(rows), len(others)) if not held else len(rows)
    if held:
        loudness, theirs = (0.5 * np.log(np.exp(2 * each[:, : settings.bins]).sum(1)) for each in (rows, others))
        begin = int(np.argmax(theirs))
        made = np.repeat(others[begin : begin + 1], len(rows), 0)
        made[:, : settings.bins] += (loudness - theirs[begin])[:, None]
    else:
        made = np.concatenate([rows[:count, : settings.bins], others[:count, settings.bins :]], 1)
    return sound_of(made, settings)


def silence(settings: Settings) -> np.ndarray:
    """A frame of nothing [shape=(channels,)]."""
    return np.repeat([math.log(LEAST), 0.0], settings.bins)


def clock(frames: int, settings: Settings, held: float | None = None) -> np.ndarray:
    """What tells time [shape=(frames, 3)]: how long ago the key went down, its logarithm, and whether it is still held."""
    at = np.arange(frames) * settings.hop / settings.rate
    down = np.ones(frames) if held is None else (at < held).astype(float)
    return np.stack([at, np.log1p(at / 0.01) / 5, down], 1)


def partials(note: float, settings: Settings) -> np.ndarray:
    """Where bins lie beside the nearest partial of a note, in bins, at most 2 [shape=(2 bins,)]; and the same of an octave lower."""
    found = []
    for octave in (0, -12):
        step = 440 * 2 ** ((note + octave - 69) / 12) * settings.window / settings.rate
        at = np.arange(settings.bins)
        found.append(np.clip(np.maximum(1, np.round(at / step)) * step - at, -2, 2))
    return np.concatenate(found)


def conditions_of(
    settings: Settings, frames: int, note: float, velocity: float, p: np.ndarray, held: float
) -> np.ndarray:
    """All that a note of a tone tells [shape=(frames, 4 + 2 bins + len(p))]: time, partials, velocity, the tone's parameters.

    note, velocity : 0..127.  p : 0..1.  held : seconds until the key goes up.
    """
    still = np.concatenate([partials(note, settings), [velocity / 127], p])
    return np.concatenate([clock(frames, settings, held), np.tile(still, (frames, 1))], 1)


def conditions(bins: int, parameters: int) -> int:
    """How many numbers `conditions_of` gives for a frame."""
    return 4 + 2 * bins + parameters


# --- the network ---------------------------------------------------------------------------------


class Follower(nn.Module):
    """LSTM layers and what they say: (batch, frames, channels + conditions) -> (batch, frames, K (2 D + 1)).

    Where there are conditions, layers of their own say the course of the sound by them; the LSTM hears and says how far beside
    it frames lie, so that what it goes on from by itself comes back.
    """

    def __init__(self, settings: Settings):
        super().__init__()
        size, hidden = settings.channels, settings.hidden
        self.size, self.mixtures, self.absolute = size, settings.mixtures, settings.absolute
        self.lstm = nn.LSTM(size, hidden, settings.layers, batch_first=True, dropout=settings.dropout)
        self.head = nn.Linear(hidden, settings.mixtures * (2 * size + 1))
        for name, part in self.named_parameters():
            if "bias_ih" in name:
                part.data.zero_()
                part.data[hidden : 2 * hidden] = 1.0  # forget little at first
            elif "bias" in name:
                part.data.zero_()
            else:
                nn.init.uniform_(part, -0.08, 0.08)
        self.course = _course_of(settings.conditions, max(256, hidden), size) if settings.conditions else None

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The density's numbers, and what is remembered."""
        if self.course is None:
            h, state = self.lstm(x, state)
            return self.head(h), state
        heard, course = x[..., : self.size], self.course(x[..., self.size :])
        h, state = self.lstm(heard - course, state)
        weights, rest = self.head(h).tensor_split((self.mixtures,), -1)
        means, sigmas = rest.unflatten(-1, (self.mixtures, 2 * self.size)).chunk(2, -1)
        means = means + (course if self.absolute else course - heard)[..., None, :]
        return torch.cat([weights, torch.cat([means, sigmas], -1).flatten(-2)], -1), state


def _course_of(conditions: int, wide: int, size: int) -> nn.Sequential:
    layers = [
        part for pair in itertools.pairwise([conditions, wide, wide, wide]) for part in (nn.Linear(*pair), nn.GELU())
    ]
    return nn.Sequential(*layers, nn.Linear(wide, size))


def parts_of(said: Tensor, mixtures: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log weights (..., K), means and log deviations (..., K, D) of what a network says."""
    size = (said.shape[-1] // mixtures - 1) // 2
    weights, rest = said[..., :mixtures], said[..., mixtures:]
    means, sigmas = rest.reshape(*said.shape[:-1], mixtures, 2 * size).chunk(2, -1)
    return torch.log_softmax(weights, -1), means, sigmas.clamp(min=LEAST_LOG_SIGMA)


def likelihood(said: Tensor, values: Tensor, mixtures: int) -> Tensor:
    """Log density (...) of values (..., D): each frame's own, by the sum of its components."""
    weights, means, sigmas = parts_of(said, mixtures)
    off = (values[..., None, :] - means) * torch.exp(-sigmas)
    each = -0.5 * off.square() - sigmas - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(weights + each.sum(-1), -1)


class Runs:
    """Sequences of frames as the trainer takes them: numbers of windows."""

    def __init__(self, runs: Sequence[np.ndarray], conditions: Sequence[np.ndarray], length: int):
        self.length, step = length, max(1, length // 2)
        ends = [max(1, len(run) - length + step - 1) for run in runs]  # the last window lies at a sound's end
        self.places = [(n, at) for n, end in enumerate(ends) for at in range(0, end, step)]
        self.runs = [
            torch.from_numpy(np.pad(run, ((0, max(0, length + 1 - len(run))), (0, 0)), mode="edge")).float()
            for run in runs
        ]
        self.conditions = [
            torch.from_numpy(np.pad(each, ((0, max(0, length + 1 - len(each))), (0, 0)), mode="edge")).float()
            for each in conditions
        ]

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Tensor]:
        """Numbers of windows by batches."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for begin in range(0, max(len(order) // size, 1) * size, size):
            yield torch.from_numpy(order[begin : begin + size])

    def rows(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Frames [shape=(batch, length + 1, channels)] and the conditions beside them."""
        chosen = [self.places[n] for n in numbers.tolist()]
        cut = [(n, min(at, len(self.runs[n]) - self.length - 1)) for n, at in chosen]
        frames = torch.stack([self.runs[n][at : at + self.length + 1] for n, at in cut])
        return frames, torch.stack([self.conditions[n][at : at + self.length + 1] for n, at in cut])


@dataclass(frozen=True)
class Model:
    """A trained follower.

    gain : what sounds were made louder by before they were looked at.  mean, deviation : of each channel [shape=(channels,)].  first : the frames it learned from, of its first
    sound [shape=(frames, channels)]; a sound begins with them.  card : curve and figures.
    """

    settings: Settings
    network: Follower
    gain: float
    mean: np.ndarray
    deviation: np.ndarray
    first: np.ndarray
    card: dict[str, Any]

    def standard(self, rows: np.ndarray) -> np.ndarray:
        """Frames with mean 0 and deviation 1."""
        return (rows - self.mean) / self.deviation

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """Back."""
        return rows * self.deviation + self.mean

    def rows(self, sound: np.ndarray) -> np.ndarray:
        """A sound's frames, as loud as those that it learned from."""
        return rows_of(np.asarray(sound, float) * self.gain, self.settings)

    def sound(self, rows: np.ndarray) -> np.ndarray:
        """The sound of generated frames, as loud as it learned them."""
        return sound_of(rows, self.settings) / self.gain

    @torch.no_grad()
    def generate(
        self, seconds: float, seed: int = 0, temperature: float | Sequence[tuple[float, float]] = 1.0,
        begin: np.ndarray | None = None, reset: np.ndarray | None = None, period: float = 0.25,
        conditions: np.ndarray | None = None, heaviest: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """Frames [shape=(frames, channels)] for so many seconds.

        temperature : what variances are multiplied by, a number or (second, number) pairs with straight lines between.
        begin : frames that it hears first, of `rows` (default: those that it learned from).  reset : frames of a sound, of whose middle
        half one is put in every `period` seconds.  conditions : (frames, conditions).  heaviest : the likeliest component, not
        a drawn one.  Raises PhaseError for conditions that do not fit.
        """
        chosen = self.settings
        frames = max(1, round(seconds * chosen.rate / chosen.hop))
        if chosen.conditions and (conditions is None or conditions.shape != (frames, chosen.conditions)):
            raise PhaseError(f"the model wants {chosen.conditions} conditions for each of {frames} frames")
        rng = np.random.default_rng(seed)
        heat = _course(temperature, frames, chosen)
        heard = self.standard(self.first if begin is None else begin)[: WARM_UP * chosen.sequence]
        given = np.zeros((frames, 0)) if conditions is None else conditions
        network, state = self.network, None
        row, made = torch.from_numpy(heard[-1]).float(), np.empty((frames, chosen.channels))
        if len(heard) > 1:
            past = torch.from_numpy(np.concatenate([heard[:-1], np.repeat(given[:1], len(heard) - 1, 0)], 1)).float()
            _, state = network(past[None], None)
        if conditions is not None and begin is None:  # a note begins where there was nothing
            state, row = None, torch.from_numpy(self.standard(silence(chosen))).float()
        every = max(1, round(period * chosen.rate / chosen.hop))
        source = None if reset is None else self.standard(reset)[len(reset) // 4 : max(1, 3 * len(reset) // 4)]
        for n in range(frames):
            if source is not None and n and n % every == 0:
                row = torch.from_numpy(source[rng.integers(len(source))]).float()
            said, state = network(torch.cat([row, torch.from_numpy(given[n]).float()])[None, None], state)
            weights, means, sigmas = (each[0, 0] for each in parts_of(said, chosen.mixtures))
            chance = weights.exp().double().numpy()
            place = int(chance.argmax()) if heaviest else int(rng.choice(len(chance), p=chance / chance.sum()))
            noise = torch.from_numpy(rng.standard_normal(chosen.channels)).float()
            value = means[place] + sigmas[place].exp() * math.sqrt(heat[n]) * noise
            row = (value if chosen.absolute else row + value).clamp(-12, 12)
            made[n] = row.numpy()
        return self.plain(made)

    def save(self, folder: Path) -> None:
        """Write it. Raises OSError."""
        arrays = {
            name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in ("mean", "deviation", "first")
        }
        arrays |= {f"network.{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        facts = {"version": VERSION, "model": "phase-rnn", "settings": asdict(self.settings)}
        facts |= {"gain": self.gain, "card": self.card}
        write_model(folder, save(arrays), facts)

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read one. Raises PhaseError."""
        try:
            facts = json.loads((folder / "card.json").read_text())
            if facts["model"] != "phase-rnn" or facts["version"] != VERSION:
                raise PhaseError(f"{folder} holds another kind of model")
            settings, arrays = Settings(**facts["settings"]), load_file(folder / "weights.safetensors")
            network = Follower(settings)
            network.load_state_dict(
                {k.removeprefix("network."): v for k, v in arrays.items() if k.startswith("network.")}
            )
            network.eval()
            rest = (arrays[name].numpy() for name in ("mean", "deviation", "first"))
            return cls(settings, network, facts["gain"], *rest, facts["card"])
        except PhaseError:
            raise
        except Exception as error:  # a file that is not whole raises whatever its reader raises
            raise PhaseError(f"{folder} holds no follower ({error}); jxemu ml phase train makes one") from None


def _course(temperature: float | Sequence[tuple[float, float]], frames: int, settings: Settings) -> np.ndarray:
    if isinstance(temperature, int | float):
        return np.full(frames, float(temperature))
    at, heat = zip(*sorted(temperature), strict=True)
    return np.interp(np.arange(frames) * settings.hop / settings.rate, at, heat)


def train(
    sounds: Sequence[np.ndarray], settings: Settings, folder: Path, schedule: Schedule = SCHEDULE,
    conditions: Sequence[np.ndarray] | None = None, shown: Shown = lambda done, steps, loss: None,
) -> Model:  # fmt: skip
    """Train on sounds [each shape=(n,)], and write the model. What was begun in the folder goes on.

    conditions : beside each sound's frames, (frames, settings.conditions).  Raises PhaseError, OSError, FloatingPointError.
    """
    if not sounds or not max(float(np.abs(sound).max(initial=0.0)) for sound in sounds) > 1e-6:
        raise PhaseError("the sounds are silent: there is nothing to learn from them")
    gain = PEAK / max(float(np.abs(sound).max(initial=0.0)) for sound in sounds)
    runs = [
        rows_of(np.asarray(sound, float) * gain, settings)[1:] for sound in sounds
    ]  # the first turn is from nothing
    given = [np.zeros((len(run), 0)) for run in runs] if conditions is None else [each[1:] for each in conditions]
    if any(each.shape != (len(run), settings.conditions) for each, run in zip(given, runs, strict=True)):
        raise PhaseError(f"conditions must be {settings.conditions} numbers beside each frame")
    if short := [n + 1 for n, run in enumerate(runs) if len(run) < 3]:
        raise PhaseError(
            f"sound {short[0]} of {len(runs)} is shorter than four frames of {settings.hop} samples: leave it out"
        )
    every = np.concatenate(runs)
    mean, deviation = every.mean(0), np.maximum(every.std(0), LEAST_DEVIATION)
    torch.manual_seed(schedule.seed)
    model = Model(settings, Follower(settings), gain, mean, deviation, runs[0][: WARM_UP * settings.sequence], {})
    if conditions is not None:
        runs = [np.concatenate([silence(settings)[None], run]) for run in runs]
        given = [np.concatenate([each[:1], each]) for each in given]
    data = Runs([model.standard(run) for run in runs], given, settings.sequence)

    def nll(network: Follower, numbers: Tensor, jitter: float) -> Tensor:
        frames, beside = data.rows(numbers)
        heard = frames[:, :-1] + jitter * torch.randn_like(frames[:, :-1])
        values = frames[:, 1:] - (0.0 if settings.absolute else heard)
        said, _ = network(torch.cat([heard, beside[:, 1:]], 2))
        loss = -likelihood(said, values, settings.mixtures).mean() / settings.channels
        if network.course is not None and jitter:
            loss = loss + 0.5 * (network.course(beside[:, 1:]) - frames[:, 1:]).square().mean()
        return loss

    def check(network: Follower) -> dict[str, float]:
        with torch.no_grad():
            return {
                "nats a value": float(np.mean([float(nll(network, numbers, 0.0)) for numbers in data.batches(64)][:8]))
            }

    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.dumps([asdict(settings), asdict(schedule), digest(*runs, *given)])
    curve = fit(
        model.network, data, lambda network, numbers: nll(network, numbers, settings.jitter), check, schedule,
        folder / "checkpoint.pt", recipe, shown,
    )  # fmt: skip
    model.card.update(
        curve=[asdict(epoch) for epoch in curve], weights=sum(p.numel() for p in model.network.parameters())
    )
    model.save(folder)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return model
