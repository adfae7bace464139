"""``jxemu match``: from recordings to a tone that loads into the real synth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from jxemu.app.files import beside, can_write, console, fail, read_bank, say, whole_file
from jxemu.app.home import WEIGHTS, home
from jxemu.app.options import Renders, UnitFile
from jxemu.app.waves import write_wave
from jxemu.machine import Unit, UnitError
from jxemu.patch.bank import Bank

if TYPE_CHECKING:
    from jxemu.ml.listening import Weights
    from jxemu.ml.match import Candidate, Search, Target

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
OTHERS = 8
MOST_SECONDS = 60


def match(
    sound: Annotated[
        list[Path],
        typer.Argument(
            help="WAV, FLAC, Ogg, MP3 or AIFF file: one note, any rate. Several: the same tone at other keys and velocities, recorded at one level."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Sysex file of the tone; the rest goes beside it.")],
    note: Annotated[
        list[int] | None,
        typer.Option(
            min=24, max=96, help="MIDI note that is played; once for each sound, in their order. Default: detected."
        ),
    ] = None,
    velocity: Annotated[
        list[int] | None,
        typer.Option(min=1, max=127, help="MIDI velocity of each of several sounds, likewise. Default: all the same."),
    ] = None,
    bank: Annotated[list[Path] | None, typer.Option(help="Bank whose tones are tried too; repeat.")] = None,
    renders: Renders = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed finds the same tones.")] = 0,
    unit: UnitFile = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder of trained weights (jxemu ml weights); default: weights in ~/.config/jxemu (JXEMU_HOME)."
        ),
    ] = None,
) -> None:
    """Find a tone that sounds like a recording, or like several of one tone: networks listen, if they were trained, and tones are tried on the emulator."""
    try:
        import matplotlib  # noqa: F401 - needed at the end: better said before

        import jxemu.ml.evolution  # noqa: F401
        from jxemu.ml.match import MOST_SOUNDS, VELOCITY, MatchError, Search, heard, named, prepare
    except ImportError as error:
        fail(f"{error.name} is not installed; pip install 'jxemu[match]'")
    if output.suffix.lower() != ".syx":
        fail(f"{output}: the name must end in .syx")
    others, pictured, heard_as = beside(output, "candidates"), output.with_suffix(".png"), output.with_suffix(".wav")
    inputs = {path.resolve() for path in (*sound, *(bank or []))}
    for path in (output, others, pictured, heard_as):
        if path.resolve() in inputs:
            fail(f"{path} would be written over; choose another name for the output")
        can_write(path)
    if len(sound) > MOST_SOUNDS:
        fail(f"{len(sound)} sounds are too many; {MOST_SOUNDS} are the most")
    notes, velocities = _each("--note", note, sound), _each("--velocity", velocity, sound)
    try:
        measured = Unit.load(unit) if unit else Unit()
    except UnitError as error:
        fail(str(error))
    targets = []
    for path, own_note, own_velocity in zip(sound, notes, velocities, strict=True):
        try:
            target = prepare(*_read(path), own_note, own_velocity or VELOCITY)
        except MatchError as error:
            fail(f"{path}: {error}")
        say(f"{path}: {target.seconds:.2f} s, {_pitch(target, own_note)}")
        targets.append(target)
    tones = []
    for path in bank or []:
        own = read_bank(path).tones
        if not own:
            fail(f"{path}: there are no tones in it")
        tones += own
    if renders and renders <= len(tones):
        fail(f"--renders {renders} is too few to try the {len(tones)} tones of the banks and to go on from there")
    learned = trained_weights(weights)
    columns = TextColumn("listening to tones"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    with Progress(
        *columns, TextColumn("nearest {task.fields[apart]:.1f} dB"), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None, apart=float("inf"))
        search = Search(
            targets,
            tones,
            renders,
            seed,
            lambda done, apart: bar.update(task, completed=done, apart=apart),
            learned,
            measured,
        )
        if len(targets) > 1:
            say(_told(search))
        bar.update(task, total=search.renders)
        found = named(search.run(OTHERS), (sound[0] if len(sound) == 1 else output).stem)
    best = found[0]
    made = [each[0] for each in heard(targets, [best.tone], [best.holds], unit=measured)]
    for path, tones in ((output, [best.tone]), (others, [each.tone for each in found])):
        with whole_file(path) as part:
            part.write_bytes(Bank(tones).encode("jx8p")[0])
    _write_wav(heard_as, targets, made)
    _draw(pictured, targets, made, best, [path.name for path in sound])
    from_what = "sound" if len(sound) == 1 else "sounds"
    typer.echo(
        f"{output}: {best.apart:.1f} dB from the {from_what} (mean difference of level over all that is audible)"
    )
    distances = ", ".join(f"{each.apart:.1f}" for each in found)
    typer.echo(f"{others}: the {len(found)} nearest by level, spectrum and course together: {distances} dB")
    played = ", then ".join(
        f"note {target.note} held {hold:.2f} s" for target, hold in zip(targets, best.holds, strict=True)
    )
    typer.echo(f"{heard_as}: what it sounds like, {played}; {pictured}: both compared")


def _each(option: str, given: list[int] | None, sounds: Sequence[Path]) -> list[int] | list[None]:
    if given and len(given) != len(sounds):
        times = "once" if len(given) == 1 else f"{len(given)} times"
        what = "one sound" if len(sounds) == 1 else f"{len(sounds)} sounds"
        fail(f"{option} is given {times} for {what}; give it once for each, in their order")
    return given or [None] * len(sounds)


def _told(search: "Search") -> str:
    """What several sounds tell, and what they do not."""
    key_follow = "key follow is searched" if "vcf_key" in search.faders else "of one note only: key follow is not told"
    dynamics = (
        "dynamics too"
        if "vca_dyn" in search.keyed
        else "of one velocity only: dynamics stay off (--velocity for each sound tells them)"
    )
    return f"{len(search.targets)} sounds of one tone: {key_follow}, {dynamics}"


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
        if not path.is_file():
            reason = "it is no file" if path.exists() else "there is no such file"
        fail(f"cannot read {path}: {reason}")


def _pitch(target: "Target", note: int | None) -> str:
    name = f"note {target.note} ({_NAMES[target.note % 12]}{target.note // 12 - 1})"
    if note is not None:
        return f"{name} as asked for"
    if target.cents is None:
        return f"no clear pitch: {name} is assumed; --note says otherwise"
    return f"{name}, {target.cents:+.0f} cents"


def _write_wav(path: Path, targets: Sequence["Target"], made: Sequence[np.ndarray]) -> None:
    """One after another, as loud beside each other as the recordings were."""
    from jxemu.ml.match import RATE

    sounds = [each * target.level for each, target in zip(made, targets, strict=True)]
    loudest = max(target.level for target in targets)
    sound = np.concatenate(sounds) / loudest
    write_wave(path, sound / max(np.abs(sound).max(), 1.0), RATE)


def _draw(
    path: Path, targets: Sequence["Target"], made: Sequence[np.ndarray], best: "Candidate", names: Sequence[str]
) -> None:
    """A row for each recording: it and the tone, log-mel; their courses of level and spectra."""
    from matplotlib.figure import Figure

    from jxemu.ml.match import RATE
    from jxemu.ml.metrics import envelope, log_mel

    rows = len(targets)
    figure = Figure(figsize=(16, 1.2 + 2.6 * rows))  # laid out by hand: matplotlib's own layout draws it all twice
    figure.suptitle(f"{best.tone.name}, {best.apart:.1f} dB apart", parse_math=False)
    high = figure.get_figheight()
    grid = {"left": 0.04, "right": 0.99, "bottom": 0.45 / high, "top": 1 - 0.75 / high, "wspace": 0.25, "hspace": 0.35}
    for axes, target, sound, name in zip(
        figure.subplots(rows, 4, squeeze=False, gridspec_kw=grid), targets, made, names, strict=True
    ):
        pictures = [log_mel(each, RATE, 0.025, 0.010, 96) for each in (target.sound, sound)]
        top = max(picture.max() for picture in pictures)
        for axis, picture, title in zip(axes, pictures, (name, f"tone, note {target.note}"), strict=False):
            shown = {"origin": "lower", "aspect": "auto", "cmap": "magma", "extent": (0, target.seconds, 0, 96)}
            axis.imshow(picture.T, vmin=top - 80, vmax=top, **shown)
            axis.set_title(title, parse_math=False, fontsize=10)
            axis.set_ylabel("mel band")
        levels = [20 * np.log10(np.maximum(envelope(each, RATE), 1e-5)) for each in (target.sound, sound)]
        spectra = [10 * np.log10(np.maximum((10 ** (picture / 10)).mean(0), 1e-12)) for picture in pictures]
        for axis, curves, places, label in (
            (axes[2], levels, np.arange(len(levels[0])) * 0.025, "s"), (axes[3], spectra, np.arange(96), "mel band"),
        ):  # fmt: skip
            for curve, color, who in zip(curves, ("#c2571a", "#1f5f8b"), ("recording", "tone"), strict=True):
                axis.plot(places, curve, color=color, lw=1.2, label=who)
            axis.set_xlabel(label)
            axis.set_ylabel("dB")
            highest = max(curve.max() for curve in curves)
            axis.set_ylim(highest - 70, highest + 5)
            axis.legend(fontsize=8)
    with whole_file(path) as part:
        figure.savefig(part, dpi=100)
