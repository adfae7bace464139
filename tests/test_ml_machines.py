"""The table of the listening machines: made by the commands that it names, and honest about what is missed."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from jxemu.app.cli import app

torch = pytest.importorskip("torch")

from jxemu.ml import machines  # noqa: E402 - what it needs was looked for first


def test_a_goal_is_met_from_the_right_side():
    assert machines.Row("m", "error", 0.9, 1.0).met
    assert not machines.Row("m", "error", 1.1, 1.0).met
    assert machines.Row("m", "speed", 1.1, 1.0, above=True).met
    assert machines.Row("m", "told", 1.0).met is None


def test_what_is_missed_stands_out_in_the_table():
    text = machines.markdown([machines.Row("m", "error", 1.1, 1.0, command="jxemu ml x")])
    assert "| m | error | 1.1 | <= 1 | **missed** |" in text
    assert "`jxemu ml x`" in text


def test_every_command_that_a_study_asks_for_is_there():
    for name, made in (
        ("samples", "samples/README.md"),
        ("notes", "notes/card.json"),
        ("effect", "effect/vcf/card.json"),
    ):
        assert machines.STUDIES[name].trained_by(made).startswith("jxemu ml ")


def test_a_command_that_fails_ends_the_table(tmp_path):
    (tmp_path / "quick/sounds").mkdir(parents=True)
    (tmp_path / "quick/sounds/sine.wav").write_text("no sound")
    done = CliRunner().invoke(app, ["ml", "bench", "-o", str(tmp_path), "--quick", "--only", "phase"])
    assert done.exit_code == 2
    assert "sine.wav" in done.output


def test_every_file_has_one_command_that_makes_it():
    made = [command.makes for study in machines.STUDIES.values() for command in study.commands]
    assert len(set(made)) == len(made)
    folders = [command.words[command.words.index("-o") + 1] for study in machines.STUDIES.values() for command in study.commands]  # fmt: skip
    assert all(file.startswith(folder) for file, folder in zip(made, folders, strict=True))


def test_the_table_trains_what_is_missing_measures_it_and_does_so_once(tmp_path):
    output, tmp_path = tmp_path, tmp_path / "quick"

    def bench():
        return CliRunner().invoke(app, ["ml", "bench", "-o", str(output), "--quick", "--only", "phase"])

    done = bench()
    assert done.exit_code == 0, done.output
    assert "| follower | all bins, back to sound, dB |" in done.output
    table = json.loads((tmp_path / "machines.json").read_text())
    assert len(table["phase"]) == 10
    assert (tmp_path / "machines.png").exists()
    assert (tmp_path / "phase/sine-steps.wav").exists()
    told = asdict(machines.Row("other", "a figure that was there", 1.0))
    (tmp_path / "machines.json").write_text(json.dumps(table | {"samples": [told]}))
    before = (tmp_path / "phase/sine-frames/weights.safetensors").stat().st_mtime_ns
    assert "a figure that was there" in bench().output
    assert (tmp_path / "phase/sine-frames/weights.safetensors").stat().st_mtime_ns == before
    given = json.loads((tmp_path / "commands.json").read_text())
    (tmp_path / "commands.json").write_text(json.dumps(given | {"phase/sine-frames/card.json": "another command"}))
    bench()
    assert (tmp_path / "phase/sine-frames/weights.safetensors").stat().st_mtime_ns > before
    assert json.loads((tmp_path / "commands.json").read_text()) == given


@pytest.mark.slow
@pytest.mark.parametrize("study", [name for name in machines.STUDIES if name != "phase"])
def test_every_study_trains_and_measures_what_it_names(study, tmp_path):
    done = CliRunner().invoke(app, ["ml", "bench", "-o", str(tmp_path), "--quick", "--only", study])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "quick/machines.json").read_text())[study]
    assert len(rows) >= 2
    assert all(row["found"] == row["found"] for row in rows)  # none is NaN


@pytest.mark.slow
def test_a_space_of_banks_holds_whole_ones_out(tmp_path):
    rows = [f"T{n},bank {n % 3},{30 + 5 * n},{n % 4},{20 + 9 * n},{9 * n},{99 - 4 * n}" for n in range(9)]
    head = "name,bank,vcf_freq,dco1_wave,env1_d,env2_d,vcf_res"  # families are told apart by five parameters
    (tmp_path / "t.csv").write_text("\n".join([head, *rows]) + "\n")
    words = ["ml", "bench", "-o", str(tmp_path), "--quick", "--only", "banks", "--bank", str(tmp_path / "t.csv")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    table = json.loads((tmp_path / "quick/machines.json").read_text())
    assert list(table) == ["banks"]
    assert len(table["banks"]) == 11
    assert table["banks"][0]["command"].startswith("jxemu ml notes train sounds/banks-")


def test_a_bank_that_is_not_there_ends_the_table(tmp_path):
    done = CliRunner().invoke(app, ["ml", "bench", "-o", str(tmp_path), "--bank", str(tmp_path / "no.syx")])
    assert done.exit_code == 2
    assert "cannot read" in done.output


def test_the_benchmark_says_which_options_go_with_what(tmp_path):
    for words, said in (
        (["--model", "x"], "give its folder"),
        (["-n", "5"], "give its folder"),
        (["--only", "banks"], "needs --bank"),
        (["--only", "crbm", "--bank", "x.syx"], "add --only banks"),
        ([str(tmp_path), "--quick"], "leave the dataset out"),
    ):
        done = CliRunner().invoke(app, ["ml", "bench", "-o", str(tmp_path / "out"), *words])
        assert done.exit_code == 2
        assert said in done.output
