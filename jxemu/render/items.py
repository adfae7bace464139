"""What item i of a spec is: its tones, takes and unit. A pure function of (spec, index, attempt).

Randomness is counter-based (Philox), keyed by the spec's seed and a purpose, counted by index and
attempt: no draw depends on another item, on order or on how many are drawn at once.
"""

import collections
import functools
import hashlib
import math
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jxemu.machine import CUTOFF_STEPS_PER_SEMITONE, FULL_KEY_FOLLOW, TUNE_SEMITONES
from jxemu.patch.explore import Prior
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone
from jxemu.render.offline import Item
from jxemu.render.spec import NAMES, SPLITS, TOPS, Given, IntRange, Performance, Range, Spec, SpecError, choices

Draw = tuple[int, int]
"""``(index, attempt)``: an item is drawn again, with the next attempt, while it is silent."""

_UNITS = 1 << 31


_WAVES, _CHORUS, _CUTOFF = (
    [NAMES.index(name) for name in names] for names in (("dco1_wave", "dco2_wave"), ("chorus",), ("vcf_freq",))
)
_NOISE = PARAMETERS["dco1_wave"].labels.index("noise")


@dataclass(frozen=True)
class Plan:
    """An item before it is rendered.

    values : uint8 (boards, 44), in the order of `PARAMETERS`; board 0 plays the upper or only tone.
    performance : float32 (takes, keys, 4): note, velocity, start and hold in seconds; NaN for no key.
    name, origin : of the tone, where it comes from a file.  family : its near-duplicates have the same.
    changes : the spec's variants; take n has number n modulo their count, and `values` are those of take 0.
    """

    index: int
    attempt: int
    values: np.ndarray
    performance: np.ndarray
    changes: tuple[dict[str, int], ...]
    unit: int
    name: str
    origin: str
    family: int
    split: str

    @property
    def needs(self) -> tuple[bool, bool, int]:
        """What its sound takes, to be put in order: noise, chorus, how far the filter is open."""
        noise, chorus, cutoff = (self.values[:, columns] for columns in (_WAVES, _CHORUS, _CUTOFF))
        return bool((noise == _NOISE).any()), bool(chorus.any()), int(cutoff.max())

    def tones(self, take: int = 0) -> list[Tone]:
        """The tones of a take, upper or only first."""
        changed = self.changes[take % len(self.changes)]
        name = self.name or f"N{self.index}"
        return [Tone(name, **(dict(zip(NAMES, row, strict=True)) | changed)) for row in self.values.tolist()]

    def items(self) -> list[Item]:
        """What each take is for `render_batch`."""
        made = []
        for take, keys in enumerate(self.performance.astype(float).tolist()):
            upper, *lower = self.tones(take)
            notes = [(int(n), int(v), start, hold) for n, v, start, hold in keys if not math.isnan(n)]
            made.append(Item(upper, notes, (), self.unit, lower[0] if lower else None))
        return made


class Items:
    """The items of a frozen spec."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._given = spec.tones if isinstance(spec.tones, Given) else None
        self._table = self._given.table if self._given else np.zeros((0, len(NAMES)), np.uint8)
        for name, value in spec.rest.items():  # before families: what is fixed does not tell tones apart
            self._table[:, NAMES.index(name)] = value
        self._family = families(self._table, spec.splits.alike)
        if spec.splits.by == "bank":
            self._side = self._sides_of_banks()
        else:
            members: dict[int, bytes] = {}
            for family, row in zip(self._family, self._table, strict=True):
                members[family] = min(members.get(family, row.tobytes()), row.tobytes())
            self._side = {family: self._split_of(first) for family, first in members.items()}
        self._prior = Prior.load() if spec.tones.source == "prior" else None

    def __len__(self) -> int:
        return self.spec.count

    @property
    def redrawn(self) -> bool:
        """Whether another attempt at an item can be another sound."""
        return self._given is None or self._given.choose == "random" or self._given.change > 0

    def plans(self, draws: Sequence[Draw]) -> list[Plan]:
        """The plans of some of them."""
        spec, changes, made = self.spec, tuple(self.spec.changes), []
        values, picked = self._values(draws)
        for (index, attempt), rows, tone in zip(draws, values, picked, strict=True):
            what = rows.tobytes()
            family = _digest(what) >> 1 if tone is None else self._family[tone]
            split = self._split_of(what) if tone is None else self._side[family]
            source = None if tone is None else self._given.tones[tone]
            made.append(
                Plan(
                    index, attempt, rows, _performance(spec, index, attempt), changes, _unit(spec, index),
                    source.name if source else "", source.origin if source else "", family, split,
                )
            )  # fmt: skip
        return made

    def _split_of(self, values: bytes) -> str:
        """train, validation or test, by a hash of the seed and of a family's first values."""
        splits, place = self.spec.splits, _digest(b"%d " % self.spec.seed + values) / 2**64
        if place < splits.train:
            return SPLITS[0]
        return SPLITS[1] if place < splits.train + splits.validation else SPLITS[2]

    def _sides_of_banks(self) -> dict[int, str]:
        """Of each family: whole banks, in an order that the seed says, are tested and validated with until their shares are full.

        A bank at least is on each side that has a share, and the rest is learned from. Raises SpecError if there are too few:
        banks whose tones are all akin to another's count as one with it.
        """
        spec, banks = self.spec, {family: self._given.tones[family].origin for family in self._family}
        counts = collections.Counter(banks[family] for family in self._family)
        left = sorted(counts, key=lambda bank: _digest(b"%d " % spec.seed + bank.encode()))
        shares = {split: getattr(spec.splits, split) for split in SPLITS if getattr(spec.splits, split) > 0}
        if len(left) < len(shares):
            raise SpecError(
                f"splits.by: {len(shares)} banks are needed, one for each split; there are {len(left)} that are not akin"
            )
        sides, others = {}, len(shares)
        for split in SPLITS[:0:-1]:
            wanted, others = shares.get(split, 0) * len(self._family), others - (split in shares)
            while wanted > 0 and len(left) > others:
                sides[left[0]] = split
                wanted -= counts[left.pop(0)]
        return {family: sides.get(bank, SPLITS[0]) for family, bank in banks.items()}

    def _values(self, draws: Sequence[Draw]) -> tuple[np.ndarray, list[int | None]]:
        """Values uint8 (items, boards, 44), and which tone of the files each upper tone is, if one."""
        spec, boards = self.spec, self.spec.machine.boards
        randoms = [_generator(spec, "tone", *draw) for draw in draws]
        picked: list[int | None] = [None] * len(draws)
        if self._given:
            rows, picked = zip(*map(self._from_files, draws, randoms), strict=True)
            values = np.concatenate(rows)
        elif self._prior:
            values = self._prior.draw(np.concatenate([rng.random((boards, len(NAMES))) for rng in randoms]), spec.rest)
        elif spec.tones.source == "uniform":
            values = np.floor(np.concatenate([rng.random((boards, len(NAMES))) for rng in randoms]) * (TOPS + 1))
        else:
            places = [NAMES.index(name) for name in spec.varied]
            mean, factor = _normal(spec.varied)
            normal = np.concatenate([rng.standard_normal((boards, len(places))) for rng in randoms])
            p = np.clip(mean + (normal[:, None, :] * factor).sum(-1), 0, 1)
            values = np.zeros((len(normal), len(NAMES)))
            values[:, places] = np.floor(p * TOPS[places] + 0.5)
        for name, value in spec.rest.items():
            values[:, NAMES.index(name)] = value
        return values.astype(np.uint8).reshape(len(draws), boards, -1), list(picked)

    def _from_files(self, draw: Draw, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Values (boards, 44) out of the files, changed where the spec says so, and which tone the upper one was."""
        spec, given = self.spec, self._given
        cells = len(spec.performance.cells) if spec.performance.choose == "grid" else 1
        chance = rng.random()
        tone = int(chance * len(given.tones)) if given.choose == "random" else draw[0] // cells % len(given.tones)
        picked = [tone]
        if spec.machine.boards == 2:
            fellows = self._same_side[self._side[self._family[tone]]]
            picked.append(fellows[int(rng.random() * len(fellows))])
        rows = self._table[picked].astype(float)
        moved = (rng.random(rows.shape) < given.change) & np.isin(NAMES, spec.varied)
        near = np.clip(np.floor(rows + rng.standard_normal(rows.shape) * given.spread + 0.5), 0, TOPS)
        other = np.floor(rng.random(rows.shape) * (TOPS + 1))
        return np.where(moved, np.where(TOPS == 127, near, other), rows), tone

    @functools.cached_property
    def _same_side(self) -> dict[str, list[int]]:
        """Tones of the files by split, so that both halves of a patch are of one."""
        sides: dict[str, list[int]] = {split: [] for split in SPLITS}
        for tone, family in enumerate(self._family):
            sides[self._side[family]].append(tone)
        return sides


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def _generator(spec: Spec, purpose: str, index: int, attempt: int = 0) -> np.random.Generator:
    key = np.array([spec.seed, zlib.crc32(purpose.encode())], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, attempt, index]))


# --- tones ---------------------------------------------------------------------------------------


def families(table: np.ndarray, alike: int) -> list[int]:
    """The family of each tone [shape=(tones, 44)]: the first of those that chains of `alike` equal parameters join."""
    first = list(range(len(table)))

    def root(n: int) -> int:
        while first[n] != n:
            n = first[n]
        return n

    for n in range(1, len(table)):
        for m in np.flatnonzero((table[:n] == table[n]).sum(1) >= alike).tolist():
            a, b = root(m), root(n)
            first[max(a, b)] = min(a, b)
    return [root(n) for n in range(len(table))]


@dataclass(frozen=True)
class RealTones:
    """Statistics of 386 real tones: mean (44,) and covariance (44, 44) of values on 0..1; smoothed histograms by name."""

    mean: np.ndarray
    covariance: np.ndarray
    histograms: dict[str, np.ndarray]


@functools.cache
def real_tones() -> RealTones:
    """Figures fitted by tools/fit_prior.py."""
    rows = tomllib.loads(Path(__file__).with_name("real_tones.toml").read_text())
    lower = np.zeros((len(NAMES), len(NAMES)))
    for n, name in enumerate(NAMES):
        lower[n, : n + 1] = rows["covariance"][name]
    mean = np.array([rows["mean"][name] for name in NAMES])
    histograms = {name: np.array(rows["histogram"][name]) / 1e4 for name in NAMES}
    return RealTones(mean, lower + np.tril(lower, -1).T, histograms)


@functools.cache
def _normal(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and lower factor (Cholesky) for some parameters; in Python's own arithmetic, the same everywhere."""
    places = [NAMES.index(name) for name in names]
    wanted = real_tones().covariance[np.ix_(places, places)].tolist()
    factor = [[0.0] * len(names) for _ in names]
    for i in range(len(names)):
        for j in range(i + 1):
            rest = wanted[i][j] - math.fsum(factor[i][k] * factor[j][k] for k in range(j))
            factor[i][j] = math.sqrt(max(rest, 1e-9)) if i == j else rest / factor[j][j]
    return real_tones().mean[places], np.array(factor)


# --- what is heard -------------------------------------------------------------------------------

_TUNES = {n: [NAMES.index(f"dco{n}_{what}") for what in ("range", "tune")] for n in (1, 2)}
_STEP = {semitones: int(np.median(np.flatnonzero(semitones == TUNE_SEMITONES))) for semitones in range(-12, 13)}
"""A value of the coarse tune for each of its semitones."""


def values_of(p: np.ndarray, names: Sequence[str], rest: np.ndarray) -> np.ndarray:
    """The 44 values uint8 (items, 44) of p (items, parameters), the others as in `rest` (44,) or (items, 44)."""
    values = np.broadcast_to(rest, (len(p), len(NAMES))).copy()
    there = [n for n, name in enumerate(names) if name in NAMES]
    places = [NAMES.index(names[n]) for n in there]
    values[:, places] = np.rint(np.clip(p[:, there], 0, 1) * TOPS[places])
    return values.astype(np.uint8)


def sounding(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tones (items, 44) with the louder DCO at the key's own pitch: a recording tells a pitch, not a key.

    Also by how many semitones it was apart (items,), and whether all else is as it was (items,): the other DCO stays
    as many semitones from it as it was, and the cutoff where key follow had it, as far as their ranges go.
    """
    values = values.astype(int)
    louder = np.where(values[:, NAMES.index("mix_dco1")] >= values[:, NAMES.index("mix_dco2")], 1, 2)
    pitch = {n: 12 * (values[:, feet] - 1) + TUNE_SEMITONES[values[:, tune]] for n, (feet, tune) in _TUNES.items()}
    apart = np.where(louder == 1, pitch[1], pitch[2])
    whole = np.ones(len(values), bool)
    for n in np.flatnonzero(apart):
        main, other = _TUNES[louder[n]], _TUNES[3 - louder[n]]
        wanted = pitch[3 - louder[n]][n] - apart[n]
        octave = min(max(round(wanted / 12), -1), 2)
        rest = wanted - 12 * octave
        whole[n] = abs(rest) <= 12
        values[n, main], values[n, other] = (1, 64), (1 + octave, _STEP[min(max(rest, -12), 12)])
    cutoff, follow = NAMES.index("vcf_freq"), values[:, NAMES.index("vcf_key")]
    moved = np.rint(values[:, cutoff] - apart * follow * CUTOFF_STEPS_PER_SEMITONE / FULL_KEY_FOLLOW).astype(int)
    values[:, cutoff] = np.clip(moved, 0, 127)
    return values.astype(np.uint8), apart, whole & (moved == values[:, cutoff])


# --- takes ---------------------------------------------------------------------------------------


def _unit(spec: Spec, index: int) -> int:
    unit = spec.machine.seed
    return 1 + int(_generator(spec, "unit", index).random() * (_UNITS - 1)) if unit == "each" else unit


def _performance(spec: Spec, index: int, attempt: int) -> np.ndarray:
    chosen, rng = spec.performance, _generator(spec, "performance", index, attempt)
    if chosen.choose == "random":
        takes = [_take(chosen, rng) for _ in range(chosen.takes)]
    else:
        cells = chosen.cells if chosen.choose == "all" else [chosen.cells[index % len(chosen.cells)]]
        takes = [[(note, velocity, 0.0, _number(chosen.hold, rng))] for note, velocity in cells]
    table = np.full((len(takes), chosen.most_keys, 4), np.nan, np.float32)
    for row, keys in zip(table, takes, strict=True):
        row[: len(keys)] = keys
    return np.repeat(table, len(spec.changes), axis=0)


def _take(chosen: Performance, rng: np.random.Generator) -> list[tuple[int, int, float, float]]:
    velocity, hold = _number(chosen.velocities, rng), _number(chosen.hold, rng)
    left, notes = choices(chosen.notes), []
    for _ in range(int(_number(chosen.keys, rng))):
        notes.append(left.pop(int(rng.random() * len(left))))
    return [(note, int(velocity), 0.0, hold) for note in notes]


def _number(value: float | list | IntRange | Range, rng: np.random.Generator) -> float:
    if isinstance(value, Range):
        return value.low + rng.random() * (value.high - value.low)
    few = choices(value)
    return few[int(rng.random() * len(few))]


# --- in words ------------------------------------------------------------------------------------


def caption(values: Sequence[int]) -> str:
    """The panel of a tone in a sentence: what sounds, and what moves it."""
    tone = Tone("", **dict(zip(NAMES, map(int, values), strict=True)))
    word = {name: row.format(value) for (name, value), row in zip(tone, PARAMETERS.values(), strict=True)}
    parts = []
    for n, level in ((1, tone.mix_dco1), (2, tone.mix_dco2)):
        if level:
            tune = tone.values()[f"dco{n}_tune"] - 64
            parts.append(
                f"DCO-{n} {word[f'dco{n}_wave']} {word[f'dco{n}_range']} at {word[f'mix_dco{n}']}, tune {tune:+d}"
            )
    if tone.dco_xmod:
        parts.append(f"cross modulation {word['dco_xmod']}")
    parts.append(f"HPF {word['hpf']}")
    parts.append(f"VCF cutoff {word['vcf_freq']}, resonance {word['vcf_res']}, envelope {word['vcf_env']}")
    parts.append(f"VCA by {word['vca_mode']}")
    for n in (1, 2):
        parts.append(f"ENV-{n} {' '.join(word[f'env{n}_{stage}'] for stage in 'adsr')}")
    if tone.dco1_lfo or tone.dco2_lfo or tone.vcf_lfo:
        parts.append(f"LFO {word['lfo_wave']}, rate {word['lfo_rate']}, delay {word['lfo_delay']}")
    if tone.chorus:
        parts.append(f"chorus {word['chorus']}")
    return "; ".join(parts)
