"""What `match` listens with (`listening`) is made here: an ear and a flow that hear recordings, and a list of known sounds.

The sounds are drawn, rendered and learned from in one go (`learn`), which goes on where it was stopped.
"""

import copy
import io
import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxscript  # noqa: F401 - PyTorch packs with it at the end: better missed before the training
import torch
from torch import Tensor, nn

from jxemu.ml import listening, models
from jxemu.ml.data import HOLD, Table, table
from jxemu.ml.flow import GUIDANCE, STEPS
from jxemu.ml.listening import DRAWS, HEARS, KNOWN, VERSION, WeightsError, digests
from jxemu.ml.match import LONGEST
from jxemu.ml.models import EAR, FLOW, HEARD, Model
from jxemu.ml.retrieval import MOST
from jxemu.ml.train import Schedule
from jxemu.render import engine
from jxemu.render.dataset import write_whole
from jxemu.render.items import sounding
from jxemu.render.spec import NAMES, TOPS, read_spec

PRESET = "match-120k"
EAR_SCHEDULE, FLOW_SCHEDULE = Schedule(6, 64, 8e-4, 0.02), Schedule(17, 512, 1e-3, 0.0)
"""More sounds, each heard fewer times: 40,000 heard 14 times by the ear, 50 by the flow, were learned by heart."""


def as_heard(data: Table) -> Table:
    """The same sounds, each as a key at the pitch that is heard (`sounding`); those beyond a range are left out."""
    values, apart, whole = sounding(data.values)
    keys = data.keys.clone()
    keys[:, :, 0] += torch.from_numpy(apart[:, None] / np.float32(127))
    kept = np.flatnonzero(whole & ((keys[:, 0, 0] * 127) > 23.5).numpy() & ((keys[:, 0, 0] * 127) < 96.5).numpy())
    p = data.p.clone()
    for n, name in enumerate(data.names):
        if name != HOLD:
            place = NAMES.index(name)
            p[:, n] = torch.from_numpy(values[:, place] / np.float32(TOPS[place]))
    places = torch.from_numpy(kept)
    return replace(data, x=data.x[places], keys=keys[places], p=p[places], values=values[kept])


class _Hears(nn.Module):
    """As `listening.Weights.hears`."""

    def __init__(self, flow: Model):
        super().__init__()
        self.network, self.space = flow.network, flow.space

    def forward(self, x: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heard = self.network.embed(x, keys)
        out = self.network.last(heard)
        return self.space.decided(out), self.space.read(out), heard


class _Draws(nn.Module):
    """As `listening.Weights.draws`."""

    def __init__(self, flow: Model):
        super().__init__()
        self.velocity, self.space = flow.velocity, flow.space

    def forward(self, points: Tensor, heard: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        points = self.velocity.moved(points, heard, time, 1 / STEPS, GUIDANCE)
        return points, self.space.untokens(points)


def packed(flow: Model) -> list[bytes]:
    """A flow with its ear as the ONNX graphs `HEARS` and `DRAWS`."""
    x, keys = torch.zeros(1, *flow.card["shape"]), torch.zeros(1, 1, 2)
    points, heard, time = (
        torch.zeros(3, flow.space.width),
        torch.zeros(1, flow.network.last.in_features),
        torch.zeros(1),
    )
    return [
        _exported(_Hears(flow), {"x": x, "keys": keys}, {}),
        _exported(
            _Draws(flow), {"points": points, "heard": heard, "time": time},
            {"points": {0: torch.export.Dim("count")}, "heard": {}, "time": {}},
        ),
    ]  # fmt: skip


def _exported(module: nn.Module, inputs: dict[str, Tensor], dynamic: dict) -> bytes:
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that nothing here needs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch's about its own
            program = torch.onnx.export(
                copy.deepcopy(module).cpu().eval(),
                kwargs=inputs,
                dynamo=True,
                dynamic_shapes=dynamic or None,
                verbose=False,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    return program.model_proto.SerializeToString()


Stage = Callable[[str, int, int], None]
"""Called with what is done now, how many are done and how many there are."""


def learn(
    folder: Path,
    count: int | None = None,
    ear: Schedule = EAR_SCHEDULE,
    flow: Schedule = FLOW_SCHEDULE,
    stage: Stage = lambda what, done, total: None,
    say: Callable[[str], None] = print,
) -> Model:
    """Draw and render sounds, train an ear and a flow on them, write all that `listening` needs to a folder; the flow.

    What was rendered stays in ``folder/data``. The same call goes on where it was stopped. Raises DatasetError, OSError.
    """
    spec = read_spec(PRESET, count)
    data = folder / "data"
    engine.run(data, spec, shown=lambda state: stage("rendering sounds", state.now, spec.count), say=say)
    made = models.train(
        EAR, data, folder / EAR, ear, relative=True, change=as_heard,
        shown=lambda done, steps, loss: stage("training the ear", done, steps),
    )  # fmt: skip
    made = models.train(
        FLOW, data, folder / FLOW, flow, made, change=as_heard,
        shown=lambda done, steps, loss: stage("training the flow", done, steps),
    )  # fmt: skip
    with suppress(WeightsError):
        if listening.load(folder).of == made.digest:
            return made
    known, told = as_heard(table(data, "train", HEARD, MOST)), []
    for places in known.batches(1024):
        told.append(made.guess(known.x[places], known.keys[places]).mean.astype(np.float16))
        stage("hearing known sounds", int(places[-1]) + 1, len(known))
    stage("packing", 0, 1)
    graphs, held = packed(made), io.BytesIO()
    np.savez(
        held,
        version=VERSION, graphs=digests(graphs), of=made.digest,
        times=np.arange(STEPS, dtype=np.float32) / np.float32(STEPS), features=HEARD, names=made.names,
        told=np.concatenate(told), values=known.values,
        hold=(known.p[:, -1].numpy() * LONGEST).astype(np.float16),
    )  # fmt: skip
    for name, data in zip((HEARS, DRAWS, KNOWN), (*graphs, held.getvalue()), strict=True):
        write_whole(folder / name, data)
    stage("packing", 1, 1)
    return made
