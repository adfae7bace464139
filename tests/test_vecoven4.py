import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jxemu.patch.bank import Bank
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import PATCH
from jxemu.patch.sysex import V4_BLD, messages
from jxemu.patch.vecoven4 import (
    PATCH_MESSAGE,
    TONE_MESSAGE,
    decode_number,
    decode_patch,
    decode_tone,
    is_sound,
)


def bulk(banks, length):
    found, skipped = messages((banks / "mks70_vecoven4_bulk.syx").read_bytes())
    assert not skipped and {item.message[2] for item in found} == {V4_BLD}
    return [item.message for item in found if len(item.message) == length]


def tone_message(**bytes_at):
    message = bytearray(TONE_MESSAGE)
    for at, byte in bytes_at.items():
        message[int(at.removeprefix("at"))] = byte
    return bytes(message)


def test_a_real_dump_holds_64_patches_and_50_tones_in_order(banks):
    assert [decode_number(message) for message in bulk(banks, PATCH_MESSAGE)] == list(range(64))
    assert [decode_number(message) for message in bulk(banks, TONE_MESSAGE)] == list(range(50))


def test_the_checksums_of_a_real_dump_fit(banks):
    assert all(is_sound(message) for length in (PATCH_MESSAGE, TONE_MESSAGE) for message in bulk(banks, length))


def test_real_tones_read_alike_in_the_v4_and_the_classic_dump(banks):
    classic = {tone.name: tone for tone in Bank.load(banks / "mks70_bulk_64_patches_50_tones.syx").tones}
    v4 = {tone.name: tone for tone in map(decode_tone, bulk(banks, TONE_MESSAGE))}
    assert {name for name in v4 if v4[name] == classic.get(name)} == {"R/STRING B", "PIANO 1-A"}


def test_real_patches_are_what_their_names_say(banks):
    patches = {patch.name.strip(): patch for patch in map(decode_patch, bulk(banks, PATCH_MESSAGE))}
    assert patches["SYNTH BASS / CLAV"].key_mode == 1 and patches["STRING/HORN X-FADE"].key_mode == 4
    assert patches["OBESE FIFTHS"].upper_assign == 4 and patches["SYNTH SOLO"].upper_assign == 2
    assert patches["BACK/FORTH CHASE"].chase == patches["METAL CHASE"].chase == 1
    assert sum(patch.chase for patch in patches.values()) == 11


def test_a_real_patch_reads_as_the_same_patch_sent_singly(banks):
    """The single message was captured by someone else: bend bits 60 and 01, shifts 74 and 0C, chase 5A 01 1A."""
    organ = decode_patch(bulk(banks, PATCH_MESSAGE)[36])
    assert organ.name == "  CATHEDRAL ORGAN"
    assert (organ.balance, organ.dual_detune, organ.volume, organ.after_volume) == (0x50, 0x47, 0x78, 0x2E)
    assert (organ.bend_range, organ.upper_shift, organ.lower_shift) == (4, -12, 12)
    assert (organ.upper_hold, organ.upper_lfo, organ.lower_lfo) == (1, 0x18, 0x26)
    assert (organ.chase_level, organ.chase_mode, organ.chase_time, organ.chase) == (0x5A, 1, 0x1A, 0)


def test_each_modulation_source_becomes_the_nearest_classic_one():
    modes = [decode_tone(tone_message(at79=source << 3)).vcf_mode for source in range(8)]
    assert modes == [2, 3, 0, 1, 2, 3, 0, 1]
    assert [decode_tone(tone_message(at81=source)).vca_mode for source in (1, 3, 5, 7)] == [1, 0, 1, 1]


def test_a_pitch_envelope_of_dco_2_alone_brings_its_own_mode():
    both = {"at74": 0b_00_01_10_00, "at78": 0b_00_111_101}
    assert decode_tone(tone_message(at22=9, at26=9, **both)).dco_mode == 3
    tone = decode_tone(tone_message(at26=9, **both))
    assert (tone.dco_mode, tone.dco_dyn) == (1, 1)


def test_a_top_bit_comes_from_the_byte_behind_its_group():
    assert decode_tone(tone_message(at80=0x40)).dco2_wave == 2
    assert decode_tone(tone_message(at85=0x08)).chorus == 2
    message = bytearray(PATCH_MESSAGE)
    message[63] = 0x04
    assert decode_patch(bytes(message)).chase == 1


@settings(max_examples=500, deadline=None)
@given(message=st.binary(min_size=TONE_MESSAGE, max_size=TONE_MESSAGE))
def test_any_bytes_give_a_legal_tone(message):
    tone = decode_tone(message)
    assert all(0 <= value <= PARAMETERS[name].top for name, value in tone)
    assert 0 <= decode_number(message) < 128


@settings(max_examples=500, deadline=None)
@given(message=st.binary(min_size=PATCH_MESSAGE, max_size=PATCH_MESSAGE))
def test_any_bytes_give_a_legal_patch(message):
    patch = decode_patch(message)
    assert patch.name.isprintable() and all(PATCH[key].smallest <= value <= PATCH[key].top for key, value in patch)


@pytest.mark.parametrize("decode, right", [(decode_tone, TONE_MESSAGE), (decode_patch, PATCH_MESSAGE),
                                           (decode_number, TONE_MESSAGE)])  # fmt: skip
def test_another_length_is_refused_with_both_lengths(decode, right):
    with pytest.raises(ValueError, match=f"{right} bytes, not {right + 1}"):
        decode(bytes(right + 1))
