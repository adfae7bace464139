"""An effect learned from what goes in and what comes out: any pair of a dry and a wet sound, with controls beside it.

Every network is a step: the next samples in, as many out, and a state between; so a whole file and blocks of any size give
the same sound. What looks ahead answers `future` samples late, which `Stream` tells and `Model.apply` takes back.

Kinds: the three networks of TensorFlow Signal Processing and two that it compared with, linear fits, a gated
convolution network in NAM's shape, an LSTM, a diagonal state-space model.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from scipy import linalg, signal
from torch import Tensor, nn

from jxemu.ml.modes import Modes
from jxemu.ml.train import Epoch, Schedule, Shown, digest, fit, write_model

VERSION = 1
VALIDATION = 0.25
"""Share of a pair, its end, that is not learned from."""

WINDOW = 2048
"""Samples of a window that the loss is taken of; what comes before only warms up."""

CHUNK = 1 << 14
"""Samples that a file is worked through by."""

CHECKED = 10.0
"""Seconds that the error is taken of after each epoch."""

EMPHASIS = 0.85
"""Of the first difference in the loss: high partials are weak and matter. After Wright et al. 2020."""

GRADES = ((0.01, "great"), (0.035, "not bad"), (0.1, "maybe fine"), (0.3, "probably not good"))
"""ESR up to which a model is called so. As in the trainer of Neural Amp Modeler."""

State = Any
"""What a network remembers: tensors, whatever their number."""


class EffectError(ValueError):
    """What cannot be learned from, read or exported; the message says why."""


def grade(esr: float) -> str:
    """What NAM's users call such an error."""
    return next((word for most, word in GRADES if esr < most), "something is wrong")


@dataclass(frozen=True)
class Pair:
    """dry : (n,).  wet : (n, outputs).  controls : (n, controls), 0..1.  rate : Hz.  Raises EffectError if they do not fit."""

    dry: np.ndarray
    wet: np.ndarray
    rate: int
    controls: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if not self.controls.size:
            object.__setattr__(self, "controls", np.zeros((len(self.dry), 0), np.float32))
        lengths = len(self.dry), len(self.wet), len(self.controls)
        if len(set(lengths)) > 1:
            raise EffectError(
                f"dry, wet and controls have {', '.join(map(str, lengths))} samples; they must be as long"
            )

    @property
    def silent(self) -> bool:
        """Whether there is nothing in its dry or in its wet sound."""
        return not (np.abs(self.dry).max(initial=0) > 1e-6 and np.abs(self.wet).max(initial=0) > 1e-6)

    @property
    def inputs(self) -> np.ndarray:
        """float32 (1 + controls, n)."""
        return np.concatenate([self.dry[None], self.controls.T]).astype(np.float32)

    def part(self, begin: int, end: int) -> "Pair":
        """A stretch of it."""
        return Pair(self.dry[begin:end], self.wet[begin:end], self.rate, self.controls[begin:end])

    def halves(self) -> tuple["Pair", "Pair"]:
        """What is learned from, and what is only checked on."""
        cut = round((1 - VALIDATION) * len(self.dry))
        return self.part(0, cut), self.part(cut, len(self.dry))


# --- networks ------------------------------------------------------------------------------------


class Effect(nn.Module):
    """What all kinds share. `step(x, state)` takes (batch, 1 + controls, n) and gives (batch, outputs, n).

    past : samples that it warms up on.  future : samples that it answers late.
    """

    past = 1000
    future = 0

    def start(self, batch: int) -> State:
        """What it remembers before the first sample."""
        raise NotImplementedError

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The next samples."""
        raise NotImplementedError

    def window(self, x: Tensor) -> Tensor:
        """A stretch from silence, after which nothing need be remembered."""
        return self.step(x, self.start(len(x)))[0]

    def forward(self, x: Tensor) -> Tensor:
        """A stretch from silence, in time with what went in."""
        return self.window(nn.functional.pad(x, (0, self.future)))[..., self.future :]


class Fir(Effect):
    """Taps that were solved for, not trained; controls say nothing to it."""

    def __init__(self, controls: int, outputs: int, taps: int = 512):
        super().__init__()
        self.past = taps - 1
        self.register_buffer("taps", torch.zeros(outputs, 1, taps))

    def start(self, batch: int) -> State:
        """The last samples."""
        return torch.zeros(batch, 1, self.past)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Their sum by the taps."""
        joined = torch.cat([state, x[:, :1]], 2)
        return nn.functional.conv1d(joined, self.taps.flip(2)), joined[..., x.shape[2] :]

    def solve(self, pair: Pair) -> None:
        """Least squares."""
        dry, count = pair.dry.astype(float), self.taps.shape[2]
        size = 1 << (len(dry) + count).bit_length()
        spectrum = np.fft.rfft(dry, size)
        own = np.fft.irfft(np.abs(spectrum) ** 2, size)[:count]
        own[0] *= 1 + 1e-10
        for n, wet in enumerate(pair.wet.T.astype(float)):
            across = np.fft.irfft(np.fft.rfft(wet, size) * spectrum.conj(), size)[:count]
            self.taps[n, 0] = torch.from_numpy(linalg.solve_toeplitz(own, across))


class Iir(Effect):
    """Poles and zeros that were solved for (Steiglitz and McBride); controls say nothing to it."""

    rounds = 8

    def __init__(self, controls: int, outputs: int, order: int = 8):
        super().__init__()
        self.register_buffer("b", torch.zeros(outputs, order + 1, dtype=torch.float64))
        self.register_buffer("a", torch.zeros(outputs, order + 1, dtype=torch.float64))

    def start(self, batch: int) -> State:
        """The memories of its sections."""
        return torch.zeros(batch, len(self.b), self.b.shape[1] - 1, dtype=torch.float64)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The recursion."""
        dry, before = x[:, 0].double().numpy(), state.numpy()
        made = [
            [
                signal.lfilter(b, a, row, zi=memory)
                for b, a, memory in zip(self.b.numpy(), self.a.numpy(), own, strict=True)
            ]
            for row, own in zip(dry, before, strict=True)
        ]
        sound = np.array([[each[0] for each in row] for row in made])
        return torch.from_numpy(sound).to(x.dtype), torch.from_numpy(
            np.array([[each[1] for each in row] for row in made])
        )

    def solve(self, pair: Pair) -> None:
        """Least squares of both polynomials, the sounds filtered by the poles of the round before."""
        order, most = self.b.shape[1] - 1, 20 * pair.rate
        for n, wet in enumerate(pair.wet.T[:, :most].astype(float)):
            a = np.r_[1.0, np.zeros(order)]
            best = (math.inf, a, a)
            for _ in range(self.rounds):
                x, y = (signal.lfilter([1.0], a, each) for each in (pair.dry[:most].astype(float), wet))
                rows = [np.r_[np.zeros(k), x[: len(x) - k]] for k in range(order + 1)]
                rows += [-np.r_[np.zeros(k), y[: len(y) - k]] for k in range(1, order + 1)]
                gram = np.array([[u @ v for v in rows] for u in rows])
                gram[np.diag_indices_from(gram)] *= 1 + 1e-13
                found = np.linalg.solve(gram, np.array([u @ y for u in rows]))
                b, a = found[: order + 1], np.r_[1.0, found[order + 1 :]]
                poles = np.roots(a)
                poles = np.where(
                    np.abs(poles) > 1, 1 / poles.conj(), poles
                )  # the mirrored pole rings alike, and dies away
                a = np.real(np.poly(poles * np.minimum(1.0, 0.999999 / np.abs(poles))))
                error = float(np.square(signal.lfilter(b, a, pair.dry[:most]) - wet).sum())
                best = min(best, (error, b, a), key=lambda each: each[0])
            self.b[n], self.a[n] = torch.from_numpy(best[1]), torch.from_numpy(best[2])


class Delay(Effect):
    """A chorus: taps on the sound, and taps on the sound behind a delay that the first control moves. All is solved for.

    delay : samples, a polynomial of the control, for each output.
    """

    bins, degree, rounds, most_seconds = 24, 3, 3, 12
    reach, ahead = 16, 32
    """Samples on either side that one between samples is made of; taps of the delayed sound that come before its delay."""

    def __init__(self, controls: int, outputs: int, taps: int = 64, longest: int = 1024):
        super().__init__()
        if controls != 1:
            raise EffectError("a delay is moved by one control track; give its LFO as --control")
        self.past = longest + 2 * taps
        self.register_buffer("delay", torch.zeros(outputs, self.degree + 1, dtype=torch.float64))
        self.register_buffer("dry", torch.zeros(outputs, taps, dtype=torch.float64))
        self.register_buffer("wet", torch.zeros(outputs, taps, dtype=torch.float64))
        self.taps, self.longest = taps, longest

    def start(self, batch: int) -> State:
        """The last samples, and the last of the control."""
        return torch.zeros(batch, 2, self.past, dtype=torch.float64)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Both kinds of taps."""
        joined = torch.cat([state, x[:, :2].double()], 2).numpy()
        count, taps = x.shape[2], self.taps
        made = np.empty((len(x), len(self.delay), count))
        for row, (sound, control) in zip(made, joined, strict=True):
            for n, (delay, dry, wet) in enumerate(
                zip(self.delay.numpy(), self.dry.numpy(), self.wet.numpy(), strict=True)
            ):
                moved = self.moved(sound, control, delay, len(sound) - count - taps + 1)
                row[n] = np.convolve(sound[-count - taps + 1 :], dry, "valid") + np.convolve(moved, wet, "valid")
        return torch.from_numpy(made).to(x.dtype), torch.from_numpy(joined[..., -self.past :])

    def moved(self, sound: np.ndarray, control: np.ndarray, delay: np.ndarray, begin: int) -> np.ndarray:
        """The sound behind its moving delay, from sample `begin` on."""
        at = np.arange(begin, len(sound))
        behind = np.polynomial.polynomial.polyval(control[begin:], delay) - self.ahead
        place = at - np.clip(behind, self.reach, self.longest - self.reach)
        whole = np.floor(place).astype(int)
        near = np.arange(1 - self.reach, self.reach + 1)
        part = np.maximum(place - whole, 1e-9)[:, None]
        # a sinc under a raised cosine, both by the sum of angles: sines of whole numbers of pi are signs
        sinc = np.where(near % 2, 1.0, -1.0) * np.sin(np.pi * part) / (np.pi * (near - part))
        turn = np.pi * near / self.reach, np.pi * part / self.reach
        shape = sinc * (0.5 + 0.5 * (np.cos(turn[0]) * np.cos(turn[1]) + np.sin(turn[0]) * np.sin(turn[1])))
        return np.einsum("nk,nk->n", shape, sound[np.maximum(whole[:, None] + near, 0)])

    @staticmethod
    def _bright(sound: np.ndarray) -> np.ndarray:
        """A sound with its high partials raised: taps are to be right there, too."""
        return signal.lfilter([1.0, -0.95], [1.0], sound)

    def _rows(self, sound: np.ndarray) -> np.ndarray:
        """What the taps see of each sample."""
        rows = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (self.taps - 1, 0)), self.taps)
        return np.ascontiguousarray(rows[:, ::-1])

    @staticmethod
    def _line(answers: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """The straight line of delay over control along which the most is heard: notes' own periods lie on none."""
        ends = np.arange(0, answers.shape[1], 2)
        share = (np.arange(len(answers)) + 0.5) / len(answers)
        heard = np.zeros((len(ends), len(ends)))
        for answer, at in zip(np.maximum.reduce([np.roll(answers, k, 1) for k in (-1, 0, 1)]), share, strict=True):
            heard += answer[np.rint(ends[:, None] * (1 - at) + ends * at).astype(int)]
        first, last = ends[list(np.unravel_index(heard.argmax(), heard.shape))]
        slope = (last - first) / (edges[-1] - edges[0])
        return np.array([first - slope * edges[0], slope])

    def solve(self, pair: Pair) -> None:
        """The delay by what is heard in the control's steps, then taps and delay in turn."""
        sound = pair.dry[: self.most_seconds * pair.rate].astype(float)
        control = pair.controls[: len(sound), 0].astype(float)
        size = 1 << (len(sound) + self.longest).bit_length()
        spectrum = np.fft.rfft(sound, size)
        power = np.abs(spectrum) ** 2
        power = power + 1e-3 * power.mean()
        edges = np.linspace(control.min(), control.max() + 1e-9, self.bins + 1)
        for n, wet in enumerate(pair.wet[: len(sound)].T.astype(float)):
            plain = self._rows(self._bright(sound))
            wet = self._bright(wet)
            left = wet - plain @ np.linalg.solve(
                plain.T @ plain + 1e-9 * np.eye(self.taps) * (sound @ sound), plain.T @ wet
            )
            answers = []
            for low, high in itertools.pairwise(edges):
                there = (control >= low) & (control < high)
                answer = np.fft.irfft(np.fft.rfft(left * there, size) * spectrum.conj() / power, size)[: self.longest]
                answer[: self.taps + 8] = 0.0  # the plain taps end there
                answers.append(np.abs(answer) / max(np.abs(answer).max(), 1e-12))
            delay = self._line(np.array(answers), edges)
            delay = np.r_[delay, np.zeros(self.degree - 1)]
            for _ in range(self.rounds):
                moved = self.moved(sound, control, delay, 0)
                later = self.moved(sound, control, delay + np.r_[0.1, np.zeros(self.degree)], 0)
                both = np.concatenate([plain, self._rows(self._bright(moved))], 1)
                gram = both.T @ both
                gram[np.diag_indices_from(gram)] += 1e-7 * (sound @ sound)
                found = np.linalg.solve(gram, both.T @ wet)
                dry, taps = np.split(found, 2)
                off = wet - both @ found
                slope = np.convolve(self._bright((later - moved) / 0.1), taps)[: len(sound)]
                ways = slope[:, None] * control[:, None] ** np.arange(self.degree + 1)
                delay = delay + np.linalg.lstsq(ways, off, rcond=None)[0]
            self.delay[n], self.dry[n], self.wet[n] = (torch.from_numpy(each) for each in (delay, dry, taps))


class Dense(Effect):
    """Three full layers on frames that overlap by half and fade into each other; the original's, whose windows clicked.

    The original's frames were half a second (22,050 samples); `span` is a setting here.
    """

    def __init__(self, controls: int, outputs: int, span: int = 1024, width: int = 1000, bend: bool = False):
        super().__init__()
        self.span, self.hop, self.outputs = span, span // 2, outputs
        self.past = self.future = span + self.hop - 1
        bends = [nn.ReLU()] if bend else []
        sizes = [span + controls * 2, width, width]
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), *bends)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, span * outputs))
        at = torch.arange(span)
        self.register_buffer("fade", 0.5 - 0.5 * torch.cos(2 * torch.pi * (at + 0.5) / span))

    def start(self, batch: int) -> State:
        """Samples that wait for their frame, what the last frame left to fade, and what is ready."""
        shape = batch, self.outputs
        return None, torch.zeros(*shape, self.hop), torch.zeros(*shape, self.future)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Frames as they become whole."""
        waiting, tail, ready = state
        waiting = x if waiting is None else torch.cat([waiting, x], 2)
        while waiting.shape[2] >= self.span:
            frame = waiting[..., : self.span]
            controls = frame[:, 1:, [0, -1]].flatten(1)
            made = self.layers(torch.cat([frame[:, 0], controls], 1)).view(len(x), self.outputs, self.span) * self.fade
            ready = torch.cat([ready, tail + made[..., : self.hop]], 2)
            tail, waiting = made[..., self.hop :], waiting[..., self.hop :]
        return ready[..., : x.shape[2]], (waiting, tail, ready[..., x.shape[2] :])


class Conv(Effect):
    """Filters, a scale and a rectifier for each, and the same filters backwards: the original's best.

    middle : whether there is a scale.  tied : whether the filters back are the same.  Controls move scale and bias.
    """

    def __init__(
        self, controls: int, outputs: int, filters: int = 50, taps: int = 50, middle: bool = True, tied: bool = True
    ):
        super().__init__()
        self.past, self.future, self.outputs = 2 * taps, taps - 1, outputs
        self.analysis = nn.Parameter(torch.randn(filters, 1, taps) / taps)
        self.back = nn.Parameter(torch.randn(filters, outputs, taps) / taps) if not tied else None
        self.gain = nn.Parameter(torch.ones(outputs)) if tied else None
        self.middle = nn.Conv1d(controls, 2 * filters, 1) if middle and controls else None
        self.scale = nn.Parameter(torch.stack([torch.ones(filters), torch.zeros(filters)])) if middle else None

    def start(self, batch: int) -> State:
        """The last samples, and the last of what the filters said."""
        filters, _, taps = self.analysis.shape
        return torch.zeros(batch, 1, taps - 1), torch.zeros(batch, taps - 1, filters)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """There and back, as products of matrices: convolutions of a single channel are eight times slower."""
        joined, count = torch.cat([state[0], x[:, :1]], 2), x.shape[2]
        taps = self.analysis.shape[2]
        heard = torch.relu(joined[:, 0].unfold(1, taps, 1) @ self.analysis[:, 0].T)  # batch, n, filters
        if self.scale is not None:
            scale, bias = self.scale
            if self.middle is not None:
                more, off = self.middle(x[:, 1:]).transpose(1, 2).chunk(2, 2)
                scale, bias = scale + more, bias + off
            heard = torch.relu(heard * scale + bias)
        heard = torch.cat([state[1], heard], 1)
        back = self.analysis if self.back is None else self.back
        said = heard @ back.flatten(1)  # batch, n + taps - 1, outputs and taps: of each sample, to the next `taps` ones
        wide = said.shape[2]
        there = (len(x), wide // taps, count, taps), (said.shape[1] * wide, taps, wide, wide - 1)
        made = said.as_strided(*there, taps - 1).sum(3)
        if self.gain is not None:
            made = made * self.gain[:, None]
        return made, (joined[..., count:], heard[:, count:])


@dataclass(frozen=True)
class Array:
    """A row of dilated layers, in NAM's words."""

    channels: int
    head: int
    dilations: tuple[int, ...]


_SHORT, _REST = tuple(1 << n for n in range(7)), (128, 256, 512, *(1 << n for n in range(10)))
_WHOLE = tuple(1 << n for n in range(10))
SIZES = {
    "nano": (Array(4, 2, _SHORT), Array(2, 1, _REST)),
    "feather": (Array(8, 4, _SHORT), Array(4, 1, _REST)),
    "lite": (Array(12, 6, _SHORT), Array(6, 1, _REST)),
    "standard": (Array(16, 8, _WHOLE), Array(8, 1, _WHOLE)),
}
"""Sizes of NAM's convolution networks, by their names there."""

KERNEL, HEAD_SCALE = 3, 0.02


class _Dilated(nn.Module):
    """A gated layer: `h` goes on, `skip` to the head."""

    def __init__(self, channels: int, condition: int, dilation: int):
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(channels, 2 * channels, KERNEL, dilation=dilation)
        self.mixer = nn.Conv1d(condition, 2 * channels, 1, bias=False)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, h: Tensor, condition: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = torch.cat([before, h], 2)
        z, gate = (self.conv(joined) + self.mixer(condition)).chunk(2, 1)
        skip = torch.tanh(z) * torch.sigmoid(gate)
        return h + self.out(skip), skip, joined[..., h.shape[2] :]


class Tcn(Effect):
    """Gated dilated convolutions in the shape of NAM's WaveNet, so that it can be exported; controls are more conditions."""

    def __init__(self, controls: int, outputs: int, size: str = "feather"):
        super().__init__()
        arrays, condition = SIZES[size], 1 + controls
        heads = [*(each.head for each in arrays[:-1]), outputs]
        self.past = sum((KERNEL - 1) * dilation for each in arrays for dilation in each.dilations)
        sizes = [condition, *(each.channels for each in arrays)]
        self.rechannel = nn.ModuleList(nn.Conv1d(a, b, 1, bias=False) for a, b in itertools.pairwise(sizes))
        self.layers = nn.ModuleList(
            nn.ModuleList(_Dilated(each.channels, condition, d) for d in each.dilations) for each in arrays
        )
        self.heads = nn.ModuleList(
            nn.Conv1d(each.channels, head, 1, bias=each is arrays[-1]) for each, head in zip(arrays, heads, strict=True)
        )

    def start(self, batch: int) -> State:
        """What each layer still sees of before."""
        return [
            torch.zeros(batch, layer.out.in_channels, (KERNEL - 1) * layer.dilation)
            for row in self.layers
            for layer in row
        ]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All rows; each one's head begins with what the row before said."""
        h, head, after, places = x, None, [], iter(state)
        for rechannel, row, close in zip(self.rechannel, self.layers, self.heads, strict=True):
            h = rechannel(h)
            for layer in row:
                h, skip, kept = layer(h, x, next(places))
                head = skip if head is None else head + skip
                after.append(kept)
            head = close(head)
        return head * HEAD_SCALE, after


class Lstm(Effect):
    """One recurrent layer. After Wright et al. 2019."""

    past = 500

    def __init__(self, controls: int, outputs: int, hidden: int = 32):
        super().__init__()
        self.lstm = nn.LSTM(1 + controls, hidden, batch_first=True)
        self.lstm.bias_ih_l0.data[hidden : 2 * hidden] = 2.0  # it remembers, until it learns what to forget
        self.head = nn.Linear(hidden, outputs)

    def start(self, batch: int) -> State:
        """Its cells, at rest."""
        return torch.zeros(1, batch, self.lstm.hidden_size), torch.zeros(1, batch, self.lstm.hidden_size)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Sample by sample."""
        h, state = self.lstm(x.transpose(1, 2), state)
        return self.head(h).transpose(1, 2), state


class Ssm(Effect):
    """Layers of diagonal state-space modes with a gate between them."""

    past = 2000

    def __init__(self, controls: int, outputs: int, width: int = 16, modes: int = 8, layers: int = 3):
        super().__init__()
        self.width, self.modes = width, modes
        self.enter = nn.Conv1d(1 + controls, width, 1)
        self.modes_of = nn.ModuleList(Modes(width, modes) for _ in range(layers))
        self.mix = nn.ModuleList(nn.Conv1d(width + controls, 2 * width, 1) for _ in range(layers))
        self.leave = nn.Conv1d(width + 1, outputs, 1)

    def start(self, batch: int) -> State:
        """Every mode at rest."""
        return [torch.zeros(batch, self.width, self.modes, dtype=torch.complex64) for _ in self.modes_of]

    def window(self, x: Tensor) -> Tensor:
        """As all do, without what the modes would take along."""
        return self.step(x, [None] * len(self.modes_of))[0]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Layer by layer."""
        h, after = self.enter(x), []
        for modes, mix, before in zip(self.modes_of, self.mix, state, strict=True):
            rung, kept = modes(h, before)
            z, gate = mix(torch.cat([rung, x[:, 1:]], 1)).chunk(2, 1)
            h = h + torch.tanh(z) * torch.sigmoid(gate)
            after.append(kept)
        return self.leave(torch.cat([h, x[:, :1]], 1)), after


@dataclass(frozen=True)
class Kind:
    """A kind of model: `make(controls, outputs)`, how it is trained (None: solved for), and what it is."""

    make: Callable[[int, int], Effect]
    text: str
    schedule: Schedule | None = None
    window: int = WINDOW


_FAST = Schedule(epochs=20, batch=16, rate=2e-3, decay=0.0)
KINDS = {
    "fir": Kind(Fir, "512 taps, least squares"),
    "iir": Kind(Iir, "8 poles and zeros, least squares"),
    "delay": Kind(Delay, "64 taps, and 64 behind a delay that a control moves, least squares"),
    "linear": Kind(Dense, "three full layers on frames of 1,024", Schedule(40, 32, 5e-4, 1e-5), 4096),
    "relu": Kind(lambda c, o: Dense(c, o, bend=True), "the same with rectifiers", Schedule(40, 32, 5e-4, 1e-5), 4096),
    "conv": Kind(Conv, "50 filters of 50 taps, scale and rectifier, the same filters back", _FAST, 4096),
    "conv-plain": Kind(lambda c, o: Conv(c, o, middle=False), "the same without the scale", _FAST, 4096),
    "conv-untied": Kind(lambda c, o: Conv(c, o, tied=False), "the same with other filters back", _FAST, 4096),
    **{
        f"tcn-{size}": Kind(
            lambda c, o, size=size: Tcn(c, o, size), f"gated convolutions, NAM's {size} size", Schedule(20, 16, 4e-3, 0.0), 8192
        )
        for size in SIZES
    },
    "lstm": Kind(Lstm, "an LSTM of 32 units", Schedule(20, 32, 1e-2, 0.0), 1024),
    "ssm": Kind(Ssm, "three layers of 16 x 8 diagonal modes", Schedule(10, 16, 4e-3, 0.0), 4096),
}  # fmt: skip
"""By name."""


# --- a trained model -----------------------------------------------------------------------------


class Stream:
    """A model at work on blocks: each gives as many samples as it gets, `late` samples behind."""

    def __init__(self, model: "Model"):
        self._network, self._state, self.late = model.network, model.network.start(1), model.network.future

    @torch.no_grad()
    def feed(self, dry: np.ndarray, controls: np.ndarray | None = None) -> np.ndarray:
        """The next samples: dry (n,), controls (n, controls) -> float32 (n, outputs)."""
        rows = [
            np.asarray(dry, np.float32)[None],
            *([np.asarray(controls, np.float32).T] if controls is not None else []),
        ]
        made, self._state = self._network.step(torch.from_numpy(np.concatenate(rows))[None], self._state)
        return made[0].T.numpy().copy()


@dataclass(frozen=True)
class Model:
    """A trained effect.  kind : of `KINDS`.  card : what it was learned from and how well."""

    kind: str
    rate: int
    controls: int
    outputs: int
    network: Effect
    card: dict[str, Any]

    def stream(self) -> Stream:
        """It, at the beginning of a sound."""
        return Stream(self)

    def apply(self, dry: np.ndarray, controls: np.ndarray | None = None, block: int = CHUNK) -> np.ndarray:
        """A whole sound (n,) -> float32 (n, outputs), in time with it.

        controls : (n, controls), 0..1.  Raises EffectError if they are not what it learned with.
        """
        given = 0 if controls is None else controls.shape[1]
        if given != self.controls or (given and len(controls) != len(dry)):
            raise EffectError(
                f"the model learned with {self.controls} control tracks as long as the sound; {given} are given"
            )
        stream = self.stream()
        dry = np.pad(dry, (0, stream.late))
        controls = None if controls is None else np.pad(controls, ((0, stream.late), (0, 0)), mode="edge")
        made = [
            stream.feed(dry[at : at + block], None if controls is None else controls[at : at + block])
            for at in range(0, len(dry), block)
        ]
        return np.concatenate([np.zeros((0, self.outputs), np.float32), *made])[stream.late :]

    def errors(self, pair: Pair) -> dict[str, float]:
        """MSE, RMSE, deviation of the error and of the wet sound, and ESR."""
        warm = min(len(pair.dry) // 4, pair.rate // 10)
        made = self.apply(pair.dry, pair.controls if self.controls else None)
        off, wet = (made - pair.wet)[warm:].astype(float), pair.wet[warm:].astype(float)
        mse = float(np.square(off).mean())
        return {
            "MSE": mse, "RMSE": mse**0.5, "error deviation": float(off.std()), "wet deviation": float(wet.std()),
            "ESR": mse / max(float(np.square(wet).mean()), 1e-20),
        }  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write it. Raises OSError."""
        facts = {"version": VERSION, "model": "effect", "kind": self.kind, "rate": self.rate}
        facts |= {"controls": self.controls, "outputs": self.outputs, "card": self.card}
        write_model(folder, save({name: part.contiguous() for name, part in self.network.state_dict().items()}), facts)

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Read one: a folder, or a ``.nam`` file. Raises EffectError."""
        if path.suffix == ".nam":
            return read_nam(path)
        try:
            facts = json.loads((path / "card.json").read_text())
            if facts["model"] != "effect" or facts["version"] != VERSION:
                raise EffectError(f"{path} holds another kind of model")
            network = KINDS[facts["kind"]].make(facts["controls"], facts["outputs"])
            network.load_state_dict(load_file(path / "weights.safetensors"))
            network.eval()
            return cls(facts["kind"], facts["rate"], facts["controls"], facts["outputs"], network, facts["card"])
        except EffectError:
            raise
        except Exception as error:  # a file that is not whole raises whatever its reader raises
            raise EffectError(f"{path} holds no effect ({error}); jxemu ml effect train makes one") from None


# --- training ------------------------------------------------------------------------------------


class Windows:
    """A pair as the trainer takes it: places of windows, with what comes before them."""

    def __init__(self, pair: Pair, window: int, past: int, future: int):
        self.window, self.past, self.future = window, past, future
        self.x = torch.from_numpy(np.pad(pair.inputs, ((0, 0), (past, future))))
        self.y = torch.from_numpy(np.ascontiguousarray(pair.wet.T, np.float32))
        self.count = max(1, (self.y.shape[1] - window) // window)

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Tensor]:
        """First samples of windows by batches, each epoch's grid begins elsewhere."""
        order = np.arange(self.count) if rng is None else rng.permutation(self.count)
        off = 0 if rng is None else int(rng.integers(self.window))
        for begin in range(0, max(self.count // size, 1) * size, size):
            yield torch.from_numpy(order[begin : begin + size] * self.window + off)

    def rows(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """What goes in [shape=(batch, channels, past + window + future)], and what comes out of each window."""
        reach = self.past + self.window + self.future
        x = torch.stack([self.x[:, at : at + reach] for at in places.tolist()])
        return x, torch.stack([self.y[:, at : at + self.window] for at in places.tolist()])


def distance(made: Tensor, wet: Tensor) -> Tensor:
    """ESR of sounds (batch, outputs, n), and of their differences' emphasis."""
    off = made - wet
    emphasised = [each[..., 1:] - EMPHASIS * each[..., :-1] for each in (off, wet)]
    energy = [each.square().sum() for each in (off, wet, *emphasised)]
    return energy[0] / (energy[1] + 1e-9) + energy[2] / (energy[3] + 1e-9)


def train(
    kind: str, pair: Pair, folder: Path, schedule: Schedule | None = None, reuse: "Model | None" = None,
    shown: Shown = lambda done, steps, loss: None,
) -> Model:  # fmt: skip
    """Train on a pair and write the model; what was begun in the folder goes on.

    reuse : a model of a "conv" kind whose filters are taken as they are; only what follows them is learned.
    Raises EffectError, OSError, FloatingPointError.
    """
    chosen = KINDS[kind]
    learned, checked = pair.halves()
    if len(checked.dry) < 8 * WINDOW:
        least = 8 * WINDOW / VALIDATION / pair.rate
        raise EffectError(
            f"{len(pair.dry) / pair.rate:.2f} s are too short to learn an effect from; {least:.2f} s are the least"
        )
    if learned.silent:
        raise EffectError("the dry or the wet sound is silent: there is nothing to learn")
    if checked.silent:
        raise EffectError(
            f"the last {VALIDATION:.0%} of the dry or the wet sound, which is checked on, is silent: cut it off"
        )
    controls, outputs = pair.controls.shape[1], pair.wet.shape[1]
    schedule = schedule or chosen.schedule or Schedule(0)
    torch.manual_seed(schedule.seed)
    network = chosen.make(controls, outputs)
    if reuse is not None:
        if (
            not (isinstance(network, Conv) and isinstance(reuse.network, Conv))
            or reuse.network.analysis.shape != network.analysis.shape
        ):
            raise EffectError("filters are taken over from one convolution model by another (conv), nothing else")
        network.analysis.data.copy_(reuse.network.analysis.data)
        network.analysis.requires_grad_(False)
    folder.mkdir(parents=True, exist_ok=True)
    curve: Sequence[Epoch] = []
    part = checked.part(0, min(len(checked.dry), max(8 * WINDOW, round(CHECKED * pair.rate))))
    facts = Model(kind, pair.rate, controls, outputs, network, {})
    if hasattr(network, "solve"):
        network.solve(learned)
    else:
        data = Windows(learned, chosen.window, network.past, network.future)

        def loss(network: Effect, places: Tensor) -> Tensor:
            x, wet = data.rows(places)
            return distance(network.window(x)[..., network.past + network.future :], wet)

        taken = reuse.network.analysis.detach().numpy() if reuse is not None else np.zeros(0)
        recipe = json.dumps([kind, asdict(schedule), digest(pair.dry, pair.wet, pair.controls, taken)])
        curve = fit(
            network, data, loss, lambda network: replace(facts, network=network).errors(part), schedule,
            folder / "checkpoint.pt", recipe, shown,
        )  # fmt: skip
    network.eval()
    weights = sum(each.numel() for each in network.parameters()) or sum(each.numel() for each in network.buffers())
    card = {
        "curve": [asdict(epoch) for epoch in curve], "weights": weights, "seconds": len(pair.dry) / pair.rate,
        "training": facts.errors(learned.part(0, min(len(learned.dry), 3 * len(part.dry)))), "validation": facts.errors(checked),
    }  # fmt: skip
    model = replace(facts, card=card)
    model.save(folder)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return model


# --- NAM files -----------------------------------------------------------------------------------

_NAM_VERSION = "0.5.4"


def write_nam(model: Model, path: Path, name: str | None = None) -> None:
    """Export, under a name (default: the file's), a mono model without controls, a "tcn" or an "lstm", for what plays ``.nam`` files. Raises EffectError, OSError."""
    network = model.network
    if model.controls or model.outputs != 1 or not isinstance(network, Tcn | Lstm):
        raise EffectError("only a mono tcn or lstm without control tracks is a .nam file; train one of these")
    if isinstance(network, Lstm):
        lstm = network.lstm
        gates = torch.cat([lstm.weight_ih_l0, lstm.weight_hh_l0], 1).flatten()
        rest = torch.zeros(2 * lstm.hidden_size)
        parts = [gates, lstm.bias_ih_l0 + lstm.bias_hh_l0, rest, network.head.weight.flatten(), network.head.bias]
        about = {"architecture": "LSTM", "config": {"input_size": 1, "hidden_size": lstm.hidden_size, "num_layers": 1}}
    else:
        parts = [each.flatten() for each in _nam_order(network)]
        layers = [
            {
                "input_size": rechannel.in_channels, "condition_size": 1, "head_size": head.out_channels,
                "channels": rechannel.out_channels, "kernel_size": KERNEL, "dilations": [layer.dilation for layer in row],
                "activation": "Tanh", "gated": True, "head_bias": head.bias is not None,
            }
            for rechannel, row, head in zip(network.rechannel, network.layers, network.heads, strict=True)
        ]  # fmt: skip
        about = {"architecture": "WaveNet", "config": {"layers": layers, "head": None, "head_scale": HEAD_SCALE}}
        parts.append(torch.tensor([HEAD_SCALE]))
    weights = torch.cat([part.detach() for part in parts]).tolist()
    facts = {
        "version": _NAM_VERSION,
        "metadata": {"name": name or path.stem},
        **about,
        "weights": weights,
        "sample_rate": model.rate,
    }
    path.write_text(json.dumps(facts))


def _nam_order(network: Tcn) -> Iterator[Tensor]:
    """Weights in the order of a file."""
    for rechannel, row, head in zip(network.rechannel, network.layers, network.heads, strict=True):
        yield rechannel.weight
        for layer in row:
            yield from (layer.conv.weight, layer.conv.bias, layer.mixer.weight, layer.out.weight, layer.out.bias)
        yield from (part for part in (head.weight, head.bias) if part is not None)


def read_nam(path: Path) -> Model:
    """Read a ``.nam`` file of the shapes that `write_nam` writes. Raises EffectError."""
    try:
        facts = json.loads(path.read_text())
        weights, config = torch.tensor(facts["weights"]), facts["config"]
        if facts["architecture"] == "LSTM":
            kind, network = "lstm", Lstm(0, 1, config["hidden_size"])
            lstm, size = network.lstm, config["hidden_size"]
            shapes = [(4 * size, 1 + size), (4 * size,), (2 * size,), (1, size), (1,)]
            gates, bias, rest, head, last = _cut(weights, shapes)
            if config["num_layers"] != 1 or config["input_size"] != 1 or rest.any():
                raise EffectError("only an LSTM of one layer that begins at rest is read")
            lstm.weight_ih_l0.data, lstm.weight_hh_l0.data = gates[:, :1].clone(), gates[:, 1:].clone()
            lstm.bias_ih_l0.data, lstm.bias_hh_l0.data = bias, torch.zeros_like(bias)
            network.head.weight.data, network.head.bias.data = head, last
        else:
            rows = [(layer["channels"], tuple(layer["dilations"])) for layer in config["layers"]]
            kinds = {tuple((each.channels, each.dilations) for each in size): name for name, size in SIZES.items()}
            gated = all(layer["gated"] and layer["activation"] == "Tanh" for layer in config["layers"])
            if tuple(rows) not in kinds or not gated or config["head_scale"] != HEAD_SCALE:
                raise EffectError("only gated networks of the four sizes are read")
            kind = f"tcn-{kinds[tuple(rows)]}"
            network = KINDS[kind].make(0, 1)
            order = list(_nam_order(network))
            for part, found in zip(order, _cut(weights[:-1], [tuple(each.shape) for each in order]), strict=True):
                part.data.copy_(found)
        network.eval()
        return Model(kind, int(facts["sample_rate"]), 0, 1, network, {})
    except OSError as error:
        raise EffectError(f"cannot read {path}: {error.strerror}") from None
    except EffectError as error:
        raise EffectError(f"{path}: {error}") from None
    except Exception as error:  # a file that is not whole raises whatever its reader raises
        raise EffectError(f"{path} is no .nam file that can be read here ({error})") from None


def _cut(weights: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) != len(weights):
        raise EffectError(f"it has {len(weights)} weights where {sum(sizes)} are expected")
    return [part.view(shape).clone() for part, shape in zip(weights.split(sizes), shapes, strict=True)]
