"""What goes into a circuit and what comes out: dry and wet sounds for models of effects, with the controls that moved it.

The circuits are the machine's own (`soundboard.alone`), so the truth is known to the last bit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jxemu.machine import Circuit, alone
from jxemu.patch.explore import random_tone
from jxemu.render.offline import Item, render_batch

LOWEST, HIGHEST = 100.0, 10_000.0
"""Hertz between which a moving cutoff goes; its control is 0..1 in octaves between them."""

SEGMENT = 1.0
"""Seconds of one kind of sound at a time."""

PEAK = 0.9


@dataclass(frozen=True)
class Tapped:
    """dry : float32 (n,).  wet : float32 (n, outputs).  controls : float32 (n, controls), 0..1.  text : what it is."""

    dry: np.ndarray
    wet: np.ndarray
    controls: np.ndarray
    text: str


def material(seconds: float, rate: int, seed: int = 1) -> np.ndarray:
    """A sound to learn effects from, float32 (n,): notes of drawn tones, sweeps, noise and pauses by turns, at many levels.

    Another seed gives another one: to learn from one and be judged by the other.
    """
    rng = np.random.default_rng([seed, 0x7A9])
    count = round(SEGMENT * rate)
    kinds = rng.permutation(np.arange(-(-round(seconds * rate) // count)) % 5)
    notes = [
        Item(
            random_tone(int(rng.integers(1 << 31))), [(int(rng.integers(30, 85)), int(rng.integers(40, 128)), 0.0, 0.8)]
        )
        for kind in kinds
        if kind < 3
    ]
    played = iter(render_batch(notes, SEGMENT, rate, channels=1)[..., 0] if notes else ())
    parts = []
    for kind in kinds:
        part = next(played).astype(float) if kind < 3 else _sweep(rng, count, rate) if kind == 3 else _noise(rng, count)
        part = part / max(float(np.abs(part).max()), 1e-3) * PEAK * 10 ** (rng.uniform(-15, 0) / 20)
        ramp = np.minimum(1.0, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.005 * rate))
        parts.append(part * ramp)
    return np.concatenate(parts)[: round(seconds * rate)].astype(np.float32)


def _sweep(rng: np.random.Generator, count: int, rate: int) -> np.ndarray:
    """Sine, square or sawtooth between two frequencies, without partials above half the rate."""
    low, high = np.sort(np.exp(rng.uniform(np.log(30), np.log(0.4 * rate), 2)))
    hertz = low * (high / low) ** np.linspace(0, 1, count)
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    shape = int(rng.integers(3))
    partials = (1,) if shape == 0 else range(1, 40, 2) if shape == 1 else range(1, 40)
    made = np.zeros(count)
    for n in partials:
        made += np.where(n * hertz < 0.45 * rate, np.sin(n * phase) / n, 0.0)
    return made if rng.random() < 0.5 else made[::-1]


def _noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """White, or darker."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    return np.fft.irfft(spectrum * np.arange(1, len(spectrum) + 1) ** -rng.uniform(0, 1), count)


def _course(count: int, rate: int, seed: int) -> np.ndarray:
    """A control that moves: straight lines between drawn places, each 50 to 500 ms long."""
    rng = np.random.default_rng([seed, 0xC0])
    at = np.cumsum(rng.uniform(0.05, 0.5, 2 + int(count / rate / 0.05)))
    return np.interp(np.arange(count) / rate, at, rng.random(len(at))).astype(np.float32)


def _cutoff(course: np.ndarray) -> np.ndarray:
    return LOWEST * (HIGHEST / LOWEST) ** course.astype(float)


Tap = Callable[[np.ndarray, int, int, Circuit], Tapped]


def _filter(cutoff: float | None, resonance: float, drive: float, text: str) -> Tap:
    def tap(dry: np.ndarray, rate: int, seed: int, circuit: Circuit) -> Tapped:
        course = _course(len(dry), rate, seed)
        hertz = _cutoff(course) if cutoff is None else cutoff
        wet, _ = alone.voice(dry, hertz, resonance, 1.0, circuit, rate, drive)
        return Tapped(dry, wet[:, None], course[:, None] if cutoff is None else _none(dry), text)

    return tap


def _amplifier(dry: np.ndarray, rate: int, seed: int, circuit: Circuit) -> Tapped:
    course = _course(len(dry), rate, seed)
    before, wet = alone.voice(dry, 20_000.0, 0.0, course, circuit, rate, 4.0)
    return Tapped(before, wet[:, None], course[:, None], "the VCA, driven, its envelope moving")


def _high_pass(position: int) -> Tap:
    def tap(dry: np.ndarray, rate: int, seed: int, circuit: Circuit) -> Tapped:
        wet, _ = alone.output(dry, position, 0, circuit, rate)
        return Tapped(dry, wet[:, :1], _none(dry), f"the HPF at position {position}")

    return tap


def _chorus(mode: int) -> Tap:
    def tap(dry: np.ndarray, rate: int, seed: int, circuit: Circuit) -> Tapped:
        wet, turn = alone.output(dry, 0, mode, circuit, rate)
        return Tapped(dry, wet, turn[:, None], f"chorus {mode}, left and right, its LFO as a control")

    return tap


def _none(dry: np.ndarray) -> np.ndarray:
    return np.zeros((len(dry), 0), np.float32)


TAPS: dict[str, Tap] = {
    "lowpass": _filter(1_200.0, 0.0, 0.05, "the VCF at 1.2 kHz, so quiet that it is linear"),
    "vcf": _filter(1_200.0, 80.0, 2.0, "the VCF at 1.2 kHz, resonant and driven"),
    "vcf-moving": _filter(None, 70.0, 2.0, "the VCF, resonant and driven, its cutoff moving from 100 Hz to 10 kHz"),
    "vca": _amplifier,
    **{f"hpf-{n}": _high_pass(n) for n in range(4)},
    **{f"chorus-{n}": _chorus(n) for n in (1, 2)},
}
"""By name: `TAPS[name](dry, rate, seed of the control, circuit)`."""
