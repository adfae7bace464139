"""Scores: lists of events, from notes or from a standard MIDI file."""

import io
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jxemu.machine import Event, event_of, part_of

if TYPE_CHECKING:
    import mido

MIDI_FILE = b"MThd"
"""What a standard MIDI file begins with."""

Note = tuple[int, int, float, float]
"""``(note, velocity, start_seconds, duration_seconds)``."""


class MidiFileError(ValueError):
    """A file that is not MIDI; the message names it."""


def from_notes(notes: Iterable[Note]) -> list[Event]:
    """Events of notes in time order; at one instant releases come first.

    Raises ValueError for a note that is not four numbers in range.
    """
    events = []
    for note in notes:
        try:
            number, velocity, start, duration = note
            fits = (
                0 <= number <= 127
                and 1 <= velocity <= 127
                and start >= 0
                and duration > 0
                and math.isfinite(start + duration)
            )
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"note {note!r} is not (note 0..127, velocity 1..127, start >= 0, duration > 0)")
        events.append(Event(start, "note_on", (int(number), int(velocity))))
        events.append(Event(start + duration, "note_off", (int(number), 0)))
    return in_order(events)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events by time; at one instant releases first, then the others as given.

    A release waits for the pedal where that is given before it, and for the stroke of a key that was not down.
    """
    found, down = [], set()
    for _, given in itertools.groupby(sorted(events, key=lambda event: event.at), lambda event: event.at):
        for event in _instant(list(given), down):
            if event.kind == "note_on":
                down.add(_key_of(event))
            elif event.kind == "note_off":
                down.discard(_key_of(event))
            elif event.kind == "all_notes_off":
                down.clear()
            found.append(event)
    return found


def _instant(given: list[Event], down: set[tuple[str, int]]) -> list[Event]:
    """The events of one instant in the order in which they are played; `down` are the keys down before it."""
    releases: dict[tuple[str, int], int] = {}  # the first release of each key that is down
    pedal = next((place for place, event in enumerate(given) if event.kind == "hold"), len(given))
    for place, event in enumerate(given):
        if event.kind == "note_off" and _key_of(event) in down:
            releases.setdefault(_key_of(event), place)
    struck = {_key_of(event) for event in given if event.kind == "note_on"}
    first = sorted(place for key, place in releases.items() if place < pedal or key in struck)
    return [given[place] for place in first] + [each for n, each in enumerate(given) if n not in first]


def _key_of(event: Event) -> tuple[str, int]:
    return event.part, event.data[0] if isinstance(event.data, tuple) else event.data


def load_midi(path: str | Path, parts: Mapping[int, str] | None = None) -> list[Event]:
    """Events of a standard MIDI file.

    parts : MIDI channel 1..16 -> the part of the instrument it plays ("control", "upper", "lower");
        other channels are left out. Without it every channel plays the patch.
    Notes, bend, modulation, portamento time and switch, volume, hold, channel aftertouch, program
    change, all notes off (controllers 120 and 123..127), sysex. Raises OSError if the file cannot be
    opened and MidiFileError if it is not a MIDI file or breaks off.
    """
    events, now = [], 0.0
    for message in _messages(Path(path).read_bytes(), path):
        now += message.time
        part = part_of(message, parts)
        event = event_of(now, message)
        if event is not None and part is not None:
            events.append(replace(event, part=part))
    return events


def sysex_of(data: bytes, name: str | Path) -> bytes:
    """The sysex messages of a standard MIDI file's bytes, one after another. Raises MidiFileError."""
    return b"".join(bytes(message.bytes()) for message in _messages(data, name) if message.type == "sysex")


def _messages(data: bytes, name: str | Path) -> "list[mido.Message]":
    """Messages of all tracks, with the seconds between them."""
    import mido

    if data[:4] != MIDI_FILE:
        raise MidiFileError(f"{name}: not a standard MIDI file (it does not begin with MThd)")
    kind, division = int.from_bytes(data[8:10]), int.from_bytes(data[12:14])
    if len(data) >= 14 and kind == 2:
        raise MidiFileError(f"{name}: a MIDI file of type 2, songs beside each other; save one of them as type 0 or 1")
    if len(data) >= 14 and not 0 < division < 0x8000:
        counted = "SMPTE frames" if division else "no ticks at all"
        raise MidiFileError(f"{name}: a MIDI file that counts time in {counted}; save it with ticks a quarter note")
    try:
        return list(mido.MidiFile(file=io.BytesIO(_played_alone(data))))
    except IndexError:
        raise MidiFileError(f"{name}: damaged MIDI file (it breaks off)") from None
    except Exception as error:  # mido lets through whatever a wrong byte leads to
        raise MidiFileError(f"{name}: damaged MIDI file ({str(error) or 'it breaks off'})") from error


_TEMPO, _END = 0x51, 0x2F
_SYSEX, _PACKET = 0xF0, 0xF7
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2, 0xF1: 1, 0xF2: 2, 0xF3: 1}


def _played_alone(data: bytes) -> bytes:
    """A MIDI file's bytes without what is only told: signatures, texts, foreign chunks, one wrong byte in which would
    keep the whole song from being read; sysex that comes in packets is one message. Raises IndexError for one that
    breaks off.
    """
    made, at, left = bytearray(), 0, 1 + int.from_bytes(data[10:12])  # chunks: the header and its tracks
    while left and at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8])
        body = data[at + 8 : at + 8 + size]
        if len(body) < size:
            raise IndexError
        if kind == b"MTrk":
            body = _track_alone(body)
        if kind in (MIDI_FILE, b"MTrk"):
            made += kind + len(body).to_bytes(4) + body
            left -= 1
        at += 8 + size
    return bytes(made)


def _track_alone(body: bytes) -> bytes:
    events: list[tuple[int, bytes, bytearray | None]] = []  # ticks before it, its bytes, and those of sysex behind them
    at, waited, status, open_sysex = 0, 0, 0, None
    while at < len(body):
        delta, at = _length(body, at)
        waited += delta
        begin = at
        if body[at] >= 0x80:
            at += 1
            status = body[begin] if body[begin] < 0xF0 else status
        if 0xF0 < body[begin] < 0xFF and body[begin] != _PACKET:  # a clock and its kind, which no file should have
            at += _DATA_BYTES.get(body[begin], 0)
            continue
        if body[begin] >= 0xF0:  # meta events and sysex say how long they are
            at += body[begin] == 0xFF
            size, inside = _length(body, at)
            at = inside + size
            if at > len(body):
                raise IndexError
        else:
            at += _DATA_BYTES[status & 0xF0]
        told, sysex = body[begin:at], None
        if body[begin] == _PACKET:  # goes on with a sysex that has begun; else it is bytes for a cable
            if open_sysex is not None:
                open_sysex += body[inside:at]
                open_sysex = None if open_sysex[-1:] == b"\xf7" else open_sysex
            continue
        if body[begin] == _SYSEX:
            told, sysex = told[:1], bytearray(body[inside:at])
            open_sysex = None if sysex[-1:] == b"\xf7" else sysex
        elif body[begin] == 0xFF and body[begin + 1] not in (_TEMPO, _END):
            continue
        elif body[begin] < _SYSEX:
            open_sysex = None
        running = bytes((status,)) if body[begin] < 0x80 else b""  # its status may have been on what is left out
        events.append((waited, running + told, sysex))
        waited = 0
    return b"".join(
        _as_length(delta) + told + (b"" if sysex is None else _as_length(len(sysex)) + sysex)
        for delta, told, sysex in events
    )


def _length(body: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = 0
    while True:
        byte, at = body[at], at + 1
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at


def _as_length(number: int) -> bytes:
    rest = b"" if number < 0x80 else bytes(byte | 0x80 for byte in _as_length(number >> 7))
    return rest + bytes((number & 0x7F,))
