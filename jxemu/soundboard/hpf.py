"""The high pass of a board: first order, one of four corners, behind the sum of the voices.

Source: THESIS (one for all voices), BOO (its place); question: hpf-corners.
"""

import numpy as np

from jxemu.kernel import step, struct


def hpf_state(width: int) -> np.dtype:
    """Lanes: memory, coefficient in use, coefficients of the four positions."""
    f = (np.float32, (width,))
    return struct(low=f, pole=f, poles=(np.float32, (4, width)))


@step
def hpf_step(x, low, pole):
    """One sample: ``(output, low)``; trapezoidal rule, pole = g / (1 + g) with g = tan(pi f / fs)."""
    v = (x - low) * pole
    below = v + low
    return x - below, below + v
