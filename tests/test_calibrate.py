"""The calibration kit: what it measures of the model is what the model was made of."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from jxemu.soundboard.parts import value

TOOLS = Path(__file__).parents[1] / "tools"
OPEN = Path(__file__).parents[1] / "firmware_notes/open_questions.md"
LOOP = 0.01


@pytest.fixture(scope="module")
def calibrate():
    return importlib.import_module("calibrate")


@pytest.fixture(scope="module")
def kit(calibrate, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    for command in (
        ["generate", "-o", folder],
        ["render", folder, "-o", folder / "model.wav"],
        ["analyse", folder, folder / "model.wav"],
    ):
        done = CliRunner().invoke(calibrate.app, [str(word) for word in command])
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def tables(kit):
    return {name: np.array(rows) for name, rows in json.loads((kit / "model.json").read_text()).items()}


def test_every_step_is_measured_and_drawn(calibrate, kit, tables):
    assert tables.keys() == calibrate.STEPS.keys()
    pictures = kit / "model"
    assert {path.stem for path in pictures.glob("*.png")} == tables.keys()
    assert "Settles `hpf-corners`" in (pictures / "README.md").read_text()


def test_a_step_names_an_open_question_which_names_the_step(calibrate):
    asked = {step.question for step in calibrate.STEPS.values() if step.question}
    assert len(asked) > 7
    notes = OPEN.read_text()
    for name, step in calibrate.STEPS.items():
        if step.question:
            about = notes.split(f"\n## {step.question}\n")[1].split("\n## ")[0]
            assert f"`{name}`" in about.split("- Kit:")[1]


@pytest.mark.parametrize("step", ["pitch", "ranges"])
def test_pitches_are_the_keys(tables, step):
    assert np.abs(tables[step][:-1, 1]).max() < 0.3


def test_the_pulse_has_its_duty(tables):
    assert tables["duty"][0, 1] == pytest.approx(100 * value("PULSE_DUTY"), abs=0.2)


def test_the_mixer_is_linear_and_the_level_exponential(tables):
    mixer, vca = tables["mixer"], tables["vca"]
    assert mixer[1:-1, 1] == pytest.approx(20 * np.log10(mixer[1:-1, 0] / 127), abs=0.15)
    assert np.diff(vca[2:-1, 1]).std() < np.diff(mixer[2:-1, 1]).std()


def test_cutoffs_lie_on_the_exponential_law(tables):
    rows = tables["cutoff"]
    octaves = np.polyfit(rows[:, 0], np.log2(rows[:, 1]), 1)[0]
    assert octaves == pytest.approx(128 / value("VCF_COUNTS_PER_OCTAVE"), rel=0.02)
    keys = tables["keyfollow"]
    assert np.polyfit(keys[:, 0], 12 * np.log2(keys[:, 1]), 1)[0] == pytest.approx(1.0, abs=0.03)


def test_the_high_passs_corners_are_found_within_their_error(tables):
    for (_, measured, error), corner in zip(tables["hpf"], value("HPF_HZ")[1:], strict=True):
        assert abs(measured - corner) < max(4 * error, 0.05 * corner)


def test_slow_rates_are_found(tables):
    rows = tables["lfo"]
    law = value("LFO_SLOW") * (value("LFO_FAST") / value("LFO_SLOW")) ** (rows[:, 0] / 127)
    assert rows[:, 1] == pytest.approx(law, rel=0.02)
    assert tables["chorus"][:, 1] == pytest.approx(value("CHORUS_RATE"), rel=0.01)


@pytest.mark.parametrize("step", ["decay", "release"])
def test_falls_have_their_time_constants(tables, step):
    rows = tables[step]
    slow, fast = value("DECAY_SLOW_LOOPS"), value("DECAY_FAST_LOOPS")
    law = LOOP * fast * (slow / fast) ** (rows[:, 0] / 127)
    assert rows[1:, 1] == pytest.approx(law[1:], rel=0.04)


def test_two_units_are_told_apart_and_one_from_itself_is_not(calibrate, kit, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import typer

    compare = importlib.import_module("compare")
    app = typer.Typer()
    app.command()(compare.main)
    same = CliRunner().invoke(app, [str(kit / "model.json")] * 2)
    assert "differ beyond" not in same.output
    rows = json.loads((kit / "model.json").read_text())
    rows["pitch"] = [[at, measured + 5, error] for at, measured, error in rows["pitch"]]
    (tmp_path / "other.json").write_text(json.dumps(rows))
    apart = CliRunner().invoke(
        app, [str(kit / "model.json"), str(tmp_path / "other.json"), "-o", str(tmp_path / "pictures")]
    )
    assert apart.output.count("differ beyond") == 1
    assert (tmp_path / "pictures/pitch.png").exists()


def test_what_is_no_recording_of_the_sequence_is_said(calibrate, kit, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros((48_000, 2)), 48_000)
    for recording, said in (("short.wav", "in the middle of step"), ("none.wav", "none.wav")):
        done = CliRunner().invoke(calibrate.app, ["analyse", str(kit), str(tmp_path / recording)])
        assert done.exit_code == 2
        assert said in done.output
    assert CliRunner().invoke(calibrate.app, ["analyse", str(tmp_path), "x.wav"]).exit_code == 2
    assert (
        "there is no step" in CliRunner().invoke(calibrate.app, ["generate", "-o", str(tmp_path), "--step", "x"]).output
    )
