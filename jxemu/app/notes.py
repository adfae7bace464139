"""``jxemu ml notes``: a space of notes, in which there is something between any two of them."""

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from jxemu.app.files import fail, whole_file
from jxemu.app.training import library, progress, scheduled, shown, trained, useless
from jxemu.app.waves import (
    dataset_notes,
    dataset_tones,
    is_dataset,
    read_wave,
    read_waves,
    wave_files,
    write_wave,
)
from jxemu.app.words import note_in, note_of

if TYPE_CHECKING:
    from jxemu.ml.samplegen import Picture, Sounds, Space
    from jxemu.ml.train import Schedule

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="A space of notes: what lies between, about and beyond them."
)

OuterKind = StrEnum("OuterKind", {name: name for name in ("conv", "patch", "rnn", "step", "flat")})
PictureKind = StrEnum("PictureKind", {name: name for name in ("magnitude", "decibel", "complex", "polar", "phase")})
Rung = StrEnum("Rung", {name: name for name in ("outer", "inner")})

SoundsArgument = Annotated[
    list[Path],
    typer.Argument(help="WAV or FLAC files of one rate, a folder of them, or a rendered dataset with audio."),
]
SpaceArgument = Annotated[Path, typer.Argument(help="Folder of a trained space.")]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Folder for the WAV files and a picture.")]
NoteOption = Annotated[int, typer.Option(min=0, max=127, help="Note that is told to a space that learned a dataset.")]
VelocityOption = Annotated[int, typer.Option(min=1, max=127)]
SeedOption = Annotated[int, typer.Option(min=0, help="The same seed gives the same sounds.")]
OfNoteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--note",
        help="Only sounds of this note, such as C4 (60); repeat. Of a dataset those it was played for; of files those whose lowest strong partial is within 10 % of one of these notes, and whose names, if they tell a note, tell one of them.",
    ),
]
BandOption = Annotated[
    float, typer.Option(min=0.01, max=1.0, help="Share of the spectrum that is learned, from the lowest bin up.")
]

MOST_SECONDS = 30.0

FINE_TUNING = (1e-6, 1)
"""Rate and batch with which a space is tuned where nothing else is asked for. As SampleGen has it."""

HEARD_EVERY = 20.0
"""Seconds between sounds of a training, at least."""

FILM_RATE = 20
"""Pictures of a film a second, at most."""


@app.command()
def train(
    asked: typer.Context,
    sounds: SoundsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the space.")],
    latents: Annotated[int, typer.Option(min=1, max=256, help="Numbers that a note becomes.")] = 8,
    outer: Annotated[
        OuterKind, typer.Option(help="Outer auto-encoder; patch is solved for, by its --size alone.")
    ] = OuterKind.conv,
    size: Annotated[
        int,
        typer.Option(
            min=1,
            help="Of its code: channels (conv), numbers a tile in the mean (patch), a frame (rnn, step), in all (flat).",
        ),
    ] = 8,
    hidden: Annotated[int, typer.Option(min=1, help="Its units.")] = 32,
    depth: Annotated[int, typer.Option(min=1, max=8, help="Its layers.")] = 3,
    picture: Annotated[
        PictureKind, typer.Option(help="What of spectra is learned; magnitude and decibel guess phases.")
    ] = PictureKind.magnitude,
    band: BandOption = 1.0,
    window: Annotated[int, typer.Option(min=64, max=8192, help="Samples of a frame; the hop is half.")] = 2048,
    seconds: Annotated[float, typer.Option(min=0.1, max=8.0, help="Of each sound; the rest is cut.")] = 1.9,
    of_note: OfNoteOption = None,
    most: Annotated[int | None, typer.Option(min=2, help="Learn from the so many that differ most.")] = None,
    mixes: Annotated[bool, typer.Option(help="Let half of each batch of the outer one be mixes of two sounds.")] = True,
    ratio: Annotated[float, typer.Option(min=0.1, max=2.0, help="How its layers shrink (step, flat): 1 evenly.")] = 0.5,
    outer_epochs: Annotated[int | None, typer.Option(min=1)] = None,
    outer_rate: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1.0, help="Highest; if it is not told, larger batches have a larger one."),
    ] = None,
    outer_batch: Annotated[int | None, typer.Option(min=1, help="Sounds of a step.")] = None,
    inner_hidden: Annotated[int, typer.Option(min=1, help="Units of the inner auto-encoder.")] = 256,
    inner_depth: Annotated[int, typer.Option(min=1, max=8, help="Its layers.")] = 3,
    inner_ratio: Annotated[float, typer.Option(min=0.1, max=2.0, help="How they shrink.")] = 0.5,
    inner_epochs: Annotated[int | None, typer.Option(min=1)] = None,
    inner_rate: Annotated[float | None, typer.Option(min=1e-6, max=1.0, help="Likewise.")] = None,
    inner_batch: Annotated[int | None, typer.Option(min=1)] = None,
    beta: Annotated[
        float | None, typer.Option(min=0.0, help="Weight of what latents carry beside the error; default 0.0001.")
    ] = None,
    also: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Train inner ones of so many latents too, for the error by size; repeat."),
    ] = None,
    known: Annotated[
        Path | None, typer.Option("--space", help="A space whose outer auto-encoder is kept as it is.")
    ] = None,
    tune: Annotated[
        Path | None,
        typer.Option(help="A space that both go on from; batches of 1 and a rate of 1e-6, if not told."),
    ] = None,
    seed: Annotated[int, typer.Option(min=1, help="The same seed gives the same space.")] = 1,
) -> None:
    """Train both auto-encoders, one after another; the same command goes on where it was stopped.

    Now and then outer.wav and inner.wav in the folder are what they make of a sound that they do not learn from.
    """
    lib = library("samplegen")
    of_outer = "outer", "size", "hidden", "depth", "ratio", "mixes"
    if known:
        useless(
            asked, "the outer auto-encoder of --space is kept", *of_outer, "outer_epochs", "outer_rate", "outer_batch"
        )
    if tune:
        of_inner = "latents", "inner_hidden", "inner_depth", "inner_ratio", "beta", "also", "known"
        useless(asked, "what --tune goes on from has its own sizes", *of_outer, *of_inner)
    with trained(output):
        learned, judged = _sounds(lib, sounds, picture.value, window, seconds, most, of_note, band)
        outer_rate, outer_batch, inner_rate, inner_batch = (
            usual if tune and given is None else given
            for given, usual in zip((outer_rate, outer_batch, inner_rate, inner_batch), 2 * FINE_TUNING, strict=True)
        )
        schedules = (
            _schedule(lib.OUTER_SCHEDULE, outer_epochs, outer_rate, outer_batch, seed, len(learned)),
            _schedule(lib.INNER_SCHEDULE, inner_epochs, inner_rate, inner_batch, seed, len(learned)),
        )
        told = learned.told.shape[1]
        inner = lib.Inner(latents, inner_hidden, inner_depth, inner_ratio, told, lib.BETA if beta is None else beta)
        kept, tuned = (lib.Space.load(path) if path else None for path in (known, tune))
        with progress() as bar:
            space = lib.train(
                lib.Outer(outer.value, size, hidden, depth, ratio), inner, learned, judged, output, schedules,
                lambda what: shown(bar, what), kept, tuned, mixes, also or (), _heard(learned.picture, output),
            )  # fmt: skip
        text = _about(space, learned, judged, output, sounds)
        (output / "README.md").write_text(text)
    typer.echo(text)


@app.command()
def search(
    sounds: SoundsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for search.sqlite and best.csv.")],
    what: Annotated[Rung, typer.Option(help="Which auto-encoder.")] = Rung.outer,
    space: Annotated[Path | None, typer.Option(help="For the inner one: a space whose outer one is taken.")] = None,
    outer: Annotated[OuterKind, typer.Option(help="Kind of the outer one.")] = OuterKind.conv,
    trials: Annotated[int, typer.Option(min=1, help="In all, with those of earlier calls.")] = 100,
    weights: Annotated[int, typer.Option(min=1, help="Networks with more are not tried.")] = 500_000,
    minutes: Annotated[float, typer.Option(min=0.01, help="Longest trial.")] = 5.0,
    epochs: Annotated[int, typer.Option(min=1, help="Of a trial at most.")] = 80,
    grid: Annotated[bool, typer.Option("--grid", help="A fixed grid of settings instead.")] = False,
    picture: Annotated[PictureKind, typer.Option(help="Kind of pictures.")] = PictureKind.magnitude,
    band: BandOption = 1.0,
    window: Annotated[int, typer.Option(min=64, max=8192)] = 2048,
    seconds: Annotated[float, typer.Option(min=0.1, max=8.0)] = 1.9,
    of_note: OfNoteOption = None,
    seed: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Search for settings; the same command goes on where it was stopped."""
    lib = library("samplegen")
    tuning = library("tuning")
    with trained(output):
        known = lib.Space.load(space) if space else None
        learned, judged = _sounds(lib, sounds, picture.value, window, seconds, None, of_note, band)
        if known and known.picture != learned.picture:
            fail(f"{space} has pictures of another shape; give its --picture, --band, --window and --seconds")
        start = lib.Outer(outer.value) if what.value == "outer" else lib.Inner(conditions=learned.told.shape[1])
        with progress() as bar:
            tell = shown(bar, f"searching, {what.value}")
            study = tuning.tune(
                what.value, start, learned, judged, output, trials, tuning.Caps(weights, 60 * minutes, epochs), grid,
                seed, known.encoder if known else None, lambda n, best: tell(n, trials, best),
            )  # fmt: skip
    good = [trial for trial in study.trials if trial.value is not None]
    typer.echo(f"{output}: {len(study.trials)} trials, {len(good)} whole; see {output / 'best.csv'}")
    if good:
        typer.echo(f"how it went: {output / 'search.png'}")
        typer.echo("best: " + " ".join(f"{name}={value:g}" for name, value in study.best_params.items()))


@app.command()
def interpolate(
    space: SpaceArgument,
    first: Annotated[Path, typer.Argument(help="WAV file.")],
    second: Annotated[Path, typer.Argument(help="WAV file.")],
    output: OutputOption,
    count: Annotated[int, typer.Option("-n", "--count", min=2, max=100, help="Steps.")] = 5,
    plain: Annotated[bool, typer.Option("--plain", help="Between spectra, without the space.")] = False,
    note: NoteOption = 60,
    velocity: VelocityOption = 100,
    end_note: Annotated[
        int | None, typer.Option(min=0, max=127, help="Note of the second sound, if it is another.")
    ] = None,
) -> None:
    """Sounds on the way from one to another."""
    there = _load(space)
    a, b = (_mono(path, there.picture.rate) for path in (first, second))
    told = np.concatenate([_told(there, each, velocity) for each in (note, note if end_note is None else end_note)])
    _written(
        output,
        there.plainly_interpolated(a, b, count) if plain else there.interpolated(a, b, count, told),
        there.picture.rate,
    )


@app.command()
def around(
    space: SpaceArgument,
    sound: Annotated[Path, typer.Argument(help="WAV file.")],
    output: OutputOption,
    amount: Annotated[float, typer.Option(min=0.0, max=5.0, help="How far, in deviations.")] = 0.3,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100)] = 5,
    seed: SeedOption = 0,
    note: NoteOption = 60,
    velocity: VelocityOption = 100,
) -> None:
    """Sounds about one."""
    there = _load(space)
    made = there.perturbed(_mono(sound, there.picture.rate), amount, count, seed, _told(there, note, velocity))
    _written(output, made, there.picture.rate)


@app.command()
def draw(
    space: SpaceArgument,
    output: OutputOption,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100)] = 5,
    seed: SeedOption = 0,
    note: NoteOption = 60,
    velocity: VelocityOption = 100,
) -> None:
    """Sounds of random places."""
    there = _load(space)
    _written(output, there.drawn(count, seed, _told(there, note, velocity)), there.picture.rate)


@app.command()
def sweep(
    space: SpaceArgument,
    output: OutputOption,
    axis: Annotated[int, typer.Option(min=0, help="Which of the main axes; 0 changes most.")] = 0,
    reach: Annotated[float, typer.Option(min=0.1, max=10.0, help="From minus this to plus this, in deviations.")] = 2.0,
    count: Annotated[int, typer.Option("-n", "--count", min=2, max=100)] = 5,
    note: NoteOption = 60,
    velocity: VelocityOption = 100,
) -> None:
    """Sounds along one axis of the space."""
    lib, there = library("samplegen"), _load(space)
    try:
        made = there.swept(axis, np.linspace(-reach, reach, count), _told(there, note, velocity))
    except lib.SpaceError as error:
        fail(str(error))
    _written(output, made, there.picture.rate)


@app.command()
def again(
    space: SpaceArgument,
    sound: Annotated[Path, typer.Argument(help="WAV file.")],
    output: OutputOption,
    times: Annotated[int, typer.Option(min=1, max=50)] = 3,
    note: NoteOption = 60,
    velocity: VelocityOption = 100,
) -> None:
    """A sound through the space, and through it again."""
    there = _load(space)
    made = there.encoded_again(_mono(sound, there.picture.rate), times, _told(there, note, velocity))
    _written(output, made, there.picture.rate)


@app.command()
def rebuild(
    space: SpaceArgument,
    sounds: SoundsArgument,
    output: OutputOption,
    axes: Annotated[int | None, typer.Option(min=1, help="By so many of the main axes; default all.")] = None,
    note: NoteOption = 60,
    velocity: VelocityOption = 100,
) -> None:
    """Every sound (of a dataset, those of its test split) through the space, and a list of them, the worst first."""
    lib, there = library("samplegen"), _load(space)
    if len(sounds) == 1 and is_dataset(sounds[0]):
        data, rate, notes, _ = dataset_notes(sounds[0], "test")
        names = [f"{n:04d}" for n in range(len(data))]
        told = np.concatenate([_told(there, *each[:2]) for each in notes])
    else:
        data, rate = read_waves(sounds, MOST_SECONDS)
        names = [path.stem for path in wave_files(sounds)]
        told = np.tile(_told(there, note, velocity), (len(data), 1))
    if rate != there.picture.rate:
        fail(f"the sounds have {rate} Hz, the space {there.picture.rate}")
    try:
        given = lib.Sounds.of(data, there.picture, told, names)
    except lib.SpaceError as error:
        fail(str(error))
    made = [
        there.picture.sound(each, level) for each, level in zip(there.rebuilt(given, axes), given.levels, strict=True)
    ]
    _written(output, made, rate, names)
    rows = "".join(f"{off:6.2f} %  {name}\n" for name, off in there.losses(given, axes))
    (output / "losses.txt").write_text(rows)
    typer.echo(rows.rstrip())


@app.command()
def film(
    asked: typer.Context,
    sounds: Annotated[list[Path], typer.Argument(help="One to four WAV files.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="GIF file.")],
    space: Annotated[Path | None, typer.Option(help="Show beside each what this space makes of it.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=30.0, help="Of the sounds.")] = 1.9,
    note: NoteOption = 60,
    velocity: VelocityOption = 100,
) -> None:
    """Spectra of sounds as they move."""
    lib, there = library("samplegen"), _load(space) if space else None
    files = wave_files(sounds)
    if not files:
        fail("there are no sounds to make a film of")
    if len(files) > 4:
        fail(f"{len(files)} sounds do not fit into one film: up to four do")
    if output.suffix.lower() != ".gif":
        fail(f"{output}: a film is a .gif file")
    if there:
        useless(asked, "a space says how long its sounds are", "seconds")
        shape, data = there.picture, [_mono(path, there.picture.rate) for path in files]
    else:
        useless(asked, "only a space is told notes", "note", "velocity")
        data, rate = read_waves(files, MOST_SECONDS)
        shape = lib.Picture(rate, frames=_frames(rate, lib.Picture.hop, seconds))
    courses = []
    for path, sound in zip(files, data, strict=True):
        courses.append((path.stem, shape.levels(sound)))
        if there:
            (again,) = there.at(*_place(there, sound, note, velocity))
            courses.append((f"{path.stem}, through the space", shape.levels(again)))
    _film(courses, shape, output)
    typer.echo(f"{output}: {len(courses)} spectra, {shape.frames} frames")


# --- parts ---------------------------------------------------------------------------------------


def _schedule(
    usual: "Schedule", epochs: int | None, rate: float | None, batch: int | None, seed: int, count: int
) -> "Schedule":
    """The usual one, but for what is told; another batch, at most of all sounds, has a rate in its measure."""
    batch = min(batch or usual.batch, count)
    rate = usual.rate * batch / min(usual.batch, count) if rate is None else rate
    return scheduled(usual, epochs=epochs, batch=batch, rate=rate, seed=seed)


def _heard(picture: "Picture", folder: Path) -> Callable[[str, np.ndarray, bool], None]:
    """Writes what a rung makes of a sound, as its picture, not too often but for the last one."""
    last = dict.fromkeys(("outer", "inner"), -HEARD_EVERY)

    def heard(rung: str, made: np.ndarray, at_last: bool) -> None:
        if at_last or time.monotonic() - last[rung] >= HEARD_EVERY:
            sound = picture.sound(made, 0.5)
            write_wave(folder / f"{rung}.wav", sound / max(float(np.abs(sound).max()), 1.0), picture.rate)
            last[rung] = time.monotonic()

    return heard


def _load(path: Path) -> "Space":
    lib = library("samplegen")
    try:
        return lib.Space.load(path)
    except lib.SpaceError as error:
        fail(str(error))


def _mono(path: Path, rate: int) -> np.ndarray:
    data, its = read_wave(path, MOST_SECONDS)
    if its != rate:
        fail(f"{path} has {its} Hz, the space {rate}")
    return data.mean(1)


def _told(space: "Space", note: int, velocity: int) -> np.ndarray:
    return np.array([[note / 127, velocity / 127]] if space.inner.conditions else np.zeros((1, 0)))


def _sounds(
    lib, paths: Sequence[Path], kind: str, window: int, seconds: float, most: int | None, of_note: Sequence[str] | None,
    band: float,
) -> tuple["Sounds", "Sounds"]:  # fmt: skip
    """What is learned from, and what is judged by: a dataset's splits, or every fifth sound."""
    hop = window // 2
    wanted = {_note(text) for text in of_note or ()}

    def shape(rate: int) -> "Picture":
        return lib.Picture(rate, window, hop, _frames(rate, hop, seconds), kind, band)

    if len(paths) == 1 and is_dataset(paths[0]):
        groups = []
        for split in ("train", "test"):
            data, rate, notes, _ = dataset_notes(paths[0], split, wanted)
            names = dataset_tones(paths[0], split, wanted)
            told = np.array([[note / 127, velocity / 127] for note, velocity, *_ in notes])
            groups.append(lib.Sounds.of(data, shape(rate), told, names))
        learned, judged = groups
    else:
        data, rate = read_waves(paths, MOST_SECONDS)
        names = [path.stem for path in wave_files(paths)]
        if wanted:
            data, names = _of_notes(lib, data, names, rate, wanted)
        if len(data) < 3:
            fail(f"{len(data)} sounds are too few: at least two to learn from and one to be judged by")
        whole = lib.Sounds.of(data, shape(rate), names=names)
        places = np.arange(len(whole))
        learned, judged = whole.some(places[places % 5 != 0]), whole.some(places[places % 5 == 0])
    if most is not None and most < len(learned):
        learned = learned.some(lib.diverse(learned.pictures, most))
    return learned, judged


def _frames(rate: int, hop: int, seconds: float) -> int:
    return max(4, round(seconds * rate / hop) + 1)


def _note(text: str) -> int:
    note = note_of(text)
    if note is None:
        fail(f"--note {text}: it is a note's name, such as C4 or F#3; C4 is 60")
    return note


def _of_notes(
    lib, data: Sequence[np.ndarray], names: Sequence[str], rate: int, wanted: set[int]
) -> tuple[list[np.ndarray], list[str]]:
    """Sounds of wanted notes: by their names, where these tell a note, and by their lowest strong partial."""
    kept = []
    for n, (sound, name) in enumerate(zip(data, names, strict=True)):
        if note_in(name) not in {None, *wanted}:
            typer.echo(f"left out: {name}, its name says another note")
        elif not any(lib.is_note(sound, rate, note) for note in wanted):
            typer.echo(f"left out: {name}, its lowest strong partial has {lib.lowest_partial(sound, rate):.1f} Hz")
        else:
            kept.append(n)
    typer.echo(f"{len(kept)} of {len(data)} sounds are of the notes that are wanted")
    return [data[n] for n in kept], [names[n] for n in kept]


def _film(courses: Sequence[tuple[str, np.ndarray]], shape: "Picture", path: Path) -> None:
    """Spectra (frames, bins) in dB as a GIF, a picture a frame, slower than they sound."""
    from matplotlib.animation import PillowWriter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 1.7 * len(courses)), layout="constrained")
    hertz = np.arange(courses[0][1].shape[1]) * shape.rate / shape.window
    lines = []
    for axis, (name, levels) in zip(figure.subplots(len(courses), 1, squeeze=False)[:, 0], courses, strict=True):
        axis.fill_between(hertz[1:], levels.max(0)[1:], -100, color="#e3e6e8")  # the loudest that each bin ever is
        lines.append((axis.semilogx(hertz[1:], levels[0, 1:], color="#1f5f8b", linewidth=0.8)[0], levels))
        axis.set(title=name, ylabel="dB", ylim=(-90, 3), xlim=(20, shape.rate / 2))
    axis.set_xlabel("Hz")
    with whole_file(path) as part:
        writer = PillowWriter(min(FILM_RATE, shape.rate / shape.hop))
        with writer.saving(figure, part, 70):
            for n in range(shape.frames):
                for line, levels in lines:
                    line.set_ydata(levels[n, 1:])
                figure.suptitle(f"{n * shape.hop / shape.rate:.2f} s", fontsize=9)
                writer.grab_frame()


def _place(space: "Space", sound: np.ndarray, note: int, velocity: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Where a sound lies, what it is told, and how loud it is: as `Space.at` takes them."""
    told = _told(space, note, velocity)
    place, level = space.place(sound, told)
    return place, told, level


def _written(folder: Path, sounds: Sequence[np.ndarray], rate: int, names: Sequence[str] = ()) -> None:
    from matplotlib.figure import Figure

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot write {folder}: {error.strerror}")
    for n, sound in enumerate(sounds):
        name = names[n] if names else f"{n:02d}"
        write_wave(folder / f"{name}.wav", sound / max(float(np.abs(sound).max(initial=0.0)), 1.0), rate)
    figure = Figure(figsize=(2.2 * min(len(sounds), 8), 3), layout="constrained")
    hiss = 1e-9 * np.random.default_rng(0).standard_normal(len(sounds[0]))
    for axis, sound in zip(figure.subplots(1, min(len(sounds), 8), squeeze=False)[0], sounds, strict=False):
        axis.specgram(sound + hiss[: len(sound)], NFFT=1024, Fs=rate, noverlap=512, cmap="magma", vmin=-140, vmax=-40)
        axis.set(ylim=(0, 8000), xticks=[], yticks=[])
    figure.savefig(folder / "sounds.png", dpi=100)
    typer.echo(f"{folder}: {len(sounds)} sounds of {len(sounds[0]) / rate:.2f} s")


def _about(space: "Space", learned: "Sounds", judged: "Sounds", folder: Path, paths: Sequence[Path]) -> str:
    """A card for people, and its pictures."""
    _draw_curves(space, folder / "curves.png")
    _draw_latents(space, learned, folder / "latents.png")
    _draw_rebuilt(space, judged, folder / "rebuilt.png")
    _draw_layers(space, judged, folder / "layers.png")
    card = space.card
    axes = list(card["by axes"])
    sizes = list(card["by latents"])
    by_size = [
        "Inner auto-encoders of so many latents, each trained by itself:", "",
        f"| latents | {' | '.join(sizes)} |", f"|---|{'---|' * len(sizes)}",
        f"| error | {' | '.join(format(card['by latents'][n], '.2f') for n in sizes)} |", "",
    ] if len(sizes) > 1 else []  # fmt: skip
    return "\n".join([
        f"# A space of {', '.join(path.name for path in paths)}", "",
        f"{len(learned)} sounds learned from, {len(judged)} judged by; {space.outer.kind} auto-encoder of {card['weights'][0]:,} weights, "
        f"{card['compression']:.1f} times smaller; inner one of {card['weights'][1]:,} weights and {space.inner.latents} latents, "
        f"{card['active']} of them in use (over 0.05 nat). Training ended: outer, {card['ended']['outer']}; "
        f"inner, {card['ended']['inner']}.", "",
        "RMS error in per cent of full scale, on sounds that were not learned from (but by which the best epoch is told):", "",
        "| | error |", "|---|---|",
        f"| outer auto-encoder alone | {card['outer']:.2f} |",
        f"| through the space | {card['through']:.2f} |",
        f"| the nearest sound that was learned | {card['nearest']:.2f} |", "",
        f"| main axes | {' | '.join(axes)} |", f"|---|{'---|' * len(axes)}",
        *(
            f"| {name} | {' | '.join(format(card[key][n], '.2f') for n in axes)} |"
            for name, key in (("the space", "by axes"), ("principal components", "by principal components"))
        ),
        "", *by_size,
        "![curves](curves.png)", "", "![latents](latents.png)", "", "![rebuilt](rebuilt.png)", "", "![layers](layers.png)", "",
    ])  # fmt: skip


def _draw_curves(space: "Space", path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2), ("outer", "inner"), strict=True):
        curve = space.card[f"{name}_curve"]
        for which in ("train", "test"):
            losses = [epoch["figures"][which] for epoch in curve]
            told = f"{which}, best {min(losses):.3g}, mean of the last ten {np.mean(losses[-10:]):.3g}"
            axis.semilogy(range(1, len(losses) + 1), losses, label=told)
        axis.set(title=f"{name} auto-encoder", xlabel="epoch", ylabel="mean squared error")
        axis.legend()
    figure.savefig(path, dpi=100)


def _draw_latents(space: "Space", learned: "Sounds", path: Path) -> None:
    """Bars of each axis and what categories mean on it; the largest axes by pairs, with an ellipse a category; how normal each is."""
    from matplotlib.figure import Figure

    lib = library("samplegen")
    z = space.latents(learned.pictures, learned.told)
    count = z.shape[1]
    pairs = list(combinations(range(min(count, 4)), 2)) or [(0, 0)]
    shown = min(count, 16)
    figure = Figure(figsize=(17, 5 + 4 * -(-len(pairs) // 4) + 1.8 * -(-shown // 8)), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(5, 4 * -(-len(pairs) // 4), 1.8 * -(-shown // 8)))
    bars, means = top.subplots(1, 2)
    bars.bar(range(count), space.spread, color="#1f5f8b")
    bars.set(title="deviation of each axis", xlabel="axis")
    kinds = [lib.category_of(name) for name in learned.names]
    planes = middle.subplots(-(-len(pairs) // 4), min(len(pairs), 4), squeeze=False).ravel()
    for n, kind in enumerate(sorted(set(kinds))):
        own = z[np.array([each == kind for each in kinds])]
        colour = f"C{n % 10}"
        means.errorbar(range(count), own.mean(0), own.std(0), fmt="o-", capsize=2, color=colour, label=kind)
        for plane, (across, up) in zip(planes, pairs, strict=False):
            plane.plot(own[:, across], own[:, up], ".", color=colour)
            plane.add_patch(_ellipse(own[:, [across, up]], colour))
            plane.set(xlabel=f"axis {across}", ylabel=f"axis {up}")
    for plane in planes[len(pairs) :]:
        plane.set_visible(False)
    means.set(title="mean and deviation of each category", xlabel="axis")
    means.legend(fontsize=7)
    at = np.linspace(-4, 4, 41)
    shapes = bottom.subplots(-(-shown // 8), min(shown, 8), squeeze=False).ravel()
    for n, shape in enumerate(shapes):
        shape.set_visible(n < shown)
        if n < shown:
            shape.hist(z[:, n], at, density=True, color="#b9c0c6")
            shape.plot(at, np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi), color="#c2571a")
            shape.set(title=f"axis {n}, and a normal density", yticks=[])
            shape.title.set_fontsize(8)
    figure.savefig(path, dpi=80)


def _ellipse(points: np.ndarray, colour: str):
    """Where points (n, 2) lie: one deviation of their main directions."""
    from matplotlib.patches import Ellipse

    spread, turn = np.linalg.eigh(np.cov(points.T)) if len(points) > 1 else (np.zeros(2), np.eye(2))
    wide, high = 2 * np.sqrt(np.maximum(spread, 0.0))[::-1]
    angle = np.degrees(np.arctan2(turn[1, 1], turn[0, 1]))
    return Ellipse(points.mean(0), wide, high, angle=angle, fill=False, color=colour)


def _draw_layers(space: "Space", judged: "Sounds", path: Path) -> None:
    """What each hidden layer makes of a sound that was not learned from; of tiles, what they are made of.

    Up to 16 images a layer; of convolutions their lowest fifth, where partials are.
    """
    from matplotlib.figure import Figure

    found = library("samplegen").layers(space.encoder, judged.pictures[0])
    columns = max(min(len(images), 16) for _, images in found)
    share = 5 if space.outer.kind == "conv" else 1
    figure = Figure(figsize=(1 + 1.1 * columns, 0.4 + 1.3 * len(found)), layout="constrained")
    for row, (name, images) in zip(figure.subplots(len(found), columns, squeeze=False), found, strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, image in zip(row, images[:16], strict=False):
            axis.imshow(image.T[: -(-image.shape[1] // share)], aspect="auto", origin="lower", cmap="magma")
        row[0].set_title(name, fontsize=7, loc="left")
    figure.savefig(path, dpi=80)


def _draw_rebuilt(space: "Space", judged: "Sounds", path: Path) -> None:
    from matplotlib.figure import Figure

    some = judged.some(range(min(4, len(judged))))
    made = space.rebuilt(some)
    figure = Figure(figsize=(2.6 * len(some), 5), layout="constrained")
    rows = figure.subplots(2, len(some), squeeze=False)
    for n in range(len(some)):
        for row, picture in zip(rows, (some.pictures[n, 0], made[n, 0]), strict=True):
            row[n].imshow(picture.T[:200], aspect="auto", origin="lower", cmap="magma", vmin=0, vmax=1)
            row[n].set(xticks=[], yticks=[])
        rows[0][n].set_title(some.names[n], fontsize=8)
    rows[0][0].set_ylabel("true")
    rows[1][0].set_ylabel("rebuilt")
    figure.savefig(path, dpi=100)
