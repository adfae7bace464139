"""The chorus: two 256-stage bucket brigades (MN3009), one triangle LFO, the second one inverted.

::

    in --+--------------------------------------------(+)--> left   (right likewise, with BBD 2)
         `--> low pass --+--> BBD 1 --> low pass ------^
                         `--> BBD 2 --> low pass -->
    delay 1 = triangle between 1.55 and 5.2 ms, delay 2 its mirror image

The delay is that of the whole wet path: the filters' own delay is taken off the line's.
Source: SC, RC, KR, HP18; question: chorus-rates.  Limits: the BBD's clock images (above 24 kHz), its noise
and its clipping at 10 Vpp are not modelled; its hold is part of the output filter.
"""

import numpy as np

from jxemu.kernel import (
    WINDOW,
    as_signed,
    fma,
    larger,
    load,
    load_window,
    step,
    store,
    store_window,
    struct,
    to_float,
    transpose,
    where,
)

LINE = 512
LONGEST = LINE - 4
SHORTEST = WINDOW + 2
"""Limits of the delay in output frames: a run of `WINDOW` frames is read before it is written."""

REPEATED = 2 * WINDOW
"""Columns of the line that stand again at its end, so that a run never has to turn round there."""


def biquad_state(width: int) -> np.dtype:
    """Two memories of a second-order section."""
    f = (np.float32, (width,))
    return struct(s1=f, s2=f)


def filter_state(width: int) -> np.dtype:
    """A real pole and two second-order sections."""
    return struct(s=(np.float32, (width,)), first=biquad_state(width), second=biquad_state(width))


COEFFICIENTS = struct(pole=np.float32, b0=np.float32, b1=np.float32, biquad=(np.float32, (2, 4)))
"""Real pole (y = b0 x + b1 x' + pole y'), then b0, b1, a1, a2 of two sections."""


def chorus_state(width: int) -> np.dtype:
    """Lanes: the line (both BBDs see the same input), LFO phase, filters, and what the latch chose."""
    f, i, u = ((t, (width,)) for t in (np.float32, np.int32, np.uint32))
    return struct(
        input=COEFFICIENTS, output=COEFFICIENTS,
        line=(np.float32, (width, LINE + REPEATED)), at=np.int64, phase=u,
        steps=(np.uint32, (WINDOW,)), run=(np.float32, (WINDOW,)),
        # Runs of the first BBDs, and behind them of the second: a row a lane, and a row a frame.
        read=(np.float32, (2 * width, WINDOW)), wet_runs=(np.float32, (WINDOW, 2 * width)),
        rate=u, rates=(np.uint32, (3, width)), on=i, wet=f, shortest=f, span=f,
        before=filter_state(width), behind=filter_state(2 * width),
    )  # fmt: skip


@step
def load_filter(state):
    """State of a filter as a tuple of lanes, for `filter_step`."""
    return load(state.s), load(state.first.s1), load(state.first.s2), load(state.second.s1), load(state.second.s2)


@step
def store_filter(state, values):
    """Write a filter's state back."""
    store(state.s, values[0])
    store(state.first.s1, values[1])
    store(state.first.s2, values[2])
    store(state.second.s1, values[3])
    store(state.second.s2, values[4])


@step
def filter_step(x, c, state):
    """Real pole and two sections in series: ``(output, state)``."""
    s, p1, p2, r1, r2 = state
    y = fma(x, c.b0, s)
    s = fma(y, c.pole, x * c.b1)
    z = fma(y, c.biquad[0, 0], p1)
    p1 = fma(z, -c.biquad[0, 2], fma(y, c.biquad[0, 1], p2))
    p2 = z * -c.biquad[0, 3]
    w = fma(z, c.biquad[1, 0], r1)
    r1 = fma(w, -c.biquad[1, 2], fma(z, c.biquad[1, 1], r2))
    r2 = w * -c.biquad[1, 3]
    return w, (s, p1, p2, r1, r2)


@step
def muted(state, on):
    """A filter's state, emptied in the lanes whose chorus is off."""
    s, p1, p2, r1, r2 = state
    return where(on, s, 0.0), where(on, p1, 0.0), where(on, p2, 0.0), where(on, r1, 0.0), where(on, r2, 0.0)


@step
def triangle(phase):
    """0..1..0 over a turn of the 32-bit phase."""
    signed = as_signed(phase)
    folded = larger(to_float(signed), -to_float(signed))
    return folded * (1 / 2147483648)


@step
def read_line(chorus, lane, row, delay):
    """What a BBD of a lane puts out in the next `WINDOW` frames, after `delay` frames each, into a row of `read`.

    Third-order Lagrange interpolation about the whole delay that the run begins with.
    """
    store(chorus.run, delay)
    whole = int(chorus.run[0])
    f = delay - np.float32(whole)
    oldest = (int(chorus.at) - whole - 2) & (LINE - 1)
    d = load_window(chorus.line, lane, oldest)
    c = load_window(chorus.line, lane, oldest + 1)
    b = load_window(chorus.line, lane, oldest + 2)
    a = load_window(chorus.line, lane, oldest + 3)
    cubic = fma(b - c, 0.5, (d - a) * (1 / 6))
    square = fma(a + c, 0.5, -b)
    slope = c - b - square - cubic
    store_window(chorus.read, row, 0, fma(f, fma(f, fma(f, cubic, square), slope), b))


@step
def read_lines(chorus):
    """What the BBDs of all lanes that are on put out in the next `WINDOW` frames, into `wet_runs`."""
    width = chorus.on.shape[0]
    for lane in range(width):
        if chorus.on[lane]:
            turn = triangle(load(chorus.steps) * chorus.rate[lane] + chorus.phase[lane]) * chorus.span[lane]
            read_line(chorus, lane, lane, turn + chorus.shortest[lane])
            read_line(chorus, lane, width + lane, (chorus.shortest[lane] + chorus.span[lane]) - turn)
    for first in range(0, chorus.read.shape[0], WINDOW):
        transpose(chorus.read, first, 0, chorus.wet_runs, 0, first)


@step
def write_lines(chorus, rows, at):
    """Put `WINDOW` rows of lanes into the lines from column `at` on, a multiple of `WINDOW`.

    Those that are not there yet are put in again when they are.
    """
    for first in range(0, chorus.on.shape[0], WINDOW):
        transpose(rows, 0, first, chorus.line, first, at)
        if at < REPEATED:
            transpose(rows, 0, first, chorus.line, first, LINE + at)
