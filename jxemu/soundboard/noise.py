"""The noise source of a board: counter-based, so that sample n is the same in any rendering.

Source: KR (spectrum of a sister instrument); question: noise-source.
"""

import numpy as np

from jxemu.kernel import as_signed, step, struct, to_float


def noise_state(width: int) -> np.dtype:
    """Lanes: keys of the board's stream and of the voice's own, low-pass memory and coefficients, thermal noise now."""
    f, u = (np.float32, (width,)), (np.uint32, (width,))
    return struct(key=u, thermal_key=u, low=f, pole=f, gain=f, thermal=f, thermal_now=f)


@step
def white(counter, key):
    """Uniform white noise in -1..1 for a sample counter (int) and lanes of keys (u32).

    A multiply-and-shift hash of 32 bits, of the counter first: else one key's stream would be another's, moved in time.
    """
    c = counter & 0xFFFFFFFF
    c = ((c ^ (c >> 16)) * 0x2C1B3C6D) & 0xFFFFFFFF
    h = key + np.uint32(c ^ (c >> 12))
    h = (h ^ (h >> 16)) * 0x21F0AAAD
    h = (h ^ (h >> 15)) * 0x735A2D97
    h = h ^ (h >> 15)
    return to_float(as_signed(h)) * (1 / 2147483648)


@step
def noise_step(random, low, pole):
    """One-pole low pass of the white source."""
    return low + pole * (random - low)
