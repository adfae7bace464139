"""Which auto-encoder suits some sounds: a search by a Gaussian process, or over a grid, that goes on where it was stopped."""

import contextlib
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import optuna
from torch import nn

from jxemu.ml.samplegen import (
    INNER_SCHEDULE,
    OUTER_SCHEDULE,
    OUTERS,
    Inner,
    Narrow,
    Outer,
    Sounds,
    SpaceError,
    capped,
    codes_of,
    stdev,
    train_inner,
    train_outer,
)
from jxemu.ml.train import Epoch, digest

TOP = 20
GRID = {
    "outer": {"size": [4, 8, 16], "hidden": [16, 32], "depth": [2, 3]},
    "inner": {"hidden": [64, 256], "depth": [2, 3, 4]},
}
"""Values of a grid search; what it does not name stays."""


@dataclass(frozen=True)
class Caps:
    """weights : most of a network.  seconds : of a trial.  epochs : of a trial."""

    weights: int = 500_000
    seconds: float = 300.0
    epochs: int = 80


def adjusted(curve: list[Epoch]) -> float:
    """The last test loss, less what the next epoch would take off at the rate of the last three: slow starters get their due."""
    losses = [epoch.figures["test"] for epoch in curve[-4:]]
    if len(losses) < 2:
        return losses[-1]
    rate = 1 - (losses[-1] / max(losses[0], 1e-12)) ** (1 / (len(losses) - 1))
    return losses[-1] * (1 - min(max(rate, 0.0), 0.5))


class _TimeOverError(Exception):
    """A trial has had its time, in the middle of an epoch."""


def tune(
    what: str, start: Outer | Inner, learned: Sounds, judged: Sounds, folder: Path, trials: int, caps: Caps = Caps(),
    grid: bool = False, seed: int = 1, encoder: nn.Module | None = None, told: Callable[[int, float], None] = lambda n, best: None,
) -> optuna.Study:  # fmt: skip
    """Try settings about `start` up to `trials` of them in all, with those of earlier calls on the same folder.

    what : outer or inner; an inner one needs the trained `encoder`.  Writes ``search.sqlite``, where searches of other kinds
    stay apart, ``best.csv``, the twenty best, and ``search.png``.
    Raises SpaceError, OSError.
    """
    if what == "inner" and encoder is None:
        raise SpaceError("an inner auto-encoder is searched for on a trained outer one")
    if what == "outer" and start.kind == "patch":
        raise SpaceError("tiles are solved for: there is nothing to search for")
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    codes = [codes_of(encoder, group.pictures) for group in (learned, judged)] if encoder is not None else []
    if codes:
        narrow = Narrow.of(codes[0])
        codes = [narrow.narrowed(each) for each in codes]
    kind = what if what == "inner" else f"outer {start.kind}"
    # losses on other sounds, or on other codes of them, are not comparable
    kind = f"{kind}, {digest(*(codes or (learned.pictures, judged.pictures)))[:8]}"
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'search.sqlite'}",
        study_name=f"{kind}, grid" if grid else kind,
        load_if_exists=True,
    )
    done = len([t for t in study.trials if t.state.is_finished()])
    # a sampler that began with the same seed again would try the same again; a grid knows what it has tried
    study.sampler = (
        optuna.samplers.GridSampler(GRID[what], seed=seed) if grid else optuna.samplers.GPSampler(seed=seed + done)
    )

    def objective(trial: optuna.Trial) -> float:
        best = study.user_attrs.get("best curve", [])
        chosen, rate, batch = _chosen(trial, what, start, grid)
        size = (
            chosen.weights(codes[0].shape[1])
            if what == "inner"
            else OUTERS[chosen.kind].weights(chosen, learned.picture.shape)
        )
        trial.set_user_attr("weights", size)
        if size > caps.weights:
            raise optuna.TrialPruned
        ends, begun, curve = capped(caps.seconds, best), time.monotonic(), []

        def kept(sofar: list[Epoch]) -> bool:
            curve[:] = sofar
            return ends(sofar)

        def timed(done: int, steps: int, loss: float) -> None:
            if time.monotonic() - begun > caps.seconds:
                raise _TimeOverError

        first = replace(
            OUTER_SCHEDULE if what == "outer" else INNER_SCHEDULE, epochs=caps.epochs, rate=rate, batch=batch
        )
        with TemporaryDirectory() as part, contextlib.suppress(_TimeOverError):
            if what == "outer":
                _, curve[:] = train_outer(chosen, learned, judged, Path(part), first, shown=timed, ends=kept)
            else:
                _, curve[:] = train_inner(
                    chosen, codes[0], learned.told, codes[1], judged.told, Path(part), first, shown=timed, ends=kept
                )
        if not curve:  # not one epoch in its time
            raise optuna.TrialPruned
        found = adjusted(curve)
        trial.set_user_attr("epochs", len(curve))
        trial.set_user_attr("stdev %", stdev(curve[-1].figures["test"]))
        if found <= min((t.value for t in study.trials if t.value is not None), default=np.inf):
            study.set_user_attr("best curve", [epoch.figures["test"] for epoch in curve])
        return found

    def after(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        _write(study, folder / "best.csv")
        _draw(study, folder / "search.png")
        done = [t.value for t in study.trials if t.value is not None]
        told(len(study.trials), min(done, default=float("nan")))

    if trials > done:
        study.optimize(objective, n_trials=trials - done, callbacks=[after], catch=(FloatingPointError,))
    return study


def _chosen(trial: optuna.Trial, what: str, start: Outer | Inner, grid: bool) -> tuple[Outer | Inner, float, int]:
    if grid:
        values = {name: trial.suggest_categorical(name, options) for name, options in GRID[what].items()}
        return replace(start, **values), 2e-3 if what == "outer" else 1e-3, 16 if what == "outer" else 64
    values = {
        "hidden": trial.suggest_int("hidden", 4, 512, log=True),
        "depth": trial.suggest_int("depth", 1, 5),
    }
    if what == "inner" or start.kind in ("flat", "step"):
        values["ratio"] = trial.suggest_float("ratio", 0.2, 1.0)
    if what == "outer":
        values["size"] = trial.suggest_int("size", 1, 64, log=True)
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    return replace(start, **values), rate, trial.suggest_int("batch", 4, 64, log=True)


def _draw(study: optuna.Study, path: Path) -> None:
    """How the search went: losses by trial and the best so far, and what each setting did."""
    from matplotlib.figure import Figure

    good = [trial for trial in study.trials if trial.value is not None]
    if not good:
        return
    names = sorted({name for trial in good for name in trial.params})
    figure = Figure(figsize=(3.2 * (1 + len(names)), 3.2), layout="constrained")
    course, *axes = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    losses = [trial.value for trial in good]
    course.semilogy([trial.number for trial in good], losses, ".", color="#1f5f8b")
    course.semilogy([trial.number for trial in good], np.minimum.accumulate(losses), color="#c2571a")
    course.set(xlabel="trial", ylabel="loss, adjusted", title="all, and the best so far")
    for axis, name in zip(axes, names, strict=True):
        axis.semilogy(
            [t.params[name] for t in good if name in t.params],
            [t.value for t in good if name in t.params],
            ".",
            color="#1f5f8b",
        )
        axis.set(xlabel=name)
    figure.savefig(path, dpi=100)


def _write(study: optuna.Study, path: Path) -> None:
    """The best trials so far, one a line."""
    best = sorted((t for t in study.trials if t.value is not None), key=lambda t: t.value)[:TOP]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["trial", "loss, adjusted", "stdev %", "weights", "epochs", "settings"])
        for trial in best:
            kept = [trial.user_attrs.get(name) for name in ("stdev %", "weights", "epochs")]
            rows.writerow([trial.number, trial.value, *kept, " ".join(f"{k}={v:g}" for k, v in trial.params.items())])
