"""Recording what is heard, as WAV, and what crossed the wire, as `.jxlog`."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jxemu.link import LogError

if TYPE_CHECKING:
    from jxemu.live.player import Player

_PERIOD = 0.1
_SLACK = 4096
"""Frames that the sound thread may write over while they are read."""
_FRAME_BYTES, _MOST_BYTES = 8, (1 << 32) - (1 << 20)


def new_take(folder: Path) -> Path:
    """A name for a recording, by date and time, that is not taken."""
    name = f"take-{datetime.now():%Y%m%d-%H%M%S}"
    paths = (folder / f"{name}{suffix}.wav" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(path for path in paths if not path.exists())


class RecordError(OSError):
    """A take that cannot be written; the message says why."""


class Recorder:
    """Takes of a player: 32-bit float WAV, bit by bit what was heard, and the log beside it.

    say : takes a sentence when a take has to end by itself.
    """

    def __init__(self, player: "Player", say: Callable[[str], None]):
        self._player, self._say = player, say
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.path: Path | None = None
        self.began = 0.0
        self.frames = 0

    @property
    def running(self) -> bool:
        """Whether a take is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, path: Path) -> None:
        """Begin a take. Raises RecordError if the file cannot be made."""
        import soundfile

        if self.running:
            raise RecordError(f"already recording to {self.path}")
        if path.suffix.lower() != ".wav":
            raise RecordError(f"cannot record to {path}: the name must end in .wav")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = soundfile.SoundFile(str(path), "w", self._player.machine.sample_rate, 2, "FLOAT", format="WAV")
        except (OSError, soundfile.SoundFileError) as error:
            raise RecordError(f"cannot record to {path}: {error}") from None
        first = self._player.shared.word("heard_end")
        self.path, self.began, self.frames = path, first / self._player.machine.sample_rate, 0
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(file, first), name="jxemu recorder", daemon=True)
        self._thread.start()

    def _run(self, file: object, at: int) -> None:
        try:
            with file:
                while True:
                    ending = self._stop.is_set()
                    end = self._player.shared.word("heard_end")
                    if end - at > self._player.shared.kept - _SLACK:
                        self._say(f"recording to {self.path} ended: the disk is too slow")
                        return
                    if (self.frames + end - at) * _FRAME_BYTES > _MOST_BYTES:
                        self._say(f"recording to {self.path} ended: a WAV file holds no more than 4 GiB")
                        return
                    if end > at:
                        file.write(self._player.shared.heard(end - at, end))
                        self.frames += end - at
                        at = end
                    if ending:
                        return
                    time.sleep(_PERIOD)
        except (OSError, RuntimeError) as error:
            seconds = self.frames / self._player.machine.sample_rate
            self._say(
                f"recording to {self.path} ended after {seconds:.1f} s, which are kept ({error}): is the disk full?"
            )

    def stop(self) -> Path | None:
        """End the take; its path, or None if there was none."""
        if self._thread is None:
            return None
        self._stop.set()
        self._thread.join()
        self._thread = None
        return self.path

    def save_log(self, path: Path) -> None:
        """Write the `.jxlog` of everything since power-on. Raises RecordError."""
        from jxemu.live.midi import write_whole

        try:
            write_whole(path, self._player.log())
        except (OSError, LogError) as error:
            raise RecordError(f"cannot write {path}: {error}") from None
