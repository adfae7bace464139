"""From a sound to tones that make it: search through the emulator itself.

A pool of tones (what trained networks say, if there are any; banks, the factory's, the prior) is rendered and
compared; from the nearest ones a few faders and switches are moved at a time, and at the end CMA-ES moves all
faders. Sixteen candidates are rendered side by side, on each of two cores.

Of several recordings of one tone, at several keys and velocities, one is searched alone first; from what was found the
search goes on over all of them, with key follow and dynamics, which no recording tells alone.
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
from jxemu.patch.explore import SECTIONS, random_tones
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

RENDERED_TOGETHER, MOST_TOGETHER, MOST_SOUNDS = 24_000, 3_000, 12
"""The same over several recordings, a minute of two slow cores, and how many recordings there may be."""

ALONE_SHARE, NEAR_ALONE = 1 / 3, 8
"""Renders that the first recording has at most for itself, and how many of the tones found for it are tried on all."""

BATCH = 16
TOGETHER = 2
"""Batches that are rendered at once, a core each."""

STARTS, FINALISTS, POOL_SHARE = 4, 2, 0.35
STEP, FADERS_MOVED, FLIP_CHANCE, HOLD_CHANCE, OWN_HOLD_CHANCE = 0.2, 3.3, 0.3, 0.3, 0.5
"""A step of a fader (share of its range), how many are moved at once, chances of a switch, of the holds, and of one of several holds alone.

With 640 renders this came nearer than CMA-ES from the start: 4.7 against 5.4 dB, median of four real tones.
"""

CROSS_CHANCE, ONE_SECTION, MATES = 0.5, 0.6, 60
"""Chances that a step takes sections of the panel from another tone, and one alone; it is one of so many that were nearest when the stage began.

Tones come nearer by it (30 real tones of another unit, noise at -50 dB, with weights): 3.5 to 2.8 dB to the tone itself, the mean.
Searches over several recordings, which begin at what is found for one, come no nearer (six real tones: 4.8 to 4.9 dB) and do without.
"""

BENDING, BEND_STEP = ("dco1_lfo", "dco2_lfo", "dco1_env", "dco2_env"), 0.25
"""Faders that bend the pitch move less."""

SIGMA, LAST_SHARE = 0.04, 0.125
"""Of CMA-ES, which has the last share of the renders."""

SOT_WEIGHT, COURSE_WEIGHT = 15.0, 3.0
"""What transport (0..1) and 1 - RMS cosine weigh beside dB. Tried on real tones: 40 and 10 lead away from the sound."""

TRANSPORT_HOP = 0.060
"""Seconds between the frames of which transport is told: every 20 ms it takes a sixth of a search's time, and comes no nearer."""

KEYED = {
    "env1_key": ("env1_a", "env1_d", "env1_r"),
    "env2_key": ("env2_a", "env2_d", "env2_r"),
    "dco_dyn": ("dco1_env", "dco2_env"),
    "mix_dyn": ("mix_env",),
    "vcf_dyn": ("vcf_env",),
    "vca_dyn": (),
}
"""What one note at one velocity cannot tell, and the faders that do the same for a single note: it stays off there.

Several notes tell the key follow (the filter's stays that of the tone it began with else), several velocities the dynamics.
"""

KEYED_CHANCE, ONE_KEYED, UNLIKELY = 0.3, 0.7, 0.03
"""Chances that a step moves these switches where they are told, and that it is one alone; dB that a state costs, times how much rarer it is."""

UNLIKE_HOLDS = 0.2
"""dB that it costs if keys are not held equally long, for each e-fold: an own hold for each sound stands in for key follow else."""

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
_PARTIALS, _AROUND = 8192, 20  # samples, and bins on each side, by which partials are seen
_PARTIAL_DB = 8.0  # above the bins around
_PARTIAL_SPREAD_DB = 3.0  # single partials of noise scatter more than bands do
_LEAST_PARTIALS = 0.01  # of the floors' sum: frames that have less above them tell nothing
_PASSED = 0.9  # of half a recording's rate: what its filters let through whole
_CANCELLED = 0.05  # of the louder channel's power
_NEVER_SEEN = 0.02  # share of a state that no real tone has
_CLEAR = 0.35  # of the difference function: above it there is no pitch

Shown = Callable[[int, float], None]
"""Called with the number of renders done and the best distance in dB."""


class MatchError(ValueError):
    """A sound that nothing can be found for; the message says why."""


@dataclass(frozen=True)
class Target:
    """A recording, ready to be compared: mono float32 at `RATE`, from its onset; the key and velocity that are to play it."""

    sound: np.ndarray
    note: int
    velocity: int
    level: float  # peak of the recording, which is 1 in `sound`
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
    """A tone, how long its key is held for each target, and how far its sounds are from them."""

    tone: Tone
    holds: tuple[float, ...]
    cost: float
    apart: float  # dB


def prepare(sound: np.ndarray, rate: int, note: int | None = None, velocity: int = VELOCITY) -> Target:
    """A recording, float (n,) or (n, channels), as a target. Raises MatchError for one that is silent, short or not finite.

    note, velocity : that are played, 0..127; without a note it is detected.
    """
    sound = np.asarray(sound, np.float64)
    if not sound.size:
        raise MatchError("it holds no sound")
    if not np.isfinite(sound).all():
        raise MatchError("the sound holds values that are no numbers")
    mono = _mono(sound)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise MatchError(f"a rate of {rate} Hz is not one of sound ({LOWEST_RATE} to {HIGHEST_RATE})")
    mono = mono - mono.mean()
    peak = float(np.abs(mono).max(initial=0.0))
    if peak < 1e-5:
        raise MatchError("the sound is silent")
    mono = soxr.resample(mono / peak, rate, RATE) if rate != RATE else mono / peak
    size = RATE // 200
    frames = len(mono) // size
    if frames < 4:
        raise MatchError(f"the sound is too short ({len(mono) / RATE * 1000:.0f} ms); 20 ms are the least")
    levels = np.sqrt(np.square(mono[: frames * size]).reshape(frames, size).mean(1))
    onset, over = _onset(levels), _over(levels)
    late = (over + len(levels)) // 2  # as `_over` looks for noise
    rings = over < len(levels) and _goes_on(mono[max(0, onset - 1) * size : over * size], mono[late * size :])
    over = len(levels) if rings else over
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
    floors = noise_floors(spectra, noise, _PASSED * rate / 2 if rate < RATE else RATE / 2, rings)
    partial_floors = _by_partial(floors)
    shares = cumulative(kept, RATE, TRANSPORT_HOP, partial_floors, _LEAST_PARTIALS * partial_floors.sum())
    return Target(kept, note, velocity, peak, cents, spectra, floors, partial_floors, shares, envelope(kept, RATE))


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


def _goes_on(note: np.ndarray, rest: np.ndarray) -> bool:
    """Whether what is left at an even level has the partials of the note: a quiet sustain, not noise or hum."""
    excess = []
    for sound in (note, rest):
        frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (0, max(0, _PARTIALS - len(sound)))), _PARTIALS)
        power = np.square(
            np.abs(fft.rfft(frames[:: _PARTIALS // 2] * np.hanning(_PARTIALS))[:, : _PARTIALS // 8])
        ).mean(0)
        level = 10 * np.log10(power + 1e-20)
        around = np.lib.stride_tricks.sliding_window_view(np.pad(level, _AROUND, "reflect"), 2 * _AROUND + 1)
        excess.append((power, level - np.median(around, axis=1)))
    (power, of_note), (_, of_rest) = excess
    loudness = np.sqrt(power) * (of_note > _PARTIAL_DB)
    return bool((loudness * of_rest).sum() > _PARTIAL_DB * loudness.sum())


def _above_noise(levels: np.ndarray) -> float:
    """A level that noise does not reach, if the quietest frames are noise; nor hum, by the loudest frame of each period."""
    loudest = levels[: len(levels) // 4 * 4].reshape(-1, 4).max(1)
    pairs = (levels, _ABOVE_NOISE_DB), (loudest, _NOISE_SWING_DB)
    return max(np.percentile(each, NOISE_SHARE) * 10 ** (above / 20) for each, above in pairs)


def _is_noise(levels: np.ndarray) -> bool:
    """Whether frames of 5 ms, four at a time (a period of hum), are about as loud as each other."""
    whole = len(levels) // 4
    if whole < 2:
        return False
    quiet, loud = np.percentile(np.square(levels[: 4 * whole]).reshape(whole, 4).mean(1), (10, 90))
    return bool(loud < quiet * 10 ** (_NOISE_SWING_DB / 10))


def noise_floors(spectra: Spectra, noise: np.ndarray, highest: float, rings: bool) -> list[np.ndarray]:
    """Levels (bands,) by scale under which a recording is only noise: `FLOOR_DB` below its peak, or where noise is.

    Of the bands up to `highest` Hz: a recording of a low rate tells nothing of those above.
    noise : what was recorded before the note or after it, at `RATE`. So is what is left when the note is over, and in a note
    that is held to the end each band's quietest frames, if they are far below the peak.
    rings : the note is held to the end, however quiet.
    """
    floors = []
    for levels, (window, hop, bands) in zip(spectra.levels, MSS_SCALES, strict=True):
        loudest = levels.max(1)
        low = np.percentile(loudest, NOISE_SHARE)
        if low < spectra.top - OVER_DB and not rings:
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
    targets: Sequence[Target],
    tones: Sequence[Tone],
    holds: Sequence[Sequence[float]],
    unit: object = None,
) -> list[np.ndarray]:
    """What tones sound like as each target is played, float32 (tones, n) a target, each tone at the energy of all targets.

    holds : seconds, of each tone for each target.  unit : a measured one that plays them, as `render_batch` takes it.
    """
    made, shares = [], [target.level / max(each.level for each in targets) for target in targets]
    wanted, energy = 0.0, np.zeros(len(tones))
    for n, (target, share) in enumerate(zip(targets, shares, strict=True)):
        keys = [(target.note, target.velocity, 0.0, hold[n]) for hold in holds]
        items = [Item(tone, [key]) for tone, key in zip(tones, keys, strict=True)]
        sounds = render_batch(items, target.seconds, RATE, OVERSAMPLE, BATCH, channels=1, unit=unit)[..., 0]
        wanted += share**2 * np.square(target.sound, dtype=np.float64).sum()
        energy += np.square(sounds, dtype=np.float64).sum(1)
        made.append(sounds)
    gains = np.sqrt(np.minimum(wanted / np.maximum(energy, 1e-12), 1e8))
    return [sounds * (gains / share).astype(np.float32)[:, None] for sounds, share in zip(made, shares, strict=True)]


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


def allowed(targets: Sequence[Target]) -> int:
    """Tones that a search for targets tries where nothing else is asked for."""
    seconds = sum(target.seconds for target in targets)
    if len(targets) == 1:
        return int(min(RENDERED / seconds, MOST_TONES))
    return int(min(RENDERED_TOGETHER / seconds, MOST_TOGETHER))


class Search:
    """A search for the tones that sound like the targets, one or several of one tone; the same seed finds the same ones.

    bank : tones that are tried too.
    renders : tones that it tries; default: as many as are `allowed`, and those of the bank.
    hidden : tones that are not among those it begins with, where it is measured by them.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        bank: Iterable[Tone] = (),
        renders: int | None = None,
        seed: int = 0,
        shown: Shown = lambda n, d: None,
        learned: "Weights | None" = None,
        unit: object = None,
        hidden: Iterable[Tone] = (),
    ):
        self.targets, self.shown = tuple(targets), shown
        self._bank, self._learned, self._unit = list(bank), learned, unit
        self._hidden = list(hidden)
        self.renders = renders or allowed(targets) + len(self._bank)
        notes, velocities = ({getattr(target, each) for target in targets} for each in ("note", "velocity"))
        self.faders = (*FADERS, "vcf_key") if len(notes) > 1 else FADERS
        told = {"key": len(notes) > 1, "dyn": len(velocities) > 1}
        self.keyed = tuple(name for name in KEYED if told[name.split("_")[1]])
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self.found: dict[Tone, Candidate] = {}
        self.mates: list[Tone] = []
        self.done, self._nearest = 0, math.inf
        self._counting, self._stopped = threading.Lock(), False

    def run(self, count: int = 8) -> list[Candidate]:
        """The nearest candidates, the nearest first."""
        if len(self.targets) == 1:
            self._pool()
        else:
            self._alone()
        climbs = [self._climb(start) for start in self.best(STARTS)]
        self._sweep(climbs)
        share = (self.renders - self.done) // (2 * STARTS)
        self._step(share, climbs)
        climbs = sorted(climbs, key=lambda climb: climb.best.cost)[:FINALISTS]
        self._sweep(climbs)
        last = int(LAST_SHARE * self.renders)
        share = (self.renders - self.done - last) // FINALISTS
        self._step(share, climbs)
        self._sweep(climbs)
        share = (self.renders - self.done) // FINALISTS
        self._together(lambda climb: climb.evolve(share), climbs)
        return self.best(count)

    def _step(self, renders: int, climbs: Sequence["_Climb"]) -> None:
        """Spend so many renders on steps of each climb."""
        self.mates = [each.tone for each in self._by_cost()[:MATES]]
        self._together(lambda climb: climb.step(renders), climbs)

    def _by_cost(self) -> list[Candidate]:
        return sorted(self.found.values(), key=lambda each: (each.cost, tuple(each.tone.values().values())))

    def _sweep(self, climbs: Sequence["_Climb"]) -> None:
        """Sweep key follow and dynamics, if there are renders left for it."""
        if self.done + sum(len(climb.swept) for climb in climbs) <= self.renders:
            self._together(lambda climb: climb.sweep(), climbs)

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
        for candidate in self._by_cost():
            if all(_apart(candidate.tone, other.tone) for other in kept):
                kept.append(candidate)
            if len(kept) == count:
                break
        return kept

    def evaluate(self, tones: Sequence[Tone], holds: Sequence[tuple[float, ...]]) -> list[Candidate]:
        """Render and compare some tones."""
        if self._stopped:
            raise KeyboardInterrupt
        sounds = heard(self.targets, tones, holds, unit=self._unit)
        made = []
        for tone, hold, *own in zip(tones, holds, *sounds, strict=True):
            costs, apart = zip(*map(distance, self.targets, own), strict=True)
            rare = UNLIKELY * sum(_rarity(name, tone.values()[name]) for name in self.keyed)
            unlike = UNLIKE_HOLDS * float(np.std(np.log(hold)))
            made.append(Candidate(tone, hold, float(np.mean(costs)) + rare + unlike, float(np.mean(apart))))
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
        (target,) = self.targets
        hold, told = held(target), []
        if self._learned:
            told = self._learned.tones(target.sound, target.note, count * 3 // 8, count // 8, self._seed)
        given = [(tone, hold) for tone in self._bank]
        missing = range(max(0, count - len(given) - len(told)))
        drawn = random_tones(self._seed * 1_000_000 + n for n in missing)
        mixed = [(tone, hold) for pair in zip_longest(factory_bank().tones, drawn) for tone in pair if tone]
        tried: dict[Tone, tuple[float]] = {}
        hidden = {_sound(_tuned(tone)) for tone in self._hidden}
        for tone, length in [*told, *given, *mixed]:
            tuned = _tuned(tone)
            if _sound(tuned) not in hidden:
                tried.setdefault(tuned, (length,))
        tones = list(tried.items())[: min(max(count, len(told) + len(given)), self.renders)]
        batches = [tones[at : at + BATCH] for at in range(0, len(tones), BATCH)]
        self._together(lambda batch: self.evaluate(*zip(*batch, strict=True)), batches)

    def _alone(self) -> None:
        """Search for one of the targets, and try the nearest tones on all of them.

        It is the one that tells most: of the middle note, played hardest.
        """
        middle = sorted(target.note for target in self.targets)[len(self.targets) // 2]
        first = min(self.targets, key=lambda target: (abs(target.note - middle), -target.velocity))
        renders = min(allowed([first]) + len(self._bank), int(ALONE_SHARE * self.renders))
        alone = Search([first], self._bank, renders, self._seed, self.shown, self._learned, self._unit, self._hidden)
        near = alone.run(NEAR_ALONE)
        self.done = alone.done
        for each in near:
            own = tuple(each.holds[0] if target is first else held(target) for target in self.targets)
            alike = tuple(min(each.holds[0], max(SHORTEST, target.seconds)) for target in self.targets)
            self.evaluate([each.tone] * 2, [own, alike])

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
            holds = [self._held() if self._rng.random() < HOLD_CHANCE else self.best.holds for _ in changed]
            self._keep(self.search.evaluate(changed, holds))

    @property
    def swept(self) -> list[Tone]:
        """The tone with every other state of each switch of key follow and dynamics that the targets tell."""
        values = self.best.tone.values()
        return [
            self.best.tone.replace(**{name: state})
            for name in self.search.keyed
            for state in range(PARAMETERS[name].top + 1)
            if state != values[name]
        ]

    def sweep(self) -> None:
        """Spend renders on `swept`."""
        tones = self.swept
        for at in range(0, len(tones), BATCH):
            part = tones[at : at + BATCH]
            self._keep(self.search.evaluate(part, [self.best.holds] * len(part)))

    def evolve(self, renders: int) -> None:
        """Spend at most so many renders on CMA-ES."""
        for _ in range(renders // BATCH):
            self._generation()

    def _moved(self) -> Tone:
        """The tone with a few faders moved, and now and then a switch or tune fader where real tones have it.

        Or with sections of another tone; or with a switch of key follow or dynamics flipped, and the faders that make up for it moved.
        """
        values, rng = self.best.tone.values(), self._rng
        if self.search.keyed and rng.random() < KEYED_CHANCE:
            keyed = self.search.keyed
            for name in rng.choice(keyed, min(rng.geometric(ONE_KEYED), len(keyed)), replace=False).tolist():
                self._flip(values, name)
                step = rng.standard_normal()
                for fader in KEYED[name]:
                    self._shift(values, fader, step)
            return self.best.tone.replace(**values)
        if len(self.search.targets) == 1 and rng.random() < CROSS_CHANCE:
            return self._crossed()
        faders = self.search.faders
        count = min(1 + rng.geometric(1 / FADERS_MOVED), len(faders))
        for name in rng.choice(faders, count, replace=False).tolist():
            self._shift(values, name, rng.standard_normal())
        if rng.random() < FLIP_CHANCE:
            self._flip(values, FLIPPED[rng.integers(len(FLIPPED))])
        return self.best.tone.replace(**values)

    def _crossed(self) -> Tone:
        """The tone with sections of the panel as another tone has them, its faders all the way or half."""
        rng, values = self._rng, self.best.tone.values()
        other = self.search.mates[rng.integers(len(self.search.mates))].values()
        half = rng.random() < 0.5
        for section in rng.choice(list(SECTIONS), min(rng.geometric(ONE_SECTION), len(SECTIONS)), replace=False):
            for name in SECTIONS[section]:
                between = half and name in FADERS
                values[name] = (values[name] + other[name]) // 2 if between else other[name]
        return self.best.tone.replace(**values)

    def _shift(self, values: dict[str, int], name: str, step: float) -> None:
        moved = values[name] + 127 * STEP * (BEND_STEP if name in BENDING else 1.0) * step
        values[name] = int(np.clip(np.rint(moved), 0, 127))

    def _flip(self, values: dict[str, int], name: str) -> None:
        chances = real_tones().histograms[name].copy()
        chances[values[name]] = 0.0
        values[name] = int(self._rng.choice(len(chances), p=chances / chances.sum()))

    def _held(self) -> tuple[float, ...]:
        """The holds a little longer or shorter; of several sounds that of one alone, or all as one of them is."""
        holds, rng = np.array(self.best.holds), self._rng
        if len(holds) > 1:
            one = rng.integers(len(holds))
            if rng.random() >= OWN_HOLD_CHANCE:
                holds[:], one = holds[one], slice(None)
        else:
            one = 0
        holds[one] *= 1 + 0.1 * rng.standard_normal()
        return tuple(np.clip(holds, SHORTEST, self._longest).tolist())

    @property
    def _longest(self) -> list[float]:
        return [max(SHORTEST, target.seconds) for target in self.search.targets]

    def _generation(self) -> None:
        from jxemu.ml.evolution import cma

        faders, longest = self.search.faders, np.array(self._longest)
        if self._evolution is None:
            values = self.best.tone.values()
            begin = [*(values[name] / 127 for name in faders), *(self.best.holds / longest)]
            options = {
                "bounds": [0, 1], "popsize": BATCH, "seed": np.nan, "randn": lambda *shape: self._rng.standard_normal(shape), "verbose": -9,
                "CMA_diagonal": True, "CMA_stds": [*(BEND_STEP if name in BENDING else 1.0 for name in faders), *np.ones(len(longest))],
            }  # fmt: skip
            self._evolution = cma.CMAEvolutionStrategy(np.clip(begin, 0.001, 0.999), SIGMA, options)
        places = np.array(self._evolution.ask())
        moved = np.rint(places[:, : len(faders)] * 127).astype(int).tolist()
        tones = [self.best.tone.replace(**dict(zip(faders, row, strict=True))) for row in moved]
        holds = np.maximum(places[:, len(faders) :] * longest, SHORTEST)
        made = self.search.evaluate(tones, list(map(tuple, holds.tolist())))
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
    plain = {"vca_level": LEVEL, **dict.fromkeys(KEYED, 0)}
    return tone.replace(**dict(zip(PARAMETERS, values.tolist(), strict=True)) | plain)


def _sound(tone: Tone) -> tuple[int, ...]:
    """What a tone is without its name."""
    return tuple(tone.values().values())


@cache
def _rarity(name: str, state: int) -> float:
    """How much rarer than the most frequent one a switch's state is among real tones, as a natural logarithm."""
    shares = real_tones().histograms[name] + _NEVER_SEEN
    return float(np.log(shares.max() / shares[state]))


def _apart(a: Tone, b: Tone) -> bool:
    """Whether two tones differ by more than a few steps of a few faders."""
    x, y = a.values(), b.values()
    return sum(abs(x[name] - y[name]) > (0 if PARAMETERS[name].labels else 6) for name in PARAMETERS) > 3


def named(candidates: Sequence[Candidate], name: str) -> list[Candidate]:
    """Candidates whose tones are called NAME, NAME 2, NAME 3 .."""
    stem = name.upper().encode("ascii", "ignore").decode()[:10] or "MATCH"
    names = [stem, *(f"{stem[: 9 - len(str(n))]} {n}" for n in range(2, len(candidates) + 1))]
    return [replace(each, tone=each.tone.replace(name=called)) for each, called in zip(candidates, names, strict=False)]
