import numpy as np
import pytest

import jxemu
from jxemu import protocol
from jxemu.link import EmulatedLink, LogError, load_log, replay, save_log


def test_a_byte_takes_320_cycles_at_real_pace():
    link = EmulatedLink("real")
    assert link.send(b"\xf4\x97\x10", 1000) == 1000 + 3 * 320
    assert link.take(10_000)[0].tolist() == [1320, 1640, 1960]


def test_bytes_wait_for_those_before_them():
    link = EmulatedLink("real")
    link.send(b"\xf4\x97", 0)
    link.send(b"\x10", 100)
    assert link.take(10_000)[0].tolist() == [320, 640, 960]


def test_how_long_bytes_had_to_wait_is_known():
    link = EmulatedLink()
    link.send(b"123", 0)
    link.send(b"4", 100)
    assert link.late == 3 * 320 - 100


def test_at_instant_pace_bytes_arrive_when_they_are_sent():
    link = EmulatedLink("instant")
    link.send(b"\xf4\x97\x10", 77)
    assert link.take(77)[0].tolist() == [77, 77, 77]


def test_only_what_has_arrived_is_taken():
    link = EmulatedLink("real")
    link.send(bytes(5), 0)
    assert link.take(640)[1].size == 2
    assert link.pending == 3


def test_forwarded_bytes_come_out_of_the_board_that_is_midi_out():
    machine = jxemu.SuperJX()
    machine.play(jxemu.Event(0.02, "wire", protocol.forward(b"\xc0\x05")))
    machine.render(4800)
    lower, upper = machine.engine.boards.firmware
    assert bytes(lower.midi_out[: lower.midi_out_count]) == b"\xc0\x05"
    assert upper.midi_out_count == 0


@pytest.mark.parametrize("pace", ["real", "instant"])
def test_a_log_replays_bit_by_bit(tmp_path, saw, pace):
    machine = jxemu.JX8P(pace=pace, record=True)
    machine.load_tone(saw)
    for event in (
        jxemu.Event(0.05, "note_on", (60, 90)),
        jxemu.Event(0.1, "bend", 4000),
        jxemu.Event(0.2, "note_off", 60),
    ):
        machine.play(event)
    played = machine.render(24_000)
    save_log(machine.link, tmp_path / "take.jxlog")

    again = jxemu.JX8P(pace=pace, boot=False)
    replay(load_log(tmp_path / "take.jxlog"), again.link)
    assert np.array_equal(again.render(24_000), played)


def test_a_log_is_text_that_names_cycles_and_bytes(tmp_path):
    link = EmulatedLink("real")
    link.record()
    link.send(b"\xf4\x97\x10", 1000)
    link.send(b"\xc0\x3c\x40", 5000)
    save_log(link, tmp_path / "x.jxlog")
    assert (tmp_path / "x.jxlog").read_text().splitlines() == ["jxlog 1 spacing 320", "1320 F4 97 10", "5320 C0 3C 40"]


@pytest.mark.parametrize(
    "text",
    ["", "hello", "jxlog 1 spacing 320\n12 ZZ", "jxlog 1 spacing 320\n900 80\n100 80", "jxlog 1 spacing 320\n5 1FF"],
)
def test_a_damaged_log_is_refused_with_its_line(tmp_path, text):
    path = tmp_path / "bad.jxlog"
    path.write_text(text)
    with pytest.raises(LogError, match=r"bad.jxlog: line \d+"):
        load_log(path)
