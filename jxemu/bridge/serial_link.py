"""A real sound board on a serial port: the same bytes at the same pace as the emulated one gets, 31250 baud 8N1.

A thread of its own writes them, so that a port that is slow, stuck or unplugged never holds up the player. A port
that is lost is looked for again; when it is back the board is greeted as the assigner does it after power-on, and
`on_ready` says all of the sound to it anew. The wire goes one way: a board never answers here.

Limits: Linux and macOS; on Windows nothing of this was tried. Not every adapter's driver takes 31250 baud.
"""

import contextlib
import errno
import fcntl
import os
import struct
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import serial
from serial.tools import list_ports

from jxemu.clock import CYCLES_PER_BYTE, CYCLES_PER_SECOND
from jxemu.protocol import SELECT_LOWER, SELECT_UPPER

GREETING = bytes([SELECT_LOWER] * 8 + [SELECT_UPPER] * 8)
"""What an assigner says before anything else. Source: ZOMBIE."""

TUNE_UP = 3.0
"""Seconds that boards are left alone after the greeting, while they calibrate their DCOs. PLACEHOLDER: open question `tune-up`."""

BYTE = CYCLES_PER_BYTE / CYCLES_PER_SECOND
"""Seconds a byte takes on the wire."""

AHEAD = 0.002
"""Seconds of bytes that a port is given before their time: more would wait in its buffer, beyond recall."""

REST = 0.02
"""Seconds between looks whether a port is still there."""

STALL = 1.0
"""Seconds without room for a byte after which a port counts as lost."""

LATEST = 2.0
"""Seconds that bytes may be behind their time before a port counts as lost."""

RETRY = 0.5
"""Seconds between looks for a lost port."""


class BoardError(RuntimeError):
    """A board that cannot be reached; the message says what to do."""


@dataclass
class Traffic:
    """What has become of the bytes for a board."""

    sent: int = 0
    left_out: int = 0  # while the port was lost
    lost: int = 0  # times that the port was lost


def ports() -> list[tuple[str, str]]:
    """Serial ports that the system lists, with what they say they are."""
    return [(port.device, port.description) for port in sorted(list_ports.comports())]


def open_port(name: str, baud: int) -> serial.SerialBase:
    """A serial port, 8N1. Raises BoardError in one sentence."""
    try:
        port = serial.serial_for_url(name, do_not_open=True, baudrate=baud, timeout=0, write_timeout=STALL)
        with contextlib.suppress(AttributeError):
            port.exclusive = True  # two programs on one wire would mix their bytes
        port.open()
    except (OSError, ValueError, termios.error) as error:
        known = ", ".join(device for device, _ in ports()) or "none"
        reason = _reason(error)
        if getattr(error, "errno", None) == errno.EACCES:
            reason += (
                "; on Linux a member of the port's group may, mostly: sudo usermod -aG dialout $USER, and log in anew"
            )
        raise BoardError(f"cannot open {name} at {baud} baud ({reason}); ports that are there: {known}") from None
    taken = _baud_of(port)
    if taken and abs(taken - baud) > NEAR * baud:
        port.close()
        raise BoardError(
            f"{name} runs at {taken} baud in place of {baud}: its driver cannot do that rate; use another adapter"
        )
    return port


NEAR = 0.02
"""Share of a rate by which a port may miss it: a byte's last bit is then still read whole."""

_TCGETS2, _TERMIOS2 = 0x802C542A, struct.Struct("4I20B2I")
"""Linux: the settings of a terminal with its speeds as numbers, which a driver writes back as it takes them."""


def _baud_of(port: serial.SerialBase) -> int | None:
    """The rate at which a port really runs; None where the system does not tell."""
    if sys.platform != "linux" or not isinstance(getattr(port, "fd", None), int):
        return None
    try:
        told = fcntl.ioctl(port.fd, _TCGETS2, bytes(_TERMIOS2.size))
    except OSError:
        return None
    return _TERMIOS2.unpack(told)[-1] or None


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error) or type(error).__name__


class Wire:
    """A board straight on a serial port. Bytes are paced here: a port's own buffer would hold what can no longer be recalled."""

    ahead, rest = AHEAD, REST

    def __init__(self, port: serial.SerialBase):
        self._port = port
        self._free_at = 0.0

    def give(self, data: bytes, at: float) -> None:
        """Let bytes go, the first one at `at` (`time.monotonic`) or when the line is free. Raises OSError for a lost port."""
        self._free_at = max(self._free_at, at, time.monotonic()) + BYTE * len(data)
        self._port.write(data)

    @property
    def room(self) -> int:
        """Bytes that may be given now."""
        return max(0, int((time.monotonic() + self.ahead - self._free_at) / BYTE))

    def poll(self) -> None:
        """Notice whether the port is there. Raises OSError if it is not."""
        if self._port.in_waiting:
            self._port.read(self._port.in_waiting)  # a board says nothing; an adapter may echo

    def cut(self) -> None:
        """Forget what can be recalled. Raises OSError."""
        try:
            self._port.reset_output_buffer()
        except termios.error as error:
            raise OSError(*error.args) from None

    waiting = 0
    """Bytes that were given and have not gone, as far as is known."""

    def close(self) -> None:
        """Let go of the port."""
        with contextlib.suppress(OSError, serial.SerialException):
            self._port.close()


class SerialLink:
    """Bytes on their way to real boards.

    connect : opens the way to them, a `Wire` or a rig; raises BoardError. Called again when it was lost.
    on_ready : called from the link's thread when the boards have been greeted and are tuned: say the sound to them.
    say : takes sentences for the player.  tune_up : seconds.
    Raises BoardError if the port cannot be opened now.
    """

    def __init__(
        self,
        connect: Callable[[], Wire],
        name: str,
        say: Callable[[str], None] = print,
        on_ready: Callable[[], None] = lambda: None,
        tune_up: float = TUNE_UP,
    ):
        self.name, self.traffic, self.on_ready = name, Traffic(), on_ready
        self._connect, self.say, self._tune_up = connect, say, tune_up
        self._queue: deque[tuple[float, int]] = deque()
        self._lock = threading.Condition()
        self._ready = False
        self._stop = False
        self._cutting = False
        self._way: Wire | None = connect()
        self._thread = threading.Thread(target=self._run, name="jxemu board", daemon=True)

    def start(self) -> None:
        """Greet the boards, and let bytes go from then on."""
        self._thread.start()

    @property
    def state(self) -> str:
        """Whether it is "lost", "tuning" or "ready", and what was left out."""
        state = "lost" if self._way is None else "ready" if self._ready else "tuning"
        out = self.traffic.left_out
        return f"{state}, {out} bytes left out" if out and self.traffic.lost else state

    def send(self, data: Iterable[int], at: Iterable[float]) -> None:
        """Hand over bytes, each to begin at its time (`time.monotonic`) or when the line is free. Never waits.

        Those for boards that are lost or not tuned yet are left out and counted.
        """
        rows = list(zip(at, data, strict=True))
        with self._lock:
            if self._ready:
                self._queue += rows
                self._lock.notify()
            else:
                self.traffic.left_out += len(rows)

    def cut(self) -> bool:
        """Forget what has not gone yet, before anything that is sent from now on goes; whether there may have been anything."""
        with self._lock:
            there = bool(self._queue) or bool(self._way and self._way.waiting)
            self._queue.clear()
            self._cutting = True
            self._lock.notify()
        return there

    @property
    def pending(self) -> int:
        """Bytes that wait."""
        return len(self._queue)

    def close(self, patience: float = 1.0) -> None:
        """Let go what waits, for some seconds at most, and close the port."""
        end = time.monotonic() + patience
        while self._ready and self._unsent and time.monotonic() < end:
            time.sleep(0.005)
        with self._lock:
            self._stop = True
            self._lock.notify()
        if self._thread.is_alive():
            self._thread.join(STALL + 2 * patience)
        elif self._way:
            self._way.close()

    @property
    def _unsent(self) -> bool:
        way = self._way
        return bool(self._queue) or self._cutting or bool(way and way.waiting)

    def _run(self) -> None:
        while not self._stop:
            try:
                if self._way is None:
                    self._way = self._connect()
                    if self._stop:
                        break
                    self.say(f"{self.name} is back")
                self._greet(self._way)
                self._carry(self._way)
            except BoardError:
                self._wait(RETRY)
            except Exception as error:  # whatever a driver in trouble brings
                self._lose(error)
                self._wait(RETRY)
        if self._way:
            self._way.close()

    def _greet(self, way: Wire) -> None:
        now = time.monotonic()
        way.give(GREETING, now)
        end = now + BYTE * len(GREETING) + self._tune_up
        while not self._stop and time.monotonic() < end:
            way.poll()
            self._wait(min(way.rest, max(0.0, end - time.monotonic())))
        with self._lock:
            self._ready = not self._stop
        if self._ready:
            self.on_ready()

    def _carry(self, way: Wire) -> None:
        while not self._stop:
            if self._cutting:  # outside of the lock, which the player takes
                self._cutting = False
                way.cut()
            with self._lock:
                if self._cutting:
                    continue
                self._drop_what_is_old()
                at, run = self._due(way)
                if not run:
                    wait = self._queue[0][0] - way.ahead - time.monotonic() if self._queue else way.rest
                    self._lock.wait(min(max(wait, 0.0003), way.rest))
            if run:
                way.give(run, at)
                self.traffic.sent += len(run)
            way.poll()

    def _due(self, way: Wire) -> tuple[float, bytes]:
        """Bytes whose time has come, and when the first of them begins."""
        run, until, room = bytearray(), time.monotonic() + way.ahead, way.room
        at = self._queue[0][0] if self._queue else 0.0
        while self._queue and len(run) < room and self._queue[0][0] <= until:
            if run and self._queue[0][0] > at + BYTE * len(run) + 1e-5:
                break  # a gap: the next run has a time of its own
            run.append(self._queue.popleft()[1])
        return at, bytes(run)

    def _drop_what_is_old(self) -> None:
        """The wire carries what a player can ask for; where a port does not, the board is told everything again."""
        if self._queue and self._queue[0][0] < time.monotonic() - LATEST:
            self.traffic.left_out += len(self._queue)
            self._queue.clear()
            raise TimeoutError(f"it is more than {LATEST:.0f} s behind")

    def _lose(self, error: Exception) -> None:
        with self._lock:
            self._ready = False
            self.traffic.left_out += len(self._queue)
            self.traffic.lost += 1
            self._queue.clear()
            self._cutting = False
        if self._way:
            self._way.close()
        self._way = None
        if not self._stop:
            self.say(f"{self.name} is lost ({_reason(error)}); it is looked for, and greeted when it is back")

    def _wait(self, seconds: float) -> None:
        with self._lock:
            if not self._stop:
                self._lock.wait(seconds)
