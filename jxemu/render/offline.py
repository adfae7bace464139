"""Rendering as a pure function: what comes out depends on nothing but the arguments."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from jxemu import clock, protocol
from jxemu.machine import DUAL, MACHINES, Event, Machine, Unit
from jxemu.patch.bank import Bank
from jxemu.patch.memory import Memory
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone
from jxemu.render.score import Note, from_notes, in_order

LEAD_IN = 0.12
"""Seconds a machine runs before time 0, so that its boards are up and a patch is loaded at real pace."""

RING_OUT_LIMIT = 30.0
"""Longest tail in seconds after the last event of a rendering without a given length."""

TAIL = 0.05
"""Seconds rendered after the last VCA has closed, for the chorus and the filters behind it."""

_BLOCK = 4096


def _start(
    sound: Tone | Patch, machine: str, seed: int, sample_rate: int, oversample: int, pace: str, bank: Bank | None,
    circuit: dict,
) -> Machine:  # fmt: skip
    memory = Memory(bank) if bank else None
    ready = Machine(machine, Machine.circuit_of(seed=seed, **circuit), sample_rate, oversample, pace, memory)
    if isinstance(sound, Patch):
        ready.load_patch(sound)
    else:
        ready.load_tone(sound)
    return ready


def _shifted(events: Iterable[Event], by: float) -> list[Event]:
    return [replace(event, at=event.at + by) for event in events]


def render_blocks(
    machine: Machine, events: Iterable[Event], seconds: float | None = None, lead_in: float = LEAD_IN, last: float = 0.0
) -> Iterator[np.ndarray]:
    """Play events on a machine just switched on; yields float32 (outputs, n, 2) blocks, time 0 first.

    The outputs are those of `Machine.render_apart`.

    The machine's start-up and its converters' delay are not part of the sound. Without `seconds`
    it ends when the last voice has closed (at most `RING_OUT_LIMIT` after the last event). Memory
    does not grow with the length. lead_in : the machine's time at time 0.  last : its time when the
    last byte of a replayed log arrives.
    """
    rate = machine.sample_rate
    skip = round(lead_in * rate + machine.engine.latency_frames)
    waiting = iter(_shifted(in_order(events), lead_in))
    event = next(waiting, None)
    wanted = None if seconds is None else round(seconds * rate)
    last_at = max(lead_in, last)
    made = -skip
    closing: int | None = None
    while wanted is None or made < wanted:
        frames = _BLOCK if wanted is None else min(_BLOCK, wanted - made)
        end = machine.seconds + frames / rate
        while event is not None and event.at < end:
            machine.play(event)
            last_at = event.at
            event = next(waiting, None)
        block = machine.render_apart(frames)
        made += frames
        if made > 0:
            yield block[:, max(0, frames - made) :]
        if wanted is None and event is None:
            if machine.silent and machine.seconds > last_at:
                closing = closing or made
                if made >= closing + TAIL * rate:
                    return
            elif machine.seconds > last_at + RING_OUT_LIMIT:
                return


def mixed(outputs: np.ndarray) -> np.ndarray:
    """Outputs (outputs, n, 2) as one sound (n, 2)."""
    return outputs[0] if len(outputs) == 1 else outputs.sum(axis=0, dtype=np.float32)


def mono(sound: np.ndarray) -> np.ndarray:
    """The mean of both channels (..., 2) -> (...); of one channel (..., 1) itself."""
    return sound[..., 0] if sound.shape[-1] == 1 else (sound[..., 0] + sound[..., 1]) * np.float32(0.5)


def render(
    tone: Tone | Patch,
    notes: Sequence[Note] = (),
    seconds: float | None = None,
    machine: str = "jx8p",
    seed: int = 0,
    sample_rate: int = 48_000,
    oversample: int = 4,
    *,
    events: Iterable[Event] = (),
    bank: Bank | None = None,
    pace: str = "instant",
    **circuit: float | str | Unit,
) -> np.ndarray:
    """Render notes of a tone or a patch: float32, shape (n, 2), full scale +-1.

    notes : ``(note, velocity, start_seconds, duration_seconds)``.  events : all that is not a note,
        as `Event`s or ``(seconds, kind, data)``.  seconds : length; None lets the sound ring out.
    bank : where a patch finds its tones (default: the factory's).
    machine : "jx8p", "superjx" or "mks70".  seed : the unit, 0 is nominal.
    pace : "instant" or "real", how fast bytes cross the wire.
    circuit : fields of `Circuit` (temperature, resonance, xmod, sync; unit: a `Unit`, or the file of one).
    The same arguments give the same bytes, whatever was rendered before.
    Raises ValueError for what is out of range.
    """
    ready = _start(tone, machine, seed, sample_rate, oversample, pace, bank, circuit)
    blocks = list(render_blocks(ready, [*from_notes(notes), *_as_events(events)], seconds))
    return mixed(np.concatenate(blocks, axis=1)) if blocks else np.zeros((0, 2), np.float32)


def trace(
    tone: Tone | Patch,
    notes: Sequence[Note] = (),
    seconds: float | None = None,
    machine: str = "jx8p",
    seed: int = 0,
    sample_rate: int = 48_000,
    oversample: int = 4,
    *,
    events: Iterable[Event] = (),
    bank: Bank | None = None,
    pace: str = "instant",
    **circuit: float | str | Unit,
) -> np.ndarray:
    """The latch of the same rendering: a structured array, one row a firmware pass.

    Arguments as for `render`; without `seconds` it ends a second after the last event.
    ``at_cycles`` counts microseconds from time 0 (negative while the machine starts); ``board`` 0
    is lower or only; ``voice`` is whose pass wrote the row, 6 the common part; the other fields are
    the board's whole latch after that pass (see `jxemu.soundboard.state.LATCH`).
    """
    ready = _start(tone, machine, seed, sample_rate, oversample, pace, bank, circuit)
    played = in_order([*from_notes(notes), *_as_events(events)])
    if seconds is None:
        seconds = 1.0 + max((event.at for event in played), default=0.0)
    return traced(ready, played, seconds)


def traced(machine: Machine, played: Iterable[Event], seconds: float) -> np.ndarray:
    """The latch of a machine just switched on that plays events, as `trace` gives it."""
    for event in _shifted(played, LEAD_IN):
        machine.play(event)
    rows = machine.trace(LEAD_IN + seconds)
    rows["at_cycles"] -= clock.cycles(LEAD_IN)
    return rows


def _as_events(events: Iterable[Event | tuple]) -> list[Event]:
    return [event if isinstance(event, Event) else Event(*event) for event in events]


# --- batches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One sound of a batch: a tone, its notes and events, and the unit that plays it.

    A tone plays on the board of a JX-8P; with a `lower` one, both play on a Super JX, each on its board.
    """

    tone: Tone
    notes: Sequence[Note]
    events: Sequence[Event] = field(default_factory=tuple)
    seed: int = 0
    lower: Tone | None = None

    @property
    def played(self) -> list[Event]:
        """Its notes and events in order."""
        notes = from_notes(self.notes)
        return in_order([*notes, *_as_events(self.events)]) if self.events else notes

    def machine(self, sample_rate: int, oversample: int, apart: bool = False, **circuit: float | str) -> Machine:
        """The machine that plays it, with its tones loaded: for `render_blocks` and `traced`."""
        unit = Machine.circuit_of(seed=self.seed, **circuit)
        kind = "superjx" if self.lower else "jx8p"
        machine = Machine(kind, unit, sample_rate, oversample, "instant", apart=apart)
        machine.load_patch(DUAL, self.tone, self.lower) if self.lower else machine.load_tone(self.tone)
        return machine


def render_batch(
    items: Sequence[Item],
    seconds: float,
    sample_rate: int = 48_000,
    oversample: int = 4,
    lanes: int = 16,
    workers: int | None = None,
    channels: int = 2,
    **circuit: float | str | Unit,
) -> np.ndarray:
    """Render many sounds at once: float32 (items, n, channels), each the same bytes as `render` gives it.

    channels : 2, or 1 for the mean of left and right.  Raises ValueError for another number.

    Every voice that is played takes a lane, whatever board it is on; boards fill `lanes` lanes
    (8, 16 or 32) at a time. workers : threads (default: one a core); the kernel runs without the GIL.
    """
    if channels not in (1, 2):
        raise ValueError(f"{channels} channels are not made; choose 2, or 1 for the mean of both")
    if "unit" in circuit:  # a file is read once
        circuit["unit"] = Machine.circuit_of(circuit["unit"]).unit
    step = lanes
    chunks = [range(at, min(at + step, len(items))) for at in range(0, len(items), step)]
    out = np.empty((len(items), round(seconds * sample_rate), channels), np.float32)

    def run(chunk: range) -> None:
        part = out[chunk.start : chunk.stop]
        _render_chunk([items[i] for i in chunk], part, sample_rate, oversample, lanes, circuit)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        list(pool.map(run, chunks))
    return out


def _render_chunk(
    items: Sequence[Item], out: np.ndarray, sample_rate: int, oversample: int, lanes: int, options: dict
) -> None:
    """Items side by side in one engine, each on a board and a wire of its own, into `out`."""
    wires = [Machine.wire_of(item.tone, _shifted(item.played, LEAD_IN), item.lower) for item in items]
    units = [Machine.circuit_of(seed=item.seed, **options) for item in items]
    boards = [(n, role) for n, item in enumerate(items) for role in MACHINES["superjx" if item.lower else "jx8p"]]
    owner = [n for n, _ in boards]
    voices = [_voices_played(wires[n][1], role) for n, role in boards]
    engine = Machine.engine_of(
        [role for _, role in boards], [units[n] for n in owner], sample_rate, oversample, voices, lanes
    )
    ends = np.cumsum([len(at) for at, _ in wires])
    position, end = np.concatenate([[0], ends[:-1]])[owner], ends[owner]
    wire = np.concatenate([at for at, _ in wires]), np.concatenate([data for _, data in wires]), position, end
    skip = round(LEAD_IN * sample_rate + engine.latency_frames)
    engine.render(*wire, np.empty((len(boards), skip, 2), np.float32))
    if len(boards) == len(items):
        engine.render(*wire, out)
        return
    sound = engine.render(*wire, np.empty((len(boards), out.shape[1], 2), np.float32))
    for n in range(len(items)):
        both = mixed(sound[owner.index(n) : owner.index(n) + owner.count(n)])
        out[n] = both if out.shape[2] == 2 else mono(both)[:, None]


def _voices_played(data: np.ndarray, role: int) -> list[int]:
    """Voices that a stream of bytes ever starts on a board."""
    starts = np.flatnonzero((data >= protocol.VOICE_ON) & (data < protocol.VOICE_OFF))
    if not len(starts):
        return []
    # A select puts the decoder into one state, whatever came before: what sets the tone need not be read.
    before = data[: starts[0]].tobytes()
    select = max(before.rfind(code) for code in protocol.SELECT_OF_ROLE.values())
    events = protocol.Decoder().feed(data[max(select, 0) :].tolist())
    return sorted({number for kind, boards, number, _, _ in events if kind == protocol.ON and boards & role})
