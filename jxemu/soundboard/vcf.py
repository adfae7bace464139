"""IR3R05: the voltage controlled low pass, two 2-pole state-variable sections in series.

One section, voltages in units of 2 VT (52 mV), w0 the cutoff::

    in --(+)--> OTA --+--> C --> band pass --> OTA --> C --> low pass --> out
         (-)           |          |                          |
          |            `-- OTA <--'  damping q               |
          `--------------------------------------------------'

    d bp/dt = w0 (tanh(in - lp) - q tanh(bp))
    d lp/dt = w0 tanh(bp)

Trapezoidal rule, each capacitor's charge carried from sample to sample (topology preserving), with
one Newton step from the extrapolated state, both unknowns in closed form, the slopes of its matrix
taken from the sample before.
The rule's own error is taken out to second order: the prewarp and the damping follow the slope of
the OTAs (a driven filter rings lower), and the output takes a little of the band-pass current,
which restores the response the rule loses near half the sampling rate. At cutoffs far above the audible the
slopes become secants, which cannot ring by themselves.

Topologies (`circuit`): "dual" damps both sections, "single" the first only, "feedback" leaves both
at q = 2 and feeds the output back round the whole filter. Source: THESIS, BOO, ATO, WM20;
question: resonance-topology.
Limits: at 4x the error of a driven filter (up to 2 in units of 2 VT) is at least 55 dB under it for
q >= 0.2 and cutoffs to 4 kHz; at q = 0.1 it comes up to about 46 dB under.
"""

import math

import numpy as np

from jxemu.kernel import clipped_and_secant, exp2, fma, larger, load, smaller, step, store, struct, tan

TOP_ANGLE = 0.82
"""Highest cutoff, as pi fc / fs: 50 kHz at 192 kHz; at 2x oversampling the cutoff ends at 25 kHz."""


def section_state(width: int) -> np.dtype:
    """Lanes of one section: where both voltages are expected next, how they move, their charges, OTA slopes."""
    f = (np.float32, (width,))
    return struct(b_guess=f, l_guess=f, b_move=f, l_move=f, b_charge=f, l_charge=f, slope_in=f, slope_b=f)


def vcf_state(width: int) -> np.dtype:
    """Lanes of the filter: both sections, control voltages as held, and the circuit's laws."""
    f = (np.float32, (width,))
    return struct(
        first=section_state(width), second=section_state(width),
        middle=f, output=f, output_before=f,
        cv=f, cv_held=f, resonance_cv=f, resonance_held=f,
        scale=f, offset=f, top=f,  # octaves per DAC step, log2 of the angle at 0, largest angle
        q_open=f, q_law=f, q1_fixed=f, q1_share=f, q2_fixed=f, q2_share=f, feedback_law=f,
        angle=f, angle_end=f, angle_step=f, warp=f, warp_end=f, warp_step=f,
        q1=f, q2=f, feedback=f, correction=f, lean=f, secant=f,
    )  # fmt: skip


def response(hz: np.ndarray, cutoff: float, q1: float, q2: float, feedback: float = 0.0) -> np.ndarray:
    """Small-signal gain of the whole filter at frequencies `hz`, complex, 1 at 0 Hz without feedback.

    cutoff : Hz.  q1, q2 : damping of the sections (2 is none).  feedback : of the "feedback" topology.
    """
    r = np.asarray(hz) / cutoff
    # `feedback` is of tanh(3 out - 2 before), which for slow signals is the output.
    open_loop = 1 / ((1 - r * r + 1j * q1 * r) * (1 - r * r + 1j * q2 * r))
    return open_loop / (1 + feedback * open_loop)


@step
def control_step(cv, scale, offset, top):
    """``(angle, warp, correction, lean, secant)``: what a section needs to know of the cutoff.

    pi fc / fs; tan(angle) - angle; 2/3 angle**2, at most 1/4; the same for a current times tan(angle);
    and how far the OTAs' slopes give way to their secants, 0 below a 16th of the sampling rate, 1
    from an 8th on.
    """
    angle = smaller(exp2(larger(cv * scale + offset, -60.0)), top)
    secant = smaller(larger(angle * (16 / math.pi) - 1.0, 0.0), 1.0)
    tangent = tan(angle)
    correction = smaller(angle * angle * (2 / 3), 0.25)
    return angle, tangent - angle, correction, correction / tangent, secant


@step
def load_section(section):
    """State of a section as a tuple of lanes, for `section_step`."""
    return (
        load(section.b_guess), load(section.l_guess), load(section.b_move), load(section.l_move),
        load(section.b_charge), load(section.l_charge), load(section.slope_in), load(section.slope_b),
    )  # fmt: skip


@step
def store_section(section, state):
    """Write a section's state back."""
    store(section.b_guess, state[0])
    store(section.l_guess, state[1])
    store(section.b_move, state[2])
    store(section.l_move, state[3])
    store(section.b_charge, state[4])
    store(section.l_charge, state[5])
    store(section.slope_in, state[6])
    store(section.slope_b, state[7])


@step
def section_step(x, state, angle, warp, damping, damping_warp, lean, secant, bent):
    """Advance one section by one sample: ``(output, state)``.

    bent : whether `secant` is above 0 in any lane (a literal, so that no branch is left).
    The slopes of the matrix are a sample old, so that all but the two tanh and a few products is
    known before `x` and the last sample's voltages are; what the low-pass capacitor takes is
    reckoned with this sample's.
    """
    b_guess, l_guess, b_move, l_move, b_charge, l_charge, slope_in, slope_b = state
    slope = slope_in * slope_b
    g = fma(warp, slope, angle)
    g_in = g * slope_in
    pull = g * (fma(damping_warp, slope, damping) + g_in)
    inverse = 1.0 / fma(slope_b, pull, 1.0)
    still = fma(g_in, l_guess - l_charge, b_charge - b_guess)

    d_in, r_in = clipped_and_secant(x - l_guess)
    d_b, r_b = clipped_and_secant(b_guess)
    t_in = d_in * r_in
    t_b = d_b * r_b
    more_b = fma(r_in, d_in * (g * inverse), fma(-(pull * inverse), t_b, still * inverse))
    slope_in = fma(-t_in, t_in, 1.0)
    slope_b = fma(-t_b, t_b, 1.0)
    if bent:
        slope_in = fma(secant, r_in - slope_in, slope_in)
        slope_b = fma(secant, r_b - slope_b, slope_b)
    current = fma(slope_b, more_b, t_b)
    b = b_guess + more_b
    l = fma(g, current, l_charge)  # noqa: E741
    b_move = b_move + more_b
    l_next = fma(g + g, current, fma(2.0, l_charge, l_move - l_guess))
    l_move = l_move + (l - l_guess)
    half_way = b - b_charge
    output = fma(-lean, half_way, l)
    return output, (b + b_move, l_next, b_move, l_move, b + half_way, fma(2.0, l, -l_charge), slope_in, slope_b)
