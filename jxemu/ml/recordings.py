"""How near `match` comes to recordings: tones that another unit of the machine plays, with noise and at another rate, found again."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from jxemu.ml.kept import earlier, keep
from jxemu.ml.listening import Weights
from jxemu.ml.match import RATE, Candidate, MatchError, Search, Target, heard, prepare
from jxemu.ml.metrics import bootstrap, mss
from jxemu.patch.bank import Bank
from jxemu.patch.tone import Tone
from jxemu.render.offline import render

FIELDS = "recorded", "mss", "apart", "seconds"
JSON = "recordings.json"
UNIT, PLAYED_RATE = 7, 48_000
"""The other unit; Hz at which it plays."""

SAMPLES = 64
"""Tones of the flow, of which the nearest counts."""

GUESS, DRAWN, LISTENED, ALONE = (
    "the ear's own guess",
    f"best of {SAMPLES} of the flow",
    "search with weights",
    "search alone",
)


@dataclass(frozen=True)
class Found:
    """What a way came to: MSS in dB to the recording and to the tone itself, the distance that `match` prints, and seconds it took."""

    recorded: float
    mss: float
    apart: float
    seconds: float


@dataclass(frozen=True)
class Judged:
    """A recording: its tone, the key that was played and the one that was heard, whether the sysex of what was found sounds the same, all ways.

    noise : MSS in dB from the recording to what was played to it; no tone can be expected to come nearer.
    """

    tone: str
    note: int
    heard: int
    reloads: bool
    noise: float
    found: dict[str, Found]


@dataclass(frozen=True)
class Recorder:
    """What tones are recorded by.

    noise_db : its noise beside the peak of a recording.  rate : Hz.
    """

    noise_db: float = -50.0
    rate: int = PLAYED_RATE

    def recording(self, tone: Tone, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
        """What it has of a tone, float32 (n, 2), what was played to it at `PLAYED_RATE`, and the note: any key, velocity and length."""
        rng = np.random.default_rng(seed)
        note, velocity, hold = int(rng.integers(36, 78)), int(rng.integers(50, 121)), float(rng.uniform(0.4, 1.6))
        played = render(tone, [(note, velocity, 0.0, hold)], hold + 0.8, sample_rate=PLAYED_RATE, seed=UNIT)
        played = np.pad(played, ((int(rng.uniform(0.05, 0.4) * PLAYED_RATE), 0), (0, 0)))
        sound = played if self.rate == PLAYED_RATE else soxr.resample(played, PLAYED_RATE, self.rate)
        noise = rng.standard_normal(sound.shape) * np.abs(sound).max() * 10 ** (self.noise_db / 20)
        return (sound + noise).astype(np.float32), played, note


def judge(
    tone: Tone, learned: Weights | None, renders: int | None, recorder: Recorder = Recorder(), seed: int = 0
) -> Judged | None:
    """Find a tone by its recording, its pitch unknown; None for one that cannot be heard.

    learned : what listens; without, the search goes alone.  renders : tones that a search tries, as `Search` takes it.
    """
    sound, played, note = recorder.recording(tone, seed)
    try:
        target = prepare(sound, recorder.rate)
        truth = prepare(played, PLAYED_RATE, target.note)
    except MatchError:
        return None

    def came_to(candidate: Candidate, begun: float) -> Found:
        seconds = time.monotonic() - begun
        near = [
            mss(each.sound, heard([each], [candidate.tone], [candidate.holds])[0][0], RATE) for each in (target, truth)
        ]
        return Found(*near, candidate.apart, seconds)

    found, best = {}, None
    if learned:
        for name, count in ((GUESS, 1), (DRAWN, SAMPLES)):
            begun = time.monotonic()
            guess, *drawn = learned.tones(target.sound, target.note, count, 0, seed)
            tones, holds = zip(*([guess] if name == GUESS else drawn), strict=True)
            made = Search([target]).evaluate(tones, [(hold,) for hold in holds])
            found[name] = came_to(min(made, key=lambda each: each.cost), begun)
    for name, weights in ((LISTENED, learned), (ALONE, None)):
        if weights or name == ALONE:
            begun = time.monotonic()
            nearest = Search([target], renders=renders, seed=seed, learned=weights, hidden=[tone]).run(1)[0]
            found[name] = came_to(nearest, begun)
            best = best or nearest
    both = min(len(target.sound), len(truth.sound))
    noise = mss(target.sound[:both], truth.sound[:both], RATE)
    return Judged(tone.name.strip(), note, target.note, _reloads(target, best), noise, found)


def judge_all(
    tones: Sequence[Tone], learned: Weights | None, renders: int | None, recorder: Recorder, seed: int, folder: Path,
    tick: Callable[[int], None] = lambda done: None,
) -> list[Judged]:  # fmt: skip
    """`judge` tones, keep each in a folder, and write the report of those that are done; the same call goes on where it was stopped.

    What cannot be heard is not among them. Raises OSError, and ValueError for a folder of other recordings.
    """
    asked = {
        "tones": [bytes(tone.values().values()).hex() for tone in tones], "weights": learned.of if learned else None,
        "renders": renders, **asdict(recorder), "seed": seed,
    }  # fmt: skip
    rows: list[dict[str, Any] | None] = earlier(folder / JSON, asked, "list of recordings")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for n in range(len(rows), len(tones)):
            tick(n)
            found = judge(tones[n], learned, renders, recorder, seed + n)
            rows.append(asdict(found) if found else None)
            keep(folder / JSON, asked, rows)
        tick(len(tones))
    finally:
        judged = _judged(rows)
        if judged:
            write(judged, recorder, folder)
    return judged


def _judged(rows: Sequence[dict[str, Any] | None]) -> list[Judged]:
    return [
        Judged(**{**row, "found": {name: Found(**found) for name, found in row["found"].items()}})
        for row in rows
        if row
    ]


def _reloads(target: Target, found: Candidate) -> bool:
    """Whether the sysex of a tone sounds the same to the last bit."""
    again = Bank.decode(Bank([found.tone]).encode("jx8p")[0]).tones[0]
    first, second = heard([target], [found.tone, again], 2 * [found.holds])[0]
    return bool(np.array_equal(first, second))


def table(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Of each way: medians of `Found` and the longest time, the mean MSS to the tone and its interval, and how far below the guess medians are."""
    rows = {}
    for name in judged[0].found:
        columns = {field: np.array([getattr(each.found[name], field) for each in judged]) for field in FIELDS}
        rows[name] = {field: float(np.median(column)) for field, column in columns.items()}
        rows[name] |= {"longest": float(columns["seconds"].max())} | bootstrap(columns["mss"])
        if GUESS in rows:
            rows[name]["below the guess"] = {
                field: 1 - rows[name][field] / rows[GUESS][field] for field in ("mss", "recorded", "apart")
            }
    return rows


def markdown(judged: Sequence[Judged], recorder: Recorder) -> str:
    """The report for people."""
    rows = table(judged)

    def cell(row: dict, field: str) -> str:
        share = f" ({row['below the guess'][field]:.0%})" if "below the guess" in row else ""
        return f"{row[field]:.2f}{share}"

    lines = [
        "# Tones found again by recordings of another unit", "",
        f"{len(judged)} recordings of unit {UNIT} at {recorder.rate} Hz with noise at {recorder.noise_db:g} dB, stereo, of unknown pitch; "
        f"the sysex of {sum(each.reloads for each in judged)} tones sounds the same when it is loaded. Medians, in dB"
        f"{', and how far they are below those of the guess' if GUESS in rows else ''}. "
        f"From a recording to what was played to it it is {np.median([each.noise for each in judged]):.2f} dB.", "",
        "| | MSS to the tone itself | mean and its 95 % interval | MSS to the recording, noise and all | as match prints it | seconds, the longest |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {cell(row, 'mss')} | {row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f}) | {cell(row, 'recorded')} | "
            f"{cell(row, 'apart')} | {row['seconds']:.1f}, {row['longest']:.1f} |"
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
    axis.set(ylabel="MSS to the tone itself, dB", xticks=range(len(order)))
    axis.set_xticklabels([each.tone for each in order], rotation=90, fontsize=7, parse_math=False)
    axis.legend()
    figure.savefig(path, dpi=100)


def write(judged: Sequence[Judged], recorder: Recorder, folder: Path) -> None:
    """table.json, recordings.md and recordings.png. Raises OSError."""
    (folder / "table.json").write_text(json.dumps(table(judged), indent=1) + "\n")
    (folder / "recordings.md").write_text(markdown(judged, recorder))
    draw(judged, folder / "recordings.png")
