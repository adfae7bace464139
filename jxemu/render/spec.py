"""What a dataset is, as TOML: machine, performance, where tones come from, what is stored. Every item follows from it.

A spec is *frozen* before anything is rendered: the tones of its files are written into it, so that it
needs no other file from then on. Two frozen specs that are equal give the same bytes.
"""

import csv
import difflib
import hashlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jxemu.clock import OVERSAMPLES, SAMPLE_RATES
from jxemu.machine import MACHINES, Machine, Unit, UnitError
from jxemu.patch.bank import Bank
from jxemu.patch.factory import factory_bank
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.sysex import SysexError
from jxemu.patch.tone import Tone
from jxemu.render.features import FEATURES
from jxemu.render.presets import FOLDER, PRESETS

VERSION = 1
NAMES = tuple(PARAMETERS)
TOPS = np.array([row.top for row in PARAMETERS.values()])
SPLITS = ("train", "validation", "test")
LARGEST = 1 << 25
"""Samples of an item, all takes and boards: 256 MB while it is rendered."""

FACTORY = "factory"
"""In place of a file's name: the bank that comes with jxemu."""

THESIS = (
    "dco1_wave", "dco1_range", "dco1_tune", "dco1_lfo", "dco2_wave", "dco2_range", "dco2_tune", "dco2_lfo", "dco2_fine",
    "mix_dco1", "mix_dco2", "vcf_freq", "vcf_res", "vcf_lfo", "vcf_env", "lfo_wave", "lfo_delay", "lfo_rate",
    "env1_a", "env1_d", "env1_s", "env1_r", "env2_a", "env2_d", "env2_s", "env2_r",
)  # fmt: skip
"""The 26 parameters of the thesis. Source: THESIS, ch. 4, put together from its text (docs/datasets.md)."""


class SpecError(ValueError):
    """A spec that cannot be rendered; the message names its file and the entry."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class IntRange(_Part):
    """A whole number from `low` to `high`, both possible."""

    low: int = Field(ge=0, le=127)
    high: int = Field(ge=0, le=127)

    @model_validator(mode="after")
    def _ordered(self) -> "IntRange":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Range(_Part):
    """A number from `low` to `high`."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


def choices(value: float | list | IntRange) -> list[int]:
    """The values that a number, a list or a range stands for."""
    if isinstance(value, IntRange):
        return list(range(value.low, value.high + 1))
    return list(value) if isinstance(value, list) else [value]


class MachineSpec(_Part):
    """Which machine, which unit of it, at which rate."""

    kind: Literal["jx8p", "superjx"] = Field("jx8p", description="superjx plays two tones at once (dual).")
    unit: Annotated[int, Field(ge=0, lt=1 << 31)] | Literal["each"] | str | dict[str, Any] = Field(
        0,
        description='Unit: 0 is nominal; "each" gives every item its own; the name of a file is a unit that was '
        "measured, whose entries a frozen spec has instead.",
        union_mode="left_to_right",
    )
    sample_rate: int = Field(44_100, description=f"One of {SAMPLE_RATES}.")
    oversample: int = Field(
        2, description=f"Quality, one of {OVERSAMPLES}; docs/datasets.md says what 2 costs beside 4."
    )
    temperature: float = Field(25.0, ge=-20, le=85, description="Degrees C inside the case.")
    resonance: str = Field("dual", description="Reading of the schematic: dual, single or feedback.")
    xmod: str = Field("schematic", description="Reading of the schematic: schematic or thesis.")
    sync: str = Field("counter", description="counter or ramp.")

    @model_validator(mode="after")
    def _exists(self) -> "MachineSpec":
        if self.sample_rate not in SAMPLE_RATES:
            raise ValueError(f"sample_rate {self.sample_rate} is not one of {SAMPLE_RATES}")
        if self.oversample not in OVERSAMPLES:
            raise ValueError(f"oversample {self.oversample} is not one of {OVERSAMPLES}")
        Machine.circuit_of(**self.circuit)
        return self

    @property
    def circuit(self) -> dict[str, float | str | Unit]:
        """Fields of `Circuit` but for the seed."""
        fields = {name: getattr(self, name) for name in ("temperature", "resonance", "xmod", "sync")}
        return fields | {"unit": Unit.of(self.unit)} if isinstance(self.unit, dict) else fields

    @property
    def seed(self) -> int | Literal["each"]:
        """Of the unit's circuits: what is not measured is nominal."""
        return 0 if isinstance(self.unit, dict) else self.unit

    @property
    def boards(self) -> int:
        """Sound boards, and tones of an item."""
        return len(MACHINES[self.kind])


class Performance(_Part):
    """Which keys, how hard, how long: an item is one or several *takes* of the same tone, a chord each."""

    choose: Literal["random", "grid", "all"] = Field(
        "random",
        description="random: each take draws note, velocity and hold; grid: items go through all notes x velocities in "
        "turn, one take each; all: every item has all notes x velocities as takes.",
    )
    notes: int | list[int] | IntRange = Field(60, description="MIDI notes: one, a list, or {low, high}.")
    velocities: int | list[int] | IntRange = Field(100, description="MIDI velocities, likewise.")
    hold: float | Range = Field(3.0, description="Seconds a key is held, or {low, high}.")
    takes: int = Field(1, ge=1, le=64, description="Takes of an item, where choose is random.")
    keys: int | IntRange = Field(
        1, description="Keys of a take, struck at once, where choose is random: 1..6, or {low, high}."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Performance":
        for name, lowest in (("notes", 0), ("velocities", 1), ("keys", 1)):
            highest, values = 6 if name == "keys" else 127, choices(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must be at least one, and none twice")
            if not all(lowest <= value <= highest for value in values):
                raise ValueError(f"{name} must be {lowest}..{highest}")
        low = self.hold.low if isinstance(self.hold, Range) else self.hold
        if low <= 0:
            raise ValueError("hold must be above 0 seconds")
        if self.choose != "random" and (self.takes > 1 or self.keys != 1):
            raise ValueError(f'takes and keys are for choose = "random", not "{self.choose}"')
        if len(choices(self.notes)) < max(choices(self.keys)):
            raise ValueError(f"{max(choices(self.keys))} keys need as many different notes")
        return self

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Notes x velocities, where they are lists."""
        return [(note, velocity) for note in choices(self.notes) for velocity in choices(self.velocities)]

    @property
    def most_keys(self) -> int:
        """Keys of the largest take."""
        return max(choices(self.keys))


class Drawn(_Part):
    """Tones at random: `prior` as real tones are; `normal`, the thesis's clipped normal fitted to them; `uniform`."""

    source: Literal["prior", "normal", "uniform"]


class SourceTone(_Part):
    """A tone of a frozen spec."""

    name: str
    origin: str = Field(description="The file it came from.")
    values: str = Field(description="The 44 values, two hexadecimal digits each.")

    @field_validator("values")
    @classmethod
    def _legal(cls, text: str) -> str:
        values = np.frombuffer(bytes.fromhex(text), np.uint8)
        if len(values) != len(NAMES) or (values > TOPS).any():
            raise ValueError(f"{text!r} is not 44 values in range")
        return text


class Given(_Part):
    """Tones of files: `bank`, sysex of any format; `csv`, a table with a column a parameter (and `name`, and `bank`)."""

    source: Literal["bank", "csv"]
    files: list[str] = Field(min_length=1, description=f"Paths from the spec's folder, or {FACTORY!r}.")
    choose: Literal["each", "random"] = Field("each", description="In turn, or at random.")
    change: float = Field(0.0, ge=0, le=1, description="Chance of each varied parameter to be moved.")
    spread: int = Field(12, ge=1, le=127, description="How far: steps of a fader, one standard deviation.")
    tones: list[SourceTone] | None = Field(None, min_length=1, description="Filled in when the spec is frozen.")

    @property
    def table(self) -> np.ndarray:
        """Values of the tones, uint8 (tones, 44)."""
        return np.array([list(bytes.fromhex(tone.values)) for tone in self.tones], np.uint8)


class Store(_Part):
    """What a dataset holds beside parameters and performance."""

    audio: bool = Field(
        True, description="int16, scaled to the item's peak; without it sound is rendered again when asked for."
    )
    channels: Literal[1, 2] = Field(1, description="1: the mean of left and right.")
    features: list[str] = Field([], description=f"Any of {', '.join(FEATURES)}.")
    latch: bool = Field(False, description="Control voltages and divisors of the boards, 250 times a second.")
    stems: bool = Field(False, description="Every voice by itself, int16, mono.")
    captions: bool = Field(False, description="The panel in words, in the index.")

    @field_validator("features")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in FEATURES:
                raise ValueError(f"feature {name!r} is not known; choose from {', '.join(FEATURES)}")
        return names


class Gate(_Part):
    """Silent items are drawn anew."""

    level: float = Field(-60.0, description="dBFS, RMS of the loudest take over its length.")
    attempts: int = Field(64, ge=1, le=60_000, description="After so many it stays as it is, and is marked silent.")


class Splits(_Part):
    """Shares of train, validation and test; families of near-duplicate tones stay on one side."""

    train: float = Field(0.9, ge=0)
    validation: float = Field(0.05, ge=0)
    test: float = Field(0.05, ge=0)
    by: Literal["family", "bank"] = Field(
        "family",
        description="bank: whole files, or what a table's column `bank` tells apart, stay on one side, but for tones alike to one of an earlier bank, which go with it.",
    )
    alike: int = Field(40, ge=1, le=44, description="Tones of files with so many parameters equal are one family.")

    @model_validator(mode="after")
    def _whole(self) -> "Splits":
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("the shares of train, validation and test must add up to 1")
        return self


class Spec(_Part):
    """A dataset."""

    version: Literal[1] = Field(VERSION, description="Of this format.")
    name: str = Field(min_length=1)
    description: str = ""
    seed: int = Field(1, ge=0, lt=1 << 63)
    items: int | None = Field(
        None, ge=1, le=1_000_000_000, description="How many; for tones of files the default is each of them once."
    )
    seconds: float = Field(4.0, gt=0, le=120)
    shard: int = Field(1_000, ge=1, le=100_000, description="Items a file.")
    machine: MachineSpec = MachineSpec()
    performance: Performance = Performance()
    tones: Annotated[Drawn | Given, Field(discriminator="source")]
    vary: Literal["all", "thesis"] | list[str] = Field(
        "all", description="Parameters that differ; the others are `fixed`."
    )
    fixed: dict[str, int | str] = Field({}, description="Values of parameters; what is not varied has its default.")
    variants: list[dict[str, int | str]] = Field(
        [], description="Every take once with each of these changes, in one item: dry and wet, for instance."
    )
    store: Store = Store()
    gate: Gate = Gate()
    splits: Splits = Splits()

    @field_validator("vary")
    @classmethod
    def _parameters(cls, names: str | list[str]) -> str | list[str]:
        for name in names if isinstance(names, list) else []:
            _coded(name, 0)
        return names

    @field_validator("fixed", "variants")
    @classmethod
    def _values(cls, rows: Any) -> Any:
        for row in rows if isinstance(rows, list) else [rows]:
            for name, value in row.items():
                _coded(name, value)
        return rows

    @model_validator(mode="after")
    def _fits(self) -> "Spec":
        names = self.vary if isinstance(self.vary, list) else []
        if isinstance(self.vary, list) and (not names or len(set(names)) < len(names)):
            raise ValueError("vary: at least one parameter, and none twice")
        changed = {name for row in self.variants for name in row}
        if both := changed & {*self.fixed, *(THESIS if self.vary == "thesis" else names)}:
            raise ValueError(f"{', '.join(sorted(both))}: a variant changes what is varied or fixed")
        if both := set(THESIS if self.vary == "thesis" else self.vary) & set(self.fixed):  # "all": but for the fixed
            raise ValueError(f"{', '.join(sorted(both))}: varied and fixed at once")
        if self.splits.by == "bank" and isinstance(self.tones, Drawn):
            raise ValueError('splits.by: "bank" is for tones of files')
        if self.items is None and isinstance(self.tones, Drawn):
            raise ValueError("items: say how many")
        if self.seconds * self.machine.sample_rate < 4096:
            raise ValueError("seconds: an item has at least 4096 samples")
        if self.takes * self.frames * self.machine.boards > LARGEST:
            raise ValueError(f"an item of {self.takes} takes of {self.seconds:g} s is too large; make it several items")
        return self

    # --- what follows from it ---

    @property
    def varied(self) -> tuple[str, ...]:
        """The parameters that differ from item to item, in the order of p."""
        if self.vary == "thesis":
            return THESIS
        names = NAMES if self.vary == "all" else tuple(self.vary)
        apart = {*self.fixed, *(name for row in self.variants for name in row)}
        return tuple(name for name in names if name not in apart)

    @property
    def rest(self) -> dict[str, int]:
        """Values of the parameters that do not vary, where the spec has a say: tones of files keep their own."""
        plain, varied = {} if isinstance(self.tones, Given) else dict(Tone()), self.varied
        held = {name: value for name, value in plain.items() if name not in varied}
        return held | {name: _coded(name, value) for name, value in self.fixed.items()} | self.changes[0]

    @property
    def changes(self) -> list[dict[str, int]]:
        """The variants as values; one empty one where there are none."""
        return [{name: _coded(name, value) for name, value in row.items()} for row in self.variants] or [{}]

    @property
    def takes(self) -> int:
        """Sounds of an item."""
        chosen = self.performance
        return (len(chosen.cells) if chosen.choose == "all" else chosen.takes) * len(self.changes)

    @property
    def frames(self) -> int:
        """Samples of a sound."""
        return round(self.seconds * self.machine.sample_rate)

    @property
    def count(self) -> int:
        """Items of a frozen spec."""
        cells = len(self.performance.cells) if self.performance.choose == "grid" else 1
        return self.items or len(self.tones.tones) * cells

    @property
    def shards(self) -> int:
        """Files of a frozen spec."""
        return -(-self.count // self.shard)

    def to_json(self) -> str:
        """As text, the same for the same spec."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the frozen spec."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def _coded(name: str, value: int | str) -> int:
    """A parameter's value as a number. Raises ValueError for a name or value that does not exist."""
    if name not in PARAMETERS:
        near = difflib.get_close_matches(name, PARAMETERS, 3)
        raise ValueError(f"there is no parameter {name!r}{f'; did you mean {near[0]}?' if near else ''}")
    return PARAMETERS[name].parse(value)


def read_spec(
    path: str | Path,
    items: int | None = None,
    files: list[str] | None = None,
    by: str | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Spec:
    """The frozen spec of a TOML file, or of a preset's name (`PRESETS`).

    items, files (banks, or tables by their names' end), by (`splits.by`) : in place of its own.
    say : is told what is damaged in a bank and left out.  Raises SpecError.
    """
    if str(path) in PRESETS:
        name, count = PRESETS[str(path)]
        text, folder, items = (FOLDER / f"{name}.toml").read_text(), Path(), items or count
    else:
        try:
            text, folder = Path(path).read_text(), Path(path).parent
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    try:
        rows = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not TOML: {error}") from None
    if items is not None:
        rows["items"] = items
    if by is not None:
        rows["splits"] = (rows["splits"] if isinstance(rows.get("splits"), dict) else {}) | {"by": by}
    if files:
        if not isinstance(rows.get("tones"), dict) or rows["tones"].get("source") not in ("bank", "csv"):
            raise SpecError(f"{path}: its tones do not come from files, so it takes none")
        kinds = {"csv" if name.lower().endswith(".csv") else "bank" for name in files}
        if len(kinds) > 1:
            raise SpecError("files: banks or tables (.csv), not both")
        rows["tones"].update(files=files, source=kinds.pop())
        folder = Path()
    return freeze(checked(rows, str(path)), folder, str(path), say)


_KINDS = {"bank", "csv", "prior", "normal", "uniform", "int", "float", "str", "IntRange", "Range"}
"""Kinds of an entry, which pydantic names among the entries themselves."""


_TELLING = ("missing", "value_error", "extra_forbidden")
"""Kinds of errors that speak of what is in an entry, the most telling last."""


def checked(rows: dict, where: str) -> Spec:
    """A spec of parsed TOML or JSON. Raises SpecError, which names the entry."""
    try:
        return Spec.model_validate(rows)
    except ValidationError as error:
        # of an entry that may be of several kinds there is an error for each; those that speak of what is in it say more
        first = max(error.errors(), key=lambda each: _TELLING.index(each["type"]) if each["type"] in _TELLING else -1)
        named = (str(part) for part in first["loc"])
        entry = ".".join(part for part in named if part not in _KINDS and not part.startswith("function-"))
        message = first["msg"].removeprefix("Value error, ")
        raise SpecError(f"{where}: {entry + ': ' if entry else ''}{message}") from None


def freeze(spec: Spec, folder: Path, where: str = "spec", say: Callable[[str], None] = lambda sentence: None) -> Spec:
    """The spec with what is in its files in it: tones, a unit. Raises SpecError."""
    unit = spec.machine.unit
    if isinstance(unit, str) and unit != "each":
        try:
            found = json.loads(json.dumps(Unit.load(folder / unit).plain()))
        except UnitError as error:
            raise SpecError(f"{where}: machine.unit: {error}") from None
        spec = spec.model_copy(update={"machine": spec.machine.model_copy(update={"unit": found})})
    if not isinstance(spec.tones, Given) or spec.tones.tones is not None:
        return spec
    rows: list[SourceTone] = []
    for name in spec.tones.files:
        tones = _bank_tones(name, folder, say) if spec.tones.source == "bank" else _table_tones(folder / name)
        rows += [
            SourceTone(name=tone.name, origin=bank or _short(name, spec), values=_hexed(tone)) for tone, bank in tones
        ]
    known = {row.values: row for row in reversed(rows)}  # the first of those that are equal
    unique = [row for row in rows if known[row.values] is row]
    if not unique:
        raise SpecError(f"{where}: there are no tones in {', '.join(spec.tones.files)}")
    banks, shares = {row.origin for row in unique}, spec.splits.model_dump(include={"train", "validation", "test"})
    if spec.splits.by == "bank" and len(banks) < (sides := sum(share > 0 for share in shares.values())):
        raise SpecError(f"{where}: splits.by: {sides} banks are needed, one for each split; there are {len(banks)}")
    names = [_short(name, spec) for name in spec.tones.files]  # where they lay does not matter any more
    return spec.model_copy(update={"tones": spec.tones.model_copy(update={"files": names, "tones": unique})})


def _short(name: str, spec: Spec) -> str:
    """A file's name, with its folder's before it where another file has the same."""
    same = sum(Path(name).name == Path(other).name for other in spec.tones.files)
    return Path(name).name if same == 1 else f"{Path(name).parent.name}/{Path(name).name}"


def _hexed(tone: Tone) -> str:
    return bytes(tone.values().values()).hex()


def _bank_tones(name: str, folder: Path, say: Callable[[str], None]) -> list[tuple[Tone, str]]:
    """Tones, and what they say of the bank that they are from: nothing."""
    try:
        bank = factory_bank() if name == FACTORY else Bank.load(folder / name)
        for part in bank.skipped:
            say(f"{name}: {part}")
        return [(tone, "") for tone in bank.tones]
    except SysexError as error:
        raise SpecError(str(error)) from None
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot read {folder / name}: {getattr(error, 'strerror', None) or error}") from None


def _table_tones(path: Path) -> list[tuple[Tone, str]]:
    """Tones, and the bank that each is from, where a column says so."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise SpecError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    for column in rows[0] if rows else ():
        near = difflib.get_close_matches(column or "", NAMES, 1, 0.85)
        if near and column not in NAMES:
            raise SpecError(f"{path}: there is no parameter {column!r}; did you mean {near[0]}?")
    tones = []
    for line, row in enumerate(rows, 2):
        cells = {name: row[name] for name in NAMES if row.get(name) not in (None, "")}
        if not cells:
            raise SpecError(f"{path}: line {line}: no column is named as a parameter (dco1_range, ...)")
        try:
            values = {name: cell.strip().removesuffix(".0") for name, cell in cells.items()}
            tones.append((Tone(row.get("name") or "", **values), row.get("bank") or ""))
        except ValueError as error:
            raise SpecError(f"{path}: line {line}: {error}") from None
    return tones


def schema() -> str:
    """The JSON schema of specs."""
    return json.dumps(Spec.model_json_schema(), indent=1)


def preset_text(name: str) -> str:
    """A preset as TOML to start from. Raises SpecError for a name that is not in `PRESETS`."""
    if name not in PRESETS:
        raise SpecError(f"there is no preset {name!r}; choose from {', '.join(PRESETS)}")
    base, count = PRESETS[name]
    text = (FOLDER / f"{base}.toml").read_text()
    return text if count is None else text.replace("\nseed = ", f"\nitems = {count}\nseed = ", 1)
