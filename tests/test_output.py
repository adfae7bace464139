"""Decimators, HPF and chorus."""

import numpy as np
import pytest
from workbench import run_decimator

import jxemu
from jxemu.soundboard.parts import value

RATE = 48_000


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_decimator_is_flat_to_18_khz_and_rejects_98_db(factor):
    n = 4096 * factor
    impulse = np.zeros(n)
    phases = []
    for at in range(factor):
        impulse[:] = 0
        impulse[512 * factor + at] = 1
        phases.append(run_decimator(impulse, factor).astype(float))
    whole = np.zeros(n)
    for at, phase in enumerate(phases):
        whole[factor - 1 - at :: factor][: len(phase)] = phase[: len(whole[factor - 1 - at :: factor])]
    response = 20 * np.log10(np.abs(np.fft.rfft(whole)) + 1e-12)
    hz = np.fft.rfftfreq(n, 1 / (RATE * factor))
    assert np.abs(response[hz <= 18_000]).max() < 0.05
    folds = np.zeros(len(hz), bool)
    for image in range(1, factor // 2 + 1):
        folds |= np.abs(hz - image * RATE) <= 20_000
    assert response[folds].max() < -98


@pytest.fixture(scope="module", params=[1, 2])
def chorus(request):
    """``(mode, dry, wet)``: noise, and what each side of the chorus adds to it."""
    tone = jxemu.Tone("NOISE", dco1_wave="noise", mix_dco1=100, vca_mode="gate")
    notes = [(60, 100, 0, 99)]
    dry = jxemu.render(tone, notes, 8.0)[:, 0].astype(float)
    both = jxemu.render(tone.replace(chorus=request.param), notes, 8.0).astype(float)
    return request.param, dry, both - dry[:, None]


def delay_track(dry, wet, step=480, window=1024):
    """``(seconds, delay in seconds)`` from the cross-correlation of short stretches."""
    at = np.arange(4800, len(dry) - 2 * window, step)
    track = []
    for start in at:
        a = np.fft.rfft(dry[start - 512 : start + window], 4096)
        b = np.fft.rfft(wet[start : start + window] * np.hanning(window), 4096)
        lags = np.fft.irfft(b * np.conj(a), 4096)[-512:][::-1]  # wet starts 512 samples later: lag 512 - delay
        top = int(np.argmax(lags[1:-1])) + 1
        before, here, after = lags[top - 1 : top + 2]
        fine = top + (before - after) / 2 / (before - 2 * here + after)
        track.append((512 - (fine + 1)) / RATE)
    return (at + window / 2) / RATE, np.array(track)


def test_the_chorus_delays_swing_at_the_set_rate_over_the_set_range_in_antiphase(chorus):
    mode, dry, wet = chorus
    seconds, left = delay_track(dry, wet[:, 0])
    right = delay_track(dry, wet[:, 1])[1]
    shortest, longest = value("CHORUS_DELAY")
    for side in (left, right):
        assert np.quantile(side, 0.005) == pytest.approx(shortest, rel=0.03)
        assert np.quantile(side, 0.995) == pytest.approx(longest, rel=0.03)
    assert left + right == pytest.approx(shortest + longest, rel=0.03)
    phases = np.arange(0.2, 1.5, 0.001)
    swing = left - left.mean()
    power = [np.abs(np.sum(swing * np.hanning(len(swing)) * np.exp(-2j * np.pi * hz * seconds))) for hz in phases]
    assert phases[int(np.argmax(power))] == pytest.approx(value("CHORUS_RATE")[mode - 1], rel=0.02)


def test_the_wet_response_is_that_of_the_recordings_to_10_khz(chorus):
    _, dry, wet = chorus
    window = 4096
    starts = range(4800, len(dry) - window, window // 2)

    def power(sound):
        return np.mean([np.abs(np.fft.rfft(sound[s : s + window] * np.hanning(window))) ** 2 for s in starts], axis=0)

    level = 10 * np.log10(power(wet[:, 0]) / power(dry))
    hz = np.fft.rfftfreq(window, 1 / RATE)

    def near(centre):
        return level[np.abs(hz - centre) < 200].mean()

    reference = level[(hz > 1500) & (hz < 4000)].mean()
    assert reference == pytest.approx(1.25, abs=0.5)
    for centre, measured in ((6000, -4.6), (8000, -9.05), (10_000, -16.05)):
        assert near(centre) - reference == pytest.approx(measured, abs=1.0)


def test_without_chorus_both_sides_are_the_same_bytes():
    sound = jxemu.render(jxemu.Tone("SAW"), [(60, 100, 0, 0.2)], 0.3)
    assert np.array_equal(sound[:, 0], sound[:, 1])


@pytest.mark.parametrize("position, hz", list(enumerate(value("HPF_HZ")))[1:])
def test_the_high_pass_has_its_corner_3_db_down(position, hz):
    tone = jxemu.Tone("SAW", mix_dco1=20, vca_mode="gate")
    note = {1: 48, 2: 59, 3: 77}[position]
    flat, cut = (
        jxemu.render(tone.replace(hpf=h), [(note, 100, 0, 99)], 2.5)[24_000:, 0].astype(float) for h in (0, position)
    )
    window = np.kaiser(len(flat), 12)
    a, b = (np.abs(np.fft.rfft(sound * window)) for sound in (flat, cut))
    top = int(np.argmax(a))
    tone_hz = top * RATE / len(flat)
    wanted = 1 / np.hypot(1, hz / tone_hz) * np.hypot(1, value("HPF_HZ")[0] / tone_hz)
    assert 20 * np.log10(b[top] / a[top] / wanted) == pytest.approx(0, abs=0.1)
