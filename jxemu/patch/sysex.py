"""Roland sysex of the JX-8P family: find whole messages in any file, decode and encode tones.

Read here: JX-8P and MKS-70 tone messages (APR, opcode 35), MKS-70 bulk tones (BLD, opcode 37) and
cartridge images (2048 bytes). Files in the wild are dirty; what is not a whole message is reported
with its offset and skipped.

Source: S1, S2, S16.
"""

from dataclasses import dataclass

from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import NAME_LENGTH, Tone

ROLAND = 0x41
PGR, APR, IPR, BLD = 0x34, 0x35, 0x36, 0x37
JX8P, MKS70 = 0x21, 0x24
TONE_LEVEL = 0x20
TONE_BYTES = 59
CARTRIDGE_BYTES = 2048
_CARTRIDGE_TONES = 160


class SysexError(ValueError):
    """A file without anything usable; the message names the file and the offset."""


@dataclass(frozen=True)
class Skipped:
    """A stretch of a file that was not taken, and why."""

    offset: int
    length: int
    why: str

    def __str__(self) -> str:
        return f"offset {self.offset}: {self.length} bytes skipped, {self.why}"


def messages(data: bytes) -> tuple[list[tuple[int, bytes]], list[Skipped]]:
    """Whole sysex messages ``(offset, F0..F7)`` in `data`, and what lies between them.

    A message that is not ended by F7 before the next status byte is skipped; realtime bytes (F8
    and up) inside one are dropped.
    """
    found: list[tuple[int, bytes]] = []
    skipped: list[Skipped] = []
    at = 0
    while at < len(data):
        start = data.find(0xF0, at)
        if start < 0:
            skipped.append(Skipped(at, len(data) - at, "not sysex"))
            break
        if start > at:
            skipped.append(Skipped(at, start - at, "not sysex"))
        end = start + 1
        while end < len(data) and (data[end] < 0x80 or data[end] >= 0xF8):
            end += 1
        if end < len(data) and data[end] == 0xF7:
            found.append((start, bytes(b for b in data[start : end + 1] if b < 0xF8)))
            at = end + 1
        else:
            why = "the file ends inside a message" if end == len(data) else "a message without its F7"
            skipped.append(Skipped(start, end - start, why))
            at = end
    return found, skipped


def decode_name(data: bytes) -> str:
    """The name in the first ten bytes; 00..09 are digits written at the panel."""
    digits = bytes(b + 0x30 if b < 10 else b for b in data[:NAME_LENGTH])
    return "".join(chr(b) if 0x20 <= b < 0x7F else " " for b in digits).rstrip()


def decode_tone(data: bytes) -> Tone:
    """A tone from its 59 bytes; bit 7 of each is ignored. Raises ValueError for another length."""
    if len(data) != TONE_BYTES:
        raise ValueError(f"a tone is {TONE_BYTES} bytes, not {len(data)}")
    data = bytes(b & 0x7F for b in data)
    return Tone(decode_name(data), **{row.name: row.decode(data[row.sysex]) for row in PARAMETERS.values()})


def encode_tone(tone: Tone) -> bytes:
    """The 59 bytes of a tone; unused ones are 0."""
    data = bytearray(TONE_BYTES)
    data[:NAME_LENGTH] = tone.name.ljust(NAME_LENGTH).encode("ascii", "replace")
    for row in PARAMETERS.values():
        data[row.sysex] = row.encode(getattr(tone, row.name))
    return bytes(data)


def encode_bank(tones: list[Tone], channel: int = 0) -> bytes:
    """A JX-8P bank: for each of up to 32 tones an APR message and the PGR that writes it."""
    out = bytearray()
    for number, tone in enumerate(tones):
        out += bytes((0xF0, ROLAND, APR, channel, JX8P, TONE_LEVEL, 1)) + encode_tone(tone) + b"\xf7"
        out += bytes((0xF0, ROLAND, PGR, channel, JX8P, TONE_LEVEL, 1, 0, number, 2, 0xF7))
    return bytes(out)


def _tone_of(message: bytes) -> Tone | str | None:
    """The tone of a message, why it holds none, or None for a message that never does (a PGR, say)."""
    if len(message) < 8 or message[1] != ROLAND:
        return "not a Roland message"
    opcode, machine, level = message[2], message[4], message[5]
    if machine not in (JX8P, MKS70):
        return f"for another Roland instrument (format {machine:02X})"
    if opcode in (PGR, IPR) or level != TONE_LEVEL:
        return None
    header = {APR: 7, BLD: 9}.get(opcode)
    if header is None:
        return f"an operation that holds no tone here (opcode {opcode:02X})"
    if len(message) != header + TONE_BYTES + 1:
        return f"a tone message of {len(message)} bytes; {header + TONE_BYTES + 1} are a whole one"
    return decode_tone(message[header:-1])


def decode_tones(data: bytes) -> tuple[list[Tone], list[Skipped]]:
    """All tones in a file's bytes, in order, and what was skipped."""
    if len(data) == CARTRIDGE_BYTES and data[0] != 0xF0:
        rows = range(_CARTRIDGE_TONES, CARTRIDGE_BYTES, TONE_BYTES)
        return [decode_tone(data[at : at + TONE_BYTES]) for at in rows], []
    tones: list[Tone] = []
    found, skipped = messages(data)
    for offset, message in found:
        tone = _tone_of(message)
        if isinstance(tone, Tone):
            tones.append(tone)
        elif tone is not None:
            skipped.append(Skipped(offset, len(message), tone))
    return tones, sorted(skipped, key=lambda s: s.offset)
