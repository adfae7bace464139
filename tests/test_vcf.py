import numpy as np
import pytest
from scipy.integrate import solve_ivp
from workbench import run_filter, run_polynomials

import jxemu
from jxemu.clock import cents
from jxemu.soundboard.vcf import response

RATE = 192_000
DAMPINGS = (2, 1, 0.5, 0.25, 0.1)
CUTOFFS = (100, 300, 1000, 2000, 4000, 8000, 12_000)


def analog(hz, cutoff, q):
    r = hz / cutoff
    return 1 / ((1 - r * r) + 1j * q * r) ** 2


def saw(t, hz, amplitude):
    k = np.arange(1, int(20_000 / hz))
    return amplitude * 2 / np.pi * np.sum(np.sin(2 * np.pi * np.multiply.outer(t, k) * hz) / k, axis=-1)


def solve(cutoff, q, drive, seconds):
    """Low pass of the filter's differential equation (..., samples), of arrays of cutoffs, dampings and drives."""
    t = np.arange(int(seconds * RATE)) / RATE
    w, q, drive = np.broadcast_arrays(2 * np.pi * np.asarray(cutoff, float), q, drive)

    def slope(t, v):
        b1, l1, b2, l2 = v.reshape(4, *w.shape)
        first = np.tanh(saw(t, 110, drive) - l1) - q * np.tanh(b1), np.tanh(b1)
        return (w * np.array([*first, np.tanh(l1 - l2) - q * np.tanh(b2), np.tanh(b2)])).ravel()

    solved = solve_ivp(slope, (0, t[-1]), np.zeros(4 * w.size), "DOP853", t, rtol=1e-9, atol=1e-10).y
    return t, solved.reshape(4, *w.shape, -1)[3]


def snr(reference, heard):
    return 10 * np.log10(np.sum(reference**2) / np.sum((heard - reference) ** 2))


@pytest.mark.parametrize("q", DAMPINGS)
@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_the_small_signal_response_is_the_dual_section_s(cutoff, q):
    n = 1 << 17
    impulse = np.zeros(n)
    impulse[8] = 1e-3
    response = np.fft.rfft(run_filter(impulse, cutoff, q, RATE).astype(float)) / 1e-3
    hz = np.fft.rfftfreq(n, 1 / RATE)
    wanted = np.abs(analog(hz, cutoff, q))
    error = np.abs(20 * np.log10(np.abs(response) / wanted))
    heard = (hz >= 20) & (hz <= 15_000) & (wanted > 1e-3)
    assert error[heard].max() < 0.6
    if cutoff <= 4000:
        assert error[heard & (hz <= 2 * cutoff)].max() < 0.15


@pytest.mark.parametrize("q", [0.5, 0.25, 0.1])
@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_the_resonance_peak_is_within_three_cents(cutoff, q):
    impulse = np.zeros(1 << 17)
    impulse[8] = 1e-3
    spectrum = np.abs(np.fft.rfft(run_filter(impulse, cutoff, q, RATE).astype(float), 1 << 21))
    top = int(np.argmax(spectrum))
    before, at, after = spectrum[top - 1 : top + 2]
    peak = (top + (before - after) / 2 / (before - 2 * at + after)) * RATE / (1 << 21)
    assert abs(cents(peak / (cutoff * np.sqrt(1 - q * q / 2)))) < 3


DRIVES = [0.1, 0.5, 1.0, 2.0]
DRIVEN = [(300, 0.1), (800, 0.3), (1500, 0.15), (1500, 0.5), (3000, 0.1), (4000, 0.1), (4000, 0.25), (4000, 2)]


@pytest.fixture(scope="module")
def driven():
    """All driven filters (DRIVES, DRIVEN, samples), solved at once: one at a time it takes a minute longer."""
    cutoff, q = np.array(DRIVEN).T
    return solve(cutoff, q, np.array(DRIVES)[:, None], 0.03)


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("cutoff, q", DRIVEN)
def test_a_driven_filter_follows_the_differential_equation(driven, cutoff, q, drive):
    t, solved = driven[0], driven[1][DRIVES.index(drive), DRIVEN.index((cutoff, q))]
    heard = run_filter(saw(t, 110, drive), cutoff, q, RATE)
    assert snr(solved[2000:], heard[2000:]) >= 60


def test_a_resonant_filter_driven_hard_can_be_chaotic_so_that_no_solver_follows_it():
    t, (solved, nearly) = solve(1500, 0.1, [2.0, 2.0 * 1.000_01], 0.06)
    late = t > 0.04
    assert snr(solved[late], nearly[late]) < 20


def test_the_kernels_tanh_and_tan_are_as_close_as_stated():
    x = np.linspace(-8, 8, 20_001)
    assert np.abs(run_polynomials(x)[0] - np.tanh(x)).max() < 1.5e-4
    x = np.linspace(1e-3, 1.4, 5000)
    assert np.abs(run_polynomials(x)[1] / np.tan(x.astype(np.float32)) - 1).max() < 4e-6


@pytest.mark.parametrize("oversample", [2, 4, 8])
@pytest.mark.parametrize("resonance", [32, 64, 90, 127])
def test_a_wide_open_resonant_filter_does_not_ring_by_itself(resonance, oversample):
    tone = jxemu.Tone("OPEN", vcf_freq=127, vcf_res=resonance, vca_mode="gate")
    wanted = jxemu.render(tone, [(36, 100, 0, 9)], 0.6, oversample=8)[12_000:, 0].astype(float)
    heard = jxemu.render(tone, [(36, 100, 0, 9)], 0.6, oversample=oversample)[12_000:, 0].astype(float)
    assert abs(20 * np.log10(np.std(heard) / np.std(wanted))) < 3
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert spectrum[: len(spectrum) // 20].max() > 10 * spectrum[len(spectrum) // 3 :].max()


@pytest.mark.parametrize("resonance", ["dual", "single", "feedback"])
def test_each_topology_resonates_in_its_own_way(resonance):
    """Dual and single keep the bass, global feedback costs it."""
    quiet, loud = (
        jxemu.render(
            jxemu.Tone("RES", vcf_freq=70, vcf_res=res, mix_dco1=20), [(36, 100, 0, 9)], 1.0, resonance=resonance
        )[24_000:, 0].astype(float)
        for res in (0, 80)
    )
    window = np.hanning(len(quiet))
    bass = round(8e6 / 4 / 30_581 / 2)  # first harmonic of note 36 in bins of 2 Hz
    low = [np.abs(np.fft.rfft(sound * window))[bass - 2 : bass + 3].max() for sound in (quiet, loud)]
    change = 20 * np.log10(low[1] / low[0])
    assert change < -3 if resonance == "feedback" else abs(change) < 1


@pytest.mark.parametrize("q", DAMPINGS)
def test_the_drawn_response_is_the_analog_one(q):
    hz = np.geomspace(20, 20_000, 50)
    assert np.allclose(response(hz, 1000, q, q), analog(hz, 1000, q))
