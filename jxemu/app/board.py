"""``jxemu board``: real sound boards on a serial port; which of them answer, and how they sound."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import numpy as np
import typer
from rich.progress import track

from jxemu import protocol
from jxemu.app.files import console, fail, say, whole_file
from jxemu.clock import CYCLES_PER_BYTE, CYCLES_PER_SECOND, note_hz
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone

if TYPE_CHECKING:
    from jxemu.bridge.capture import Bench, Patient, Take
    from jxemu.bridge.serial_link import SerialLink, Wire

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Real sound boards on a serial port.")

RIG = "rig:"
"""Before the name of a port: there is a capture rig at it, not the wire itself."""

PROBE = Tone("PROBE", vcf_freq=100, env2_a=0, env2_s=127, env2_r=0, mix_dco2=0, vca_level=127)
NOTE, VELOCITY = 57, 100
HOLD = 0.4
"""Seconds that a sweep holds its notes."""

QUIET_DB = 20.0
"""How far above the noise a board must sound to count as there."""

CARD_CHANNELS, CARD_RATE = 2, 48_000
"""Of a sound card, where nothing else is asked for."""

PortOption = Annotated[str, typer.Option("--port", help="Serial port of the boards; rig:PORT behind a capture rig.")]
CardOption = Annotated[
    str | None,
    typer.Option(
        "--card",
        help="Sound card that hears boards straight on a port, its last channel the wire; '' for the system's.",
    ),
]
ChannelsOption = Annotated[
    int | None, typer.Option(min=2, max=32, help=f"Channels of the card; default: {CARD_CHANNELS}.")
]
RateOption = Annotated[
    int | None, typer.Option(min=8000, max=192_000, help=f"Sample rate of the card; default: {CARD_RATE}.")
]
TuneUpOption = Annotated[float | None, typer.Option(min=0.0, help="Seconds that boards need after power-on.")]


def _missing(error: ImportError) -> NoReturn:
    fail(f"real boards need {error.name}, a part of the bridge extra: pip install 'jxemu[bridge]'")


def linked_boards(port: str, tune_up: float | None) -> "SerialLink":
    """Boards at a port, reachable; bytes go once the link is started. Ends the command if they cannot be reached."""
    try:
        from jxemu.bridge.rig import Rig
        from jxemu.bridge.serial_link import TUNE_UP, BoardError, SerialLink, Wire, open_port
        from jxemu.clock import BAUD
    except ImportError as error:
        _missing(error)

    def connect() -> "Wire | Rig":
        if port.startswith(RIG):
            return Rig.open(port.removeprefix(RIG))
        return Wire(open_port(port, BAUD))

    try:
        return SerialLink(connect, port, say, tune_up=TUNE_UP if tune_up is None else tune_up)
    except BoardError as error:
        fail(str(error))


def opened(port: str, card: str | None, channels: int | None, rate: int | None, tune_up: float | None) -> "Patient":
    """Boards that can be played and heard, through losses of the port. Ends the command if there are none."""
    try:
        from jxemu.bridge.capture import CaptureError, CardBench, Patient, RigBench
        from jxemu.bridge.card import CardRecorder
        from jxemu.bridge.serial_link import TUNE_UP, BoardError, Wire, open_port
        from jxemu.clock import BAUD
    except ImportError as error:
        _missing(error)
    if not port.removeprefix(RIG):
        fail("--port names no port; `jxemu board ports` lists those that are there")
    if port.startswith(RIG) and (card is not None or channels or rate):
        fail("a rig records by itself: leave out --card, --channels and --rate, or give the port of an adapter")
    if not port.startswith(RIG) and card is None:
        fail(f"nothing hears what boards at {port} play: give a sound card with --card, or a rig as --port rig:PORT")

    def connect() -> "Bench":
        if port.startswith(RIG):
            return RigBench(port.removeprefix(RIG))
        return CardBench(
            Wire(open_port(port, BAUD)),
            CardRecorder(card or None, rate or CARD_RATE, channels or CARD_CHANNELS),
            say=say,
        )

    try:
        return Patient(connect, lambda made: greeted(made, TUNE_UP if tune_up is None else tune_up), say)
    except (BoardError, CaptureError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{port} was lost ({error}); plug it in and start the command again")


def greeted(made: "Bench", tune_up: float) -> None:
    """Greet boards and wait until they are tuned."""
    from jxemu.bridge.serial_link import GREETING

    settle = CYCLES_PER_BYTE * len(GREETING) / CYCLES_PER_SECOND + tune_up
    with console.status("greeting the boards, waiting until they are tuned"):
        made.perform(arrivals([(0.0, GREETING)]), settle)


@contextlib.contextmanager
def bench(
    port: str, card: str | None, channels: int | None, rate: int | None, tune_up: float | None
) -> "Iterator[Patient]":
    """The same, closed at the end; takes that come to nothing end the command."""
    made = opened(port, card, channels, rate, tune_up)
    from jxemu.bridge.capture import CaptureError

    try:
        yield made
    except CaptureError as error:
        fail(str(error))
    finally:
        made.close()


def arrivals(wire: Sequence[tuple[float, bytes]]) -> list[tuple[int, int]]:
    """(cycle of its arrival, byte) of bytes that are sent at seconds."""
    found, free_at = [], 0
    for at, data in wire:
        for byte in data:
            free_at = max(free_at, round(at * CYCLES_PER_SECOND)) + CYCLES_PER_BYTE
            found.append((free_at, byte))
    return found


def whole_tone(select: int, tone: Tone) -> bytes:
    """All that a board must be told to play a tone."""
    p = protocol.parameter
    level = p(protocol.VCA_LEVEL, tone.vca_level) + p(protocol.VOLUME, 127)
    return bytes([select]) + tone.wire() + level + protocol.tuning(0x2C, 0x2C) + protocol.silence()


@app.command("ports")
def ports_() -> None:
    """List serial ports, and sound cards that can record."""
    try:
        from jxemu.bridge.capture import CaptureError
        from jxemu.bridge.card import inputs
        from jxemu.bridge.serial_link import ports
    except ImportError as error:
        _missing(error)
    found = ports()
    typer.echo("serial ports:" if found else "serial ports: none")
    for name, text in found:
        typer.echo(f"   {name}  {text}")
    try:
        cards = inputs()
    except CaptureError as error:
        typer.echo(f"! {error}")
        return
    typer.echo("cards that record:" if cards else "cards that record: none")
    for name, channels, rate in cards:
        typer.echo(f"   {name!r}, {channels} channels, {rate} Hz")


@dataclass(frozen=True)
class Heard:
    """A note as a board played it: level in dB, its pitch in Hz, milliseconds from its last byte until it sounded."""

    level: float
    hertz: float
    delay: float


def heard(take: "Take", started: float) -> Heard:
    """What is heard of a note whose last byte arrived at `started` seconds."""
    sound = take.sound.mean(1)
    sound = sound - sound.mean()  # what a rig's bias is off by is no sound
    begin = round(started * take.rate)
    part = sound[begin + take.rate // 20 : begin + take.rate // 4]
    level = 20 * np.log10(np.sqrt(np.square(part, dtype=float).mean()) + 1e-7)
    size = 1 << 20
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), size))
    after = np.abs(sound[begin:])
    onset = int(np.argmax(after > 0.1 * after.max(initial=1e-9)))
    return Heard(float(level), float(spectrum.argmax() * take.rate / size), 1000 * onset / take.rate)


def _played(made: "Patient", select: int, voice: int, tone: Tone, hold: float) -> "tuple[Take, float]":
    """A note of a tone, said in the same take: a board that was lost in between would not know it. And when it begins."""
    told = whole_tone(select, tone)
    begin = 0.05 + CYCLES_PER_BYTE * len(told) / CYCLES_PER_SECOND
    on, off = protocol.voice_on(voice, NOTE, VELOCITY), protocol.voice_off(voice, NOTE)
    take = made.perform(arrivals([(0.0, told), (begin, on), (begin + hold, off)]), begin + hold + 0.1)
    return take, begin + len(on) * CYCLES_PER_BYTE / CYCLES_PER_SECOND


@app.command()
def probe(
    port: PortOption, card: CardOption = None, channels: ChannelsOption = None, rate: RateOption = None, tune_up: TuneUpOption = None
) -> None:  # fmt: skip
    """Which boards answer, how late, and how each voice sounds."""
    with bench(port, card, channels, rate, tune_up) as made:
        typer.echo(_about(made))
        quiet = made.perform([], 0.3)
        noise = 20 * np.log10(quiet.sound.std(0, dtype=float).max() + 1e-7)
        typer.echo(f"noise: {noise:.1f} dB of full scale")
        answered = 0
        for name, select in (("lower", protocol.SELECT_LOWER), ("upper", protocol.SELECT_UPPER)):
            takes = [_played(made, select, voice, PROBE, 0.3) for voice in range(protocol.VOICES)]
            voices = [heard(*take) for take in takes]
            for n, (take, _) in enumerate(takes):
                for trouble in take.troubles:
                    say(f"{name} board, voice {n + 1}: {trouble}")
            there = [voice for voice in voices if voice.level > noise + QUIET_DB]
            answered += len(there)
            if not there:
                typer.echo(f"{name} board: does not answer")
                continue
            delay = np.median([voice.delay for voice in there])
            typer.echo(f"{name} board: {len(there)} of 6 voices answer, {delay:.1f} ms after the byte")
            for n, voice in enumerate(voices):
                cents = 1200 * np.log2(max(voice.hertz, 1.0) / note_hz(NOTE))
                text = f"{voice.level:6.1f} dB, {voice.hertz:.2f} Hz ({cents:+.1f} cent), {voice.delay:.1f} ms"
                typer.echo(f"   voice {n + 1}: {text if voice in there else 'silent'}")
        if not answered:
            fail("no board answers: is it powered, is its RX on the adapter's TX at 5 V, is the output in the input?")


def _about(made: "Patient") -> str:
    from jxemu.bridge.capture import RigBench

    made.perform([], 0.1)
    if not isinstance(made.bench, RigBench):
        return f"heard by a sound card at {made.rate} Hz, {made.channels} channels and the wire"
    there, faults = made.bench.rig.welcome, made.bench.rig.faults
    fed = f"feeds {there.clock_hz / 1e6:g} MHz" if there.clock_hz else "feeds no clock"
    return (
        f"rig {there.name}: {there.rate} Hz, {there.channels} channels of {there.bits} bits, {fed}; "
        f"frames broken {faults.bad_here + faults.bad_there}, sent again {faults.again}, samples lost {faults.missing}"
    )


@app.command()
def sweep(
    parameter: Annotated[str, typer.Argument(help=f"One of {', '.join(PARAMETERS)}.")],
    port: PortOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Picture of level and brightness by value.")],
    step: Annotated[int, typer.Option(min=1, max=64, help="Between values.")] = 8,
    upper: Annotated[bool, typer.Option("--upper/--lower", help="Which board.")] = False,
    card: CardOption = None, channels: ChannelsOption = None, rate: RateOption = None, tune_up: TuneUpOption = None,
) -> None:  # fmt: skip
    """Hold a note at values of one parameter (a switch: at each position): how loud and how bright it is."""
    if parameter not in PARAMETERS:
        fail(f"there is no parameter {parameter!r}; there are {', '.join(PARAMETERS)}")
    if output.suffix.lower() not in (".png", ".pdf", ".svg") or not output.resolve().parent.is_dir():
        fail(f"cannot write {output}: the name must end in .png, .pdf or .svg, in a folder that is there")
    row = PARAMETERS[parameter]
    values = range(row.top + 1) if row.labels else sorted({*range(0, row.top + 1, step), row.top})
    select = protocol.SELECT_UPPER if upper else protocol.SELECT_LOWER
    rows = []
    with bench(port, card, channels, rate, tune_up) as made:
        from jxemu.bridge.capture import SILENT

        for value in track(values, f"sweeping {parameter}", console=console):
            tone = audible(parameter).replace(**{parameter: value})
            take, begin = _played(made, select, 0, tone, HOLD)
            rows.append((value, heard(take, begin).level, _centre(take, begin)))
            typer.echo(f"{value:4d}  {rows[-1][1]:7.1f} dB  {rows[-1][2]:8.0f} Hz")
            for trouble in take.troubles:
                if not trouble.startswith(SILENT):  # a value may well silence it
                    say(f"at {value}: {trouble}")
    levels, centres = np.array(rows)[:, 1], np.array(rows)[:, 2]
    if np.ptp(levels) < 0.5 and centres.max() < 1.02 * centres.min():
        say(
            f"nothing changes: what {parameter} does is not heard in a held note of {HOLD:g} s, or this board ignores it"
        )
    _draw(parameter, rows, output)


def audible(parameter: str) -> Tone:
    """A tone in which a parameter, where a held note can tell of it at all, is heard."""
    changes: dict[str, int] = {}
    if parameter.startswith(("dco2_", "mix_")) or parameter == "dco_xmod":
        changes |= {"mix_dco1": 0, "mix_dco2": 64 if parameter.startswith("mix_") else 100}
    if parameter in ("mix_dyn", "mix_mode"):
        changes |= {"mix_env": 100}
    if parameter in ("dco_dyn", "dco_mode"):
        changes |= {"dco1_env": 64}
    if parameter.startswith("lfo_"):
        changes |= {"vcf_freq": 60, "vcf_lfo": 100, "lfo_rate": 100}
    if parameter.startswith("env1_") or parameter in ("vcf_dyn", "vcf_mode"):
        changes |= {"vcf_freq": 40, "vcf_env": 100, "vcf_mode": 3, "env1_a": 30, "env1_d": 40, "env1_s": 64}
    return PROBE.replace(**changes)


def _centre(take: "Take", begin: float) -> float:
    part = take.sound.mean(1)[round((begin + 0.05) * take.rate) : round((begin + 0.35) * take.rate)]
    power = np.square(np.abs(np.fft.rfft((part - part.mean()) * np.hanning(len(part)))))
    return float((power * np.fft.rfftfreq(len(part), 1 / take.rate)).sum() / max(power.sum(), 1e-20))


def _draw(parameter: str, rows: Sequence[tuple[int, float, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    values, levels, centres = zip(*rows, strict=True)
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(values, levels, "o-", color="#1f5f8b")
    above.set_ylabel("level, dB")
    below.plot(values, centres, "o-", color="#c2571a")
    below.set_ylabel("centre of spectrum, Hz")
    below.set_yscale("log")
    below.set_xlabel(parameter)
    with whole_file(path) as part:
        figure.savefig(part, dpi=100)
