"""Bytes to a real board, its sound back, both on one time: the wire's.

Time 0 of a `Take` is when its first byte may begin. Behind a rig both clocks are one, and every piece of sound says when
it was heard. A sound card has a clock of its own and a delay that nobody knows, so the wire itself is recorded on one
of its channels (through a divider, 1:20 or so), with a *burst* before the first key and after the last sound: bytes that
the boards pass on to MIDI OUT and that no receiver takes for anything. The first one goes to the port together with the
key's own bytes, so no computer can put anything between them: where it is found is where the key lies. How fast the
card's clock runs is told by all bursts of a session, and by many of them before the first take.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np
from scipy import optimize, signal

from jxemu.bridge.frames import Audio
from jxemu.bridge.rig import Rig
from jxemu.bridge.serial_link import BYTE, RETRY, BoardError, Wire
from jxemu.clock import BAUD, CYCLES_PER_BYTE, CYCLES_PER_SECOND
from jxemu.protocol import FORWARD, SELECT_BOTH, SELECT_LOWER, SELECT_UPPER, VOICE_ON, VOICES, silence

CLIP = 0.999
"""Of full scale: what reaches it counts as clipped."""

SILENT = "nearly silent"
"""How the trouble of a take without sound begins."""

ATTEMPTS = 5
"""Times that a take may fail in a row."""

LEAD = 0.25
"""Seconds between asking for a take and its first byte."""

_BITS = np.random.default_rng(1986).integers(0, 128, 24)
BURST = bytes([FORWARD, *_BITS.tolist(), SELECT_BOTH])
"""26 bytes, 8.3 ms. Data bytes without a status: what gets them at MIDI OUT passes them over."""

BURST_SECONDS = len(BURST) * BYTE
FAINT = 8.0
"""How far above the rest a burst's peak in the correlation must stand to count as found."""

PATIENCE = 5.0
"""Seconds until what has gathered since the last take must have come."""

SAMPLES = 50
"""Frames of sound that a message of a rig holds, about: more messages than that come while what has gathered comes."""

BURST_JITTER, MOST_DRIFT = 0.003, 300e-6
"""Seconds that a burst from a computer may begin beside its time; how far two clocks may be apart."""

LEARNING, LEARNING_EVERY, FINE = 10.0, 0.1, 0.25
"""Seconds for which clocks are listened to at a time, and between their bursts; samples by which a take's end may be off for their drift."""

STANDS = 2.0
"""Seconds without any sound from a rig after which it counts as lost, and that its last bytes are waited for."""

GAP = 0.02
"""Seconds between a burst and time 0, and between a take's end and its last burst."""

TRAIL = 0.5
"""Seconds that a sound card goes on recording after the last burst: what it has heard comes late."""

TAPS, PHASES = 64, 2048
"""Of the interpolator that brings sound onto the wire's time; between phases it is a straight line, 130 dB down."""


class CaptureError(RuntimeError):
    """A take that did not come about; the message says why and what to do."""


@dataclass
class Take:
    """What a board answered.

    sound : float32 (n, channels), full scale 1.  rate : Hz, of the wire's own clock.
    ppm : how much faster than that the recording's clock was.  troubles : what is wrong with it, in sentences.
    """

    sound: np.ndarray
    rate: int
    ppm: float = 0.0
    troubles: list[str] = field(default_factory=list)


class Bench(Protocol):
    """A board that can be played and heard."""

    rate: int
    channels: int

    def perform(self, wire: Sequence[tuple[int, int]], seconds: float) -> Take:
        """Play (cycle at which it has arrived, byte) and hear so many seconds. Raises CaptureError, OSError."""

    def close(self) -> None:
        """Let go of it."""


def checked(take: Take) -> Take:
    """The same, with what can be seen in it said: clipped, silent, or with an offset."""
    if not len(take.sound):
        return take
    peak = float(np.abs(take.sound).max())
    clipped = int((np.abs(take.sound) >= CLIP).sum())
    if clipped:
        take.troubles.append(f"{clipped} samples are clipped: turn the input down")
    if peak < 1e-3:
        take.troubles.append(f"{SILENT} (peak {20 * math.log10(max(peak, 1e-6)):.0f} dB): is the cable in?")
    offset = float(np.abs(take.sound.mean(0)).max())
    if offset > 0.02:
        take.troubles.append(f"an offset of {offset:.3f}: the input lets direct current through")
    return take


def runs(wire: Sequence[tuple[int, int]]) -> list[tuple[int, bytes]]:
    """Arrivals as runs: the cycle at which the first byte begins, and bytes that follow each other without a gap."""
    found: list[tuple[int, bytearray]] = []
    free_at = -1
    for arrived, byte in wire:
        begin = arrived - CYCLES_PER_BYTE
        if found and begin <= free_at:
            found[-1][1].append(byte)
            free_at += CYCLES_PER_BYTE
        else:
            found.append((begin, bytearray([byte])))
            free_at = arrived
    return [(begin, bytes(data)) for begin, data in found]


class Patient:
    """A bench that is opened again when it was lost, and plays a take again that went wrong.

    connect : opens the bench; raises BoardError.  greet : what is done with a bench that was just opened.
    say : takes sentences.  Raises BoardError if it cannot be opened the first time.
    """

    def __init__(
        self,
        connect: Callable[[], Bench],
        greet: Callable[[Bench], None] = lambda bench: None,
        say: Callable[[str], None] = print,
        pause: Callable[[float], None] = time.sleep,
    ):
        self._connect, self._greet, self._say, self._pause = connect, greet, say, pause
        self.lost = 0
        self.repeated = 0
        self._bench: Bench | None = connect()
        self.rate, self.channels = self._bench.rate, self._bench.channels
        self._fresh = True

    def perform(self, wire: Sequence[tuple[int, int]], seconds: float) -> Take:
        """Play and hear, however often it takes. Raises CaptureError for a take that fails `ATTEMPTS` times in a row."""
        failed = 0
        while True:
            try:
                if self._bench is None:
                    self._bench = self._reconnected()
                    self._fresh = True
                    self._say("the board is back; the take that was lost is played again")
                if self._fresh:
                    self._greet(self._bench)
                    self._fresh = False
                return self._bench.perform(wire, seconds)
            except BoardError:
                self._pause(RETRY)
            except CaptureError as error:
                failed += 1
                self.repeated += 1
                if failed == ATTEMPTS:
                    raise
                self._say(f"{error}; it is played again")
            except OSError as error:  # serial.SerialException is one
                self.lost += 1
                self._say(f"the board is lost ({error}); it is looked for")
                if self._bench:
                    self._bench.close()
                self._bench = None

    def _reconnected(self) -> Bench:
        try:
            return self._connect()
        except CaptureError as error:  # its sound card is not there
            raise BoardError(str(error)) from None

    @property
    def bench(self) -> Bench | None:
        """What is open now."""
        return self._bench

    def close(self) -> None:
        """Let go of it."""
        if self._bench:
            self._bench.close()


# --- behind a rig --------------------------------------------------------------------------------


class RigBench:
    """A board behind a capture rig."""

    def __init__(
        self,
        name: str,
        open_rig: Callable[[str, Callable[[Audio], None]], Rig] = Rig.open,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ):
        """Name : of its port.  open_rig : meets the rig.  clock, pause : seconds now, and waits for some."""
        self._heard: list[Audio] = []
        self._clock, self._pause = clock, pause
        self._rig = open_rig(name, self._heard.append)
        self.rate, self.channels = self._rig.welcome.rate, self._rig.welcome.channels
        self._rig.listen()

    @property
    def rig(self) -> Rig:
        """The rig."""
        return self._rig

    def perform(self, wire: Sequence[tuple[int, int]], seconds: float) -> Take:
        """Play and hear. Raises OSError if the rig is lost, CaptureError for a take with holes."""
        rig = self._rig
        # what has gathered since the last take, and what was lost of it, is nobody's
        begun = then = self._clock()
        while True:
            came, now = rig.poll(), self._clock()
            if self._heard and came <= 2 + 2 * (now - then) * self.rate / SAMPLES:
                break
            if now - begun > PATIENCE:
                raise CaptureError("the rig sends no sound, or more than this computer takes")
            then = now
            self._pause(0.0005)
        del self._heard[:-1]
        faults = rig.faults
        before = faults.missing, faults.late
        begin = max(self._heard[-1].time, rig.now) + round(LEAD * 1e6)  # a busy computer hears late
        end = begin + round(seconds * 1e6)
        # what is due after the end is left out: it would play into the next take, which begins with silence
        waiting = runs([row for row in wire if row[0] < seconds * CYCLES_PER_SECOND])[::-1]
        last, grown = self._end(), self._clock()
        while self._end() < end:
            rig.poll()
            while waiting and waiting[-1][0] + begin < self._end() + 500_000 and rig.room >= 1:
                at, data = waiting.pop()
                part, rest = data[: rig.room], data[rig.room :]
                rig.play(part, begin + at)
                if rest:
                    waiting.append((at + CYCLES_PER_BYTE * len(part), rest))
            if self._clock() - grown > STANDS and self._end() == last:
                raise OSError("the rig sends no sound any more")
            if self._end() != last:
                last, grown = self._end(), self._clock()
            self._pause(0.001)
        self._settle()
        if waiting or rig.waiting:
            raise CaptureError("bytes did not reach the board in time: the take is not used")
        if faults.missing > before[0]:
            raise CaptureError(
                f"{faults.missing - before[0]} samples were lost on their way from the rig: the take is not used"
            )
        take = Take(*self._cut(begin, seconds))
        if faults.late > before[1]:
            take.troubles.append(f"{faults.late - before[1]} bytes went to the board late")
        return checked(take)

    def _end(self) -> float:
        last = self._heard[-1]
        return last.time + len(last.data) // (2 * self.channels) * 1e6 / self.rate

    def _cut(self, begin: int, seconds: float) -> tuple[np.ndarray, int]:
        heard = [audio for audio in self._heard if audio.time > begin - 200_000]
        sound = np.frombuffer(b"".join(audio.data for audio in heard), "<i2").reshape(-1, self.channels)
        positions = np.cumsum([0] + [len(audio.data) // (2 * self.channels) for audio in heard[:-1]])
        times = np.array([audio.time for audio in heard], float) - begin
        slope, first = np.polyfit(positions, times, 1) if len(heard) > 20 else (1e6 / self.rate, times[0])
        return interpolated(sound, -first / slope, 1e6 / self.rate / slope, round(seconds * self.rate)), self.rate

    def close(self) -> None:
        """Silence the boards and let go of the rig."""
        with contextlib.suppress(OSError):
            self._rig.cut()
            self._rig.play(bytes([SELECT_BOTH]) + silence(), self._rig.now)
            self._settle()
        self._rig.close()

    def _settle(self) -> None:
        """Wait until the board has heard all that the rig was given, or some time has passed."""
        end = self._clock() + STANDS
        while self._rig.waiting and self._clock() < end:
            self._rig.poll()
            self._pause(0.001)


# --- beside a sound card -------------------------------------------------------------------------


class Recorder(Protocol):
    """A sound card that records.

    origin : frames that it had heard when what `stop` returned began; it counts on between takes.
    holes : how often it has lost some since it was opened, so that it counts no more what it did.
    """

    rate: int
    channels: int
    origin: int
    holes: int

    def start(self) -> None:
        """Keep what is heard from now on."""

    def stop(self) -> np.ndarray:
        """All since then, float32 (n, channels). Raises CaptureError if there is a hole in it."""

    def close(self) -> None:
        """Let go of the card."""


class Clocks:
    """How fast a card's clock runs beside the computer's, by when bursts were given and where they were heard."""

    KEPT, FEW = 4000, 20

    def __init__(self, rate: int):
        self._rate = rate
        self._seen: list[tuple[float, float]] = []
        self._known = 1.0, math.inf

    def forget(self) -> None:
        """Count anew: the card has lost some. What was known of its clock stays until more is."""
        self._known = self.stretch
        self._seen.clear()

    def saw(self, seconds: float, frames: float) -> None:
        """A burst was given at so many seconds and heard at so many frames."""
        self._seen = [*self._seen[1 - self.KEPT :], (seconds, frames)]

    @property
    def stretch(self) -> tuple[float, float]:
        """Frames of the card in one of the computer's, and its standard error: infinite with too few bursts."""
        if len(self._seen) < self.FEW:
            return self._known
        seconds, frames = np.array(self._seen).T
        at = seconds - seconds.mean()
        late = frames / self._rate - seconds
        late -= late.mean()
        # a burst may be far too late, none is far too early
        found = optimize.least_squares(lambda p: (p[0] + p[1] * at - late) / 2e-4, [0.0, 0.0], loss="soft_l1").x
        left = np.abs(late - found[0] - found[1] * at)
        spread = 1.4826 * float(np.median(left)) / math.sqrt(np.square(at).sum())
        now = 1 + float(np.clip(found[1], -MOST_DRIFT, MOST_DRIFT)), max(spread, 1e-9)
        return min(now, self._known, key=lambda each: each[1])


class CardBench:
    """A board straight on a serial port, heard by a sound card whose last channel records the wire.

    learn : seconds, at most, in which both clocks are listened to before the first take; more is learned from every take.
    say : takes a sentence before that.
    """

    def __init__(
        self,
        wire: Wire,
        recorder: Recorder,
        learn: float = 60.0,
        say: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ):
        self._wire, self._recorder = wire, recorder
        self._left, self._say, self._clock, self._pause = learn, say, clock, pause
        self._clocks, self._holes = Clocks(recorder.rate), recorder.holes
        self.rate, self.channels = recorder.rate, recorder.channels - 1

    def perform(self, wire: Sequence[tuple[int, int]], seconds: float) -> Take:
        """Play and hear, between two bursts. Raises OSError for a lost port, CaptureError where no bursts are found."""
        fine = FINE / (self.rate * max(seconds, 0.001))
        if self._left > 0 and self._clocks.stretch[1] > fine:
            self._say(f"listening to the sound card's clock, for up to {self._left:.0f} s")
        while self._left > 0 and self._clocks.stretch[1] > fine:
            self._left -= LEARNING
            count = round(LEARNING / LEARNING_EVERY)
            _, found = self._heard([(round(n * LEARNING_EVERY * CYCLES_PER_SECOND), BURST) for n in range(count)])
            if len(found) < count / 2:
                raise CaptureError(
                    f"{len(found)} of {count} bursts were found in the last channel of the recording: does it record the wire, loud enough?"
                )
        zero = round(LEAD * CYCLES_PER_SECOND)
        played = [(zero + at, data) for at, data in runs([row for row in wire if row[0] < seconds * CYCLES_PER_SECOND])]
        first, led, played = _led(played, zero)
        last = zero + round((seconds + GAP) * CYCLES_PER_SECOND)
        recording, found = self._heard([*played, (last, BURST)])
        begin, _ = ends(found, self.rate, (last - first) / CYCLES_PER_SECOND)
        stretch, error = self._clocks.stretch
        take = aligned(
            recording, self.rate, seconds, begin + (zero - first) / CYCLES_PER_SECOND * self.rate * stretch, stretch
        )
        if error > 2 * fine:
            off = min(error, MOST_DRIFT) * seconds * self.rate
            take.troubles.append(f"the card's clock is not known well yet: the end may be {off:.0f} samples off")
        if not led:
            take.troubles.append("bytes too near before the first key: it lies on its time within some 2 ms only")
        return take

    def _heard(self, sent: Sequence[tuple[int, bytes]]) -> tuple[np.ndarray, list[float]]:
        """What the card hears while (cycle, bytes) go out, and where in it bursts begin, in samples."""
        self._recorder.start()
        begun = self._clock() + 0.1
        given = []
        for at, data in sent:
            led = data.startswith(BURST)  # it, and what it leads, must have no gaps
            pieces = [data] if led else [bytes([byte]) for byte in data]
            for n, piece in enumerate(pieces):
                due = begun + at / CYCLES_PER_SECOND + n * BYTE
                while self._clock() < due - self._wire.ahead or not self._wire.room:
                    self._pause(0.0003)
                if led:
                    given.append(self._clock())
                self._wire.give(piece, due)
            self._wire.poll()
        self._pause(BURST_SECONDS + GAP + TRAIL)
        recording = self._recorder.stop()
        if self._recorder.holes != self._holes:
            self._clocks.forget()
            self._holes = self._recorder.holes
        found = bursts(recording[:, -1].astype(float), self.rate)
        if len(found) == len(given):
            for seconds, place in zip(given, found, strict=True):
                self._clocks.saw(seconds, self._recorder.origin + place)
        return recording, found

    def close(self) -> None:
        """Silence the boards and let go of the port and the card."""
        with contextlib.suppress(OSError):
            self._wire.give(bytes([SELECT_BOTH]) + silence(), self._clock())
            self._pause(4 * BYTE)
        self._wire.close()
        self._recorder.close()


def _led(played: list[tuple[int, bytes]], zero: int) -> tuple[int, bool, list[tuple[int, bytes]]]:
    """The cycle of a burst, whether it leads the first run that strikes a key, if any does, and the runs with it.

    Where there is no room for it there, it comes before time `zero`.
    """
    led, size = True, len(BURST) + 1
    for n, (at, data) in enumerate(played):
        if any(VOICE_ON <= byte < VOICE_ON + VOICES for byte in data):
            first = at - size * CYCLES_PER_BYTE
            if n and played[n - 1][0] + len(played[n - 1][1]) * CYCLES_PER_BYTE > first:
                led = False
                break
            selects = [
                byte for _, before in played[:n] for byte in before if byte in (SELECT_LOWER, SELECT_UPPER, SELECT_BOTH)
            ]
            select = selects[-1] if selects else SELECT_BOTH
            return first, True, [*played[:n], (first, BURST + bytes([select]) + data), *played[n + 1 :]]
    first = zero - round((BURST_SECONDS + GAP) * CYCLES_PER_SECOND)
    return first, led, [(first, BURST), *played]


def burst_wave(rate: float) -> np.ndarray:
    """How a burst on the wire looks to a sound card [shape=(n,)]: low for a start bit and zeros, band-limited, without its mean."""
    bits = [bit for byte in BURST for bit in (0, *((byte >> n) & 1 for n in range(8)), 1)]
    fine = 16
    ticks = np.arange(math.ceil(len(bits) * rate / BAUD) * fine) / (rate * fine)
    level = np.array(bits, float)[np.minimum((ticks * BAUD).astype(int), len(bits) - 1)]
    wave = signal.resample_poly(level - 1, 1, fine)
    return wave - wave.mean()


def bursts(track: np.ndarray, rate: float) -> list[float]:
    """Where bursts begin in a recording of the wire, in samples, in order. Either polarity of the cable will do."""
    wave = burst_wave(rate)
    if len(track) < len(wave):
        return []
    high = signal.butter(2, 300, "high", fs=rate, output="sos")
    score = np.abs(signal.correlate(signal.sosfilt(high, track), signal.sosfilt(high, wave), "valid"))
    found, floor = [], FAINT * np.median(score)
    top = score.max(initial=0.0)
    for at in signal.find_peaks(score, height=max(floor, 0.5 * top), distance=len(wave))[0]:
        low, mid, up = (score[np.clip(at + n, 0, len(score) - 1)] for n in (-1, 0, 1))
        bend = low - 2 * mid + up
        found.append(at + (0.5 * (low - up) / bend if bend else 0.0))
    return found


def ends(found: Sequence[float], rate: int, apart: float) -> tuple[float, float]:
    """The first and the last of the bursts that were found, in samples.

    apart : seconds between their beginnings.  Raises CaptureError without two, or where sound was lost between them.
    """
    if len(found) < 2:
        raise CaptureError(
            f"{len(found)} of 2 bursts were found in the last channel of the recording: does it record the wire, loud enough?"
        )
    begin, end = found[0], found[-1]
    heard = (end - begin) / rate
    if abs(heard - apart) > BURST_JITTER + MOST_DRIFT * apart:
        raise CaptureError(
            f"the bursts are {heard:.4f} s apart and should be {apart:.4f}: sound was lost in the recording"
        )
    return begin, end


def aligned(recording: np.ndarray, rate: int, seconds: float, zero: float, stretch: float) -> Take:
    """A recording (n, channels) whose last channel is the wire, as a `Take`.

    zero : sample of the wire's time 0.  stretch : samples of the recording in one of the wire's.
    """
    sound = interpolated(recording[:, :-1], zero, stretch, round(seconds * rate))
    return checked(Take(sound, rate, (stretch - 1) * 1e6))


@cache
def _kernels() -> np.ndarray:
    """Taps of a windowed sinc for `PHASES` places between two samples, and the next sample itself [shape=(PHASES + 1, TAPS)]."""
    off = np.linspace(0, 1, PHASES + 1)[:, None] - (np.arange(TAPS) - TAPS // 2 + 1)
    return np.sinc(off) * (0.5 + 0.5 * np.cos(np.pi * off / (TAPS // 2)))


def interpolated(sound: np.ndarray, begin: float, stretch: float, count: int) -> np.ndarray:
    """The sound (n, channels) at `count` fractional places from `begin` on, `stretch` apart, float32; zeros beyond its ends.

    int16 stands for full scale 1. A long take is worked on piece by piece: hours of it need no more memory than they are.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(sound, ((TAPS, TAPS), (0, 0))), TAPS, 0)
    full = 32768.0 if sound.dtype == np.int16 else 1.0
    out = np.empty((count, sound.shape[1]), np.float32)
    for first in range(0, count, 4096):
        place = begin + np.arange(first, min(first + 4096, count)) * stretch
        whole = np.floor(place)
        phase = (place - whole) * PHASES
        low = phase.astype(int)
        share = (phase - low)[:, None]
        kernel = _kernels()[low] * (1 - share) + _kernels()[low + 1] * share
        at = np.clip(whole.astype(np.int64) + TAPS // 2 + 1, 0, len(windows) - 1)
        out[first : first + 4096] = np.einsum("ij,icj->ic", kernel, windows[at].astype(np.float64)) / full
    return out
