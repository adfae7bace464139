"""The instrument as it is played: events from everywhere in, bytes with their times to the sound thread.

One thread of Python polls the MIDI ports, moves the arpeggiator and chase play on, and sees to the
sound card. Everything is meant for one block after it happened, at its own place in that block: the
latency is constant, whatever Python is busy with inside that block.

The wire carries 3125 bytes a second, and a player can ask for more. Controllers that find it busy
wait and only their last value goes; keys that would come more than `LONGEST_QUEUE` late are left
out. Key releases always go. What was left out is counted.
"""

import contextlib
import math
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import mido
import numpy as np

from jxemu import clock, protocol
from jxemu.link import HEADER, LogError, format_log
from jxemu.live.arpeggiator import Arpeggiator
from jxemu.live.audio import AudioError, Driver, Jack, Silent
from jxemu.live.callback import FREEWHEELING, GONE, HORIZON, SIZE, Shared
from jxemu.live.midi import CONTROL_NAMES, Clock, Inputs, Learned, OutputPort, Source, scaled, thinned
from jxemu.machine import Event, Machine, event_of, part_of
from jxemu.patch import sysex
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import APR_BYTES, CHAIN, CHAIN_OF, HALVES, PATCH, Chain, Patch
from jxemu.patch.tone import Tone

LONGEST_QUEUE = 0.25
"""Seconds a key may wait for the wire; a patch change alone takes 0.085."""

CONTROL_QUEUE = 0.01
"""Seconds the wire may be behind before controllers wait."""

_SOUNDS = ("tone", "patch", "program")
SYSEX_QUEUE = 12.0
"""Seconds that sysex may be behind: a dump of 64 patches in edit buffers takes the wire 10."""

_QUEUES = {
    "note_on": LONGEST_QUEUE,
    "hold": LONGEST_QUEUE,
    "sysex": SYSEX_QUEUE,
    "wire": 1.0,
    **dict.fromkeys(_SOUNDS, LONGEST_QUEUE),
}
"""Seconds the wire may be behind for events of a kind, if not `CONTROL_QUEUE`."""

_ALWAYS = ("note_off", "all_notes_off", "tempo")
_LEFT_OUT = ("note_on", "sysex", "wire")
_AT_ONCE = (*_LEFT_OUT, "hold")
_OF_A_SOUND = ("parameter", "setting", "sound")
_PERIOD = 0.001
_RESCAN = 1.0
_FAR = 1 << 62
_MONITOR = 512

Say = Callable[[str], None]


class Boards(Protocol):
    """Real sound boards, as `jxemu.bridge.serial_link.SerialLink`. Nothing of it ever waits."""

    name: str
    on_ready: Callable[[], None]
    say: Callable[[str], None]

    def start(self) -> None:
        """Greet them; `on_ready` is called whenever they are ready to be told everything."""

    def send(self, data: Iterable[int], at: Iterable[float]) -> None:
        """Let bytes begin at their times (`time.monotonic`)."""

    def cut(self) -> bool:
        """Forget what has not gone; whether there may have been anything."""

    def close(self) -> None:
        """Let go what waits, and end."""

    @property
    def state(self) -> str:
        """Whether they are there, and ready, in words."""


class Player:
    """A machine, a sound card and MIDI ports.

    machine : just made, at the card's rate.  driver : opened, not started.  reopen : opens a card again
    after it has vanished (None: silence).  inputs : MIDI ports or None.  output : MIDI OUT, or None: JACK's
    own where the driver is JACK, else nothing.  learned : controllers.
    channels : MIDI channel -> part, as in `jxemu.machine.part_of`.  say : takes sentences for the player.
    boards : real ones, which get every byte that the emulated ones get.
    """

    def __init__(
        self,
        machine: Machine,
        driver: Driver,
        reopen: Callable[[], Driver] | None = None,
        inputs: Inputs | None = None,
        output: OutputPort | None = None,
        learned: Learned | None = None,
        channels: dict[int, str] | None = None,
        say: Say = print,
        boards: Boards | None = None,
    ):
        self.boards, self._freewheeled = boards, False
        self.machine, self.driver, self.inputs, self.output = machine, driver, inputs, output
        self.learned = learned or Learned()
        self.channels, self.say = channels, say
        self.shared = Shared(machine)
        self.lock = threading.RLock()
        self.arpeggiator = Arpeggiator(machine.sample_rate)
        self.clock = Clock(machine.sample_rate)
        self.send_edits = False
        self.notes_left_out = 0
        self.controls = dict.fromkeys(CONTROL_NAMES, 0) | {"volume": 127, "bend": 64}
        self.monitor: deque[tuple[float, str, Any]] = deque(maxlen=_MONITOR)  # seconds, port, mido message
        self.monitored = 0
        self.wire: deque[tuple[int, int]] = deque(maxlen=SIZE)  # cycle, byte: the newest that have arrived
        self.wired = 0
        self.seen_lost = False
        self._log_at, self._log_bytes = array("q"), bytearray()
        self._reopen = reopen
        self._lost = driver if isinstance(driver, Silent) and reopen else None
        self._refused = ""
        self._jack_source = Source("JACK midi_in")
        self._waiting: dict[tuple, Event] = {}
        boards = machine.engine.boards.view(np.ndarray)["firmware"]
        relaying = int(np.argmax(boards["relays"]))
        # Plain arrays once: a record's fields are slow to reach from Python.
        self._midi_out, self._midi_out_count = boards["midi_out"][relaying], boards["midi_out_count"][relaying:]
        self._midi_out_read = 0
        self._out = mido.Parser()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jxemu player", daemon=True)
        self._rescan_at = 0.0
        self._told_full = 0.0
        self._flush()

    # --- life ---

    def start(self) -> None:
        """Let the sound begin. Raises AudioError."""
        self._start_driver(self.driver)
        self._thread.start()
        if self.boards:
            self.boards.on_ready = self.greet
            self.boards.say = lambda sentence: self.say(sentence)
            self.boards.start()

    def _start_driver(self, driver: Driver) -> None:
        if isinstance(driver, Jack):
            driver.on_disconnect = lambda: self._gone(self._jack_source)
        driver.start(self.shared)
        self.driver = driver

    def close(self) -> None:
        """End the sound and close every port."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.boards:  # when nobody plays any more: nothing is to sound on
            self.panic()
            self.boards.close()
            self._let_arrive()
        self.driver.stop()
        self._read_wire()
        for port in (self.inputs, self.output):
            if port:
                port.close()

    def _let_arrive(self, patience: float = 1.0) -> None:
        """Wait until the emulation has been told all that real boards were, so that the log has it too.

        A sound card that stands still is waited for no longer than `patience`, in seconds.
        """
        end = time.monotonic() + patience
        while self.shared.waiting and time.monotonic() < end:
            time.sleep(0.002)

    def __enter__(self) -> "Player":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is going on ---

    @property
    def latency(self) -> float:
        """Seconds from a key to the plug: one block, the converters' filters, and the card's own."""
        _, _, block = self.shared.clock()
        block = block or int(self.shared.word("block"))
        return (block + self.machine.engine.latency_frames) / self.machine.sample_rate + self.driver.latency

    def measure(self) -> float:
        """Seconds from an event to the plug, as measured now: how late its byte reaches the boards, and `latency`'s rest.

        The event is a hold pedal that stays as it is. NaN if the sound card stands still.
        """
        hold = Event(0.0, "hold", 127 if self.machine.assigner.pedal["upper"] else 0)
        patience = time.monotonic() + 1.0
        while self._behind(self._now_cycle()) > 0 and time.monotonic() < patience:
            time.sleep(0.005)
        time.sleep(0.02)
        with self.lock:
            before, began = self.wired, time.monotonic_ns()
            self.play(hold)
        for _ in range(500):
            time.sleep(0.002)
            with self.lock:
                if self.wired > before and (arrived := self.wire[before - self.wired][0]):
                    frame, then, _ = self.shared.clock()
                    rate = self.machine.sample_rate
                    late = arrived * 1000 - (frame * 1_000_000_000 // rate) + then - began
                    return late / 1e9 + self.machine.engine.latency_frames / rate + self.driver.latency
        return math.nan

    @property
    def input_names(self) -> list[str]:
        """Names of everything MIDI comes in through."""
        jack = [self._jack_source.name] if isinstance(self.driver, Jack) else []
        return jack + (self.inputs.names if self.inputs else [])

    @property
    def output_name(self) -> str:
        """Name of what MIDI OUT goes to, empty if there is nothing."""
        if self.output:
            return self.output.name
        return f"{self.driver.client.name}:midi_out" if isinstance(self.driver, Jack) else ""

    def status(self) -> dict[str, float | int | str]:
        """Counters and levels, for meters."""
        word = self.shared.word
        return {
            "seconds": word("frame") / self.machine.sample_rate,
            "rate": self.machine.sample_rate,
            "block": word("block"),
            "boards": f"{self.boards.name}: {self.boards.state}" if self.boards else "",
            "driver": self.driver.name if self._lost is None else "lost; waiting for it to come back",
            "latency": self.latency,
            "busy_ns": word("busy_ns"),
            "frames": word("frame"),
            "worst_ns": word("worst_ns"),
            "worst_cpu_ns": word("worst_cpu_ns"),
            "late_blocks": word("late_blocks"),
            "slow_blocks": word("slow_blocks"),
            "xruns": word("xruns"),
            "late_bytes": word("late_bytes"),
            "midi_lost": word("midi_lost"),
            "notes_left_out": self.notes_left_out,
            "queue": self._behind(self._now_cycle()),
            "tempo": self.clock.tempo,
        }

    @property
    def patch(self) -> Patch:
        """The patch that plays."""
        return self.machine.assigner.patch

    @property
    def tones(self) -> dict[str, Tone]:
        """Its upper and its lower tone."""
        return dict(self.machine.assigner.tones)

    @property
    def settled(self) -> bool:
        """Whether nothing waits for the wire."""
        return not self._waiting

    def log(self) -> str:
        """The `.jxlog` of all that has arrived since power-on; it replays bit by bit. Raises LogError if bytes were lost."""
        with self.lock:
            self._read_wire()
            at, data = self._log_at[:], self._log_bytes[:]
        if self.seen_lost:
            raise LogError(f"not a whole {HEADER.split()[0]}: bytes went by faster than they were read")
        return format_log(zip(at, data, strict=True), self.machine.link.spacing)

    # --- playing ---

    def now(self) -> int:
        """The frame that something happening now is meant for: one block on."""
        _, _, block = self.shared.clock()
        return self.shared.frame_at(time.monotonic_ns()) + block

    def _now_cycle(self) -> int:
        return self.machine.engine.cycle_of(self.now())

    def play(self, event: Event, frame: int | None = None) -> None:
        """Play an event, now or at a frame of the machine; from any thread.

        Raises ValueError for one that does not fit.
        """
        with self.lock:
            self._hand_over(event, self.machine.engine.cycle_of(self.now() if frame is None else frame))
            self._flush()

    def note(self, kind: str, key: int, velocity: int, frame: int | None = None, part: str = "control") -> None:
        """A key goes down ("note_on") or up ("note_off"), through the arpeggiator where it is on."""
        with self.lock:
            frame = self.now() if frame is None else frame
            down = kind == "note_on" and velocity > 0
            if part == "control" and down and self.arpeggiator.mode != "off":
                self.arpeggiator.press(key, velocity, frame)
            elif part != "control" or down or not self.arpeggiator.release(key):
                self.play(Event(0.0, "note_on" if down else "note_off", (key, velocity), part), frame)

    def arpeggiate(self, **settings: str | int | float | bool) -> None:
        """Change settings of the arpeggiator. Raises ValueError for one that is out of range."""
        with self.lock:
            self._notes(self.arpeggiator.set(**settings))

    def step_program(self, way: int) -> None:
        """Change to the next program there is (`way` 1), or the one before (-1)."""
        assigner = self.machine.assigner
        single = len(assigner.roles) == 1
        for n in range(1, 128):
            program = (assigner.program + n * way) % 128
            found = assigner.memory.jx8p_tone(program) if single else assigner.memory.patch(program)
            if found and (single or not assigner.memory.holder(program).missing(found)):
                self.play(Event(0.0, "program", program))
                return

    def panic(self) -> None:
        """Every voice silenced at once, every key and pedal up; what is queued for the wire is thrown away."""
        with self.lock:
            assigner, cycle = self.machine.assigner, self._now_cycle()
            self._waiting.clear()
            self.arpeggiator.clear()
            for source in self._sources:
                source.let_go()
            cut_off = self.shared.discard()
            self.machine.link.cut(cycle)
            if self.boards:
                cut_off = self.boards.cut() or cut_off
            for kind, data in (("silence", 127), ("hold", 0), ("all_notes_off", None)):
                assigner.handle(Event(0.0, kind, data), cycle)
            self.controls["hold"] = 0
            if cut_off:  # it may have been half a tone
                assigner.load_patch(assigner.patch, assigner.tones["upper"], assigner.tones["lower"], cycle)
            self._flush()

    def greet(self) -> None:
        """Say everything to the boards, as after power-on; keys that are down sound no more."""
        with self.lock:
            cycle, assigner = self._now_cycle(), self.machine.assigner
            assigner.boot(cycle)
            assigner.load_patch(assigner.patch, assigner.tones["upper"], assigner.tones["lower"], cycle)
            for name, value in list(self.controls.items()):
                assigner.handle(Event(0.0, name, (value - 64) * 128 if name == "bend" else value), cycle)
            self._flush()

    def _behind(self, cycle: int) -> float:
        """Seconds that the wire is behind."""
        return max(0, self.machine.link.free_at - cycle) / clock.CYCLES_PER_SECOND

    def _hand_over(self, event: Event, cycle: int) -> None:
        kind = event.kind
        if kind in CONTROL_NAMES and event.part == "control":
            self.controls[kind] = (event.data + 8192) >> 7 if kind == "bend" else int(event.data)
        if kind in _ALWAYS or (kind in _AT_ONCE and self._behind(cycle) <= _QUEUES[kind]):
            self._waiting.pop((kind, "", event.part), None)  # a pedal moved since
            self.machine.assigner.handle(event, cycle)
        elif kind in _LEFT_OUT:
            self._left_out()
        else:
            if kind in _SOUNDS:  # edits of the sound before it would be edits of this one
                self._waiting = {key: held for key, held in self._waiting.items() if key[0] not in _OF_A_SOUND}
            which = event.data[0] if kind in ("parameter", "setting") else ""
            key = ("sound" if kind in _SOUNDS else kind, which, event.part)
            self._waiting.pop(key, None)
            self._waiting[key] = event
            self._let_in(cycle, event)

    def _let_in(self, cycle: int, fresh: Event | None = None) -> None:
        """Play what waits for the wire, oldest first; what does not fit is said, or raised if it is `fresh`."""
        while self._waiting:
            event = next(iter(self._waiting.values()))
            if self._behind(cycle) > _QUEUES.get(event.kind, CONTROL_QUEUE):
                return
            del self._waiting[next(iter(self._waiting))]
            try:
                self.machine.assigner.handle(event, cycle)
            except ValueError as error:
                if event is fresh:
                    raise
                self.say(str(error))
            else:
                self._send_on(event)

    def _left_out(self) -> None:
        self.notes_left_out += 1
        if time.monotonic() - self._told_full > 2.0:
            self._told_full = time.monotonic()
            self.say("the wire is full (3125 bytes a second): keys or sysex are left out until it has caught up")

    def _flush(self) -> None:
        """Give the sound thread what the link carries."""
        at, data = self.machine.link.take(_FAR)
        if self.boards and len(at) and not self._freewheeled:
            frame, then, _ = self.shared.clock()
            begun = then / 1e9 - frame / self.machine.sample_rate - clock.CYCLES_PER_BYTE / clock.CYCLES_PER_SECOND
            self.boards.send(data.tolist(), (begun + at / clock.CYCLES_PER_SECOND).tolist())
        if len(at) and self.shared.put(at, data) < len(at):
            self.say("the sound card stands still: bytes for the boards were lost; play panic when it goes on")

    def _look_after_boards(self, freewheeling: bool) -> None:
        """Real boards cannot follow a server that freewheels: they rest meanwhile, and are told everything afterwards."""
        if freewheeling == self._freewheeled:
            return
        self._freewheeled = freewheeling
        if freewheeling:
            self.boards.cut()
            quiet = bytes([protocol.SELECT_BOTH]) + protocol.silence()
            self.boards.send(quiet, [time.monotonic()] * len(quiet))
        else:
            self.greet()

    # --- MIDI ---

    @property
    def _sources(self) -> list[Source]:
        return [self._jack_source, *(self.inputs.sources if self.inputs else [])]

    def midi(self, source: Source, data: bytes, frame: int | None = None) -> None:
        """Play MIDI bytes that came from a source. Bytes that are no MIDI are passed over."""
        with self.lock:
            frame = self.now() if frame is None else frame
            for message in source.feed(data, frame / self.machine.sample_rate):
                self._message(source.name, message, frame)

    def _message(self, port: str, message: Any, frame: int, by_hand: bool = True) -> None:
        if message.type == "active_sensing":
            return
        if message.type in ("clock", "start", "stop", "continue"):
            self._tick(message.type, frame, port)
            return
        self.monitor.append((frame / self.machine.sample_rate, port, message))
        self.monitored += 1
        part = part_of(message, self.channels)
        if part is None:
            return
        try:
            learned = by_hand and message.type == "control_change" and self.learned.take(message.control)
            if control := learned:
                self.move(control, scaled(control, message.value), frame)
            elif message.type in ("note_on", "note_off"):
                self.note(message.type, message.note, message.velocity, frame, part)
            elif event := event_of(0.0, message):
                if event.kind == "all_notes_off" and part == "control":
                    self._notes(self.arpeggiator.clear())
                self.play(Event(0.0, event.kind, event.data, part), frame)
        except ValueError as error:
            self.say(f"{port}: {error}")
        except OSError as error:
            self.say(f"{self.learned.path} cannot be written ({error.strerror}): what is learned will be forgotten")

    def move(self, control: dict[str, str], value: int, frame: int | None = None) -> None:
        """Move a control of `jxemu.live.midi.Learned` to a value."""
        kind, name, part = control["kind"], control["name"], control["part"]
        self.play(Event(0.0, name, value, part) if kind == "control" else Event(0.0, kind, (name, value), part), frame)

    def _send_on(self, event: Event) -> None:
        """Say an edit that was just played to MIDI OUT, if `send_edits`."""
        if self.send_edits and event.kind in ("parameter", "setting", "patch", "tone"):
            for message in self._edits(event):
                self._send_out(message)

    def _edits(self, event: Event) -> list[bytes]:
        """IPR messages of a single edit, or the edit buffers of another sound."""
        assigner = self.machine.assigner
        single = len(assigner.roles) == 1
        if event.kind in ("patch", "tone"):
            if single:
                return [sysex.jx8p_tone(self.tones["upper"])]
            return [
                sysex.patch_apr(self.patch.unnumbered),
                *(sysex.tone_apr(self.tones[half], half) for half in HALVES),
            ]
        name = event.data[0]
        if event.kind == "setting" and single:
            chain, field = Chain.of(self.patch, assigner.program), CHAIN_OF.get(name)
            place = list(CHAIN).index(field) if field else 0
            return [sysex.ipr([(place, chain.encode()[place])], "patch", machine=sysex.JX8P)] if field else []
        if event.kind == "setting":
            data = self.patch.unnumbered.encode_buffer()
            places = [PATCH[name].index, *(range(APR_BYTES, len(data)) if name in ("key_mode", "bend_range") else ())]
            return [sysex.ipr([(place, data[place] & 0x7F) for place in places], "patch")]
        place = PARAMETERS[name].sysex
        machine = sysex.JX8P if single else sysex.MKS70
        values = {half: self.tones[half].encode()[place] & 0x7F for half in assigner.halves_of(event.part)}
        return [sysex.ipr([(place, value)], "tone", 0, half, machine) for half, value in values.items()]

    def _send_out(self, message: bytes) -> None:
        if self.output:
            try:
                self.output.send(message)
            except Exception as error:  # whatever a MIDI system in trouble brings
                self.say(f"MIDI OUT: {error}")
                self.output = None
        elif isinstance(self.driver, Jack) and not self.shared.send(message):
            self.say(f"MIDI OUT is full: a message of {len(message)} bytes was left out")

    def _tick(self, kind: str, frame: int, port: str) -> None:
        if self.clock.take(kind, frame, port):
            self.arpeggiator.clocked = True
            if self.clock.tempo:
                self.arpeggiator.tempo = min(max(self.clock.tempo, 20.0), 300.0)
            self._notes(self.arpeggiator.tick(frame, self.clock.ticks - 1))
        if not self.clock.running:
            self.arpeggiator.clocked = False
        now = self.clock.tempo if self.clock.running else 0.0
        if now != self.machine.assigner.tempo:
            self.play(Event(0.0, "tempo", now), frame)

    def _notes(self, notes: list[tuple[int, str, int, int]]) -> None:
        for frame, kind, key, velocity in notes:
            self.play(Event(0.0, kind, (key, velocity)), frame or None)  # frame 0 is now: what has to end at once

    def _gone(self, source: Source) -> None:
        """A source that is no more lets go of its keys."""
        with self.lock:
            for message in source.let_go():
                self._message(source.name, message, self.now(), by_hand=False)

    # --- the thread ---

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except Exception as error:  # whatever it is, the instrument goes on
                with contextlib.suppress(Exception):
                    self.say(f"{type(error).__name__}: {error}; the instrument goes on")
                time.sleep(0.05)
            if not self.shared.word("freewheeling"):
                time.sleep(_PERIOD)

    def _turn(self) -> None:
        """Everything that is due: ports, arpeggiator, chase hits, what waits, what has arrived."""
        freewheeling = self.shared.word("freewheeling")
        _, _, block = self.shared.clock()
        done = self.shared.word("frame")
        with self.lock:
            if self.boards:
                self._look_after_boards(bool(freewheeling))
            self._read_jack(block)
            for source, messages in self.inputs.poll() if self.inputs else ():
                now = self.now()
                self._take(source, [(now, message) for message in messages])
            until = (done if freewheeling else self.shared.frame_at(time.monotonic_ns())) + block
            self._notes(self.arpeggiator.due(until))
            cycle = self.machine.engine.cycle_of(until)
            self.machine.assigner.advance(cycle)
            self._let_in(cycle)
            self._flush()
            self._read_wire()
            self._read_midi_out()
            if self.clock.silent_too_long(done):
                self._tick("stop", done, self.clock.port)
            for source in self._sources:
                if source.silent_too_long(done / self.machine.sample_rate):
                    self.say(f"{source.name}: active sensing has stopped; its keys are let go")
                    self._gone(source)
        self.shared.words[HORIZON] = done
        if time.monotonic() >= self._rescan_at and not freewheeling:
            self._rescan_at = time.monotonic() + _RESCAN
            self._look_after_ports()
            self._look_after_card()

    def _read_jack(self, block: int) -> None:
        at, data = self.shared.midi()
        if len(at):
            begins = np.flatnonzero((data >= 0x80) | (np.diff(at, prepend=-1) > 0))
            ends = [*begins[1:], len(at)]
            rows = [(int(at[a]) + block, data[a:b].tobytes()) for a, b in zip([0, *begins[1:]], ends, strict=True)]
            self._take(self._jack_source, rows)

    def _take(self, source: Source, rows: list[tuple[int, bytes]]) -> None:
        """Play what a source has brought, without what the wire cannot carry."""
        for frame, message in thinned(rows, self.machine.sample_rate // 1000):
            self.midi(source, message, frame)

    def _read_wire(self) -> None:
        at, data = self.shared.seen()
        if len(at):
            self._log_at.frombytes(at.tobytes())
            self._log_bytes += data.tobytes()
            self.wire.extend(zip(at.tolist(), data.tolist(), strict=True))
            self.wired += len(at)
        self.seen_lost = self.shared.word("seen_lost") > 0

    def _read_midi_out(self) -> None:
        """Send on what the boards relay to MIDI OUT: answers to requests, program changes."""
        for message in self._relayed():
            self.monitor.append((self.shared.word("frame") / self.machine.sample_rate, "MIDI OUT", message))
            self.monitored += 1
            self._send_out(bytes(message.bytes()))

    def _relayed(self) -> list[Any]:
        count = int(self._midi_out_count[0])
        if count == self._midi_out_read:
            return []
        fresh = np.arange(self._midi_out_read, count) % len(self._midi_out)
        self._out.feed(self._midi_out[fresh].tobytes())
        self._midi_out_read = count
        return list(self._out)

    def _look_after_ports(self) -> None:
        if isinstance(self.driver, Jack):
            self.driver.plug_in_midi()
        if not self.inputs:
            return
        with self.lock:
            new, gone = self.inputs.rescan()
            for name in new:
                self.say(f"MIDI input {name} is open")
            for source in gone:
                self.say(f"MIDI input {source.name} is gone; its keys are let go")
                self._gone(source)

    def _look_after_card(self) -> None:
        """Go on silently when the card has vanished, and go back to it when it is there again."""
        if self._lost is None and self.driver.alive(self.shared):
            return
        if self._lost is None:
            name = self.driver.name
            self.driver.stop()
            self.say(f"{name} has vanished; the instrument goes on silently until it is back")
            self.shared.words[GONE] = self.shared.words[FREEWHEELING] = 0
            self._lost = Silent(self.machine.sample_rate, self.shared.word("block"))
            self._lost.start(self.shared)
            self.driver = self._lost
            return  # a server on its way down still takes clients
        if self._reopen is None:
            return
        try:
            driver = self._reopen()
        except AudioError:
            return
        if driver.rate != self.machine.sample_rate:
            driver.stop()
            if driver.name != self._refused:
                self._refused = driver.name
                self.say(
                    f"{driver.name} runs at {driver.rate} Hz and the instrument at {self.machine.sample_rate}: start it again"
                )
            return
        self._lost.stop()
        try:
            self._start_driver(driver)
        except AudioError:
            driver.stop()
            self._lost = Silent(self.machine.sample_rate, self.shared.word("block"))
            self._lost.start(self.shared)
            return
        self._lost = None
        self.say(f"{driver.name} is back")
