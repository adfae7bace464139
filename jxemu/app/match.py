"""``jxemu match``: from a recording to a tone that loads into the real synth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from jxemu.app.files import beside, console, fail, read_bank, say, whole_file
from jxemu.app.home import WEIGHTS, home
from jxemu.app.options import Renders, UnitFile
from jxemu.machine import Unit, UnitError
from jxemu.patch.bank import Bank

if TYPE_CHECKING:
    from jxemu.ml.listening import Weights
    from jxemu.ml.match import Candidate, Target

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
OTHERS = 8
MOST_SECONDS = 60


def match(
    sound: Annotated[Path, typer.Argument(help="WAV, FLAC, Ogg, MP3 or AIFF file: one note, any rate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Sysex file of the tone; the rest goes beside it.")],
    note: Annotated[
        int | None, typer.Option(min=24, max=96, help="MIDI note that is played; default: detected.")
    ] = None,
    bank: Annotated[list[Path] | None, typer.Option(help="Bank whose tones are tried too; repeat.")] = None,
    renders: Renders = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed finds the same tones.")] = 0,
    unit: UnitFile = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of trained weights (jxemu ml weights); default: where that command puts them."),
    ] = None,
) -> None:
    """Find a tone that sounds like a recording: networks listen to it, if they were trained, and tones are tried on the emulator."""
    try:
        import matplotlib  # noqa: F401 - needed at the end: better said before

        import jxemu.ml.evolution  # noqa: F401
        from jxemu.ml.match import MatchError, Search, heard, named, prepare
    except ImportError as error:
        fail(f"{error.name} is not installed; pip install 'jxemu[match]'")
    if output.suffix.lower() != ".syx":
        fail(f"{output}: the name must end in .syx")
    others, pictured, heard_as = beside(output, "candidates"), output.with_suffix(".png"), output.with_suffix(".wav")
    inputs = {path.resolve() for path in (sound, *(bank or []))}
    for path in (output, others, pictured, heard_as):
        if path.resolve() in inputs:
            fail(f"{path} would be written over; choose another name for the output")
    try:
        measured = Unit.load(unit) if unit else Unit()
    except UnitError as error:
        fail(str(error))
    data, rate = _read(sound)
    tones = [tone for path in bank or [] for tone in read_bank(path).tones]
    try:
        target = prepare(data, rate, note)
    except MatchError as error:
        fail(f"{sound}: {error}")
    say(f"{sound}: {target.seconds:.2f} s, {_pitch(target, note)}")
    learned = trained_weights(weights)
    columns = TextColumn("listening to tones"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    with Progress(
        *columns, TextColumn("nearest {task.fields[apart]:.1f} dB"), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None, apart=float("inf"))
        search = Search(
            target,
            tones,
            renders,
            seed,
            lambda done, apart: bar.update(task, completed=done, apart=apart),
            learned,
            measured,
        )
        bar.update(task, total=search.renders)
        found = named(search.run(OTHERS), sound.stem)
    best = found[0]
    made = heard(target, [best.tone], [best.hold], unit=measured)[0]
    for path, tones in ((output, [best.tone]), (others, [each.tone for each in found])):
        with whole_file(path) as part:
            part.write_bytes(Bank(tones).encode("jx8p")[0])
    _write_wav(heard_as, made, np.abs(target.sound).max())
    _draw(pictured, target, made, best, sound.name)
    typer.echo(f"{output}: {best.apart:.1f} dB from the sound (mean difference of level over all that is audible)")
    distances = ", ".join(f"{each.apart:.1f}" for each in found)
    typer.echo(f"{others}: the {len(found)} nearest by level, spectrum and course together: {distances} dB")
    typer.echo(f"{heard_as}: what it sounds like, note {target.note} held {best.hold:.2f} s; {pictured}: both compared")


def trained_weights(folder: Path | None) -> "Weights | None":
    """Trained weights, or None and a sentence why there are none; a folder that was asked for must be one."""
    chosen = folder or home() / WEIGHTS
    if folder is None and not chosen.exists():
        say("no trained weights: the search goes alone (jxemu ml weights trains them in under an hour)")
        return None
    try:
        from jxemu.ml.listening import WeightsError, load

        return load(chosen)
    except ImportError as error:
        why = f"{error.name} is not installed (pip install 'jxemu[match]')"
    except WeightsError as error:
        why = str(error)
    if folder is not None:
        fail(why)
    say(f"trained weights are not used: {why}; the search goes alone")
    return None


def _read(path: Path) -> tuple[np.ndarray, int]:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            data = file.read(min(file.frames, MOST_SECONDS * file.samplerate), dtype="float64", always_2d=True)
            if file.frames > len(data):
                say(f"{path}: only the first {MOST_SECONDS} s are looked at")
            return data, file.samplerate
    except (soundfile.LibsndfileError, TypeError, OSError) as error:
        reason = getattr(error, "error_string", None) or error
        fail(f"cannot read {path}: {reason if path.exists() else 'there is no such file'}")


def _pitch(target: "Target", note: int | None) -> str:
    name = f"note {target.note} ({_NAMES[target.note % 12]}{target.note // 12 - 1})"
    if note is not None:
        return f"{name} as asked for"
    if target.cents is None:
        return f"no clear pitch: {name} is assumed; --note says otherwise"
    return f"{name}, {target.cents:+.0f} cents"


def _write_wav(path: Path, sound: np.ndarray, peak: float) -> None:
    import soundfile

    from jxemu.ml.match import RATE

    with whole_file(path) as part:
        soundfile.write(
            part, sound * min(1.0, 1.0 / max(np.abs(sound).max(), peak, 1e-9)), RATE, "PCM_24", format="WAV"
        )


def _draw(path: Path, target: "Target", made: np.ndarray, best: "Candidate", name: str) -> None:
    from matplotlib.figure import Figure

    from jxemu.ml.match import RATE
    from jxemu.ml.metrics import envelope, log_mel

    figure = Figure(figsize=(11, 6))  # laid out by hand: matplotlib's own layout draws it all twice
    axes = figure.subplots(
        2, 2, gridspec_kw={"left": 0.06, "right": 0.985, "bottom": 0.08, "top": 0.94, "wspace": 0.13, "hspace": 0.26}
    )
    pictures = [log_mel(sound, RATE, 0.025, 0.010, 96) for sound in (target.sound, made)]
    top = max(picture.max() for picture in pictures)
    for axis, picture, title in zip(
        axes[0], pictures, (name, f"{best.tone.name}, {best.apart:.1f} dB apart"), strict=True
    ):
        axis.imshow(
            picture.T,
            origin="lower",
            aspect="auto",
            vmin=top - 80,
            vmax=top,
            cmap="magma",
            extent=(0, target.seconds, 0, 96),
        )
        axis.set_title(title, parse_math=False)
        axis.set_ylabel("mel band")
    levels = [20 * np.log10(np.maximum(envelope(sound, RATE), 1e-5)) for sound in (target.sound, made)]
    spectra = [10 * np.log10(np.maximum((10 ** (picture / 10)).mean(0), 1e-12)) for picture in pictures]
    for axis, rows, places, label in (
        (axes[1, 0], levels, np.arange(len(levels[0])) * 0.025, "s"), (axes[1, 1], spectra, np.arange(96), "mel band"),
    ):  # fmt: skip
        for row, color, who in zip(rows, ("#c2571a", "#1f5f8b"), ("recording", "tone"), strict=True):
            axis.plot(places, row, color=color, lw=1.2, label=who)
        axis.set_xlabel(label)
        axis.set_ylabel("dB")
        axis.set_ylim(max(row.max() for row in rows) - 70, max(row.max() for row in rows) + 5)
        axis.legend(fontsize=8)
    with whole_file(path) as part:
        figure.savefig(part, dpi=100)
