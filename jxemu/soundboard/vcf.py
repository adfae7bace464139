"""IR3R05: the voltage controlled low pass, two 2-pole state-variable sections in series.

One section, voltages in units of 2 VT (52 mV), w0 the cutoff::

    in --(+)--> OTA --+--> C --> band pass --> OTA --> C --> low pass --> out
         (-)           |          |                          |
          |            `-- OTA <--'  damping q               |
          `--------------------------------------------------'

    d bp/dt = w0 (tanh(in - lp) - q tanh(bp))
    d lp/dt = w0 tanh(bp)

Trapezoidal rule with one Newton step from the extrapolated state, both unknowns in closed form.
The rule's own error is taken out to second order: the prewarp and the damping follow the slope of
the OTAs (a driven filter rings lower), and the output takes a little of the band-pass current,
which restores the response the rule loses near half the sampling rate.

Topologies (`circuit`): "dual" damps both sections, "single" the first only, "feedback" leaves both
at q = 2 and feeds the output back round the whole filter. Source: THESIS, BOO, ATO, WM20;
question: resonance-topology.
"""

import numpy as np

from jxemu.kernel import exp2, larger, load, smaller, step, store, struct, tan, tanh


def section_state(width: int) -> np.dtype:
    """Lanes of one section: band pass, low pass, both one sample ago, both currents, OTA slope."""
    f = (np.float32, (width,))
    return struct(b=f, l=f, b_before=f, l_before=f, current=f, flow=f, slope=f)


def vcf_state(width: int) -> np.dtype:
    """Lanes of the filter: two sections, control voltages as held, and the circuit's laws."""
    f = (np.float32, (width,))
    return struct(
        first=section_state(width), second=section_state(width), middle=f, output=f, output_before=f,
        cv=f, cv_held=f, resonance_cv=f, resonance_held=f,
        scale=f, offset=f, top=f,  # octaves per DAC step, log2 of the angle at 0, largest angle
        q_open=f, q_law=f, q1_fixed=f, q1_share=f, q2_fixed=f, q2_share=f, feedback_law=f,
        angle=f, angle_end=f, angle_step=f, warp=f, warp_end=f, warp_step=f,
        q1=f, q2=f, feedback=f, correction=f,
    )  # fmt: skip


@step
def control_step(cv, scale, offset, top):
    """``(angle, warp, correction)``: pi fc / fs, tan(angle) - angle, and 2/3 angle**2 (at most 1/4)."""
    angle = smaller(exp2(larger(cv * scale + offset, -60.0)), top)
    return angle, tan(angle) - angle, smaller(angle * angle * (2 / 3), 0.25)


@step
def load_section(section):
    """State of a section as a tuple of lanes, for `section_step`."""
    return (
        load(section.b), load(section.l), load(section.b_before), load(section.l_before),
        load(section.current), load(section.flow), load(section.slope),
    )  # fmt: skip


@step
def store_section(section, state):
    """Write a section's state back."""
    store(section.b, state[0])
    store(section.l, state[1])
    store(section.b_before, state[2])
    store(section.l_before, state[3])
    store(section.current, state[4])
    store(section.flow, state[5])
    store(section.slope, state[6])


@step
def section_step(x, state, angle, warp, correction, q):
    """Advance one section by one sample: ``(output, state)``."""
    b, l, b_before, l_before, current, flow, slope = state  # noqa: E741
    g = angle + warp * slope
    damping = q + q * correction * slope
    b_guess = b + b - b_before
    l_guess = l + l - l_before
    t_in = tanh(x - l_guess)
    t_b = tanh(b_guess)
    s_in = 1.0 - t_in * t_in
    s_b = 1.0 - t_b * t_b
    miss_b = b - b_guess + g * (current + t_in - damping * t_b)
    miss_l = l - l_guess + g * (flow + t_b)
    g_in = g * s_in
    g_b = g * s_b
    more_b = (miss_b - g_in * miss_l) / (1.0 + g_b * (damping + g_in))
    more_l = miss_l + g_b * more_b
    flow = t_b + s_b * more_b
    current = t_in - s_in * more_l - damping * flow
    l_new = l_guess + more_l
    return l_new - correction * current, (b_guess + more_b, l_new, b, l, current, flow, s_in * s_b)
