"""``jxemu play`` and ``jxemu devices``: the instrument at the sound card, and what there is to play on."""

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from jxemu.app.board import linked_boards
from jxemu.app.files import can_write, console, fail, read_bank, say
from jxemu.app.home import home
from jxemu.app.options import (
    RATES,
    BankFile,
    Cartridge,
    ControlChannel,
    LowerChannel,
    MachineName,
    Pace,
    PaceName,
    PatchName,
    Priority,
    PriorityName,
    Quality,
    Seed,
    Steal,
    StealName,
    ToneName,
    UnitFile,
    UpperChannel,
)  # fmt: skip
from jxemu.app.recorder import Recorder, new_take
from jxemu.app.sounds import chosen_sound, part_channels
from jxemu.machine import MACHINES, Machine
from jxemu.patch.factory import factory_bank
from jxemu.patch.memory import Memory, whole
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone

if TYPE_CHECKING:
    from jxemu.live.player import Player

AudioDriver = StrEnum("AudioDriver", {"jack": "jack", "portaudio": "portaudio", "none": "none"})

SWITCH_INTERVAL = 0.0005
"""Seconds a busy thread of Python may keep the others waiting; the default is 0.005."""

KEYS = "keys: n next, p previous, space panic, a arpeggiator, r record, q quit"
PORT = 8064


def devices() -> None:
    """List sound cards and MIDI ports, and what is missing."""
    from jxemu.live.audio import outputs
    from jxemu.live.midi import port_names

    found, missing = outputs()
    typer.echo("sound:" if found else "sound: none")
    for output in found:
        mark = "*" if output.chosen else " "
        name = "jack" if output.driver == "jack" else f"{output.name!r}"
        typer.echo(f" {mark} {output.driver:10} {name}, {output.host}, {output.rate} Hz")
    inputs, outs, lacking = port_names()
    for title, names in (("MIDI in", inputs), ("MIDI out", outs)):
        typer.echo(f"{title}:" if names else f"{title}: none plugged in")
        for name in names:
            typer.echo(f"   {name}")
    for sentence in dict.fromkeys(missing + lacking):
        typer.echo(f"! {sentence}")
    if found:
        typer.echo("* plays by default; choose with jxemu play --audio jack|portaudio|none --device NAME")


def play(
    bank: BankFile = None,
    cartridge: Cartridge = None,
    tone: ToneName = None,
    patch: PatchName = None,
    machine: Annotated[MachineName, typer.Option(help="Which instrument.")] = MachineName.superjx,
    audio: Annotated[AudioDriver | None, typer.Option(help="Default: JACK where it runs, else PortAudio.")] = None,
    device: Annotated[str | None, typer.Option(help="Sound card of PortAudio: part of its name, or number.")] = None,
    rate: Annotated[int | None, typer.Option(help=f"Sample rate, {RATES}.")] = None,
    block: Annotated[int, typer.Option(min=0, max=8192, help="Frames a block; 0: as the card likes.")] = 128,
    midi: Annotated[list[str] | None, typer.Option(help="Part of a MIDI input's name; repeat. Default: all.")] = None,
    midi_out: Annotated[
        str | None, typer.Option(help="Part of a MIDI output's name; default: a port of our own.")
    ] = None,
    send_edits: Annotated[
        bool, typer.Option("--send-edits", help="Send every edit as sysex (IPR) to MIDI OUT.")
    ] = False,
    upper_channel: UpperChannel = None,
    lower_channel: LowerChannel = None,
    control_channel: ControlChannel = None,
    panel: Annotated[bool, typer.Option("--panel/--no-panel", help="The panel in the browser.")] = True,
    host: Annotated[
        str, typer.Option(help="Address of the panel; others than 127.0.0.1 let the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the panel; 0: any that is free.")] = PORT,
    board: Annotated[
        str | None,
        typer.Option(help="Serial port of real sound boards, which play too; rig:PORT behind a capture rig."),
    ] = None,
    tune_up: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds that real boards need after power-on before they can play.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="WAV file to record the whole session to.")] = None,
    jxlog: Annotated[Path | None, typer.Option(help="At the end, write what crossed the wire.")] = None,
    takes: Annotated[Path, typer.Option(help="Folder for recordings made while playing.")] = Path("takes"),
    seed: Seed = 0,
    unit: UnitFile = None,
    oversample: Quality = 4,
    pace: Pace = PaceName.real,
    steal: Steal = StealName.oldest,
    priority: Priority = PriorityName.last,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop by itself after this time.")] = None,
) -> None:
    """Play the instrument: a MIDI keyboard, the sound card, and a panel in the browser."""
    memory = Memory(read_bank(bank) if bank else factory_bank(), read_bank(cartridge) if cartridge else None)
    channels = part_channels(upper_channel, lower_channel, control_channel)
    sound = chosen_sound(memory, tone, patch) if tone or patch else None
    sys.setswitchinterval(SWITCH_INTERVAL)

    from jxemu.live.audio import AudioError, Jack, Silent, open_output
    from jxemu.live.midi import Inputs, Learned, MidiError, OutputPort
    from jxemu.live.player import Player

    if board and pace is not PaceName.real:
        fail("real boards need --pace real: their wire carries 3125 bytes a second")
    boards = linked_boards(board, tune_up) if board else None

    def reopen() -> object:
        return open_output(audio and audio.value, device, rate, block, midi_out)

    try:
        driver = reopen()
    except AudioError as error:
        if audio or device:
            fail(str(error))
        say(f"no sound: {error}; the instrument runs without, and plays when a card is there")
        driver = Silent(rate, block)
    try:
        instrument = Machine(
            machine.value, Machine.circuit_of(unit, seed=seed), driver.rate, oversample, pace.value, memory, steal.value,
            priority.value,
        )  # fmt: skip
        instrument.load_patch(*(sound or _first(memory, machine.value)))
    except ValueError as error:
        driver.stop()
        fail(str(error))
    inputs = output = None
    try:
        own = isinstance(driver, Jack)  # then MIDI goes with the sound
        inputs = Inputs(midi, without_jack=own)
        if not own or (midi_out and not driver.midi_sinks()):
            output = OutputPort(midi_out, without_jack=own)
    except MidiError as error:
        if midi_out:
            driver.stop()
            fail(str(error))
        say(f"MIDI: {error}")
    try:
        learned = Learned(home() / "controllers.json")
    except MidiError as error:
        driver.stop()
        fail(str(error))
    try:
        player = Player(
            instrument, driver, None if audio is AudioDriver.none else reopen, inputs, output, learned, channels, say,
            boards,
        )  # fmt: skip
    except RuntimeError as error:  # numba is switched off
        driver.stop()
        fail(str(error))
    player.send_edits = send_edits
    _run(player, panel, host, port, record, jxlog, takes, seconds)


def _first(memory: Memory, kind: str) -> tuple[Patch, Tone | None]:
    """What plays if nothing was asked for: the first patch, on a JX-8P the first tone."""
    if len(MACHINES[kind]) == 2 and (patch := memory.patch(0)) and not memory.missing(patch):
        return patch, None
    tone = memory.jx8p_tone(0) or Tone()
    return whole(tone), tone


def _run(
    player: "Player", panel: bool, host: str, port: int, record: Path | None, jxlog: Path | None, takes: Path,
    seconds: float | None,
) -> None:  # fmt: skip
    """Play until somebody ends it; what was recorded is whole afterwards."""
    from jxemu.live.audio import AudioError

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    recorder = Recorder(player, lambda sentence: player.say(sentence))
    if jxlog:
        can_write(jxlog)
    try:
        player.start()
    except AudioError as error:
        fail(str(error))
    try:
        if record:
            recorder.start(record)
        with contextlib.ExitStack() as open_things:
            if panel:
                open_things.enter_context(_panel(player, recorder, takes, host, port))
            _announce(player)
            _terminal(player, recorder, takes, stop, seconds)
    except OSError as error:
        say(f"jxemu: {error}")
        raise typer.Exit(2) from None
    finally:
        player.close()
        taken = recorder.stop()
        _save_log(recorder, jxlog)
    if taken:
        say(f"{taken}: {recorder.frames / player.machine.sample_rate:.1f} s, from {recorder.began:.3f} s of the log on")


def _save_log(recorder: Recorder, jxlog: Path | None) -> None:
    if jxlog:
        try:
            recorder.save_log(jxlog)
        except OSError as error:
            fail(str(error))


def _panel(
    player: "Player", recorder: Recorder, takes: Path, host: str, port: int
) -> contextlib.AbstractContextManager:
    try:
        from jxemu.app.panel import Panel
    except ImportError as error:
        fail(f"the panel needs {error.name}, a part of the live extra: pip install 'jxemu[live]', or --no-panel")
    return Panel(player, recorder, takes, host, port)


def _announce(player: "Player") -> None:
    machine, status = player.machine, player.status()
    voices = 6 * len(MACHINES[machine.kind])
    say(f"{machine.kind}: {voices} voices, {status['rate']} Hz, {player.patch.name.strip()}")
    measured, said = player.measure(), "the card stands still"
    if not math.isnan(measured):
        own = player.driver.latency * 1000
        said = f"measured latency {measured * 1000:.1f} ms from key to plug ({own:.1f} ms of it the card's, by its own word)"
    say(f"sound: {player.driver.name}, blocks of {player.shared.word('block')}, {said}")
    if player.boards:
        say(f"boards: {player.boards.name}, {player.boards.state}; they play when they are tuned")
    say(f"MIDI in: {', '.join(player.input_names) or 'none'}; MIDI out: {player.output_name or 'none'}")


def _terminal(player: "Player", recorder: Recorder, takes: Path, stop: threading.Event, seconds: float | None) -> None:
    """A status line and keys where there is a terminal; otherwise wait for the end."""
    end = None if seconds is None else time.monotonic() + seconds
    line = console.status("", spinner="dots") if console.is_terminal else contextlib.nullcontext()
    with _keyboard() as key, line as status:
        if console.is_terminal and sys.stdin.isatty():
            say(KEYS)
        before = player.status()
        while not stop.is_set() and (end is None or time.monotonic() < end):
            if pressed := key(0.25):
                if pressed == "q":
                    return
                _pressed(pressed, player, recorder, takes)
            now = player.status()
            if status:
                status.update(_status_line(player, before, now, recorder))
            before = now


def _status_line(player: "Player", before: dict, now: dict, recorder: Recorder) -> str:
    played = (now["frames"] - before["frames"]) / now["rate"]
    load = (now["busy_ns"] - before["busy_ns"]) / 1e9 / played if played else 0.0
    words = [
        player.patch.name.strip(),
        f"load {load:4.0%}",
        f"late {now['late_blocks']}",
        f"xruns {now['xruns']}",
        f"worst {now['worst_ns'] / 1e6:.1f} ms",
        f"latency {now['latency'] * 1000:.1f} ms",
    ]
    words += [now["boards"]] if now["boards"] else []
    words += [f"arp {player.arpeggiator.mode}"] if player.arpeggiator.mode != "off" else []
    words += [f"recording {recorder.path}"] if recorder.running else []
    return escape(" | ".join(words))


def _pressed(key: str, player: "Player", recorder: Recorder, takes: Path) -> None:
    """Do what a key says; what cannot be done is said."""
    from jxemu.live.arpeggiator import MODES

    if key in ("n", "p"):
        player.step_program(1 if key == "n" else -1)
    elif key == " ":
        player.panic()
    elif key == "a":
        mode = MODES[(MODES.index(player.arpeggiator.mode) + 1) % len(MODES)]
        player.arpeggiate(mode=mode)
    elif key == "r" and recorder.running:
        say(f"recorded {recorder.stop()}")
    elif key == "r":
        try:
            recorder.start(new_take(takes))
        except OSError as error:
            say(str(error))


@contextlib.contextmanager
def _keyboard() -> Iterator[Callable[[float], str]]:
    """A function that waits some seconds for a key and gives it, or nothing."""
    if not sys.stdin.isatty():

        def wait(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield wait
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)

    def read(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return os.read(sys.stdin.fileno(), 1).decode("ascii", "ignore") if ready else ""

    try:
        yield read
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
