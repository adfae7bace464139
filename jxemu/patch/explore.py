"""New tones from old: at random as real ones are, beside a given tone, or between two. Everything follows from its seed.

The prior is a chain over the 44 parameters, switches first. Each has a base of its own, a smoothed
histogram, which those before it tilt exponentially:

    chance(v | earlier) ~ base(v) exp(t(v) . sum over parents of W t(parent's value))

where t is one-hot for a switch, and for a value (is it 0, is it 127, its place, its distance from
the middle squared), less its mean over the base. Figures: `prior.toml`, fitted by
`tools/fit_prior.py`.
"""

import math
import random
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone

SECTIONS = {
    "dco1": ("dco1_range", "dco1_wave", "dco1_tune", "dco1_lfo", "dco1_env"),
    "dco2": ("dco2_range", "dco2_wave", "dco2_tune", "dco2_fine", "dco2_lfo", "dco2_env"),
    "dco": ("dco_xmod", "dco_dyn", "dco_mode"),
    "mixer": ("mix_dco1", "mix_dco2", "mix_env", "mix_dyn", "mix_mode"),
    "hpf": ("hpf",),
    "vcf": ("vcf_freq", "vcf_res", "vcf_lfo", "vcf_env", "vcf_key", "vcf_dyn", "vcf_mode"),
    "vca": ("vca_level", "vca_dyn", "vca_mode"),
    "chorus": ("chorus",),
    "lfo": ("lfo_wave", "lfo_delay", "lfo_rate"),
    "env1": ("env1_a", "env1_d", "env1_s", "env1_r", "env1_key"),
    "env2": ("env2_a", "env2_d", "env2_s", "env2_r", "env2_key"),
}
"""Panel sections and their parameters: all 44, each once."""

BASE_UNIT = 1e-5
TILT_UNIT = 0.02
FLOOR = 0.02
"""Part of each chance that is the plain base's, so that no tone is ever out of the question."""


class Uniform(Protocol):
    """Draws from 0 up to 1: `random.Random` or a numpy generator."""

    def random(self) -> float:
        """The next draw."""
        ...


def statistics(name: str) -> np.ndarray:
    """What the chain sees of each value of a parameter [shape=(top + 1, 2..4)], 0..1."""
    row = PARAMETERS[name]
    if row.labels:
        return np.eye(row.top + 1)
    v = np.arange(row.top + 1)
    return np.stack([v == 0, v == row.top, v / row.top, (2 * v / row.top - 1) ** 2], 1).astype(float)


class Prior:
    """How real tones are distributed: a chance, above 0, for each of the legal tones; all sum to 1.

    `table` gives for each parameter, in the order of the chain, its `base` (units of 1e-5) and
    its `tilt` by earlier ones (units of 0.02), as `prior.toml` does. Raises ValueError unless it has
    all 44, each after its parents.
    """

    def __init__(self, table: Mapping[str, Mapping]):
        if set(table) != set(PARAMETERS):
            raise ValueError(f"a prior has all {len(PARAMETERS)} parameters; {sorted(set(table) ^ set(PARAMETERS))}")
        self._base, self._statistics, self._pushes = {}, {}, {}
        for name, row in table.items():
            if late := [parent for parent in row.get("tilt", {}) if parent not in self._base]:
                raise ValueError(f"{name} is tilted by {late[0]}, which does not come before it in the prior")
            base = np.array(row["base"], float)
            self._base[name] = base / base.sum()
            self._statistics[name] = statistics(name) - self._base[name] @ statistics(name)
            tilts = {key: np.array(w) * TILT_UNIT for key, w in row.get("tilt", {}).items()}
            pushes = [self._statistics[key] @ w for key, w in tilts.items()]  # of each value of a parent
            begins = np.cumsum([0, *map(len, pushes)])[:-1]
            self._pushes[name] = tuple(tilts), begins, np.concatenate(pushes) if pushes else None

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Prior":
        """The prior of a file, or the one that comes with jxemu. Raises OSError or ValueError."""
        return _own_prior() if path is None else cls(tomllib.loads(Path(path).read_text()))

    def chances(self, name: str, earlier: Mapping[str, int | np.ndarray]) -> np.ndarray:
        """Chance of each value of a parameter [shape=(..., top + 1)], given the values before it in the chain [shape=(...)].

        Each row is worked out by itself: it comes out the same beside whatever others.
        """
        base, (parents, begins, pushes) = self._base[name], self._pushes[name]
        if not parents:
            return base
        tilt = pushes[np.stack([earlier[key] for key in parents], -1) + begins].sum(-2)
        tilted = base * np.exp(sum(tilt[..., k, None] * row for k, row in enumerate(self._statistics[name].T)))
        return (1 - FLOOR) * tilted / tilted.sum(-1, keepdims=True) + FLOOR * base

    def log_probability(self, tone: Tone) -> float:
        """Logarithm of the tone's chance among all legal tones, in nats, below 0; the name is not looked at."""
        values = tone.values()
        return math.fsum(math.log(self.chances(name, values)[values[name]]) for name in self._base)

    def sample(self, rng: Uniform, given: Mapping[str, int] | None = None) -> dict[str, int]:
        """Values of the 44 parameters as in a real tone, one draw of `rng` each.

        Those `given` stay as they are: what comes later in the chain is drawn to fit them.
        """
        row = self.draw(np.array([[rng.random() for _ in self._base]]), given)[0]
        return dict(zip(PARAMETERS, row.tolist(), strict=True))

    def draw(self, uniform: np.ndarray, given: Mapping[str, int] | None = None) -> np.ndarray:
        """As `sample`, many at once: values [shape=(n, 44)] in the order of `PARAMETERS` from draws 0..1 [shape=(n, 44)].

        A row depends on its own draws alone.
        """
        values = {}
        for name, draws in zip(self._base, uniform.T, strict=True):
            cumulative = np.cumsum(self.chances(name, values), axis=-1)
            drawn = (cumulative <= (draws * cumulative[..., -1])[:, None]).sum(-1)
            values[name] = np.minimum(drawn, PARAMETERS[name].top)
            if given and name in given:
                values[name] = np.full(len(draws), given[name])
        return np.stack([values[name] for name in PARAMETERS], 1)


@cache
def _own_prior() -> Prior:
    return Prior(tomllib.loads(Path(__file__).with_name("prior.toml").read_text()))


def random_tone(seed: int, prior: Prior | None = None, name: str | None = None) -> Tone:
    """A tone drawn from the prior; the same for the same seed. Without a `name` it gets one of three syllables."""
    return random_tones([seed], prior, name)[0]


def random_tones(seeds: Iterable[int], prior: Prior | None = None, name: str | None = None) -> list[Tone]:
    """`random_tone` of each seed, drawn together: hundreds take little longer than one."""
    draws = [random.Random(seed) for seed in seeds]
    if not draws:
        return []
    rows = (prior or Prior.load()).draw(np.array([[rng.random() for _ in PARAMETERS] for rng in draws]))
    names = [name or "".join(_pick(rng, letters) for letters in ("BDFGKLMNPRSTVZ", "AEIOU") * 3) for rng in draws]
    return [
        Tone(called, **dict(zip(PARAMETERS, row, strict=True)))
        for called, row in zip(names, rows.tolist(), strict=True)
    ]


def mutate(
    tone: Tone,
    seed: int,
    amount: float = 0.2,
    sections: Iterable[str] | None = None,
    prior: Prior | None = None,
) -> Tone:
    """The tone, moved towards another that is drawn from the prior around the sections left alone.

    Values go `amount` of the way, 0..1, switches change over with that chance: 0 gives the tone
    back, 1 the other one. With one seed a larger amount takes no parameter less far. Raises
    ValueError for an amount out of range or an unknown section.
    """
    amount = _fraction("amount", amount)
    values = tone.values()
    free = [name for section in _sections(sections) for name in SECTIONS[section]]
    rng = random.Random(f"mutate {seed}")  # not the draws that random_tone makes of this seed
    other = (prior or Prior.load()).sample(rng, {name: v for name, v in values.items() if name not in free})
    changed = {}
    for name in free:
        way = float(rng.random() < amount) if PARAMETERS[name].labels else amount
        changed[name] = _between(values[name], other[name], way)
    return tone.replace(**changed)


def morph(a: Tone, b: Tone, x: float | Mapping[str, float], sections: Iterable[str] | None = None) -> Tone:
    """The tone at the place `x` on the way from `a` (0) to `b` (1).

    Values move in a straight line, rounded, halves up; switches change over at 0.5. Only the given
    sections move, all by default; or `x` gives each section its own place, and those it leaves out
    stay a's. The name is b's once every section is at 0.5 or beyond. Raises ValueError for a place
    out of range, an unknown section, or sections given twice.
    """
    if isinstance(x, Mapping):
        if sections is not None:
            raise ValueError("morph takes sections either as a mapping x or as sections, not both")
        places = {section: x[section] for section in _sections(x)}
    else:
        places = dict.fromkeys(_sections(sections), x)
    places = dict.fromkeys(SECTIONS, 0.0) | {section: _fraction("x", place) for section, place in places.items()}
    name = b.name if min(places.values()) >= 0.5 else a.name
    before, after, values = a.values(), b.values(), {}
    for section, place in places.items():
        for key in SECTIONS[section]:
            way = float(place >= 0.5) if PARAMETERS[key].labels else place
            values[key] = _between(before[key], after[key], way)
    return Tone(name, **values)


def _pick(rng: Uniform, letters: str) -> str:
    return letters[int(rng.random() * len(letters))]


def _between(a: int, b: int, x: float) -> int:
    return math.floor(a + x * (b - a) + 0.5)


def _fraction(what: str, x: float) -> float:
    if not 0 <= x <= 1:
        raise ValueError(f"{what} cannot be {x!r}; it goes from 0 to 1")
    return float(x)


def _sections(sections: Iterable[str] | None) -> list[str]:
    sections = list(SECTIONS) if sections is None else [sections] if isinstance(sections, str) else list(sections)
    for section in sections:
        if section not in SECTIONS:
            raise ValueError(f"there is no section {section!r}; choose from {', '.join(SECTIONS)}")
    return sections
