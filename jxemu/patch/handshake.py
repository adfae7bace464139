"""The JX-10's cartridge transfer, a handshake over sysex, and answers to requests for a dump.

::

    sender                     receiver
    WSF (want to send)   -->
                         <--   ACK          (RQF from the receiver may come first)
    DAT, 128 bytes       -->
                         <--   ACK          (ERR: once more; RJC: stop)
    EOF                  -->
                         <--   ACK

``F0 41 op 0n 24 data checksum F7``; an M-16C is 16 blocks (2048 bytes), an M-64C 64 (8192 bytes).

Source: S8.  Limits: never tried against a unit. Which nibble comes first and how the checksum is
made are the usual Roland ways, not seen in a file (question: cartridge-handshake); the layout
inside an M-64C is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jxemu.patch import sysex
from jxemu.patch.patch import HALVES, Patch
from jxemu.patch.sysex import MKS70, ROLAND, Found, Skipped
from jxemu.patch.tone import Tone

WSF, RQF, DAT, ACK, EOF, ERR, RJC = 0x40, 0x41, 0x42, 0x43, 0x45, 0x4E, 0x4F
OPERATIONS = {WSF: "WSF", RQF: "RQF", DAT: "DAT", ACK: "ACK", EOF: "EOF", ERR: "ERR", RJC: "RJC"}
BLOCK = 128
M16C, M64C = 2048, 8192
_NAME = 0
_HEADER = 5
_DAT_LENGTH = _HEADER + 2 * BLOCK + 2


class TransferError(ValueError):
    """A transfer that the other side rejected or broke off."""


def checksum(data: bytes) -> int:
    """What makes the 7-bit sum of data and checksum 0."""
    return -sum(data) & 0x7F


def message(operation: int, data: bytes = b"", channel: int = 0) -> bytes:
    """One message of the handshake; those with data carry its checksum."""
    tail = bytes((*data, checksum(data))) if data else b""
    return bytes((0xF0, ROLAND, operation, channel, MKS70, *tail, 0xF7))


def operation_of(data: bytes) -> int | None:
    """The operation of a handshake message, None for any other message."""
    fits = len(data) >= 6 and data[1] == ROLAND and data[4] == MKS70 and data[2] in OPERATIONS
    return data[2] if fits else None


def is_sound(data: bytes) -> bool:
    """Whether a message's checksum and length are right."""
    if operation_of(data) == DAT and len(data) != _DAT_LENGTH:
        return False
    body = data[_HEADER:-1]
    return not body or checksum(body[:-1]) == body[-1]


def _block(data: bytes) -> bytes:
    """The 128 bytes of a DAT message, high nibbles first."""
    body = data[_HEADER:-2]
    return bytes(high << 4 & 0xF0 | low & 15 for high, low in zip(body[::2], body[1::2], strict=True))


def _blocks(image: bytes) -> list[bytes]:
    parts = (image[at : at + BLOCK] for at in range(0, len(image), BLOCK))
    return [bytes(nibble for byte in part for nibble in (byte >> 4, byte & 15)) for part in parts]


def dump(image: bytes, channel: int = 0) -> list[bytes]:
    """All that the sending side says for an image of 2048 or 8192 bytes. Raises ValueError for another size."""
    if len(image) not in (M16C, M64C):
        raise ValueError(f"a cartridge image has {M16C} or {M64C} bytes, not {len(image)}")
    data = [message(DAT, block, channel) for block in _blocks(image)]
    return [message(WSF, bytes((_NAME,)), channel), *data, message(EOF, channel=channel)]


@dataclass
class Sender:
    """Sends an image: say `begin()`, then for each answer what `answer` gives, until `done`."""

    image: bytes
    channel: int = 0
    done: bool = False
    _at: int = 0
    _said: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._said = dump(self.image, self.channel)

    def begin(self) -> bytes:
        """The first message, also the answer to a request (RQF)."""
        self._at, self.done = 0, False
        return self._said[0]

    def answer(self, received: bytes) -> bytes | None:
        """What to say to `received`; None when there is nothing more. Raises TransferError on RJC."""
        operation = operation_of(received)
        if operation == RQF:
            return self.begin()
        if operation == RJC:
            raise TransferError(f"the receiver rejected the transfer after {self._at} of {len(self._said)} messages")
        if operation == ACK and not self.done:
            self._at += 1
            self.done = self._at == len(self._said)
        elif operation != ERR:
            return None
        return None if self.done else self._said[self._at]


@dataclass
class Receiver:
    """Takes an image: answer each message with what `answer` gives; `image` is whole when `done`."""

    channel: int = 0
    done: bool = False
    image: bytes = b""
    under_way: bool = False

    def request(self) -> bytes:
        """The message that asks for a transfer."""
        return message(RQF, bytes((_NAME,)), self.channel)

    def answer(self, received: bytes) -> bytes | None:
        """ACK, ERR for a damaged message, RJC for one out of turn; None for what is not of a transfer."""
        operation = operation_of(received)
        self.done = False
        if operation not in (WSF, DAT, EOF):
            return None
        if not is_sound(received):
            return message(ERR, channel=self.channel)
        if operation == WSF:
            self.image, self.under_way = b"", True
        elif not self.under_way or (operation == DAT and len(self.image) >= M64C):
            return message(RJC, channel=self.channel)
        elif operation == DAT:
            self.image += _block(received)
        else:
            self.under_way, self.done = False, len(self.image) in (M16C, M64C)
            if not self.done:
                return message(RJC, channel=self.channel)
        return message(ACK, channel=self.channel)

    def take_back(self) -> None:
        """Forget the last block: it will be sent again."""
        self.image = self.image[:-BLOCK]


def images(found: Sequence[Found]) -> tuple[list[bytes], list[Skipped], list[Found]]:
    """M-16C images that transfers in a file hold, what was skipped of them, and the other messages."""
    receiver, taken, skipped, rest = Receiver(), [], [], []
    begun, fresh = 0, False
    for item in found:
        operation = operation_of(item.message)
        if operation is None:
            rest.append(item)
            continue
        reply, why = receiver.answer(item.message), None
        if reply is not None and operation_of(reply) != ACK:
            why = f"a damaged or misplaced {OPERATIONS[operation]} of a cartridge transfer"
        elif operation == EOF and len(receiver.image) == M64C:
            why = "the end of an M-64C cartridge, whose layout is not known"
        elif operation == EOF:
            taken.append(receiver.image)
        elif operation == WSF:
            begun = item.offset
        elif operation == ERR and fresh:
            receiver.take_back()
        fresh = operation == DAT and why is None
        if why:
            skipped.append(Skipped(item.offset, len(item.message), why))
    if receiver.under_way:
        blocks = len(receiver.image) // BLOCK
        skipped.append(Skipped(begun, 0, f"a cartridge transfer breaks off after {blocks} blocks, without its EOF"))
    return taken, skipped, rest


def answer(
    request: bytes, patch: Patch | None = None, tones: Sequence[Tone] = (), number: int = 0
) -> list[bytes] | None:
    """What an instrument says to a request for its edit buffer; None if `request` is no such request.

    patch, tones : patch `number` as it is played, its upper and its lower tone. Three times a PGR and the
    APR it announces, in the classic form. Source: S4 (a request of later firmware).
    """
    if len(request) < 9 or request[1:3] != bytes((ROLAND, sysex.V4_REQUEST)) or request[4] != MKS70:
        return None
    if patch is None:
        return []
    channel, patch = request[3] & 15, patch.unnumbered
    out = [sysex.program(number, "patch", channel), sysex.patch_apr(patch, channel)]
    for half, tone, memory in zip(HALVES, tones, (patch.upper_tone, patch.lower_tone), strict=False):
        out += [sysex.program(memory, "tone", channel, half), sysex.tone_apr(tone, half, channel)]
    return out
