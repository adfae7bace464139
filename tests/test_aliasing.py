import numpy as np
import pytest

import jxemu

RATE = 48_000
NOTES = (("16'", 40), ("8'", 69), ("8'", 93), ("8'", 108), ("4'", 99))


def worst_line(sound, fundamental):
    """Loudest line between 20 Hz and 20 kHz that is no harmonic, in dB under the fundamental."""
    spectrum = np.abs(np.fft.rfft(sound * np.kaiser(len(sound), 20)))
    hz = np.fft.rfftfreq(len(sound), 1 / RATE)
    guard = 12 * hz[1]
    harmonic = np.abs(hz - np.round(hz / fundamental) * fundamental) < guard
    level = spectrum[np.abs(hz - fundamental) < guard].max()
    return 20 * np.log10(spectrum[(hz > 20) & (hz < 20_000) & ~harmonic].max() / level)


def measure(tone, note, oversample=4):
    sound = jxemu.render(tone, [(note, 100, 0, 9)], 2.5, oversample=oversample)[RATE // 2 :, 0].astype(float)
    row = jxemu.trace(tone, [(note, 100, 0, 1)], 0.5)[-1]
    fundamental = 8e6 / ((16 - int(row["prescaler"][0])) * int(row["divisor"][0, 0]))
    assert fundamental < 5000
    return worst_line(sound, fundamental)


@pytest.mark.parametrize("octave, note", NOTES)
@pytest.mark.parametrize("wave", ["saw", "square", "pulse"])
def test_a_single_wave_through_the_open_filter_has_no_line_above_minus_100_db(wave, octave, note):
    assert measure(jxemu.Tone("WAVE", dco1_wave=wave, dco1_range=octave, mix_dco1=32), note) < -100


@pytest.mark.parametrize("octave, note", NOTES)
def test_at_twice_the_rate_as_datasets_have_it_a_saw_has_no_line_above_minus_80_db(octave, note):
    assert measure(jxemu.Tone("WAVE", dco1_range=octave, mix_dco1=32), note, 2) < -80


@pytest.mark.parametrize("octave, note", NOTES)
@pytest.mark.parametrize("wave", ["saw", "square"])
def test_hard_sync_has_no_line_above_minus_80_db(wave, octave, note):
    tone = jxemu.Tone("SYNC", dco_xmod="sync1", dco1_range=octave, dco2_range=octave, dco2_wave=wave,
                      dco2_tune=96, dco2_fine=80, mix_dco1=0, mix_dco2=32)  # fmt: skip
    assert measure(tone, note) < -80
