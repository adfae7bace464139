"""The tools print what they say and write what they say."""

import importlib
from pathlib import Path

import pytest
import soundfile
import typer
from matplotlib import image
from typer.testing import CliRunner

from jxemu.soundboard.parts import PARTS

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    monkeypatch.setenv("COLUMNS", "160")

    def run_tool(name, *arguments):
        app = typer.Typer()
        app.command()(importlib.import_module(name).main)
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run_tool


def test_provenance_prints_every_constant(run):
    result = run("provenance")
    assert result.exit_code == 0
    assert set(PARTS) <= set(result.stdout.split())
    assert f"{len(PARTS)} constants" in result.stdout


def test_provenance_shows_only_the_grade_that_is_asked_for(run):
    words = set(run("provenance", "--grade", "PLACEHOLDER").stdout.split())
    assert words & set(PARTS) == {constant.name for constant in PARTS.values() if constant.grade == "PLACEHOLDER"}


def test_listen_writes_a_sound_and_a_picture_of_a_circuit_and_of_a_tone(run, tmp_path):
    result = run("listen", "-o", tmp_path, "--only", "mixer", "--only", "tone_sunday_ep")
    assert result.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mixer.png",
        "mixer.wav",
        "tone_sunday_ep.png",
        "tone_sunday_ep.wav",
    ]
    for sound_path in tmp_path.glob("*.wav"):
        sound, rate = soundfile.read(sound_path)
        assert rate == 48_000 and len(sound) > 4 * rate and sound.shape[1] == 2
        assert 0.01 < abs(sound).max() < 1
        picture = image.imread(sound_path.with_suffix(".png"))
        assert min(picture.shape[:2]) > 800 and picture.std() > 0.05


def test_listen_names_what_it_knows_when_asked_for_something_else(run, tmp_path):
    result = run("listen", "-o", tmp_path, "--only", "flanger")
    assert result.exit_code == 2
    assert "flanger" in result.stderr and "chorus" in result.stderr


def test_listen_shows_the_wire_of_a_key_mode(run, tmp_path):
    assert run("listen", "-o", tmp_path, "--only", "chase").exit_code == 0
    sound, rate = soundfile.read(tmp_path / "chase.wav")
    level = abs(sound[: rate * 48 // 10, 0]).reshape(-1, rate // 20).max(1)
    onsets = (level[1:] > 1.5 * level[:-1]) & (level[1:] > 0.004)
    assert onsets.sum() >= 8, "four keys and their echoes"
    assert image.imread(tmp_path / "chase.png").std() > 0.05


def test_a_wire_log_becomes_a_picture_of_its_voices(run, tmp_path):
    (tmp_path / "a.jxlog").write_text("jxlog 1 spacing 320\n1000 F1 80 20 C0 3C 64\n900000 F1 D0 3C 00\n")
    assert run("wire_trace", tmp_path / "a.jxlog", "-o", tmp_path / "a.png").exit_code == 0
    assert image.imread(tmp_path / "a.png").std() > 0.05
    result = run("wire_trace", tmp_path / "none.jxlog", "-o", tmp_path / "b.png")
    assert result.exit_code == 2 and "none.jxlog" in result.stderr
