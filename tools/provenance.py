"""Where every hardware constant comes from: ``python tools/provenance.py [--grade PLACEHOLDER]``.

Prints the table of `jxemu.soundboard.parts`, grade by grade, from measured (A) to chosen (PLACEHOLDER).
"""

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jxemu.soundboard.parts import PARTS, Constant

Grade = StrEnum("Grade", {grade: grade for grade in ("A", "B", "C", "D", "PLACEHOLDER")})
MEANING = {
    Grade.A: "measured, or read from ROM behaviour",
    Grade.B: "schematic, manual or data sheet",
    Grade.C: "one credible third party",
    Grade.D: "a sister instrument",
    Grade.PLACEHOLDER: "chosen by arithmetic or ear",
}


def of_grade(grade: Grade) -> list[Constant]:
    """The constants of one grade, in the order of the parts table."""
    return [constant for constant in PARTS.values() if constant.grade == grade]


def table_of(grade: Grade) -> Table:
    """One grade as a table: name, value, unit, source, question."""
    table = Table(title=f"{grade}: {MEANING[grade]}", title_justify="left", expand=True)
    table.add_column("constant", no_wrap=True)
    table.add_column("value", justify="right")
    for heading in ("unit", "source", "question"):
        table.add_column(heading)
    for row in of_grade(grade):
        values = row.value if isinstance(row.value, tuple) else (row.value,)
        cells = row.name, ", ".join(map(str, values)), row.unit, row.source, row.question
        table.add_row(*map(Text, cells))
    return table


def main(grade: Annotated[Grade | None, typer.Option(help="Only this grade.")] = None) -> None:
    """Print the hardware constants grouped by grade, and how many there are of each."""
    console = Console()
    for each in [grade] if grade else Grade:
        if of_grade(each):
            console.print(table_of(each), "")
    counts = ", ".join(f"{len(of_grade(each))} {each}" for each in Grade)
    console.print(f"{len(PARTS)} constants: {counts}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
