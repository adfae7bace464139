"""The data card: what a dataset is, in words, figures and pictures."""

import io
from collections import Counter
from dataclasses import dataclass, field

import h5py
import numpy as np

from jxemu.render.dataset import CAPTURE, LAYOUT, Folder, write_whole
from jxemu.render.features import FEATURES
from jxemu.render.items import real_tones
from jxemu.render.spec import NAMES, SPLITS, TOPS, Given, MachineSpec, Spec

EXAMPLES, ABREAST = 12, 4
_INK, _REAL = "#1f5f8b", "#c2571a"


@dataclass
class _Figures:
    """What the card needs of all items, gathered shard by shard."""

    histograms: np.ndarray = field(default_factory=lambda: np.zeros((len(NAMES), 128), int))
    sum: np.ndarray = field(default_factory=lambda: np.zeros(len(NAMES)))
    products: np.ndarray = field(default_factory=lambda: np.zeros((len(NAMES), len(NAMES))))
    tones: int = 0
    levels: np.ndarray = field(default_factory=lambda: np.zeros(121, int))  # from -120 dBFS, a dB each
    attempts: Counter = field(default_factory=Counter)
    splits: Counter = field(default_factory=Counter)
    notes: np.ndarray = field(default_factory=lambda: np.zeros(128, int))
    silent: int = 0
    clipped: int = 0
    bytes: int = 0


def _gathered(folder: Folder, spec: Spec) -> _Figures:
    made = _Figures()
    for number in range(spec.shards):
        with h5py.File(folder.shard(number)) as file:
            values = file["values"][:].reshape(-1, len(NAMES))
            index = {name: file[f"index/{name}"][:] for name in ("level", "attempt", "split", "silent", "peak")}
            notes = file["performance"][:][..., 0].ravel()
        for row, column in zip(made.histograms, values.T, strict=True):
            row += np.bincount(column, minlength=128)
        p = values / TOPS
        made.sum += p.sum(0)
        made.products += np.einsum("ni,nj->ij", p, p)  # not BLAS: its last bits change with the machine's load
        made.tones += len(p)
        made.levels += np.bincount(np.clip(index["level"] + 120.5, 0, 120).astype(int), minlength=121)
        made.attempts.update(index["attempt"].tolist())
        made.splits.update(SPLITS[n] for n in index["split"].tolist())
        made.notes += np.bincount(notes[~np.isnan(notes)].astype(int), minlength=128)
        made.silent += int(index["silent"].sum())
        made.clipped += int((index["peak"] > 1).sum())
        made.bytes += folder.shard(number).stat().st_size
    return made


def write_card(folder: Folder, spec: Spec) -> None:
    """Write README.md and pictures/ of a dataset whose shards are all there. Raises OSError."""
    figures = _gathered(folder, spec)
    pictures = {
        "parameters": ("How often each value occurs; line: real tones", _parameters(spec, figures)),
        "correlations": ("Correlations of the varied parameters; right: real tones", _correlations(spec, figures)),
        "levels": ("Levels, notes, attempts", _levels(spec, figures)),
    }
    if spec.store.features:
        pictures["sounds"] = f"The first items: {FEATURES[_shown(spec)].text}", _sounds(folder, spec)
    (folder.path / "pictures").mkdir(exist_ok=True)
    for name, (_, figure) in pictures.items():
        data = io.BytesIO()
        figure.savefig(data, dpi=100)
        write_whole(folder.path / "pictures" / f"{name}.png", data.getvalue())
    shown = "\n\n".join(f"{text}:\n\n![{name}](pictures/{name}.png)" for name, (text, _) in pictures.items())
    write_whole(folder.path / "README.md", f"{_words(spec, figures, folder.captured)}\n{shown}\n".encode())


def _words(spec: Spec, figures: _Figures, captured: bool) -> str:
    machine, chosen = spec.machine, spec.performance
    tried = sum((attempt + 1) * count for attempt, count in figures.attempts.items())
    origin = spec.tones.source
    if isinstance(spec.tones, Given):
        origin += f" of {len(spec.tones.tones)} tones ({', '.join(spec.tones.files)})"
    p = figures.sum / figures.tones
    variance = np.diag(figures.products) / figures.tones - p**2
    mse = variance[[NAMES.index(name) for name in spec.varied]].mean() if spec.varied else 0.0
    splits = ", ".join(f"{name} {figures.splits[name]:,}" for name in SPLITS)
    stored = [*spec.store.features, *(name for name in ("audio", "stems", "latch") if getattr(spec.store, name))]
    rows = {
        "items": f"{spec.count:,} ({splits})",
        "machine": f"a real board, played as a {machine.kind}, {machine.sample_rate} Hz"
        if captured
        else f"{machine.kind}, unit {_unit(machine)}, {machine.sample_rate} Hz, {machine.oversample}x oversampled",
        "sound": f"{spec.seconds:g} s, {_channels(spec)}, {spec.takes} take{'s' if spec.takes > 1 else ''} an item"
        + ("" if spec.store.audio else ", rendered again when asked for"),
        "notes, velocities, hold": f"{chosen.choose}: {_plain(chosen.notes)}; {_plain(chosen.velocities)}; {_plain(chosen.hold)} s",
        "tones": f"{origin}; {len(spec.varied)} of 44 parameters vary",
        "stored": ", ".join(stored) or "parameters only",
        "rejected": f"{1 - spec.count / tried:.2%} of {tried:,} draws were below {spec.gate.level:g} dBFS and drawn again; "
        f"{figures.silent:,} items stayed silent",
        "above full scale": f"{figures.clipped:,} items (a peak above 1; int16 is scaled to the peak, so nothing is lost)",
        "error of the mean": f"{mse:.4f} (mean squared, per varied parameter on 0..1): what a prediction must beat",
        "size": f"{figures.bytes / 1e6:,.1f} MB in {spec.shards:,} shards",
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    again = (
        f"Every item was recorded from a board that played it; `{CAPTURE}` says from what, and what was wrong with which take. "
        "What was played follows from `spec.json`; `jxemu dataset check` compares the files with their hashes."
        if captured
        else "Item i is a pure function of `spec.json` and i; `jxemu dataset check` renders items again and compares the bytes."
    )
    return f"""# {spec.name}

{spec.description}

| | |
|---|---|
{table}

{again} Layout {LAYOUT}; read it with
`jxemu.render.dataset.open(path)`.
"""


def _unit(machine: MachineSpec) -> str:
    return f"measured ({machine.unit['name']})" if isinstance(machine.unit, dict) else str(machine.unit)


def _channels(spec: Spec) -> str:
    return "mono" if spec.store.channels == 1 else "stereo"


def _plain(value: object) -> str:
    if hasattr(value, "low"):
        return f"{value.low:g} to {value.high:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}"


def _figure(width: float, height: float):
    """To be laid out by hand: a layout that measures every label takes seconds."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _sheet(height: float, rows: int, columns: int):
    """A figure of one axis, a square for each of many small pictures, rows downwards: an axis each takes many seconds."""
    figure = _figure(13, height)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, columns), ylim=(rows, 0))
    axis.set_axis_off()
    return figure, axis


def _parameters(spec: Spec, figures: _Figures):
    names, columns = spec.varied or NAMES, 6
    rows = -(-len(names) // columns)
    figure, axis = _sheet(1.3 * rows, rows, columns)
    for n, name in enumerate(names):
        place = NAMES.index(name)
        top = TOPS[place]
        shares = figures.histograms[place, : top + 1] / figures.tones, real_tones().histograms[name]
        most = min(1.1 * max(*(np.sort(share)[-3 if top == 127 else -1] for share in shares), 1e-3), 1.0)
        left, floor = n % columns + 0.03, n // columns + 0.86
        made, real = (floor - 0.64 * np.minimum(share / most, 1.0) for share in shares)
        edges = left + 0.94 * np.arange(top + 2) / (top + 1)
        axis.stairs(made, edges, baseline=floor, fill=True, color=_INK)
        middles = (edges[1:] + edges[:-1]) / 2
        axis.plot(middles, real, color=_REAL, lw=1, marker="_" if top < 127 else None, ms=12)
        axis.text(left, floor - 0.69, name, fontsize=8)
        axis.text(left + 0.94, floor - 0.69, f"up to {most:.0%}", fontsize=6, ha="right")
        for value in range(top + 1) if top < 127 else (0, 32, 64, 96, 127):
            axis.text(middles[value], floor + 0.03, str(value), fontsize=6, ha="center", va="top")
    return figure


def _correlations(spec: Spec, figures: _Figures):
    names = spec.varied or NAMES
    places = [NAMES.index(name) for name in names]
    mean = figures.sum / figures.tones
    own = figures.products / figures.tones - np.outer(mean, mean)
    figure = _figure(13, 6.8)
    sides = figure.subplots(
        1, 2, sharey=True, gridspec_kw={"left": 0.06, "right": 0.98, "bottom": 0.14, "top": 0.95, "wspace": 0.05}
    )
    for axis, covariance, title in zip(sides, (own, real_tones().covariance), ("dataset", "real tones"), strict=True):
        part = covariance[np.ix_(places, places)]
        scale = np.sqrt(np.maximum(np.diag(part), 1e-12))
        shown = axis.imshow(part / np.outer(scale, scale), vmin=-0.6, vmax=0.6, cmap="RdBu_r")
        axis.set_title(title)
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        axis.set_yticks(range(len(names)), names, fontsize=6)
    figure.colorbar(shown, ax=figure.axes, shrink=0.7)
    return figure


def _levels(spec: Spec, figures: _Figures):
    figure = _figure(13, 3)
    left, middle, right = figure.subplots(1, 3, gridspec_kw={"left": 0.06, "right": 0.99, "bottom": 0.16, "top": 0.97})
    left.stairs(figures.levels, np.arange(-120, 2) - 0.5, fill=True, color=_INK)
    left.axvline(spec.gate.level, color=_REAL)
    left.set_xlabel("dBFS, RMS of the loudest take; line: the gate")
    left.set_ylabel("items")
    middle.stairs(figures.notes, np.arange(129) - 0.5, fill=True, color=_INK)
    middle.set_xlabel("MIDI note of the keys")
    most = max(figures.attempts)
    right.bar(range(1, most + 2), [figures.attempts[n] for n in range(most + 1)], color=_INK)
    right.set_xlabel("draws until it sounded")
    right.set_yscale("log")
    right.locator_params(axis="x", integer=True)
    return figure


def _shown(spec: Spec) -> str:
    """The feature that sounds are shown by."""
    return "mel" if "mel" in spec.store.features else spec.store.features[-1]


def _sounds(folder: Folder, spec: Spec):
    feature = _shown(spec)
    with h5py.File(folder.shard(0)) as file:
        rows = file[f"features/{feature}"][:EXAMPLES].astype(np.float32)
    rows = rows.reshape(len(rows), -1, *rows.shape[-2:])[:, 0]
    if not FEATURES[feature].decibels:
        rows = 20 * np.log10(np.maximum(rows, 1e-5))
    figure, axis = _sheet(5, EXAMPLES // ABREAST, ABREAST)
    for number, row in enumerate(rows):
        top, left = divmod(number, ABREAST)
        axis.imshow(
            row.T[::-1], aspect="auto", vmin=-90, vmax=0, cmap="magma", interpolation="nearest",
            extent=(left + 0.02, left + 0.98, top + 0.98, top + 0.14),
        )  # fmt: skip
        axis.text(left + 0.02, top + 0.11, f"item {number}, {spec.seconds:g} s", fontsize=8)
    return figure
