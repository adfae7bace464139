import pytest

import jxemu
from jxemu import protocol
from jxemu.assigner.allocator import Poly1
from jxemu.assigner.assigner import Assigner, fold


def bytes_of(*events, roles=(protocol.BOTH,), **options):
    sent = bytearray()
    assigner = Assigner(lambda data, at: sent.extend(data) or 0, roles, **options)
    assigner.boot(0)
    sent.clear()
    for event in events:
        assigner.handle(jxemu.Event(0.0, *event), 0)
    return bytes(sent)


def test_keys_take_voices_in_rotation():
    poly = Poly1(6)
    assert [poly.press(note, False) for note in range(60, 66)] == [0, 1, 2, 3, 4, 5]


def test_a_key_struck_again_takes_the_voice_it_had():
    poly = Poly1(6)
    poly.press(60, False), poly.press(64, False)
    poly.release(60)
    assert poly.press(60, False) == 0


def test_a_free_voice_is_the_one_released_longest_ago():
    poly = Poly1(3)
    for note in (60, 62, 64):
        poly.press(note, False)
    poly.release(62), poly.release(60)
    assert poly.press(70, False) == 1


def test_with_all_voices_taken_the_oldest_gives_way_or_the_key_is_ignored():
    for steal, voice in (("oldest", 0), ("none", None)):
        poly = Poly1(2, steal)
        poly.press(60, False), poly.press(62, False)
        assert poly.press(64, False) == voice


def test_a_note_is_three_bytes_behind_a_sticky_select():
    assert bytes_of(("note_on", (60, 100)), ("note_off", 60)) == b"\xc0\x3c\x64\xd0\x3c\x00"


def test_two_boards_are_selected_when_the_voice_moves_to_the_other():
    notes = [("note_on", (40 + n, 100)) for n in range(7)]
    sent = bytes_of(*notes, roles=(protocol.LOWER, protocol.UPPER))
    assert sent[0] == protocol.SELECT_LOWER
    assert sent[-4:] == bytes([protocol.SELECT_UPPER, 0xC0, 46, 100])


@pytest.mark.parametrize("event, sent", [
    (("bend", 8191), b"\xbf\x7f\xb2\x7e"), (("bend", -8192), b"\xbf\x00\xb2\x7f"), (("modulation", 64), b"\xbc\x40"),
    (("hold", 1), b"\xbb\x7f"), (("hold", 0), b"\xbb\x00"), (("aftertouch", 9), b"\xb3\x09"), (("volume", 80), b"\xb1\x50"),
    (("tuning", (44, 60)), b"\xb4\x2c\xbe\x3c"), (("parameter", ("dco1_wave", "pulse")), b"\x81\x40"),
])  # fmt: skip
def test_a_controller_is_one_parameter_on_the_wire(event, sent):
    assert bytes_of(event) == sent


@pytest.mark.parametrize("event", [("volume", 128), ("bend", 9000), ("colour", 1), ("parameter", ("vcf", 1)),
                                   ("parameter", ("vcf_freq", 128))])  # fmt: skip
def test_an_event_that_does_not_fit_is_refused(event):
    with pytest.raises(ValueError):
        bytes_of(event)


def test_notes_outside_21_to_108_are_folded_by_octaves():
    assert [fold(n) for n in (0, 20, 21, 108, 109, 127)] == [24, 32, 21, 108, 97, 103]


def test_a_program_change_loads_a_tone_of_the_bank_with_its_level_last():
    bank = [jxemu.Tone("A", vcf_freq=1), jxemu.Tone("B", vcf_freq=2, vca_level=99)]
    sent = bytes_of(("program", 1), bank=bank)
    assert sent[:2] == bytes([protocol.VCA_LEVEL, 0])
    assert sent[-2:] == bytes([protocol.VCA_LEVEL, 99])
    assert bytes([protocol.VCF_FREQ, 2]) in sent


def test_all_notes_off_releases_every_key():
    sent = bytes_of(("note_on", (60, 1)), ("note_on", (64, 1)), ("all_notes_off", None))
    assert sent.count(b"\xd0\x3c\x00") == sent.count(b"\xd1\x40\x00") == 1
