import numpy as np
import pytest

from jxemu.ml import metrics
from jxemu.patch.tone import Tone
from jxemu.render.features import mel_bands, spectra
from jxemu.render.spec import NAMES

RATE = 16_000


def sine(hertz, seconds=1.0, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seed=0, seconds=1.0, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def test_a_sound_is_at_no_distance_from_itself():
    sound = noise()
    assert [metrics.SOUND_METRICS[name](sound, sound, RATE) for name in ("MSS", "wMFCC", "SOT", "LSD")] == [0, 0, 0, 0]
    assert metrics.rms_cosine(sound, sound, RATE) == pytest.approx(1)
    assert metrics.esr(sound, sound) == 0


def test_six_decibels_are_six_decibels():
    sound = noise()
    assert metrics.mss(sound, sound / 2, RATE) == pytest.approx(6.02, abs=0.01)
    assert metrics.lsd(sound, sound / 2, RATE) == pytest.approx(6.02, abs=0.01)
    assert metrics.esr(sound, sound / 2) == pytest.approx(0.25)
    assert metrics.sot(sound, sound / 2, RATE) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("frames", [1, 8, 11, 48])
def test_levels_are_those_of_power_in_mel_bands(frames):
    sound = np.random.default_rng(1).standard_normal(400 + 160 * (frames - 1)).astype(np.float32)
    power = np.square(np.abs(spectra(sound, 400, 160))) * (4 / 400) ** 2
    bands = mel_bands(RATE, 400, 64, metrics.LOWEST).toarray()
    levels = metrics.log_mel(sound, RATE, 0.025, 0.010, 64)
    assert len(levels) == frames
    assert levels == pytest.approx(10 * np.log10(power @ bands.T + 1e-12), abs=1e-3)


def test_differences_count_only_what_stands_above_the_floor_in_one_of_both():
    x, y = np.float32([[0, -50, -90]]), np.float32([[-10, -90, -95]])
    total, count = metrics.difference(x, y, np.float32([-80, -60, -80]))
    assert (total, count) == (10 + 10, 2)


def test_silence_has_no_share_of_a_spectrum():
    assert not metrics.cumulative(np.zeros(RATE, np.float32), RATE).any()
    assert metrics.cumulative(sine(440), RATE)[:, -1] == pytest.approx(1)


def test_transport_grows_with_the_distance_of_pitches():
    base, near, far = (metrics.sot(sine(440), sine(hertz), RATE) for hertz in (440, 660, 4440))
    assert base == 0
    assert far == pytest.approx(4000 / (RATE / 2), rel=0.1)
    assert near < far / 5


def test_warping_forgives_a_delay_and_not_another_timbre():
    sound = np.concatenate([np.zeros(2000, np.float32), sine(300), noise(1), np.zeros(2000, np.float32)])
    late = np.roll(sound, 1600)
    other = np.concatenate([np.zeros(2000, np.float32), noise(2), sine(900), np.zeros(2000, np.float32)])
    assert metrics.wmfcc(sound, late, RATE) < 0.2 * metrics.wmfcc(sound, other, RATE)


def test_warping_is_the_least_cost_of_all_paths():
    from itertools import product

    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((4, 20)), rng.standard_normal((3, 20))
    cost = np.abs(x[:, None] - y).mean(-1)

    def least(i, j):
        if (i, j) == (0, 0):
            return cost[0, 0]
        steps = [(i - a, j - b) for a, b in product((0, 1), repeat=2) if (a or b) and i >= a and j >= b]
        return cost[i, j] + min(least(*step) for step in steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "mfcc", lambda sound, rate: sound)
        assert metrics.wmfcc(x, y, RATE) == pytest.approx(least(3, 2) / 4)


def test_the_course_of_level_is_compared_without_the_level():
    fade = np.linspace(1, 0, RATE, dtype=np.float32)
    assert metrics.rms_cosine(sine(440) * fade, 0.1 * sine(440) * fade, RATE) == pytest.approx(1, abs=1e-6)
    assert metrics.rms_cosine(sine(440) * fade, sine(440) * fade[::-1], RATE) < 0.6


def test_parameter_errors_are_those_of_the_definitions():
    truth, guess = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.5, 1.0], [0.5, 0.0]])
    decided = np.array([[0.5, 1.0], [0.5, 1.0]])
    found = metrics.parameter_errors(truth, guess, ("vcf_freq", "vca_mode"), decided)
    assert found == {"MSE": 0.125, "RMSE": pytest.approx(0.125**0.5), "MAE": 0.25, "R2": 0.5, "switches": 0.5}


def test_dcos_are_exchanged_only_where_all_that_tells_them_apart_varies():
    values = np.array([list(Tone(mix_dco1=127, mix_dco2=0).values().values())])
    assert metrics.is_symmetric(values).all()
    assert not metrics.is_symmetric(values, ("dco1_wave", "dco2_wave", "vcf_freq")).any()
    values[:, NAMES.index("mix_dco2")] = 127
    assert metrics.is_symmetric(values, ("dco1_wave", "dco2_wave", "vcf_freq")).all()


def test_exchanged_dcos_count_only_where_nothing_tells_them_apart():
    names = ("dco1_wave", "dco2_wave", "vcf_freq")
    truth, guess = np.array([[0.0, 1.0, 0.5]] * 2), np.array([[1.0, 0.0, 0.5]] * 2)
    assert metrics.swap_aware_mse(truth, guess, names, np.array([True, True])) == 0
    assert metrics.swap_aware_mse(truth, guess, names, np.array([True, False])) == pytest.approx(1 / 3)


def test_exchanging_the_dcos_of_a_symmetric_tone_leaves_its_sound():
    import jxemu
    from jxemu.render.spec import NAMES

    tone = jxemu.Tone(dco1_wave="saw", dco1_range="4'", mix_dco1=90, dco2_wave="square", dco2_tune=70, mix_dco2=60)
    values = np.array([list(tone.values().values())])
    other = jxemu.Tone(**dict(zip(NAMES, metrics.swapped(values, NAMES)[0].tolist(), strict=True)))
    assert other.dco1_wave == 1
    assert other.dco2_tune == 64
    assert metrics.is_symmetric(values).all()
    a, b = (jxemu.render(each, [(60, 100, 0.0, 0.4)], 0.5).mean(1) for each in (tone, other))
    assert metrics.mss(a, b, 48_000) < 0.5
    assert not metrics.is_symmetric(np.array([list(tone.replace(dco2_fine=80).values().values())])).any()


def test_the_interval_holds_the_mean_and_narrows():
    scores = np.random.default_rng(0).normal(3, 1, 400)
    few, many = metrics.bootstrap(scores[:40]), metrics.bootstrap(scores)
    assert few["low"] < 3 < few["high"]
    assert many["high"] - many["low"] < 0.5 * (few["high"] - few["low"])
