"""The player without a sound card: its thread's turns are taken by hand, and its blocks are played by hand."""

import ctypes
import json
import time

import mido
import numpy as np
import pytest
import test_bridge

import jxemu
from jxemu.bridge.rig import Rig
from jxemu.bridge.serial_link import GREETING, BoardError, SerialLink, Wire
from jxemu.link import load_log, replay
from jxemu.live.audio import AudioError, Silent, open_output
from jxemu.live.callback import FREEWHEELING
from jxemu.live.midi import Learned, MidiError, Source, scaled, thinned
from jxemu.live.player import LONGEST_QUEUE, Player
from jxemu.patch import sysex
from jxemu.patch.memory import Memory
from jxemu.protocol import HOLD, OFF, ON, SELECT_BOTH, VCF_FREQ, Decoder, silence

pytestmark = pytest.mark.live
BLOCK = 128


class Port:
    """A MIDI output that keeps what is sent."""

    name = "kept"

    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(bytes(message))

    def close(self):
        pass


class Bench:
    """A player whose time goes on only in `run`; its blocks wait for nothing."""

    def __init__(self, kind="jx8p", **options):
        self.said = []
        machine = jxemu.Machine(kind, memory=Memory())
        machine.load_tone(jxemu.Tone("SAW"))
        self.player = Player(machine, Silent(), say=self.said.append, **options)
        self.player.shared.words[FREEWHEELING] = 1  # times are the machine's, not the clock's on the wall
        self.player.now = lambda: self.player.shared.word("frame") + BLOCK
        block = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
        self._play = block(self.player.shared.entries.silent_block.address)
        self.source = Source("keys")
        self.run(0.3)

    def run(self, seconds):
        for _ in range(max(1, round(seconds * 48_000 / BLOCK))):
            self.player._turn()
            self._play(self.player.shared.address, BLOCK)
        self.player._turn()

    def midi(self, *messages):
        for message in messages:
            self.player.midi(self.source, bytes(message.bytes()))

    def heard(self, seconds=0.2):
        return float(np.abs(self.player.shared.heard(round(seconds * 48_000))).max())

    def events(self, since=0):
        return Decoder().feed(self.player._log_bytes)[since:]


def on(note, velocity=100):
    return mido.Message("note_on", note=note, velocity=velocity)


def off(note):
    return mido.Message("note_off", note=note)


def cc(control, value):
    return mido.Message("control_change", control=control, value=value)


@pytest.fixture
def bench():
    return Bench()


def held(bench):
    return [key for allocator in bench.player.machine.assigner.allocators.values() for key in allocator.held()]


def test_a_key_sounds_and_stops(bench):
    bench.midi(on(60))
    bench.run(0.5)
    assert bench.heard() > 1e-3
    bench.midi(off(60))
    bench.run(4)
    assert bench.heard() < 1e-3


def test_what_was_heard_is_what_the_log_replays(bench, tmp_path):
    for n in range(40):
        bench.midi(on(40 + n), cc(1, n), mido.Message("pitchwheel", pitch=100 * n))
        bench.run(0.03)
    (tmp_path / "a.jxlog").write_text(bench.player.log())
    again = jxemu.Machine("jx8p", boot=False)
    replay(load_log(tmp_path / "a.jxlog"), again.link)
    end = bench.player.shared.word("frame")
    assert np.array_equal(again.render(end)[-60_000:], bench.player.shared.heard(60_000))


@pytest.mark.parametrize("source_is", ["port", "active sensing"])
def test_a_source_that_vanishes_mid_note_lets_go_of_keys_and_pedal(bench, source_is):
    bench.midi(on(60), on(64), cc(64, 127), mido.Message("active_sensing"))
    bench.run(0.1)
    assert held(bench) == [60, 64]
    if source_is == "port":
        bench.player._gone(bench.source)
    else:
        bench.player.inputs = type("Inputs", (), {"sources": [bench.source], "poll": lambda self: ()})()
        bench.run(0.6)
        assert "active sensing" in bench.said[-1]
    bench.run(0.1)
    assert held(bench) == []
    assert not any(bench.player.machine.assigner.pedal.values())


def test_panic_silences_at_once(bench):
    bench.midi(cc(64, 127), *[on(note) for note in range(48, 72)])
    bench.run(0.3)
    bench.player.panic()
    bench.run(0.4)
    assert bench.heard(0.1) < 1e-4
    assert held(bench) == []


def test_a_thousand_notes_and_ten_thousand_controllers_a_second_leave_no_key_behind(bench):
    for n in range(1000):
        bench.midi(on(36 + n % 60), *[cc(1, (n + m) % 128) for m in range(10)])
        bench.midi(off(36 + (n - 3) % 60))
        if n % 3 == 0:
            bench.run(0.003)
    bench.midi(*[off(note) for note in range(36, 96)], cc(1, 55))
    bench.run(1.5)
    assert held(bench) == []
    assert not bench.player.machine.engine.boards.firmware.key_down.any()
    assert bench.player.notes_left_out > 0
    assert any("the wire is full" in sentence for sentence in bench.said)
    assert bench.player.machine.assigner.modulation["upper"] == 55
    assert bench.player._behind(bench.player._now_cycle()) == 0
    bench.midi(on(60))
    bench.run(0.2)
    assert bench.heard(0.1) > 1e-3


def test_a_flood_is_thinned_but_nothing_moves_past_a_note_or_a_pedal():
    def row(at, *data):
        return at, bytes(data)

    slow = [row(0, 0xB0, 1, 5), row(48, 0xB0, 1, 6)]
    assert thinned(slow, 48) == slow
    fast = [row(0, 0xB0, 1, 5), row(1, 0xB0, 2, 9), row(10, 0xB0, 1, 6), row(20, 0xB0, 1, 7)]
    assert thinned(fast, 48) == [fast[1], fast[3]]
    around = [row(0, 0xE0, 0, 5), row(1, 0x90, 60, 1), row(2, 0xE0, 0, 6), row(3, 0xB0, 64, 127), row(4, 0xB0, 64, 0)]
    assert thinned(around, 48) == around


def test_what_waits_for_the_wire_never_overtakes_what_came_later():
    bench = Bench("superjx")
    for program in range(8):
        bench.midi(mido.Message("program_change", program=program))
        bench.run(0.03)
    bench.run(0.5)
    assert bench.player.patch == bench.player.machine.assigner.memory.patch(7)
    for note in range(60, 64):
        bench.midi(on(note))
    bench.midi(cc(1, 50))
    bench.run(0.003)
    bench.midi(cc(1, 60))
    bench.run(0.3)
    assert bench.player.machine.assigner.modulation["upper"] == 60


def test_an_edit_that_waits_is_not_made_to_the_next_sound():
    bench = Bench("superjx")
    bench.midi(mido.Message("program_change", program=1))
    bench.player.move({"kind": "parameter", "name": "vcf_freq", "part": "upper"}, 3)
    bench.midi(mido.Message("program_change", program=2))
    bench.run(0.6)
    memory = bench.player.machine.assigner.memory
    assert bench.player.tones["upper"] == memory.tones(memory.patch(2))[0]


def test_panic_does_not_wait_behind_what_is_queued():
    bench = Bench("superjx")
    bench.midi(on(60))
    bench.run(0.2)
    for tone in bench.player.machine.assigner.memory.internal.tones:
        bench.player.midi(bench.source, sysex.tone_apr(tone))
    bench.player.panic()
    bench.run(0.02)
    assert not bench.player.machine.engine.boards.firmware.gate.any()
    bench.run(0.3)
    with_ranges = [board.firmware.parameter[VCF_FREQ - 0x80] for board in bench.player.machine.engine.boards]
    assert bench.player.tones["upper"].vcf_freq in with_ranges


def test_a_pedal_that_goes_up_under_another_key_mode_is_up_for_both_halves():
    bench = Bench("superjx")
    for mode, pedal in (("dual", 127), ("whole-a", 0), ("dual", None)):
        bench.player.play(jxemu.Event(0.0, "setting", ("key_mode", mode)))
        bench.run(0.3)
        if pedal is not None:
            bench.midi(cc(64, pedal))
    assert not any(bench.player.machine.assigner.pedal.values())


def test_a_clock_that_is_unplugged_gives_the_arpeggiator_its_own_time_back(bench):
    bench.player.arpeggiate(mode="up")
    bench.midi(mido.Message("start"))
    clock(bench, 1)
    bench.run(1.5)
    bench.midi(on(60))
    before = len(starts(bench, 0))
    bench.run(1.0)
    assert len(starts(bench, 0)) > before + 3
    assert bench.player.machine.assigner.tempo == 0


def test_a_note_of_the_arpeggiator_is_not_cut_by_the_one_before(bench):
    bench.player.arpeggiate(mode="up", gate=1.0, tempo=113)
    bench.midi(on(60))
    bench.run(2.0)
    kinds = [row[0] for row in bench.events() if row[0] in (ON, OFF)]
    assert kinds[:9] == [ON, OFF] * 4 + [ON]
    bench.player.arpeggiate(mode="off")
    bench.midi(off(60), on(60))
    bench.run(0.5)
    assert held(bench) == [60]


def test_the_wire_is_never_much_behind(bench):
    for n in range(400):
        bench.midi(on(36 + n % 60), off(36 + n % 60))
        assert bench.player._behind(bench.player._now_cycle()) < LONGEST_QUEUE + 0.1


def test_megabytes_of_sysex_garbage_are_passed_over(bench):
    rng = np.random.default_rng(4)
    bench.midi(on(60))
    for _ in range(4):
        body = rng.integers(0, 128, 1 << 20, dtype=np.uint8).tobytes()
        bench.player.midi(bench.source, b"\xf0" + body)
        bench.player.midi(bench.source, body[:1000] + b"\xf7")
        bench.player.midi(bench.source, rng.integers(0, 256, 5000, dtype=np.uint8).tobytes())
    bench.run(0.1)
    bench.player.panic()
    bench.run(0.3)
    bench.midi(off(60), on(72))
    bench.run(0.3)
    assert bench.heard(0.1) > 1e-4


def test_a_program_change_is_played_and_relayed_to_midi_out():
    bench = Bench("superjx", output=Port())
    bench.midi(mido.Message("program_change", program=6))
    bench.run(0.4)
    assert bench.player.patch == bench.player.machine.assigner.memory.patch(6)
    assert bytes((0xC0, 6)) in bench.player.output.sent


def test_a_dump_request_is_answered_on_midi_out():
    bench = Bench("superjx", output=Port())
    request = bytes((0xF0, sysex.ROLAND, sysex.V4_REQUEST, 0, sysex.MKS70, 0, 0, 0, 0xF7))
    bench.player.midi(bench.source, request)
    bench.run(0.6)
    bank = jxemu.Bank.decode(b"".join(message for message in bench.player.output.sent if message[0] == 0xF0))
    assert bank.patches == [bench.player.patch]
    assert bank.tones[0] == bench.player.tones["upper"]


@pytest.mark.parametrize("kind", ["jx8p", "superjx"])
def test_an_edit_is_sent_as_sysex_that_makes_the_same_edit(kind):
    bench, other = Bench(kind, output=Port()), Bench(kind)
    control = {"kind": "parameter", "name": "vcf_freq", "part": "upper"}
    bench.player.move(control, 5)
    assert bench.player.output.sent == []
    bench.player.send_edits = True
    bench.player.move(control, 33)
    bench.player.move({"kind": "setting", "name": "portamento_time", "part": "control"}, 21)
    for message in bench.player.output.sent:
        other.player.midi(other.source, message)
    assert other.player.tones["upper"].vcf_freq == 33
    assert other.player.patch.portamento_time == 21


def test_a_learned_controller_moves_its_control_and_is_kept(tmp_path):
    path = tmp_path / "controllers.json"
    bench = Bench(learned=Learned(path))
    bench.player.learned.learn({"kind": "parameter", "name": "vcf_freq", "part": "control"})
    bench.midi(cc(74, 20))
    bench.midi(cc(74, 90))
    bench.run(0.1)
    assert bench.player.tones["upper"].vcf_freq == 90
    assert [row[3] for row in bench.events() if row[2] == VCF_FREQ][-1] == 90
    again = Bench(learned=Learned(path))
    again.midi(cc(74, 11))
    again.run(0.1)
    assert again.player.tones["upper"].vcf_freq == 11


def test_a_controller_can_be_learned_over_one_of_the_hardware_s_own(bench):
    bench.player.learned.learn({"kind": "parameter", "name": "chorus", "part": "control"})
    bench.midi(cc(64, 127))
    bench.run(0.1)
    assert bench.player.tones["upper"].chorus == 2
    assert not any(row[2] == HOLD and row[3] for row in bench.events())


def test_a_controller_s_range_is_its_control_s():
    assert [scaled({"kind": "parameter", "name": "vcf_freq"}, v) for v in (0, 64, 127)] == [0, 64, 127]
    assert [scaled({"kind": "parameter", "name": "chorus"}, v) for v in (0, 42, 64, 127)] == [0, 0, 1, 2]
    assert [scaled({"kind": "setting", "name": "upper_shift"}, v) for v in (0, 127)] == [-24, 24]
    assert [scaled({"kind": "control", "name": "bend"}, v) for v in (0, 64)] == [-8192, 0]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"controllers": {"x": {}}}', '{"controllers": {"1": {"kind": "evil", "name": "x"}}}']
)
def test_a_damaged_map_of_controllers_is_named(tmp_path, text):
    path = tmp_path / "controllers.json"
    path.write_text(text)
    with pytest.raises(MidiError, match=r"controllers\.json"):
        Learned(path)


def test_running_status_and_realtime_inside_sysex_are_understood(bench):
    bench.player.midi(bench.source, bytes((0x90, 60, 100, 64, 100, 67, 100)))
    bench.player.midi(bench.source, bytes((0xF0, 0x41, 0xF8, 0x36)))
    bench.player.midi(bench.source, bytes((0xFE, 0xF7, 0x90, 71, 100)))
    bench.run(0.1)
    assert held(bench) == [60, 64, 67, 71]


def clock(bench, beats, tempo=120.0):
    """Ticks of a MIDI clock, in real time of the machine."""
    for _ in range(round(beats * 24)):
        bench.midi(mido.Message("clock"))
        bench.run(60 / tempo / 24)


def starts(bench, since):
    """Seconds at which voices were started on the wire."""
    decoder, out = Decoder(), []
    for at, byte in zip(bench.player._log_at, bench.player._log_bytes, strict=True):
        out += [at / 1e6 for kind, *_ in decoder.feed([byte]) if kind == ON]
    return np.array(out[since:])


def test_the_arpeggiator_plays_held_keys_in_its_own_time(bench):
    bench.player.arpeggiate(mode="up", octaves=2, division="1/16", tempo=150)
    bench.midi(on(60), on(64))
    bench.run(1.5)
    bench.midi(off(60), off(64))
    bench.run(0.3)
    notes = [row[3] for row in bench.events() if row[0] == ON]
    assert notes[:8] == [60, 64, 72, 76] * 2
    assert np.diff(starts(bench, 0)[:12]) == pytest.approx(0.1, abs=1.5e-3)
    assert held(bench) == []


def test_the_arpeggiator_follows_a_midi_clock(bench):
    bench.player.arpeggiate(mode="down", division="1/8")
    bench.midi(mido.Message("start"))
    bench.midi(on(60), on(64), on(67))
    clock(bench, 4, 100)
    bench.midi(off(60), off(64), off(67))
    bench.run(0.5)
    assert [row[3] for row in bench.events() if row[0] == ON][:6] == [67, 64, 60] * 2
    assert bench.player.clock.tempo == pytest.approx(100, rel=0.15)
    assert held(bench) == []


def test_the_arpeggiator_goes_on_a_step_after_a_clock_that_stops(bench):
    bench.player.arpeggiate(mode="up", division="1/8", latch=True)
    bench.midi(on(60), mido.Message("start"))
    clock(bench, 2, 120)
    bench.midi(mido.Message("stop"))
    bench.run(1.0)
    apart = np.diff(starts(bench, 0))
    assert apart[1:].min() > 0.24
    assert apart[1:].max() < 0.55


def test_of_two_clocks_the_one_that_started_first_is_followed(bench):
    other = Source("other")
    bench.midi(mido.Message("start"))
    bench.player.midi(other, b"\xfa")
    for _ in range(96):
        bench.midi(mido.Message("clock"))
        bench.run(0.0125)
        bench.player.midi(other, b"\xf8")
        bench.run(0.0125)
    assert bench.player.clock.tempo == pytest.approx(100, rel=0.15)
    bench.midi(mido.Message("stop"))
    assert not bench.player.clock.running
    bench.player.midi(other, b"\xfb")
    assert bench.player.clock.running


def test_a_port_that_starts_and_never_ticks_lets_another_lead(bench):
    bench.midi(mido.Message("start"))
    bench.run(1.2)
    bench.player.midi(Source("other"), b"\xfa\xf8")
    assert bench.player.clock.port == "other"


def test_latched_keys_go_on_until_the_next_ones(bench):
    bench.player.arpeggiate(mode="up", latch=True, tempo=240)
    bench.midi(on(60))
    bench.midi(off(60))
    bench.run(0.5)
    bench.midi(on(72))
    bench.run(0.5)
    notes = [row[3] for row in bench.events() if row[0] == ON]
    assert notes[:3] == [60] * 3
    assert notes[-1] == 72
    bench.player.arpeggiate(mode="off")
    bench.run(0.05)
    count = len(bench.events())
    bench.run(0.5)
    assert [row for row in bench.events(count) if row[0] == ON] == []


@pytest.mark.parametrize(
    "wrong", [{"mode": "sideways"}, {"octaves": 0}, {"octaves": "2"}, {"gate": 2}, {"tempo": "x"}, {"keys": 3}]
)
def test_a_wrong_setting_of_the_arpeggiator_is_named(bench, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        bench.player.arpeggiate(**wrong)


def test_chase_play_follows_a_midi_clock():
    bench = Bench("superjx")
    bench.player.play(jxemu.Event(0.0, "setting", ("key_mode", "dual")))
    for name, value in (("chase", 1), ("chase_time", 20)):
        bench.player.play(jxemu.Event(0.0, "setting", (name, value)))
    bench.run(0.4)
    bench.midi(mido.Message("start"))
    clock(bench, 2, 125)
    before = len(starts(bench, 0))
    bench.midi(on(60))
    bench.run(1.2)
    gaps = np.diff(starts(bench, before)) * bench.player.clock.tempo / 60
    assert gaps[0] == pytest.approx(1, abs=0.02)


def test_what_audio_cannot_be_opened_is_said():
    with pytest.raises(AudioError, match="choose one of jack, portaudio, none"):
        open_output("harp")
    with pytest.raises(AudioError, match="jxemu devices"):
        open_output("portaudio", "no such card")


def test_a_map_of_controllers_is_written_whole(tmp_path):
    learned = Learned(tmp_path / "deep" / "controllers.json")
    learned.learn({"kind": "setting", "name": "balance"})
    learned.take(20)
    assert json.loads(learned.path.read_text())["controllers"]["20"]["name"] == "balance"
    learned.forget({"kind": "setting", "name": "balance", "part": "control"})
    assert Learned(learned.path).controls == {}


def test_a_flood_of_pedals_keeps_the_wire_near_the_present_and_ends_where_the_pedal_is():
    bench = Bench()
    for n in range(5000):
        bench.midi(cc(64, 127 * (n % 2)))
    bench.midi(cc(64, 0))
    assert bench.player.status()["queue"] <= LONGEST_QUEUE + 0.01
    bench.run(2 * LONGEST_QUEUE)
    assert [value for _, _, what, value, _ in bench.events() if what == HOLD][-1] == 0


class Boards:
    """Real boards that keep what they are sent."""

    name, state = "kept", "ready"

    def __init__(self):
        self.sent, self.cuts = bytearray(), 0

    def send(self, data, at):
        self.sent += bytes(data)

    def cut(self):
        self.cuts += 1
        return True

    def start(self):
        pass

    def close(self):
        pass


def test_what_real_boards_were_told_at_the_end_is_in_the_log():
    boards = Boards()
    with Player(jxemu.Machine("jx8p", memory=Memory()), Silent(), boards=boards) as player:
        test_bridge.until(lambda: player.shared.word("frame") and not player.shared.waiting)
    assert silence() in boards.sent
    assert player._log_bytes.endswith(boards.sent)


def test_real_boards_rest_while_the_server_freewheels_and_are_told_everything_afterwards():
    boards = Boards()
    bench = Bench(boards=boards)
    quiet = bytes([SELECT_BOTH]) + silence()
    assert boards.cuts == 1
    assert boards.sent.endswith(quiet)
    boards.sent.clear()
    bench.player.shared.words[FREEWHEELING] = 0
    bench.player._turn()
    assert boards.sent.startswith(bytes([0xF1] * 8 + [0xF9] * 8))
    assert bench.player.tones["upper"].wire() in boards.sent


def test_after_panic_real_boards_are_told_what_was_cut_off():
    boards = Boards()
    bench = Bench(boards=boards)
    bench.player.shared.words[FREEWHEELING] = 0
    bench.player._turn()
    boards.sent.clear()
    bench.player.panic()
    assert bench.player.tones["upper"].wire() in boards.sent
    assert silence() in boards.sent


class Trouble(test_bridge.Port):
    """A serial port that breaks, is stuck, dribbles or babbles when told to."""

    def __init__(self):
        super().__init__()
        self.how = ""

    @property
    def in_waiting(self):
        if self.how == "odd":
            raise ValueError("a driver's own idea of an error")
        return 40 if self.how == "babbling" else 0

    def read(self, count):
        return bytes(count)

    def write(self, data):
        if self.how == "slow":
            time.sleep(0.002)
        super().write(data)


class FramedTrouble(test_bridge.Line):
    """A rig on a line that spoils frames, says nothing for a while or is unplugged when told to."""

    def __init__(self, rng):
        self._zero = time.monotonic()
        super().__init__(rate=1000)
        self.how, self.given, self._bad = "", bytearray(), test_bridge.spoiler(rng)
        self.spoil = lambda data: self._bad(data) if self.how == "spoiling" else data

    seconds = property(lambda self: time.monotonic() - self._zero, lambda self, value: None)

    @property
    def in_waiting(self):
        if self.how != "silent":
            super().pause(0.0)
        return super().in_waiting

    def pause(self, seconds):
        time.sleep(seconds)

    def give(self, data, at):
        self.given += data
        self._give(data, at)

    def host(self):
        rig = Rig(self, "rig", clock=time.monotonic, pause=time.sleep)
        rig.give, self._give = self.give, rig.give
        return rig


def straight(opened, rng):
    opened.append(Trouble())
    return Wire(opened[-1])


def framed(opened, rng):
    opened.append(FramedTrouble(rng))
    return opened[-1].host()


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("way", "fatal", "light"),
    [(straight, ("broken", "stuck", "odd"), ("slow", "babbling")), (framed, ("broken",), ("spoiling", "silent"))],
)
def test_the_player_goes_on_through_any_trouble_of_its_board_and_says_each(count, way, fatal, light, monkeypatch):
    monkeypatch.setattr("jxemu.bridge.serial_link.RETRY", 0.001)
    rng, opened, ready = np.random.default_rng(count), [], []
    troubles = np.random.default_rng(1).choice([*fatal, *light], count).tolist()  # however often ports are opened

    def connect():
        if opened and rng.random() < 0.2:
            raise BoardError("not there yet")
        return way(opened, rng)

    link = SerialLink(connect, "PORT", tune_up=0.0)
    bench = Bench(boards=link)
    bench.player.shared.words[FREEWHEELING] = 0
    bench.player.start()
    try:
        test_bridge.until(lambda: link.state == "ready")
        told = link.on_ready
        ready.append(1)
        link.on_ready = lambda: (told(), ready.append(1))
        lost = 0
        for number, how in enumerate(troubles):
            port = opened[-1]
            before, came = bench.player.shared.word("frame"), len(heard_by(port))
            bench.midi(on(40 + number % 40))
            if how in ("broken", "stuck"):
                setattr(port, how, True)
            port.how = how
            bench.midi(off(40 + number % 40))
            if way is framed and how == "spoiling":  # it lasts until something has gone over the line
                test_bridge.until(lambda: len(heard_by(port)) > came)  # noqa: B023
            if how in fatal:
                lost += 1
                link.send([0xF4], [time.monotonic()])
                test_bridge.until(lambda: link.traffic.lost >= lost and len(ready) > lost)  # noqa: B023
            test_bridge.until(lambda: bench.player.shared.word("frame") > before)  # noqa: B023
            port.how = ""
        assert link.traffic.lost == lost
        assert lost > count / 4
        assert sum("is lost" in sentence for sentence in bench.said) == lost
        assert bench.said.count("PORT is back") == lost
        assert all(bytes(heard_by(port)).startswith(GREETING[:1]) for port in opened if heard_by(port))
        if (
            way is framed
        ):  # in order, each once: what was given, up to where it was lost; the first one's greeting is recalled
            assert all(port.given.startswith(heard_by(port)) for port in opened[1:])
            test_bridge.until(lambda: heard_by(opened[-1]) == opened[-1].given)
            assert sum(port.spoiled for port in opened) > count / 100
    finally:
        bench.player.close()


def heard_by(port):
    """What a board behind a port was told, whichever kind it is."""
    return bytearray(byte for _, byte in port.heard) if isinstance(port, FramedTrouble) else port.heard
