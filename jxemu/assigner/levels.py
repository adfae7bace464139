"""Laws of the assigner: A/B balance, split and velocity shares, detune, chase times.

The balance law goes straight between three points seen on real machines; what else stands here is
a choice (questions: balance, xfade-curve, chase-times, detune-steps).
"""

import math
from itertools import pairwise

from jxemu.patch.patch import LOWEST_SPLIT_NOTE, Patch

CENTRE_TUNE = 0x2C
"""Tuning register for A = 440 Hz. Source: CRAIG."""

DETUNE_CENTRE = 64
WHOLE_BALANCE = 64

_BALANCE = ((0, 0), (50, 92), (64, 105), (77, 116), (127, 127))
"""Balance of a half -> what level 127 becomes. Source: ZOMBIE, CRAIG (the middle one)."""

_FADE_DOWN, _FADE_UP = ((80, 96), (112, 0)), ((48, 0), (127, 127))
"""X-Fade: velocity -> velocity of the lower and of the upper half. Source: CRAIG; his own choice."""

CHASE_SHORTEST, CHASE_LONGEST = 0.010, 3.0
"""Seconds between chase hits at time 0 and 127, linear between. Source: CRAIG; his own choice."""

CHASE_BEATS = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4)
"""Beats between chase hits that follow a MIDI clock: thirty-second notes to whole ones, with triplets and dots."""

CHASE_HALVES = {"a-b": ("upper", "lower"), "a-b-b": ("upper", "lower", "lower"), "a-b-a": ("upper", "lower", "upper")}


def _line(points: tuple[tuple[int, int], ...], x: int) -> int:
    """Straight lines between points, flat outside, rounded."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return points[-1][1]


def balanced(level: int, half: str, balance: int) -> int:
    """A half's VCA level under the A/B balance: 127 is all upper, 0 all lower."""
    return round(level * _line(_BALANCE, balance if half == "upper" else 127 - balance) / 127)


def shares(patch: Patch, key: int, velocity: int) -> dict[str, int]:
    """Velocity of the halves that a key sounds on, by the key mode: dual, split, X-Fade or T-Voice."""
    mode = patch.plain()["key_mode"]
    if mode == "split":
        split = key - LOWEST_SPLIT_NOTE
        sounding = {"upper": split >= patch.upper_split, "lower": split <= patch.lower_split}
        return {half: velocity for half, sounds in sounding.items() if sounds}
    if mode == "x-fade":
        faded = {"upper": _line(_FADE_UP, velocity), "lower": _line(_FADE_DOWN, velocity)}
        return {half: share for half, share in faded.items() if share > 0}
    if mode == "t-voice":
        return {"upper" if velocity >= patch.upper_split else "lower": velocity}
    return {"upper": velocity, "lower": velocity}


def detuned(register: int, detune: int) -> int:
    """A tuning register moved by a detune value, 64 in the middle, one step for one."""
    return min(max(register + detune - DETUNE_CENTRE, 0), 127)


def chase_seconds(time: int) -> float:
    """Seconds from one chase hit to the next."""
    return CHASE_SHORTEST + (CHASE_LONGEST - CHASE_SHORTEST) * time / 127


def chase_in_time(time: int, tempo: float) -> float:
    """Seconds between chase hits under a MIDI clock: the note value nearest to what the time says.

    tempo : beats a minute, above 0.  Source: S8 has the clock drive chase play; which values, nobody says
    (question: chase-times).
    """
    wanted = chase_seconds(time) * tempo / 60
    return min(CHASE_BEATS, key=lambda beats: abs(math.log(beats / wanted))) * 60 / tempo


def chased(velocity: int, level: int) -> int:
    """Velocity of a later chase hit."""
    return max(1, round(velocity * level / 127))
