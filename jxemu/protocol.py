"""The wire: what the assigner says to the sound boards, byte by byte.

A 31250-baud line, one direction, both boards in parallel. Bytes from 0x80 up are commands and
resynchronise the receiver, bytes below are data::

    F1 | F9 | F4             following commands are for the lower | upper | both boards (sticky)
    F5 ...                   relay what follows to MIDI OUT, until the next F1, F9 or F4
    C0+v note velocity       start voice v, 0..5
    D0+v note velocity       release voice v
    80..BF value             set a parameter to a 7-bit value

Source: ZOMBIE, CRAIG, THESIS (see firmware_notes/sources.md). What other bytes do is not known:
they end a command that is under way and are otherwise ignored.
"""

from collections.abc import Iterable

SELECT_LOWER = 0xF1
SELECT_UPPER = 0xF9
SELECT_BOTH = 0xF4
FORWARD = 0xF5
VOICE_ON = 0xC0
VOICE_OFF = 0xD0
VOICES = 6

LOWER = 1
UPPER = 2
BOTH = LOWER | UPPER
SELECT_OF_ROLE = {LOWER: SELECT_LOWER, UPPER: SELECT_UPPER, BOTH: SELECT_BOTH}

DCO1_RANGE = 0x80
DCO1_WAVE = 0x81
DCO1_TUNE = 0x82
DCO1_LFO = 0x83
DCO1_ENV = 0x84
DCO2_RANGE = 0x85
DCO2_WAVE = 0x86
DCO_XMOD = 0x87
DCO2_TUNE = 0x88
DCO2_FINE = 0x89
DCO2_LFO = 0x8A
DCO2_ENV = 0x8B
AFTER_VIBRATO_DEPTH = 0x8C
AFTER_BRILLIANCE_DEPTH = 0x8D
AFTER_VOLUME_DEPTH = 0x8E
DCO_DYNAMICS = 0x8F
DCO_MODE = 0x90
MIX_DCO1 = 0x91
MIX_DCO2 = 0x92
MIX_ENV = 0x93
MIX_DYNAMICS = 0x94
MIX_MODE = 0x95
HPF = 0x96
VCF_FREQ = 0x97
VCF_RES = 0x98
VCF_LFO = 0x99
VCF_ENV = 0x9A
VCF_KEY = 0x9B
VCF_DYNAMICS = 0x9C
VCF_MODE = 0x9D
VCA_LEVEL = 0x9E
VCA_DYNAMICS = 0x9F
CHORUS = 0xA0
LFO_WAVE = 0xA1
LFO_DELAY = 0xA2
LFO_RATE = 0xA3
ENV1_A = 0xA4
ENV1_D = 0xA5
ENV1_S = 0xA6
ENV1_R = 0xA7
ENV1_KEY = 0xA8
ENV2_A = 0xA9
ENV2_D = 0xAA
ENV2_S = 0xAB
ENV2_R = 0xAC
ENV2_KEY = 0xAD
UNNAMED_AE = 0xAE
VCA_MODE = 0xAF
PORTAMENTO_TIME = 0xB0
VOLUME = 0xB1
BENDER = 0xB2
AFTERTOUCH = 0xB3
TUNE_1 = 0xB4
PORTAMENTO_SWITCH = 0xB5
SILENCE = 0xB6
BEND_RANGE = 0xB7
AFTER_VIBRATO_SWITCH = 0xB8
AFTER_BRILLIANCE_SWITCH = 0xB9
AFTER_VOLUME_SWITCH = 0xBA
HOLD = 0xBB
MODULATION = 0xBC
CHECK_ENV = 0xBD
TUNE_2 = 0xBE
BENDER_POLARITY = 0xBF
FIRST_PARAMETER = DCO1_RANGE
PARAMETERS = 64

CONTROL_NAMES = {
    value: name
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, int) and 0x80 <= value <= 0xBF and name != "FIRST_PARAMETER"
}

# --- encode --------------------------------------------------------------------------------------


def _data(value: int, what: str) -> int:
    if not 0 <= value <= 127:
        raise ValueError(f"{what} is {value}; the wire carries 0..127")
    return value


def parameter(number: int, value: int) -> bytes:
    """``number value``: set parameter 0x80..0xBF to 0..127. Raises ValueError outside."""
    if not 0x80 <= number <= 0xBF:
        raise ValueError(f"parameter byte {number:#04x} is outside 0x80..0xBF")
    return bytes((number, _data(value, CONTROL_NAMES[number])))


def voice_on(voice: int, note: int, velocity: int) -> bytes:
    """Start voice 0..5 of the selected boards. Raises ValueError outside the ranges."""
    return bytes((VOICE_ON + _voice(voice), _data(note, "note"), _data(velocity, "velocity")))


def voice_off(voice: int, note: int, velocity: int = 0) -> bytes:
    """Release voice 0..5 of the selected boards. Raises ValueError outside the ranges."""
    return bytes((VOICE_OFF + _voice(voice), _data(note, "note"), _data(velocity, "velocity")))


def _voice(voice: int) -> int:
    if not 0 <= voice < VOICES:
        raise ValueError(f"voice {voice} does not exist; a board has voices 0..5")
    return voice


def tuning(first: int, second: int) -> bytes:
    """The pair of tuning registers: voices 0..2 and voices 3..5; 0x2C is A = 440 Hz."""
    return parameter(TUNE_1, first) + parameter(TUNE_2, second)


def bender(position: int) -> bytes:
    """Bender from -64..63 (MIDI bend MSB less 64) as polarity and magnitude, twice the distance."""
    if not -64 <= position <= 63:
        raise ValueError(f"bender position {position} is outside -64..63")
    polarity = 0x7F if position >= 0 else 0
    return parameter(BENDER_POLARITY, polarity) + parameter(BENDER, min(127, 2 * abs(position)))


def silence() -> bytes:
    """Stop every voice of the selected boards at once."""
    return parameter(SILENCE, 0x7F)


def forward(midi: Iterable[int]) -> bytes:
    """MIDI bytes to relay to MIDI OUT, headed by F5 and ended by F4.

    Raises ValueError for a byte that is a header on the wire.
    """
    midi = bytes(midi)
    if headers := set(midi) & {SELECT_LOWER, SELECT_UPPER, SELECT_BOTH, FORWARD}:
        raise ValueError(f"byte {min(headers):#04x} is a header on the wire and cannot be relayed")
    return bytes((FORWARD, *midi, SELECT_BOTH))


# --- decode --------------------------------------------------------------------------------------
# The decoder's state is five integers, so that the compiled sound board holds it in its record;
# `decode` is plain integer arithmetic, run as Python here and compiled by the firmware model.

STATE_SIZE = 5
_SELECTED, _FORWARDING, _COMMAND, _FIRST, _HAVE_FIRST = range(STATE_SIZE)

NOTHING, PARAMETER, ON, OFF, RELAY = range(5)


def decode(state, byte):
    """Take one byte; returns ``(event, boards, number, first, second)``.

    state : integer array of `STATE_SIZE`, all zero at power-on (no board selected).
    event : NOTHING, PARAMETER (number 0x80..0xBF, first = value), ON / OFF (number = voice,
        first = note, second = velocity) or RELAY (first = byte for MIDI OUT).
    boards : LOWER, UPPER or BOTH: who is meant; 0 before the first select.
    """
    if byte == SELECT_LOWER or byte == SELECT_UPPER or byte == SELECT_BOTH:
        state[_SELECTED] = LOWER if byte == SELECT_LOWER else (UPPER if byte == SELECT_UPPER else BOTH)
        state[_FORWARDING] = 0
        state[_COMMAND] = 0
        return NOTHING, 0, 0, 0, 0
    if byte == FORWARD:
        state[_FORWARDING] = 1
        state[_COMMAND] = 0
        return NOTHING, 0, 0, 0, 0
    boards = state[_SELECTED]
    if state[_FORWARDING]:
        return RELAY, boards, 0, byte, 0
    if byte >= 0x80:
        state[_COMMAND] = byte
        state[_HAVE_FIRST] = 0
        return NOTHING, 0, 0, 0, 0
    command = state[_COMMAND]
    if 0x80 <= command <= 0xBF:
        state[_COMMAND] = 0
        return PARAMETER, boards, command, byte, 0
    if (VOICE_ON <= command < VOICE_ON + VOICES) or (VOICE_OFF <= command < VOICE_OFF + VOICES):
        if not state[_HAVE_FIRST]:
            state[_FIRST] = byte
            state[_HAVE_FIRST] = 1
            return NOTHING, 0, 0, 0, 0
        state[_COMMAND] = 0
        event = ON if command < VOICE_OFF else OFF
        return event, boards, command & 0x0F, state[_FIRST], byte
    return NOTHING, 0, 0, 0, 0


class Decoder:
    """Incremental decoder for anything that listens to the wire outside a sound board."""

    def __init__(self) -> None:
        self._state = [0] * STATE_SIZE

    def feed(self, data: Iterable[int]) -> list[tuple[int, int, int, int, int]]:
        """The complete events that `data` brings, as `decode` returns them."""
        events = (decode(self._state, byte) for byte in data)
        return [event for event in events if event[0] != NOTHING]
