"""Halfband decimators from the oversampled voices to the output rate.

Each stage halves the rate with a linear-phase FIR whose even taps are zero: Kaiser windows,
computed here, at least 100 dB of rejection. The last stage keeps 20 kHz at 44.1 kHz; those before
it need only keep the last stage's aliases away.
"""

import numpy as np

from jxemu.kernel import load_row, step, store_row, struct

_SHAPES = {2: (38, 10.6), 4: (8, 10.6), 8: (6, 10.6)}
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


def stage_state(width: int, pairs: int) -> np.dtype:
    """Lanes of one stage: the last even samples (written twice, so that a window never wraps) and odd ones."""
    return struct(
        even=(np.float32, (4 * pairs, width)), even_at=np.int64, odd=(np.float32, (pairs + 1, width)), odd_at=np.int64
    )


@step
def stage_step(state, taps, pairs, tile, frames):
    """Halve the rate of `tile` in place: 2 * `frames` rows in, `frames` rows out."""
    window = 2 * pairs
    at = state.even_at
    odd_at = state.odd_at
    for n in range(frames):
        even = load_row(tile, 2 * n)
        store_row(state.even, at, even)
        store_row(state.even, at + window, even)
        at = at + 1 if at + 1 < window else 0
        store_row(state.odd, odd_at, load_row(tile, 2 * n + 1))
        odd_at = odd_at + 1 if odd_at < pairs else 0
        near = load_row(state.odd, odd_at) * 0.5
        far = near * 0.0
        low = at + pairs - 1
        high = at + pairs
        for j in range(0, pairs, 2):
            near = near + (load_row(state.even, low - j) + load_row(state.even, high + j)) * taps[j]
            far = far + (load_row(state.even, low - j - 1) + load_row(state.even, high + j + 1)) * taps[j + 1]
        store_row(tile, n, near + far)
    state.even_at = at
    state.odd_at = odd_at
