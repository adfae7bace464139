"""DCO1 and DCO2 of a voice: an 8253 counter resets a ramp whose slope a DAC voltage sets.

::

    8 MHz / prescaler --> 8253 mode 3 --+--> square (and pulse)
                                        `--> rising edge resets the integrator --> ramp (saw)
    DAC ramp CV -------------------------------^ slope

Edges fall on exact integer units (see `clock`), between samples; each discontinuity is replaced by
the integral of a cubic B-spline (four samples wide), and the B-spline's droop is undone by
`mixer.flatten_step`. Hard sync restarts the other DCO at the edge. Two samples of delay.

Source: THESIS, MAME-S, VPN12.  Limits: the integrator's 2 us reset time, any curvature of the
ramp and its loss against 1/n at high harmonics are not modelled (question: ramp-shape).
"""

import numpy as np

from jxemu.chips.i8253 import toggle_step
from jxemu.kernel import any_lane, fma, load, smaller, step, store, struct, to_float, where
from jxemu.soundboard.parts import value

NOISE, SQUARE, PULSE, SAW = range(4)
RAIL = value("RAMP_RAIL")


def dco_state(width: int) -> np.dtype:
    """Lanes of one DCO: counter, the line its wave is on, and three samples of pending output.

    Between two edges the wave is the straight line ``line + slope * elapsed``, whatever is selected.
    """
    f, i = (np.float32, (width,)), (np.int32, (width,))
    return struct(
        remaining=i, high=i, elapsed=i, line=f,  # counter, units since the ramp's reset, line
        high_units=i, low_units=i, slope=f, square=f, top=f,  # half periods; line as the latch sets it
        noise=f, wave=i,  # noise level, wave code
        sync=i,  # 1: restarted by the other DCO
        pending_0=f, pending_1=f, pending_2=f,
    )  # fmt: skip


@step
def bandlimited_jump(pending, jump, d):
    """Add a step of height `jump` that happened `d` samples ago (0..1) to the pending outputs."""
    p0, p1, p2, p3 = pending
    e = 1.0 - d
    dd = d * d
    ee = e * e
    p0 = fma(jump, dd * dd * (1 / 24), p0)
    p1 = fma(jump, fma(e, fma(ee, fma(e, -0.125, 1 / 3), -2 / 3), 0.5), p1)
    p2 = fma(-jump, fma(d, fma(dd, fma(d, -0.125, 1 / 3), -2 / 3), 0.5), p2)
    p3 = fma(-jump, ee * ee * (1 / 24), p3)
    return p0, p1, p2, p3


@step
def load_dco(dco):
    """``(motion, setting, pending)`` of a DCO as tuples of lanes, for the steps below.

    motion : remaining, high, elapsed, line.
    setting : slope, high_units, low_units, square (height of the counter's wave), top (value after
        a rising edge).
    """
    motion = load(dco.remaining), load(dco.high), load(dco.elapsed), load(dco.line)
    setting = load(dco.slope), load(dco.high_units), load(dco.low_units), load(dco.square), load(dco.top)
    return motion, setting, (load(dco.pending_0), load(dco.pending_1), load(dco.pending_2))


@step
def store_dco(dco, motion, pending):
    """Write back what the steps changed."""
    store(dco.remaining, motion[0])
    store(dco.high, motion[1])
    store(dco.elapsed, motion[2])
    store(dco.line, motion[3])
    store(dco.pending_0, pending[0])
    store(dco.pending_1, pending[1])
    store(dco.pending_2, pending[2])


@step
def _on_the_line(slope, elapsed, line):
    """The wave `elapsed` units after the ramp's reset."""
    return fma(slope, to_float(elapsed), line)


@step
def railed(wave):
    """The wave as an integrator has it, which goes no farther than its rail.

    It gets there after a jump up in pitch: the slope is the new one at once, the half period at the next toggle.
    """
    return smaller(wave, wave * 0.0 + RAIL)


@step
def rises_to_the_rail(motion, slope, units):
    """Whether a ramp of any lane may be at its rail within `units` from now."""
    return any_lane(_on_the_line(slope, motion[2] + units, motion[3]) > RAIL)


@step
def advance_step(motion, sample_units):
    """Let one sample pass; edges in it are still to be taken by `edge_step`."""
    remaining, high, elapsed, line = motion
    return remaining - sample_units, high, elapsed + sample_units, line


@step
def edge_step(motion, setting, limit):
    """Take the edges of the sample that has passed: ``(motion, rising, since, jump)``.

    rising : lanes whose ramp was reset.  since : units since the counter toggled.
    jump : height of the step in the selected wave.
    """
    remaining, high, elapsed, line = motion
    slope, high_units, low_units, square, top = setting
    remaining, high, rising, falling, since = toggle_step(remaining, high, limit, high_units, low_units)
    before = railed(_on_the_line(slope, elapsed - since, line))
    jump = where(rising, top - before, where(falling, -square, square * 0.0))
    line = where(rising, top, where(falling, line - square, line))
    elapsed = where(rising, since, elapsed)
    return (remaining, high, elapsed, line), rising, since, jump


@step
def sync_step(motion, setting, synced, counter, since):
    """Restart a DCO where `synced`, `since` units ago: ``(motion, jump)``.

    counter : lanes of 0 / 1; 1 restarts the 8253 counter too, 0 only the ramp.
    """
    remaining, high, elapsed, line = motion
    slope, high_units, _, square, top = setting
    whole = synced & (counter > 0)
    after = where(whole | (high > 0), top, top - square)
    jump = where(synced, after - railed(_on_the_line(slope, elapsed - since, line)), line * 0.0)
    remaining = where(whole, high_units - since, remaining)
    high = where(whole, 1, high)
    elapsed = where(synced, since, elapsed)
    line = where(synced, after, line)
    return (remaining, high, elapsed, line), jump


@step
def wave_step(motion, slope):
    """The selected wave at the sample, before its steps are band-limited and not yet `railed`."""
    return _on_the_line(slope, motion[2], motion[3])
