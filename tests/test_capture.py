"""Capturing: alignment in virtual time and with drifting clocks, losses, and datasets from a board in another process."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from commands import call
from conformance import board
from scipy import signal as filters
from test_bridge import Line, spoiler, until

import jxemu
from jxemu.app import capture
from jxemu.bridge.capture import (
    BURST,
    SILENT,
    CaptureError,
    CardBench,
    Patient,
    RigBench,
    Take,
    bursts,
    checked,
    ends,
    runs,
)  # fmt: skip
from jxemu.bridge.serial_link import BYTE, BoardError
from jxemu.render import dataset
from jxemu.render.features import FEATURES
from jxemu.render.offline import Item

RATE = 48_000


def test_arrivals_are_played_as_runs_without_gaps():
    wire = [(320, 1), (640, 2), (5000, 3), (5320, 4), (5700, 5)]
    assert runs(wire) == [(0, b"\1\2"), (4680, b"\3\4"), (5380, b"\5")]


# --- a sound card: another clock, an unknown delay ---


class Desk:
    """A board on a serial port of a computer that is never on time, and a card with a clock and a delay of its own; in virtual time.

    The board clicks when a key's three bytes have arrived. As a wire and a recorder, it is both ends of a `CardBench`.
    """

    ahead, rate, channels = 0.002, RATE, 2

    def __init__(self, seed=0, ppm=None, jitter=0.001):
        self.rng = np.random.default_rng(seed)
        self.ppm = self.rng.uniform(-100, 100) if ppm is None else ppm
        self.delay, self.polarity = self.rng.uniform(0.0, 0.02), self.rng.choice([-1, 1])
        self.jitter, self.now, self.free, self.begun = jitter, 0.0, 0.0, 0.0
        self.origin = self.holes = 0
        self.bytes, self.keys, self.said = [], [], []

    def clock(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds

    @property
    def room(self):
        return max(0, int((self.now + self.ahead - self.free) / BYTE))

    def give(self, data, at):
        begin = max(self.free, self.now + self.rng.uniform(0, self.jitter))  # an adapter takes its time
        for n, byte in enumerate(data):
            self.bytes.append((begin + n * BYTE, byte))
            if byte == 0xC0:
                self.keys.append(begin + (n + 3) * BYTE)
        self.free = begin + len(data) * BYTE

    def poll(self):
        pass

    close = poll

    def frame(self, seconds):
        """Where the card's own clock stands."""
        return (seconds + self.delay) * RATE * (1 + self.ppm * 1e-6)

    def start(self):
        self.origin, self.bytes, self.keys = round(self.frame(self.now)) - 500, [], []

    def stop(self):
        size = round(self.frame(self.now)) - self.origin
        line = np.ones(size + 200)
        for at, byte in self.bytes:
            bits = [0, *((byte >> n) & 1 for n in range(8)), 1]
            for n in np.flatnonzero(np.array(bits) == 0):
                low, high = (self.frame(at + m * BYTE / 10) - self.origin for m in (n, n + 1))
                places = np.arange(int(low), int(high) + 1)
                line[places] -= np.clip(np.minimum(places + 1, high) - np.maximum(places, low), 0, 1)
        line = filters.sosfilt(filters.butter(1, 5, "high", fs=RATE, output="sos"), 0.2 * self.polarity * line)[:size]
        sound = np.zeros(size)
        for at in self.keys:
            place = self.frame(at) - self.origin
            near = np.arange(max(0, int(place) - 40), min(size, int(place) + 41))
            sound[near] += 0.5 * np.sinc(near + 0.5 - place) * np.hanning(83)[1 + near - int(place) + 40]
        return np.stack([sound, line], 1) + self.rng.normal(0, 0.001, (size, 2))

    def bench(self, learn=60.0):
        return CardBench(self, self, learn, self.said.append, self.clock, self.pause)


def clicks_of(take):
    """Where clicks are, in samples: the middle of each peak by its neighbours."""
    sound = take.sound[:, 0].astype(float)
    tops = filters.find_peaks(sound, 0.15, distance=100)[0]
    a, b, c = (sound[tops + n] for n in (-1, 0, 1))
    return tops + 0.5 * (a - c) / (a - 2 * b + c)


KEY = [0xC0, 60, 100]


def struck(*seconds):
    """Arrivals of keys whose third byte has come at those seconds."""
    return [(round((at - (2 - n) * BYTE) * 1e6), byte) for at in seconds for n, byte in enumerate(KEY)]


@pytest.mark.parametrize("trials", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_a_key_lies_on_the_wires_time_within_a_sample_whatever_clock_and_delay_the_card_has(trials):
    for seed in range(trials):
        desk = Desk(seed)
        bench = desk.bench()
        begin = 0.05 + 0.001 * seed
        take = bench.perform(struck(begin), 4.0)
        assert len(take.sound) == 4 * RATE
        assert clicks_of(take) == pytest.approx([begin * RATE], abs=1.0), f"seed {seed}"
        assert take.ppm == pytest.approx(desk.ppm, abs=5.2), f"seed {seed}"  # a sample in four seconds
        assert take.troubles == []
        assert desk.said == ["listening to the sound card's clock, for up to 60 s"]


@pytest.mark.slow
def test_a_session_gets_to_know_the_cards_clock_by_its_takes_alone():
    desk = Desk(3, ppm=80.0)
    bench = desk.bench(learn=0.0)
    takes = [bench.perform(struck(0.1), 1.0) for _ in range(50)]
    assert "clock is not known well yet" in takes[0].troubles[0]
    assert np.abs([take.ppm - 80 for take in takes[40:]]).max() < 10
    assert takes[-1].troubles == []


def test_a_card_that_loses_count_is_listened_to_anew():
    desk = Desk(4)
    bench = desk.bench()
    bench.perform(struck(0.1), 1.0)
    known = bench.perform(struck(0.1), 1.0).ppm
    desk.holes, desk.delay = 1, desk.delay + 0.5
    take = bench.perform(struck(0.1), 1.0)
    assert clicks_of(take) == pytest.approx([0.1 * RATE], abs=1.0)
    assert take.ppm == pytest.approx(known, abs=1)  # its count is lost, not what is known of its rate


def test_a_key_that_leaves_no_room_for_a_burst_is_said():
    take = Desk(2).bench(learn=0.0).perform([(95_000, 0xF1), *struck(0.1)], 0.2)
    assert any("too near before the first key" in trouble for trouble in take.troubles)


def test_a_card_that_does_not_hear_the_wire_is_said_after_one_try():
    desk = Desk(2)
    desk.polarity = 0.0
    with pytest.raises(CaptureError, match="does it record the wire"):
        desk.bench().perform(struck(0.1), 0.2)
    assert desk.now < 15


def test_bytes_after_a_takes_end_are_not_sent():
    desk = Desk(1)
    desk.bench(learn=0.0).perform([*struck(0.1), (199_000, 0x80), (199_320, 1), (205_000, 0x81)], 0.2)
    assert bytes(byte for _, byte in desk.bytes)[-len(BURST) - 2 : -len(BURST)] == bytes([0x80, 1])


def test_a_burst_leads_the_first_key_and_leaves_the_boards_selected_as_they_were():
    desk = Desk(1)
    wire = [(1000, 0xF1), *struck(0.1)]
    desk.bench(learn=0.0).perform(wire, 0.2)
    sent = bytes(byte for _, byte in desk.bytes)
    assert sent == bytes([0xF1]) + BURST + bytes([0xF1, *KEY]) + BURST


def test_a_recording_without_bursts_or_with_a_hole_is_refused():
    with pytest.raises(CaptureError, match="of 2 bursts were found"):
        ends([100.0], RATE, 1.0)
    with pytest.raises(CaptureError, match="sound was lost"):
        ends([100.0, 100.0 + RATE - 400], RATE, 1.0)
    assert bursts(np.random.default_rng(0).normal(0, 0.001, RATE), RATE) == []


def test_what_is_wrong_with_a_take_is_said():
    loud = checked(Take(np.ones((100, 1), np.float32), RATE))
    assert "100 samples are clipped" in loud.troubles[0]
    assert any("offset" in said for said in loud.troubles)
    assert "nearly silent" in checked(Take(np.zeros((100, 1), np.float32), RATE)).troubles[0]


# --- a rig, in virtual time ---


class Clicks(Line):
    """A board that clicks when a byte has arrived. `plugged` says at which seconds the rig is there."""

    def __init__(self, plugged=lambda seconds: True, rate=RATE, ppm=0.0):
        super().__init__(ppm=ppm, rate=rate)
        self.plugged, self.rate, self.clicks = plugged, rate, []

    def deliver(self, at, byte):
        self.clicks.append(at)

    def sound(self, count):
        begin = self.rig._sounded
        out = np.zeros((count, 2), np.int16)
        for at in self.clicks:
            place = round(at * self.rate / 1e6) - begin
            if 0 <= place < count:
                out[place] = 20_000
        self.clicks = [at for at in self.clicks if round(at * self.rate / 1e6) >= begin + count]
        return out

    def pause(self, seconds):
        super().pause(seconds)
        self.broken = not self.plugged(self.seconds)

    def open(self, name, heard):
        if self.broken:
            raise BoardError("not there")
        return self.host(heard)

    def bench(self):
        return RigBench("rig", self.open, self.clock, self.pause)


def test_a_take_behind_a_rig_lies_on_the_wires_time_within_a_sample_in_100_trials():
    line = Clicks(ppm=80)
    bench = line.bench()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        line.pause(rng.uniform(0, 0.05))
        wire = [
            (int(at), 1) for at in np.sort(rng.choice(np.arange(10, 90), 8, replace=False)) * 1000 + rng.integers(600)
        ]
        take = bench.perform(wire, 0.1)
        found = np.flatnonzero(take.sound[:, 0] > 0.3)
        expected = np.array([at for at, _ in wire]) * RATE / 1e6
        assert all(np.abs(found - at).min() <= 1.0 for at in expected), f"seed {seed}"


def hours(hours, unplugs, rate=2000, step=0.02):
    """A capture of takes of 4 s in virtual time, with the rig pulled out now and then; what went wrong."""
    rng = np.random.default_rng(5)
    gone = [(at, at + rng.uniform(0.5, 20)) for at in np.sort(rng.uniform(10, hours * 3600 - 60, unplugs))]
    line = Clicks(lambda seconds: not any(begin <= seconds < end for begin, end in gone), rate)
    said = []

    def connect():
        bench = line.bench()
        bench._pause = lambda seconds: line.pause(step)
        return bench

    patient = Patient(connect, say=said.append, pause=line.pause)
    takes = 0
    while line.seconds < hours * 3600:
        wire = [(1_000_000 + 7 * takes, 1), (3_000_000, 2)]
        take = patient.perform(wire, 4.0)
        expected = [round(at * rate / 1e6) for at, _ in wire]
        found = np.flatnonzero(take.sound[:, 0] > 0.3)
        assert len(take.sound) == 4 * rate
        assert all(np.abs(found - at).min() <= 1 for at in expected), f"take {takes}"
        takes += 1
    return takes, patient.lost, said


def test_a_capture_goes_on_through_unplugging_and_loses_no_take():
    takes, lost, said = hours(0.04, 2)
    assert takes > 20
    assert lost >= 1
    assert sum("is lost" in sentence for sentence in said) == lost


@pytest.mark.slow
def test_a_capture_of_six_hours_with_20_unplugs_loses_nothing():
    takes, lost, _ = hours(6, 20)
    assert takes > 3_900  # 4 s each, and 1.4 s of bursts and waiting about it
    assert lost >= 15


def troubled(seed):
    """A take over a line that is pulled out, drops, doubles, garbles, and is read too seldom; how it came about."""
    rng = np.random.default_rng(seed)
    gone = rng.uniform(0.2, 1.2) if rng.random() < 0.4 else np.inf
    back = gone + rng.uniform(0.05, 2.0)
    line = Clicks(lambda seconds: not gone <= seconds < back, 2000, rng.uniform(-100, 100))
    step = rng.choice([0.0005, 0.005, 0.05])
    said = []

    def connect():
        try:
            bench = line.bench()
        except OSError:
            raise BoardError("lost while it was greeted") from None  # as Rig.open does
        bench._pause = lambda seconds: line.pause(step)
        line.spoil = spoiler(rng) if seed % 4 else line.spoil
        return bench

    line.pause(0.01)
    patient = Patient(connect, say=said.append, pause=line.pause)
    wire = [(int(at), 1) for at in 1000 * np.sort(rng.choice(np.arange(10, 140, 12), 4, replace=False))]
    try:
        take = patient.perform(wire, 0.15)
    except CaptureError as error:
        return "given up", [str(error)], patient
    if any("late" in trouble for trouble in take.troubles):
        return "late", take.troubles, patient
    found = np.flatnonzero(take.sound[:, 0] > 0.3)
    expected = np.array([at for at, _ in wire]) * 2000 / 1e6
    assert len(take.sound) == 300, f"seed {seed}"
    assert all(np.abs(found - at).min() <= 1.0 for at in expected), f"seed {seed}: {found} {expected}"
    assert len(found) <= 2 * len(wire), f"seed {seed}: clicks that nobody played"
    return "whole", said, patient


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_capture_is_right_or_says_what_is_wrong_over_a_line_in_any_trouble(count):
    ends = []
    for seed in range(count):
        end, said, patient = troubled(seed)
        assert sum("is lost" in sentence for sentence in said) == (patient.lost if end == "whole" else 0), (
            f"seed {seed}"
        )
        assert end == "whole" or said[0], f"seed {seed}"  # given up, or late: both are said
        ends.append(end)
    assert ends.count("whole") > 0.8 * count


def test_a_take_that_never_comes_is_given_up_with_its_reason():
    class Deaf:
        rate, channels = RATE, 1

        def perform(self, wire, seconds):
            raise CaptureError("no sound")

        def close(self):
            pass

    said = []
    with pytest.raises(CaptureError, match="no sound"):
        Patient(Deaf, say=said.append).perform([], 1.0)
    assert said == ["no sound; it is played again"] * 4


# --- whole datasets ---


def test_an_items_tone_is_said_before_its_time_begins():
    item = Item(jxemu.Tone("SAW"), [(60, 100, 0.1, 0.3)])
    wire, lead = capture.wire_of(item)
    at = [arrived / 1e6 - lead for arrived, _ in wire]
    notes = [n for n, (_, byte) in enumerate(wire) if 0xC0 <= byte < 0xC6]
    assert at[notes[0] - 2] < 0
    assert at[notes[0]] == pytest.approx(0.1, abs=0.002)
    assert np.diff([arrived for arrived, _ in wire]).min() >= 320


SPEC = """
version = 1
name = "grid"
description = "four notes of two tones"
seed = 1
seconds = 0.5
items = 4
shard = 2
[machine]
sample_rate = 44100
[performance]
choose = "grid"
notes = [48, 60]
velocities = [100]
hold = 0.3
[tones]
source = "bank"
files = ["factory"]
[store]
audio = true
features = ["mel"]
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Two boards behind a rig, in a process of their own."""
    with board("rig", tmp_path_factory.mktemp("rig"), "--machine", "superjx") as name:
        yield name


def test_a_dataset_is_captured_goes_on_where_it_was_stopped_and_reads_as_a_rendered_one(tmp_path, rig):
    spec, folder = tmp_path / "grid.toml", tmp_path / "set"
    spec.write_text(SPEC)
    options = "capture", spec, "-o", folder, "--port", f"rig:{rig}", "--tune-up", "0.1", "--only", "upper"
    command = [str(Path(sys.executable).with_name("jxemu")), *map(str, options)]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: list(folder.glob("shards/*.json")) or first.poll() is not None, 60)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert "the same command goes on" in said
    kept = {path.name: path.stat().st_mtime for path in folder.glob("shards/*.h5")}
    done = call(*options)
    assert done.returncode == 0, done.stderr
    assert kept
    assert all((folder / "shards" / part).stat().st_mtime == at for part, at in kept.items())
    found = dataset.open(folder)
    assert len(found) == 4
    made = jxemu.render_batch([part for item in found for part in item.plan.items()], 0.5, 44_100).mean(2)
    rendered = np.stack([FEATURES["mel"].of(sound, 44_100) for sound in made]).astype(float)
    for n, item in enumerate(found):  # phases differ: the board runs on
        apart = np.abs(np.clip(item["mel"].astype(float), -80, 0) - np.clip(rendered, -80, 0)).mean((1, 2))
        assert apart.argmin() == n
        assert apart[n] < 3.0
    assert len(json.loads((folder / "capture.json").read_text())["sessions"]) == 2
    assert "a real board" in (folder / "README.md").read_text()
    assert "pure function" not in (folder / "README.md").read_text()
    refused = call("dataset", "render", spec, "-o", folder)
    assert refused.returncode == 2
    assert "captured from a real board" in refused.stderr
    looked = call("dataset", "check", folder)
    assert looked.returncode == 0, looked.stderr
    assert "captured from a board" in looked.stdout


def test_a_rendered_dataset_is_not_gone_on_with_by_a_board(tmp_path, monkeypatch):
    spec = tmp_path / "grid.toml"
    spec.write_text(SPEC)
    frozen = capture._spec(str(spec), None, None)
    folder = dataset.create(tmp_path / "set", frozen)
    folder.shard(0).write_bytes(b"rendered")
    said = []
    monkeypatch.setattr("jxemu.app.files.say", said.append)
    with pytest.raises(typer.Exit):
        capture._dataset(frozen, tmp_path / "set", None, {}, None)
    assert "holds a rendered dataset" in said[0]


def test_a_full_disk_is_waited_out(tmp_path, monkeypatch):
    tries = []

    def write(path, number, source):
        tries.append(number)
        if len(tries) < 3:
            raise dataset.DiskFullError("the disk is full")

    said = []
    monkeypatch.setattr("jxemu.render.dataset.write_shard", write)
    monkeypatch.setattr(capture, "_wait", lambda seconds: None)
    monkeypatch.setattr(capture, "say", said.append)
    notes = capture._Notes(tmp_path / "capture.json")
    with capture._bar() as bar:
        task = bar.add_task("capturing", total=1)
        capture._shard(tmp_path, 7, capture._Player(None, notes, lambda: None), notes, bar, task)
    assert tries == [7, 7, 7]
    assert len(said) == 1


def test_a_take_that_never_comes_ends_a_dataset_in_its_own_sentence(tmp_path, monkeypatch):
    class Deaf:
        rate, lost, repeated = RATE, 0, 0

        def perform(self, wire, seconds):
            raise CaptureError("no sound")

    spec = tmp_path / "grid.toml"
    spec.write_text(SPEC)
    said = []
    monkeypatch.setattr("jxemu.app.files.say", said.append)
    monkeypatch.setattr(capture, "_levels", lambda made: {})
    with pytest.raises(typer.Exit):
        capture._dataset(capture._spec(str(spec), None, None), tmp_path / "set", Deaf(), {"only": None}, None)
    assert said == ["jxemu: no sound; what is done stays, the same command goes on"]


def test_a_board_that_is_not_heard_ends_a_dataset_before_its_silence_is_stored(tmp_path, monkeypatch):
    class Mute:
        rate, lost, repeated = RATE, 0, 0

        def perform(self, wire, seconds):
            silence = np.zeros((round(seconds * RATE), 2), np.float32)
            return Take(silence, RATE, troubles=[f"{SILENT} (peak -120 dB): is the cable in?"])

    spec = tmp_path / "grid.toml"
    spec.write_text(SPEC)
    said, failed = [], []
    monkeypatch.setattr(capture, "say", said.append)
    monkeypatch.setattr("jxemu.app.files.say", failed.append)
    monkeypatch.setattr(capture, "_levels", lambda made: {})
    with pytest.raises(typer.Exit):
        capture._dataset(capture._spec(str(spec), None, None), tmp_path / "set", Mute(), {"only": None}, None)
    assert "3 items in a row were nearly silent" in failed[0]
    assert len(said) == 1
    assert said[0].startswith("item 0: nearly silent")
    assert set(json.loads((tmp_path / "set/capture.json").read_text())["troubles"]) == {"0", "1", "2"}


def test_what_is_due_after_a_take_does_not_play_into_the_next():
    line = Clicks()
    bench = line.bench()
    bench.perform([(50_000, 1), (400_000, 2)], 0.1)
    take = bench.perform([], 0.5)
    assert np.abs(take.sound).max() == 0


def test_a_song_is_captured_as_sound(tmp_path, rig):
    import soundfile

    out = tmp_path / "song.wav"
    demo = Path(__file__).parents[1] / "demo"
    log = tmp_path / "song.jxlog"
    made = call(
        "render", demo / "song.mid", "--bank", demo / "tones.syx", "--tone", "SUNDAY EP", "-o", tmp_path / "made.wav",
        "--jxlog", log, "--seconds", "2",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    done = call("capture", log, "-o", out, "--port", f"rig:{rig}", "--tune-up", "0.1", "--tail", "0.1")
    assert done.returncode == 0, done.stderr
    sound, rate = soundfile.read(out)
    assert rate == 48_000
    assert np.abs(sound).max() > 0.01


def test_a_take_waits_for_a_full_disk_to_have_room(tmp_path, monkeypatch):
    free = iter([0, 0, 1 << 30])
    waited = []
    monkeypatch.setattr(capture.shutil, "disk_usage", lambda folder: SimpleNamespace(free=next(free)))
    monkeypatch.setattr(capture, "_wait", waited.append)
    capture._wait_for_room(tmp_path, 1 << 20)
    assert waited == [capture.ROOM_EVERY] * 2


def test_what_cannot_be_captured_is_said_in_a_sentence(tmp_path):
    done = call("capture", Path(__file__).parents[1] / "demo/song.mid", "-o", "/proc/x.wav", "--port", "rig:nothing")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot write /proc/x.wav" in done.stderr
    done = call("capture", tmp_path / "no.jxlog", "-o", tmp_path / "x.wav", "--port", "rig:nothing")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot read" in done.stderr
    (tmp_path / "taken.wav").write_bytes(b"a recording")
    for name, words, why in (
        ("x.wav", ("--items", 3), "--items is for datasets"),
        ("x.wav", ("--rate", 44_100), "leave out --card, --channels and --rate"),
        ("taken.wav", (), "taken.wav is there already"),
    ):
        done = call(
            "capture", Path(__file__).parents[1] / "demo/song.mid", "-o", tmp_path / name, "--port", "rig:x", *words
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert why in done.stderr
    assert (tmp_path / "taken.wav").read_bytes() == b"a recording"
