"""Crystals, machine cycles and sample times as exact integers; volts, cents, decibels.

Everything on a board happens on one integer grid, the *unit*: 1/1764 of a clock of the 8 MHz
crystal. It was chosen because every time in the machine is then a whole number: a machine cycle
of the 8031 (1 us), a clock of either DCO bank (also of DCO2, whose clock the 8155 timer pulls in
steps of 1/1764), and an output or oversampled frame at 44.1, 48, 88.2 and 96 kHz.
"""

import math

DCO_CRYSTAL_HZ = 8_000_000
CPU_CRYSTAL_HZ = 12_000_000
CLOCKS_PER_CYCLE = 12
CYCLES_PER_SECOND = CPU_CRYSTAL_HZ // CLOCKS_PER_CYCLE
BAUD = 31250
CYCLES_PER_BYTE = 10 * CYCLES_PER_SECOND // BAUD

UNITS_PER_CLOCK = 1764
UNITS_PER_SECOND = DCO_CRYSTAL_HZ * UNITS_PER_CLOCK
UNITS_PER_CYCLE = UNITS_PER_SECOND // CYCLES_PER_SECOND

SAMPLE_RATES = (44_100, 48_000, 88_200, 96_000)
OVERSAMPLES = (2, 4, 8)


def units_per_frame(sample_rate: int, oversample: int = 1) -> int:
    """Length of one frame at ``sample_rate * oversample`` Hz in units.

    Raises ValueError for a rate that is not in `SAMPLE_RATES` or a factor not in `OVERSAMPLES` (or 1).
    """
    if sample_rate not in SAMPLE_RATES:
        raise ValueError(f"sample rate {sample_rate} Hz is not supported; choose one of {SAMPLE_RATES}")
    if oversample != 1 and oversample not in OVERSAMPLES:
        raise ValueError(f"oversampling by {oversample} is not supported; choose one of {OVERSAMPLES}")
    return UNITS_PER_SECOND // (sample_rate * oversample)


def cycles(seconds: float) -> int:
    """The machine cycle nearest to a time in seconds."""
    return round(seconds * CYCLES_PER_SECOND)


def note_hz(note: float) -> float:
    """Equal-tempered pitch of a MIDI note number, A4 (69) = 440 Hz."""
    return 440.0 * 2.0 ** ((note - 69) / 12)


def cents(ratio: float) -> float:
    """A frequency ratio in cents."""
    return 1200 * math.log2(ratio)


def decibels(ratio: float) -> float:
    """An amplitude ratio in dB; silence is -inf."""
    return 20 * math.log10(ratio) if ratio > 0 else -math.inf
