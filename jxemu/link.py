"""The link: when bytes arrive at the sound boards, and what crossed, as a `.jxlog`.

At *real* pace a byte takes 320 machine cycles (31250 baud, 8N1) and waits for those before it; at
*instant* pace it arrives when it is sent. The boards cannot tell the difference.

A `.jxlog` is text: a header, then one line a run of bytes, the cycle of the first arrival and the
bytes in hex; inside a run arrivals are ``spacing`` cycles apart::

    jxlog 1 spacing 320
    1320 F1 80 20 C0 3C 64
"""

import bisect
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jxemu.clock import CYCLES_PER_BYTE

PACES = {"real": CYCLES_PER_BYTE, "instant": 0}
HEADER = "jxlog 1 spacing"
_RUN = 32
_NO_ARRIVALS, _NO_BYTES = np.zeros(0, np.int64), np.zeros(0, np.uint8)


class LogError(ValueError):
    """A `.jxlog` that cannot be read; the message names file and line."""


class EmulatedLink:
    """Bytes on their way to emulated boards.

    pace : "real" or "instant". Raises ValueError for another.
    """

    def __init__(self, pace: str = "real"):
        if pace not in PACES:
            raise ValueError(f"pace {pace!r} is not known; choose one of {tuple(PACES)}")
        self.spacing = PACES[pace]
        self._free_at = 0
        self._at: list[int] = []
        self._bytes = bytearray()
        self.log: list[tuple[int, int]] | None = None
        self.late = 0  # cycles that bytes have had to wait for the line, at most

    def record(self) -> None:
        """Keep what arrives from now on, for `save_log`."""
        self.log = []

    def send(self, data: Iterable[int], at: int) -> int:
        """Hand over bytes at cycle `at`; returns the cycle at which the last one has arrived."""
        data, begin = bytes(data), max(self._free_at, int(at))
        self.late = max(self.late, begin - int(at))
        arrivals = [begin + self.spacing * n for n in range(1, len(data) + 1)]
        self._arrive(arrivals, data)
        return self._free_at

    def deliver(self, at: int, byte: int) -> None:
        """Let a byte arrive at exactly cycle `at` (replay). Raises ValueError if time runs backwards."""
        if at < self._free_at:
            raise ValueError(f"byte at cycle {at} arrives before cycle {self._free_at}")
        self._arrive([at], bytes([byte]))

    def _arrive(self, arrivals: list[int], data: bytes) -> None:
        if not data:
            return
        self._free_at = arrivals[-1]
        self._at += arrivals
        self._bytes += data
        if self.log is not None:
            self.log += zip(arrivals, data, strict=True)

    def take(self, until: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrivals (int64) and bytes (uint8) up to and including cycle `until`; they leave the link."""
        n = bisect.bisect_right(self._at, until)
        if n == 0:
            return _NO_ARRIVALS, _NO_BYTES
        at, data = np.array(self._at[:n], np.int64), np.frombuffer(self._bytes[:n], np.uint8)
        del self._at[:n], self._bytes[:n]
        return at, data

    @property
    def free_at(self) -> int:
        """Cycle at which the last byte has arrived and the line is free."""
        return self._free_at

    def cut(self, at: int) -> None:
        """Forget what has not been taken; the line is free from cycle `at` on."""
        self._at.clear()
        self._bytes.clear()
        self._free_at = min(self._free_at, at)

    @property
    def pending(self) -> int:
        """Bytes that have not been taken."""
        return len(self._at)

    def snapshot(self) -> dict:
        """All state, as plain values, for `restore`."""
        return {
            "spacing": self.spacing,
            "free_at": self._free_at,
            "at": list(self._at),
            "bytes": bytes(self._bytes).hex(),
        }

    def restore(self, saved: dict) -> None:
        """Take over a `snapshot`."""
        self.spacing, self._free_at = saved["spacing"], saved["free_at"]
        self._at, self._bytes = list(saved["at"]), bytearray.fromhex(saved["bytes"])


def format_log(arrivals: Iterable[tuple[int, int]], spacing: int) -> str:
    """The text of a `.jxlog` for ``(cycle, byte)`` arrivals."""
    lines = [f"{HEADER} {spacing}"]
    run: list[int] = []
    start = following = 0
    for at, byte in arrivals:
        if run and at == following and len(run) < _RUN:
            run.append(byte)
        else:
            if run:
                lines.append(f"{start} {bytes(run).hex(' ').upper()}")
            run, start = [byte], at
        following = at + spacing
    if run:
        lines.append(f"{start} {bytes(run).hex(' ').upper()}")
    return "\n".join(lines) + "\n"


def save_log(link: EmulatedLink, path: str | Path) -> None:
    """Write what a recording link has carried. Raises ValueError if it was not recording, OSError."""
    if link.log is None:
        raise ValueError("nothing was recorded; call record() before sending")
    Path(path).write_text(format_log(link.log, link.spacing))


def load_log(path: str | Path) -> list[tuple[int, int]]:
    """``(cycle, byte)`` arrivals of a `.jxlog`. Raises OSError, or LogError naming the line."""
    try:
        lines = Path(path).read_text().splitlines()
    except UnicodeDecodeError:
        raise LogError(f"{path}: not a jxlog (not text)") from None
    words = lines[0].split() if lines else []
    if " ".join(words[:3]) != HEADER or len(words) != 4 or not (words[3].isascii() and words[3].isdecimal()):
        raise LogError(f"{path}: line 1: not a jxlog; the first line must be '{HEADER} <cycles>'")
    spacing = int(words[3])
    arrivals: list[tuple[int, int]] = []
    for number, line in enumerate(lines[1:], 2):
        try:
            start, *data = line.split()
            run = [(int(start) + i * spacing, int(word, 16)) for i, word in enumerate(data)]
            before = arrivals[-1][0] if arrivals else 0
            if not run or any(not 0 <= byte <= 255 for _, byte in run) or run[0][0] < before:
                raise ValueError
        except ValueError:
            raise LogError(f"{path}: line {number}: expected '<cycle> <hex bytes>' in ascending order") from None
        arrivals += run
    return arrivals


def replay(arrivals: Iterable[tuple[int, int]], link: EmulatedLink) -> None:
    """Let recorded bytes arrive again at their recorded cycles."""
    for at, byte in arrivals:
        link.deliver(at, byte)
