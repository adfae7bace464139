"""Spectra that become sound again: analysis, overlapped sums, and codes of frames as real numbers, both ways.

A frame is the spectrum of a Hann window; its phase is that at the window's middle. Sounds are float (n,), frames complex
(frames, window // 2 + 1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft

from jxemu.render.features import spectra

LEAST = 1e-5
"""Amplitude, of a full-scale sine's, below which codes in decibels tell nothing apart: -100 dB."""


def analysed(sound: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Frames of a sound: the first one's middle is its first sample, and a full-scale sine is 1."""
    padded = np.pad(np.asarray(sound, float), (window // 2, window // 2 + hop))
    frames = spectra(padded, window, hop) * (4 / window)
    return frames * _turn(window)


def overlapped(frames: np.ndarray, window: int, hop: int, length: int | None = None) -> np.ndarray:
    """The sound of frames: the one whose spectra are nearest to them (weighted overlap and add).

    length : of the sound; default: up to the last frame's middle.
    """
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    parts = fft.irfft(frames / _turn(window) * (window / 4), window, axis=1) * shape
    total = np.zeros(window + hop * (len(frames) - 1))
    weight = np.zeros_like(total)
    for n, part in enumerate(parts):
        total[n * hop : n * hop + window] += part
        weight[n * hop : n * hop + window] += shape**2
    made = total / np.maximum(weight, 1e-3 * weight.max())
    end = len(total) if length is None else window // 2 + length
    return made[window // 2 : end if length is not None else len(total) - window // 2]


def _turn(window: int) -> np.ndarray:
    """From phases at a window's first sample to those at its middle."""
    return np.where(np.arange(window // 2 + 1) % 2, -1.0, 1.0)


@dataclass(frozen=True)
class Code:
    """Frames as real numbers [shape=(frames, channels)]: `encode(frames, window, hop)` and `decode(rows, window, hop)`."""

    text: str
    encode: Callable[[np.ndarray, int, int], np.ndarray]
    decode: Callable[[np.ndarray, int, int], np.ndarray]


def _complex_rows(frames: np.ndarray, window: int, hop: int) -> np.ndarray:
    return np.concatenate([frames.real, frames.imag], 1)


def _complex_frames(rows: np.ndarray, window: int, hop: int) -> np.ndarray:
    real, imaginary = np.split(rows, 2, 1)
    return real + 1j * imaginary


def _levels(frames: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.abs(frames), LEAST))


def _polar_rows(frames: np.ndarray, window: int, hop: int) -> np.ndarray:
    return np.concatenate([_levels(frames), np.angle(frames)], 1)


def _polar_frames(rows: np.ndarray, window: int, hop: int) -> np.ndarray:
    levels, phases = np.split(rows, 2, 1)
    return _amplitudes(levels) * np.exp(1j * phases)


def _amplitudes(levels: np.ndarray) -> np.ndarray:
    found = np.exp(np.minimum(levels, 5.0))
    return np.where(levels <= np.log(LEAST), 0.0, found)


def _advance(window: int, hop: int) -> np.ndarray:
    """Radians that each bin's own frequency turns in a hop."""
    return 2 * np.pi * np.arange(window // 2 + 1) * hop / window


def _delta_rows(frames: np.ndarray, window: int, hop: int) -> np.ndarray:
    phases = np.angle(frames)
    before = np.concatenate([np.zeros((1, phases.shape[1])), phases[:-1]])
    apart = phases - before - _advance(window, hop)
    return np.concatenate([_levels(frames), (apart + np.pi) % (2 * np.pi) - np.pi], 1)


def _delta_frames(rows: np.ndarray, window: int, hop: int) -> np.ndarray:
    levels, apart = np.split(rows, 2, 1)
    return _amplitudes(levels) * np.exp(1j * np.cumsum(apart + _advance(window, hop), 0))


def locked(rows: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Frames of rows in the code "delta" that no sound ever had: all bins around a peak take the peak's phase.

    A steady partial has one phase in all bins that it fills; bins that count their turns each for itself drift apart and
    cancel. This is identity phase locking, after Laroche and Dolson 1999.
    """
    levels, turns = np.split(np.asarray(rows, float), 2, 1)
    phase, frames = np.zeros(levels.shape[1]), np.empty(levels.shape, complex)
    for n, (level, turn) in enumerate(zip(levels, turns + _advance(window, hop), strict=True)):
        phase = phase + turn
        rise = np.r_[True, level[1:] > level[:-1]]
        peaks = np.flatnonzero(rise & np.r_[~rise[1:], True])
        borders = (peaks[1:] + peaks[:-1] + 1) // 2
        phase = phase[peaks[np.searchsorted(borders, np.arange(len(phase)), side="right")]]
        frames[n] = _amplitudes(level) * np.exp(1j * phase)
    return frames


def guessed(amplitudes: np.ndarray, window: int, hop: int, rounds: int = 50) -> np.ndarray:
    """A sound whose frames have amplitudes (frames, window // 2 + 1): phases are found in rounds.

    After Griffin and Lim 1984, with the momentum of Perraudin 2013; phases begin as `locked` ones would.
    """
    turns = np.zeros_like(amplitudes)
    frames = locked(np.concatenate([np.log(np.maximum(amplitudes, 1e-12)), turns], 1), window, hop)
    before = frames
    for _ in range(rounds):
        sound = overlapped(frames, window, hop)
        again = analysed(sound, window, hop)[: len(amplitudes)]
        again = np.pad(again, ((0, len(amplitudes) - len(again)), (0, 0)))
        ahead = again + 0.99 * (again - before)
        before = again
        frames = amplitudes * np.exp(1j * np.angle(ahead))
    return overlapped(frames, window, hop)


CODES = {
    "complex": Code("real and imaginary parts", _complex_rows, _complex_frames),
    "polar": Code("logarithms of amplitudes, and phases", _polar_rows, _polar_frames),
    "delta": Code(
        "logarithms of amplitudes, and how far phases turn beside their bin's own frequency: instantaneous frequency",
        _delta_rows,
        _delta_frames,
    ),
}
"""By name."""
