"""Speed in one table from one run: the sound board beside its peers, as ratios.

    python tools/bench.py            # machines, about three minutes; peers need pip install 'jxemu[bench]'
    python tools/bench.py --no-peers # only this project
    python tools/bench.py dataset    # datasets end to end, about five minutes; needs pip install 'jxemu[dataset]'
    python tools/bench.py match      # a tone that jxemu match tries, half a minute; needs pip install 'jxemu[match]'

CPU time of this process, best of several repetitions; machines differ and are shared, so read the
ratios and not the absolute figures.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import jxemu
from jxemu.machine import Machine
from jxemu.patch.factory import factory_bank

CHORD = (48, 55, 60, 64, 67, 72)
TONE = jxemu.Tone(
    "BENCH", dco2_wave="saw", mix_dco2=100, dco2_fine=74, vcf_freq=80, vcf_env=30, vcf_lfo=10, dco1_lfo=4,
    env2_s=110, chorus=1,
)  # fmt: skip
NOTE_SECONDS = 4.0
ROUNDS = 4
"""Turns of the peers and this project, of which each side's best counts."""


def best(work: Callable[[], None], repetitions: int = 12) -> float:
    """Least CPU seconds of some repetitions, after one that is not counted."""
    work()
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def board_playing(kind: str = "jx8p", oversample: int = 4) -> Machine:
    """A machine with a chord held on all voices."""
    machine = Machine(kind, oversample=oversample, pace="instant")
    machine.load_tone(TONE)
    for octave in range(len(machine.engine.boards)):
        for note in CHORD:
            machine.play(jxemu.Event(0.0, "note_on", (note + octave, 100)))
    machine.render(9600)
    return machine


def board_cost(block: int, kind: str = "jx8p", oversample: int = 4) -> float:
    """CPU seconds a second of sound in blocks of `block` frames."""
    machine = board_playing(kind, oversample)
    blocks = 24_000 // block

    def work() -> None:
        for _ in range(blocks):
            machine.render(block)

    return best(work) / (blocks * block / machine.sample_rate)


def silence_cost() -> float:
    """CPU seconds a second of sound, a minute after the last release."""
    machine = board_playing()
    machine.play(jxemu.Event(0.0, "all_notes_off"))
    machine.render(60 * machine.sample_rate)
    return best(lambda: machine.render(24_000)) / (24_000 / machine.sample_rate)


def notes_rate(lanes: int, oversample: int = 4) -> float:
    """Voice-seconds a CPU second of single notes of random tones in lanes, 44.1 kHz, one thread."""
    random = np.random.default_rng(1)
    items = [
        jxemu.Item(TONE.replace(vcf_freq=int(random.integers(30, 120)), chorus=int(random.integers(0, 3))),
                   [(int(random.integers(36, 84)), 100, 0.0, 3.0)])
        for _ in range(2 * lanes)
    ]  # fmt: skip
    used = best(lambda: jxemu.render_batch(items, NOTE_SECONDS, 44_100, oversample, lanes, workers=1), 8)
    return len(items) * NOTE_SECONDS / used


def bank_seconds() -> float:
    """CPU seconds to load a bank of 64 patches and 50 tones."""
    dump = factory_bank().encode("mks70")[0]
    return best(lambda: jxemu.Bank.decode(dump))


def first_sample_seconds() -> float:
    """Seconds from the start of a process to its first sample, with a warm cache."""
    code = "import jxemu; m = jxemu.JX8P(); print(m.render(64)[0, 0], flush=True)"
    # What is installed has its bytecode, which an editable checkout may be told not to write.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for _ in range(8):
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=surroundings) as process:
            if not process.stdout.readline():
                raise RuntimeError("a process that imports jxemu ended without a sample")
            times.append(time.perf_counter() - start)
    return min(times)


def _peers(table: Table, board: float, notes: dict[int, float]) -> None:
    import peers

    # In turns, each side's best: on a shared machine the speed drifts within a minute.
    faust = math.inf
    for _ in range(ROUNDS):
        faust = min(faust, peers.faust_board(repetitions=3))
        board = min(board, board_cost(512))
    table.add_row("Faust in DawDreamer, same circuit at 2x", f"{1 / faust:.0f} x real time", "1")
    table.add_row("jxemu board, 4x", f"{1 / board:.0f} x real time", f"{faust / board:.2f}")
    torch = 0.0
    for _ in range(ROUNDS):
        torch = max(torch, peers.torchsynth_notes())
        notes = {oversample: max(rate, notes_rate(16, oversample)) for oversample, rate in notes.items()}
    table.add_row("torchsynth Voice (no filter), best batch", f"{torch:.0f} voice-s / CPU-s", "1")
    for oversample, rate in notes.items():
        table.add_row(f"jxemu notes in lanes, {oversample}x", f"{rate:.0f} voice-s / CPU-s", f"{rate / torch:.2f}")


def _dataset_spec(items: int, shard: int, oversample: int, store: dict):
    """Notes of 4 s at 44.1 kHz of random tones, as int16."""
    from jxemu.render.spec import checked

    rows = {
        "name": "bench", "items": items, "shard": shard, "seconds": NOTE_SECONDS, "tones": {"source": "prior"},
        "machine": {"oversample": oversample}, "store": store, "gate": {"level": -1000},
        "performance": {"notes": {"low": 36, "high": 84}},
    }  # fmt: skip
    return checked(rows, "bench")


def dataset_costs(oversample: int, features: tuple[str, ...] = (), items: int = 128) -> tuple[float, float]:
    """CPU seconds an item from the spec to its place in a shard, and the same without storage."""
    from jxemu.render import dataset, sounds
    from jxemu.render.items import Items

    spec = _dataset_spec(items, items, oversample, {"audio": True, "features": list(features)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        dataset.create(path, spec)
        whole = made = math.inf
        draws = [(n, 0) for n in range(items)]
        for _ in range(ROUNDS):  # in turns here, too: their difference is a small one
            whole = min(whole, best(lambda: dataset.write_shard(path, 0), 2))
            made = min(made, best(lambda: sounds.render(Items(spec), draws), 2))
    return whole / items, made / items


def dataset_scaling() -> float:
    """Items a second of two processes over those of one, in turns, each side's best."""
    one = two = 0.0
    for _ in range(ROUNDS):
        one, two = max(one, _rate(1)), max(two, _rate(2))
    return two / one


def _rate(workers: int, items: int = 1200) -> float:
    """Items a second of some processes, once all of them are at work."""
    from jxemu.render import engine

    seen: list[tuple[float, int]] = []
    spec = _dataset_spec(items, 100, 2, {"audio": True})
    with tempfile.TemporaryDirectory() as folder:
        engine.run(Path(folder) / "set", spec, workers, shown=lambda state: seen.append((time.monotonic(), state.now)))
    busy = [(at, done) for at, done in seen if 64 * workers < done < items - 100 * workers]
    return (busy[-1][1] - busy[0][1]) / (busy[-1][0] - busy[0][0])


def match_costs() -> dict[str, float]:
    """CPU seconds of a tone that is tried for a recording of 2 s, by what they are spent on."""
    from jxemu.ml import match, metrics
    from jxemu.patch.explore import random_tones

    sound = jxemu.render(TONE, [(57, 100, 0.0, 1.4)], 2.0, sample_rate=match.RATE)
    target = match.prepare(sound, match.RATE)
    tones, holds = list(random_tones(range(match.BATCH))), [(1.4,)] * match.BATCH
    (sounds,) = match.heard([target], tones, holds)
    works = {
        "comparing it": lambda sound: match.distance(target, sound),
        "  its log-mel spectra": lambda sound: metrics.Spectra(sound, match.RATE),
        "  its transport": lambda sound: metrics.cumulative(
            sound, match.RATE, match.TRANSPORT_HOP, target.partial_floors
        ),
        "  its course of level": lambda sound: metrics.envelope(sound, match.RATE),
    }
    costs = dict.fromkeys(("rendering it", *works), math.inf)
    for _ in range(ROUNDS):  # in turns, each side's best
        costs["rendering it"] = min(costs["rendering it"], best(lambda: match.heard([target], tones, holds), 3))
        for name, work in works.items():
            costs[name] = min(costs[name], best(lambda work=work: [work(sound) for sound in sounds], 3))
    return {name: cost / len(tones) for name, cost in costs.items()}


app = typer.Typer(add_completion=False)


@app.command("match")
def match_table() -> None:
    """What a tone that jxemu match tries costs: a sound of 2 s, 16 side by side."""
    table = Table("what", "ms of CPU time", "ratio", title="jxemu bench match")
    costs = match_costs()
    for name, cost in costs.items():
        table.add_row(name, f"{cost * 1000:.2f}", f"{cost / costs['rendering it']:.2f}")
    Console().print(table)


@app.command("dataset")
def dataset_table(with_peers: Annotated[bool, typer.Option("--peers/--no-peers")] = True) -> None:
    """Datasets end to end: notes of 4 s at 44.1 kHz, stored as int16."""
    table = Table("what", "items / CPU-s", "voice-s / CPU-s", "storage", title="jxemu bench dataset")
    rates = {}
    for oversample, features in ((2, ()), (4, ()), (2, ("thesis", "mel"))):
        whole, made = dataset_costs(oversample, features)
        rates[oversample, features] = NOTE_SECONDS / whole
        name = f"jxemu, {oversample}x{', as specs have it' if oversample == 2 else ''}, int16 in HDF5{' and both spectrograms' if features else ''}"
        table.add_row(name, f"{1 / whole:.0f}", f"{NOTE_SECONDS / whole:.0f}", f"{1 - made / whole:.0%} of the time")
    if with_peers:
        import peers

        torch = faust = 0.0
        for _ in range(ROUNDS):  # in turns, each side's best: on a shared machine the speed drifts
            torch, faust = max(torch, peers.torchsynth_notes()), max(faust, peers.faust_notes())
            for oversample in (2, 4):
                rates[oversample, ()] = max(rates[oversample, ()], NOTE_SECONDS / dataset_costs(oversample)[0])
        for name, peer in (
            ("torchsynth Voice (no filter), best batch", torch),
            ("Faust in DawDreamer, same voice at 2x", faust),
        ):
            ratios = " / ".join(f"{rates[oversample, ()] / peer:.2f}" for oversample in (2, 4))
            table.add_row(
                f"{name}, nothing stored", f"{peer / NOTE_SECONDS:.0f}", f"{peer:.0f}", f"jxemu 2x / 4x: {ratios} times"
            )
    table.add_row("two processes over one", f"{dataset_scaling():.2f} times", "", "")
    Console().print(table)


@app.callback(invoke_without_command=True)
def main(context: typer.Context, with_peers: Annotated[bool, typer.Option("--peers/--no-peers")] = True) -> None:
    """Measure and print the table."""
    if context.invoked_subcommand:
        return
    table = Table("what", "speed (CPU time, one core)", "ratio", title="jxemu bench")
    board = board_cost(512)
    table.add_row("board, 6 voices, chorus, 4x, blocks of 512", f"{1 / board:.0f} x real time", "1")
    for name, cost in (
        ("blocks of 128", board_cost(128)),
        ("blocks of 4096", board_cost(4096)),
        ("a minute after the last release", silence_cost()),
        ("2x", board_cost(512, oversample=2)),
        ("8x", board_cost(512, oversample=8)),
        ("SuperJX, 12 voices", board_cost(512, "superjx")),
    ):
        table.add_row(f"  {name}", f"{1 / cost:.0f} x real time", f"{board / cost:.2f}")
    rates = {lanes: notes_rate(lanes) for lanes in (8, 16, 32)}
    for lanes, rate in rates.items():
        table.add_row(f"single notes, {lanes} lanes, 4x", f"{rate:.0f} voice-s / CPU-s", f"{rate / rates[8]:.2f}")
    fast = notes_rate(16, oversample=2)
    table.add_row("single notes, 16 lanes, 2x", f"{fast:.0f} voice-s / CPU-s", f"{fast / rates[8]:.2f}")
    table.add_row("loading a bank of 64 patches", f"{bank_seconds() * 1000:.0f} ms", "")
    table.add_row("process start to first sample", f"{first_sample_seconds():.2f} s", "")
    if with_peers:
        _peers(table, board, {4: max(rates.values()), 2: fast})
    Console().print(table)


if __name__ == "__main__":
    app()
