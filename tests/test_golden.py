"""Sound and latch of every factory tone, as hashes beside the figures that say what they mean."""

from pathlib import Path

import numpy as np
import pytest
from random_tones import digest

import jxemu
from jxemu import protocol
from jxemu.assigner.assigner import Assigner
from jxemu.link import EmulatedLink
from jxemu.patch.factory import factory_bank
from jxemu.patch.memory import Memory

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
    lines = [describe(tone) for tone in factory_bank().tones]
    if update_golden:
        path.write_text("\n".join(lines) + "\n")
        pytest.skip(f"rewrote {path.name}")
    assert lines == path.read_text().splitlines()


TONES = [jxemu.Tone("ONE", vcf_freq=1), jxemu.Tone("TWO", vcf_freq=2, dco1_wave="pulse")]
PERFORMANCES = {
    "patch_change": [("program", 0), ("program", 1)],
    "dual": [("program", 0), ("note_on", (60, 100)), ("note_on", (64, 90)), ("note_off", 60), ("note_off", 64)],
    "split": [("program", 1), ("note_on", (48, 100)), ("note_on", (72, 100)), ("note_off", 48), ("note_off", 72)],
    "whole_unison_2": [("program", 2), *(("note_on", (n, 100)) for n in (60, 64, 67, 71)), ("all_notes_off", None)],
    "mono": [("program", 3), ("note_on", (60, 100)), ("note_on", (64, 90)), ("note_off", 64), ("note_off", 60)],
    "chase": [("program", 4), ("note_on", (60, 100)), ("note_off", 60), ("volume", 127)],
    "controls": [
        ("program", 0), ("bend", 4096), ("modulation", 64), ("hold", 127), ("aftertouch", 33), ("volume", 90),
        ("parameter", ("vcf_freq", 77)), ("parameter", ("vca_level", 100)), ("setting", ("balance", 77)),
        ("setting", ("upper_bender", 0)), ("setting", ("key_mode", "split")),
        ("sysex", bytes.fromhex("F04136002420022205F7")), ("hold", 0), ("bend", 0),
    ],
}  # fmt: skip
BANK = jxemu.Bank(TONES, [
    jxemu.Patch("DUAL", dual_detune=70, balance=77),
    jxemu.Patch("SPLIT", key_mode="split", upper_portamento=1, portamento_time=9, bend_range="12"),
    jxemu.Patch("WHOLE", key_mode="whole-b", lower_assign="unison2", lower_unison_detune=70, lower_shift=-12),
    jxemu.Patch("MONO", key_mode="split", upper_split=0, lower_split=127, upper_assign="mono1", lower_assign="mono2"),
    jxemu.Patch("CHASE", chase=1, chase_mode="a-b-a", chase_time=4, chase_level=90),
])  # fmt: skip


@pytest.mark.parametrize("name", PERFORMANCES)
def test_the_wire_of_a_performance_is_as_written(name, update_golden):
    """MIDI in, bytes out: an event every tenth of a second on a Super JX at real pace, in milliseconds."""
    path = GOLDEN / f"wire_{name}.txt"
    lines, link = [], EmulatedLink("real")
    assigner = Assigner(link.send, (protocol.LOWER, protocol.UPPER), Memory(BANK))

    def said(until):
        assigner.advance(until)
        at, data = link.take(until)
        for start in range(0, len(data), 24):
            lines.append(f"{at[start] / 1000:10.2f}  {bytes(data[start : start + 24]).hex(' ').upper()}")

    for number, (kind, data) in enumerate([("boot", None), *PERFORMANCES[name]]):
        at = number * 100_000
        lines.append(
            f"{at / 1000:7.0f}  {kind} {data.hex(' ').upper() if isinstance(data, bytes) else data or ''}".rstrip()
        )
        if kind == "boot":
            assigner.boot(0)
        else:
            assigner.handle(jxemu.Event(at / 1e6, kind, data), at)
        said(at + 99_999)
    said(1 << 40)
    if update_golden:
        path.write_text("\n".join(lines) + "\n")
        pytest.skip(f"rewrote {path.name}")
    assert lines == path.read_text().splitlines()
