"""Frames between the host and a capture rig: COBS, a zero at the end, a CRC and a number each.

::

    frame    COBS(kind, number, body..., crc high, crc low) 00
    number   0..255, counted by the sender; a gap says that frames were lost
    crc      CRC-16, polynomial 1021, begun with FFFF, over kind, number and body

All numbers in bodies are little-endian. Times are microseconds of the rig's own clock, modulo 2**32.

========  =========  ===============================================================================
kind      to         body
========  =========  ===============================================================================
``h``     rig        version; the rig forgets all it was doing
``H``     host       also unasked when the rig begins: version u8, queue u16 (bytes), rate u32 (Hz), channels u8, bits u8, cycles of
                     the board's clock that it feeds u32 (Hz, 0: none), time u32, name (text)
``p``     rig        time u32, bytes: the first begins then, each other as soon as the line is free
``K``     host       expected u8 (number of the next ``p``), free u16 (bytes), sent u32 (bytes that
                     went to the board), time u32, bad u16 (frames with a wrong CRC or number),
                     late u16 (bytes that began more than 1 ms late)
``x``     rig        nothing: forget the bytes that wait; numbered with ``p``, and taken also where some are missing
``a``     rig        1: send audio, 0: no more
``A``     host       time u32 of the first sample, position u32 (its number), dropped u16 (samples
                     that the rig itself could not send, since the start), samples i16, channels by turns
========  =========  ===============================================================================

``p`` frames are taken in the order of their numbers; one that is out of order is thrown away and counted. ``K`` comes
after each, and every 50 ms, and says which number is expected: the host sends from there again. It has at most `WINDOW`
of them under way, since a small chip cannot take whole bursts. Audio is never sent again: what is missing is reported.
"""

import binascii
import struct
from dataclasses import dataclass

from cobs import cobs

VERSION = 1
HELLO, PLAY, CUT, LISTEN = b"h"[0], b"p"[0], b"x"[0], b"a"[0]
WELCOME, ACK, AUDIO = b"H"[0], b"K"[0], b"A"[0]

WRAP = 1 << 32
"""Of times and positions."""

LONGEST = 250
"""Bytes of a frame before COBS, so that it needs one more byte and the zero."""

HEAD = 4
"""Of these, kind, number and CRC."""

WINDOW = 2
"""``p`` frames that are not acknowledged, at most."""

MOST_PLAYED = LONGEST - HEAD - 4
"""Bytes for the board in a frame."""


@dataclass(frozen=True)
class Frame:
    """A frame that arrived whole."""

    kind: int
    number: int
    body: bytes


def encoded(kind: int, number: int, body: bytes = b"") -> bytes:
    """A frame on its way, the zero at its end included. Raises ValueError for a body that is too long."""
    if len(body) > LONGEST - HEAD:
        raise ValueError(f"a frame's body has at most {LONGEST - HEAD} bytes, not {len(body)}")
    whole = bytes([kind, number & 0xFF]) + body
    return cobs.encode(whole + binascii.crc_hqx(whole, 0xFFFF).to_bytes(2, "big")) + b"\0"


class FrameReader:
    """Frames out of a stream of bytes; what is no frame is counted in `bad` and passed over, whatever it is."""

    def __init__(self) -> None:
        self._part = bytearray()
        self._lost = True  # until the first zero: the stream may begin in the middle of a frame
        self.bad = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        found = []
        for piece in data.split(b"\0")[:-1]:
            self._part += piece
            whole, self._part = bytes(self._part), bytearray()
            if whole and (frame := self._frame(whole)):
                found.append(frame)
        self._part += data[data.rfind(b"\0") + 1 :]
        if len(self._part) > 2 * LONGEST:  # noise without an end: keep what could still be one
            self._part = self._part[-LONGEST - 1 :]
        return found

    def _frame(self, whole: bytes) -> Frame | None:
        first, self._lost = self._lost, False
        try:
            plain = cobs.decode(whole)
        except cobs.DecodeError:
            plain = b""
        if HEAD <= len(plain) <= LONGEST and binascii.crc_hqx(plain, 0xFFFF) == 0:
            return Frame(plain[0], plain[1], plain[2:-2])
        self.bad += not first
        return None


# --- bodies --------------------------------------------------------------------------------------

_WELCOME, _ACK, _AUDIO = struct.Struct("<BHIBBII"), struct.Struct("<BHIIHH"), struct.Struct("<IIH")


@dataclass(frozen=True)
class Welcome:
    """What a rig is. rate : samples a second and channel.  bits : of its converter.  clock_hz : fed to the board, 0: none."""

    version: int
    queue: int
    rate: int
    channels: int
    bits: int
    clock_hz: int
    time: int
    name: str

    def encode(self) -> bytes:
        """The body."""
        numbers = self.version, self.queue, self.rate, self.channels, self.bits, self.clock_hz, self.time
        return _WELCOME.pack(*numbers) + self.name.encode()

    @classmethod
    def decode(cls, body: bytes) -> "Welcome":
        """Of a body. Raises ValueError for one that is too short."""
        return cls(*_unpacked(_WELCOME, body), body[_WELCOME.size :].decode("ascii", "replace"))


@dataclass(frozen=True)
class Ack:
    """How far a rig has got, see above."""

    expected: int
    free: int
    sent: int
    time: int
    bad: int
    late: int

    def encode(self) -> bytes:
        """The body."""
        return _ACK.pack(self.expected, self.free, self.sent, self.time, self.bad, self.late)

    @classmethod
    def decode(cls, body: bytes) -> "Ack":
        """Of a body. Raises ValueError for one that is too short."""
        return cls(*_unpacked(_ACK, body))


@dataclass(frozen=True)
class Audio:
    """Samples. data : int16, channels by turns, as bytes."""

    time: int
    position: int
    dropped: int
    data: bytes

    def encode(self) -> bytes:
        """The body."""
        return _AUDIO.pack(self.time, self.position, self.dropped) + self.data

    @classmethod
    def decode(cls, body: bytes) -> "Audio":
        """Of a body. Raises ValueError for one that is too short."""
        return cls(*_unpacked(_AUDIO, body), body[_AUDIO.size :])


def _unpacked(form: struct.Struct, body: bytes) -> tuple:
    if len(body) < form.size:
        raise ValueError(f"a body of {len(body)} bytes; {form.size} were expected")
    return form.unpack(body[: form.size])
