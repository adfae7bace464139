"""The 44 tone parameters in one table: wire byte, sysex place, panel number, name, range, labels.

A parameter's value here is what a person sets: 0..127, or the code 0..3 of a switch. On the wire
and in sysex a switch stands in the top bits of its 7-bit value.

Source: S1, THESIS (names, numbers), S2 (order of the waves).
"""

from dataclasses import dataclass

from jxemu import protocol
from jxemu.patch.record import Setting

RANGES = ("16'", "8'", "4'", "2'")
WAVES = ("noise", "square", "pulse", "saw")
XMODS = ("off", "sync1", "sync2", "xmod")
DYNAMICS = ("off", "1", "2", "3")
MODES = ("env2-inverted", "env2", "env1-inverted", "env1")
HPFS = ("0", "1", "2", "3")
CHORUSES = ("off", "1", "2")
LFO_WAVES = ("random", "square", "sine")
VCA_MODES = ("gate", "env2")

SYSEX_OF_BYTE = 11 - protocol.FIRST_PARAMETER
"""A parameter's place in the 59 bytes of a tone is its wire byte plus this."""


@dataclass(frozen=True)
class Parameter(Setting):
    """One tone parameter: a setting with its wire byte, panel number and panel text."""

    byte: int = 0
    panel: int = 0
    text: str = ""

    @property
    def sysex(self) -> int:
        """Index in the 59 data bytes of a tone."""
        return self.byte + SYSEX_OF_BYTE

    @property
    def _shift(self) -> int:
        return 6 if len(self.labels) == 2 else 5

    def encode(self, value: int) -> int:
        """The 7-bit value on the wire and in sysex."""
        return value << self._shift if self.labels else value

    def decode(self, raw: int) -> int:
        """The value of a 7-bit byte; a switch is read by its top bits, whatever the others are."""
        return min(raw >> self._shift, self.top) if self.labels else raw

    def format(self, value: int) -> str:
        """The value as the panel words it: a label, or 00..99 for 0..127."""
        return self.labels[value] if self.labels else f"{value * 99 / 127:02.0f}"


def _row(name: str, byte: int, panel: int, text: str, default: int, labels: tuple[str, ...] = ()) -> Parameter:
    return Parameter(name, default, labels=labels, byte=byte, panel=panel, text=text)


def _rows() -> tuple[Parameter, ...]:
    p = protocol
    return (
        _row("dco1_range", p.DCO1_RANGE, 11, "DCO-1 RANGE", 1, RANGES),
        _row("dco1_wave", p.DCO1_WAVE, 12, "DCO-1 WAVEFORM", 3, WAVES),
        _row("dco1_tune", p.DCO1_TUNE, 13, "DCO-1 TUNE", 64),
        _row("dco1_lfo", p.DCO1_LFO, 14, "DCO-1 LFO", 0),
        _row("dco1_env", p.DCO1_ENV, 15, "DCO-1 ENV", 0),
        _row("dco2_range", p.DCO2_RANGE, 21, "DCO-2 RANGE", 1, RANGES),
        _row("dco2_wave", p.DCO2_WAVE, 22, "DCO-2 WAVEFORM", 3, WAVES),
        _row("dco_xmod", p.DCO_XMOD, 23, "CROSS MODULATION", 0, XMODS),
        _row("dco2_tune", p.DCO2_TUNE, 24, "DCO-2 TUNE", 64),
        _row("dco2_fine", p.DCO2_FINE, 25, "DCO-2 FINE TUNE", 64),
        _row("dco2_lfo", p.DCO2_LFO, 26, "DCO-2 LFO", 0),
        _row("dco2_env", p.DCO2_ENV, 27, "DCO-2 ENV", 0),
        _row("dco_dyn", p.DCO_DYNAMICS, 31, "DCO DYNAMICS", 0, DYNAMICS),
        _row("dco_mode", p.DCO_MODE, 32, "DCO ENV MODE", 3, MODES),
        _row("mix_dco1", p.MIX_DCO1, 41, "MIXER DCO-1", 127),
        _row("mix_dco2", p.MIX_DCO2, 42, "MIXER DCO-2", 0),
        _row("mix_env", p.MIX_ENV, 43, "MIXER ENV", 0),
        _row("mix_dyn", p.MIX_DYNAMICS, 44, "MIXER DYNAMICS", 0, DYNAMICS),
        _row("mix_mode", p.MIX_MODE, 45, "MIXER ENV MODE", 3, MODES),
        _row("hpf", p.HPF, 51, "HPF", 0, HPFS),
        _row("vcf_freq", p.VCF_FREQ, 52, "VCF CUTOFF FREQ", 127),
        _row("vcf_res", p.VCF_RES, 53, "VCF RESONANCE", 0),
        _row("vcf_lfo", p.VCF_LFO, 54, "VCF LFO", 0),
        _row("vcf_env", p.VCF_ENV, 55, "VCF ENV", 0),
        _row("vcf_key", p.VCF_KEY, 56, "VCF KEY FOLLOW", 0),
        _row("vcf_dyn", p.VCF_DYNAMICS, 57, "VCF DYNAMICS", 0, DYNAMICS),
        _row("vcf_mode", p.VCF_MODE, 58, "VCF ENV MODE", 3, MODES),
        _row("vca_level", p.VCA_LEVEL, 61, "VCA LEVEL", 127),
        _row("vca_dyn", p.VCA_DYNAMICS, 63, "VCA DYNAMICS", 0, DYNAMICS),
        _row("chorus", p.CHORUS, 64, "CHORUS", 0, CHORUSES),
        _row("lfo_wave", p.LFO_WAVE, 71, "LFO WAVEFORM", 2, LFO_WAVES),
        _row("lfo_delay", p.LFO_DELAY, 72, "LFO DELAY TIME", 0),
        _row("lfo_rate", p.LFO_RATE, 73, "LFO RATE", 90),
        _row("env1_a", p.ENV1_A, 81, "ENV-1 ATTACK", 0),
        _row("env1_d", p.ENV1_D, 82, "ENV-1 DECAY", 64),
        _row("env1_s", p.ENV1_S, 83, "ENV-1 SUSTAIN", 127),
        _row("env1_r", p.ENV1_R, 84, "ENV-1 RELEASE", 32),
        _row("env1_key", p.ENV1_KEY, 85, "ENV-1 KEY FOLLOW", 0, DYNAMICS),
        _row("env2_a", p.ENV2_A, 91, "ENV-2 ATTACK", 0),
        _row("env2_d", p.ENV2_D, 92, "ENV-2 DECAY", 64),
        _row("env2_s", p.ENV2_S, 93, "ENV-2 SUSTAIN", 127),
        _row("env2_r", p.ENV2_R, 94, "ENV-2 RELEASE", 32),
        _row("env2_key", p.ENV2_KEY, 95, "ENV-2 KEY FOLLOW", 0, DYNAMICS),
        _row("vca_mode", p.VCA_MODE, 62, "VCA ENV MODE", 1, VCA_MODES),
    )


PARAMETERS = {row.name: row for row in _rows()}
"""By name, in the order of their wire bytes."""
