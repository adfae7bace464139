"""The calibration kit: from a recording of a sound board to the unit that the emulator then is.

    python tools/calibrate.py generate -o kit                     # kit/sequence.jxlog, kit/sequence.json
    jxemu capture kit/sequence.jxlog -o kit/mine.wav --port rig:/dev/ttyACM0
    python tools/calibrate.py analyse kit kit/mine.wav            # tables with error bars: kit/mine.json, kit/mine/README.md
    python tools/calibrate.py fit kit kit/mine.wav -o my_board.toml
    jxemu render song.mid --unit my_board.toml -o song.wav        # play, match, datasets and jxemu.render take it, too
    python tools/calibrate.py render kit -o kit/model.wav         # what the model makes of the sequence

Any recording of the sequence will do, by whatever records: two markers, one at each end, say where it begins and how fast
its clock runs. Every step but `pitch`, whose law is known, names the open question of firmware_notes/open_questions.md that it settles, or helps to.
``python tools/compare.py kit/mine.json kit/model.json`` puts two analyses side by side.
Needs ``pip install 'jxemu[listen,bridge]'``.

Limits: one board at a time; all but the voices' own steps are shown on voice 1; what does not change a steady tone (the sample and hold's time, the ramp's reset) is not fitted.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import soundfile
import typer
from calibration import fit as fitting
from calibration.measures import HIGHEST
from calibration.steps import (
    SELECTS,
    STEP_OF,
    STEPS,
    VERSION,
    Place,
    Row,
    analysed,
    length,
    noise_of,
    sequence,
    shots_of,
)
from matplotlib.figure import Figure
from rich.progress import Progress, track

from jxemu.clock import CYCLES_PER_BYTE
from jxemu.link import LogError, format_log, load_log
from jxemu.soundboard.unit import ERRORS, PLACES, Unit, UnitError

matplotlib.use("Agg")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=__doc__)

Board = StrEnum("Board", {name: name for name in SELECTS})
Kit = Annotated[Path, typer.Argument(help="Folder of the kit.")]
Recording = Annotated[Path, typer.Argument(help="Sound file of the sequence.")]


# --- reports -------------------------------------------------------------------------------------


def markdown(tables: dict[str, list[Row]], title: str) -> str:
    """Tables for people."""
    lines = [f"# {title}", ""]
    for name, step in STEPS.items():
        there = [column for column in step.columns if column in tables]
        if not there:
            continue
        settles = f" Settles `{step.question}`." if step.question else ""
        lines += [f"## {name}", "", f"{step.about[0].upper()}{step.about[1:]}.{settles}", ""]
        heads = [f"{column}{f', {step.columns[column]}' if step.columns[column] else ''} | +-" for column in there]
        lines += [f"| {step.over or 'value'} | {' | '.join(heads)} |", "|---" * (1 + 2 * len(there)) + "|"]
        for rows in zip(*(tables[column] for column in there), strict=True):
            cells = [f"{row.measured:.5g} | {row.error:.2g}" for row in rows]
            lines += [f"| {rows[0].value:g} | {' | '.join(cells)} |"]
        lines += ["", *(f"![{column}]({column}.png)" for column in there if len(tables[column]) > 1), ""]
    return "\n".join(lines)


def draw(column: str, rows: Sequence[Row], path: Path) -> None:
    """A table as a picture."""
    step = STEP_OF[column]
    figure = Figure(figsize=(6, 3.5))
    axis = figure.subplots(gridspec_kw={"left": 0.15, "right": 0.97, "bottom": 0.15, "top": 0.91})
    values, measured, errors = zip(*((row.value, row.measured, row.error) for row in rows), strict=True)
    axis.errorbar(values, measured, errors, fmt="o", markersize=4, color="#1f5f8b", capsize=3)
    axis.set_yscale("log" if step.logarithmic else "linear")
    axis.set_xlabel(step.over)
    axis.set_ylabel(f"{column} {step.columns[column]}")
    axis.set_title(step.about, fontsize=10)
    figure.savefig(path, dpi=100)


# --- commands ------------------------------------------------------------------------------------


def _fail(sentence: str) -> None:
    typer.echo(f"calibrate: {sentence}", err=True)
    raise typer.Exit(2)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What cannot be written ends the command."""
    try:
        yield
    except OSError as error:
        _fail(f"cannot write {path}: {error.strerror}")


def _part(output: Path) -> Path:
    """Another name for a file until it is whole. Ends the command, before its work, if nothing can be written there."""
    if output.is_dir():
        _fail(f"cannot write {output}: it is a folder")
    part = output.with_name(f".{output.name}.part")
    with _writing(output):
        part.touch()
        part.unlink()
    return part


FULL = 0.999
"""Of full scale: samples beyond are taken for clipped."""


def _doubts(sound: np.ndarray, rate: int) -> list[str]:
    """What is wrong with a recording (n, channels), though it can be measured."""
    said, peaks = [], np.abs(sound).max(0)
    clipped = int((np.abs(sound) >= FULL).sum())
    if clipped > 10:
        said.append(
            f"{clipped} samples are at full scale: it is clipped, and levels are wrong; record it again with less gain"
        )
    if rate < 2.2 * HIGHEST:
        said.append(f"{rate} Hz hold nothing above {rate / 2:g} Hz: cutoffs up to {HIGHEST:g} Hz are looked for")
    if len(peaks) > 1 and peaks.min() < 0.01 * peaks.max():
        said.append("one channel is silent: levels are 6 dB low, and the chorus is told from the left one")
    return said


def _read(kit: Path) -> dict:
    try:
        there = json.loads((kit / "sequence.json").read_text())
        if there["version"] != VERSION:
            raise ValueError(f"version {there['version']}")
        rows = [(STEPS[row["step"]].shots[row["number"]], float(row["at"])) for row in there["shots"]]
        if len(there["markers"]) != 2 or there["board"] not in SELECTS or not rows:
            raise ValueError("it is not whole")
        return there
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        _fail(f"{kit} holds no sequence of this kit ({error}); generate makes one")


def _tables(kit: Path, recording: Path) -> tuple[dict, dict[str, list[Row]], float]:
    about = _read(kit)
    if not recording.is_file():
        _fail(f"cannot read {recording}: there is no such file")
    try:
        sound, rate = soundfile.read(recording, always_2d=True, dtype="float32")
        if not len(sound):
            raise ValueError("there is no sound in it")
        for doubt in _doubts(sound, rate):
            typer.echo(f"{recording}: {doubt}", err=True)
        place = Place.of(sound.mean(1), rate, about)
        if doubt := place.doubt(about["markers"][1] - about["markers"][0]):
            typer.echo(f"{recording}: {doubt}", err=True)
        with Progress(transient=True) as bar:
            task = bar.add_task("measuring", total=len(about["shots"]))
            tables = analysed(sound, rate, about, None, lambda done, of: bar.update(task, completed=done), place)
            return about, tables, noise_of(sound.mean(1), place, about)
    except soundfile.SoundFileError:
        _fail(f"cannot read {recording}: it is no sound file, or a damaged one")
    except ValueError as error:
        _fail(f"{recording}: {error}")


@app.command()
def generate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the kit.")],
    step: Annotated[list[str] | None, typer.Option(help=f"Only these, of {', '.join(STEPS)}; repeat.")] = None,
    every: Annotated[
        int, typer.Option(min=1, max=64, help="Of envelope and LFO times, each so manieth of the 128 values.")
    ] = 1,
    board: Annotated[Board, typer.Option(help="A JX-8P's only board, or one of a Super JX.")] = Board.only,
) -> None:
    """Write the sequence: what a board is to play."""
    names = step or [name for name, row in STEPS.items() if not row.asked]
    if unknown := [name for name in names if name not in STEPS]:
        _fail(f"there is no step {unknown[0]!r}; there are {', '.join(STEPS)}")
    wire, about = sequence(shots_of(list(dict.fromkeys(names)), every), board.value)
    with _writing(output):
        output.mkdir(parents=True, exist_ok=True)
        (output / "sequence.jxlog").write_text(format_log(wire, CYCLES_PER_BYTE))
        (output / "sequence.json").write_text(json.dumps(about, indent=1) + "\n")
    minutes = length(wire) / 60
    typer.echo(
        f"{output / 'sequence.jxlog'}: {len(set(names))} steps, {len(about['shots'])} notes, {minutes:.1f} minutes"
    )


@app.command()
def render(
    kit: Kit,
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV file.")],
    seed: Annotated[int, typer.Option(min=0, help="The unit: 0 is nominal, any other has its own tolerances.")] = 0,
    unit: Annotated[Path | None, typer.Option("--unit", help="A unit that was fitted.")] = None,
) -> None:
    """Let the model play the sequence."""
    about = _read(kit)
    if output.suffix.lower() not in (".wav", ".flac"):
        _fail(f"{output}: the sound's name must end in .wav or .flac")

    _part(output)

    def shown(rows: Iterable) -> Iterable:
        return track(rows, "rendering")

    try:
        measured = Unit.load(unit) if unit else Unit()
        sound = fitting.played(load_log(kit / "sequence.jxlog"), about["board"], measured, seed, shown)
        soundfile.write(output, sound, fitting.RATE, "FLOAT" if output.suffix.lower() == ".wav" else "PCM_24")
    except (UnitError, LogError, OSError, soundfile.SoundFileError) as error:
        _fail(str(error))
    typer.echo(f"{output}: {len(sound) / fitting.RATE:.0f} s")


@app.command()
def analyse(kit: Kit, recording: Recording) -> None:
    """Write tables of a recording, with error bars: JSON, Markdown and pictures beside it."""
    if recording.with_suffix(".json").resolve() == (kit / "sequence.json").resolve():
        _fail(f"{recording}: its tables would be written over the kit's own sequence.json; give it another name")
    _, tables, _ = _tables(kit, recording)
    pictures = recording.with_suffix("")
    text = markdown(tables, recording.name)
    plain = {column: [[row.value, row.measured, row.error] for row in rows] for column, rows in tables.items()}
    with _writing(pictures):
        pictures.mkdir(exist_ok=True)
        for column, rows in track(tables.items(), "drawing"):
            draw(column, rows, pictures / f"{column}.png")
        (pictures / "README.md").write_text(text)
        recording.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n")
    typer.echo(text)


@app.command()
def fit(
    kit: Kit,
    recording: Recording,
    output: Annotated[Path, typer.Option("-o", "--output", help="TOML file of the unit.")],
    name: Annotated[str, typer.Option(help="Of the unit.")] = "",
    known: Annotated[
        Path | None, typer.Option(help="A unit's file to start from: the Super JX's other board stays as it is there.")
    ] = None,
) -> None:
    """Find the unit that sounds as the recording does; --unit takes it everywhere."""
    part = _part(output)
    try:
        before = Unit.load(known) if known else None
    except UnitError as error:
        _fail(str(error))
    about, tables, noise = _tables(kit, recording)
    shots = [(row["step"], row["number"]) for row in about["shots"]]
    try:
        with Progress(transient=True) as bar:
            task = bar.add_task("fitting", total=None)
            found = fitting.fitted(
                tables, shots, about["board"], noise, name or recording.stem, before,
                lambda text: bar.update(task, description=text),
            )  # fmt: skip
        Unit.of(found.unit.plain(), str(output))  # nothing is written that --unit would not take
        part.write_text(found.unit.toml())
        part.replace(output)
    except (UnitError, ValueError, OSError) as error:
        _fail(str(error))
    for sentence in found.remarks:
        typer.echo(sentence)
    for place, error, numbers in found.unit.errors:
        if place == (PLACES[1] if about["board"] == "upper" else PLACES[0]):
            typer.echo(f"{error:14} {fitting.summary(numbers, ERRORS[error].unit)}")
    for constant, entry in found.unit.parts:
        typer.echo(f"{constant:14} {entry}")
    if found.kept:
        typer.echo(f"as before, since the recording does not contradict it: {', '.join(found.kept)}")
    typer.echo("differences in standard errors (root mean square), nominal -> fitted:")
    for column, off in found.before.items():
        if np.isfinite(off):
            typer.echo(f"   {column:14} {off:8.1f} -> {found.after[column]:.1f}")
    if not (found.unit.errors or found.unit.parts or found.unit.tables):
        typer.echo("nothing in this recording tells the unit from the nominal one, which is what was written")
    typer.echo(f"{output}: play it with --unit {output}")


if __name__ == "__main__":
    app()
