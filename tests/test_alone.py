"""Circuits on their own: the same arithmetic as in the machine, with an outside sound."""

import numpy as np
import pytest

from jxemu.machine import Circuit, alone
from jxemu.soundboard.vcf import response

RATE = 48_000
AT = np.arange(RATE // 2) / RATE


def tone(hertz, level=0.5):
    return level * np.sin(2 * np.pi * hertz * AT)


def level(sound):
    return np.sqrt(2 * np.square(sound[4_000:-4_000].astype(float)).mean())


@pytest.mark.parametrize("hertz", [100, 1_200, 3_000])
@pytest.mark.parametrize("resonance", [0, 90])
def test_a_quiet_sound_meets_the_filters_own_response(hertz, resonance):
    circuit = Circuit()
    q = circuit.value("Q_OPEN") * (circuit.value("Q_CLOSED") / circuit.value("Q_OPEN")) ** (resonance / 127)
    filtered, _ = alone.voice(tone(hertz), 1_200.0, resonance, drive=0.01)
    assert level(filtered) / 0.5 == pytest.approx(abs(response(np.array([hertz]), 1_200.0, q, q))[0], rel=0.01)


def test_the_amplifier_follows_its_envelope_and_gives_in_to_a_loud_sound():
    _, half = alone.voice(tone(300), 20_000.0, 0, 0.5)
    assert level(half) == pytest.approx(0.25, rel=0.01)
    _, loud = alone.voice(tone(300), 20_000.0, 0, 1.0, drive=20.0)
    assert level(loud) < 0.45


def test_a_moving_cutoff_is_heard_where_it_moves():
    cutoff = np.where(AT < 0.25, 20_000.0, 100.0)
    filtered, _ = alone.voice(tone(2_000), cutoff, drive=0.01)
    assert np.abs(filtered[2_000:11_000]).max() > 100 * np.abs(filtered[14_000:]).max()


@pytest.mark.parametrize("position", [1, 2, 3])
def test_the_high_pass_halves_the_power_at_its_corner(position):
    corner = Circuit().value("HPF_HZ")[position]
    made, _ = alone.output(tone(corner), position)
    assert level(made[:, 0]) / 0.5 == pytest.approx(2**-0.5, rel=0.01)


def test_the_chorus_answers_after_the_delay_that_its_lfo_says():
    sound = np.zeros(RATE * 2)
    sound[:: RATE // 10] = 1.0
    made, turn = alone.output(sound, 0, 1)
    shortest, longest = Circuit().value("CHORUS_DELAY")
    for at in range(RATE // 10, len(sound) - RATE // 10, RATE // 10):
        left = np.abs(made[at + 40 : at + 400, 0])
        assert np.argmax(left) + 40 == pytest.approx((shortest + (longest - shortest) * turn[at]) * RATE, abs=2.5)
    assert np.array_equal(made[:60, 0], made[:60, 1])


def test_a_sound_stays_at_its_place_and_any_length_will_do():
    sound = np.random.default_rng(0).standard_normal(1_003) * 0.1
    both = alone.voice(sound, 50_000.0)
    assert [len(each) for each in both] == [1_003] * 2
    assert np.argmax(np.correlate(both[0], sound, "full")) - 1_002 in (0, 1)


def test_a_place_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no HPF position 4"):
        alone.output(np.zeros(8), 4)
