"""IR3R05: the voltage controlled low pass, two 2-pole state-variable sections in series.

One section, voltages in units of 2 VT (52 mV), w0 the cutoff::

    in --(+)--> OTA --+--> C --> band pass --> OTA --> C --> low pass --> out
         (-)           |          |                          |
          |            `-- OTA <--'  damping q               |
          `--------------------------------------------------'

    d bp/dt = w0 (tanh(in - lp) - q tanh(bp))
    d lp/dt = w0 tanh(bp)

Trapezoidal rule with one Newton step from the extrapolated state, both unknowns in closed form, the
slopes of its matrix taken from the sample before.
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

from jxemu.kernel import exp2, fma, larger, load, smaller, step, store, struct, tan, tanh_and_secant

TOP_ANGLE = 0.82
"""Highest cutoff, as pi fc / fs: 50 kHz at 192 kHz; at 2x oversampling the cutoff ends at 25 kHz."""


def section_state(width: int) -> np.dtype:
    """Lanes of one section: both voltages, where they are expected next, both currents, OTA slopes."""
    f = (np.float32, (width,))
    return struct(b=f, l=f, b_guess=f, l_guess=f, current=f, flow=f, slope_in=f, slope_b=f)


def vcf_state(width: int) -> np.dtype:
    """Lanes of the filter: both sections, control voltages as held, and the circuit's laws."""
    f = (np.float32, (width,))
    return struct(
        sections=section_state(2 * width),  # the first sections' lanes, then the second ones'
        middle=f, output=f, output_before=f,
        cv=f, cv_held=f, resonance_cv=f, resonance_held=f,
        scale=f, offset=f, top=f,  # octaves per DAC step, log2 of the angle at 0, largest angle
        q_open=f, q_law=f, q1_fixed=f, q1_share=f, q2_fixed=f, q2_share=f, feedback_law=f,
        angle=f, angle_end=f, angle_step=f, warp=f, warp_end=f, warp_step=f,
        q1=f, q2=f, feedback=f, correction=f, secant=f,
    )  # fmt: skip


@step
def control_step(cv, scale, offset, top):
    """``(angle, warp, correction, secant)``: what a section needs to know of the cutoff.

    pi fc / fs; tan(angle) - angle; 2/3 angle**2, at most 1/4; and how far the OTAs' slopes give way
    to their secants, 0 below a 16th of the sampling rate, 1 from an 8th on.
    """
    angle = smaller(exp2(larger(cv * scale + offset, -60.0)), top)
    secant = smaller(larger(angle * (16 / math.pi) - 1.0, 0.0), 1.0)
    return angle, tan(angle) - angle, smaller(angle * angle * (2 / 3), 0.25), secant


@step
def load_section(section):
    """State of a section as a tuple of lanes, for `section_step`."""
    return (
        load(section.b), load(section.l), load(section.b_guess), load(section.l_guess),
        load(section.current), load(section.flow), load(section.slope_in), load(section.slope_b),
    )  # fmt: skip


@step
def store_section(section, state):
    """Write a section's state back."""
    store(section.b, state[0])
    store(section.l, state[1])
    store(section.b_guess, state[2])
    store(section.l_guess, state[3])
    store(section.current, state[4])
    store(section.flow, state[5])
    store(section.slope_in, state[6])
    store(section.slope_b, state[7])


@step
def section_step(x, state, angle, warp, correction, secant, q):
    """Advance one section by one sample: ``(output, state)``.

    The slopes of the OTAs are a sample old, so that all but the two tanh and a sum of products is
    known before `x` and the last sample's voltages are.
    """
    b, l, b_guess, l_guess, current, flow, slope_in, slope_b = state  # noqa: E741
    slope = slope_in * slope_b
    g = fma(warp, slope, angle)
    damping = fma(q * correction, slope, q)
    g_in = g * slope_in
    g_b = g * slope_b
    stiff = damping + g_in
    inverse = 1.0 / fma(g_b, stiff, 1.0)
    miss_b = fma(g, current, b - b_guess)
    miss_l = fma(g, flow, l - l_guess)
    still = fma(-g_in, miss_l, miss_b) * inverse
    by_in = g * inverse
    by_b = by_in * stiff

    t_in, r_in = tanh_and_secant(x - l_guess)
    t_b, r_b = tanh_and_secant(b_guess)
    more_b = fma(t_in, by_in, fma(-by_b, t_b, still))
    more_l = fma(g_b, more_b, fma(g, t_b, miss_l))
    slope_in = fma(-t_in, t_in, 1.0)
    slope_b = fma(-t_b, t_b, 1.0)
    slope_in = fma(secant, r_in - slope_in, slope_in)
    slope_b = fma(secant, r_b - slope_b, slope_b)
    flow = fma(slope_b, more_b, t_b)
    current = fma(-damping, flow, fma(-slope_in, more_l, t_in))
    b_new = b_guess + more_b
    l_new = l_guess + more_l
    b_next = fma(2.0, b_new, -b)
    l_next = fma(2.0, l_new, -l)
    return fma(-correction, current, l_new), (b_new, l_new, b_next, l_next, current, flow, slope_in, slope_b)
