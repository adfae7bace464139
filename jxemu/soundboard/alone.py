"""Circuits on their own: any sound through one voice's VCF and VCA, or through a board's HPF and chorus.

::

    sound --> VCF --> VCA          `voice`: both outputs
    sound --> HPF --> chorus       `output`

The same steps as in `render`, with an outside sound where the mixer's, or the voices' sum, would come in.
"""

import numpy as np

from jxemu.kernel import flush_denormals, kernel, load, peek, poke, restore_denormals, store, tanh, twice, zeros
from jxemu.soundboard import state
from jxemu.soundboard.circuit import Circuit, hold_share, solder_output, solder_voice
from jxemu.soundboard.parts import value
from jxemu.soundboard.render import hold_voltages, render_output
from jxemu.soundboard.state import SLICE
from jxemu.soundboard.vca import vca_step
from jxemu.soundboard.vcf import SECTION_DELAY, load_vcf, store_vcf, vcf_step

OVERSAMPLE = 4
_WIDTH = 8
_REACH = 48
"""Samples on either side that a sample between samples is made of."""

_FULL = 4095
_RESONANCE_STEP = 32


def voice(
    sound: np.ndarray, cutoff: np.ndarray | float, resonance: np.ndarray | float = 0.0, level: np.ndarray | float = 1.0,
    circuit: Circuit = Circuit(), sample_rate: int = 48_000, drive: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A sound behind the VCF, and behind the VCA after it: float32 (n,) each, aligned to the sound, small signals at unity.

    sound : (n,), 1 is a DCO at full level.  cutoff : Hz, a number or (n,).  resonance : 0..127.  level : of the VCA's envelope,
    0..1.  drive : how much louder than that the filter gets it; it is taken back behind.
    """
    count = len(sound) + SLICE + -len(sound) % SLICE
    padded = np.pad(np.asarray(sound, np.float64), (0, count - len(sound)))
    groups = zeros(state.lanes(_WIDTH), 1)
    solder_voice(groups[0], 0, circuit, 0, 0, sample_rate, OVERSAMPLE)
    groups.vcf.slope_in = groups.vcf.slope_b = 1.0
    groups.noise.thermal[:] = 0.0
    groups.vca.level_cv[:] = value("VCA_LEVEL_UNITY")
    octaves = np.log2(np.maximum(_by_slice(cutoff, count), 1.0) / circuit.value("VCF_BASE"))
    voltages = np.stack([
        octaves * circuit.value("VCF_COUNTS_PER_OCTAVE") / 4,
        np.clip(_by_slice(resonance, count), 0, 127) * _RESONANCE_STEP,
        np.clip(_by_slice(level, count), 0, 1) * _FULL,
    ]).astype(np.float32)  # fmt: skip
    unit = drive * circuit.value("MIX_DRIVE")
    between = _between(padded * unit).astype(np.float32)
    filtered, amplified = np.empty_like(between), np.empty_like(between)
    _voice(groups, hold_share(sample_rate), OVERSAMPLE, between, voltages, filtered, amplified)
    gains = unit, unit * circuit.value("OUTPUT_GAIN")
    return tuple(
        (_without_between(np.roll(each, -SECTION_DELAY)) / gain).astype(np.float32)[: len(sound)]
        for each, gain in zip((filtered, amplified), gains, strict=True)
    )


def output(
    sound: np.ndarray, hpf: int = 0, chorus: int = 0, circuit: Circuit = Circuit(), sample_rate: int = 48_000
) -> tuple[np.ndarray, np.ndarray]:
    """A sound (n,) behind a board's HPF and chorus, float32 (n, 2), and the chorus's LFO, 0..1 (n,), beside it.

    hpf : position 0..3.  chorus : 0 off, 1, 2.
    """
    if hpf not in range(4) or chorus not in range(3):
        raise ValueError(f"there is no HPF position {hpf} or no chorus {chorus}: choose 0 to 3, and 0 to 2")
    count = len(sound) + -len(sound) % SLICE
    stages = zeros(state.outputs(_WIDTH), 1)
    stages.board = -1
    stages[0].board[0] = 0
    solder_output(stages[0], 0, circuit, 0, sample_rate)
    stages[0].hpf.pole[0] = stages[0].hpf.poles[hpf, 0]
    stages[0].chorus.on[0] = chorus > 0
    rate = int(stages[0].chorus.rates[chorus, 0])
    stages[0].chorus.rate[0] = rate
    made = np.zeros((count, 2), np.float32)
    _output(stages, np.pad(np.asarray(sound, np.float32), (0, count - len(sound))), chorus > 0, made)
    phase = np.arange(len(sound), dtype=np.uint64) * np.uint64(rate) & np.uint64(0xFFFFFFFF)
    turn = np.abs(phase.astype(np.uint32).view(np.int32).astype(np.float64)) / 2**31
    return made[: len(sound)], turn.astype(np.float32)


def _by_slice(track: np.ndarray | float, count: int) -> np.ndarray:
    """A control at the beginning of each slice."""
    track = np.broadcast_to(np.asarray(track, float), (count,)) if np.ndim(track) == 0 else np.asarray(track, float)
    return np.pad(track, (0, count - len(track)), mode="edge")[::SLICE]


def _phases() -> np.ndarray:
    """A low pass at half the lower rate, as the taps of each place between samples (OVERSAMPLE, taps)."""
    at = np.arange(-_REACH * OVERSAMPLE, _REACH * OVERSAMPLE) / OVERSAMPLE
    taps = np.sinc(at) * np.kaiser(len(at) + 1, 10.0)[:-1]
    return taps.reshape(-1, OVERSAMPLE).T


def _between(sound: np.ndarray) -> np.ndarray:
    """A sound at `OVERSAMPLE` times its rate; sample n stays at its place."""
    made = np.empty(len(sound) * OVERSAMPLE)
    for n, taps in enumerate(_phases()):
        made[n::OVERSAMPLE] = np.convolve(sound, taps)[_REACH : _REACH + len(sound)]
    return made


def _without_between(sound: np.ndarray) -> np.ndarray:
    """Back to the rate of `_between`'s input, what lies above half of it taken out."""
    count = len(sound) // OVERSAMPLE
    made = np.zeros(count)
    for n, taps in enumerate(_phases()):
        part = np.convolve(sound[n::OVERSAMPLE].astype(float), taps[::-1]) / OVERSAMPLE
        made += part[_REACH - 1 : _REACH - 1 + count]
    return made


@kernel
def _voice(groups, hold, oversample, sound, voltages, filtered, amplified):
    mode = flush_denormals()
    group = groups[0]
    vcf, vca = group.vcf, group.vca
    count = SLICE * oversample
    for s in range(voltages.shape[1]):
        vcf.cv[0] = voltages[0, s]
        vcf.resonance_cv[0] = voltages[1, s]
        vca.cv[0] = voltages[2, s]
        if s == 0:
            vcf.cv_held[0], vcf.resonance_held[0] = voltages[0, 0], voltages[1, 0]
            vca.cv_held[0], vca.level_held[0] = voltages[2, 0], vca.level_cv[0]
            hold_voltages(group, 0, hold, count)
        hold_voltages(group, s, hold, count)
        angle, warp, amp = twice(load(vcf.angle)), twice(load(vcf.warp)), load(vca.amplitude)
        angle_step, warp_step = twice(load(vcf.angle_step)), twice(load(vcf.warp_step))
        amp_step, feedback = load(vca.amplitude_step), load(vcf.feedback)
        state, setting = load_vcf(vcf)
        out, out_before = load(vcf.output), load(vcf.output_before)
        for n in range(count):
            x = amp * 0.0 + sound[s * count + n]
            if group.global_feedback != 0:
                x = x - feedback * tanh(out * 4.0 - out_before * 3.0)
                out_before = out
            out, state = vcf_step(x, state, setting, angle, warp, True)
            store(vcf.output, out)
            filtered[s * count + n] = vcf.output[0]
            store(vcf.output, vca_step(out, amp))
            amplified[s * count + n] = vcf.output[0]
            angle, warp, amp = angle + angle_step, warp + warp_step, amp + amp_step
        store(vcf.output, out)
        store(vcf.output_before, out_before)
        store_vcf(vcf, state)
    restore_denormals(mode)


@kernel
def _output(stages, sound, chorus_on, made):
    mode = flush_denormals()
    stage = stages[0]
    for at in range(0, len(sound), SLICE):
        for n in range(SLICE):
            poke(stage.sides, 2 * n, 0, sound[at + n])
        render_output(stage, at, SLICE, chorus_on)
        for n in range(SLICE):
            made[at + n, 0] = peek(stage.sides, 2 * n, 0)
            made[at + n, 1] = peek(stage.sides, 2 * n + 1, 0)
    restore_denormals(mode)
