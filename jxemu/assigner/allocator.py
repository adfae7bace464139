"""Which voice plays a key: Poly 1, one voice a key, in rotation.

A key that is struck again takes the voice it had; otherwise the voice that has been free longest.
With every voice taken, the one that has sounded longest gives way, those held only by the pedal
first (`steal="oldest"`), or the key is ignored (`steal="none"`, as a sister instrument does).

Source: OM8P (rotation), J106 (same voice for the same key); question: voice-stealing.
"""

from dataclasses import dataclass

STEAL = ("oldest", "none")


@dataclass
class Slot:
    """One voice: the key it plays or last played, whether the key is down, and when that changed."""

    note: int = -1
    down: bool = False
    since: int = 0


class Poly1:
    """Assigns `voices` voices to keys. Raises ValueError for an unknown way to steal."""

    def __init__(self, voices: int, steal: str = "oldest"):
        if steal not in STEAL:
            raise ValueError(f"steal {steal!r} is not known; choose one of {STEAL}")
        self.steal = steal
        self.slots = [Slot() for _ in range(voices)]
        self._count = 0

    def press(self, note: int, pedal: bool) -> int | None:
        """Voice for a key that goes down, or None if the key is ignored."""
        self._count += 1
        voice = self._choose(note, pedal)
        if voice is not None:
            self.slots[voice] = Slot(note, True, self._count)
        return voice

    def _choose(self, note: int, pedal: bool) -> int | None:
        voices = range(len(self.slots))

        def age(voice: int) -> int:
            return self.slots[voice].since

        same = [v for v in voices if self.slots[v].note == note]
        if same:
            return max(same, key=age)
        released = [v for v in voices if not self.slots[v].down]
        if released:
            return min(released, key=age)
        return min(voices, key=age) if self.steal == "oldest" else None

    def release(self, note: int) -> int | None:
        """Voice whose key goes up, or None if no voice plays it."""
        for voice, slot in enumerate(self.slots):
            if slot.down and slot.note == note:
                self._count += 1
                slot.down, slot.since = False, self._count
                return voice
        return None

    def held(self) -> list[int]:
        """Keys that are down."""
        return [slot.note for slot in self.slots if slot.down]

    def snapshot(self) -> list:
        """All state as plain values, for `restore`."""
        return [self._count, *([slot.note, slot.down, slot.since] for slot in self.slots)]

    def restore(self, saved: list) -> None:
        """Take over a `snapshot`."""
        self._count = saved[0]
        self.slots = [Slot(*row) for row in saved[1:]]
