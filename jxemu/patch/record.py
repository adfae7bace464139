"""What a tone, a patch and a patch chain have in common: a name and settings out of one table."""

import difflib
import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self


@dataclass(frozen=True)
class Setting:
    """One setting: attribute name, plain default, range, labels of a switch (its codes are 0, 1, ..)."""

    name: str
    default: int
    largest: int = 127
    smallest: int = 0
    labels: tuple[str, ...] = ()

    @cached_property
    def top(self) -> int:
        """Largest value."""
        return len(self.labels) - 1 if self.labels else self.largest

    def parse(self, value: int | str) -> int:
        """A number or a label as a value. Raises ValueError naming the setting and its choices."""
        if type(value) is int and self.smallest <= value <= self.top:  # most of a million tones
            return value
        if isinstance(value, str):
            text = value.strip().lower()
            if text in self.labels:
                return self.labels.index(text)
            if not (text.isascii() and text.lstrip("+-").isdecimal()):
                raise ValueError(f"{self.name} cannot be {value!r}; {self._choices()}")
            value = int(text)
        if not math.isfinite(value) or int(value) != value or not self.smallest <= value <= self.top:
            raise ValueError(f"{self.name} cannot be {value!r}; {self._choices()}")
        return int(value)

    def clip(self, value: int) -> int:
        """The nearest value there is, for bytes that hold one out of range."""
        return min(max(value, self.smallest), self.top)

    def plain(self, value: int) -> int | str:
        """The value as a person writes it: a label or a number."""
        return self.labels[value] if self.labels else value

    def _choices(self) -> str:
        if not self.labels:
            return f"it goes from {self.smallest} to {self.largest}"
        return "choose one of " + ", ".join(f"{label} ({code})" for code, label in enumerate(self.labels))


class Record:
    """Immutable: a name and the settings of `TABLE`, which read as attributes.

    Values are numbers, or for switches the code or the label; what is left out has its plain
    default. Raises TypeError for an unknown setting (near matches suggested), ValueError for a
    value out of range. Names are ASCII, as the instruments' are (`plain_name`). `stored` are the bytes it was read from, if it was: they keep what no
    setting holds (unused bytes, low bits of switches), so that writing gives the same bytes back.
    Records with the same name and settings are equal, whatever is stored.
    """

    __slots__ = ("_values", "name", "stored")
    KIND: ClassVar[str] = "record"
    TABLE: ClassVar[Mapping[str, Setting]] = {}
    NAME_LENGTH: ClassVar[int] = 10
    STORED: ClassVar[tuple[int, ...]] = ()
    """Lengths of the bytes it is stored in."""

    def __init__(self, name: str = "", *, stored: bytes | None = None, **params: int | str):
        for key in params:
            if key not in self.TABLE:
                near = difflib.get_close_matches(key, self.TABLE, 3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise TypeError(f"a {self.KIND} has no parameter {key!r}{hint}")
        object.__setattr__(self, "name", plain_name(str(name))[: self.NAME_LENGTH].rstrip())
        object.__setattr__(self, "stored", stored)
        values = {key: row.parse(params[key]) if key in params else row.default for key, row in self.TABLE.items()}
        object.__setattr__(self, "_values", values)

    def __getattr__(self, key: str) -> int:
        try:
            return object.__getattribute__(self, "_values")[key]
        except KeyError:
            raise AttributeError(f"a {self.KIND} has no parameter {key!r}") from None

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"a {self.KIND} does not change; make another with {self.KIND}.replace(...)")

    def __reduce__(self):
        return _make, (type(self), self.name, self.stored, self.values())

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._values.items())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.name == other.name and self._values == other._values

    def __hash__(self) -> int:
        return hash((self.name, *self._values.values()))

    def __repr__(self) -> str:
        changed = [
            f"{key}={value!r}" for key, value in self.plain().items() if self._values[key] != self.TABLE[key].default
        ]
        return f"{type(self).__name__}({', '.join([f'name={self.name!r}', *changed])})"

    def values(self) -> dict[str, int]:
        """All values by name."""
        return dict(self._values)

    def plain(self) -> dict[str, int | str]:
        """All values by name as a person writes them: switches by their labels."""
        return {key: self.TABLE[key].plain(value) for key, value in self._values.items()}

    def replace(self, name: str | None = None, **params: int | str) -> Self:
        """The same with some settings changed."""
        return type(self)(self.name if name is None else name, stored=self.stored, **{**self._values, **params})


def plain_name(name: str) -> str:
    """A name as an instrument can show it: letters without their accents, question marks for what is not ASCII even so."""
    if name.isascii() and name.isprintable():
        return name
    letters = (sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    return "".join(sign if " " <= sign <= "~" else "?" for sign in letters)


def _make(kind: type[Record], name: str, stored: bytes | None, values: dict[str, int]) -> Record:
    return kind(name, stored=stored, **values)
