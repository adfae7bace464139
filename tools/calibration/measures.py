"""What is measured of the sound of one shot: each measure gives values with their standard errors.

A measure takes the sound [shape=(n,)] from the key on (or off), its rate in Hz on the wire's own time, the shot, and the
RMS of the noise in it; where the step asks for it, also the sound of its first shot. It returns (value, standard error) of each of the step's columns,
NaN where nothing can be said. Tones are measured by their partials, so hum and noise between those do not count.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage, optimize, signal

from jxemu.clock import note_hz

if TYPE_CHECKING:
    from calibration.steps import Shot

Measured = list[tuple[float, float]]

BEGIN = 0.15
"""Seconds after the key until a tone is steady: the filters' and the high pass's own settling."""

PARTS = 3
"""Parts of a shot that are measured apart: their scatter is the error."""

PARTIALS = 160
HIGHEST = 9_000.0
"""Hz: partials above are left out, where converters differ."""

BELOW = 0.45
"""Of a rate: what lies above is not told from its mirror image."""

PARTIAL_DB = 0.02
"""What a partial's level is known to at best."""

FAINT_DB = 0.7
"""Partials that are less well known are left out."""

FILTERS = (np.array([np.log(20), np.log(0.02), -300.0]), np.array([np.log(20_000), np.log(4.0), 100.0]))
"""Among these a filter is looked for: log cutoff, log damping, level in dB."""

BETWEEN = 0.7
"""Share of the partials below which noise is not looked for: there those beside are too loud."""

SILENT_DB = -120.0
LEAST_DB, LEAST_CENTS = 0.002, 0.05
"""Below these nothing is claimed to be known."""

NOTHING = (float("nan"), float("nan"))


class Noise(NamedTuple):
    """RMS of the noise in a sound, and of the noise that levels are trusted by: that of the recording it stands beside."""

    heard: float
    known: float


# --- partials ------------------------------------------------------------------------------------


def steady(sound: np.ndarray, rate: float, shot: "Shot") -> np.ndarray:
    """The part of a shot while its key is down, in `PARTS` [shape=(PARTS, n)]."""
    part = sound[round(BEGIN * rate) : round((shot.hold - 0.01) * rate)]
    size = len(part) // PARTS
    return part[: size * PARTS].reshape(PARTS, size)


def fundamental(part: np.ndarray, rate: float, expected: float) -> float:
    """Hz of the strongest partial within half an octave of what is expected."""
    look = part[: 1 << 16]
    size = 1 << int(np.ceil(np.log2(2 * len(look))))
    spectrum = np.abs(np.fft.rfft(look * np.hanning(len(look)), size))
    first, last = (round(expected * share * size / rate) for share in (0.71, 1.41))
    top = first + int(np.argmax(spectrum[first:last]))
    if not 0 < top < len(spectrum) - 1 or not spectrum[top]:
        return expected
    a, b, c = np.log(spectrum[top - 1 : top + 2] + 1e-12)
    hertz = (top + 0.5 * (a - c) / (a - 2 * b + c)) * rate / size
    # the phase of both halves says it far finer than the spectrum does
    half = len(part) // 2
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(part)) / rate)
    one, two = ((part[at] * turns[at] * np.hanning(half)).sum() for at in (slice(half), slice(half, 2 * half)))
    return hertz + np.angle(two / one) / (2 * np.pi * half / rate)


def partials(parts: np.ndarray, rate: float, hertz: float, most: int = PARTIALS) -> np.ndarray:
    """Complex amplitudes of the multiples of a frequency in each part [shape=(parts, count)], up to `HIGHEST`.

    And up to where the rate's own filters begin: beyond half the rate there are only mirror images of what is below.
    """
    count = max(2, min(most, int(min(HIGHEST, BELOW * rate) / hertz)))
    window = np.hanning(parts.shape[1])
    turn = np.exp(-2j * np.pi * hertz / rate)
    return 2 * signal.czt(parts * window, count, turn, 1 / turn) / window.sum()


def _each(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> np.ndarray:
    """Levels of the partials in dB of each part, and how well the noise lets them be known [shape=(PARTS, 2, count)]."""
    pieces = steady(sound, rate, shot)
    hertz = fundamental(pieces.ravel(), rate, note_hz(shot.note) * shot.ratio)
    power = np.abs(partials(pieces, rate, hertz)) ** 2
    # 4 sigma^2 sum(w^2) / sum(w)^2 of a Hann window
    heard, known = (6 * rms**2 / pieces.shape[1] for rms in noise)
    clean = np.maximum(power - heard, 0.1 * known + 1e-18)
    return np.stack([10 * np.log10(clean), np.hypot(PARTIAL_DB, 8.7 * np.sqrt(known / clean / 2))], 1)


def between(sound: np.ndarray, rate: float, shot: "Shot") -> float:
    """RMS of the noise in a tone, by what lies halfway between its highest partials: a converter's rounding too, which silence does not show."""
    pieces = steady(sound, rate, shot)
    hertz = fundamental(pieces.ravel(), rate, note_hz(shot.note) * shot.ratio)
    halves = np.abs(partials(pieces, rate, hertz / 2, 2 * PARTIALS)[:, ::2]) ** 2
    power = float(halves[:, round(BETWEEN * halves.shape[1]) :].mean())
    return float(np.sqrt(power * pieces.shape[1] / 6))


def estimate(values: list[float] | np.ndarray, least: float) -> tuple[float, float]:
    """Mean and its standard error: by the scatter, but at least `least`, which a few values cannot be without."""
    good = np.asarray(values, float)
    good = good[np.isfinite(good)]
    if len(good) < 2:
        return NOTHING
    return float(good.mean()), max(float(good.std(ddof=1) / np.sqrt(len(good))), least)


# --- measures ------------------------------------------------------------------------------------


def level(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """RMS of a tone in dB of full scale, by its partials."""
    each = _each(sound, rate, shot, noise)
    power = 10 ** (each[:, 0] / 10)
    known = np.sqrt(np.square(power * each[:, 1]).sum(1)) / power.sum(1)
    mean, error = estimate(10 * np.log10(power.sum(1) / 2), max(LEAST_DB, float(known.mean()) / np.sqrt(PARTS)))
    return [(max(mean, SILENT_DB), error)]


def loudness(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """RMS in dB of full scale of whatever it is, from 200 Hz on: noise."""
    high = signal.sosfilt(signal.butter(4, 200, "high", fs=rate, output="sos"), sound)
    pieces = steady(high, rate, shot)
    power = [10 * np.log10(max(np.square(piece).mean() - noise.heard**2, 1e-15)) for piece in pieces]
    mean, error = estimate(power, max(LEAST_DB, 4.34 * np.sqrt(4 / (pieces.size))))
    return [(max(mean, SILENT_DB), error)]


def floor(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """`loudness` with all that the recording added."""
    return loudness(sound, rate, shot, Noise(0.0, noise.known))


def pitch(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Cents from the key's pitch, by the phase of the fundamental."""
    expected = note_hz(shot.note) * shot.ratio
    return [
        estimate(
            [1200 * np.log2(fundamental(piece, rate, expected) / expected) for piece in steady(sound, rate, shot)],
            LEAST_CENTS,
        )
    ]


def tilt(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """How the partials of a saw fall beside 1/n: dB an octave."""
    found = []
    for levels, errors in _each(sound, rate, shot, noise):
        octaves = np.log2(np.arange(1, len(levels) + 1))
        found.append(np.polyfit(octaves, levels + 6.0206 * octaves, 1, w=1 / errors)[0])
    return [estimate(found, LEAST_DB)]


def duty(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Duty of a pulse in %, by its second partial beside the first: cos(pi duty)."""
    each = _each(sound, rate, shot, noise)
    ratio = np.clip(10 ** ((each[:, 0, 1] - each[:, 0, 0]) / 20), 0, 1)
    known = 100 / np.pi * float((ratio * np.hypot(each[:, 1, 0], each[:, 1, 1]) / 8.7).mean()) / np.sqrt(PARTS)
    return [estimate(100 * np.arccos(ratio) / np.pi, known)]


def response(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Cutoff in Hz and damping of two equal sections of two poles, by what they do to the partials of a saw."""
    found, known = [], []
    for levels, errors in _each(sound, rate, shot, noise):
        hertz = note_hz(shot.note) * shot.ratio * np.arange(1, len(levels) + 1)
        seen = levels + 20 * np.log10(np.arange(1, len(levels) + 1))
        heard = errors < FAINT_DB
        if heard.sum() < 4:
            return [NOTHING, NOTHING]

        def off(
            p: np.ndarray,
            at: np.ndarray = hertz[heard],
            seen: np.ndarray = seen[heard],
            sure: np.ndarray = errors[heard],
        ) -> np.ndarray:
            ratio = at / np.exp(p[0])
            return (p[2] - 20 * np.log10((1 - ratio**2) ** 2 + (np.exp(p[1]) * ratio) ** 2) - seen) / sure

        starts = [
            np.array([np.log(cutoff), damping, seen[0]])
            for cutoff in np.geomspace(1.5 * hertz[0], 8_000, 24)
            for damping in (-1.5, 0.0)
        ]
        best = min(starts, key=lambda start: float(np.abs(off(start)).sum()))
        fitted = optimize.least_squares(off, best, bounds=FILTERS, loss="soft_l1")
        if fitted.active_mask[:2].any():  # no filter looks like this
            return [NOTHING, NOTHING]
        found.append(np.exp(fitted.x[:2]))
        known.append(found[-1] * np.sqrt(np.diag(np.linalg.pinv(fitted.jac.T @ fitted.jac))[:2]))
    known = np.mean(known, 0) / np.sqrt(PARTS)
    return [estimate(row, least) for row, least in zip(np.array(found).T, known, strict=True)]


def corner(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise, flat: np.ndarray) -> Measured:
    """Corner of a first-order high pass in Hz, by the partials beside those of the flat position."""
    found, known = [], []
    for seen, plain in zip(_each(sound, rate, shot, noise), _each(flat, rate, shot, noise), strict=True):
        count = min(seen.shape[1], plain.shape[1])
        (levels, errors), (beside, theirs) = seen[:, :count], plain[:, :count]
        hertz = note_hz(shot.note) * shot.ratio * np.arange(1, len(levels) + 1)

        def off(
            p: np.ndarray,
            at: np.ndarray = hertz,
            seen: np.ndarray = levels - beside,
            sure: np.ndarray = np.hypot(errors, theirs),
        ) -> np.ndarray:
            return (p[1] - 10 * np.log10(1 + (np.exp(p[0]) / at) ** 2) - seen) / sure

        fitted = optimize.least_squares(off, [np.log(200.0), 0.0], loss="soft_l1")
        found.append(np.exp(fitted.x[0]))
        known.append(found[-1] * np.sqrt(np.linalg.pinv(fitted.jac.T @ fitted.jac)[0, 0]))
    return [estimate(found, float(np.mean(known)) / np.sqrt(PARTS))]


# --- courses -------------------------------------------------------------------------------------

STEP = 0.001
"""Seconds between the points of a course."""


def course(
    sound: np.ndarray, rate: float, hertz: float, partial: int = 1, fastest: float = 300.0, step: float = STEP
) -> np.ndarray:
    """Amplitude of a partial over time [shape=(seconds / step,)], as far as it moves no faster than so many Hz."""
    turned = sound * np.exp(-2j * np.pi * hertz * partial * np.arange(len(sound)) / rate)
    low = signal.butter(4, min(0.4 * hertz, fastest), fs=rate, output="sos")
    heard = 2 * np.abs(signal.sosfiltfilt(low, turned.real) + 1j * signal.sosfiltfilt(low, turned.imag))
    at = np.arange(int(len(sound) / rate / step)) * step * rate
    return np.interp(at, np.arange(len(heard)), heard)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of a line through points and its standard error."""
    slope, first = np.polyfit(x, y, 1)
    left = y - slope * x - first
    return float(slope), float(np.sqrt(np.square(left).sum() / max(len(x) - 2, 1) / np.square(x - x.mean()).sum()))


def attack(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Seconds that a linear rise takes in all, by a line from 10 to 90 % of the top."""
    heard = course(sound, rate, note_hz(shot.note))
    top = np.median(heard[-30:])
    above = heard > 0.9 * top
    if top <= 0 or not above.any():
        return [NOTHING]
    end = int(np.argmax(above))
    begin = int(np.flatnonzero(heard[: end + 1] < 0.1 * top)[-1]) if (heard[: end + 1] < 0.1 * top).any() else 0
    if end - begin < 3:
        return [NOTHING]
    slope, error = _line(np.arange(begin, end) * STEP, heard[begin:end] / top)
    # a stair of 10 ms steps has a line of its own: what it is off by is known no better than a step's tenth
    return [(1 / slope, max(error / slope**2, 0.001))] if slope > 0 else [NOTHING]


def fall(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Time constant in seconds of an exponential fall, by a line from 1 dB to 30 dB below the top."""
    heard = 20 * np.log10(course(sound, rate, note_hz(shot.note)) + 1e-9)[:-30]
    first = int(np.argmax(heard))
    after = heard[first:] - heard[first]
    begin = int(np.argmax(after < -1)) if (after < -1).any() else len(after)
    end = int(np.argmax(after < -30)) if (after < -30).any() else len(after)
    if end - begin < 30 or after[end - 1] > -4:
        return [NOTHING]
    slope, error = _line(np.arange(begin, end) * STEP, after[begin:end])
    tau = -8.6859 / slope
    return [(tau, max(abs(tau * error / slope), 0.001 * tau, 0.0005))] if tau > 0 else [NOTHING]


def rate_of(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Rate in Hz of a square modulation of the level, by the times of its edges."""
    heard = course(sound, rate, note_hz(shot.note))[int(BEGIN / STEP) : int(shot.hold / STEP) - 30]
    low, high = np.percentile(heard, (5, 95))
    if high < 1.1 * low:
        return [NOTHING]
    over = heard > (low + high) / 2
    edges = np.flatnonzero(over[1:] != over[:-1])
    edges = edges[np.concatenate([[True], np.diff(edges) > 5])] if len(edges) else edges
    if len(edges) < 3:
        return [NOTHING]
    before, after = heard[edges], heard[edges + 1]
    times = (edges + ((low + high) / 2 - before) / (after - before)) * STEP
    numbers = np.arange(len(times), dtype=float)
    half, error = _line(numbers, times) if len(times) > 3 else ((times[-1] - times[0]) / (len(times) - 1), 0.002)
    rate_hz = 0.5 / half
    return [(rate_hz, max(rate_hz * error / half, 5e-4 * rate_hz))]


# --- the program's steps -------------------------------------------------------------------------

STAIR = 0.00025
"""Seconds between the points of a course in which the program's steps are seen."""

LOOPS = (0.004, 0.08)
"""Seconds among which a loop is looked for."""

STAIRS_DB = -20.0
"""Below its loudest by more than this a tone is not looked at."""

STAGGER_MS, SETTLING_MS = 0.3, 0.25
"""Below these nothing is claimed: the model's own tables are so far off what it was made of."""

CLEAR_LINE, CLEAR_LINES = 4.0, 10.0
"""How far the loop's line must stand above what lies beside it, in amplitude, to count; and its multiples, which noise lifts the more the higher they are."""


def _stairs(sound: np.ndarray, rate: float, hertz: float, fastest: float) -> np.ndarray:
    """How steeply a tone's level moves, either way, in dB a point of `STAIR` seconds; 0 where it is faint."""
    heard = 20 * np.log10(course(sound, rate, hertz, 1, fastest, STAIR) + 1e-9)
    edge = round(0.05 / STAIR)
    heard = heard[edge:-edge]
    slope = np.abs(np.diff(heard))
    slope[heard[1:] < np.percentile(heard, 98) + STAIRS_DB] = 0.0
    return slope


def _period(slope: np.ndarray) -> float:
    """Seconds between a slope's pulses; NaN where there are none that stand clear."""
    if len(slope) < 3 * LOOPS[1] / STAIR:
        return float("nan")
    left = signal.detrend(slope) * np.hanning(len(slope))
    alike = signal.correlate(left, left, "full", "fft")[len(left) - 1 :]
    first, last = (round(seconds / STAIR) for seconds in LOOPS)
    tops = signal.find_peaks(alike[:last])[0]
    tops = tops[tops >= first]
    if not len(tops) or not alike[tops].max() > 0:
        return float("nan")
    top = tops[alike[tops] > 0.7 * alike[tops].max()][0]
    hertz = fundamental(left, 1 / STAIR, 1 / ((top + _between(alike, top)) * STAIR))
    return 1 / hertz if _line_of(slope, hertz) > CLEAR_LINE * _beside(slope, hertz) else float("nan")


def _line_of(slope: np.ndarray, hertz: float) -> float:
    """Amplitude of a line in a slope."""
    at = np.arange(len(slope)) * STAIR
    return abs(_turn(slope, at, hertz))


def _turn(slope: np.ndarray, at: np.ndarray, hertz: float) -> complex:
    window = np.hanning(len(slope))
    return complex(((slope - slope.mean()) * window * np.exp(-2j * np.pi * hertz * at)).sum() / window.sum())


def _beside(slope: np.ndarray, hertz: float) -> float:
    """What stands beside a line, where no cycle of the LFO has a line of its own."""
    away = np.linspace(0.3, 0.7, 21) * min(hertz, 100.0)
    return float(np.sqrt(np.mean([_line_of(slope, hertz + side) ** 2 for side in (*away, *-away)])))


def loop(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Milliseconds between the steps in which a tone's level moves."""
    slope = _stairs(sound, rate, note_hz(shot.note), 300.0)
    half = len(slope) // 2
    each = [1000 * _period(part) for part in (slope[:half], slope[half:], slope)]
    apart = abs(each[0] - each[1])
    return [(each[2], max(apart / 2, 0.002))] if apart < 0.02 * each[2] else [NOTHING]


def stagger(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Milliseconds by which the steps of the other voice come after those of this one."""
    mine, others = (_stairs(sound, rate, note_hz(note), 200.0) for note in (shot.note, shot.company[0][1]))
    period, its = _period(mine), _period(others)
    if not abs(period - its) < 0.01 * period:
        return [NOTHING]
    turns = []
    for part in np.array_split(np.arange(len(mine)), PARTS):
        at = part * STAIR
        turns.append(_turn(mine[part], at, 1 / period) / _turn(others[part], at, 1 / period))
    turns = np.array(turns) / np.abs(turns)
    middle = np.angle(turns.mean())
    late, error = estimate(1000 * period * np.angle(turns * np.exp(-1j * middle)) / (2 * np.pi), STAGGER_MS)
    return [(1000 * period * (middle / (2 * np.pi) % 1) + late, error)]


def settling(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Time constant in milliseconds with which steps are rounded, by the multiples of the loop's rate in them."""
    fastest = 1000.0
    slope = _stairs(sound, rate, note_hz(shot.note), fastest)
    period = _period(slope)
    if not np.isfinite(period):
        return [NOTHING]
    lines = np.arange(1, int(0.8 * fastest * period) + 1) / period
    low = signal.sosfreqz(signal.butter(4, fastest, fs=rate, output="sos"), lines, fs=rate)[1]
    passed = np.abs(low) ** 2 * np.sinc(lines * STAIR)
    found = []
    for part in np.array_split(slope, PARTS):
        beside = np.array([_beside(part, line) ** 2 for line in lines])
        power = np.array([_line_of(part, line) ** 2 for line in lines]) - beside
        clear = power > CLEAR_LINES**2 * beside
        if clear.sum() < 3:
            return [NOTHING]
        at, seen = lines[clear], 0.5 * np.log(power[clear]) - np.log(passed[clear])

        def off(p: np.ndarray, at: np.ndarray = at, seen: np.ndarray = seen) -> np.ndarray:
            return p[1] - 0.5 * np.log1p((2 * np.pi * at * np.exp(p[0])) ** 2) - seen

        found.append(1000 * np.exp(optimize.least_squares(off, [np.log(0.001), seen[0]], loss="soft_l1").x[0]))
    return [estimate(found, SETTLING_MS)]


def restart(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Decibels by which the first 150 ms are louder than the end."""
    heard = course(sound, rate, note_hz(shot.note))
    peak, end = heard[20:150].max(), np.median(heard[-230:-30])
    return [(20 * float(np.log10(peak / end)), 0.1)] if end > 0 else [NOTHING]


def goes_on(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Cycles between a tone that is struck again and what the same key, struck before, would have gone on to: -0.5 to 0.5."""
    again = round(shot.lead * rate)
    parts = [steady(sound[at:], rate, shot).ravel() for at in (0, again)]
    pitches = [fundamental(part, rate, note_hz(shot.note)) for part in parts]
    hertz = float(np.mean(pitches))
    one, two = (partials(part[None], rate, hertz)[0, 0] for part in parts)
    jump = float(np.angle(two / one)) / (2 * np.pi) - hertz * again / rate
    return [((jump + 0.5) % 1 - 0.5, max(abs(pitches[1] - pitches[0]) * again / rate, 0.002))]


def delay(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Seconds until a modulation of the level begins, and seconds from then on until it is whole."""
    heard = course(sound, rate, note_hz(shot.note))[30 : round((shot.hold - 0.03) / STEP)]
    size = round(SWING / STEP)
    swing = ndimage.maximum_filter1d(heard, size) - ndimage.minimum_filter1d(heard, size)
    whole = np.median(swing[-len(swing) // 4 : -size])
    if whole <= 0.1 * np.median(heard):
        return [NOTHING, NOTHING]
    low, high = (float(np.argmax(swing[size // 2 :] > share * whole)) * STEP for share in (0.2, 0.8))
    fade = (high - low) / 0.6
    begin = max(0.0, low - 0.2 * fade + SWING + 0.03) if low > 0 else 0.0
    return [(begin, 0.02 + 0.01 * begin), (fade, 0.02 + 0.01 * fade)]


SWING = 0.12
"""Seconds in which a swing is looked for: a little more than a cycle."""

# --- pitch over time -----------------------------------------------------------------------------

TRACK, TRACK_WINDOW = 0.005, 0.046
"""Seconds between the points of a track, and those that each looks at."""

WIDEST = 15.0
"""Semitones each way in which a swing of the pitch is looked for."""


def track(sound: np.ndarray, rate: float, lowest: float, highest: float) -> np.ndarray:
    """Pitch of a tone over time, in notes (69 is 440 Hz), between two [shape=(seconds / TRACK,)]."""
    size = round(TRACK_WINDOW * rate)
    starts = np.round(np.arange(int((len(sound) / rate - TRACK_WINDOW) / TRACK)) * TRACK * rate).astype(int)
    spectra = np.abs(np.fft.rfft(sound[starts[:, None] + np.arange(size)] * np.hanning(size), 4 * size))
    first, last = (round(note_hz(note) * 4 * size / rate) for note in (lowest, highest))
    top = first + spectra[:, first:last].argmax(1)
    a, b, c = (np.log(spectra[np.arange(len(top)), top + n] + 1e-12) for n in (-1, 0, 1))
    hertz = (top + 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)) * rate / (4 * size)
    return 69 + 12 * np.log2(hertz / 440)


def glide(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Semitones a second between two keys, by the middle of the way."""
    before = shot.company[0][1]
    way = (track(sound, rate, before - 3, shot.note + 3) - before) / (shot.note - before)
    begin, end = int(np.argmax(way > 0.2)), int(np.argmax(way > 0.8))
    if end - begin < 6:
        return [NOTHING]
    slope, error = _line(np.arange(begin, end) * TRACK, way[begin:end] * (shot.note - before))
    return [(slope, max(error, 0.005 * slope))] if slope > 0 else [NOTHING]


def _swings(sound: np.ndarray, rate: float, shot: "Shot") -> tuple[np.ndarray, float]:
    """A tone's pitch about the middle of its swing, in semitones, and how far it swings each way."""
    part = sound[round(BEGIN * rate) : round((shot.hold - 0.01) * rate)]
    notes = track(part, rate, shot.note - WIDEST, shot.note + WIDEST)
    low, high = np.percentile(notes, (1, 99))
    if max(high - shot.note, shot.note - low) > WIDEST - 0.5:  # it may go beyond
        return np.zeros(0), float("nan")
    return notes - (low + high) / 2, float(high - low) / 2


def vibrato(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Cents each way of a pitch that jumps between two."""
    notes, reach = _swings(sound, rate, shot)
    above, below = (100 * notes[side * notes > reach / 2] for side in (1, -1))
    if min(len(above), len(below)) < 10:
        return [NOTHING]
    error = np.hypot(above.std() / np.sqrt(len(above)), below.std() / np.sqrt(len(below)))
    return [(float(np.median(above) - np.median(below)) / 2, max(float(error), 0.5))]


def crest(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Root mean square of a swing of the pitch beside its greatest, over whole cycles."""
    notes, reach = _swings(sound, rate, shot)
    rises = np.flatnonzero((notes[1:] > 0) & (notes[:-1] <= 0))
    cycles = [notes[a:b] for a, b in pairwise(rises) if b - a > 20]
    return [estimate([np.sqrt(np.square(cycle).mean()) / reach for cycle in cycles], 0.005)]


def changes(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """How often a second a pitch jumps."""
    notes, reach = _swings(sound, rate, shot)
    apart = round(TRACK_WINDOW / TRACK)
    jumps = signal.find_peaks(np.abs(notes[apart:] - notes[:-apart]), 0.05 * reach, distance=2 * apart)[0]
    if len(jumps) < 4:
        return [NOTHING]
    each = TRACK * np.diff(jumps)
    usual = float(np.median(each))
    near = each[np.abs(each - usual) < 0.2 * usual]
    mean, error = estimate(near, 0.002)
    return [(1 / mean, error / mean**2)]


# --- noise, silence, chorus ----------------------------------------------------------------------


def noise_corner(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Hz at which noise has fallen by 3 dB, as one pole falls, by its spectrum from 200 Hz on."""
    found = []
    for piece in steady(sound, rate, shot):
        hertz, power = signal.welch(piece, rate, nperseg=1024)
        heard = (hertz > 200) & (hertz < min(HIGHEST, BELOW * rate))
        seen = 10 * np.log10(np.maximum(power[heard] - 2 * noise.heard**2 / rate, 1e-18))

        def off(p: np.ndarray, at: np.ndarray = hertz[heard], seen: np.ndarray = seen) -> np.ndarray:
            return p[1] - 10 * np.log10(1 + (at / np.exp(p[0])) ** 2) - seen

        low, high = (np.log(500.0), -300.0), (np.log(40_000.0), 100.0)
        fitted = optimize.least_squares(off, [np.log(4000.0), seen[0]], bounds=(low, high), loss="soft_l1")
        if fitted.active_mask[0]:
            return [NOTHING]
        found.append(np.exp(fitted.x[0]))
    return [estimate(found, 20.0)]


def topology(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise, flat: np.ndarray) -> Measured:
    """Decibels that the lowest partial has gained beside no resonance, and octaves by which two sections' dampings differ."""
    gained, unlike = [], []
    for (levels, errors), (beside, _) in zip(
        _each(sound, rate, shot, noise), _each(flat, rate, shot, noise), strict=True
    ):
        gained.append(levels[0] - beside[0])
        numbers = np.arange(1, len(levels) + 1)
        heard = errors < FAINT_DB
        if heard.sum() < 6:
            return [NOTHING, NOTHING]
        hertz, seen = note_hz(shot.note) * numbers[heard], (levels + 20 * np.log10(numbers))[heard]

        def off(
            p: np.ndarray, at: np.ndarray = hertz, seen: np.ndarray = seen, sure: np.ndarray = errors[heard]
        ) -> np.ndarray:
            ratio = (at / np.exp(p[0])) ** 2
            sections = [(1 - ratio) ** 2 + np.exp(2 * (p[1] + side * p[2])) * ratio for side in (1, -1)]
            return (p[3] - 10 * np.log10(sections).sum(0) - seen) / sure

        top = np.log(hertz[int(seen.argmax())])
        starts = [np.array([top, damping, apart, seen[0]]) for damping in (-1.5, 0.0) for apart in (0.05, 1.0)]
        fits = [optimize.least_squares(off, start, loss="soft_l1", x_scale=[0.01, 0.1, 0.1, 1.0]) for start in starts]
        unlike.append(abs(min(fits, key=lambda each: each.cost).x[2]) * 2 / np.log(2))
    return [estimate(gained, LEAST_DB), estimate(unlike, 0.02)]


def silence(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise) -> Measured:
    """Seconds of the longest silence."""
    size = round(0.02 * rate)
    loud = np.sqrt(np.square(sound[: len(sound) // size * size].reshape(-1, size)).mean(1)) + 1e-9
    usual, least = np.percentile(loud, 90), loud.min()
    if least > 0.3 * usual:
        return [(0.0, 0.02)]
    ends = np.flatnonzero(
        np.concatenate([[True], loud > np.sqrt(usual * least), [True]])
    )  # a board that is off may hiss
    return [(0.02 * float(np.diff(ends).max() - 1), 0.02)]


def chorus(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise, off: np.ndarray) -> Measured:
    """Rate in Hz, least and most delay in ms, and level of the delayed sound beside the direct one.

    The delayed sound makes a comb of the partials, which wanders with the delay: each partial's course over time, beside that
    with the chorus off, is |1 + wet exp(-j w delay(t))| of a triangle, whose four numbers and phase are found by least squares.
    """
    rate = rate / COMB_SLOWER
    hertz = note_hz(shot.note)  # the delayed sound wanders in pitch
    numbers = np.arange(1, max(2, int(min(COMB_HIGHEST, BELOW * rate) / hertz)) + 1)
    power, direct = (
        np.array([course(part, rate, hertz, n)[30:-30:COMB_STEP] for n in numbers]) ** 2
        for part in (
            signal.resample_poly(each[round(BEGIN * rate * COMB_SLOWER) :], 1, COMB_SLOWER) for each in (sound, off)
        )
    )
    seen = power / direct.mean(1, keepdims=True)
    at = (np.arange(seen.shape[1]) * COMB_STEP + 30) * STEP

    def apart(p: np.ndarray, rows: slice = slice(None), step: int = 1) -> np.ndarray:
        pace, phase, middle, reach, wet = p
        delay = middle + reach * (1 - 4 * np.abs((pace * at[::step] + phase) % 1 - 0.5))
        made = 1 + wet**2 + 2 * wet * np.cos(2 * np.pi * 1e-3 * hertz * numbers[rows, None] * delay)
        return (made - seen[rows, ::step]).ravel() / (1 + wet**2)

    grid = [np.array([pace, phase, 3.4, 1.8, 1.2]) for pace in np.arange(*COMB_RATES) for phase in np.arange(0, 1, 0.1)]
    starts = sorted(grid, key=lambda p: float(np.square(apart(p, slice(10), 4)).sum()))[:4]
    options = {"x_scale": [0.01, 0.05, 0.1, 0.1, 0.1], "loss": "soft_l1", "f_scale": 0.2}
    coarse = [optimize.least_squares(apart, start, args=(slice(10), 4), max_nfev=40, **options) for start in starts]
    best = optimize.least_squares(apart, min(coarse, key=lambda each: each.cost).x, max_nfev=40, **options)
    spread = np.sqrt(np.diag(np.linalg.pinv(best.jac.T @ best.jac)) * 2 * best.cost / (seen.size / 20))
    pace, _, middle, reach, wet = best.x
    reach, wide = abs(reach), float(np.hypot(spread[2], spread[3]))
    return [(pace, spread[0]), (middle - reach, wide), (middle + reach, wide), (abs(wet), spread[4])]


COMB_HIGHEST, COMB_SLOWER, COMB_STEP, COMB_RATES = 1_200.0, 8, 20, (0.25, 1.6, 0.012)
"""Hz of the highest partial, the share of the rate that is enough for it, points of a course that are left out, and the rates among which a chorus is looked for."""


# --- time ----------------------------------------------------------------------------------------

MARKER = (0.0, 0.09, 0.15, 0.3, 0.36, 0.51, 0.66, 0.72)
"""Seconds at which the short notes of a marker begin: no shift of them looks like itself."""

MARK, MARKER_SECONDS, CLEAR = 0.03, 0.85, 0.6
"""How long each of them is, how long they are all, and how alike (of 1) a recording must be to count as one."""

MOST_DRIFT = 1e-3
"""Of a sequence's length: how much longer or shorter a recording may be to count as one of it."""

CRYSTALS = 300e-6
"""How far two clocks may be apart, of their rate. What is more is sound that was lost."""


def quiet(sound: np.ndarray, rate: int, begin: float) -> float:
    """RMS of the noise in a recording [shape=(n,)] above 200 Hz: of the quiet before its first marker, or its quietest moment."""
    high = signal.sosfilt(signal.butter(4, 200, "high", fs=rate, output="sos"), sound)
    before = high[round(max(begin - 0.45, 0.02) * rate) : round((begin - 0.14) * rate)]  # then the tone is told
    if len(before) > 0.1 * rate:
        return float(np.sqrt(np.square(before).mean()))
    size = rate // 50
    frames = high[: len(high) // size * size].reshape(-1, size)
    return float(np.sqrt(np.square(frames).mean(1).min()))


def markers(sound: np.ndarray, rate: int, apart: float) -> tuple[float, float]:
    """Seconds at which the first and the last marker begin in a recording [shape=(n,)].

    apart : seconds between them on the wire.  Raises ValueError if there are no two so far apart.
    """
    pace = 1 / STEP
    power = signal.sosfilt(signal.butter(2, 150, "high", fs=rate, output="sos"), sound) ** 2
    size = rate * STEP
    edges = np.round(np.arange(int(len(sound) / size) + 1) * size).astype(int)
    total = np.concatenate([[0.0], np.cumsum(power)])
    heard = np.sqrt(np.maximum(total[edges[1:]] - total[edges[:-1]], 0))
    shape = np.zeros(round(MARKER_SECONDS * pace))
    for begin in MARKER:
        shape[round(begin * pace) : round((begin + MARK) * pace)] = 1.0
    if len(heard) < 2 * len(shape):
        raise ValueError("the recording is too short to hold the sequence")
    shape -= shape.mean()
    scores = signal.fftconvolve(heard, shape[::-1], "valid")
    window = np.ones(len(shape))
    mean, square = (signal.fftconvolve(row, window, "valid") / len(shape) for row in (heard, heard**2))
    spread = np.sqrt(np.maximum(square - mean**2, 1e-4 * heard.max() ** 2 + 1e-18) * len(shape))
    scores = scores / (spread * np.sqrt(np.square(shape).sum()))
    tops = signal.find_peaks(scores, height=CLEAR, distance=100)[0]
    pairs = [
        (scores[one] + scores[two], one, two)
        for one in tops
        for two in tops[np.abs(tops - one - apart * pace) <= MOST_DRIFT * apart * pace + 5]
    ]
    if not pairs:
        raise ValueError(
            "no two markers of the sequence were found in it: is it a recording of this kit, whole, and loud enough?"
        )
    _, *found = max(pairs)
    return tuple((n + _between(scores, n)) * STEP for n in found)


def _between(scores: np.ndarray, top: int) -> float:
    """A peak's place between points, by the parabola through it."""
    a, b, c = scores[top - 1 : top + 2]
    bend = a - 2 * b + c
    return 0.5 * (a - c) / bend if bend else 0.0


# --- whether there is anything -------------------------------------------------------------------

OF_SILENCE = (level, loudness, floor, silence)
"""Measures to which no sound is an answer, too."""


def sounds(part: np.ndarray, rate: float, noise: Noise) -> bool:
    """Whether a part of a recording holds more than its noise."""
    if len(part) < 0.1 * rate:
        return False
    high = signal.sosfilt(signal.butter(4, 200, "high", fs=rate, output="sos"), part)
    return bool(np.sqrt(np.square(high[round(0.02 * rate) :]).mean()) > 1.6 * noise.heard + 1e-7)
