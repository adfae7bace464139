"""The order in which the events of one instant are played."""

import pytest

from jxemu.machine import Event
from jxemu.render.score import from_notes, in_order, load_midi


def on(at, key=60):
    return Event(at, "note_on", (key, 100))


def off(at, key=60):
    return Event(at, "note_off", key)


PEDAL = Event(1.0, "hold", 127)


@pytest.mark.parametrize(
    ("given", "played"),
    [
        ([on(0), on(1), off(1), off(2)], [on(0), off(1), on(1), off(2)]),  # of two tracks
        ([on(0, 40), on(1), off(1), off(1, 40)], [on(0, 40), off(1, 40), on(1), off(1)]),  # a note of no length
        ([on(0), off(1), on(1), off(1)], [on(0), off(1), on(1), off(1)]),
        ([on(0), PEDAL, off(1)], [on(0), PEDAL, off(1)]),
        ([on(0), off(1), PEDAL], [on(0), off(1), PEDAL]),
        ([on(0), PEDAL, on(1), off(1)], [on(0), off(1), PEDAL, on(1)]),
        ([off(1), on(0)], [on(0), off(1)]),
    ],
)
def test_a_release_goes_first_unless_a_pedal_or_its_own_stroke_was_before_it(given, played):
    assert in_order(given) == played


def test_notes_end_before_the_next_of_their_key_begins_however_they_are_listed():
    notes = [(60, 100, 1.0, 1.0), (60, 90, 0.0, 1.0)]
    assert from_notes(notes) == from_notes(notes[::-1])
    assert [event.kind for event in from_notes(notes)] == ["note_on", "note_off", "note_on", "note_off"]


def chunk(kind, body):
    return kind + len(body).to_bytes(4) + body


@pytest.mark.parametrize(
    "wrong", [b"\0\xff\x59\2\x08\0", b"\0\xff\x58\2\4\2", b"\0\xff\x54\1\x60", b"\x81\0\xff\x59\1\0"]
)
def test_a_song_is_read_though_a_signature_in_it_is_damaged(tmp_path, wrong):
    head = chunk(b"MThd", b"\0\1\0\1\0\x60")
    notes = b"\x60\x90\x3c\x64" + wrong + b"\x60\x3c\0"  # running status goes on behind it
    (tmp_path / "a.mid").write_bytes(head + chunk(b"XYZW", b"123") + chunk(b"MTrk", notes + b"\0\xff\x2f\0"))
    on, off = load_midi(tmp_path / "a.mid")
    assert (on.kind, on.at, off.kind) == ("note_on", 0.5, "note_off")
    assert off.at == pytest.approx(1.0 if wrong[0] == 0 else 1.0 + 128 / 192)


@pytest.mark.parametrize("between", [b"\x10", b"\0\xff\1\1a\x10"])
def test_sysex_in_packets_is_one_message(tmp_path, between):
    head = chunk(b"MThd", b"\0\0\0\1\0\x60")
    packets = b"\0\xf0\3\x41\x36\0" + between + b"\xf7\2\1\2\x10\xf7\2\3\xf7\0\xf7\1\xf8"
    (tmp_path / "a.mid").write_bytes(head + chunk(b"MTrk", packets + b"\x40\x90\x3c\x64\0\xff\x2f\0"))
    sysex, note = load_midi(tmp_path / "a.mid")
    assert sysex.data == bytes.fromhex("f0 41 36 00 01 02 03 f7")
    assert note.at == 0.5


@pytest.mark.parametrize("end", [b"", b"\0\x90\x3c\x64\0\xf7\1\xf8"])
def test_sysex_that_nothing_ends_is_read_as_it_stands(tmp_path, end):
    head = chunk(b"MThd", b"\0\0\0\1\0\x60")
    (tmp_path / "a.mid").write_bytes(head + chunk(b"MTrk", b"\0\xf0\2\x41\x36" + end + b"\0\xff\x2f\0"))
    assert load_midi(tmp_path / "a.mid")[0].data == bytes.fromhex("f0 41 36 f7")


@pytest.mark.parametrize("stray", [b"\xf8", b"\xf2\1\2", b"\xfe"])
def test_a_clock_in_a_song_is_passed_over(tmp_path, stray):
    song = b"\0\x90\x3c\x64\x10" + stray + b"\x50\x3c\0\0\xff\x2f\0"
    (tmp_path / "a.mid").write_bytes(chunk(b"MThd", b"\0\0\0\1\0\x60") + chunk(b"MTrk", song))
    assert [event.at for event in load_midi(tmp_path / "a.mid")] == [0.0, 0.5]


def test_what_lies_behind_the_last_track_is_passed_over(tmp_path):
    song = chunk(b"MThd", b"\0\0\0\1\0\x60") + chunk(b"MTrk", b"\0\x90\x3c\x64\0\xff\x2f\0")
    (tmp_path / "a.mid").write_bytes(song + b"MTrk\xff\xff\xff\xff")
    assert [event.kind for event in load_midi(tmp_path / "a.mid")] == ["note_on"]


def test_a_note_without_an_end_is_refused():
    with pytest.raises(ValueError, match="inf"):
        from_notes([(60, 100, 0.0, float("inf"))])
