"""A tone: ten characters of name and 44 parameters."""

from jxemu import protocol
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.record import Record

TONE_BYTES = 59
NAME_LENGTH = 10
_UNNAMED = 57
"""Place of wire byte AE, which has no name and is sent with every tone."""


def _wired() -> list[tuple[int, int]]:
    first = PARAMETERS["dco1_range"]
    places = [row.sysex for row in PARAMETERS.values() if row.byte != protocol.VCA_LEVEL]
    return [(place, place - first.sysex + first.byte) for place in sorted([*places, _UNNAMED])]


_WIRED = _wired()
"""Place and parameter byte of all that a patch change says of a tone, in its order."""

_NUMBERS = bytes(number for _, number in _WIRED)
_ENCODED = {
    name: (row.sysex, row, bytes(row.encode(value) for value in range(row.top + 1))) for name, row in PARAMETERS.items()
}


class Tone(Record):
    """One sound of the machine, immutable; parameters read as attributes.

    ``Tone(name="SAW", dco1_wave="saw", vcf_freq=80)``: names are those of `PARAMETERS`, values
    0..127, or for switches the code or the label. What is left out has a plain default: one open
    saw at 8'. Raises TypeError for an unknown name (near matches suggested), ValueError for a value
    out of range.
    """

    __slots__ = ()
    KIND = "tone"
    TABLE = PARAMETERS
    NAME_LENGTH = NAME_LENGTH
    STORED = (TONE_BYTES,)

    @classmethod
    def decode(cls, data: bytes) -> "Tone":
        """A tone from its 59 bytes; bit 7 of each is ignored. Raises ValueError for another length."""
        if len(data) != TONE_BYTES:
            raise ValueError(f"a tone is {TONE_BYTES} bytes, not {len(data)}")
        values = {row.name: row.decode(data[row.sysex] & 0x7F) for row in PARAMETERS.values()}
        return cls(decode_name(data[:NAME_LENGTH]), stored=bytes(data), **values)

    def encode(self) -> bytes:
        """Its 59 bytes: those it was read from, where they still say the same, else clean ones."""
        data = bytearray(self.stored or bytes(TONE_BYTES))
        if not self.stored or decode_name(data[:NAME_LENGTH]) != self.name:
            data[:NAME_LENGTH] = encode_name(self.name, NAME_LENGTH)
        for name, value in self:
            place, row, codes = _ENCODED[name]
            if not self.stored or row.decode(data[place] & 0x7F) != value:
                data[place] = codes[value]
        return bytes(data)

    def wire(self) -> bytes:
        """Its 44 pairs of a patch change: 43 parameters, the VCA level apart, and the unnamed one."""
        data = self.encode()
        pairs = bytearray(2 * len(_WIRED))
        pairs[::2] = _NUMBERS
        pairs[1::2] = bytes(data[place] & 0x7F for place, _ in _WIRED)
        return bytes(pairs)


def decode_name(data: bytes) -> str:
    """A stored name; bytes 00..09 are digits written at the panel, bit 7 is ignored."""
    low = bytes(byte & 0x7F for byte in data)
    digits = bytes(b + 0x30 if b < 10 else b for b in low)
    return "".join(chr(b) if 0x20 <= b < 0x7F else " " for b in digits).rstrip()


def encode_name(name: str, length: int) -> bytes:
    """A name as ASCII (a `Record` has no other), filled up with blanks."""
    return name[:length].ljust(length).encode("ascii")
