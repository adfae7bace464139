"""What was soldered: parts + seed + temperature -> the coefficients each voice and output stage runs on.

Seed 0 is the nominal machine. Any other seed is another unit, always the same one: capacitor,
trimmer and gain errors are drawn from counter-based streams keyed by (seed, board, purpose), so no
draw depends on another.
"""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from jxemu import clock
from jxemu.kernel import WINDOW
from jxemu.soundboard import tables
from jxemu.soundboard.chorus import LONGEST, SHORTEST
from jxemu.soundboard.parts import value
from jxemu.soundboard.state import SLICE
from jxemu.soundboard.unit import ERRORS, NOMINAL, PLACES, Unit
from jxemu.soundboard.vcf import TOP_ANGLE

RESONANCE = ("dual", "single", "feedback")
XMOD = {
    # by latch code: DCO2 synced to DCO1, DCO1 synced to DCO2, amplitude modulation
    "schematic": ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
    "thesis": ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)),
}
SYNC = ("counter", "ramp")

_FULL = 4095
_RESONANCE_FULL = 127 << 5
_ROOM = 25.0

COLDEST, HOTTEST = -55, 125
"""Degrees C that silicon is made for."""


@dataclass(frozen=True)
class Circuit:
    """A unit and the readings of the schematic that are still open.

    seed : int, 0 is nominal.  temperature : degrees C inside the case.
    resonance : "dual", "single" or "feedback", see `vcf`.
    xmod : "schematic" (SYNC1 = sync, SYNC2 = sync and AM, XMOD = AM) or "thesis" (SYNC1 = DCO2
        reset by DCO1, SYNC2 = DCO1 reset by DCO2, XMOD = both).
    sync : "counter" restarts the 8253 counter with the ramp, "ramp" leaves it counting.
    unit : what was measured of it, in place of what is nominal or drawn by the seed.
    Raises ValueError for a name that is not listed here, a seed that does not fit 64 bits, and a temperature that no
    circuit is at.
    """

    seed: int = 0
    temperature: float = _ROOM
    resonance: str = "dual"
    xmod: str = "schematic"
    sync: str = "counter"
    unit: Unit = NOMINAL

    def __post_init__(self) -> None:
        for what, choices in (("resonance", RESONANCE), ("xmod", tuple(XMOD)), ("sync", SYNC)):
            if getattr(self, what) not in choices:
                raise ValueError(f"{what} {getattr(self, what)!r} is not known; choose one of {choices}")
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"seed {self.seed} is not known; choose one from 0 to 2**64 - 1")
        if not COLDEST <= self.temperature <= HOTTEST:
            raise ValueError(
                f"{self.temperature} degrees C is no temperature of a circuit; choose {COLDEST} to {HOTTEST}"
            )

    def value(self, name: str) -> float | int | tuple:
        """A constant of the parts table, as this unit has it."""
        return dict(self.unit.parts).get(name, value(name))

    def errors(self, board: int, name: str) -> np.ndarray:
        """One of `ERRORS` on the board at a place: measured, or drawn by the seed; zeros for seed 0."""
        for place, measured, numbers in self.unit.errors:
            if (place, measured) == (PLACES[board], name):
                return np.array(numbers)
        error = ERRORS[name]
        if self.seed == 0:
            return np.zeros(error.count)
        key = np.array([self.seed, board << 32 | zlib.crc32(error.purpose.encode())], np.uint64)
        return error.sigma * np.clip(np.random.Generator(np.random.Philox(key=key)).standard_normal(error.count), -3, 3)


def _settled(x: float) -> np.float32:
    """To single precision by way of twelve digits, so that libm's last bit never shows."""
    return np.float32(f"{float(x):.12g}")


def ramp_gain(circuit: Circuit, board: int, dco: int) -> np.ndarray:
    """Slope of each voice's ramp against nominal, shape (6,)."""
    return 1 / (1 + circuit.errors(board, f"ramp_{dco + 1}"))


def boot_calibration(circuit: Circuit, board: int) -> np.ndarray:
    """Ramp CV factors the firmware finds at boot, 8.8 fixed point, shape (2, 6)."""
    return np.array([np.round(256 / ramp_gain(circuit, board, dco)) for dco in (0, 1)], np.int64)


def program_tables(circuit: Circuit) -> dict[str, np.ndarray]:
    """The tables of the program's times, as this unit has them: int64 (128,) each, by their names in `unit.TABLES`."""
    made = {"lfo_rate": tables.lfo_rate, "attack": tables.attack, "decay": tables.decay}
    measured = dict(circuit.unit.tables)
    return {name: np.array(measured.get(name, make(circuit.value)), np.int64) for name, make in made.items()}


def solder_voice(group, lane: int, circuit: Circuit, board: int, voice: int, sample_rate: int, oversample: int) -> None:
    """Write the coefficients of one voice of board `board` (0 lower, 1 upper) into a lane."""
    rate = sample_rate * oversample
    kelvin = (circuit.temperature + 273.15) / (_ROOM + 273.15)
    group.duty[lane] = _settled(circuit.value("PULSE_DUTY"))
    group.sync_counter[lane] = circuit.sync == "counter"
    group.xmod_law[:] = XMOD[circuit.xmod]
    for dco in (0, 1):
        gain = ramp_gain(circuit, board, dco)[voice]
        group.slope_law[dco, lane] = _settled(gain / (value("DCO_CV_AT_1") * clock.UNITS_PER_CLOCK))
    noise = group.noise
    noise.key[lane] = zlib.crc32(f"{circuit.seed} {board} noise".encode())
    noise.thermal_key[lane] = zlib.crc32(f"{circuit.seed} {board} {voice} thermal noise".encode())
    noise.pole[lane] = _settled(1 - math.exp(-2 * math.pi * circuit.value("NOISE_LOWPASS") / rate))
    noise.gain[lane] = _settled(circuit.value("NOISE_LEVEL") * math.sqrt(rate / 192_000))
    noise.thermal[lane] = _settled(circuit.value("THERMAL_NOISE"))
    for dco, field in ((1, group.mixer.drive_1), (2, group.mixer.drive_2)):
        level = 1 + circuit.errors(board, f"mixer_{dco}")[voice]
        field[lane] = _settled(circuit.value("MIX_DRIVE") * level / kelvin / _FULL)

    vcf = group.vcf
    trim = circuit.errors(board, "cutoff_cents")[voice] / 1200
    scale = 1 + circuit.errors(board, "cutoff_scale")[voice]
    drift = value("VCF_DRIFT") * (circuit.temperature - _ROOM)
    vcf.scale[lane] = _settled(4 * scale / circuit.value("VCF_COUNTS_PER_OCTAVE"))
    vcf.offset[lane] = _settled(math.log2(circuit.value("VCF_BASE") * math.pi / rate) + trim + drift)
    vcf.top[lane] = _settled(min(math.pi * value("VCF_TOP") / rate, TOP_ANGLE))
    vcf.q_open[lane] = _settled(circuit.value("Q_OPEN"))
    vcf.q_law[lane] = _settled(-math.log2(circuit.value("Q_OPEN") / circuit.value("Q_CLOSED")) / _RESONANCE_FULL)
    first, second = {
        "dual": ((0, 1), (0, 1)),
        "single": ((0, 1), (value("Q_FIXED"), 0)),
        "feedback": ((circuit.value("Q_OPEN"), 0), (circuit.value("Q_OPEN"), 0)),
    }[circuit.resonance]
    vcf.q1_fixed[lane], vcf.q1_share[lane] = (_settled(x) for x in first)
    vcf.q2_fixed[lane], vcf.q2_share[lane] = (_settled(x) for x in second)
    feedback = value("FEEDBACK_TOP") / _RESONANCE_FULL if circuit.resonance == "feedback" else 0.0
    vcf.feedback_law[lane] = _settled(feedback)
    group.global_feedback |= int(circuit.resonance == "feedback")

    vca = group.vca
    error = circuit.errors(board, "gain_db")[voice]
    vca.gain[lane] = _settled(circuit.value("OUTPUT_GAIN") * 10 ** (error / 20) / _FULL)
    unity = 10 ** (circuit.value("VCA_LEVEL_RANGE") / 20)
    vca.level_law[lane] = _settled(math.log2(unity) / value("VCA_LEVEL_UNITY"))
    vca.level_norm[lane] = _settled(1 / (unity - 1))


def hold_share(sample_rate: int) -> np.float32:
    """Part of the way a held voltage goes in one slice."""
    return _settled(1 - math.exp(-SLICE / sample_rate / value("HOLD_TIME")))


# --- output stage --------------------------------------------------------------------------------


def _matched_pole(hz: float, rate: float) -> tuple[float, float, float]:
    """``(pole, b0, b1)`` of a one-pole low pass, exact at 0 and half the rate."""
    pole = math.exp(-2 * math.pi * hz / rate)
    end = (1 + pole) / math.hypot(1, rate / 2 / hz)
    return pole, (1 - pole + end) / 2, (1 - pole - end) / 2


def _matched_pair(hz: float, q: float, rate: float) -> tuple[float, float, float, float]:
    """``(b0, b1, a1, a2)`` of a two-pole low pass, exact at 0 and at `hz` (Vicanek's matched form)."""
    w = 2 * math.pi * hz / rate
    damping = 1 / (2 * q)
    turn = math.cos(w * math.sqrt(1 - damping**2)) if damping < 1 else math.cosh(w * math.sqrt(damping**2 - 1))
    a1 = -2 * math.exp(-damping * w) * turn
    a2 = math.exp(-2 * damping * w)
    at_0, at_end = (1 + a1 + a2) ** 2, (1 - a1 + a2) ** 2
    p1 = math.sin(w / 2) ** 2
    p0 = 1 - p1
    wanted = (at_0 * p0 + at_end * p1 - 16 * a2 * p0 * p1) * q * q
    b_end = math.sqrt(max(0.0, (wanted - at_0 * p0) / p1))
    return (math.sqrt(at_0) + b_end) / 2, (math.sqrt(at_0) - b_end) / 2, a1, a2


def _hold_pole(clock_hz: float) -> float:
    """One-pole corner with the loss that a hold of one BBD clock has at 10 kHz."""
    x = math.pi * 10_000 / clock_hz
    loss = math.sin(x) / x
    return 10_000 * loss / math.sqrt(1 - loss * loss)


def _solder_filter(record, poles: tuple, rate: float) -> float:
    """Write a chorus filter's coefficients; returns its delay at low frequencies, in frames."""
    real, *pairs = poles
    record.pole, record.b0, record.b1 = (_settled(x) for x in _matched_pole(real, rate))
    for row, pair in enumerate(pairs):
        record.biquad[row] = [_settled(x) for x in _matched_pair(*pair, rate)]
    w = 2 * math.pi * 200 / rate
    z = complex(math.cos(w), -math.sin(w))
    response = (record.b0 + record.b1 * z) / (1 - record.pole * z)
    for b0, b1, a1, a2 in record.biquad.tolist():
        response *= (b0 + b1 * z) / (1 + a1 * z + a2 * z * z)
    return -math.atan2(response.imag, response.real) / w


def solder_output(stage, lane: int, circuit: Circuit, board: int, sample_rate: int) -> None:
    """Write the coefficients of one board's HPF and chorus into a lane."""
    for position, hz in enumerate(circuit.value("HPF_HZ")):
        g = math.tan(math.pi * hz / sample_rate)
        stage.hpf.poles[position, lane] = _settled(g / (1 + g))
    chorus = stage.chorus
    chorus.steps[:] = np.arange(WINDOW)
    shortest, longest = circuit.value("CHORUS_DELAY")
    mean_clock = value("BBD_STAGES") / (shortest + longest)
    real, *pairs = value("CHORUS_OUTPUT")
    output = (1 / math.hypot(1 / real, 1 / _hold_pole(mean_clock)), *pairs)
    filters = _solder_filter(chorus.input, value("CHORUS_INPUT"), sample_rate)
    filters += _solder_filter(chorus.output, output, sample_rate)
    rate_error = 1 + circuit.errors(board, "chorus_rate")[0]
    delay_error = 1 + circuit.errors(board, "chorus_delay")[0]
    slow, fast = (round(hz * rate_error / sample_rate * 2**32) for hz in circuit.value("CHORUS_RATE"))
    chorus.rates[:, lane] = slow, slow, fast
    chorus.rate[lane] = slow
    chorus.wet[lane] = _settled(circuit.value("CHORUS_WET"))
    near = max(shortest * delay_error * sample_rate - filters, SHORTEST)
    far = longest * delay_error * sample_rate - filters
    if not near < far <= LONGEST:
        ms = [f"{1000 * each * delay_error:g}" for each in (shortest, longest)]
        most = 1000 * (LONGEST + filters) / sample_rate
        raise ValueError(
            f"a chorus of {' to '.join(ms)} ms does not fit its line, which holds {most:.3g} ms at {sample_rate} Hz"
        )
    chorus.shortest[lane] = _settled(near)
    chorus.span[lane] = _settled(far - near)
