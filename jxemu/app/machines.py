"""``jxemu ml bench`` without a dataset: the five listening machines, trained by their own commands where that is not done yet."""

import contextlib
import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer
from typer.core import TyperGroup

from jxemu.app.files import fail, say
from jxemu.app.training import library

QUICK = {"--seconds": "2", "--epochs": "1", "--outer-epochs": "1", "--inner-epochs": "1", "--items": "40"}
"""What options become where only the way is to be tried."""

GIVEN = "commands.json"
"""File in the table's folder of the commands that were given there."""


def table(command_line: TyperGroup, folder: Path, only: Sequence[str], quick: bool, files: Sequence[Path] = ()) -> str:
    """Make what is missing in a folder, or was made by another command, measure it, write the table there; gives it as Markdown.

    What the table there says of other machines stays.

    command_line : all of ``jxemu``.  only : studies, all if none is named.  quick : train next to nothing.
    files : banks of which a space of notes is made and measured too, some of them held out.
    """
    lib = library("machines")
    studies = {name: lib.STUDIES[name] for name in only or lib.STUDIES if name != lib.BANKS}
    if lib.BANKS in only and not files:
        fail("--only banks needs --bank: at least three banks, or a table of tones with a column `bank`")
    if files and only and lib.BANKS not in only:
        fail("--bank is for a space of its notes: add --only banks, or leave --only out")
    if files:
        try:
            studies[lib.BANKS] = lib.banks(files)
        except OSError as error:
            fail(f"cannot read {error.filename}: {error.strerror}")
    folder = folder / "quick" if quick else folder  # so that nobody takes its figures, or its models, for real ones
    found, given, text = lib.read(folder), _given(folder), ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, study in studies.items():
            study.sounds(folder)
            for command in study.commands:
                words = _quick(command.words) if quick else command.words
                if not (folder / command.makes).exists() or given.get(command.makes) != shlex.join(words):
                    _give(command_line, folder, words)
                    given[command.makes] = shlex.join(words)
                    (folder / GIVEN).write_text(json.dumps(given, indent=1) + "\n")
            say(f"{name}: measuring")
            found[name] = list(study.measure(folder, quick))
            text = lib.write(found, folder)
    except OSError as error:
        fail(f"cannot write {folder}: {error.strerror}; what is done stays, the same command goes on")
    return text


def _given(folder: Path) -> dict[str, str]:
    """The commands that made what is in a folder, by file."""
    try:
        return json.loads((folder / GIVEN).read_text())
    except (OSError, ValueError):
        return {}


def _quick(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(QUICK.get(before, word) for before, word in zip(["", *words], words, strict=False))


def _give(command_line: TyperGroup, folder: Path, words: Sequence[str]) -> None:
    """Give a command in a folder, and say how long it took."""
    say(f"jxemu {' '.join(words)}")
    begun = time.monotonic()
    with _inside(folder), contextlib.redirect_stdout(None):
        code = command_line.main(list(words), prog_name="jxemu", standalone_mode=False)
    if code:  # it has said why
        raise typer.Exit(code)
    say(f"  {time.monotonic() - begun:.0f} s")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
