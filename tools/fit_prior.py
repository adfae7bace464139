"""Fit what datasets and new tones are drawn from: ``python tools/fit_prior.py real_tones.csv [-o jxemu/patch/prior.toml] [--figures jxemu/render/real_tones.toml] [--cross-validate]``.

The table has a row a tone, a column a parameter and a column `bank`. Only fitted figures are written,
never a row. `--cross-validate` leaves out groups of whole banks in turn and prints how well the others
foresee them, beside simpler models. Model: `jxemu.patch.explore`.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize
from scipy.special import ndtr

from jxemu.patch.explore import BASE_UNIT, TILT_UNIT, Prior, statistics
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone

CHAIN = sorted(PARAMETERS, key=lambda name: not PARAMETERS[name].labels)
"""Switches first: they say what the faders are for."""

TOPS = np.array([row.top for row in PARAMETERS.values()])
SPIKES = (0, 64, 127)
BANDWIDTH = 2.5
"""Of the kernel that smooths a histogram between its spikes, in steps of a fader."""
PSEUDO_TONES = {True: 4, False: 30}
"""Evenly spread tones added to the histogram of a switch (True) or a value."""
PENALTY = 10
"""Half of this times the squared tilts is taken from the log-likelihood."""
LEAN_PENALTY = 0.5
"""The same for the lean of the base, which keeps the marginals where they are."""
PARENTS = 20
"""The strongest so many earlier parameters are kept for each."""


def read_tones(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values [shape=(tones, 44)] and banks [shape=(tones,)] of a table. Raises OSError, KeyError."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[int(row[name]) for name in PARAMETERS] for row in rows]), np.array([row["bank"] for row in rows])


def histogram(name: str, values: np.ndarray) -> np.ndarray:
    """Smoothed chances [shape=(top + 1,)]: spikes stay sharp, what is between them spreads over its neighbours."""
    row = PARAMETERS[name]
    counts = np.bincount(values, minlength=row.top + 1).astype(float)
    if not row.labels:
        steps = np.arange(row.top + 1)
        kernel = np.exp(-0.5 * ((steps[:, None] - steps) / BANDWIDTH) ** 2)
        kernel[:, SPIKES] = 0
        kernel /= kernel.sum(1, keepdims=True)
        kernel[SPIKES, :] = np.eye(row.top + 1)[list(SPIKES)]
        counts = counts @ kernel
    counts += PSEUDO_TONES[bool(row.labels)] / len(counts)
    return counts / counts.sum()


def fit(tones: np.ndarray, parents: int = PARENTS) -> dict[str, dict]:
    """The table of a `Prior` fitted to tones [shape=(tones, 44)]; no parents gives independent histograms."""
    columns = dict(zip(PARAMETERS, tones.T, strict=True))
    table, seen = {}, {}
    for name in CHAIN:
        base, t, values = histogram(name, columns[name]), statistics(name), columns[name]
        weights, chosen = [], list(seen) if parents else []
        if len(chosen) > parents:
            weights, _ = _tilt([seen[key] for key in chosen], t, base, values)
            chosen = _strongest(parents, chosen, seen, weights, np.cov(t.T, aweights=base))
        if chosen:
            weights, lean = _tilt([seen[key] for key in chosen], t, base, values)
            base = base * np.exp(t @ lean)
        base = np.maximum(np.round(base / base.sum() / BASE_UNIT), 1).astype(int)
        tilt = [np.round(w / TILT_UNIT).astype(int).tolist() for w in weights]
        table[name] = {"base": base.tolist(), "tilt": dict(zip(chosen, tilt, strict=True))}
        seen[name] = t[values] - base @ t / base.sum()
    return table


def _tilt(features, t, base, values):
    """Penalised maximum likelihood: a matrix of tilts for each parent, and the lean of the base."""
    x, target = np.concatenate([*features, np.ones((len(values), 1))], 1), t[values]
    shape = x.shape[1], t.shape[1]
    penalty = np.where(np.arange(shape[0]) < shape[0] - 1, PENALTY, LEAN_PENALTY)[:, None]

    def loss(flat):
        w = flat.reshape(shape)
        score = np.log(base) + x @ w @ t.T
        chances = np.exp(score - score.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        log_likelihood = np.log(chances[np.arange(len(values)), values]).sum()
        slope = x.T @ (target - chances @ t)
        return (penalty * w**2).sum() / 2 - log_likelihood, (penalty * w - slope).ravel()

    fitted = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    *weights, lean = np.split(fitted.x.reshape(shape), np.cumsum([f.shape[1] for f in features]))
    return weights, lean[0]


def _strongest(count, names, seen, weights, covariance):
    """Those that tilt most, in the order of the chain: by the mean variance of the log chances they cause."""
    pushes = [seen[name] @ w for name, w in zip(names, weights, strict=True)]
    strength = [np.sum(push @ covariance * push) for push in pushes]
    return [names[k] for k in sorted(np.argsort(strength)[-count:])]


def uniform(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Nats of each test tone [shape=(tones,)] if all legal tones are alike."""
    return np.full(len(test), -np.log(TOPS + 1).sum())


def clipped_normal(train: np.ndarray, test: np.ndarray, shrink: float = 0.3, even: float = 0.03) -> np.ndarray:
    """Nats of each test tone under a multivariate normal of values scaled to 0..1, rounded and clipped.

    Each parameter's cell is integrated given the earlier values; correlations are shrunk by
    `shrink`, and an `even` part of each chance is spread over all values: without both it is far worse.
    """
    x = train / TOPS
    covariance = np.cov(x.T) * (1 - shrink) + np.diag(x.var(0) * shrink + 1e-4)
    z = test / TOPS - x.mean(0)
    nats = np.zeros(len(test))
    for k, top in enumerate(TOPS):
        b = np.linalg.solve(covariance[:k, :k], covariance[:k, k])
        mean, deviation = z[:, :k] @ b, np.sqrt(covariance[k, k] - covariance[:k, k] @ b)
        low = np.where(test[:, k] == 0, -np.inf, (z[:, k] - 0.5 / top - mean) / deviation)
        high = np.where(test[:, k] == top, np.inf, (z[:, k] + 0.5 / top - mean) / deviation)
        right = low > 0  # mirrored into the left tail, where differences stay exact
        cell = np.where(right, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
        nats += np.log((1 - even) * cell + even / (top + 1))
    return nats


def marginals(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Nats of each test tone if every parameter follows its own smoothed histogram."""
    return _nats(Prior(fit(train, parents=0)), test)


def chain(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Nats of each test tone under the fitted prior, figures rounded as they are stored."""
    return _nats(Prior(fit(train)), test)


def _nats(prior, tones):
    return np.array([prior.log_probability(Tone("", **dict(zip(PARAMETERS, row, strict=True)))) for row in tones])


MODELS: dict[str, Callable] = {
    "uniform": uniform,
    "clipped normal": clipped_normal,
    "independent histograms": marginals,
    "tilted chain": chain,
}


def folds(banks: np.ndarray, count: int) -> np.ndarray:
    """Group 0..count-1 of each tone [shape=(tones,)]: whole banks, largest first, each into the smallest group."""
    names, sizes = np.unique(banks, return_counts=True)
    load, group = np.zeros(count, int), {}
    for k in np.argsort(-sizes, kind="stable"):
        group[names[k]] = int(load.argmin())
        load[load.argmin()] += sizes[k]
    return np.array([group[bank] for bank in banks])


def cross_validate(tones: np.ndarray, banks: np.ndarray, count: int = 6) -> dict[str, np.ndarray]:
    """Held-out nats of each tone [shape=(tones,)] by model."""
    count = min(count, len(set(banks)))
    fold = folds(banks, count)
    nats = {name: np.zeros(len(tones)) for name in MODELS}
    for k in range(count):
        for name, model in MODELS.items():
            nats[name][fold == k] = model(tones[fold != k], tones[fold == k])
    return nats


def to_toml(table: dict[str, dict], tones: int, banks: int) -> str:
    """The table as text: a section a parameter, a line its base and each parent."""
    lines = [
        f"# Fitted by tools/fit_prior.py to {tones} real tones of {banks} banks. A chain: parameters in their order,",
        "# base in units of 1e-5, tilt in units of 0.02, a row each statistic of the earlier parameter.",
    ]
    for name, row in table.items():
        lines += ["", f"[{name}]", f"base = {row['base']}".replace(", ", ",")]
        lines += [f"tilt.{parent} = {weights}".replace(", ", ",") for parent, weights in row["tilt"].items()]
    return "\n".join(lines) + "\n"


def figures_to_toml(tones: np.ndarray, banks: int) -> str:
    """Mean and covariance of the values on 0..1 (the thesis's normal, before it is clipped) and smoothed histograms, as text."""
    p = tones / TOPS
    covariance = np.cov(p.T)
    lines = [
        f"# Fitted by tools/fit_prior.py to {len(tones)} real tones of {banks} banks: values on 0..1.",
        "",
        "[mean]",
    ]
    lines += [f"{name} = {mean:.4f}" for name, mean in zip(PARAMETERS, p.mean(0), strict=True)]
    lines += ["", "[covariance]  # with those before it, and itself"]
    for n, name in enumerate(PARAMETERS):
        lines.append(f"{name} = [{','.join(f'{x:.5f}' for x in covariance[n, : n + 1])}]")
    lines += ["", "[histogram]  # chances of each value in units of 1e-4, smoothed"]
    for name, values in zip(PARAMETERS, tones.T, strict=True):
        lines.append(f"{name} = {np.round(histogram(name, values) * 1e4).astype(int).tolist()}".replace(", ", ","))
    return "\n".join(lines) + "\n"


def main(
    tones: Annotated[Path, typer.Argument(help="Table of real tones, CSV.", exists=True)],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write the prior.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Where to write what datasets compare with.")] = None,
    cross_validation: Annotated[bool, typer.Option("--cross-validate", help="Print held-out nats.")] = False,
) -> None:
    """Fit the prior of real tones to a table of them."""
    values, banks = read_tones(tones)
    console = Console()
    if cross_validation:
        table = Table(
            "model", "nats per tone", "standard error", "nats per parameter", "tones where it beats histograms"
        )
        nats = cross_validate(values, banks)
        for name, each in nats.items():
            better = f"{np.mean(each > nats['independent histograms']):.0%}"
            error = f"{each.std() / len(each) ** 0.5:.2f}"
            table.add_row(name, f"{each.mean():.2f}", error, f"{each.mean() / len(PARAMETERS):.3f}", better)
        console.print(table)
    if figures:
        figures.write_text(figures_to_toml(values, len(set(banks))))
        console.print(f"{figures}: statistics of {len(values)} tones", highlight=False)
    if output:
        output.write_text(to_toml(fit(values), len(values), len(set(banks))))
        console.print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, {len(values)} tones", highlight=False)


if __name__ == "__main__":
    typer.run(main)
