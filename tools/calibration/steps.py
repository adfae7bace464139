"""The steps of the kit: one circuit at a time, shown at several values, and how each is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration import measures
from jxemu import Tone, protocol
from jxemu.app.board import arrivals, whole_tone
from jxemu.bridge.serial_link import GREETING
from jxemu.clock import CYCLES_PER_BYTE, CYCLES_PER_SECOND
from jxemu.patch.parameter import CHORUSES, HPFS, LFO_WAVES, RANGES
from jxemu.soundboard.parts import value as constant
from jxemu.soundboard.tables import LOOP_SECONDS

VERSION = 4
START = 0.5
"""Seconds before the first marker, in which the board is greeted."""

TOLD = 0.12
"""Seconds that a tone takes on the wire, and a little for the program's loop."""

SET = 0.03
"""Seconds before a key at which controls are set: after the notes that lead to it have been struck."""

REST = 0.03
"""Seconds between two shots, in which a released voice falls silent."""

SELECTS = {"only": protocol.SELECT_BOTH, "lower": protocol.SELECT_LOWER, "upper": protocol.SELECT_UPPER}
"""Which board is shown: a JX-8P's only one, or one of a Super JX."""

MARK_NOTE = 81
SAW = Tone(
    "SAW", dco1_wave="saw", mix_dco1=127, mix_dco2=0, vcf_freq=127, vca_level=127, env2_a=0, env2_s=127, env2_r=0
)
SECOND = SAW.replace(dco2_wave="saw", mix_dco1=0, mix_dco2=127)
NOISE = SAW.replace(dco1_wave="noise")
SPREAD = (*range(0, 128, 16), 127)
ALL = tuple(range(128))


@dataclass(frozen=True)
class Shot:
    """A note of a step: the value that is shown, its tone, key, how long the key is down and how long it is heard.

    voice : 0..5, that plays.  ratio : of the pitch that is expected to the key's.
    controls : parameters beside the tone's, by number; the next shot finds them as `PLAIN` says.
    company : other notes (voice, key, seconds from this key on, seconds held), before it or with it; held for 0 s: until this
    one ends.  traffic : what is sent every so many seconds while the key is down, by the byte that selects the board.
    """

    value: float
    tone: Tone
    note: int = 57
    hold: float = 1.0
    seconds: float = 1.0
    voice: int = 0
    ratio: float = 1.0
    controls: tuple[tuple[int, int], ...] = ()
    velocity: int = 100
    company: tuple[tuple[int, int, float, float], ...] = ()
    traffic: tuple[float, Callable[[int], bytes]] | None = None

    @property
    def lead(self) -> float:
        """Seconds before the key in which others sound."""
        return max((-begin for _, _, begin, _ in self.company), default=0.0)


PLAIN = {protocol.VOLUME: 127}
"""Of parameters beside the tone's: where they stand when nothing is asked of them, if that is not 0."""


@dataclass(frozen=True)
class Row:
    """What a recording says about a value: measured, and its standard error."""

    value: float
    measured: float
    error: float


@dataclass(frozen=True)
class Step:
    """One circuit, shown at several values.

    columns : what is measured, and its unit; tables are named as they are.  over : what the values are.
    question : what it settles (open_questions.md), empty for a known law.
    relative : levels are given beside the last shot's.  logarithmic : columns are ratios, and drawn so.
    beside_first : shots are measured beside the first one, which is none of its own.  released : they are measured from
    when the key is let go on.  led : from the notes that lead to them on.  left : on the left channel alone.  dense : all 128 values are shown, `generate --every`
    takes fewer.  asked : shown only where it is asked for by name, since someone must do something meanwhile.
    """

    about: str
    columns: dict[str, str]
    over: str
    question: str
    shots: Sequence[Shot]
    measure: Callable[..., measures.Measured]
    relative: bool = False
    logarithmic: bool = False
    beside_first: bool = False
    released: bool = False
    led: bool = False
    left: bool = False
    dense: bool = False
    asked: bool = False


def _levels(name: str, tone: Tone, values: Sequence[int] = SPREAD) -> list[Shot]:
    return [Shot(value, tone.replace(**{name: value})) for value in values]


def _law(first: str, last: str, value: int) -> float:
    """A constant of value 0 on its way to that of value 127."""
    return constant(first) * (constant(last) / constant(first)) ** (value / 127)


def _attacks(value: int) -> Shot:
    seconds = LOOP_SECONDS * constant("ENV_FULL") / _law("ATTACK_FAST", "ATTACK_SLOW", value)
    hold = round(1.15 * seconds + 0.2, 2)
    return Shot(value, SAW.replace(env2_a=value), 81, hold, hold)


def _falls(value: int) -> float:
    tau = LOOP_SECONDS * _law("DECAY_FAST_LOOPS", "DECAY_SLOW_LOOPS", value)
    return round(min(max(2.5 * tau, 0.3), 1.4 * tau + 1.0), 2)


def _rates(value: int) -> Shot:
    hold = round(max(1.0, 2.2 / _law("LFO_SLOW", "LFO_FAST", value) + 0.3), 2)
    return Shot(value, _SWEPT.replace(lfo_rate=value), 69, hold, hold)


_SWEPT = SAW.replace(vcf_freq=64, vcf_lfo=60, lfo_wave="square", lfo_delay=0)
_LOW = 40
"""A key whose partials lie close, and none of the first five within 2 Hz of mains hum: 82.4 Hz."""

_COARSE = (24, 26, 28, 35, 37)
_PEAKED = SAW.replace(vcf_res=80, mix_dco1=64)
_RINGING = SAW.replace(vcf_res=127, mix_dco1=0)
_VOICES = range(protocol.VOICES)
_CURVES, _STRUCK = (1, 2, 3), (1, 32, 64, 96, 127)
_BENT = SAW.replace(dco_mode="env1", env1_a=0, env1_s=127)
_SWELLED = SECOND.replace(mix_mode="env1", env1_a=0, env1_s=127)
_SYNCED = SECOND.replace(dco2_tune=100)
_SWUNG = SAW.replace(dco1_wave="square", vcf_freq=65, vcf_lfo=40, lfo_wave="sine", lfo_rate=60, lfo_delay=0)
"""The LFO moves the filter's slope over the tone, in steps of the program's loop: a decibel each, where an envelope's are far less."""

_PASS = {"note": 81, "hold": 3.0, "seconds": 3.0}
_BESIDE = 88
_HIGH = 100
"""A key whose level can be followed through steps of a few milliseconds: 2.6 kHz."""

_VIBRATO = SAW.replace(lfo_wave="square", lfo_rate=44, lfo_delay=0)
_DELAYED = _SWEPT.replace(lfo_rate=110, vcf_lfo=16)
_STRUCK_AGAIN = SAW.replace(env2_d=64, env2_s=48, env2_r=96)
_CHORD = (45, 52, 61, 66, 71, 80)
_TAUGHT = 0.3
"""Seconds between two tellings of a tone to a board that may have been switched off."""


def _glide(octaves: int, time: int, seconds: float) -> Shot:
    """From so many octaves below the key."""
    controls = ((protocol.PORTAMENTO_SWITCH, 127), (protocol.PORTAMENTO_TIME, time))
    before = (0, 69 - 12 * octaves, -0.6, 0.5)
    return Shot(1000 * octaves + time, SAW, 69, seconds, seconds, controls=controls, company=(before,))


def _filled(share: float) -> Shot:
    """With a share of the line filled, by what changes nothing."""
    same = protocol.parameter(protocol.VOLUME, 127)
    every = (1 + len(same)) * CYCLES_PER_BYTE / CYCLES_PER_SECOND  # a board is selected each time
    traffic = (every / share, lambda select: bytes([select]) + same) if share else None
    return Shot(100 * share, _SWUNG, **_PASS, traffic=traffic)


def _chord(voices: int, chorus: int) -> Shot:
    tone = SAW.replace(vcf_freq=100, chorus=CHORUSES[chorus])
    others = tuple((voice, _CHORD[voice], 0.0, 0.0) for voice in range(1, voices))
    return Shot(100 * chorus + voices, tone, _CHORD[0], 2.0, 2.0, company=others)


def _again(value: int, check: int, held: float) -> Shot:
    controls = ((protocol.CHECK_ENV, check),)
    return Shot(value, _STRUCK_AGAIN, 81, 0.8, 0.8, controls=controls, company=((0, 81, -1.6, held),))


_ONE = {"note": _LOW, "hold": 1.2, "seconds": 1.2}
_LONG = {"note": _LOW, "hold": 2.4, "seconds": 2.4}

STEPS: dict[str, Step] = {
    "pitch": Step(
        "DCO1 over the keyboard at 8'", {"pitch": "cents"}, "note", "",
        [Shot(note, SAW, note) for note in range(36, 97, 12)], measures.pitch,
    ),
    "lowest": Step(
        "DCO1 on the lowest keys at 8', where its counter ends", {"lowest": "cents"}, "note", "range-prescaler",
        [Shot(note, SAW, note, hold=2.0, seconds=2.0) for note in (18, 20, 22, 24, 26)], measures.pitch,
    ),
    "ranges": Step(
        "DCO1's ranges", {"ranges": "cents"}, "ratio", "range-prescaler",
        [
            Shot(ratio, SAW.replace(dco1_range=RANGES[n]), 60, ratio=ratio)
            for n, ratio in enumerate((0.5, 1.0, 2.0, 4.0))
        ],
        measures.pitch,
    ),
    "level": Step(
        "level of a saw over the keyboard", {"level": "dB"}, "note", "range-prescaler",
        [Shot(note, SAW, note) for note in range(36, 97, 12)], measures.level,
    ),
    "tilt": Step(
        "how a saw's partials fall beside 1/n", {"tilt": "dB an octave"}, "note", "ramp-shape",
        [Shot(note, SAW, note) for note in range(33, 82, 12)], measures.tilt,
    ),
    "duty": Step(
        "duty of the pulse", {"duty": "%"}, "note", "pulse-duty",
        [Shot(57, SAW.replace(dco1_wave="pulse", mix_dco1=80), hold=2.0, seconds=2.0)], measures.duty,
    ),
    "noise": Step(
        "level of noise", {"noise": "dB"}, "mix_dco1", "noise-source",
        [Shot(value, NOISE.replace(mix_dco1=value), hold=4.0, seconds=4.0) for value in (64,)], measures.loudness,
    ),
    "mixer": Step("the mixer's law", {"mixer": "dB"}, "mix_dco1", "mixer-level", _levels("mix_dco1", SAW.replace(vcf_freq=90)), measures.level, relative=True),
    "vca": Step("VCA level's law", {"vca": "dB"}, "vca_level", "vca-law", _levels("vca_level", SAW), measures.level, relative=True),
    "volume": Step(
        "volume's law", {"volume": "dB"}, "volume", "vca-law",
        [Shot(value, SAW, controls=((protocol.VOLUME, value),)) for value in SPREAD], measures.level, relative=True,
    ),
    "cutoff": Step(
        "the filter over VCF FREQ, at a resonance of 80", {"cutoff": "Hz", "damping": ""}, "vcf_freq", "vcf-scale",
        [Shot(value, _PEAKED.replace(vcf_freq=value), **_ONE) for value in range(48, 89, 8)], measures.response, logarithmic=True,
    ),
    "resonance": Step(
        "the filter over VCF RES, at a cutoff of some 600 Hz", {"centre": "Hz", "resonance": ""}, "vcf_res", "resonance-law",
        [Shot(value, SAW.replace(vcf_freq=60, vcf_res=value, mix_dco1=32), **_ONE) for value in SPREAD],
        measures.response, logarithmic=True,
    ),
    "ringing": Step(
        "level at full resonance with nothing going in", {"ringing": "dB"}, "vcf_freq", "resonance-topology",
        [Shot(value, _RINGING.replace(vcf_freq=value), hold=1.0) for value in (48, 64, 80)], measures.loudness,
    ),
    "keyfollow": Step(
        "cutoff by the key at full key follow", {"keyfollow": "Hz", "keydamping": ""}, "note", "vcf-scale",
        [Shot(note, _PEAKED.replace(vcf_freq=70, vcf_key=constant("VCF_KEY_FULL")), note, 1.2, 1.2) for note in (40, 48, 60, 72)],
        measures.response, logarithmic=True,
    ),
    "hpf": Step(
        "corners of the high pass", {"hpf": "Hz"}, "position", "hpf-corners",
        [Shot(n, SAW.replace(hpf=HPFS[n]), 28, 2.0, 2.0) for n in range(4)], measures.corner, logarithmic=True,
        beside_first=True,
    ),
    "attack": Step(
        "ENV2's attack", {"attack": "s"}, "env2_a", "env-times", [_attacks(value) for value in ALL], measures.attack,
        logarithmic=True, dense=True,
    ),
    "decay": Step(
        "ENV2's decay", {"decay": "s"}, "env2_d", "env-times",
        [Shot(value, SAW.replace(env2_d=value, env2_s=0), 81, _falls(value), _falls(value)) for value in ALL],
        measures.fall, logarithmic=True, dense=True,
    ),
    "release": Step(
        "ENV2's release", {"release": "s"}, "env2_r", "env-times",
        [Shot(value, SAW.replace(env2_r=value), 81, 0.2, 0.2 + _falls(value)) for value in ALL[:112:8]],
        measures.fall, logarithmic=True, released=True,
    ),
    "lfo": Step(
        "LFO's rate", {"lfo": "Hz"}, "lfo_rate", "lfo-rates", [_rates(value) for value in ALL], measures.rate_of,
        logarithmic=True, dense=True,
    ),
    "chorus": Step(
        "the chorus's two modes", {"chorus": "Hz", "near": "ms", "far": "ms", "wet": ""}, "mode", "chorus-rates",
        [Shot(n, SAW.replace(chorus=CHORUSES[n]), _LOW, seconds, seconds) for n, seconds in enumerate((2.0, 12.0, 12.0))],
        measures.chorus,
        logarithmic=True, left=True, beside_first=True,
    ),
    "envpitch": Step(
        "DCO1 under ENV-1 at full sustain, beside what the depth should make of it", {"envpitch": "cents"}, "dco1_env", "mod-depths",
        [
            Shot(value, _BENT.replace(dco1_env=value), 45, ratio=2 ** (constant("DCO_ENV_RANGE") * value / 127 / 12))
            for value in (0, 8, 16, 24)
        ],
        measures.pitch,
    ),
    "inverted": Step(
        "the filter without ENV-1, with it and with it inverted, at full sustain", {"inverted": "Hz", "inverteddamping": ""},
        "0 none, 1 as it is, 2 inverted", "env-inverted",
        [
            Shot(n, _PEAKED.replace(vcf_freq=66, vcf_env=depth, vcf_mode=mode, env1_a=0, env1_s=127), **_ONE)
            for n, (mode, depth) in enumerate((("env1", 0), ("env1", 12), ("env1-inverted", 12)))
        ],
        measures.response, logarithmic=True,
    ),
    "dynamics": Step(
        "the VCA's dynamics", {"dynamics": "dB"}, "1000 curve + velocity", "dynamics-place",
        [
            Shot(1000 * curve + velocity, SAW.replace(vca_dyn=curve), velocity=velocity)
            for curve in _CURVES for velocity in _STRUCK
        ],
        measures.level, relative=True,
    ),
    "mixenv": Step(
        "DCO2's level under ENV-1 at full sustain", {"mixenv": "dB"}, "1000 mix_dco2 + mix_env", "mix-env",
        [
            Shot(1000 * level + depth, _SWELLED.replace(mix_dco2=level, mix_env=depth))
            for level in (0, 64) for depth in (32, 64, 127)
        ],
        measures.level, relative=True,
    ),
    "aftertouch": Step(
        "level under aftertouch, at half the VCA's", {"aftertouch": "dB"}, "1000 depth + aftertouch", "aftertouch-volume",
        [
            Shot(1000 * depth + pressed, SAW.replace(vca_level=64),
                 controls=((protocol.AFTER_VOLUME_SWITCH, 127), (protocol.AFTER_VOLUME_DEPTH, depth), (protocol.AFTERTOUCH, pressed)))
            for depth in (64, 127) for pressed in (0, 32, 64, 96, 127)
        ],
        measures.level, relative=True,
    ),
    "limit": Step(
        "level of a saw at full resonance as it gets louder", {"limit": "dB"}, "mix_dco1", "vca-input",
        [Shot(value, SAW.replace(vcf_freq=60, vcf_res=127, mix_dco1=value), **_ONE) for value in (4, 8, 16, 32, 64, 127)],
        measures.level, relative=True,
    ),
    "xmod": Step(
        "how much of DCO2, some semitones above DCO1, has DCO1's pitch", {"xmod": "dB"}, "0 off, 1 SYNC1, 2 SYNC2, 3 XMOD", "xmod-wiring",
        [Shot(code, _SYNCED.replace(dco_xmod=code), 45) for code in range(4)], measures.level,
    ),
    "loop": Step(
        "the program's loop, by the steps in which the LFO moves the filter", {"loop": "ms"}, "", "loop-time", [_filled(0.0)], measures.loop,
    ),
    "stagger": Step(
        "how much later each voice steps than voice 1", {"stagger": "ms"}, "voice", "loop-time",
        [Shot(voice + 1, _SWUNG, **_PASS, company=((voice, _BESIDE, 0.0, 0.0),)) for voice in _VOICES[1:]], measures.stagger,
    ),
    "interrupt": Step(
        "the loop while the line is filled", {"interrupt": "ms"}, "% of the line", "isr-cycles",
        [_filled(share) for share in (0.3, 0.6, 0.9)], measures.loop,
    ),
    "hold": Step(
        "how fast a held voltage settles", {"hold": "ms"}, "0 VCA, 1 VCF", "hold-time",
        [
            Shot(0, SAW.replace(dco1_wave="square", env2_a=80), _HIGH, 0.8, 0.8),
            Shot(1, _SWUNG.replace(vcf_freq=76), _HIGH, 3.0, 3.0),
        ],
        measures.settling,
    ),
    "glide": Step(
        "portamento, over one octave and over three", {"glide": "semitones a second"}, "1000 octaves + time", "portamento",
        [
            _glide(octaves, time, seconds)
            for octaves, time, seconds in (
                (1, 48, 0.8), (1, 64, 1.0), (1, 80, 1.4), (1, 96, 2.2), (1, 112, 4.5), (3, 48, 1.0), (3, 64, 1.6), (3, 80, 2.6),
            )
        ],
        measures.glide, logarithmic=True,
    ),
    "lfopitch": Step(
        "DCO1 under a square LFO", {"lfopitch": "cents"}, "dco1_lfo", "mod-depths",
        [Shot(value, _VIBRATO.replace(dco1_lfo=value), hold=4.0, seconds=4.0) for value in (16, 32, 64, 96, 127)],
        measures.vibrato,
    ),
    "lfowave": Step(
        "mean of the LFO's swing beside its greatest: 1 for a square, 0.71 for a sine, 0.58 for a triangle", {"lfowave": ""},
        "1 square, 2 the third wave", "lfo-rates",
        [Shot(n, _VIBRATO.replace(lfo_wave=LFO_WAVES[n], dco1_lfo=64), 69, 8.0, 8.0) for n in (1, 2)], measures.crest,
    ),
    "lforandom": Step(
        "how often the random LFO's value changes, at a rate of which a cycle is 0.8 s", {"lforandom": "Hz"}, "lfo_rate", "lfo-rates",
        [Shot(60, _VIBRATO.replace(lfo_wave=LFO_WAVES[0], lfo_rate=60, dco1_lfo=64), 69, 12.0, 12.0)], measures.changes,
    ),
    "lfodelay": Step(
        "the LFO's delay: until it begins, and until it is whole", {"lfodelay": "s", "lfofade": "s"},
        "lfo_delay, + 1000 for a key beside a held one", "lfo-delay",
        [
            *(
                Shot(value, _DELAYED.replace(lfo_delay=value), 69, seconds, seconds)
                for value, seconds in ((32, 1.5), (64, 2.6), (96, 4.5), (127, 7.5))
            ),
            Shot(1064, _DELAYED.replace(lfo_delay=64), 69, 2.6, 2.6, company=((1, 88, -2.5, 0.0),)),
        ],
        measures.delay,
    ),
    "envkey": Step(
        "decay by the key under ENV-2's key follow", {"envkey": "s"}, "1000 key follow + note", "env-times",
        [
            Shot(1000 * code + note, SAW.replace(env2_d=72, env2_s=0, env2_key=code), note, 1.4, 1.4)
            for code in _CURVES for note in (48, 66, 84)
        ],
        measures.fall, logarithmic=True,
    ),
    "sustain": Step(
        "level by ENV-2's sustain: the VCA's linear input", {"sustain": "dB"}, "env2_s", "vca-law",
        [Shot(value, SAW.replace(env2_s=value, env2_d=0)) for value in SPREAD], measures.level, relative=True,
    ),
    "dynfilter": Step(
        "the filter under ENV-1 with dynamics 2", {"dynfilter": "Hz", "dynfilterdamping": ""}, "velocity", "dynamics-place",
        [
            Shot(velocity, _PEAKED.replace(vcf_freq=52, vcf_env=32, vcf_mode="env1", vcf_dyn=2, env1_a=0, env1_s=127), **_ONE, velocity=velocity)
            for velocity in _STRUCK
        ],
        measures.response, logarithmic=True,
    ),
    "dyngate": Step(
        "the VCA's dynamics in gate mode", {"dyngate": "dB"}, "velocity", "dynamics-place",
        [Shot(velocity, SAW.replace(vca_mode="gate", vca_dyn=2), velocity=velocity) for velocity in _STRUCK], measures.level, relative=True,
    ),
    "checkenv": Step(
        "level after a key is struck again beside its sustain: a new start peaks", {"checkenv": "dB"},
        "byte BD, for a held key; + 1000 for a released one", "check-env",
        [_again(0, 0, 0.0), _again(127, 127, 0.0), _again(1000, 0, 1.4), _again(1127, 127, 1.4)], measures.restart,
    ),
    "struck": Step(
        "where in its cycle a key that is struck again begins, beside where its last cycles would have gone on to: all 0 if nothing is reset",
        {"struck": "cycles"}, "ms of rest", "counter-start",
        [Shot(rest, SAW, 57, 0.6, 0.6, company=((0, 57, -0.6 - rest / 1000, 0.6),)) for rest in (200, 231, 263, 297, 332)],
        measures.goes_on, led=True,
    ),
    "voices": Step(
        "level of one to six voices", {"voices": "dB"}, "voices, + 100 with the chorus", "level-plan",
        [_chord(voices, chorus) for chorus in (0, 1) for voices in range(1, 7)], measures.loudness, relative=True,
    ),
    "noisevoices": Step(
        "noise of one voice beside that of two: -6 dB if they share it, -3 dB if not", {"noisevoices": "dB"}, "voices", "noise-source",
        [Shot(1, NOISE, hold=4.0, seconds=4.0), Shot(2, NOISE, hold=4.0, seconds=4.0, company=((1, 57, 0.0, 0.0),))],
        measures.loudness, relative=True,
    ),
    "noisecorner": Step(
        "where noise begins to fall", {"noisecorner": "Hz"}, "", "noise-source",
        [Shot(0, NOISE, hold=6.0, seconds=6.0)], measures.noise_corner, logarithmic=True,
    ),
    "topology": Step(
        "a low saw at high resonance: what it loses in the bass, and how unlike both sections are",
        {"bass": "dB", "unlike": "octaves of damping"}, "vcf_res", "resonance-topology",
        [Shot(value, SAW.replace(vcf_freq=64, vcf_res=value, mix_dco1=16), 28, 2.4, 2.4) for value in (0, 64, 96)],
        measures.topology, beside_first=True,
    ),
    "power": Step(
        "the longest silence while the board is switched off and at once on again: no less than its tune-up", {"power": "s"}, "", "tune-up",
        [Shot(0, SAW, hold=20.0, seconds=20.0, traffic=(_TAUGHT, lambda select: GREETING + whole_tone(select, SAW) + protocol.voice_on(0, 57, 100)))],
        measures.silence, asked=True,
    ),
    "floor": Step("noise without a note", {"floor": "dB"}, "", "noise-floor", [Shot(0, SAW.replace(mix_dco1=0))], measures.floor),
    "first": Step(
        "DCO1 of each voice", {"first": "dB"}, "voice", "tolerances",
        [Shot(voice + 1, SAW.replace(mix_dco1=80), voice=voice, hold=1.2, seconds=1.2) for voice in _VOICES], measures.level,
    ),
    "second": Step(
        "DCO2 of each voice", {"second": "dB"}, "voice", "tolerances",
        [Shot(voice + 1, SECOND.replace(mix_dco2=80), voice=voice, hold=1.2, seconds=1.2) for voice in _VOICES], measures.level,
    ),
    "ramp_1": Step(
        "DCO1 of each voice on low keys, where its ramp's voltage is coarse", {"ramp_1": "dB"}, "100 (voice - 1) + note", "tolerances",
        [Shot(100 * voice + note, SAW, note, voice=voice) for voice in _VOICES for note in _COARSE], measures.level,
    ),
    "ramp_2": Step(
        "DCO2 of each voice on low keys", {"ramp_2": "dB"}, "100 (voice - 1) + note", "tolerances",
        [Shot(100 * voice + note, SECOND, note, voice=voice) for voice in _VOICES for note in _COARSE], measures.level,
    ),
    "driven": Step(
        "each voice at full level and resonance, where the filter limits", {"driven": "dB"}, "voice", "tolerances",
        [Shot(voice + 1, SAW.replace(vcf_freq=60, vcf_res=127), voice=voice, **_ONE) for voice in _VOICES], measures.level,
    ),
    "trim": Step(
        "cutoff of each voice, low", {"trim": "Hz", "trimdamping": ""}, "voice", "tolerances",
        [Shot(voice + 1, _PEAKED.replace(vcf_freq=60), voice=voice, **_LONG) for voice in _VOICES], measures.response, logarithmic=True,
    ),
    "scale": Step(
        "cutoff of each voice, high", {"scale": "Hz", "scaledamping": ""}, "voice", "tolerances",
        [Shot(voice + 1, _PEAKED.replace(vcf_freq=84), voice=voice, **_LONG) for voice in _VOICES], measures.response, logarithmic=True,
    ),
}  # fmt: skip
"""By name."""

STEP_OF = {column: step for step in STEPS.values() for column in step.columns}
"""By the name of a table."""


# --- the sequence --------------------------------------------------------------------------------


def shots_of(names: Sequence[str], every: int = 1) -> list[tuple[str, int]]:
    """(step, number of its shot) of a sequence; of dense steps each `every`-th value and the last one."""
    rows = []
    for name in names:
        count = len(STEPS[name].shots)
        rows += [(name, n) for n in range(count) if not STEPS[name].dense or n % every == 0 or n == count - 1]
    return rows


def sequence(chosen: Sequence[tuple[str, int]], board: str = "only") -> tuple[list[tuple[int, int]], dict]:
    """Arrivals of shots between two markers, and what `analyse` needs to know of them.

    That is ``version``, ``board``, the ``markers``' times and, of each of the ``shots``, ``step``, ``number`` and ``at``,
    when its key goes down, in seconds.
    """
    select = bytes([SELECTS[board]])
    sent = [(0.0, GREETING)]
    rows, now = [], START

    def strike(voice: int, note: int, begin: float, hold: float, velocity: int = 100) -> None:
        sent.append((now + begin, select + protocol.voice_on(voice, note, velocity)))
        sent.append((now + begin + hold, select + protocol.voice_off(voice, note)))

    def mark() -> float:
        nonlocal now
        sent.append((now, whole_tone(SELECTS[board], SAW)))
        now += TOLD
        for begin in measures.MARKER:
            strike(0, MARK_NOTE, begin, measures.MARK)
        began = now
        now += measures.MARKER_SECONDS + REST
        return began

    marks = [mark()]
    held: tuple[tuple[int, int], ...] = ()
    for name, number in chosen:
        shot = STEPS[name].shots[number]
        plain = [(parameter, PLAIN.get(parameter, 0)) for parameter, _ in held]
        back, forth = (b"".join(protocol.parameter(*row) for row in part) for part in (plain, shot.controls))
        held = shot.controls
        sent.append((now, whole_tone(SELECTS[board], shot.tone) + back))
        now += TOLD + shot.lead
        if forth:
            sent.append((now - SET, select + forth))
        rows.append({"step": name, "number": number, "at": round(now, 6)})
        for voice, note, begin, hold in shot.company:
            strike(voice, note, begin, hold or shot.hold - begin)
        strike(shot.voice, shot.note, 0.0, shot.hold, shot.velocity)
        if shot.traffic:
            every, data = shot.traffic
            sent += [(now + at, data(SELECTS[board])) for at in np.arange(every, shot.hold, every)]
        now += shot.seconds + REST
    if held:
        sent.append(
            (now, select + b"".join(protocol.parameter(parameter, PLAIN.get(parameter, 0)) for parameter, _ in held))
        )
    marks.append(mark())
    about = {"version": VERSION, "board": board, "markers": [round(at, 6) for at in marks], "shots": rows}
    return arrivals(sorted([*sent, (now, select + protocol.silence())], key=lambda row: row[0])), about


def length(wire: Sequence[tuple[int, int]]) -> float:
    """Seconds of a sequence, its last sound and all."""
    return wire[-1][0] / CYCLES_PER_SECOND + 100 * CYCLES_PER_BYTE / CYCLES_PER_SECOND


# --- what a recording says -----------------------------------------------------------------------


CLOSE = 0.005
"""Seconds to which a marker is found."""


@dataclass(frozen=True)
class Place:
    """Where a sequence lies in a recording.

    rate : Hz.  first : second at which the first marker is heard.  one : at which it is on the wire.
    stretch : how much longer the recording is.
    """

    rate: int
    first: float
    one: float
    stretch: float

    @classmethod
    def of(cls, middle: np.ndarray, rate: int, about: dict) -> "Place":
        """By its markers. Raises ValueError where there are none."""
        one, two = about["markers"]
        first, last = measures.markers(middle, rate, two - one)
        return cls(rate, first, one, (last - first) / (two - one))

    def doubt(self, apart: float) -> str:
        """What speaks against its times, nothing if they are those of two clocks. apart : seconds between the markers."""
        if abs(self.stretch - 1) <= measures.CRYSTALS + CLOSE / apart:
            return ""
        how = "longer" if self.stretch > 1 else "shorter"
        return (
            f"it is {1000 * abs(self.stretch - 1) * apart:.0f} ms {how} than the sequence, more than two clocks differ by: "
            "sound was lost or doubled in it, and times and pitches after that are wrong; record it again"
        )

    def part(self, sound: np.ndarray, begin: float, end: float) -> np.ndarray:
        """What is heard between two seconds of the wire."""
        at = [round((self.first + (second - self.one) * self.stretch) * self.rate) for second in (begin, end)]
        return sound[max(at[0], 0) : at[1]].astype(np.float64)


NOISE_SHOTS = 8
"""Tones that noise is looked for in."""


def noise_of(middle: np.ndarray, place: Place, about: dict) -> float:
    """RMS of the noise in a recording [shape=(n,)] of a sequence.

    That of the quiet before the first marker, or that between the partials of some filtered tones, if it is more.
    """
    tones = [row for row in about["shots"] if STEPS[row["step"]].measure == measures.response]
    found = []
    for row in tones[:: max(1, len(tones) // NOISE_SHOTS)]:
        shot = STEPS[row["step"]].shots[row["number"]]
        part = place.part(middle, row["at"], row["at"] + shot.seconds)
        found.append(measures.between(part, place.rate * place.stretch, shot))
    return max(measures.quiet(middle, place.rate, place.first), float(np.median(found)) if found else 0.0)


def analysed(
    sound: np.ndarray,
    rate: int,
    about: dict,
    known: float | None = None,
    shown: Callable[[int, int], None] = lambda done, of: None,
    place: Place | None = None,
) -> dict[str, list[Row]]:
    """Tables, by the names of the steps' columns, of a recording [shape=(n,) or (n, channels)] of a sequence.

    known : RMS of the noise that levels are trusted by (default: its own, `noise_of`).  shown : told how many of the shots
    are done.  place : where the sequence lies in it, if that was looked for.  Raises ValueError where it is no recording
    of the sequence.
    """
    sound = sound[:, None] if sound.ndim == 1 else sound
    middle = sound.mean(1)
    place = place or Place.of(middle, rate, about)
    heard = noise_of(middle, place, about)
    tables: dict[str, list[Row]] = {}
    flat: dict[str, np.ndarray] = {}
    for done, row in enumerate(about["shots"]):
        step = STEPS[row["step"]]
        shot = step.shots[row["number"]]
        at = row["at"] + (shot.hold if step.released else -shot.lead if step.led else 0.0)
        part = place.part(sound[:, 0] if step.left else middle, at, row["at"] + shot.seconds)
        if step.beside_first and row["number"] == 0:
            flat[row["step"]] = part
            continue
        beside = (flat[row["step"]],) if step.beside_first else ()
        noise = measures.Noise(heard, heard if known is None else known)
        if step.measure in measures.OF_SILENCE or measures.sounds(part, rate, noise):
            found = step.measure(part, rate * place.stretch, shot, noise, *beside)
        else:
            found = [measures.NOTHING] * len(step.columns)
        for column, (measured, error) in zip(step.columns, found, strict=True):
            tables.setdefault(column, []).append(Row(shot.value, float(measured), float(error)))
        shown(done + 1, len(about["shots"]))
    for column, rows in tables.items():
        if STEP_OF[
            column
        ].relative:  # without the last row's own error: in all rows, it would make the fit doubt what they tell apart
            tables[column] = [Row(row.value, row.measured - rows[-1].measured, row.error) for row in rows]
    return tables
