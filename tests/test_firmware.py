"""The latch against an independent reference of the same recurrences, in plain Python."""

import numpy as np
import pytest

import jxemu
from jxemu import protocol
from jxemu.soundboard import tables as t
from jxemu.soundboard.circuit import program_tables

FULL = 0x3FFF
TIMES = program_tables(jxemu.Circuit())
ON_CYCLES, OFF_SECONDS = 0, 0.35


def reference_envelope(a, d, s, r, key, note, gates):
    """Levels of one ADSR, one a loop, for a key that is down while `gates` is 1."""
    factor = int(t.ENV_KEY[key][note])
    attack = max(1, min(int(TIMES["attack"][0]), int(TIMES["attack"][a]) * factor // 256))
    level, stage = 0, "attack"
    for gate in gates:
        if stage == "attack":
            level += attack
            if level >= FULL:
                level, stage = FULL, "decay"
        elif stage in ("decay", "release"):
            target, table = (s * 128, TIMES["decay"][d]) if stage == "decay" else (0, TIMES["decay"][r])
            keep = 65536 - min(65535, (65536 - int(table)) * factor // 256)
            level = target + (level - target) * keep // 65536 if level > target or stage == "release" else target
        if not gate:
            stage = "release"
        yield level


def reference_lfo(wave, rate, loops):
    """Value of every loop from power-on."""
    phase, register = 0, 0xACE1
    for _ in range(loops):
        before, phase = phase, (phase + int(TIMES["lfo_rate"][rate])) % 65536
        if wave == 0:
            if phase < before:
                for _ in range(14):
                    bit = (register >> 15 ^ register >> 13 ^ register >> 12 ^ register >> 10) & 1
                    register = (register << 1 | bit) & 0xFFFF
            yield max((register >> 2) - 8192, -8191)
        elif wave == 1:
            yield 8191 if phase < 32768 else -8191
        else:
            turned = (phase + 16384) % 65536
            yield min((turned if turned < 32768 else 65535 - turned) // 2 - 8191, 8191)


def rows_of_voice(trace, voice):
    return trace[trace["voice"] == voice]


@pytest.mark.parametrize("chunk", range(10))
def test_both_envelopes_are_the_reference_s_for_a_thousand_parameter_sets(chunk):
    random = np.random.default_rng(chunk)
    for _ in range(100):
        a, d, s, r, a1, d1, s1, r1, note = (int(v) for v in random.integers(0, 128, 9))
        note = 21 + note % 88
        key, key1 = (int(v) for v in random.integers(0, 4, 2))
        tone = jxemu.Tone("ENV", env2_a=a, env2_d=d, env2_s=s, env2_r=r, env2_key=key, env1_a=a1, env1_d=d1, env1_s=s1,
                          env1_r=r1, env1_key=key1, vcf_freq=0, vcf_env=127, vcf_mode="env1")  # fmt: skip
        rows = rows_of_voice(jxemu.trace(tone, [(note, 100, 0.0, OFF_SECONDS)], 0.7), 0)
        rows = rows[rows["at_cycles"] >= ON_CYCLES]
        gates = rows["at_cycles"] < round(OFF_SECONDS * 1e6)
        env2 = [level >> 2 for level in reference_envelope(a, d, s, r, key, note, gates)]
        env1 = [(level * 127 >> 7) >> 2 for level in reference_envelope(a1, d1, s1, r1, key1, note, gates)]
        assert rows["vca_cv"][:, 0].tolist() == env2
        assert rows["vcf_cv"][:, 0].tolist() == env1


@pytest.mark.parametrize("wave", [0, 1, 2])
def test_the_lfo_is_the_reference_s_for_a_thousand_parameter_sets(wave):
    random = np.random.default_rng(wave)
    for _ in range(334):
        rate, depth = (int(v) for v in random.integers(0, 128, 2))
        tone = jxemu.Tone("LFO", lfo_wave=wave, lfo_rate=rate, vcf_freq=64, vcf_lfo=depth)
        trace = jxemu.trace(tone, (), 0.8)
        loops = int(np.sum(trace["voice"] == 6))
        values = list(reference_lfo(wave, rate, loops))
        seen = rows_of_voice(trace, 0)["vcf_cv"][:, 0].tolist()
        wanted = [min(max(64 * 128 + (value * depth * 256 >> 16), 0), FULL) >> 2 for value in values]
        assert seen == wanted[: len(seen)]


@pytest.mark.parametrize("delay", [0, 1, 40, 83, 116, 127])
def test_the_lfo_waits_and_then_fades_in_for_as_long(delay):
    hold = int(t.LFO_DELAY[delay])
    tone = jxemu.Tone("LFO", lfo_wave="square", lfo_rate=0, lfo_delay=delay, vcf_freq=64, vcf_lfo=127)
    seconds = 2.2 * (hold + 3) * 0.01
    trace = jxemu.trace(tone, [(60, 100, 0.0, 99)], seconds)
    heard = rows_of_voice(trace[trace["at_cycles"] >= 0], 0)["vcf_cv"][:, 0].astype(int) - 64 * 32
    depth = [
        0 if n < hold else (256 if hold == 0 else min(256, 256 * (n - hold + 1) // hold)) for n in range(len(heard))
    ]
    wanted = [(8191 * (127 * part >> 8) * 256 >> 16) // 4 for part in depth]
    # Exact but for the loop it begins in and the rounding of the wave's lower half: one loop's step and one of the DAC.
    step = max(np.diff(wanted), default=0) + 1
    assert np.abs(np.abs(heard[2 : 2 * hold + 2]) - wanted[1 : 2 * hold + 1]).max(initial=0) <= step


def test_a_loop_takes_ten_milliseconds_and_voices_are_staggered():
    trace = jxemu.trace(jxemu.Tone("SAW"), (), 1.0)
    trace = trace[trace["at_cycles"] > 0]
    first = rows_of_voice(trace, 0)["at_cycles"]
    assert set(np.diff(first)) == {10_000}
    second = rows_of_voice(trace, 1)["at_cycles"]
    assert set(second[: len(first)] - first[: len(second)]) <= {1600, -8400}


def test_serial_interrupts_stretch_the_loop():
    flood = [jxemu.Event(0.3, "wire", bytes([protocol.SELECT_BOTH]) + protocol.parameter(protocol.HPF, 0) * 400)]
    quiet = jxemu.trace(jxemu.Tone("SAW"), (), 1.0, pace="real")
    busy = jxemu.trace(jxemu.Tone("SAW"), (), 1.0, pace="real", events=flood)

    def longest(trace):
        at = rows_of_voice(trace[trace["at_cycles"] > 0], 0)["at_cycles"]
        return np.diff(at).max()

    assert longest(quiet) == 10_000
    assert 11_500 < longest(busy) < 13_500


def test_a_parameter_takes_effect_when_the_voice_s_next_pass_ends():
    change = [jxemu.Event(0.5, "wire", bytes([protocol.SELECT_BOTH]) + protocol.parameter(protocol.VCF_FREQ, 10))]
    trace = jxemu.trace(jxemu.Tone("SAW", vcf_freq=100), (), 0.6, events=change)
    for voice in range(6):
        rows = rows_of_voice(trace, voice)
        changed = rows["at_cycles"][rows["vcf_cv"][:, voice] == 10 * 32][0]
        before = rows["at_cycles"][rows["at_cycles"] < 500_000][-1]
        assert 500_000 <= changed <= before + 10_000 + 3 * 60 * 3


@pytest.mark.parametrize("before", [0, 60])
def test_an_lfo_that_has_faded_in_stays_while_its_delay_moves(before):
    machine = jxemu.Machine(pace="instant")
    machine.load_tone(jxemu.Tone("T", lfo_delay=before))
    machine.play(jxemu.Event(0.05, "note_on", (60, 100)))
    machine.render(96_000)
    machine.play(jxemu.Event(2.0, "parameter", ("lfo_delay", 127)))
    machine.render(4800)
    assert machine.engine.boards[0].firmware.lfo_fade == 256


def test_the_longest_decay_of_a_measured_unit_ends():
    unit = jxemu.Unit.of({"version": 1, "tables": {"decay": [65_535] * 128}})
    machine = jxemu.Machine(circuit=jxemu.Circuit(unit=unit), pace="instant")
    machine.load_tone(jxemu.Tone("T", env2_key=3, env2_s=127))
    for at, kind in ((0.05, "note_on"), (0.3, "note_off")):
        machine.play(jxemu.Event(at, kind, (24, 100)))
    machine.render(24_000)
    level = int(machine.engine.boards[0].firmware.env2.level[0])
    machine.render(48_000)
    assert int(machine.engine.boards[0].firmware.env2.level[0]) < level
