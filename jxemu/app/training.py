"""The progress bar of everything that is trained."""

from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jxemu.app.files import console


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
