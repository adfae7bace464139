"""A unit that was measured: its own constants, tables and errors in place of those of the parts table.

    version = 1
    name = "my board"

    [parts]                    # constants of `parts`, by name, as this unit has them
    CHORUS_RATE = [0.49, 0.86]

    [tables]                   # tables of the program, whole: 128 integers
    attack = [...]

    [lower]                    # errors of the lower board (a JX-8P's only one) or the [upper] one, one a voice
    cutoff_cents = [3.1, -8.0, 0.4, 12.5, 1.0, -2.2]

``tools/calibrate.py fit`` writes such a file from a recording; it can be written by hand as well. What it does not say
stays as it is in the nominal unit, or in the unit of the seed that stands beside it.
"""

import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jxemu import protocol
from jxemu.soundboard.parts import PARTS, value

VERSION = 1
PLACES = ("lower", "upper")
"""Boards of a machine by their place: 0 lower or only, 1 upper."""

TABLES = {"lfo_rate": 32_767, "attack": 16_384, "decay": 65_535}
"""Tables of the program that a unit may have of its own, and their largest entry; see `tables`."""

MEASURABLE = (
    "PULSE_DUTY", "NOISE_LOWPASS", "NOISE_LEVEL", "THERMAL_NOISE", "MIX_DRIVE", "VCF_BASE", "VCF_COUNTS_PER_OCTAVE",
    "Q_OPEN", "Q_CLOSED", "VCA_LEVEL_RANGE", "OUTPUT_GAIN", "HPF_HZ", "CHORUS_RATE", "CHORUS_DELAY", "CHORUS_WET",
    "LFO_SLOW", "LFO_FAST", "ATTACK_FAST", "ATTACK_SLOW", "DECAY_FAST_LOOPS", "DECAY_SLOW_LOOPS",
)  # fmt: skip
"""Constants that a unit may have of its own: what a recording of it can say something about. All are above 0."""


@dataclass(frozen=True)
class Error:
    """A deviation from nominal that each unit has its own of.

    purpose : keys its random numbers.  sigma : of its distribution, in `unit`.  count : numbers of a board.
    """

    purpose: str
    sigma: float
    unit: str
    count: int = protocol.VOICES


ERRORS = {
    "ramp_1": Error("ramp capacitor 0", value("CAP_TOLERANCE") / 2, "share of DCO1's capacitor"),
    "ramp_2": Error("ramp capacitor 1", value("CAP_TOLERANCE") / 2, "share of DCO2's capacitor"),
    "mixer_1": Error("mixer level 1", value("MIX_TOLERANCE"), "share of DCO1's level"),
    "mixer_2": Error("mixer level 2", value("MIX_TOLERANCE"), "share of DCO2's level"),
    "cutoff_cents": Error("cutoff trimmer", value("VCF_TRIM_CENTS"), "cent"),
    "cutoff_scale": Error("cutoff scale", value("VCF_SCALE_TOLERANCE"), "share of the octave"),
    "gain_db": Error("voice gain", value("VCA_TOLERANCE_DB"), "dB"),
    "chorus_rate": Error("chorus rate", value("CHORUS_RATE_TOLERANCE"), "share of the rate", 1),
    "chorus_delay": Error("chorus delay", value("CHORUS_DELAY_TOLERANCE"), "share of the delay", 1),
}
"""By the name that they have in a unit's file."""


LARGEST = {"cent": 6000.0, "dB": 60.0}
"""Errors beyond which no board is one; those that are shares go to nine times."""

FARTHEST = 100.0
"""Times the nominal value above which no constant of a board is."""


LIMITS = {"PULSE_DUTY": (0.01, 0.99), "HPF_HZ": (1e-12, 15_000.0), "VCF_COUNTS_PER_OCTAVE": (300.0, math.inf)}
"""Least and greatest that the model's circuits run on, of constants where `FARTHEST` does not see to it."""


RISING = ("HPF_HZ", "CHORUS_DELAY")
"""Constants whose numbers go from the least to the most."""


class UnitError(ValueError):
    """A file that describes no unit; the message names it and the entry."""


@dataclass(frozen=True)
class Unit:
    """What was measured of a unit: rows of constants, tables and, by place, errors. Hashable, as `Circuit` is."""

    name: str = ""
    parts: tuple[tuple[str, float | tuple[float, ...]], ...] = ()
    tables: tuple[tuple[str, tuple[int, ...]], ...] = ()
    errors: tuple[tuple[str, str, tuple[float, ...]], ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> "Unit":
        """The unit of a TOML file. Raises UnitError, which names the file and the entry."""
        try:
            return cls.of(tomllib.loads(Path(path).read_text()), str(path))
        except OSError as error:
            raise UnitError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UnitError(f"cannot read {path}: it is not text") from None
        except tomllib.TOMLDecodeError as error:
            raise UnitError(f"{path}: not TOML: {error}") from None

    @classmethod
    def of(cls, rows: dict, where: str = "unit") -> "Unit":
        """The unit of such a file's entries. Raises UnitError."""
        known = ("version", "name", "parts", "tables", *PLACES)
        for name, entry in rows.items():
            _known(name, known, where)
            if name in known[2:] and not isinstance(entry, dict):
                raise UnitError(f"{where}: [{name}] must be a table of entries")
        if rows.get("version") != VERSION:
            raise UnitError(f"{where}: version is {rows.get('version')!r}; this jxemu reads units of version {VERSION}")
        parts = []
        for name, entry in rows.get("parts", {}).items():
            _known(name, MEASURABLE, f"{where}: parts")
            nominal = value(name)
            size = len(nominal) if isinstance(nominal, tuple) else None
            numbers = _numbers(entry, size, 1e-12, f"{where}: parts.{name}")
            _near(name, numbers, nominal, f"{where}: parts.{name}")
            parts.append((name, numbers))
        tables = []
        for name, entry in rows.get("tables", {}).items():
            _known(name, TABLES, f"{where}: tables")
            numbers = _numbers(entry, 128, 1, f"{where}: tables.{name}")
            if any(number != int(number) or number > TABLES[name] for number in numbers):
                raise UnitError(f"{where}: tables.{name}: entries are integers, 1..{TABLES[name]}")
            tables.append((name, tuple(map(int, numbers))))
        errors = []
        for place in PLACES:
            for name, entry in rows.get(place, {}).items():
                _known(name, ERRORS, f"{where}: {place}")
                lowest = -math.inf if ERRORS[name].unit in ("cent", "dB") else -0.9
                numbers = _numbers(entry, ERRORS[name].count, lowest, f"{where}: {place}.{name}")
                if max(map(abs, numbers)) > (most := LARGEST.get(ERRORS[name].unit, 9.0)):
                    raise UnitError(
                        f"{where}: {place}.{name}: {max(numbers, key=abs):g} is too far from 0, at most {most:g}"
                    )
                errors.append((place, name, numbers))
        return cls(str(rows.get("name", "")), tuple(parts), tuple(tables), tuple(errors))

    def plain(self) -> dict:
        """Its entries, as `of` takes them."""
        rows: dict = {"version": VERSION, "name": self.name, "parts": dict(self.parts), "tables": dict(self.tables)}
        for place, name, numbers in self.errors:
            rows.setdefault(place, {})[name] = numbers
        return rows

    def toml(self) -> str:
        """As a file, with what each number is."""
        lines = [f"version = {VERSION}", f'name = "{_escaped(self.name)}"', "", "[parts]"]
        lines += [f"{name} = {_text(entry)}  # {PARTS[name].unit}: {PARTS[name].about}" for name, entry in self.parts]
        lines += ["", "[tables]"]
        for name, entry in self.tables:
            lines += [f"{name} = [", *(f"    {_text(entry[n : n + 16])[1:-1]}," for n in range(0, 128, 16)), "]"]
        for place in PLACES:
            rows = [(name, numbers) for there, name, numbers in self.errors if there == place]
            lines += ["", f"[{place}]"] if rows else []
            lines += [f"{name} = {_text(numbers)}  # {ERRORS[name].unit}" for name, numbers in rows]
        return "\n".join(lines) + "\n"


NOMINAL = Unit()
"""A unit of which nothing was measured."""


def _known(name: str, names: tuple | dict, where: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        there = f"did you mean {near[0]}" if near else f"there are {', '.join(names)}"
        raise UnitError(f"{where}: there is no {name!r}; {there}")


def _numbers(entry: object, size: int | None, lowest: float, where: str) -> float | tuple[float, ...]:
    """A number, or `size` of them, none below `lowest`. Raises UnitError."""
    rows = entry if isinstance(entry, list | tuple) else [entry]
    good = all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) and x >= lowest for x in rows
    )
    if not good or len(rows) != (size or 1) or isinstance(entry, list | tuple) != (size is not None):
        what = "a number" if size is None else f"a list of {size} numbers" if size > 1 else "a list of one number"
        raise UnitError(f"{where}: must be {what}{'' if lowest == -math.inf else f', each at least {lowest:g}'}")
    return rows[0] if size is None else tuple(rows)


def _near(name: str, numbers: float | tuple[float, ...], nominal: float | tuple[float, ...], where: str) -> None:
    """Refuse numbers far above nominal ones, and rows of `RISING` that do not."""
    rows, beside = (np.atleast_1d(np.array(each, float)) for each in (numbers, nominal))
    for row, there in zip(rows, beside, strict=True):
        if row > FARTHEST * max(there, 1e-9):
            raise UnitError(f"{where}: {row:g} is more than {FARTHEST:g} times the nominal {there:g}")
    least, most = LIMITS.get(name, (0.0, math.inf))
    if rows.min() < least or rows.max() > most:
        raise UnitError(f"{where}: must be from {least:g} to {most:g}")
    if name in RISING and not (np.diff(rows) > 0).all():
        raise UnitError(f"{where}: each number must be larger than the one before")


def _text(entry: float | tuple) -> str:
    return f"[{', '.join(map(_text, entry))}]" if isinstance(entry, tuple) else f"{entry:.9g}"


def _escaped(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).replace("\\", "\\\\").replace('"', '\\"')
