"""Sounds and pictures of every circuit, every factory tone and the key modes: ``python tools/listen.py [-o listen/] [--only NAME]``.

For each it writes NAME.wav (48 kHz, 24 bit) and NAME.png: waveform, spectrogram, what the firmware put on the
latch (voltages, pitches), and two measurements; a circuit with a law is drawn over that law (black, dashed).
Needs ``pip install 'jxemu[listen]'``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import soundfile
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.progress import track
from scipy import signal
from wire_trace import draw

from jxemu import Event, Patch, SuperJX, Tone, clock, render, trace
from jxemu.patch.factory import factory_bank
from jxemu.patch.parameter import CHORUSES, DYNAMICS, HPFS, LFO_WAVES, RANGES, WAVES
from jxemu.render.offline import LEAD_IN, mixed, render_blocks
from jxemu.render.score import Note, from_notes
from jxemu.soundboard.parts import value

matplotlib.use("Agg")

RATE = 48_000
FLOOR = -100.0
"""Bottom of every level axis, dB."""

COLOURS = matplotlib.colormaps["tab10"].colors
LAW = {"color": "black", "linestyle": "--", "linewidth": 1.0}


@dataclass(frozen=True)
class Take:
    """A performance and what its picture shows.

    excerpts : ``(seconds, label)`` of the waveforms drawn.  excerpt_seconds : their length.
    marks : frequencies in Hz drawn into the spectra.  measures : the two pictures in the last row.
    """

    about: str
    tone: Tone
    notes: Sequence[Note]
    seconds: float
    excerpts: Sequence[tuple[float, str]]
    events: Sequence[Event] = ()
    excerpt_seconds: float = 0.02
    marks: Sequence[float] = ()
    measures: "tuple[Measure, Measure] | None" = None


@dataclass(frozen=True)
class Sheet:
    """A take as played: float32 audio (n, 2), full scale 1, and the latch rows of `jxemu.trace`."""

    take: Take
    audio: np.ndarray
    rows: np.ndarray

    @property
    def seconds(self) -> np.ndarray:
        """Time of each latch row."""
        return self.rows["at_cycles"] / clock.CYCLES_PER_SECOND

    @property
    def voices(self) -> np.ndarray:
        """Numbers of the voices that sound."""
        return np.flatnonzero(self.rows["vca_cv"].any(axis=0))

    def part(self, at: float, length: float) -> np.ndarray:
        """The left channel from `at`, `length` seconds."""
        start = round(at * RATE)
        return self.audio[start : start + round(length * RATE), 0]

    def row_at(self, at: float) -> np.void:
        """The latch at a time in seconds."""
        return self.rows[np.searchsorted(self.seconds, at) - 1]


Measure = Callable[[Axes, Sheet], None]


def decibels(amplitude: np.ndarray) -> np.ndarray:
    """Amplitude ratios in dB, never below -300."""
    return 20 * np.log10(np.maximum(amplitude, 1e-15))


def in_turn(tones: Sequence[Tone], note: int, each: float, velocity: int = 100) -> tuple[list[Note], list[Event]]:
    """The same note with one tone after the other, `each` seconds apart and held for 3/4 of that."""
    notes = [(note, velocity, n * each + 0.02, 0.75 * each) for n in range(len(tones))]
    return notes, [Event(n * each, "tone", tone) for n, tone in enumerate(tones)]


def turn(name: str, values: Sequence[int | str], start: float, seconds: float) -> list[Event]:
    """A parameter turned through `values` from `start` on, evenly over `seconds`."""
    return [Event(start + n * seconds / len(values), "parameter", (name, v)) for n, v in enumerate(values)]


def pitch_of(rows: np.ndarray, dco: int) -> np.ndarray:
    """Pitch in Hz of each voice's DCO (0 or 1) from latch rows, last axis the six voices."""
    divide = (16.0 - rows["prescaler"][..., dco, None]) * rows["divisor"][..., dco, :]
    stretch = rows["dco2_clock"][..., None] / clock.UNITS_PER_CLOCK if dco else 1.0
    return clock.DCO_CRYSTAL_HZ / (divide * stretch)


# --- pictures every take has -----------------------------------------------------------------------


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels, and a light grid."""
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)


def legend_below(axes: Axes, columns: int) -> None:
    """A legend under the time axis, where it hides nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=columns, fontsize=8, frameon=False)


def frequency_axis(axes: Axes, low: float = 20.0, high: float = 20_000.0) -> None:
    """A logarithmic frequency axis in Hz, with plain numbers."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(lambda hz, _: f"{hz / 1000:g}k" if hz >= 1000 else f"{hz:g}")


def waveform(axes: Axes, sheet: Sheet) -> None:
    """The excerpts, one above the other, at one scale."""
    take = sheet.take
    parts = [sheet.part(at, take.excerpt_seconds) for at, _ in take.excerpts]
    height = 2.2 * max(max(np.abs(part).max() for part in parts), 1e-6)
    for n, part in enumerate(parts):
        milliseconds = np.arange(len(part)) * 1000 / RATE
        axes.plot(milliseconds, part - n * height, color=COLOURS[n % 10], linewidth=0.9)
    axes.set_yticks([-n * height for n in range(len(parts))], [name for _, name in take.excerpts])
    axes.set_ylim(-(len(parts) - 0.5) * height, 0.5 * height)
    label(axes, f"waveform, left; rows are {height:.2g} of full scale apart", "time in the excerpt / ms", "")


def spectrogram(axes: Axes, sheet: Sheet) -> None:
    """Level of both channels' mean against time and frequency, dB of a full-scale sine."""
    mono = sheet.audio.mean(axis=1)
    hz, seconds, power = signal.spectrogram(mono, RATE, "hann", 4096, 3584, scaling="spectrum")
    level = decibels(np.sqrt(2 * power))
    top = math.ceil(level.max() / 10) * 10
    image = axes.pcolormesh(seconds, hz[1:], level[1:], vmin=FLOOR, vmax=top, cmap="magma", rasterized=True)
    axes.set(yscale="log", ylim=(30, 20_000), title="spectrogram", xlabel="time / s", ylabel="frequency / Hz")
    axes.yaxis.set_major_formatter(lambda f, _: f"{f / 1000:g}k" if f >= 1000 else f"{f:g}")
    axes.figure.colorbar(image, ax=axes, label="level / dBFS", pad=0.01)


def voltages(axes: Axes, sheet: Sheet) -> None:
    """The latch's control voltages of the voices that sound, and the common ones."""
    voices = sheet.voices
    idle = sheet.rows["vca_cv"][:, voices] == 0
    columns = {
        "vca_cv": sheet.rows["vca_cv"][:, voices],
        "vcf_cv": np.where(idle, np.nan, sheet.rows["vcf_cv"][:, voices]),
        "mix_cv DCO1": np.where(idle, np.nan, sheet.rows["mix_cv"][:, 0, voices]),
        "mix_cv DCO2": np.where(idle, np.nan, sheet.rows["mix_cv"][:, 1, voices]),
        "resonance_cv": sheet.rows["resonance_cv"][:, None],
        "level_cv": sheet.rows["level_cv"][:, None],
    }
    for (name, column), colour in zip(columns.items(), COLOURS, strict=False):
        style = ":" if name in ("resonance_cv", "level_cv") else "-"
        lines = axes.step(sheet.seconds, column, where="post", color=colour, linewidth=1.1, linestyle=style)
        lines[0].set_label(name)
    axes.set(xlim=(0, sheet.take.seconds), ylim=(-100, 4300))
    legend_below(axes, 6)
    label(axes, "latch: control voltages of the sounding voices", "time / s", "DAC, 12 bits")


def pitches(axes: Axes, sheet: Sheet) -> None:
    """The latch's divisors and prescalers as pitches."""
    idle = sheet.rows["vca_cv"][:, sheet.voices] == 0
    for dco, style in ((0, "-"), (1, "--")):
        pitch = np.where(idle, np.nan, pitch_of(sheet.rows, dco)[:, sheet.voices])
        axes.step(sheet.seconds, pitch, where="post", color=COLOURS[dco], linestyle=style, linewidth=1.1)[0].set_label(
            f"DCO{dco + 1}"
        )
    axes.set(yscale="log", xlim=(0, sheet.take.seconds))
    low, high = axes.get_ylim()
    margin = max(1.1, 2.2 / math.sqrt(high / low))
    axes.set_ylim(low / margin, high * margin)
    plain = matplotlib.ticker.FuncFormatter(lambda hz, _: f"{hz:g}")
    axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter("")
    legend_below(axes, 2)
    label(axes, "latch: divisors as pitch", "time / s", "pitch / Hz")


def spectra(axes: Axes, sheet: Sheet) -> None:
    """Spectra of a sixth of a second from each excerpt on, dB of a full-scale sine."""
    for mark in sheet.take.marks:
        axes.axvline(mark, color="grey", linewidth=0.6, alpha=0.6)
    window = np.blackman(8192)
    for n, (at, name) in enumerate(sheet.take.excerpts):
        part = sheet.part(at, len(window) / RATE)
        level = decibels(2 * np.abs(np.fft.rfft(part * window[: len(part)])) / window.sum())
        hz = np.fft.rfftfreq(len(part), 1 / RATE)
        axes.plot(hz, level, color=COLOURS[n % 10], linewidth=0.7, alpha=0.8, label=name)
    axes.set_ylim(FLOOR, 0)
    frequency_axis(axes)
    axes.legend(loc="lower left", fontsize=8, ncol=2)
    label(axes, "spectra from each excerpt on", "frequency / Hz", "level / dBFS")


def levels(axes: Axes, sheet: Sheet) -> None:
    """Level of 10 ms of each channel against time."""
    frames = RATE // 100
    whole = len(sheet.audio) // frames * frames
    blocks = sheet.audio[:whole].astype(float).reshape(-1, frames, 2)
    rms = decibels(np.sqrt(np.square(blocks).mean(axis=1)))
    for channel, (name, style) in enumerate((("left", "-"), ("right", ":"))):
        axes.plot((np.arange(len(rms)) + 0.5) / 100, rms[:, channel], style, color=COLOURS[channel], label=name)
    axes.set(xlim=(0, sheet.take.seconds), ylim=(FLOOR, 0))
    axes.legend(loc="lower left", fontsize=8)
    label(axes, "level of 10 ms", "time / s", "RMS / dBFS")


# --- measurements of single circuits ---------------------------------------------------------------

QUIET_SAW = Tone(mix_dco1=2)
"""A saw small enough for the filter's OTAs to be linear."""

LOW_NOTE = 23
"""The lowest note whose count fits the 8253 at 8', 30.9 Hz: its harmonics sample a response closely."""


def harmonics(tone: Tone, at: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.void]:
    """``(Hz, complex amplitude)`` of the harmonics of the lowest note, one second from `at` on, and the latch."""
    held = [(LOW_NOTE, 100, 0.0, at + 1.1)]
    sound = render(tone, held, at + 1.0)[-RATE:, 0].astype(float)
    latch = trace(tone, held, at)[-1]
    pitch = pitch_of(latch, 0)[0]
    hz = pitch * np.arange(1, int(20_000 / pitch))
    return hz, np.fft.rfft(sound * np.hanning(RATE))[np.round(hz).astype(int)], latch


def filter_law(hz: np.ndarray, latch: np.void, voice: int = 0) -> np.ndarray:
    """|H| of the two damped sections for small signals, at what the latch says."""
    octaves = 4 * float(latch["vcf_cv"][voice]) / value("VCF_COUNTS_PER_OCTAVE")
    cutoff = min(value("VCF_BASE") * 2**octaves, value("VCF_TOP"))
    damping = value("Q_OPEN") * (value("Q_CLOSED") / value("Q_OPEN")) ** (float(latch["resonance_cv"]) / (127 << 5))
    w = hz / cutoff
    return 1 / np.abs(1 - w * w + 1j * damping * w) ** 2


def responses(axes: Axes, settings: Sequence[dict[str, int]]) -> None:
    """Small-signal responses of the filter: harmonics of a quiet saw against those with the filter open."""
    hz, source, latch = harmonics(QUIET_SAW)
    source = np.abs(source) / filter_law(hz, latch)
    for n, setting in enumerate(settings):
        _, out, latch = harmonics(QUIET_SAW.replace(**setting))
        name = ", ".join(f"{key} {number}" for key, number in setting.items())
        axes.plot(hz, decibels(np.abs(out) / source), ".", markersize=3, color=COLOURS[n], label=name)
        axes.plot(hz, decibels(filter_law(hz, latch)), **LAW)
    axes.set_ylim(FLOOR, 60)
    frequency_axis(axes)
    axes.legend(loc="lower left", fontsize=8)
    label(axes, "VCF, small signal: measured (dots), two SVF sections (dashed)", "frequency / Hz", "gain / dB")


def wave_law(wave: str, n: np.ndarray) -> np.ndarray:
    """Amplitude of the n-th harmonic of a wave of height 2."""
    duty = {"square": 0.5, "pulse": value("PULSE_DUTY")}
    return 4 * np.abs(np.sin(np.pi * n * duty[wave])) / (np.pi * n) if wave in duty else 2 / (np.pi * n)


def wave_harmonics(axes: Axes, sheet: Sheet) -> None:
    """Harmonics of the pitched waves of both DCOs, through the open filter, over their series."""
    reference = None
    for row, wave in enumerate(("saw", "square", "pulse")):
        for dco, marker in ((1, "."), (2, "x")):
            levels_of = {f"mix_dco{dco}": QUIET_SAW.mix_dco1, f"mix_dco{3 - dco}": 0, f"dco{dco}_wave": wave}
            hz, out, latch = harmonics(QUIET_SAW.replace(**levels_of))
            n = np.arange(1, len(hz) + 1)
            law = wave_law(wave, n) * filter_law(hz, latch)
            reference = np.abs(out[0]) / law[0] if reference is None else reference
            level = decibels(np.abs(out) / reference) - 30 * row
            shown = n <= 32
            name = f"DCO{dco} {wave}" + (f", {-30 * row} dB" if row else "")
            axes.plot(n[shown], level[shown], marker, markersize=5, color=COLOURS[row], label=name)
        axes.plot(n[shown], np.maximum(decibels(law[shown]), -60) - 30 * row, **LAW)
    axes.set_ylim(FLOOR, 5)
    legend_below(axes, 3)
    label(axes, "harmonics of a low note, series dashed", "number of the harmonic", "level / dB, waves 30 dB apart")


def cutoff_responses(axes: Axes, sheet: Sheet) -> None:
    """The filter at four cutoffs, without resonance and with much."""
    responses(axes, [{"vcf_freq": freq, "vcf_res": res} for res in (0, 100) for freq in (40, 60, 80, 100)])


def resonance_responses(axes: Axes, sheet: Sheet) -> None:
    """The filter at five resonances."""
    responses(axes, [{"vcf_freq": 72, "vcf_res": res} for res in (0, 32, 64, 96, 127)])


def cutoff_track(axes: Axes, sheet: Sheet) -> None:
    """Cutoff that the latch asks for, over the sound's spectral peak where the filter rings."""
    hz, seconds, power = signal.spectrogram(sheet.audio[:, 0], RATE, "hann", 4096, 3584)
    loudest = hz[np.argmax(power * np.square(hz)[:, None], axis=0)]
    sounding = power.max(axis=0) > 1e-14
    axes.plot(
        seconds[sounding],
        loudest[sounding],
        ".",
        markersize=4,
        color=COLOURS[1],
        label="loudest, the saw's 1/n taken off",
    )
    cutoff = value("VCF_BASE") * 2 ** (4 * sheet.rows["vcf_cv"][:, sheet.voices] / value("VCF_COUNTS_PER_OCTAVE"))
    axes.plot(sheet.seconds, np.minimum(cutoff, value("VCF_TOP")), **LAW)[0].set_label("cutoff by the latch")
    axes.set(yscale="log", xlim=(0, sheet.take.seconds), ylim=(20, 60_000))
    axes.legend(loc="upper left", fontsize=8)
    label(axes, "cutoff against the loudest frequency", "time / s", "frequency / Hz")


def noise_spectrum(axes: Axes, sheet: Sheet) -> None:
    """Density of the open noise against its one-pole law, which is fitted below 1 kHz."""
    hz, power = signal.welch(sheet.part(0.3, 2.5), RATE, nperseg=8192)
    level = 10 * np.log10(np.maximum(power, 1e-20))
    law = -10 * np.log10(1 + (hz / value("NOISE_LOWPASS")) ** 2)
    low = (hz > 100) & (hz < 1000)
    axes.plot(hz, level, linewidth=0.8, label="measured")
    axes.plot(hz, law + (level - law)[low].mean(), **LAW, label=f"one pole at {value('NOISE_LOWPASS'):g} Hz")
    axes.set_ylim(FLOOR - 20, level.max() + 10)
    frequency_axis(axes)
    axes.legend(loc="lower left", fontsize=8)
    label(axes, "noise, filter open", "frequency / Hz", "density / dBFS per Hz")


LEVEL_STEPS = (*range(0, 128, 8), 127)
LEVEL_EACH = 0.25


def level_law(axes: Axes, sheet: Sheet) -> None:
    """Level of each step against the exponential law of the amplifier."""
    unity, span = value("VCA_LEVEL_UNITY"), 10 ** (value("VCA_LEVEL_RANGE") / 20)
    middles = [(n + 0.5) * LEVEL_EACH for n in range(len(LEVEL_STEPS))]
    measured = np.array([np.sqrt(np.square(sheet.part(at, 0.1)).mean()) for at in middles])
    cv = np.array([sheet.row_at(at)["level_cv"] for at in middles], float)
    law = (span ** (cv / unity) - 1) / (span - 1)
    axes.plot(LEVEL_STEPS, decibels(measured / measured[-1]), "o", label="measured")
    axes.plot(LEVEL_STEPS, decibels(law / law[-1]), **LAW, label="law")
    axes.set(ylim=(FLOOR / 2, 5))
    axes.legend(loc="lower right", fontsize=8)
    label(axes, "VCA level (0 is silent)", "vca_level", "level against 127 / dB")


VELOCITIES = (1, 16, 32, 48, 64, 80, 96, 112, 127)
DYNAMICS_EACH = 0.15


def dynamics_law(axes: Axes, sheet: Sheet) -> None:
    """Level of each velocity against the owner's manual's curves."""
    for code in range(len(DYNAMICS)):
        starts = [(code * len(VELOCITIES) + n) * DYNAMICS_EACH for n in range(len(VELOCITIES))]
        measured = np.array([np.sqrt(np.square(sheet.part(at + 0.05, 0.06)).mean()) for at in starts])
        if code == 0:
            full = measured[-1]
        curve = np.interp(VELOCITIES, np.linspace(0, 127, 11), value(f"DYNAMICS_{code}") if code else np.ones(11))
        axes.plot(VELOCITIES, measured / full, "o", color=COLOURS[code], label=f"dynamics {DYNAMICS[code]}")
        axes.plot(VELOCITIES, curve, **LAW)
    axes.set(ylim=(0, 1.1))
    axes.legend(loc="lower right", fontsize=8)
    label(axes, "VCA dynamics, printed curves dashed", "velocity", "amplitude against full")


def follows_latch(axes: Axes, sheet: Sheet) -> None:
    """Amplitude of the same notes as a square through the open filter, over the VCA's voltage."""
    take = sheet.take

    def opened(tone: Tone) -> Tone:
        return tone.replace(dco1_wave="square", vcf_freq=127, vcf_env=0, vcf_res=0)

    events = [Event(event.at, event.kind, opened(event.data)) for event in take.events]
    audio = render(opened(take.tone), take.notes, take.seconds, events=events)
    frames = RATE // 100
    blocks = audio[: len(audio) // frames * frames, 0].reshape(-1, frames)
    amplitude = np.abs(blocks).max(axis=1)
    cv = sheet.rows["vca_cv"].max(axis=1)
    axes.plot((np.arange(len(amplitude)) + 0.5) / 100, amplitude / amplitude.max(), label="output, peak of 10 ms")
    axes.step(sheet.seconds, cv / cv.max(), where="post", **LAW, label="vca_cv")
    axes.set(xlim=(0, take.seconds), ylim=(0, 1.1))
    axes.legend(loc="upper right", fontsize=8)
    label(axes, "the amplifier follows the latch (square, filter open)", "time / s", "against the largest")


LFO_EACH = 3.0


def lfo_shapes(axes: Axes, sheet: Sheet) -> None:
    """Pitch of DCO1 in the first part of each take, moved together."""
    names = [*LFO_WAVES, "sine, delayed"]
    semitones = 12 * np.log2(pitch_of(sheet.rows, 0)[:, sheet.voices[0]] / clock.note_hz(60))
    for n, name in enumerate(names):
        here = (sheet.seconds >= n * LFO_EACH + 0.05) & (sheet.seconds < n * LFO_EACH + 2.2)
        axes.step(sheet.seconds[here] - n * LFO_EACH, semitones[here] - 10 * n, where="post", label=name)
    axes.set_yticks([-10 * n + k for n in range(len(names)) for k in (-4, 0, 4)], ["-4", "0", "+4"] * len(names))
    legend_below(axes, 4)
    label(axes, "DCO1 against its note", "time after the tone change / s", "semitones, rows apart")


def hpf_responses(axes: Axes, sheet: Sheet) -> None:
    """Harmonics of a low saw through each position, against those a first-order high pass passes."""
    reference = None
    for n, (name, corner) in enumerate(zip(HPFS, value("HPF_HZ"), strict=True)):
        hz, out, _ = harmonics(Tone(hpf=name))
        law = 1 / np.abs(1 - 1j * corner / hz)
        reference = np.abs(out) / law if reference is None else reference
        axes.plot(
            hz, decibels(np.abs(out) / reference), ".", markersize=3, color=COLOURS[n], label=f"{name}: {corner:g} Hz"
        )
        axes.plot(hz, decibels(law), **LAW)
    axes.set_ylim(-35, 5)
    frequency_axis(axes)
    axes.legend(loc="lower right", fontsize=8)
    label(axes, "HPF: measured (dots, position 0 is the reference), law (dashed)", "frequency / Hz", "gain / dB")


NOISE = Tone(dco1_wave="noise", vca_mode="gate")


def wet_and_dry(mode: str, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise through the chorus: ``(wet (n, 2), dry (n,))``, the wet one with the dry sound taken off."""
    held = [(60, 100, 0.0, seconds + 0.1)]
    dry = render(NOISE, held, seconds).astype(float)
    return render(NOISE.replace(chorus=mode), held, seconds) - dry, dry[:, 0]


def _two_pole(s: np.ndarray, hz: float, q: float) -> np.ndarray:
    return 1 / (1 + s / (q * hz) + (s / hz) ** 2)


def wet_response(axes: Axes, sheet: Sheet) -> None:
    """Spectrum of the chorus's wet sound against the dry one, over the filters' law and the BBD's hold."""
    hz = np.geomspace(20, 20_000, 400)
    law = value("CHORUS_WET") * np.sinc(hz * sum(value("CHORUS_DELAY")) / value("BBD_STAGES"))
    for real, *pairs in (value("CHORUS_INPUT"), value("CHORUS_OUTPUT")):
        law = law / np.abs(1 + 1j * hz / real)
        for pair in pairs:
            law = law * np.abs(_two_pole(1j * hz, *pair))
    for n, mode in enumerate(CHORUSES[1:]):
        wet, dry = wet_and_dry(mode, 4.0)
        for channel, style in ((0, "-"), (1, ":")):
            bins, wet_power = signal.welch(wet[RATE:, channel], RATE, nperseg=4096)
            _, dry_power = signal.welch(dry[RATE:], RATE, nperseg=4096)
            gain = decibels(np.sqrt(wet_power[1:] / dry_power[1:]))
            axes.plot(
                bins[1:],
                gain,
                style,
                linewidth=0.9,
                color=COLOURS[n],
                label=f"mode {mode}, {('left', 'right')[channel]}",
            )
    axes.plot(hz, decibels(law), **LAW, label="law")
    axes.set_ylim(-60, 10)
    frequency_axis(axes)
    axes.legend(loc="lower left", fontsize=8)
    label(axes, "chorus: wet against dry", "frequency / Hz", "gain / dB")


def wet_delay(axes: Axes, sheet: Sheet) -> None:
    """Delay of the wet sound behind the dry one: where windows of 10 ms correlate best."""
    window, reach = RATE // 100, round(0.0065 * RATE)
    for n, mode in enumerate(CHORUSES[1:]):
        wet, dry = wet_and_dry(mode, 4.0)
        for channel, style in ((0, "-"), (1, ":")):
            times, delays = [], []
            for at in range(RATE // 2, len(dry) - window, 800):
                past = dry[at - reach : at + window]
                match = np.correlate(past, wet[at : at + window, channel])[::-1]
                peak = int(np.clip(np.argmax(match), 1, reach - 1))
                left, middle, right = match[peak - 1 : peak + 2]
                times.append((at + window / 2) / RATE)
                delays.append((peak + 0.5 * (left - right) / (left - 2 * middle + right)) * 1000 / RATE)
            axes.plot(times, delays, style, color=COLOURS[n], label=f"mode {mode}, {('left', 'right')[channel]}")
    for limit in value("CHORUS_DELAY"):
        axes.axhline(limit * 1000, **LAW)
    axes.set_ylim(0, 6.5)
    axes.legend(loc="lower right", fontsize=8, ncol=2)
    label(axes, "chorus: delay of the wet sound, limits dashed", "time / s", "delay / ms")


# --- the circuits ----------------------------------------------------------------------------------


def dco() -> Take:
    """Each wave of each DCO, then each of its ranges."""
    each = 0.4
    both = (Tone(dco1_wave=WAVES[0]), Tone(dco2_wave=WAVES[0], mix_dco1=0, mix_dco2=127))
    tones = [tone.replace(**{f"dco{n + 1}_wave": wave}) for n, tone in enumerate(both) for wave in WAVES]
    tones += [
        tone.replace(**{f"dco{n + 1}_wave": "saw", f"dco{n + 1}_range": r})
        for n, tone in enumerate(both)
        for r in RANGES
    ]
    notes, events = in_turn(tones, 60, each)
    names = [f"DCO{n} {wave}" for n in (1, 2) for wave in WAVES]
    excerpts = [(n * each + 0.1, name) for n, name in enumerate(names)]
    return Take(
        "four waves of DCO1, of DCO2; four ranges of each",
        tones[0],
        notes,
        each * len(tones),
        excerpts,
        events,
        measures=(wave_harmonics, levels),
    )


def cross_modulation() -> Take:
    """The three codes, DCO2 alone to be heard while its pitch is swept over that of DCO1."""
    each = 2.0
    plain = Tone(mix_dco1=0, mix_dco2=127, dco2_env=80, env1_a=100, env1_d=0, env1_s=127)
    tones = [plain.replace(dco_xmod=code) for code in ("sync1", "sync2", "xmod")]
    notes, events = in_turn(tones, 48, each)
    excerpts = [(n * each + 0.8, code) for n, code in enumerate(("sync1", "sync2", "xmod"))]
    marks = clock.note_hz(48) * np.arange(1, 31)
    return Take(
        "sync1, sync2, xmod: DCO2 swept up (grey: harmonics of DCO1)",
        tones[0],
        notes,
        6.0,
        excerpts,
        events,
        marks=marks,
    )


def noise() -> Take:
    """Noise through the open filter, then through a sweep of the resonant one."""
    tone = Tone(dco1_wave="noise", vca_mode="gate")
    sweep = [Event(3.0, "parameter", ("vcf_res", 110)), *turn("vcf_freq", range(30, 128), 3.0, 2.5)]
    excerpts = [(0.5, "open"), (4.0, "resonant")]
    return Take(
        "noise: open, then a resonant sweep",
        tone,
        [(60, 100, 0.0, 5.5)],
        6.0,
        excerpts,
        sweep,
        measures=(noise_spectrum, levels),
    )


def mixer() -> Take:
    """DCO1's level stepped, then DCO2 on an envelope, at three velocities."""
    steps = Tone(mix_dco1=0, dco1_wave="saw")
    swept = Tone(
        mix_dco1=60, mix_env=127, mix_dyn="2", dco2_wave="square", dco2_range="2'", env1_a=50, env1_d=80, env1_s=0
    )
    notes = [(48, 100, 0.0, 1.5), *((48, velocity, 1.6 + 1.2 * n, 1.0) for n, velocity in enumerate((127, 80, 32)))]
    events = [*turn("mix_dco1", range(0, 128, 8), 0.0, 1.5), Event(1.55, "tone", swept)]
    excerpts = [(0.7, "DCO1, half"), (1.9, "velocity 127"), (3.1, "velocity 80"), (4.3, "velocity 32")]
    return Take("mixer: DCO1 in steps, then DCO2 on ENV1", steps, notes, 5.2, excerpts, events, excerpt_seconds=0.03)


def vcf_cutoff() -> Take:
    """The cutoff swept over its whole range without and with resonance."""
    sweep = turn("vcf_freq", range(128), 0.0, 3.0)
    events = [*sweep, Event(3.1, "parameter", ("vcf_res", 110)), *turn("vcf_freq", range(128), 3.1, 3.0)]
    tone = Tone(vcf_freq=0, vca_mode="gate")
    excerpts = [(2.0, "no resonance"), (4.6, "resonance 110")]
    return Take(
        "cutoff 0..127 at resonance 0, then at 110",
        tone,
        [(36, 100, 0.0, 6.2)],
        6.4,
        excerpts,
        events,
        excerpt_seconds=0.05,
        measures=(cutoff_responses, cutoff_track),
    )


def vcf_resonance() -> Take:
    """The resonance swept over its whole range."""
    tone = Tone(vcf_freq=72, vca_mode="gate")
    excerpts = [(0.1, "resonance 4"), (1.5, "resonance 64"), (2.9, "resonance 123")]
    return Take(
        "resonance 0..127 at cutoff 72",
        tone,
        [(36, 100, 0.0, 3.2)],
        3.5,
        excerpts,
        turn("vcf_res", range(128), 0.0, 3.0),
        excerpt_seconds=0.05,
        measures=(resonance_responses, cutoff_track),
    )


def vca_level() -> Take:
    """The level in steps of 8."""
    length = LEVEL_EACH * len(LEVEL_STEPS)
    excerpts = [((n + 0.5) * LEVEL_EACH, f"level {LEVEL_STEPS[n]}") for n in (4, 8, 12, 16)]
    return Take(
        "VCA level 0, 8 .. 127",
        Tone(vca_level=0),
        [(60, 100, 0.0, length)],
        length + 0.2,
        excerpts,
        turn("vca_level", LEVEL_STEPS, 0.0, length),
        measures=(level_law, levels),
    )


def vca_dynamics() -> Take:
    """Nine velocities with each dynamics curve."""
    count = len(VELOCITIES)
    notes = [(60, VELOCITIES[n % count], n * DYNAMICS_EACH + 0.01, 0.11) for n in range(4 * count)]
    tones = [Tone(vca_mode="gate", vca_dyn=code) for code in DYNAMICS]
    events = [Event(n * count * DYNAMICS_EACH, "tone", tone) for n, tone in enumerate(tones)]
    excerpts = [((n + 1) * count * DYNAMICS_EACH - 0.85 + 0.01, f"dynamics {DYNAMICS[n]}") for n in range(4)]
    return Take(
        "velocities 1..127 with dynamics off, 1, 2, 3",
        tones[0],
        notes,
        4 * count * DYNAMICS_EACH + 0.2,
        excerpts,
        events,
        excerpt_seconds=0.8,
        measures=(dynamics_law, levels),
    )


def envelopes() -> Take:
    """All four stages of both envelopes, then two octaves higher with key follow 3."""
    tone = Tone(
        vcf_freq=30,
        vcf_env=90,
        vcf_res=60,
        env1_a=70,
        env1_d=60,
        env1_s=40,
        env1_r=60,
        env2_a=60,
        env2_d=70,
        env2_s=70,
        env2_r=66,
    )
    followed = tone.replace(env1_key="3", env2_key="3")
    notes = [(48, 100, 0.0, 2.0), (72, 100, 4.0, 2.0)]
    excerpts = [(0.1, "attack"), (0.7, "decay"), (1.9, "sustain"), (2.15, "release")]
    return Take(
        "ADSR: note 48, then 72 with key follow 3",
        tone,
        notes,
        7.0,
        excerpts,
        [Event(3.95, "tone", followed)],
        measures=(follows_latch, levels),
    )


def lfo() -> Take:
    """The three waves on pitch and cutoff, then the sine behind its delay."""
    rate = {"lfo_rate": 80, "dco1_lfo": 127, "vcf_freq": 70, "vcf_lfo": 30}
    tones = [*(Tone(lfo_wave=wave, **rate) for wave in LFO_WAVES), Tone(lfo_wave="sine", lfo_delay=60, **rate)]
    notes, events = in_turn(tones, 60, LFO_EACH)
    excerpts = [(n * LFO_EACH + 1.0, name) for n, name in enumerate([*LFO_WAVES, "sine, delayed"])]
    return Take(
        "LFO: random, square, sine, delayed sine",
        tones[0],
        notes,
        12.0,
        excerpts,
        events,
        measures=(lfo_shapes, spectra),
    )


def hpf() -> Take:
    """A low saw in each position."""
    notes, events = in_turn([Tone(hpf=name) for name in HPFS], 33, 0.8)
    excerpts = [(n * 0.8 + 0.2, f"position {name}") for n, name in enumerate(HPFS)]
    return Take(
        "HPF 0, 1, 2, 3", Tone(), notes, 3.2, excerpts, events, excerpt_seconds=0.05, measures=(hpf_responses, spectra)
    )


def chorus() -> Take:
    """A chord without chorus, then with modes 1 and 2."""
    tones = [Tone(chorus=mode, vcf_freq=85, mix_dco1=100) for mode in CHORUSES]
    events = [Event(n * 2.5, "tone", tone) for n, tone in enumerate(tones)]
    notes = [(note, 100, n * 2.5 + 0.02, 2.2) for n in range(3) for note in (48, 60, 67)]
    excerpts = [(n * 2.5 + 1.0, f"chorus {mode}") for n, mode in enumerate(CHORUSES)]
    return Take("chorus off, 1, 2", tones[0], notes, 7.8, excerpts, events, measures=(wet_response, wet_delay))


def voice() -> Take:
    """All six voices, one key after the other."""
    tone = Tone(
        dco2_fine=72,
        mix_dco1=110,
        mix_dco2=110,
        vcf_freq=50,
        vcf_res=30,
        vcf_env=60,
        vcf_key=60,
        chorus="1",
        env1_a=30,
        env1_d=80,
        env1_s=50,
        env1_r=50,
        env2_a=20,
        env2_r=60,
    )
    notes = [(note, 100, 0.3 * n, 4.0 - 0.3 * n) for n, note in enumerate((36, 48, 55, 60, 64, 71))]
    excerpts = [(0.2, "one voice"), (0.8, "three voices"), (2.5, "six voices")]
    return Take("six-note chord", tone, notes, 5.5, excerpts, excerpt_seconds=0.04)


CIRCUITS: dict[str, Callable[[], Take]] = {
    take.__name__: take
    for take in (
        dco,
        cross_modulation,
        noise,
        mixer,
        vcf_cutoff,
        vcf_resonance,
        vca_level,
        vca_dynamics,
        envelopes,
        lfo,
        hpf,
        chorus,
        voice,
    )
}


def tone_take(tone: Tone) -> Take:
    """A factory tone: a low note, a phrase at rising velocities, a chord."""
    phrase = [(60, 50), (64, 70), (67, 90), (72, 120)]
    notes = [(36, 100, 0.0, 0.9), *((note, velocity, 1.0 + 0.3 * n, 0.28) for n, (note, velocity) in enumerate(phrase))]
    notes += [(note, 90, 2.3, 1.7) for note in (48, 60, 64, 67, 71)]
    excerpts = [(0.5, "note 36"), (1.1, "note 60"), (2.0, "note 72"), (3.2, "chord")]
    return Take(f"tone {tone.name}: a low note, a phrase, a chord", tone, notes, 5.5, excerpts, excerpt_seconds=0.04)


# --- performances ----------------------------------------------------------------------------------

_KEYS = (48, 55, 60, 64)
_RISING = [(60, velocity, 0.5 * n, 0.4) for n, velocity in enumerate((20, 50, 70, 90, 110, 127))]
_TONES = {"upper_tone": 1, "lower_tone": 2}
PERFORMANCES: dict[str, tuple[str, Patch, Sequence[Note]]] = {
    "chase": (
        "chase play, A-B-A: short keys echo from half to half",
        Patch("CHASE", chase=1, chase_mode="a-b-a", chase_time=10, chase_level=90, **_TONES),
        [(note, 110, 1.2 * n, 0.15) for n, note in enumerate(_KEYS)],
    ),
    "split": (
        "split: the halves overlap between C4 and C5",
        Patch("SPLIT", key_mode="split", upper_split=39, lower_split=51, **_TONES),
        [(note, 100, 0.4 * n, 0.35) for n, note in enumerate((36, 48, 59, 60, 66, 72, 73, 84))],
    ),
    "x_fade": ("X-Fade: the same key, softer to harder", Patch("FADE", key_mode="x-fade", **_TONES), _RISING),
    "t_voice": (
        "T-Voice: the same key, the upper tone from velocity 80",
        Patch("TOUCH", key_mode="t-voice", upper_split=80, **_TONES),
        _RISING,
    ),
}
"""What a patch does with keys: what it shows, the patch, the keys."""


def write_performance(name: str, folder: Path) -> None:
    """Play a patch on a Super JX and write NAME.wav and NAME.png, the picture of its wire."""
    about, patch, notes = PERFORMANCES[name]
    machine = SuperJX(record=True)
    machine.load_patch(patch)
    sound = mixed(np.concatenate(list(render_blocks(machine, from_notes(notes))), axis=1))
    soundfile.write(folder / f"{name}.wav", sound, RATE, subtype="PCM_24")
    draw(machine.link.log, folder / f"{name}.png", about, sound, LEAD_IN, RATE)


# --- files -----------------------------------------------------------------------------------------


def takes() -> dict[str, Callable[[], Take]]:
    """Every circuit and every factory tone by file name."""
    tones = {f"tone_{tone.name.lower().replace(' ', '_')}": tone for tone in factory_bank().tones}
    return CIRCUITS | {name: lambda tone=tone: tone_take(tone) for name, tone in tones.items()}


def picture(sheet: Sheet, path: Path) -> None:
    """Draw a sheet into a PNG file."""
    figure = Figure(figsize=(16, 14), dpi=75, layout="constrained")
    figure.suptitle(sheet.take.about, fontsize=15)
    panels = waveform, spectrogram, voltages, pitches, *(sheet.take.measures or (spectra, levels))
    for axes, panel in zip(figure.subplots(3, 2).flat, panels, strict=True):
        panel(axes, sheet)
    figure.savefig(path)


def write(name: str, take: Take, folder: Path) -> None:
    """Play a take and write NAME.wav and NAME.png into a folder."""
    audio = render(take.tone, take.notes, take.seconds, events=take.events, sample_rate=RATE)
    rows = trace(take.tone, take.notes, take.seconds, events=take.events, sample_rate=RATE)
    soundfile.write(folder / f"{name}.wav", audio, RATE, subtype="PCM_24")
    picture(Sheet(take, audio, rows[rows["at_cycles"] >= 0]), folder / f"{name}.png")


def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path("listen"),
    only: Annotated[list[str] | None, typer.Option(help="Only this circuit or tone; may be given again.")] = None,
) -> None:
    """Write a WAV and a PNG of each circuit, each factory tone and each performance."""
    every = takes()
    names = [*every, *PERFORMANCES]
    if unknown := set(only or ()) - set(names):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))} is not among {', '.join(names)}", param_hint="--only")
    output.mkdir(parents=True, exist_ok=True)
    for name in track(only or names, "listening"):
        if name in PERFORMANCES:
            write_performance(name, output)
        else:
            write(name, every[name](), output)


if __name__ == "__main__":
    typer.run(main)
