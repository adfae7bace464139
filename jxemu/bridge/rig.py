"""A capture rig: a microcontroller between the host and a board (tools/board_firmware), spoken to in `frames`.

It plays bytes at times of its own clock, so that what the host's clock and USB do moves nothing, and sends what its
converters hear with the times of the samples. Bytes are acknowledged, and sent again when a frame was lost; samples
are not: a hole in them is reported.
"""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import serial

from jxemu.bridge import frames
from jxemu.bridge.frames import WRAP, Ack, Audio, Frame, FrameReader, Welcome
from jxemu.bridge.serial_link import BoardError, open_port
from jxemu.clock import CYCLES_PER_BYTE

BAUD = 1_000_000
"""Of the rig's port; a USB port of its own does not mind."""

AHEAD = 0.03
"""Seconds of bytes that the rig is given before their time."""

REST = 0.002
"""Seconds between looks for what it says: half a buffer of 4 KiB comes in ten."""

HELLO_EVERY, HELLO_FOR = 0.25, 4.0
"""Seconds between greetings, and until nobody is there: a board with a boot loader sleeps for two."""

AGAIN, SOON = 0.25, 0.03
"""Seconds without an answer after which the host repeats itself, and after which it does when it hears that it must."""

SILENT = 2.0
"""Seconds without a frame after which a rig counts as lost: it says something twenty times a second."""

BACK, AHEAD_MOST = 5_000_000, 60_000_000
"""Microseconds that an acknowledgement's time may lie behind the newest or ahead of it: else the rig's clock began anew."""

OFFSET_OF = 10
"""Seconds that the offset between the clocks is taken from: the frame that came quickest tells it."""


@dataclass
class Faults:
    """What went wrong between host and rig, counted."""

    bad_here: int = 0  # frames that came broken
    bad_there: int = 0  # frames that the rig threw away
    again: int = 0  # frames that were sent again
    late: int = 0  # bytes that the rig played late
    holes: int = 0  # times that samples are missing
    missing: int = 0  # samples that are missing


class Rig:
    """A rig that has said who it is: a way to the board as `serial_link.Wire`, and what it hears.

    port : opened.  heard : takes `Audio` in order, of which nothing is missing but what `faults` counts.
    clock, pause : seconds now, and waits for some.
    Raises BoardError if no rig answers, or one that speaks another version.
    """

    ahead, rest = AHEAD, REST

    def __init__(
        self,
        port: serial.SerialBase,
        name: str = "",
        heard: Callable[[Audio], None] = lambda audio: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ):
        self._port, self._reader, self._heard, self._clock, self._pause = port, FrameReader(), heard, clock, pause
        self.faults = Faults()
        self._missed = False  # whether the rig has said that a frame was no good
        self._sounded_at = 0.0
        self._unheard: deque[tuple[int, bytes, int]] = deque()  # number, frame and bytes of what is not acknowledged
        self._next = 0
        self._offsets: deque[list[float]] = deque(maxlen=OFFSET_OF)  # second, least offset in it
        self._time = 0
        self._bad_before = 0
        self._listening = False
        self._cutting: int | None = None  # number of a cut that is not confirmed
        self._following: int | None = None
        self.welcome = self._meet(name)
        self._free = self.welcome.queue
        self._met = self._last_word = self._asked = self._heard_out = self._clock()

    @classmethod
    def open(cls, name: str, heard: Callable[[Audio], None] = lambda audio: None) -> "Rig":
        """The rig at a port. Raises BoardError."""
        port = open_port(name, BAUD)
        try:
            return cls(port, name, heard)
        except (OSError, serial.SerialException) as error:
            port.close()
            raise BoardError(f"{name} was lost while the rig was greeted ({error})") from None
        except BoardError:
            port.close()
            raise

    def _meet(self, name: str) -> Welcome:
        end = self._clock() + HELLO_FOR
        while self._clock() < end:
            self._send(frames.HELLO, 0, bytes([frames.VERSION]))
            again = self._clock() + HELLO_EVERY
            while self._clock() < again:
                for frame in self._read():
                    if frame.kind != frames.WELCOME:
                        continue
                    if frame.body[:1] != bytes([frames.VERSION]):
                        there = frame.body[0] if frame.body else "none"
                        raise BoardError(
                            f"the rig at {name} speaks version {there} of the protocol, this program {frames.VERSION}: "
                            "put the firmware of this version on it (tools/board_firmware)"
                        )
                    try:
                        welcome = Welcome.decode(frame.body)
                    except ValueError:
                        continue
                    self._hears(welcome.time)
                    return welcome
                self._pause(0.002)
        raise BoardError(
            f"no rig answers at {name}: is it plugged in, with the firmware of tools/board_firmware on it?"
        )

    # --- time ---

    def _hears(self, stamp: int) -> int:
        """Take a time of the rig's clock that came just now; returns it without its wrapping."""
        ahead = (stamp - self._time + WRAP // 2) % WRAP - WRAP // 2
        whole = self._time + ahead
        self._time = max(self._time, whole)
        now = self._clock()
        if not self._offsets or now - self._offsets[-1][0] > 1:
            self._offsets.append([now, math.inf])
        self._offsets[-1][1] = min(self._offsets[-1][1], now * 1e6 - whole)
        return whole

    def time_of(self, at: float) -> int:
        """The rig's microsecond (since its start, never wrapping) for a `time.monotonic`."""
        return round(at * 1e6 - min(offset for _, offset in self._offsets))

    @property
    def now(self) -> int:
        """The rig's microsecond now."""
        return self.time_of(self._clock())

    # --- bytes for the board ---

    def give(self, data: bytes, at: float) -> None:
        """Let the board hear bytes, the first one beginning at a `time.monotonic`. Raises OSError."""
        self.play(data, self.time_of(at))

    def play(self, data: bytes, at: int) -> None:
        """Let the board hear bytes, the first one beginning at a microsecond of the rig's clock. Raises OSError."""
        for begin in range(0, len(data), frames.MOST_PLAYED):
            part = data[begin : begin + frames.MOST_PLAYED]
            body = ((at + CYCLES_PER_BYTE * begin) % WRAP).to_bytes(4, "little") + part
            whole = frames.encoded(frames.PLAY, self._next, body)
            self._unheard.append((self._next, whole, len(part)))
            self._next = (self._next + 1) & 0xFF
            self._asked = self._clock()
            self._port.write(whole)

    @property
    def room(self) -> int:
        """Bytes that may be given now: one frame, where there is room for it."""
        if len(self._unheard) >= frames.WINDOW:
            return 0
        return max(0, min(frames.MOST_PLAYED, self._free - sum(size for _, _, size in self._unheard)))

    @property
    def waiting(self) -> int:
        """Bytes that, as far as is known, the board has not heard yet."""
        return self.welcome.queue - self._free + sum(size for _, _, size in self._unheard)

    def cut(self) -> None:
        """Forget what the board has not heard. Raises OSError."""
        self._cutting = self._next
        self._next = (self._next + 1) & 0xFF
        self._unheard.clear()
        self._asked = self._clock()
        self._send(frames.CUT, self._cutting)

    # --- what it says ---

    def listen(self, on: bool = True) -> None:
        """Let it send what it hears, or stop. Raises OSError."""
        self._listening, self._sounded_at = on, self._clock()
        self._send(frames.LISTEN, 0, bytes([on]))

    def poll(self) -> int:
        """Take what has come, and see to what was lost; returns how many frames came. Raises OSError if the rig is lost."""
        now = self._clock()
        found = self._read()
        for frame in found:
            self._take(frame)
        if found:
            self._last_word = now
        elif now - self._last_word > SILENT:
            raise OSError(f"the rig has been silent for {SILENT:.0f} s")
        if not self._unheard and self._cutting is None:
            self._heard_out = now
        elif now - self._heard_out > SILENT:
            raise OSError(f"the rig has taken nothing for {SILENT:.0f} s")
        elif now - self._asked > (SOON if self._missed else AGAIN):
            self._send_again()
        if self._listening and now - self._sounded_at > AGAIN:
            self.listen()  # it has not heard of it
        return len(found)

    def _take(self, frame: Frame) -> None:
        if frame.kind == frames.WELCOME:
            if self._clock() - self._met < SILENT:
                return  # a greeting that was answered late, or its first word after power-on
            raise OSError("the rig has started anew")
        try:
            if frame.kind == frames.ACK:
                self._acknowledged(Ack.decode(frame.body))
            elif frame.kind == frames.AUDIO:
                self._sounded(Audio.decode(frame.body))
        except ValueError:
            self.faults.bad_here += 1

    def _acknowledged(self, ack: Ack) -> None:
        ahead = (ack.time - self._time + WRAP // 2) % WRAP - WRAP // 2
        if ahead < -BACK or ahead > AHEAD_MOST:
            raise OSError("the rig has started anew")
        self._hears(ack.time)
        waiting = [number for number, _, _ in self._unheard]
        if ack.expected in waiting or ack.expected == self._next:
            while self._unheard and self._unheard[0][0] != ack.expected:
                self._unheard.popleft()
                self._asked = self._heard_out = self._clock()
                self._missed = False
            self._cutting = None
        elif self._cutting is not None:
            self._missed = True  # it has not heard of it
        self._free, self.faults.late = ack.free, max(self.faults.late, ack.late)
        bad = (ack.bad - self._bad_before) % 65536
        if bad >= 32768:
            return  # an old one, that comes twice
        self._bad_before = ack.bad
        self.faults.bad_there += bad
        self._missed |= bool(bad)

    def _send_again(self) -> None:
        self.faults.again += len(self._unheard) + (self._cutting is not None)
        self._asked, self._missed = self._clock(), False
        if self._cutting is not None:
            self._send(frames.CUT, self._cutting)
        for _, whole, _ in self._unheard:
            self._port.write(whole)

    def _sounded(self, audio: Audio) -> None:
        if not self._listening:
            return
        self._sounded_at = self._clock()
        whole = self._hears(audio.time)
        width = 2 * self.welcome.channels
        if self._following is not None and audio.position != self._following:
            ahead = (audio.position - self._following + WRAP // 2) % WRAP - WRAP // 2
            if ahead < 0:
                return  # twice the same
            self.faults.holes += 1
            self.faults.missing += ahead
        self._following = (audio.position + len(audio.data) // width) % WRAP
        self._heard(Audio(whole, audio.position, audio.dropped, audio.data))

    def _read(self) -> list[Frame]:
        data = self._port.read(self._port.in_waiting or 1)
        bad = self._reader.bad
        found = self._reader.feed(data)
        self.faults.bad_here += self._reader.bad - bad
        return found

    def _send(self, kind: int, number: int, body: bytes = b"") -> None:
        self._port.write(frames.encoded(kind, number, body))

    def close(self) -> None:
        """Let go of the port."""
        with contextlib.suppress(OSError):
            self._send(frames.LISTEN, 0, b"\0")
        with contextlib.suppress(OSError):
            self._port.close()
