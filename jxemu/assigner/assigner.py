"""HD6303: the assigner's program. Events in, bytes for the sound boards out.

It holds a patch with its two tones, gives every key its voices by key mode and assign mode, and
says on the wire what the real program says: a patch change mutes both boards, loads the lower and
the upper tone, then levels, patch values, silence, switches and tuning, and forwards the program
change to MIDI OUT. Every message begins with its board select, as on the real line.

Source: ZOMBIE (order and length of a patch change), OM8P, CRAIG (see firmware_notes/assigner.md).
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jxemu import protocol
from jxemu.assigner import levels
from jxemu.assigner.allocator import Allocator, Stroke
from jxemu.clock import cycles
from jxemu.patch import handshake, sysex
from jxemu.patch.bank import CARTRIDGE_GROUP, Bank
from jxemu.patch.memory import JX8P_CARTRIDGE, JX8P_PRESETS, Memory, whole
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import APR_BYTES, CHAIN, CHAIN_OF, HALVES, PATCH, Chain, Patch
from jxemu.patch.tone import Tone

PLAYABLE = (21, 108)
"""Notes a sound board is asked for; the keys a JX-8P takes as they are. Source: OM8P."""

SUPER_JX_KEYS = (28, 103)
"""Keys that a Super JX takes as they are. Source: S8, S9."""

PARTS = ("control", "upper", "lower")
"""What an event is meant for: the patch as the keyboard plays it, or one half. Source: S8."""

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

_REARRANGING = ("key_mode", "upper_assign", "lower_assign", "upper_tone", "lower_tone")
"""Settings of a patch that lose held keys."""

SWITCHES = {"hold", "portamento_switch", "after_vibrato_switch", "after_brilliance_switch", "after_volume_switch"}
"""Controls that are on from 1 upward and cross the wire as 0 or 127. Source: OM8P."""

_AFTER = (
    ("after_vibrato", protocol.AFTER_VIBRATO_SWITCH, protocol.AFTER_VIBRATO_DEPTH),
    ("after_brilliance", protocol.AFTER_BRILLIANCE_SWITCH, protocol.AFTER_BRILLIANCE_DEPTH),
    ("after_volume", protocol.AFTER_VOLUME_SWITCH, protocol.AFTER_VOLUME_DEPTH),
)
_MUTE = b"".join(
    protocol.parameter(number, 0)
    for number in (protocol.VCA_LEVEL, protocol.ENV1_S, protocol.ENV1_R, protocol.ENV2_S, protocol.ENV2_R)
)
_BEND_CODES = (0x00, 0x20, 0x40, 0x60, 0x70)
_ON = 0x7F
_PLAIN = Tone()
_PLAIN_PATCH = whole(_PLAIN)
"""What plays until something is loaded."""


@dataclass(frozen=True)
class Event:
    """Something a player does.

    at : seconds.  part : of `PARTS`.  kind and data :
    ``note_on`` (note, velocity 1..127), ``note_off`` (note, release velocity) or note;
    ``bend`` -8192..8191; ``program`` number 0..127; ``tone`` a Tone; ``patch`` a Patch, or one with
    its upper and lower tone as ``(patch, upper, lower)``;
    ``parameter`` (name, value) of a tone; ``setting`` (name, value) of the patch; ``sysex`` a whole
    message; ``tuning`` (register 1, register 2), 0..127, 44 = 440 Hz;
    ``tempo`` beats a minute of a MIDI clock, which chase play follows, 0 without one;
    ``all_notes_off`` None; ``wire`` raw bytes; or a name of `CONTROLS` with 0..127.
    """

    at: float
    kind: str
    data: Any = None
    part: str = "control"


def fold(note: int, playable: tuple[int, int] = PLAYABLE) -> int:
    """A note outside a range, lowest and highest, moved into it by octaves."""
    while note < playable[0]:
        note += 12
    while note > playable[1]:
        note -= 12
    return note


def _for(role: int, data: bytes) -> bytes:
    """Bytes behind the select of the boards they are for."""
    return bytes((protocol.SELECT_OF_ROLE[role],)) + data


class Assigner:
    """Turns events into bytes.

    send : takes bytes and the machine cycle at which they leave.  roles : the boards' selects.
    memory : where programs come from (default: the factory bank).  steal, priority : see `jxemu.assigner.allocator`.
    """

    def __init__(
        self,
        send: Callable[[bytes, int], int],
        roles: Sequence[int],
        memory: Memory | None = None,
        steal: str = "oldest",
        priority: str = "last",
    ):
        self._send = send
        self.roles = tuple(roles)
        self._keys = PLAYABLE if len(self.roles) == 1 else SUPER_JX_KEYS
        self._memory = memory
        self.steal, self.priority = steal, priority
        self.tones = {"upper": _PLAIN, "lower": _PLAIN}
        self.program = 0
        self.tempo = 0.0
        self.pedal = dict.fromkeys(HALVES, False)
        self.bend = dict.fromkeys(HALVES, 0)
        self.modulation = dict.fromkeys(HALVES, 0)
        # Chase hits to come: cycle, turn, on / off, half, key, velocity, strike they belong to.
        self._due: list[tuple[int, int, str, str, int, int, int]] = []
        self._turn = 0
        # Chase keys that are down: strike, when, the hits' halves and cycles between them.
        self._chased: dict[int, tuple[int, int, tuple[str, ...], int]] = {}
        self._sounding: dict[tuple[str, int], int] = {}  # which strike of a key a half plays
        self._sender: handshake.Sender | None = None
        self._receiver = handshake.Receiver()
        self._set(_PLAIN_PATCH)

    # --- what is where ---

    @property
    def memory(self) -> Memory:
        """Internal memory and cartridge as they are now; the factory bank is read when first asked for."""
        if self._memory is None:
            self._memory = Memory()
        return self._memory

    def replace_memory(self, memory: Memory) -> None:
        """Put other banks into internal memory and cartridge; what plays goes on."""
        self._memory = memory

    def settle(self, patch: Patch, tones: dict[str, Tone]) -> None:
        """Take over a patch and tones that sound as what plays; nothing crosses the wire."""
        self.patch, self.tones = patch, dict(tones)

    def _remember(self, bank: Bank) -> None:
        """Write tones and patches into the memory they name; banks that others hold stay as they are."""
        place = "cartridge" if bank.group == CARTRIDGE_GROUP else "internal"
        held = (getattr(self.memory, place) or Bank()).copy()
        held.write(bank)
        self._memory = replace(self.memory, **{place: held})

    @property
    def boards(self) -> dict[int, str]:
        """The half each board plays, by its select."""
        if len(self.roles) == 1:
            return {self.roles[0]: "upper"}
        mode = self.patch.plain()["key_mode"]
        by_mode = {"whole-a": ("upper", "upper"), "whole-b": ("lower", "lower")}
        return dict(zip(self.roles, by_mode.get(mode, ("lower", "upper")), strict=True))

    @property
    def halves(self) -> tuple[str, ...]:
        """The halves that sound: one in whole modes and on a single board."""
        return tuple(sorted(set(self.boards.values()), reverse=True))

    def _set(self, patch: Patch) -> None:
        """Take a patch over; whatever sounded is forgotten."""
        self.patch = patch
        self._due.clear()
        self._chased.clear()
        self._sounding.clear()
        self.allocators = {half: self._allocator(half) for half in self.halves}

    def _allocator(self, half: str) -> Allocator:
        boards = tuple(role for role, played in self.boards.items() if played == half)
        return Allocator(self._plain(half, "assign"), boards, self.steal, self.priority)

    def _of(self, half: str, setting: str) -> int:
        return getattr(self.patch, f"{half}_{setting}")

    def _plain(self, half: str, setting: str) -> str:
        return PATCH[f"{half}_{setting}"].plain(self._of(half, setting))

    def halves_of(self, part: str) -> tuple[str, ...]:
        """The halves that an event for `part` reaches. Raises ValueError for an unknown part."""
        if part not in PARTS:
            raise ValueError(f"part {part!r} is not known; choose one of {', '.join(PARTS)}")
        return (part,) if part in self.halves else self.halves

    def _boards_of(self, part: str) -> list[tuple[int, str]]:
        """``(select, half)`` of the boards a part plays, one for both where they play the same."""
        wanted = self.halves_of(part)
        found = [(role, half) for role, half in self.boards.items() if half in wanted]
        return [(protocol.BOTH, found[0][1])] if len(found) > 1 and len(wanted) == 1 else found

    # --- the wire ---

    def _to(self, role: int, data: bytes, at: int) -> None:
        self._send(_for(role, data), at)

    def boot(self, at: int) -> None:
        """Greet the boards and put every control in its place."""
        self._send(bytes([protocol.SELECT_LOWER] * 8 + [protocol.SELECT_UPPER] * 8), at)
        controls = {"hold": 0, "modulation": 0, "aftertouch": 0, "volume": 127}
        data = protocol.bender(0)
        data += b"".join(protocol.parameter(CONTROLS[name], value) for name, value in controls.items())
        self._to(protocol.BOTH, data, at)

    def load_tone(self, tone: Tone, at: int, program: int | None = None) -> None:
        """Play one tone on all voices; its patch is plain."""
        self.load_patch(whole(tone), tone, tone, at, program)

    def load_patch(self, patch: Patch, upper: Tone, lower: Tone, at: int, program: int | None = None) -> None:
        """Change to a patch with its two tones; what sounds ends. `program` goes to MIDI OUT."""
        self.tones = {"upper": upper, "lower": lower}
        self.program = self.program if program is None else program
        self._set(patch)
        data = b"".join(_for(role, said) for role, said in self._patch_change())
        self._send(data if program is None else data + bytes((protocol.FORWARD, 0xC0, program)), at)

    def _patch_change(self) -> Iterator[tuple[int, bytes]]:
        """What a change to the patch says, and to which boards."""
        p = protocol.parameter
        everyone, boards, tuning = protocol.BOTH, self.boards, {half: self._tuning(half) for half in self.halves}
        yield everyone, _MUTE
        for role, half in boards.items():
            yield role, self.tones[half].wire()
            yield role, p(protocol.PORTAMENTO_SWITCH, 0)
        for role, half in boards.items():
            yield role, p(protocol.VCA_LEVEL, self._level(half))
        glide = p(protocol.PORTAMENTO_TIME, self.patch.portamento_time)
        yield everyone, glide
        yield everyone, p(protocol.BEND_RANGE, _BEND_CODES[self.patch.bend_range])
        yield everyone, self._routing() + glide
        for role in boards:
            yield role, protocol.silence()
        for role, half in boards.items():
            yield role, p(protocol.HOLD, self._hold(half))
        for role, half in boards.items():
            yield role, p(protocol.CHECK_ENV, 0) + tuning[half]
        for role, half in reversed(boards.items()):
            yield role, tuning[half]
        for role, half in boards.items():
            yield role, p(protocol.PORTAMENTO_SWITCH, _ON * self._of(half, "portamento"))

    def _routing(self) -> bytes:
        depths = [getattr(self.patch, name) for name, _, _ in _AFTER]
        pairs = [
            *((switch, _ON if depth else 0) for (_, switch, _), depth in zip(_AFTER, depths, strict=True)),
            *((number, depth) for (_, _, number), depth in zip(_AFTER, depths, strict=True)),
        ]
        return b"".join(protocol.parameter(number, value) for number, value in pairs)

    def _level(self, half: str) -> int:
        level = round(self.tones[half].vca_level * self.patch.volume / 127)
        if len(self.roles) == 1:
            return level
        balance = self.patch.balance if len(self.halves) == 2 else levels.WHOLE_BALANCE
        return levels.balanced(level, half if len(self.halves) == 2 else "upper", balance)

    def _hold(self, half: str) -> int:
        return _ON if self.pedal[half] and self._of(half, "hold") else 0

    def _tuning(self, half: str) -> bytes:
        first = levels.CENTRE_TUNE
        if half == "lower" and len(self.halves) == 2 and self.patch.plain()["key_mode"] != "split":
            first = levels.detuned(first, self.patch.dual_detune)
        alike = self._plain(half, "assign") in ("poly1", "poly2", "mono1")
        return protocol.tuning(first, first if alike else levels.detuned(first, self._of(half, "unison_detune")))

    # --- events ---

    def handle(self, event: Event, at: int) -> None:
        """Play one event at machine cycle `at`. Raises ValueError for one that does not fit."""
        self.advance(at)
        if event.kind in CONTROLS:
            self._control(event.kind, int(event.data), at, event.part)
        elif handler := getattr(self, f"_on_{event.kind}", None):
            handler(event.data, at, event.part)
        else:
            raise ValueError(f"event {event.kind!r} is not known")

    def advance(self, until: int) -> None:
        """Do what is due up to cycle `until`: the later hits of chase play."""
        while self._due and self._due[0][0] <= until:
            at, _, what, half, key, velocity, strike = heapq.heappop(self._due)
            if half not in self.allocators:
                continue
            if what == "on":
                self._press(half, key, velocity, at, strike)
            elif self._sounding.get((half, key)) == strike:
                self._play(half, self.allocators[half].release(key, velocity), at)

    def _press(self, half: str, key: int, velocity: int, at: int, strike: int) -> None:
        self._sounding[half, key] = strike
        self._play(half, self.allocators[half].press(key, velocity), at)

    @property
    def pending(self) -> int:
        """Chase hits still to come."""
        return len(self._due)

    def _control(self, kind: str, value: int, at: int, part: str) -> None:
        if kind in SWITCHES:
            value = _ON if value >= 1 else 0
        halves = HALVES if part == "control" else self.halves_of(part)  # also those that are silent now
        if kind == "hold":
            self.pedal |= dict.fromkeys(halves, value > 0)
            self._each(part, at, lambda half: protocol.parameter(protocol.HOLD, self._hold(half)))
        elif kind == "modulation":
            self.modulation |= dict.fromkeys(halves, value)
            self._each(part, at, self._modulated)
        else:
            self._each(part, at, lambda half: protocol.parameter(CONTROLS[kind], value))

    def _modulated(self, half: str) -> bytes:
        return protocol.parameter(protocol.MODULATION, round(self.modulation[half] * self._of(half, "lfo") / 127))

    def _bent(self, half: str) -> bytes:
        return protocol.bender(self.bend[half] if self._of(half, "bender") else 0)

    def _each(self, part: str, at: int, data_of: Callable[[str], bytes]) -> None:
        """Say to each board of a part what its half says; once to both where that is the same."""
        boards = self._boards_of(part)
        said = [data_of(half) for _, half in boards]
        if len(boards) > 1 and len(set(said)) == 1:
            self._to(protocol.BOTH, said[0], at)
        else:
            for (role, _), data in zip(boards, said, strict=True):
                self._to(role, data, at)

    def _play(self, half: str, strokes: Iterable[Stroke], at: int) -> None:
        for stroke in strokes:
            role, number = stroke.voice
            note = fold(fold(stroke.key, self._keys) + self._of(half, "shift") + stroke.interval)
            command = protocol.voice_on if stroke.on else protocol.voice_off
            self._to(role, command(number, note, stroke.velocity), at)

    def _on_note_on(self, data: tuple[int, int], at: int, part: str) -> None:
        key, velocity = int(data[0]), int(data[1])
        if velocity == 0:
            self._on_note_off((key, 0), at, part)
        elif part == "control" and len(self.halves) == 2:
            self._strike(key, velocity, at)
        else:
            for half in self.halves_of(part):
                self._press(half, key, velocity, at, self._next())

    def _next(self) -> int:
        """A number of its own for each strike and each hit to come."""
        self._turn += 1
        return self._turn

    def _strike(self, key: int, velocity: int, at: int) -> None:
        """A key of the control channel under a two-tone patch."""
        strike = self._next()
        if self._chasing:
            time, tempo = self.patch.chase_time, self.tempo
            seconds = levels.chase_in_time(time, tempo) if tempo else levels.chase_seconds(time)
            hits, apart = self._hits, cycles(seconds)
            self._chased[key] = strike, at, hits, apart
            for n, half in enumerate(hits):
                share = velocity if n == 0 else levels.chased(velocity, self.patch.chase_level)
                self._later(at + n * apart, "on", half, key, share, strike)
            self.advance(at)
            return
        wanted = levels.shares(self.patch, fold(key, self._keys), velocity)
        for half in self.halves:
            if half in wanted:
                self._press(half, key, wanted[half], at, strike)

    @property
    def _chasing(self) -> bool:
        return bool(self.patch.chase) and self.patch.plain()["key_mode"] == "dual" and len(self.halves) == 2

    @property
    def _hits(self) -> tuple[str, ...]:
        return levels.CHASE_HALVES[self.patch.plain()["chase_mode"]]

    def _later(self, at: int, what: str, half: str, key: int, velocity: int, strike: int) -> None:
        heapq.heappush(self._due, (at, self._next(), what, half, key, velocity, strike))

    def _on_note_off(self, data: int | tuple[int, int], at: int, part: str) -> None:
        key, velocity = data if isinstance(data, tuple) else (data, 0)
        key, velocity = int(key), int(velocity)
        if part == "control" and key in self._chased:
            self._unchase(key, velocity, at)
        else:
            for half in self.halves_of(part):
                self._play(half, self.allocators[half].release(key, velocity), at)

    def _unchase(self, key: int, velocity: int, at: int) -> None:
        """A chased key goes up: every hit keeps the key's length, the last one on a half ends it."""
        strike, struck, hits, apart = self._chased.pop(key)
        for n, half in enumerate(hits):
            end = at + n * apart
            again = (m for m in range(n + 1, len(hits)) if hits[m] == half)
            if all(struck + m * apart > end for m in again):
                self._later(end, "off", half, key, velocity, strike)
        self.advance(at)

    def _on_bend(self, data: int, at: int, part: str) -> None:
        if not -8192 <= data <= 8191:
            raise ValueError(f"bend {data} is outside -8192..8191")
        self.bend |= dict.fromkeys(HALVES if part == "control" else self.halves_of(part), int(data) >> 7)
        self._each(part, at, self._bent)

    def _on_program(self, data: int, at: int, part: str) -> None:
        program = int(data)
        if len(self.roles) == 1:
            tone = self.memory.jx8p_tone(program)
            if tone is not None:
                cartridge = program >= JX8P_CARTRIDGE and self.memory.cartridge is not None
                number = program - JX8P_CARTRIDGE if cartridge else program
                named = {f"{half}_tone": number for half in HALVES} if program < JX8P_PRESETS else {}
                self.patch = self.patch.replace(**named)
                self._alone(tone, at, program)
        elif part == "control":
            patch, memory = self.memory.patch(program), self.memory.holder(program)
            if patch is not None and not memory.missing(patch):
                self.load_patch(patch, *memory.tones(patch), at, program)
        else:
            tone = self.memory.tone(program)
            if tone is not None:
                named = {f"{half}_tone": program for half in self.halves_of(part)}
                self._on_tone(tone, at, part)
                self.patch = self.patch.replace(**named)

    def _on_patch(self, data: Patch | tuple[Patch, Tone, Tone], at: int, part: str) -> None:
        if isinstance(data, Patch):
            if missing := self.memory.missing(data):
                raise ValueError(f"the bank has no tone {missing[0] + 1}, which the patch asks for")
            data = (data, *self.memory.tones(data))
        self.load_patch(*data, at)

    def _alone(self, tone: Tone, at: int, program: int | None = None) -> None:
        """One tone on every voice, played as the patch says."""
        self.load_patch(self.patch.replace(tone.name), tone, tone, at, program)

    def _on_tone(self, data: Tone, at: int, part: str) -> None:
        """A tone for the whole instrument, or for one half of the patch."""
        if len(self.roles) == 1:
            self._alone(data, at)
        elif len(self.halves) == 1:  # in a whole mode: the half that is silent keeps a tone that is another
            number = self._of(self.halves[0], "tone")
            both = (data if self._of(half, "tone") == number else self.tones[half] for half in HALVES)
            self.load_patch(self.patch.replace(data.name), *both, at)
        elif part == "control":
            self.load_tone(data, at)
        else:
            self.tones[part] = data
            self.allocators[part] = self._allocator(part)
            self._due = [due for due in self._due if due[3] != part]
            heapq.heapify(self._due)
            for role, _ in self._boards_of(part):
                self._to(role, _MUTE + protocol.silence(), at)
                self._to(role, data.wire(), at)
                self._to(role, protocol.parameter(protocol.VCA_LEVEL, self._level(part)), at)

    def _on_parameter(self, data: tuple[str, int | str], at: int, part: str) -> None:
        name, value = data
        if name not in PARAMETERS:
            raise ValueError(f"a tone has no parameter {name!r}")
        for half in self.halves_of(part):
            self.tones[half] = self.tones[half].replace(**{name: value})
        row = PARAMETERS[name]

        def edited(half: str) -> bytes:
            wire = self.tones[half].encode()[row.sysex] & 0x7F
            return protocol.parameter(row.byte, self._level(half) if row.byte == protocol.VCA_LEVEL else wire)

        self._each(part, at, edited)

    def _on_setting(self, data: tuple[str, int | str], at: int, part: str) -> None:
        """Edit the patch; what crosses the wire is only what that changes."""
        name, value = data
        if name not in PATCH:
            raise ValueError(f"a patch has no setting {name!r}")
        before, patch = self.patch, self.patch.replace(**{name: value})
        if name in _REARRANGING:
            self._rearrange(patch, at)
            return
        self.patch = patch
        p = protocol.parameter
        single = {"portamento_time": (protocol.PORTAMENTO_TIME, patch.portamento_time),
                  "bend_range": (protocol.BEND_RANGE, _BEND_CODES[patch.bend_range])}  # fmt: skip
        if name in single:
            self._to(protocol.BOTH, p(*single[name]), at)
        elif name.startswith("after_"):
            _, switch, depth = next(row for row in _AFTER if row[0] == name)
            after = getattr(patch, name)
            self._to(protocol.BOTH, p(switch, _ON if after else 0) + p(depth, after), at)
        elif name in ("balance", "volume"):
            self._each("control", at, lambda half: p(protocol.VCA_LEVEL, self._level(half)))
        elif name == "dual_detune" or name.endswith("unison_detune"):
            self._each("control", at, self._tuning)
        elif name.endswith(("_hold", "_lfo", "_portamento", "_bender")) and patch != before:
            half, _, what = name.partition("_")
            said = {
                "hold": lambda half: p(protocol.HOLD, self._hold(half)),
                "lfo": self._modulated,
                "portamento": lambda half: p(protocol.PORTAMENTO_SWITCH, _ON * self._of(half, "portamento")),
                "bender": self._bent,
            }
            if half in self.halves:
                self._each(half, at, said[what])

    def _rearrange(self, patch: Patch, at: int) -> None:
        """Another key mode, assign mode or tone: held keys are lost, as on the real machine."""
        tones, memory = dict(self.tones), self.memory.holder(self.program if len(self.roles) == 2 else 0)
        for half in HALVES:
            number = getattr(patch, f"{half}_tone")
            if number != getattr(self.patch, f"{half}_tone"):
                tones[half] = memory.tone(number)
                if tones[half] is None:
                    raise ValueError(f"the bank has no tone {number + 1}, which the patch asks for")
        self.load_patch(patch, tones["upper"], tones["lower"], at)

    def _on_sysex(self, data: bytes, at: int, part: str) -> None:
        """A sysex message for the edit buffers or the memory, or a request; others are passed over."""
        data = bytes(data)
        opcode, machine, level = sysex.kind_of(data)
        if handshake.operation_of(data) is not None:
            self._transfer(data, at)
            return
        if (dump := handshake.answer(data, self.patch, list(self.tones.values()), self.program)) is not None:
            self._out(b"".join(dump), at)
            return
        if len(data) < 8 or machine not in (sysex.JX8P, sysex.MKS70):
            return
        if opcode == sysex.IPR:
            self._edit(data, machine, level, at)
            return
        bank = Bank.decode(data)
        half = "lower" if machine == sysex.MKS70 and data[6] == sysex.LOWER_GROUP else "upper"
        if opcode == sysex.APR and bank.tones:
            self._on_tone(bank.tones[0], at, half)
        elif opcode == sysex.APR and bank.chains:
            self._chain(bank.chains[0], CHAIN, at)
        elif opcode == sysex.APR and bank.patches:
            # X-Fade, T-Voice and bend 12 have no place in the message: they stay as an IPR has set them.
            buffer = sysex.data_of(data) + self.patch.unnumbered.encode_buffer()[APR_BYTES:]
            patch = Patch.decode_buffer(buffer)
            # a tone that is nowhere follows by an APR of its own; until then the one that plays stays
            self.load_patch(patch, *self.memory.tones(patch, tuple(self.tones.values())), at)
        elif opcode in (sysex.BLD, sysex.V4_BLD):
            self._remember(bank)
        elif opcode == sysex.PGR and len(data) >= 10:
            number = sysex.number_of(data)
            if machine == sysex.MKS70 and number is not None:
                self._on_program(number, at, "control" if level == sysex.PATCH_LEVEL else half)
            elif number is not None:
                self._remember(Bank([self.tones["upper"]], tone_numbers=[number]))

    def _out(self, midi: bytes, at: int) -> None:
        """Let a board relay bytes to MIDI OUT."""
        self._send(protocol.forward(midi), at)

    def _transfer(self, data: bytes, at: int) -> None:
        """A message of a cartridge transfer: send the cartridge when asked, take one that is offered."""
        if handshake.operation_of(data) == handshake.RQF:
            holder = self.memory.cartridge or self.memory.internal
            images = holder.encode("cartridge")
            self._sender = handshake.Sender(images[0], data[3] & 15) if images else None
        try:
            said = self._sender and self._sender.answer(data)
        except handshake.TransferError:
            said = self._sender = None
        self._receiver.channel = data[3] & 15
        reply = self._receiver.answer(data)
        if self._receiver.done and (bank := Bank.decode(self._receiver.image)).tones:
            self._memory = replace(self.memory, cartridge=bank)
        for message in (said, reply):
            if message:
                self._out(message, at)

    def _edit(self, data: bytes, machine: int, level: int, at: int) -> None:
        """Single parameters: those that are named are sent, and what else they change."""
        half = "lower" if machine == sysex.MKS70 and data[6] == sysex.LOWER_GROUP else "upper"
        pairs = sysex.pairs_of(data)
        named = {index for index, _ in pairs}
        if level == sysex.TONE_LEVEL:
            part = half if half in self.halves else "control"
            places = {row.sysex: row for row in PARAMETERS.values()}
            for index, value in pairs:
                if row := places.get(index):
                    self._on_parameter((row.name, row.decode(value)), at, part)
            for own in self.halves_of(part):
                name = Tone.decode(sysex.edited(self.tones[own].encode(), pairs)).name
                self.tones[own] = self.tones[own].replace(name)
            return
        if machine == sysex.JX8P:
            before = Chain.of(self.patch, self.program)
            chain = Chain.decode(sysex.edited(before.encode(), pairs))
            self._chain(chain, [name for place, name in enumerate(CHAIN) if place in named], at)
            return
        edited = Patch.decode_buffer(sysex.edited(self.patch.unnumbered.encode_buffer(), pairs))
        self.patch = self.patch.replace(edited.name)
        for name, value in edited:
            own = PATCH[name].index in named
            if name.endswith("_tone") and (not own or self.memory.tone(value) is None):
                continue
            if value != getattr(self.patch, name) or (own and name not in _REARRANGING):
                self._on_setting((name, value), at, "control")

    def _chain(self, chain: Chain, named: Collection[str], at: int) -> None:
        """A JX-8P's patch chain: what it names is sent, its tone is loaded if it names another."""
        before = Chain.of(self.patch, self.program)
        now, then = before.patch(), chain.patch()
        for name, value in then:
            same = value == getattr(now, name)
            if CHAIN_OF.get(name) in named and not (same and (name in _REARRANGING or name.startswith("after_"))):
                self._on_setting((name, value), at, "control")
        if chain.program != before.program and (tone := self.memory.jx8p_tone(chain.program)):
            self.program = chain.program
            self._alone(tone, at)

    def _on_tempo(self, data: float, at: int, part: str) -> None:
        self.tempo = float(data)

    def _on_tuning(self, data: tuple[int, int], at: int, part: str) -> None:
        self._each(part, at, lambda half: protocol.tuning(*data))

    def _on_all_notes_off(self, data: None, at: int, part: str) -> None:
        for half in self.halves_of(part):
            self._due = [due for due in self._due if due[3] != half]
            heapq.heapify(self._due)
            for key in self.allocators[half].held():
                self._play(half, self._ended(half, key), at)
        if part == "control":
            self._chased.clear()

    def _ended(self, half: str, key: int) -> list[Stroke]:
        """What stops when a key goes up and no held key is to sound instead."""
        allocator = self.allocators[half]
        if allocator.keys:
            allocator.keys = [held for held in allocator.keys if held[0] == allocator.units[0].key]
        return allocator.release(key)

    def _on_wire(self, data: bytes, at: int, part: str) -> None:
        self._send(bytes(data), at)

    # --- saving ---

    def snapshot(self) -> dict:
        """All state as plain values, for `restore`."""
        tones = Bank([self.tones["upper"], self.tones["lower"]], [self.patch])
        memory = self._memory and [
            bank and bank.encode("json")[0].decode() for bank in (self._memory.internal, self._memory.cartridge)
        ]
        return {
            "now": tones.encode("json")[0].decode(),
            "memory": memory,
            "rules": [self.steal, self.priority],
            "controls": [self.pedal, self.bend, self.modulation],
            "due": [self._turn, *(list(due) for due in self._due)],
            "chased": list(self._chased.items()),
            "sounding": [[*place, strike] for place, strike in self._sounding.items()],
            "program": self.program,
            "tempo": self.tempo,
            "allocators": {
                half: [a.count, a.keys, [[unit.key, unit.down, unit.since] for unit in a.units]]
                for half, a in self.allocators.items()
            },
        }

    def restore(self, saved: dict) -> None:
        """Take over a `snapshot`."""
        if saved["memory"]:
            self._memory = Memory(*(text and Bank.decode(text.encode()) for text in saved["memory"]))
        now = Bank.decode(saved["now"].encode())
        self.steal, self.priority = saved["rules"]
        self.tones = dict(zip(("upper", "lower"), now.tones, strict=True))
        self._set(now.patches[0])
        self.pedal, self.bend, self.modulation = saved["controls"]
        self._turn, *due = saved["due"]
        self._due = list(map(tuple, due))
        self._chased = {key: (strike, at, tuple(hits), apart) for key, (strike, at, hits, apart) in saved["chased"]}
        self._sounding = {(half, key): strike for half, key, strike in saved["sounding"]}
        self.program = saved["program"]
        self.tempo = saved["tempo"]
        for half, (count, keys, units) in saved["allocators"].items():
            allocator = self.allocators[half]
            allocator.count, allocator.keys = count, [tuple(key) for key in keys]
            for unit, (key, down, since) in zip(allocator.units, units, strict=True):
                unit.key, unit.down, unit.since = key, down, since
