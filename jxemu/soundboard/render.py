"""THE kernel entry: boards run their firmware, lanes follow the latch, samples come out.

Time goes in slices of 8 output frames on a grid fixed to the machine's own time. At the start of
a slice every board's CPU catches up, the lanes look at what it wrote to the latch, and the held
voltages move on; inside a slice they are straight lines. A call may end anywhere in a slice: the
next goes on as if it had not.
"""

import numpy as np

from jxemu.chips.i8253 import fraction, high_clocks, low_clocks
from jxemu.clock import UNITS_PER_CLOCK, UNITS_PER_CYCLE
from jxemu.kernel import (
    WINDOW,
    any_lane,
    back,
    exp2,
    flush_denormals,
    fma,
    front,
    kernel,
    load,
    load_row,
    load_window,
    peek,
    poke,
    restore_denormals,
    smaller,
    step,
    store,
    store_row,
    store_window,
    tanh,
    transpose,
    twice,
    where,
)  # fmt: skip
from jxemu.soundboard import firmware
from jxemu.soundboard.chorus import LINE, filter_step, load_filter, muted, read_lines, store_filter, write_lines
from jxemu.soundboard.dco import (
    NOISE,
    PULSE,
    SAW,
    SQUARE,
    advance_step,
    bandlimited_jump,
    edge_step,
    load_dco,
    railed,
    rises_to_the_rail,
    store_dco,
    sync_step,
    wave_step,
)  # fmt: skip
from jxemu.soundboard.decimator import (
    FIRST_2,
    FIRST_4,
    FIRST_8,
    HISTORY_2,
    HISTORY_4,
    HISTORY_8,
    OUT,
    SLICE,
    decimate_line,
    decimate_rows,
    first_row,
    put_sums,
)  # fmt: skip
from jxemu.soundboard.hpf import hpf_step
from jxemu.soundboard.mixer import flatten_step, mix_step
from jxemu.soundboard.noise import noise_step, white
from jxemu.soundboard.vca import amplitude, vca_step
from jxemu.soundboard.vcf import control_step, expect_step, load_vcf, settle_step, store_rule, store_vcf, vcf_step

FAR_UNITS = 1 << 30


# --- the latch, as the analog half sees it -------------------------------------------------------


@step
def _look_at_dco(dco, lane, count, code, clock_units, slope, duty, sample_units):
    """Set one DCO of a lane from its divisor, wave code and ramp slope."""
    high = high_clocks(count) * clock_units
    low = low_clocks(count) * clock_units
    if code == PULSE:
        whole = high + low
        high = int(whole * float(duty))
        low = whole - high
    dco.high_units[lane] = max(high, sample_units)
    dco.low_units[lane] = max(low, sample_units)
    offset = -1.0
    if code == PULSE:
        offset = -2.0 * duty
    elif code == NOISE:
        offset = 0.0
    square = 2.0 if code == SQUARE or code == PULSE else 0.0
    slope = 2.0 * slope if code == SAW else 0.0
    if dco.wave[lane] == code:
        dco.line[lane] += (dco.slope[lane] - np.float32(slope)) * np.float32(dco.elapsed[lane])
    else:
        dco.line[lane] = offset + square * dco.high[lane]
    dco.slope[lane] = slope
    dco.square[lane] = square
    dco.top[lane] = offset + square
    dco.noise[lane] = 1.0 if code == NOISE else 0.0
    dco.wave[lane] = code


@step
def _note_board(stage, lane, board, rx_at, position, end):
    """Note in its output stage when a board has something to do, and how often it has written its latch.

    Many boards are more than a cache holds, and most have nothing to do in a slice.
    """
    stage.due[lane] = firmware.next_due(board, rx_at, position, end)
    stage.writes[lane] = board.writes


@step
def _run_boards(boards, stages, rx_at, rx_byte, position, end, now):
    """Let the CPUs of all boards catch up."""
    width = stages[0].board.shape[0]
    for b in range(boards.shape[0]):
        stage, lane = stages[b // width], b % width
        if stage.due[lane] <= now:
            position[b] = firmware.run(boards[b], rx_at, rx_byte, position[b], end[b], now)
            _note_board(stage, lane, boards[b], rx_at, position[b], end[b])


@step
def _look_at_latch(group, boards, stages, sample_units):
    """Copy what changed on the latch into the lanes of a group."""
    for lane in range(group.board.shape[0]):
        if group.board[lane] < 0:
            continue
        writes = stages[group.to_output[lane]].writes[group.to_lane[lane]]
        if writes == group.seen[lane]:
            continue
        group.seen[lane] = writes
        latch = boards[group.board[lane]].latch
        law = group.xmod_law[latch.xmod]
        v = group.voice[lane]
        divide_1 = 16 - int(latch.prescaler[0])
        divide_2 = 16 - int(latch.prescaler[1])
        slope_1 = np.float32(group.slope_law[0, lane] * np.float32(latch.dco_cv[0, v]) / np.float32(divide_1))
        slope_2 = np.float32(group.slope_law[1, lane] * np.float32(latch.dco_cv[1, v]) / np.float32(divide_2))
        _look_at_dco(group.dco1, lane, int(latch.divisor[0, v]), latch.wave[0], divide_1 * UNITS_PER_CLOCK,
                     slope_1, group.duty[lane], sample_units)  # fmt: skip
        _look_at_dco(group.dco2, lane, int(latch.divisor[1, v]), latch.wave[1], divide_2 * int(latch.dco2_clock),
                     slope_2, group.duty[lane], sample_units)  # fmt: skip
        group.dco2.sync[lane] = law[0]
        group.dco1.sync[lane] = law[1]
        group.mixer.am[lane] = law[2]
        group.mixer.cv_1[lane] = latch.mix_cv[0, v]
        group.mixer.cv_2[lane] = latch.mix_cv[1, v]
        group.vcf.cv[lane] = latch.vcf_cv[v]
        group.vcf.resonance_cv[lane] = latch.resonance_cv
        group.vca.cv[lane] = latch.vca_cv[v]
        group.vca.level_cv[lane] = latch.level_cv


@step
def _follow(field_held, field_cv, hold):
    """Let a sample-and-hold settle for one slice; returns the new voltage."""
    held = load(field_held)
    held = held + (load(field_cv) - held) * hold
    store(field_held, held)
    return held


@step
def hold_voltages(group, slice_index, hold, samples):
    """Move the held voltages on by one slice and lay the straight lines the samples follow."""
    noise = group.noise
    store(noise.thermal_now, white(slice_index, load(noise.thermal_key)) * load(noise.thermal))
    share = np.float32(1.0) / np.float32(samples)

    mixer = group.mixer
    start_1 = load(mixer.end_1)
    start_2 = load(mixer.end_2)
    end_1 = _follow(mixer.held_1, mixer.cv_1, hold) * load(mixer.drive_1)
    end_2 = _follow(mixer.held_2, mixer.cv_2, hold) * load(mixer.drive_2)
    store(mixer.level_1, start_1)
    store(mixer.level_2, start_2)
    store(mixer.end_1, end_1)
    store(mixer.end_2, end_2)
    store(mixer.step_1, (end_1 - start_1) * share)
    store(mixer.step_2, (end_2 - start_2) * share)

    vcf = group.vcf
    cv = _follow(vcf.cv_held, vcf.cv, hold)
    resonance = _follow(vcf.resonance_held, vcf.resonance_cv, hold)
    angle, warp, rule = control_step(cv, load(vcf.scale), load(vcf.offset), load(vcf.top))
    angle_start = load(vcf.angle_end)
    warp_start = load(vcf.warp_end)
    store(vcf.angle, angle_start)
    store(vcf.warp, warp_start)
    store(vcf.angle_end, angle)
    store(vcf.warp_end, warp)
    store(vcf.angle_step, (angle - angle_start) * share)
    store(vcf.warp_step, (warp - warp_start) * share)
    store_rule(vcf, rule)
    q = load(vcf.q_open) * exp2(resonance * load(vcf.q_law))
    store(vcf.q1, load(vcf.q1_fixed) + load(vcf.q1_share) * q)
    store(vcf.q2, load(vcf.q2_fixed) + load(vcf.q2_share) * q)
    store(vcf.feedback, resonance * load(vcf.feedback_law))

    vca = group.vca
    held = _follow(vca.cv_held, vca.cv, hold)
    level = _follow(vca.level_held, vca.level_cv, hold)
    start = load(vca.amplitude_end)
    end = amplitude(held, level, load(vca.gain), load(vca.level_law), load(vca.level_norm))
    store(vca.amplitude, start)
    store(vca.amplitude_end, end)
    store(vca.amplitude_step, (end - start) * share)


# --- the voices ----------------------------------------------------------------------------------


@step
def _render_dcos(group, counter, first, count, sample_units):
    """Both DCOs and the mixer of all lanes for `count` oversampled samples, into the tile from row `first` on."""
    per_sample = np.float32(1.0) / np.float32(sample_units)
    noise, mixer = group.noise, group.mixer
    motion_1, setting_1, (a0, a1, a2) = load_dco(group.dco1)
    motion_2, setting_2, (b0, b1, b2) = load_dco(group.dco2)
    synced_1, synced_2 = load(group.dco1.sync), load(group.dco2.sync)
    sync_1, sync_2 = any_lane(synced_1 > 0), any_lane(synced_2 > 0)
    restart = load(group.sync_counter)
    hiss_1, hiss_2 = load(group.dco1.noise) * load(noise.gain), load(group.dco2.noise) * load(noise.gain)
    key, pole, thermal = load(noise.key), load(noise.pole), load(noise.thermal_now)
    hissing = any_lane(hiss_1 + hiss_2 > 0.0)
    low = where(hiss_1 + hiss_2 > 0.0, load(noise.low), 0.0)  # a source nobody listens to starts from rest
    before_1, before_2, am = load(mixer.before_1), load(mixer.before_2), load(mixer.am)
    modulated = any_lane(am > 0.0)
    level_1, rise_1 = load(mixer.level_1), load(mixer.step_1)
    level_2, rise_2 = load(mixer.level_2), load(mixer.step_2)
    zero = level_1 * 0.0
    no_limit = motion_1[0] * 0
    never = no_limit - 1
    steep_1 = rises_to_the_rail(motion_1, setting_1[0], count * sample_units)
    steep_2 = rises_to_the_rail(motion_2, setting_2[0], count * sample_units)

    for n in range(count):
        motion_1 = advance_step(motion_1, sample_units)
        motion_2 = advance_step(motion_2, sample_units)
        a3, b3 = zero, zero
        if any_lane(smaller(motion_1[0], motion_2[0]) < 1):
            master = never
            if any_lane(motion_1[0] < 1):
                motion_1, rising_1, since_1, jump_1 = edge_step(motion_1, setting_1, no_limit)
                a0, a1, a2, a3 = bandlimited_jump((a0, a1, a2, a3), jump_1, fraction(since_1, per_sample))
                if sync_2:
                    master = where(rising_1 & (synced_2 > 0), since_1, never)
            if any_lane((motion_2[0] < 1) | (master >= 0)):
                limit = where((master >= 0) & (restart > 0), -master, no_limit)
                motion_2, rising_2, since_2, jump_2 = edge_step(motion_2, setting_2, limit)
                age_2 = fraction(since_2, per_sample)
                b0, b1, b2, b3 = bandlimited_jump((b0, b1, b2, b3), jump_2, age_2)
                if sync_2:
                    motion_2, jump_2 = sync_step(motion_2, setting_2, master >= 0, restart, master)
                    b0, b1, b2, b3 = bandlimited_jump((b0, b1, b2, b3), jump_2, fraction(master, per_sample))
                if sync_1:
                    motion_1, jump_1 = sync_step(motion_1, setting_1, rising_2 & (synced_1 > 0), restart, since_2)
                    a0, a1, a2, a3 = bandlimited_jump((a0, a1, a2, a3), jump_1, age_2)

        wave_1, wave_2 = wave_step(motion_1, setting_1[0]), wave_step(motion_2, setting_2[0])
        if steep_1:
            wave_1 = railed(wave_1)
        if steep_2:
            wave_2 = railed(wave_2)
        a2 = a2 + wave_1
        b2 = b2 + wave_2
        if hissing:
            low = noise_step(white(counter + n, key), low, pole)
            a2 = a2 + low * hiss_1
            b2 = b2 + low * hiss_2
        mixed = mix_step(a0, b0, level_1, level_2, am, modulated)
        a0, a1, a2 = a1, a2, a3
        b0, b1, b2 = b1, b2, b3
        level_1 = level_1 + rise_1
        level_2 = level_2 + rise_2
        store_row(group.tile, first + n, flatten_step(mixed, before_1, before_2, thermal))
        before_2 = before_1
        before_1 = mixed

    store_dco(group.dco1, motion_1, (a0, a1, a2))
    store_dco(group.dco2, motion_2, (b0, b1, b2))
    store(noise.low, low)
    store(mixer.before_1, before_1)
    store(mixer.before_2, before_2)
    store(mixer.level_1, level_1)
    store(mixer.level_2, level_2)


@step
def _filter_run(group, first, count, bent):
    """One sample's guess is worked on beside what the sample before it settles to: neither waits for the other."""
    vcf, vca = group.vcf, group.vca
    (guess, guess_next, slopes, charges), (expecting, settling) = load_vcf(vcf)
    angle, angle_step = twice(load(vcf.angle)), twice(load(vcf.angle_step))
    warp, warp_step = twice(load(vcf.warp)), twice(load(vcf.warp_step))
    amp, amp_step = load(vca.amplitude), load(vca.amplitude_step)

    expected, slopes = expect_step(load_row(group.tile, first), guess, slopes, expecting, angle, warp, bent)
    for row in range(first + 1, first + count):
        angle = angle + angle_step
        warp = warp + warp_step
        coming, slopes = expect_step(load_row(group.tile, row), guess_next, slopes, expecting, angle, warp, bent)
        out, guess_next, charges = settle_step(expected, charges, settling)
        expected = coming
        store_row(group.tile, row - 1, vca_step(out, amp))
        amp = amp + amp_step
    out, guess, charges = settle_step(expected, charges, settling)
    store_row(group.tile, first + count - 1, vca_step(out, amp))

    store(vcf.angle, front(angle + angle_step))
    store(vcf.warp, front(warp + warp_step))
    store_vcf(vcf, (guess_next, guess, slopes, charges))
    store(vca.amplitude, amp + amp_step)


@step
def _filter_run_fed_back(group, first, count):
    """The same in a circuit whose output is fed back round the whole filter: every sample waits for the last."""
    vcf, vca = group.vcf, group.vca
    state, setting = load_vcf(vcf)
    angle, angle_step = twice(load(vcf.angle)), twice(load(vcf.angle_step))
    warp, warp_step = twice(load(vcf.warp)), twice(load(vcf.warp_step))
    feedback, out, out_before = load(vcf.feedback), load(vcf.output), load(vcf.output_before)
    amp, amp_step = load(vca.amplitude), load(vca.amplitude_step)

    for row in range(first, first + count):
        x = load_row(group.tile, row) - feedback * tanh(out * 4.0 - out_before * 3.0)
        out_before = out
        out, state = vcf_step(x, state, setting, angle, warp, True)
        angle = angle + angle_step
        warp = warp + warp_step
        store_row(group.tile, row, vca_step(out, amp))
        amp = amp + amp_step

    store(vcf.angle, front(angle))
    store(vcf.warp, front(warp))
    store(vcf.output, out)
    store(vcf.output_before, out_before)
    store_vcf(vcf, state)
    store(vca.amplitude, amp)


@step
def _render_filters(group, first, count):
    """VCF and VCA of all lanes: the tile's samples are replaced by what leaves the voice.

    Loops apart for filters that are open far and those that are not: a choice inside costs both.
    """
    if group.global_feedback != 0:
        _filter_run_fed_back(group, first, count)
    elif any_lane(load(group.vcf.secant) > 0.0):
        _filter_run(group, first, count, True)
    else:
        _filter_run(group, first, count, False)


# --- the output stage ----------------------------------------------------------------------------


@step
def _gather(group, stages, oversample, first, frames):
    """Bring the voices of each board to the output rate, to the left of its output stage's `sides`.

    Boards of one voice stand in the same lanes there; whole boards are added up first.
    """
    if group.single:
        decimate_rows(group.tile, oversample, first, frames)
        for n in range(frames):
            store_row(stages[group.to_output[0]].sides, 2 * n, load_row(group.tile, OUT + first + n))
        return
    pairs = oversample // 2
    for lane in range(group.board.shape[0]):
        if group.voices[lane] > 0:
            stage = stages[group.to_output[lane]]
            to = int(group.to_lane[lane])
            if oversample == 8:
                put_sums(group.tile, FIRST_8, lane, stage.from_8, HISTORY_8, to, first * pairs, frames * pairs)
            elif oversample == 4:
                put_sums(group.tile, FIRST_4, lane, stage.from_4, HISTORY_4, to, first * pairs, frames * pairs)
            else:
                put_sums(group.tile, FIRST_2, lane, stage.from_2, HISTORY_2, to, first * pairs, frames * pairs)
            decimate_line(stage, to, oversample, first, frames)


@step
def _look_at_switches(stage, boards):
    """Set HPF and chorus of each lane from its board's latch; whether any chorus is on."""
    for lane in range(stage.board.shape[0]):
        if stage.writes[lane] != stage.seen[lane]:
            stage.seen[lane] = stage.writes[lane]
            latch = boards[stage.board[lane]].latch
            stage.hpf.pole[lane] = stage.hpf.poles[latch.hpf, lane]
            stage.chorus.on[lane] = 1 if latch.chorus > 0 else 0
            stage.chorus.rate[lane] = stage.chorus.rates[latch.chorus, lane]
    return any_lane(load(stage.chorus.on) > 0)


@step
def render_output(stage, frame, frames, any_on):
    """HPF and chorus: what was decimated, to the left of `sides`, becomes both sides."""
    hpf, chorus = stage.hpf, stage.chorus
    first = frame % SLICE
    if first == 0 and any_on:
        read_lines(chorus)
    hpf_low, hpf_pole = load(hpf.low), load(hpf.pole)
    on = load(chorus.on) > 0
    wet = where(on, load(chorus.wet), 0.0)
    before = load_filter(chorus.before)
    behind = muted(load_filter(chorus.behind), twice(on))
    for n in range(frames):
        dry, hpf_low = hpf_step(load_row(stage.sides, 2 * n), hpf_low, hpf_pole)
        dark, before = filter_step(dry, chorus.input, before)
        store_row(stage.dark, first + n, dark)
        left = dry + 0.0  # a plain zero, never a negative one
        right = left
        if any_on:
            both, behind = filter_step(load_row(chorus.wet_runs, first + n), chorus.output, behind)
            left = fma(front(both), wet, dry) + 0.0
            right = fma(back(both), wet, dry) + 0.0
        store_row(stage.sides, 2 * n, left)
        store_row(stage.sides, 2 * n + 1, right)
    store(hpf.low, hpf_low)
    store_filter(chorus.before, before)
    store_filter(chorus.behind, muted(behind, twice(on)))
    write_lines(chorus, stage.dark, int(chorus.at) - first)
    chorus.at = (int(chorus.at) + frames) & (LINE - 1)
    if first + frames == SLICE:
        store(chorus.phase, load(chorus.phase) + load(chorus.rate) * SLICE)


@step
def _put_out(stage, frames, sound, at, channels):
    """Write a slice of `frames` to its boards' rows of `sound`, from column `at` on, 1 or 2 columns a frame."""
    if channels == 1:
        for n in range(frames):
            both = load_row(stage.sides, 2 * n) + load_row(stage.sides, 2 * n + 1)
            store_row(stage.sides, n, both * 0.5)
    for first in range(0, stage.board.shape[0], WINDOW):
        transpose(stage.sides, 0, first, stage.columns, first, 0)
        if channels == 2:
            transpose(stage.sides, WINDOW, first, stage.columns, first, WINDOW)
    for lane in range(stage.board.shape[0]):
        board = stage.board[lane]
        if board >= 0 and frames == SLICE:
            store_window(sound, board, at, load_window(stage.columns, lane, 0))
            if channels == 2:
                store_window(sound, board, at + WINDOW, load_window(stage.columns, lane, WINDOW))
        elif board >= 0:
            for n in range(frames * channels):
                poke(sound, board, at + n, peek(stage.columns, lane, n))


# --- entries -------------------------------------------------------------------------------------


@kernel
def render_block(time, boards, groups, stages, rx_at, rx_byte, position, end, out):
    """Render ``out.shape[1]`` frames of every board.

    time, boards, groups, stages : record arrays of `state`.
    rx_at, rx_byte : int64 and uint8 (bytes,): what arrives on the wires, ascending for each board.
    position, end : int64 (boards,): the part of it that is for a board; `position` moves on.
    out : float32 (boards, frames, 2), or (boards, frames, 1) for the mean of both channels; written.
    """
    mode = flush_denormals()
    clock = time[0]
    width = stages[0].board.shape[0]
    oversample = int(clock.oversample)
    sample_units = int(clock.sample_units)
    total, channels = out.shape[1:]
    sound = out.reshape(out.shape[0], total * channels)
    for b in range(boards.shape[0]):
        _note_board(stages[b // width], b % width, boards[b], rx_at, position[b], end[b])
    done = 0
    while done < total:
        frame = int(clock.frame)
        frames = min(SLICE - frame % SLICE, total - done)
        if frame % SLICE == 0:
            now = frame * int(clock.units_per_frame) // UNITS_PER_CYCLE
            _run_boards(boards, stages, rx_at, rx_byte, position, end, now)
            for g in range(groups.shape[0]):
                _look_at_latch(groups[g], boards, stages, sample_units)
                hold_voltages(groups[g], frame // SLICE & 0x7FFFFFFF, clock.hold, SLICE * oversample)
        count = frames * oversample
        row = first_row(oversample) + frame % SLICE * oversample
        for g in range(groups.shape[0]):
            _render_dcos(groups[g], (frame * oversample) & 0x7FFFFFFF, row, count, sample_units)
            _render_filters(groups[g], row, count)
            _gather(groups[g], stages, oversample, frame % SLICE, frames)
        for o in range(stages.shape[0]):
            stage = stages[o]
            any_on = _look_at_switches(stage, boards)
            render_output(stage, frame, frames, any_on)
            _put_out(stage, frames, sound, done * channels, channels)
        clock.frame = frame + frames
        done += frames
    restore_denormals(mode)


@kernel
def trace_block(boards, rx_at, rx_byte, position, end, until, rows):
    """Run only the firmware up to cycle `until`; one row of `rows` (LATCH records) a pass.

    Returns the number of rows written; stops early when `rows` is full.
    """
    written = 0
    for b in range(boards.shape[0]):
        board = boards[b]
        while board.firmware.pass_due <= until and written < rows.shape[0]:
            writes = board.writes
            due = board.firmware.pass_due
            position[b] = firmware.run(board, rx_at, rx_byte, position[b], end[b], due)
            if board.writes != writes:
                rows[written] = board.latch
                written += 1
        if board.firmware.pass_due > until:
            position[b] = firmware.run(board, rx_at, rx_byte, position[b], end[b], until)
    return written
