"""What is measured of the sound of one shot: each measure gives values with their standard errors.

A measure takes the sound [shape=(n,)] from the key on (or off), its rate in Hz on the wire's own time, the shot, and the
RMS of the noise in it; where the step asks for it, also the sound of its first shot. It returns (value, standard error) of each of the step's columns,
NaN where nothing can be said. Tones are measured by their partials, so hum and noise between those do not count.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import optimize, signal

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
    """Complex amplitudes of the multiples of a frequency in each part [shape=(parts, count)], up to `HIGHEST`."""
    count = max(2, min(most, int(HIGHEST / hertz)))
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
    for (levels, errors), (beside, theirs) in zip(
        _each(sound, rate, shot, noise), _each(flat, rate, shot, noise), strict=True
    ):
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


def course(sound: np.ndarray, rate: float, hertz: float, partial: int = 1) -> np.ndarray:
    """Amplitude of a partial over time [shape=(seconds / STEP,)]."""
    turned = sound * np.exp(-2j * np.pi * hertz * partial * np.arange(len(sound)) / rate)
    low = signal.butter(4, min(0.4 * hertz, 300.0), fs=rate, output="sos")
    heard = 2 * np.abs(signal.sosfiltfilt(low, turned.real) + 1j * signal.sosfiltfilt(low, turned.imag))
    at = np.arange(int(len(sound) / rate / STEP)) * STEP * rate
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


def chorus(sound: np.ndarray, rate: float, shot: "Shot", noise: Noise, off: np.ndarray) -> Measured:
    """Rate in Hz, least and most delay in ms, and level of the delayed sound beside the direct one.

    The delayed sound makes a comb of the partials, which wanders with the delay: each partial's course over time, beside that
    with the chorus off, is |1 + wet exp(-j w delay(t))| of a triangle, whose four numbers and phase are found by least squares.
    """
    rate = rate / COMB_SLOWER
    hertz = note_hz(shot.note)  # the delayed sound wanders in pitch
    numbers = np.arange(1, max(2, int(COMB_HIGHEST / hertz)) + 1)
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
