"""From a sound to tones that make it: search through the emulator itself.

A pool of tones (what trained networks say, if there are any; banks, the factory's, the prior) is rendered and
compared; from the nearest ones a few faders and switches are moved at a time, and at the end CMA-ES moves all
faders. Sixteen candidates are rendered side by side, on each of two cores.
"""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
from scipy import fft

from jxemu.ml.metrics import (
    FLOOR_DB,
    LOWEST,
    MSS_SCALES,
    SOT_WINDOW,
    Spectra,
    cosine,
    cumulative,
    difference,
    envelope,
    log_mel,
)
from jxemu.patch.explore import random_tones
from jxemu.patch.factory import factory_bank
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone
from jxemu.render.features import mel_bands
from jxemu.render.items import real_tones, sounding
from jxemu.render.offline import Item, render_batch

if TYPE_CHECKING:
    from jxemu.ml.listening import Weights

RATE, OVERSAMPLE = 44_100, 2
LONGEST = 3.0
"""Seconds of a sound that are looked at."""

LOWEST_RATE, HIGHEST_RATE = 4_000, 400_000

SHORTEST = 0.05
LOWEST_NOTE, HIGHEST_NOTE = 24, 96
NO_PITCH = 60
VELOCITY = 100
LEVEL = 108
"""VCA level of what is found: a recording does not tell how loud the synth was."""

RENDERED, MOST_TONES = 1200, 800
"""Seconds of sound that a search renders where nothing else is asked for, in at most so many tones: four seconds of two slow cores."""

BATCH = 16
TOGETHER = 2
"""Batches that are rendered at once, a core each."""

STARTS, FINALISTS, POOL_SHARE = 4, 2, 0.35
STEP, FADERS_MOVED, FLIP_CHANCE, HOLD_CHANCE = 0.2, 3.3, 0.3, 0.3
"""A step of a fader (share of its range), how many are moved at once, chances of a switch and of the hold.

With 640 renders this came nearer than CMA-ES from the start: 4.7 against 5.4 dB, median of four real tones.
"""

BENDING, BEND_STEP = ("dco1_lfo", "dco2_lfo", "dco1_env", "dco2_env"), 0.25
"""Faders that bend the pitch move less."""

SIGMA, LAST_SHARE = 0.04, 0.125
"""Of CMA-ES, which has the last share of the renders."""

SOT_WEIGHT, COURSE_WEIGHT = 15.0, 3.0
"""What transport (0..1) and 1 - RMS cosine weigh beside dB. Tried on real tones: 40 and 10 lead away from the sound."""

TRANSPORT_HOP = 0.060
"""Seconds between the frames of which transport is told: every 20 ms it takes a sixth of a search's time, and comes no nearer."""

KEYED = ("vcf_key", "env1_key", "env2_key", "dco_dyn", "mix_dyn", "vcf_dyn", "vca_dyn")
"""What one note at one velocity cannot tell: the filter's key follow stays that of the tone it began with, the others off."""

FADERS = tuple(
    name
    for name, row in PARAMETERS.items()
    if not row.labels and name not in ("vca_level", "vcf_key", "dco1_tune", "dco2_tune")
)
FLIPPED = (*(name for name, row in PARAMETERS.items() if row.labels and name not in KEYED), "dco1_tune", "dco2_tune")
NOISE_SHARE, NOISE_SPREAD_DB = 10, 6.0
"""Percent of frames that are the quietest ones, and how far noise scatters above them."""

OVER_DB, NOISE_BELOW_DB = 30.0, 51.0
"""Below the peak: where a note is over, and where what is quiet in a note that is not over is taken for noise."""

_QUIET_DB, _ONSET_DB, _ATTACK_DB, _ATTACK_IN_NOISE_DB = -60.0, -40.0, -25.0, -10.0
_SAME_DB = 3.0  # of frames that are about as quiet as the quietest
_ABOVE_NOISE_DB, _NOISE_SWING_DB = 8.0, 3.0  # of 5 ms, which scatter
_LEFT_AFTER = 60  # of these frames
_PARTIAL_SPREAD_DB = 3.0  # single partials of noise scatter more than bands do
_LEAST_PARTIALS = 0.01  # of the floors' sum: frames that have less above them tell nothing
_PASSED = 0.9  # of half a recording's rate: what its filters let through whole
_CANCELLED = 0.05  # of the louder channel's power
_CLEAR = 0.35  # of the difference function: above it there is no pitch

Shown = Callable[[int, float], None]
"""Called with the number of renders done and the best distance in dB."""


class MatchError(ValueError):
    """A sound that nothing can be found for; the message says why."""


@dataclass(frozen=True)
class Target:
    """A recording, ready to be compared: mono float32 at `RATE`, from its onset; the key that is to play it."""

    sound: np.ndarray
    note: int
    cents: float | None  # how far the pitch is from the note; None without a clear pitch
    spectra: Spectra
    floors: list[np.ndarray]  # by scale: its own noise, below which nothing is compared
    partial_floors: np.ndarray  # the same as magnitudes, as `cumulative` takes them
    shares: np.ndarray  # as `cumulative`; 0 in frames that are only noise
    course: np.ndarray  # as `envelope`

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.sound) / RATE


@dataclass(frozen=True)
class Candidate:
    """A tone, how long its key is held, and how far its sound is from the target."""

    tone: Tone
    hold: float
    cost: float
    apart: float  # dB


def prepare(sound: np.ndarray, rate: int, note: int | None = None) -> Target:
    """A recording, float (n,) or (n, channels), as a target. Raises MatchError for one that is silent, short or not finite."""
    mono = _mono(np.asarray(sound, np.float64))
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise MatchError(f"a rate of {rate} Hz is not one of sound ({LOWEST_RATE} to {HIGHEST_RATE})")
    mono = mono - (mono.mean() if len(mono) else 0.0)
    if not np.isfinite(mono).all():
        raise MatchError("the sound holds values that are no numbers")
    peak = np.abs(mono).max(initial=0.0)
    if peak < 1e-5:
        raise MatchError("the sound is silent")
    mono = soxr.resample(mono / peak, rate, RATE) if rate != RATE else mono / peak
    size = RATE // 200
    frames = len(mono) // size
    if frames < 4:
        raise MatchError(f"the sound is too short ({len(mono) / RATE * 1000:.0f} ms); 20 ms are the least")
    levels = np.sqrt(np.square(mono[: frames * size]).reshape(frames, size).mean(1))
    onset, over = _onset(levels), _over(levels)
    loud = np.flatnonzero(levels > levels.max() * 10 ** (_QUIET_DB / 20))[-1] + 1
    begin, end = max(0, onset - 1) * size, min(loud, over) * size
    noise = max(mono[max(0, begin - RATE) : begin], mono[over * size :][:RATE], key=len).astype(np.float32)
    kept = mono[begin : min(end, (onset - 1) * size + round(LONGEST * RATE))]
    kept = np.pad(kept, (0, max(0, round(SHORTEST * 2 * RATE) - len(kept)))).astype(np.float32)
    hertz = pitch(kept)
    cents = None
    if note is None:
        place = 69 + 12 * math.log2(hertz / 440) if hertz else float(NO_PITCH)
        note = min(max(round(place), LOWEST_NOTE), HIGHEST_NOTE)
        cents = 100 * (place - note) if hertz else None
    spectra = Spectra(kept, RATE)
    floors = noise_floors(spectra, noise, _PASSED * rate / 2 if rate < RATE else RATE / 2)
    partial_floors = _by_partial(floors)
    shares = cumulative(kept, RATE, TRANSPORT_HOP, partial_floors, _LEAST_PARTIALS * partial_floors.sum())
    return Target(kept, note, cents, spectra, floors, partial_floors, shares, envelope(kept, RATE))


def _mono(sound: np.ndarray) -> np.ndarray:
    """The mean of the channels, or the loudest one where they cancel each other."""
    if sound.ndim == 1:
        return sound
    mean, powers = sound.mean(1), np.square(sound).sum(0)
    return mean if np.square(mean).sum() >= _CANCELLED * powers.max() else sound[:, powers.argmax()]


def _onset(levels: np.ndarray) -> int:
    """The first of frames of 5 ms that is no silence, nor the noise before the note."""
    threshold = max(_above_noise(levels), levels.max() * 10 ** (_ONSET_DB / 20))
    above = np.flatnonzero(levels > threshold)
    in_noise = len(above) and _is_noise(levels[: above[0] // 2])  # half: a slow attack begins in noise
    highest = levels.max() * 10 ** ((_ATTACK_IN_NOISE_DB if in_noise else _ATTACK_DB) / 20)
    return int(np.flatnonzero(levels > min(threshold, highest))[0])


def _over(levels: np.ndarray) -> int:
    """Frames of 5 ms up to where a note has been over for a while and only noise is left; all, if it never is."""
    over = np.flatnonzero(levels > min(_above_noise(levels), levels.max() * 10 ** (-OVER_DB / 20)))[-1] + 1
    left = levels[over:]
    return over + _LEFT_AFTER if _is_noise(left[len(left) // 2 :]) else len(levels)


def _above_noise(levels: np.ndarray) -> float:
    """A level that noise does not reach, if the quietest frames are noise."""
    return np.percentile(levels, NOISE_SHARE) * 10 ** (_ABOVE_NOISE_DB / 20)


def _is_noise(levels: np.ndarray) -> bool:
    """Whether frames of 5 ms, four at a time (a period of hum), are about as loud as each other."""
    whole = len(levels) // 4
    if whole < 2:
        return False
    quiet, loud = np.percentile(np.square(levels[: 4 * whole]).reshape(whole, 4).mean(1), (10, 90))
    return bool(loud < quiet * 10 ** (_NOISE_SWING_DB / 10))


def noise_floors(spectra: Spectra, noise: np.ndarray, highest: float) -> list[np.ndarray]:
    """Levels (bands,) by scale under which a recording is only noise: `FLOOR_DB` below its peak, or where noise is.

    Of the bands up to `highest` Hz: a recording of a low rate tells nothing of those above.
    noise : what was recorded before the note or after it, at `RATE`. So is what is left when the note is over, and in a note
    that is held to the end each band's quietest frames, if they are far below the peak.
    """
    floors = []
    for levels, (window, hop, bands) in zip(spectra.levels, MSS_SCALES, strict=True):
        loudest = levels.max(1)
        low = np.percentile(loudest, NOISE_SHARE)
        if low < spectra.top - OVER_DB:
            floor = np.median(levels[loudest < low + _SAME_DB], axis=0)
        else:
            floor = np.percentile(levels, NOISE_SHARE, axis=0)
            floor[floor > spectra.top - NOISE_BELOW_DB] = spectra.top + FLOOR_DB
        if len(noise) >= window * RATE:
            floor = np.maximum(floor, np.median(log_mel(noise, RATE, window, hop, bands), axis=0))
        floor = np.maximum(floor + NOISE_SPREAD_DB, spectra.top + FLOOR_DB).astype(np.float32)
        floors.append(floor[: np.searchsorted(_centres(window, bands), highest)])
    return floors


@cache
def _centres(window: float, bands: int) -> np.ndarray:
    """Hz in the middle of each of the bands of `Spectra`."""
    weights = mel_bands(RATE, round(window * RATE), bands, LOWEST)
    return weights @ fft.rfftfreq(round(window * RATE), 1 / RATE) / weights.sum(1)


def _by_partial(floors: list[np.ndarray]) -> np.ndarray:
    """Magnitudes (bins,) of `cumulative` under which there is only noise, by `noise_floors`, up to the same frequency."""
    window, _, bands = MSS_SCALES[1]
    wide = mel_bands(RATE, round(window * RATE), bands, LOWEST).sum(1)[: len(floors[1])]
    centres = _centres(window, bands)[: len(floors[1])]
    power = 10 ** ((floors[1] + _PARTIAL_SPREAD_DB) / 10) / wide * window / SOT_WINDOW  # noise is less in narrower bins
    hertz = fft.rfftfreq(round(SOT_WINDOW * RATE), 1 / RATE)
    if len(floors[1]) < bands:
        hertz = hertz[hertz < centres[-1]]
    return np.sqrt(np.interp(hertz, centres, power)).astype(np.float32)


def pitch(sound: np.ndarray) -> float | None:
    """Fundamental in Hz between 25 and 2200, or None: the first deep dip of the difference function (YIN) of loud frames."""
    size, longest, shortest = 4096, RATE // 25, RATE // 2200
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (0, size)), size)[:: size // 4]
    power = np.square(frames).sum(1)
    frames = frames[power > power.max() / 30]
    spectra = fft.rfft(frames, 2 * size)
    both = fft.irfft(np.abs(spectra) ** 2)[:, : longest + 1]
    running = np.cumsum(np.pad(np.square(frames, dtype=np.float64), ((0, 0), (1, 0))), axis=1)
    lags = np.arange(longest + 1)
    ahead, behind = running[:, size - lags], running[:, [size]] - running[:, lags]
    difference = np.maximum(ahead + behind - 2 * both, 0)
    mean = np.cumsum(difference, axis=1) / np.maximum(lags, 1)
    share = np.where(lags > 0, difference / np.maximum(mean, 1e-12), 1.0)
    found = []
    for row in share:
        dips = np.flatnonzero((row[1:-1] <= row[:-2]) & (row[1:-1] < row[2:])) + 1
        dips = dips[dips >= shortest]
        if not len(dips) or row[dips].min() > _CLEAR:
            continue
        lag = int(dips[row[dips] <= row[dips].min() + 0.1][0])
        a, b, c = row[lag - 1 : lag + 2]
        found.append(RATE / (lag + (a - c) / (2 * (a - 2 * b + c) or 1)))
    return float(np.median(found)) if len(found) * 3 >= len(frames) else None


def heard(
    target: Target, tones: Sequence[Tone], holds: Sequence[float], seed: int = 0, unit: object = None
) -> np.ndarray:
    """What tones sound like at the target's note and length, float32 (tones, n), each at the target's energy.

    unit : a measured one that plays them, as `render_batch` takes it.
    """
    items = [
        Item(tone, [(target.note, VELOCITY, 0.0, hold)], (), seed) for tone, hold in zip(tones, holds, strict=True)
    ]
    sounds = render_batch(items, target.seconds, RATE, OVERSAMPLE, BATCH, channels=1, unit=unit)[..., 0]
    energy = np.square(target.sound, dtype=np.float64).sum() / np.maximum(
        np.square(sounds, dtype=np.float64).sum(1), 1e-12
    )
    return sounds * np.sqrt(np.minimum(energy, 1e8)).astype(np.float32)[:, None]


def audible(target: Target, spectra: Spectra) -> float:
    """As MSS, in dB, but over what stands above the recording's own noise in one of the two sounds."""
    pairs = zip(target.spectra.levels, spectra.levels, target.floors, strict=True)
    return float(np.mean([total / max(count, 1) for total, count in (difference(*pair) for pair in pairs)]))


def distance(target: Target, sound: np.ndarray) -> tuple[float, float]:
    """The cost that is searched with, and how far the sound is from the target in dB (`audible`).

    Transport is told of what stands above the recording's noise, in frames where anything does: a tone that hisses as the
    recording does where the note is over would come nearer else.
    """
    apart = audible(target, Spectra(sound, RATE))
    told = target.shares[:, -1] > 0
    moved = np.abs(target.shares - cumulative(sound, RATE, TRANSPORT_HOP, target.partial_floors))[told]
    transport = float(moved.mean()) if told.any() else 0.0
    course = 1 - cosine(target.course, envelope(sound, RATE))
    return apart + SOT_WEIGHT * transport + COURSE_WEIGHT * course, apart


class Search:
    """A search for the tones that sound like a target; the same seed finds the same ones.

    renders : tones that it tries; default: as many as `RENDERED` and `MOST_TONES` allow.
    """

    def __init__(
        self,
        target: Target,
        bank: Iterable[Tone] = (),
        renders: int | None = None,
        seed: int = 0,
        shown: Shown = lambda n, d: None,
        learned: "Weights | None" = None,
        unit: object = None,
    ):
        self.target, self.shown = target, shown
        self.renders = renders or int(min(RENDERED / target.seconds, MOST_TONES))
        self._bank, self._learned, self._unit = list(bank), learned, unit
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self.found: dict[Tone, Candidate] = {}
        self.done, self._nearest = 0, math.inf
        self._counting, self._stopped = threading.Lock(), False

    def run(self, count: int = 8) -> list[Candidate]:
        """The nearest candidates, the nearest first."""
        self._pool()
        climbs = [self._climb(start) for start in self.best(STARTS)]
        share = (self.renders - self.done) // (2 * STARTS)
        self._together(lambda climb: climb.step(share), climbs)
        climbs = sorted(climbs, key=lambda climb: climb.best.cost)[:FINALISTS]
        last = int(LAST_SHARE * self.renders)
        share = (self.renders - self.done - last) // FINALISTS
        self._together(lambda climb: climb.step(share), climbs)
        share = (self.renders - self.done) // FINALISTS
        self._together(lambda climb: climb.evolve(share), climbs)
        return self.best(count)

    def _together(self, work: Callable[[Any], object], parts: Sequence[Any]) -> None:
        """Work at several parts at once; none depends on another, so what is found does not depend on which is first."""
        with ThreadPoolExecutor(TOGETHER) as threads:
            try:
                list(threads.map(work, parts))
            except BaseException:
                self._stopped = True
                raise

    def best(self, count: int) -> list[Candidate]:
        """The nearest so far, no two of them nearly the same tone."""
        kept: list[Candidate] = []
        for candidate in sorted(self.found.values(), key=lambda each: (each.cost, tuple(each.tone.values().values()))):
            if all(_apart(candidate.tone, other.tone) for other in kept):
                kept.append(candidate)
            if len(kept) == count:
                break
        return kept

    def evaluate(self, tones: Sequence[Tone], holds: Sequence[float]) -> list[Candidate]:
        """Render and compare some tones."""
        if self._stopped:
            raise KeyboardInterrupt
        sounds = heard(self.target, tones, holds, unit=self._unit)
        scores = [distance(self.target, sound) for sound in sounds]
        made = [Candidate(*each, *score) for each, score in zip(zip(tones, holds, strict=True), scores, strict=True)]
        with self._counting:
            for candidate in made:
                known = self.found.get(candidate.tone)
                if known is None or candidate.cost < known.cost:
                    self.found[candidate.tone] = candidate
            self.done += len(made)
            self._nearest = min(self._nearest, *(candidate.apart for candidate in made))
            self.shown(self.done, self._nearest)
        return made

    def _pool(self) -> None:
        """Try what networks say, the tones of the bank, then factory tones and new ones, half and half, up to a share of the renders."""
        count = max(BATCH, int(POOL_SHARE * self.renders))
        hold, told = held(self.target), []
        if self._learned:
            told = self._learned.tones(self.target.sound, self.target.note, count * 3 // 8, count // 8, self._seed)
        given = [(tone, hold) for tone in self._bank]
        missing = range(max(0, count - len(given) - len(told)))
        drawn = random_tones(self._seed * 1_000_000 + n for n in missing)
        mixed = [(tone, hold) for pair in zip_longest(factory_bank().tones, drawn) for tone in pair if tone]
        tried: dict[Tone, float] = {}
        for tone, length in [*told, *given, *mixed]:
            tried.setdefault(_tuned(tone), length)
        tones = list(tried.items())[: min(max(count, len(told) + len(given)), self.renders)]
        batches = [tones[at : at + BATCH] for at in range(0, len(tones), BATCH)]
        self._together(lambda batch: self.evaluate(*zip(*batch, strict=True)), batches)

    def _climb(self, start: Candidate) -> "_Climb":
        return _Climb(self, start, int(self._rng.integers(1, 1 << 30)))


class _Climb:
    """One tone on its way: a few faders and switches moved at a time, and at the end CMA-ES over all faders."""

    def __init__(self, search: Search, start: Candidate, seed: int):
        self.search, self.best = search, start
        self._rng = np.random.default_rng(seed)
        self._evolution = None

    def step(self, renders: int) -> None:
        """Spend at most so many renders on tones with a few faders and switches moved."""
        for _ in range(renders // BATCH):
            changed = [self._moved() for _ in range(BATCH)]
            holds = [self._held() if self._rng.random() < HOLD_CHANCE else self.best.hold for _ in changed]
            self._keep(self.search.evaluate(changed, holds))

    def evolve(self, renders: int) -> None:
        """Spend at most so many renders on CMA-ES."""
        for _ in range(renders // BATCH):
            self._generation()

    def _moved(self) -> Tone:
        """The tone with a few faders moved, and now and then a switch or tune fader where real tones have it."""
        values, rng = self.best.tone.values(), self._rng
        count = min(1 + rng.geometric(1 / FADERS_MOVED), len(FADERS))
        for name in rng.choice(FADERS, count, replace=False).tolist():
            moved = values[name] + 127 * STEP * (BEND_STEP if name in BENDING else 1.0) * rng.standard_normal()
            values[name] = int(np.clip(np.rint(moved), 0, 127))
        if rng.random() < FLIP_CHANCE:
            name = FLIPPED[rng.integers(len(FLIPPED))]
            chances = real_tones().histograms[name].copy()
            chances[values[name]] = 0.0
            values[name] = int(rng.choice(len(chances), p=chances / chances.sum()))
        return self.best.tone.replace(**values)

    def _held(self) -> float:
        return float(np.clip(self.best.hold * (1 + 0.1 * self._rng.standard_normal()), SHORTEST, self._longest))

    @property
    def _longest(self) -> float:
        return max(SHORTEST, self.search.target.seconds)

    def _generation(self) -> None:
        from jxemu.ml.evolution import cma

        if self._evolution is None:
            values = self.best.tone.values()
            begin = [*(values[name] / 127 for name in FADERS), self.best.hold / self._longest]
            options = {
                "bounds": [0, 1], "popsize": BATCH, "seed": np.nan, "randn": lambda *shape: self._rng.standard_normal(shape), "verbose": -9,
                "CMA_diagonal": True, "CMA_stds": [*(BEND_STEP if name in BENDING else 1.0 for name in FADERS), 1.0],
            }  # fmt: skip
            self._evolution = cma.CMAEvolutionStrategy(np.clip(begin, 0.001, 0.999), SIGMA, options)
        places = np.array(self._evolution.ask())
        faders = np.rint(places[:, :-1] * 127).astype(int).tolist()
        tones = [self.best.tone.replace(**dict(zip(FADERS, row, strict=True))) for row in faders]
        made = self.search.evaluate(tones, np.maximum(places[:, -1] * self._longest, SHORTEST).tolist())
        self._evolution.tell(list(places), [candidate.cost for candidate in made])
        self._keep(made)

    def _keep(self, made: Sequence[Candidate]) -> None:
        self.best = min(self.best, *made, key=lambda candidate: candidate.cost)


def held(target: Target) -> float:
    """How long the key was held, at a guess: up to the steepest fall of the level in the last two thirds, or to the end."""
    levels = 20 * np.log10(np.maximum(target.course, 1e-4))
    falls = np.diff(levels)
    late = len(falls) // 3
    if len(falls) < 4 or falls[late:].min() > -3.0:
        return target.seconds
    return max(SHORTEST, float((late + falls[late:].argmin() + 1) * 0.025))


def _tuned(tone: Tone) -> Tone:
    """The tone with its louder DCO at the key's own pitch, and what a note cannot tell at rest."""
    values = sounding(np.array([list(tone.values().values())]))[0][0]
    plain = {"vca_level": LEVEL, **dict.fromkeys(KEYED[1:], 0)}
    return tone.replace(**dict(zip(PARAMETERS, values.tolist(), strict=True)) | plain)


def _apart(a: Tone, b: Tone) -> bool:
    """Whether two tones differ by more than a few steps of a few faders."""
    x, y = a.values(), b.values()
    return sum(abs(x[name] - y[name]) > (0 if PARAMETERS[name].labels else 6) for name in PARAMETERS) > 3


def named(candidates: Sequence[Candidate], name: str) -> list[Candidate]:
    """Candidates whose tones are called NAME, NAME 2, NAME 3 .."""
    stem = name.upper().encode("ascii", "ignore").decode()[:10] or "MATCH"
    names = [stem, *(f"{stem[: 9 - len(str(n))]} {n}" for n in range(2, len(candidates) + 1))]
    return [replace(each, tone=each.tone.replace(name=called)) for each, called in zip(candidates, names, strict=False)]
