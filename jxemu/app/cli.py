"""The command line: ``jxemu play``, ``devices``, ``render``, ``play-log``, ``sysex``, ``explore``, ``dataset``, ``match``, ``ml``."""

import _thread
import atexit
import contextlib
import difflib
import gc
import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from jxemu.app import board, dataset, explore, ml, sysex
from jxemu.app.capture import capture
from jxemu.app.files import beside, can_write, console, fail, read_bank, say, whole_file
from jxemu.app.match import match
from jxemu.app.options import (
    Apart,
    BankFile,
    Cartridge,
    ControlChannel,
    Format,
    Length,
    LowerChannel,
    MachineName,
    Pace,
    PaceName,
    PatchName,
    Priority,
    PriorityName,
    Quality,
    Rate,
    SampleFormat,
    Seed,
    Steal,
    StealName,
    StemsName,
    ToneName,
    UnitFile,
    UpperChannel,
)  # fmt: skip
from jxemu.app.play import devices, play
from jxemu.app.sounds import chosen_sound, part_channels
from jxemu.clock import CYCLES_PER_SECOND
from jxemu.kernel import source_hash
from jxemu.link import LogError, load_log, replay, save_log
from jxemu.machine import MACHINES, Event, Machine
from jxemu.patch.bank import find
from jxemu.patch.factory import factory_bank
from jxemu.patch.memory import JX8P_PRESETS, Memory
from jxemu.patch.patch import PATCH, Patch
from jxemu.patch.tone import Tone
from jxemu.protocol import LOWER, UPPER, Decoder
from jxemu.render.offline import LEAD_IN, mixed, render_blocks
from jxemu.render.score import MidiFileError, load_midi

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(sysex.app, name="sysex")
app.add_typer(explore.app, name="explore")
app.add_typer(dataset.app, name="dataset")
app.add_typer(ml.app, name="ml")
app.add_typer(board.app, name="board")
app.command()(play)
app.command()(devices)
app.command()(match)
app.command()(capture)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"jxemu {version('jxemu')}, kernels {source_hash()}")
        raise typer.Exit


@app.callback()
def _about(
    told: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="The version and a hash of what makes the sound."
        ),
    ] = False,
) -> None:
    """A hardware-accurate Roland Super JX and JX-8P."""


@dataclass
class _Part:
    """An instrument of the performance: what it plays on which MIDI channels, and its machine."""

    sound: Patch
    tone: Tone | None  # plays on all voices; without it the patch's own tones
    channels: dict[int, str] | None
    name: str
    events: list[Event] = field(default_factory=list)
    machine: Machine | None = None


@app.command()
def render(
    song: Annotated[Path, typer.Argument(help="Standard MIDI file to play.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV or FLAC file to write.")],
    bank: BankFile = None,
    cartridge: Cartridge = None,
    tone: ToneName = None,
    patch: PatchName = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="SETTING=VALUE: change the patch, as key_mode=split or 'lower_tone=BASS 1'; repeat."
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="CHANNELS=NAME: an instrument of its own with a patch or tone, as '1-3=STRINGS'; repeat."),
    ] = None,
    upper_channel: UpperChannel = None,
    lower_channel: LowerChannel = None,
    control_channel: ControlChannel = None,
    rate: Rate = 48_000,
    sample_format: Format = SampleFormat.PCM_24,
    machine: Annotated[MachineName | None, typer.Option(help="Default: jx8p, for a patch superjx.")] = None,
    seed: Seed = 0,
    unit: UnitFile = None,
    oversample: Quality = 4,
    seconds: Length = None,
    pace: Pace = PaceName.real,
    steal: Steal = StealName.oldest,
    priority: Priority = PriorityName.last,
    stems: Apart = None,
    jxlog: Annotated[Path | None, typer.Option(help="Also write what crossed the wire.")] = None,
) -> None:
    """Play a MIDI file with tones and patches of a bank and write the sound."""
    _finite(seconds)
    memory = Memory(read_bank(bank) if bank else factory_bank(), read_bank(cartridge) if cartridge else None)
    channels = part_channels(upper_channel, lower_channel, control_channel)
    parts = _parts(part, memory) if part else [_Part(*chosen_sound(memory, tone, patch), channels, "")]
    if part and (tone or patch or channels):
        fail("--part says what plays on which channel: leave --tone, --patch and the channel options out")
    for each in parts if setting else []:
        each.sound, each.tone = _changed(each, setting, memory)
    kind = machine.value if machine else "superjx" if any(each.tone is None for each in parts) else "jx8p"
    for each in parts:
        each.events = _events(song, each.channels)
        _warn(each, memory, kind)
        try:
            each.machine = Machine(
                kind, Machine.circuit_of(unit, seed=seed), rate, oversample, pace.value, memory, steal.value, priority.value,
                stems is StemsName.voice, jxlog is not None,
            )  # fmt: skip
            each.machine.load_patch(each.sound, each.tone)
        except ValueError as error:
            fail(str(error))
    logs = {each.name: beside(jxlog, each.name) if each.name else jxlog for each in parts if jxlog}
    for log in logs.values():
        if log.absolute() == output.absolute():
            fail(f"--jxlog {log} is where the sound goes; give it another name")
        can_write(log)
    length = seconds if seconds is not None else max((e.at for each in parts for e in each.events), default=0.0)
    blocks = zip_longest(*(render_blocks(each.machine, each.events, seconds) for each in parts))
    names = [_stem(each, name) for each in parts for name in each.machine.outputs] if stems else []
    title = " + ".join(each.sound.name.strip() for each in parts)
    made = _write(output, names, (_joined(parts, block) for block in blocks), rate, sample_format, title, length)
    for each in parts:
        _say_late(each)
        if each.name in logs:
            _write_log(each.machine, logs[each.name])
    typer.echo(f"{output}: {made / rate:.1f} s, {rate} Hz, {title}")


def _changed(part: _Part, texts: list[str], memory: Memory) -> tuple[Patch, Tone | None]:
    """The patch with what ``--set`` asks for; a tone may be given by its name. A chain's own tone stays where none is."""
    bank, sound = memory.internal, part.sound
    tone = part.tone if not bank.patches and bank.chains else None
    for text in texts:
        name, _, value = text.partition("=")
        try:
            if name not in PATCH:
                near = difflib.get_close_matches(name, PATCH, 1)
                fail(f"--set {text}: a patch has no setting {name!r}" + (f"; did you mean {near[0]}" if near else ""))
            if name.endswith("_tone"):
                value = str(bank.tone_numbers[find(bank.tones, value, bank.tone_numbers)])
            if name.endswith("_tone") or name == "key_mode":  # that of a chain plays on a single board, alone
                tone = None
            sound = sound.replace(**{name: value})
        except (TypeError, ValueError) as error:
            fail(f"--set {text}: {error}")
        except KeyError as error:
            fail(f"--set {text}: {error.args[0]}")
    return sound, tone


def _finite(seconds: float | None) -> None:
    if seconds is not None and not seconds < 1e9:
        fail(f"--seconds {seconds} is not a length that can be rendered")


def _parts(texts: list[str], memory: Memory) -> list[_Part]:
    parts = []
    for text in texts:
        channels, equals, name = text.partition("=")
        numbers = _channels(channels)
        if not equals or not numbers:
            fail(f"--part {text!r} is not CHANNELS=NAME, as '1=STRINGS' or '2,4-6=BASS'")
        is_patch = any(patch.name.strip().lower() == name.strip().lower() for patch in memory.internal.patches)
        sound = chosen_sound(memory, None if is_patch else name, name if is_patch else None)
        parts.append(_Part(*sound, dict.fromkeys(numbers, "control"), str(len(parts) + 1)))
    return parts


def _channels(text: str) -> list[int]:
    """Channels 1..16 out of ``1,3-5``; none if it is not such a list."""
    numbers: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.strip().partition("-")
        ends = [end for end in (first, last or first) if end.isascii() and end.isdecimal() and 1 <= int(end) <= 16]
        if len(ends) != 2:
            return []
        numbers += range(int(ends[0]), int(ends[1]) + 1)
    return numbers


def _events(song: Path, channels: dict[int, str] | None) -> list[Event]:
    try:
        return load_midi(song, channels)
    except MidiFileError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {song}: {error.strerror}")


def _warn(part: _Part, memory: Memory, kind: str) -> None:
    """Say which programs of the song are nowhere and which ROM tones are played by others."""
    single = len(MACHINES[kind]) == 1
    asked = {(event.part, event.data) for event in part.events if event.kind == "program"}
    patches = {n for where, n in asked if where == "control"} if not single else set()
    tones = {n for where, n in asked if single or where != "control"}
    nowhere = {n for n in patches if memory.patch(n) is None}
    nowhere |= {n for n in tones if (memory.jx8p_tone if single else memory.tone)(n) is None}
    if nowhere:
        listed = ", ".join(str(n + 1) for n in sorted(nowhere))
        say(f"the bank has nothing for program change {listed}: the sound before goes on")
    own = not part.tone
    for number in memory.missing(part.sound) if own else []:
        fail(f"patch {part.sound.name.strip()} asks for tone {number + 1}, which the bank does not have")
    found = [(part.sound, memory)] * own + [(memory.patch(n), memory.holder(n)) for n in sorted(patches - nowhere)]
    for sound, holder in found:
        for number in holder.missing(sound):
            said = f"patch {sound.name.strip()} asks for tone {number + 1}, which the bank does not have: "
            say(said + "the sound before goes on")
        for number, tone in holder.stand_ins(sound).items():
            said = f"patch {sound.name.strip()} uses tone {number + 1} of the Super JX's ROM, which no file holds: "
            say(said + f"factory tone {tone.name} stands in")
    for number in sorted(tones - nowhere):
        if single and number >= JX8P_PRESETS:
            said = f"program change {number + 1} is a preset of the JX-8P's ROM, which no file holds: "
            say(said + f"factory tone {memory.jx8p_tone(number).name} stands in")
        elif not single and memory.internal.tone(number) is None:
            said = f"program change {number + 1} is a tone of the Super JX's ROM, which no file holds: "
            say(said + f"factory tone {memory.tone(number).name} stands in")


LATE = 0.25
"""Seconds that an event may wait for the line before it is said."""


def _say_late(part: _Part) -> None:
    """Say where more was played than the line between the boards can carry."""
    late = part.machine.link.late / CYCLES_PER_SECOND
    if late > LATE:
        named = f"part {part.name}" if part.name else "the song"
        say(f"{named} says more than the wire can carry: what is played comes up to {late:.1f} s late, as it would on "
            "the instrument; --pace instant lets it come in time")  # fmt: skip


def _stem(part: _Part, name: str) -> str:
    return f"{part.name}-{name}" if part.name else name


def _joined(parts: list[_Part], blocks: tuple[np.ndarray | None, ...]) -> np.ndarray:
    """Blocks of all parts, one under the other; a part that is over is silent."""
    length = max(block.shape[1] for block in blocks if block is not None)
    rows = []
    for part, block in zip(parts, blocks, strict=True):
        whole_block = np.zeros((len(part.machine.outputs), length, 2), np.float32)
        if block is not None:
            whole_block[:, : block.shape[1]] = block
        rows.append(whole_block)
    return np.concatenate(rows)


def _write(
    output: Path, stems: list[str], blocks: Iterator[np.ndarray], rate: int, sample_format: SampleFormat, title: str,
    length: float,
) -> int:  # fmt: skip
    """Write the mix and the stems of (outputs, n, 2) blocks; returns the number of frames."""
    frames = 0
    with contextlib.ExitStack() as open_files, _progress() as bar:
        mix = open_files.enter_context(_sound_file(output, rate, sample_format))
        apart = [open_files.enter_context(_sound_file(beside(output, name), rate, sample_format)) for name in stems]
        task = bar.add_task(escape(title), total=max(length, 0.01))
        for block in blocks:
            try:
                mix.write(mixed(block))
                for file, sound in zip(apart, block, strict=False):
                    file.write(sound)
            except (OSError, RuntimeError) as error:
                fail(f"cannot write {output}: {error}")
            frames += block.shape[1]
            bar.update(task, completed=min(frames / rate, length))
        bar.update(task, completed=length or 0.01)
    return frames


@app.command("play-log")
def play_log(
    log: Annotated[Path, typer.Argument(help="A .jxlog: what crossed the wire.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV or FLAC file to write.")],
    machine: Annotated[
        MachineName | None, typer.Option(help="Whose boards hear it; default: superjx if it has two, else jx8p.")
    ] = None,
    start: Annotated[float, typer.Option(min=0.0, help="Seconds of the log to leave out of the file.")] = LEAD_IN,
    rate: Rate = 48_000,
    sample_format: Format = SampleFormat.PCM_24,
    seed: Seed = 0,
    unit: UnitFile = None,
    oversample: Quality = 4,
    seconds: Length = None,
    stems: Apart = None,
) -> None:
    """Let the bytes of a log arrive again and write the sound.

    A log of ``jxemu render`` begins before the song, while the boards start; --start 0 keeps that too.
    """
    _finite(seconds)
    try:
        arrivals = load_log(log)
        events = Decoder().feed(byte for _, byte in arrivals)
        two = any(boards in (LOWER, UPPER) for _, boards, *_ in events)
        kind = machine.value if machine else "superjx" if two else "jx8p"
        instrument = Machine(
            kind, Machine.circuit_of(unit, seed=seed), rate, oversample, apart=stems is StemsName.voice, boot=False
        )
        replay(arrivals, instrument.link)
    except (LogError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {log}: {error.strerror}")
    last = max((at for at, _ in arrivals), default=0) / CYCLES_PER_SECOND
    if not start <= max(last, LEAD_IN):
        fail(f"--start {start:g} is beyond the end of {log}, which is {last:.2f} s long")
    length = seconds if seconds is not None else max(0.0, last - start)
    blocks = render_blocks(instrument, [], seconds, lead_in=start, last=last)
    made = _write(output, instrument.outputs if stems else [], blocks, rate, sample_format, log.name, length)
    typer.echo(f"{output}: {made / rate:.1f} s, {rate} Hz, {len(arrivals)} bytes of {log}")


@contextlib.contextmanager
def _sound_file(path: Path, rate: int, sample_format: SampleFormat) -> Iterator:
    """A sound file that gets its name only when it is whole."""
    import soundfile

    kind = path.suffix.lower().lstrip(".")
    if kind not in ("wav", "flac"):
        fail(f"cannot write {path}: the name must end in .wav or .flac")
    if kind == "flac" and sample_format is SampleFormat.FLOAT:
        fail(f"cannot write {path}: FLAC holds 16 or 24 bits, not float")
    with whole_file(path) as part:
        try:
            with soundfile.SoundFile(str(part), "w", rate, 2, sample_format.name, format=kind.upper()) as file:
                yield file
        except soundfile.SoundFileError as error:
            fail(f"cannot write {path}: {error}")


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


def _write_log(instrument: Machine, path: Path) -> None:
    with whole_file(path) as part:
        save_log(instrument.link, part)


_STOPPED = 130
"""What typer makes of Ctrl-C, without a word."""


def _stopping(before: Callable[["sys.UnraisableHookArgs"], object]) -> Callable[["sys.UnraisableHookArgs"], object]:
    """The hook `before`, but for a Ctrl-C: one that comes within a weakref's callback or a `__del__` Python swallows."""

    def again() -> None:
        time.sleep(0.01)  # until the callback is over, in which it would be swallowed again
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def hook(ignored: "sys.UnraisableHookArgs") -> None:
        if ignored.exc_type is KeyboardInterrupt:
            _thread.start_new_thread(again, ())  # `threading` takes locks, which a callback may have come between
        else:
            before(ignored)

    return hook


def main() -> None:
    """Entry point; ends with exit code 2 and one sentence on bad input, with 130 and a word when it is stopped."""
    # At its end Python looks for garbage among all that was imported, which the process's end frees anyway:
    # a second of a command that has PyTorch or SciPy.
    atexit.register(gc.freeze)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold what the terminal's encoding does not
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.unraisablehook = _stopping(sys.unraisablehook)
    try:
        app()
    except SystemExit as end:
        if end.code == _STOPPED:
            say("jxemu: stopped")
        raise
