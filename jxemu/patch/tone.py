"""A tone: ten characters of name and 44 parameters."""

import difflib
from collections.abc import Iterator

from jxemu import protocol
from jxemu.patch.parameter import PARAMETERS

NAME_LENGTH = 10


class Tone:
    """One sound of the machine, immutable; parameters read as attributes.

    ``Tone(name="SAW", dco1_wave="saw", vcf_freq=80)``: names are those of `PARAMETERS`, values
    0..127, or for switches the code or the label. What is left out has a plain default: one open
    saw at 8'. Raises TypeError for an unknown name (near matches suggested), ValueError for a value
    out of range.
    """

    __slots__ = ("_values", "name")

    def __init__(self, name: str = "", **params: int | str):
        for key in params:
            if key not in PARAMETERS:
                near = difflib.get_close_matches(key, PARAMETERS, 3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise TypeError(f"a tone has no parameter {key!r}{hint}")
        object.__setattr__(self, "name", str(name)[:NAME_LENGTH])
        values = {key: row.parse(params.get(key, row.default)) for key, row in PARAMETERS.items()}
        object.__setattr__(self, "_values", values)

    def __getattr__(self, key: str) -> int:
        try:
            return object.__getattribute__(self, "_values")[key]
        except KeyError:
            raise AttributeError(f"a tone has no parameter {key!r}") from None

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError("a tone does not change; make another with tone.replace(...)")

    def __reduce__(self):
        return _make, (self.name, self.values())

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._values.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tone) and self.name == other.name and self._values == other._values

    def __hash__(self) -> int:
        return hash((self.name, *self._values.values()))

    def __repr__(self) -> str:
        changed = [f"{k}={PARAMETERS[k].labels[v]!r}" if PARAMETERS[k].labels else f"{k}={v}"
                   for k, v in self if v != PARAMETERS[k].default]  # fmt: skip
        return f"Tone({', '.join([f'name={self.name!r}', *changed])})"

    def values(self) -> dict[str, int]:
        """All 44 values by name."""
        return dict(self._values)

    def replace(self, name: str | None = None, **params: int | str) -> "Tone":
        """The same tone with some parameters changed."""
        return Tone(self.name if name is None else name, **{**self._values, **params})

    def wire(self) -> bytes:
        """The 44 parameter pairs as they cross the wire, VCA level last so that nothing sounds half-set."""
        rows = sorted(PARAMETERS.values(), key=lambda row: (row.byte == protocol.VCA_LEVEL, row.byte))
        return b"".join(protocol.parameter(row.byte, row.encode(self._values[row.name])) for row in rows)


def _make(name: str, values: dict[str, int]) -> Tone:
    return Tone(name, **values)
