"""The VCA inside the IR3R05: a linear input for the envelope, an exponential one for the level.

The signal input limits softly (a cubic), so that a voice never gets louder than `PAD` times its
amplitude, however hard the filter rings.

Source: BOO (two control inputs); question: vca-law, vca-input.
"""

import numpy as np

from jxemu.kernel import exp2, fma, larger, smaller, step, struct, where
from jxemu.soundboard.parts import value

PAD = value("VCA_PAD")
CLOSED = 1e-6
"""Gains below this are off: an idle voice contributes exactly nothing."""


def vca_state(width: int) -> np.dtype:
    """Lanes: control voltages as held, the level law, and the gain on its way."""
    f = (np.float32, (width,))
    return struct(
        cv=f, cv_held=f, level_cv=f, level_held=f, gain=f, level_law=f, level_norm=f,
        amplitude=f, amplitude_end=f, amplitude_step=f,
    )  # fmt: skip


@step
def amplitude(cv, level_cv, gain, level_law, level_norm):
    """Gain for the held voltages: linear in `cv`, exponential (and 0 at 0) in `level_cv`."""
    level = larger(exp2(level_cv * level_law) - 1.0, 0.0) * level_norm
    result = cv * gain * level
    return where(result < CLOSED, 0.0, result)


@step
def vca_step(x, amplitude_now):
    """One sample through the amplifier; `x` in units of 2 VT at the filter's output."""
    c = smaller(larger(x, -1.5 * PAD), 1.5 * PAD)
    return fma(c * c, -4 / 27 / PAD**2, 1.0) * (c * amplitude_now)
