"""Sound cards: JACK and PortAudio call the compiled block of `callback`; `Silent` keeps time without one.

A driver is opened first (it knows the rate then), started with the machine's `Shared`, and asked
now and then whether it is `alive`. Linux and macOS; on Windows nothing of this was tried.

Source of the recipes: python-sounddevice's `_StreamBase`, which its documentation offers to library
authors, and JACK-Client's C library; both are private names, so pyproject pins the versions.
"""

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from jxemu.clock import SAMPLE_RATES
from jxemu.live.callback import BLOCK, Shared

CLIENT = "jxemu"
"""Name of our client at a sound or MIDI server."""

DRIVERS = ("jack", "portaudio", "none")
DEFAULT_RATE, DEFAULT_BLOCK = 48_000, 128
_PLAYBACK_LATENCY = 1
_LONGEST_PAUSE = 2.0  # seconds without a block after which a card counts as gone
NO_LIVE = "it is part of the live extra: pip install 'jxemu[live]'"
NO_PORTAUDIO = "the PortAudio library is missing: apt-get install libportaudio2 (macOS: brew install portaudio)"
NO_JACK_LIBRARY = "the JACK library is missing: apt-get install jackd2 (it is only needed for JACK)"
NO_JACK = "no JACK server is running; start one, for example: jackd -R -d alsa -r 48000 -p 128"


class AudioError(RuntimeError):
    """A sound card that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Output:
    """A sound card, or JACK: what `open_output` needs to open it."""

    driver: str
    name: str
    host: str = ""
    rate: int = DEFAULT_RATE
    chosen: bool = False  # what opens if nothing is asked for


class Driver(Protocol):
    """What calls the machine's block at the pace of a clock."""

    name: str
    rate: int

    def start(self, shared: Shared) -> None:
        """Let it play from now on. Raises AudioError."""

    def stop(self) -> None:
        """Let it rest; it may be gone already."""

    def alive(self, shared: Shared) -> bool:
        """Whether it still calls."""

    @property
    def latency(self) -> float:
        """Seconds from a rendered block to the plug, as the driver says."""


class _Pulse:
    """Whether a card still calls for blocks."""

    def __init__(self) -> None:
        self._blocks, self._moved = -1, time.monotonic()

    def beats(self, shared: Shared) -> bool:
        blocks, now = shared.word("blocks"), time.monotonic()
        if blocks != self._blocks:
            self._blocks, self._moved = blocks, now
        return now - self._moved < _LONGEST_PAUSE


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep C libraries, which complain of every system that is not there, off the error stream."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError:
        raise AudioError(f"sounddevice is not installed; {NO_LIVE}") from None
    except OSError:
        raise AudioError(NO_PORTAUDIO) from None
    return sounddevice


def _jack() -> ModuleType:
    try:
        import jack
    except ImportError:
        raise AudioError(f"JACK-Client is not installed; {NO_LIVE}") from None
    except OSError:
        raise AudioError(NO_JACK_LIBRARY) from None
    jack.set_error_function(lambda text: None)  # what matters comes as an exception
    jack.set_info_function(lambda text: None)
    return jack


def _supported(rate: float, name: str) -> int:
    if int(rate) not in SAMPLE_RATES:
        known = ", ".join(map(str, SAMPLE_RATES))
        raise AudioError(f"{name} runs at {rate:.0f} Hz, which the machine cannot; set it to one of {known}")
    return int(rate)


class Jack:
    """A JACK client with two audio outputs, a MIDI input and output: all in one callback, so the latency is constant.

    It is the environment's server (JACK_DEFAULT_SERVER).  rate : what it must run at, or None.
    midi_out : part of the name of the MIDI input that MIDI OUT is connected to, or None.
    Raises AudioError if no server runs or its rate does not fit.
    """

    def __init__(self, rate: int | None = None, midi_out: str | None = None):
        self._jack = _jack()
        try:
            self.client = self._jack.Client(CLIENT, no_start_server=True)
        except self._jack.JackError:
            raise AudioError(NO_JACK) from None
        self.name = f"JACK client {self.client.name}"
        try:
            self.rate = _supported(self.client.samplerate, "JACK")
            if rate is not None and rate != self.rate:
                raise AudioError(f"JACK runs at {self.rate} Hz, not at {rate}: leave --rate out or restart the server")
        except AudioError:
            self.client.close()
            raise
        self.midi_out = midi_out
        self.on_disconnect = lambda: None

    def start(self, shared: Shared) -> None:
        """Register the ports and the compiled callbacks; connect to the first playback and all MIDI ports."""
        try:
            self._start(shared)
        except self._jack.JackError as error:  # a server that is just going
            raise AudioError(f"JACK: {error}") from None

    def _start(self, shared: Shared) -> None:
        lib, ffi, client, live = self._jack._lib, self._jack._ffi, self.client, shared.live
        left, right = (client.outports.register(side) for side in ("left", "right"))
        midi_in, midi_out = client.midi_inports.register("midi_in"), client.midi_outports.register("midi_out")

        def address(pointer: object) -> int:
            return int(ffi.cast("uintptr_t", pointer))

        live.jack_left, live.jack_right = address(left._ptr), address(right._ptr)
        live.jack_midi_in, live.jack_midi_out = address(midi_in._ptr), address(midi_out._ptr)
        self._left = int(live.jack_left)
        live.jack_buffer = address(ffi.addressof(lib, "jack_port_get_buffer"))
        live.jack_midi_count = address(ffi.addressof(lib, "jack_midi_get_event_count"))
        live.jack_midi_get = address(ffi.addressof(lib, "jack_midi_event_get"))
        live.jack_midi_clear = address(ffi.addressof(lib, "jack_midi_clear_buffer"))
        live.jack_midi_reserve = address(ffi.addressof(lib, "jack_midi_event_reserve"))
        shared.words[BLOCK] = client.blocksize
        user, entries = ffi.cast("void *", shared.address), shared.entries
        for register, kind, entry in (
            (lib.jack_set_process_callback, "JackProcessCallback", entries.jack_block),
            (lib.jack_set_xrun_callback, "JackXRunCallback", entries.jack_xrun),
            (lib.jack_set_freewheel_callback, "JackFreewheelCallback", entries.jack_freewheel),
        ):
            register(client._ptr, ffi.cast(kind, entry.address), user)
        shutdown = ffi.cast("JackInfoShutdownCallback", entries.jack_shutdown.address)
        lib.jack_on_info_shutdown(client._ptr, shutdown, user)
        client.set_port_connect_callback(self._connected, only_available=True)
        self._pulse = _Pulse()
        client.activate()
        playback = client.get_ports(is_audio=True, is_physical=True, is_input=True)
        with contextlib.suppress(self._jack.JackError):
            for port, speaker in zip((left, right), playback, strict=False):
                client.connect(port, speaker)
        self.plug_in_midi()

    def plug_in_midi(self) -> None:
        """Connect every hardware MIDI source that is there, and what MIDI OUT was asked to go to, if they are not yet."""
        midi_in, midi_out = self.client.midi_inports[0], self.client.midi_outports[0]
        with contextlib.suppress(self._jack.JackError):
            for source in self.client.get_ports(is_midi=True, is_physical=True, is_output=True):
                if not midi_in.is_connected_to(source):
                    self.client.connect(source, midi_in)
            for sink in self.midi_sinks()[:1]:
                if not midi_out.is_connected_to(sink):
                    self.client.connect(midi_out, sink)

    def midi_sinks(self) -> list:
        """The MIDI inputs of others that are named as MIDI OUT was asked to go to."""
        if self.midi_out is None:
            return []
        ports = self.client.get_ports(is_midi=True, is_input=True)
        wanted, own = self.midi_out.lower(), f"{self.client.name}:"
        return [port for port in ports if wanted in port.name.lower() and not port.name.startswith(own)]

    def _connected(self, source: object, destination: object, connected: bool) -> None:
        if not connected and destination in self.client.midi_inports:
            self.on_disconnect()

    def stop(self) -> None:
        """Leave the server."""
        with contextlib.suppress(self._jack.JackError):
            self.client.deactivate()
        with contextlib.suppress(self._jack.JackError):
            self.client.close()

    def alive(self, shared: Shared) -> bool:
        """Whether the server has not shut down, and calls."""
        return not shared.word("gone") and (bool(shared.word("freewheeling")) or self._pulse.beats(shared))

    @property
    def latency(self) -> float:
        """What JACK says lies between the outputs and the plug."""
        ranges = (ctypes.c_uint32 * 2)()
        ask = ctypes.CDLL(self._jack._libname).jack_port_get_latency_range
        ask(ctypes.c_void_p(self._left), _PLAYBACK_LATENCY, ranges)
        return ranges[1] / self.rate


class PortAudio:
    """A sound card through PortAudio.

    device : name or part of it, or number (default: the system's).  block : frames, 0 for the
        card's own choice. Raises AudioError if there is no such card or it cannot do the rate.
    """

    def __init__(self, device: str | None = None, rate: int | None = None, block: int = DEFAULT_BLOCK):
        self._sd = _sounddevice()
        self._sd._terminate()  # look for cards anew: they come and go
        self._sd._initialize()
        self.device, self.block = int(device) if device and device.isdecimal() else device, block
        self.rate = rate or DEFAULT_RATE
        try:
            found = self._sd.query_devices(self.device, "output")
            self._sd.check_output_settings(self.device, channels=2, dtype="float32", samplerate=self.rate)
        except (self._sd.PortAudioError, ValueError) as error:
            raise AudioError(_no_card(device, error)) from None
        self.name = found["name"]
        self._stream = None

    def start(self, shared: Shared) -> None:
        """Open the card with the compiled callback; nothing of Python runs in its thread."""
        ffi = self._sd._ffi
        shared.words[BLOCK] = self.block or DEFAULT_BLOCK
        try:
            self._stream = self._sd._StreamBase(
                "output", device=self.device, samplerate=self.rate, blocksize=self.block, channels=2, dtype="float32",
                latency="low", callback=ffi.cast("PaStreamCallback *", shared.entries.portaudio_block.address),
                userdata=ffi.cast("void *", shared.address),
            )  # fmt: skip
            self._stream.start()
        except self._sd.PortAudioError as error:
            raise AudioError(_no_card(self.name, error)) from None
        self._pulse = _Pulse()

    def stop(self) -> None:
        """Close the card."""
        if self._stream:
            with contextlib.suppress(self._sd.PortAudioError):
                self._stream.close(ignore_errors=True)

    def alive(self, shared: Shared) -> bool:
        """Whether the stream is active, and calls."""
        return self._stream.active and self._pulse.beats(shared)

    @property
    def latency(self) -> float:
        """What PortAudio says lies between a block and the plug."""
        return float(self._stream.latency)


def _no_card(device: str | None, error: Exception) -> str:
    which = f"output {device!r}" if device else "the default output"
    return f"{which} cannot be opened ({str(error).splitlines()[0]}); jxemu devices lists what there is"


class Silent:
    """No sound card: a thread of Python that calls the block at its pace, so that time goes on."""

    name = "no sound card"
    latency = 0.0

    def __init__(self, rate: int | None = None, block: int = DEFAULT_BLOCK):
        self.rate, self.block = rate or DEFAULT_RATE, block or DEFAULT_BLOCK
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, shared: Shared) -> None:
        """Begin to call."""
        # A call through ctypes gives the GIL away, so the block runs beside Python.
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(shared.entries.silent_block.address)
        shared.words[BLOCK] = self.block
        self._thread = threading.Thread(target=self._run, args=(call, shared), name="jxemu silent", daemon=True)
        self._thread.start()

    def _run(self, call: ctypes._CFuncPtr, shared: Shared) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            call(shared.address, self.block)
            due = max(due + self.block / self.rate, time.monotonic() - 0.5)
            time.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread:
            self._thread.join()

    def alive(self, shared: Shared) -> bool:
        """Always."""
        return True


def open_output(
    driver: str | None = None, device: str | None = None, rate: int | None = None, block: int = DEFAULT_BLOCK,
    midi_out: str | None = None,
) -> Driver:  # fmt: skip
    """Open a driver of `DRIVERS`; by default JACK if its server runs (and no device is named), else PortAudio.

    midi_out : where a JACK client's MIDI OUT goes, as in `Jack`.

    Raises AudioError, with what to do, if it cannot be opened.
    """
    if driver == "jack":
        return Jack(rate, midi_out)
    if driver == "portaudio":
        return PortAudio(device, rate, block)
    if driver == "none":
        return Silent(rate, block)
    if driver is not None:
        raise AudioError(f"audio driver {driver!r} is not known; choose one of {', '.join(DRIVERS)}")
    if device is None:
        with contextlib.suppress(AudioError):
            return Jack(rate, midi_out)
    return PortAudio(device, rate, block)


def outputs() -> tuple[list[Output], list[str]]:
    """What there is to play on, best first, and what is missing, a sentence each."""
    found, missing = [], []
    try:
        jack = _jack()
        client = jack.Client("jxemu-look", no_start_server=True)
        found.append(Output("jack", "JACK server", f"blocks of {client.blocksize}", client.samplerate, True))
        client.close()
    except AudioError as error:
        missing.append(str(error))
    except jack.JackError:
        missing.append(NO_JACK)
    try:
        sd = _sounddevice()
        hosts = sd.query_hostapis()
        default = sd.default.device[1]
        for number, card in enumerate(sd.query_devices()):
            if card["max_output_channels"] >= 2:
                host = hosts[card["hostapi"]]["name"]
                chosen = number == default and not found
                found.append(Output("portaudio", card["name"], host, int(card["default_samplerate"]), chosen))
    except AudioError as error:
        missing.append(str(error))
    if not found:
        missing.append("no sound card was found; jxemu play --audio none runs the machine without one")
    return found, missing
