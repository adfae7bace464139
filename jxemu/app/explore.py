"""``jxemu explore``: new tones, at random, near another one, or between two."""

from pathlib import Path
from typing import Annotated

import typer

from jxemu.app.files import fail, read_bank
from jxemu.app.sysex import Output, To, found, write_bank
from jxemu.patch.bank import Bank
from jxemu.patch.explore import SECTIONS, morph, mutate, random_tones
from jxemu.patch.tone import Tone

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="New tones: random, near another, between two.")

APART = 1_000_000
"""From the tones of one seed to those of the next."""

File = Annotated[Path, typer.Argument(help="A bank.")]
Count = Annotated[int, typer.Option("-n", "--count", min=1, max=10_000, help="How many tones.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same tones.")]
Sections = Annotated[
    list[str] | None, typer.Option("--section", help=f"Only this section, repeat for more: {', '.join(SECTIONS)}.")
]


@app.command("random")
def random_(output: Output, count: Count = 32, seed: Seed = 1, to: To = None) -> None:
    """Tones as real ones are: drawn from statistics of 386 of them."""
    write_bank(Bank(random_tones(seed * APART + n for n in range(count))), output, to)


@app.command("mutate")
def mutate_(
    file: File,
    tone: Annotated[str, typer.Argument(help="Name or number (from 1) of the tone to start from.")],
    output: Output,
    amount: Annotated[float, typer.Option(help="0 changes nothing, 1 everything.")] = 0.2,
    sections: Sections = None,
    count: Count = 32,
    seed: Seed = 1,
    to: To = None,
) -> None:
    """Tones near another one; sections that are not named stay as they are."""
    start = _tone(file, tone)
    try:
        tones = [mutate(start, seed * APART + n, amount, sections) for n in range(count)]
    except ValueError as error:
        fail(str(error))
    write_bank(Bank(tones), output, to)


@app.command("morph")
def morph_(
    file: File,
    first: Annotated[str, typer.Argument(help="Name or number of the first tone.")],
    last: Annotated[str, typer.Argument(help="Name or number of the last tone.")],
    output: Output,
    sections: Sections = None,
    count: Annotated[
        int, typer.Option("-n", "--count", min=2, max=10_000, help="How many tones, both ends with them.")
    ] = 8,
    to: To = None,
) -> None:
    """Tones on the way from one to another."""
    one, other = _tone(file, first), _tone(file, last)
    try:
        tones = [morph(one, other, step / (count - 1), sections) for step in range(count)]
    except ValueError as error:
        fail(str(error))
    write_bank(Bank(tones), output, to)


def _tone(file: Path, name: str) -> Tone:
    return found(read_bank(file), name, "tone", file)
