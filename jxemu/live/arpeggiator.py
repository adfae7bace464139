"""An arpeggiator above the wire: keys in, notes out. The boards, real or not, see nothing but notes.

Wire-legal: the stock instrument has none, but any keyboard could play what it plays.
"""

import random
from dataclasses import dataclass, field

MODES = ("off", "up", "down", "up-down", "random", "as-played")
DIVISIONS = {"1/4": 24, "1/8": 12, "1/8t": 8, "1/16": 6, "1/16t": 4, "1/32": 3}
"""Note value -> clock ticks a step."""

TICKS_PER_BEAT = 24
Note = tuple[int, str, int, int]
"""``(frame, "note_on" or "note_off", key, velocity)``."""


@dataclass
class Arpeggiator:
    """Steps through the keys that are down.

    sample_rate : frames a second.  mode : of `MODES`.  octaves : 1..4.  division : of `DIVISIONS`.
    gate : share of a step that a note lasts, 0.05..1.  latch : keys go on after they are up, until the
    next ones.  tempo : beats a minute of its own clock, 20..300.
    """

    sample_rate: int
    mode: str = "off"
    octaves: int = 1
    division: str = "1/16"
    gate: float = 0.5
    latch: bool = False
    tempo: float = 120.0
    keys: list[tuple[int, int]] = field(default_factory=list)  # key, velocity in the order played
    down: set[int] = field(default_factory=set)
    clocked: bool = False  # steps follow `tick`, not its own clock
    _at: float | None = None  # frame of the next step of its own clock
    _step: int = 0
    _ends: list[tuple[int, int]] = field(default_factory=list)  # frame and key of notes that sound
    _random: random.Random = field(default_factory=lambda: random.Random(10))

    def set(self, **settings: str | int | float | bool) -> list[Note]:
        """Change settings; what ends with it. Raises ValueError for one that is out of range."""
        for name, value in settings.items():
            fits = {
                "mode": lambda v: v in MODES,
                "octaves": lambda v: type(v) is int and 1 <= v <= 4,
                "division": lambda v: v in DIVISIONS,
                "gate": lambda v: isinstance(v, int | float) and 0.05 <= v <= 1,
                "latch": lambda v: isinstance(v, bool),
                "tempo": lambda v: isinstance(v, int | float) and 20 <= v <= 300,
            }
            if name not in fits or not isinstance(value, str | int | float) or not fits[name](value):
                raise ValueError(f"the arpeggiator cannot have {name} {value!r}")
        for name, value in settings.items():
            setattr(self, name, value)
        if self.mode == "off" or not self.latch:
            self.keys = [(key, velocity) for key, velocity in self.keys if key in self.down and self.mode != "off"]
        return self._end_all() if self.mode == "off" else []

    @property
    def settings(self) -> dict[str, str | int | float | bool]:
        """What `set` sets."""
        return {name: getattr(self, name) for name in ("mode", "octaves", "division", "gate", "latch", "tempo")}

    def press(self, key: int, velocity: int, frame: int) -> None:
        """A key goes down."""
        if self.latch and not self.down:
            self.keys.clear()
        if not self.keys:
            self._step, self._at = 0, float(frame)
        self.down.add(key)
        self.keys = [(held, v) for held, v in self.keys if held != key] + [(key, velocity)]

    def release(self, key: int) -> bool:
        """A key goes up; False if it was not one of the arpeggiator's."""
        known = key in self.down
        self.down.discard(key)
        if not self.latch:
            self.keys = [(held, v) for held, v in self.keys if held != key]
        return known

    def clear(self) -> list[Note]:
        """Forget every key; what ends with it."""
        self.keys.clear()
        self.down.clear()
        return self._end_all()

    def _end_all(self) -> list[Note]:
        ended = [(0, "note_off", key, 0) for _, key in self._ends]
        self._ends.clear()
        return ended

    def tick(self, frame: int, count: int) -> list[Note]:
        """Tick number `count` of a MIDI clock: what begins with it. `tempo` says how long notes last."""
        due = count % DIVISIONS[self.division] == 0
        return self._begin(frame, self._length) if due and self.keys else []

    def due(self, until: int) -> list[Note]:
        """What ends, and by its own clock begins, up to frame `until`, in time order."""
        notes: list[Note] = []
        if self.clocked:  # should the MIDI clock stop, its own goes on a step later
            self._at = until + self._length
        elif self._at is not None and self._at < until - self.sample_rate:  # it stood still: do not catch up
            self._at = float(until)
        while self.keys and not self.clocked and self._at is not None and self._at <= until:
            notes += self._begin(round(self._at), self._length)
            self._at += self._length
        ended = [(frame, "note_off", key, 0) for frame, key in self._ends if frame <= until]
        self._ends = [(frame, key) for frame, key in self._ends if frame > until]
        return sorted(notes + ended, key=lambda note: (note[0], note[1]))

    @property
    def _length(self) -> float:
        """Frames a step."""
        return self.sample_rate * 60 / self.tempo * DIVISIONS[self.division] / TICKS_PER_BEAT

    def _begin(self, frame: int, length: float) -> list[Note]:
        key, velocity = self._next()
        before = [(frame, "note_off", key, 0) for _, sounding in self._ends if sounding == key]
        self._ends = [(end, sounding) for end, sounding in self._ends if sounding != key]
        self._ends.append((frame + max(1, round(length * self.gate)), key))
        return [*before, (frame, "note_on", key, velocity)]

    def _next(self) -> tuple[int, int]:
        ordered = self.keys if self.mode == "as-played" else sorted(self.keys)
        run = [
            (key + 12 * octave, v) for octave in range(self.octaves) for key, v in ordered if key + 12 * octave <= 127
        ]
        if self.mode == "down":
            run.reverse()
        elif self.mode == "up-down":
            run += run[-2:0:-1]
        if self.mode == "random":
            return run[self._random.randrange(len(run))]
        step, self._step = self._step, self._step + 1
        return run[step % len(run)]
