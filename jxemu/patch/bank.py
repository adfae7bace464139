"""Banks: the tones, patches and patch chains of a file, in any of the formats owners have.

===========  =====================================================================================
jx8p         32 tones, each an APR and the PGR that stores it (2496 bytes a bank)
cartridge    memory image of a JX-8P's M-16C: 160 bytes of patch chain, 32 tones (2048 bytes)
mks70        bulk dump: 64 patches, 50 tones (10234 bytes)
apr          MKS-70 edit buffers, one after the other: PGR, IPR and APR of each patch, APR of each tone
json         text, everything
===========  =====================================================================================

Besides these, Vecoven v4 bulk dumps and JX-10 cartridge transfers are read.
"""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count, islice, zip_longest
from pathlib import Path
from typing import Any

from jxemu.patch import handshake, sysex, vecoven4
from jxemu.patch.patch import BUFFER_BYTES, HALVES, LARGEST_TONE, TONE_BANKS, Chain, Patch
from jxemu.patch.record import Record, plain_name
from jxemu.patch.sysex import (
    APR,
    BLD,
    IPR,
    JX8P,
    LOWER_GROUP,
    MKS70,
    PATCH_LEVEL,
    PGR,
    TONE_LEVEL,
    UPPER_GROUP,
    V4_BLD,
    Skipped,
    SysexError,
)
from jxemu.patch.tone import TONE_BYTES, Tone

CARTRIDGE_BYTES = 2048
CARTRIDGE_TONES = 32
INTERNAL_GROUP, CARTRIDGE_GROUP = 1, 2
_CHAIN_AREA = CARTRIDGE_BYTES - CARTRIDGE_TONES * TONE_BYTES
JX8P_TONES = 32
MKS70_TONES, MKS70_PATCHES = 50, 64
ROM_TONES = range(50, 100)
"""Tone numbers of the Super JX's ROM, whose tones are not part of any file."""

_CARTRIDGE_CHAIN = TONE_BANKS.index("cartridge")
"""The last bank of a chain's tones that a file may hold; without a cartridge, a larger internal bank goes on there."""

_JSON = "jxemu bank 1"
_ANY_MESSAGE = bytes((0xF0, sysex.ROLAND))
_BLANKS = dict.fromkeys(b"\t\n\r", " ")
_LEGIBLE = 0.9
"""Share of a cartridge image's name bytes that are letters, digits or blanks at least: other files are as long, too."""


@dataclass
class Bank:
    """What a file holds, in its order; memory numbers count from 0.

    channel : of its last message.  group : of its first dump; 1 is internal memory, 2 a cartridge.
    chain_area : the cartridge's 160 bytes.  skipped : stretches of the file that were not taken.
    """

    tones: list[Tone] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    tone_numbers: list[int] = field(default_factory=list)
    patch_numbers: list[int] = field(default_factory=list)
    channel: int = 0
    group: int = INTERNAL_GROUP
    chain_area: bytes = bytes(_CHAIN_AREA)
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tone_numbers = self.tone_numbers or list(range(len(self.tones)))
        self.patch_numbers = self.patch_numbers or list(range(len(self.patches)))

    @classmethod
    def load(cls, path: str | Path) -> "Bank":
        """What is in a file. Raises OSError, or SysexError if it holds nothing of a Super JX."""
        return cls.of_file(Path(path).read_bytes(), path)

    @classmethod
    def of_file(cls, data: bytes, name: str | Path) -> "Bank":
        """What is in the bytes of a file of that name. Raises SysexError if they hold nothing of a Super JX."""
        try:
            bank = cls.decode(data)
        except SysexError as error:
            raise SysexError(f"{name}: {error}") from None
        if not (bank.tones or bank.patches or bank.chains):
            reason = f" ({bank.skipped[0]})" if bank.skipped else ""
            if _is_json(data):
                reason = f' (JSON, but without "format": "{_JSON}")'
            elif data.startswith(b"MThd"):
                reason = " (a MIDI file; jxemu sysex convert takes a bank out of one)"
            raise SysexError(f"{name}: no whole JX-8P, JX-10 or MKS-70 tone or patch in {len(data)} bytes{reason}")
        return bank

    @classmethod
    def decode(cls, data: bytes) -> "Bank":
        """What is in a file's bytes, of any format. Raises SysexError for damaged JSON only."""
        if _ANY_MESSAGE not in data and b'"format"' in data and _is_json(data):
            return _from_json(data)
        found, skipped = sysex.messages(data)
        if _are_images(data) and not any(f.message[1:2] == _ANY_MESSAGE[1:] for f in found):
            banks = [_from_image(data[at : at + CARTRIDGE_BYTES]) for at in range(0, len(data), CARTRIDGE_BYTES)]
            return banks[0] if len(banks) == 1 else merged(banks)
        images, transfers, found = handshake.images(found)
        reader = _Reader(gaps=[part.offset for part in skipped])
        for offset, message in ((item.offset, item.message) for item in found):
            reader.take(offset, message)
        bank = reader.finish()
        bank.skipped += skipped + transfers
        bank.skipped += [Skipped(f.offset, 0, "its F7 is missing, taken all the same") for f in found if not f.complete]
        for image in images:
            bank.chain_area = image[:_CHAIN_AREA]
            bank.tone_numbers += list(islice(_free([*bank.tone_numbers], bool(bank.patches)), CARTRIDGE_TONES))
            bank.tones += _from_image(image).tones
        bank.skipped.sort(key=lambda part: part.offset)
        return bank

    def tone(self, number: int) -> Tone | None:
        """The tone in memory `number`, or None."""
        return self.tones[self.tone_numbers.index(number)] if number in self.tone_numbers else None

    def patch(self, number: int) -> Patch | None:
        """The patch in memory `number`, or None."""
        return self.patches[self.patch_numbers.index(number)] if number in self.patch_numbers else None

    def copy(self) -> "Bank":
        """The same bank, to be written to on its own."""
        lists = {row.name: list(value) for row in fields(self) if isinstance(value := getattr(self, row.name), list)}
        return replace(self, **lists)

    def write(self, other: "Bank") -> None:
        """Put another bank's tones and patches into the memories they name."""
        for mine, numbers, theirs, places in (
            (self.tones, self.tone_numbers, other.tones, other.tone_numbers),
            (self.patches, self.patch_numbers, other.patches, other.patch_numbers),
        ):
            for record, place in zip(theirs, places, strict=True):
                if place in numbers:
                    mine[numbers.index(place)] = record
                else:
                    mine.append(record)
                    numbers.append(place)

    def encode(self, kind: str) -> list[bytes]:
        """Its files in a format of `FORMATS`; several where one has no room for all the tones.

        Raises ValueError for an unknown format.
        """
        if kind not in FORMATS:
            raise ValueError(f"format {kind!r} is not known; choose one of {', '.join(FORMATS)}")
        return FORMATS[kind](self)


@dataclass
class _Reader:
    """Messages one after another, as the instrument's edit buffers would take them.

    Where a memory number comes again, another dump begins.  gaps : offsets of what is no message.
    """

    gaps: Sequence[int] = ()
    bank: Bank = field(default_factory=Bank)
    before: list[Bank] = field(default_factory=list)  # dumps that are over
    skipped: list[Skipped] = field(default_factory=list)
    _heard_at: int = 0  # offset of the last tone that was taken
    _unstored: bool = False  # whether a JX-8P's edit buffer holds a tone that no PGR has stored yet
    _wanted: dict[int, int] = field(default_factory=dict)  # halves of the last patch APR whose tones are still to come
    _edits: list[tuple[int, list[tuple[int, int]]]] = field(default_factory=list)  # patch IPRs that wait for an APR
    _patch_number: int | None = None  # memories that PGRs have named for the next patch and tones
    _tone_numbers: dict[int, int] = field(default_factory=dict)
    _last: dict[int, int] = field(default_factory=dict)  # place of the last tone of each half

    def take(self, offset: int, message: bytes) -> None:
        opcode, machine, level = sysex.kind_of(message)
        why = None
        if len(message) < 8 or message[1] != sysex.ROLAND:
            why = "not a Roland message"
        elif machine not in (JX8P, MKS70):
            why = f"for another Roland instrument (format {machine:02X})"
        elif opcode in (APR, BLD, V4_BLD) and sysex.WHOLE.get((opcode, machine, level), len(message)) != len(message):
            length = sysex.WHOLE[opcode, machine, level]
            what = "tone" if level == TONE_LEVEL else "patch"
            why = f"a {what} message of {len(message)} bytes; {length} are a whole one"
        else:
            handler = _HANDLERS.get((opcode, machine, level))
            if handler is None:
                why = f"an operation that holds no tone or patch here (opcode {opcode:02X})"
            else:
                self.bank.channel = message[3] & 15
                why = handler(self, offset, message)
        if why:
            self._skip(offset, message, why)

    def finish(self) -> Bank:
        """All that was read; single patch parameters that no APR followed belong to the last patch."""
        for offset, pairs in self._edits:
            if self.bank.patches:
                buffer = sysex.edited(self.bank.patches[-1].encode_buffer(), pairs)
                self.bank.patches[-1] = Patch.decode_buffer(buffer)
            else:
                length = 8 + 2 * len(pairs)
                self.skipped.append(Skipped(offset, length, "single parameters of a patch that is not in the file"))
        bank = merged([*self.before, self.bank]) if self.before else self.bank
        bank.channel, bank.group = self.bank.channel, [*self.before, self.bank][0].group
        bank.skipped += self.skipped
        return bank

    def _skip(self, offset: int, message: bytes, why: str) -> None:
        self.skipped.append(Skipped(offset, len(message), why))

    def _room_for(self, numbers: list[int], number: int | None, group: int | None = None) -> int:
        """The memory for what comes; a new dump begins where it is taken or in another group."""
        other_group = group is not None and group != self.bank.group and bool(self.bank.tones or self.bank.patches)
        if number in numbers or other_group:
            self.before.append(self.bank)
            self.bank = Bank(channel=self.bank.channel)
            self._last = {}
            numbers = []
        if group is not None:
            self.bank.group = group
        return next(_free(numbers)) if number is None else number

    def _add_tone(self, tone: Tone, number: int | None = None, half: int = 0, group: int | None = None) -> None:
        if number is None:
            number = next(_free(self.bank.tone_numbers, bool(self.bank.patches)))
        number = self._room_for(self.bank.tone_numbers, number, group)
        self._last[half] = len(self.bank.tones)
        self.bank.tones.append(tone)
        self.bank.tone_numbers.append(number)

    def _add_patch(self, patch: Patch, number: int | None = None, group: int | None = None) -> None:
        number = self._room_for(self.bank.patch_numbers, number, group)
        self.bank.patches.append(patch)
        self.bank.patch_numbers.append(number)

    def _tone_apr(self, offset: int, message: bytes) -> None:
        """A tone for an edit buffer. After a patch APR it is the one that the patch names, also where no PGR says so."""
        half, tone = message[6], Tone.decode(sysex.data_of(message))
        number = self._tone_numbers.pop(half, None)
        wanted = self._wanted.pop(half, None) if sysex.kind_of(message)[1] == MKS70 else None
        number = wanted if number is None else number
        if wanted is not None and number == wanted and number in self.bank.tone_numbers:
            place = self.bank.tone_numbers.index(number)
            if self.bank.tones[place] == tone:  # two patches share it
                self._last[half] = place
                return
            number = next(_free(self.bank.tone_numbers, True))
            which = f"{HALVES[half - UPPER_GROUP]}_tone"
            self.bank.patches[-1] = self.bank.patches[-1].replace(**{which: number})
        self._add_tone(tone, number, half)
        self._heard_at, self._unstored = offset, True

    def _tone_bulk(self, offset: int, message: bytes) -> None:
        self._add_tone(Tone.decode(sysex.data_of(message)), sysex.number_of(message), group=message[6])

    def _tone_ipr(self, offset: int, message: bytes) -> str | None:
        half = message[6]
        place = self._last.get(half)
        if place is None:
            return "single parameters of a tone that is not in the file"
        if sysex.kind_of(message)[1] == JX8P and not self._unstored:  # what is stored stays as it is
            self._add_tone(self.bank.tones[place], half=half)
            place, self._unstored = self._last[half], True
        data = sysex.edited(self.bank.tones[place].encode(), sysex.pairs_of(message))
        self.bank.tones[place] = Tone.decode(data)
        return None

    def _jx8p_pgr(self, offset: int, message: bytes) -> str | None:
        """Stores the tone before it: the one in the edit buffer, which may be stored already."""
        number = sysex.number_of(message)
        if number is None or not self.bank.tones:
            return None
        tone = self.bank.tones[-1]
        if self._unstored:
            self.bank.tones.pop()
            self.bank.tone_numbers.pop()
        elif any(at > self._heard_at for at in (*self.gaps, *(part.offset for part in self.skipped)) if at < offset):
            return "it stores a tone that is not whole"
        self._add_tone(tone, number, message[6])
        self._unstored = False
        return None

    def _chain_apr(self, offset: int, message: bytes) -> None:
        self.bank.chains.append(Chain.decode(sysex.data_of(message)))

    def _chain_ipr(self, offset: int, message: bytes) -> str | None:
        if not self.bank.chains:
            return "single parameters of a patch chain that is not in the file"
        self.bank.chains[-1] = Chain.decode(sysex.edited(self.bank.chains[-1].encode(), sysex.pairs_of(message)))
        return None

    def _patch_pgr(self, offset: int, message: bytes) -> None:
        self._patch_number = sysex.number_of(message)

    def _tone_pgr(self, offset: int, message: bytes) -> None:
        if (number := sysex.number_of(message)) is not None:
            self._tone_numbers[message[6]] = number

    def _patch_ipr(self, offset: int, message: bytes) -> None:
        self._edits.append((offset, sysex.pairs_of(message)))

    def _patch_apr(self, offset: int, message: bytes) -> None:
        # The instrument sends what an APR has no place for as IPRs before it.
        buffer = bytes(BUFFER_BYTES)
        data = sysex.data_of(message)
        for at, pairs in self._edits:
            buffer = sysex.edited(buffer, pairs)
            if any(index < len(data) and data[index] != value for index, value in pairs):
                length = 8 + 2 * len(pairs)
                self.skipped.append(Skipped(at, length, "single parameters that the patch behind them overwrites"))
        patch = Patch.decode_buffer(data + buffer[len(data) :])
        self._add_patch(patch, self._patch_number)
        self._edits, self._patch_number = [], None
        self._wanted = {UPPER_GROUP: patch.upper_tone, LOWER_GROUP: patch.lower_tone}

    def _patch_bulk(self, offset: int, message: bytes) -> None:
        self._add_patch(Patch.decode_image(sysex.data_of(message)), sysex.number_of(message), message[6])

    def _v4_tone(self, offset: int, message: bytes) -> None:
        self._add_tone(vecoven4.decode_tone(message), vecoven4.decode_number(message))
        self._v4_check(offset, message)

    def _v4_patch(self, offset: int, message: bytes) -> None:
        self._add_patch(vecoven4.decode_patch(message), vecoven4.decode_number(message))
        self._v4_check(offset, message)

    def _v4_check(self, offset: int, message: bytes) -> None:
        if not vecoven4.is_sound(message):
            self.skipped.append(Skipped(offset, 0, "its checksum does not fit, taken all the same"))


_Handler = Callable[[_Reader, int, bytes], str | None]
_HANDLERS: dict[tuple[int, int, int], _Handler] = {
    (APR, JX8P, TONE_LEVEL): _Reader._tone_apr,
    (IPR, JX8P, TONE_LEVEL): _Reader._tone_ipr,
    (PGR, JX8P, TONE_LEVEL): _Reader._jx8p_pgr,
    (APR, JX8P, PATCH_LEVEL): _Reader._chain_apr,
    (IPR, JX8P, PATCH_LEVEL): _Reader._chain_ipr,
    (APR, MKS70, TONE_LEVEL): _Reader._tone_apr,
    (IPR, MKS70, TONE_LEVEL): _Reader._tone_ipr,
    (PGR, MKS70, TONE_LEVEL): _Reader._tone_pgr,
    (BLD, MKS70, TONE_LEVEL): _Reader._tone_bulk,
    (APR, MKS70, PATCH_LEVEL): _Reader._patch_apr,
    (IPR, MKS70, PATCH_LEVEL): _Reader._patch_ipr,
    (PGR, MKS70, PATCH_LEVEL): _Reader._patch_pgr,
    (BLD, MKS70, PATCH_LEVEL): _Reader._patch_bulk,
    (V4_BLD, MKS70, TONE_LEVEL): _Reader._v4_tone,
    (V4_BLD, MKS70, PATCH_LEVEL): _Reader._v4_patch,
}


# --- formats -------------------------------------------------------------------------------------


def _parts(records: Sequence, room: int) -> list[Sequence]:
    return [records[at : at + room] for at in range(0, len(records), room)]


def _from_image(image: bytes) -> Bank:
    rows = range(_CHAIN_AREA, _CHAIN_AREA + CARTRIDGE_TONES * TONE_BYTES, TONE_BYTES)
    return Bank([Tone.decode(image[at : at + TONE_BYTES]) for at in rows], chain_area=image[:_CHAIN_AREA])


def _is_json(data: bytes) -> bool:
    return data.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{"


def _are_images(data: bytes) -> bool:
    """Whether bytes are cartridge images, one or several, by their length and their tones' names."""
    dumped = data.startswith(b"\xf0") and data.endswith(b"\xf7")
    if (
        not data
        or len(data) % CARTRIDGE_BYTES
        or dumped
        or (data.isascii() and data.decode().translate(_BLANKS).isprintable())
    ):
        return False
    names = b"".join(
        data[at + tone : at + tone + Tone.NAME_LENGTH]
        for at in range(0, len(data), CARTRIDGE_BYTES)
        for tone in range(_CHAIN_AREA, CARTRIDGE_BYTES, TONE_BYTES)
    )
    legible = sum((byte & 0x7F) < 10 or chr(byte & 0x7F).isprintable() for byte in names)
    return legible >= _LEGIBLE * len(names) and len({*names}) > 2


def _to_images(bank: Bank) -> list[bytes]:
    """Tones in the places that they have in memory, if there is room for all of them in one image, else one after another."""
    if bank.tones and _one_each(bank.tone_numbers, CARTRIDGE_TONES):
        parts = [[bank.tone(number) for number in range(CARTRIDGE_TONES)]]
    else:
        parts = [[*part, *[None] * (CARTRIDGE_TONES - len(part))] for part in _parts(bank.tones, CARTRIDGE_TONES)]
    return [bank.chain_area + b"".join((tone or Tone("INIT TONE")).encode() for tone in part) for part in parts]


def _to_jx8p(bank: Bank) -> list[bytes]:
    own = _one_each(bank.tone_numbers, JX8P_TONES)
    numbers = bank.tone_numbers if own else [place % JX8P_TONES for place in range(len(bank.tones))]
    places = dict(zip(bank.tone_numbers, numbers, strict=True))
    rows = list(zip_longest(numbers, bank.tones, [follows(chain, places) for chain in bank.chains]))
    # A chain comes before its tone, as the panel sends them.
    return [
        b"".join(
            (sysex.jx8p_chain(chain, bank.channel) if chain else b"")
            + (sysex.jx8p_tone(tone, number, bank.channel) if tone else b"")
            for number, tone, chain in part
        )
        for part in _parts(rows, JX8P_TONES)
    ]


def _to_bulk(bank: Bank) -> list[bytes]:
    """One dump if all is in its place in the unit's memory, else as many as it takes, patches with their tones.

    A bank without patches gets one for each tone, whole and otherwise plain.
    """
    if not bank.patches:
        plain = [
            Patch(tone.name, key_mode="whole-a", upper_tone=number, lower_tone=number)
            for number, tone in zip(bank.tone_numbers, bank.tones, strict=True)
        ]
        bank = replace(bank, patches=plain, patch_numbers=[])
    in_place = _one_each(bank.tone_numbers, MKS70_TONES) and _one_each(bank.patch_numbers, MKS70_PATCHES)
    dumps = [bank] if in_place else packed(bank, MKS70_TONES, MKS70_PATCHES)
    files = []
    for dump in dumps:
        patches = (dump.patch(number) or Patch("INIT PATCH") for number in range(MKS70_PATCHES))
        tones = (dump.tone(number) or Tone("INIT TONE") for number in range(MKS70_TONES))
        files.append(
            b"".join(sysex.bulk_patch(patch, n, bank.channel, bank.group) for n, patch in enumerate(patches))
            + b"".join(sysex.bulk_tone(tone, n, bank.channel, bank.group) for n, tone in enumerate(tones))
        )
    return files


def _one_each(numbers: Sequence[int], room: int) -> bool:
    return len(set(numbers)) == len(numbers) and max(numbers, default=0) < room


def packed(bank: Bank, tones: int, patches: int) -> list[Bank]:
    """A bank as several, none with more tones or patches than there is room for; patches keep their tones."""
    out: list[Bank] = [Bank()]
    places: dict[int, int] = {}

    def room_for(numbers: list[int]) -> Bank:
        new = [number for number in numbers if number not in places]
        if len(places) + len(new) > tones or len(out[-1].patches) == patches:
            out.append(Bank())
            places.clear()
            new = numbers
        for number in new:
            places[number] = len(out[-1].tones)
            out[-1].tones.append(bank.tone(number))
            out[-1].tone_numbers.append(places[number])
        return out[-1]

    used: set[int] = set()
    for patch in bank.patches:
        wanted = {n for n in (patch.upper_tone, patch.lower_tone) if bank.tone(n) is not None}
        used |= wanted
        dump = room_for(sorted(wanted))
        dump.patch_numbers.append(len(dump.patches))
        dump.patches.append(renumbered(patch, places))
    for number in bank.tone_numbers:
        if number not in used:
            dump = next((dump for dump in out if len(dump.tones) < tones), None)
            if dump is None:
                out.append(dump := Bank())
            dump.tone_numbers.append(len(dump.tones))
            dump.tones.append(bank.tone(number))
    return out


def renumbered(patch: Patch, places: Mapping[int, int]) -> Patch:
    """A patch whose tones have moved; those that are not in `places` stay."""
    return patch.replace(
        **{f"{half}_tone": places[n] for half in HALVES if (n := getattr(patch, f"{half}_tone")) in places}
    )


def follows(chain: Chain, places: Mapping[int, int]) -> Chain | None:
    """A patch chain whose tone has moved; the same if it is not in `places`, None where a chain cannot name it any more."""
    if chain.program not in places or chain.bank > _CARTRIDGE_CHAIN:
        return chain
    bank, tone = divmod(places[chain.program], JX8P_TONES)
    return chain.replace(tone=tone, bank=bank) if bank <= _CARTRIDGE_CHAIN else None


def free_number(place: int) -> int:
    """Memory number of the tone at a place; 50 to 127 stay free, since patches mean the ROM by them."""
    return place if place < ROM_TONES.start else place - ROM_TONES.start + 128


def _free(numbers: Sequence[int], patched: bool = False) -> Iterator[int]:
    """Memory numbers that are not taken; beside patches not those by which they mean the ROM."""
    return (number for number in map(free_number if patched else int, count()) if number not in numbers)


def merged(banks: Sequence[Bank]) -> Bank:
    """Banks one after another; tones are numbered anew and patches follow theirs."""
    out = Bank()
    patched = any(bank.patches for bank in banks)
    for bank in banks:
        places = {}
        for number, tone in zip(bank.tone_numbers, bank.tones, strict=True):
            places[number] = free_number(len(out.tones)) if patched else len(out.tones)
            out.tones.append(tone)
            out.tone_numbers.append(places[number])
        out.patches += [renumbered(patch, places) for patch in bank.patches]
        moved = [follows(chain, places) for chain in bank.chains]
        out.chains += [chain for chain in moved if chain]
        if lost := moved.count(None):
            out.skipped.append(Skipped(0, 0, f"{lost} patch chains, whose tones are past memory {2 * JX8P_TONES} now"))
    out.patch_numbers = list(range(len(out.patches)))
    return out


def _to_apr(bank: Bank) -> list[bytes]:
    """One file if all numbers are a unit's, else as many as it takes, patches with their tones."""
    own = _one_each(bank.tone_numbers, 128) and _one_each(bank.patch_numbers, 128)
    files = []
    for part in [bank] if own else packed(bank, MKS70_TONES, MKS70_PATCHES):
        out = bytearray()
        for number, patch in zip(part.patch_numbers, part.patches, strict=True):
            out += sysex.program(number, "patch", bank.channel) + sysex.patch_apr(patch, bank.channel)
        for number, tone in zip(part.tone_numbers, part.tones, strict=True):
            out += sysex.program(number, "tone", bank.channel) + sysex.tone_apr(tone, "upper", bank.channel)
        files.append(bytes(out))
    return files


def _to_json(bank: Bank) -> list[bytes]:
    def rows(records: Sequence[Record], numbers: Sequence[int] | None = None) -> list[dict[str, Any]]:
        return [
            {
                **({"number": number} if numbers else {}),
                **({"name": record.name} if record.NAME_LENGTH else {}),
                **record.plain(),
                **({"stored": record.stored.hex()} if record.stored else {}),
            }
            for record, number in zip(records, numbers or range(len(records)), strict=True)
        ]

    text = {
        "format": _JSON,
        "channel": bank.channel,
        "group": bank.group,
        "tones": rows(bank.tones, bank.tone_numbers),
        "patches": rows(bank.patches, bank.patch_numbers),
        "chains": rows(bank.chains),
        "chain_area": bank.chain_area.hex(),
    }
    return [(json.dumps(text, indent=1) + "\n").encode()]


def _from_json(data: bytes) -> Bank:
    def records(kind: type[Record], rows: list[dict]) -> list:
        out = []
        for place, row in enumerate(rows):
            if not isinstance(row, dict) or not isinstance(row.get("name", ""), str):
                raise ValueError(f"{kind.KIND} {place + 1} is no object with a name")
            record = kind(**{k: v for k, v in row.items() if k not in ("number", "stored")})
            if not plain_name(name := row.get("name", "")) == name:
                raise ValueError(f"{kind.KIND} name {name!r} is not plain ASCII")
            stored = bytes.fromhex(row["stored"]) if "stored" in row else None
            if stored is not None and len(stored) not in kind.STORED:
                raise ValueError(f"stored bytes of {kind.KIND} {record.name!r} are {len(stored)}, not {kind.STORED}")
            out.append(kind(record.name, stored=stored, **record.values()))
        return out

    def numbers(kind: type[Record], rows: list[dict]) -> list[int]:
        found = [_whole(row.get("number", place), LARGEST_TONE, "number") for place, row in enumerate(rows)]
        if twice := {number for number in found if found.count(number) > 1}:
            raise ValueError(f"{kind.KIND} number {min(twice)} is given twice")
        return found

    try:
        text = json.loads(data.decode("utf-8-sig"))
        if text.get("format") != _JSON:
            raise ValueError(f"its format is {text.get('format')!r}, not {_JSON!r}")
        tones, patches = text.get("tones", []), text.get("patches", [])
        area = bytes.fromhex(text.get("chain_area", "")) or bytes(_CHAIN_AREA)
        if len(area) != _CHAIN_AREA:
            raise ValueError(f"chain_area is {len(area)} bytes, not {_CHAIN_AREA}")
        return Bank(
            records(Tone, tones), records(Patch, patches), records(Chain, text.get("chains", [])),
            numbers(Tone, tones), numbers(Patch, patches), _whole(text.get("channel", 0), 15, "channel"),
            _whole(text.get("group", INTERNAL_GROUP), 127, "group"), area,
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
        raise SysexError(f"not a jxemu bank in JSON: {error}") from None


def _whole(value: object, largest: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
        raise ValueError(f"{what} {value!r} is not a whole number from 0 to {largest}")
    return value


FORMATS: dict[str, Callable[[Bank], list[bytes]]] = {
    "jx8p": _to_jx8p,
    "cartridge": _to_images,
    "mks70": _to_bulk,
    "apr": _to_apr,
    "json": _to_json,
}
"""What a bank can be written as: a function that gives its files."""


# --- finding -------------------------------------------------------------------------------------


def load_bank(path: str | Path) -> list[Tone]:
    """Tones of a sysex file, cartridge image or JSON bank; `Bank.load` gives all that is in it.

    Raises OSError, or SysexError if it holds no whole tone.
    """
    bank = Bank.load(path)
    if not bank.tones:
        raise SysexError(f"{path}: {len(bank.patches)} patches but no whole tone in it")
    return bank.tones


def find(records: Sequence[Record], name: str, numbers: Sequence[int] | None = None) -> int:
    """Index of the tone or patch called `name`, case and outer blanks aside, or with that number from 1.

    numbers : the memory numbers of the records, from 0 (default: their places).

    Raises KeyError with near matches.
    """
    wanted = name.strip().lower()
    names = [record.name.strip().lower() for record in records]
    if wanted in names:
        return names.index(wanted)
    numbers = list(range(len(records)) if numbers is None else numbers)
    if wanted.isascii() and wanted.isdecimal() and int(wanted) - 1 in numbers:
        return numbers.index(int(wanted) - 1)
    kind = records[0].KIND if records else "tone or patch"
    near = difflib.get_close_matches(wanted, names, 3, 0.4)
    listed = [records[names.index(n)].name for n in near] or [record.name for record in records[:5]]
    raise KeyError(f"no {kind} {name!r} in the bank; " + ("near: " if near else "it begins with: ") + ", ".join(listed))
