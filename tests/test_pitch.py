import numpy as np
import pytest

import jxemu
from jxemu.clock import DCO_CRYSTAL_HZ, cents, note_hz

RATE = 48_000
RANGES = ("16'", "8'", "4'", "2'")


def latch_frequency(tone, note):
    row = jxemu.trace(tone, [(note, 100, 0, 1)], 0.5)[-1]
    return DCO_CRYSTAL_HZ / ((16 - int(row["prescaler"][0])) * int(row["divisor"][0, 0]))


def fundamental(sound, expected):
    """Frequency near `expected` from the phase advance between two halves of the sound."""
    half = len(sound) // 2
    n = np.arange(half)
    turn = np.exp(-2j * np.pi * expected * n / RATE) * np.kaiser(half, 14)
    first, second = (np.sum(part * turn) for part in (sound[:half], sound[half : 2 * half]))
    drift = np.angle(second / first * np.exp(-2j * np.pi * expected * half / RATE))
    return expected + drift / (2 * np.pi * half / RATE)


@pytest.mark.parametrize("octave", RANGES)
def test_over_ten_seconds_every_note_is_the_crystal_by_prescaler_and_divisor(octave):
    tone = jxemu.Tone("SAW", dco1_range=octave, mix_dco1=20)
    notes = range(21, 109)
    sounds = jxemu.render_batch([jxemu.Item(tone, [(note, 100, 0, 20)]) for note in notes], 10.1, oversample=2)
    for note, sound in zip(notes, sounds, strict=True):
        expected = latch_frequency(tone, note)
        heard = fundamental(sound[RATE // 20 :, 0].astype(float), expected)
        assert abs(cents(heard / expected)) < 0.01, f"note {note}"


def test_notes_are_in_tune_within_the_counter_s_resolution():
    tone = jxemu.Tone("SAW")
    for note in range(23, 109):
        error = abs(cents(latch_frequency(tone, note) / note_hz(note)))
        assert error <= 0.6 * cents(1 + 1 / jxemu.trace(tone, [(note, 100, 0, 1)], 0.3)["divisor"][-1, 0, 0]), note


def test_below_note_23_at_8_feet_the_counter_ends_at_65535():
    assert latch_frequency(jxemu.Tone("SAW"), 21) == pytest.approx(2e6 / 65535)
