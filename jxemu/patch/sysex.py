"""Roland sysex of the JX-8P, JX-10 and MKS-70: find whole messages in any bytes, make and take them apart.

``F0 41 opcode channel format level group ... F7``, without checksum. A *message* here is always
whole, F0 to F7. Files in the wild are dirty; what is not a whole message is reported with its
offset and skipped.

Source: S1, S2, S4, S9, S16 (firmware_notes/patch_format.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from jxemu.patch.patch import APR_BYTES, CHAIN_BYTES, IMAGE_BYTES, Chain, Patch
from jxemu.patch.tone import TONE_BYTES, Tone
from jxemu.patch.vecoven4 import PATCH_MESSAGE, TONE_MESSAGE

ROLAND = 0x41
PGR, APR, IPR, BLD = 0x34, 0x35, 0x36, 0x37
V4_BLD, V4_REQUEST = 0x3A, 0x3D
JX8P, MKS70 = 0x21, 0x24
TONE_LEVEL, PATCH_LEVEL = 0x20, 0x30
UPPER_GROUP, LOWER_GROUP = 1, 2
_GROUP_OF = {"upper": UPPER_GROUP, "lower": LOWER_GROUP}
_WRITE = 2
_HEADER, _BULK_HEADER = 7, 9

WHOLE = {
    (APR, JX8P, TONE_LEVEL): _HEADER + TONE_BYTES + 1,
    (APR, MKS70, TONE_LEVEL): _HEADER + TONE_BYTES + 1,
    (APR, JX8P, PATCH_LEVEL): _HEADER + CHAIN_BYTES + 1,
    (APR, MKS70, PATCH_LEVEL): _HEADER + APR_BYTES + 1,
    (BLD, MKS70, TONE_LEVEL): _BULK_HEADER + TONE_BYTES + 1,
    (BLD, MKS70, PATCH_LEVEL): _BULK_HEADER + 2 * IMAGE_BYTES + 1,
    (V4_BLD, MKS70, TONE_LEVEL): TONE_MESSAGE,
    (V4_BLD, MKS70, PATCH_LEVEL): PATCH_MESSAGE,
}
"""Length of a whole message by opcode, format and level."""


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


@dataclass(frozen=True)
class Found:
    """A whole message and where it begins; `complete` is False if its F7 is missing in the file."""

    offset: int
    message: bytes
    complete: bool = True


def kind_of(message: bytes) -> tuple[int, int, int]:
    """``(opcode, format, level)`` of a Roland message, zeros where it is too short."""
    padded = message + bytes(_HEADER)
    return padded[2], padded[4], padded[5]


def messages(data: bytes) -> tuple[list[Found], list[Skipped]]:
    """Whole sysex messages in `data`, and what lies between them.

    Realtime bytes (F8 and up) inside a message are dropped. A message that is not ended by F7
    before the next status byte is taken if it is one of `WHOLE` with all its data, else skipped.
    """
    found: list[Found] = []
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
        closed = end < len(data) and data[end] == 0xF7
        body = bytes(b for b in data[start:end] if b < 0xF8)
        if closed:
            found.append(Found(start, body + b"\xf7"))
            end += 1
        elif body[1:2] == bytes((ROLAND,)) and WHOLE.get(kind_of(body)) == len(body) + 1:
            found.append(Found(start, body + b"\xf7", complete=False))
        else:
            why = "the file ends inside a message" if end == len(data) else "a message without its F7"
            skipped.append(Skipped(start, end - start, why))
        at = end
    return found, skipped


# --- making messages -----------------------------------------------------------------------------


def _message(opcode: int, channel: int, machine: int, *data: int) -> bytes:
    if not 0 <= channel <= 15:
        raise ValueError(f"sysex channel {channel} is outside 0..15")
    return bytes((0xF0, ROLAND, opcode, channel, machine, *data, 0xF7))


def _seven(data: Iterable[int]) -> bytes:
    return bytes(byte & 0x7F for byte in data)


def jx8p_tone(tone: Tone, number: int | None = None, channel: int = 0) -> bytes:
    """APR of a tone for the JX-8P's edit buffer, and with `number` 0..31 the PGR that stores it there."""
    out = _message(APR, channel, JX8P, TONE_LEVEL, 1, *_seven(tone.encode()))
    if number is not None:
        out += _message(PGR, channel, JX8P, TONE_LEVEL, 1, 0, _number(number, 31), _WRITE)
    return out


def jx8p_chain(chain: Chain, channel: int = 0) -> bytes:
    """APR of a patch chain."""
    return _message(APR, channel, JX8P, PATCH_LEVEL, 1, *_seven(chain.encode()))


def tone_apr(tone: Tone, half: str = "upper", channel: int = 0) -> bytes:
    """MKS-70 APR of a tone for the upper or lower half's edit buffer."""
    return _message(APR, channel, MKS70, TONE_LEVEL, _GROUP_OF[half], *_seven(tone.encode()))


def patch_apr(patch: Patch, channel: int = 0) -> bytes:
    """MKS-70 IPR with what an APR has no place for (X-Fade, T-Voice, bend 12), then the APR."""
    data = _seven(patch.encode_buffer())
    pairs = ((index, data[index]) for index in range(APR_BYTES, len(data)))
    return ipr(pairs, "patch", channel) + _message(APR, channel, MKS70, PATCH_LEVEL, 1, *data[:APR_BYTES])


def ipr(pairs: Iterable[tuple[int, int]], level: str = "tone", channel: int = 0, half: str = "upper",
        machine: int = MKS70) -> bytes:  # fmt: skip
    """Single parameters ``(index, value)`` of a tone (of a half) or of the patch."""
    flat = [_number(byte, 127) for pair in pairs for byte in pair]
    group = 1 if level == "patch" or machine == JX8P else _GROUP_OF[half]
    return _message(IPR, channel, machine, PATCH_LEVEL if level == "patch" else TONE_LEVEL, group, *flat)


def program(number: int, level: str = "patch", channel: int = 0, half: str = "upper") -> bytes:
    """MKS-70 PGR: which memory the following APR belongs to."""
    group = 1 if level == "patch" else _GROUP_OF[half]
    return _message(
        PGR, channel, MKS70, PATCH_LEVEL if level == "patch" else TONE_LEVEL, group, _number(number, 127), 0
    )


def bulk_tone(tone: Tone, number: int, channel: int = 0, group: int = 1) -> bytes:
    """MKS-70 BLD of a tone; `group` 1 is internal memory, 2 the cartridge."""
    return _message(BLD, channel, MKS70, TONE_LEVEL, group, 0, _number(number, 127), *_seven(tone.encode()))


def bulk_patch(patch: Patch, number: int, channel: int = 0, group: int = 1) -> bytes:
    """MKS-70 BLD of a patch: its memory image in nibbles, high ones first."""
    nibbles = (nibble for byte in patch.encode_image() for nibble in (byte >> 4, byte & 15))
    return _message(BLD, channel, MKS70, PATCH_LEVEL, group, 0, _number(number, 127), *nibbles)


def _number(value: int, top: int) -> int:
    if not 0 <= value <= top:
        raise ValueError(f"{value} is outside 0..{top}")
    return value


# --- taking messages apart -----------------------------------------------------------------------


def data_of(message: bytes) -> bytes:
    """The data of an APR or BLD message, nibbles joined. Raises ValueError if it is not a whole one."""
    opcode, machine, level = kind_of(message)
    if (length := WHOLE.get((opcode, machine, level))) != len(message):
        raise ValueError(f"a message of {len(message)} bytes; {length} are a whole one")
    data = message[_BULK_HEADER if opcode == BLD else _HEADER : -1]
    if opcode == BLD and level == PATCH_LEVEL:
        return bytes(high << 4 & 0xF0 | low & 15 for high, low in zip(data[::2], data[1::2], strict=True))
    return data


def number_of(message: bytes) -> int | None:
    """The memory a BLD or PGR message names; None for a PGR that writes nothing."""
    opcode, machine, _ = kind_of(message)
    if opcode == BLD:
        return message[8]
    if machine == JX8P:
        return message[8] if len(message) == 11 and message[9] == _WRITE else None
    return message[7] if len(message) >= 10 else None


def edited(data: bytes, pairs: Iterable[tuple[int, int]]) -> bytes:
    """Data with single bytes replaced; indices that it does not have are passed over."""
    out = bytearray(data)
    for index, value in pairs:
        if index < len(out):
            out[index] = value
    return bytes(out)


def pairs_of(message: bytes) -> list[tuple[int, int]]:
    """The ``(index, value)`` pairs of an IPR message; an odd byte at the end is dropped."""
    data = message[_HEADER:-1]
    return list(zip(data[::2], data[1::2], strict=False))
