"""The training loop of all networks. It stops and goes on: checkpoints between epochs, nothing drawn that depends on the past."""

import copy
import hashlib
import io
import json
import math
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jxemu.ml.data import Table
from jxemu.render.dataset import write_whole
from jxemu.render.memory import keep_memory

MOST_ERROR = 0.05
"""Of bf16 against float32, relative: more, or a number that is none, and it is not used."""

SAVE_EVERY = 20.0
"""Seconds between checkpoints, at least; they are written after an epoch."""

WARM_UP, CLIP = 0.05, 1.0
"""Share of the steps in which the rate rises; the longest gradient."""

AVERAGE, SHORT_RUN = 0.999, 50
"""Weights are averaged over some 1000 steps at the end; over fewer, one part in fifty, where there are not so many."""

CHECKPOINT = 2
"""Version of what a checkpoint holds; one of another version is not gone on from."""

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: AdamW, a rate that rises for 5 % of the steps and falls as a cosine, averaged weights."""

    epochs: int
    batch: int = 256
    rate: float = 1e-3
    decay: float = 0.01
    seed: int = 1


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch: the mean loss while it ran, and the validation's figures."""

    number: int
    loss: float
    figures: dict[str, float]


Shown = Callable[[int, int, float], None]
"""Called with the steps done, the steps in all and the running loss."""


def digest(*arrays: np.ndarray) -> str:
    """What arrays hold, for a recipe: other sounds, controls or weights are another training."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.shape} {array.dtype}".encode())
        whole.update(np.ascontiguousarray(array))
    return whole.hexdigest()


def write_model(folder: Path, weights: bytes, card: dict[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``card.json``; a card stands only beside the weights that it is of. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    write_whole(folder / "weights.safetensors", weights)
    write_whole(folder / "card.json", (json.dumps(card, indent=1) + "\n").encode())


def half(network: nn.Module, *example: Tensor) -> Callable[[], AbstractContextManager]:
    """What a network's work is done under: bf16 where the processor computes in it and the network is right in it, else nothing.

    Convolutions of torch 2.13 are wrong in bf16 on processors for some shapes, so it is tried first.
    """
    if DEVICE == "cpu" and not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return nullcontext

    def mixed() -> AbstractContextManager:
        return torch.autocast(DEVICE, torch.bfloat16)

    return mixed if agrees(network, mixed, *example) else nullcontext


def agrees(network: nn.Module, context: Callable[[], AbstractContextManager], *example: Tensor) -> bool:
    """Whether a network gives the same under `context` as without it, up to `MOST_ERROR`."""
    was = network.training
    network.eval()
    with torch.no_grad():
        exact = network(*example).float()
        with context():
            found = network(*example).float()
    network.train(was)
    error = (found - exact).norm() / exact.norm().clamp_min(1e-9)
    return bool(torch.isfinite(found).all() and error < MOST_ERROR)


def fit(
    network: nn.Module,
    data: Table,
    loss: Callable[[nn.Module, Tensor], Tensor],
    check: Callable[[nn.Module], dict[str, float]],
    schedule: Schedule,
    checkpoint: Path,
    recipe: str,
    shown: Shown = lambda done, steps, loss: None,
    mended: Callable[[nn.Module], None] = lambda network: None,
    ends: Callable[[list[Epoch]], bool] = lambda curve: False,
    best: Callable[[Epoch], float] | None = None,
    device: str = "cpu",
) -> list[Epoch]:
    """Train `network` in place; it ends with its averaged weights, those of the last epoch or of the best one.

    loss : of the network and places in the table, a mean.  check : figures of a network on the validation split.
    checkpoint : file to go on from, if it is there and of such a network and the same `recipe`: all else that the training
    depends on, as text.
    mended : done to the network after each epoch.  ends : whether a curve is long enough, before all epochs are done.
    best : what of an epoch is least where its weights are to be kept; default: the last one's are.
    device : that `loss` and `check` work on.
    Raises OSError, ValueError for a damaged checkpoint, and FloatingPointError for a loss that is no number any more.
    """
    keep_memory()
    batch = min(schedule.batch, len(data))
    steps = schedule.epochs * max(len(data) // batch, 1)
    network.to(device)
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(min(AVERAGE, 1 - SHORT_RUN / (steps + 100))))
    optimiser = torch.optim.AdamW(network.parameters(), schedule.rate, weight_decay=schedule.decay, fused=True)
    rise = max(1, round(WARM_UP * steps))
    course = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda n: (n + 1) / rise if n < rise else 0.5 + 0.5 * math.cos(math.pi * (n - rise) / (steps - rise + 1))
    )  # fmt: skip
    curve: list[Epoch] = []
    recipe = f"{CHECKPOINT} { {name: list(part.shape) for name, part in network.state_dict().items()} } {recipe}"
    parts = {"network": network, "mean": mean, "optimiser": optimiser, "course": course}
    found: dict[str, Tensor] | None = None  # the best epoch's weights
    if checkpoint.exists():
        kept = _read(checkpoint, device)
        if kept["recipe"] == recipe:
            for name, part in parts.items():
                part.load_state_dict(kept[name])
            curve, found = [Epoch(*row) for row in kept["curve"]], kept["found"]
    saved = time.monotonic()
    for number in range(len(curve), 0 if curve and ends(curve) else schedule.epochs):
        torch.manual_seed(schedule.seed * 100_003 + number)
        network.train()
        losses, done = [], number * (steps // schedule.epochs)
        for places in data.batches(batch, np.random.default_rng([schedule.seed, number])):
            off = loss(network, places)
            optimiser.zero_grad(set_to_none=True)
            off.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            course.step()
            mean.update_parameters(network)
            losses.append(off.item())
            done += 1
            shown(done, steps, float(np.mean(losses[-50:])))
        mended(network)
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is no number any more in epoch {number + 1}; a lower rate may help")
        mean.eval()
        curve.append(Epoch(number + 1, float(np.mean(losses)), check(mean.module)))
        if best and best(curve[-1]) <= min(map(best, curve)):
            found = copy.deepcopy(mean.module.state_dict())
        ended = number + 1 == schedule.epochs or ends(curve)
        if time.monotonic() - saved < SAVE_EVERY and not ended:
            continue
        saved = time.monotonic()
        kept = {name: each.state_dict() for name, each in parts.items()}
        kept |= {"recipe": recipe, "found": found, "curve": [[e.number, e.loss, e.figures] for e in curve]}
        whole = io.BytesIO()
        torch.save(kept, whole)
        write_whole(checkpoint, whole.getbuffer())
        if ended:
            break
    network.load_state_dict(found or mean.module.state_dict())
    network.eval()
    return curve


def _read(checkpoint: Path, device: str) -> dict[str, Any]:
    """A checkpoint. Raises OSError, and ValueError for one that is damaged."""
    try:
        return torch.load(io.BytesIO(checkpoint.read_bytes()), weights_only=True, map_location=device)
    except (EOFError, RuntimeError, pickle.UnpicklingError):
        raise ValueError(f"{checkpoint} is damaged; delete it, and the same command begins anew") from None
