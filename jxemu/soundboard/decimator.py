"""Halfband decimators from the oversampled voices to the output rate.

Each stage halves the rate with a linear-phase FIR whose even taps are zero: Kaiser windows,
computed here, at least 100 dB of rejection. The last stage keeps 18.8 kHz at 44.1 kHz and 20.4 kHz
at 48 kHz; those before it need only keep the last stage's aliases away.
"""

import numpy as np

from jxemu.kernel import (
    WINDOW,
    back,
    fma,
    front,
    load_row,
    load_window,
    poke,
    step,
    store,
    store_row,
    store_window,
    struct,
    sum_rows,
)  # fmt: skip

SLICE = 8
"""Output frames between two looks of the analog half at the latch (167 us at 48 kHz)."""

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

# --- boards of one voice: lanes are boards, rows are samples -------------------------------------

FIRST_2 = 4 * PAIRS_2
FIRST_4 = FIRST_2 + 2 * SLICE + 4 * PAIRS_4
FIRST_8 = FIRST_4 + 4 * SLICE + 4 * PAIRS_8
OUT = FIRST_8 + 8 * SLICE
"""Rows of a group's tile at which a slice begins at twice, four and eight times the output rate, and at that rate.

In front of each lie the rows that its decimator looks back at.
"""


@step
def first_row(oversample):
    """Row of the tile that takes the slice's first sample at `oversample` times the output rate."""
    return FIRST_8 if oversample == 8 else FIRST_4 if oversample == 4 else FIRST_2


@step
def halve_four(tile, source, target, taps, pairs):
    """Four rows from row `target` of the tile on: samples at half the rate of those from row `source` on.

    Neighbours share all but one of the rows that a pair of taps looks at.
    """
    c0 = source - 2 * pairs + 1
    l0, l1, l2, l3 = (load_row(tile, c0 - 1), load_row(tile, c0 + 1), load_row(tile, c0 + 3), load_row(tile, c0 + 5))
    u0, u1, u2, u3 = (l1, l2, l3, load_row(tile, c0 + 7))
    y0, y1 = load_row(tile, c0) * 0.5, load_row(tile, c0 + 2) * 0.5
    y2, y3 = load_row(tile, c0 + 4) * 0.5, load_row(tile, c0 + 6) * 0.5
    z0 = z1 = z2 = z3 = y0 * 0.0
    for j in range(0, pairs, 2):
        tap = taps[j]
        y0 = fma(l0 + u0, tap, y0)
        y1 = fma(l1 + u1, tap, y1)
        y2 = fma(l2 + u2, tap, y2)
        y3 = fma(l3 + u3, tap, y3)
        l0, l1, l2, l3 = load_row(tile, c0 - 2 * j - 3), l0, l1, l2
        u0, u1, u2, u3 = u1, u2, u3, load_row(tile, c0 + 2 * j + 9)
        tap = taps[j + 1]
        z0 = fma(l0 + u0, tap, z0)
        z1 = fma(l1 + u1, tap, z1)
        z2 = fma(l2 + u2, tap, z2)
        z3 = fma(l3 + u3, tap, z3)
        if j < pairs - 2:
            l0, l1, l2, l3 = load_row(tile, c0 - 2 * j - 5), l0, l1, l2
            u0, u1, u2, u3 = u1, u2, u3, load_row(tile, c0 + 2 * j + 11)
    store_row(tile, target, y0 + z0)
    store_row(tile, target + 1, y1 + z1)
    store_row(tile, target + 2, y2 + z2)
    store_row(tile, target + 3, y3 + z3)


@step
def halve_rows(tile, source, target, first, count, taps, pairs):
    """Samples `first` .. of a slice at half the rate: those at row `source` of the tile become those at row `target`.

    Whole fours; those that are not there yet are made again when they are.
    """
    for n in range(first // 4 * 4, first + count, 4):
        halve_four(tile, source + 2 * n, target + n, taps, pairs)


@step
def roll_rows(tile, first, pairs, inputs):
    """Begin a new slice: the last of `inputs` samples at row `first` become those in front of it."""
    for row in range(first - 4 * pairs, first):
        store_row(tile, row, load_row(tile, row + inputs))


@step
def decimate_rows(tile, oversample, first, frames):
    """Bring output frames `first` .. of the slice, all lanes, down to the output rate, at row `OUT` of the tile."""
    if oversample == 8:
        halve_rows(tile, FIRST_8, FIRST_4, 4 * first, 4 * frames, TAPS_8, PAIRS_8)
    if oversample >= 4:
        halve_rows(tile, FIRST_4, FIRST_2, 2 * first, 2 * frames, TAPS_4, PAIRS_4)
    halve_rows(tile, FIRST_2, OUT, first, frames, TAPS_2, PAIRS_2)
    if first + frames == SLICE:
        roll_rows(tile, FIRST_2, PAIRS_2, 2 * SLICE)
        if oversample >= 4:
            roll_rows(tile, FIRST_4, PAIRS_4, 4 * SLICE)
        if oversample == 8:
            roll_rows(tile, FIRST_8, PAIRS_8, 8 * SLICE)


# --- whole boards: their voices are one sample, lanes are samples --------------------------------
# The same sums in the same order, so both give the same bits: rows of eight lanes would cost twice as much here.


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
def put_sums(tile, row, lane, state, behind, to, pair, pairs):
    """Input samples from 2 * `pair` on: the sums of a board's voices, of which the slice's begin at `row` of the tile.

    Whole runs of eight rows; those that are not there yet are put in again when they are.
    """
    for run in range(pair // 4, (pair + pairs - 1) // 4 + 1):
        sums = sum_rows(tile, row + 8 * run, lane)
        store_window(state.even, to, behind + 4 * run, front(sums))
        store_window(state.odd, to, behind + 4 * run, back(sums))


@step
def halve_window(state, taps, pairs, behind, lane, window):
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
def roll_windows(state, behind, outputs, lane):
    """Begin a new slice: what was its input becomes history."""
    for at in range(0, behind, WINDOW):
        store_window(state.even, lane, at, load_window(state.even, lane, at + outputs))
        store_window(state.odd, lane, at, load_window(state.odd, lane, at + outputs))


@step
def halve_into(stage, source, taps, pairs, behind, lane, first, count, target, target_behind):
    """Outputs `first` .. of one stage become the next one's input, whole windows at a time."""
    for window in range(first // WINDOW, (first + count - 1) // WINDOW + 1):
        store(stage.run, halve_window(source, taps, pairs, behind, lane, window))
        for n in range(WINDOW // 2):
            put(target, target_behind, lane, window * (WINDOW // 2) + n, stage.run[2 * n], stage.run[2 * n + 1])


@step
def decimate_line(stage, lane, oversample, first, frames):
    """Bring frames `first` .. of a board's slice to the output rate, to the left of `sides`.

    Windows that reach beyond what has come in yet are computed again when it has.
    """
    if oversample == 8:
        halve_into(
            stage, stage.from_8, TAPS_8, PAIRS_8, HISTORY_8, lane, 4 * first, 4 * frames, stage.from_4, HISTORY_4
        )
    if oversample >= 4:
        halve_into(
            stage, stage.from_4, TAPS_4, PAIRS_4, HISTORY_4, lane, 2 * first, 2 * frames, stage.from_2, HISTORY_2
        )
    store(stage.run, halve_window(stage.from_2, TAPS_2, PAIRS_2, HISTORY_2, lane, 0))
    for n in range(frames):
        poke(stage.sides, 2 * n, lane, stage.run[first + n])
    if first + frames == SLICE:
        roll_windows(stage.from_2, HISTORY_2, SLICE, lane)
        if oversample >= 4:
            roll_windows(stage.from_4, HISTORY_4, 2 * SLICE, lane)
        if oversample == 8:
            roll_windows(stage.from_8, HISTORY_8, 4 * SLICE, lane)
