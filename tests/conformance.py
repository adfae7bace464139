"""What anything that claims to be a sound board must do, by its sound alone: the model, a process behind a serial port, hardware.

A scene is bytes with the cycles of their arrivals, and a check of what is heard. `scenes` play one after another; each
begins in silence. Boards: one JX-8P (it answers to both selects) in the state that the scene before left.
"""

import contextlib
import subprocess
import sys
from dataclasses import dataclass

import emulated_board
import numpy as np

from jxemu import protocol
from jxemu.app import board as board_app
from jxemu.bridge.capture import RigBench
from jxemu.patch.tone import Tone

TONE = Tone("SAW", vcf_freq=127, env2_a=0, env2_s=127, env2_r=0, mix_dco2=0, vca_level=127)
RELEASE = 0.15
"""Seconds at a scene's end that are left for what sounds to die."""


@dataclass(frozen=True)
class Scene:
    """Its name, bytes with the seconds of their arrivals, length, and check of (mono sound, rate)."""

    name: str
    wire: list[tuple[float, bytes]]
    seconds: float
    check: object


def arrivals(scene):
    """(cycle, byte) of a scene."""
    return board_app.arrivals(scene.wire)


def level(sound, rate, begin, end):
    """In dB of full scale."""
    part = sound[round(begin * rate) : round(end * rate)]
    return 20 * np.log10(np.sqrt(np.square(part, dtype=float).mean()) + 1e-9)


def hertz(sound, rate, begin, end):
    """The strongest partial."""
    part = sound[round(begin * rate) : round(end * rate)]
    size = 1 << 18
    return np.abs(np.fft.rfft(part * np.hanning(len(part)), size)).argmax() * rate / size


def centre(sound, rate, begin, end):
    """Centre of the spectrum in Hz."""
    part = sound[round(begin * rate) : round(end * rate)]
    size = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    return (size * np.fft.rfftfreq(len(part), 1 / rate)).sum() / size.sum()


SOUNDS, SILENT = -42, -50
"""dB. A rig of ten bits has a floor of -54, with the board amplified by 12."""
BOTH = bytes([protocol.SELECT_BOTH])
ON, OFF = protocol.voice_on(0, 57, 100), protocol.voice_off(0, 57)


def _sounds_from_to(begin, end):
    def check(sound, rate):
        assert level(sound, rate, begin + 0.05, end) > SOUNDS
        assert level(sound, rate, end + RELEASE, end + RELEASE + 0.1) < SILENT

    return check


def _pitches(sound, rate):
    for begin, expected in ((0.1, 220.0), (0.5, 440.0)):
        assert abs(1200 * np.log2(hertz(sound, rate, begin, begin + 0.25) / expected)) < 3


def _brightness(sound, rate):
    assert centre(sound, rate, 0.1, 0.3) > 1.5 * centre(sound, rate, 0.4, 0.6)


def _silenced(sound, rate):
    assert level(sound, rate, 0.1, 0.3) > SOUNDS
    assert level(sound, rate, 0.4, 0.6) < SILENT


def _nothing(sound, rate):
    assert level(sound, rate, 0.05, 0.5) < SILENT


def _six(sound, rate):
    one, six = level(sound, rate, 0.1, 0.25), level(sound, rate, 0.5, 0.7)
    assert six > one + 4


_SOUP = bytes(np.random.default_rng(3).integers(0, 256, 60).tolist())
_WHOLE_TONE = (
    BOTH
    + TONE.wire()
    + protocol.parameter(protocol.VCA_LEVEL, 127)
    + protocol.tuning(0x2C, 0x2C)
    + protocol.parameter(protocol.VOLUME, 127)
)

SCENES = [
    Scene("a started voice sounds until its release", [(0, _WHOLE_TONE), (0.1, ON), (0.5, OFF)], 0.9, _sounds_from_to(0.1, 0.5)),
    Scene("a key is the pitch of its number", [(0, BOTH + ON), (0.4, OFF + protocol.voice_on(0, 69, 100)), (0.8, protocol.voice_off(0, 69))], 1.0, _pitches),
    Scene("a parameter that arrives while a voice sounds is heard", [(0, BOTH + ON), (0.32, protocol.parameter(protocol.VCF_FREQ, 56)), (0.65, OFF)], 0.9, _brightness),
    Scene("silence ends what sounds", [(0, _WHOLE_TONE + ON), (0.32, protocol.silence())], 0.7, _silenced),
    Scene("what is passed on to MIDI OUT does not sound", [(0, protocol.forward(ON)), (0.1, BOTH)], 0.6, _nothing),
    Scene("data without a command do nothing", [(0, BOTH + bytes([57, 100, 1, 2, 3]))], 0.6, _nothing),
    Scene("half a command is forgotten at the next", [(0, BOTH + ON[:2] + bytes([protocol.VCF_RES, 0]))], 0.6, _nothing),
    Scene("after any bytes whatever whole commands are understood", [(0, _SOUP), (0.05, BOTH + protocol.silence() + _WHOLE_TONE), (0.25, ON), (0.6, OFF)], 1.0, _sounds_from_to(0.25, 0.6)),
    Scene("six voices sound at once", [(0, _WHOLE_TONE + ON), (0.3, b"".join(protocol.voice_on(n, 57 + 4 * n, 100) for n in range(1, 6))), (0.75, b"".join(protocol.voice_off(n, 57 + 4 * n) for n in range(6)))], 1.0, _six),
]  # fmt: skip


# --- boards in other processes ---


@contextlib.contextmanager
def board(kind, folder, *options):
    """Boards in a process of their own; the name of their terminal."""
    name = folder / "board"
    command = [sys.executable, emulated_board.__file__, kind, "--link", str(name), *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().strip() == str(name)
        yield str(name)
    finally:
        process.terminate()
        process.wait(30)


def performed_behind(name):
    """Each scene's (mono sound, rate) from a rig at a port."""
    bench = RigBench(name)
    for scene in SCENES:
        take = bench.perform(arrivals(scene), scene.seconds)
        yield take.sound[:, 0], take.rate
    bench.close()
