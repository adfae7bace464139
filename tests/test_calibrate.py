"""The calibration kit: what it measures of the model is what the model was made of, and a hidden unit is found again."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal
from typer.testing import CliRunner

import jxemu
from jxemu.patch.factory import factory_bank
from jxemu.soundboard.parts import value
from jxemu.soundboard.tables import LOOP_SECONDS

TOOLS = Path(__file__).parents[1] / "tools"
OPEN = Path(__file__).parents[1] / "firmware_notes/open_questions.md"
HIDDEN = 4711
"""Seed of the unit that is recorded; nothing but the recording is told to the kit."""

OWN = ("first", "second", "ramp_1", "ramp_2", "driven", "trim", "scale", "chorus")
TIMED = ("attack", "decay", "lfo")


@pytest.fixture(scope="module")
def calibrate():
    return importlib.import_module("calibrate")


@pytest.fixture(scope="module")
def steps():
    return importlib.import_module("calibration.steps")


def run(calibrate, *words):
    done = CliRunner().invoke(calibrate.app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def kit(calibrate, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    run(calibrate, "generate", "-o", folder, "--every", 64)
    run(calibrate, "render", folder, "-o", folder / "model.wav")
    run(calibrate, "analyse", folder, folder / "model.wav")
    return folder


@pytest.fixture(scope="module")
def tables(kit):
    return {name: np.array(rows) for name, rows in json.loads((kit / "model.json").read_text()).items()}


# --- what is measured ----------------------------------------------------------------------------


def test_every_column_of_every_step_is_measured_and_drawn(steps, kit, tables):
    assert tables.keys() == {column for column, step in steps.STEP_OF.items() if not step.asked}
    assert {path.stem for path in (kit / "model").glob("*.png")} == tables.keys()
    assert "Settles `hpf-corners`" in (kit / "model/README.md").read_text()


def test_all_128_values_of_times_are_shown_unless_fewer_are_asked_for(steps):
    every = steps.shots_of(TIMED)
    assert len(every) == 3 * 128
    assert [n for name, n in steps.shots_of(TIMED, 50) if name == "lfo"] == [0, 50, 100, 127]


def test_a_step_names_an_open_question_which_names_the_step(steps):
    asked = {step.question for step in steps.STEPS.values() if step.question}
    assert len(asked) > 10
    notes = OPEN.read_text()
    for name, step in steps.STEPS.items():
        if step.question:
            about = notes.split(f"\n## {step.question}\n")[1].split("\n## ")[0]
            assert f"`{name}`" in about.split("- Kit:")[1], name


@pytest.mark.parametrize("step", ["pitch", "ranges"])
def test_pitches_are_the_keys(tables, step):
    assert np.abs(tables[step][:-1, 1]).max() < 0.3


def test_the_pulse_has_its_duty(tables):
    assert tables["duty"][0, 1] == pytest.approx(100 * value("PULSE_DUTY"), abs=0.05)


def test_a_saws_partials_fall_as_one_over_n(tables):
    assert np.abs(tables["tilt"][:2, 1]).max() < 0.15


def test_the_mixer_is_linear_and_the_level_exponential(tables):
    mixer, vca = tables["mixer"], tables["vca"]
    assert mixer[1:-1, 1] == pytest.approx(20 * np.log10(mixer[1:-1, 0] / 127), abs=0.15)
    assert np.diff(vca[2:-1, 1]).std() < np.diff(mixer[2:-1, 1]).std()


def test_cutoffs_lie_on_the_exponential_law(tables):
    rows = tables["cutoff"]
    octaves = np.polyfit(rows[:, 0], np.log2(rows[:, 1]), 1)[0]
    assert octaves == pytest.approx(128 / value("VCF_COUNTS_PER_OCTAVE"), rel=0.005)
    keys = tables["keyfollow"]
    assert np.polyfit(keys[:, 0], 12 * np.log2(keys[:, 1]), 1)[0] == pytest.approx(1.0, abs=0.01)


def test_the_dampings_ends_are_found(tables):
    assert tables["resonance"][[0, -1], 1] == pytest.approx([value("Q_OPEN"), value("Q_CLOSED")], rel=0.05)


def test_the_high_passs_corners_are_found(tables):
    assert tables["hpf"][:, 1] == pytest.approx(value("HPF_HZ")[1:], rel=0.03)


def test_rates_and_delays_are_found(tables):
    rows = tables["lfo"]
    law = value("LFO_SLOW") * (value("LFO_FAST") / value("LFO_SLOW")) ** (rows[:, 0] / 127)
    assert rows[:, 1] == pytest.approx(law, rel=0.02)
    assert tables["chorus"][:, 1] == pytest.approx(value("CHORUS_RATE"), rel=0.001)
    for column, seconds in zip(("near", "far"), value("CHORUS_DELAY"), strict=True):
        assert tables[column][:, 1] == pytest.approx(1000 * seconds, rel=0.002)


def test_times_are_found(tables):
    fast, slow = value("DECAY_FAST_LOOPS"), value("DECAY_SLOW_LOOPS")
    at, measured, _ = tables["decay"][1]
    assert at == 64
    assert measured == pytest.approx(LOOP_SECONDS * fast * (slow / fast) ** (at / 127), rel=0.04)
    rise = tables["attack"][-1]
    assert rise[1] == pytest.approx(LOOP_SECONDS * value("ENV_FULL") / value("ATTACK_SLOW"), rel=0.01)


def test_what_the_program_and_the_wiring_are_taken_for_shows(tables):
    assert np.abs(tables["envpitch"][:, 1]).max() < 20
    plain, up, inverted = tables["inverted"][:, 1]
    assert inverted < 0.5 * plain < 0.25 * up  # its negative: a complement would be at rest
    assert all((np.diff(tables["dynamics"][at : at + 5, 1]) > 0).all() for at in (0, 5, 10))
    added = tables["mixenv"][:, 1]
    assert added[2] - added[0] > 6  # a product would be silent at level 0
    assert np.diff(tables["aftertouch"][5:, 1]).min() > 0
    assert tables["limit"][-1, 1] - tables["limit"][-2, 1] < 3 < tables["limit"][1, 1] - tables["limit"][0, 1]
    off, *synced = tables["xmod"][:3, 1]
    assert min(synced) > off + 15  # synced, it has DCO1's pitch


def rows_of(tables, name):
    return dict(zip(tables[name][:, 0].astype(int), tables[name][:, 1], strict=True))


def test_the_programs_loop_its_passes_and_the_interrupts_that_stretch_it_are_seen_in_noise_too(steps):
    wire, about = steps.sequence(steps.shots_of(["loop", "stagger", "interrupt"]))
    fit = importlib.import_module("calibration.fit")
    sound = disguised(fit.played(wire, "only", jxemu.Unit()), fit.RATE, 1)
    found = {
        name: np.array([row.measured for row in rows]) for name, rows in steps.analysed(sound, fit.RATE, about).items()
    }
    loop = (value("COMMON_CYCLES") + 6 * value("VOICE_CYCLES")) / 1000
    assert found["loop"] == pytest.approx([loop], abs=0.01)
    assert found["stagger"] == pytest.approx(value("VOICE_CYCLES") / 1000 * np.arange(1, 6), abs=0.6)  # two errors
    # a byte takes 320 cycles of the line
    taken = np.array([0.3, 0.6, 0.9]) * value("ISR_CYCLES") / 320
    assert found["interrupt"] == pytest.approx(loop / (1 - taken), rel=0.003)


def test_a_held_voltage_settles_in_its_time(tables):
    assert tables["hold"][:, 1] == pytest.approx(1000 * value("HOLD_TIME"), rel=0.35)


def test_noise_and_silence_are_no_tones(steps):
    shown = ["loop", "hold", "glide", "lfopitch", "lfowave", "lfodelay", "checkenv", "noisecorner", "topology", "duty"]
    about = steps.sequence(steps.shots_of(shown))[1]
    fit = importlib.import_module("calibration.fit")
    wire, marks = steps.sequence([])
    marker = fit.played(wire, "only", jxemu.Unit())[: round(1.45 * fit.RATE)]
    one, two = about["markers"]
    sound = np.zeros((round((two + 1.6) * fit.RATE), 2))
    for at in (one, two):
        begin = round((at - marks["markers"][0]) * fit.RATE)
        sound[begin : begin + len(marker)] += marker[: len(sound) - begin]
    noise = 1e-4 * np.random.default_rng(3).standard_normal(sound.shape)
    for heard in (sound, sound + noise):
        for name, rows in steps.analysed(heard, fit.RATE, about).items():
            assert not np.isfinite([row.measured for row in rows[:-1]]).any(), name  # the last one's end is the marker


def test_portamento_has_a_rate_whatever_the_way(tables):
    rates = rows_of(tables, "glide")
    for time in (48, 64, 80):
        steps = value("GLIDE_FAST") * (value("GLIDE_SLOW") / value("GLIDE_FAST")) ** (time / 127)
        assert rates[1000 + time] == pytest.approx(steps / 256 / LOOP_SECONDS, rel=0.05)
        assert rates[3000 + time] == pytest.approx(rates[1000 + time], rel=0.03)


def test_the_lfos_depth_form_and_delay_are_seen(tables):
    depths = tables["lfopitch"]
    assert depths[:, 1] == pytest.approx(100 * value("DCO_LFO_RANGE") * depths[:, 0] / 128, rel=0.02)
    assert tables["lfowave"][:, 1] == pytest.approx([1, 3**-0.5], rel=0.04)
    law = value("LFO_SLOW") * (value("LFO_FAST") / value("LFO_SLOW")) ** (60 / 127)
    assert tables["lforandom"][0, 1] == pytest.approx(law, rel=0.02)
    begins, fades = rows_of(tables, "lfodelay"), rows_of(tables, "lfofade")
    for delay in (64, 96, 127):
        seconds = value("LFO_DELAY_LOOPS") * (delay / 127) ** 2 * LOOP_SECONDS
        assert begins[delay] == pytest.approx(seconds, rel=0.08)
        assert fades[delay] == pytest.approx(seconds, rel=0.1)
    assert begins[1064] == 0  # a held key: it runs already


def test_times_halve_as_key_follow_says(tables):
    rows = rows_of(tables, "envkey")
    for code, halving in enumerate(value("ENV_KEY_HALVING"), 1):
        assert np.log2(rows[1000 * code + 48] / rows[1000 * code + 84]) == pytest.approx(36 / halving, rel=0.06)


def test_a_key_that_is_struck_again_peaks_unless_byte_bd_forbids_it(tables):
    rows = rows_of(tables, "checkenv")
    assert min(rows[0], rows[1000], rows[1127]) > 6
    assert rows[127] == pytest.approx(0, abs=0.3)


def test_levels_of_voices_and_noise_add_up(tables):
    rows = rows_of(tables, "voices")
    assert np.diff([rows[n] for n in range(1, 7)]).min() > 0.5
    assert tables["noisevoices"][0, 1] == pytest.approx(-6.02, abs=0.2)  # one source for all voices
    assert tables["noisecorner"][0, 1] == pytest.approx(value("NOISE_LOWPASS"), rel=0.1)
    assert np.diff(tables["sustain"][1:, 1]).min() > 0.5
    assert np.diff(tables["dyngate"][:, 1]).min() > 1
    assert np.diff(tables["dynfilter"][:, 1]).min() > 100


def measured(step, **circuit):
    """A step's tables as another circuit plays it."""
    steps, fit = (importlib.import_module(f"calibration.{name}") for name in ("steps", "fit"))
    wire, about = steps.sequence(steps.shots_of([step]))
    machine = jxemu.Machine("jx8p", jxemu.Circuit(**circuit), fit.RATE, boot=False)
    fit.replay(wire, machine.link)
    sound = machine.render(round(steps.length(wire) * fit.RATE))
    return {
        name: np.array([row.measured for row in rows]) for name, rows in steps.analysed(sound, fit.RATE, about).items()
    }


def test_the_resonances_topologies_are_told_apart(calibrate, tables):
    assert np.abs(tables["bass"][:, 1]).max() < 0.3
    assert tables["unlike"][:, 1].max() < 0.5
    assert measured("topology", resonance="single")["unlike"].min() > 0.7
    assert measured("topology", resonance="feedback")["bass"].max() < -3


@pytest.mark.parametrize("board", ["only", "upper"])
def test_a_board_that_is_switched_off_is_silent_for_so_long(steps, board):
    wire, about = steps.sequence(steps.shots_of(["power"]), board)
    fit = importlib.import_module("calibration.fit")
    sound = fit.played(wire, board, jxemu.Unit(), 0)
    at = round(10 * fit.RATE)
    sound[at : at + round(4.2 * fit.RATE)] = 3e-4 * np.random.default_rng(1).standard_normal((round(4.2 * fit.RATE), 2))
    found = steps.analysed(sound, fit.RATE, about)["power"][0]
    assert found.measured == pytest.approx(4.2, abs=0.1)


def test_keys_below_the_counters_end_keep_its_last_pitch(tables):
    assert tables["lowest"][:, 1] == pytest.approx([480, 280, 80, 0, 0], abs=1)


def test_a_key_that_is_struck_again_goes_on_where_it_was(tables):
    assert np.abs(tables["struck"][:, 1]).max() < 0.01


def test_a_counter_that_starts_anew_is_seen(steps):
    (wire, about), fit = steps.sequence(steps.shots_of(["struck"])), importlib.import_module("calibration.fit")
    sound = fit.played(wire, "only", jxemu.Unit(), 0)
    for row in about["shots"]:  # each second note some samples later, as if its first cycle began with the key
        at = round((row["at"] - 0.005) * fit.RATE)
        size = round(0.62 * fit.RATE)
        sound[at : at + size] = np.roll(sound[at : at + size], 40, 0)
    found = [each.measured for each in steps.analysed(sound, fit.RATE, about)["struck"]]
    assert found == pytest.approx([-40 * 220 / fit.RATE] * 5, abs=0.01)


def test_nothing_rings_by_itself_in_the_model(tables):
    assert tables["ringing"][:, 1].max() < -80


# --- comparing -----------------------------------------------------------------------------------


def test_two_units_are_told_apart_and_one_from_itself_is_not(kit, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import typer

    compare = importlib.import_module("compare")
    app = typer.Typer()
    app.command()(compare.main)
    rows = json.loads((kit / "model.json").read_text())
    rows = {name: rows[name] for name in ("pitch", "cutoff", "level")}
    (tmp_path / "model.json").write_text(json.dumps(rows))
    same = CliRunner().invoke(app, [str(tmp_path / "model.json")] * 2)
    assert same.output.count("no real difference") == 3
    rows["pitch"] = [[at, measured + 5, error] for at, measured, error in rows["pitch"]]
    (tmp_path / "other.json").write_text(json.dumps(rows))
    apart = CliRunner().invoke(
        app, [str(tmp_path / "model.json"), str(tmp_path / "other.json"), "-o", str(tmp_path / "pictures")]
    )
    assert apart.output.count("differ beyond") == 1
    assert (tmp_path / "pictures/pitch.png").exists()


def test_two_analyses_without_a_step_in_common_are_not_called_the_same(kit, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import typer

    app = typer.Typer()
    app.command()(importlib.import_module("compare").main)
    rows = json.loads((kit / "model.json").read_text())
    for name in ("pitch", "level"):
        (tmp_path / f"{name}.json").write_text(json.dumps({name: rows[name]}))
    done = CliRunner().invoke(app, [str(tmp_path / "pitch.json"), str(tmp_path / "level.json")])
    assert done.exit_code == 2
    assert "no step in common" in done.output


def test_the_kits_own_files_are_not_written_over_and_a_missing_recording_is_named(calibrate, kit):
    before = (kit / "sequence.json").read_bytes()
    (kit / "sequence.wav").write_bytes((kit / "model.wav").read_bytes()[:1000])
    for name, why in (("sequence.wav", "give it another name"), ("none.wav", "there is no such file")):
        done = CliRunner().invoke(calibrate.app, ["analyse", str(kit), str(kit / name)])
        assert done.exit_code == 2
        assert why in done.output
    assert (kit / "sequence.json").read_bytes() == before


# --- fitting -------------------------------------------------------------------------------------


def disguised(sound, rate, seed):
    """As if recorded: 50 ppm of drift, 3 ms late, hum, and noise at -70 dB."""
    size = (len(sound) // 20_000 + 1) * 20_000
    late = signal.resample(np.pad(sound.astype(float), ((0, size - len(sound)), (0, 0))), size + size // 20_000)
    late = np.concatenate([np.zeros((round(0.003 * rate), 2)), late])
    at = np.arange(len(late)) / rate
    hum = sum(
        10 ** (level / 20) * np.sin(2 * np.pi * hertz * at) for hertz, level in ((50, -66), (100, -72), (150, -75))
    )
    noise = 10 ** (-70 / 20) * np.random.default_rng(seed).standard_normal(late.shape)
    return (late + hum[:, None] + noise).astype(np.float32)


def recorded(calibrate, folder, names, every, seed=HIDDEN, unit=()):
    run(calibrate, "generate", "-o", folder, "--every", every, *(word for name in names for word in ("--step", name)))
    run(calibrate, "render", folder, "-o", folder / "clean.wav", "--seed", seed, *unit)
    sound, rate = soundfile.read(folder / "clean.wav", dtype="float32")
    soundfile.write(folder / "hidden.wav", disguised(sound, rate, seed), rate, "FLOAT")
    return run(calibrate, "fit", folder, folder / "hidden.wav", "-o", folder / "mine.toml"), folder / "mine.toml"


@pytest.fixture(scope="module")
def found(calibrate, tmp_path_factory):
    return recorded(calibrate, tmp_path_factory.mktemp("hidden"), OWN, 1)[1]


@pytest.fixture(scope="module")
def circuits(found):
    return jxemu.Machine.circuit_of(found), jxemu.Circuit(seed=HIDDEN)


@pytest.mark.slow
@pytest.mark.parametrize("cv", [50, 70, 95])
def test_the_hidden_units_cutoffs_are_found_within_three_cents(circuits, cv):
    octaves = cv * 128 / value("VCF_COUNTS_PER_OCTAVE")
    mine, hidden = (
        unit.errors(0, "cutoff_cents") + 1200 * octaves * unit.errors(0, "cutoff_scale") for unit in circuits
    )
    assert np.abs(mine - hidden).max() < 3
    assert np.abs(hidden).max() > 10  # there was something to find


@pytest.mark.slow
def test_the_hidden_units_levels_are_found_within_a_fifth_of_a_decibel(circuits):
    for dco in ("1", "2"):
        mine, hidden = (
            unit.errors(0, "gain_db") + 20 * np.log10(1 + unit.errors(0, f"mixer_{dco}")) for unit in circuits
        )
        assert np.abs(mine - hidden).max() < 0.2


@pytest.mark.slow
def test_the_hidden_units_chorus_is_found_within_three_in_a_hundred(circuits):
    for name in ("chorus_rate", "chorus_delay"):
        mine, hidden = (unit.errors(0, name)[0] for unit in circuits)
        assert abs(mine - hidden) < 0.002


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2, 5, 8])
def test_the_fitted_unit_is_nearer_the_hidden_one_by_twenty_decibels_on_notes_not_in_the_kit(found, number):
    tone = factory_bank().tones[number]
    notes = [(43, 100, 0.0, 1.0), (55, 80, 0.2, 1.0), (62, 110, 0.5, 0.8), (70, 90, 0.7, 0.8)]
    hidden, nominal, mine = (
        jxemu.render(tone, notes, 2.0, **unit).astype(float) for unit in ({"seed": HIDDEN}, {}, {"unit": found})
    )
    apart = [10 * np.log10(np.square(sound - hidden).sum() / np.square(hidden).sum()) for sound in (nominal, mine)]
    assert apart[1] < apart[0] - 20


def test_times_that_are_as_in_the_parts_table_stay_and_others_are_found(calibrate, tmp_path):
    (tmp_path / "hidden.toml").write_text("version = 1\n[parts]\nLFO_FAST = 22.0\nDECAY_SLOW_LOOPS = 2000\n")
    said, mine = recorded(calibrate, tmp_path, TIMED, 40, 1, ("--unit", tmp_path / "hidden.toml"))
    assert "attack: as in the parts table" in said
    parts = dict(jxemu.Unit.load(mine).parts)
    assert parts["LFO_FAST"] == pytest.approx(22.0, rel=0.02)
    assert parts["DECAY_SLOW_LOOPS"] == pytest.approx(2000, rel=0.02)
    assert "ATTACK_SLOW" not in parts


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_whole_kit_finds_any_unit(calibrate, tmp_path, seed):
    _, mine = recorded(calibrate, tmp_path, (), 1, seed)
    unit = jxemu.Unit.load(mine)
    assert (
        not {"DECAY_SLOW_LOOPS", "ATTACK_SLOW", "LFO_FAST"} & dict(unit.parts).keys()
    )  # the hidden unit has the nominal ones
    tone = factory_bank().tones[0]
    notes = [(48, 100, 0.0, 1.0), (60, 100, 0.1, 1.0)]
    hidden, nominal, fitted = (jxemu.render(tone, notes, 2.0, **each) for each in ({"seed": seed}, {}, {"unit": unit}))
    assert np.square(fitted - hidden).sum() < 0.01 * np.square(nominal - hidden).sum()


VOICES = ("first", "second", "driven", "trim", "scale")


def cutoffs_apart(unit, seed):
    """Cents by which a fitted unit's cutoffs are off a seed's, at worst."""
    mine, hidden = jxemu.Machine.circuit_of(unit), jxemu.Circuit(seed=seed)
    octaves = np.array([[50], [70], [95]]) * 128 / value("VCF_COUNTS_PER_OCTAVE")
    cents = [
        each.errors(0, "cutoff_cents") + 1200 * octaves * each.errors(0, "cutoff_scale") for each in (mine, hidden)
    ]
    return np.abs(cents[0] - cents[1]).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gain", "noise", "kind"), [(1.0, None, "PCM_16"), (4.0, -70, "FLOAT"), (4.0, -90, "FLOAT"), (0.1, -90, "FLOAT")]
)
def test_cutoffs_are_found_at_any_gain_and_in_sixteen_bits(calibrate, tmp_path, gain, noise, kind):
    run(calibrate, "generate", "-o", tmp_path, *(word for name in VOICES for word in ("--step", name)))
    run(calibrate, "render", tmp_path, "-o", tmp_path / "clean.wav", "--seed", 11)
    sound, rate = soundfile.read(tmp_path / "clean.wav")
    hiss = 0.0 if noise is None else 10 ** (noise / 20) * np.random.default_rng(1).standard_normal(sound.shape)
    soundfile.write(tmp_path / "a.wav", gain * sound + hiss, rate, kind)
    run(calibrate, "fit", tmp_path, tmp_path / "a.wav", "-o", tmp_path / "u.toml")
    assert cutoffs_apart(tmp_path / "u.toml", 11) < 3


@pytest.mark.slow
@pytest.mark.parametrize(("part", "times"), [("MIX_DRIVE", 3.6), ("MIX_DRIVE", 0.5), ("VCF_COUNTS_PER_OCTAVE", 1.04)])
def test_a_mixer_that_drives_harder_and_another_scale_of_the_filter_are_found(calibrate, tmp_path, part, times):
    (tmp_path / "hidden.toml").write_text(f"version = 1\n[parts]\n{part} = {times * value(part)}\n")
    run(calibrate, "generate", "-o", tmp_path, *(word for name in (*VOICES, "limit") for word in ("--step", name)))
    run(calibrate, "render", tmp_path, "-o", tmp_path / "a.wav", "--unit", tmp_path / "hidden.toml")
    said = run(calibrate, "fit", tmp_path, tmp_path / "a.wav", "-o", tmp_path / "u.toml")
    assert "not found" not in said
    assert "not explained" not in said
    tone = factory_bank().tones[0].replace(vcf_res=90)
    notes = [(48, 100, 0.0, 1.0), (60, 100, 0.1, 1.0)]
    hidden, nominal, mine = (
        jxemu.render(tone, notes, 2.0, **each)
        for each in ({"unit": tmp_path / "hidden.toml"}, {}, {"unit": tmp_path / "u.toml"})
    )
    assert np.square(mine - hidden).sum() < 0.01 * np.square(nominal - hidden).sum()


@pytest.mark.slow
def test_a_filter_an_octave_off_is_found_and_what_is_not_found_is_said(calibrate, tmp_path):
    (tmp_path / "hidden.toml").write_text("version = 1\n[parts]\nVCF_BASE = 11.06\n")
    run(calibrate, "generate", "-o", tmp_path, *(word for name in VOICES for word in ("--step", name)))
    run(calibrate, "render", tmp_path, "-o", tmp_path / "a.wav", "--unit", tmp_path / "hidden.toml")
    said = run(calibrate, "fit", tmp_path, tmp_path / "a.wav", "-o", tmp_path / "u.toml")
    assert jxemu.Machine.circuit_of(tmp_path / "u.toml").errors(0, "cutoff_cents") == pytest.approx([1200] * 6, abs=10)
    assert "not found" not in said


def test_a_converters_rounding_counts_as_noise_where_silence_has_none(calibrate, steps, tmp_path):
    run(calibrate, "generate", "-o", tmp_path, "--step", "trim")
    run(calibrate, "render", tmp_path, "-o", tmp_path / "a.wav")
    sound, rate = soundfile.read(tmp_path / "a.wav")
    about = json.loads((tmp_path / "sequence.json").read_text())
    rounded = np.round(sound * 2**15) / 2**15
    step = 2.0**-15 / np.sqrt(12)
    place = steps.Place.of(sound.mean(1), rate, about)
    heard = steps.noise_of(rounded.mean(1), place, about)
    assert heard == pytest.approx(step / np.sqrt(2), rel=0.6)  # the mean of two channels
    assert steps.noise_of(sound.mean(1), place, about) < 0.1 * step


def test_sound_that_was_lost_is_told_from_a_clock_that_runs_fast(steps):
    assert steps.Place(48_000, 0.0, 0.0, 1 + 100e-6).doubt(600.0) == ""
    assert "100 ms shorter" in steps.Place(48_000, 0.0, 0.0, 1 - 0.1 / 100).doubt(100.0)


def test_a_low_rate_shows_no_mirror_images(calibrate, steps, tmp_path):
    run(calibrate, "generate", "-o", tmp_path, "--step", "tilt")
    run(calibrate, "render", tmp_path, "-o", tmp_path / "a.wav")
    sound, rate = soundfile.read(tmp_path / "a.wav")
    about = json.loads((tmp_path / "sequence.json").read_text())
    whole = steps.analysed(sound, rate, about)["tilt"]
    low = steps.analysed(signal.resample_poly(sound, 1, 3), rate // 3, about)["tilt"]
    assert [row.measured for row in low] == pytest.approx([row.measured for row in whole], abs=0.2)


# --- what goes wrong -----------------------------------------------------------------------------


def test_what_is_no_recording_of_the_sequence_is_said(calibrate, kit, tmp_path):
    soundfile.write(tmp_path / "quiet.wav", np.zeros((48_000 * 3, 2)), 48_000)
    noise = np.random.default_rng(1).standard_normal((48_000 * 200, 1)) * 0.1
    soundfile.write(tmp_path / "noise.wav", noise, 48_000)
    for recording, said in (("quiet.wav", "markers"), ("noise.wav", "markers"), ("none.wav", "none.wav")):
        for command in (["analyse"], ["fit", "-o", str(tmp_path / "x.toml")]):
            done = CliRunner().invoke(calibrate.app, [command[0], str(kit), str(tmp_path / recording), *command[1:]])
            assert done.exit_code == 2
            assert said in done.output
    assert not (tmp_path / "x.toml").exists()
    assert CliRunner().invoke(calibrate.app, ["analyse", str(tmp_path), "x.wav"]).exit_code == 2
    assert (
        "there is no step" in CliRunner().invoke(calibrate.app, ["generate", "-o", str(tmp_path), "--step", "x"]).output
    )


def test_what_is_wrong_with_a_recording_is_said_before_it_is_measured(calibrate):
    sound = 0.5 * np.random.default_rng(0).standard_normal((48_000, 2))
    assert calibrate._doubts(0.3 * np.tanh(sound), 48_000) == []
    assert "clipped" in calibrate._doubts(np.clip(3 * sound, -1, 1), 48_000)[0]
    assert "8000 Hz" in calibrate._doubts(0.3 * np.tanh(sound), 8_000)[0]
    assert "one channel is silent" in calibrate._doubts(0.3 * np.tanh(sound) * [1, 0], 48_000)[0]


def test_what_cannot_be_written_is_said_in_a_sentence(calibrate, kit, tmp_path):
    (tmp_path / "file").write_text("")
    for words in (["generate", "-o", tmp_path / "file"], ["render", kit, "-o", tmp_path / "a.foo"],
                  ["fit", kit, kit / "model.wav", "-o", tmp_path / "none/u.toml"]):  # fmt: skip
        done = CliRunner().invoke(calibrate.app, [str(word) for word in words])
        assert done.exit_code == 2
        assert done.output.count("\n") == 1, done.output
        assert isinstance(done.exception, SystemExit)


@pytest.mark.slow
def test_the_drive_alone_can_be_fitted_and_nominal_stays_nominal_at_another_gain(calibrate, tmp_path):
    (tmp_path / "hidden.toml").write_text(f"version = 1\n[parts]\nMIX_DRIVE = {3.6 * value('MIX_DRIVE')}\n")
    run(calibrate, "generate", "-o", tmp_path, "--step", "limit", "--step", "first")
    run(calibrate, "render", tmp_path, "-o", tmp_path / "a.wav", "--unit", tmp_path / "hidden.toml")
    sound, rate = soundfile.read(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", 0.3 * sound, rate, "FLOAT")
    said = run(calibrate, "fit", tmp_path, tmp_path / "b.wav", "-o", tmp_path / "u.toml")
    assert dict(jxemu.Unit.load(tmp_path / "u.toml").parts)["MIX_DRIVE"] == pytest.approx(
        3.6 * value("MIX_DRIVE"), rel=0.02
    )
    before, after = re.search(r"limit +([\d.]+) -> ([\d.]+)", said).groups()
    assert float(before) > 50 > 5 > float(after)


def test_a_recording_that_says_nothing_about_a_unit_fits_none(calibrate, tmp_path):
    run(calibrate, "generate", "-o", tmp_path, "--step", "pitch")
    run(calibrate, "render", tmp_path, "-o", tmp_path / "a.wav")
    done = CliRunner().invoke(
        calibrate.app, ["fit", str(tmp_path), str(tmp_path / "a.wav"), "-o", str(tmp_path / "u.toml")]
    )
    assert done.exit_code == 2
    assert "says anything about a unit" in done.output


def test_the_super_jxs_upper_board_is_shown_alone(calibrate, tmp_path):
    run(calibrate, "generate", "-o", tmp_path, "--board", "upper", "--step", "first")
    (tmp_path / "u.toml").write_text(
        "version = 1\n[lower]\ngain_db = [9, 9, 9, 9, 9, 9]\n[upper]\ngain_db = [1, 2, 3, 4, 5, 6]\n"
    )
    levels = []
    for name, unit in (("plain", ()), ("own", ("--unit", tmp_path / "u.toml"))):
        run(calibrate, "render", tmp_path, "-o", tmp_path / f"{name}.wav", *unit)
        run(calibrate, "analyse", tmp_path, tmp_path / f"{name}.wav")
        levels.append(np.array(json.loads((tmp_path / f"{name}.json").read_text())["first"])[:, 1])
    assert levels[1] - levels[0] == pytest.approx([1, 2, 3, 4, 5, 6], abs=0.01)


@pytest.mark.slow
def test_the_super_jxs_upper_board_is_fitted_beside_its_lower_one(calibrate, tmp_path):
    (tmp_path / "known.toml").write_text("version = 1\n[lower]\ngain_db = [1, 2, 3, 4, 5, 6]\n")
    run(calibrate, "generate", "-o", tmp_path, "--board", "upper", "--step", "first", "--step", "second", "--step", "driven",
        "--step", "trim", "--step", "scale")  # fmt: skip
    run(calibrate, "render", tmp_path, "-o", tmp_path / "a.wav", "--seed", 5)
    run(calibrate, "fit", tmp_path, tmp_path / "a.wav", "-o", tmp_path / "u.toml", "--known", tmp_path / "known.toml")
    circuit, hidden = jxemu.Machine.circuit_of(tmp_path / "u.toml"), jxemu.Circuit(seed=5)
    assert circuit.errors(0, "gain_db") == pytest.approx([1, 2, 3, 4, 5, 6])
    assert circuit.errors(1, "gain_db") == pytest.approx(hidden.errors(1, "gain_db"), abs=0.1)


def test_a_unit_that_is_fitted_again_keeps_its_ramps(steps):
    from jxemu.soundboard.unit import Unit

    fit = importlib.import_module("calibration.fit")
    shots = [s for s in steps.shots_of(["ramp_1", "duty"], 1) if steps.STEPS[s[0]].shots[s[1]].voice < 1]
    true = Unit("x", (), (), (("lower", "ramp_1", (0.06, 0.0, 0.0, 0.0, 0.0, 0.0)),))
    tables = fit.Model("only", 1e-6).tables(shots, true)
    found = [fit.fitted(tables, shots, "only", 1e-6, "y", known).unit.errors[0] for known in (None, true)]
    assert found[0] == found[1]
    assert found[1][2][0] == pytest.approx(0.06, abs=0.005)
