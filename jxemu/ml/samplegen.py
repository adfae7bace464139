"""A space of notes: an outer auto-encoder makes a short code of a spectrogram, an inner one a handful of numbers of the code.

::

    sound -> picture (channels, frames, bins) -> outer encoder -> code -> inner encoder -> latents
    sound <- picture                          <- outer decoder <- code <- inner decoder <- latents, note, velocity

The ladder: the outer one is trained first, long; then it is frozen and every sound is turned into its code once, so that the
inner one (a variational auto-encoder) trains a hundred times faster. Of codes it sees, and makes, their first principal components.

After SampleGen; pictures with phases, free bits, conditions and ordered latents are ours.
"""

import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from jxemu.ml.resynthesis import CODES, analysed, guessed, locked, overlapped
from jxemu.ml.train import Epoch, Schedule, Shown, digest, fit, write_model

VERSION = 3
OUTER_SCHEDULE = Schedule(epochs=60, batch=16, rate=2e-3, decay=0.0)
INNER_SCHEDULE = Schedule(epochs=300, batch=64, rate=1e-3, decay=0.1)
MU = 8.0
"""Of the mu-law on amplitudes, which lifts what is quiet. As SampleGen has it."""

GATE_IN, GATE_OUT = 10 ** (-70 / 20), 10 ** (-50 / 20)
"""Amplitudes, of the loudest, below which nothing is learned and nothing sounds. As SampleGen has it."""

FREE_BITS, ACTIVE = 0.1, 0.05
"""Nats that a latent may carry at no cost, so that none collapses; from which it counts as in use."""

KEPT = 512
"""Principal components of codes that the inner one works on: eight numbers say little of the others, which it would learn by heart."""

BETA, WARM_UP = 1e-4, 300
"""Weight of what latents carry beside the mean squared error of the code's deviation, and the steps in which it rises."""

STALL, WINDOW, INNER_WINDOW = 0.005, 5, 15
"""Change, of the means of two windows of so many epochs, below which training has come to an end. As SampleGen has them."""

OVERFIT, GARBAGE = 3.0, 0.5
"""Test loss over training loss: above the first it learns by heart, below the second something is wrong."""

CATEGORIES = (
    "bass", "bell", "brass", "choir", "clav", "drum", "flute", "guitar", "harp", "lead", "organ", "pad", "perc", "piano",
    "pluck", "strings", "synth",
)  # fmt: skip
"""Words that are looked for in names."""


class SpaceError(ValueError):
    """What cannot be learned from, built or read; the message says why."""


# --- pictures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """How sounds become pictures.

    kind : magnitude or decibel (phases are guessed), complex, polar (amplitude and phase), or phase (amplitude and turn).
    band : share of the bins, from the lowest up, that are in it; what lies above is silent.
    """

    rate: int = 44_100
    window: int = 2048
    hop: int = 1024
    frames: int = 83
    kind: str = "magnitude"
    band: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or min(self.window, self.hop, self.frames) < 4 or self.window % self.hop:
            raise SpaceError(
                f"a picture is one of {', '.join(KINDS)}, of at least 4 frames, its window a multiple of its hop"
            )
        if not (0 < self.band <= 1 and self.bins >= 4):
            raise SpaceError("a picture has a share of 0 to 1 of a spectrum's bins, and at least 4 of them")

    @property
    def bins(self) -> int:
        """Of a frame."""
        return round(self.band * (self.window // 2)) + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, frames and bins."""
        return 1 if self.kind in ("magnitude", "decibel") else 2, self.frames, self.bins

    def of(self, sound: np.ndarray) -> tuple[np.ndarray, float]:
        """A sound (n,) as a picture of its first frames, cut or filled with silence, and the level it had."""
        frames = self._frames(sound)[:, : self.bins]
        loudest = float(np.abs(frames).max())
        if not loudest > 1e-9:
            return np.zeros(self.shape, np.float32), 0.0
        frames = frames / loudest
        frames = np.where(np.abs(frames) > GATE_IN, frames, 0)
        if self.kind == "complex":
            parts = [
                np.sign(part) * np.log1p(MU * np.abs(part)) / math.log1p(MU) for part in (frames.real, frames.imag)
            ]
        elif self.kind == "decibel":
            parts = [1 - np.log(np.maximum(np.abs(frames), GATE_IN)) / math.log(GATE_IN)]
        else:
            parts = [np.log1p(MU * np.abs(frames)) / math.log1p(MU)]
        if self.kind == "polar":
            parts.append(np.angle(frames) / np.pi)
        if self.kind == "phase":
            whole = np.pad(frames, ((0, 0), (0, self.window // 2 + 1 - self.bins)))
            turns = np.split(CODES["delta"].encode(whole, self.window, self.hop), 2, 1)[1]
            parts.append(turns[:, : self.bins] / np.pi)
        return np.stack(parts).astype(np.float32), loudest

    def _frames(self, sound: np.ndarray) -> np.ndarray:
        length = self.hop * (self.frames - 1)
        sound = np.pad(np.asarray(sound, float)[:length], (0, max(0, length - len(sound))))
        return analysed(sound, self.window, self.hop)[: self.frames]

    def levels(self, sound: np.ndarray) -> np.ndarray:
        """Levels of a sound's frames (frames, window // 2 + 1) in dB below its loudest, down to -100."""
        amplitudes = np.abs(self._frames(sound))
        return 20 * np.log10(np.maximum(amplitudes / max(float(amplitudes.max()), 1e-9), 1e-5))

    def sound(self, picture: np.ndarray, level: float) -> np.ndarray:
        """Back: (n,), as loud as it was."""
        picture = np.asarray(picture, float)
        above = self.window // 2 + 1 - self.bins
        picture = np.pad(picture, ((0, 0), (0, 0), (0, above)))
        if self.kind == "complex":
            real, imaginary = (np.sign(part) * np.expm1(np.abs(part) * math.log1p(MU)) / MU for part in picture)
            frames = real + 1j * imaginary
            frames = np.where(np.abs(frames) > GATE_OUT * np.abs(frames).max(initial=1e-12), frames, 0)
            return overlapped(frames, self.window, self.hop) * level
        levels = np.clip(picture[0], 0, 1.2)
        if self.kind == "decibel":
            amplitudes = np.where(levels > 0, GATE_IN ** (1 - levels), 0)
        else:
            amplitudes = np.expm1(levels * math.log1p(MU)) / MU
        amplitudes = np.where(amplitudes > GATE_OUT * amplitudes.max(initial=1e-12), amplitudes, 0)
        if self.shape[0] == 1:
            return guessed(amplitudes, self.window, self.hop) * level
        if self.kind == "polar":
            return overlapped(amplitudes * np.exp(1j * np.pi * picture[1]), self.window, self.hop) * level
        rows = np.concatenate([np.log(np.maximum(amplitudes, 1e-12)), picture[1] * np.pi], 1)
        return overlapped(locked(rows, self.window, self.hop), self.window, self.hop) * level

    def error(self, made: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Mean square of what pictures (n, channels, frames, bins) are off, each number as much as it counts: (n,)."""
        wanted = wanted.astype(np.float32)  # sums of float16 run over
        counts = self.weights(torch.from_numpy(wanted)).numpy()
        return (np.square(made - wanted) * counts).sum((1, 2, 3)) / counts.sum((1, 2, 3))

    def weights(self, pictures: Tensor) -> Tensor:
        """What each number's error counts: a phase, or its turn, as much as its amplitude is loud."""
        if self.kind not in ("polar", "phase"):
            return torch.ones_like(pictures)
        return torch.cat([torch.ones_like(pictures[:, :1]), pictures[:, :1].clamp(0, 1)], 1)


KINDS = ("magnitude", "decibel", "complex", "polar", "phase")


STRONG, NEAR = 10 ** (-20 / 20), 0.1
"""Amplitude, of the loudest's, from which a partial is strong; how far, relative, the lowest strong one may be off a note."""


def lowest_partial(sound: np.ndarray, rate: int) -> float:
    """Hertz of the lowest strong partial of a sound (n,) between 20 Hz and half the rate; 0 for silence."""
    size = 1 << (max(len(sound), 4 * rate // 20) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(np.asarray(sound, float) * np.hanning(len(sound)), size))
    spectrum[: math.ceil(20 * size / rate)] = 0.0
    if not spectrum.max() > 0:
        return 0.0
    inner = spectrum[1:-1]
    peaks = (inner >= spectrum[:-2]) & (inner > spectrum[2:]) & (inner > STRONG * spectrum.max())
    return float((np.flatnonzero(peaks)[0] + 1) * rate / size) if peaks.any() else 0.0


def is_note(sound: np.ndarray, rate: int, note: int) -> bool:
    """Whether a sound's lowest strong partial is a MIDI note, within ten per cent."""
    wanted = 440 * 2 ** ((note - 69) / 12)
    return abs(lowest_partial(sound, rate) - wanted) < NEAR * wanted


def category_of(name: str) -> str:
    """The first category whose word is in a name; "other" without."""
    return next((word for word in CATEGORIES if word in name.lower()), "other")


def mixed(pictures: Tensor) -> Tensor:
    """Pictures mixed two by two, 0.3 to 0.7 of each: more to learn from. Drawn by what `fit` seeds anew for each epoch."""
    share = 0.3 + 0.4 * torch.rand(len(pictures), *[1] * (pictures.dim() - 1))
    return share * pictures + (1 - share) * pictures[torch.randperm(len(pictures))]


def diverse(pictures: np.ndarray, count: int) -> list[int]:
    """Places of so many pictures, each the farthest from the mean of those before it."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    chosen, total = [], np.zeros(flat.shape[1])
    left = list(range(len(flat)))
    while left and len(chosen) < count:
        mean = total / max(len(chosen), 1) if chosen else flat.mean(0)
        place = left.pop(int(np.argmax(np.square(flat[left] - mean).sum(1))))
        chosen.append(place)
        total += flat[place]
    return chosen


def stdev(mse: float) -> float:
    """RMS error in per cent of a picture's full scale: SampleGen's own figure."""
    return 100 * math.sqrt(mse)


# --- sizes ---------------------------------------------------------------------------------------


def interpolate_layer_sizes(start: int, end: int, depth: int, ratio: float = 0.5) -> list[int]:
    """Sizes of `depth` layers from `start` to `end` [depth + 1 numbers]; a ratio below 1 shrinks early, 1 evenly."""
    if min(start, end, depth) < 1 or ratio <= 0:
        raise SpaceError("layers need sizes and a depth from 1 on, and a ratio above 0")
    steps = np.arange(depth + 1)
    share = 1 - steps / depth if abs(ratio - 1) < 1e-09 else (ratio**steps - ratio**depth) / (1 - ratio**depth)
    return [max(1, round(end + (start - end) * x)) for x in share]


def mlp_weights(sizes: Sequence[int]) -> int:
    """Weights of linear layers with their biases."""
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def rnn_weights(size: int, hidden: int, layers: int) -> int:
    """Weights of an LSTM."""
    return sum(4 * hidden * ((size if n == 0 else hidden) + hidden + 2) for n in range(layers))


def conv_weights(channels: Sequence[int], kernel: tuple[int, int]) -> int:
    """Weights of convolutions, one after another."""
    return sum((a * kernel[0] * kernel[1] + 1) * b for a, b in itertools.pairwise(channels))


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with a bend between them."""
    parts: list[nn.Module] = []
    for n, pair in enumerate(itertools.pairwise(sizes)):
        parts += [*([nn.ELU()] if n else []), nn.Linear(*pair)]
    return nn.Sequential(*parts)


# --- outer auto-encoders -------------------------------------------------------------------------


@dataclass(frozen=True)
class Outer:
    """What an outer auto-encoder is.

    kind : flat, step, rnn, conv or patch.  size : numbers of a frame's code (step, rnn), of the whole (flat), of a tile's
        in the mean (patch), or channels (conv).
    hidden : units of a layer.  depth : layers.  ratio : see `interpolate_layer_sizes`.
    """

    kind: str = "conv"
    size: int = 8
    hidden: int = 32
    depth: int = 3
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in OUTERS or min(self.size, self.hidden, self.depth) < 1:
            raise SpaceError(f"an outer auto-encoder is one of {', '.join(OUTERS)}, with sizes from 1 on")


class Flat(nn.Module):
    """All of a picture at once."""

    def __init__(self, outer: Outer, shape: tuple[int, int, int]):
        super().__init__()
        self.shape, sizes = shape, self.sizes(outer, shape)
        self.enter, self.leave = mlp(sizes), mlp(sizes[::-1])
        self.code = outer.size

    @staticmethod
    def sizes(outer: Outer, shape: tuple[int, int, int]) -> list[int]:
        """Of its layers."""
        inner = interpolate_layer_sizes(outer.hidden, outer.size, max(outer.depth - 1, 1), outer.ratio)
        return [math.prod(shape), *inner]

    @classmethod
    def weights(cls, outer: Outer, shape: tuple[int, int, int]) -> int:
        """How many it has, before it is built."""
        sizes = cls.sizes(outer, shape)
        return mlp_weights(sizes) + mlp_weights(sizes[::-1])

    def encode(self, x: Tensor) -> Tensor:
        """Pictures (batch, channels, frames, bins) -> codes (batch, code)."""
        return self.enter(x.flatten(1))

    def decode(self, code: Tensor) -> Tensor:
        """Back."""
        return self.leave(code).unflatten(1, self.shape)


class Step(nn.Module):
    """Frame by frame, from this one, the one before and the time; and back likewise from the code and the time."""

    def __init__(self, outer: Outer, shape: tuple[int, int, int]):
        super().__init__()
        self.shape, self.size = shape, outer.size
        enter, leave = self.sizes(outer, shape)
        self.enter, self.leave = mlp(enter), mlp(leave)
        self.code = outer.size * shape[1]

    @staticmethod
    def sizes(outer: Outer, shape: tuple[int, int, int]) -> tuple[list[int], list[int]]:
        """Of its layers, both ways."""
        frame = shape[0] * shape[2]
        inner = interpolate_layer_sizes(outer.hidden, outer.size, max(outer.depth - 1, 1), outer.ratio)
        return [2 * frame + 1, *inner], [2 * outer.size + 1, *inner[::-1][1:], frame]

    @classmethod
    def weights(cls, outer: Outer, shape: tuple[int, int, int]) -> int:
        """How many it has, before it is built."""
        return sum(mlp_weights(sizes) for sizes in cls.sizes(outer, shape))

    def _beside(self, rows: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(rows[:, :1]), rows[:, :-1]], 1)
        at = torch.linspace(0, 1, rows.shape[1]).expand(len(rows), -1)[..., None]
        return torch.cat([rows, before, at], 2)

    def encode(self, x: Tensor) -> Tensor:
        """As `Flat`."""
        return self.enter(self._beside(x.transpose(1, 2).flatten(2))).flatten(1)

    def decode(self, code: Tensor) -> Tensor:
        """Back."""
        rows = self.leave(self._beside(code.unflatten(1, (self.shape[1], self.size))))
        return rows.unflatten(2, (self.shape[0], self.shape[2])).transpose(1, 2)


class Rnn(nn.Module):
    """Frame after frame through an LSTM, and back through another."""

    def __init__(self, outer: Outer, shape: tuple[int, int, int]):
        super().__init__()
        self.shape, self.size, frame = shape, outer.size, shape[0] * shape[2]
        self.enter = nn.LSTM(frame, outer.hidden, outer.depth, batch_first=True)
        self.narrow, self.wide = nn.Linear(outer.hidden, outer.size), nn.Linear(outer.hidden, frame)
        self.leave = nn.LSTM(outer.size, outer.hidden, outer.depth, batch_first=True)
        self.code = outer.size * shape[1]

    @classmethod
    def weights(cls, outer: Outer, shape: tuple[int, int, int]) -> int:
        """How many it has, before it is built."""
        frame = shape[0] * shape[2]
        both = rnn_weights(frame, outer.hidden, outer.depth) + rnn_weights(outer.size, outer.hidden, outer.depth)
        return both + mlp_weights([outer.hidden, outer.size]) + mlp_weights([outer.hidden, frame])

    def encode(self, x: Tensor) -> Tensor:
        """As `Flat`."""
        return self.narrow(self.enter(x.transpose(1, 2).flatten(2))[0]).flatten(1)

    def decode(self, code: Tensor) -> Tensor:
        """Back."""
        rows = self.wide(self.leave(code.unflatten(1, (self.shape[1], self.size)))[0])
        return rows.unflatten(2, (self.shape[0], self.shape[2])).transpose(1, 2)


class Conv(nn.Module):
    """Convolutions over frames and bins, each of which halves both (bins twice where they are many), and the same way back.

    Pictures are filled up to what the halvings need, and cut again.
    """

    kernel = (3, 5)

    def __init__(self, outer: Outer, shape: tuple[int, int, int]):
        super().__init__()
        self.shape = shape
        channels, strides = self.channels(outer, shape), self.strides(outer, shape)
        steps = tuple(math.prod(each) for each in zip(*strides, strict=True))
        self.fill = tuple(-size % step for size, step in zip(shape[1:], steps, strict=True))
        self.grid = tuple((size + more) // step for size, more, step in zip(shape[1:], self.fill, steps, strict=True))
        self.code, self.size = outer.size * math.prod(self.grid), outer.size
        pad = tuple(k // 2 for k in self.kernel)
        self.enter = nn.ModuleList(
            nn.Conv2d(a, b, self.kernel, stride, pad)
            for (a, b), stride in zip(itertools.pairwise(channels), strides, strict=True)
        )
        back = list(zip(itertools.pairwise(channels[::-1]), strides[::-1], strict=True))
        self.leave = nn.ModuleList(
            nn.ConvTranspose2d(a, b, self.kernel, stride, pad, tuple(s - 1 for s in stride)) for (a, b), stride in back
        )

    @staticmethod
    def strides(outer: Outer, shape: tuple[int, int, int]) -> list[tuple[int, int]]:
        """Of each layer: bins are brought to about as many as frames first."""
        wide = round(math.log2(max(1.0, shape[2] / shape[1])))
        return [(2 if 2 ** (n + 1) <= shape[1] else 1, 4 if n < wide else 2) for n in range(outer.depth)]

    @staticmethod
    def channels(outer: Outer, shape: tuple[int, int, int]) -> list[int]:
        """Before and behind each layer."""
        return [shape[0], *[outer.hidden] * (outer.depth - 1), outer.size]

    @classmethod
    def weights(cls, outer: Outer, shape: tuple[int, int, int]) -> int:
        """How many it has, before it is built."""
        channels = cls.channels(outer, shape)
        return conv_weights(channels, cls.kernel) + conv_weights(channels[::-1], cls.kernel)

    def encode(self, x: Tensor) -> Tensor:
        """As `Flat`."""
        x = nn.functional.pad(x, (0, self.fill[1], 0, self.fill[0]))
        for n, layer in enumerate(self.enter):
            x = layer(nn.functional.elu(x) if n else x)
        return x.flatten(1)

    def decode(self, code: Tensor) -> Tensor:
        """Back."""
        x = code.unflatten(1, (self.size, *self.grid))
        for n, layer in enumerate(self.leave):
            x = layer(nn.functional.elu(x) if n else x)
        return x[..., : self.shape[1], : self.shape[2]]


class Patch(nn.Module):
    """Tiles of all frames by 8 bins: their principal components, of each place as many as what is there needs.

    Partials hardly change with time, but their places are sharp: so a tile is long and narrow. Low, middle and high tiles have
    components of their own; of all numbers that tiles could tell the code keeps those that differ most from sound to sound,
    which are those of low tiles mostly. Nothing is trained: `solve` finds it. Of `Outer` only `size` says something here.
    """

    BINS = 8
    BANDS = ((1 / 8, 6.0), (3 / 8, 3.0), (1.0, 1.5))
    """Up to which share of the tiles each band goes, and how many components it has at most, in means of a tile's numbers."""

    def __init__(self, outer: Outer, shape: tuple[int, int, int]):
        super().__init__()
        self.shape, self.count = shape, -(-shape[2] // self.BINS)
        self.bands, numbers = self.bands_of(outer, shape), shape[0] * shape[1] * self.BINS
        self.code = min(outer.size, numbers) * self.count
        self.means = nn.ParameterList(nn.Parameter(torch.zeros(numbers)) for _ in self.bands)
        self.components = nn.ParameterList(nn.Parameter(torch.eye(numbers)[:, :most]) for _, _, most in self.bands)
        self.register_buffer("places", torch.arange(self.code))

    @classmethod
    def bands_of(cls, outer: Outer, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """First tile, the one behind the last, and components of each band that has tiles."""
        count, begin, bands = -(-shape[2] // cls.BINS), 0, []
        for share, times in cls.BANDS:
            end = round(share * count)
            if end > begin:
                bands.append((begin, end, min(shape[0] * shape[1] * cls.BINS, math.ceil(times * outer.size))))
                begin = end
        return bands

    @classmethod
    def weights(cls, outer: Outer, shape: tuple[int, int, int]) -> int:
        """How many it has, before it is built."""
        return sum(shape[0] * shape[1] * cls.BINS * (1 + most) for _, _, most in cls.bands_of(outer, shape))

    @torch.no_grad()
    def solve(self, pictures: Tensor) -> None:
        """Find the components of each band's tiles in pictures, and which of their numbers the code keeps."""
        spreads = []
        for n, (begin, end, most) in enumerate(self.bands):
            numbers = len(self.means[n])
            total, count, products = torch.zeros(numbers).double(), 0, torch.zeros(numbers, numbers).double()
            for some in pictures.split(64):
                tiles = self._cut(some.float())[:, begin:end].flatten(0, 1)
                total, count, products = total + tiles.sum(0), count + len(tiles), products + tiles.T @ tiles
            mean = total / count
            self.means[n].copy_(mean)
            self.components[n].copy_(torch.linalg.eigh(products / count - torch.outer(mean, mean))[1].flip(1)[:, :most])
            squares = sum(
                self._numbers(self._cut(some.float()), n).square().sum(0).double() for some in pictures.split(64)
            )
            spreads.append(squares)
        self.places.copy_(torch.cat(spreads).topk(self.code).indices.sort().values)

    def _cut(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (0, self.count * self.BINS - x.shape[3]))
        return x.unflatten(3, (self.count, self.BINS)).permute(0, 3, 1, 2, 4).flatten(2)

    def _numbers(self, tiles: Tensor, band: int) -> Tensor:
        begin, end, _ = self.bands[band]
        return ((tiles[:, begin:end] - self.means[band]) @ self.components[band]).flatten(1)

    def encode(self, x: Tensor) -> Tensor:
        """As `Flat`."""
        tiles = self._cut(x)
        return torch.cat([self._numbers(tiles, n) for n in range(len(self.bands))], 1)[:, self.places]

    def decode(self, code: Tensor) -> Tensor:
        """Back."""
        sizes = [(end - begin) * most for begin, end, most in self.bands]
        numbers = code.new_zeros(len(code), sum(sizes)).index_copy(1, self.places, code).split(sizes, 1)
        tiles = torch.cat(
            [
                part.unflatten(1, (end - begin, most)) @ components.T + mean
                for part, (begin, end, most), components, mean in zip(
                    numbers, self.bands, self.components, self.means, strict=True
                )
            ],
            1,
        )
        channels, frames, bins = self.shape
        return tiles.unflatten(2, (channels, frames, self.BINS)).permute(0, 2, 3, 1, 4).flatten(3)[..., :bins]


OUTERS: dict[str, type] = {"flat": Flat, "step": Step, "rnn": Rnn, "conv": Conv, "patch": Patch}
"""By name."""


# --- the inner one -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inner:
    """What the inner auto-encoder is.

    conditions : numbers that are told beside the latents.  beta : weight of what latents carry beside the code's error.
    """

    latents: int = 8
    hidden: int = 256
    depth: int = 3
    ratio: float = 0.5
    conditions: int = 0
    beta: float = BETA

    def __post_init__(self) -> None:
        if min(self.latents, self.hidden, self.depth) < 1 or self.conditions < 0 or self.beta < 0:
            raise SpaceError("an inner auto-encoder has at least one latent, unit and layer, and no weight below 0")

    def sizes(self, code: int) -> tuple[list[int], list[int]]:
        """Of its layers, both ways."""
        inner = interpolate_layer_sizes(self.hidden, max(self.latents, 16), max(self.depth - 1, 1), self.ratio)
        enter = [code + self.conditions, *inner, 2 * self.latents]
        return enter, [self.latents + self.conditions, *inner[::-1], code]

    def weights(self, code: int) -> int:
        """How many it has, before it is built."""
        return sum(mlp_weights(sizes) for sizes in self.sizes(code))


class Vae(nn.Module):
    """Codes (batch, code), standardised, to means and log variances of latents, and back."""

    def __init__(self, inner: Inner, code: int):
        super().__init__()
        enter, leave = inner.sizes(code)
        self.enter, self.leave, self.beta = mlp(enter), mlp(leave), inner.beta
        self.register_buffer("steps", torch.zeros(()))

    def encode(self, code: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each latent."""
        mean, spread = self.enter(torch.cat([code, told], 1)).chunk(2, 1)
        return mean, spread.clamp(-10, 5)

    def decode(self, latents: Tensor, told: Tensor) -> Tensor:
        """Back to a code."""
        return self.leave(torch.cat([latents, told], 1))

    def cost(self, code: Tensor, told: Tensor) -> Tensor:
        """Error of the code, and what the latents carry beyond their free bits."""
        mean, spread = self.encode(code, told)
        latents = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        error = (self.decode(latents, told) - code).square().mean()
        self.steps += 1
        rise = min(1.0, float(self.steps) / WARM_UP)
        return error + self.beta * rise * carried(mean, spread).clamp_min(FREE_BITS).sum()


def carried(mean: Tensor, spread: Tensor) -> Tensor:
    """Nats that each latent carries, the mean over a batch: KL from the standard normal density."""
    return 0.5 * (mean.square() + spread.exp() - 1 - spread).mean(0)


@torch.no_grad()
def layers(network: nn.Module, picture: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """What hidden layers of an outer auto-encoder make of a picture: names, and images (n, frames, columns) of each.

    Of convolutions an image a channel, of layers that go frame by frame one, its columns the units, of others a single row.
    Tiles have no hidden layers: theirs are the components of each band.
    """
    if isinstance(network, Patch):
        shape = network.shape[0], network.shape[1], Patch.BINS
        return [
            (f"tiles {begin} to {end - 1}", components.T.unflatten(1, shape)[:, 0].numpy())
            for (begin, end, _), components in zip(network.bands, network.components, strict=True)
        ]
    found: list[tuple[str, np.ndarray]] = []

    def seen(name: str, made: Tensor) -> None:
        found.append(
            (name, made[0].reshape(-1, *made.shape[1:][-2:]).numpy() if made.dim() > 2 else made[None].numpy())
        )

    hooks = [
        part.register_forward_hook(lambda _, given, made, name=name: seen(name, made[0] if isinstance(made, tuple) else made))
        for name, part in network.named_modules()
        if not list(part.children()) and not isinstance(part, nn.ELU)
    ]  # fmt: skip
    network.decode(network.encode(torch.from_numpy(picture[None]).float()))
    for hook in hooks:
        hook.remove()
    return found


# --- when to stop --------------------------------------------------------------------------------


def ending(window: int = WINDOW) -> Callable[[list[Epoch]], bool]:
    """Stops where nothing moves any more, where it learns by heart, and where something is wrong."""

    def ends(curve: list[Epoch]) -> bool:
        return reason(curve, window) is not None

    return ends


def reason(curve: Sequence[Epoch], window: int = WINDOW) -> str | None:
    """Why training should end, if it should: the figures "train" and "test" tell."""
    if not curve:
        return None
    last = curve[-1].figures
    ratio = last["test"] / max(last["train"], 1e-12)
    if len(curve) > window and ratio > OVERFIT:
        return "it learns by heart"
    if len(curve) > window and ratio < GARBAGE:
        return "the test sounds are easier than the training sounds: something is wrong"
    if len(curve) >= 2 * window:
        now, before = (
            [float(np.mean([epoch.figures[name] for epoch in part])) for name in ("train", "test")]
            for part in (curve[-window:], curve[-2 * window : -window])
        )
        if all(abs(b - a) < STALL * max(b, 1e-12) for a, b in zip(now, before, strict=True)):
            return "nothing moves any more"
    return None


def capped(
    seconds: float = math.inf, best: Sequence[float] = (), window: int = WINDOW
) -> Callable[[list[Epoch]], bool]:
    """`ending`, and after so many seconds, and where the loss is over three times the best curve's at the same epoch."""
    begun = time.monotonic()

    def ends(curve: list[Epoch]) -> bool:
        late = time.monotonic() - begun > seconds
        number = len(curve) - 1
        hopeless = number < len(best) and curve[-1].figures["test"] > 3 * best[number]
        return late or hopeless or reason(curve, window) is not None

    return ends


# --- the ladder ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sounds:
    """What is learned from: pictures float16 (n, channels, frames, bins), levels (n,), conditions (n, k) on 0..1, names."""

    picture: Picture
    pictures: np.ndarray
    levels: np.ndarray
    told: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(
        cls, sounds: Sequence[np.ndarray], picture: Picture, told: np.ndarray | None = None, names: Sequence[str] = ()
    ) -> "Sounds":
        """Of sounds [each shape=(n,)], which are taken one by one. Raises SpaceError where all are silent."""
        pictures, levels = np.zeros((len(sounds), *picture.shape), np.float16), np.zeros(len(sounds))
        for n, sound in enumerate(sounds):
            pictures[n], levels[n] = picture.of(sound)
        if not levels.any():
            raise SpaceError("the sounds are silent: there is nothing to learn from them")
        told = np.zeros((len(sounds), 0), np.float32) if told is None else told.astype(np.float32)
        return cls(picture, pictures, levels, told, tuple(names) or tuple(map(str, range(len(sounds)))))

    def __len__(self) -> int:
        return len(self.pictures)

    def some(self, places: Sequence[int]) -> "Sounds":
        """Some of them."""
        places = np.asarray(places, int)
        return replace(
            self, pictures=self.pictures[places], levels=self.levels[places], told=self.told[places],
            names=tuple(self.names[n] for n in places),
        )  # fmt: skip


class _Places:
    """Numbers of items by batches, as the trainer takes them."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Tensor]:
        order = np.arange(self.count) if rng is None else rng.permutation(self.count)
        for begin in range(0, max(self.count // size, 1) * size, size):
            yield torch.from_numpy(order[begin : begin + size])


def train_outer(
    outer: Outer, learned: Sounds, judged: Sounds, folder: Path, schedule: Schedule = OUTER_SCHEDULE, mixes: bool = True,
    shown: Shown = lambda done, steps, loss: None, ends: Callable[[list[Epoch]], bool] | None = None,
    heard: Callable[[np.ndarray], None] = lambda picture: None, begun: nn.Module | None = None,
) -> tuple[nn.Module, list[Epoch]]:  # fmt: skip
    """The first rung, with the weights of its best epoch; what is solved for has a curve of one epoch.

    mixes : whether half of each batch are mixes of its sounds.  begun : a network of this kind to go on from.
    heard : told after each epoch what it makes of the first picture to be judged by.  Raises OSError, FloatingPointError.
    """
    torch.manual_seed(schedule.seed)
    network = OUTERS[outer.kind](outer, learned.picture.shape)
    if begun:
        network.load_state_dict(begun.state_dict())
    x, y = torch.from_numpy(learned.pictures), torch.from_numpy(judged.pictures)

    def off(network: nn.Module, pictures: Tensor) -> Tensor:
        made = network.decode(network.encode(pictures))
        return ((made - pictures).square() * learned.picture.weights(pictures)).mean()

    def loss(network: nn.Module, places: Tensor) -> Tensor:
        pictures = x[places].float()
        if mixes and len(places) > 1:
            half = len(places) // 2
            pictures = torch.cat([pictures[half:], mixed(pictures)[:half]])
        return off(network, pictures)

    @torch.no_grad()
    def check(network: nn.Module) -> dict[str, float]:
        heard(network.decode(network.encode(y[:1].float()))[0].numpy())
        return {
            name: float(
                np.mean([float(off(network, group[at : at + 32].float())) for at in range(0, min(len(group), 256), 32)])
            )
            for name, group in (("train", x), ("test", y))
        }

    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(network, Patch):
        if not begun:
            network.solve(x)
        figures = check(network)
        return network, [Epoch(1, figures["train"], figures)]
    recipe = json.dumps(
        [asdict(outer), asdict(learned.picture), asdict(schedule), mixes, _weights(begun), digest(learned.pictures, judged.pictures)]
    )  # fmt: skip
    curve = fit(
        network, _Places(len(x)), loss, check, schedule, folder / "outer.pt", recipe, shown, ends=ends or ending(), best=_judged,
    )  # fmt: skip
    return network, curve


def _judged(epoch: Epoch) -> float:
    return epoch.figures["test"]


def _weights(network: nn.Module | None) -> str:
    return digest(*(part.numpy() for part in network.state_dict().values())) if network else ""


@torch.no_grad()
def codes_of(network: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """The code of every picture, float32 (n, code)."""
    x = torch.from_numpy(pictures)
    return np.concatenate([network.encode(x[at : at + 32].float()).numpy() for at in range(0, len(x), 32)])


def principal_axes(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and up to so many principal axes (d, count), the largest first, of many long rows (n, d).

    By a subspace that is turned in, some rows at a time: all axes take too long, and so do all rows in float32.
    """
    x = torch.from_numpy(rows)
    mean = sum(some.float().sum(0).double() for some in x.split(512)).div(len(x)).float()
    most = min(count + 16, *x.shape)
    axes, _ = torch.linalg.qr(torch.randn(x.shape[1], most, generator=torch.Generator().manual_seed(0)))
    for _ in range(8):
        turned = sum((off := some.float() - mean).T @ (off @ axes) for some in x.split(512))
        axes, _ = torch.linalg.qr(turned)
    inside = sum((part := (some.float() - mean) @ axes).T @ part for some in x.split(512))
    axes = axes @ torch.linalg.eigh(inside)[1].flip(1)
    return mean.numpy(), axes[:, : min(count, most)].contiguous().numpy()


@dataclass(frozen=True)
class Narrow:
    """Codes (n, code) as what the inner auto-encoder works on.  mean (code,), axes (code, kept); deviation: a number, shape (1,)."""

    mean: np.ndarray
    axes: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> "Narrow":
        """What suits the codes that are learned from."""
        mean, axes = principal_axes(codes, KEPT)
        return cls(mean, axes, np.array([max(float(((codes - mean) @ axes).std()), 1e-6)], np.float32))

    def narrowed(self, codes: np.ndarray) -> np.ndarray:
        """Codes as float32 (n, kept)."""
        return (codes - self.mean) @ self.axes / self.deviation

    def wide(self, numbers: np.ndarray) -> np.ndarray:
        """Back to codes."""
        return numbers * self.deviation @ self.axes.T + self.mean


def train_inner(
    inner: Inner, codes: np.ndarray, told: np.ndarray, others: np.ndarray, beside: np.ndarray, folder: Path,
    schedule: Schedule = INNER_SCHEDULE, shown: Shown = lambda done, steps, loss: None,
    ends: Callable[[list[Epoch]], bool] | None = None, heard: Callable[[Tensor], None] = lambda code: None,
    begun: Vae | None = None,
) -> tuple[Vae, list[Epoch]]:  # fmt: skip
    """The second rung, on narrowed codes (n, kept); `others` and `beside` are codes and conditions to be judged by.

    heard : told after each epoch what it makes of the first of `others`, (1, kept).  begun : a network to go on from.
    """
    torch.manual_seed(schedule.seed)
    network = Vae(inner, codes.shape[1])
    if begun:
        network.load_state_dict(begun.state_dict())
    groups = {"train": _tensors(codes, told), "test": _tensors(others, beside)}

    @torch.no_grad()
    def check(network: Vae) -> dict[str, float]:
        made = {name: network.decode(network.encode(code, by)[0], by) for name, (code, by) in groups.items()}
        heard(made["test"][:1])
        return {name: float((made[name] - code).square().mean()) for name, (code, _) in groups.items()}

    def loss(network: Vae, places: Tensor) -> Tensor:
        code, by = groups["train"]
        return network.cost(code[places], by[places])

    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.dumps([asdict(inner), asdict(schedule), _weights(begun), digest(codes, told, others, beside)])
    curve = fit(
        network, _Places(len(codes)), loss, check, schedule, folder / "inner.pt", recipe, shown, ends=ends or ending(INNER_WINDOW), best=_judged,
    )  # fmt: skip
    return network, curve


@dataclass(frozen=True)
class Space:
    """Both auto-encoders as one.

    narrow : between codes and the inner one.  axes : (latents, latents), the latents' main axes over the training sounds, the
    largest first, as columns; centre, spread : their mean, and deviations along the axes.  card : curves and figures.
    """

    picture: Picture
    outer: Outer
    inner: Inner
    encoder: nn.Module
    vae: Vae
    narrow: Narrow
    axes: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    card: dict[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def latents(self, pictures: np.ndarray, told: np.ndarray) -> np.ndarray:
        """Where pictures lie along the main axes, float (n, latents); 1 is a training sound's deviation."""
        codes = self.narrow.narrowed(codes_of(self.encoder, pictures))
        mean, _ = self.vae.encode(torch.from_numpy(codes), torch.from_numpy(told))
        return (mean.numpy() - self.centre) @ self.axes / self.spread

    @torch.no_grad()
    def pictures(self, latents: np.ndarray, told: np.ndarray) -> np.ndarray:
        """Back: (n, channels, frames, bins)."""
        z = (np.asarray(latents) * self.spread) @ self.axes.T + self.centre
        numbers = self.vae.decode(torch.from_numpy(z.astype(np.float32)), torch.from_numpy(told)).numpy()
        return self.encoder.decode(torch.from_numpy(self.narrow.wide(numbers))).numpy()

    def _told(self, told: np.ndarray | None, count: int) -> np.ndarray:
        told = np.full((1, self.inner.conditions), 0.5) if told is None else np.atleast_2d(told)
        if told.shape[1] != self.inner.conditions:
            raise SpaceError(f"the space wants {self.inner.conditions} conditions, not {told.shape[1]}")
        return np.broadcast_to(told, (count, self.inner.conditions)).astype(np.float32)

    def at(
        self, latents: np.ndarray, told: np.ndarray | None = None, levels: float | np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Sounds of places (n, latents) on the axes, each (samples,).

        levels : of all, or of each (n,); default: as loud as those that were learned from are in the mean.
        """
        latents = np.atleast_2d(latents)
        levels = np.broadcast_to(self.card["level"] if levels is None else levels, len(latents))
        made = self.pictures(latents, self._told(told, len(latents)))
        return [self.picture.sound(*each) for each in zip(made, levels, strict=True)]

    def place(self, sound: np.ndarray, told: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """Where a sound lies (latents,), and how loud it is."""
        picture, level = self.picture.of(sound)
        return self.latents(picture[None], self._told(told, 1))[0], level

    # --- what can be made ---

    def interpolated(
        self, first: np.ndarray, second: np.ndarray, count: int, told: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Sounds on the straight way from one to another. told : conditions (1 or 2, k), of both or of each."""
        way = np.linspace(0, 1, count)[:, None]
        told = self._told(told, 2)
        (a, loud), (b, other) = self.place(first, told[:1]), self.place(second, told[1:])
        levels = (loud + (other - loud) * way)[:, 0]
        return self.at(a + (b - a) * way, told[:1] + (told[1:] - told[:1]) * way, levels)

    def plainly_interpolated(self, first: np.ndarray, second: np.ndarray, count: int) -> list[np.ndarray]:
        """The same between pictures, without any machine: what the space is to be better than."""
        (a, loud), (b, other) = self.picture.of(first), self.picture.of(second)
        return [self.picture.sound(a + (b - a) * x, loud + (other - loud) * x) for x in np.linspace(0, 1, count)]

    def perturbed(
        self, sound: np.ndarray, amount: float, count: int, seed: int = 0, told: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Sounds about one; amount in deviations."""
        place, level = self.place(sound, told)
        off = np.random.default_rng(seed).standard_normal((count, self.inner.latents))
        return self.at(place + amount * off, told, level)

    def drawn(self, count: int, seed: int = 0, told: np.ndarray | None = None) -> list[np.ndarray]:
        """Sounds of random places."""
        return self.at(np.random.default_rng(seed).standard_normal((count, self.inner.latents)), told)

    def swept(self, axis: int, values: Sequence[float], told: np.ndarray | None = None) -> list[np.ndarray]:
        """Sounds along one axis, the others at their middle. Raises SpaceError for an axis that is not there."""
        if not 0 <= axis < self.inner.latents:
            raise SpaceError(f"there is no axis {axis}; there are {self.inner.latents}")
        places = np.zeros((len(values), self.inner.latents))
        places[:, axis] = values
        return self.at(places, told)

    def encoded_again(self, sound: np.ndarray, times: int, told: np.ndarray | None = None) -> list[np.ndarray]:
        """A sound through the space and through it again: what it drifts to."""
        made = []
        for _ in range(times):
            place, level = self.place(sound, told)
            (sound,) = self.at(place, told, level)
            made.append(sound)
        return made

    def rebuilt(self, sounds: Sounds, axes: int | None = None) -> np.ndarray:
        """Pictures through the space, with the first so many axes only: the fidelity knob."""
        latents = self.latents(sounds.pictures, sounds.told)
        latents[:, axes if axes is not None else self.inner.latents :] = 0.0
        return self.pictures(latents, sounds.told)

    def losses(self, sounds: Sounds, axes: int | None = None) -> list[tuple[str, float]]:
        """Each sound's name and RMS error in per cent, the worst first."""
        off = self.picture.error(self.rebuilt(sounds, axes), sounds.pictures)
        return sorted(((name, stdev(x)) for name, x in zip(sounds.names, off, strict=True)), key=lambda row: -row[1])

    # --- files ---

    def save(self, folder: Path) -> None:
        """Write it. Raises OSError."""
        arrays = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _ARRAYS}
        arrays |= {f"narrow.{name}": torch.from_numpy(value) for name, value in vars(self.narrow).items()}
        for name, part in (("encoder", self.encoder), ("vae", self.vae)):
            arrays |= {f"{name}.{key}": value.contiguous() for key, value in part.state_dict().items()}
        parts = {name: asdict(getattr(self, name)) for name in ("picture", "outer", "inner")}
        facts = {"version": VERSION, "model": "samplegen", **parts, "card": self.card}
        write_model(folder, save(arrays), facts)

    @classmethod
    def load(cls, folder: Path) -> "Space":
        """Read one. Raises SpaceError."""
        try:
            facts = json.loads((folder / "card.json").read_text())
            if facts["model"] != "samplegen" or facts["version"] != VERSION:
                raise SpaceError(f"{folder} holds another kind of model, or one of another version: train it again")
            picture, outer, inner = Picture(**facts["picture"]), Outer(**facts["outer"]), Inner(**facts["inner"])
            arrays = load_file(folder / "weights.safetensors")
            encoder = OUTERS[outer.kind](outer, picture.shape)
            narrow = Narrow(*(arrays[f"narrow.{name}"].numpy() for name in ("mean", "axes", "deviation")))
            vae = Vae(inner, narrow.axes.shape[1])
            for name, part in (("encoder", encoder), ("vae", vae)):
                part.load_state_dict(
                    {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}
                )
                part.eval()
            rest = (arrays[name].numpy() for name in _ARRAYS)
            return cls(picture, outer, inner, encoder, vae, narrow, *rest, facts["card"])
        except SpaceError:
            raise
        except Exception as error:  # a file that is not whole raises whatever its reader raises
            raise SpaceError(f"{folder} holds no space of notes ({error}); jxemu ml notes train makes one") from None


_ARRAYS = ("axes", "centre", "spread")


def train(
    outer: Outer, inner: Inner, learned: Sounds, judged: Sounds, folder: Path, schedules: tuple[Schedule, Schedule] = (OUTER_SCHEDULE, INNER_SCHEDULE),
    shown: Callable[[str], Shown] = lambda what: lambda done, steps, loss: None, known: "Space | None" = None,
    tuned: "Space | None" = None, mixes: bool = True, also: Sequence[int] = (),
    heard: Callable[[str, np.ndarray, bool], None] = lambda rung, picture, at_last: None,
) -> Space:  # fmt: skip
    """Both rungs; what was begun in the folder goes on.

    known : a space whose outer auto-encoder is taken as it is.  tuned : a space that both go on from.  mixes : see `train_outer`.
    also : numbers of latents of other inner ones, which are trained too, for the error by size.
    heard : told after each epoch, and at last, by the name of the rung, the picture that it makes of the first sound to be judged by.
    Raises SpaceError, OSError, FloatingPointError.
    """
    for space in filter(None, (known, tuned)):
        if space.picture != learned.picture:
            raise SpaceError("the space that is gone on from has pictures of another shape")
    if tuned:
        if known or also:
            raise SpaceError("a space that is tuned is not kept, and has no others beside it")
        outer, inner = tuned.outer, tuned.inner
    if not learned.levels.any():
        raise SpaceError("the sounds to learn from are silent")
    if inner.conditions != learned.told.shape[1]:
        raise SpaceError(
            f"{learned.told.shape[1]} conditions are there, the inner auto-encoder takes {inner.conditions}"
        )
    if len(learned) < 2 or not len(judged):
        raise SpaceError("at least two sounds to learn from and one to be judged by are needed")
    if known:
        outer, encoder, outer_curve = known.outer, known.encoder, known.card["outer_curve"]
        folder.mkdir(parents=True, exist_ok=True)
    else:
        encoder, found = train_outer(
            outer, learned, judged, folder, schedules[0], mixes, shown("outer auto-encoder"),
            heard=partial(heard, "outer", at_last=False), begun=tuned and tuned.encoder,
        )  # fmt: skip
        outer_curve = [asdict(epoch) for epoch in found]
    codes, others = codes_of(encoder, learned.pictures), codes_of(encoder, judged.pictures)
    narrow = tuned.narrow if tuned else Narrow.of(codes)
    codes, others = narrow.narrowed(codes), narrow.narrowed(others)

    def wide(numbers: Tensor) -> np.ndarray:
        return encoder.decode(torch.from_numpy(narrow.wide(numbers.numpy()))).numpy()

    vae, inner_curve = train_inner(
        inner, codes, learned.told, others, judged.told, folder, schedules[1], shown("inner auto-encoder"),
        heard=lambda numbers: heard("inner", wide(numbers)[0], False), begun=tuned and tuned.vae,
    )  # fmt: skip
    with torch.no_grad():
        found, spreads = vae.encode(torch.from_numpy(codes), torch.from_numpy(learned.told))
    means = found.numpy()
    centre = means.mean(0)
    _, sizes, turn = np.linalg.svd(means - centre, full_matrices=False)
    axes = np.eye(inner.latents, dtype=np.float32)
    axes[:, : len(turn)] = turn.T
    spread = np.ones(inner.latents, np.float32)
    spread[: len(sizes)] = np.maximum(sizes / math.sqrt(len(means)), 1e-6)
    space = Space(learned.picture, outer, inner, encoder, vae, narrow, axes, centre, spread)
    space.card.update(_figures(space, encoder, learned, judged, carried(found, spreads).numpy()))
    space.card.update(outer_curve=outer_curve, inner_curve=[asdict(e) for e in inner_curve])
    outer_ended = known.card["ended"]["outer"] if known else _ended(outer_curve, WINDOW)
    space.card["ended"] = {
        "outer": "solved for" if isinstance(encoder, Patch) else outer_ended,
        "inner": _ended(space.card["inner_curve"], INNER_WINDOW),
    }
    space.card["level"] = float(learned.levels[learned.levels > 0].mean())
    by_latents, parts = {inner.latents: space.card["through"]}, []
    for count in sorted({*also} - {inner.latents}):
        parts.append(folder / f"latents-{count}")
        other, _ = train_inner(
            replace(inner, latents=count), codes, learned.told, others, judged.told, parts[-1], schedules[1],
            shown(f"inner auto-encoder, {count} latents"),
        )  # fmt: skip
        by_latents[count] = _off(partial(_through, space, other), judged)
    space.card["by latents"] = {str(count): by_latents[count] for count in sorted(by_latents)}
    with torch.no_grad():
        first = torch.from_numpy(judged.pictures[:1]).float()
        heard("outer", encoder.decode(encoder.encode(first))[0].numpy(), True)
    heard("inner", space.rebuilt(judged.some([0]))[0], True)
    space.save(folder)
    for name in ("outer.pt", "inner.pt"):
        (folder / name).unlink(missing_ok=True)
    for part in parts:
        shutil.rmtree(part)
    return space


@torch.no_grad()
def _through(space: Space, other: Vae, sounds: Sounds) -> np.ndarray:
    """Pictures through another inner auto-encoder on the codes of a space."""
    codes, told = _tensors(space.narrow.narrowed(codes_of(space.encoder, sounds.pictures)), sounds.told)
    numbers = other.decode(other.encode(codes, told)[0], told)
    return space.encoder.decode(torch.from_numpy(space.narrow.wide(numbers.numpy()))).numpy()


def _ended(curve: Sequence[dict[str, Any]], window: int) -> str:
    """Why a training came to its end."""
    return (
        reason([Epoch(**epoch) for epoch in curve], window) or f"after epoch {len(curve)}, the last that was asked for"
    )


def _off(made: Callable[[Sounds], np.ndarray], sounds: Sounds) -> float:
    """RMS error of pictures that are made of sounds' own, some at a time: all of them do not fit into memory twice."""
    parts = [sounds.some(range(at, min(at + 256, len(sounds)))) for at in range(0, len(sounds), 256)]
    errors = [sounds.picture.error(made(part), part.pictures) for part in parts]
    return stdev(float(np.concatenate(errors).mean()))


def _tensors(*arrays: np.ndarray) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays)


def principal(learned: np.ndarray, count: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """Pictures through up to `count` principal components of those that were learned from: the baseline of equal size."""
    mean, axes = principal_axes(learned.reshape(len(learned), -1), count)

    def rebuilt(pictures: np.ndarray, count: int) -> np.ndarray:
        off = pictures.reshape(len(pictures), -1) - mean
        return (mean + off @ axes[:, :count] @ axes[:, :count].T).reshape(pictures.shape)

    return rebuilt


def _figures(space: Space, encoder: nn.Module, learned: Sounds, judged: Sounds, nats: np.ndarray) -> dict[str, Any]:
    @torch.no_grad()
    def outside(sounds: Sounds) -> np.ndarray:
        return encoder.decode(torch.from_numpy(codes_of(encoder, sounds.pictures))).numpy()

    counts = [*(n for n in (1, 2, 4, 8, 16, 32) if n < space.inner.latents), space.inner.latents]
    by_components = principal(learned.pictures, max(counts))
    return {
        "weights": [
            sum(p.numel() for p in encoder.parameters()),
            sum(p.numel() for p in space.vae.parameters()) + space.narrow.axes.size,
        ],
        "compression": math.prod(learned.picture.shape) / encoder.code,
        "outer": _off(outside, judged),
        "through": _off(space.rebuilt, judged),
        "through, training": _off(space.rebuilt, learned),
        "by axes": {str(n): _off(lambda part, n=n: space.rebuilt(part, n), judged) for n in counts},
        "by principal components": {
            str(n): _off(lambda part, n=n: by_components(part.pictures, n), judged) for n in counts
        },
        "nearest": _off(lambda part: learned.pictures[nearest(learned.pictures, part.pictures)], judged),
        "active": int((nats > ACTIVE).sum()),
        "nats": nats.tolist(),
    }


def nearest(learned: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Of each picture to be judged, the place of the learned one that is least off."""
    other = torch.from_numpy(judged).flatten(1).float()
    best, place = torch.full((len(judged),), math.inf), torch.zeros(len(judged), dtype=torch.long)
    for at in range(0, len(learned), 1024):
        some = torch.from_numpy(learned[at : at + 1024]).flatten(1).float()
        apart, where = (some.square().sum(1) - 2 * other @ some.T).min(1)
        nearer = apart < best
        best[nearer], place[nearer] = apart[nearer], where[nearer] + at
    return place.numpy()
