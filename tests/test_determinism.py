import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from random_tones import PHRASE, digest, random_tone, sounds

import jxemu
from jxemu.render.offline import LEAD_IN

HERE = Path(__file__).parent
TONES = range(20)


def in_blocks(tone, size, kind="jx8p"):
    machine = jxemu.Machine(kind, pace="instant")
    machine.load_tone(tone)
    for event in (
        jxemu.Event(0.02, "note_on", (60, 100)),
        jxemu.Event(0.05, "note_off", 60),
        jxemu.Event(0.03, "bend", 3000),
    ):
        machine.play(event)
    total = 4096
    return np.concatenate([machine.render(min(size, total - at)) for at in range(0, total, size)])


@pytest.mark.parametrize("seed", TONES)
def test_block_size_does_not_change_a_byte(seed):
    tone = random_tone(seed)
    whole = in_blocks(tone, 4096)
    for size in (16, 17, 256) if seed else (1, 16, 17, 256):
        assert np.array_equal(in_blocks(tone, size), whole), size


def test_events_may_be_handed_over_as_late_as_their_block():
    tone = random_tone(3)
    early, late = (jxemu.JX8P(pace="instant") for _ in range(2))
    for machine in (early, late):
        machine.load_tone(tone)
    early.play(jxemu.Event(0.05, "note_on", (60, 100)))
    first = late.render(2395)
    late.play(jxemu.Event(0.05, "note_on", (60, 100)))
    assert np.array_equal(early.render(4800), np.concatenate([first, late.render(2405)]))


@pytest.fixture(scope="module")
def alone():
    return [jxemu.render(random_tone(seed), PHRASE, 0.1, seed=seed % 3) for seed in TONES]


@pytest.mark.parametrize("lanes", [8, 16, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("workers", [1, 3])
def test_lane_width_batch_and_workers_do_not_change_a_byte(alone, lanes, workers):
    order = np.random.default_rng(lanes + workers).permutation(len(TONES))
    items = [jxemu.Item(random_tone(int(seed)), PHRASE, seed=int(seed) % 3) for seed in order]
    batch = jxemu.render_batch(items, 0.1, lanes=lanes, workers=workers)
    assert all(np.array_equal(sound, alone[seed]) for sound, seed in zip(batch, order, strict=True))


@pytest.mark.parametrize("lanes", [8, 16, pytest.param(32, marks=pytest.mark.slow)])
def test_single_notes_in_lanes_are_the_same_bytes_as_alone(lanes):
    notes = [(60, 100, 0.0, 0.05)]
    items = [jxemu.Item(random_tone(seed), notes) for seed in TONES]
    batch = jxemu.render_batch(items, 0.1, lanes=lanes)
    assert all(np.array_equal(b, jxemu.render(item.tone, notes, 0.1)) for b, item in zip(batch, items, strict=True))


@pytest.mark.parametrize("oversample", [2, 8])
def test_a_note_is_the_same_bytes_in_rows_of_lanes_on_a_whole_board_and_in_cut_slices(oversample):
    notes, tone = [(60, 100, 0.0, 0.05)], random_tone(5)
    alone = jxemu.render(tone, notes, 0.1, oversample=oversample)
    item = jxemu.Item(tone, notes)
    assert np.array_equal(jxemu.render_batch([item], 0.1, oversample=oversample)[0], alone)
    whole, cut = (jxemu.JX8P(pace="instant", oversample=oversample) for _ in range(2))
    for machine in (whole, cut):
        machine.load_tone(tone)
        machine.play(jxemu.Event(0.01, "note_on", (60, 100)))
    assert np.array_equal(whole.render(900), np.concatenate([cut.render(n) for n in (1, 2, 5, 13, 379, 500)]))


def test_a_rendering_does_not_depend_on_what_was_rendered_before(alone):
    jxemu.render(random_tone(99), [(30, 127, 0, 0.5)], 0.6, machine="superjx")
    assert all(np.array_equal(a, b) for a, b in zip(sounds(3), alone, strict=False))


def _features():
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    return set(flags)


@pytest.mark.parametrize(
    "cpu, needs",
    [
        ("nehalem", "sse4_2"),
        pytest.param("haswell", "avx2", marks=pytest.mark.slow),
        pytest.param("skylake-avx512", "avx512f", marks=pytest.mark.slow),
    ],
)
def test_code_for_another_instruction_set_gives_the_same_bytes(alone, cpu, needs):
    if needs not in _features():
        pytest.skip(f"this processor cannot run {cpu} code (no {needs})")
    environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    script = [sys.executable, str(HERE / "random_tones.py")]
    printed = subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert printed == [digest(sound) for sound in alone]


def test_plain_python_gives_the_same_bytes():
    code = (
        "import jxemu, numpy as np, sys\n"
        "m = jxemu.JX8P(pace='instant', seed=5)\n"
        "m.load_tone(jxemu.Tone('P', dco1_wave='square', dco2_wave='noise', dco_xmod='sync2', mix_dco2=90, vcf_res=60,\n"
        "    vcf_freq=80, chorus='2'))\n"
        "m.play(jxemu.Event(0.0, 'note_on', (80, 100)))\n"
        "sys.stdout.write(m.render(1000).tobytes().hex())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"NUMBA_DISABLE_JIT": jit},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for jit in ("0", "1")
    ]
    sound = np.frombuffer(bytes.fromhex(runs[0]), np.float32)
    assert np.abs(sound).max() > 1e-4
    assert runs[0] == runs[1]


def test_lead_in_is_not_part_of_the_sound():
    sound = jxemu.render(jxemu.Tone("SAW"), [(60, 100, 0.1, 0.1)], 0.3)
    assert LEAD_IN > 0 and np.abs(sound[: int(0.1 * 48_000)]).max() < 1e-9
    assert np.abs(sound[int(0.1 * 48_000) : int(0.125 * 48_000)]).max() > 1e-3


def test_the_render_package_is_called_and_looked_into():
    import jxemu.render.dataset as found

    assert jxemu.render.dataset is found
    assert jxemu.render(jxemu.Tone(), [(60, 100, 0.0, 0.01)], 0.02).shape == (960, 2)
