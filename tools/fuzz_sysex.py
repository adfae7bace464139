"""Mutated sysex streams against the bank reader.

    python tools/fuzz_sysex.py                 # 100,000 streams, about four minutes
    python tools/fuzz_sysex.py --streams 1000 --seed 7 bank.syx ...

Each stream is whole messages of made-up banks (and of the files named) between pieces with flipped
bits, cut ends and splices. None may raise, none may take long, memory may not grow, and every
message that was left whole must be found.
"""

import random
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from jxemu.patch import handshake, sysex
from jxemu.patch.bank import Bank
from jxemu.patch.factory import factory_bank
from jxemu.patch.patch import Chain

LONGEST_SECONDS = 1.0
MEMORY_LIMIT = 50_000_000


def _messages(files: list[Path]) -> list[bytes]:
    """Whole messages of every kind."""
    bank = replace(factory_bank(), chains=[Chain(tone=n, aftertouch=n % 8) for n in range(32)])
    data = [file.read_bytes() for file in files]
    data += [stream for kind in ("jx8p", "mks70", "apr") for stream in bank.encode(kind)]
    data += [b"".join(handshake.dump(bank.encode("cartridge")[0])), handshake.message(handshake.ERR)]
    return [item.message for stream in data for item in sysex.messages(stream)[0]]


def _mutated(message: bytes, chance: random.Random) -> bytes:
    """A message with flipped bits, cut, spliced into itself, or random bytes instead."""
    out = bytearray(message)
    kind = chance.randrange(4)
    if kind == 0:
        for _ in range(chance.randrange(1, 8)):
            out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        out = out[chance.randrange(len(out)) : chance.randrange(len(out) + 1)]
    elif kind == 2:
        at = chance.randrange(len(out))
        out[at:at] = out[chance.randrange(len(out)) :]
    else:
        out = bytearray(chance.randbytes(chance.randrange(200)))
    return bytes(out)


def run(streams: int, seed: int = 0, files: list[Path] | None = None, show: bool = False) -> float:
    """Feed that many streams to the reader; returns the longest time one took, in seconds.

    Raises AssertionError, or whatever the reader let through, naming the stream.
    """
    whole = _messages(files or [])
    longest = 0.0
    tracemalloc.start()
    for number in track(range(streams), "streams", disable=not show):
        chance = random.Random(f"{seed} {number}")
        pieces = [(chance.choice(whole), chance.random() < 0.5) for _ in range(chance.randrange(1, 9))]
        stream = b"".join(message if kept else _mutated(message, chance) for message, kept in pieces)
        start = time.process_time()
        bank = Bank.decode(stream)
        longest = max(longest, time.process_time() - start)
        found = Counter(item.message for item in sysex.messages(stream)[0])
        left_whole = Counter(message for message, kept in pieces if kept)
        assert left_whole <= found, f"stream {number} of seed {seed}: a whole message is lost"
        assert len(bank.tones) + len(bank.patches) <= len(stream)
        assert longest < LONGEST_SECONDS, f"stream {number} of seed {seed} took {longest:.1f} s"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MEMORY_LIMIT, f"{most / 1e6:.0f} MB were held"
    return longest


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="Real banks to mutate too.")] = None,
    streams: int = 100_000,
    seed: int = 0,
) -> None:
    """Run, and say how it went."""
    start = time.perf_counter()
    longest = run(streams, seed, files, show=True)
    seconds = time.perf_counter() - start
    typer.echo(
        f"{streams} streams in {seconds:.0f} s, the longest took {longest * 1000:.1f} ms: nothing raised, nothing lost"
    )


if __name__ == "__main__":
    typer.run(main)
