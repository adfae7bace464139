import tracemalloc

import numpy as np
import pytest

import jxemu
from jxemu.render.offline import render_blocks
from jxemu.soundboard import parts
from jxemu.soundboard.engine import Engine

CHORD = [(48, 100), (55, 100), (60, 100), (64, 100), (67, 100), (72, 100)]


def playing(kind="jx8p", **options):
    machine = jxemu.Machine(kind, **options)
    machine.load_tone(jxemu.Tone("PAD", chorus=1, env2_r=40, dco2_wave="saw", mix_dco2=100))
    for note, velocity in CHORD:
        machine.play(jxemu.Event(0.06, "note_on", (note, velocity)))
    return machine


@pytest.mark.parametrize("kind", ["jx8p", "superjx", "mks70"])
def test_a_machine_saved_in_the_middle_of_a_note_goes_on_bit_by_bit(kind):
    machine = playing(kind, circuit=jxemu.Circuit(seed=4))
    machine.play(jxemu.Event(0.3, "note_off", 60))
    machine.render(10_007)
    again = jxemu.Machine.load(machine.save())
    for instrument in (machine, again):
        instrument.play(jxemu.Event(0.4, "note_on", (76, 80)))
    assert np.array_equal(machine.render(20_000), again.render(20_000))


@pytest.mark.parametrize("saved", [b"", b"hello", b"PK\x03\x04 cut"])
def test_what_was_not_saved_by_it_is_refused(saved):
    with pytest.raises(ValueError, match="not a saved machine"):
        jxemu.Machine.load(saved)


def test_reset_is_power_off_and_on():
    machine = playing()
    first = machine.render(9600)
    machine.reset()
    assert not np.array_equal(machine.render(9600), first)
    machine.reset()
    machine.load_tone(jxemu.Tone("PAD", chorus=1, env2_r=40, dco2_wave="saw", mix_dco2=100))
    for note, velocity in CHORD:
        machine.play(jxemu.Event(0.06, "note_on", (note, velocity)))
    assert np.array_equal(machine.render(9600), first)


def test_a_super_jx_plays_twelve_voices_and_a_jx_8p_six():
    for kind, voices in (("jx8p", 6), ("superjx", 12), ("mks70", 12)):
        machine = jxemu.Machine(kind, pace="instant")
        machine.load_tone(jxemu.Tone("SAW"))
        for note in range(40, 60):
            machine.play(jxemu.Event(0.0, "note_on", (note, 100)))
        machine.render(4800)
        assert int(machine.engine.boards.firmware.gate.sum()) == voices


def test_another_seed_is_another_unit_and_always_the_same_one():
    tone, notes = jxemu.Tone("SAW", vcf_freq=60), [(60, 100, 0, 0.2)]
    nominal, first, again = (jxemu.render(tone, notes, 0.3, seed=seed) for seed in (0, 7, 7))
    assert np.array_equal(first, again)
    assert not np.array_equal(nominal, first)


def test_units_differ_as_their_tolerances_say():
    trims = [jxemu.Circuit(seed=s).errors(0, "cutoff_cents") for s in range(1, 200)]
    assert np.std(trims) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"seed": 1 << 64}, {"temperature": float("nan")}, {"temperature": -273.15}]
)
def test_a_circuit_that_there_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "seed" in wrong else "degrees C"):
        jxemu.Circuit(**wrong)


def test_a_circuit_keeps_its_seed_unless_another_is_given():
    circuit = jxemu.Circuit(seed=5, temperature=30)
    assert jxemu.JX8P(circuit=circuit).circuit == circuit
    assert jxemu.SuperJX(circuit=circuit, seed=6).circuit == jxemu.Circuit(seed=6, temperature=30)
    assert jxemu.MKS70(circuit=None).circuit == jxemu.Circuit()


def test_boards_that_are_wired_otherwise_share_no_engine():
    circuits = jxemu.Circuit(xmod="schematic"), jxemu.Circuit(xmod="thesis")
    with pytest.raises(ValueError, match="one xmod and one unit"):
        Engine((1, 2), circuits)


def test_an_oversampling_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="oversampling by 1 "):
        jxemu.Machine(oversample=1)


@pytest.mark.parametrize("value", [20, 60, 90, 115])
def test_the_cutoff_that_is_looked_at_is_the_filter_s(value):
    machine = jxemu.JX8P()
    machine.load_tone(jxemu.Tone("T", vcf_freq=value))
    machine.render(9600)
    hertz = parts.value("VCF_BASE") * 2 ** (value * 128 / parts.value("VCF_COUNTS_PER_OCTAVE"))
    assert machine.engine.look(0)["cutoff"] == pytest.approx([min(hertz, parts.value("VCF_TOP"))] * 6, rel=1e-3)


@pytest.mark.parametrize(("freq", "resonance"), [(0, 0), (10, 0), (20, 100)])
def test_a_first_note_begins_as_a_later_one_does(freq, resonance):
    tone, soon = jxemu.Tone("DARK", vcf_freq=freq, vcf_res=resonance), 2400
    first = jxemu.render(tone, [(60, 100, 0.0, 0.5)], 0.1)[:soon]
    later = jxemu.render(tone, [(60, 100, 1.0, 0.5)], 1.1)[48_000:][:soon]
    assert np.abs(first).max() < np.abs(later).max() + 1e-3


def test_a_jump_up_in_pitch_makes_no_click():
    tone = jxemu.Tone("SAW", vcf_freq=127)
    sound = jxemu.render(tone, [(24, 100, 0.0, 0.4), (24, 1, 0.4, 0.01), (96, 100, 0.5, 0.4)], 0.9, machine="jx8p")
    onset, steady = (np.abs(sound[round(at * 48_000) :][:4800]).max() for at in (0.5, 0.7))
    assert onset < 2.2 * steady


def test_heat_moves_the_cutoff():
    tone = jxemu.Tone("SAW", vcf_freq=50, vcf_res=110)
    cold, hot = (jxemu.render(tone, [(40, 100, 0, 1)], 0.5, temperature=t) for t in (10.0, 40.0))
    assert not np.array_equal(cold, hot)


def test_one_board_s_state_is_under_256_kib():
    engine = jxemu.JX8P().engine
    assert sum(part.nbytes for part in (engine.boards, engine.groups, engine.stages, engine.time)) < 256 * 1024


def test_a_minute_after_the_last_release_no_denormal_number_slows_anything():
    machine = playing()
    machine.play(jxemu.Event(2.0, "all_notes_off"))
    machine.render(62 * 48_000)
    assert machine.silent
    tiny = np.finfo(np.float32).tiny
    for part in (machine.engine.groups, machine.engine.stages):
        for values in floats(part):
            assert not np.any((values != 0) & (np.abs(values) < tiny))


def floats(record):
    """All single-precision fields of a record array, nested ones too."""
    for name in record.dtype.names:
        field = record[name]
        if field.dtype.names:
            yield from floats(field)
        elif field.dtype == np.float32:
            yield field


def test_half_a_minute_after_the_last_note_nothing_is_left():
    machine = playing()
    machine.play(jxemu.Event(0.5, "all_notes_off"))
    machine.render(30 * 48_000)
    assert np.abs(machine.render(4800)).max() < 1e-30


def test_memory_does_not_grow_with_the_length_of_a_rendering():
    def peak(seconds):
        machine = playing()
        tracemalloc.start()
        for _ in render_blocks(machine, [jxemu.Event(0.5 * n, "modulation", n % 128) for n in range(4)], seconds):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(0.5)
    assert peak(20.0) < 1.2 * peak(2.0) + 50_000


@pytest.mark.parametrize("rate", [44_100, 48_000, 88_200, 96_000])
@pytest.mark.parametrize("oversample", [2, 4, 8])
def test_every_rate_and_quality_plays_the_same_music(rate, oversample):
    sound = jxemu.render(jxemu.Tone("SAW"), [(69, 100, 0, 1)], 0.5, sample_rate=rate, oversample=oversample)[:, 0]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) * rate / len(sound) == pytest.approx(440, abs=2)
    assert len(sound) == rate // 2
    assert np.sqrt(np.mean(sound[rate // 10 :] ** 2)) == pytest.approx(0.0120, rel=0.05)


@pytest.mark.parametrize("wrong", [dict(sample_rate=22_050), dict(oversample=3), dict(machine="jx3p"), dict(pace="slow"),
                                   dict(resonance="none"), dict(colour="red")])  # fmt: skip
def test_what_a_machine_cannot_be_is_refused_with_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"not (known|supported)|no field"):
        jxemu.render(jxemu.Tone("SAW"), [(60, 100, 0, 0.1)], 0.1, **wrong)
