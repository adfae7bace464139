"""Speed in one table from one run: the sound board beside its peers, as ratios.

    python tools/bench.py            # all of it, about two minutes; peers need pip install 'jxemu[bench]'
    python tools/bench.py --no-peers # only this project

CPU time of this process, best of several repetitions; machines differ and are shared, so read the
ratios and not the absolute figures.
"""

import subprocess
import sys
import time
from collections.abc import Callable
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
    code = "import jxemu; m = jxemu.JX8P(); m.render(64)"
    times = []
    for _ in range(4):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def _peers(table: Table, board: float, notes: dict[int, float]) -> None:
    import peers

    # Both sides again, close together: on a shared machine the speed drifts within a minute.
    faust = peers.faust_board()
    board = min(board, board_cost(512))
    faust = min(faust, peers.faust_board())
    table.add_row("Faust in DawDreamer, same circuit at 2x", f"{1 / faust:.0f} x real time", "1")
    table.add_row("jxemu board, 4x", f"{1 / board:.0f} x real time", f"{faust / board:.2f}")
    torch = peers.torchsynth_notes()
    notes = {oversample: max(rate, notes_rate(16, oversample)) for oversample, rate in notes.items()}
    table.add_row("torchsynth Voice (no filter), best batch", f"{torch:.0f} voice-s / CPU-s", "1")
    for oversample, rate in notes.items():
        table.add_row(f"jxemu notes in lanes, {oversample}x", f"{rate:.0f} voice-s / CPU-s", f"{rate / torch:.2f}")


def main(with_peers: Annotated[bool, typer.Option("--peers/--no-peers")] = True) -> None:
    """Measure and print the table."""
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
    typer.run(main)
