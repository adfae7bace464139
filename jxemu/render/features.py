"""Spectrograms that datasets store: a sound in, float16 out, one at a time so that each comes out the same in any batch.

`FEATURES` gives the name and the shape of each; models take them as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import fft, sparse

FLOOR = 1e-10
"""Power below which a level in dB is not told apart: -100 dB."""

THESIS_WINDOW, THESIS_HOP = 512, 256
THESIS_BINS = 16
"""The thesis says fs/16 and keeps 16 bins, which end at fs/32: 1.38 kHz at 44.1 kHz. Source: THESIS."""

MEL_WINDOW, MEL_HOP, MELS, MEL_LOWEST = 2048, 1024, 96, 30.0

FINE_WINDOW, FINE_BANDS, FINE_LOWEST, FINE_PER_OCTAVE = 16384, 576, 20.0, 60
"""Long windows without overlap; bands a fifth of a semitone apart from 20 Hz to 15.5 kHz tell two DCOs' pitches."""


@dataclass(frozen=True)
class Feature:
    """What is made of a sound: `of(sound, rate)` float32 (n,) -> float16 `shape(n)`; `text` says what it is.

    decibels : whether it is levels; else amplitudes.
    """

    text: str
    of: Callable[[np.ndarray, int], np.ndarray]
    shape: Callable[[int], tuple[int, int]]
    decibels: bool = False


@cache
def _hann(size: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def spectra(sound: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Complex spectra (frames, window // 2 + 1) under a Hann window; the first frame begins with the sound."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    return fft.rfft(frames * _hann(window), workers=1)


def power(sound: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Squared magnitudes of `spectra`."""
    found = spectra(sound, window, hop)
    return found.real**2 + found.imag**2


def amplitudes(sound: np.ndarray, bins: int) -> np.ndarray:
    """The thesis's STFT: Hann 512, hop 256, centred frames (zeros beyond the ends); a full-scale sine is 1."""
    padded = np.pad(sound, THESIS_WINDOW // 2)
    found = spectra(padded, THESIS_WINDOW, THESIS_HOP)[:, :bins]
    return (np.abs(found) * np.float32(4 / THESIS_WINDOW)).astype(np.float16)


def mel(sound: np.ndarray, rate: int) -> np.ndarray:
    """Levels in dB of 96 mel bands from 30 Hz to half the rate: Hann 2048, hop 1024, not centred; a full-scale sine is near 0."""
    return _levels(mel_bands(rate, MEL_WINDOW, MELS, MEL_LOWEST), sound, MEL_WINDOW, MEL_HOP)


def fine(sound: np.ndarray, rate: int) -> np.ndarray:
    """Levels in dB of 576 bands, 60 an octave from 20 Hz: Hann 16384 without overlap; a full-scale sine is near 0.

    A sound that is shorter than a window goes on with zeros.
    """
    sound = np.pad(sound, (0, max(0, FINE_WINDOW - len(sound))))
    return _levels(fine_bands(rate), sound, FINE_WINDOW, FINE_WINDOW)


def _levels(bands: sparse.csr_array, sound: np.ndarray, window: int, hop: int) -> np.ndarray:
    # sparse: BLAS adds in another order on another number of threads
    found = (bands @ power(sound, window, hop).T).T
    full = (window / 4) ** 2
    return (10 * np.log10(found + np.float32(FLOOR * full)) - np.float32(10 * np.log10(full))).astype(np.float16)


@cache
def fine_bands(rate: int) -> sparse.csr_array:
    """Triangles of height 1 [shape=(576, 8193)], as wide as their distance or as a bin, whichever is more; none above half the rate."""
    centres = FINE_LOWEST * 2 ** (np.arange(FINE_BANDS) / FINE_PER_OCTAVE)
    hertz = np.arange(FINE_WINDOW // 2 + 1) * rate / FINE_WINDOW
    wide = np.maximum(centres * (2 ** (1 / FINE_PER_OCTAVE) - 1), rate / FINE_WINDOW)
    bands = np.clip(1 - np.abs(hertz - centres[:, None]) / wide[:, None], 0, None)
    return sparse.csr_array(bands.astype(np.float32))


@cache
def mel_bands(rate: int, window: int, count: int, lowest: float) -> sparse.csr_array:
    """Triangles of height 1 [shape=(count, window // 2 + 1)] from `lowest` Hz to half the rate, at least one bin each.

    They are evenly spaced in mel: 2595 log10(1 + f / 700).
    """
    low, top = (2595 * np.log10(1 + f / 700) for f in (lowest, rate / 2))
    edges = 700 * (10 ** (np.linspace(low, top, count + 2) / 2595) - 1)
    hertz = np.arange(window // 2 + 1) * rate / window
    rise = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    bands = np.clip(np.minimum(rise, fall), 0, None)
    nearest = np.abs(hertz[:, None] - edges[1:-1]).argmin(0)
    empty = bands.sum(0) == 0
    bands[nearest[empty], np.flatnonzero(empty)] = 1.0
    return sparse.csr_array(bands.T.astype(np.float32))


def _centred(frames: int) -> int:
    return 1 + frames // THESIS_HOP


FEATURES = {
    "thesis": Feature(
        "STFT amplitudes of the thesis, its 16 lowest bins (0 to 1.38 kHz)",
        lambda sound, rate: amplitudes(sound, THESIS_BINS),
        lambda frames: (_centred(frames), THESIS_BINS),
    ),
    "stft": Feature(
        "the same over the full band, 257 bins",
        lambda sound, rate: amplitudes(sound, THESIS_WINDOW // 2 + 1),
        lambda frames: (_centred(frames), THESIS_WINDOW // 2 + 1),
    ),
    "mel": Feature(
        "levels in dB of 96 mel bands over the full band",
        mel,
        lambda frames: (1 + (frames - MEL_WINDOW) // MEL_HOP, MELS),
        decibels=True,
    ),
    "fine": Feature(
        "levels in dB of 576 bands of long windows, 60 an octave from 20 Hz",
        fine,
        lambda frames: (max(1, frames // FINE_WINDOW), FINE_BANDS),
        decibels=True,
    ),
}
"""By name. At 44.1 kHz and 4 s: thesis (690, 16), stft (690, 257), mel (171, 96), fine (10, 576)."""


def stacked(features: Sequence[np.ndarray]) -> np.ndarray:
    """Features (items, takes, frames, bands) one under another, in rows as wide as those of the first."""
    bands = features[0].shape[-1]
    return np.concatenate([part.reshape(*part.shape[:2], -1, bands) for part in features], 2)
