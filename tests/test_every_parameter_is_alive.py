"""Every parameter of a tone and of the wire, moved once: does what its name promises happen?

What the firmware does is read off the latch, what the circuit does is heard in the sound.
`test_every_parameter_has_a_test` keeps the list complete.
"""

from functools import cache

import numpy as np
import pytest

import jxemu
from jxemu.clock import note_hz
from jxemu.patch.parameter import PARAMETERS
from jxemu.soundboard.parts import value

RATE = 48_000
COMMON = 6
FULL = 127 / 128
LOOP = 0.010
LOWEST_KEY = 36
OCTAVE = value("VCF_COUNTS_PER_OCTAVE") / 4

VELOCITY_CURVES = np.array([
    np.ones(11),
    (0.365, 0.392, 0.426, 0.467, 0.509, 0.566, 0.627, 0.70, 0.776, 0.875, 1.0),
    np.linspace(0, 1, 11),
    (0.05, 0.057, 0.084, 0.123, 0.176, 0.248, 0.335, 0.454, 0.60, 0.785, 1.0),
])  # fmt: skip
"""As printed in the owner's manual, at key intensities 0, 0.1 .. 1."""

WIRE_PARAMETERS = {0x8C, 0x8D, 0x8E, *range(0xB0, 0xC0)}
TESTED = {}
"""Name of a tone parameter or number of a wire parameter -> the test that answers for it."""


def moves(*what):
    """Marks the test that answers for tone parameters (names) or wire parameters (numbers)."""

    def note(test):
        TESTED.update(dict.fromkeys(what, test.__name__))
        return test

    return note


def test_every_parameter_has_a_test():
    assert len(PARAMETERS) == 44
    assert set(PARAMETERS) | WIRE_PARAMETERS == set(TESTED)


# --- reading the latch ---------------------------------------------------------------------------


def wire(at, *data):
    return jxemu.Event(at, "wire", bytes((0xF4, *data)))


def start(at, note, voice=0, velocity=100):
    return wire(at, 0xC0 + voice, note, velocity)


def moved(at, name, setting):
    return jxemu.Event(at, "parameter", (name, setting))


def passes(seconds=0.5, events=(), notes=((60, 127, 0.0, 60.0),), voice=0, **tone):
    """The latch after each pass of a voice (or of the common part) from time 0 on."""
    rows = jxemu.trace(jxemu.Tone(**tone), list(notes), seconds, events=list(events))
    return rows[(rows["voice"] == voice) & (rows["at_cycles"] >= 0)]


def seconds_of(rows):
    return rows["at_cycles"] / 1e6


def between(rows, first, last):
    now = seconds_of(rows)
    return rows[(now >= first) & (now < last)]


def pitch(rows, dco=0, voice=0):
    """Pitch of a DCO in semitones (MIDI notes)."""
    clock = 8e6 / (16.0 - rows["prescaler"][:, dco])
    if dco == 1:
        clock = clock * 1764 / rows["dco2_clock"]
    return 69 + 12 * np.log2(clock / rows["divisor"][:, dco, voice] / 440)


def swing(track):
    """Half of the way from lowest to highest."""
    return np.ptp(np.asarray(track, float)) / 2


def envelope(number, seconds=0.5, notes=((60, 127, 0.0, 60.0),), events=(), **tone):
    """``(seconds, level)`` of an envelope, 1 at the top: ENV-1 seen at the VCF, ENV-2 at the VCA."""
    if number == 1:
        rows = passes(seconds, events, notes, vcf_freq=0, vcf_env=127, vcf_mode="env1", **tone)
        return seconds_of(rows), rows["vcf_cv"][:, 0] / (4095 * FULL)
    rows = passes(seconds, events, notes, vca_mode="env2", **tone)
    return seconds_of(rows), rows["vca_cv"][:, 0] / 4095


def first_time(now, condition):
    assert np.any(condition), "it never happens"
    return now[np.argmax(condition)]


# --- hearing -------------------------------------------------------------------------------------


@cache
def _sound(seconds, notes, events, tone):
    events = [jxemu.Event(*event) for event in events]
    return jxemu.render(jxemu.Tone(**dict(tone)), list(notes), seconds, events=events)


def sound(seconds=0.5, note=60, velocity=127, events=(), **tone):
    """Left and right of one note held for as long as it is listened to."""
    notes = ((note, velocity, 0.0, seconds),)
    return _sound(seconds, notes, tuple((e.at, e.kind, e.data) for e in events), tuple(sorted(tone.items())))


def left(**arguments):
    return sound(**arguments)[:, 0].astype(float)


def line(x, hz, skip=0.1):
    """Amplitude of a steady partial."""
    x = x[int(skip * RATE) :]
    window = np.hanning(len(x))
    return 2 * abs(np.sum(x * window * np.exp(-2j * np.pi * hz / RATE * np.arange(len(x))))) / window.sum()


def lines(x, hz, count):
    return np.array([line(x, n * hz) for n in range(1, count + 1)])


def powers(x, skip=0.1, size=2048):
    """``(frequencies, power)`` averaged over Hann windows."""
    x = x[int(skip * RATE) :]
    frames = [x[at : at + size] * np.hanning(size) for at in range(0, len(x) - size + 1, size // 2)]
    return np.fft.rfftfreq(size, 1 / RATE), np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)


def loudest(x, skip=0.1):
    """Frequency of the strongest partial."""
    x = x[int(skip * RATE) :]
    size = 1 << 18
    return np.argmax(np.abs(np.fft.rfft(x * np.hanning(len(x)), size))) * RATE / size


def db(ratio):
    return 20 * np.log10(np.maximum(ratio, 1e-12))


def tuned(note, divide=4):
    """Frequency the 8253 really gives for a note at 8'."""
    return 8e6 / divide / round(8e6 / divide / note_hz(note))


def alone(dco, **more):
    """Only one of the DCOs in the mixer."""
    return {"mix_dco1": 100 if dco == 1 else 0, "mix_dco2": 100 if dco == 2 else 0, **more}


BOTH_DCOS = pytest.mark.parametrize("dco", (1, 2))
BOTH_ENVELOPES = pytest.mark.parametrize("env", (1, 2))
ALL_CURVES = pytest.mark.parametrize("curve", range(4))


# --- DCO -----------------------------------------------------------------------------------------


@moves("dco1_range", "dco2_range")
@BOTH_DCOS
def test_dco_range_doubles_the_pitch_per_step(dco):
    other = 2 - dco
    for step, divide in enumerate((8, 4, 2, 1)):
        rows = passes(0.1, **{f"dco{dco}_range": step})
        assert np.all(16 - rows["prescaler"][:, dco - 1] == divide)
        assert np.all(rows["prescaler"][:, other] == 12), "the other DCO stays at 8'"
        assert np.all(rows["divisor"][:, :, 0] == 7645)
        heard = loudest(left(**alone(dco, **{f"dco{dco}_range": step})))
        assert heard == pytest.approx(8e6 / divide / 7645, rel=1e-3)


@moves("dco1_wave", "dco2_wave")
@BOTH_DCOS
def test_dco_wave_is_latched_in_the_order_noise_square_pulse_saw(dco):
    for code, name in enumerate(("noise", "square", "pulse", "saw")):
        rows = passes(0.1, **{f"dco{dco}_wave": name, f"dco{3 - dco}_wave": "saw"})
        assert np.all(rows["wave"][:, dco - 1] == code)
        assert np.all(rows["wave"][:, 2 - dco] == 3)


@BOTH_DCOS
def test_dco_wave_square_has_odd_harmonics_only(dco):
    heard = lines(left(**alone(dco, **{f"dco{dco}_wave": "square"})), tuned(60), 10)
    level = db(heard / heard[0])
    assert np.all(level[1::2] < -45)
    assert level[::2] == pytest.approx(db(1 / np.arange(1, 11, 2)), abs=0.5)


@BOTH_DCOS
def test_dco_wave_pulse_lacks_every_fourth_harmonic(dco):
    heard = lines(left(**alone(dco, **{f"dco{dco}_wave": "pulse"})), tuned(60), 12)
    level = db(heard / heard[0])
    n = np.arange(1, 13)
    expected = db(np.abs(np.sin(np.pi * n / 4)) / n / np.sin(np.pi / 4))
    there = n % 4 != 0
    assert np.all(level[~there] < -45)
    assert level[there] == pytest.approx(expected[there], abs=0.5)


@BOTH_DCOS
def test_dco_wave_saw_has_harmonics_one_over_n(dco):
    heard = lines(left(**alone(dco, **{f"dco{dco}_wave": "saw"})), tuned(60), 12)
    assert db(heard / heard[0]) == pytest.approx(db(1 / np.arange(1, 13)), abs=0.5)


@BOTH_DCOS
def test_dco_wave_noise_is_broadband(dco):
    x = left(seconds=2.0, **alone(dco, **{f"dco{dco}_wave": "noise"}))
    hz, power = powers(x)
    bands = [10 * np.log10(np.mean(power[(hz >= low) & (hz < 2 * low)])) for low in (125, 250, 500, 1000, 2000)]
    assert np.ptp(bands) < 2, "flat where the source's low pass does not reach"
    inside = power[(hz > 100) & (hz < 4000)]
    assert np.max(inside) < 3 * np.mean(inside), "no partial stands out"
    again = np.correlate(x[RATE // 2 : RATE], x[RATE // 2 + 183 : RATE + 183])[0]
    assert abs(again) < 0.1 * np.sum(x[RATE // 2 : RATE] ** 2), "it does not repeat at the note's period"


@moves("dco1_tune", "dco2_tune")
@BOTH_DCOS
def test_dco_tune_walks_an_octave_each_way_in_semitones(dco):
    name = f"dco{dco}_tune"
    rows = passes(13.0, [moved(0.1 * v, name, v) for v in range(128)])
    now = seconds_of(rows)
    at = [np.searchsorted(now, 0.1 * v + 0.05) for v in range(128)]
    track = pitch(rows, dco - 1)[at] - 60
    steps = np.round(track)
    assert track == pytest.approx(steps, abs=0.01)
    assert np.all(np.diff(steps) >= 0)
    assert sorted(set(steps)) == list(range(-12, 13))
    assert steps[0] == -12 and steps[64] == 0 and steps[127] == 12
    assert pitch(rows, 2 - dco) == pytest.approx(60, abs=0.01), "the other DCO stays"


@moves("dco1_lfo", "dco2_lfo")
@BOTH_DCOS
def test_dco_lfo_swings_its_own_dco_in_proportion(dco):
    for depth in (0, 32, 64, 127):
        rows = passes(1.0, lfo_rate=100, lfo_wave="square", **{f"dco{dco}_lfo": depth})
        expected = value("DCO_LFO_RANGE") * depth / 128
        assert swing(pitch(rows, dco - 1)) == pytest.approx(expected, abs=0.02)
        assert np.mean([pitch(rows, dco - 1).max(), pitch(rows, dco - 1).min()]) == pytest.approx(60, abs=0.02)
        assert swing(pitch(rows, 2 - dco)) == 0


@moves("dco1_env", "dco2_env")
@BOTH_DCOS
def test_dco_env_raises_its_own_dco_in_proportion(dco):
    for depth in (0, 32, 64, 127):
        rows = passes(0.5, notes=((36, 127, 0, 60),), env1_d=0, **{f"dco{dco}_env": depth})
        expected = value("DCO_ENV_RANGE") * depth / 128 * FULL
        assert pitch(rows, dco - 1)[-1] - 36 == pytest.approx(expected, abs=0.03)
        assert pitch(rows, 2 - dco) == pytest.approx(36, abs=0.01)


@moves("dco_xmod")
def test_dco_xmod_is_latched_as_its_switch_stands():
    for code, name in enumerate(("off", "sync1", "sync2", "xmod")):
        assert np.all(passes(0.1, dco_xmod=name)["xmod"] == code)


F1 = tuned(60)
F2 = 2 * tuned(66)


def crossed(xmod, **mixer):
    """DCO2 18 semitones above DCO1: at F2, no harmonic of F1."""
    return left(dco_xmod=xmod, dco2_tune=92, dco2_range="4'", **{"mix_dco1": 0, "mix_dco2": 64, **mixer})


def test_dco_xmod_off_leaves_both_dcos_alone():
    free = crossed("off")
    assert loudest(free) == pytest.approx(F2, rel=1e-3)
    assert line(free, F1) < 0.01 * line(free, F2)


def test_dco_xmod_sync1_gives_dco2_the_pitch_of_dco1():
    free, synced = crossed("off"), crossed("sync1")
    assert line(synced, F1) > 0.05 * line(free, F2)
    assert line(synced, F2) < 0.02 * line(free, F2), "nothing is left at its own pitch"
    harmonics = lines(synced, F1, 40)
    assert np.sum(harmonics**2) / 2 == pytest.approx(np.var(synced[RATE // 10 :]), rel=0.05)
    strongest = 1 + np.argmax(harmonics)
    assert strongest * F1 == pytest.approx(F2, rel=0.25), "its own pitch is left as a formant"


def product_parts(product, dco1, dco2):
    """``(share of DCO2, share of DCO1 x DCO2, part not explained)`` of a sound."""
    cut = slice(RATE // 10, None)
    unit = line(dco1, F1) * np.pi / 2  # a saw of +-1 has a fundamental of 2/pi
    terms = np.stack([dco2[cut], dco2[cut] * dco1[cut] / unit, dco1[cut] / unit, np.ones_like(dco1[cut])], axis=1)
    shares, *_ = np.linalg.lstsq(terms, product[cut], rcond=None)
    rest = product[cut] - terms @ shares
    return shares[0], shares[1], np.var(rest) / np.var(product[cut])


def test_dco_xmod_gates_dco2_with_dco1():
    free, crossing = crossed("off"), crossed("xmod")
    for hz in (F2 - F1, F2 + F1):
        assert line(free, hz) < 0.01 * line(free, F2)
        assert line(crossing, hz) > 0.1 * line(free, F2), "sum and difference"
    dco2, both, rest = product_parts(crossing, crossed("off", mix_dco1=64, mix_dco2=0), free)
    assert (dco2, both) == pytest.approx((0.5, 0.5), abs=0.03)
    assert rest < 0.01


def test_dco_xmod_sync2_is_sync1_gated_by_dco1():
    dco2, both, rest = product_parts(crossed("sync2"), crossed("off", mix_dco1=64, mix_dco2=0), crossed("sync1"))
    assert (dco2, both) == pytest.approx((0.5, 0.5), abs=0.03)
    assert rest < 0.01


@moves("dco2_fine")
def test_dco2_fine_shifts_dco2_by_50_cents_each_way():
    rows = passes(13.0, [moved(0.1 * v, "dco2_fine", v) for v in range(128)])
    now = seconds_of(rows)
    at = [np.searchsorted(now, 0.1 * v + 0.05) for v in range(128)]
    cents = 100 * (pitch(rows, 1) - pitch(rows, 0))[at]
    assert cents[63] == 0 and cents[64] == 0
    assert cents[0] == pytest.approx(-50, abs=1) and cents[127] == pytest.approx(50, abs=1)
    assert np.all(np.diff(cents) >= 0)
    assert np.all(rows["divisor"][:, :, 0] == 7645), "the counts stay: it is the clock that moves"
    for setting, shift in ((0, -0.5), (127, 0.5)):
        heard = loudest(left(seconds=1.0, dco2_fine=setting, **alone(2)))
        assert 12 * np.log2(heard / tuned(60)) == pytest.approx(shift, abs=0.02)


# --- velocity and modes --------------------------------------------------------------------------


def effect(curve, velocity):
    return np.interp(velocity / 127, np.linspace(0, 1, 11), VELOCITY_CURVES[curve])


def of_velocities(read, **tone):
    """What `read` makes of the last pass of a held note, by velocity."""
    velocities = np.array([1, 32, 64, 96, 127])
    return velocities, np.array([read(passes(0.3, notes=((48, int(v), 0, 60),), **tone)[-1:]) for v in velocities])


@moves("dco_dyn")
@ALL_CURVES
def test_dco_dyn_scales_the_pitch_envelope_by_the_printed_curve(curve):
    velocities, rise = of_velocities(lambda last: pitch(last)[0] - 48, dco_dyn=curve, dco1_env=64, env1_d=0)
    full = value("DCO_ENV_RANGE") * 0.5 * FULL
    assert rise / full == pytest.approx(effect(curve, velocities), abs=0.006)


@moves("mix_dyn")
@ALL_CURVES
def test_mix_dyn_scales_the_mixer_envelope_by_the_printed_curve(curve):
    velocities, rise = of_velocities(lambda last: last["mix_cv"][0, 1, 0], mix_dyn=curve, mix_env=127, env1_d=0)
    assert rise / (4096 * FULL**2) == pytest.approx(effect(curve, velocities), abs=0.006)


@moves("vcf_dyn")
@ALL_CURVES
def test_vcf_dyn_scales_the_filter_envelope_by_the_printed_curve(curve):
    velocities, rise = of_velocities(
        lambda last: last["vcf_cv"][0, 0], vcf_dyn=curve, vcf_freq=0, vcf_env=127, env1_d=0
    )
    assert rise / (4096 * FULL**2) == pytest.approx(effect(curve, velocities), abs=0.006)


@moves("vca_dyn")
@ALL_CURVES
def test_vca_dyn_scales_the_loudness_by_the_printed_curve(curve):
    velocities, level = of_velocities(lambda last: last["vca_cv"][0, 0], vca_dyn=curve, env2_d=0)
    assert level / (4096 * FULL) == pytest.approx(effect(curve, velocities), abs=0.006)
    loud, soft = (line(left(velocity=v, vca_dyn=curve, env2_d=0), F1) for v in (127, 64))
    assert soft / loud == pytest.approx(effect(curve, 64), abs=0.006)


MODES = pytest.mark.parametrize(
    ("mode", "sign", "sustain"),
    (("env2-inverted", -1, 40), ("env2", 1, 40), ("env1-inverted", -1, 90), ("env1", 1, 90)),
)
TWO_LEVELS = {"env1_d": 0, "env1_s": 90, "env2_d": 0, "env2_s": 40}


@moves("dco_mode")
@MODES
def test_dco_mode_chooses_envelope_and_sign_for_both_dcos(mode, sign, sustain):
    rows = passes(0.3, dco_mode=mode, dco1_env=32, dco2_env=64, **TWO_LEVELS)
    for dco, depth in ((0, 32), (1, 64)):
        expected = sign * value("DCO_ENV_RANGE") * depth / 128 * sustain / 128
        assert pitch(rows, dco)[-1] - 60 == pytest.approx(expected, abs=0.05)


@moves("mix_mode")
@MODES
def test_mix_mode_chooses_envelope_and_sign(mode, sign, sustain):
    rows = passes(0.3, mix_mode=mode, mix_dco2=64, mix_env=64, **TWO_LEVELS)
    assert rows["mix_cv"][-1, 1, 0] == pytest.approx(64 * 32 + sign * sustain * 16, abs=2)


@moves("vcf_mode")
@MODES
def test_vcf_mode_chooses_envelope_and_sign(mode, sign, sustain):
    rows = passes(0.3, vcf_mode=mode, vcf_freq=64, vcf_env=64, **TWO_LEVELS)
    assert rows["vcf_cv"][-1, 0] == pytest.approx(64 * 32 + sign * sustain * 16, abs=2)


# --- mixer ---------------------------------------------------------------------------------------


@moves("mix_dco1", "mix_dco2")
@BOTH_DCOS
def test_mix_sets_the_level_of_its_dco_in_proportion(dco):
    full = line(left(**{"mix_dco1": 0, "mix_dco2": 0, f"mix_dco{dco}": 127}), F1)
    for level in (0, 32, 64, 127):
        mixer = {"mix_dco1": 0, "mix_dco2": 0, f"mix_dco{dco}": level}
        rows = passes(0.1, **mixer)
        assert np.all(rows["mix_cv"][:, dco - 1, 0] == level * 32)
        assert np.all(rows["mix_cv"][:, 2 - dco, 0] == 0)
        heard = line(left(**mixer), F1)
        if level:
            assert db(heard / full) == pytest.approx(db(level / 127), abs=0.2)
        else:
            assert db(heard / full) < -80


@moves("mix_env")
def test_mix_env_raises_dco2_only():
    for depth in (0, 64, 127):
        rows = passes(0.5, mix_dco1=50, mix_dco2=20, mix_env=depth, env1_d=0, env1_s=100)
        assert np.all(rows["mix_cv"][:, 0, 0] == 50 * 32), "the mixer envelope does not touch DCO-1"
        expected = min(20 * 32 + 100 * 32 * depth / 128, 127 * 32)
        assert rows["mix_cv"][-1, 1, 0] == pytest.approx(expected, abs=2)
    dry, wet = (lines(left(mix_dco1=0, mix_dco2=0, mix_env=depth), F1, 1)[0] for depth in (0, 127))
    assert db(dry / wet) < -80, "DCO-2 is heard through its envelope alone"


# --- HPF and VCF ---------------------------------------------------------------------------------


@moves("hpf")
def test_hpf_takes_more_of_a_low_note_at_each_position():
    low = tuned(33)
    wide = line(left(seconds=1.0, note=33, hpf=0), low)
    for position, corner in enumerate(value("HPF_HZ")):
        assert np.all(passes(0.1, hpf=position)["hpf"] == position)
        heard = line(left(seconds=1.0, note=33, hpf=position), low)
        flat = 1 / np.hypot(1, value("HPF_HZ")[0] / low)
        assert db(heard / wide) == pytest.approx(db(1 / np.hypot(1, corner / low) / flat), abs=0.2)
    losses = [line(left(seconds=1.0, note=33, hpf=position), low) for position in range(4)]
    assert np.all(np.diff(losses) < 0)


@moves("vcf_freq")
def test_vcf_freq_opens_the_filter_by_an_octave_every_nine_steps():
    brightness = []
    for freq in (40, 60, 80, 100, 120):
        rows = passes(0.1, vcf_freq=freq)
        assert np.all(rows["vcf_cv"][:, 0] == freq * 32)
        hz, power = powers(left(vcf_freq=freq, mix_dco1=40))
        brightness.append(np.sum(hz * power) / np.sum(power))
    assert np.all(np.diff(brightness) > 0)
    # two octaves above the cutoff four poles fall 24 dB an octave: an octave less of cutoff is 24 dB
    steps = round(value("VCF_COUNTS_PER_OCTAVE") / 128)
    open_, closed = (line(left(note=96, vcf_freq=f, mix_dco1=60), tuned(96)) for f in (52, 52 - steps))
    assert db(open_ / closed) == pytest.approx(24, abs=1.5)


@moves("vcf_res")
def test_vcf_res_raises_a_peak_at_the_cutoff():
    heights = []
    cutoff = value("VCF_BASE") * 2 ** (70 * 128 / value("VCF_COUNTS_PER_OCTAVE"))
    for resonance in (0, 64, 127):
        assert np.all(passes(0.1, vcf_res=resonance)["resonance_cv"] == resonance * 32)
        x = left(seconds=2.0, dco1_wave="noise", mix_dco1=8, vcf_freq=70, vcf_res=resonance)
        hz, power = powers(x, size=4096)
        near = (hz > 0.9 * cutoff) & (hz < 1.1 * cutoff)
        below = (hz > 100) & (hz < 300)
        heights.append(10 * np.log10(np.max(power[near]) / np.mean(power[below])))
    assert hz[np.argmax(power)] == pytest.approx(cutoff, rel=0.03)
    assert heights[0] < 0 and heights[1] > heights[0] + 6 and heights[2] > heights[1] + 6


@moves("vcf_lfo")
def test_vcf_lfo_swings_the_cutoff_in_proportion():
    for depth in (0, 32, 64, 127):
        rows = passes(1.0, vcf_freq=64, vcf_lfo=depth, lfo_wave="square", lfo_rate=100)
        expected = value("VCF_LFO_OCTAVES") * OCTAVE * depth / 127
        assert swing(rows["vcf_cv"][:, 0]) == pytest.approx(expected, abs=2)
        assert swing(pitch(rows)) == 0
    lowest, highest = int(rows["vcf_cv"][:, 0].min()), int(rows["vcf_cv"][:, 0].max())
    assert lowest + highest == pytest.approx(2 * 64 * 32, abs=2)


@moves("vcf_env")
def test_vcf_env_raises_the_cutoff_in_proportion():
    for depth in (0, 32, 64, 127):
        rows = passes(0.3, vcf_freq=10, vcf_env=depth, env1_d=0, env1_s=100)
        assert rows["vcf_cv"][-1, 0] == pytest.approx(10 * 32 + depth * 100 * 32 / 128, abs=2)


@moves("vcf_key")
def test_vcf_key_follows_the_keyboard_octave_for_octave_at_106():
    def cutoff(note, key):
        return int(passes(0.1, notes=((note, 100, 0, 60),), vcf_freq=64, vcf_key=key)["vcf_cv"][-1, 0])

    for key in (0, 53, 106, 127):
        for note in (36, 48, 60, 72, 84):
            expected = 64 * 32 + (note - 60) / 12 * OCTAVE * key / 106
            assert cutoff(note, key) == pytest.approx(expected, abs=3)


# --- VCA and chorus ------------------------------------------------------------------------------


def level_law(fraction):
    """Loudness in dB of a part of the full level: the exponential control input, 0 at 0."""
    unity = 10 ** (value("VCA_LEVEL_RANGE") / 20)
    return db((unity**fraction - 1) / (unity - 1))


@moves("vca_level")
def test_vca_level_is_exponential_and_silent_at_0():
    full = line(left(vca_level=127), F1)
    for level in (127, 100, 64, 32, 8):
        rows = passes(0.1, vca_level=level)
        assert np.ptp(rows["level_cv"]) == 0
        assert rows["level_cv"][0] == pytest.approx(value("VCA_LEVEL_UNITY") * level / 127, abs=1)
        assert db(line(left(vca_level=level), F1) / full) == pytest.approx(level_law(level / 127), abs=0.2)
    assert np.all(passes(0.1, vca_level=0)["level_cv"] == 0)
    assert not np.any(left(vca_level=0))


@moves("vca_mode")
def test_vca_mode_gate_is_open_while_the_key_is_down_and_env2_follows_its_envelope():
    slow = {"env2_a": 90, "env2_d": 60, "env2_s": 0, "env2_r": 100}
    rows = passes(1.0, notes=((60, 127, 0.0, 0.5),), vca_mode="gate", **slow)
    assert np.all(between(rows, 0.02, 0.49)["vca_cv"][:, 0] == 4095)
    assert np.all(between(rows, 0.52, 1.0)["vca_cv"][:, 0] == 0)
    rows = passes(1.0, notes=((60, 127, 0.0, 0.5),), vca_mode="env2", **slow)
    assert np.all(np.diff(between(rows, 0.02, 0.3)["vca_cv"][:, 0].astype(int)) > 0)
    assert np.all(between(rows, 0.52, 1.0)["vca_cv"][:, 0] > 0)


def chorus_tracks(mode):
    """Amplitude of a steady partial, left and right, 100 times a second."""
    stereo = sound(seconds=6.0, note=72, chorus=mode).astype(float)[RATE // 2 :]
    turn = np.exp(-2j * np.pi * tuned(72) / RATE * np.arange(len(stereo)))[:, None]
    window = np.hanning(1200)
    size = len(stereo) // 480 - 3
    return np.array([2 * np.abs(window @ (stereo * turn)[at * 480 :][:1200]) / window.sum() for at in range(size)]).T


def alike(a, b):
    return np.corrcoef(a, b)[0, 1]


def test_chorus_off_is_dry_and_the_same_on_both_sides():
    assert np.all(passes(0.1, chorus="off")["chorus"] == 0)
    stereo = sound(seconds=1.0, chorus="off")
    assert np.array_equal(stereo[:, 0], stereo[:, 1])
    track = chorus_tracks("off")
    assert np.ptp(track) < 0.01 * np.mean(track)


@moves("chorus")
@pytest.mark.parametrize(("code", "mode"), ((1, "1"), (2, "2")))
def test_chorus_sweeps_both_sides_in_antiphase_at_its_rate(code, mode):
    assert np.all(passes(0.1, chorus=mode)["chorus"] == code)
    one, two = chorus_tracks(mode)
    assert np.ptp(one) > 0.3 * np.mean(one), "dry and wet beat"
    period = round(100 / value("CHORUS_RATE")[code - 1])
    lags = np.arange(period // 2 + 10, period + 60)
    best = lags[np.argmax([alike(one[:-lag], one[lag:]) for lag in lags])]
    assert best == pytest.approx(period, rel=0.02)
    half = period // 2
    assert alike(one[half:], two[: len(two) - half]) > 0.95, "right is where left was half a turn ago"


# --- LFO -----------------------------------------------------------------------------------------


def lfo_track(seconds, **tone):
    """The LFO as the cutoff shows it: ``(seconds, -1..1)``."""
    rows = passes(seconds, vcf_freq=64, vcf_lfo=127, **tone)
    return seconds_of(rows), (rows["vcf_cv"][:, 0].astype(float) - 64 * 32) / (8191 * 127 / 256 / 4)


@moves("lfo_wave")
def test_lfo_wave_square_has_two_values_of_equal_length():
    _, track = lfo_track(4.0, lfo_wave="square", lfo_rate=64)
    assert set(np.round(track, 2)) == {-1.0, 1.0}
    flips = np.flatnonzero(np.diff(track))
    assert len(flips) > 8
    assert np.ptp(np.diff(flips)) <= 1


def test_lfo_wave_sine_is_a_triangle_of_constant_slope():
    _, track = lfo_track(4.0, lfo_wave="sine", lfo_rate=50)
    slope = np.abs(np.diff(track))
    assert np.median(slope) * 0.95 < np.percentile(slope, 10) and np.percentile(slope, 90) < np.median(slope) * 1.05
    assert track.max() == pytest.approx(1, abs=0.05) and track.min() == pytest.approx(-1, abs=0.05)


def test_lfo_wave_random_takes_a_new_value_once_a_cycle():
    _, track = lfo_track(20.0, lfo_wave="random", lfo_rate=80)
    changes = np.flatnonzero(np.diff(track))
    period = 1 / (LOOP * lfo_hz(80))
    assert len(changes) == pytest.approx(len(track) / period, abs=2)
    assert np.diff(changes) == pytest.approx(period, abs=1)
    values = track[changes]
    assert len(set(values)) > 0.9 * len(values)
    assert swing(values) > 0.8 and abs(np.mean(values)) < 0.3


def lfo_hz(rate):
    slow, fast = value("LFO_SLOW"), value("LFO_FAST")
    return slow * (fast / slow) ** (rate / 127)


@moves("lfo_rate")
@pytest.mark.parametrize("rate", (0, 20, 64, 90, 127))
def test_lfo_rate_sets_the_period(rate):
    now, track = lfo_track(max(1.5, 3.2 / lfo_hz(rate)), lfo_wave="square", lfo_rate=rate)
    rising = now[1:][np.diff(track) > 0]
    assert len(rising) > 2
    period = (rising[-1] - rising[0]) / (len(rising) - 1)
    assert 1 / period == pytest.approx(lfo_hz(rate), rel=0.02)


def fade_of(delay, notes=((60, 127, 0.0, 60.0),), seconds=8.0):
    """``(seconds, 0..1)``: how much of the LFO is let through."""
    rows = passes(seconds, notes=notes, vcf_freq=64, vcf_lfo=127, lfo_wave="square", lfo_rate=90, lfo_delay=delay)
    return seconds_of(rows), np.abs(rows["vcf_cv"][:, 0].astype(float) - 64 * 32) / 1015


@moves("lfo_delay")
def test_lfo_delay_holds_the_lfo_off_and_lets_it_in_slowly():
    starts, ends = [], []
    for delay in (0, 40, 80, 117, 127):
        now, track = fade_of(delay)
        starts.append(first_time(now, track > 0.02))
        ends.append(first_time(now, track > 0.98))
        assert np.all(np.diff(track) >= -0.01), "it never goes back"
        assert starts[-1] == pytest.approx(value("LFO_DELAY_LOOPS") * LOOP * (delay / 127) ** 2, abs=0.1)
    assert np.all(np.diff(starts) > 0) and np.all(np.diff(ends) > 0)
    assert starts[0] < 0.02 and ends[0] < 0.02, "no delay at 0"


def test_lfo_delay_starts_again_only_when_no_voice_was_running():
    _, held = fade_of(60, notes=((60, 127, 0.0, 60.0), (64, 127, 3.0, 1.0)), seconds=4.0)
    assert np.all(held[-90:] > 0.98), "another key beside one that is held: no new delay"
    now, again = fade_of(60, notes=((60, 127, 0.0, 2.5), (64, 127, 3.0, 1.0)), seconds=4.0)
    assert np.all(again[(now > 3.02) & (now < 3.5)] < 0.02), "after all keys were up: delayed again"


@pytest.mark.parametrize("delay", (60, 83, 85, 116, 119, 127))
def test_lfo_delay_fades_in_for_as_long_as_it_held_off(delay):
    now, track = fade_of(delay)
    start_ = first_time(now, track > 0)
    fade = first_time(now, track > 0.99) - start_
    assert fade == pytest.approx(start_, rel=0.25)


# --- envelopes -----------------------------------------------------------------------------------


@moves("env1_a", "env2_a")
@BOTH_ENVELOPES
def test_env_attack_is_a_straight_line_that_lasts_longer_at_larger_values(env):
    times = []
    for attack in (0, 30, 60, 90, 110, 127):
        now, level = envelope(env, 10.0, **{f"env{env}_a": attack})
        times.append(first_time(now, level > 0.995) - first_time(now, level > 0))
        rise = level[: np.argmax(level > 0.995)]
        rise = rise[rise > 0]
        if len(rise) > 4:
            assert np.diff(rise) == pytest.approx(np.mean(np.diff(rise)), rel=0.1, abs=0.001)
    assert np.all(np.diff(times) > 0)
    assert times[0] <= LOOP and 5 < times[-1] < 10


@moves("env1_d", "env2_d")
@BOTH_ENVELOPES
def test_env_decay_lasts_longer_at_larger_values(env):
    times = []
    for decay in (0, 30, 60, 90, 110, 127):
        now, level = envelope(env, 20.0, **{f"env{env}_d": decay, f"env{env}_s": 0})
        times.append(first_time(now, (now > 0.02) & (level < 0.5)))
    assert np.all(np.diff(times[1:]) > 0) and times[1] >= times[0]
    assert times[0] < 0.05 and times[-1] > 10
    now, level = envelope(env, 3.0, **{f"env{env}_d": 80, f"env{env}_s": 0})
    halves = [first_time(now, (now > 0.02) & (level < part)) for part in (0.8, 0.4, 0.2)]
    assert np.diff(halves)[1] == pytest.approx(np.diff(halves)[0], rel=0.05), "exponential: each half takes as long"


@moves("env1_s", "env2_s")
@BOTH_ENVELOPES
def test_env_sustain_is_the_level_a_held_key_comes_to_rest_at(env):
    for sustain in (0, 1, 32, 64, 100, 127):
        _, level = envelope(env, 1.0, **{f"env{env}_d": 20, f"env{env}_s": sustain})
        assert level[-10:] == pytest.approx(sustain / 128, abs=0.001)


@moves("env1_r", "env2_r")
@BOTH_ENVELOPES
def test_env_release_lasts_longer_at_larger_values(env):
    times = []
    for release in (0, 30, 60, 90, 110, 127):
        now, level = envelope(env, 20.0, ((60, 127, 0.0, 0.3),), **{f"env{env}_r": release})
        assert level[(now > 0.05) & (now < 0.3)] == pytest.approx(1, abs=0.02), "held until the key goes up"
        times.append(first_time(now, (now > 0.3) & (level < 0.5)) - 0.3)
    assert np.all(np.diff(times[1:]) > 0) and times[1] >= times[0]
    assert times[0] < 0.03 and times[-1] > 10


@moves("env1_key", "env2_key")
@BOTH_ENVELOPES
@pytest.mark.parametrize(("follow", "halving"), ((0, None), (1, 60), (2, 30), (3, 15)))
def test_env_key_halves_all_times_over_60_30_and_15_semitones(env, follow, halving):
    def fall(note, stage):
        slow = {"a": {"a": 110}, "d": {"d": 100, "s": 0}, "r": {"r": 100}}[stage]
        setting = {f"env{env}_{name}": setting for name, setting in slow.items()}
        down = ((note, 127, 0.0, 60.0 if stage != "r" else 0.05),)
        now, level = envelope(env, 8.0, down, **{f"env{env}_key": follow}, **setting)
        after = first_time(now, level > 0.9) if stage != "a" else 0.0
        return first_time(now, (now > after) & ((level > 0.5) if stage == "a" else (level < 0.5))) - after

    for stage in "adr":
        assert fall(LOWEST_KEY, stage) > 0.8
        expected = 1.0 if halving is None else 0.5
        ratio = fall(LOWEST_KEY + (halving or 60), stage) / fall(LOWEST_KEY, stage)
        assert ratio == pytest.approx(expected, rel=0.06)


@BOTH_ENVELOPES
def test_env_key_leaves_the_lowest_key_as_set(env):
    times = []
    for follow in range(4):
        now, level = envelope(
            env, 6.0, ((LOWEST_KEY, 127, 0, 60),), **{f"env{env}_key": follow, f"env{env}_d": 100, f"env{env}_s": 0}
        )
        times.append(first_time(now, (now > 0.02) & (level < 0.5)))
    assert np.ptp(times) == 0


# --- portamento ----------------------------------------------------------------------------------


def glide(time, first=48, last=72, switch=127, seconds=4.0):
    """``(seconds, pitch)`` of a voice that is started on one note and, at 0.2 s, on another."""
    events = [wire(0.1, 0xB0, time, 0xB5, 0), start(0.1, first), wire(0.15, 0xB5, switch), start(0.2, last)]
    rows = between(passes(seconds, events, notes=()), 0.18, seconds)
    return seconds_of(rows), pitch(rows)


def glide_time(*arguments, **more):
    now, track = glide(*arguments, **more)
    return first_time(now, np.abs(track - track[-1]) < 0.02) - first_time(now, np.abs(track - track[0]) > 0.02) + LOOP


@moves(0xB0)
def test_b0_portamento_time_lengthens_the_glide():
    times = [glide_time(time) for time in (0, 20, 40, 60, 80)]
    assert times[0] == pytest.approx(LOOP, abs=0.001)
    assert np.all(np.diff(times) > 0)
    _, track = glide(60)
    steps = np.diff(track[(track > 49) & (track < 71)])
    assert len(steps) > 5
    assert steps == pytest.approx(np.mean(steps), rel=0.1), "a constant rate in semitones"
    assert glide_time(60, 48, 60) == pytest.approx(glide_time(60, 48, 72) / 2, rel=0.05)
    assert glide_time(60, 72, 48) == pytest.approx(glide_time(60, 48, 72), rel=0.05), "down as up"
    assert track[-1] == pytest.approx(72, abs=0.01)


@moves(0xB5)
def test_b5_portamento_switch_off_jumps_and_on_glides():
    _, off = glide(80, switch=0)
    assert np.all((np.abs(off - 48) < 0.02) | (np.abs(off - 72) < 0.02))
    _, on = glide(80, switch=127)
    assert np.sum((on > 49) & (on < 71)) > 20


# --- bender --------------------------------------------------------------------------------------


def bent(magnitude, polarity, bend_range=0):
    rows = passes(0.3, [wire(0.1, 0xB7, bend_range, 0xBF, polarity, 0xB2, magnitude)])
    assert pitch(between(rows, 0, 0.09)) == pytest.approx(60, abs=0.01)
    assert pitch(rows, 1)[-1] == pitch(rows, 0)[-1], "both DCOs alike"
    return pitch(rows)[-1] - 60


@moves(0xB2)
def test_b2_bender_bends_in_proportion_to_its_magnitude():
    for magnitude in (0, 16, 64, 100, 127):
        assert bent(magnitude, 127) == pytest.approx(2 * magnitude / 127, abs=0.01)


@moves(0xBF)
def test_bf_bender_polarity_turns_the_bend_up_and_down():
    assert bent(127, 0x7F) == pytest.approx(2, abs=0.01)
    assert bent(127, 0x00) == pytest.approx(-2, abs=0.01)


@moves(0xB7)
@pytest.mark.parametrize(("bend_range", "semitones"), ((0x00, 2), (0x20, 3), (0x40, 4), (0x60, 7), (0x70, 12)))
def test_b7_bend_range_is_2_3_4_7_or_12_semitones(bend_range, semitones):
    assert bent(127, 127, bend_range) == pytest.approx(semitones, abs=0.02)
    assert bent(127, 0, bend_range) == pytest.approx(-semitones, abs=0.02)


def test_a_bend_event_goes_out_as_range_magnitude_and_polarity():
    for position, semitones in ((8191, 7 * 126 / 127), (-8192, -7), (0, 0)):
        rows = passes(0.2, [jxemu.Event(0, "bend_range", 0x60), jxemu.Event(0.05, "bend", position)])
        assert pitch(rows)[-1] - 60 == pytest.approx(semitones, abs=0.02)


# --- tuning --------------------------------------------------------------------------------------


def all_voices(*tuning):
    """Pitch of the six voices, all started on A = 440 Hz."""
    events = [*(start(0.02 * v, 69, v) for v in range(6)), wire(0.15, *tuning)]
    rows = jxemu.trace(jxemu.Tone(), [], 0.3, events=events)
    return np.array([pitch(rows[-1:], 0, v)[0] for v in range(6)])


@moves(0xB4)
def test_b4_master_tune_1_tunes_voices_0_to_2():
    track = all_voices(0xB4, 0x2C + 64, 0xBE, 0x2C)
    assert track == pytest.approx([69.25] * 3 + [69] * 3, abs=0.01)


@moves(0xBE)
def test_be_master_tune_2_tunes_voices_3_to_5():
    track = all_voices(0xB4, 0x2C, 0xBE, 0x2C - 32)
    assert track == pytest.approx([69] * 3 + [68.875] * 3, abs=0.01)


def test_b4_and_be_together_reach_from_436_to_448_hz():
    for register, hz in ((0, 435.8), (0x2C, 440.0), (127, 448.1)):
        assert 440 * 2 ** ((all_voices(0xB4, register, 0xBE, register) - 69) / 12) == pytest.approx(hz, abs=0.3)


# --- modulation and aftertouch -------------------------------------------------------------------


SHAKING = {"lfo_wave": "square", "lfo_rate": 100, "vcf_freq": 20, "vca_level": 80}


def touched(*data, **tone):
    """Vibrato of both DCOs in semitones, rise of cutoff and of level in DAC steps, that bytes bring about."""
    rows = passes(1.0, [wire(0.1, *data)], **{**SHAKING, **tone})
    before, after = between(rows, 0, 0.1)[-1], between(rows, 0.15, 1.0)
    assert np.ptp(after["vcf_cv"][:, 0]) == 0 and np.ptp(after["level_cv"]) == 0
    shake = swing(pitch(after, 0)), swing(pitch(after, 1))
    rises = (int(after["vcf_cv"][0, 0]) - int(before["vcf_cv"][0]), int(after["level_cv"][0]) - int(before["level_cv"]))
    return (*shake, *rises)


@moves(0xBC)
def test_bc_modulation_shakes_both_dcos_in_proportion():
    for wheel in (0, 32, 64, 127):
        dco1, dco2, *rest = touched(0xBC, wheel)
        assert (dco1, dco2) == pytest.approx((value("DCO_LFO_RANGE") * wheel / 128,) * 2, abs=0.02)
        assert rest == [0, 0]


def test_bc_modulation_adds_to_the_depth_the_tone_has():
    dco1, dco2, *_ = touched(0xBC, 32, dco1_lfo=32)
    assert dco1 == pytest.approx(2 * dco2, rel=0.05)


@moves(0xB3)
def test_b3_aftertouch_acts_in_proportion_on_all_it_is_switched_to():
    switched = (0xB8, 127, 0xB9, 127, 0xBA, 127, 0x8C, 64, 0x8D, 64, 0x8E, 64)
    assert touched(*switched, 0xB3, 0) == (0, 0, 0, 0)
    half, full = touched(*switched, 0xB3, 64), touched(*switched, 0xB3, 127)
    assert all(part > 0 for part in half)
    assert np.array(half) / full == pytest.approx(0.5, abs=0.02)


ONLY_ONE = ((0xB8, 0x8C), (0xB9, 0x8D), (0xBA, 0x8E))


def pressed(switch, depth_of, depth):
    """`touched` with full aftertouch through one route, the others switched off."""
    off = [byte for number, _ in ONLY_ONE if number != switch for byte in (number, 0)]
    return touched(*off, 0x8C, 127, 0x8D, 127, 0x8E, 127, switch, 127, depth_of, depth, 0xB3, 127)


@moves(0xB8, 0xB9, 0xBA)
@pytest.mark.parametrize("route", range(3), ids=("vibrato", "brilliance", "volume"))
def test_after_switch_lets_aftertouch_through_to_its_own_target(route):
    def at_targets(*data):
        dco1, dco2, cutoff, level = touched(0x8C, 90, 0x8D, 90, 0x8E, 90, *data, 0xB3, 127)
        assert dco1 == dco2
        return np.array([dco1, cutoff, level])

    off = at_targets(0xB8, 0, 0xB9, 0, 0xBA, 0)
    assert np.all(off == 0)
    switch = ONLY_ONE[route][0]
    on = at_targets(0xB8, 0, 0xB9, 0, 0xBA, 0, switch, 127)
    assert on[route] > 0
    assert np.all(np.delete(on, route) == 0)


@moves(0x8C)
def test_8c_after_vibrato_depth_sets_the_vibrato():
    for depth in (0, 32, 64, 127):
        dco1, dco2, *rest = pressed(0xB8, 0x8C, depth)
        assert (dco1, dco2) == pytest.approx((value("DCO_LFO_RANGE") * depth / 128,) * 2, abs=0.05)
        assert rest == [0, 0]


@moves(0x8D)
def test_8d_after_brilliance_depth_sets_how_far_the_filter_opens():
    rises = [pressed(0xB9, 0x8D, depth)[2] for depth in (0, 32, 64, 127)]
    assert rises[0] == 0
    assert np.array(rises) / rises[-1] == pytest.approx(np.array([0, 32, 64, 127]) / 127, abs=0.02)
    assert 1 < rises[-1] / OCTAVE < 6, "octaves"
    touches = [wire(0, 0xB8, 0, 0xB9, 127, 0x8D, 127, 0xB3, pressure) for pressure in (0, 127)]
    dull, bright = (lines(left(vcf_freq=50, events=(touch,)), F1, 6) for touch in touches)
    assert db(bright[5] / bright[0]) > db(dull[5] / dull[0]) + 20


@moves(0x8E)
def test_8e_after_volume_depth_sets_how_much_louder_it_gets():
    rises = [pressed(0xBA, 0x8E, depth)[3] for depth in (0, 32, 64, 127)]
    assert rises[0] == 0
    assert np.array(rises) / rises[-1] == pytest.approx(np.array([0, 32, 64, 127]) / 127, abs=0.02)
    touches = [wire(0, 0xB8, 0, 0xBA, 127, 0x8E, 127, 0xB3, pressure) for pressure in (0, 127)]
    soft, loud = (line(left(vca_level=80, events=(touch,)), F1) for touch in touches)
    unity = value("VCA_LEVEL_UNITY")
    expected = level_law(80 / 127 + rises[-1] / unity) - level_law(80 / 127)
    assert db(loud / soft) == pytest.approx(expected, abs=0.3)


# --- volume, silence, hold, check env ------------------------------------------------------------


@moves(0xB1)
def test_b1_volume_scales_the_level_voltage_and_is_silent_at_0():
    full = float(passes(0.3, vca_level=100)["level_cv"][-1])
    loud = line(left(vca_level=100), F1, 0.2)
    for volume in (127, 90, 64, 20):
        rows = passes(0.3, [wire(0.05, 0xB1, volume)], vca_level=100)
        assert rows["level_cv"][-1] == pytest.approx(full * volume / 127, abs=1)
        heard = line(left(vca_level=100, events=(wire(0.05, 0xB1, volume),)), F1, 0.2)
        expected = level_law(100 / 127 * volume / 127) - level_law(100 / 127)
        assert db(heard / loud) == pytest.approx(expected, abs=0.2)
    closed = left(vca_level=100, events=(wire(0.05, 0xB1, 0),))
    assert np.max(np.abs(closed[-RATE // 10 :])) < 1e-6, "only the coupling capacitor still drains"


@moves(0xB6)
def test_b6_silence_closes_all_gates_at_once():
    chord = [start(0.01 * v, 60 + v, v) for v in range(6)]
    for more in ([], [wire(0.1, 0xBB, 127)]):
        rows = jxemu.trace(
            jxemu.Tone(env2_r=127, env1_r=127), [], 0.6, events=[*chord, *more, wire(0.2, 0xB6, 127), start(0.4, 72, 2)]
        )
        assert np.all(rows["vca_cv"][np.searchsorted(rows["at_cycles"], 150_000)] > 4000)
        quiet = between(rows, 0.2 + 1.5 * LOOP, 0.4)
        assert np.all(quiet["vca_cv"] == 0), "within a loop, whatever the release and the pedal say"
        assert np.all(rows["vca_cv"][-1] > 4000 * (np.arange(6) == 2) - 1), "and the next note sounds"
        assert np.count_nonzero(rows["vca_cv"][-1]) == 1
    mode = jxemu.trace(jxemu.Tone(vca_mode="gate"), [], 0.4, events=[*chord, wire(0.2, 0xB6, 127)])
    assert np.all(mode["vca_cv"][-1] == 0)


@moves(0xBB)
def test_bb_hold_defers_the_release_until_the_pedal_is_up():
    notes = ((60, 127, 0.0, 0.3),)
    pedal = [wire(0.2, 0xBB, 127), wire(0.7, 0xBB, 0)]
    for mode in ("env2", "gate"):
        plain = passes(1.0, notes=notes, vca_mode=mode, env2_r=0)
        assert np.all(between(plain, 0.35, 1.0)["vca_cv"][:, 0] == 0)
        held = passes(1.0, pedal, notes, vca_mode=mode, env2_r=0)
        assert np.all(between(held, 0.3, 0.69)["vca_cv"][:, 0] > 4000)
        assert np.all(between(held, 0.75, 1.0)["vca_cv"][:, 0] == 0)
    down = passes(1.0, pedal, ((60, 127, 0.0, 0.9),), env2_r=0)
    assert np.all(between(down, 0.1, 0.89)["vca_cv"][:, 0] > 4000), "a key that is still down is not released"


def restarted(check, second_at=0.3, release_at=None):
    """``(seconds, pitch, level)`` of a voice started twice, its envelope long past its attack."""
    events = [wire(0.0, 0xBD, check), start(0.01, 60), start(second_at, 64)]
    if release_at is not None:
        events.append(wire(release_at, 0xD0, 60, 0))
    rows = passes(0.6, sorted(events, key=lambda event: event.at), notes=(), env2_d=40, env2_s=40)
    return seconds_of(rows), pitch(rows), rows["vca_cv"][:, 0].astype(int)


@moves(0xBD)
def test_bd_check_env_keeps_the_envelope_of_a_voice_whose_gate_is_up():
    for check, again in ((0, True), (127, False)):
        now, track, level = restarted(check)
        assert track[now < 0.29][-1] == pytest.approx(60, abs=0.01)
        assert track[-1] == pytest.approx(64, abs=0.01), "the pitch follows the new key either way"
        assert level[now < 0.29][-1] == pytest.approx(40 * 32, abs=50)
        assert bool(level[now > 0.3].max() > 4000) == again
    now, _, level = restarted(127, release_at=0.2)
    assert level[now > 0.3].max() > 4000, "a voice that was let go starts afresh"


def test_bd_check_env_never_swallows_the_start_of_a_free_voice():
    """Two keys for one voice within a loop: the first one has not been looked at yet, it must not be lost."""
    for check in (0, 127):
        _, _, level = restarted(check, second_at=0.01)
        assert level.max() > 4000


@pytest.mark.parametrize("pedal", (0, 1, 127))
def test_hold_as_a_controller_is_on_from_1(pedal):
    """The owner's manual: controllers 64 and 65 are on at 1 and above."""
    notes = ((60, 127, 0.0, 0.3),)
    rows = passes(0.8, [jxemu.Event(0.1, "hold", pedal)], notes, env2_r=0)
    assert bool(rows["vca_cv"][-1, 0] > 4000) == (pedal >= 1)


@pytest.mark.parametrize("pedal", (0, 1, 127))
def test_portamento_switch_as_a_controller_is_on_from_1(pedal):
    events = [start(0.0, 48), jxemu.Event(0.1, "portamento_time", 80)]
    events += [jxemu.Event(0.1, "portamento_switch", pedal), start(0.2, 72)]
    track = pitch(passes(0.8, events, notes=()))
    assert bool(np.any((track > 49) & (track < 71))) == (pedal >= 1)
