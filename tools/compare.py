"""Two analyses of the calibration kit side by side: ``python tools/compare.py mine.json model.json [-o compared/]``.

For each step the differences, and how many standard errors they are: what is beyond three is a real difference between the
two, what is below is not known. With ``-o`` a picture a step. Needs ``pip install 'jxemu[listen,bridge]'``.
"""

import json
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer
from calibration.steps import STEP_OF
from matplotlib.figure import Figure

matplotlib.use("Agg")

SURE = 3.0
"""Standard errors beyond which a difference is real."""


def compared(one: list[list[float]], other: list[list[float]], ratio: bool) -> list[tuple[float, float, float]]:
    """Value, difference (of a ratio in %) and its standard error, where both have measured something."""
    beside = {value: (measured, error) for value, measured, error in other}
    rows = []
    for value, measured, error in one:
        there, its = beside.get(value, (float("nan"), float("nan")))
        if not np.isfinite([measured, there]).all() or (ratio and there <= 0):
            continue
        if ratio:
            rows.append((value, 100 * (measured / there - 1), 100 * float(np.hypot(error / measured, its / there))))
        else:
            rows.append((value, measured - there, float(np.hypot(error, its))))
    return rows


def read(path: Path) -> dict[str, list[list[float]]]:
    """The tables of an analysis. Ends the program for a file that is none."""
    try:
        tables = json.loads(path.read_text())
        found = {name: [[float(x) for x in row] for row in tables[name]] for name in tables if name in STEP_OF}
        if not found or any(len(row) != 3 for rows in found.values() for row in rows):
            raise ValueError("it holds no tables of the kit")
        return found
    except (OSError, ValueError, TypeError, AttributeError) as error:
        typer.echo(f"compare: cannot read {path} ({error}); tools/calibrate.py analyse writes it", err=True)
        raise typer.Exit(2) from None


def main(
    one: Annotated[Path, typer.Argument(help="JSON of calibrate.py analyse.")],
    other: Annotated[Path, typer.Argument(help="Another.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for pictures.")] = None,
) -> None:
    """Print what differs between two analyses, step by step."""
    tables, beside = read(one), read(other)
    if not tables.keys() & beside.keys():
        typer.echo(f"compare: {one} and {other} have no step in common", err=True)
        raise typer.Exit(2)
    for name in [name for name in tables if name in beside]:
        step = STEP_OF[name]
        rows = compared(tables[name], beside[name], step.logarithmic)
        unit = "%" if step.logarithmic else step.columns[name]
        real = [row for row in rows if abs(row[1]) > SURE * max(row[2], 1e-9)]
        worst = max((abs(row[1]) for row in rows), default=0.0)
        verdict = f"{len(real)} of {len(rows)} differ beyond {SURE:g} errors" if real else "no real difference"
        typer.echo(f"{name:12} up to {worst:.3g} {unit}; {verdict}")
        for value, apart, error in real:
            typer.echo(f"           {step.over or 'value'} {value:g}: {apart:+.3g} {unit} +- {error:.2g}")
        if output and rows:
            try:
                output.mkdir(parents=True, exist_ok=True)
                _draw(name, rows, unit, output / f"{name}.png")
            except OSError as error:
                typer.echo(f"compare: cannot write {output}: {error.strerror}", err=True)
                raise typer.Exit(2) from None


def _draw(name: str, rows: list[tuple[float, float, float]], unit: str, path: Path) -> None:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    values, apart, errors = zip(*rows, strict=True)
    axis.errorbar(values, apart, errors, fmt="o", color="#c2571a", capsize=3)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xlabel(STEP_OF[name].over)
    axis.set_ylabel(f"difference, {unit}")
    axis.set_title(STEP_OF[name].about)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    typer.run(main)
