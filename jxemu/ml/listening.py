"""Trained weights as `match` uses them: what an ear and a flow say of a recording. ONNX Runtime runs them, without PyTorch.

`weights` trains them and writes the folder; what it holds is whole in itself and may be copied to another machine.
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from jxemu.ml.match import LONGEST, RATE, SHORTEST, VELOCITY
from jxemu.ml.retrieval import Index
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone
from jxemu.render.features import FEATURES, stacked
from jxemu.render.items import sounding, values_of
from jxemu.render.spec import NAMES

HEARS, DRAWS, KNOWN = "hears.onnx", "draws.onnx", "known.npz"
VERSION = 1


class WeightsError(ValueError):
    """A folder that holds no usable weights; the message names it."""


@dataclass(frozen=True)
class Weights:
    """Hears a recording, and says which tones may have made it.

    hears : of a sound's features, and its note and velocity: p of the tone to be played, p with the least error, and an embedding.
    draws : moves points by a step of the flow, given an embedding, and reads p from them.
    times : at which a step begins.  features : what is heard.  names : of the columns of p, the last one the hold.
    told, values, hold : known sounds: what the ear said of them, and what they are.
    of : digest of the flow that they were made from.
    """

    hears: onnxruntime.InferenceSession
    draws: onnxruntime.InferenceSession
    times: np.ndarray
    features: tuple[str, ...]
    names: tuple[str, ...]
    told: Index
    values: np.ndarray
    hold: np.ndarray
    of: str

    def tones(self, sound: np.ndarray, note: int, count: int, near: int, seed: int = 0) -> list[tuple[Tone, float]]:
        """Tones and seconds their key is held, for a mono sound at `RATE` from its onset, played by `note`.

        First the ear's own guess, then `near` known sounds of which it says the same, then `count` of the flow's.
        """
        padded = np.pad(sound[: round(LONGEST * RATE)], (0, max(0, round(LONGEST * RATE) - len(sound))))
        x = stacked([FEATURES[name].of(padded, RATE)[None, None] for name in self.features]).astype(np.float32)
        keys = np.array([[[note / 127, VELOCITY / 127]]], np.float32)
        guess, told, heard = self.hears.run(None, {"x": x, "keys": keys})
        width = self.draws.get_inputs()[0].shape[1]
        points = np.random.default_rng(seed).standard_normal((count, width), np.float32)
        for time in self.times[:, None]:
            points, drawn = self.draws.run(None, {"points": points, "heard": heard, "time": time})
        rest = np.array([row.default for row in PARAMETERS.values()], np.uint8)
        p = np.concatenate([guess, drawn])
        values, hold = values_of(p, self.names, rest), p[:, -1] * LONGEST
        places = self.told.nearest(told, near)[0]
        values = np.concatenate([values[:1], self.values[places], values[1:]])
        hold = np.concatenate([hold[:1], self.hold[places], hold[1:]]).clip(SHORTEST, LONGEST)
        values = sounding(values)[0]
        return [
            (Tone("", **dict(zip(NAMES, row, strict=True))), float(length))
            for row, length in zip(values.tolist(), hold, strict=True)
        ]


def load(folder: Path) -> Weights:
    """Weights of a folder. Raises WeightsError."""
    try:
        graphs = [(folder / name).read_bytes() for name in (HEARS, DRAWS)]
        with np.load(folder / KNOWN) as kept:
            if kept["version"] != VERSION:
                raise ValueError(f"version {kept['version']}; this program reads {VERSION}")
            if kept["graphs"].tolist() != digests(graphs):
                raise ValueError(f"{HEARS}, {DRAWS} and {KNOWN} are not of one training")
            return Weights(
                *map(_session, graphs), kept["times"], tuple(kept["features"].tolist()), tuple(kept["names"].tolist()),
                Index(kept["told"]), kept["values"], kept["hold"].astype(float), str(kept["of"]),
            )  # fmt: skip
    except OSError as error:
        reason = f"{Path(error.filename).name}: {error.strerror}" if error.filename else str(error)
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = f"{KNOWN}: {error}"
    except Exception as error:  # ONNX Runtime's have no base of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = f"this ONNX Runtime cannot read {HEARS} or {DRAWS}"
    raise WeightsError(f"{folder} holds no weights ({reason}); jxemu ml weights makes them anew")


def digests(graphs: list[bytes]) -> list[str]:
    """SHA-256 of each."""
    return [hashlib.sha256(graph).hexdigest() for graph in graphs]


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums on any number of cores
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
