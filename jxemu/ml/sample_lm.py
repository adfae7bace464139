"""Sample after sample: how likely is each of 256 levels, given all that was, the note and the tone.

Layers of diagonal linear modes with a gate between them (`modes`), over mu-law codes. It is measured in bits a sample beside
linear prediction and the CRBM, whose normal densities are summed over the same 256 steps.

After SaShiMi and HarmonicRNN in the kind of network; its size is a processor's.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from scipy import signal, special
from torch import Tensor, nn
from torch.nn import functional

from jxemu.ml import crbm
from jxemu.ml.modes import Modes
from jxemu.ml.poles import covariance
from jxemu.ml.train import Schedule, Shown, digest, fit, write_model

VERSION = 1
SCHEDULE = Schedule(epochs=100, batch=8, rate=4e-3, decay=0.0)
LEVELS = 256
WINDOW, WARM_UP = 2048, 512
"""Samples of a training window; how many of them only warm up, but at a sound's beginning."""

ORDER = 50
"""Of linear prediction and of the CRBM beside it."""

ADAPTS = 0.02
"""Share by which the adaptive linear prediction's deviation follows each new error."""


class SampleError(ValueError):
    """What cannot be learned from, read or played; the message says why."""


# --- levels --------------------------------------------------------------------------------------


def encode(sound: np.ndarray) -> np.ndarray:
    """A sound [-1..1] as mu-law codes, int64 0..255."""
    sound = np.clip(np.asarray(sound, float), -1, 1)
    bent = np.sign(sound) * np.log1p(255 * np.abs(sound)) / math.log(256)
    return np.minimum(((bent + 1) / 2 * LEVELS).astype(np.int64), LEVELS - 1)


def _unbent(bent: np.ndarray) -> np.ndarray:
    return np.sign(bent) * (np.exp(np.abs(bent) * math.log(256)) - 1) / 255


def decode(codes: np.ndarray) -> np.ndarray:
    """Back: the middle of each step."""
    return _unbent((np.asarray(codes, float) + 0.5) / LEVELS * 2 - 1)


EDGES = np.r_[-np.inf, _unbent(np.arange(1, LEVELS) / LEVELS * 2 - 1), np.inf]
"""Between the steps; the outer ones take what lies beyond."""


def bits_of_normal(codes: np.ndarray, means: np.ndarray, deviations: np.ndarray | float) -> float:
    """Bits a sample that codes cost under normal densities, summed over each step."""
    scale = np.maximum(deviations, 1e-6) * math.sqrt(2)
    low, high = ((EDGES[codes + n] - means) / scale for n in (0, 1))
    # the tail that is nearer: differences of numbers near 1 would be lost
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    chance = 0.5 * (special.erf(high) - special.erf(low))
    far = 0.5 * (special.erfc(-high) - special.erfc(-low))
    return float(-np.log2(np.maximum(np.where(high < -1, far, chance), 1e-12)).mean())


# --- conditions ----------------------------------------------------------------------------------


def clock(samples: int, rate: int, held: float | None = None) -> np.ndarray:
    """Time since the key went down, its logarithm, and whether it is still held [shape=(samples, 3)], float32."""
    at = np.arange(samples) / rate
    down = np.ones(samples) if held is None else at < held
    return np.stack([at, np.log1p(at / 0.01) / 5, down], 1).astype(np.float32)


def conditions_of(samples: int, rate: int, note: float, velocity: float, p: np.ndarray, held: float) -> np.ndarray:
    """All that a note of a tone tells [shape=(samples, 5 + len(p))]: time, note and velocity, the tone's parameters 0..1."""
    still = np.concatenate([[(note - 60) / 24, velocity / 127], p]).astype(np.float32)
    return np.concatenate([clock(samples, rate, held), np.tile(still, (samples, 1))], 1)


# --- the network ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """rate : Hz.  conditions : numbers beside each sample; at least the three of `clock`."""

    rate: int
    conditions: int = 3
    width: int = 64
    modes: int = 8
    layers: int = 4

    def __post_init__(self) -> None:
        if self.conditions < 3 or min(self.width, self.modes, self.layers) < 1:
            raise SampleError("at least one channel, mode and layer, and the three conditions of the clock")


class Hearer(nn.Module):
    """Codes (batch, n) of what was, and conditions (batch, n, C) -> logits (batch, n, 256) of what comes."""

    def __init__(self, settings: Settings):
        super().__init__()
        width = settings.width
        self.code = nn.Embedding(LEVELS + 1, width)  # the last one: nothing was yet
        self.level = nn.Linear(1, width)
        self.told = nn.Sequential(nn.Linear(settings.conditions, width), nn.GELU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(settings.layers))
        self.modes = nn.ModuleList(Modes(width, settings.modes) for _ in range(settings.layers))
        self.mixes = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(settings.layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, LEVELS)
        self.register_buffer("levels", torch.from_numpy(np.r_[decode(np.arange(LEVELS)), 0.0]).float())

    def forward(self, codes: Tensor, conditions: Tensor) -> Tensor:
        """All of a stretch at once."""
        told = self.told(conditions)
        h = self.code(codes) + self.level(self.levels[codes][..., None]) + told
        for norm, modes, mix in zip(self.norms, self.modes, self.mixes, strict=True):
            rung, _ = modes(norm(h).transpose(1, 2), None)
            z, gate = mix(rung.transpose(1, 2) + told).chunk(2, -1)
            h = h + functional.gelu(z) * torch.sigmoid(gate)
        return self.head(self.norm(h))


class Windows:
    """Sounds' codes as the trainer takes them, window by window; each begins with what was before it."""

    def __init__(self, codes: Sequence[np.ndarray], conditions: Sequence[np.ndarray]):
        self.codes = [torch.from_numpy(np.r_[LEVELS, each]) for each in codes]
        self.conditions = [torch.from_numpy(each) for each in conditions]
        step = WINDOW - WARM_UP
        self.places = [(n, at) for n, each in enumerate(codes) for at in range(0, max(1, len(each) - WARM_UP), step)]

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Tensor]:
        """Numbers of windows by batches."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for begin in range(0, max(len(order) // size, 1) * size, size):
            yield torch.from_numpy(order[begin : begin + size])

    def rows(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What was, conditions, what comes [each shape=(batch, n, ...)], and 1 where it counts."""
        was, told, comes, counts = [], [], [], []
        for n, at in (self.places[number] for number in numbers.tolist()):
            at = max(0, min(at, len(self.codes[n]) - 1 - WINDOW))
            part = self.codes[n][at : at + WINDOW + 1]
            short = WINDOW + 1 - len(part)
            weight = torch.ones(WINDOW)
            weight[len(part) - 1 :] = 0.0
            if at:
                weight[:WARM_UP] = 0.0
            part = functional.pad(part, (0, short))
            was.append(part[:-1])
            comes.append(part[1:].clamp(max=LEVELS - 1))
            beside = self.conditions[n][at : at + WINDOW]
            told.append(functional.pad(beside, (0, 0, 0, WINDOW - len(beside))))
            counts.append(weight)
        return torch.stack(was), torch.stack(told), torch.stack(comes), torch.stack(counts)


def _cost(network: Hearer, data: Windows, numbers: Tensor) -> Tensor:
    was, told, comes, counts = data.rows(numbers)
    each = functional.cross_entropy(network(was, told).transpose(1, 2), comes, reduction="none")
    return (each * counts).sum() / counts.sum().clamp_min(1)


@dataclass(frozen=True)
class Model:
    """A trained hearer; card : its curve, and bits a sample beside others'.  gain : what sounds were made louder by."""

    settings: Settings
    network: Hearer
    gain: float
    card: dict[str, Any]

    @torch.no_grad()
    def bits(self, sounds: Sequence[np.ndarray], conditions: Sequence[np.ndarray]) -> float:
        """Bits a sample that sounds (n,) cost; all that was is heard."""
        total, count = 0.0, 0
        for sound, told in zip(sounds, conditions, strict=True):
            codes = encode(sound * self.gain)
            was = torch.from_numpy(np.r_[LEVELS, codes[:-1]])[None]
            logits = self.network(was, torch.from_numpy(told)[None])[0]
            total += float(functional.cross_entropy(logits, torch.from_numpy(codes), reduction="sum"))
            count += len(codes)
        return total / count / math.log(2)

    def generate(self, conditions: np.ndarray, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """A sound (n,) sample by sample for conditions (n, C). temperature : below 1 the likelier levels are drawn more often.

        Raises SampleError for conditions that do not fit.
        """
        if conditions.shape[1] != self.settings.conditions:
            raise SampleError(
                f"the model wants {self.settings.conditions} conditions a sample, not {conditions.shape[1]}"
            )
        network, rng = self.network, np.random.default_rng(seed)
        part = {name: each.detach().numpy() for name, each in network.state_dict().items()}
        with torch.no_grad():
            told = network.told(torch.from_numpy(conditions)).numpy()
            rings = [tuple(each.numpy() for each in modes.poles()) for modes in network.modes]
        table = part["code.weight"] + part["levels"][:, None] * part["level.weight"][:, 0] + part["level.bias"]
        states = [np.zeros(pole.shape, complex) for pole, _ in rings]
        codes, last = np.empty(len(conditions), np.int64), LEVELS
        draws = rng.gumbel(size=(len(conditions), LEVELS)).astype(np.float32) * temperature
        for n in range(len(conditions)):
            h = table[last] + told[n]
            for k, (pole, read) in enumerate(rings):
                x = _normed(h, part[f"norms.{k}.weight"], part[f"norms.{k}.bias"])
                states[k] = states[k] * pole + x[:, None]
                rung = (states[k] * read).sum(1).real + part[f"modes.{k}.straight"] * x
                z, gate = np.split(part[f"mixes.{k}.weight"] @ (rung + told[n]) + part[f"mixes.{k}.bias"], 2)
                h = h + z * special.ndtr(z) / (1 + np.exp(-gate))
            logits = part["head.weight"] @ _normed(h, part["norm.weight"], part["norm.bias"]) + part["head.bias"]
            codes[n] = last = int(np.argmax(logits + draws[n]))
        return decode(codes) / self.gain

    def save(self, folder: Path) -> None:
        """Write it. Raises OSError."""
        facts = {
            "version": VERSION,
            "model": "sample-lm",
            "settings": asdict(self.settings),
            "gain": self.gain,
            "card": self.card,
        }
        write_model(folder, save({name: part.contiguous() for name, part in self.network.state_dict().items()}), facts)

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read one. Raises SampleError."""
        try:
            facts = json.loads((folder / "card.json").read_text())
            if facts["model"] != "sample-lm" or facts["version"] != VERSION:
                raise SampleError(f"{folder} holds another kind of model")
            settings = Settings(**facts["settings"])
            network = Hearer(settings)
            network.load_state_dict(load_file(folder / "weights.safetensors"))
            network.eval()
            return cls(settings, network, facts["gain"], facts["card"])
        except SampleError:
            raise
        except Exception as error:  # a file that is not whole raises whatever its reader raises
            raise SampleError(f"{folder} holds no sample model ({error}); jxemu ml samples train makes one") from None


def _normed(h: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    off = h - h.mean()
    return off / np.sqrt(np.square(off).mean() + 1e-5) * weight + bias


def train(
    sounds: Sequence[np.ndarray], conditions: Sequence[np.ndarray], settings: Settings, folder: Path,
    schedule: Schedule = SCHEDULE, shown: Shown = lambda done, steps, loss: None, names: Sequence[str] = (),
) -> Model:  # fmt: skip
    """Train on sounds [each shape=(n,)] and the conditions beside them; what was begun in the folder goes on.

    names : of the tones' parameters among the conditions.  The checkpoint stays: who is done with the model takes it away.
    Raises SampleError, OSError, FloatingPointError.
    """
    loudest = max((float(np.abs(sound).max(initial=0.0)) for sound in sounds), default=0.0)
    if not loudest > 1e-6:
        raise SampleError("the sounds are silent: there is nothing to learn from them")
    if any(told.shape != (len(sound), settings.conditions) for sound, told in zip(sounds, conditions, strict=True)):
        raise SampleError(f"conditions must be {settings.conditions} numbers beside each sample")
    gain = 0.99 / loudest
    torch.manual_seed(schedule.seed)
    network = Hearer(settings)
    data = Windows([encode(sound * gain) for sound in sounds], conditions)
    seen = torch.arange(0, len(data), max(1, len(data) // 16))[:16]

    def check(network: Hearer) -> dict[str, float]:
        with torch.no_grad():
            return {"bits": float(_cost(network, data, seen)) / math.log(2)}

    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.dumps([asdict(settings), asdict(schedule), digest(*sounds, *conditions)])
    curve = fit(
        network, data, lambda network, numbers: _cost(network, data, numbers), check, schedule,
        folder / "checkpoint.pt", recipe, shown,
    )  # fmt: skip
    weights = sum(part.numel() for part in network.parameters())
    model = Model(
        settings, network, gain, {"curve": [asdict(epoch) for epoch in curve], "weights": weights, "names": list(names)}
    )
    model.save(folder)
    return model


# --- beside it -----------------------------------------------------------------------------------


def linear_bits(learned: Sequence[np.ndarray], held: Sequence[np.ndarray], gain: float) -> dict[str, float]:
    """Bits a sample of held-out sounds under linear prediction from the learned ones, and where its deviation follows the sound."""
    quantised, others = ([decode(encode(sound * gain)) for sound in group] for group in (learned, held))
    past, values = crbm.Windows(quantised, crbm.contiguous(ORDER)).rows()
    a = covariance(past, values)
    deviation = float(np.std(values - past @ a))
    fixed, adaptive = [], []
    for sound in others:
        past, values = crbm.Windows([np.r_[np.zeros(ORDER), sound]], crbm.contiguous(ORDER)).rows()
        codes, means = encode(values), past @ a
        errors = np.square(values - means)
        follows = np.sqrt(np.maximum(_followed(errors, deviation**2), 1e-9))
        fixed.append(bits_of_normal(codes, means, deviation))
        adaptive.append(bits_of_normal(codes, means, follows))
    sizes = [len(sound) for sound in others]
    return {
        f"LPC({ORDER})": float(np.average(fixed, weights=sizes)),
        f"LPC({ORDER}), its deviation follows": float(np.average(adaptive, weights=sizes)),
    }


def _followed(errors: np.ndarray, first: float) -> np.ndarray:
    """The running mean of all errors before each one."""
    run, _ = signal.lfilter([ADAPTS], [1, ADAPTS - 1], errors, zi=[first * (1 - ADAPTS)])
    return np.r_[first, run[:-1]]


def crbm_bits(
    learned: Sequence[np.ndarray], held: Sequence[np.ndarray], gain: float, rate: int, folder: Path, schedule: Schedule,
    shown: Shown = lambda done, steps, loss: None,
) -> float:  # fmt: skip
    """Bits a sample of held-out sounds under a CRBM that learned the others: the normal density about what it expects."""
    quantised, others = ([decode(encode(sound * gain)) for sound in group] for group in (learned, held))
    machine = crbm.train(quantised, crbm.Settings(rate, window=1.0), folder, schedule, shown)
    deviation = machine.error(quantised) / machine.range.deviation
    costs = []
    for sound in others:
        windows = machine.windows([np.r_[np.zeros(ORDER), sound]])
        means = machine.range.plain(machine.expected([np.r_[np.zeros(ORDER), sound]]))
        codes = encode(machine.range.plain(windows.rows()[1]))
        costs.append(bits_of_normal(codes, means, deviation * machine.range.deviation))
    return float(np.average(costs, weights=[len(sound) for sound in others]))
