"""The mixer of a voice: two DCO levels from the DAC, cross modulation, and the filter's drive.

Source: SOS, ED-X; question: mixer-level, xmod-wiring.
"""

import numpy as np

from jxemu.kernel import fma, step, struct


def mixer_state(width: int) -> np.dtype:
    """Lanes: the last two mixed samples, amplitude modulation of DCO2 by DCO1 (0 or 1), and both levels."""
    f = (np.float32, (width,))
    return struct(
        before_1=f, before_2=f, am=f, drive_1=f, drive_2=f,  # drive: 2 VT a DAC step
        cv_1=f, cv_2=f, held_1=f, held_2=f,
        level_1=f, level_2=f, end_1=f, end_2=f, step_1=f, step_2=f,
    )  # fmt: skip


@step
def mix_step(dco1, dco2, level1, level2, am, modulated):
    """Sum of both DCOs at their levels; with `am` DCO2 is gated by DCO1, 0 at -1 and whole at +1.

    modulated : whether `am` is above 0 in any lane.
    """
    if modulated:
        dco2 = dco2 * fma(am, fma(dco1, 0.5, -0.5), 1.0)
    return fma(dco1, level1, dco2 * level2)


@step
def flatten_step(mixed, before_1, before_2, noise):
    """Undo the droop of the band-limited steps: +0.6 dB at 20 kHz, one sample late; `noise` comes on top."""
    return fma(mixed + before_2, -1 / 6, fma(before_1, 4 / 3, noise))
