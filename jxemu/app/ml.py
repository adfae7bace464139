"""``jxemu ml``: train networks that hear which tone makes a sound, and compare them."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jxemu.app import crbm, effect, machines, match, notes, phase, samples
from jxemu.app.files import console, fail, read_bank, say
from jxemu.app.home import WEIGHTS, home
from jxemu.app.options import Renders
from jxemu.app.training import progress, scheduled, shown

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Networks from sound to tone: train, compare.")

app.add_typer(crbm.app, name="crbm")
app.add_typer(effect.app, name="effect")
app.add_typer(phase.app, name="phase")
app.add_typer(samples.app, name="samples")
app.add_typer(notes.app, name="notes")

Network = StrEnum(
    "Network",
    {
        name: name
        for name in (
            *(f"{kind}{n}" for kind in ("cnn", "lstm") for n in (1, 2, 3)),
            "lcnn1",
            "lcnn2",
            *(f"lstm{n}-mean" for n in (1, 2, 3)),
            "ear",
            "flow",
            "flow-tokens",
        )
    },
)
Machine = StrEnum("Machine", {name: name for name in ("crbm", "phase", "notes", "banks", "effect", "samples")})
Method = StrEnum("Method", {name: name for name in ("avo", "spiral", "enhanced")})
COUNT = 100
"""Sounds to find, where nothing else is asked for."""

_EXTRA = "networks need more libraries: pip install 'jxemu[ml]'"

DataArgument = Annotated[Path, typer.Argument(help="Folder of a rendered dataset.")]
FolderOption = Annotated[Path, typer.Option("-o", "--output", help="Folder of the model.")]
EpochsOption = Annotated[
    int | None, typer.Option(min=1, help="Times through the data; default: what suits the network.")
]
SeedOption = Annotated[int, typer.Option(min=1, help="The same seed on the same machine gives the same weights.")]


@app.command()
def train(
    network: Annotated[
        Network,
        typer.Argument(
            help="One of the thesis's eight; lstm1-mean to lstm3-mean: its LSTMs, which give the mean of their states; ear: this project's own; flow: many tones for a sound; flow-tokens: the same by a transformer, for a GPU."
        ),
    ],
    data: DataArgument,
    output: FolderOption,
    ear: Annotated[Path | None, typer.Option(help="For a flow: the trained ear that it listens with.")] = None,
    epochs: EpochsOption = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Items of a step; default: what suits the network.")] = None,
    rate: Annotated[float | None, typer.Option(min=1e-6, max=1.0, help="Highest learning rate, likewise.")] = None,
    seed: SeedOption = 1,
    take: Annotated[int | None, typer.Option(min=0, help="Of items with several takes, hear only this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Train on the first so many items.")] = None,
) -> None:
    """Train a network on a dataset; the same command goes on where it was stopped."""
    try:
        from jxemu.ml import models
        from jxemu.render.dataset import DatasetError
    except ImportError as error:
        fail(f"{error.name} is not installed; {_EXTRA}")
    if network.value.startswith("flow") != (ear is not None):
        fail("a flow, and only a flow, needs --ear: the folder of a trained ear")
    if ear and take is not None:
        fail("a flow hears the take that its ear hears: leave --take out")
    schedule = scheduled(models.SCHEDULES[network.value], epochs=epochs, batch=batch, rate=rate, seed=seed)
    try:
        heard = models.load(ear) if ear else None
        with progress() as bar:
            made = models.train(
                network.value,
                data,
                output,
                schedule,
                heard,
                take,
                limit,
                shown=shown(bar, f"training {network.value}"),
            )
    except (DatasetError, models.ModelError, ValueError, FloatingPointError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}; what is done stays there, the same command goes on")
    except KeyboardInterrupt:
        fail(f"stopped; what is done stays in {output}, the same command goes on")
    found = made.card["table"]["all"]
    typer.echo(
        f"{output}: validation MSE {found['MSE']:.4f}, MAE {found['MAE']:.3f}, R2 {found['R2']:.3f}; see {output / 'README.md'}"
    )


@app.command()
def weights(
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder; default: where jxemu match looks, weights in ~/.config/jxemu (JXEMU_HOME)."
        ),
    ] = None,
    items: Annotated[int | None, typer.Option(min=64, help="Sounds to learn from; default 120,000.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through them; default: what suits.")] = None,
) -> None:
    """Make what jxemu match listens with: render sounds, train on them. It goes on where it was stopped."""
    try:
        from jxemu.ml import weights as learned
        from jxemu.render.dataset import DatasetError
    except ImportError as error:
        fail(f"{error.name} is not installed; {_EXTRA}")
    output = output or home() / WEIGHTS
    schedules = [scheduled(each, epochs=epochs) for each in (learned.EAR_SCHEDULE, learned.FLOW_SCHEDULE)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console) as bar:
            made = learned.learn(output, items, *schedules, _stages(bar), say)
    except (DatasetError, ValueError, FloatingPointError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}; what is done stays there, the same command goes on")
    except KeyboardInterrupt:
        fail(f"stopped; what is done stays in {output}, the same command goes on")
    found = made.card["table"]["all"]
    use = "jxemu match uses it from now on" if output == home() / WEIGHTS else f"jxemu match --weights {output} uses it"
    typer.echo(f"{output}: the ear has R2 {found['R2']:.3f} on sounds it has not heard; {use}")


@app.command()
def bench(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the tables and pictures.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of a rendered dataset; without it the machines that learn sounds are measured."),
    ] = None,
    model: Annotated[list[Path] | None, typer.Option(help="Folder of a trained model; repeat.")] = None,
    bank: Annotated[
        list[Path] | None,
        typer.Option(
            help="Sysex bank whose tones are targets too; repeat. Without a dataset: banks, or a table of tones (.csv) with a column `bank`, of whose notes a space is made, whole banks held out."
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", min=2, help="Sounds to find, of the test split and of each bank.")
    ] = COUNT,
    seed: Annotated[int, typer.Option(min=0, help="Of random tones and of flows.")] = 0,
    only: Annotated[
        list[Machine] | None,
        typer.Option(help="Without a dataset: measure this machine only; repeat. banks: the notes of --bank."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without a dataset: train next to nothing, to try it.")
    ] = False,
    search: Annotated[
        int | None,
        typer.Option(
            min=64,
            max=1_000_000,
            help="Also search as jxemu match does, by all takes of a tone, trying so many tones for each of -n targets of the test split. The same command goes on where it was stopped.",
        ),
    ] = None,
) -> None:
    """Compare models on a dataset: parameters of its test split, and how their tones sound beside the targets.

    Without a dataset: every figure of the machines that learn sounds (crbm, phase, notes, effect, samples) in one table.
    What is not yet trained in the folder is trained by the command that the table names; stop it, and it goes on.
    """
    if data is None:
        if model or count != COUNT or seed or search:
            fail("--model, -n, --seed and --search are for a comparison on a dataset: give its folder")
        root = context.find_root().command
        typer.echo(machines.table(root, output, [each.value for each in only or []], quick, bank or ()))
        return
    if only or quick:
        fail("--only and --quick are for the machines that learn sounds: leave the dataset out")
    try:
        from jxemu.ml import bench as benchmark
        from jxemu.ml import models
        from jxemu.ml.searches import Searches
        from jxemu.render.dataset import DatasetError
    except ImportError as error:
        fail(f"{error.name} is not installed; {_EXTRA}")
    searches = Searches(output, search, seed) if search else None
    try:
        output.mkdir(parents=True, exist_ok=True)
        loaded = {folder.resolve().name: models.load(folder) for folder in model or []}
        if len(loaded) < len(model or []):
            fail("two models have folders of one name")
        banks = {path.stem: read_bank(path).tones for path in bank or []}
        if len(banks) < len(bank or []):
            fail("two banks have files of one name")
        if without := [name for name, tones in banks.items() if not tones]:
            fail(f"{', '.join(without)}: there are no tones in it")
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as bar:
            report = benchmark.bench(data, loaded, banks, count, seed, _stages(bar), searches)
        benchmark.write(report, output)
    except (DatasetError, models.ModelError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}")
    except KeyboardInterrupt:
        if searches is None:
            raise
        fail(f"stopped; searches that are done stay in {output}, the same command goes on")
    typer.echo((output / "bench.md").read_text())


@app.command()
def judge(
    bank: Annotated[list[Path], typer.Argument(help="Sysex banks whose tones are to be found again.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the table and a picture.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Tones, spread over the banks.")] = 20,
    trained: Annotated[
        Path | None,
        typer.Option("--weights", help="Folder of trained weights; default: weights in ~/.config/jxemu (JXEMU_HOME)."),
    ] = None,
    renders: Renders = None,
    noise: Annotated[
        float, typer.Option(min=-120.0, max=-10.0, help="Noise of the recordings, in dB beside their peak.")
    ] = -50.0,
    rate: Annotated[int, typer.Option(min=4_000, max=192_000, help="Sample rate of the recordings, in Hz.")] = 48_000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is played, and of the searches.")] = 0,
) -> None:
    """Measure jxemu match: tones that another unit plays into a noisy recording, found again; the same command goes on where it was stopped."""
    try:
        from jxemu.ml import recordings
    except ImportError as error:
        fail(f"{error.name} is not installed; {_EXTRA}")
    tones = [tone for path in bank for tone in read_bank(path).tones]
    if not tones:
        fail(f"{', '.join(map(str, bank))}: there are no tones in it")
    chosen = [tones[n] for n in sorted({round(x) for x in np.linspace(0, len(tones) - 1, min(count, len(tones)))})]
    learned, recorder = match.trained_weights(trained), recordings.Recorder(noise, rate)
    with Progress(
        TextColumn("recordings"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(), console=console
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=len(chosen))
        try:
            judged = recordings.judge_all(
                chosen, learned, renders, recorder, seed, output, lambda done: bar.update(task, completed=done)
            )
        except OSError as error:
            fail(f"cannot write {output}: {error.strerror}")
        except ValueError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail(f"stopped; recordings that are done stay in {output}, the same command goes on")
    if not judged:
        fail("none of these tones can be heard")
    typer.echo(recordings.markdown(judged, recorder))


@app.command()
def adversarial(
    method: Annotated[
        Method, typer.Argument(help="avo, spiral, or enhanced: SPIRAL that begins at a regressor's guess.")
    ],
    data: DataArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for contest.json, contest.md and a picture.")],
    ear: Annotated[Path | None, typer.Option(help="The regressor that enhanced begins with.")] = None,
    free: Annotated[
        list[str] | None, typer.Option(help="A parameter that is free; repeat. Default: 4, or 12 for enhanced.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Targets, of the test split.")] = 50,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the proposal; 64 renders each.")] = 30,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Find tones by a critic that learns to tell their sounds from the target, and compare with CMA-ES at as many renders."""
    try:
        from jxemu.ml import adversarial as critics
        from jxemu.ml import models
        from jxemu.render.dataset import DatasetError
    except ImportError as error:
        fail(f"{error.name} is not installed; {_EXTRA}")
    try:
        heard = models.load(ear) if ear else None
        with Progress(
            TextColumn("targets"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=console,
        ) as bar:
            task = bar.add_task("", total=count)
            report = critics.contest(
                method.value, data, heard, list(dict.fromkeys(free or critics.FREE[method.value])), count, steps, output, seed,
                lambda done: bar.update(task, completed=done),
            )  # fmt: skip
        critics.write(report, output)
    except (DatasetError, models.ModelError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}; what is done stays there, the same command goes on")
    except KeyboardInterrupt:
        fail(f"stopped; what is done stays in {output}, the same command goes on")
    typer.echo(critics.markdown(report))


def _stages(bar: Progress) -> Callable[[str, int, int], None]:
    """Shows stages of a work, a bar each, as they come."""
    tasks: dict[str, TaskID] = {}

    def stage(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done)

    return stage
