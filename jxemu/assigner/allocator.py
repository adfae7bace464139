"""Which voices play a key: Poly, Unison and Mono, as one machine of units.

A *unit* is the voices that sound together for one key: one voice in Poly, a pair (0,3) (1,4) (2,5)
in Unison, one voice in Mono 1, all of them in Mono 2. Boards take turns in a unit list, so that a
whole patch fills both evenly.

========  ==========================================================================================
poly1     units in rotation: a key that is struck again takes the unit it had, else the one free longest
poly2     the lowest unit whose key is up, so that only what was played last keeps its release
unison1   as poly1, with pairs
unison2   the same, the second voice of a pair an octave lower
mono1     one voice: the newest key sounds; when it goes up, the newest that is still down
mono2     the same with all voices
========  ==========================================================================================

With every unit taken, the one that has sounded longest gives way (`steal="oldest"`), or the key is
ignored (`steal="none"`, as a sister instrument does). Mono keys compete by `priority`: "last",
"low" or "high".

Source: OM8P (modes), CRAIG (pairs), J106 (rotation); questions: voice-stealing, mono-priority.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jxemu.protocol import VOICES

STEAL = ("oldest", "none")
PRIORITY = ("last", "low", "high")
OCTAVE = 12
_PAIRS = ((0, 3), (1, 4), (2, 5))

Voice = tuple[int, int]
"""``(board select, voice 0..5)``."""


@dataclass
class Unit:
    """Voices that sound together, the key they play or last played, and when that changed."""

    voices: tuple[Voice, ...]
    key: int = -1
    down: bool = False
    since: int = 0


@dataclass(frozen=True)
class Stroke:
    """Start or release one voice: `interval` semitones are added to the key's note."""

    on: bool
    voice: Voice
    key: int
    velocity: int
    interval: int = 0


def units_of(mode: str, boards: Sequence[int]) -> list[Unit]:
    """The units of an assign mode on one or two boards. Raises KeyError for an unknown mode."""
    every = [(board, voice) for voice in range(VOICES) for board in boards]
    shapes = {
        "poly": [(voice,) for voice in every],
        "unison": [tuple((board, voice) for voice in pair) for pair in _PAIRS for board in boards],
        "mono1": [(every[0],)],
        "mono2": [tuple(every)],
    }
    return [Unit(voices) for voices in shapes[mode if mode.startswith("mono") else mode[:-1]]]


@dataclass
class Allocator:
    """Assigns the voices of some boards to keys.

    mode : an assign mode of `jxemu.patch.patch.ASSIGN_MODES`.  boards : their selects.
    Raises ValueError for an unknown way to steal or priority.
    """

    mode: str
    boards: tuple[int, ...]
    steal: str = "oldest"
    priority: str = "last"
    units: list[Unit] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)  # Mono: keys that are down, oldest first
    count: int = 0

    def __post_init__(self) -> None:
        for what, value, known in (("steal", self.steal, STEAL), ("priority", self.priority, PRIORITY)):
            if value not in known:
                raise ValueError(f"{what} {value!r} is not known; choose one of {known}")
        self.units = self.units or units_of(self.mode, self.boards)

    def press(self, key: int, velocity: int) -> list[Stroke]:
        """What a key that goes down starts; nothing if it is ignored."""
        if self.mode.startswith("mono"):
            self.keys = [held for held in self.keys if held[0] != key]
            before = self._winner()
            self.keys.append((key, velocity))
            return self._start(self.units[0], *self._winner()) if self._winner() != before else []
        unit = self._choose(key)
        return [] if unit is None else self._start(unit, key, velocity)

    def release(self, key: int, velocity: int = 0) -> list[Stroke]:
        """What a key that goes up stops, and what sounds again instead."""
        if self.mode.startswith("mono"):
            self.keys = [held for held in self.keys if held[0] != key]
            unit = self.units[0]
            if unit.key != key or not unit.down:
                return []
            return self._start(unit, *self._winner()) if self.keys else self._stop(unit, velocity)
        for unit in self.units:
            if unit.down and unit.key == key:
                return self._stop(unit, velocity)
        return []

    def held(self) -> list[int]:
        """Keys that are down."""
        return [key for key, _ in self.keys] or [unit.key for unit in self.units if unit.down]

    def _winner(self) -> tuple[int, int] | None:
        if not self.keys:
            return None
        return {"last": self.keys[-1], "low": min(self.keys), "high": max(self.keys)}[self.priority]

    def _choose(self, key: int) -> Unit | None:
        same = [unit for unit in self.units if unit.key == key]
        released = [unit for unit in self.units if not unit.down]
        if self.mode == "poly2":
            playing = [unit for unit in same if unit.down]
            if playing or released:
                return (playing or released)[0]
        elif same:
            return max(same, key=_age)
        elif released:
            return min(released, key=_age)
        return min(self.units, key=_age) if self.steal == "oldest" else None

    def _start(self, unit: Unit, key: int, velocity: int) -> list[Stroke]:
        self.count += 1
        unit.key, unit.down, unit.since = key, True, self.count
        return [Stroke(True, voice, key, velocity, self._interval(i)) for i, voice in enumerate(unit.voices)]

    def _stop(self, unit: Unit, velocity: int) -> list[Stroke]:
        self.count += 1
        unit.down, unit.since = False, self.count
        return [Stroke(False, voice, unit.key, velocity, self._interval(i)) for i, voice in enumerate(unit.voices)]

    def _interval(self, place: int) -> int:
        return -OCTAVE if self.mode == "unison2" and place else 0


def _age(unit: Unit) -> int:
    return unit.since
