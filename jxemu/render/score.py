"""Scores: lists of events, from notes or from a standard MIDI file."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from jxemu.machine import Event
from jxemu.patch.sysex import ROLAND

Note = tuple[int, int, float, float]
"""``(note, velocity, start_seconds, duration_seconds)``."""

_CONTROLLERS = {1: "modulation", 5: "portamento_time", 7: "volume", 64: "hold", 65: "portamento_switch"}


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
            fits = 0 <= number <= 127 and 1 <= velocity <= 127 and start >= 0 and duration > 0
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"note {note!r} is not (note 0..127, velocity 1..127, start >= 0, duration > 0)")
        events.append(Event(start, "note_on", (int(number), int(velocity))))
        events.append(Event(start + duration, "note_off", (int(number), 0)))
    return in_order(events)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events by time; at one instant releases before everything else, then as given.

    The release of a key that is struck in the same instant stays behind the stroke.
    """
    given = list(events)
    struck: dict[tuple[float, str, int], int] = {}
    for place, event in enumerate(given):
        if event.kind == "note_on":
            struck.setdefault((event.at, event.part, event.data[0]), place)

    def first(place: int) -> bool:
        event = given[place]
        if event.kind != "note_off":
            return False
        key = event.data[0] if isinstance(event.data, tuple) else event.data
        return struck.get((event.at, event.part, key), place) >= place

    order = sorted(range(len(given)), key=lambda place: (given[place].at, not first(place), place))
    return [given[place] for place in order]


def load_midi(path: str | Path, parts: Mapping[int, str] | None = None) -> list[Event]:
    """Events of a standard MIDI file.

    parts : MIDI channel 1..16 -> the part of the instrument it plays ("control", "upper", "lower");
        other channels are left out. Without it every channel plays the patch.
    Notes, bend, modulation, portamento time and switch, volume, hold, channel aftertouch, program
    change, all notes off (controllers 120 and 123..127), sysex. Raises OSError if the file cannot be
    opened and MidiFileError if it is not a MIDI file or breaks off.
    """
    import mido

    data = Path(path).read_bytes()
    if data[:4] != b"MThd":
        raise MidiFileError(f"{path}: not a standard MIDI file (it does not begin with MThd)")
    try:
        file = mido.MidiFile(str(path))
        messages = list(file)
    except Exception as error:  # mido lets through whatever a wrong byte leads to
        raise MidiFileError(f"{path}: damaged MIDI file ({error or 'it breaks off'})") from error
    events, now = [], 0.0
    for message in messages:
        now += message.time
        channel = getattr(message, "channel", None)
        if message.type == "sysex" and len(message.data) > 2 and message.data[0] == ROLAND:
            channel = message.data[2] & 15
        part = "control" if parts is None or channel is None else parts.get(channel + 1)
        if part is not None and message.type == "sysex":
            part = "control"
        event = _event(now, message)
        if event is not None and part is not None:
            events.append(replace(event, part=part))
    return events


def _event(at: float, message) -> Event | None:
    kind = message.type
    if kind == "note_on":
        return Event(at, "note_on" if message.velocity else "note_off", (message.note, message.velocity))
    if kind == "note_off":
        return Event(at, "note_off", (message.note, message.velocity))
    if kind == "pitchwheel":
        return Event(at, "bend", message.pitch)
    if kind == "aftertouch":
        return Event(at, "aftertouch", message.value)
    if kind == "program_change":
        return Event(at, "program", message.program)
    if kind == "sysex":
        return Event(at, "sysex", bytes((0xF0, *message.data, 0xF7)))
    if kind == "control_change":
        if message.control in _CONTROLLERS:
            return Event(at, _CONTROLLERS[message.control], message.value)
        if message.control in (120, 123, 124, 125, 126, 127):
            return Event(at, "all_notes_off")
    return None
