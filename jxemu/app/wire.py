"""The wire in words: bytes as they pass, a line for each command."""

from collections.abc import Iterable

from jxemu import protocol

_BOARDS = {0: "nobody", protocol.LOWER: "lower", protocol.UPPER: "upper", protocol.BOTH: "both"}
_SELECTS = {protocol.SELECT_LOWER, protocol.SELECT_UPPER, protocol.SELECT_BOTH, protocol.FORWARD}


class WireWords:
    """Turns arrivals into rows ``(seconds, bytes as hex, words)``; keeps what is incomplete."""

    def __init__(self) -> None:
        self._decoder = protocol.Decoder()
        self._begun: list[int] = []
        self._at = 0

    def feed(self, arrivals: Iterable[tuple[int, int]]) -> list[tuple[float, str, str]]:
        """The commands that ``(cycle, byte)`` arrivals complete."""
        rows = []
        for at, byte in arrivals:
            if not self._begun:
                self._at = at
            self._begun.append(byte)
            events = self._decoder.feed([byte])
            words = _words(*events[0]) if events else "select" if len(self._begun) > 31 else ""
            if words:
                rows.append((self._at / 1e6, bytes(self._begun).hex(" ").upper(), words))
                self._begun = []
            elif byte in _SELECTS:
                self._begun = self._begun[-32:]
        return rows


def _words(kind: int, boards: int, number: int, first: int, second: int) -> str:
    who = _BOARDS[boards]
    if kind == protocol.ON:
        return f"{who}: voice {number + 1} on, note {first}, velocity {second}"
    if kind == protocol.OFF:
        return f"{who}: voice {number + 1} off, note {first}, velocity {second}"
    if kind == protocol.RELAY:
        return f"to MIDI OUT: {first:02X}"
    return f"{who}: {protocol.CONTROL_NAMES[number]} = {first}"
