"""From a plan to what is stored of it: rendered in lanes, gated, scaled, turned into features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from jxemu import clock
from jxemu.kernel import fma, kernel, larger, load, store, struct
from jxemu.patch.tone import Tone
from jxemu.render.features import FEATURES
from jxemu.render.items import Draw, Items, Plan
from jxemu.render.offline import Item, mono, render_batch, render_blocks, traced
from jxemu.render.spec import Spec

LANES = 16
"""Boards rendered side by side: 16 are as fast as 32 on AVX2, and waste less of the last batch."""

BOARDS_AT_ONCE = 2 * LANES
"""Boards whose sound is in memory at once, before it is stored."""

LATCH_RATE = 250
"""Rows of the latch a second; the pass of a voice comes some 90 times a second."""

QUIETEST = -200.0
"""Level in dBFS that stands for silence."""

FULL = 32767

_ROW = struct(x=(np.float32, (16,)))
_ROWS = 256
"""Sums of 16 samples side by side, so many of them in single precision: the same on any processor, and good for 1e-5 dB."""

_NOT_STORED = ("at_cycles", "board", "voice")


@dataclass(frozen=True)
class Sound:
    """An item as it is stored: `data` by name, without an axis of takes, channels or boards where there is one of them."""

    plan: Plan
    peak: float
    level: float
    silent: bool
    stems_peak: float  # 0 without stems
    data: dict[str, np.ndarray]


def shapes(spec: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of all that is stored of an item but its parameters and performance."""
    found = {f"features/{name}": (FEATURES[name].shape(spec.frames), "f2") for name in spec.store.features}
    if spec.store.audio:
        found["audio"] = (spec.frames, *([2] if spec.store.channels == 2 else [])), "i2"
    if spec.store.stems:
        found["stems"] = (6 * spec.machine.boards, spec.frames), "i2"
    if spec.store.latch:
        boards = [2] if spec.machine.boards == 2 else []
        found["latch"] = (*boards, round(spec.seconds * LATCH_RATE), len(latch_columns())), "u2"
    takes = () if spec.takes == 1 else (spec.takes,)
    return {name: ((*takes, *shape), kind) for name, (shape, kind) in found.items()}


def render(items: Items, draws: Sequence[Draw]) -> list[Sound]:
    """Some items, in their order.

    Those that sound alike are rendered side by side: what none of them needs is left out.
    """
    spec, plans = items.spec, items.plans(draws)
    alike = sorted(range(len(plans)), key=lambda n: plans[n].needs)
    at_once = max(1, BOARDS_AT_ONCE // (spec.takes * spec.machine.boards))
    made = {}
    for first in range(0, len(alike), at_once):
        chosen = alike[first : first + at_once]
        some = [plans[n] for n in chosen]
        for n, plan, sound in zip(chosen, some, _played(spec, some, spec.store.channels), strict=True):
            made[n] = stored(spec, plan, sound)
    return [made[n] for n in range(len(plans))]


def heard(spec: Spec, plan: Plan) -> np.ndarray:
    """The sound of an item, float32 ([takes,] n[, 2]), as it is before it is stored."""
    sound = _played(spec, [plan], spec.store.channels)[0]
    kept = mono(sound) if spec.store.channels == 1 else sound
    return kept[0] if spec.takes == 1 else kept


def side_by_side(spec: Spec, plans: Sequence[Plan]) -> np.ndarray:
    """The sounds of plans, mono float32 (plans, takes, n)."""
    return mono(_played(spec, plans, 1))


def _played(spec: Spec, plans: Sequence[Plan], channels: int) -> np.ndarray:
    """Plans rendered side by side, float32 (items, takes, n, channels)."""
    takes = [item for plan in plans for item in plan.items()]
    machine = spec.machine
    sounds = render_batch(
        takes, spec.seconds, machine.sample_rate, machine.oversample, LANES, 1, channels, **machine.circuit
    )
    return sounds.reshape(len(plans), spec.takes, -1, channels)


def stored(spec: Spec, plan: Plan, sound: np.ndarray) -> Sound:
    """An item of its takes, float32 (takes, n, 2), or (takes, n, 1) where one channel is stored: rendered, or captured from a real board (without stems and latch)."""
    takes = mono(sound)
    kept = takes if spec.store.channels == 1 else sound
    peaks, powers = zip(*map(_measured, takes), strict=True)
    peak = max(peaks) if kept is takes else _measured(kept)[0]
    level = max(QUIETEST, 10 * math.log10(max(powers))) if max(powers) else QUIETEST
    made: dict[str, np.ndarray] = {}
    for name in spec.store.features:
        made[f"features/{name}"] = np.stack([FEATURES[name].of(take, spec.machine.sample_rate) for take in takes])
    if spec.store.audio:
        made["audio"] = scaled(kept, peak)
    stems_peak = 0.0
    if spec.store.stems:
        stems = np.stack([_stems(spec, item) for item in plan.items()])
        stems_peak = _measured(stems)[0]  # voices may be louder than their sum
        made["stems"] = scaled(stems, stems_peak)
    if spec.store.latch:
        made["latch"] = np.stack([_latch(spec, item) for item in plan.items()])
    data = {name: rows[0] if spec.takes == 1 else rows for name, rows in made.items()}
    return Sound(plan, peak, level, level < spec.gate.level, stems_peak, data)


def _measured(sound: np.ndarray) -> tuple[float, float]:
    """Largest magnitude and mean square of a sound (any shape)."""
    flat = np.ascontiguousarray(sound, np.float32).reshape(-1)
    whole = len(flat) // 16
    rows, rest = flat[: 16 * whole].view(_ROW), flat[16 * whole :].astype(float)
    peaks, sums = (np.zeros(-(-whole // _ROWS), _ROW) for _ in range(2))
    _measure(rows, peaks, sums)
    peak = max(float(part.max(initial=0.0)) for part in (peaks.view(np.float32), np.abs(rest)))
    return peak, float(sums.view(np.float32).sum(dtype=float) + np.square(rest).sum()) / max(len(flat), 1)


@kernel
def _measure(rows, peaks, sums):
    for first in range(0, len(rows), _ROWS):
        x = load(rows[first].x)
        peak, total = larger(x, -x), x * x
        for n in range(first + 1, min(first + _ROWS, len(rows))):
            x = load(rows[n].x)
            peak = larger(peak, larger(x, -x))
            total = fma(x, x, total)
        store(peaks[first // _ROWS].x, peak)
        store(sums[first // _ROWS].x, total)


def scaled(sound: np.ndarray, peak: float) -> np.ndarray:
    """int16 of a sound whose `peak` goes to full scale."""
    data = np.empty(sound.shape, np.int16)
    _scale(
        np.ascontiguousarray(sound, np.float32).reshape(-1), np.float32(FULL / peak if peak else 0.0), data.reshape(-1)
    )
    return data


@kernel
def _scale(sound, gain, data):
    for n in range(len(sound)):
        data[n] = np.int16(np.rint(sound[n] * gain))


def unscaled(data: np.ndarray, peak: float) -> np.ndarray:
    """float32 of what `scaled` gave."""
    return data * np.float32(peak / FULL)


def _stems(spec: Spec, item: Item) -> np.ndarray:
    """Every voice by itself, float32 (voices, n), mono; of two boards the lower one's first."""
    machine = item.machine(spec.machine.sample_rate, spec.machine.oversample, apart=True, **spec.machine.circuit)
    blocks = list(render_blocks(machine, item.played, spec.seconds))
    return mono(np.concatenate(blocks, axis=1))


def _latch(spec: Spec, item: Item) -> np.ndarray:
    """The latch at `LATCH_RATE`, uint16 (frames, columns), or (boards, frames, columns) with the lower board first."""
    machine = item.machine(spec.machine.sample_rate, spec.machine.oversample, **spec.machine.circuit)
    rows = traced(machine, item.played, spec.seconds)
    at = np.arange(round(spec.seconds * LATCH_RATE)) * (clock.CYCLES_PER_SECOND // LATCH_RATE)
    boards = []
    for board in range(spec.machine.boards):
        own = rows[rows["board"] == board]
        seen = own[np.searchsorted(own["at_cycles"], at, "right") - 1]
        columns = [seen[name].reshape(len(at), -1) for name in own.dtype.names if name not in _NOT_STORED]
        boards.append(np.concatenate(columns, axis=1).astype(np.uint16))
    return boards[0] if len(boards) == 1 else np.stack(boards)


@cache
def latch_columns() -> list[str]:
    """Names of the columns of `latch`, after the fields of `jxemu.trace`: ``vcf_cv[0]`` is of the first voice."""
    row = traced(Item(Tone(), ()).machine(48_000, 4), (), 0.0).dtype
    return [
        name + "".join(f"[{n}]" for n in place)
        for name in row.names
        if name not in _NOT_STORED
        for place in np.ndindex(row[name].shape)
    ]
