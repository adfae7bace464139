"""``jxemu sysex``: list, show, convert, extract, de-duplicate and compare banks."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jxemu.app.files import beside, fail, read_bank, say, whole_file
from jxemu.app.words import setting_words
from jxemu.patch import editing
from jxemu.patch.bank import FORMATS, Bank, find, merged
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.record import Record

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show, convert and compare banks.")
Format = StrEnum("Format", {name: name for name in FORMATS})

Files = Annotated[list[Path], typer.Argument(help="Banks: sysex, cartridge image or JSON.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="File to write.")]
To = Annotated[Format | None, typer.Option("--to", help="Format; default: by file name and contents.")]


@app.command("list")
def list_(files: Files) -> None:
    """The patches and tones of banks."""
    for path in files:
        bank = read_bank(path)
        said = f"{path}: {len(bank.patches)} patches, {len(bank.tones)} tones"
        typer.echo(said + (f", {len(bank.chains)} patch chains" if bank.chains else ""))
        for number, patch in zip(bank.patch_numbers, bank.patches, strict=True):
            plain = patch.plain()
            tones = " + ".join(
                f"{half} {_tone_name(bank, plain[f'{half}_tone'])}" for half in _halves(plain["key_mode"])
            )
            typer.echo(f"  patch {number + 1:3}  {patch.name:18}  {plain['key_mode']:8}  {tones}")
        for number, tone in zip(bank.tone_numbers, bank.tones, strict=True):
            typer.echo(f"  tone  {number + 1:3}  {tone.name}")


def _halves(mode: object) -> tuple[str, ...]:
    return {"whole-a": ("upper",), "whole-b": ("lower",)}.get(str(mode), ("upper", "lower"))


def _tone_name(bank: Bank, number: int) -> str:
    tone = bank.tone(number)
    return f"{number + 1} ({tone.name.strip()})" if tone else f"{number + 1} (not in this file)"


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A bank.")],
    name: Annotated[str, typer.Argument(help="Name or number (from 1) of a tone, or of a patch with --patch.")],
    patch: Annotated[bool, typer.Option("--patch", help="Show a patch.")] = False,
) -> None:
    """Every setting of a tone or patch, as the panel words it."""
    bank = read_bank(file)
    record = found(bank, name, "patch" if patch else "tone", file)
    table = Table("setting", "panel", "value", title=escape(record.name.strip()) or None)
    for key, value in record:
        if patch:
            table.add_row(key, "", escape(_patch_text(bank, key, record)))
        else:
            row = PARAMETERS[key]
            table.add_row(key, f"{row.panel} {row.text}", row.format(value) + ("" if row.labels else f"  ({value})"))
    Console().print(table)


def _patch_text(bank: Bank, key: str, patch: Record) -> str:
    value = patch.values()[key]
    if key.endswith("_tone"):
        return _tone_name(bank, value)
    return setting_words(key, value) + (f"  ({value})" if key.endswith(("_split", "detune")) else "")


def found(bank: Bank, name: str, kind: str, file: Path) -> Record:
    """The tone or patch of that name or memory number; ends the command with near matches if there is none."""
    return _records(bank, kind)[place_of(bank, name, kind, file)]


def _records(bank: Bank, kind: str) -> list:
    return bank.tones if kind == "tone" else bank.patches


def place_of(bank: Bank, name: str, kind: str, file: Path) -> int:
    """Where in the bank that tone or patch stands."""
    records = _records(bank, kind)
    if not records:
        fail(f"{file} holds no {kind}")
    try:
        return find(records, name, bank.tone_numbers if kind == "tone" else bank.patch_numbers)
    except KeyError as error:
        fail(f"{file}: {error.args[0]}")


@app.command()
def convert(files: Files, output: Output, to: To = None) -> None:
    """Write banks in another format, several as one: JX-8P, cartridge, MKS-70 or JSON text."""
    write_bank(_as_one(files), output, to)


def _as_one(files: Sequence[Path]) -> Bank:
    """The bank of a file, or those of several as one; what has no place in that is said."""
    banks = [read_bank(path) for path in files]
    if len(banks) == 1:
        return banks[0]
    try:
        bank = merged(banks)
    except ValueError as error:
        fail(f"cannot merge {len(banks)} banks: {error}")
    for part in bank.skipped:
        say(f"left out: {part.why}")
    return bank


@app.command()
def extract(
    file: Annotated[Path, typer.Argument(help="A bank.")],
    output: Output,
    tone: Annotated[list[str] | None, typer.Option(help="Name or number of a tone; repeat for more.")] = None,
    patch: Annotated[list[str] | None, typer.Option(help="Name or number of a patch; its tones come along.")] = None,
    to: To = None,
) -> None:
    """Write some tones and patches of a bank."""
    if not tone and not patch:
        fail("name something to extract with --tone or --patch")
    bank = read_bank(file)
    tones = [place_of(bank, name, "tone", file) for name in tone or []]
    patches = [place_of(bank, name, "patch", file) for name in patch or []]
    write_bank(editing.extracted(bank, tones, patches), output, to)


@app.command()
def dedupe(files: Files, output: Output, to: To = None) -> None:
    """Write banks as one, each sound once; names do not count."""
    bank, dropped = editing.deduplicated(_as_one(files))
    for record, kept in dropped:
        typer.echo(f"{record.KIND} {record.name.strip()!r} is {kept.name.strip()!r}")
    write_bank(bank, output, to)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A bank.")], second: Annotated[Path, typer.Argument(help="Another one.")]
) -> None:
    """What differs between two banks, memory by memory; exit code 1 if anything does."""
    differing = editing.compared(read_bank(first), read_bank(second))
    for kind, number, mine, theirs in differing:
        place = f"{kind} {number + 1}"
        if mine is None or theirs is None:
            there, record = (second, theirs) if mine is None else (first, mine)
            typer.echo(f"{place}: only in {there}: {record.name.strip()}")
            continue
        changes = ", ".join(f"{key} {a} -> {b}" for key, (a, b) in editing.differences(mine, theirs).items())
        typer.echo(f"{place} {mine.name.strip()}: {changes}")
    if differing:
        raise typer.Exit(1)
    typer.echo("no difference")


def write_bank(bank: Bank, output: Path, to: Format | None) -> None:
    """Write a bank in a format, several files where one is too small; says what was written."""
    kind = to.value if to else _guess(bank, output)
    try:
        files = bank.encode(kind)
    except ValueError as error:
        fail(f"cannot write {output}: {error}")
    if not files or not (bank.tones or bank.patches or (bank.chains and kind in ("jx8p", "json"))):
        fail(f"{output} would be empty: the {kind} format holds nothing of this bank")
    paths = [output] if len(files) == 1 else [beside(output, number) for number in range(1, len(files) + 1)]
    for path, data in zip(paths, files, strict=True):
        with whole_file(path) as part:
            part.write_bytes(data)
        typer.echo(f"{path}: {kind}, {len(data)} bytes")
    if kind in ("jx8p", "cartridge") and bank.patches:
        typer.echo(f"{len(bank.patches)} patches are not in it: the {kind} format holds tones only")
    if kind not in ("jx8p", "json") and bank.chains:
        typer.echo(f"{len(bank.chains)} patch chains are not in it: only jx8p and json hold them")


def _guess(bank: Bank, output: Path) -> str:
    suffix = output.suffix.lower()
    if suffix == ".json":
        return "json"
    if suffix in (".rom", ".bin"):
        return "cartridge"
    return "mks70" if bank.patches else "jx8p"
