"""What the sound card's own thread runs: compiled, without the GIL, without locks, without memory of its own.

::

    Python --- ring `wire`: (cycle, byte) --->  block  ---> sound card, ring `heard`
           <-- ring `seen`: what did arrive --  block
           <-- ring `midi`: (frame, byte) -----  block  <--- JACK MIDI in
           --- ring `out`: (message, byte) --->  block  ---> JACK MIDI out

Each ring has one writer and one reader; its ends are 64-bit words that are written with release and
read with acquire. A byte that comes too late for its cycle arrives at the first one of the block,
and `seen` says so: a log made of it replays bit by bit.
"""

import ctypes
import time
from collections.abc import Sequence

import numpy as np
from numba import carray, types

from jxemu import clock
from jxemu.kernel import (
    address_of,
    c_function,
    call_native,
    kernel,
    load_acquire,
    pointer,
    step,
    store_release,
    struct,
    zeros,
)  # fmt: skip
from jxemu.machine import Machine

SIZE = 1 << 16
"""Bytes that a ring holds."""

HEARD = 1 << 19
"""Output frames that are kept for scopes and recorders (5 to 12 seconds: a sound server that goes away can hold Python up)."""

MOST_FRAMES = 4096
"""Frames rendered at once; longer blocks are made in pieces."""

ARRIVALS = 4096
"""Bytes that one block can hand to the boards; more wait for the next."""

HEAD, TAIL = 0, 8  # words of a ring's ends, a cache line apart

WORDS = (
    "frame",  # of the machine, at the end of the last block
    "stamp",  # odd while the next two are being written
    "stamp_frame",  # of the machine at the beginning of the last block
    "stamp_ns",  # and the system's monotonic time then
    "block",  # frames of the last block
    "blocks",  # since the start
    "busy_ns",  # spent rendering since the start
    "worst_ns",  # longest block, by the wall clock
    "worst_cpu_ns",  # and by the processor time of the sound thread alone
    "late_blocks",  # that took longer than they last
    "slow_blocks",  # of these, the ones that did so by their own processor time
    "xruns",  # that the sound server told of
    "late_bytes",  # that came after their block had begun; those behind them on the wire are not counted
    "seen_lost",  # bytes nobody read in time
    "midi_lost",  # bytes of MIDI messages for which there was no room
    "horizon",  # frame up to which Python has played all that came in
    "freewheeling",  # whether blocks wait for Python
    "filled",  # arrivals handed to the boards and not yet taken
    "arrived_at",  # cycle of the last arrival
    "heard_end",  # frames written to `heard`
    "discard",  # bytes of `wire`, counted from the start, up to which they are thrown away unheard
    "gone",  # whether the sound server has shut down
)
"""Names of the words that both sides read: the sound thread's, but for `horizon`, `discard`, and what Python sets while no card plays."""

(FRAME, STAMP, STAMP_FRAME, STAMP_NS, BLOCK, BLOCKS, BUSY_NS, WORST_NS, WORST_CPU_NS, LATE_BLOCKS, SLOW_BLOCKS,
 XRUNS, LATE_BYTES, SEEN_LOST, MIDI_LOST, HORIZON, FREEWHEELING, FILLED, ARRIVED_AT, HEARD_END, DISCARD, GONE) = range(len(WORDS))  # fmt: skip

_I = np.int64
RING = struct(ends=(_I, (16,)), at=(_I, (SIZE,)), byte=(np.uint8, (SIZE,)))
LIVE = struct(
    words=(_I, (len(WORDS),)),
    native=_I, arguments=_I, boards=_I, units_per_frame=_I, sample_rate=_I, spacing=_I,
    clock_gettime=_I, usleep=_I, timespec=(_I, (2,)),
    jack_buffer=_I, jack_midi_count=_I, jack_midi_get=_I, jack_midi_event=(_I, (3,)),
    jack_midi_clear=_I, jack_midi_reserve=_I,
    jack_left=_I, jack_right=_I, jack_midi_in=_I, jack_midi_out=_I,
    wire=RING, seen=RING, midi=RING, out=RING,
    rx_at=(_I, (ARRIVALS,)), rx_byte=(np.uint8, (ARRIVALS,)), position=(_I, (2,)), end=(_I, (2,)),
    sound=(np.float32, (2 * MOST_FRAMES * 2,)),
    heard=(np.float32, (HEARD, 2)), nowhere=(np.float32, (1,)),
)  # fmt: skip
"""All that the sound thread and Python share, in one record."""

_TIMESPEC, _EVENT = LIVE.fields["timespec"][1], LIVE.fields["jack_midi_event"][1]
_WALL, _THREAD = time.CLOCK_MONOTONIC, time.CLOCK_THREAD_CPUTIME_ID
_UNITS_PER_CYCLE = clock.UNITS_PER_CYCLE
_WAIT_US, _LONGEST_WAIT = 20, 250_000  # freewheeling: five seconds, then the blocks go on without Python
_HALF = 0xFFFFFFFF


# --- rings ---------------------------------------------------------------------------------------


@step
def _room(ends):
    return SIZE - (ends[HEAD] - load_acquire(ends, TAIL))


@kernel
def ring_put(ends: np.ndarray, at: np.ndarray, byte: np.ndarray, times: np.ndarray, data: np.ndarray) -> int:
    """Put bytes with their times into a ring; returns how many found room."""
    head = ends[HEAD]
    count = min(len(data), SIZE - (head - load_acquire(ends, TAIL)))
    for i in range(count):
        slot = (head + i) & (SIZE - 1)
        at[slot] = times[i]
        byte[slot] = data[i]
    store_release(ends, HEAD, head + count)
    return count


@kernel
def ring_take(ends: np.ndarray, at: np.ndarray, byte: np.ndarray, times: np.ndarray, data: np.ndarray) -> int:
    """Take what has come into a ring, as much as `times` and `data` hold; returns how many bytes."""
    tail = ends[TAIL]
    count = min(len(data), load_acquire(ends, HEAD) - tail)
    for i in range(count):
        slot = (tail + i) & (SIZE - 1)
        times[i] = at[slot]
        data[i] = byte[slot]
    store_release(ends, TAIL, tail + count)
    return count


# --- one block -----------------------------------------------------------------------------------


@step
def _now_ns(live, base, which):
    call_native(live.clock_gettime, which, base + _TIMESPEC, 0)
    return live.timespec[0] * 1_000_000_000 + live.timespec[1]


@step
def _cycle_of(live, frame):
    return frame * live.units_per_frame // _UNITS_PER_CYCLE


@step
def _arrivals(live, first, last):
    """Hand the boards what arrives up to cycle `last`; nothing arrives before cycle `first`."""
    words, wire, seen = live.words, live.wire, live.seen
    head, tail = load_acquire(wire.ends, HEAD), max(wire.ends[TAIL], load_acquire(words, DISCARD))
    filled, before = words[FILLED], words[ARRIVED_AT]
    told, room = seen.ends[HEAD], _room(seen.ends)
    while tail < head and filled < ARRIVALS:
        slot = tail & (SIZE - 1)
        meant = wire.at[slot]
        at = max(meant, max(first, before + live.spacing))
        if at > last:
            break
        if at > meant and at > before + live.spacing:
            words[LATE_BYTES] += 1
        live.rx_at[filled], live.rx_byte[filled] = at, wire.byte[slot]
        if room > 0:
            seen.at[told & (SIZE - 1)], seen.byte[told & (SIZE - 1)] = at, wire.byte[slot]
            told += 1
            room -= 1
        else:
            words[SEEN_LOST] += 1
        before = at
        filled += 1
        tail += 1
    words[FILLED], words[ARRIVED_AT] = filled, before
    store_release(seen.ends, HEAD, told)
    store_release(wire.ends, TAIL, tail)


@step
def _render(live, frames):
    """The next `frames` frames of all boards, into `sound`."""
    words = live.words
    frame = words[FRAME]
    _arrivals(live, _cycle_of(live, frame), _cycle_of(live, frame + frames))
    for b in range(live.boards):
        live.end[b] = words[FILLED]
    call_native(live.native, live.arguments, frames, 0)
    taken = live.position[0]
    for b in range(1, live.boards):
        taken = min(taken, live.position[b])
    for i in range(taken, words[FILLED]):
        live.rx_at[i - taken], live.rx_byte[i - taken] = live.rx_at[i], live.rx_byte[i]
    for b in range(live.boards):
        live.position[b] -= taken
    words[FILLED] -= taken


@step
def _play(live, base, frames, left, right, stride, offset):
    """One block of the sound card: render it, write it out, keep it, and account for the time."""
    words = live.words
    began, cpu_began = _now_ns(live, base, _WALL), _now_ns(live, base, _THREAD)
    first = words[FRAME]
    stamp = words[STAMP]
    store_release(words, STAMP, stamp + 1)
    words[STAMP_FRAME], words[STAMP_NS], words[BLOCK] = first, began, frames
    store_release(words, STAMP, stamp + 2)
    done = 0
    while done < frames:
        count = min(frames - done, MOST_FRAMES)
        _render(live, count)
        for n in range(count):
            a, b = live.sound[2 * n], live.sound[2 * n + 1]
            if live.boards == 2:
                a += live.sound[2 * (count + n)]
                b += live.sound[2 * (count + n) + 1]
            left[(done + n) * stride] = a
            right[(done + n) * stride + offset] = b
            slot = (first + done + n) & (HEARD - 1)
            live.heard[slot, 0], live.heard[slot, 1] = a, b
        done += count
        words[FRAME] = first + done
    store_release(words, HEARD_END, first + frames)
    store_release(words, FRAME, first + frames)
    words[BLOCKS] += 1
    busy, cpu = _now_ns(live, base, _WALL) - began, _now_ns(live, base, _THREAD) - cpu_began
    words[BUSY_NS] += busy
    words[WORST_NS] = max(words[WORST_NS], busy)
    words[WORST_CPU_NS] = max(words[WORST_CPU_NS], cpu)
    whole = frames * 1_000_000_000 // live.sample_rate
    words[LATE_BLOCKS] += busy > whole
    words[SLOW_BLOCKS] += cpu > whole


@step
def _wait(live):
    """While the server freewheels there is no hurry: let Python play what came in first."""
    words = live.words
    patience = _LONGEST_WAIT
    while words[FREEWHEELING] and load_acquire(words, HORIZON) < words[FRAME] and patience > 0:
        call_native(live.usleep, _WAIT_US, 0, 0)
        patience -= 1


@step
def _take_midi(live, base, buffer):
    """Pass the MIDI events of a JACK port on, with the machine's frame of each."""
    words, midi = live.words, live.midi
    head = midi.ends[HEAD]
    for i in range(call_native(live.jack_midi_count, buffer, 0, 0) & _HALF):
        if call_native(live.jack_midi_get, base + _EVENT, buffer, i) & _HALF != 0:
            continue
        at, size = words[FRAME] + (live.jack_midi_event[0] & _HALF), live.jack_midi_event[1]
        if SIZE - (head - load_acquire(midi.ends, TAIL)) < size:
            words[MIDI_LOST] += size
            continue
        data = carray(pointer(live.jack_midi_event[2]), size, np.uint8)
        for n in range(size):
            midi.at[(head + n) & (SIZE - 1)], midi.byte[(head + n) & (SIZE - 1)] = at, data[n]
        head += size
    store_release(midi.ends, HEAD, head)


@step
def _give_midi(live, buffer):
    """Send whole messages to a JACK port; one that finds no room in this block goes with the next."""
    out = live.out
    call_native(live.jack_midi_clear, buffer, 0, 0)
    head, tail = load_acquire(out.ends, HEAD), out.ends[TAIL]
    first = True
    while tail < head:
        end = tail + 1
        while end < head and out.at[end & (SIZE - 1)] == out.at[tail & (SIZE - 1)]:
            end += 1
        place = call_native(live.jack_midi_reserve, buffer, 0, end - tail)
        if place != 0:
            data = carray(pointer(place), end - tail, np.uint8)
            for n in range(end - tail):
                data[n] = out.byte[(tail + n) & (SIZE - 1)]
        elif not first:
            break
        else:  # longer than a whole buffer of this server
            live.words[MIDI_LOST] += end - tail
        first = False
        tail = end
    store_release(out.ends, TAIL, tail)


# --- what the drivers call -----------------------------------------------------------------------


class Entries:
    """The compiled functions that sound cards call, by driver; their `address` is what C needs."""

    def __init__(self) -> None:
        ulong = types.uint32 if np.dtype("L").itemsize == 4 else types.uint64

        @c_function(types.int32, types.uint32, types.voidptr)
        def jack_block(frames, shared):
            live, base, n = carray(shared, 1, LIVE)[0], address_of(shared), types.int64(frames)
            _wait(live)
            _take_midi(live, base, call_native(live.jack_buffer, live.jack_midi_in, n, 0))
            _give_midi(live, call_native(live.jack_buffer, live.jack_midi_out, n, 0))
            left = carray(pointer(call_native(live.jack_buffer, live.jack_left, n, 0)), n, np.float32)
            right = carray(pointer(call_native(live.jack_buffer, live.jack_right, n, 0)), n, np.float32)
            _play(live, base, n, left, right, 1, 0)
            return 0

        @c_function(types.int32, types.voidptr)
        def jack_xrun(shared):
            carray(shared, 1, LIVE)[0].words[XRUNS] += 1
            return 0

        @c_function(types.void, types.int32, types.voidptr)
        def jack_freewheel(starting, shared):
            store_release(carray(shared, 1, LIVE)[0].words, FREEWHEELING, types.int64(starting))

        @c_function(types.void, types.int32, types.voidptr, types.voidptr)
        def jack_shutdown(_code, _reason, shared):
            store_release(carray(shared, 1, LIVE)[0].words, GONE, 1)

        @c_function(types.int32, types.voidptr, types.voidptr, ulong, types.voidptr, ulong, types.voidptr)
        def portaudio_block(_in, out, frames, _times, flags, shared):
            live, n = carray(shared, 1, LIVE)[0], types.int64(frames)
            if flags & 4:  # paOutputUnderflow
                live.words[XRUNS] += 1
            both = carray(out, 2 * n, np.float32)
            _play(live, address_of(shared), n, both, both, 2, 1)
            return 0

        @c_function(types.void, types.voidptr, types.int64)
        def silent_block(shared, frames):
            live = carray(shared, 1, LIVE)[0]
            _wait(live)
            _play(live, address_of(shared), frames, live.nowhere, live.nowhere, 0, 0)

        self.jack_block, self.jack_xrun, self.jack_freewheel = jack_block, jack_xrun, jack_freewheel
        self.jack_shutdown, self.portaudio_block, self.silent_block = jack_shutdown, portaudio_block, silent_block


class Shared:
    """A machine as the sound thread plays it, and Python's side of the rings.

    From here on the machine's records belong to the sound thread. `put`, `seen`, `midi` and `send` are
    for one thread at a time each. Raises RuntimeError where numba is switched off.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        self.record = zeros(LIVE, 1)
        self.record.view(np.uint8).fill(0)  # touch every page now, not in the sound thread
        live = self.live = self.record[0]
        self.words = live.words
        boards = len(machine.engine.boards)
        wires = live.rx_at, live.rx_byte, live.position[:boards], live.end[:boards]
        live.native, self._arguments = machine.engine.native(wires, live.sound)
        live.arguments = self._arguments.ctypes.data
        live.boards, live.sample_rate, live.spacing = boards, machine.sample_rate, machine.link.spacing
        live.units_per_frame = clock.units_per_frame(machine.sample_rate)
        self.words[FRAME] = self.words[HEARD_END] = self.words[HORIZON] = machine.engine.time[0].frame
        c = ctypes.CDLL(None)
        for name in ("clock_gettime", "usleep"):
            setattr(live, name, ctypes.cast(getattr(c, name), ctypes.c_void_p).value)
        self.entries = Entries()
        self._at, self._byte = np.zeros(SIZE, np.int64), np.zeros(SIZE, np.uint8)
        # Plain arrays once: a record's fields are slow to reach from Python.
        rings = live.wire, live.seen, live.midi, live.out
        self._wire, self._seen, self._midi, self._out = ((ring.ends, ring.at, ring.byte) for ring in rings)
        self._sent = 0
        self._heard = live.heard
        for ring in (self._wire, self._seen, self._midi, self._out):  # compile or load now, not while playing
            ring_put(*ring, self._at[:0], self._byte[:0])
            self._take(ring)

    kept = HEARD
    """Output frames that `heard` can still give."""

    @property
    def address(self) -> int:
        """Where the record lies, for C."""
        return self.record.ctypes.data

    def word(self, name: str) -> int:
        """One of `WORDS`, as it is now."""
        return int(self.words[WORDS.index(name)])

    def put(self, at: Sequence[int] | np.ndarray, data: Sequence[int] | np.ndarray) -> int:
        """Bytes for the wire with the cycles at which they arrive, ascending; returns how many found room."""
        return ring_put(*self._wire, np.asarray(at, np.int64), np.asarray(data, np.uint8))

    @property
    def waiting(self) -> bool:
        """Whether something was `put` that has not arrived."""
        ends = self._wire[0]
        return bool(ends[HEAD] > ends[TAIL])

    def discard(self) -> bool:
        """Throw away what was `put` and has not arrived; True if there was something."""
        waiting = self.waiting
        self.words[DISCARD] = self._wire[0][HEAD]
        return waiting

    def _take(self, ring: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        n = ring_take(*ring, self._at, self._byte)
        return self._at[:n].copy(), self._byte[:n].copy()

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Cycles and bytes of all that has arrived at the boards since the last call."""
        return self._take(self._seen)

    def midi(self) -> tuple[np.ndarray, np.ndarray]:
        """Frames and bytes of the MIDI that JACK has brought since the last call."""
        return self._take(self._midi)

    def send(self, message: bytes) -> bool:
        """Send one whole MIDI message to JACK's MIDI OUT; False if there was no room for it."""
        ends = self._out[0]
        if SIZE - int(ends[HEAD] - ends[TAIL]) < len(message):
            return False
        self._sent += 1
        ring_put(*self._out, np.full(len(message), self._sent), np.frombuffer(message, np.uint8))
        return True

    def heard(self, frames: int, end: int | None = None) -> np.ndarray:
        """The `frames` output frames up to frame `end` (default: the newest), float32 (frames, 2); at most `HEARD`."""
        end = self.word("heard_end") if end is None else end
        return self._heard.take(np.arange(end - frames, end) & (HEARD - 1), axis=0)

    def clock(self) -> tuple[int, int, int]:
        """``(frame, monotonic ns, frames)`` at which the last block began, and its length."""
        while True:
            before = self.words[STAMP]
            now = int(self.words[STAMP_FRAME]), int(self.words[STAMP_NS]), int(self.words[BLOCK])
            if not before & 1 and self.words[STAMP] == before:
                return now

    def frame_at(self, ns: int) -> int:
        """The machine's frame at a monotonic time, by the last block's; before the first block 0."""
        frame, then, block = self.clock()
        passed = min(max(ns - then, 0) * self.machine.sample_rate // 1_000_000_000, 4 * block) if block else 0
        return frame + passed
