"""Intel 8031 at 12 MHz: what its program does, at its own rate and word sizes.

The program is one endless loop: LFO and common part, then six unrolled voice passes, padded so
that each takes the same time. Only the serial interrupt adds to it. A parameter byte is stored the
moment it arrives and takes effect when the pass that reads it ends; a pass ends by writing its
voice's divisors and DAC voltages to the latch, so every voltage is a staircase of 10 ms steps.

Fixed point: pitch in 1/256 semitone, envelopes 14 bits, LFO +-8191, factors 8.8.

Source: THESIS (loop, interrupt, constant time), OM8P (what each parameter does), J106 (forms of
the integer arithmetic); tables and scales in `parts` and `tables`. Questions: loop-time,
env-inverted, dynamics-place, mix-env, aftertouch-volume, check-env, env-times, lfo-rates.
Limits: no ROM was read; the program's two known bugs and its boot calibration in time are not modelled.
"""

from jxemu import protocol as p
from jxemu.kernel import step
from jxemu.soundboard import tables as t
from jxemu.soundboard.parts import value
from jxemu.soundboard.state import ATTACK, DECAY, IDLE, MIDI_OUT_SIZE, RELEASE, VOICES

COMMON_CYCLES = value("COMMON_CYCLES")
VOICE_CYCLES = value("VOICE_CYCLES")
ISR_CYCLES = value("ISR_CYCLES")
ENV_FULL = value("ENV_FULL")
MASTER_CENTRE = value("MASTER_TUNE_CENTRE")
KEY_NOTE = value("VCF_KEY_NOTE") * 256
DCO_LFO_SCALE = value("DCO_LFO_RANGE") * 256 * 65536 // (128 * 8192)
DCO_ENV_SCALE = value("DCO_ENV_RANGE") * 256 * 65536 // 16384
VCF_LFO_SCALE = round(value("VCF_LFO_OCTAVES") * value("VCF_COUNTS_PER_OCTAVE") * 65536 / (127 * 8191))
TUNE_STEP = value("MASTER_TUNE_STEP")
WHOLE = 1 << 24  # loops, more than any delay has
DCO_CV_AT_1 = value("DCO_CV_AT_1")
PITCH_TOP = (len(t.DIVISOR) - 2) * 256
DAC_TOP = 4095
LFO_TOP = 8191
COMMON = VOICES

_decode = step(p.decode)


# --- serial interrupt ----------------------------------------------------------------------------


@step
def _voice_running(f):
    """1 if any voice's gate is up."""
    running = 0
    for v in range(VOICES):
        running = running | f.gate[v]
    return running


@step
def _start_voice(f, voice, note, velocity):
    if _voice_running(f) == 0:
        f.lfo_held = t.LFO_DELAY[f.parameter[p.LFO_DELAY - 0x80]]
        f.lfo_fading = 0
        f.lfo_fade = 256 if f.lfo_held == 0 else 0
    legato = f.gate[voice] == 1 and f.parameter[p.CHECK_ENV - 0x80] >= 64
    f.note[voice] = note
    f.velocity[voice] = velocity
    f.key_down[voice] = 1
    f.gate[voice] = 1
    if not legato:
        f.trigger[voice] = 1


@step
def _silence(f):
    for v in range(VOICES):
        f.key_down[v] = 0
        f.gate[v] = 0
        f.trigger[v] = 0
        f.env1.level[v] = 0
        f.env1.stage[v] = IDLE
        f.env2.level[v] = 0
        f.env2.stage[v] = IDLE


@step
def receive(f, byte, at):
    """Serial interrupt: decode and store one byte that arrived at cycle `at`; stretches the pass."""
    f.pass_due += ISR_CYCLES
    event, boards, number, first, second = _decode(f.decoder, byte)
    if event == p.RELAY:
        if f.relays:
            slot = f.midi_out_count % MIDI_OUT_SIZE
            f.midi_out[slot] = first
            f.midi_out_at[slot] = at
            f.midi_out_count += 1
    elif event != p.NOTHING and (boards & f.role) != 0:
        if event == p.ON:
            _start_voice(f, number, first, second)
        elif event == p.OFF:
            f.key_down[number] = 0
        else:
            f.parameter[number - 0x80] = first
            if number == p.SILENCE:
                _silence(f)


# --- the loop ------------------------------------------------------------------------------------


@step
def lfo_tick(f):
    """One loop of the LFO: phase, wave, delay and fade."""
    before = f.lfo_phase
    f.lfo_phase = (before + f.lfo_rate[f.parameter[p.LFO_RATE - 0x80]]) & 0xFFFF
    phase = f.lfo_phase
    wave = f.parameter[p.LFO_WAVE - 0x80] >> 5
    if wave == 0:
        if phase < before:
            register = f.lfo_random
            for _ in range(14):
                register = (
                    (register << 1) | (((register >> 15) ^ (register >> 13) ^ (register >> 12) ^ (register >> 10)) & 1)
                ) & 0xFFFF
            f.lfo_random = register
        f.lfo_value = max((f.lfo_random >> 2) - LFO_TOP - 1, -LFO_TOP)
    elif wave == 1:
        f.lfo_value = LFO_TOP if phase < 0x8000 else -LFO_TOP
    else:
        quarter = (phase + 0x4000) & 0xFFFF
        ramp = quarter if quarter < 0x8000 else 0xFFFF - quarter
        f.lfo_value = min((ramp >> 1) - LFO_TOP, LFO_TOP)
    loops = t.LFO_DELAY[f.parameter[p.LFO_DELAY - 0x80]]
    if f.lfo_held > 0:
        f.lfo_held -= 1
    elif f.lfo_fading < loops:
        f.lfo_fading += 1
    if f.lfo_held == 0 and f.lfo_fading >= loops:
        f.lfo_fading = WHOLE  # and stays so while DELAY moves
    f.lfo_fade = 0 if f.lfo_held > 0 else (256 * f.lfo_fading // loops if f.lfo_fading < loops else 256)


@step
def envelope_tick(f, level, stage, gate, attack, decay, sustain, release, speed):
    """One loop of one ADSR: ``(level, stage)``. `speed` is the key follow factor, 8.8."""
    if stage == ATTACK:
        level += max(1, min(f.attack[0], (f.attack[attack] * speed) >> 8))
        if level >= ENV_FULL:
            level = ENV_FULL
            stage = DECAY
    elif stage == DECAY:
        floor = sustain << 7
        if level > floor:
            keep = 65536 - max(1, min(65535, ((65536 - f.decay[decay]) * speed) >> 8))
            level = floor + (((level - floor) * keep) >> 16)
        else:
            level = floor
    elif stage == RELEASE:
        keep = 65536 - max(1, min(65535, ((65536 - f.decay[release]) * speed) >> 8))
        level = (level * keep) >> 16
        if level == 0:
            stage = IDLE
    if gate == 0 and stage != IDLE:
        stage = RELEASE
    return level, stage


@step
def _envelope_pass(f, env, v, first):
    """Advance an envelope of voice `v` whose A parameter is number `first`."""
    if f.trigger[v]:
        env.stage[v] = ATTACK
    speed = t.ENV_KEY[f.parameter[first + 4 - 0x80] >> 5, f.note[v]]
    level, stage = envelope_tick(
        f,
        env.level[v],
        env.stage[v],
        f.gate[v],
        f.parameter[first - 0x80],
        f.parameter[first + 1 - 0x80],
        f.parameter[first + 2 - 0x80],
        f.parameter[first + 3 - 0x80],
        speed,
    )
    env.level[v] = level
    env.stage[v] = stage


@step
def _modulation_envelope(f, v, mode, depth, dynamics):
    """Envelope by mode (ENV2-, ENV2+, ENV1-, ENV1+) times depth and dynamics; +-16255."""
    code = mode >> 5
    level = f.env1.level[v] if code >= 2 else f.env2.level[v]
    level = (((level * depth) >> 7) * t.DYNAMICS[dynamics >> 5, f.velocity[v]]) >> 8
    return level if (code & 1) == 1 else -level


@step
def _bend(f):
    """Bender in 1/256 semitone."""
    raw = f.parameter[p.BEND_RANGE - 0x80]
    semitones = t.BEND[4] if raw >= 0x70 else t.BEND[raw >> 5]
    bend = (f.parameter[p.BENDER - 0x80] * semitones * 516 + 128) >> 8
    return bend if f.parameter[p.BENDER_POLARITY - 0x80] >= 64 else -bend


@step
def _after(f, switch, depth):
    """Aftertouch 0..126 as routed by a switch and its depth."""
    if f.parameter[switch - 0x80] < 64:
        return 0
    return (f.parameter[p.AFTERTOUCH - 0x80] * f.parameter[depth - 0x80]) >> 7


@step
def _glide(f, v):
    """Portamento: move the voice's pitch towards its note at a constant rate."""
    target = f.note[v] << 8
    pace = t.GLIDE[f.parameter[p.PORTAMENTO_TIME - 0x80]]
    if f.parameter[p.PORTAMENTO_SWITCH - 0x80] < 64 or abs(target - f.glide[v]) <= pace:
        f.glide[v] = target
    elif target > f.glide[v]:
        f.glide[v] += pace
    else:
        f.glide[v] -= pace


@step
def divisor_of(pitch):
    """8253 count of a pitch in 1/256 semitone: table by semitone, interpolated by the fraction."""
    pitch = min(max(pitch, 0), PITCH_TOP)
    here = t.DIVISOR[pitch >> 8]
    return min(65535, here - (((here - t.DIVISOR[(pitch >> 8) + 1]) * (pitch & 255)) >> 8))


@step
def _dco_pass(f, latch, v, dco, pitch, tune, lfo_depth, env_depth):
    depth = min(127, ((lfo_depth * f.lfo_fade) >> 8) + f.parameter[p.MODULATION - 0x80]
                + _after(f, p.AFTER_VIBRATO_SWITCH, p.AFTER_VIBRATO_DEPTH))  # fmt: skip
    env = _modulation_envelope(f, v, f.parameter[p.DCO_MODE - 0x80], env_depth, f.parameter[p.DCO_DYNAMICS - 0x80])
    pitch = (
        pitch + (t.TUNE[tune >> 2] << 8) + ((f.lfo_value * depth * DCO_LFO_SCALE) >> 16) + ((env * DCO_ENV_SCALE) >> 16)
    )
    count = divisor_of(pitch)
    latch.divisor[dco, v] = count
    latch.dco_cv[dco, v] = min(DAC_TOP, (((DCO_CV_AT_1 * f.calibration[dco, v]) >> 8) + (count >> 1)) // count)


@step
def _dac(level):
    """A 14-bit level, limited, as the 12 bits the DAC takes."""
    return min(max(level, 0), ENV_FULL) >> 2


@step
def voice_tick(f, latch, v):
    """One pass for voice `v`: DCO1, DCO2, mixer, VCF, VCA into the latch."""
    q = f.parameter
    if f.key_down[v] == 0 and q[p.HOLD - 0x80] < 64:
        f.gate[v] = 0
    _envelope_pass(f, f.env1, v, p.ENV1_A)
    _envelope_pass(f, f.env2, v, p.ENV2_A)
    f.trigger[v] = 0
    _glide(f, v)

    master = q[p.TUNE_1 - 0x80] if v < 3 else q[p.TUNE_2 - 0x80]
    pitch = f.glide[v] + (master - MASTER_CENTRE) * TUNE_STEP + _bend(f)
    _dco_pass(f, latch, v, 0, pitch, q[p.DCO1_TUNE - 0x80], q[p.DCO1_LFO - 0x80], q[p.DCO1_ENV - 0x80])
    _dco_pass(f, latch, v, 1, pitch, q[p.DCO2_TUNE - 0x80], q[p.DCO2_LFO - 0x80], q[p.DCO2_ENV - 0x80])

    latch.mix_cv[0, v] = _dac(q[p.MIX_DCO1 - 0x80] << 7)
    env = _modulation_envelope(f, v, q[p.MIX_MODE - 0x80], q[p.MIX_ENV - 0x80], q[p.MIX_DYNAMICS - 0x80])
    latch.mix_cv[1, v] = _dac(min(127 << 7, (q[p.MIX_DCO2 - 0x80] << 7) + env))

    env = _modulation_envelope(f, v, q[p.VCF_MODE - 0x80], q[p.VCF_ENV - 0x80], q[p.VCF_DYNAMICS - 0x80])
    lfo = (f.lfo_value * ((q[p.VCF_LFO - 0x80] * f.lfo_fade) >> 8) * VCF_LFO_SCALE) >> 16
    key = ((f.glide[v] - KEY_NOTE) * q[p.VCF_KEY - 0x80] * t.VCF_KEY_SCALE) >> 16
    brilliance = _after(f, p.AFTER_BRILLIANCE_SWITCH, p.AFTER_BRILLIANCE_DEPTH) << 5
    latch.vcf_cv[v] = _dac((q[p.VCF_FREQ - 0x80] << 7) + env + lfo + key + brilliance)

    level = f.env2.level[v]
    if q[p.VCA_MODE - 0x80] < 64:
        level = ENV_FULL if f.gate[v] else 0
    latch.vca_cv[v] = _dac((level * t.DYNAMICS[q[p.VCA_DYNAMICS - 0x80] >> 5, f.velocity[v]]) >> 8)


@step
def common_tick(f, latch):
    """The common part: LFO, clocks, switches, resonance and level voltages."""
    lfo_tick(f)
    q = f.parameter
    latch.prescaler[0] = t.PRESCALER[q[p.DCO1_RANGE - 0x80] >> 5]
    latch.prescaler[1] = t.PRESCALER[q[p.DCO2_RANGE - 0x80] >> 5]
    latch.dco2_clock = t.FINE[q[p.DCO2_FINE - 0x80]]
    latch.wave[0] = q[p.DCO1_WAVE - 0x80] >> 5
    latch.wave[1] = q[p.DCO2_WAVE - 0x80] >> 5
    latch.xmod = q[p.DCO_XMOD - 0x80] >> 5
    latch.hpf = q[p.HPF - 0x80] >> 5
    latch.chorus = min(2, q[p.CHORUS - 0x80] >> 5)
    latch.resonance_cv = q[p.VCF_RES - 0x80] << 5
    level = (q[p.VCA_LEVEL - 0x80] * q[p.VOLUME - 0x80] * 13) >> 6
    after = (_after(f, p.AFTER_VOLUME_SWITCH, p.AFTER_VOLUME_DEPTH) * 413) >> 6
    latch.level_cv = min(DAC_TOP, level + after if level > 0 else 0)


@step
def pass_tick(board):
    """End the pass under way, write the latch, and begin the next."""
    f = board.firmware
    latch = board.latch
    index = f.pass_index
    voice = COMMON if index == 0 else index - 1
    played = index == 0 or (board.voice_mask >> voice) & 1
    if index == 0:
        common_tick(f, latch)
    elif played:
        voice_tick(f, latch, voice)
    if played:
        latch.at_cycles = f.pass_due
        latch.voice = voice
        board.writes += 1
    f.pass_index = index + 1 if index < VOICES else 0
    f.pass_due += VOICE_CYCLES if f.pass_index > 0 else COMMON_CYCLES


@step
def run(board, rx_at, rx_byte, position, end, until):
    """Run the CPU up to and including cycle `until`; returns the position in the received bytes.

    rx_at, rx_byte : arrival cycles (int64, ascending) and bytes (uint8); `position`..`end` is what
        has not been taken yet. Stops before the first pass whose end lies beyond `until`.
    """
    f = board.firmware
    while True:
        if position < end and rx_at[position] <= until and rx_at[position] <= f.pass_due:
            receive(f, rx_byte[position], rx_at[position])
            position += 1
        elif f.pass_due <= until:
            pass_tick(board)
        else:
            break
    return position


@step
def next_due(board, rx_at, position, end):
    """Cycle before which `run` does nothing."""
    due = board.firmware.pass_due
    return min(due, rx_at[position]) if position < end else due
