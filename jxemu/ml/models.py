"""Trained networks: what they are made from, how they are used, and what one is on disk.

A model is a folder: ``weights.safetensors``, ``card.json`` (all that is needed to use it and to train it again),
``README.md`` and ``curve.png`` for people.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from jxemu.ml.data import HOLD, Table, table
from jxemu.ml.flow import TokenVelocity, Velocity
from jxemu.ml.metrics import is_symmetric, parameter_errors, swap_aware_mse, swapped
from jxemu.ml.networks import THESIS_NETWORKS, Ear, Thesis
from jxemu.ml.space import Space, heard_in, ordered, weights_of
from jxemu.ml.train import DEVICE, Schedule, Shown, fit, half, write_model
from jxemu.render import dataset
from jxemu.render.features import (
    FEATURES,
    FINE_BANDS,
    FINE_LOWEST,
    FINE_PER_OCTAVE,
    MEL_LOWEST,
    MEL_WINDOW,
    MELS,
    fine_bands,
    mel_bands,
    stacked,
)
from jxemu.render.spec import Range, Spec

VERSION = 1
EAR, FLOW = "ear", "flow"
HEARD = ("mel", "fine")
"""What an `Ear` hears."""
RECORDED_RATE = 44_100
"""Of recordings, in Hz, as `match` gives them to an ear."""
FLOWS = {FLOW: Velocity, "flow-tokens": TokenVelocity}

SCHEDULES = {
    **dict.fromkeys(THESIS_NETWORKS, Schedule(10, 32, 1e-3, 0.0)),
    EAR: Schedule(7, 64, 8e-4, 0.02),
    **dict.fromkeys(FLOWS, Schedule(60, 512, 1e-3, 0.0)),
}
"""By network, where nothing else is asked for."""

BEYOND = 0.4
"""How far beyond its range a fader at its end may stand for a flow: many do, and a point is hard to hit."""

SAMPLED = 4096
"""Points of a flow that move at once."""

CHOSEN_BY = "MSE"
"""Of a regressor's epochs, that with the least of it on the validation split: later ones learn their sounds by heart."""

BLUR = 0.1
"""Of embeddings while a flow is trained, in deviations: what it hears later is never quite what it heard before."""


_NEPERS = np.log(10) / 10
"""Of power, a dB."""


class ModelError(ValueError):
    """A folder that holds no usable model; the message names it."""


class Guess(NamedTuple):
    """Tones as p (items, names): with the least squared error, and to be played, with each switch in one state."""

    mean: np.ndarray
    decided: np.ndarray


@dataclass(frozen=True)
class Model:
    """A trained network.

    ``guess`` gives one tone a sound, ``sample`` (of a flow) many; sounds are `x` and `keys` as in `Table`.
    """

    card: dict[str, Any]
    network: nn.Module
    velocity: Velocity | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of p."""
        return tuple(self.card["names"])

    @property
    def space(self) -> Space:
        """How p is laid out in outputs and tokens."""
        return Space(self.names, self.card["network"] not in THESIS_NETWORKS)

    def hears(self, features: Mapping[str, np.ndarray]) -> Tensor:
        """What it hears, of features (items, takes, frames, bands) by name: x for the methods below."""
        x = stacked([features[name] for name in features_of(self.card["network"])])
        return torch.from_numpy(x if self.card["take"] is None else x[:, [self.card["take"]]])

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        found = hashlib.sha256()
        for name, part in self.parts.items():
            found.update(name.encode() + part.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    @property
    def parts(self) -> dict[str, Tensor]:
        """All weights by name."""
        found = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.velocity:
            found |= {f"velocity.{name}": value for name, value in self.velocity.state_dict().items()}
        return found

    @torch.no_grad()
    def _through(self, call: Callable[[Tensor, Tensor], Tensor], x: Tensor, keys: Tensor) -> Tensor:
        self.network.eval()
        parts = [
            call(x[at : at + 256].to(DEVICE).float(), keys[at : at + 256].to(DEVICE)) for at in range(0, len(x), 256)
        ]
        return torch.cat(parts).float()

    def guess(self, x: Tensor, keys: Tensor) -> Guess:
        """The tone of each sound."""
        out = self._through(self.network, x, keys)
        return Guess(*(read(out).cpu().numpy() for read in (self.space.read, self.space.decided)))

    def embed(self, x: Tensor, keys: Tensor) -> Tensor:
        """What an `Ear` heard (items, size)."""
        return self._through(self.network.embed, x, keys)

    def sample(self, x: Tensor, keys: Tensor, count: int, guidance: float = 1.0, seed: int = 0) -> np.ndarray:
        """The p (items, count, names) of tones that could have made each sound. For a flow only."""
        heard = self.embed(x, keys).repeat_interleave(count, 0)
        parts = [self.velocity.sample(part, guidance, seed=seed + n) for n, part in enumerate(heard.split(SAMPLED))]
        return self.space.untokens(torch.cat(parts)).cpu().numpy().reshape(len(x), count, -1)


def check_fits(model: Model, spec: Spec, who: str, where: str) -> None:
    """Raise ValueError unless a model can hear the items of a spec, and gives what varies in them."""
    features, take = features_of(model.card["network"]), model.card["take"]
    for feature in features:
        if feature not in spec.store.features:
            raise ValueError(f"{where} has no feature {feature!r}, which {who} hears")
    names = (*spec.varied, HOLD) if isinstance(spec.performance.hold, Range) else spec.varied
    if model.names != names:
        raise ValueError(f"{who} was trained on other parameters than vary in {where}")
    there = spec.takes if take is None else min(1, max(0, spec.takes - take))
    shapes = [list(FEATURES[feature].shape(spec.frames)) for feature in features]
    if [there, shapes] != [model.card["shape"][0], model.card["features"]]:
        heard = f"{model.card['shape'][0]} takes of {model.card['features'][0][0]} frames"
        raise ValueError(f"{who} was trained on other sounds than {where} has: {heard}")


def build(card: dict[str, Any], width: int) -> nn.Module:
    """An untrained network with so many outputs, for the sounds of a card."""
    shape = tuple(card["shape"])
    if card["network"] in THESIS_NETWORKS:
        return Thesis(THESIS_NETWORKS[card["network"]](shape[1:], width))
    return Ear(shape, card["features"][0][0], width, card["relative"], card.get("held"))


def features_of(network: str) -> tuple[str, ...]:
    """What a network hears."""
    return ("thesis",) if network in THESIS_NETWORKS else HEARD


def train(
    network: str,
    data: Path,
    folder: Path,
    schedule: Schedule | None = None,
    ear: Model | None = None,
    take: int | None = None,
    limit: int | None = None,
    relative: bool = False,
    change: Callable[[Table], Table] = lambda data: data,
    shown: Shown = lambda done, steps, loss: None,
) -> Model:
    """Train a network on a dataset and write it to a folder; the same call goes on where it was stopped, or loads it.

    ear : what a flow listens with.  take : of items with several takes, the only one to hear.  limit : items to train on.
    relative : hear levels against the loudest, and recordings' noise and colour while training.
    change : made of every table before it is used.
    Raises DatasetError and ValueError for data that it cannot learn from.
    """
    schedule = schedule or SCHEDULES[network]
    if ear:
        if ear.card["network"] != EAR:
            raise ValueError(f"a flow listens with an ear, not with {ear.card['network']}")
        check_fits(ear, dataset.open(data).spec, "the ear", str(data))
        take = ear.card["take"]
    whole = {
        split: change(table(data, split, features_of(network), limit if split == "train" else None, take))
        for split in ("train", "validation")
    }
    spec = dataset.open(data).spec
    card = {
        "version": VERSION, "network": network, "names": list(whole["train"].names), "shape": list(whole["train"].shape),
        "features": [list(FEATURES[name].shape(spec.frames)) for name in features_of(network)],
        "relative": ear.card["relative"] if ear else relative, "take": take, "limit": limit,
        "held": ear.card.get("held") if ear else held(spec) if network == EAR and whole["train"].shape[0] > 1 else None,
        "data": {"name": spec.name, "spec": spec.digest, "items": len(whole["train"])},
        "schedule": asdict(schedule), "torch": torch.__version__, "ear": ear.digest if ear else None,
    }  # fmt: skip
    if (folder / "weights.safetensors").exists():
        with suppress(ModelError):
            there = load(folder)
            if all(there.card.get(name) == json.loads(json.dumps(row)) for name, row in card.items()):
                return there
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(schedule.seed)
    checkpoint = folder / "checkpoint.pt"
    if network in FLOWS:
        made, curve = _train_flow(card, whole, ear, schedule, checkpoint, shown)
    else:
        made, curve = _train_regressor(card, whole, schedule, checkpoint, shown)
    card["curve"] = [asdict(epoch) for epoch in curve]
    for part in made.parts.values():  # as they are stored, so that the figures are those of the stored model
        part.copy_(part.half().float())
    card["table"] = scores(made, whole["validation"])
    write(made, folder)
    checkpoint.unlink(missing_ok=True)
    return made


def held(spec: Spec) -> int | None:
    """Frames of `mel` until a dataset's keys are let go; None where that varies, or where they are held throughout."""
    hold, frames = spec.performance.hold, FEATURES["mel"].shape(spec.frames)[0]
    until = 0 if isinstance(hold, Range) else round(hold / spec.seconds * frames)
    return until if 0 < until < frames else None


def _train_regressor(card: dict, whole: dict[str, Table], schedule: Schedule, checkpoint: Path, shown: Shown):
    learned, judged = whole["train"], whole["validation"]
    thesis = card["network"] in THESIS_NETWORKS
    space = Space(learned.names, not thesis)
    network = build(card, space.width)
    made = Model(card, network)
    p, weights = learned.p, torch.ones_like(learned.p)
    if not thesis:
        straight = p.numpy()
        p = torch.from_numpy(ordered(straight, learned.values, learned.names))
        own = weights_of(learned.values, learned.names)
        turned = (p.numpy() != straight).any(1)[:, None]
        weights = torch.from_numpy(np.where(turned, swapped(own, learned.names), own))
    few = next(learned.batches(64))
    under = half(network.to(DEVICE), learned.x[few].to(DEVICE).float(), learned.keys[few].to(DEVICE))

    def loss(network: nn.Module, places: Tensor) -> Tensor:
        x = learned.x[places].to(DEVICE).float()
        if card["relative"]:
            x = recorded(x, card["features"][0][0])
        with under():
            out = network(x, learned.keys[places].to(DEVICE)).float()
        if thesis:
            return (out - p[places].to(DEVICE)).square().mean()
        return space.loss(out, p[places].to(DEVICE), weights[places].to(DEVICE)).mean()

    def check(network: nn.Module) -> dict[str, float]:
        return scores(Model(card, network), judged)["all"]

    curve = fit(
        network, learned, loss, check, schedule, checkpoint, json.dumps(card), shown,
        best=lambda epoch: epoch.figures[CHOSEN_BY], device=DEVICE,
    )  # fmt: skip
    return made, curve


def _train_flow(card: dict, whole: dict[str, Table], ear: Model, schedule: Schedule, checkpoint: Path, shown: Shown):
    learned = whole["train"]
    space = Space(learned.names)
    heard = {split: ear.embed(part.x, part.keys) for split, part in whole.items()}
    velocity = FLOWS[card["network"]](space.width, heard["train"].shape[1])
    velocity.mean, velocity.deviation = heard["train"].mean(0), heard["train"].std(0) + 1e-3
    symmetric = torch.from_numpy(is_symmetric(learned.values, learned.names))

    def loss(velocity: nn.Module, places: Tensor) -> Tensor:
        p = learned.p[places]
        turned = symmetric[places] & (torch.rand(len(p)) < 0.5)
        p = torch.where(turned[:, None], swapped(p, learned.names), p)
        embedding = heard["train"][places]
        embedding = embedding + BLUR * velocity.deviation * torch.randn_like(embedding) * torch.rand(len(p), 1).to(
            embedding
        )
        return velocity.loss(space.tokens(p, BEYOND).to(DEVICE), embedding)

    def check(velocity: nn.Module) -> dict[str, float]:
        torch.manual_seed(0)
        judged = whole["validation"]
        points, told = space.tokens(judged.p, BEYOND).to(DEVICE), heard["validation"]
        with torch.no_grad():
            return {"flow loss": velocity.loss(points, told).item()}

    curve = fit(velocity, learned, loss, check, schedule, checkpoint, json.dumps(card), shown, device=DEVICE)
    return Model(card, ear.network, velocity), curve


def recorded(x: Tensor, frames: int) -> Tensor:
    """Levels (items, takes, rows, bands) in dB as a recording has them: from its onset, with noise and a colour of its own.

    The onset is where the sound comes within 40 dB of its peak, as `match.prepare` cuts it.
    frames : how many rows are those of `mel`; long windows, the others, are left where they are.
    """
    mel, fine = x[:, :, :frames], x[:, :, frames:]
    items, takes, _, bands = mel.shape
    top = mel.amax((1, 2, 3), keepdim=True)
    onset = (mel.amax((1, 3)) > top[:, 0, :, 0] - 40).float().argmax(1)
    onset = (onset - torch.randint(0, 2, onset.shape, device=x.device)).clamp_min(0)
    places = torch.arange(frames, device=x.device) + onset[:, None]
    mel = torch.where(
        (places < frames)[:, None, :, None],
        mel.gather(2, places.clamp_max(frames - 1)[:, None, :, None].expand_as(mel)),
        mel.amin(),
    )
    knots = 1.5 * torch.randn(items, 1, 5, device=x.device)
    colour = nn.functional.interpolate(knots, bands, mode="linear", align_corners=True)[:, :, None]
    noise = top - 50 - 50 * torch.rand_like(top)
    even = noise + 0.1 * torch.arange(bands, device=x.device)
    mel = _louder(mel + colour, even + uneven(mel.shape, independent("mel").to(x.device)))
    octaves = torch.arange(FINE_BANDS, device=x.device) / FINE_PER_OCTAVE
    fine = fine.reshape(items, takes, -1, FINE_BANDS)
    # in a window of eight times the length a tone stands 9 dB higher; bands widen from 230 Hz up, 3 dB an octave
    even = noise - 9 + 3 * (octaves - 3.5).clamp_min(0)
    fine = _louder(fine + _by_pitch(colour, octaves), even + uneven(fine.shape, independent("fine").to(x.device)))
    return torch.cat([mel, fine.reshape(items, takes, -1, bands)], 2)


_ALIKE = (2 / 3) ** 2, (1 / 6) ** 2
"""How the power of noise in one line of a Hann window's spectrum goes with that of the next and of the one after it."""


@cache
def independent(feature: str) -> Tensor:
    """How many independent lines of a noise's spectrum each band of `mel` or `fine` comes to."""
    rate = RECORDED_RATE
    bands = mel_bands(rate, MEL_WINDOW, MELS, MEL_LOWEST) if feature == "mel" else fine_bands(rate)
    weights = torch.from_numpy(bands.toarray())
    spread = weights.square().sum(1)
    for n, alike in enumerate(_ALIKE, 1):
        spread += 2 * alike * (weights[:, n:] * weights[:, :-n]).sum(1)
    return weights.sum(1).square() / spread


def uneven(shape: torch.Size, lines: Tensor) -> Tensor:
    """How far noise stands from its level in bands (..., bands) of so many independent lines each, in dB, at random.

    Its power is a gamma variate, here by Wilson and Hilferty: the cube of a normal one, which swings up to a third too
    far (in dB) where a band is but one or two lines. To hear spectra of levels, an ear must know it: one that had learned
    with even noise had R2 0.323 with such and 0.253 with real noise.
    """
    root = 1 - 1 / (9 * lines) + torch.randn(shape, device=lines.device) / (3 * lines.sqrt())
    return 30 * root.clamp_min(0.1).log10()


def _louder(levels: Tensor, others: Tensor) -> Tensor:
    return torch.logaddexp(levels * _NEPERS, others * _NEPERS) / _NEPERS


def _by_pitch(colour: Tensor, octaves: Tensor) -> Tensor:
    """What mel bands (..., bands) have, at fine bands so many octaves above the lowest."""
    low, top = (math.log10(1 + hertz / 700) for hertz in (MEL_LOWEST, RECORDED_RATE / 2))
    places = (torch.log10(1 + FINE_LOWEST * 2**octaves / 700) - low) / (top - low) * (colour.shape[-1] - 1)
    return colour[..., places.round().long().clamp(0, colour.shape[-1] - 1)]


def scores(model: Model, data: Table) -> dict[str, dict[str, float]]:
    """Errors of guesses: over all parameters, and each by name.

    The MAE of each is also told where it does something (None: nowhere), with switches in one state, as in a tone to be played.
    Of a flow, the guess is the regressor's it listens with.
    """
    guess, decided = model.guess(data.x, data.keys)
    truth, names = data.p.numpy(), data.names
    heard = mae_where_heard(data, decided)
    found = {"all": parameter_errors(truth, guess, names, decided)}
    found["all"]["swap-aware MSE"] = swap_aware_mse(truth, guess, names, is_symmetric(data.values, names))
    for n, name in enumerate(names):
        own = parameter_errors(truth[:, [n]], guess[:, [n]], (name,), decided[:, [n]])
        found[name] = own | {"MAE where heard": heard[name]}
    return found


def mae_where_heard(data: Table, p: np.ndarray) -> dict[str, float | None]:
    """Mean error by name of guesses p (items, names), over the tones in which that parameter does something; None: in none."""
    error, busy = np.abs(p - data.p.numpy()), heard_in(data.values, data.names)
    found = [column[on] for column, on in zip(error.T, busy.T, strict=True)]
    return {name: float(part.mean()) if len(part) else None for name, part in zip(data.names, found, strict=True)}


# --- on disk -------------------------------------------------------------------------------------


def write(model: Model, folder: Path) -> None:
    """Write weights, card, curve and README."""
    draw(model.card["curve"], folder / "curve.png")
    (folder / "README.md").write_text(readme(model.card))
    write_model(folder, save({name: part.half().cpu().contiguous() for name, part in model.parts.items()}), model.card)


def load(folder: Path) -> Model:
    """A trained model. Raises ModelError for a folder that holds none."""
    try:
        card = json.loads((folder / "card.json").read_text())
        parts = {name: part.float() for name, part in load_file(folder / "weights.safetensors").items()}
        if card["version"] != VERSION:
            raise ModelError(f"{folder}: a model of version {card['version']}; this program reads {VERSION}")
        names = tuple(card["names"])
        width = Space(names, card["network"] not in THESIS_NETWORKS).width
        network = build(card, width)
        network.load_state_dict(_under(parts, "network."))
        velocity = None
        if card["network"] in FLOWS:
            velocity = FLOWS[card["network"]](width, network.last.in_features)
            velocity.load_state_dict(_under(parts, "velocity."))
            velocity.to(DEVICE).eval()
        return Model(card, network.to(DEVICE).eval(), velocity)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if isinstance(error, ModelError):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        if isinstance(error, RuntimeError):  # of PyTorch: a list of all weights
            reason = "its weights are not those of this version's network"
        raise ModelError(f"{folder} holds no model ({reason}); jxemu ml train makes one") from None


def _under(parts: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}


def number(found: float | None) -> str:
    """An error in a table, which may not be there."""
    return "" if found is None else f"{found:.3f}"


def readme(card: dict[str, Any]) -> str:
    """The card for people."""
    data, schedule, found = card["data"], card["schedule"], card["table"]
    rows = [
        f"| {name} | {row['MSE']:.4f} | {row['MAE']:.3f} | {row['R2']:.3f} | {number(row['MAE where heard'])} |"
        for name, row in found.items()
        if name != "all"
    ]
    every = found["all"]
    heard = [
        f"{name} {frames} x {bands}"
        for name, (frames, bands) in zip(features_of(card["network"]), card["features"], strict=True)
    ]
    return "\n".join([
        f"# {card['network']}, trained on {data['name']}",
        "",
        f"{data['items']:,} items of the training split; the frozen spec has the SHA-256 {data['spec']}.",
        f"Takes of a sound: {card['shape'][0]}, each {' and '.join(heard)} (frames x bands)"
        + (", levels relative to the loudest." if card["relative"] else "."),
        f"{schedule['epochs']} epochs, batches of {schedule['batch']}, rate {schedule['rate']:g}, seed {schedule['seed']}, "
        f"torch {card['torch']}.{_chosen(card)}",
        "",
        f"Validation: MSE {every['MSE']:.4f}, RMSE {every['RMSE']:.3f}, MAE {every['MAE']:.3f}, R2 {every['R2']:.3f}, "
        f"switches right {every['switches']:.3f}, swap-aware MSE {every['swap-aware MSE']:.4f}.",
        "" if card["network"] not in FLOWS else "The figures are those of the regressor that the flow listens with.",
        "![loss and validation by epoch](curve.png)",
        "",
        "| parameter | MSE | MAE | R2 | MAE where it does something |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def _chosen(card: dict[str, Any]) -> str:
    """Which epoch's weights a regressor has."""
    if card["network"] in FLOWS:
        return ""
    chosen = min(reversed(card["curve"]), key=lambda epoch: epoch["figures"][CHOSEN_BY])
    return f" Its weights are those after epoch {chosen['number']}, which had the least validation {CHOSEN_BY}."


def draw(curve: list[dict[str, Any]], path: Path) -> None:
    """A picture of training: loss, and the validation's first figure, by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axis = figure.subplots()
    epochs = [row["number"] for row in curve]
    name = next(iter(curve[0]["figures"]))
    axis.plot(epochs, [row["loss"] for row in curve], color="#1f5f8b", label="training loss")
    axis.plot(epochs, [row["figures"][name] for row in curve], color="#c2571a", label=f"validation {name}")
    axis.set_xlabel("epoch")
    axis.set_yscale("log")
    axis.legend()
    figure.savefig(path, dpi=100)
