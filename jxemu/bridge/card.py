"""A sound card's inputs, through PortAudio: what hears a board that is not behind a rig."""

import contextlib
import threading
from typing import Any

import numpy as np

from jxemu.bridge.capture import CaptureError


def inputs() -> list[tuple[str, int, int]]:
    """Sound cards that record: name, channels and rate. Raises CaptureError without PortAudio."""
    sd = _sounddevice()
    found = [device for device in sd.query_devices() if device["max_input_channels"] > 0]
    return [(device["name"], device["max_input_channels"], round(device["default_samplerate"])) for device in found]


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise CaptureError(
            f"cannot record ({error}): apt-get install libportaudio2, pip install 'jxemu[bridge]'"
        ) from None
    return sounddevice


class CardRecorder:
    """Records from a card, which goes on listening between takes. Raises CaptureError for one that is not there or does not take the rate.

    name : part of the card's name, None for the system's choice.  channels : how many, the last one hears the wire.
    """

    def __init__(self, name: str | None = None, rate: int = 48_000, channels: int = 2):
        self._sd = _sounddevice()
        self._sd._terminate()  # look for cards anew: this one may have been plugged in again
        self._sd._initialize()
        self.rate, self.channels = rate, channels
        self.origin = self.holes = 0
        self._parts: list[np.ndarray] = []
        self._heard = self._before = 0
        self._kept = False
        self._lock = threading.Lock()
        try:
            self._stream = self._sd.InputStream(
                rate, device=name, channels=channels, dtype="float32", callback=self._take, latency="high"
            )
        except (ValueError, self._sd.PortAudioError) as error:
            known = ", ".join(row[0] for row in inputs()) or "none"
            raise CaptureError(
                f"cannot record from {name or 'the default input'} ({error}); there are: {known}"
            ) from None

    def _take(self, data: np.ndarray, frames: int, times: Any, status: Any) -> None:
        with self._lock:
            self.holes += bool(status.input_overflow)
            if self._kept:
                self._parts.append(data.copy())
            self._heard += frames

    def start(self) -> None:
        """Keep what is heard from now on."""
        try:
            if not self._stream.active:
                self._stream.stop()  # one that ended by itself is not stopped yet
                self._stream.start()
                self.holes += 1
        except self._sd.PortAudioError as error:
            raise OSError(str(error)) from None
        with self._lock:
            self._parts.clear()
            self._before, self._kept, self.origin = self.holes, True, self._heard

    def stop(self) -> np.ndarray:
        """All since then, float32 (n, channels). Raises CaptureError if the card lost some of it, OSError for one that is gone."""
        if not self._stream.active:
            raise OSError("the card has stopped")
        with self._lock:  # which the card's own thread waits for: only for a moment
            self._kept, parts, self._parts = False, self._parts, []
            lost = self.holes - self._before
        if lost:
            raise CaptureError(f"the card lost sound {lost} times: is the computer busy with something else?")
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), np.float32)

    def close(self) -> None:
        """Let go of the card."""
        with contextlib.suppress(self._sd.PortAudioError):
            self._stream.close()
