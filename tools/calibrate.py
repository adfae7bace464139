"""The calibration kit: a sequence that shows one circuit at a time, and tables of what a recording of it says.

    python tools/calibrate.py generate -o kit                 # kit/sequence.jxlog, kit/sequence.json
    jxemu capture kit/sequence.jxlog -o kit/mine.wav --port rig:/dev/ttyACM0
    python tools/calibrate.py render kit -o kit/model.wav     # what the model makes of it
    python tools/calibrate.py analyse kit kit/mine.wav        # kit/mine.json, kit/mine.md and a picture a step
    python tools/compare.py kit/mine.json kit/model.json      # side by side

A recording begins with the sequence's time 0, as `jxemu capture` and `render` write it. Every step names the open question
of firmware_notes/open_questions.md that it settles, or helps to. Needs ``pip install 'jxemu[listen,bridge]'``.

Limits: one board, voice 1. Fitting the tables to a unit's circuit file is not there yet.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import soundfile
import typer
from matplotlib.figure import Figure
from rich.progress import track
from scipy import optimize, signal

from jxemu import JX8P, Tone, protocol
from jxemu.app.board import arrivals, whole_tone
from jxemu.bridge.serial_link import GREETING
from jxemu.clock import CYCLES_PER_BYTE, CYCLES_PER_SECOND, note_hz
from jxemu.link import format_log, load_log, replay
from jxemu.patch.parameter import CHORUSES, HPFS, RANGES

matplotlib.use("Agg")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=__doc__)

VERSION = 1
RATE = 48_000
START = 0.5
"""Seconds before the first shot, in which the board is greeted."""

TOLD = 0.12
"""Seconds that a tone takes on the wire, and a little for the program's loop."""

PIECES = 8
"""Parts of a shot that are measured apart: their scatter is the error bar."""

SAW = Tone(
    "SAW", dco1_wave="saw", mix_dco1=127, mix_dco2=0, vcf_freq=127, vca_level=127, env2_a=0, env2_s=127, env2_r=0
)
NOISE = SAW.replace(dco1_wave="noise")
SPREAD = (*range(0, 128, 16), 127)
SLOW = 40.0
"""Hz: modulations are below, notes above."""

SILENT_DB = -120.0


@dataclass(frozen=True)
class Shot:
    """A note of a step: the value that is shown, its tone, key, how long the key is down and how long it is heard.

    ratio : of the pitch that is expected to the key's.  controls : parameters beside the tone's, by number.
    """

    value: float
    tone: Tone
    note: int = 57
    hold: float = 0.6
    seconds: float = 0.7
    controls: tuple[tuple[int, int], ...] = ()
    ratio: float = 1.0


@dataclass(frozen=True)
class Row:
    """What a recording says about a value: measured, and its standard error."""

    value: float
    measured: float
    error: float


Measure = Callable[..., tuple[float, float]]
"""Of the sound of a shot from its key on, its rate, the shot (and the first shot's sound): what is measured, and its standard error."""


@dataclass(frozen=True)
class Step:
    """One circuit, shown at several values.

    unit : of what is measured.  question : what it settles (open_questions.md), empty for a known law.
    over : what the values are.  relative : levels are given beside the last shot's.  logarithmic : how it is drawn.
    beside_first : shots are measured beside the first one, which is none of its own.  released : they are measured from
    when the key is let go on.  left : on the left channel alone.
    """

    about: str
    unit: str
    over: str
    question: str
    shots: Sequence[Shot]
    measure: Measure
    relative: bool = False  # to the last shot's
    logarithmic: bool = False
    beside_first: bool = False
    released: bool = False
    left: bool = False


# --- measures ------------------------------------------------------------------------------------


def _pieces(sound: np.ndarray, rate: int, begin: float, end: float) -> np.ndarray:
    part = sound[round(begin * rate) : round(end * rate)]
    size = len(part) // PIECES
    return part[: size * PIECES].reshape(PIECES, size)


def _estimate(values: np.ndarray) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def level(sound: np.ndarray, rate: int, shot: Shot) -> tuple[float, float]:
    """RMS in dB of full scale while the key is down."""
    power = np.square(_pieces(sound, rate, 0.15, shot.hold)).mean(1)
    mean = float(power.mean())
    if mean < 10 ** (SILENT_DB / 10):
        return SILENT_DB, 0.0
    return 10 * float(np.log10(mean)), float(4.343 * power.std(ddof=1) / np.sqrt(PIECES) / mean)


def pitch(sound: np.ndarray, rate: int, shot: Shot) -> tuple[float, float]:
    """Cents from the key's pitch, by the phase of the fundamental."""
    part, expected = sound[round(0.1 * rate) : round(shot.hold * rate)], note_hz(shot.note) * shot.ratio
    hertz = _fundamental(part, rate, expected)
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(part)) / rate)
    size = len(part) // PIECES
    phases = np.array(
        [
            (part[n * size : (n + 1) * size] * turns[n * size : (n + 1) * size] * np.hanning(size)).sum()
            for n in range(PIECES)
        ]
    )
    steps = np.angle(phases[1:] / phases[:-1]) / (2 * np.pi * size / rate)
    cents = 1200 * np.log2((hertz + steps) / expected)
    return _estimate(cents)


def _fundamental(part: np.ndarray, rate: int, expected: float) -> float:
    """The strongest partial within half an octave of what is expected."""
    size = 1 << int(np.ceil(np.log2(4 * len(part))))
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), size))
    first, last = (round(expected * share * size / rate) for share in (0.71, 1.41))
    top = first + int(np.argmax(spectrum[first:last]))
    return _refined(spectrum, top) * rate / size


def _refined(spectrum: np.ndarray, top: int) -> float:
    """A peak's place between bins, by the parabola through its logarithms."""
    a, b, c = np.log(spectrum[top - 1 : top + 2] + 1e-12)
    return top + 0.5 * (a - c) / (a - 2 * b + c)


def duty(sound: np.ndarray, rate: int, shot: Shot) -> tuple[float, float]:
    """Duty of a pulse in %, by its second partial beside the first: cos(pi duty)."""
    found = []
    for part in _pieces(sound, rate, 0.1, shot.hold):
        hertz = _fundamental(part, rate, note_hz(shot.note))
        turns = [
            np.abs((part * np.hanning(len(part)) * np.exp(-2j * np.pi * n * hertz * np.arange(len(part)) / rate)).sum())
            for n in (1, 2)
        ]
        found.append(100 * np.arccos(np.clip(turns[1] / turns[0], 0, 1)) / np.pi)
    return _estimate(np.array(found))


def peak(sound: np.ndarray, rate: int, shot: Shot) -> tuple[float, float]:
    """Centre of a resonance in Hz, on noise: a second-order peak fitted to the spectrum about its top."""
    found = []
    for part in sound[round(0.1 * rate) : round(shot.hold * rate)][
        : 4 * (round((shot.hold - 0.1) * rate) // 4)
    ].reshape(4, -1):
        hertz, power = signal.welch(part, rate, nperseg=min(16384, len(part)))
        smooth = np.convolve(power, np.ones(5) / 5, "same")
        top = 3 + int(np.argmax(smooth[3:]))
        near = (hertz > 0.7 * hertz[top]) & (hertz < 1.4 * hertz[top]) & (hertz > 0)

        def off(p: np.ndarray, at: np.ndarray, seen: np.ndarray) -> np.ndarray:
            ratio = at / np.exp(p[0])
            shape = p[1] - 20 * np.log10(np.abs(1 - ratio**2 + 1j * ratio * np.exp(p[2])) + 1e-9)
            return shape - seen

        begin = [np.log(hertz[top]), 10 * np.log10(smooth[top]) - 20, -2.0]
        seen = 10 * np.log10(power[near] + 1e-20)
        fitted = optimize.least_squares(off, begin, args=(hertz[near], seen), loss="soft_l1")
        found.append(np.exp(fitted.x[0]))
    return _estimate(np.array(found))


def corner(sound: np.ndarray, rate: int, shot: Shot, flat: np.ndarray) -> tuple[float, float]:
    """Corner of a first-order high pass in Hz, by the noise's spectrum beside that of the flat position."""
    found = []
    for a, b in zip(_pieces(sound, rate, 0.1, shot.hold), _pieces(flat, rate, 0.1, shot.hold), strict=True):
        hertz, seen = signal.welch(a, rate, nperseg=8192)
        _, beside = signal.welch(b, rate, nperseg=8192)
        near = (hertz > 15) & (hertz < 3000)
        ratio, at = seen[near] / beside[near], hertz[near]

        def off(p: np.ndarray, at: np.ndarray = at, ratio: np.ndarray = ratio) -> np.ndarray:
            return np.log(1 / (1 + (np.exp(p[0]) / at) ** 2)) + p[1] - np.log(ratio)

        found.append(np.exp(optimize.least_squares(off, [np.log(200.0), 0.0], loss="soft_l1").x[0]))
    return _estimate(np.array(found))


def _course(sound: np.ndarray, rate: int, step: float) -> np.ndarray:
    size = round(step * rate)
    count = len(sound) // size
    return np.sqrt(np.square(sound[: count * size]).reshape(count, size).mean(1))


def attack(sound: np.ndarray, rate: int, shot: Shot) -> tuple[float, float]:
    """Seconds from the first sound to 90 % of the top; a linear rise takes a ninth more in all."""
    step = 0.004
    course = _course(sound, rate, step)
    top = course.max()
    begin, end = (float(np.argmax(course > share * top)) for share in (0.05, 0.9))
    return (end - begin) * step / 0.85, 2 * step


def fall(sound: np.ndarray, rate: int, shot: Shot) -> tuple[float, float]:
    """Time constant in seconds of an exponential fall from the key on (or off), by a line through 3 to 25 dB below the top."""
    step = 0.01
    course = 20 * np.log10(_course(sound, rate, step) + 1e-9)
    top = course.max()
    first = int(np.argmax(course))
    after = course[first:]
    lower = np.flatnonzero(after < top - 3)
    if not len(lower):
        return float("nan"), float("nan")
    begin = int(lower[0])
    ends = np.flatnonzero(after < top - 25)
    end = int(ends[0]) if len(ends) else len(after)
    if end - begin < 4:
        return float("nan"), float("nan")
    at = np.arange(begin, end) * step
    line, spread = (
        np.polyfit(at, after[begin:end], 1, cov=end - begin > 5)
        if end - begin > 5
        else (np.polyfit(at, after[begin:end], 1), None)
    )
    tau = -8.686 / line[0]
    return float(tau), float(abs(tau / line[0]) * np.sqrt(spread[0, 0])) if spread is not None else step


def swing(sound: np.ndarray, rate: int, shot: Shot) -> tuple[float, float]:
    """Rate in Hz of a slow modulation, by the course of the level."""
    low = signal.butter(4, SLOW, fs=rate, output="sos")
    course = signal.sosfiltfilt(low, np.square(sound[round(0.2 * rate) : round(shot.hold * rate)]))[:: rate // 200]
    course = np.sqrt(np.maximum(course, 0))
    seconds, size = len(course) / 200, 1 << 18
    spectrum = np.abs(np.fft.rfft((course - course.mean()) * np.hanning(len(course)), size))
    least = int(1.5 / seconds * size / 200)
    top = least + int(np.argmax(spectrum[least : round(SLOW * size / 200)]))
    return _refined(spectrum, top) * 200 / size, 0.02 / seconds


# --- steps ---------------------------------------------------------------------------------------


def _levels(name: str, tone: Tone, values: Sequence[int] = SPREAD) -> list[Shot]:
    return [Shot(value, tone.replace(**{name: value})) for value in values]


_SWEPT = SAW.replace(vcf_freq=64, vcf_lfo=60, lfo_wave="square", lfo_delay=0)
_CUTOFFS = range(40, 112, 8)

STEPS: dict[str, Step] = {
    "pitch": Step(
        "DCO1 over the keyboard at 8'", "cents", "note", "",
        [Shot(note, SAW, note, 0.8, 0.9) for note in range(36, 97, 12)], pitch,
    ),
    "ranges": Step(
        "DCO1's ranges", "cents", "ratio", "range-prescaler",
        [
            Shot(ratio, SAW.replace(dco1_range=RANGES[n]), 60, 0.8, 0.9, ratio=ratio)
            for n, ratio in enumerate((0.5, 1.0, 2.0, 4.0))
        ],
        pitch,
    ),
    "level": Step(
        "level of a saw over the keyboard", "dB", "note", "range-prescaler",
        [Shot(note, SAW, note) for note in range(36, 97, 12)], level,
    ),
    "duty": Step("duty of the pulse", "%", "note", "pulse-duty", [Shot(45, SAW.replace(dco1_wave="pulse"), 45)], duty),
    "noise": Step("level of noise beside a saw", "dB", "0: saw, 1: noise", "noise-source", [Shot(0, SAW), Shot(1, NOISE)], level),
    "mixer": Step("the mixer's law", "dB", "mix_dco1", "mixer-level", _levels("mix_dco1", SAW.replace(vcf_freq=90)), level, relative=True),
    "vca": Step("VCA level's law", "dB", "vca_level", "vca-law", _levels("vca_level", SAW), level, relative=True),
    "volume": Step(
        "volume's law", "dB", "volume", "vca-law",
        [Shot(value, SAW, controls=((protocol.VOLUME, value),)) for value in SPREAD], level, relative=True,
    ),
    "cutoff": Step(
        "cutoff by its resonance on noise", "Hz", "vcf_freq", "vcf-scale",
        [Shot(value, NOISE.replace(vcf_freq=value, vcf_res=127, mix_dco1=40), hold=2.1, seconds=2.2) for value in _CUTOFFS],
        peak, logarithmic=True,
    ),
    "keyfollow": Step(
        "cutoff by the key at full key follow", "Hz", "note", "vcf-scale",
        [Shot(note, NOISE.replace(vcf_freq=70, vcf_res=127, vcf_key=106, mix_dco1=40), note, 2.1, 2.2) for note in (36, 48, 60, 72, 84)],
        peak, logarithmic=True,
    ),
    "hpf": Step(
        "corners of the high pass", "Hz", "position", "hpf-corners",
        [Shot(n, NOISE.replace(hpf=HPFS[n], mix_dco1=100), hold=4.0, seconds=4.1) for n in range(4)], corner, logarithmic=True,
        beside_first=True,
    ),
    "attack": Step(
        "ENV2's attack", "s", "env2_a", "env-times",
        [Shot(value, SAW.replace(env2_a=value), hold=hold, seconds=hold + 0.1) for value, hold in ((16, 0.5), (48, 1.0), (80, 3.0), (100, 5.0))],
        attack, logarithmic=True,
    ),
    "decay": Step(
        "ENV2's decay", "s", "env2_d", "env-times",
        [Shot(value, SAW.replace(env2_d=value, env2_s=0), hold=hold, seconds=hold) for value, hold in ((32, 0.6), (48, 1.0), (64, 2.0), (80, 4.0))],
        fall, logarithmic=True,
    ),
    "release": Step(
        "ENV2's release", "s", "env2_r", "env-times",
        [Shot(value, SAW.replace(env2_r=value), hold=0.3, seconds=0.3 + hold) for value, hold in ((32, 0.6), (48, 1.0), (64, 2.0), (80, 4.0))],
        fall, logarithmic=True, released=True,
    ),
    "lfo": Step(
        "LFO's rate", "Hz", "lfo_rate", "lfo-rates",
        [Shot(value, _SWEPT.replace(lfo_rate=value), hold=hold, seconds=hold + 0.1) for value, hold in ((32, 12.0), (48, 8.0), (64, 6.0), (96, 3.0), (127, 2.0))],
        swing, logarithmic=True,
    ),
    "chorus": Step(
        "the chorus's rates", "Hz", "mode", "chorus-rates",
        [Shot(n, SAW.replace(chorus=CHORUSES[n], vcf_freq=70), 45, 12.0, 12.1) for n in (1, 2)], swing, left=True,
    ),
    "floor": Step("noise without a note", "dB", "", "noise-floor", [Shot(0, SAW.replace(mix_dco1=0))], level),
}  # fmt: skip
"""By name."""


# --- generate ------------------------------------------------------------------------------------


def sequence(names: Sequence[str]) -> tuple[list[tuple[int, int]], list[dict]]:
    """Arrivals of some steps, and where each shot's key goes down: ``step``, ``number``, ``at`` in seconds."""
    both = bytes([protocol.SELECT_BOTH])
    sent = [(0.0, GREETING)]
    rows, now = [], START
    for name in names:
        for number, shot in enumerate(STEPS[name].shots):
            controls = b"".join(protocol.parameter(*row) for row in shot.controls)
            sent.append((now, whole_tone(protocol.SELECT_BOTH, shot.tone) + controls))
            now += TOLD
            rows.append({"step": name, "number": number, "at": now})
            sent.append((now, both + protocol.voice_on(0, shot.note, 100)))
            sent.append((now + shot.hold, both + protocol.voice_off(0, shot.note)))
            now += shot.seconds
    return arrivals([*sent, (now, both + protocol.silence())]), rows


# --- analyse -------------------------------------------------------------------------------------


def analysed(sound: np.ndarray, rate: int, rows: Sequence[dict]) -> dict[str, list[Row]]:
    """Tables of the steps in a recording [shape=(n,) or (n, channels)]. Raises ValueError if it ends too early."""
    sound = sound[:, None] if sound.ndim == 1 else sound
    shots: dict[str, list[tuple[Shot, np.ndarray]]] = {}
    for row in rows:
        step = STEPS[row["step"]]
        shot = step.shots[row["number"]]
        begin = round(row["at"] * rate)
        end = begin + round(shot.seconds * rate)
        if end > len(sound):
            raise ValueError(f"the recording ends at {len(sound) / rate:.1f} s, in the middle of step {row['step']}")
        begin += round(shot.hold * rate) if step.released else 0
        part = sound[begin:end]
        shots.setdefault(row["step"], []).append((shot, part[:, 0] if step.left else part.mean(1)))
    tables = {}
    for name, pairs in shots.items():
        step = STEPS[name]
        beside = (pairs.pop(0)[1],) if step.beside_first else ()
        found = [Row(shot.value, *step.measure(part, rate, shot, *beside)) for shot, part in pairs]
        if step.relative:
            found = [Row(row.value, row.measured - found[-1].measured, row.error) for row in found]
        tables[name] = found
    return tables


def markdown(tables: dict[str, list[Row]], title: str) -> str:
    """Tables for people."""
    lines = [f"# {title}", ""]
    for name, rows in tables.items():
        step = STEPS[name]
        settles = f" Settles `{step.question}`." if step.question else ""
        lines += [f"## {name}", "", f"{step.about[0].upper()}{step.about[1:]}.{settles}", ""]
        lines += [f"| {step.over or 'value'} | {step.unit} | +- |", "|---|---|---|"]
        lines += [f"| {row.value:g} | {row.measured:.4g} | {row.error:.2g} |" for row in rows]
        lines += ["", f"![{name}]({name}.png)", ""] if len(rows) > 1 else [""]
    return "\n".join(lines)


def draw(name: str, rows: Sequence[Row], path: Path) -> None:
    """A step's table as a picture."""
    step = STEPS[name]
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axis = figure.subplots()
    axis.errorbar(
        [row.value for row in rows],
        [row.measured for row in rows],
        [row.error for row in rows],
        fmt="o-",
        color="#1f5f8b",
        capsize=3,
    )
    axis.set_yscale("log" if step.logarithmic else "linear")
    axis.set_xlabel(step.over)
    axis.set_ylabel(step.unit)
    axis.set_title(step.about)
    figure.savefig(path, dpi=100)


# --- commands ------------------------------------------------------------------------------------


def _fail(sentence: str) -> None:
    typer.echo(f"calibrate: {sentence}", err=True)
    raise typer.Exit(2)


def _read(kit: Path) -> list[dict]:
    try:
        there = json.loads((kit / "sequence.json").read_text())
        if there["version"] != VERSION:
            raise ValueError(f"version {there['version']}")
        return there["shots"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        _fail(f"{kit} holds no sequence ({error}); generate makes one")


@app.command()
def generate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the kit.")],
    step: Annotated[list[str] | None, typer.Option(help=f"Only these, of {', '.join(STEPS)}; repeat.")] = None,
) -> None:
    """Write the sequence: what a board is to play."""
    names = step or list(STEPS)
    if unknown := [name for name in names if name not in STEPS]:
        _fail(f"there is no step {unknown[0]!r}; there are {', '.join(STEPS)}")
    wire, shots = sequence(names)
    output.mkdir(parents=True, exist_ok=True)
    (output / "sequence.jxlog").write_text(format_log(wire, CYCLES_PER_BYTE))
    (output / "sequence.json").write_text(json.dumps({"version": VERSION, "shots": shots}, indent=1) + "\n")
    typer.echo(f"{output / 'sequence.jxlog'}: {len(names)} steps, {wire[-1][0] / CYCLES_PER_SECOND:.0f} s")


@app.command()
def render(
    kit: Annotated[Path, typer.Argument(help="Folder of the kit.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV file.")],
    seed: Annotated[int, typer.Option(min=0, help="The unit.")] = 0,
) -> None:
    """Let the model play the sequence."""
    _read(kit)
    wire = load_log(kit / "sequence.jxlog")
    machine = JX8P(seed, sample_rate=RATE, boot=False)
    replay(wire, machine.link)
    frames = round((wire[-1][0] / CYCLES_PER_SECOND + 0.1) * RATE)
    with soundfile.SoundFile(output, "w", RATE, 2, "FLOAT") as file:
        for begin in track(range(0, frames, RATE), "rendering"):
            file.write(machine.render(min(RATE, frames - begin)))
    typer.echo(f"{output}: {frames / RATE:.0f} s")


@app.command()
def analyse(
    kit: Annotated[Path, typer.Argument(help="Folder of the kit.")],
    recording: Annotated[Path, typer.Argument(help="Of the sequence, from its time 0.")],
) -> None:
    """Write tables of a recording, with error bars: JSON, Markdown and pictures beside it."""
    shots = _read(kit)
    try:
        sound, rate = soundfile.read(recording, always_2d=True)
        tables = analysed(sound, rate, shots)
    except (ValueError, soundfile.SoundFileError) as error:
        _fail(f"{recording}: {error}")
    pictures = recording.with_suffix("")
    pictures.mkdir(exist_ok=True)
    for name, rows in tables.items():
        draw(name, rows, pictures / f"{name}.png")
    text = markdown(tables, recording.name)
    (pictures / "README.md").write_text(text)
    plain = {name: [[row.value, row.measured, row.error] for row in rows] for name, rows in tables.items()}
    recording.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n")
    typer.echo(text)


if __name__ == "__main__":
    app()
