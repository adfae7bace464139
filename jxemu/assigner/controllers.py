"""What MIDI messages mean to the instrument: the controller map of the hardware.

Source: S1, S8 (modulation, portamento time and switch, volume, hold, channel aftertouch, program
change, all notes off, sysex).
"""

from typing import Any

from jxemu.assigner.assigner import Event
from jxemu.patch.sysex import ROLAND

CONTROLLERS = {1: "modulation", 5: "portamento_time", 7: "volume", 64: "hold", 65: "portamento_switch"}
"""Controller number -> what it moves."""

ALL_NOTES_OFF = (120, 123, 124, 125, 126, 127)
"""Controllers that end every note; the last four are mode messages."""


def event_of(at: float, message: Any) -> Event | None:
    """The event that a mido message means, None if it means nothing here.

    at : seconds.  message : notes, bend, channel aftertouch, program change, sysex, or a controller.
    """
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
        if message.control in CONTROLLERS:
            return Event(at, CONTROLLERS[message.control], message.value)
        if message.control in ALL_NOTES_OFF:
            return Event(at, "all_notes_off")
    return None


def part_of(message: Any, channels: dict[int, str] | None) -> str | None:
    """The part of the instrument that a message is for; None if it is for nobody.

    channels : MIDI channel 1..16 -> "control", "upper" or "lower"; without it every channel plays the
    patch. Sysex of Roland is taken by its device number as a channel, and always for the patch.
    """
    channel = getattr(message, "channel", None)
    if message.type == "sysex" and len(message.data) > 2 and message.data[0] == ROLAND:
        channel = message.data[2] & 15
    part = "control" if channels is None or channel is None else channels.get(channel + 1)
    return "control" if part is not None and message.type == "sysex" else part
