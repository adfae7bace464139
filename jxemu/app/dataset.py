"""``jxemu dataset``: render, check, export and describe datasets of sounds."""

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jxemu.app.files import console, fail, say
from jxemu.kernel import source_hash
from jxemu.render.presets import PRESETS

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Datasets of sounds: render, check, export.")

Preset = StrEnum("Preset", {name: name for name in PRESETS})
Kind = StrEnum("Kind", {name: name for name in ("npy", "parquet", "webdataset", "zarr", "wav")})
Split = StrEnum("Split", {name: name for name in ("train", "validation", "test")})
SplitBy = StrEnum("SplitBy", {name: name for name in ("family", "bank")})

FolderOption = Annotated[Path, typer.Option("-o", "--output", help="Folder of the dataset.")]
FolderArgument = Annotated[Path, typer.Argument(help="Folder of the dataset.")]
_EXTRA = "datasets need more libraries: pip install 'jxemu[dataset]'"


@app.command()
def render(
    output: FolderOption,
    spec: Annotated[Path | None, typer.Argument(help="TOML file; see jxemu dataset spec.")] = None,
    preset: Annotated[Preset | None, typer.Option(help="Instead of a file.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="How many, in place of the spec's.")] = None,
    files: Annotated[
        list[str] | None, typer.Option(help="Sysex bank, or table of tones (.csv), in place of the spec's; repeat.")
    ] = None,
    split_by: Annotated[
        SplitBy | None, typer.Option(help="In place of the spec's; bank: whole banks are held out.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler, tcp://host:8786, whose workers see the folder by the same path.")
    ] = None,
) -> None:
    """Render a dataset, or what is missing of it: the same command resumes and repairs."""
    with _libraries():
        from jxemu.render.dataset import DatasetError
        from jxemu.render.engine import Progress as State
        from jxemu.render.engine import run
        from jxemu.render.spec import SpecError, read_spec
    if (spec is None) == (preset is None):
        fail("give either a TOML file or --preset")
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[size]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    try:
        frozen = read_spec(preset.value if preset else spec, items, files, split_by.value if split_by else None, say)
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("looking", total=frozen.count, rate="", size="")
            began: list[float] = []

            def shown(state: State) -> None:
                if state.checking:
                    bar.update(task, description="looking at what is there", size=_size(state.bytes))
                    return
                if not began:
                    began.append(bar.get_time())
                    bar.reset(task, completed=state.now)
                passed = bar.get_time() - began[0]
                rate = f"{(state.now - state.ready) / passed:.0f} items/s" if passed > 1 else ""
                bar.update(task, description="rendering", completed=state.now, rate=rate, size=_size(state.bytes))

            folder = run(output, frozen, workers, scheduler, shown, say)
    except (SpecError, DatasetError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(f"stopped; what is done stays in {output}, the same command goes on")
    typer.echo(f"{folder.path}: {frozen.count} items in {frozen.shards} shards; see {folder.path / 'README.md'}")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@contextlib.contextmanager
def _libraries() -> Iterator[None]:
    """Imports of what an extra brings; without it the command ends in a sentence."""
    try:
        yield
    except ImportError as error:
        fail(f"{error.name} is not installed; {_EXTRA}")


@app.command()
def presets() -> None:
    """List the presets."""
    with _libraries():
        from jxemu.render.spec import read_spec
    for name in PRESETS:
        found = read_spec(name)
        typer.echo(f"{name:15} {found.count:>9,} items  {found.description}")


@app.command("spec")
def spec_(preset: Annotated[Preset, typer.Argument(help="A preset.")]) -> None:
    """Print a preset as TOML, to start a spec of your own from."""
    with _libraries():
        from jxemu.render.spec import preset_text
    typer.echo(preset_text(preset.value), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of specs: every entry with what it means."""
    with _libraries():
        from jxemu.render.spec import schema as text
    typer.echo(text())


@app.command()
def check(
    folder: FolderArgument,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Items to render again.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Which ones.")] = 0,
) -> None:
    """Compare every file with its hash, and random items with what they are rendered to: byte by byte.

    What was captured from a real board is not rendered again.
    """
    import numpy as np

    with _libraries():
        from jxemu.render import dataset
    try:
        found = dataset.open(folder)
        others = set() if found.folder.captured else found.folder.kernels(range(found.spec.shards)) - {source_hash()}
        if others:
            say(f"{folder} was rendered by another version of the model (kernels {', '.join(sorted(others))}, these are "
                f"{source_hash()}): items may well differ, and its files still be whole")  # fmt: skip
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("files", total=found.spec.shards)
            wrong = dataset.check_files(found, lambda done: bar.update(task, completed=done))
            count = 0 if found.folder.captured else min(count, len(found))
            chosen = np.sort(np.random.default_rng(seed).choice(len(found), count, replace=False))
            task = bar.add_task("items", total=len(chosen))
            wrong += dataset.check_items(found, chosen, lambda done: bar.update(task, completed=done))
    except dataset.DatasetError as error:
        fail(str(error))
    for sentence in wrong:
        say(sentence)
    if wrong:
        fail(f"{folder}: {len(wrong)} faults; give the command that made it again to repair its files")
    again = f"{len(chosen)} items render to the same bytes"
    if found.folder.captured:
        again = "its items were captured from a board and are not rendered again"
    typer.echo(f"{folder}: {found.spec.shards} files are whole, {again}")


@app.command()
def export(
    folder: FolderArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write; it must not be there yet.")],
    to: Annotated[
        Kind,
        typer.Option(
            help="npy (memmap), parquet (Hugging Face, FLAC), webdataset, zarr, wav (with CSV, sysex, MIDI). Stems and latch are in npy and zarr only."
        ),
    ],
    split: Annotated[Split | None, typer.Option(help="Only these items.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
) -> None:
    """Write a dataset in a format of another library."""
    with _libraries():
        from jxemu.render import dataset
        from jxemu.render.export import ExportError
        from jxemu.render.export import export as write
    try:
        found = dataset.open(folder)
        found = found.split(split.value) if split else found
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("writing", total=min(limit or len(found), len(found)))
            count = write(found, output, to.value, limit, lambda done: bar.update(task, completed=done))
    except (dataset.DatasetError, ExportError) as error:
        fail(str(error))
    typer.echo(f"{output}: {count} items as {to.value}")
