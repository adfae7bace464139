"""A conditional restricted Boltzmann machine on samples: it hears what was, and says what comes next.

One Gaussian visible unit (a sample), Bernoulli hidden units, and the past as a condition of both::

    mean of the sample = a + sigma W h        a = A c + visible bias
    chance of hidden j = logistic(b_j + W_j (sample - a) / sigma)        b = B c + hidden bias

c is the past in bins: single samples, or means over longer and longer stretches. A is a linear prediction, so it has poles
(`jxemu.ml.poles`); so has every hidden unit's part in B, and so have both together. Trained by contrastive divergence
(CD-k) with the trainer of all networks.

Source: CRBMSound, where sigma is 1 and the energy holds the sample itself, not its distance from a: the same
family of models. There W acts as if the chance of a hidden unit were linear; here its slope counts.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import Tensor, nn

from jxemu.kernel import kernel
from jxemu.ml import resynthesis
from jxemu.ml.poles import EPSILON, Poles, burg, covariance
from jxemu.ml.train import Epoch, Schedule, Shown, digest, fit, write_model

BLOCK = 1 << 14
"""Samples of which every hidden unit's activity is in memory at once."""

SCHEDULE = Schedule(epochs=30, batch=1000, rate=2e-3, decay=0.0)
FOURIER_SCHEDULE = Schedule(epochs=40, batch=64, rate=1e-4, decay=0.0)
VERSION = 1
WINDOW = 0.8
"""Of full scale, up to which `soft_clip` leaves a sample as it is."""

GIBBS = 2
"""Times that hidden units and the sample are drawn in turn."""

ROUNDING = 1e-9
"""Of full scale, by which a bent sample may lie above it."""

CHECKED = 5_000
"""Samples that the error is taken of after each epoch."""

LEAST_SPREAD = 1e-6
"""Of the loudest direction of the past: what is fainter is not told apart."""


class CrbmError(ValueError):
    """What cannot be learned from, edited or read; the message says why."""


# --- ranges --------------------------------------------------------------------------------------


def soft_clip(sound: np.ndarray | float, window: float = WINDOW) -> np.ndarray:
    """A sound as it is up to `window`, and bent towards +-1 beyond, without a corner."""
    sound = np.asarray(sound, float)
    if window >= 1:
        return np.clip(sound, -1.0, 1.0)
    beyond = np.maximum(np.abs(sound) - window, 0.0) / (1 - window)
    return np.sign(sound) * (np.minimum(np.abs(sound), window) + (1 - window) * np.tanh(beyond))


@dataclass(frozen=True)
class Range:
    """From -1..1 to mean 0 and deviation 1, and back."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, sound: np.ndarray) -> "Range":
        """That of a sound. Raises CrbmError for one that never moves."""
        deviation = float(np.std(sound))
        if not deviation > 1e-9:
            raise CrbmError("the sound is silent: there is nothing to learn from it")
        return cls(float(np.mean(sound)), deviation)

    def standard(self, sound: np.ndarray) -> np.ndarray:
        """To mean 0 and deviation 1."""
        return (np.asarray(sound, float) - self.mean) / self.deviation

    def plain(self, sound: np.ndarray) -> np.ndarray:
        """Back."""
        return np.asarray(sound, float) * self.deviation + self.mean


# --- the past ------------------------------------------------------------------------------------


LONGEST_PAST = 1 << 22
"""Samples: more than a minute of any rate."""


def contiguous(order: int) -> tuple[int, ...]:
    """Bins that are the last `order` samples."""
    return (1,) * order


def multiscale(bins: int, base: float = 2.0) -> tuple[int, ...]:
    """Bins that grow: number n is the mean of ceil(base^n) samples, one behind another. Raises CrbmError for too many."""
    try:
        sizes = tuple(math.ceil(base**n - 1e-9) for n in range(bins))
    except OverflowError:
        sizes = (LONGEST_PAST + 1,)
    if sum(sizes) > LONGEST_PAST:
        raise CrbmError(
            f"{bins} bins that grow by {base:g} reach back more than {LONGEST_PAST} samples: lower the order"
        )
    return sizes


def contexts(sound: np.ndarray, sizes: Sequence[int], places: np.ndarray) -> np.ndarray:
    """The past of samples [shape=(places,)] in bins [shape=(places, bins)], the newest first.

    Every place must have sum(sizes) samples before it.
    """
    total = np.concatenate([[0.0], np.cumsum(sound)])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    at = np.asarray(places)[:, None] - ends
    return (total[at[:, :-1]] - total[at[:, 1:]]) / np.asarray(sizes)


class Windows:
    """Sounds [each shape=(n,)] in the standard range, as the trainer takes them: places of samples with a whole past."""

    def __init__(self, sounds: Sequence[np.ndarray], sizes: Sequence[int]):
        self.sizes, span = tuple(sizes), sum(sizes)
        self.sound = np.concatenate([np.asarray(sound, float) for sound in sounds])
        begins = np.cumsum([0, *(len(sound) for sound in sounds[:-1])])
        self.places = np.concatenate(
            [np.arange(begin + span, begin + len(sound)) for begin, sound in zip(begins, sounds, strict=True)]
        )
        if not len(self.places):
            raise CrbmError(f"the sound is too short: a past of {span} samples is asked for")

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Tensor]:
        """Numbers of places by batches: in order, or shuffled, then without the odd ones at the end."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        end = len(order) if rng is None else max(len(order) // size, 1) * size
        for begin in range(0, end, size):
            yield torch.from_numpy(order[begin : min(begin + size, end)])

    def rows(self, numbers: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Contexts [shape=(n, bins)] and the samples [shape=(n,)] that come after them."""
        places = self.places[numbers]
        return contexts(self.sound, self.sizes, places), self.sound[places]


# --- the machine ---------------------------------------------------------------------------------


class Crbm(nn.Module):
    """The machine: `visible` values follow `conditions`, with `hidden` units between them.

    whiten : (conditions, conditions), which the past goes through first: its directions then weigh alike, and training
        does not crawl.  sigma : deviation of a visible value.
    """

    def __init__(self, conditions: int, hidden: int, visible: int = 1):
        super().__init__()
        self.register_buffer("whiten", torch.eye(conditions, dtype=torch.float64))
        self.register_buffer("sigma", torch.ones(visible, dtype=torch.float64))
        double = {"dtype": torch.float64}
        self.a = nn.Parameter(torch.zeros(conditions, visible, **double))
        self.b = nn.Parameter(torch.zeros(conditions, hidden, **double))
        self.w = nn.Parameter(torch.zeros(visible, hidden, **double))
        self.visible_bias = nn.Parameter(torch.zeros(visible, **double))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden, **double))

    def start(self, generator: torch.Generator) -> None:
        """Small random weights (Xavier)."""
        for weights in (self.b, self.w, self.a):
            bound = math.sqrt(6 / sum(weights.shape))
            weights.data.uniform_(-bound, bound, generator=generator)

    def fields(self, past: Tensor) -> tuple[Tensor, Tensor]:
        """What the past [shape=(n, conditions)] says of visible values and of hidden units: a and b."""
        white = past @ self.whiten
        return white @ self.a + self.visible_bias, white @ self.b + self.hidden_bias

    def energy(self, off: Tensor, b: Tensor) -> Tensor:
        """Free energy [shape=(n,)] of values, by how far off a they are, in sigmas."""
        return 0.5 * off.square().sum(1) - nn.functional.softplus(b + off @ self.w).sum(1)

    def chain(self, off: Tensor, b: Tensor, steps: int) -> Tensor:
        """Where `steps` of Gibbs sampling lead; the values' own noise too."""
        for _ in range(steps):
            on = torch.rand_like(b) < torch.sigmoid(b + off @ self.w)
            off = on.double() @ self.w.T + torch.randn_like(off)
        return off

    def divergence(self, past: Tensor, values: Tensor, steps: int = 1) -> Tensor:
        """CD-k: how much more likely the model's own values are than the data's; its gradient is what is learned from."""
        a, b = self.fields(past)
        off = (values - a) / self.sigma
        with torch.no_grad():
            ends = a + self.sigma * self.chain(off, b, steps)
        return (self.energy(off, b) - self.energy((ends - a) / self.sigma, b)).mean()

    def expected(self, past: Tensor, steps: int = GIBBS) -> Tensor:
        """The value that is expected [shape=(n, visible)]: hidden units at their mean."""
        a, b = self.fields(past)
        off = torch.zeros_like(a)
        for _ in range(steps):
            off = torch.sigmoid(b + off @ self.w) @ self.w.T
        return a + self.sigma * off


@dataclass(frozen=True)
class Settings:
    """What a machine is, and how it was trained.

    sizes : of the past's bins.  rate : Hz.  window : of `soft_clip`.  steps : of CD.  linear : whether A begins as the
    linear prediction (Burg's) rather than at random.  clamp : whether A's poles are kept inside the unit circle.
    """

    rate: int
    hidden: int = 200
    sizes: tuple[int, ...] = contiguous(50)
    window: float = WINDOW
    steps: int = 1
    linear: bool = True
    clamp: bool = True

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or self.hidden < 0 or not 0 < self.window <= 1 or self.steps < 1:
            raise CrbmError(
                "a past of at least one sample, hidden units 0.., a window above 0 up to 1, CD steps from 1 on"
            )
        if not (self.hidden or self.linear):
            raise CrbmError("without hidden units there is nothing to train: it begins as a linear prediction")

    @property
    def is_contiguous(self) -> bool:
        """Whether bins are single samples: then coefficients are free, and poles can be edited."""
        return max(self.sizes) == 1


@dataclass(frozen=True)
class Model:
    """A trained machine in plain numbers, for the past as it is: what `generate` and the pole editor work with.

    a : (bins,).  b : (bins, hidden).  w : (hidden,).  sigma, visible_bias : numbers; hidden_bias : (hidden,).
    context : the end of the training sound, from which sounds may begin [shape=(span,)], in the standard range.
    """

    settings: Settings
    range: Range
    a: np.ndarray
    b: np.ndarray
    w: np.ndarray
    hidden_bias: np.ndarray
    visible_bias: float
    sigma: float
    context: np.ndarray
    curve: tuple[Epoch, ...] = ()

    # --- poles ---

    def _editable(self) -> None:
        if not self.settings.is_contiguous:
            raise CrbmError("bins of several samples tie their coefficients together: such a past has no poles to edit")

    @property
    def poles(self) -> Poles:
        """Of A, the linear part. Raises CrbmError for a past in larger bins."""
        self._editable()
        return Poles.of(self.a)

    def hidden_poles(self, number: int) -> Poles:
        """Of one hidden unit's part in B."""
        self._editable()
        if not 0 <= number < len(self.w):
            raise CrbmError(f"there is no hidden unit {number}; there are {len(self.w)}")
        return Poles.of(self.b[:, number])

    @property
    def total_poles(self) -> Poles:
        """Of A and B together: hidden units as linear as they are about their mean, A + sigma B diag(slope) W."""
        self._editable()
        mean = 1 / (1 + np.exp(-np.clip(self.hidden_bias, -500, 500)))
        return Poles.of(self.a + self.sigma * self.b @ (mean * (1 - mean) * self.w))

    @property
    def stable(self) -> bool:
        """Whether the linear part's poles lie inside the unit circle: needed, but not enough."""
        return self.poles.stable

    def edited(self, poles: Poles) -> "Model":
        """The same with another linear part. Raises CrbmError for poles of another order."""
        self._editable()
        if poles.order != len(self.a):
            raise CrbmError(f"{poles.order} poles do not make a past of {len(self.a)} samples")
        return replace(self, a=poles.coefficients)

    def edited_hidden(self, edit: Callable[[Poles], Poles], number: int | None = None) -> "Model":
        """The same with every hidden unit's poles edited, or those of one."""
        b = self.b.copy()
        for n in range(len(self.w)) if number is None else [number]:
            b[:, n] = edit(self.hidden_poles(n)).coefficients
        return replace(self, b=b)

    def linear(self) -> "Model":
        """The same without what hidden units add."""
        return replace(self, w=np.zeros_like(self.w), visible_bias=0.0)

    # --- sounds ---

    def expected(self, sounds: Sequence[np.ndarray]) -> np.ndarray:
        """What it expects of every sample that has a whole past, in the standard range [shape=(n,)]."""
        past, _ = self.windows(sounds).rows()
        return np.concatenate([self._expected(past[at : at + BLOCK]) for at in range(0, len(past), BLOCK)])

    def _expected(self, past: np.ndarray) -> np.ndarray:
        a, b = past @ self.a + self.visible_bias, past @ self.b + self.hidden_bias
        off = np.zeros(len(a))
        for _ in range(GIBBS):
            off = (1 / (1 + np.exp(-np.clip(b + off[:, None] * self.w, -500, 500)))) @ self.w
        return a + self.sigma * off

    def windows(self, sounds: Sequence[np.ndarray]) -> Windows:
        """Sounds [-1..1] as it sees them."""
        return Windows(
            [self.range.standard(soft_clip(sound, self.settings.window)) for sound in sounds], self.settings.sizes
        )

    def error(self, sounds: Sequence[np.ndarray]) -> float:
        """RMS of what it does not expect, of full scale."""
        _, values = self.windows(sounds).rows()
        return float(np.sqrt(np.square(values - self.expected(sounds)).mean()) * self.range.deviation)

    def generate(
        self, samples: int, seed: int = 0, context: np.ndarray | None = None, clip: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """A sound [shape=(samples,)], -1..1, and how active hidden units were [shape=(samples // 64, hidden)].

        context : sound [-1..1] that it goes on from (default: what the training ended with).  clip : whether samples are
        bent to +-1 on their way; without, a machine that is not stable leaves every range and ends in NaN.
        """
        span = sum(self.settings.sizes)
        past = self.context if context is None else self.range.standard(soft_clip(context, self.settings.window))
        if len(past) < span:
            raise CrbmError(f"{len(past)} samples are too few to go on from: the machine's past is {span} long")
        made, active = np.zeros(span + samples), np.zeros((max(samples // 64, 1), len(self.w)))
        made[:span] = past[len(past) - span :]
        window = self.settings.window if clip else math.inf
        _generate(
            made, span, np.array(self.settings.sizes), self.a, np.ascontiguousarray(self.b), self.w, self.hidden_bias,
            self.visible_bias, self.sigma, self.range.mean, self.range.deviation, window, GIBBS, _LOGITS, seed, active,
        )  # fmt: skip
        sound = self.range.plain(made[span:])
        rounded = clip & (np.abs(sound) < 1 + ROUNDING)  # the way back from the standard range
        return np.where(rounded, np.clip(sound, -1.0, 1.0), sound), active

    # --- files ---

    def save(self, folder: Path) -> None:
        """Write it. Raises OSError."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ("a", "b", "w", "hidden_bias", "context")}
        card = {
            "version": VERSION, "model": "crbm", "settings": asdict(self.settings), "range": asdict(self.range),
            "visible_bias": self.visible_bias, "sigma": self.sigma, "curve": [asdict(epoch) for epoch in self.curve],
        }  # fmt: skip
        write_model(folder, save(arrays), card)

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read one. Raises CrbmError."""
        try:
            card = json.loads((folder / "card.json").read_text())
            if card["model"] != "crbm" or card["version"] != VERSION:
                raise CrbmError(f"{folder} holds another kind of model")
            settings = Settings(**card["settings"] | {"sizes": tuple(card["settings"]["sizes"])})
            arrays = load_file(folder / "weights.safetensors")
            curve = tuple(Epoch(**row) for row in card["curve"])
            return cls(
                settings, Range(**card["range"]), arrays["a"], arrays["b"], arrays["w"], arrays["hidden_bias"],
                card["visible_bias"], card["sigma"], arrays["context"], curve,
            )  # fmt: skip
        except CrbmError:
            raise
        except Exception as error:  # a file that is not whole raises whatever its reader raises
            raise CrbmError(f"{folder} holds no CRBM ({error}); jxemu ml crbm train makes one") from None


# --- training ------------------------------------------------------------------------------------


def train(
    sounds: Sequence[np.ndarray], settings: Settings, folder: Path, schedule: Schedule = SCHEDULE,
    shown: Shown = lambda done, steps, loss: None,
) -> Model:  # fmt: skip
    """Train on sounds [each shape=(n,), -1..1], and write the model. What was begun in the folder goes on.

    Without hidden units it is the linear prediction that it begins with, and nothing is trained.
    Raises CrbmError for sounds that cannot be learned from, OSError.
    """
    clipped = [soft_clip(sound, settings.window) for sound in sounds]
    scale = Range.of(np.concatenate(clipped))
    data = Windows([scale.standard(sound) for sound in clipped], settings.sizes)
    past, values = data.rows(slice(None, None, max(1, len(data) // 200_000)))
    first = burg(data.sound, len(settings.sizes)) if settings.is_contiguous else covariance(past, values)
    seen, truth = past[:: max(1, len(past) // CHECKED)], values[:: max(1, len(past) // CHECKED)]
    network = Crbm(len(settings.sizes), settings.hidden)
    network.start(torch.Generator().manual_seed(schedule.seed))
    white, back = _whitening(past)
    network.whiten.copy_(torch.from_numpy(white))
    network.sigma.fill_(max(float(np.std(values - past @ first)), 1e-9) if settings.linear else 1.0)
    if settings.linear:
        network.a.data.copy_(torch.from_numpy(back @ first)[:, None])
    keeps = settings.clamp and settings.is_contiguous

    def loss(network: Crbm, numbers: Tensor) -> Tensor:
        past, values = data.rows(numbers.numpy())
        return network.divergence(torch.from_numpy(past), torch.from_numpy(values)[:, None], settings.steps)

    def check(network: Crbm) -> dict[str, float]:
        with torch.no_grad():
            off = truth - network.expected(torch.from_numpy(seen))[:, 0].numpy()
        return {"error": float(np.sqrt(np.square(off).mean()) * scale.deviation)}

    def clamp(network: Crbm) -> None:
        a = network.whiten.numpy() @ network.a.detach().numpy()[:, 0]
        network.a.data.copy_(torch.from_numpy(back @ Poles.of(a).clamped(EPSILON).coefficients)[:, None])

    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.dumps([asdict(settings), asdict(schedule), digest(data.sound)])
    if settings.hidden:
        mended = clamp if keeps else lambda network: None
        curve = fit(network, data, loss, check, schedule, folder / "checkpoint.pt", recipe, shown, mended)
    else:
        figures = check(network)
        curve = [Epoch(1, figures["error"], figures)]
    found = {name: part.detach().numpy() for name, part in network.state_dict().items()}
    span = sum(settings.sizes)
    model = Model(
        settings, scale, (found["whiten"] @ found["a"])[:, 0], found["whiten"] @ found["b"], found["w"][0],
        found["hidden_bias"], float(found["visible_bias"][0]), float(found["sigma"][0]), data.sound[-span:].copy(), tuple(curve),
    )  # fmt: skip
    model = model.edited(model.poles.clamped(EPSILON)) if keeps else model
    model.save(folder)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return model


def _whitening(past: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix that makes the past's directions alike, and the one that undoes it for coefficients."""
    size, turn = np.linalg.eigh(past.T @ past / len(past))
    deviation = np.sqrt(np.maximum(size, LEAST_SPREAD**2 * size[-1]))
    return turn / deviation, deviation[:, None] * turn.T


# --- on spectra ----------------------------------------------------------------------------------

FOURIER_WINDOW, FOURIER_HOP = 512, 128


@dataclass(frozen=True)
class Fourier:
    """The same machine on spectra: a frame of a code (`resynthesis.CODES`) follows the frame before it.

    mean, deviation : of each channel [shape=(channels,)].  a : (channels, channels).  b : (channels, hidden).
    w : (channels, hidden).  biases : (channels,), (hidden,).  sigma : (channels,).  first : a frame to begin with.
    """

    code: str
    rate: int
    mean: np.ndarray
    deviation: np.ndarray
    a: np.ndarray
    b: np.ndarray
    w: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray
    sigma: np.ndarray
    first: np.ndarray
    curve: tuple[Epoch, ...] = ()

    def generate(self, seconds: float, seed: int = 0, noise: float = 0.0) -> np.ndarray:
        """A sound [shape=(n,)]. noise : how much of the values' own noise is drawn, beside that of hidden units."""
        rng = np.random.default_rng(seed)
        frames = max(2, round(seconds * self.rate / FOURIER_HOP))
        rows = np.empty((frames, len(self.mean)))
        rows[0] = self.first
        for n in range(1, frames):
            a, field = rows[n - 1] @ self.a + self.visible_bias, rows[n - 1] @ self.b + self.hidden_bias
            off = np.zeros(len(a))
            for _ in range(GIBBS):
                chance = 1 / (1 + np.exp(-np.clip(field + off @ self.w, -500, 500)))
                off = self.w @ (rng.random(len(field)) < chance)
            drawn = a + self.sigma * (off + noise * rng.standard_normal(len(a)))
            rows[n] = np.clip(drawn, -FARTHEST, FARTHEST)
        code = resynthesis.CODES[self.code]
        spectra = code.decode(rows * self.deviation + self.mean, FOURIER_WINDOW, FOURIER_HOP)
        return soft_clip(resynthesis.overlapped(spectra, FOURIER_WINDOW, FOURIER_HOP))

    def save(self, folder: Path) -> None:
        """Write it. Raises OSError."""
        card = {
            "version": VERSION, "model": "crbm-fourier", "code": self.code, "rate": self.rate,
            "curve": [asdict(epoch) for epoch in self.curve],
        }  # fmt: skip
        write_model(folder, save({name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}), card)

    @classmethod
    def load(cls, folder: Path) -> "Fourier":
        """Read one. Raises CrbmError."""
        try:
            card = json.loads((folder / "card.json").read_text())
            if card["model"] != "crbm-fourier" or card["version"] != VERSION:
                raise CrbmError(f"{folder} holds another kind of model")
            arrays = load_file(folder / "weights.safetensors")
            curve = tuple(Epoch(**row) for row in card["curve"])
            return cls(card["code"], card["rate"], *(arrays[name] for name in _ARRAYS), curve)
        except CrbmError:
            raise
        except Exception as error:  # a file that is not whole raises whatever its reader raises
            raise CrbmError(
                f"{folder} holds no CRBM on spectra ({error}); jxemu ml crbm train --fourier makes one"
            ) from None


_ARRAYS = ("mean", "deviation", "a", "b", "w", "visible_bias", "hidden_bias", "sigma", "first")
FARTHEST, RIDGE = 8.0, 1e-2
"""Deviations beyond which no channel goes; what the linear start is held back by, of a channel's own power."""


class Frames:
    """Frames of sounds [each shape=(n, channels)] as the trainer takes them: each after a sound's first follows another."""

    def __init__(self, runs: Sequence[np.ndarray]):
        self.past = torch.from_numpy(np.concatenate([run[:-1] for run in runs]))
        self.values = torch.from_numpy(np.concatenate([run[1:] for run in runs]))

    def __len__(self) -> int:
        return len(self.values)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Tensor]:
        """As those of `Windows`."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for begin in range(0, max(len(order) // size, 1) * size, size):
            yield torch.from_numpy(order[begin : begin + size])


def train_fourier(
    sounds: Sequence[np.ndarray], rate: int, code: str, hidden: int, folder: Path, schedule: Schedule = FOURIER_SCHEDULE,
    shown: Shown = lambda done, steps, loss: None, steps: int = 1,
) -> Fourier:  # fmt: skip
    """Train on the spectra of sounds [each shape=(n,)], and write the model. steps : of CD. Raises CrbmError, OSError.

    Sounds of less than four frames are left out.
    """
    if code not in resynthesis.CODES:
        raise CrbmError(f"there is no code {code!r}; choose one of {', '.join(resynthesis.CODES)}")
    sounds = [sound for sound in sounds if len(sound) >= 4 * FOURIER_WINDOW]
    if not sounds or not max(float(np.abs(sound).max()) for sound in sounds) > 1e-6:
        raise CrbmError("all sounds are too short or silent: there is nothing to learn from them")
    spectra = [resynthesis.analysed(sound, FOURIER_WINDOW, FOURIER_HOP) for sound in sounds]
    runs = [resynthesis.CODES[code].encode(spectrum, FOURIER_WINDOW, FOURIER_HOP) for spectrum in spectra]
    rows = np.concatenate(runs)
    mean, deviation = rows.mean(0), np.maximum(rows.std(0), 1e-3 * rows.std())
    rows, channels = (rows - mean) / deviation, rows.shape[1]
    data = Frames([(run - mean) / deviation for run in runs])
    network = Crbm(channels, hidden, channels)
    network.start(torch.Generator().manual_seed(schedule.seed))
    past, values = data.past.numpy(), data.values.numpy()
    first = np.linalg.solve(past.T @ past + RIDGE * len(past) * np.eye(channels), past.T @ values)
    network.a.data.copy_(torch.from_numpy(first))
    network.sigma.copy_(torch.from_numpy(np.maximum((values - past @ first).std(0), 1e-2)))

    def loss(network: Crbm, numbers: Tensor) -> Tensor:
        return network.divergence(data.past[numbers], data.values[numbers], steps)

    def check(network: Crbm) -> dict[str, float]:
        with torch.no_grad():
            off = data.values - network.expected(data.past)
        return {"error": float(off.square().mean().sqrt())}

    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.dumps([code, hidden, steps, asdict(schedule), digest(data.past.numpy(), data.values.numpy())])
    curve = fit(network, data, loss, check, schedule, folder / "checkpoint.pt", recipe, shown)
    found = {name: part.detach().numpy() for name, part in network.state_dict().items()}
    loudest = rows[int(np.argmax(np.concatenate([np.square(np.abs(spectrum)).sum(1) for spectrum in spectra])))]
    model = Fourier(
        code, rate, mean, deviation, found["a"], found["b"], found["w"], found["visible_bias"], found["hidden_bias"],
        found["sigma"], loudest, tuple(curve),
    )  # fmt: skip
    model.save(folder)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return model


# --- generating ----------------------------------------------------------------------------------


_LOGITS = np.log((np.arange(1 << 14) + 0.5) / ((1 << 14) - np.arange(1 << 14) - 0.5))
"""By 14 random bits: what a hidden unit's field must exceed for it to be on. A table is faster than a logistic."""


@kernel
def _generate(
    made, span, sizes, a, b, w, hidden_bias, visible_bias, sigma, mean, deviation, window, gibbs, logits, seed, active
):
    """Fill `made` from `span` on. Bins are running sums: what enters is added, what leaves is taken off."""
    bins, hidden = b.shape
    ends = np.zeros(bins + 1, np.int64)
    for n in range(bins):
        ends[n + 1] = ends[n] + sizes[n]
    sums = np.zeros(bins)
    for n in range(bins):
        for k in range(ends[n], ends[n + 1]):
            sums[n] += made[span - 1 - k]
    field = np.zeros(hidden)
    low, high = (-window - mean) / deviation, (window - mean) / deviation
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x1234567)
    for t in range(span, len(made)):
        level = visible_bias
        for j in range(hidden):
            field[j] = hidden_bias[j]
        for n in range(bins):
            x = sums[n] / sizes[n]
            level += a[n] * x
            for j in range(hidden):
                field[j] += b[n, j] * x
        off = 0.0
        row = min((t - span) // 64, len(active) - 1)
        for _ in range(gibbs):
            drawn = 0.0
            for j in range(hidden):
                state += np.uint64(0x9E3779B97F4A7C15)
                z = state
                z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                if field[j] + w[j] * off > logits[z >> np.uint64(50)]:
                    drawn += w[j]
                    active[row, j] += 1.0 / 64.0 / gibbs
            off = drawn
        x = level + sigma * off
        if x > high or x < low:
            x = _bent(x * deviation + mean, window)
            x = (x - mean) / deviation
        made[t] = x
        for n in range(bins):
            sums[n] += made[t - ends[n]] - made[t - ends[n + 1]]


@kernel
def _bent(x, window):
    beyond = (abs(x) - window) / (1.0 - window) if window < 1.0 else 0.0
    y = min(abs(x), window) + (1.0 - window) * np.tanh(max(beyond, 0.0))
    return y if x > 0 else -y
