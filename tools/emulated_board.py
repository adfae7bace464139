"""Sound boards on a serial device file, in a process of their own: what hardware would do, for tests and for trying things.

    python tools/emulated_board.py board            # boards straight on the wire
    python tools/emulated_board.py rig              # behind a capture rig, with sound coming back
    python tools/emulated_board.py avr --firmware build/rig.elf --bench build/bench    # the rig's own firmware, in simavr

It prints the name of a pseudo-terminal to open (`jxemu play --board NAME`), and goes on until it is ended. What the
boards have heard is written as a `.jxlog`, and their sound as a WAV file, if asked for.
"""

import argparse
import os
import select
import signal
import subprocess
import sys
import time
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

import jxemu
from jxemu.bridge import frames
from jxemu.bridge.frames import Ack, Audio, FrameReader, Welcome
from jxemu.clock import CYCLES_PER_BYTE
from jxemu.link import save_log

QUEUE = 4096
HEARTBEAT_US = 50_000
LATE_US = 1000
MOST_WAITING = 1 << 20
FRAME = (frames.LONGEST - frames.HEAD - 10) // 4
"""Stereo samples in a frame."""


class Board(Protocol):
    """What hears bytes at its microseconds and sounds."""

    def deliver(self, at: int, byte: int) -> None:
        """A byte has arrived."""

    def sound(self, count: int) -> np.ndarray:
        """The next frames, int16 (count, 2)."""


class EmulatedBoard:
    """The boards of a machine, without their assigner."""

    def __init__(self, kind: str, rate: int, keep: bool):
        self.machine = jxemu.Machine(kind, sample_rate=rate, boot=False, record=True)
        self._kept: list[np.ndarray] | None = [] if keep else None
        self.machine.render(64)  # compiled before time begins
        self.machine.reset()

    def deliver(self, at: int, byte: int) -> None:
        """A byte has arrived; not before what has sounded already."""
        link, engine = self.machine.link, self.machine.engine
        link.deliver(max(at, link.free_at, engine.cycle_of(engine.frame)), byte)

    def sound(self, count: int) -> np.ndarray:
        """The next frames."""
        made = self.machine.render(count)
        if self._kept is not None:
            self._kept.append(made)
        return np.rint(np.clip(made, -1, 1) * 32767).astype(np.int16)

    def write(self, wav: Path | None, log: Path | None) -> None:
        """What has sounded, and what was heard."""
        if wav:
            soundfile.write(wav, np.concatenate(self._kept or [np.zeros((0, 2))]), self.machine.sample_rate, "PCM_24")
        if log:
            save_log(self.machine.link, log)


class Wire:
    """Bytes straight on the wire: each takes its 320 us, however the terminal hurries."""

    def __init__(self, board: Board, rate: int, now: Callable[[], int]):
        self._board, self._rate, self._now = board, rate, now
        self._line: deque[tuple[int, int]] = deque()
        self._free_at = self._sounded = 0
        self.out = bytearray()

    def take(self, data: bytes) -> None:
        """Bytes have come."""
        for byte in data:
            self._free_at = max(self._free_at, self._now()) + CYCLES_PER_BYTE
            self._line.append((self._free_at, byte))

    def turn(self) -> None:
        """Let time go on."""
        now = self._now()
        while self._line and self._line[0][0] <= now:
            self._board.deliver(*self._line.popleft())
        due = now * self._rate // 1_000_000 - self._sounded
        if due > 0:
            self._board.sound(due)
            self._sounded += due

    @property
    def full(self) -> bool:
        """Whether no more may be read now, as at a real port."""
        return len(self._line) > 64


class Rig:
    """The rig's side of `jxemu.bridge.frames`; the firmware in tools/board_firmware does the same."""

    full = False

    def __init__(self, board: Board, rate: int, now: Callable[[], int], version: int = frames.VERSION):
        self._board, self._rate, self._now, self._version = board, rate, now, version
        self._reader = FrameReader()
        self._queue: deque[tuple[int, int]] = deque()
        self.out = bytearray()
        self._reset()
        self._sounded = self._turned = 0
        self._greet()

    def _greet(self) -> None:
        row = self._version, QUEUE, self._rate, 2, 16, 0, self._now() % frames.WRAP, "emulated"
        self.out += frames.encoded(frames.WELCOME, 0, Welcome(*row).encode())

    def _reset(self) -> None:
        self._queue.clear()
        self._expected = self._sent = self._bad = self._late = self._free_at = self._dropped = 0
        self._acked = self._now()
        self._listening = False

    def take(self, data: bytes) -> None:
        """Bytes have come from the host."""
        before = self._reader.bad
        for frame in self._reader.feed(data):
            if frame.kind == frames.HELLO:
                self._reset()
                self._greet()
            elif frame.kind == frames.PLAY:
                self._play(frame)
            elif frame.kind == frames.CUT:
                if (frame.number - self._expected) & 0xFF < 128:
                    self._queue.clear()
                    self._expected = (frame.number + 1) & 0xFF
                else:  # an old one
                    self._bad += 1
                self._acknowledge()
            elif frame.kind == frames.LISTEN:
                self._listening = frame.body == b"\1"
        if self._reader.bad > before:
            self._bad += self._reader.bad - before
            self._acknowledge()

    def _play(self, frame: frames.Frame) -> None:
        room = QUEUE - len(self._queue)
        if frame.number != self._expected or len(frame.body) - 4 > room:
            self._bad += 1
            self._acknowledge()
            return
        self._expected = (self._expected + 1) & 0xFF
        begin, now = int.from_bytes(frame.body[:4], "little"), self._now()
        begin = now + (begin - now + frames.WRAP // 2) % frames.WRAP - frames.WRAP // 2
        for byte in frame.body[4:]:
            self._queue.append((begin, byte))
            begin += CYCLES_PER_BYTE
        self._acknowledge()

    def _acknowledge(self) -> None:
        self._acked = self._now()
        row = self._expected, QUEUE - len(self._queue), self._sent, self._acked % frames.WRAP, self._bad % 65536
        self.out += frames.encoded(frames.ACK, 0, Ack(*row, min(self._late, 65535)).encode())

    def turn(self) -> None:
        """Let time go on."""
        now = self._now()
        while self._queue and max(self._queue[0][0], self._free_at) + CYCLES_PER_BYTE <= now:
            at, byte = self._queue.popleft()
            begin = max(at, self._free_at, self._turned - CYCLES_PER_BYTE)  # it may have come after its time
            self._late += begin > at + LATE_US
            self._free_at = begin + CYCLES_PER_BYTE
            self._board.deliver(self._free_at, byte)
            self._sent += 1
        due = now * self._rate // 1_000_000 - self._sounded
        if due >= FRAME:
            self._send(self._board.sound(due))
            self._sounded += due
        self._turned = now
        if now - self._acked >= HEARTBEAT_US:
            self._acknowledge()

    def _send(self, sound: np.ndarray) -> None:
        if not self._listening:
            return
        for begin in range(0, len(sound), FRAME):
            part = sound[begin : begin + FRAME]
            if len(self.out) > MOST_WAITING:
                self._dropped += len(part)
                continue
            position = self._sounded + begin
            time_us = position * 1_000_000 // self._rate % frames.WRAP
            body = Audio(time_us, position % frames.WRAP, self._dropped % 65536, part.astype("<i2").tobytes()).encode()
            self.out += frames.encoded(frames.AUDIO, 0, body)


CHIP_STEP_US, CHIP_RATE = 2000, 8000


def serve_chip(
    board: Board, rate: int, firmware: Path, bench: Path, named: Callable[[str], None], stop: list[int]
) -> None:
    """Be the board of a chip that simavr runs (board_firmware/sim/bench.c), until `stop` holds something."""
    with subprocess.Popen([bench, firmware], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as chip:
        named(chip.stdout.readline().decode().strip())
        count = CHIP_STEP_US * rate // 1_000_000
        while not stop and len(head := chip.stdout.read(6)) == 6:
            for _ in range(int.from_bytes(head[4:], "little")):
                row = chip.stdout.read(5)
                board.deliver(int.from_bytes(row[:4], "little"), row[4])
            slow = board.sound(count).reshape(CHIP_STEP_US * CHIP_RATE // 1_000_000, -1, 2).mean(1)
            chip.stdin.write(np.clip(4 * slow, -32768, 32767).astype("<i2").tobytes())  # amplified: ten bits are few
            chip.stdin.flush()
        chip.kill()


def serve(fd: int, kind: Wire | Rig, stop: Callable[[], bool]) -> None:
    """Speak through a terminal until `stop`."""
    os.set_blocking(fd, False)
    while not stop():
        wanted = [] if kind.full else [fd]
        readable, writable, _ = select.select(wanted, [fd] if kind.out else [], [], 0.001)
        try:
            if readable:
                kind.take(os.read(fd, 4096))
            if writable:
                del kind.out[: os.write(fd, kind.out)]
        except (BlockingIOError, OSError):  # nobody has it open
            time.sleep(0.01)
        kind.turn()


def main() -> None:
    """Open a terminal and be a board there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("board", "rig", "avr"))
    parser.add_argument("--machine", default="jx8p", choices=("jx8p", "superjx"))
    parser.add_argument("--link", type=Path, help="a name for the terminal: a symbolic link")
    parser.add_argument("--wav", type=Path)
    parser.add_argument("--jxlog", type=Path)
    parser.add_argument("--rate", type=int, default=48_000)
    parser.add_argument("--ppm", type=float, default=0.0, help="how much too fast the rig's clock is")
    parser.add_argument("--firmware", type=Path, help="of kind avr: what the chip runs")
    parser.add_argument("--bench", type=Path, help="of kind avr: the chip")
    chosen = parser.parse_args()
    board = EmulatedBoard(chosen.machine, chosen.rate, chosen.wav is not None)
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.append(1))

    def named(name: str) -> None:
        if chosen.link:
            chosen.link.unlink(missing_ok=True)
            chosen.link.symlink_to(name)
        print(chosen.link or name, flush=True)

    if chosen.kind == "avr":
        serve_chip(board, chosen.rate, chosen.firmware, chosen.bench, named, ended)
    else:
        master, slave = os.openpty()
        tty.setraw(slave)
        began = time.monotonic()

        def now() -> int:
            return int((time.monotonic() - began) * 1e6 * (1 + chosen.ppm * 1e-6))

        named(os.ttyname(slave))
        serve(master, {"board": Wire, "rig": Rig}[chosen.kind](board, chosen.rate, now), lambda: bool(ended))
    board.write(chosen.wav, chosen.jxlog)


if __name__ == "__main__":
    sys.exit(main())
