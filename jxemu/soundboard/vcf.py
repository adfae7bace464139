"""IR3R05: the voltage controlled low pass, two 2-pole state-variable sections in series.

One section, voltages in units of 2 VT (52 mV), w0 the cutoff::

    in --(+)--> OTA --+--> C --> band pass --> OTA --> C --> low pass --> out
         (-)           |          |                          |
          |            `-- OTA <--'  damping q               |
          `--------------------------------------------------'

    d bp/dt = w0 (tanh(in - lp) - q tanh(bp))
    d lp/dt = w0 tanh(bp)

Adams and Moulton's rule of third order, which towards wide open cutoffs becomes the trapezoidal one, each
capacitor's charge carried from sample to sample (topology preserving), with one Newton step from a guess,
both unknowns in closed form. The guess is made two samples ahead, from a voltage, its current and the current before (Adams-Bashforth), and the slopes of the matrix are a sample
old: so what takes long, the tanh and the divisions, never waits for the last sample (`expect_step`), and
what does is short (`settle_step`). The second
section takes the first one's output two samples late, so that both stand side by side in one vector.
What the rule is off by is taken out too: prewarp and damping follow the slope of
the OTAs (a driven filter rings lower), and where the rule is trapezoidal the output takes a little of the band-pass
current, which restores the response that rule loses near half the sampling rate. At cutoffs far above the audible the
slopes become secants of this sample, which cannot ring by themselves, and the guess reaches less far.

Topologies (`circuit`): "dual" damps both sections, "single" the first only, "feedback" leaves both
at q = 2 and feeds the output back round the whole filter. Source: THESIS, BOO, ATO, WM20;
question: resonance-topology.
Limits: at 4x the error of a filter driven by saws of 110 Hz (up to 2 in units of 2 VT) is at least 60 dB under it for
q >= 0.1 and cutoffs to 4 kHz, 41 at 8 kHz. Driven hard at q below 0.3 the equation itself can be chaotic: where two inputs
that differ by -80 dB soon sound different, no solver follows it (`test_vcf` shows one such place). An input that begins with
a corner sets a low, resonant filter ringing a little otherwise (firmware_notes/vcf.md).
"""

import math

import numpy as np

from jxemu.kernel import (
    back,
    beside,
    clipped_and_secant,
    exp2,
    fma,
    front,
    larger,
    load,
    smaller,
    step,
    store,
    struct,
    tan,
    twice,
    where,
)  # fmt: skip

TOP_ANGLE = 0.82
"""Highest cutoff, as pi fc / fs: 50 kHz at 192 kHz; at 2x oversampling the cutoff ends at 25 kHz."""

SECTION_DELAY = 2
"""Samples that the first section's output takes to the second."""

REACH, OPEN_REACH = (8.0, -4.0), (3.5, -1.5)
"""Of what half this sample and half the one before added, in a guess two samples ahead; the second where `secant` is 1.

The first is Adams and Bashforth's rule; the second, found by trials, aliases least and is not near running away.
"""


def vcf_state(width: int) -> np.dtype:
    """Lanes of the filter: both sections, control voltages as held, and the circuit's laws.

    What belongs to a section has twice as many lanes: the first section's, and behind them the second's.
    """
    f, both = (np.float32, (width,)), (np.float32, (2 * width,))
    return struct(
        b_guess=both, l_guess=both, b_guess_next=both, l_guess_next=both,  # where both voltages are expected
        b_charge=both, l_charge=both, b_half=both, l_half=both,  # charges, and what the current adds for a voltage
        slope_in=both, slope_b=both,  # of the OTAs
        middle=f, middle_next=f, output=f, output_before=f,
        cv=f, cv_held=f, resonance_cv=f, resonance_held=f,
        scale=f, offset=f, top=f,  # octaves per DAC step, log2 of the angle at 0, largest angle
        q_open=f, q_law=f, q1_fixed=f, q1_share=f, q2_fixed=f, q2_share=f, feedback_law=f,
        angle=f, angle_end=f, angle_step=f, warp=f, warp_end=f, warp_step=f,
        q1=f, q2=f, feedback=f, correction=f, lag=f, lean=f, past=f, secant=f,
    )  # fmt: skip


def response(hz: np.ndarray, cutoff: float, q1: float, q2: float, feedback: float = 0.0) -> np.ndarray:
    """Small-signal gain of the whole filter at frequencies `hz`, complex, 1 at 0 Hz without feedback.

    cutoff : Hz.  q1, q2 : damping of the sections (2 is none).  feedback : of the "feedback" topology.
    """
    r = np.asarray(hz) / cutoff
    # `feedback` is of tanh(4 out - 3 before), which for slow signals is the output.
    open_loop = 1 / ((1 - r * r + 1j * q1 * r) * (1 - r * r + 1j * q2 * r))
    return open_loop / (1 + feedback * open_loop)


@step
def control_step(cv, scale, offset, top):
    """``(angle, warp, rule)``: what a section needs to know of the cutoff; `rule` is for `store_rule`.

    A sample adds to a voltage 2 angle ((1/2 - c) f + (1/2 + 2 c) f' - c f'') of its currents f now and before: with
    c = 1/12 the third-order rule, up to a 48th of the sampling rate, with 0 the trapezoidal one, from a 16th on.

    angle : pi fc / fs, times 1 - 2 c.  warp : what that lacks for the cutoff to stand where it should.
    rule : correction, lag, lean, past, secant.
    correction : 2/3 of the angle's square, at most 1/4, which the damping grows by; none in the third-order rule.
    lag : what its damping lacks instead.  lean : `correction` for a current times what half a sample adds.
    past : c / (1/2 - c).
    secant : how far the OTAs' slopes give way to their secants, 0 below a 16th of the sampling rate, 1 from an 8th on.
    """
    angle = smaller(exp2(larger(cv * scale + offset, -60.0)), top)
    secant = smaller(larger(angle * (16 / math.pi) - 1.0, 0.0), 1.0)
    third = smaller(larger(fma(angle, -24 / math.pi, 1.5), 0.0), 1.0)
    tangent = tan(angle)
    correction = smaller(angle * angle * (2 / 3), 0.25) * (1.0 - third)
    past = third / (6.0 - third)
    # On the unit circle the rule's integrator is that of the angle's tangent, over 1 + bent (1 - j tangent).
    bent = third * (1 / 3) * (tangent * tangent) / fma(tangent, tangent, 1.0)
    lag = 2.0 * tangent * bent / (1.0 + bent)
    ahead = 1.0 + past
    tangent = tangent / ((1.0 + bent) * ahead)
    angle = angle / ahead
    return angle, tangent - angle, (correction, lag, correction / tangent, past, secant)


@step
def store_rule(vcf, rule):
    """Put down `control_step`'s rule for `load_vcf`."""
    correction, lag, lean, past, secant = rule
    store(vcf.correction, correction)
    store(vcf.lag, lag)
    store(vcf.lean, lean)
    store(vcf.past, past)
    store(vcf.secant, secant)


@step
def load_vcf(vcf):
    """``(state, setting)`` of the filter as tuples of lanes, for `vcf_step`.

    state : what is expected of this sample and of the next (the first section's output, and both voltages),
        the OTAs' slopes, and the capacitors' charges and what the current adds to them for a voltage.
    setting : of `expect_step` (damping, its growth with the slope, `secant`), and of `settle_step` (share of the
        band-pass current in the output, how far guesses reach ahead, and what charges carry on of both currents).
    """
    state = (
        (load(vcf.middle), load(vcf.b_guess), load(vcf.l_guess)),
        (load(vcf.middle_next), load(vcf.b_guess_next), load(vcf.l_guess_next)),
        (load(vcf.slope_in), load(vcf.slope_b)),
        (load(vcf.b_charge), load(vcf.l_charge), load(vcf.b_half), load(vcf.l_half)),
    )  # fmt: skip
    damping, secant, past = beside(load(vcf.q1), load(vcf.q2)), twice(load(vcf.secant)), twice(load(vcf.past))
    wider = 1.0 + past
    ahead = fma(secant, OPEN_REACH[0] - REACH[0], REACH[0]) * wider + 1.0
    behind = fma(secant, OPEN_REACH[1] - REACH[1], REACH[1]) * wider
    return state, (
        (damping, fma(damping, twice(load(vcf.correction)), twice(load(vcf.lag))), secant),
        (twice(load(vcf.lean)), ahead, behind, fma(past, 3.0, 2.0), -past),
    )


@step
def store_vcf(vcf, state):
    """Write back what the steps changed."""
    (middle, b_guess, l_guess), (middle_next, b_next, l_next), slopes, charges = state
    store(vcf.middle, middle)
    store(vcf.middle_next, middle_next)
    store(vcf.b_guess, b_guess)
    store(vcf.l_guess, l_guess)
    store(vcf.b_guess_next, b_next)
    store(vcf.l_guess_next, l_next)
    store(vcf.slope_in, slopes[0])
    store(vcf.slope_b, slopes[1])
    store(vcf.b_charge, charges[0])
    store(vcf.l_charge, charges[1])
    store(vcf.b_half, charges[2])
    store(vcf.l_half, charges[3])


@step
def expect_step(x, guess, slopes, setting, angle, warp, bent):
    """The half of a sample's work that its guess is enough for, both sections: ``(expected, slopes)``.

    x : the voices' lanes.  guess, slopes : of `load_vcf`'s state.  setting : the first of its two.
    angle, warp : of both sections (`twice`).
    bent : whether `secant` is above 0 in any lane (a literal, so that no branch is left).
    """
    middle, b_guess, l_guess = guess
    slope_in, slope_b = slopes
    damping, damping_warp, secant = setting
    slope = slope_in * slope_b
    g = fma(warp, slope, angle)
    damped = g * fma(damping_warp, slope, damping)

    d_in, r_in = clipped_and_secant(beside(x, middle) - l_guess)
    d_b, r_b = clipped_and_secant(b_guess)
    t_in = d_in * r_in
    t_b = d_b * r_b
    if bent:
        tangent = 1.0 - secant
        new_in = fma(r_in, fma(-(tangent * (d_in * d_in)), r_in, secant), tangent)
        new_b = fma(r_b, fma(-(tangent * (d_b * d_b)), r_b, secant), tangent)
        slope_in = where(secant > 0.0, new_in, slope_in)
        slope_b = where(secant > 0.0, new_b, slope_b)
    else:
        new_in = fma(r_in, -(d_in * d_in * r_in), 1.0)
        new_b = fma(r_b, -(d_b * d_b * r_b), 1.0)
    pull = fma(g * g, slope_in, damped)
    inverse = 1.0 / fma(slope_b, pull, 1.0)
    pulled = g * slope_in
    known = fma(pulled, l_guess, fma(g, t_in, fma(-pull, t_b, -b_guess)))
    return (b_guess, known, pulled, inverse, g * t_b, g * new_b), (new_in, new_b)


@step
def settle_step(expected, charges, setting):
    """The other half: ``(output, guess, charges)``, the guess being of the next sample but one.

    expected : of `expect_step`.  charges : of `load_vcf`'s state.  setting : the second of its two.
    """
    b_guess, known, pulled, inverse, l_still, l_more = expected
    b_charge, l_charge, b_half, l_half = charges
    lean, ahead, behind, onward, past = setting
    more_b = inverse * fma(-pulled, l_charge, known + b_charge)
    b_now = (b_guess - b_charge) + more_b
    l_now = fma(l_more, more_b, l_still)
    b_next = fma(ahead, b_now, fma(behind, b_half, b_charge))
    l_next = fma(ahead, l_now, fma(behind, l_half, l_charge))
    output = fma(-lean, b_now, l_charge + l_now)
    b_charge = fma(onward, b_now, fma(past, b_half, b_charge))
    l_charge = fma(onward, l_now, fma(past, l_half, l_charge))
    charges = (b_charge, l_charge, b_now, l_now)
    return back(output), (front(output), b_next, l_next), charges


@step
def vcf_step(x, state, setting, angle, warp, bent):
    """Advance both sections by one sample: ``(output, state)``; arguments as of `load_vcf` and `expect_step`."""
    guess, guess_next, slopes, charges = state
    expecting, settling = setting
    expected, slopes = expect_step(x, guess, slopes, expecting, angle, warp, bent)
    output, guess, charges = settle_step(expected, charges, settling)
    return output, (guess_next, guess, slopes, charges)
