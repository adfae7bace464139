"""How near `match` comes to recordings: tones that another unit of the machine plays, with noise and at another rate, found again."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from jxemu.ml.match import RATE, Candidate, MatchError, Search, Target, heard, prepare
from jxemu.ml.metrics import bootstrap, mss
from jxemu.ml.weights import Weights
from jxemu.patch.bank import Bank
from jxemu.patch.tone import Tone
from jxemu.render.offline import render

UNIT, RECORDED_RATE, NOISE_DB = 7, 48_000, -50.0
"""The other unit; Hz of the recording; its noise beside the peak."""

SAMPLES = 64
"""Tones of the flow, of which the nearest counts."""

GUESS, DRAWN, LISTENED, ALONE = (
    "the ear's own guess",
    f"best of {SAMPLES} of the flow",
    "search with weights",
    "search alone",
)

Tick = Callable[[int], None]


@dataclass(frozen=True)
class Found:
    """What a way came to for a recording: MSS in dB, the distance that `match` prints, and seconds it took."""

    mss: float
    apart: float
    seconds: float


@dataclass(frozen=True)
class Judged:
    """A recording: its tone, the key that was played and the one that was heard, whether the sysex of what was found sounds the same, all ways."""

    tone: str
    note: int
    heard: int
    reloads: bool
    found: dict[str, Found]


def recording(tone: Tone, seed: int) -> tuple[np.ndarray, int]:
    """What a recorder has of a tone, float32 (n, 2) at `RECORDED_RATE`, and the note: any key, velocity and length."""
    rng = np.random.default_rng(seed)
    note, velocity, hold = int(rng.integers(36, 78)), int(rng.integers(50, 121)), float(rng.uniform(0.4, 1.6))
    sound = render(tone, [(note, velocity, 0.0, hold)], hold + 0.8, sample_rate=RECORDED_RATE, seed=UNIT)
    sound = np.pad(sound, ((int(rng.uniform(0.05, 0.4) * RECORDED_RATE), 0), (0, 0)))
    noise = rng.standard_normal(sound.shape) * np.abs(sound).max() * 10 ** (NOISE_DB / 20)
    return (sound + noise).astype(np.float32), note


def judge(
    tones: Sequence[Tone],
    learned: Weights | None,
    renders: tuple[int, int],
    seed: int = 0,
    tick: Tick = lambda done: None,
) -> list[Judged]:
    """Find every tone by its recording, its pitch unknown.

    learned : what listens; without, the search goes alone.  renders : tones that a search with and without it tries.
    Tones that cannot be heard are left out.
    """
    judged = []
    for n, tone in enumerate(tones):
        sound, note = recording(tone, seed + n)
        try:
            target = prepare(sound, RECORDED_RATE)
        except MatchError:
            tick(n + 1)
            continue
        found, best = {}, None
        if learned:
            begun = time.monotonic()
            told = learned.tones(target.sound, target.note, SAMPLES, 0, seed)
            tried = Search(target).evaluate(*zip(*told, strict=True))
            listening = time.monotonic() - begun
            found[GUESS] = _found(target, tried[0], listening)
            found[DRAWN] = _found(target, min(tried[1:], key=lambda each: each.cost), listening)
        for name, weights, count in ((LISTENED, learned, renders[0]), (ALONE, None, renders[1])):
            if weights or name == ALONE:
                begun = time.monotonic()
                nearest = Search(target, renders=count, seed=seed, learned=weights).run(1)[0]
                found[name] = _found(target, nearest, time.monotonic() - begun)
                best = best or nearest
        judged.append(Judged(tone.name.strip(), note, target.note, _reloads(target, best), found))
        tick(n + 1)
    return judged


def _found(target: Target, candidate: Candidate, seconds: float) -> Found:
    (made,) = heard(target, [candidate.tone], [candidate.hold])
    return Found(mss(target.sound, made, RATE), candidate.apart, seconds)


def _reloads(target: Target, found: Candidate) -> bool:
    """Whether the sysex of a tone sounds the same to the last bit."""
    again = Bank.decode(Bank([found.tone]).encode("jx8p")[0]).tones[0]
    first, second = heard(target, [found.tone, again], 2 * [found.hold])
    return bool(np.array_equal(first, second))


def table(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Of each way: the median MSS and its interval's ends for the mean, the printed distance, how far below the guess, and seconds."""
    rows = {}
    for name in judged[0].found:
        scores = np.array([each.found[name].mss for each in judged])
        median = float(np.median(scores))
        guessed = np.median([each.found[GUESS].mss for each in judged]) if GUESS in judged[0].found else np.nan
        rows[name] = bootstrap(scores) | {
            "median": median,
            "apart": float(np.median([each.found[name].apart for each in judged])),
            "below the guess": 1 - median / guessed,
            "seconds": float(np.median([each.found[name].seconds for each in judged])),
            "longest": max(each.found[name].seconds for each in judged),
        }
    return rows


def markdown(judged: Sequence[Judged]) -> str:
    """The report for people."""
    rows = table(judged)
    lines = [
        "# Tones found again by recordings of another unit", "",
        f"{len(judged)} recordings of unit {UNIT} at {RECORDED_RATE} Hz with noise at {NOISE_DB:g} dB, stereo, of unknown pitch; "
        f"the sysex of {sum(each.reloads for each in judged)} tones sounds the same when it is loaded.", "",
        "| | median MSS, dB | mean and its 95 % interval | as match prints it | below the guess | seconds, median and longest |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['median']:.2f} | {row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f}) | {row['apart']:.2f} | "
            f"{'' if np.isnan(row['below the guess']) else format(row['below the guess'], '.0%')} | {row['seconds']:.1f}, {row['longest']:.1f} |"
            for name, row in rows.items()
        ),
        "", "![each recording](recordings.png)", "",
    ]  # fmt: skip
    return "\n".join(lines)


def draw(judged: Sequence[Judged], path: Path) -> None:
    """MSS of each recording by way, by what the last way reached."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6, 0.3 * len(judged)), 5), layout="constrained")
    axis = figure.subplots()
    order = sorted(judged, key=lambda each: list(each.found.values())[-1].mss)
    for name, marker in zip(judged[0].found, "x.os", strict=False):
        axis.plot([each.found[name].mss for each in order], marker, label=name)
    axis.set(ylabel="MSS, dB", xticks=range(len(order)))
    axis.set_xticklabels([each.tone for each in order], rotation=90, fontsize=7, parse_math=False)
    axis.legend()
    figure.savefig(path, dpi=100)


def write(judged: Sequence[Judged], folder: Path) -> None:
    """recordings.json, recordings.md and recordings.png. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    report = {"table": table(judged), "recordings": [asdict(each) for each in judged]}
    (folder / "recordings.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "recordings.md").write_text(markdown(judged))
    draw(judged, folder / "recordings.png")
