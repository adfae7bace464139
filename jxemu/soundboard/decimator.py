"""Halfband decimators from the oversampled voices to the output rate.

Each stage halves the rate with a linear-phase FIR whose even taps are zero: Kaiser windows,
computed here, at least 100 dB of rejection. The last stage keeps 18.8 kHz at 44.1 kHz and 20.4 kHz
at 48 kHz; those before it need only keep the last stage's aliases away.
"""

import numpy as np

from jxemu.kernel import WINDOW, fma, load_window, poke, step, store_window, struct

_SHAPES = {2: (24, 10.6), 4: (8, 10.6), 8: (8, 11.0)}
"""By the factor a stage starts from: non-zero tap pairs, Kaiser beta."""


def halfband(pairs: int, beta: float) -> np.ndarray:
    """Taps at distance 1, 3, 5 .. from the centre (float32, shape (pairs,)); the centre tap is 1/2."""
    distance = np.arange(1, 2 * pairs, 2)
    window = np.i0(beta * np.sqrt(1 - (distance / (2 * pairs)) ** 2)) / np.i0(beta)
    taps = np.sin(np.pi * distance / 2) / (np.pi * distance) * window
    return np.round(taps * (0.25 / taps.sum()), 10).astype(np.float32)


TAPS_2, TAPS_4, TAPS_8 = (halfband(*_SHAPES[factor]) for factor in (2, 4, 8))
PAIRS_2, PAIRS_4, PAIRS_8 = (len(taps) for taps in (TAPS_2, TAPS_4, TAPS_8))


def delay_frames(oversample: int) -> float:
    """Delay of the whole chain in output frames."""
    return sum((2 * _SHAPES[f][0] - 1) / f for f in (2, 4, 8) if f <= oversample)


def history(pairs: int) -> int:
    """Samples of each parity a stage looks back, in whole windows."""
    return -(-2 * pairs // WINDOW) * WINDOW


HISTORY_2, HISTORY_4, HISTORY_8 = (history(pairs) for pairs in (PAIRS_2, PAIRS_4, PAIRS_8))


def stage_state(width: int, pairs: int, outputs: int) -> np.dtype:
    """One stage of `width` boards that puts out `outputs` samples a slice.

    even, odd : the slice's input by parity, behind the history.
    """
    samples = (np.float32, (width, history(pairs) + outputs))
    return struct(even=samples, odd=samples)


@step
def put(state, behind, lane, pair, even, odd):
    """Input samples 2 * `pair` and 2 * `pair` + 1 of the slice."""
    poke(state.even, lane, behind + pair, even)
    poke(state.odd, lane, behind + pair, odd)


@step
def halve(state, taps, pairs, behind, lane, window):
    """Output samples of one window of the slice, as lanes of time."""
    at = behind + WINDOW * window - pairs
    near = load_window(state.odd, lane, at) * 0.5
    far = near * 0.0
    for j in range(0, pairs, 2):
        near = fma(load_window(state.even, lane, at - j) + load_window(state.even, lane, at + 1 + j), taps[j], near)
        pair = load_window(state.even, lane, at - j - 1) + load_window(state.even, lane, at + 2 + j)
        far = fma(pair, taps[j + 1], far)
    return near + far


@step
def roll(state, behind, outputs, lane):
    """Begin a new slice: what was its input becomes history."""
    for at in range(0, behind, WINDOW):
        store_window(state.even, lane, at, load_window(state.even, lane, at + outputs))
        store_window(state.odd, lane, at, load_window(state.odd, lane, at + outputs))
