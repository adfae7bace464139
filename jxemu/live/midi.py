"""MIDI ports: several inputs at once, plugged in and out while playing; learned controllers; the clock.

Ports are polled from one thread: a callback of python-rtmidi would wait for the GIL inside the MIDI
system's own thread, and under JACK stall the whole graph.
"""

import contextlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import mido

from jxemu.live.arpeggiator import TICKS_PER_BEAT
from jxemu.live.audio import CLIENT, NO_LIVE, AudioError, quiet
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import PATCH

SENSING_TIMEOUT = 0.33
"""Seconds of silence after active sensing that mean a cut cable: the 300 ms of the standard, and some slack."""

FIRST_MODE_MESSAGE = 120
LONGEST_SYSEX = 1 << 20
_THROUGH = "Midi Through"
_NEVER = 1 << 62

Control = dict[str, str]
"""What a controller moves: ``kind`` "parameter", "setting" or "control", its ``name``, and the ``part``."""


class MidiError(AudioError):
    """A MIDI port that cannot be used; the message says what to do."""


def _rtmidi() -> ModuleType:
    try:
        import rtmidi
    except ImportError:
        raise MidiError(f"python-rtmidi is not installed; {NO_LIVE}") from None
    return rtmidi


def systems(without_jack: bool = False) -> list[int]:
    """The MIDI systems that answer on this computer, as python-rtmidi numbers them."""
    rtmidi = _rtmidi()
    found = []
    for api in rtmidi.get_compiled_api():
        if without_jack and api == rtmidi.API_UNIX_JACK:
            continue
        with contextlib.suppress(rtmidi.RtMidiError, OSError), quiet():
            look = rtmidi.MidiIn(api, f"{CLIENT}-look")
            if api == rtmidi.API_UNIX_JACK:  # without a server it fails only when a port is opened
                look.open_virtual_port("look")
            look.delete()
            found.append(api)
    return found


def port_names() -> tuple[list[str], list[str], list[str]]:
    """Inputs, outputs, and what is missing, a sentence each."""
    inputs, outputs, missing = [], [], []
    try:
        rtmidi = _rtmidi()
        found = systems()
    except MidiError as error:
        return [], [], [str(error)]
    for api in found:
        look_in, look_out = rtmidi.MidiIn(api, f"{CLIENT}-look"), rtmidi.MidiOut(api, f"{CLIENT}-look")
        inputs += [name for name in look_in.get_ports() if _foreign(name)]
        outputs += [name for name in look_out.get_ports() if _foreign(name)]
        look_in.delete()
        look_out.delete()
    if rtmidi.API_LINUX_ALSA in rtmidi.get_compiled_api() and rtmidi.API_LINUX_ALSA not in found:
        missing.append(
            "ALSA has no MIDI here (/dev/snd/seq is missing: modprobe snd-seq); JACK's MIDI does not need it"
        )
    return inputs, outputs, missing


def _foreign(name: str) -> bool:
    return not name.startswith((CLIENT, _THROUGH)) and f":{CLIENT}" not in name


def thinned(rows: list[tuple[int, bytes]], frames: int) -> list[tuple[int, bytes]]:
    """``(frame, message)`` rows without controllers that are overtaken by their next value within `frames`.

    Pedals and mode messages stay, and nothing moves past a note: a flood costs little, and loses nothing
    that the wire could have carried.
    """
    kept, following = [], {}
    for frame, message in reversed(rows):
        status = message[0] & 0xF0 if message else 0
        if status in (0xD0, 0xE0) or (status == 0xB0 and len(message) == 3 and message[1] < 64):
            key = message[:2] if status == 0xB0 else message[:1]
            if following.get(key, _NEVER) - frame < frames:
                continue
            following[key] = frame
        else:
            following.clear()
        kept.append((frame, message))
    return kept[::-1]


@dataclass
class Source:
    """One stream of MIDI bytes: its parser, the keys it holds, and when it last spoke."""

    name: str
    parser: mido.Parser = field(default_factory=mido.Parser)
    keys: set[tuple[int, int]] = field(default_factory=set)  # channel, note
    pedals: set[int] = field(default_factory=set)
    sensing: bool = False
    heard_at: float = 0.0
    _unread: int = 0
    _status: int = 0  # running status, 0 for none
    _missing: int = 0  # data bytes that the message under way still needs

    def feed(self, data: bytes, now: float) -> list[Any]:
        """The messages that bytes complete; keeps account of the keys. `now` is in seconds."""
        self.heard_at = now
        self.parser.feed(self._spelled_out(data))
        messages = list(self.parser)
        self._unread = 0 if messages else self._unread + len(data)
        if self._unread > LONGEST_SYSEX:
            self.parser, self._unread = mido.Parser(), 0
        for message in messages:
            self._account(message)
        return messages

    def _spelled_out(self, data: bytes) -> bytes:
        """Bytes with every status that running status leaves out, which mido's parser does not know of."""
        out = bytearray()
        for byte in data:
            if byte >= 0xF8:
                pass
            elif byte >= 0x80:
                self._status = byte if byte < 0xF0 else 0
                self._missing = 1 if 0xC0 <= byte < 0xE0 else 2
            elif self._status:
                if self._missing == 0:
                    out.append(self._status)
                    self._missing = 1 if 0xC0 <= self._status < 0xE0 else 2
                self._missing -= 1
            out.append(byte)
        return bytes(out)

    def _account(self, message: Any) -> None:
        if message.type == "active_sensing":
            self.sensing = True
        elif message.type == "note_on" and message.velocity:
            self.keys.add((message.channel, message.note))
        elif message.type in ("note_on", "note_off"):
            self.keys.discard((message.channel, message.note))
        elif message.type == "control_change" and message.control == 64:
            (self.pedals.add if message.value else self.pedals.discard)(message.channel)

    def let_go(self) -> list[Any]:
        """The messages that lift every key and pedal it holds."""
        keys = [mido.Message("note_off", channel=channel, note=note) for channel, note in sorted(self.keys)]
        pedals = [mido.Message("control_change", channel=c, control=64, value=0) for c in sorted(self.pedals)]
        self.keys.clear()
        self.pedals.clear()
        self.sensing = False
        return keys + pedals

    def silent_too_long(self, now: float) -> bool:
        """Whether a source that sends active sensing has stopped."""
        return self.sensing and now - self.heard_at > SENSING_TIMEOUT


class Inputs:
    """All MIDI inputs that are open.

    wanted : parts of port names (default: every port).  virtual : also offer a port of our own.
    """

    def __init__(self, wanted: list[str] | None = None, virtual: bool = True, without_jack: bool = False):
        self._rtmidi = _rtmidi()
        self.wanted = wanted or []
        self._open: dict[tuple[int, str], tuple[Any, Source]] = {}
        self._apis = systems(without_jack)
        self._looks = {api: self._rtmidi.MidiIn(api, f"{CLIENT}-look") for api in self._apis}
        for api in self._apis if virtual else []:
            with contextlib.suppress(self._rtmidi.RtMidiError, OSError, NotImplementedError):
                self._add(api, f"{CLIENT} midi_in", None)

    def _add(self, api: int, name: str, number: int | None) -> None:
        port = self._rtmidi.MidiIn(api, CLIENT, queue_size_limit=1 << 14)
        port.ignore_types(sysex=False, timing=False, active_sense=False)
        if number is None:
            port.open_virtual_port("midi_in")
        else:
            port.open_port(number, "midi_in")
        self._open[api, name] = port, Source(name)

    def rescan(self) -> tuple[list[str], list[Source]]:
        """Open what was plugged in and close what is gone: the new names, the sources that are no more."""
        with quiet():
            return self._rescan()

    def _rescan(self) -> tuple[list[str], list[Source]]:
        new, gone = [], []
        for api, look in self._looks.items():
            names = [name for name in look.get_ports() if _foreign(name)]
            for key, (port, source) in list(self._open.items()):
                if key[0] == api and _foreign(key[1]) and key[1] not in names:
                    port.delete()
                    del self._open[key]
                    gone.append(source)
            for number, name in enumerate(look.get_ports()):
                wanted = not self.wanted or any(part.lower() in name.lower() for part in self.wanted)
                if wanted and _foreign(name) and (api, name) not in self._open:
                    with contextlib.suppress(self._rtmidi.RtMidiError, OSError):
                        self._add(api, name, number)
                        new.append(name)
        return new, gone

    @property
    def names(self) -> list[str]:
        """Names of the open inputs."""
        return [source.name for _, source in self._open.values()]

    @property
    def sources(self) -> list[Source]:
        """The open inputs."""
        return [source for _, source in self._open.values()]

    def poll(self, most: int = 1024) -> Iterator[tuple[Source, list[bytes]]]:
        """What has come in, at most `most` messages of each port."""
        for port, source in list(self._open.values()):
            messages = []
            while len(messages) < most and (got := port.get_message()):
                messages.append(bytes(got[0]))
            if messages:
                yield source, messages

    def close(self) -> None:
        """Close every port."""
        for port, _ in self._open.values():
            port.delete()
        for look in self._looks.values():
            look.delete()
        self._open.clear()


class OutputPort:
    """MIDI OUT: a port by part of its name, or a port of our own.

    Raises MidiError if there is no such port.
    """

    def __init__(self, wanted: str | None = None, without_jack: bool = False):
        rtmidi = _rtmidi()
        for api in systems(without_jack):
            port = rtmidi.MidiOut(api, CLIENT)
            names = port.get_ports()
            found = next((n for n, name in enumerate(names) if wanted and wanted.lower() in name.lower()), None)
            if found is not None:
                port.open_port(found, "midi_out")
                self.name, self._port = names[found], port
                return
            if wanted is None:
                with contextlib.suppress(rtmidi.RtMidiError, OSError, NotImplementedError):
                    port.open_virtual_port("midi_out")
                    self.name, self._port = f"{CLIENT}:midi_out", port
                    return
            port.delete()
        if wanted is not None:
            raise MidiError(f"there is no MIDI output named like {wanted!r}; jxemu devices lists them")
        raise MidiError("no MIDI system takes an output here")

    def send(self, message: bytes) -> None:
        """Send one whole message."""
        self._port.send_message(list(message))

    def close(self) -> None:
        """Close the port."""
        self._port.delete()


class Learned:
    """Which controllers move which parts of the panel, kept in a file.

    path : JSON file, or None to keep nothing. Raises MidiError for a file that cannot be read.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self.controls: dict[int, Control] = {}
        self.waiting: Control | None = None
        if path:
            try:
                rows = json.loads(path.read_text())["controllers"]
                self.controls = {int(number): checked(control) for number, control in rows.items()}
            except FileNotFoundError:
                pass
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise MidiError(f"{path}: not a map of controllers ({error}); move it away to start anew") from None

    def learn(self, control: Control | None) -> None:
        """Let the next controller that moves be this control's; None to wait no longer. Raises ValueError."""
        self.waiting = control and checked(control)

    def forget(self, control: Control) -> None:
        """Let no controller move this control any more."""
        self.controls = {number: held for number, held in self.controls.items() if held != control}
        self._save()

    def take(self, controller: int) -> Control | None:
        """What a controller that moved stands for; a control that waits for one gets it now. Raises OSError.

        Mode messages (120 and up) stay what they are.
        """
        if controller >= FIRST_MODE_MESSAGE:
            return None
        if self.waiting:
            self.controls = {number: held for number, held in self.controls.items() if held != self.waiting}
            self.controls[controller], self.waiting = self.waiting, None
            self._save()
        return self.controls.get(controller)

    def _save(self) -> None:
        if self.path:
            write_whole(self.path, json.dumps({"controllers": self.controls}, indent=1))


def write_whole(path: Path, text: str) -> None:
    """Write a file that has its name only when it is whole, and its folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        part.write_text(text)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def checked(control: Control) -> Control:
    """A control with all its fields. Raises ValueError, KeyError or TypeError for one that does not exist."""
    kind, name, part = control["kind"], control["name"], control.get("part", "control")
    known = {"parameter": PARAMETERS, "setting": PATCH, "control": CONTROL_NAMES}.get(kind)
    if known is None or name not in known or part not in ("control", "upper", "lower"):
        raise ValueError(f"no control {kind!r} {name!r} of {part!r}")
    return {"kind": kind, "name": name, "part": part}


CONTROL_NAMES = ("volume", "modulation", "aftertouch", "portamento_time", "portamento_switch", "hold", "bend")
"""Controls of the keyboard's own that can be learned beside the parameters and settings."""


def scaled(control: Control, value: int) -> int:
    """A controller's 0..127 on the range of what it moves."""
    if control["kind"] == "control":
        return (value - 64) * 128 if control["name"] == "bend" else value
    row = (PARAMETERS if control["kind"] == "parameter" else PATCH)[control["name"]]
    top = min(row.top, 127)
    return row.smallest + value * (top - row.smallest + 1) // 128


class Clock:
    """A MIDI clock as it comes in: whether it runs, its place and its tempo.

    Of several ports that send one, that which runs is followed, until it stops or does not tick for a second.
    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.port = ""
        self.running = False
        self.ticks = 0
        self._begun = 0
        self._times: deque[int] = deque(maxlen=TICKS_PER_BEAT + 1)

    def silent_too_long(self, frame: int) -> bool:
        """Whether a running clock has not ticked for a second."""
        return self.running and frame - max(self._begun, *self._times, 0) > self.sample_rate

    def take(self, kind: str, frame: int, port: str) -> bool:
        """Take a real-time message that came at a frame from a port; True if it is a tick of a running clock."""
        if port != self.port:
            if self.running:
                return False
            self.port = port
            self._times.clear()
        if kind in ("start", "continue"):
            self.running, self.ticks, self._begun = True, 0 if kind == "start" else self.ticks, frame
        elif kind == "stop":
            self.running = False
        elif kind == "clock":
            if self._times and frame - self._times[-1] > self.sample_rate:
                self._times.clear()
            self._times.append(frame)
            self.ticks += self.running
            return self.running
        return False

    @property
    def tempo(self) -> float:
        """Beats a minute, 0 while it does not tick."""
        if len(self._times) < 2 or self._times[-1] == self._times[0]:
            return 0.0
        beats = (len(self._times) - 1) / TICKS_PER_BEAT
        return round(beats * 60 * self.sample_rate / (self._times[-1] - self._times[0]), 1)
