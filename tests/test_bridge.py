"""The bridge against boards in other processes, behind real serial device files, and against the rig's side in virtual time."""

import contextlib
import errno
import os
import struct
import subprocess
import sys
import time
from collections import deque

import emulated_board
import numpy as np
import pytest
import serial
import soundfile
from commands import call
from conformance import SCENES, arrivals, board, performed_behind
from hypothesis import given, settings
from hypothesis import strategies as st

import jxemu
from jxemu.app.board import PARAMETERS, audible, heard
from jxemu.bridge import frames
from jxemu.bridge.frames import Ack, Audio, FrameReader, Welcome
from jxemu.bridge.rig import Rig
from jxemu.bridge.serial_link import GREETING, BoardError, SerialLink, Wire, open_port
from jxemu.clock import CYCLES_PER_BYTE
from jxemu.link import load_log


@pytest.mark.parametrize("parameter", ["dco2_range", "dco2_tune", "mix_env", "lfo_rate", "env1_s", "vcf_res", "chorus"])
def test_a_sweep_plays_a_tone_in_which_its_parameter_is_heard(parameter):
    tone = audible(parameter)
    low, high = (
        jxemu.render(tone.replace(**{parameter: value}), [(57, 100, 0.0, 0.4)], 0.4)
        for value in (0, PARAMETERS[parameter].top)
    )
    assert np.abs(low - high).max() > 0.1 * np.abs(low).max()


@contextlib.contextmanager
def linked(link):
    link.start()
    try:
        yield
    finally:
        link.close()


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


# --- frames ---


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=frames.LONGEST - frames.HEAD))
def test_a_frame_arrives_as_it_was_sent(kind, number, body):
    (found,) = FrameReader().feed(frames.encoded(kind, number, body))
    assert (found.kind, found.number, found.body) == (kind, number, body)


@settings(max_examples=500)
@given(st.binary(max_size=600), st.binary(max_size=200))
def test_after_any_garbage_the_next_frame_but_one_is_read(garbage, body):
    reader = FrameReader()
    reader.feed(garbage)
    found = reader.feed(frames.encoded(1, 1, body) + frames.encoded(2, 2, body))
    assert found[-1] == frames.Frame(2, 2, body)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_frame_with_a_wrong_bit_is_counted_and_not_believed(body, data):
    reader = FrameReader()
    reader.feed(frames.encoded(0, 0))
    whole = bytearray(frames.encoded(5, 6, body))
    place = data.draw(st.integers(0, len(whole) - 2))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    assert reader.feed(bytes(whole)) == []
    assert reader.bad >= 1


def test_bodies_arrive_as_they_were_sent():
    for body in (Welcome(1, 2, 48_000, 2, 16, 8_000_000, 7, "name"), Ack(1, 2, 3, 4, 5, 6), Audio(1, 2, 3, b"abcd")):
        assert type(body).decode(body.encode()) == body
    with pytest.raises(ValueError, match="were expected"):
        Ack.decode(b"\0\0")


def test_a_body_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most"):
        frames.encoded(1, 1, bytes(frames.LONGEST))


# --- conformance ---


def _performed_by_the_model(folder):
    machine = jxemu.JX8P(boot=False)
    for scene in SCENES:
        begin = machine.engine.cycle_of(machine.engine.frame)
        for at, byte in arrivals(scene):
            machine.link.deliver(begin + at, byte)
        yield machine.render(round(scene.seconds * 48_000))[:, 0], 48_000


def _performed_on_the_wire(folder):
    wav, log = folder / "heard.wav", folder / "heard.jxlog"
    ready = []
    with board("board", folder, "--wav", wav, "--jxlog", log) as name:
        link = SerialLink(lambda: Wire(open_port(name, 31250)), name, tune_up=0.2, on_ready=lambda: ready.append(1))
        with linked(link):
            until(lambda: ready)
            begin, begins, sent = time.monotonic() + 0.1, [], 0
            for scene in SCENES:
                begins.append(sent)
                wire = arrivals(scene)
                link.send([byte for _, byte in wire], [begin + (at - CYCLES_PER_BYTE) / 1e6 for at, _ in wire])
                begin, sent = begin + scene.seconds, sent + len(wire)
            until(lambda: time.monotonic() > begin and not link.pending)
    heard = load_log(log)
    assert bytes(byte for _, byte in heard) == GREETING + b"".join(
        bytes([byte]) for scene in SCENES for _, byte in arrivals(scene)
    )
    sound, rate = soundfile.read(wav)
    for scene, first in zip(SCENES, begins, strict=True):
        at = heard[len(GREETING) + first][0] - arrivals(scene)[0][0]
        yield sound[round(at / 1e6 * rate) :, 0], rate


def _performed_behind_a_rig(folder):
    with board("rig", folder) as name:
        yield from performed_behind(name)


BOARDS = {
    "the model": _performed_by_the_model,
    "a process on the wire": _performed_on_the_wire,
    "a process behind a rig": _performed_behind_a_rig,
}


@pytest.fixture(scope="module", params=BOARDS)
def performance(request, tmp_path_factory):
    return list(BOARDS[request.param](tmp_path_factory.mktemp("board")))


@pytest.mark.parametrize("n", range(len(SCENES)), ids=[scene.name for scene in SCENES])
def test_a_sound_board_conforms(performance, n):
    SCENES[n].check(*performance[n])


# --- the link ---


def test_bytes_arrive_in_order_at_the_pace_of_the_wire(tmp_path):
    log = tmp_path / "heard.jxlog"
    ready = []
    data = np.random.default_rng(0).integers(0, 128, 3000).tolist()
    with board("board", tmp_path, "--jxlog", log) as name:
        link = SerialLink(lambda: Wire(open_port(name, 31250)), name, tune_up=0.1, on_ready=lambda: ready.append(1))
        with linked(link):
            until(lambda: ready)
            begun = time.monotonic()
            link.send(data, [begun] * len(data))
            until(lambda: not link.pending)
            assert time.monotonic() - begun >= 3000 * 320e-6 - 0.01
            time.sleep(1.0)
    assert [byte for _, byte in load_log(log)] == [*GREETING, *data]


class Port:
    """A port that fails when told to."""

    in_waiting = 0

    def __init__(self):
        self.heard, self.broken, self.stuck = bytearray(), False, False

    def write(self, data):
        if self.stuck:
            raise serial.SerialTimeoutException("Write timeout")
        if self.broken:
            raise OSError(5, "Input/output error")
        self.heard += data

    def read(self, count):
        return b""

    def reset_output_buffer(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("how", ["broken", "stuck"])
def test_a_lost_port_is_said_looked_for_and_greeted_again(how, monkeypatch):
    monkeypatch.setattr("jxemu.bridge.serial_link.RETRY", 0.01)
    opened, said, ready = [], [], []

    def connect():
        if len(opened) == 1:
            opened.append(None)
            raise BoardError("not there yet")
        opened.append(Port())
        return Wire(opened[-1])

    link = SerialLink(connect, "PORT", said.append, lambda: ready.append(1), tune_up=0.01)
    with linked(link):
        until(lambda: ready)
        setattr(opened[0], how, True)
        link.send([1, 2, 3], [time.monotonic()] * 3)
        until(lambda: link.traffic.lost == 1)
        link.send([4], [time.monotonic()])  # to nobody
        until(lambda: len(ready) == 2)
        link.send([5], [time.monotonic()])
        until(lambda: opened[-1].heard == GREETING + b"\5")
    assert [sentence.split()[2] for sentence in said] == ["lost", "back"]
    assert link.traffic.left_out >= 1


def test_sending_to_a_stuck_port_never_waits():
    class Slow(Port):
        def write(self, data):
            time.sleep(0.5)

    link = SerialLink(lambda: Wire(Slow()), "PORT", tune_up=0.0)
    link.start()
    until(lambda: link.state == "ready")
    begun = time.monotonic()
    for _ in range(1000):
        link.send([1, 2, 3], [begun] * 3)
    link.cut()
    assert time.monotonic() - begun < 0.4  # not one of its writes long
    assert link.pending == 0
    link.close(0.0)


def test_a_port_that_is_not_there_is_named():
    with pytest.raises(BoardError, match="cannot open /dev/nothing at 31250 baud"):
        open_port("/dev/nothing", 31250)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a driver made of a rate")
def test_an_adapter_that_takes_another_rate_is_refused(monkeypatch):
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    open_port(name, 31250).close()
    settings = struct.pack("4I20B2I", *[0] * 24, 38400, 38400)
    monkeypatch.setattr("jxemu.bridge.serial_link.fcntl.ioctl", lambda *_: settings)
    with pytest.raises(BoardError, match=f"{name} runs at 38400 baud in place of 31250"):
        open_port(name, 31250)
    os.close(ours)
    os.close(theirs)


def test_a_port_that_one_may_not_open_says_which_group_may(monkeypatch):
    def denied(*_):
        raise serial.SerialException(errno.EACCES, "denied")

    monkeypatch.setattr("serial.Serial.open", denied)
    with pytest.raises(BoardError, match=r"Permission denied; .* usermod -aG dialout"):
        open_port("/dev/ttyUSB7", 31250)


def test_what_a_rig_s_bias_is_off_by_is_no_sound():
    from jxemu.bridge.capture import Take

    t = np.arange(24_000)[:, None] / 48_000
    tone = np.where(t < 0.1, 0.0, 0.01 * np.sin(2 * np.pi * 220 * t)) * np.ones(2)
    plain, biased = (heard(Take(tone + offset, 48_000, 0.0, []), 0.1) for offset in (0.0, 0.02))
    assert biased.level == pytest.approx(plain.level, abs=0.2)
    assert (biased.hertz, biased.delay) == pytest.approx((plain.hertz, plain.delay), abs=0.2)


def test_a_recording_without_sound_holds_no_bursts():
    from jxemu.bridge.capture import bursts

    assert bursts(np.zeros(0, np.float32), 48_000) == []


# --- a rig in virtual time ---


class Line:
    """The host's port and the rig's side on one virtual clock. `spoil` changes what goes over, either way."""

    def __init__(self, spoil=lambda data: data, version=frames.VERSION, ppm=0.0, rate=48_000):
        self.seconds, self.broken = 0.0, False
        self.spoil, self.heard, self.spoiled = spoil, [], 0
        self._began = 0.0

        def now():
            return int((self.seconds - self._began) * 1e6 * (1 + ppm * 1e-6))

        self._make = lambda: emulated_board.Rig(self, rate, now, version)
        self.rig = self._make()
        self._to_host = deque()

    def start_anew(self):
        self._began = self.seconds
        self.rig = self._make()

    def deliver(self, at, byte):
        self.heard.append((at, byte))

    def sound(self, count):
        return np.zeros((count, 2), np.int16)

    def clock(self):
        return self.seconds

    def pause(self, seconds):
        self.seconds += seconds
        self.rig.turn()
        if self.rig.out:
            self._to_host.extend(self.spoil(bytes(self.rig.out)))
            self.rig.out.clear()

    # what the host takes for a port

    @property
    def in_waiting(self):
        return len(self._to_host)

    def read(self, count):
        if self.broken:
            raise serial.SerialException("unplugged")
        return bytes(self._to_host.popleft() for _ in range(min(count, len(self._to_host))))

    def write(self, data):
        if self.broken:
            raise serial.SerialException("unplugged")
        arriving = self.spoil(bytes(data))
        self.spoiled += arriving != data
        self.rig.take(arriving)

    def close(self):
        pass

    def host(self, heard=lambda audio: None):
        return Rig(self, "rig", heard, self.clock, self.pause)


def played(line, rig, data, patience=60.0):
    """Give bytes as there is room and wait until the board has heard as many; whether it did in time."""
    left = memoryview(bytes(data))
    end = line.seconds + patience
    while (left or len(line.heard) < len(data)) and line.seconds < end:
        room = min(rig.room, len(left), frames.MOST_PLAYED)
        if room:
            rig.give(bytes(left[:room]), line.seconds + 0.01)
            left = left[room:]
        line.pause(0.002)
        rig.poll()
    return not left and len(line.heard) >= len(data)


def test_a_rig_says_what_it_is():
    rig = Line().host()
    assert (rig.welcome.rate, rig.welcome.channels, rig.welcome.name) == (48_000, 2, "emulated")


def test_a_rig_of_another_version_and_a_port_without_one_are_refused():
    with pytest.raises(BoardError, match="speaks version 9"):
        Line(version=9).host()
    with pytest.raises(BoardError, match="no rig answers"):
        Line(spoil=lambda data: b"").host()


def test_a_rig_plays_bytes_at_their_microsecond():
    line = Line()
    rig = line.host()
    at = rig.now + 100_000
    rig.play(b"abc", at)
    while line.seconds < 1.0:
        line.pause(0.002)
        rig.poll()
    assert line.heard == [(at + 320 * (n + 1), byte) for n, byte in enumerate(b"abc")]


def test_what_is_cut_is_not_heard_and_what_follows_is_also_where_the_word_for_it_is_lost():
    for lost in (0, 1, 2):
        line = Line()
        rig = line.host()
        rig.play(b"abc", rig.now + 100_000)
        for n in range(500):
            line.spoil = (lambda data: b"") if 10 <= n < 10 + lost else lambda data: data
            if n == 10:
                rig.cut()
            if n == 11:
                rig.play(b"de", rig.now + 300_000)
            line.pause(0.002)
            rig.poll()
        assert bytes(byte for _, byte in line.heard) == b"de", f"{lost} frames lost"


def test_what_is_sent_after_a_cut_is_heard():
    line = Line()
    rig = line.host()
    rig.play(b"abc", rig.now + 100_000)
    rig.poll()
    rig.cut()
    rig.give(b"quiet", line.seconds)
    while line.seconds < 0.5:
        line.pause(0.002)
        rig.poll()
    assert bytes(byte for _, byte in line.heard) == b"quiet"


def test_a_link_cuts_before_it_sends_what_came_after():
    ready, port = [], Port()
    cuts = []
    port.reset_output_buffer = lambda: cuts.append(len(port.heard))
    link = SerialLink(lambda: Wire(port), "PORT", on_ready=lambda: ready.append(1), tune_up=0.0)
    with linked(link):
        until(lambda: ready)
        link.send([1] * 20, [time.monotonic() + 1] * 20)
        assert link.cut()
        link.send([7], [time.monotonic()])
        until(lambda: port.heard.endswith(b"\7"))
    assert port.heard == GREETING + b"\7"
    assert cuts == [len(GREETING)]


def test_a_rig_that_has_not_heard_that_it_is_to_listen_is_told_again():
    line, got = Line(), []
    rig = line.host(got.append)
    line.spoil = lambda data: b""
    rig.listen()
    line.spoil = lambda data: data
    while line.seconds < 1.0:
        line.pause(0.01)
        rig.poll()
    assert got


def test_the_times_of_a_rig_with_a_fast_clock_are_known():
    line = Line(ppm=100)
    rig = line.host()
    while line.seconds < 60.0:
        line.pause(0.01)
        rig.poll()
    assert rig.now == pytest.approx(line.seconds * 1e6 * (1 + 1e-4), abs=3000)


@pytest.mark.parametrize("word", ["heard", "lost"])
def test_a_rig_that_starts_anew_counts_as_lost_also_where_its_first_word_is(word):
    line = Line()
    rig = line.host()
    while line.seconds < 10:
        line.pause(0.01)
        rig.poll()
    line.start_anew()
    if word == "lost":
        line.rig.out.clear()
    with pytest.raises(OSError, match="started anew"):
        while line.seconds < 11:
            line.pause(0.01)
            rig.poll()


def test_a_rig_that_falls_silent_counts_as_lost():
    line = Line()
    rig = line.host()
    line.spoil = lambda data: b""
    with pytest.raises(OSError, match="silent"):
        for _ in range(2000):
            line.pause(0.002)
            rig.poll()


def test_missing_samples_are_reported_and_never_filled():
    line, got = Line(), []
    rig = line.host(got.append)
    rig.listen()
    for n in range(500):
        line.spoil = (lambda data: b"") if n == 250 else lambda data: data
        line.pause(0.002)
        rig.poll()
    assert rig.faults.holes == 1
    end = got[-1].position + len(got[-1].data) // 4
    assert end - got[0].position == sum(len(audio.data) // 4 for audio in got) + rig.faults.missing


def spoiler(rng):
    """Drops, doubles, garbles and mixes in bytes, now and then."""

    def spoil(data):
        kind = rng.random()
        if kind < 0.02:
            return b""
        if kind < 0.04:
            return data + data
        if kind < 0.06 and data:
            place = rng.integers(len(data))
            return data[:place] + bytes([rng.integers(256)]) + data[place + 1 :]
        if kind < 0.08:
            return rng.bytes(rng.integers(1, 40)) + data
        return data

    return spoil


@pytest.mark.parametrize("part", range(4))
def test_every_byte_arrives_once_and_in_order_whatever_the_line_does_to_it(part):
    for seed in range(part * 250, part * 250 + 250):
        rng = np.random.default_rng(seed)
        line = Line()
        rig = line.host()
        line.spoil = spoiler(rng)
        data = rng.bytes(2000)
        assert played(line, rig, data), f"seed {seed}"
        assert bytes(byte for _, byte in line.heard) == data, f"seed {seed}"
        assert (rig.faults.bad_there + rig.faults.again > 0) == (line.spoiled > 0), f"seed {seed}"


@pytest.mark.slow
def test_ten_million_bytes_arrive_in_order_over_a_line_that_drops_doubles_and_garbles():
    rng = np.random.default_rng(1986)
    line = Line(rate=1000)
    rig = line.host()
    line.spoil = spoiler(rng)
    for part in range(1000):
        data = rng.bytes(10_000)
        line.heard.clear()
        assert played(line, rig, data), f"part {part}"
        assert bytes(byte for _, byte in line.heard) == data, f"part {part}"
    assert rig.faults.again > 1000


READ_BYTES = """
import os, sys, tty
leader, follower = os.openpty()
tty.setraw(follower)
print(os.ttyname(follower), flush=True)
wanted = bytes(range(251)) * 4096
count, most = 0, int(sys.argv[1])
while count < most:
    data = os.read(leader, 65536)
    at = count % 251
    if data != wanted[at : at + len(data)]:
        sys.exit(f"not what was sent, near byte {count}")
    count += len(data)
print("whole")
"""


@pytest.mark.parametrize("count", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_bytes_reach_another_process_in_order_through_a_device_file(count, monkeypatch):
    monkeypatch.setattr("jxemu.bridge.serial_link.BYTE", 2e-6)  # a line that is 160 times as fast
    other = subprocess.Popen([sys.executable, "-c", READ_BYTES, str(count)], stdout=subprocess.PIPE, text=True)
    wire = Wire(open_port(other.stdout.readline().strip(), 31_250))
    wanted, at = bytes(range(251)) * 10, 0
    while at < count:
        if room := min(wire.room, count - at, 1000):
            wire.give(wanted[at % 251 : at % 251 + room], time.monotonic())
            at += room
        else:
            time.sleep(0.0005)
    assert other.communicate(timeout=60)[0] == "whole\n"
    wire.close()


# --- commands ---


def test_the_instrument_plays_a_real_board_beside_the_emulation(tmp_path):
    heard, played = tmp_path / "heard.jxlog", tmp_path / "played.jxlog"
    with board("board", tmp_path, "--jxlog", heard) as name:
        options = "--audio", "none", "--no-panel", "--tune-up", "0.2", "--seconds", "1.5"
        done = call("play", "--board", name, *options, "--jxlog", played)
    assert done.returncode == 0, done.stderr
    assert f"boards: {name}" in done.stderr
    there, here = (bytes(byte for _, byte in load_log(path)) for path in (heard, played))
    assert there.endswith(here[-12:])  # the end, with which everything is silenced
    greeted = there.removeprefix(GREETING)
    assert greeted[:16] == GREETING  # the assigner's own, with which everything is said again
    assert len(greeted) > 100
    assert greeted in here


def test_a_real_board_is_not_played_at_another_pace(tmp_path):
    done = call("play", "--board", "x", "--pace", "instant", "--audio", "none", "--no-panel")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--pace real" in done.stderr


def test_a_board_that_cannot_be_reached_ends_play_in_one_sentence(tmp_path):
    done = call("play", "--board", tmp_path / "nothing", "--audio", "none", "--no-panel")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot open" in done.stderr


def test_a_probe_finds_the_boards_and_voices_behind_a_rig(tmp_path):
    with board("rig", tmp_path, "--machine", "jx8p") as name:
        done = call("board", "probe", "--port", f"rig:{name}", "--tune-up", "0.1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 of 6 voices answer") == 2  # the one board of a JX-8P answers to both selects
    assert done.stdout.count("220.0") == 12


def test_a_probe_without_anything_that_hears_says_so(tmp_path):
    done = call("board", "probe", "--port", tmp_path / "port")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing hears" in done.stderr
