"""A patch of the Super JX: two tones and how the keyboard plays them; and the JX-8P's patch chain.

A patch is stored in two shapes. *APR* and *IPR* messages give it index by index; a bulk dump holds
its memory image, 48 bytes in which switches fill the spare top bits. One table, `PATCH`, says where
each setting stands in both.

Source: S2, S3, S6, S16 (see firmware_notes/patch_format.md); question: patch-codes.
"""

from dataclasses import dataclass

from jxemu.patch.record import Record, Setting
from jxemu.patch.tone import decode_name, encode_name

NAME_LENGTH = 18
IMAGE_BYTES = 48
APR_BYTES = 51
BUFFER_BYTES = 53
"""All indices of a patch: the APR's, then key mode bb and bend 12, which only IPR messages carry."""

LARGEST_TONE = 9999
"""Tone numbers of a patch in a bank of its own; a unit's go to 127, its memory and ROM to 99."""

LOWEST_SPLIT_NOTE = 21
"""MIDI note of split value 0. Source: S2."""

SWITCH = ("off", "on")
BEND_RANGES = ("2", "3", "4", "7", "12")
KEY_MODES = ("dual", "split", "whole-a", "whole-b", "x-fade", "t-voice")
ASSIGN_MODES = ("poly1", "unison1", "mono1", "poly2", "unison2", "mono2")
CHASE_MODES = ("a-b", "a-b-b", "a-b-a")
HALVES = ("upper", "lower")
_ASSIGN_CODES = (0, 1, 2, 4, 5, 6)
_DUAL, _X_FADE, _T_VOICE = KEY_MODES.index("dual"), KEY_MODES.index("x-fade"), KEY_MODES.index("t-voice")
_KEY_AA, _BEND, _KEY_BB, _BEND_12 = 0x18, 0x17, 0x33, 0x34

Bits = tuple[tuple[int, int, int], ...]
"""Pieces of a value in the memory image, highest first: ``(byte, lowest bit, number of bits)``."""


@dataclass(frozen=True)
class Place(Setting):
    """A patch setting: its APR / IPR index and its bits in the memory image."""

    index: int = 0
    bits: Bits = ()


def _half(half: str, index: int, byte: int, assign: int) -> tuple[Place, ...]:
    return (
        Place(f"{half}_tone", 0 if half == "upper" else 1, LARGEST_TONE, index=index, bits=((byte, 0, 7),)),
        Place(f"{half}_shift", 0, 24, -24, index=index + 1, bits=((byte + 1, 0, 8),)),
        Place(f"{half}_assign", 0, labels=ASSIGN_MODES, index=index + 2, bits=((assign, 5, 3),)),
        Place(f"{half}_unison_detune", 64, index=index + 3, bits=((byte + 2, 0, 7),)),
        Place(f"{half}_hold", 1, labels=SWITCH, index=index + 4, bits=((byte, 7, 1),)),
        Place(f"{half}_lfo", 64, index=index + 5, bits=((byte + 3, 0, 7),)),
        Place(f"{half}_portamento", 0, labels=SWITCH, index=index + 6, bits=((byte + 3, 7, 1),)),
        Place(f"{half}_bender", 1, labels=SWITCH, index=index + 7, bits=((byte + 4, 0, 8),)),
    )


PATCH = {
    row.name: row
    for row in (
        Place("balance", 64, index=0x12, bits=((18, 0, 7),)),
        Place("dual_detune", 64, index=0x13, bits=((19, 0, 7),)),
        Place("upper_split", 39, index=0x14, bits=((20, 0, 7),)),
        Place("lower_split", 38, index=0x15, bits=((21, 0, 7),)),
        Place("portamento_time", 0, index=0x16, bits=((22, 0, 7),)),
        Place("bend_range", 0, labels=BEND_RANGES, index=_BEND, bits=((47, 0, 1), (26, 7, 1), (18, 7, 1))),
        Place("key_mode", 0, labels=KEY_MODES, index=_KEY_AA, bits=((25, 7, 1), (24, 7, 1), (20, 7, 1), (21, 7, 1))),
        Place("volume", 127, index=0x19, bits=((23, 0, 7),)),
        Place("after_vibrato", 32, index=0x1A, bits=((24, 0, 7),)),
        Place("after_brilliance", 0, index=0x1B, bits=((25, 0, 7),)),
        Place("after_volume", 0, index=0x1C, bits=((26, 0, 7),)),
        *_half("upper", 0x1D, 27, 39),
        *_half("lower", 0x26, 32, 40),
        Place("chase_level", 100, index=0x2F, bits=((37, 0, 7),)),
        Place("chase_mode", 0, labels=CHASE_MODES, index=0x30, bits=((37, 7, 1), (38, 7, 1))),
        Place("chase_time", 40, index=0x31, bits=((38, 0, 7),)),
        Place("chase", 0, labels=SWITCH, index=0x32, bits=((45, 7, 1),)),
    )
}
"""Every patch setting by name."""

_BLANK_IMAGE = bytes([0x20] * NAME_LENGTH + [0] * 23 + [0x80, 0x80, 0x70, 0x70, 39, 0x04, 0])
"""An image as real units leave its spare bytes. Source: S16."""


def _get(image: bytes, bits: Bits) -> int:
    value = 0
    for byte, low, count in bits:
        value = value << count | (image[byte] >> low & ((1 << count) - 1))
    return value


def _put(image: bytearray, bits: Bits, value: int) -> None:
    for byte, low, count in reversed(bits):
        mask = ((1 << count) - 1) << low
        image[byte] = image[byte] & ~mask | (value << low & mask)
        value >>= count


def _of_image(row: Place, raw: int) -> int:
    """A setting's value from its raw bits in the memory image."""
    if row.name == "key_mode":
        return _X_FADE if raw & 8 else _T_VOICE if raw & 4 else raw
    if row.name == "bend_range":
        # Twelve semitones need all three bits: the lone bit of byte 47 is a leftover in real files.
        return 4 if raw == 7 else raw & 3
    if row.labels == ASSIGN_MODES:
        return _assign(raw)
    if row.smallest < 0:
        return row.clip(raw - 256 if raw & 0x80 else raw)
    return min(raw, 1) if row.labels == SWITCH else row.clip(raw)


def _fits(row: Place, value: int) -> None:
    if row.largest == LARGEST_TONE and value > 127:
        raise ValueError(f"{row.name} {value} has no place in a patch of 7-bit tone numbers")


def _to_image(row: Place, value: int) -> int:
    _fits(row, value)
    if row.name == "key_mode":
        return {_X_FADE: 8, _T_VOICE: 4}.get(value, value)
    if row.name == "bend_range":
        return 7 if value == 4 else value
    return _ASSIGN_CODES[value] if row.labels == ASSIGN_MODES else value


def _of_buffer(row: Place, data: bytes) -> int:
    """A setting's value from the 53 bytes that APR and IPR messages fill."""
    raw = data[row.index] & 0x7F
    if row.name == "key_mode":
        return {1: _X_FADE, 2: _T_VOICE}.get(data[_KEY_BB] & 0x7F, _small(raw))
    if row.name == "bend_range":
        return 4 if data[_BEND_12] & 0x7F else raw >> 5
    if row.labels == ASSIGN_MODES:
        return _assign(raw & 7)
    if row.smallest < 0:
        return row.clip(raw - 128 if raw & 0x40 else raw)
    return min(raw, 1) if row.labels == SWITCH else row.clip(raw)


def _to_buffer(row: Place, value: int, data: bytearray) -> None:
    _fits(row, value)
    if row.name == "key_mode":
        data[_KEY_BB] = {_X_FADE: 1, _T_VOICE: 2}.get(value, 0)
        value = _DUAL if data[_KEY_BB] else value
    elif row.name == "bend_range":
        data[_BEND_12] = int(value == 4)
        value = min(value, 3) << 5
    elif row.labels == ASSIGN_MODES:
        value = _ASSIGN_CODES[value]
    data[row.index] = value & 0x7F


def _small(raw: int) -> int:
    """A four-way code, written as 0..3 or in the top bits."""
    return raw if raw < 4 else raw >> 5


def _assign(raw: int) -> int:
    """An assign mode from its three bits; the two codes nobody uses read as the Mono beside them."""
    return _ASSIGN_CODES.index(raw if raw in _ASSIGN_CODES else raw - 1)


class Patch(Record):
    """Two tones, upper (A) and lower (B), and how they are played; immutable.

    Settings are those of `PATCH`: 0..127 where nothing else is said; tones 0..99 count from the
    first tone of the internal bank (50 on are the ROM's), shifts are semitones, split values are MIDI notes less 21 (the
    upper tone sounds from its split point up, the lower one up to its own), detunes are 64 in the
    middle. What is left out has a plain default. Raises TypeError for an unknown name, ValueError
    for a value out of range.
    """

    __slots__ = ()
    KIND = "patch"
    TABLE = PATCH
    NAME_LENGTH = NAME_LENGTH
    STORED = (IMAGE_BYTES, BUFFER_BYTES)

    @classmethod
    def decode_image(cls, image: bytes) -> "Patch":
        """A patch from its 48-byte memory image. Raises ValueError for another length."""
        if len(image) != IMAGE_BYTES:
            raise ValueError(f"a patch image is {IMAGE_BYTES} bytes, not {len(image)}")
        values = {row.name: _of_image(row, _get(image, row.bits)) for row in PATCH.values()}
        return cls(decode_name(image[:NAME_LENGTH]), stored=bytes(image), **values)

    def encode_image(self) -> bytes:
        """Its memory image: the one it was read from, where that still says the same, else a clean one."""
        own = self.stored is not None and len(self.stored) == IMAGE_BYTES
        image = bytearray(self.stored if own else _BLANK_IMAGE)
        if decode_name(image[:NAME_LENGTH]) != self.name:
            image[:NAME_LENGTH] = encode_name(self.name, NAME_LENGTH)
        for name, value in self:
            row = PATCH[name]
            if _of_image(row, _get(image, row.bits)) != value:
                _put(image, row.bits, _to_image(row, value))
        return bytes(image)

    @property
    def unnumbered(self) -> "Patch":
        """The same for an edit buffer, whose tone numbers have seven bits: larger ones, of banks that only files hold, become 0."""
        return self.replace(**{f"{half}_tone": 0 for half in HALVES if getattr(self, f"{half}_tone") > 127})

    @classmethod
    def decode_buffer(cls, data: bytes) -> "Patch":
        """A patch from all 53 indices, as APR and IPR messages leave them. Raises ValueError."""
        if len(data) != BUFFER_BYTES:
            raise ValueError(f"a patch's indices are {BUFFER_BYTES} bytes, not {len(data)}")
        values = {row.name: _of_buffer(row, data) for row in PATCH.values()}
        return cls(decode_name(data[:NAME_LENGTH]), stored=bytes(data), **values)

    def encode_buffer(self) -> bytes:
        """All 53 indices; the first 51 are an APR message's, the last two go by IPR."""
        own = self.stored is not None and len(self.stored) == BUFFER_BYTES
        data = bytearray(self.stored if own else encode_name("", NAME_LENGTH) + bytes(BUFFER_BYTES - NAME_LENGTH))
        if decode_name(data[:NAME_LENGTH]) != self.name:
            data[:NAME_LENGTH] = encode_name(self.name, NAME_LENGTH)
        for name, value in self:
            row = PATCH[name]
            if _of_buffer(row, data) != value:
                _to_buffer(row, value, data)
        return bytes(data)


# --- the JX-8P -----------------------------------------------------------------------------------

CHAIN_BYTES = 9
VIBRATO_DEPTH, BRILLIANCE_DEPTH, VOLUME_DEPTH = 32, 64, 64
"""Aftertouch depths that the chain's three bits stand for: a choice; question: aftertouch-bits."""

CHAIN_OF = {
    "bend_range": "bend_range", "portamento_time": "portamento_time", "upper_portamento": "portamento",
    "upper_assign": "assign", "after_vibrato": "aftertouch", "after_brilliance": "aftertouch",
    "after_volume": "aftertouch", "upper_lfo": "lfo", "upper_unison_detune": "unison_detune",
}  # fmt: skip
"""Patch setting -> what of the JX-8P's chain it is."""

TONE_BANKS = ("internal", "cartridge", "preset1", "preset2")
_AFTER_VIBRATO, _AFTER_BRILLIANCE, _AFTER_VOLUME = 1, 2, 4

CHAIN = {
    row.name: row
    for row in (
        Setting("bend_range", 0, labels=BEND_RANGES[:4]),
        Setting("portamento_time", 0),
        Setting("portamento", 0, labels=SWITCH),
        Setting("assign", 0, labels=ASSIGN_MODES),
        Setting("aftertouch", _AFTER_VIBRATO, 7),
        Setting("lfo", 64),
        Setting("unison_detune", 64),
        Setting("tone", 0, 31),
        Setting("bank", 0, labels=TONE_BANKS),
    )
}
"""The JX-8P's patch chain by name, in the order of its nine bytes. Source: S1."""


class Chain(Record):
    """What a JX-8P keeps beside a tone, immutable: how the keyboard plays it. Settings: `CHAIN`.

    `aftertouch` adds 1 for vibrato, 2 for brilliance, 4 for volume. It has no name.
    """

    __slots__ = ()
    KIND = "chain"
    TABLE = CHAIN
    NAME_LENGTH = 0
    STORED = (CHAIN_BYTES,)

    @classmethod
    def decode(cls, data: bytes) -> "Chain":
        """From its nine bytes. Raises ValueError for another length."""
        if len(data) != CHAIN_BYTES:
            raise ValueError(f"a patch chain is {CHAIN_BYTES} bytes, not {len(data)}")
        raw = dict(zip(CHAIN, (byte & 0x7F for byte in data), strict=True))
        raw["bend_range"] >>= 5
        raw["portamento"] >>= 6
        raw["assign"] = _assign(raw["assign"] & 7)
        raw["aftertouch"] &= 7
        raw["bank"] &= 3
        return cls(stored=bytes(data), **{name: CHAIN[name].clip(value) for name, value in raw.items()})

    def encode(self) -> bytes:
        """Its nine bytes: those it was read from, where they still say the same, else clean ones."""
        codes = self.values()
        codes["bend_range"] <<= 5
        codes["portamento"] <<= 6
        codes["assign"] = _ASSIGN_CODES[codes["assign"]]
        clean = bytes(codes.values())
        if not self.stored:
            return clean
        before = Chain.decode(self.stored).values()
        same = (before[name] == value for name, value in self)
        return bytes(old if kept else new for old, new, kept in zip(self.stored, clean, same, strict=True))

    @property
    def program(self) -> int:
        """The MIDI program number of its tone, 0..127."""
        return 32 * self.bank + self.tone

    @classmethod
    def of(cls, patch: Patch, program: int = 0) -> "Chain":
        """The chain that plays nearest to what a patch's upper half does on a single board."""
        bits = (bool(patch.after_vibrato) * _AFTER_VIBRATO | bool(patch.after_brilliance) * _AFTER_BRILLIANCE
                | bool(patch.after_volume) * _AFTER_VOLUME)  # fmt: skip
        return cls(
            bend_range=min(patch.bend_range, CHAIN["bend_range"].top), portamento_time=patch.portamento_time,
            portamento=patch.upper_portamento, assign=patch.upper_assign, aftertouch=bits, lfo=patch.upper_lfo,
            unison_detune=patch.upper_unison_detune, tone=program % 32, bank=program // 32,
        )  # fmt: skip

    def patch(self, name: str = "") -> Patch:
        """The patch of a single board that plays the same way."""
        return Patch(
            name, key_mode="whole-a", bend_range=self.bend_range, portamento_time=self.portamento_time,
            upper_portamento=self.portamento, upper_assign=self.assign, upper_lfo=self.lfo,
            upper_unison_detune=self.unison_detune, upper_tone=self.tone,
            after_vibrato=VIBRATO_DEPTH if self.aftertouch & _AFTER_VIBRATO else 0,
            after_brilliance=BRILLIANCE_DEPTH if self.aftertouch & _AFTER_BRILLIANCE else 0,
            after_volume=VOLUME_DEPTH if self.aftertouch & _AFTER_VOLUME else 0,
        )  # fmt: skip
