import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jxemu
from jxemu.patch.bank import find
from jxemu.patch.factory import factory_bank
from jxemu.patch.parameter import PARAMETERS

tones = st.builds(
    lambda values, name: jxemu.Tone(name, **dict(zip(PARAMETERS, values, strict=True))),
    st.tuples(*(st.integers(0, row.top) for row in PARAMETERS.values())),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=10),
)


@settings(max_examples=300, deadline=None)
@given(tone=tones)
def test_a_tone_survives_its_59_bytes(tone):
    assert jxemu.Tone.decode(tone.encode()) == tone


def test_switches_are_read_by_their_top_bits():
    data = bytearray(jxemu.Tone("X").encode())
    data[12], data[43], data[58] = 0x5F, 0x7F, 0x41
    tone = jxemu.Tone.decode(bytes(data))
    assert (tone.dco1_wave, tone.chorus, tone.vca_mode) == (2, 2, 1)
    assert tone.encode() == bytes(data) and tone.replace(chorus=0).encode()[43] == 0


def test_switches_take_labels_or_codes():
    assert jxemu.Tone(dco1_wave="pulse") == jxemu.Tone(dco1_wave=2)
    assert jxemu.Tone(dco1_range="4'").dco1_range == 2


def test_a_tone_is_a_value():
    tone = jxemu.Tone("A", vcf_freq=3)
    assert pickle.loads(pickle.dumps(tone)) == tone and hash(tone) == hash(jxemu.Tone("A", vcf_freq=3))
    assert eval(repr(tone), {"Tone": jxemu.Tone}) == tone
    with pytest.raises(AttributeError):
        tone.vcf_freq = 4


@pytest.mark.parametrize("params, sentence", [({"vcf_frq": 1}, "did you mean vcf_freq"), ({"vcf_freq": 128}, "0 to 127"),
                                              ({"dco1_wave": "sine"}, "noise"), ({"vcf_freq": 1.5}, "0 to 127")])  # fmt: skip
def test_a_wrong_parameter_is_named_with_what_fits(params, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        jxemu.Tone("X", **params)


def test_a_tone_is_found_by_name_or_number_and_near_names_are_offered():
    bank = [jxemu.Tone(" PIANO 1"), jxemu.Tone("STRINGS")]
    assert find(bank, "piano 1") == 0 and find(bank, "2") == 1
    with pytest.raises(KeyError, match="STRINGS"):
        find(bank, "STRING")


EXPECTED = {"jx8p_bank_32_tones.syx": 32, "jx8p_user_bank_32_tones.syx": 32, "jx8p_cartridge_32_tones.rom": 32,
            "mks70_bulk_64_patches_50_tones.syx": 50, "mks70_bulk_bit_mapping.syx": 50,
            "mks70_vecoven4_bulk.syx": 50}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_every_tone_of_a_real_bank_plays_a_phrase_below_full_scale(banks, name):
    import numpy as np

    bank = jxemu.load_bank(banks / name)
    assert len(bank) == EXPECTED[name]
    phrase = [(48, 100, 0, 0.4), (60, 100, 0.3, 0.5), (64, 80, 0.3, 0.6), (67, 120, 0.4, 0.6)]
    for tone, sound in zip(bank, jxemu.render_batch([jxemu.Item(tone, phrase) for tone in bank], 1.5), strict=True):
        assert np.isfinite(sound).all(), tone.name
        peak = np.abs(sound).max()
        assert peak < 1, tone.name
        silent = tone.vca_level == 0 or (tone.mix_dco1 == tone.mix_dco2 == tone.mix_env == 0)
        assert silent or peak > 1e-3, tone.name


def test_the_demo_bank_is_the_first_32_factory_tones_as_sysex():
    from pathlib import Path

    assert (Path(__file__).parents[1] / "demo" / "tones.syx").read_bytes() == jxemu.Bank(
        factory_bank().tones[:32]
    ).encode("jx8p")[0]
