"""What all commands that train share: the progress bar, what ends a training in a sentence, the library behind them."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jxemu.app.files import console, fail

if TYPE_CHECKING:
    from jxemu.ml.train import Schedule


def progress() -> Progress:
    """A bar of steps, with the loss and the time that is left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[loss]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=console,
    )  # fmt: skip


def shown(bar: Progress, what: str) -> Callable[[int, int, float], None]:
    """What a trainer tells its steps to: a line of the bar."""
    task = bar.add_task(what, total=None, loss="")
    return lambda done, steps, loss: bar.update(task, completed=done, total=steps, loss=f"loss {loss:.4f}")


def library(name: str) -> ModuleType:
    """A module of `jxemu.ml`; what it needs and is not there ends the command."""
    try:
        return importlib.import_module(f"jxemu.ml.{name}")
    except ImportError as error:
        fail(f"{error.name} is not installed; pip install 'jxemu[ml]'")


def scheduled(usual: "Schedule", **given: float | None) -> "Schedule":
    """The usual schedule, but for what is given (None is not)."""
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def useless(context: typer.Context, why: str, *names: str) -> None:
    """End the command if one of these parameters was given, which does nothing here."""
    given = [
        param.opts[0] if param.param_type_name == "option" else param.name.upper()
        for param in context.command.params
        if param.name in names and context.get_parameter_source(param.name).name == "COMMANDLINE"
    ]
    if given:
        fail(f"{why}: leave {', '.join(given)} out")


@contextlib.contextmanager
def trained(output: Path) -> Iterator[None]:
    """Training into a folder: sounds that cannot be learned from, a full disk and Ctrl-C end in a sentence; the next call goes on."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}; the same command goes on")
    except KeyboardInterrupt:
        fail(f"stopped; what is done stays in {output}, the same command goes on")
