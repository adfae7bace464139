"""How far apart two sounds, or two sets of parameters, are. Defined once; every table uses these.

Sounds are float32 (n,), mono, of one rate and length. MSS, wMFCC, SOT and RMS cosine as the synth-permutations project defines them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import fft

from jxemu.kernel import kernel
from jxemu.patch.parameter import PARAMETERS
from jxemu.render.features import mel_bands, spectra
from jxemu.render.spec import NAMES

MSS_SCALES = ((0.010, 0.005, 32), (0.025, 0.010, 64), (0.100, 0.050, 128))
"""Window and hop in seconds, and mel bands, of the multi-scale spectral distance."""

LOWEST = 20.0
"""Hertz at which the mel bands begin."""

FLOOR_DB = -80.0
"""Levels below this, against the louder of both sounds' peak, are not told apart."""

MFCC_WINDOW, MFCC_HOP, MFCC_MELS, MFCC_COUNT = 0.050, 0.010, 128, 20
SOT_WINDOW, SOT_HOP = 0.050, 0.020
RMS_WINDOW, RMS_HOP = 0.050, 0.025
_ABREAST = 8
_SILENT = 1e-6  # of a frame's summed magnitude


def _spectra(sound: np.ndarray, window: int, hop: int) -> tuple[np.ndarray, np.float32]:
    """Complex spectra (frames, window // 2 + 1), and what their squared magnitudes are to be multiplied by: a full-scale sine is near 1."""
    return spectra(np.pad(sound, (0, max(0, window - len(sound)))), window, hop), np.float32((4 / window) ** 2)


def log_mel(sound: np.ndarray, rate: int, window: float, hop: float, count: int) -> np.ndarray:
    """Levels in dB (frames, count)."""
    size = round(window * rate)
    bands = mel_bands(rate, size, count, LOWEST)
    return _levels(*_spectra(sound, size, round(hop * rate)), bands.indptr, bands.indices, bands.data)


@kernel
def _levels(found, scale, begins, bins, weights):
    """Levels in dB (frames, bands) of complex spectra; bands are rows of a sparse matrix. Searches spend their time here.

    `_ABREAST` frames go side by side: a sum of one waits for each of its additions, so many are summed in the same time.
    """
    levels = np.empty((len(found), len(begins) - 1), np.float32)
    power = np.empty((found.shape[1], _ABREAST), np.float32)
    total = np.empty(_ABREAST, np.float32)
    for first in range(0, len(found), _ABREAST):
        for n in range(_ABREAST):
            frame = min(first + n, len(found) - 1)
            for k in range(len(power)):
                x = found[frame, k]
                power[k, n] = (x.real * x.real + x.imag * x.imag) * scale
        for band in range(levels.shape[1]):
            total[:] = np.float32(0.0)
            for place in range(begins[band], begins[band + 1]):
                for n in range(_ABREAST):
                    total[n] += weights[place] * power[bins[place], n]
            for n in range(min(_ABREAST, len(found) - first)):
                levels[first + n, band] = np.float32(10.0) * np.log10(total[n] + np.float32(1e-12))
    return levels


@kernel
def difference(x: np.ndarray, y: np.ndarray, floors: np.ndarray) -> tuple[float, int]:
    """Sum of the differences of two levels (frames, bands), none below its band's floor, and how many stand above it in one of both.

    Floors are of the lowest bands; those above are not compared.
    """
    total, count = 0.0, 0
    for frame in range(x.shape[0]):
        for band in range(len(floors)):
            a, b = max(x[frame, band], floors[band]), max(y[frame, band], floors[band])
            total += abs(a - b)
            count += max(a, b) > floors[band]
    return total, count


class Spectra:
    """What MSS compares of a sound: its log-mel spectra at every scale, and its peak level."""

    def __init__(self, sound: np.ndarray, rate: int):
        self.levels = [log_mel(sound, rate, *scale) for scale in MSS_SCALES]
        self.top = max(float(levels.max()) for levels in self.levels)


def mss_of(a: Spectra, b: Spectra) -> float:
    """Multi-scale spectral distance in dB: mean difference of level of log-mel spectra, the mean over three scales."""
    floor = max(a.top, b.top) + FLOOR_DB
    pairs = zip(a.levels, b.levels, strict=True)
    return float(np.mean([np.abs(np.maximum(x, floor) - np.maximum(y, floor)).mean() for x, y in pairs]))


def mss(a: np.ndarray, b: np.ndarray, rate: int) -> float:
    """`mss_of` two sounds, in dB; 0 for the same sound."""
    return mss_of(Spectra(a, rate), Spectra(b, rate))


def lsd(a: np.ndarray, b: np.ndarray, rate: int) -> float:
    """Log-spectral distance in dB: RMS over bins, the mean over frames of 2048 samples, hop 512."""
    spectra_of = (_spectra(sound, 2048, 512) for sound in (a, b))
    x, y = (10 * np.log10(np.square(np.abs(found)) * scale + np.float32(1e-10)) for found, scale in spectra_of)
    return float(np.sqrt(np.square(x - y).mean(1)).mean())


def mfcc(sound: np.ndarray, rate: int) -> np.ndarray:
    """Cepstra (frames, 20) of log-mel levels, orthonormal DCT-II."""
    return fft.dct(log_mel(sound, rate, MFCC_WINDOW, MFCC_HOP, MFCC_MELS), norm="ortho", axis=1)[:, :MFCC_COUNT]


def wmfcc(a: np.ndarray, b: np.ndarray, rate: int) -> float:
    """Warped MFCC distance: dynamic time warping under the L1 distance of cepstra, per step of the path's longest side."""
    x, y = mfcc(a, rate), mfcc(b, rate)
    cost = np.abs(x[:, None] - y).mean(-1)
    n, m = cost.shape
    older, old = np.full(n + 1, np.inf), np.full(n + 1, np.inf)  # the two diagonals before, by row; row 0 is the border
    older[0] = 0.0
    for diagonal in range(2, n + m + 1):
        rows = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        new = np.full(n + 1, np.inf)
        nearest = np.minimum(older[rows - 1], np.minimum(old[rows - 1], old[rows]))
        new[rows] = cost[rows - 1, diagonal - rows - 1] + nearest
        older, old = old, new
    return float(old[n] / max(n, m))


def sot(a: np.ndarray, b: np.ndarray, rate: int) -> float:
    """Spectral optimal transport: Wasserstein-1 distance of normalised magnitude spectra on 0..1, the mean over frames."""
    return float(np.abs(cumulative(a, rate) - cumulative(b, rate)).mean())


def cumulative(
    sound: np.ndarray, rate: int, hop: float = SOT_HOP, floors: np.ndarray | None = None, least: float = _SILENT
) -> np.ndarray:
    """Cumulated shares of the magnitude spectrum (frames, bins), up to 1; 0 in frames whose sum is not above `least`.

    floors : magnitudes of the lowest bins that are only noise: each bin counts by what it has above, bins without a floor do not.
    """
    window = round(SOT_WINDOW * rate)
    floors = np.zeros(window // 2 + 1, np.float32) if floors is None else floors
    return _shares(*_spectra(sound, window, round(hop * rate)), floors, np.float32(least))


@kernel
def _shares(found, scale, floors, least):
    """`cumulative` of complex spectra (frames, bins)."""
    shares = np.empty((len(found), len(floors)), np.float32)
    for frame in range(len(found)):
        total = np.float32(0.0)
        for k in range(shares.shape[1]):
            power = found[frame, k].real * found[frame, k].real + found[frame, k].imag * found[frame, k].imag
            total += max(np.sqrt(power * scale) - floors[k], np.float32(0.0))
            shares[frame, k] = total
        whole = np.float32(1.0) / total if total > least else np.float32(0.0)
        for k in range(shares.shape[1]):
            shares[frame, k] *= whole
    return shares


def envelope(sound: np.ndarray, rate: int) -> np.ndarray:
    """RMS of frames of 50 ms every 25 ms."""
    size, hop = round(RMS_WINDOW * rate), round(RMS_HOP * rate)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (0, max(0, size - len(sound)))), size)[::hop]
    return np.sqrt(np.square(frames, dtype=np.float64).mean(1))


def rms_cosine(a: np.ndarray, b: np.ndarray, rate: int) -> float:
    """Cosine of the RMS envelopes: 1 for the same course of level."""
    return cosine(envelope(a, rate), envelope(b, rate))


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Cosine of the angle between two vectors; 1 if both are 0."""
    size = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / size) if size > 0 else float(not (x.any() or y.any()))


def esr(a: np.ndarray, b: np.ndarray) -> float:
    """Error to signal ratio of `b` against `a`, for sounds that are aligned to the sample."""
    return float(np.square(a - b, dtype=np.float64).sum() / max(np.square(a, dtype=np.float64).sum(), 1e-20))


SOUND_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "MSS": mss, "wMFCC": wmfcc, "SOT": sot, "RMS cosine": rms_cosine, "LSD": lsd,
}  # fmt: skip

# --- parameters ----------------------------------------------------------------------------------

SWITCHES = tuple(name for name, row in PARAMETERS.items() if row.labels)
AMOUNTS = tuple(name for name in SWITCHES if name.endswith(("_key", "_dyn")))
"""Switches whose states are steps of an amount."""
PLAYED = ("vcf_key", *AMOUNTS)
"""Key follow and dynamics: what one note at one velocity cannot tell."""
_PAIRS = {f"dco1_{what}": f"dco2_{what}" for what in ("range", "wave", "tune", "lfo", "env")} | {"mix_dco1": "mix_dco2"}


def parameter_errors(
    truth: np.ndarray, guess: np.ndarray, names: tuple[str, ...], decided: np.ndarray
) -> dict[str, float]:
    """Errors of parameters on 0..1 (items, parameters): MSE, RMSE, MAE, R2 and the accuracy of switches.

    R2 is 1 - MSE / variance, both averaged over the parameters: comparable when priors differ. Accuracy is that of
    `decided`, the guess with each switch in one state (a mean may stand at a state that is not likely at all), and NaN without switches.
    """
    error = guess - truth
    mse = float(np.square(error).mean())
    variance = float(truth.var(0).mean())
    switches = [n for n, name in enumerate(names) if name in SWITCHES]
    tops = np.array([PARAMETERS[names[n]].top for n in switches])
    right = np.rint(decided[:, switches] * tops) == np.rint(truth[:, switches] * tops) if switches else np.array(np.nan)
    return {
        "MSE": mse,
        "RMSE": mse**0.5,
        "MAE": float(np.abs(error).mean()),
        "R2": 1 - mse / variance if variance > 0 else float("nan"),
        "switches": float(right.mean()),
    }


def swapped(p: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Parameters (items, parameters) with DCO 1 and 2 exchanged, as far as both of a pair are there."""
    there = {a: b for a, b in _PAIRS.items() if a in names and b in names}
    order = [names.index((there | {b: a for a, b in there.items()}).get(name, name)) for name in names]
    return p[:, order]


def is_symmetric(values: np.ndarray, names: Sequence[str] = NAMES) -> np.ndarray:
    """Whether exchanging the DCOs of tones (items, 44) in parameters `names` changes nothing that is heard.

    None of what only DCO 2 has is in use, and what is not among the names is the same for both.
    """
    column = {name: values[:, n].astype(int) for n, name in enumerate(NAMES)}
    plain = (column["dco_xmod"] == 0) & (column["dco2_fine"] == PARAMETERS["dco2_fine"].default)
    for first, second in _PAIRS.items():
        if not {first, second} <= {*names}:
            plain &= column[first] == column[second]
    return plain & (column["mix_env"] == 0) & (column["mix_dyn"] == 0)


def swap_aware_mse(truth: np.ndarray, guess: np.ndarray, names: tuple[str, ...], symmetric: np.ndarray) -> float:
    """MSE in which a tone whose DCOs may be exchanged (`is_symmetric`) counts with the nearer of both readings."""
    straight = np.square(guess - truth).mean(1)
    crossed = np.square(guess - swapped(truth, names)).mean(1)
    return float(np.where(symmetric, np.minimum(straight, crossed), straight).mean())


def bootstrap(scores: np.ndarray, seed: int = 0, draws: int = 1000) -> dict[str, float]:
    """Mean, median and the 95 % interval of the mean of one score an item."""
    scores = np.asarray(scores, float)
    rng = np.random.default_rng(seed)
    means = scores[rng.integers(0, len(scores), (draws, len(scores)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": scores.mean(), "median": float(np.median(scores)), "low": low, "high": high, "n": len(scores)}
