"""What `match` has learned: an ear and a flow that hear recordings, and a list of known sounds.

The sounds are drawn, rendered and learned from in one go (`learn`), which goes on where it was stopped.
"""

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from jxemu.ml import models
from jxemu.ml.data import HOLD, Table, table
from jxemu.ml.flow import GUIDANCE
from jxemu.ml.match import LONGEST, RATE, SHORTEST, VELOCITY
from jxemu.ml.models import EAR, FLOW, HEARD, Model, ModelError
from jxemu.ml.retrieval import MOST, Index
from jxemu.ml.space import values_of
from jxemu.ml.train import Schedule
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone
from jxemu.render import engine
from jxemu.render.dataset import write_whole
from jxemu.render.features import FEATURES
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


@dataclass(frozen=True)
class Known:
    """Sounds that were learned from: what the ear said of them, and what they are."""

    told: Index
    values: np.ndarray
    hold: np.ndarray


@dataclass(frozen=True)
class Weights:
    """Hears a recording, and says which tones may have made it."""

    flow: Model
    known: Known

    def tones(self, sound: np.ndarray, note: int, count: int, near: int, seed: int = 0) -> list[tuple[Tone, float]]:
        """Tones and seconds their key is held, for a mono sound at `RATE` from its onset, played by `note`.

        First the ear's own guess, then `near` known sounds of which it says the same, then `count` of the flow's.
        """
        padded = np.pad(sound[: round(LONGEST * RATE)], (0, max(0, round(LONGEST * RATE) - len(sound))))
        x = self.flow.hears({name: FEATURES[name].of(padded, RATE)[None, None] for name in HEARD})
        keys = torch.tensor([[[note / 127, VELOCITY / 127]]])
        names = self.flow.names
        guess = self.flow.guess(x, keys, decided=True)
        drawn = self.flow.sample(x, keys, count, GUIDANCE, seed)[0]
        rest = np.array([row.default for row in PARAMETERS.values()], np.uint8)
        p = np.concatenate([guess, drawn])
        values = values_of(p, names, rest)
        hold = p[:, names.index(HOLD)] * LONGEST
        places = self.known.told.nearest(self.flow.guess(x, keys), near)[0]
        values = np.concatenate([values[:1], self.known.values[places], values[1:]])
        hold = np.concatenate([hold[:1], self.known.hold[places], hold[1:]]).clip(SHORTEST, LONGEST)
        values = sounding(values)[0]
        return [
            (Tone("", **dict(zip(NAMES, row, strict=True))), float(length))
            for row, length in zip(values.tolist(), hold, strict=True)
        ]


Stage = Callable[[str, int, int], None]
"""Called with what is done now, how many are done and how many there are."""


def learn(
    folder: Path,
    count: int | None = None,
    ear: Schedule = EAR_SCHEDULE,
    flow: Schedule = FLOW_SCHEDULE,
    stage: Stage = lambda what, done, total: None,
    say: Callable[[str], None] = print,
) -> Weights:
    """Draw and render sounds, train an ear and a flow on them, write all that `Weights` needs to a folder.

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
    known = as_heard(table(data, "train", HEARD, MOST))
    held = io.BytesIO()
    np.savez(
        held,
        told=made.guess(known.x, known.keys).astype(np.float16),
        values=known.values,
        ear=made.card["ear"],
        hold=(known.p[:, known.names.index(HOLD)].numpy() * LONGEST).astype(np.float16),
    )
    write_whole(folder / "known.npz", held.getvalue())
    return load(folder)


def load(folder: Path) -> Weights:
    """Weights of a folder. Raises ModelError."""
    flow = models.load(folder / FLOW)
    try:
        with np.load(folder / "known.npz") as kept:
            known = Known(Index(kept["told"]), kept["values"], kept["hold"].astype(float))
            if str(kept["ear"]) != flow.card["ear"]:
                raise ValueError("it is of another ear")
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{folder}: cannot read known.npz ({error}); jxemu ml weights makes it anew") from None
    return Weights(flow, known)
