"""``jxemu ml notes``: a space of notes, in which there is something between any two of them."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from jxemu.app.files import fail
from jxemu.app.training import library, progress, shown, trained
from jxemu.app.waves import dataset_notes, is_dataset, read_wave, read_waves, wave_files, write_wave

if TYPE_CHECKING:
    from jxemu.ml.samplegen import Sounds, Space
    from jxemu.ml.train import Schedule

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="A space of notes: what lies between, about and beyond them."
)

OuterKind = StrEnum("OuterKind", {name: name for name in ("conv", "patch", "rnn", "step", "flat")})
PictureKind = StrEnum("PictureKind", {name: name for name in ("magnitude", "complex", "phase")})
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

MOST_SECONDS = 30.0


@app.command()
def train(
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
        PictureKind, typer.Option(help="What of spectra is learned; magnitude guesses phases.")
    ] = PictureKind.magnitude,
    window: Annotated[int, typer.Option(min=64, max=8192, help="Samples of a frame; the hop is half.")] = 2048,
    seconds: Annotated[float, typer.Option(min=0.1, max=8.0, help="Of each sound; the rest is cut.")] = 1.9,
    most: Annotated[int | None, typer.Option(min=2, help="Learn from the so many that differ most.")] = None,
    ratio: Annotated[float, typer.Option(min=0.1, max=2.0, help="How its layers shrink (step, flat): 1 evenly.")] = 0.5,
    outer_epochs: Annotated[int | None, typer.Option(min=1)] = None,
    outer_rate: Annotated[float | None, typer.Option(min=1e-6, max=1.0)] = None,
    outer_batch: Annotated[int | None, typer.Option(min=1)] = None,
    inner_hidden: Annotated[int, typer.Option(min=1, help="Units of the inner auto-encoder.")] = 256,
    inner_depth: Annotated[int, typer.Option(min=1, max=8, help="Its layers.")] = 3,
    inner_ratio: Annotated[float, typer.Option(min=0.1, max=2.0, help="How they shrink.")] = 0.5,
    inner_epochs: Annotated[int | None, typer.Option(min=1)] = None,
    inner_rate: Annotated[float | None, typer.Option(min=1e-6, max=1.0)] = None,
    inner_batch: Annotated[int | None, typer.Option(min=1)] = None,
    known: Annotated[
        Path | None, typer.Option("--space", help="A space whose outer auto-encoder is kept as it is.")
    ] = None,
    seed: Annotated[int, typer.Option(min=1, help="The same seed gives the same space.")] = 1,
) -> None:
    """Train both auto-encoders, one after another; the same command goes on where it was stopped."""
    lib = library("samplegen")
    with trained(output):
        learned, judged = _sounds(lib, sounds, picture.value, window, seconds, most)
        schedules = (
            _schedule(lib.OUTER_SCHEDULE, outer_epochs, outer_rate, outer_batch, seed),
            _schedule(lib.INNER_SCHEDULE, inner_epochs, inner_rate, inner_batch, seed),
        )
        inner = lib.Inner(latents, inner_hidden, inner_depth, inner_ratio, learned.told.shape[1])
        kept = lib.Space.load(known) if known else None
        with progress() as bar:
            space = lib.train(
                lib.Outer(outer.value, size, hidden, depth, ratio), inner, learned, judged, output, schedules,
                lambda what: shown(bar, what), kept,
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
    window: Annotated[int, typer.Option(min=64, max=8192)] = 2048,
    seconds: Annotated[float, typer.Option(min=0.1, max=8.0)] = 1.9,
    seed: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Search for settings; the same command goes on where it was stopped."""
    lib = library("samplegen")
    tuning = library("tuning")
    with trained(output):
        known = lib.Space.load(space) if space else None
        kind = known.picture.kind if known else "magnitude"
        learned, judged = _sounds(lib, sounds, kind, window, seconds, None)
        if known and known.picture != learned.picture:
            fail(f"{space} has pictures of another shape; give its --window and --seconds")
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


# --- parts ---------------------------------------------------------------------------------------


def _schedule(usual: "Schedule", epochs: int | None, rate: float | None, batch: int | None, seed: int) -> "Schedule":
    given = {name: value for name, value in (("epochs", epochs), ("rate", rate), ("batch", batch)) if value is not None}
    return replace(usual, seed=seed, **given)


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
    lib, paths: Sequence[Path], kind: str, window: int, seconds: float, most: int | None
) -> tuple["Sounds", "Sounds"]:
    """What is learned from, and what is judged by: a dataset's splits, or every fifth sound."""
    hop = window // 2
    if len(paths) == 1 and is_dataset(paths[0]):
        groups = []
        for split in ("train", "test"):
            data, rate, notes, _ = dataset_notes(paths[0], split)
            shape = lib.Picture(rate, window, hop, max(4, round(seconds * rate / hop) + 1), kind)
            told = np.array([[note / 127, velocity / 127] for note, velocity, *_ in notes])
            groups.append(lib.Sounds.of(data, shape, told))
        learned, judged = groups
    else:
        data, rate = read_waves(paths, MOST_SECONDS)
        shape = lib.Picture(rate, window, hop, max(4, round(seconds * rate / hop) + 1), kind)
        if len(data) < 3:
            fail(f"{len(data)} sounds are too few: at least two to learn from and one to be judged by")
        whole = lib.Sounds.of(data, shape, names=[path.stem for path in wave_files(paths)])
        places = np.arange(len(whole))
        learned, judged = whole.some(places[places % 5 != 0]), whole.some(places[places % 5 == 0])
    if most is not None and most < len(learned):
        learned = learned.some(lib.diverse(learned.pictures, most))
    return learned, judged


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
    card = space.card
    axes = list(card["by axes"])
    return "\n".join([
        f"# A space of {', '.join(path.name for path in paths)}", "",
        f"{len(learned)} sounds learned from, {len(judged)} judged by; {space.outer.kind} auto-encoder of {card['weights'][0]:,} weights, "
        f"{card['compression']:.1f} times smaller; inner one of {card['weights'][1]:,} weights and {space.inner.latents} latents, "
        f"{card['active']} of them in use (over 0.05 nat).", "",
        "RMS error in per cent of full scale, on sounds that were not learned from:", "",
        "| | error |", "|---|---|",
        f"| outer auto-encoder alone | {card['outer']:.2f} |",
        f"| through the space | {card['through']:.2f} |",
        f"| the nearest sound that was learned | {card['nearest']:.2f} |", "",
        f"| main axes | {' | '.join(axes)} |", f"|---|{'---|' * len(axes)}",
        *(
            f"| {name} | {' | '.join(format(card[key][n], '.2f') for n in axes)} |"
            for name, key in (("the space", "by axes"), ("principal components", "by principal components"))
        ),
        "",
        "![curves](curves.png)", "", "![latents](latents.png)", "", "![rebuilt](rebuilt.png)", "",
    ])  # fmt: skip


def _draw_curves(space: "Space", path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2), ("outer", "inner"), strict=True):
        curve = space.card[f"{name}_curve"]
        for which in ("train", "test"):
            losses = [epoch["figures"][which] for epoch in curve]
            axis.semilogy(range(1, len(losses) + 1), losses, label=f"{which}, best {min(losses):.3g}")
        axis.set(title=f"{name} auto-encoder", xlabel="epoch", ylabel="mean squared error")
        axis.legend()
    figure.savefig(path, dpi=100)


def _draw_latents(space: "Space", learned: "Sounds", path: Path) -> None:
    """Bars of each axis and what categories mean on it, the largest by pairs with an ellipse a category, and how normal they are."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    lib = library("samplegen")
    z = space.latents(learned.pictures, learned.told)
    pairs = list(combinations(range(min(z.shape[1], 4)), 2)) or [(0, 0)]
    figure = Figure(figsize=(4.4 * (3 + len(pairs)), 4), layout="constrained")
    bars, means, shape, *planes = figure.subplots(1, 3 + len(pairs))
    bars.bar(range(z.shape[1]), space.spread, color="#1f5f8b")
    bars.set(title="deviation of each axis", xlabel="axis")
    kinds = [lib.category_of(name) for name in learned.names]
    for n, kind in enumerate(sorted(set(kinds))):
        own = z[np.array([each == kind for each in kinds])]
        colour = f"C{n % 10}"
        means.plot(own.mean(0), "o-", color=colour, label=kind)
        for plane, (across, up) in zip(planes, pairs, strict=True):
            plane.plot(own[:, across], own[:, up], ".", color=colour)
            centre, size = own.mean(0), 2 * own.std(0)
            plane.add_patch(Ellipse((centre[across], centre[up]), size[across], size[up], fill=False, color=colour))
            plane.set(xlabel=f"axis {across}", ylabel=f"axis {up}")
    means.set(title="mean of each category", xlabel="axis")
    means.legend(fontsize=7)
    at = np.linspace(-4, 4, 81)
    shape.hist(z.ravel(), at, density=True, color="#b9c0c6")
    shape.plot(at, np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi), color="#c2571a")
    shape.set(title="all axes, and a normal density")
    figure.savefig(path, dpi=100)


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
