"""What a sound board remembers, as plain data: save is writing it, reset is assigning it.

`BOARD` is the digital half (8031 memory, UART, THE LATCH) of one board. `lanes(W)` is the analog
half of W voices, `outputs(W)` the output stage of W boards; each field has the lanes as its last
axis. A live board is one of each with W = 8; in a batch of single notes every lane is a voice of
another board. `TIME` is shared by all of them.
"""

import functools

import numpy as np

from jxemu import protocol
from jxemu.kernel import struct
from jxemu.soundboard.chorus import chorus_state
from jxemu.soundboard.dco import dco_state
from jxemu.soundboard.decimator import OUT, PAIRS_2, PAIRS_4, PAIRS_8, SLICE, stage_state
from jxemu.soundboard.hpf import hpf_state
from jxemu.soundboard.mixer import mixer_state
from jxemu.soundboard.noise import noise_state
from jxemu.soundboard.vca import vca_state
from jxemu.soundboard.vcf import vcf_state

VOICES = protocol.VOICES
MIDI_OUT_SIZE = 1024

_I = np.int64
_PER_VOICE = (_I, (VOICES,))

ENVELOPE = struct(level=_PER_VOICE, stage=_PER_VOICE)
IDLE, ATTACK, DECAY, RELEASE = range(4)

FIRMWARE = struct(
    pass_due=_I,  # cycle at which the pass under way ends
    pass_index=_I,  # 0: LFO and common part, 1..6: voices
    role=_I,  # protocol.LOWER, UPPER or BOTH: selects this board answers to
    relays=_I,  # 1 if its TX is MIDI OUT
    decoder=(_I, (protocol.STATE_SIZE,)),
    parameter=(_I, (protocol.PARAMETERS,)),  # 80..BF as received
    lfo_rate=(_I, (128,)),  # this and the next two: tables of this unit's times
    attack=(_I, (128,)),
    decay=(_I, (128,)),
    calibration=(_I, (2, VOICES)),  # ramp CV factor found at boot, 8.8
    note=_PER_VOICE,
    velocity=_PER_VOICE,
    key_down=_PER_VOICE,
    gate=_PER_VOICE,
    trigger=_PER_VOICE,  # a voice-on arrived since the last pass
    glide=_PER_VOICE,  # pitch on its way to the note, 1/256 semitone
    env1=ENVELOPE,
    env2=ENVELOPE,
    lfo_phase=_I,  # 0..65535
    lfo_value=_I,  # -8191..8191
    lfo_random=_I,  # 16-bit shift register
    lfo_held=_I,  # loops of delay left
    lfo_fading=_I,  # loops of fade done
    lfo_fade=_I,  # 0..256
    midi_out=(np.uint8, (MIDI_OUT_SIZE,)),
    midi_out_at=(_I, (MIDI_OUT_SIZE,)),
    midi_out_count=_I,
)

LATCH = struct(
    at_cycles=_I,  # when it was last written
    board=_I,
    voice=_I,  # whose pass wrote it last; 6 is the common part
    divisor=(np.uint16, (2, VOICES)),  # 8253 counts, DCO1 then DCO2
    prescaler=(np.uint8, (2,)),  # 4-bit: the clock is divided by 16 - n
    dco2_clock=np.uint16,  # length of a DCO2 clock, 1764 = as it is
    dco_cv=(np.uint16, (2, VOICES)),  # ramp slopes; this and all that follows: 12-bit
    mix_cv=(np.uint16, (2, VOICES)),
    vcf_cv=(np.uint16, (VOICES,)),
    vca_cv=(np.uint16, (VOICES,)),
    resonance_cv=np.uint16,
    level_cv=np.uint16,
    wave=(np.uint8, (2,)),  # switches: 0 noise, 1 square, 2 pulse, 3 saw
    xmod=np.uint8,
    hpf=np.uint8,
    chorus=np.uint8,
)

BOARD = struct(firmware=FIRMWARE, latch=LATCH, writes=_I, voice_mask=_I)
"""`writes` counts passes that wrote the latch; `voice_mask` has a bit for each voice that is played at all."""

TIME = struct(frame=_I, units_per_frame=_I, sample_units=_I, oversample=_I, hold=np.float32)


@functools.cache
def lanes(width: int) -> np.dtype:
    """`width` analog voices: which they are, their circuit and state, and the tile they write."""
    i = (np.int32, (width,))
    return struct(
        board=i,  # record of the board whose voice this is; -1: nobody's
        voice=i,
        seen=(_I, (width,)),  # latch writes already looked at
        to_output=i,  # output group and lane of its board
        to_lane=i,
        voices=i,  # at a board's first lane: 1 if it has that lane only, else 8; 0 at the others
        single=_I,  # 1 if every board has one lane only, the same as in its output group
        global_feedback=_I,
        sync_counter=i,
        dco1=dco_state(width),
        dco2=dco_state(width),
        noise=noise_state(width),
        mixer=mixer_state(width),
        vcf=vcf_state(width),
        vca=vca_state(width),
        slope_law=(np.float32, (2, width)),
        duty=(np.float32, (width,)),
        xmod_law=(np.uint8, (4, 3)),  # by latch code: sync DCO2, sync DCO1, amplitude modulation
        tile=(np.float32, (OUT + SLICE, width)),  # the slice's samples at each rate, see `decimator`
    )


@functools.cache
def outputs(width: int) -> np.dtype:
    """`width` output stages, one a board: decimators of whole boards, HPF, chorus."""
    i = (np.int32, (width,))
    return struct(
        board=i,
        due=(_I, (width,)),  # cycle from which its CPU has something to do
        writes=(_I, (width,)),  # its latch's, and those already looked at
        seen=(_I, (width,)),
        sides=(np.float32, (2 * SLICE, width)),  # left and right of a frame, of the next ..
        columns=(np.float32, (width, 2 * SLICE)),  # the same, a row a board
        dark=(np.float32, (SLICE, width)),  # what goes into the chorus lines
        from_8=stage_state(width, PAIRS_8, 4 * SLICE),
        from_4=stage_state(width, PAIRS_4, 2 * SLICE),
        from_2=stage_state(width, PAIRS_2, SLICE),
        run=(np.float32, (SLICE,)),
        hpf=hpf_state(width),
        chorus=chorus_state(width),
    )
