"""The firmware's look-up tables, as integers, made from the parts table.

Source: the forms are those of J106; the end points are in `parts`. Each table is read by
`firmware` with the 7-bit parameter (or a semitone) as index. Those of times can be measured, so a
unit may have its own: they lie in the board's record.
"""

from collections.abc import Callable

import numpy as np

from jxemu import clock
from jxemu.soundboard.parts import value

_UNIT = np.arange(128) / 127


def _integers(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.clip(np.round(np.asarray(values, float)), low, high).astype(np.int64)


def _geometric(first: float, last: float) -> np.ndarray:
    return first * (last / first) ** _UNIT


def lfo_rate(value: Callable[[str], float]) -> np.ndarray:
    """What the LFO's phase of 16 bits moves in a loop. `value` : the unit's constants by name."""
    return _integers(65536 * _geometric(value("LFO_SLOW"), value("LFO_FAST")) * LOOP_SECONDS, 1, 32767)


def attack(value: Callable[[str], float]) -> np.ndarray:
    """What an envelope of 14 bits rises in a loop."""
    return _integers(_geometric(value("ATTACK_FAST"), value("ATTACK_SLOW")), 1, 1 << 14)


def decay(value: Callable[[str], float]) -> np.ndarray:
    """What is left of an envelope after a loop, of 65536."""
    loops = _geometric(value("DECAY_FAST_LOOPS"), value("DECAY_SLOW_LOOPS"))
    return _integers(65536 * np.exp(-1 / loops), 1, 65535)


def _key_factors() -> np.ndarray:
    """Speed of an envelope at a note, 8.8 fixed point, by key follow code."""
    notes = np.arange(128) - value("ENV_KEY_LOWEST")
    rows = [np.full(128, 256.0)] + [256 * 2.0 ** (notes / halving) for halving in value("ENV_KEY_HALVING")]
    return _integers(np.array(rows), 1, 65535)


def _dynamics() -> np.ndarray:
    """Effect of a velocity, 256 = full, by dynamics code."""
    at = np.linspace(0, 1, 11)
    curves = [np.ones(128)] + [np.interp(_UNIT, at, value(f"DYNAMICS_{n}")) for n in (1, 2, 3)]
    return _integers(256 * np.array(curves), 0, 256)


def _fine_clock() -> np.ndarray:
    """Length of a DCO2 clock in units of 1/1764, by fine tune value; both centres are exact."""
    steps = np.arange(128)
    offset = np.where(steps < 64, (steps - 63) / 63, (steps - 64) / 63)
    return _integers(clock.UNITS_PER_CLOCK * 2.0 ** (-offset * value("FINE_CENTS") / 1200), 1, 4095)


def _glide() -> np.ndarray:
    steps = _integers(_geometric(value("GLIDE_FAST"), value("GLIDE_SLOW")), 1, 1 << 15)
    steps[0] = 1 << 16
    return steps


LOOP_SECONDS = (value("COMMON_CYCLES") + 6 * value("VOICE_CYCLES")) / clock.CYCLES_PER_SECOND

DIVISOR = _integers([value("CLOCK_AT_8FT") / clock.note_hz(note) for note in range(153)], 1, 1 << 20)
TUNE = np.array(value("TUNE_STEPS"), np.int64)
FINE = _fine_clock()
BEND = np.array([*value("BEND_SEMITONES"), value("BEND_12")], np.int64)
GLIDE = _glide()
LFO_DELAY = _integers(value("LFO_DELAY_LOOPS") * _UNIT**2, 0, 1 << 15)
ENV_KEY = _key_factors()
DYNAMICS = _dynamics()
VCF_KEY_SCALE = round(65536 * value("VCF_COUNTS_PER_OCTAVE") / 12 / 256 / value("VCF_KEY_FULL"))
PRESCALER = np.array([8, 12, 14, 15], np.int64)
