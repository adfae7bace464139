"""Machines: boards, their selects and a link, as rows of one table; render, save, continue.

`JX8P` has one sound board, `SuperJX` (JX-10) and `MKS70` have two, which share one wire.
"""

import functools
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from jxemu import clock, protocol
from jxemu.assigner.assigner import Assigner, Event
from jxemu.assigner.controllers import event_of, part_of
from jxemu.link import EmulatedLink
from jxemu.patch.memory import Memory
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone
from jxemu.soundboard import alone
from jxemu.soundboard.circuit import Circuit
from jxemu.soundboard.engine import Engine
from jxemu.soundboard.parts import value
from jxemu.soundboard.tables import TUNE
from jxemu.soundboard.unit import Unit, UnitError

MACHINES = {
    "jx8p": (protocol.BOTH,),
    "superjx": (protocol.LOWER, protocol.UPPER),
    "mks70": (protocol.LOWER, protocol.UPPER),
}
"""By name: the selects its boards answer to."""

TUNE_SEMITONES = TUNE[np.arange(128) >> 2]
"""By the value of a DCO's coarse tune."""

FULL_KEY_FOLLOW = value("VCF_KEY_FULL")
"""Value of key follow at which the filter goes with the key."""

CUTOFF_STEPS_PER_SEMITONE = value("VCF_COUNTS_PER_OCTAVE") / 12 / 128
"""Steps of VCF FREQ."""

DUAL = Patch("DUAL", key_mode="dual")
"""Both tones on every key."""

SAVE_VERSION = 7
_RECORDS = ("time", "boards", "groups", "stages")

__all__ = [
    "CUTOFF_STEPS_PER_SEMITONE",
    "DUAL",
    "FULL_KEY_FOLLOW",
    "JX8P",
    "MACHINES",
    "MKS70",
    "TUNE_SEMITONES",
    "Circuit",
    "Event",
    "Machine",
    "SuperJX",
    "Unit",
    "UnitError",
    "alone",
    "event_of",
    "part_of",
]


class Machine:
    """A Roland on the bench: play events into it, take sound out of it.

    kind : a name in `MACHINES`.  circuit : the unit (default: nominal), see `circuit_of`.
    sample_rate : 44100, 48000, 88200 or 96000.  oversample : 2, 4 or 8.
    pace : "real" (a byte takes 320 us) or "instant".  memory : banks for patches and program changes
        (default: the factory's).  steal, priority : rules of `jxemu.assigner.allocator`.
    apart : give every voice an output of its own, for `render_apart`.  record : keep all that crosses the wire, for `link.save_log`.  boot : let the assigner greet the
        boards; False for a machine that a log is replayed on.
    Raises ValueError for what is not listed.
    """

    def __init__(
        self,
        kind: str = "jx8p",
        circuit: Circuit | None = None,
        sample_rate: int = 48_000,
        oversample: int = 4,
        pace: str = "real",
        memory: Memory | None = None,
        steal: str = "oldest",
        priority: str = "last",
        apart: bool = False,
        record: bool = False,
        boot: bool = True,
    ):
        if kind not in MACHINES:
            raise ValueError(f"machine {kind!r} is not known; choose one of {', '.join(MACHINES)}")
        self.kind = kind
        self.circuit = circuit or Circuit()
        self.pace = pace
        self.apart = apart
        self._memory, self._rules = memory, (steal, priority)
        self._rates = sample_rate, oversample
        self._record, self._boot = record, boot
        self.reset()

    def reset(self) -> None:
        """Power off and on: every record is made anew and the assigner greets the boards."""
        roles = MACHINES[self.kind]
        # Two boards share sixteen lanes, so that each hides the other's waiting.
        if self.apart:
            outputs = [(role, voice) for role in roles for voice in range(protocol.VOICES)]
            voices = [[voice] for _, voice in outputs]
            self.engine = self._engine([role for role, _ in outputs], voices, 8 * len(roles))
        else:
            self.engine = self._engine(roles, None, 8 * len(roles))
        self._position, self._end = np.zeros((2, len(self.engine.boards)), np.int64)
        self.link = EmulatedLink(self.pace)
        if self._record:
            self.link.record()
        self.assigner = Assigner(self.link.send, roles, self._memory, *self._rules)
        if self._boot:
            self.assigner.boot(0)

    def _engine(self, roles: Sequence[int], voices: Sequence[Sequence[int]] | None, width: int) -> Engine:
        return Engine(roles, [self.circuit] * len(roles), *self._rates, voices, width, silent_rest=False)

    @staticmethod
    def circuit_of(unit: Unit | str | Path | None = None, **fields: float | str) -> Circuit:
        """A circuit from the fields of `Circuit`; a unit may be the file that describes it.

        Raises ValueError for a field it does not have, UnitError for a file that describes none.
        """
        if unit is not None:
            fields["unit"] = unit if isinstance(unit, Unit) else Unit.load(unit)
        try:
            return Circuit(**fields)
        except TypeError:
            known = ", ".join(asdict(Circuit()))
            raise ValueError(f"a circuit has no field among {', '.join(fields)} but: {known}") from None

    @staticmethod
    def wire_of(tone: Tone, events: Sequence[Event], lower: Tone | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Arrivals and bytes of a performance, at instant pace, from power-on.

        A tone plays on a JX-8P; with a `lower` one, both play on the boards of a Super JX (`DUAL`).
        """
        link = EmulatedLink("instant")
        assigner = Assigner(link.send, MACHINES["superjx" if lower else "jx8p"])
        assigner.boot(0)
        assigner.load_patch(DUAL, tone, lower, 0) if lower else assigner.load_tone(tone, 0)
        for event in events:
            assigner.handle(event, clock.cycles(event.at))
        assigner.advance(1 << 62)  # the last hits of chase play
        return link.take(1 << 62)

    @staticmethod
    def engine_of(
        roles: Sequence[int], circuits: Sequence[Circuit], sample_rate: int, oversample: int,
        voices: Sequence[Sequence[int]], lanes: int,
    ) -> Engine:  # fmt: skip
        """Boards of many machines side by side in lanes, each with only the voices it ever plays, just switched on."""
        key = tuple(roles), tuple(circuits), sample_rate, oversample, tuple(map(tuple, voices)), lanes
        return _soldered(*key).copy()

    @property
    def sample_rate(self) -> int:
        """Output rate in Hz."""
        return self.engine.sample_rate

    @property
    def seconds(self) -> float:
        """The machine's own time."""
        return self.engine.frame / self.sample_rate

    @property
    def silent(self) -> bool:
        """Whether every VCA is closed and no byte is under way."""
        gates = self.engine.boards.firmware.gate.any() or self.engine.boards.firmware.trigger.any()
        return not (gates or self.link.pending or self.assigner.pending or self.engine.groups.vca.amplitude_end.any())

    def play(self, event: Event) -> None:
        """Hand an event to the assigner; one whose time has passed is played now."""
        self.assigner.handle(event, max(clock.cycles(event.at), self._now()))

    def load_tone(self, tone: Tone) -> None:
        """Play a tone on all voices from now on."""
        self.play(Event(0.0, "tone", tone))

    def load_patch(self, patch: Patch, upper: Tone | None = None, lower: Tone | None = None) -> None:
        """Play a patch from now on, with these tones or those of its memory.

        Raises ValueError if the memory has no such tone.
        """
        self.play(Event(0.0, "patch", patch if upper is None else (patch, upper, lower or upper)))

    def _now(self) -> int:
        return self.engine.cycle_of(self.engine.frame)

    def _wires(self, until: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        self.assigner.advance(until)
        at, data = self.link.take(until)
        self._position.fill(0)
        self._end.fill(len(at))
        return at, data, self._position, self._end

    def render(self, frames: int) -> np.ndarray:
        """The next `frames` frames, float32 (frames, 2); both boards summed."""
        sound = self.render_apart(frames)
        return sound[0] if len(sound) == 1 else sound.sum(axis=0, dtype=np.float32)

    @property
    def outputs(self) -> list[str]:
        """What `render_apart` gives: boards (their halves), or voices where they are `apart`."""
        halves = {protocol.BOTH: "upper", protocol.UPPER: "upper", protocol.LOWER: "lower"}
        names = [halves[role] for role in MACHINES[self.kind]]
        return [f"{name}-{voice + 1}" for name in names for voice in range(protocol.VOICES)] if self.apart else names

    def render_apart(self, frames: int) -> np.ndarray:
        """The next `frames` frames of each of `outputs`, float32 (outputs, frames, 2)."""
        if frames <= 0:
            return np.zeros((len(self.engine.boards), 0, 2), np.float32)
        out = np.empty((len(self.engine.boards), frames, 2), np.float32)
        return self.engine.render(*self._wires(self.engine.last_look(frames)), out)

    def trace(self, seconds: float) -> np.ndarray:
        """Run only the digital half up to `seconds`; the latch after every pass (`state.LATCH`)."""
        until = clock.cycles(seconds)
        return self.engine.trace(*self._wires(until), until)

    def save(self) -> bytes:
        """Everything the machine remembers, in the middle of a note or not; see `load`."""
        about = {
            "version": SAVE_VERSION,
            "kind": self.kind,
            "circuit": asdict(self.circuit) | {"unit": self.circuit.unit.plain()},
            "rates": self._rates,
            "pace": self.pace,
            "apart": self.apart,
            "link": self.link.snapshot(),
            "assigner": self.assigner.snapshot(),
        }
        arrays = {name: getattr(self.engine, name).view(np.uint8) for name in _RECORDS}
        out = io.BytesIO()
        np.savez_compressed(out, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        return out.getvalue()

    @classmethod
    def load(cls, saved: bytes) -> "Machine":
        """The machine of a `save`, to be continued bit by bit. Raises ValueError for other bytes."""
        try:
            arrays = np.load(io.BytesIO(saved))
            about = json.loads(bytes(arrays["about"]))
            version = about["version"]
        except (
            OSError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
        ) as error:
            raise ValueError("not a saved machine") from error
        if version != SAVE_VERSION:
            raise ValueError(f"saved by another version of jxemu (format {version}, this one reads {SAVE_VERSION})")
        circuit = about["circuit"] | {"unit": Unit.of(about["circuit"]["unit"])}
        machine = cls(about["kind"], Circuit(**circuit), *about["rates"], pace=about["pace"], apart=about["apart"])
        for name in _RECORDS:
            record = getattr(machine.engine, name)
            if arrays[name].size != record.nbytes:
                raise ValueError("saved by another version of jxemu (records of another size)")
            record.view(np.uint8)[:] = arrays[name].reshape(record.view(np.uint8).shape)
        machine.engine.frame = int(machine.engine.time[0].frame)
        machine.link.restore(about["link"])
        machine.assigner.restore(about["assigner"])
        machine._memory = machine.assigner.memory
        machine._rules = machine.assigner.steal, machine.assigner.priority
        return machine


@functools.lru_cache(maxsize=4)
def _soldered(*key: tuple) -> Engine:
    """An engine that is never run: batches of one unit are copies of it."""
    return Engine(*key)


def JX8P(seed: int | None = None, **options) -> Machine:  # noqa: N802 - the instrument's name
    """A JX-8P: one sound board, six voices. Options are those of `Machine`; unit: a measured one, or its file."""
    return _machine("jx8p", seed, options)


def SuperJX(seed: int | None = None, **options) -> Machine:  # noqa: N802
    """A JX-10: two sound boards, twelve voices. Options are those of `Machine`."""
    return _machine("superjx", seed, options)


def MKS70(seed: int | None = None, **options) -> Machine:  # noqa: N802
    """An MKS-70: the JX-10 without keyboard. Options are those of `Machine`."""
    return _machine("mks70", seed, options)


def _machine(kind: str, seed: int | None, options: dict) -> Machine:
    circuit = options.pop("circuit", None) or Circuit()
    if seed is not None:
        circuit = replace(circuit, seed=seed)
    if "unit" in options:
        circuit = replace(circuit, unit=Machine.circuit_of(options.pop("unit")).unit)
    return Machine(kind, circuit, **options)
