"""The command line: ``jxemu render``."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from jxemu.clock import OVERSAMPLES, SAMPLE_RATES
from jxemu.link import LogError, save_log
from jxemu.machine import MACHINES, Machine
from jxemu.patch.bank import find_tone, read_bank
from jxemu.patch.factory import factory_tones
from jxemu.patch.sysex import SysexError
from jxemu.patch.tone import Tone
from jxemu.render.offline import LEAD_IN, render_blocks
from jxemu.render.score import MidiFileError, load_midi

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)
_console = Console(stderr=True)

SampleFormat = StrEnum("SampleFormat", {"PCM_16": "16", "PCM_24": "24", "FLOAT": "float"})
MachineName = StrEnum("MachineName", {name: name for name in MACHINES})
Pace = StrEnum("Pace", {"real": "real", "instant": "instant"})


def _fail(message: str) -> NoReturn:
    _console.print(f"jxemu: {message}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


@app.callback()
def _about() -> None:
    """A hardware-accurate Roland Super JX and JX-8P."""


@app.command()
def render(
    song: Annotated[Path, typer.Argument(help="Standard MIDI file to play.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV or FLAC file to write.")],
    bank: Annotated[Path | None, typer.Option(help="Sysex bank or cartridge image; default: factory tones.")] = None,
    tone: Annotated[str | None, typer.Option(help="Name or number (from 1) of a tone; default: the first.")] = None,
    rate: Annotated[int, typer.Option(help=f"Sample rate, one of {', '.join(map(str, SAMPLE_RATES))}.")] = 48_000,
    sample_format: Annotated[SampleFormat, typer.Option("--format", help="Sample format.")] = SampleFormat.PCM_24,
    machine: Annotated[MachineName, typer.Option(help="The instrument.")] = MachineName.jx8p,
    seed: Annotated[int, typer.Option(min=0, help="The unit: 0 is nominal, any other has its own tolerances.")] = 0,
    oversample: Annotated[int, typer.Option(help=f"Quality, one of {', '.join(map(str, OVERSAMPLES))}.")] = 4,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Length; default: until the last note is over.")
    ] = None,
    pace: Annotated[Pace, typer.Option(help="Speed of the wire: real (31250 baud) or instant.")] = Pace.real,
    jxlog: Annotated[Path | None, typer.Option(help="Also write what crossed the wire.")] = None,
) -> None:
    """Play a MIDI file with a tone of a bank and write the sound."""
    tones, chosen = _tone(bank, tone)
    try:
        events = load_midi(song)
    except MidiFileError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read {song}: {error.strerror}")
    try:
        instrument = Machine(
            machine.value, Machine.circuit_of(seed=seed), rate, oversample, pace.value, tones, record=jxlog is not None
        )
    except ValueError as error:
        _fail(str(error))
    instrument.load_tone(chosen)
    length = seconds if seconds is not None else max((event.at for event in events), default=0.0)
    with _sound_file(output, rate, sample_format) as file, _progress() as bar:
        task = bar.add_task(f"{chosen.name.strip()}", total=max(length, 0.01))
        for block in render_blocks(instrument, events, seconds):
            try:
                file.write(block)
            except (OSError, RuntimeError) as error:
                _fail(f"cannot write {output}: {error}")
            bar.update(task, completed=min(instrument.seconds - LEAD_IN, length))
        bar.update(task, completed=length or 0.01)
    if jxlog:
        _write_log(instrument, jxlog)
    typer.echo(f"{output}: {instrument.seconds - LEAD_IN:.1f} s, {rate} Hz, {chosen.name.strip()}")


def _tone(bank: Path | None, name: str | None) -> tuple[list[Tone], Tone]:
    """Tones of the bank and the one that is asked for."""
    if bank is None:
        tones = factory_tones()
    else:
        try:
            tones, skipped = read_bank(bank)
        except SysexError as error:
            _fail(str(error))
        except OSError as error:
            _fail(f"cannot read {bank}: {error.strerror}")
        for part in skipped:
            _console.print(f"{bank}: {part}", markup=False, highlight=False, soft_wrap=True)
    if name is None:
        return tones, tones[0]
    try:
        return tones, tones[find_tone(tones, name)]
    except KeyError as error:
        _fail(error.args[0])


@contextlib.contextmanager
def _sound_file(path: Path, rate: int, sample_format: SampleFormat) -> Iterator:
    """A sound file that gets its name only when it is whole."""
    import soundfile

    kind = path.suffix.lower().lstrip(".")
    if kind not in ("wav", "flac"):
        _fail(f"cannot write {path}: the name must end in .wav or .flac")
    if kind == "flac" and sample_format is SampleFormat.FLOAT:
        _fail(f"cannot write {path}: FLAC holds 16 or 24 bits, not float")
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".{kind}", dir=path.parent or ".")
    except OSError as error:
        _fail(f"cannot write {path}: {error.strerror}")
    os.close(handle)
    try:
        with soundfile.SoundFile(part, "w", rate, 2, sample_format.name, format=kind.upper()) as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, path)
    except (OSError, soundfile.SoundFileError) as error:
        _fail(f"cannot write {path}: {error}")
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=_console)


def _write_log(instrument: Machine, path: Path) -> None:
    try:
        save_log(instrument.link, path)
    except (OSError, LogError) as error:
        _fail(f"cannot write {path}: {error}")


def main() -> None:
    """Entry point; ends with exit code 2 and one sentence on bad input."""
    try:
        app()
    except KeyboardInterrupt:
        _console.print("jxemu: stopped")
        sys.exit(130)
