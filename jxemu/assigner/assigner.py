"""HD6303: the assigner's program, as far as one tone on all boards needs it.

It takes `Event`s and answers with bytes for the sound boards. Bender, modulation, hold, channel
aftertouch, volume, portamento, program change within the bank, and Poly 1.

Source: ZOMBIE (order of the bytes), OM8P (controllers, note folding).  Limits: patches, key modes
and the other assign modes are not there yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jxemu import protocol
from jxemu.assigner.allocator import Poly1
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone

LOWEST_NOTE, HIGHEST_NOTE = 21, 108

CONTROLS = {
    "portamento_time": protocol.PORTAMENTO_TIME,
    "volume": protocol.VOLUME,
    "aftertouch": protocol.AFTERTOUCH,
    "portamento_switch": protocol.PORTAMENTO_SWITCH,
    "bend_range": protocol.BEND_RANGE,
    "after_vibrato_switch": protocol.AFTER_VIBRATO_SWITCH,
    "after_brilliance_switch": protocol.AFTER_BRILLIANCE_SWITCH,
    "after_volume_switch": protocol.AFTER_VOLUME_SWITCH,
    "after_vibrato_depth": protocol.AFTER_VIBRATO_DEPTH,
    "after_brilliance_depth": protocol.AFTER_BRILLIANCE_DEPTH,
    "after_volume_depth": protocol.AFTER_VOLUME_DEPTH,
    "hold": protocol.HOLD,
    "modulation": protocol.MODULATION,
    "check_env": protocol.CHECK_ENV,
    "silence": protocol.SILENCE,
}
"""Event kinds that are one parameter on the wire, 0..127."""

SWITCHES = {"hold", "portamento_switch", "after_vibrato_switch", "after_brilliance_switch", "after_volume_switch"}
"""Controls that are on from 1 upward and cross the wire as 0 or 127. Source: OM8P."""

POWER_ON = {
    "portamento_time": 1,
    "portamento_switch": 0,
    "bend_range": 0,
    "after_vibrato_switch": 127,
    "after_brilliance_switch": 0,
    "after_volume_switch": 0,
    "after_vibrato_depth": 32,
    "after_brilliance_depth": 64,
    "after_volume_depth": 64,
    "hold": 0,
    "modulation": 0,
    "aftertouch": 0,
    "volume": 127,
    "check_env": 0,
}
"""Controls as the assigner sets them before it plays."""


@dataclass(frozen=True)
class Event:
    """Something a player does.

    at : seconds.  kind and data :
    ``note_on`` (note, velocity 1..127), ``note_off`` (note, release velocity) or note;
    ``bend`` -8192..8191; ``program`` number in the bank; ``tone`` a Tone;
    ``parameter`` (name, value); ``tuning`` (register 1, register 2), 0..127, 44 = 440 Hz;
    ``all_notes_off`` None; ``wire`` raw bytes; or a name of `CONTROLS` with 0..127.
    """

    at: float
    kind: str
    data: Any = None


def fold(note: int) -> int:
    """A note outside the playable range 21..108, moved into it by octaves."""
    while note < LOWEST_NOTE:
        note += 12
    while note > HIGHEST_NOTE:
        note -= 12
    return note


class Assigner:
    """Turns events into bytes.

    send : takes bytes and the machine cycle at which they leave.  roles : the boards' selects.
    bank : tones for program changes.  steal : see `Poly1`.
    """

    def __init__(
        self,
        send: Callable[[bytes, int], int],
        roles: Sequence[int],
        bank: Sequence[Tone] = (),
        steal: str = "oldest",
    ):
        self._send = send
        self.roles = tuple(roles)
        self.bank = list(bank)
        self.allocator = Poly1(protocol.VOICES * len(self.roles), steal)
        self.tone: Tone | None = None
        self.pedal = False
        self._selected = 0

    def boot(self, at: int) -> None:
        """Greet the boards and set every control."""
        self._send(bytes([protocol.SELECT_LOWER] * 8 + [protocol.SELECT_UPPER] * 8), at)
        self._selected = protocol.UPPER
        centre = 0x2C
        data = protocol.tuning(centre, centre) + protocol.bender(0)
        data += b"".join(protocol.parameter(CONTROLS[name], value) for name, value in POWER_ON.items())
        self._to(protocol.BOTH, data, at)

    def load_tone(self, tone: Tone, at: int) -> None:
        """Mute, send all parameters of a tone to every board, level last."""
        self.tone = tone
        self._to(protocol.BOTH, protocol.parameter(protocol.VCA_LEVEL, 0) + tone.wire(), at)

    def handle(self, event: Event, at: int) -> None:
        """Play one event at machine cycle `at`. Raises ValueError for one that does not fit."""
        kind, data = event.kind, event.data
        if kind in CONTROLS:
            self._control(kind, int(data), at)
        elif handler := getattr(self, f"_on_{kind}", None):
            handler(data, at)
        else:
            raise ValueError(f"event {kind!r} is not known")

    def _to(self, boards: int, data: bytes, at: int) -> None:
        select = b"" if boards == self._selected else bytes([protocol.SELECT_OF_ROLE[boards]])
        self._selected = boards
        self._send(select + data, at)

    def _control(self, kind: str, value: int, at: int) -> None:
        if kind in SWITCHES:
            value = 127 if value >= 1 else 0
        if kind == "hold":
            self.pedal = value > 0
        self._to(protocol.BOTH, protocol.parameter(CONTROLS[kind], value), at)

    def _to_voice(
        self, voice: int, command: Callable[[int, int, int], bytes], note: int, velocity: int, at: int
    ) -> None:
        board, number = divmod(voice, protocol.VOICES)
        self._to(self.roles[board], command(number, note, velocity), at)

    def _on_note_on(self, data: tuple[int, int], at: int) -> None:
        note, velocity = fold(int(data[0])), int(data[1])
        if velocity == 0:
            self._on_note_off((note, 0), at)
            return
        voice = self.allocator.press(note, self.pedal)
        if voice is not None:
            self._to_voice(voice, protocol.voice_on, note, velocity, at)

    def _on_note_off(self, data: int | tuple[int, int], at: int) -> None:
        note, velocity = data if isinstance(data, tuple) else (data, 0)
        note = fold(int(note))
        voice = self.allocator.release(note)
        if voice is not None:
            self._to_voice(voice, protocol.voice_off, note, int(velocity), at)

    def _on_bend(self, data: int, at: int) -> None:
        if not -8192 <= data <= 8191:
            raise ValueError(f"bend {data} is outside -8192..8191")
        self._to(protocol.BOTH, protocol.bender(int(data) >> 7), at)

    def _on_program(self, data: int, at: int) -> None:
        if self.bank:
            self.load_tone(self.bank[int(data) % len(self.bank)], at)

    def _on_tone(self, data: Tone, at: int) -> None:
        self.load_tone(data, at)

    def _on_parameter(self, data: tuple[str, int | str], at: int) -> None:
        name, value = data
        if name not in PARAMETERS:
            raise ValueError(f"a tone has no parameter {name!r}")
        row = PARAMETERS[name]
        self._to(protocol.BOTH, protocol.parameter(row.byte, row.encode(row.parse(value))), at)

    def _on_tuning(self, data: tuple[int, int], at: int) -> None:
        self._to(protocol.BOTH, protocol.tuning(*data), at)

    def _on_all_notes_off(self, data: None, at: int) -> None:
        for note in self.allocator.held():
            self._on_note_off(note, at)

    def _on_wire(self, data: bytes, at: int) -> None:
        self._send(bytes(data), at)
        self._selected = 0

    def snapshot(self) -> dict:
        """All state as plain values, for `restore`."""
        return {
            "allocator": self.allocator.snapshot(),
            "pedal": self.pedal,
            "selected": self._selected,
            "tone": [self.tone.name, self.tone.values()] if self.tone else None,
            "bank": [[tone.name, tone.values()] for tone in self.bank],
        }

    def restore(self, saved: dict) -> None:
        """Take over a `snapshot`."""
        self.allocator.restore(saved["allocator"])
        self.pedal, self._selected = saved["pedal"], saved["selected"]
        self.tone = Tone(saved["tone"][0], **saved["tone"][1]) if saved["tone"] else None
        self.bank = [Tone(name, **values) for name, values in saved["bank"]]
