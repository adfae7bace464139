"""Sound and latch of every factory tone, as hashes beside the figures that say what they mean."""

from pathlib import Path

import numpy as np
import pytest
from random_tones import digest

import jxemu
from jxemu.patch.factory import factory_tones

GOLDEN = Path(__file__).parent / "golden"
PHRASE = [(48, 100, 0.0, 0.5), (60, 80, 0.1, 0.4), (67, 120, 0.2, 0.3)]


def describe(tone):
    sound = jxemu.render(tone, PHRASE, 1.0)
    latch = jxemu.trace(tone, PHRASE, 1.0)
    level = 20 * np.log10(np.sqrt(np.mean(sound.astype(float) ** 2)))
    spectrum = np.abs(np.fft.rfft(sound[:, 0].astype(float))) ** 2
    centre = np.sum(spectrum * np.arange(len(spectrum))) / np.sum(spectrum)
    return (
        f"{tone.name:10} audio {digest(sound)} latch {digest(latch)} "
        f"level {level:6.1f} dB peak {np.abs(sound).max():.3f} centre {centre:5.0f} Hz"
    )


def test_factory_tones_sound_as_they_did(update_golden):
    path = GOLDEN / "factory_tones.txt"
    lines = [describe(tone) for tone in factory_tones()]
    if update_golden:
        path.write_text("\n".join(lines) + "\n")
        pytest.skip(f"rewrote {path.name}")
    assert lines == path.read_text().splitlines()


def test_the_wire_of_a_short_performance_is_as_written(update_golden, tmp_path):
    path = GOLDEN / "wire.jxlog"
    machine = jxemu.JX8P(record=True)
    machine.load_tone(factory_tones()[0])
    for event in (
        jxemu.Event(0.1, "note_on", (60, 100)), jxemu.Event(0.2, "bend", 4096), jxemu.Event(0.3, "modulation", 40),
        jxemu.Event(0.4, "hold", 127), jxemu.Event(0.5, "note_off", (60, 0)), jxemu.Event(0.6, "hold", 0),
    ):  # fmt: skip
        machine.play(event)
    from jxemu.link import save_log

    save_log(machine.link, tmp_path / "wire.jxlog")
    text = (tmp_path / "wire.jxlog").read_text()
    if update_golden:
        path.write_text(text)
        pytest.skip(f"rewrote {path.name}")
    assert text == path.read_text()
