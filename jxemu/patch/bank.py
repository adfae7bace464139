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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jxemu.patch import handshake, sysex, vecoven4
from jxemu.patch.patch import BUFFER_BYTES, Chain, Patch
from jxemu.patch.record import Record
from jxemu.patch.sysex import APR, BLD, IPR, JX8P, MKS70, PATCH_LEVEL, PGR, TONE_LEVEL, V4_BLD, Skipped, SysexError
from jxemu.patch.tone import TONE_BYTES, Tone

CARTRIDGE_BYTES = 2048
CARTRIDGE_TONES = 32
_CHAIN_AREA = CARTRIDGE_BYTES - CARTRIDGE_TONES * TONE_BYTES
JX8P_TONES = 32
MKS70_TONES, MKS70_PATCHES = 50, 64
ROM_TONES = range(50, 100)
"""Tone numbers of the Super JX's ROM, whose tones are not part of any file."""

_JSON = "jxemu bank 1"
_ANY_MESSAGE = bytes((0xF0, sysex.ROLAND))


@dataclass
class Bank:
    """What a file holds, in its order; memory numbers count from 0.

    channel and group : of its last message; group 1 is internal memory, 2 a cartridge.
    chain_area : the cartridge's 160 bytes.  skipped : stretches of the file that were not taken.
    """

    tones: list[Tone] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    tone_numbers: list[int] = field(default_factory=list)
    patch_numbers: list[int] = field(default_factory=list)
    channel: int = 0
    group: int = 1
    chain_area: bytes = bytes(_CHAIN_AREA)
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tone_numbers = self.tone_numbers or list(range(len(self.tones)))
        self.patch_numbers = self.patch_numbers or list(range(len(self.patches)))

    @classmethod
    def load(cls, path: str | Path) -> "Bank":
        """What is in a file. Raises OSError, or SysexError if it holds nothing of a Super JX."""
        data = Path(path).read_bytes()
        try:
            bank = cls.decode(data)
        except SysexError as error:
            raise SysexError(f"{path}: {error}") from None
        if not (bank.tones or bank.patches or bank.chains):
            reason = f" ({bank.skipped[0]})" if bank.skipped else ""
            raise SysexError(f"{path}: no whole JX-8P, JX-10 or MKS-70 tone or patch in {len(data)} bytes{reason}")
        return bank

    @classmethod
    def decode(cls, data: bytes) -> "Bank":
        """What is in a file's bytes, of any format. Raises SysexError for damaged JSON only."""
        if _ANY_MESSAGE not in data:
            if data.lstrip()[:1] == b"{" and b'"format"' in data:
                return _from_json(data)
            if len(data) == CARTRIDGE_BYTES:
                return _from_image(data)
        reader = _Reader()
        found, reader.bank.skipped = sysex.messages(data)
        images, transfers, found = handshake.images(found)
        for offset, message in ((item.offset, item.message) for item in found):
            reader.take(offset, message)
        reader.finish()
        bank = reader.bank
        bank.skipped += [Skipped(f.offset, 0, "its F7 is missing, taken all the same") for f in found if not f.complete]
        bank.skipped += transfers
        for image in images:
            bank.chain_area = image[:_CHAIN_AREA]
            bank.tone_numbers += range(len(bank.tones), len(bank.tones) + CARTRIDGE_TONES)
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
    """Messages one after another, as the instrument's edit buffers would take them."""

    bank: Bank = field(default_factory=Bank)
    _edits: list[tuple[int, list[tuple[int, int]]]] = field(default_factory=list)  # patch IPRs that wait for an APR
    _number: int | None = None  # memory that a PGR has named for the next patch

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
                self.bank.group = message[6] if opcode == BLD else self.bank.group
                why = handler(self, offset, message)
        if why:
            self._skip(offset, message, why)

    def finish(self) -> None:
        """Single patch parameters that no APR followed belong to the last patch."""
        for offset, pairs in self._edits:
            if not self.bank.patches:
                length = 8 + 2 * len(pairs)
                self.bank.skipped.append(
                    Skipped(offset, length, "single parameters of a patch that is not in the file")
                )
            else:
                self.bank.patches[-1] = _edited_patch(self.bank.patches[-1], pairs)
        self._edits = []

    def _skip(self, offset: int, message: bytes, why: str) -> None:
        self.bank.skipped.append(Skipped(offset, len(message), why))

    def _add_tone(self, tone: Tone, number: int | None = None) -> None:
        self.bank.tones.append(tone)
        self.bank.tone_numbers.append(len(self.bank.tones) - 1 if number is None else number)

    def _add_patch(self, patch: Patch, number: int | None = None) -> None:
        self.bank.patches.append(patch)
        self.bank.patch_numbers.append(len(self.bank.patches) - 1 if number is None else number)

    def _tone_apr(self, offset: int, message: bytes) -> None:
        self._add_tone(Tone.decode(sysex.data_of(message)))

    def _tone_bulk(self, offset: int, message: bytes) -> None:
        self._add_tone(Tone.decode(sysex.data_of(message)), sysex.number_of(message))

    def _tone_ipr(self, offset: int, message: bytes) -> str | None:
        if not self.bank.tones:
            return "single parameters of a tone that is not in the file"
        data = bytearray(self.bank.tones[-1].encode())
        for index, value in sysex.pairs_of(message):
            if index < TONE_BYTES:
                data[index] = value
        self.bank.tones[-1] = Tone.decode(bytes(data))
        return None

    def _jx8p_pgr(self, offset: int, message: bytes) -> None:
        number = sysex.number_of(message)
        if number is not None and self.bank.tones:
            self.bank.tone_numbers[-1] = number

    def _chain_apr(self, offset: int, message: bytes) -> None:
        self.bank.chains.append(Chain.decode(sysex.data_of(message)))

    def _chain_ipr(self, offset: int, message: bytes) -> str | None:
        if not self.bank.chains:
            return "single parameters of a patch chain that is not in the file"
        data = bytearray(self.bank.chains[-1].encode())
        for index, value in sysex.pairs_of(message):
            if index < len(data):
                data[index] = value
        self.bank.chains[-1] = Chain.decode(bytes(data))
        return None

    def _patch_pgr(self, offset: int, message: bytes) -> None:
        self._number = sysex.number_of(message)

    def _patch_ipr(self, offset: int, message: bytes) -> None:
        self._edits.append((offset, sysex.pairs_of(message)))

    def _patch_apr(self, offset: int, message: bytes) -> None:
        # The instrument sends what an APR has no place for as IPRs before it.
        buffer = bytearray(BUFFER_BYTES)
        for index, value in (pair for _, pairs in self._edits for pair in pairs):
            if index < BUFFER_BYTES:
                buffer[index] = value
        data = sysex.data_of(message)
        buffer[: len(data)] = data
        self._add_patch(Patch.decode_buffer(bytes(buffer)), self._number)
        self._edits, self._number = [], None

    def _patch_bulk(self, offset: int, message: bytes) -> None:
        self._add_patch(Patch.decode_image(sysex.data_of(message)), sysex.number_of(message))

    def _v4_tone(self, offset: int, message: bytes) -> None:
        self._add_tone(vecoven4.decode_tone(message), vecoven4.decode_number(message))
        self._v4_check(offset, message)

    def _v4_patch(self, offset: int, message: bytes) -> None:
        self._add_patch(vecoven4.decode_patch(message), vecoven4.decode_number(message))
        self._v4_check(offset, message)

    def _v4_check(self, offset: int, message: bytes) -> None:
        if not vecoven4.is_sound(message):
            self.bank.skipped.append(Skipped(offset, 0, "its checksum does not fit, taken all the same"))

    def _nothing(self, offset: int, message: bytes) -> None:
        pass


_Handler = Callable[[_Reader, int, bytes], str | None]
_HANDLERS: dict[tuple[int, int, int], _Handler] = {
    (APR, JX8P, TONE_LEVEL): _Reader._tone_apr,
    (IPR, JX8P, TONE_LEVEL): _Reader._tone_ipr,
    (PGR, JX8P, TONE_LEVEL): _Reader._jx8p_pgr,
    (APR, JX8P, PATCH_LEVEL): _Reader._chain_apr,
    (IPR, JX8P, PATCH_LEVEL): _Reader._chain_ipr,
    (APR, MKS70, TONE_LEVEL): _Reader._tone_apr,
    (IPR, MKS70, TONE_LEVEL): _Reader._tone_ipr,
    (PGR, MKS70, TONE_LEVEL): _Reader._nothing,
    (BLD, MKS70, TONE_LEVEL): _Reader._tone_bulk,
    (APR, MKS70, PATCH_LEVEL): _Reader._patch_apr,
    (IPR, MKS70, PATCH_LEVEL): _Reader._patch_ipr,
    (PGR, MKS70, PATCH_LEVEL): _Reader._patch_pgr,
    (BLD, MKS70, PATCH_LEVEL): _Reader._patch_bulk,
    (V4_BLD, MKS70, TONE_LEVEL): _Reader._v4_tone,
    (V4_BLD, MKS70, PATCH_LEVEL): _Reader._v4_patch,
}


def _edited_patch(patch: Patch, pairs: list[tuple[int, int]]) -> Patch:
    buffer = bytearray(patch.encode_buffer())
    for index, value in pairs:
        if index < BUFFER_BYTES:
            buffer[index] = value
    return Patch.decode_buffer(bytes(buffer))


# --- formats -------------------------------------------------------------------------------------


def _parts(records: Sequence, room: int) -> list[Sequence]:
    return [records[at : at + room] for at in range(0, len(records), room)]


def _from_image(image: bytes) -> Bank:
    rows = range(_CHAIN_AREA, _CHAIN_AREA + CARTRIDGE_TONES * TONE_BYTES, TONE_BYTES)
    return Bank([Tone.decode(image[at : at + TONE_BYTES]) for at in rows], chain_area=image[:_CHAIN_AREA])


def _to_images(bank: Bank) -> list[bytes]:
    return [
        bank.chain_area + b"".join(tone.encode() for tone in _filled(part, CARTRIDGE_TONES))
        for part in _parts(bank.tones, CARTRIDGE_TONES)
    ]


def _to_jx8p(bank: Bank) -> list[bytes]:
    files = []
    for tones, chains in zip_longest(_parts(bank.tones, JX8P_TONES), _parts(bank.chains, JX8P_TONES), fillvalue=()):
        # A chain comes before its tone, as the panel sends them.
        files.append(
            b"".join(
                (sysex.jx8p_chain(chain, bank.channel) if chain else b"")
                + (sysex.jx8p_tone(tone, number, bank.channel) if tone else b"")
                for number, (tone, chain) in enumerate(zip_longest(tones, chains))
            )
        )
    return files


def _to_bulk(bank: Bank) -> list[bytes]:
    """A bank without patches gets one for each tone, whole and otherwise plain."""
    files = []
    patches = list(bank.patches) or [
        Patch(tone.name, key_mode="whole-a", upper_tone=number % MKS70_TONES, lower_tone=number % MKS70_TONES)
        for number, tone in enumerate(bank.tones)
    ]
    parts = zip_longest(
        _in_memory(patches, bank.patch_numbers if bank.patches else [], MKS70_PATCHES),
        _in_memory(bank.tones, bank.tone_numbers, MKS70_TONES),
        fillvalue=(),
    )
    for some_patches, some_tones in parts:
        files.append(
            b"".join(
                sysex.bulk_patch(patch, number, bank.channel, bank.group)
                for number, patch in enumerate(_filled(some_patches, MKS70_PATCHES, Patch("INIT PATCH")))
            )
            + b"".join(
                sysex.bulk_tone(tone, number, bank.channel, bank.group)
                for number, tone in enumerate(_filled(some_tones, MKS70_TONES))
            )
        )
    return files


def _in_memory(records: Sequence, numbers: Sequence[int], room: int) -> list[list]:
    """Records by memory number if each has its own within `room`, else one after another."""
    if numbers and len(set(numbers)) == len(records) and max(numbers) < room:
        slots: list = [None] * room
        for number, record in zip(numbers, records, strict=True):
            slots[number] = record
        return [slots]
    return [list(part) for part in _parts(records, room)]


def _filled(records: Sequence, room: int, blank: Record | None = None) -> list:
    blank = blank or Tone("INIT TONE")
    return [record or blank for record in [*records, *[None] * (room - len(records))]]


def _to_apr(bank: Bank) -> list[bytes]:
    out = bytearray()
    for number, patch in zip(bank.patch_numbers, bank.patches, strict=True):
        out += sysex.program(number, "patch", bank.channel) + sysex.patch_apr(patch, bank.channel)
    for tone in bank.tones:
        out += sysex.tone_apr(tone, "upper", bank.channel)
    return [bytes(out)]


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
    try:
        text = json.loads(data)
        if text.get("format") != _JSON:
            raise ValueError(f"its format is {text.get('format')!r}, not {_JSON!r}")

        def records(kind: type[Record], rows: list[dict]) -> list:
            stored = [bytes.fromhex(row["stored"]) if "stored" in row else None for row in rows]
            return [
                kind(stored=old, **{k: v for k, v in row.items() if k not in ("number", "stored")})
                for row, old in zip(rows, stored, strict=True)
            ]

        return Bank(
            records(Tone, text.get("tones", [])),
            records(Patch, text.get("patches", [])),
            records(Chain, text.get("chains", [])),
            [row.get("number", i) for i, row in enumerate(text.get("tones", []))],
            [row.get("number", i) for i, row in enumerate(text.get("patches", []))],
            text.get("channel", 0),
            text.get("group", 1),
            bytes.fromhex(text.get("chain_area", "")) or bytes(_CHAIN_AREA),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SysexError(f"not a jxemu bank in JSON: {error}") from None


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


def find(records: Sequence[Record], name: str) -> int:
    """Index of the tone or patch called `name`, case and outer blanks aside, or with that number from 1.

    Raises KeyError with near matches.
    """
    wanted = name.strip().lower()
    names = [record.name.strip().lower() for record in records]
    if wanted in names:
        return names.index(wanted)
    if wanted.isdigit() and 1 <= int(wanted) <= len(records):
        return int(wanted) - 1
    kind = records[0].KIND if records else "tone or patch"
    near = difflib.get_close_matches(wanted, names, 3, 0.4)
    listed = [records[names.index(n)].name for n in near] or [record.name for record in records[:5]]
    raise KeyError(f"no {kind} {name!r} in the bank; " + ("near: " if near else "it begins with: ") + ", ".join(listed))
