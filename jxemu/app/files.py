"""What the commands share: one sentence for what went wrong, and files that get their name when they are whole."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from jxemu.patch.bank import Bank
from jxemu.patch.sysex import SysexError

console = Console(stderr=True)


def fail(message: str) -> NoReturn:
    """Say one sentence on the error stream and end with exit code 2."""
    say(f"jxemu: {message}")
    raise typer.Exit(2)


def say(message: str) -> None:
    """A sentence on the error stream."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def bank_of(data: bytes, name: str | Path) -> Bank:
    """A bank of a file's bytes, also of a MIDI file that holds its sysex. Raises SysexError."""
    from jxemu.render.score import MIDI_FILE, MidiFileError, sysex_of

    try:
        return Bank.of_file(sysex_of(data, name) if data.startswith(MIDI_FILE) else data, name)
    except MidiFileError as error:
        raise SysexError(str(error)) from None


def read_bank(path: Path) -> Bank:
    """A bank; what was skipped in its file is said, what cannot be read ends the command."""
    try:
        bank = bank_of(path.read_bytes(), path)
    except SysexError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    for part in bank.skipped:
        say(f"{path}: {part}")
    return bank


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write under another name, which becomes `path` when it is whole; links are followed."""
    path = path.resolve()
    part = _part(path)
    try:
        yield part
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, path)
    except OSError as error:
        fail(f"cannot write {path}: {error}")
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def can_write(path: Path) -> None:
    """End the command if a file cannot be written: better said before long work than after it."""
    _part(path.resolve()).unlink()


def _part(path: Path) -> Path:
    if path.exists() and not path.is_file():
        fail(f"cannot write {path}: it is not a plain file")
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent or ".")
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")
    os.close(handle)
    return Path(part)


def beside(path: Path, what: object) -> Path:
    """``song.wav`` and ``upper`` make ``song-upper.wav``."""
    return path.with_name(f"{path.stem}-{what}{path.suffix}")
