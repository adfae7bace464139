"""One benchmark for everything that guesses tones: parameters on a dataset's test split, and the sounds of the guesses.

Targets are tones of the test split, and of banks that nothing was learned from, played as the dataset plays its items.
Beside the models stand the mean tone, a random tone, the nearest of 40,000 known sounds, and the renderer's floor:
the same tone on another unit of the machine.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from jxemu.ml.data import Table, table
from jxemu.ml.flow import GUIDANCE
from jxemu.ml.metrics import (
    PLAYED,
    SOUND_METRICS,
    SWITCHES,
    Spectra,
    bootstrap,
    is_symmetric,
    mss_of,
    parameter_errors,
    swap_aware_mse,
    swapped,
)
from jxemu.ml.models import FLOWS, Guess, Model, check_fits, features_of, number
from jxemu.ml.retrieval import MOST, Index, pooled
from jxemu.patch.tone import Tone
from jxemu.render import dataset, sounds
from jxemu.render.features import FEATURES
from jxemu.render.items import Plan, values_of
from jxemu.render.offline import mono
from jxemu.render.spec import NAMES, TOPS, Given, Spec

if TYPE_CHECKING:
    from jxemu.ml.searches import Searches

SAMPLES = 64
"""Tones drawn from a flow for a sound; the best of them is the one that sounds nearest."""

CALIBRATED = 300
"""Sounds on which a flow's samples are compared with the truth."""

FLOOR_UNIT = 7
"""The other unit."""

MOVED = 32
"""By so many steps a fader is moved, a switch by one state, to see whether it can be heard in a tone."""

THESIS_TABLE = {
    "cnn1": (0.02856, 0.02933), "cnn2": (0.03055, 0.02874), "cnn3": (0.02701, 0.02811), "lstm1": (0.02721, 0.02618),
    "lstm2": (0.02671, 0.02643), "lstm3": (0.02866, 0.02671), "lcnn1": (0.04244, 0.04108), "lcnn2": (0.04153, 0.04109),
}  # fmt: skip
"""Validation MSE on the medium and the large dataset. Source: THESIS, table 6.7."""

THESIS_VARIANCE = 0.058
"""Of its parameters, by its recipe on real tones; so that 0.0261 is an R2 of 0.55. INFERRED."""

TEST = "test split"

Tick = Callable[[str, int, int], None]
"""Called with what is done now, how many are done and how many there are."""


@dataclass(frozen=True)
class Targets:
    """Sounds to find the tones of: their plans, sounds (items, takes, n) and their features by name."""

    plans: list[Plan]
    sounds: np.ndarray
    heard: dict[str, np.ndarray]
    keys: torch.Tensor

    @property
    def values(self) -> np.ndarray:
        """uint8 (items, 44)."""
        return np.concatenate([plan.values for plan in self.plans])


def targets_of(spec: Spec, plans: Sequence[Plan], rendered: Sequence[np.ndarray]) -> Targets:
    """Targets of plans and their sounds."""
    rate = spec.machine.sample_rate
    heard = {
        name: np.stack([[FEATURES[name].of(take, rate) for take in sound] for sound in rendered])
        for name in spec.store.features
    }
    keys = np.stack([plan.performance[:, 0, :2] for plan in plans]) / np.float32(127)
    return Targets(list(plans), np.stack(rendered), heard, torch.from_numpy(keys))


def plans_of_tones(spec: Spec, tones: Sequence[Tone], like: Sequence[Plan]) -> list[Plan]:
    """Tones played as the plans of `like` are, by turns; what the dataset does not vary is as it has it."""
    made = []
    for n, tone in enumerate(tones):
        values = np.array([list((tone.values() | spec.rest).values())], np.uint8)
        made.append(replace(like[n % len(like)], values=values, name=tone.name))
    return made


def rendered(spec: Spec, plans: Sequence[Plan], unit: int | None = None) -> np.ndarray:
    """Mono sounds (plans, takes, n), on another unit if one is given."""
    if unit is not None:
        plans = [replace(plan, unit=unit) for plan in plans]
    return np.concatenate([sounds.side_by_side(spec, plans[at : at + 16]) for at in range(0, len(plans), 16)])


# --- those who guess -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Guessers:
    """What is compared, by name: guesses for targets."""

    spec: Spec
    learned: Table
    models: Mapping[str, Model]
    seed: int

    @property
    def mean(self) -> np.ndarray:
        """The mean of the training tones."""
        return self.learned.p.numpy().mean(0)

    def baselines(self, heard: Mapping[str, np.ndarray], count: int) -> dict[str, Guess]:
        """The mean tone, random tones, and the nearest of known sounds."""
        own = self.learned.p.numpy()
        places = np.random.default_rng(self.seed).integers(len(own), size=count)
        found = {
            "mean tone": np.repeat(self.mean[None], count, 0),
            "random tone": own[places],
            f"nearest of {min(MOST, len(own)):,}": own[self._index().nearest(pooled(heard["mel"]))[:, 0]],
        }
        return {name: Guess(p, p) for name, p in found.items()}

    def _index(self) -> Index:
        return Index(pooled(self.learned.x[:MOST]))

    def guesses(self, heard: Mapping[str, np.ndarray], keys: torch.Tensor) -> dict[str, Guess]:
        """The baselines', and of every model that gives one guess."""
        return self.baselines(heard, len(keys)) | {
            name: model.guess(model.hears(heard), _takes(model, keys))
            for name, model in self.models.items()
            if model.card["network"] not in FLOWS
        }

    def samples(self, heard: Mapping[str, np.ndarray], keys: torch.Tensor, guidance: float) -> dict[str, np.ndarray]:
        """Of every flow, p (items, `SAMPLES`, names)."""
        return {
            name: model.sample(model.hears(heard), _takes(model, keys), SAMPLES, guidance, self.seed)
            for name, model in self.models.items()
            if model.card["network"] in FLOWS
        }


def _takes(model: Model, data: torch.Tensor) -> torch.Tensor:
    take = model.card["take"]
    return data if take is None else data[:, [take]]


# --- the benchmark -------------------------------------------------------------------------------


def bench(
    data: Path,
    models: Mapping[str, Model],
    banks: Mapping[str, Sequence[Tone]],
    count: int = 100,
    seed: int = 0,
    tick: Tick = lambda what, done, total: None,
    searches: "Searches | None" = None,
) -> dict[str, Any]:
    """All figures, as JSON has them.

    searches : that are made for the targets of the test split.
    Raises DatasetError, OSError, and ValueError for models of other sounds or parameters, and for banks that the dataset was made of.
    """
    whole = dataset.open(data)
    spec, captured = whole.spec, whole.folder.captured
    if "mel" not in spec.store.features:
        raise ValueError(f"{data}: the benchmark needs the feature 'mel'")
    if captured and not spec.store.audio:
        raise ValueError(f"{data} was captured without its sounds (store.audio), so none can be compared")
    if captured and searches:
        raise ValueError(f"{data} was captured from a real board; searches are made for what the emulator plays")
    if TEST in banks:
        raise ValueError(f"a bank cannot be called {TEST!r} here; name its file otherwise")
    learned, judged = table(data, "train", ["mel"]), table(data, "test", ["mel"])
    for name, model in models.items():
        check_fits(model, spec, name, str(data))
    known = {row.tobytes() for row in _played(spec, spec.tones.table)} if isinstance(spec.tones, Given) else set()
    for name, tones in banks.items():
        if any(row.tobytes() in known for row in _played(spec, [list(tone.values().values()) for tone in tones])):
            raise ValueError(
                f"bank {name} has tones that {data} was made of; choose banks that nothing was learned from"
            )
    guessers = Guessers(spec, learned, models, seed)
    wanted = {"mel"}.union(*(features_of(model.card["network"]) for model in models.values()))
    heard = {name: table(data, "test", [name]).x[:].numpy() for name in wanted}
    tick("parameters", 0, 1)
    rows = guessers.guesses(heard, judged.keys)
    few = min(len(judged), CALIBRATED)
    report: dict[str, Any] = {
        "data": {"name": data.name, "spec": spec.digest, "train": len(learned), "test": len(judged)},
        "variance": float(learned.p.numpy().var(0).mean()),
        "names": list(learned.names),
        "parameters": {name: _parameter_row(judged, guess) for name, guess in rows.items()},
        "models": {name: model.card for name, model in models.items()},
        "flows": {},
        "sounds": {},
    }
    part = {name: x[:few] for name, x in heard.items()}
    for name, p in guessers.samples(part, judged.keys[:few], 1.0).items():
        first = _some(judged, np.arange(few))
        report["parameters"][f"{name}, mean of {SAMPLES}"] = _parameter_row(first, Guess(p.mean(1), _mode(p)))
        report["flows"][name] = calibration(first, p, seed) | {"twins": twins(first, p)}
    tick("parameters", 1, 1)
    own = whole.split("test")
    places = np.flatnonzero(~own.column("silent"))[:count]
    if not len(places):
        raise ValueError(f"{data}: all tones of its test split are silent")
    plans = [own[n].plan for n in places]
    groups = {TEST: plans}
    groups |= {name: plans_of_tones(spec, tones[:count], plans) for name, tones in banks.items()}
    for name, chosen in groups.items():
        played = rendered(spec, chosen)
        board = captured and chosen is plans
        target = targets_of(spec, chosen, [_heard(spec, own[n].audio) for n in places] if board else played)
        told = {name: guess.decided for name, guess in guessers.guesses(target.heard, target.keys).items()}
        if chosen is plans:
            first = _some(judged, places)
            if searches:
                p = searches.found(spec, plans, learned.names, lambda done, total: tick("searching", done, total))
                told[searches.name] = p
                report["parameters"][searches.name] = _parameter_row(first, Guess(p, p))
            heard_in = audible(
                spec, replace(target, sounds=played), learned.names,
                lambda done, total: tick("what can be heard", done, total),
            )  # fmt: skip
            report["heard"] = _heard_rows(first, told, heard_in)
        report["sounds"][name] = _sound_rows(
            guessers, target, told, searches, lambda done, total, name=name: tick(name, done, total)
        )
    return report


def _heard(spec: Spec, audio: np.ndarray) -> np.ndarray:
    """An item's stored sound ([takes,] n[, 2]) as mono (takes, n)."""
    return (mono(audio) if spec.store.channels == 2 else audio).reshape(spec.takes, -1)


def _played(spec: Spec, values: Sequence[Sequence[int]]) -> np.ndarray:
    """Values uint8 (tones, 44) as the dataset plays tones: what it holds fixed is as it has it."""
    found = np.array(values, np.uint8)
    for name, value in spec.rest.items():
        found[:, NAMES.index(name)] = value
    return found


def _some(data: Table, places: np.ndarray) -> Table:
    """Some items."""
    chosen = torch.from_numpy(places)
    return replace(data, x=data.x[chosen], keys=data.keys[chosen], p=data.p[chosen], values=data.values[places])


def _mode(p: np.ndarray) -> np.ndarray:
    """The most frequent of samples p (items, samples, names), for each name by itself."""
    return stats.mode(p, axis=1).mode


def _parameter_row(data: Table, guess: Guess) -> dict[str, Any]:
    truth, p = data.p.numpy(), guess.mean
    each = np.square(p - truth).mean(1)
    row: dict[str, Any] = parameter_errors(truth, p, data.names, guess.decided)
    row["swap-aware MSE"] = swap_aware_mse(truth, p, data.names, is_symmetric(data.values, data.names))
    row["interval"] = bootstrap(each)
    row["by parameter"] = np.square(p - truth).mean(0).tolist()
    row["items"] = len(truth)
    return row


def audible(
    spec: Spec, target: Targets, names: Sequence[str], tick: Callable[[int, int], None] = lambda done, total: None
) -> np.ndarray:
    """Which parameters can be heard in which targets, bool (items, names): moved, they change it more than another unit does.

    A parameter is moved up and down (`MOVED`); the nearer of both sounds, by MSS, decides. What is none of the 44 is not heard.
    """
    found = np.zeros((len(target.plans), len(names)), bool)
    for n, plan in enumerate(target.plans):
        moved, of = [], []
        for column, name in enumerate(names):
            if name not in NAMES:
                continue
            place = NAMES.index(name)
            step = 1 if name in SWITCHES else MOVED
            for value in (int(plan.values[0, place]) - step, int(plan.values[0, place]) + step):
                if 0 <= value <= TOPS[place]:
                    values = plan.values.copy()
                    values[0, place] = value
                    moved.append(replace(plan, values=values))
                    of.append(column)
        floor, *apart = distances(
            spec, target.sounds[n], np.concatenate([rendered(spec, [plan], FLOOR_UNIT), rendered(spec, moved)])
        )
        nearest = np.full(len(names), np.inf)
        np.minimum.at(nearest, of, apart)
        found[n] = np.isfinite(nearest) & (nearest > floor)
        tick(n + 1, len(target.plans))
    return found


def _heard_rows(data: Table, guesses: Mapping[str, np.ndarray], there: np.ndarray) -> dict[str, Any]:
    """For each parameter the share of targets in which it can be heard, and the mean error of every guess over them.

    Beside them the mean of these errors over key follow and dynamics, as far as they are among the parameters and heard at all.
    """
    rows = {}
    for n, name in enumerate(data.names):
        on, truth = there[:, n], data.p[:, n].numpy()
        errors = {who: float(np.abs(p[on, n] - truth[on]).mean()) if on.any() else None for who, p in guesses.items()}
        rows[name] = {"heard": float(on.mean()), "MAE": errors}
    known = [rows[name]["MAE"] for name in PLAYED if name in rows and rows[name]["heard"]]
    played = {who: float(np.mean([errors[who] for errors in known])) for who in guesses} if known else None
    return {"targets": len(data), "parameters": rows, "key follow and dynamics": played}


def calibration(data: Table, p: np.ndarray, seed: int) -> dict[str, Any]:
    """Simulation-based calibration of samples p (items, samples, names): the truth's rank among them must be even.

    For each parameter the p-value of a Kolmogorov-Smirnov test, ranks (ties broken at random) by tenths, and the
    share of parameters whose p-value is above 0.01.
    """
    truth, rng = data.p.numpy(), np.random.default_rng(seed)
    tops = np.array([TOPS[NAMES.index(name)] if name in NAMES else 1000 for name in data.names])
    drawn, true = np.rint(p * tops), np.rint(truth * tops)[:, None]
    below, equal = (drawn < true).sum(1), (drawn == true).sum(1)
    places = (below + rng.random(below.shape) * (equal + 1)) / (p.shape[1] + 1)
    chances = [float(stats.kstest(column, "uniform").pvalue) for column in places.T]
    tenths = [np.histogram(column, 10, (0, 1))[0].tolist() for column in places.T]
    passed = float(np.mean(np.array(chances) > 0.01))
    return {
        "passed": passed,
        "p-values": dict(zip(data.names, chances, strict=True)),
        "ranks": tenths,
        "items": len(truth),
    }


def twins(data: Table, p: np.ndarray) -> dict[str, Any]:
    """Of tones whose DCOs may be exchanged, the share for which samples p (items, samples, names) hold both readings.

    A sample is of the reading that it is nearer to; tones whose DCOs are alike anyway do not count.
    """
    truth = data.p.numpy()
    other = swapped(truth, data.names)
    counted = np.flatnonzero(is_symmetric(data.values, data.names) & (np.abs(truth - other).max(1) > 0.1))
    nearer = [np.abs(p[n] - truth[n]).sum(1) < np.abs(p[n] - other[n]).sum(1) for n in counted]
    both = [bool(side.any() and not side.all()) for side in nearer]
    return {"tones": len(counted), "both": float(np.mean(both)) if both else None}


def _sound_rows(
    guessers: Guessers, target: Targets, told: Mapping[str, np.ndarray], searches: "Searches | None",
    tick: Callable[[int, int], None],
) -> dict[str, Any]:  # fmt: skip
    """How far the sounds of guesses are; a search's at the targets' energy, since it does not look for a level."""
    spec, names = guessers.spec, guessers.learned.names
    count = len(target.plans)
    drawn = guessers.samples(target.heard, target.keys, GUIDANCE)
    total = 1 + len(told) + len(drawn)
    tick(0, total)
    found = {"renderer's floor": _compared(spec, target, rendered(spec, target.plans, FLOOR_UNIT))}
    for name, p in told.items():
        made = rendered(spec, changed(target.plans, names, p))
        if searches and name == searches.name:
            wanted, own = (
                np.square(each, dtype=np.float64).sum((1, 2), keepdims=True) for each in (target.sounds, made)
            )
            made = (made * np.sqrt(wanted / np.maximum(own, 1e-12))).astype(np.float32)
            name = f"{name}, at the targets' level"
        found[name] = _compared(spec, target, made)
        tick(len(found), total)
    for name, p in drawn.items():
        best = np.stack([_nearest(spec, target, n, names, p[n]) for n in range(count)])
        found[f"{name}, best of {SAMPLES}"] = _compared(spec, target, best)
        tick(len(found), total)
    return found


def changed(plans: Sequence[Plan], names: Sequence[str], p: np.ndarray) -> list[Plan]:
    """The plans with guessed tones."""
    truth = np.concatenate([plan.values for plan in plans])
    values = values_of(p, names, truth)
    return [replace(plan, values=row[None]) for plan, row in zip(plans, values, strict=True)]


def distances(spec: Spec, target: np.ndarray, made: np.ndarray) -> np.ndarray:
    """MSS in dB of sounds (items, takes, n) against one (takes, n), the mean over takes."""
    rate = spec.machine.sample_rate
    aims = [Spectra(take, rate) for take in target]
    return np.array(
        [np.mean([mss_of(aim, Spectra(take, rate)) for aim, take in zip(aims, sound, strict=True)]) for sound in made]
    )


def _nearest(spec: Spec, target: Targets, n: int, names: Sequence[str], p: np.ndarray) -> np.ndarray:
    """The sound (takes, n) among tones p (tones, names) that is nearest to target n."""
    made = rendered(spec, changed([target.plans[n]] * len(p), names, p))
    return made[int(distances(spec, target.sounds[n], made).argmin())]


def _compared(spec: Spec, target: Targets, made: np.ndarray) -> dict[str, Any]:
    rate = spec.machine.sample_rate
    found = {}
    for name, metric in SOUND_METRICS.items():
        each = [
            float(np.mean([metric(a, b, rate) for a, b in zip(*pair, strict=True)]))
            for pair in zip(target.sounds, made, strict=True)
        ]
        found[name] = bootstrap(np.array(each)) | {"each": each}
    return found


# --- as a table and pictures ---------------------------------------------------------------------


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    data = report["data"]
    strange = [name for name, card in report["models"].items() if card["data"]["spec"] != data["spec"]]
    lines = [
        f"# Benchmark on {data['name']}",
        "",
        f"{data['train']:,} items to learn from, {data['test']:,} to be judged by; spec {data['spec'][:16]}. "
        f"The parameters' own variance, which the mean tone has for an MSE, is {report['variance']:.4f}. "
        "In brackets: 95 % intervals of the mean (bootstrap over items).",
        "",
        "## Parameters",
        "",
        *(f"{name} learned from another dataset, so targets may be among what it knows." for name in strange),
        *([""] if strange else []),
        "| | MSE | RMSE | MAE | R2 | switches right | swap-aware MSE | items |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["parameters"].items():
        low, high = row["interval"]["low"], row["interval"]["high"]
        lines.append(
            f"| {name} | {row['MSE']:.4f} ({low:.4f} to {high:.4f}) | {row['RMSE']:.3f} | {row['MAE']:.3f} | {row['R2']:.3f} "
            f"| {row['switches']:.3f} | {row['swap-aware MSE']:.4f} | {row['items']} |"
        )
    heard = report["heard"]
    shown = list(next(iter(heard["parameters"].values()))["MAE"])
    lines += [
        "", "![squared error by parameter](parameters.png)", "", "## What can be heard", "",
        f"Of the first {heard['targets']} targets, those in which a parameter can be heard: a switch in a state beside its own, a fader "
        f"{MOVED} of 127 away, changes the sound (MSS) by more than another unit of the machine does. Mean errors on 0..1 over them, of the tones that are told, with switches in one state:", "",
        f"| parameter | heard in | {' | '.join(shown)} |", f"|{'---|' * (len(shown) + 2)}",
    ]  # fmt: skip
    for name, row in heard["parameters"].items():
        each = " | ".join(number(error) for error in row["MAE"].values())
        lines.append(f"| {name} | {row['heard']:.0%} | {each} |")
    if played := heard["key follow and dynamics"]:
        lines.append(f"| key follow and dynamics, the mean | | {' | '.join(map(number, played.values()))} |")
    lines.append("")
    if ours := {n: m for n, m in report["models"].items() if m["network"] in THESIS_TABLE}:
        lines += [
            "## Beside the thesis (its table 6.7)",
            "",
            "| network | MSE here | R2 here | MSE there, medium and large | R2 there, about |",
            "|---|---|---|---|---|",
        ]
        for name, card in ours.items():
            row, (medium, large) = report["parameters"][name], THESIS_TABLE[card["network"]]
            there = 1 - min(medium, large) / THESIS_VARIANCE
            lines.append(f"| {name} | {row['MSE']:.4f} | {row['R2']:.3f} | {medium:.4f}, {large:.4f} | {there:.2f} |")
        lines.append("")
    if report["flows"]:
        lines += ["## Flows: are their samples what they say?", ""]
        for name, row in report["flows"].items():
            poor = [f"{n} ({p:.1g})" for n, p in row["p-values"].items() if p <= 0.01]
            lines.append(
                f"- {name}: {row['passed']:.0%} of the parameters pass simulation-based calibration (KS test, p above 0.01, "
                f"{row['items']} sounds){'; not ' + ', '.join(poor) if poor else ''}."
            )
            if row["twins"]["tones"]:
                lines.append(
                    f"- {name}: of {row['twins']['tones']} tones that are the same with DCO 1 and 2 exchanged, both readings are "
                    f"among {SAMPLES} samples for {row['twins']['both']:.0%}."
                )
        lines += ["", "![ranks of the truth among samples](ranks.png)", ""]
    for group, rows in report["sounds"].items():
        count = next(iter(rows.values()))["MSS"]["n"]
        lines += [
            f"## Sounds: {group} ({count} targets)", "",
            f"| | MSS dB (median) | {' | '.join(list(SOUND_METRICS)[1:])} |", f"|{'---|' * (len(SOUND_METRICS) + 1)}",
        ]  # fmt: skip
        for name, row in rows.items():
            first = f"{row['MSS']['mean']:.2f} ({row['MSS']['low']:.2f} to {row['MSS']['high']:.2f}; {row['MSS']['median']:.2f})"
            rest = [f"{row[metric]['mean']:.3f}" for metric in list(SOUND_METRICS)[1:]]
            lines.append(f"| {name} | {first} | {' | '.join(rest)} |")
        lines.append("")
    lines += ["![distances of the sounds](sounds.png)", ""]
    return "\n".join(lines)


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Two pictures: squared error by parameter, and MSS of all targets."""
    from matplotlib.figure import Figure

    names = report["names"]
    figure = Figure(figsize=(12, 0.4 * len(report["parameters"]) + 2.5), layout="constrained")
    axis = figure.subplots()
    rows = np.array([row["by parameter"] for row in report["parameters"].values()])
    shown = axis.imshow(rows, aspect="auto", cmap="magma", vmin=0, vmax=np.percentile(rows, 95))
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axis.set_yticks(range(len(rows)), list(report["parameters"]), fontsize=8)
    figure.colorbar(shown, label="squared error")
    figure.savefig(folder / "parameters.png", dpi=100)
    if report["flows"]:
        figure = Figure(figsize=(12, 0.25 * len(names) + 1.5), layout="constrained")
        for axis, (name, row) in zip(
            figure.subplots(1, len(report["flows"]), squeeze=False)[0], report["flows"].items(), strict=True
        ):
            shares = np.array(row["ranks"]) * 10 / row["items"]
            shown = axis.imshow(shares, aspect="auto", cmap="RdBu_r", vmin=0, vmax=2)
            axis.set_yticks(range(len(names)), names, fontsize=7)
            axis.set_xlabel("rank of the truth among samples, tenths")
            axis.set_title(name, parse_math=False)
        figure.colorbar(shown, label="share, 1 is even")
        figure.savefig(folder / "ranks.png", dpi=100)
    groups = report["sounds"]
    figure = Figure(figsize=(6 * len(groups), 0.35 * max(map(len, groups.values())) + 1.5), layout="constrained")
    for axis, (group, rows) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        axis.boxplot(
            [row["MSS"]["each"] for row in rows.values()],
            orientation="horizontal",
            tick_labels=list(rows),
            showfliers=False,
        )
        axis.invert_yaxis()
        axis.set_title(group, parse_math=False)
        axis.set_xlabel("MSS, dB")
    figure.savefig(folder / "sounds.png", dpi=100)


def write(report: Mapping[str, Any], folder: Path) -> None:
    """``bench.json``, ``bench.md`` and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "bench.md").write_text(markdown(report))
    draw(report, folder)
