"""Values as the panel of the instrument words them."""

import re
from typing import Any

from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import LOWEST_SPLIT_NOTE, PATCH

_NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def note_name(note: int) -> str:
    """A MIDI note as the field writes it, 60 is C4."""
    return f"{_NOTES[note % 12]}{note // 12 - 1}"


_NOTE = r"([A-G])([#b]?)(-1|[0-9])"


def note_of(text: str) -> int | None:
    """The MIDI note that a text is as the field writes it, such as "C4", "F#3" or "Bb2"; None for anything else."""
    found = re.fullmatch(_NOTE, text)
    if not found:
        return None
    letter, sign, octave = found.groups()
    note = _NOTES.index(letter) + {"": 0, "#": 1, "b": -1}[sign] + 12 * (int(octave) + 1)
    return note if 0 <= note <= 127 else None


def note_in(text: str) -> int | None:
    """The first MIDI note that stands in a text, such as a file's name; None without one."""
    found = re.search(rf"(?<![A-Za-z0-9]){_NOTE}(?![A-Za-z0-9])", text)
    return note_of(found[0]) if found else None


def parameter_words(name: str, value: int) -> str:
    """A tone parameter's value: a label, or 00..99."""
    return PARAMETERS[name].format(value)


def setting_words(name: str, value: int) -> str:
    """A patch setting's value: a label, a note, steps of detune, semitones, or the number; tones count from 1."""
    if name.endswith("_tone"):
        return str(value + 1)
    if name.endswith("_split"):
        return note_name(value + LOWEST_SPLIT_NOTE)
    if name.endswith("detune"):
        return f"{round((value - 64) * 50 / 64):+d}"
    return f"{value:+d}" if name.endswith("_shift") else str(PATCH[name].plain(value))


def midi_words(message: Any) -> str:
    """A mido message as the monitor shows it; of long ones the beginning."""
    text = message.hex() if message.type == "sysex" else str(message).removesuffix(" time=0")
    return text if len(text) <= 120 else f"{text[:100]} ... ({len(message.data) + 2} bytes)"
