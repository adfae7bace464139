"""Bill of materials: every hardware constant of the machine, in one table, with its evidence.

Grades: A measured or read from ROM behaviour for this project, B schematic, service or owner's
manual, data sheet, C one credible third party, D a sister instrument, PLACEHOLDER chosen by
arithmetic or ear; a placeholder names its question in firmware_notes/open_questions.md. Sources
are ids of firmware_notes/sources.md. ``tools/provenance.py`` prints this table.
"""

from dataclasses import dataclass

from jxemu import clock


@dataclass(frozen=True)
class Constant:
    """One fact of the hardware: `value` in `unit`, with where it comes from."""

    name: str
    value: float | int | tuple
    unit: str
    grade: str
    source: str
    about: str
    question: str = ""


_ROWS = (
    # --- clocks -----------------------------------------------------------------------------------
    Constant("DCO_CRYSTAL", clock.DCO_CRYSTAL_HZ, "Hz", "B", "MAME-A", "16 MHz / 2, fed to the boards"),
    Constant("CPU_CRYSTAL", clock.CPU_CRYSTAL_HZ, "Hz", "B", "MAME-S", "8031; 12 clocks a machine cycle"),
    Constant("BAUD", clock.BAUD, "baud", "B", "THESIS", "the wire, 8N1"),
    # --- the firmware's time ------------------------------------------------------------------------
    Constant("COMMON_CYCLES", 400, "cycles", "PLACEHOLDER", "THESIS", "LFO and common part of the loop", "loop-time"),
    Constant("VOICE_CYCLES", 1600, "cycles", "PLACEHOLDER", "THESIS", "one voice pass; loop of 10 ms", "loop-time"),
    Constant("ISR_CYCLES", 60, "cycles", "PLACEHOLDER", "THESIS", "serial interrupt, one byte", "isr-cycles"),
    # --- pitch --------------------------------------------------------------------------------------
    Constant("CLOCK_AT_8FT", 2_000_000, "Hz", "PLACEHOLDER", "THESIS", "counter clock at 8'", "range-prescaler"),
    Constant("TUNE_STEPS", (-12, -12, -11, -10, -9, -8, -7, -7, -6, -5, -4, -3, -2, -1, 0, 0,
                            0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 12),
             "semitones", "C", "S5", "coarse tune: one of 32 steps, value >> 2"),
    Constant("FINE_CENTS", 50.0, "cent", "B", "OM8P", "DCO2 fine tune, each way"),
    Constant("MASTER_TUNE_CENTRE", 0x2C, "", "C", "CRAIG", "tuning register at A = 440 Hz"),
    Constant("MASTER_TUNE_STEP", 1, "1/256 semitone", "C", "CRAIG", "0.38 cent a step in the owner's range"),
    Constant("BEND_SEMITONES", (2, 3, 4, 7), "semitones", "B", "OM8P", "bend range by the top two bits"),
    Constant("BEND_12", 12, "semitones", "C", "CRAIG", "bend range at value 70..7F (later boards)"),
    Constant("DCO_LFO_RANGE", 4, "semitones", "PLACEHOLDER", "THESIS", "each way at full depth", "mod-depths"),
    Constant("DCO_ENV_RANGE", 48, "semitones", "PLACEHOLDER", "THESIS", "at full depth", "mod-depths"),
    Constant("GLIDE_FAST", 4096, "1/256 semitone", "PLACEHOLDER", "J106", "portamento a loop, where the law begins: value 0", "portamento"),
    Constant("GLIDE_SLOW", 4, "1/256 semitone", "PLACEHOLDER", "J106", "portamento a loop, value 127", "portamento"),
    Constant("DCO_CV_AT_1", 1 << 21, "DAC * count", "D", "J106", "ramp CV: 32 at count 65536, doubling an octave"),
    # --- LFO ----------------------------------------------------------------------------------------
    Constant("LFO_SLOW", 0.1, "Hz", "PLACEHOLDER", "THESIS", "rate 0", "lfo-rates"),
    Constant("LFO_FAST", 20.0, "Hz", "PLACEHOLDER", "THESIS", "rate 127", "lfo-rates"),
    Constant("LFO_DELAY_LOOPS", 300, "loops", "PLACEHOLDER", "J106", "hold-off at 127, then as long a fade", "lfo-delay"),
    # --- envelopes ----------------------------------------------------------------------------------
    Constant("ENV_FULL", 0x3FFF, "", "D", "J106", "envelopes are 14 bits"),
    Constant("ATTACK_FAST", 0x4000, "a loop", "D", "J106", "attack increment at 0: one loop"),
    Constant("ATTACK_SLOW", 0x15, "a loop", "D", "J106", "attack increment at 127"),
    Constant("DECAY_FAST_LOOPS", 0.36, "loops", "D", "J106", "time constant at 0"),
    Constant("DECAY_SLOW_LOOPS", 2300.0, "loops", "PLACEHOLDER", "J106", "time constant at 127: 23 s", "env-times"),
    Constant("ENV_KEY_LOWEST", 36, "note", "B", "OM8P", "lowest key: times as set"),
    Constant("ENV_KEY_HALVING", (60, 30, 15), "semitones", "B", "OM8P", "key follow 1, 2, 3: time halves in"),
    Constant("DYNAMICS_1", (0.365, 0.392, 0.426, 0.467, 0.509, 0.566, 0.627, 0.70, 0.776, 0.875, 1.0),
             "", "B", "OM8P", "printed curve 1 at velocity 0, 0.1 .. 1"),
    Constant("DYNAMICS_2", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), "", "B", "OM8P", "curve 2"),
    Constant("DYNAMICS_3", (0.05, 0.057, 0.084, 0.123, 0.176, 0.248, 0.335, 0.454, 0.60, 0.785, 1.0),
             "", "B", "OM8P", "curve 3"),
    # --- converters ---------------------------------------------------------------------------------
    Constant("DAC_BITS", 12, "bit", "C", "MAME-S", "eight data and four address bits"),
    Constant("HOLD_TIME", 0.001, "s", "PLACEHOLDER", "SYNTHELECTRO", "sample-and-hold time constant", "hold-time"),
    # --- DCO ----------------------------------------------------------------------------------------
    Constant("PULSE_DUTY", 0.25, "", "D", "BOO", "the fixed pulse", "pulse-duty"),
    Constant("CAP_TOLERANCE", 0.10, "", "B", "THESIS", "ramp capacitors, 10..20 %; one sigma is half of it"),
    # --- noise --------------------------------------------------------------------------------------
    Constant("NOISE_LOWPASS", 5300.0, "Hz", "D", "KR", "noise source", "noise-source"),
    Constant("RAMP_RAIL", 2.0, "", "PLACEHOLDER", "OWN", "where a ramp of -1..1 stops when its slope is too steep", "ramp-shape"),
    Constant("NOISE_LEVEL", 3.0, "", "PLACEHOLDER", "KR", "white source beside a ramp of 1, at 192 kHz", "noise-source"),
    Constant("THERMAL_NOISE", 1e-7, "2 VT", "PLACEHOLDER", "OWN", "filter input, full band", "noise-floor"),
    # --- mixer --------------------------------------------------------------------------------------
    Constant("MIX_DRIVE", 0.14, "2 VT", "C", "THESIS", "one DCO at full level; both together 29 mV peak to peak", "mixer-level"),
    Constant("MIX_TOLERANCE", 0.02, "", "PLACEHOLDER", "OWN", "level of one DCO, one sigma", "tolerances"),
    # --- VCF ----------------------------------------------------------------------------------------
    Constant("VCF_BASE", 5.53, "Hz", "D", "KR", "cutoff at CV 0", "vcf-scale"),
    Constant("VCF_COUNTS_PER_OCTAVE", 1143, "14-bit counts", "D", "KR", "cutoff CV scale", "vcf-scale"),
    Constant("VCF_TOP", 50_000.0, "Hz", "D", "KR", "the exponential converter's end"),
    Constant("VCF_KEY_FULL", 106, "", "B", "OM8P", "key follow value of 100 % (display 83)"),
    Constant("VCF_KEY_NOTE", 60, "note", "D", "KR", "note that key follow turns about"),
    Constant("VCF_LFO_OCTAVES", 3.55, "octaves", "D", "KR", "each way at full depth"),
    Constant("Q_OPEN", 2.0, "", "PLACEHOLDER", "ATO", "damping at resonance 0: four equal poles", "resonance-law"),
    Constant("Q_CLOSED", 0.1, "", "PLACEHOLDER", "ATO", "damping at resonance 127", "resonance-law"),
    Constant("Q_FIXED", 1.414, "", "PLACEHOLDER", "ATO", "second section's damping, topology 'single'", "resonance-topology"),
    Constant("FEEDBACK_TOP", 4.0, "", "B", "WM20", "global feedback at which four poles oscillate", "resonance-topology"),
    Constant("VCF_TRIM_CENTS", 10.0, "cent", "D", "KR", "cutoff trimmer, one sigma", "tolerances"),
    Constant("VCF_SCALE_TOLERANCE", 0.003, "", "PLACEHOLDER", "OWN", "octave scale, one sigma", "tolerances"),
    Constant("VCF_DRIFT", -0.0005, "octave / K", "PLACEHOLDER", "BOO", "left over by the thermistor", "temperature"),
    # --- VCA ----------------------------------------------------------------------------------------
    Constant("VCA_LEVEL_UNITY", 3276, "DAC", "PLACEHOLDER", "BOO", "level CV of level 127 at volume 127", "vca-law"),
    Constant("VCA_LEVEL_RANGE", 30.0, "dB", "PLACEHOLDER", "ZOMBIE", "exponential law: level 0..127", "vca-law"),
    Constant("VCA_TOLERANCE_DB", 0.3, "dB", "PLACEHOLDER", "OWN", "gain of one voice, one sigma", "tolerances"),
    Constant("VCA_PAD", 1.2, "", "PLACEHOLDER", "THESIS", "largest signal the amplifier lets through, in 2 VT", "vca-input"),
    Constant("OUTPUT_GAIN", 0.15, "full scale / 2 VT", "PLACEHOLDER", "OWN", "headroom of six voices", "level-plan"),
    # --- HPF ----------------------------------------------------------------------------------------
    Constant("HPF_HZ", (5.0, 130.0, 250.0, 720.0), "Hz", "PLACEHOLDER", "J60", "first order; 0 is the coupling", "hpf-corners"),
    # --- chorus -------------------------------------------------------------------------------------
    Constant("CHORUS_RATE", (0.48, 0.84), "Hz", "D", "RC", "mode 1 as JX-3P, mode 2 as Juno-6", "chorus-rates"),
    Constant("CHORUS_DELAY", (0.00155, 0.0052), "s", "D", "RC", "wet behind dry, triangle, antiphase"),
    Constant("CHORUS_WET", 1.37, "", "D", "RC", "wet to dry at low frequency: +1.25 dB at 1.5..4 kHz"),
    Constant("CHORUS_INPUT", (11890.0, (9455.0, 0.470), (10089.0, 1.059)), "Hz", "D", "RC",
             "filter before the BBD: real pole, then (f, Q); fitted to the wet response of JX-3P recordings"),
    Constant("CHORUS_OUTPUT", (28050.0, (8655.0, 0.464), (10128.0, 1.063)), "Hz", "D", "RC", "filter behind the BBD"),
    Constant("BBD_STAGES", 256, "stages", "C", "SC", "MN3009: delay = stages / (2 clock)"),
    Constant("CHORUS_RATE_TOLERANCE", 0.03, "", "PLACEHOLDER", "OWN", "one sigma", "tolerances"),
    Constant("CHORUS_DELAY_TOLERANCE", 0.01, "", "PLACEHOLDER", "OWN", "one sigma", "tolerances"),
)  # fmt: skip

PARTS = {constant.name: constant for constant in _ROWS}


def value(name: str) -> float | int | tuple:
    """The value of a constant. Raises KeyError for a name that is not in the table."""
    return PARTS[name].value
