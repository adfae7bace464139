import numpy as np
import pytest

import jxemu
from jxemu.patch.factory import factory_bank
from jxemu.patch.patch import ASSIGN_MODES, CHASE_MODES, KEY_MODES

CHORD = [(note, 110, 0, 0.9) for note in (48, 55, 60, 64)]


def loudest(sound):
    """Level in dB of the loudest 400 ms."""
    power = np.cumsum(np.mean(sound.astype(float) ** 2, axis=1))
    return 10 * np.log10(np.max(power[19_200:] - power[:-19_200]) / 19_200)


@pytest.fixture(scope="module")
def tones():
    """Each tone's middle C and chord."""
    every = factory_bank().tones
    single = jxemu.render_batch([jxemu.Item(tone, [(60, 100, 0, 1.2)]) for tone in every], 1.4)
    return list(zip(every, single, jxemu.render_batch([jxemu.Item(tone, CHORD) for tone in every], 1.0), strict=True))


@pytest.fixture(scope="module")
def patches():
    """Each patch's middle C and chord."""
    return [
        (patch, *(jxemu.render(patch, notes, seconds, "superjx") for notes, seconds in
                  (([(60, 100, 0, 1.2)], 1.4), (CHORD, 1.0))))
        for patch in factory_bank().patches
    ]  # fmt: skip


def test_the_bank_has_64_tones_and_64_patches_with_names_of_their_own():
    bank = factory_bank()
    for records in (bank.tones, bank.patches):
        assert len(records) == len({record.name for record in records}) == 64


def test_every_key_mode_assign_mode_and_chase_mode_is_used():
    plain = [patch.plain() for patch in factory_bank().patches]
    assert {patch["key_mode"] for patch in plain} == set(KEY_MODES)
    assert {patch[f"{half}_assign"] for patch in plain for half in ("upper", "lower")} == set(ASSIGN_MODES)
    assert {patch["chase_mode"] for patch in plain if patch["chase"] == "on"} == set(CHASE_MODES)


@pytest.mark.parametrize("kind", ["tones", "patches"])
def test_none_clips_none_is_silent_and_all_are_about_as_loud(kind, request):
    sounds = request.getfixturevalue(kind)
    levels = {record.name: loudest(single) for record, single, _ in sounds}
    median = np.median(list(levels.values()))
    assert {name: level - median for name, level in levels.items() if abs(level - median) > 6} == {}
    for record, single, chord in sounds:
        for sound in (single, chord):
            assert np.isfinite(sound).all() and 0.003 < np.abs(sound).max() < 0.9, record.name


def test_tones_and_patches_are_about_as_loud(tones, patches):
    medians = [np.median([loudest(single) for _, single, _ in sounds]) for sounds in (tones, patches)]
    assert abs(medians[1] - medians[0]) < 6


def test_the_factory_bank_crosses_sysex_with_the_tones_of_its_patches():
    bank = factory_bank()
    read = [jxemu.Bank.decode(data) for data in bank.encode("mks70")]
    crossed = [(p.name, dump.tone(p.upper_tone), dump.tone(p.lower_tone)) for dump in read for p in dump.patches]
    for patch in bank.patches:
        assert (patch.name, bank.tone(patch.upper_tone), bank.tone(patch.lower_tone)) in crossed
