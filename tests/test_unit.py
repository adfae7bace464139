"""A unit that was measured: its file, and that every place that plays takes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import jxemu
from jxemu.app.cli import app
from jxemu.machine import DUAL
from jxemu.render import spec as specs
from jxemu.render.items import Items
from jxemu.render.sounds import heard as item_heard
from jxemu.soundboard.parts import value
from jxemu.soundboard.unit import ERRORS, MEASURABLE, TABLES, Unit, UnitError

DEMO = Path(__file__).parents[1] / "demo/song.mid"
SAW = jxemu.Tone("SAW", dco1_wave="saw", mix_dco1=90, mix_dco2=0, vcf_freq=80, vcf_res=40, env2_s=127)
BUSY = SAW.replace(
    dco1_wave="noise", dco2_wave="pulse", mix_dco2=100, hpf=2, chorus="1", vcf_lfo=40, lfo_rate=100, lfo_delay=0,
    env2_a=30, env2_d=40, env2_s=60, vca_level=80, vcf_env=30, env1_a=20, env1_d=50,
)  # fmt: skip
NOTES = [(60, 100, 0.0, 0.4), (67, 90, 0.05, 0.4)]
SOME = {"version": 1, "name": "mine", "lower": {"gain_db": [3.0] * 6}, "parts": {"VCF_BASE": 6.0}}


def heard(**options):
    return jxemu.render(SAW, NOTES, 0.3, **options)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(Unit.of(SOME).toml())
    return path


def test_a_unit_survives_its_file(tmp_path):
    whole = Unit.of(
        {
            "version": 1,
            "name": 'the "old" one',
            "parts": {"HPF_HZ": [5, 140.5, 240, 700], "LFO_FAST": 21.25},
            "tables": {"decay": list(range(1, 129))},
            "lower": {"gain_db": [0.1, -0.2, 0, 0, 0, 1]},
            "upper": {"chorus_rate": [0.01]},
        }
    )
    (tmp_path / "u.toml").write_text(whole.toml())
    assert Unit.load(tmp_path / "u.toml") == whole
    assert Unit.of(json.loads(json.dumps(whole.plain()))) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 2", "version"),
        ("version = 1\n[parts]\nVCF_BAES = 6.0", "VCF_BASE"),
        ("version = 1\n[parts]\nVCF_BASE = -6.0", "parts.VCF_BASE"),
        ("version = 1\n[parts]\nVCF_BASE = true", "parts.VCF_BASE"),
        ("version = 1\n[parts]\nQ_OPEN = 1e300", "100 times the nominal"),
        ("version = 1\n[parts]\nCHORUS_DELAY = [0.005, 0.002]", "larger than the one before"),
        ("version = 1\n[parts]\nPULSE_DUTY = 25", "from 0.01 to 0.99"),
        ("version = 1\n[parts]\nHPF_HZ = [5, 130, 250, 30000]", "to 15000"),
        ("version = 1\n[parts]\nVCF_COUNTS_PER_OCTAVE = 100", "from 300"),
        ("version = 1\n[lower]\ncutoff_cents = [0, 0, 0, 0, 0, 1e9]", "at most 6000"),
        ("version = 1\n[parts]\nHPF_HZ = [5, 6]", "list of 4"),
        ("version = 1\n[parts]\nVOICE_CYCLES = 5", "VOICE_CYCLES"),
        ("version = 1\nparts = 5", "[parts]"),
        ("version = 1\n[tables]\nattack = [1, 2]", "128"),
        (f"version = 1\n[tables]\nattack = {[0.5] * 128}", "tables.attack"),
        ("version = 1\n[lower]\ngain_db = [1, 2]", "lower.gain_db"),
        ("version = 1\n[middle]\ngain_db = [1, 2]", "middle"),
        ("version = 1\n[lower]\ngain_db = [nan, 0, 0, 0, 0, 0]", "lower.gain_db"),
        ("version = ", "not TOML"),
    ],
)
def test_a_file_that_describes_no_unit_is_refused_with_its_name_and_entry(tmp_path, text, said):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UnitError) as error:
        Unit.load(path)
    assert "bad.toml" in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_chorus_that_does_not_fit_its_line_is_refused():
    unit = Unit.of({"version": 1, "parts": {"CHORUS_DELAY": [0.002, 0.008]}})
    with pytest.raises(ValueError, match=r"2 to 8 ms does not fit its line, .* at 96000 Hz"):
        heard(unit=unit, sample_rate=96_000)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.toml", "x.toml"):
        with pytest.raises(UnitError, match=name):
            Unit.load(tmp_path / name)


def test_nothing_measured_is_the_nominal_unit():
    assert np.array_equal(heard(unit=Unit()), heard())


def test_what_is_not_measured_stays_as_the_seed_has_it():
    gains = jxemu.Circuit(seed=9).errors(0, "cutoff_cents")
    there = jxemu.Circuit(seed=9, unit=Unit.of(SOME))
    assert np.array_equal(there.errors(0, "cutoff_cents"), gains)
    assert (there.errors(0, "gain_db") == 3.0).all()
    assert not (there.errors(1, "gain_db") == 3.0).any()


@pytest.mark.parametrize("name", MEASURABLE)
def test_every_measurable_constant_is_alive(name):
    nominal = value(name)
    moved = [1.2 * x for x in nominal] if isinstance(nominal, tuple) else 1.2 * nominal
    unit = Unit.of({"version": 1, "parts": {name: moved}})
    assert not np.array_equal(jxemu.render(BUSY, NOTES, 0.5), jxemu.render(BUSY, NOTES, 0.5, unit=unit))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_program_can_be_the_units_own(name):
    unit = Unit.of({"version": 1, "tables": {name: [100] * 128}})
    assert not np.array_equal(jxemu.render(BUSY, NOTES, 0.5), jxemu.render(BUSY, NOTES, 0.5, unit=unit))


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_alive(name):
    tone = (
        SAW.replace(dco2_wave="saw", mix_dco2=90) if name.startswith("ramp") else BUSY
    )  # noise and pulses have no ramp
    unit = Unit.of({"version": 1, "lower": {name: [0.05] * ERRORS[name].count}})
    assert not np.array_equal(jxemu.render(tone, NOTES, 0.5), jxemu.render(tone, NOTES, 0.5, unit=unit))


def test_a_gain_is_what_it_says():
    louder = heard(unit=Unit.of({"version": 1, "lower": {"gain_db": [3.0] * 6}}))
    assert 20 * np.log10(np.abs(louder).max() / np.abs(heard()).max()) == pytest.approx(3.0, abs=1e-3)


def test_the_upper_boards_errors_are_the_upper_boards():
    both = {place: {"version": 1, place: {"gain_db": [3.0] * 6}} for place in ("lower", "upper")}
    sounds = [
        jxemu.Machine("superjx", jxemu.Machine.circuit_of(Unit.of(rows)))
        for rows in ({"version": 1}, both["lower"], both["upper"])
    ]
    halves = []
    for machine in sounds:
        machine.load_patch(DUAL, SAW, SAW)
        machine.play(jxemu.Event(0.0, "note_on", (60, 100)))
        machine.play(jxemu.Event(0.0, "note_on", (64, 100)))
        halves.append(np.abs(machine.render_apart(20_000)).max((1, 2)))
    assert np.array_equal(halves[1] > halves[0], [True, False])
    assert np.array_equal(halves[2] > halves[0], [False, True])


def test_a_machine_of_a_measured_unit_is_saved_and_continued(file):
    machine = jxemu.JX8P(unit=file)
    assert machine.circuit == jxemu.Machine.circuit_of(file)
    machine.load_tone(SAW)
    machine.play(jxemu.Event(0.0, "note_on", (60, 100)))
    machine.render(5_000)
    again = jxemu.Machine.load(machine.save())
    assert again.circuit == machine.circuit
    assert np.array_equal(again.render(5_000), machine.render(5_000))


def test_a_batch_plays_a_unit_as_render_does(file):
    item = jxemu.Item(SAW, NOTES)
    assert np.array_equal(jxemu.render_batch([item, item], 0.3, unit=file)[1], heard(unit=file))


def test_the_commands_take_a_unit(file, tmp_path):
    song, log = DEMO, tmp_path / "a.jxlog"
    run = CliRunner().invoke
    done = run(
        app,
        [
            "render",
            str(song),
            "-o",
            str(tmp_path / "n.wav"),
            "--seconds",
            "1",
            "--jxlog",
            str(log),
            "--format",
            "float",
        ],
    )
    assert done.exit_code == 0, done.output
    for words in (["render", str(song), "--seconds", "1"], ["play-log", str(log), "--seconds", "1"]):
        for name, unit in (("plain", []), ("own", ["--unit", str(file)])):
            done = run(app, [*words, "-o", str(tmp_path / f"{name}.wav"), "--format", "float", *unit])
            assert done.exit_code == 0, done.output
        plain, own = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("plain", "own"))
        assert np.abs(own).max() > 1.2 * np.abs(plain).max()
    done = run(app, ["render", str(song), "-o", str(tmp_path / "x.wav"), "--unit", str(tmp_path / "none.toml")])
    assert done.exit_code == 2
    assert "none.toml" in done.output
    assert not (tmp_path / "x.wav").exists()


def test_a_dataset_of_a_unit_holds_the_unit(file, tmp_path):
    text = '\n'.join(
        [
            "version = 1", 'name = "mine"', "items = 4", "seconds = 0.3", "[machine]", 'unit = "mine.toml"',
            "[tones]", 'source = "uniform"', "[store]", "audio = true",
        ]
    )  # fmt: skip
    (tmp_path / "spec.toml").write_text(text)
    spec = specs.read_spec(tmp_path / "spec.toml")
    file.unlink()  # the frozen spec has it
    assert spec.machine.circuit["unit"] == Unit.of(SOME)
    again = specs.checked(json.loads(spec.to_json()), "spec.json")
    assert again.digest == spec.digest
    (tmp_path / "plain.toml").write_text(text.replace('unit = "mine.toml"', "unit = 0"))
    plain = specs.read_spec(tmp_path / "plain.toml")
    sounds = [item_heard(each, Items(each).plans([(0, 0)])[0]) for each in (spec, plain)]
    assert not np.array_equal(*sounds)


def test_a_dataset_of_a_unit_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "spec.toml").write_text(
        'version = 1\nname = "x"\nitems = 4\n[machine]\nunit = "none.toml"\n[tones]\nsource = "uniform"\n'
    )
    with pytest.raises(specs.SpecError, match=r"none\.toml"):
        specs.read_spec(tmp_path / "spec.toml")
