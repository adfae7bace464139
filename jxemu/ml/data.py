"""Rendered datasets for PyTorch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from jxemu.render import dataset
from jxemu.render.features import stacked
from jxemu.render.spec import SPLITS, Range


class Audio(Sequence):
    """Sounds of a dataset's items, mono, float32 [each shape=(n,)], read when asked for: many do not fit into memory."""

    def __init__(self, items: dataset.Dataset):
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> np.ndarray:
        return self._items[place].audio.reshape(self._items.spec.frames, -1).mean(1)


class Notes(Dataset):
    """Items of a rendered dataset as ``(features, p)``: float32 tensors, standardised by the training split.

    path : the dataset's folder.  split : train, validation, test, or None for all.
    features : names of stored features, or "audio"; one gives a tensor, several a dictionary.
    standardise : whether features get mean 0 and deviation 1 by column (sound stays as it is).
    Files are opened in the process that reads, so any number of loader workers will do.
    Raises DatasetError for a folder without a whole dataset, ValueError for a feature that was not stored.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = "train",
        features: str | Sequence[str] = "mel",
        standardise: bool = True,
    ):
        whole = dataset.open(path)
        self._single = isinstance(features, str)
        self.features = [features] if isinstance(features, str) else list(features)
        for name in self.features:
            if name not in (*whole.spec.store.features, "audio"):
                stored = ", ".join([*whole.spec.store.features, "audio"])
                raise ValueError(f"{path} has no feature {name!r}; it has {stored}")
        self.names = whole.names
        self._items = whole.split(split) if split else whole
        stats = whole.stats
        if standardise and not stats["values_count"]:
            raise ValueError(f"{path} has no training items to standardise by; use standardise=False")
        self._scales = {
            name: (stats[f"{name}_mean"].astype(np.float32), _not_zero(stats[f"{name}_std"]))
            for name in self.features
            if standardise and name != "audio"
        }

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> tuple[Tensor | dict[str, Tensor], Tensor]:
        item = self._items[place]
        found = {name: self._feature(item, name) for name in self.features}
        return found[self.features[0]] if self._single else found, torch.from_numpy(item.p)

    def _feature(self, item: dataset.DatasetItem, name: str) -> Tensor:
        if name == "audio":
            return torch.from_numpy(item.audio)
        data = item[name].astype(np.float32)
        if name in self._scales:
            mean, deviation = self._scales[name]
            data = (data - mean) / deviation
        return torch.from_numpy(data)


HOLD = "hold"
"""Beside the tone's parameters, where it varies: how long the key is held, as a share of the item's length."""


class Heard:
    """What networks hear of items, float16 (items, takes, rows, bands), see `stacked`: read from the files when asked for.

    features : rows of each feature.  single : whether they are of one take.
    """

    def __init__(self, features: Sequence[dataset.Rows], single: bool):
        self._features, self._single = features, single
        self.shape: tuple[int, ...] = (len(features[0]), *self[:1].shape[1:])

    def __len__(self) -> int:
        return len(self._features[0])

    def __getitem__(self, places: slice | Tensor) -> Tensor:
        """Of a slice, or of a list of places."""
        chosen = places if isinstance(places, slice) else places.numpy()
        found = [rows[chosen] for rows in self._features]
        return torch.from_numpy(stacked([x[:, None] if self._single else x for x in found]))


@dataclass(frozen=True)
class Table:
    """A split of a dataset, for training.

    names : of the columns of p, `HOLD` last where it varies.  x : as `Heard`, in the files or in memory.
    keys : float32 (items, takes, 2), note and velocity on 0..1.  p : float32 (items, names).  values : uint8 (items, 44).
    """

    names: tuple[str, ...]
    x: Heard | Tensor
    keys: Tensor
    p: Tensor
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.p)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Takes, rows and bands of an item."""
        return tuple(self.x.shape[1:])

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Tensor]:
        """Places of items by batches: in order, or shuffled, then without the odd ones at the end."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        end = len(order) if rng is None else max(len(order) // size, 1) * size
        for begin in range(0, end, size):
            yield torch.from_numpy(order[begin : min(begin + size, end)])


def table(
    path: str | Path, split: str, features: Sequence[str], limit: int | None = None, take: int | None = None
) -> Table:
    """A split of a dataset, its first `limit` items, all takes or one of them.

    Raises DatasetError, and ValueError for what networks cannot learn from: a feature that was not stored, chords,
    two boards, a split without items.
    """
    whole = dataset.open(path)
    spec = whole.spec
    for feature in features:
        if feature not in spec.store.features:
            raise ValueError(f"{path} has no feature {feature!r}; it has {', '.join(spec.store.features) or 'none'}")
    if spec.machine.boards != 1 or spec.performance.most_keys != 1:
        raise ValueError(f"{path}: networks learn from single notes of one tone")
    if take is not None and take >= spec.takes:
        raise ValueError(f"{path} has {spec.takes} takes an item; there is no take {take}")
    own = np.flatnonzero(whole.column("split") == SPLITS.index(split))[:limit]
    if not len(own):
        raise ValueError(f"{path} has no items for {split}")
    chosen = dataset.Dataset(path, own)
    performance = chosen.gathered("performance")
    performance = performance[:, None] if spec.takes == 1 else performance
    kept = slice(None) if take is None else slice(take, take + 1)
    only = None if spec.takes == 1 else take
    x = Heard([chosen.rows(f"features/{feature}", only) for feature in features], spec.takes == 1 or take is not None)
    names, p = chosen.names, chosen.p
    if isinstance(spec.performance.hold, Range):
        names, p = (*names, HOLD), np.column_stack([p, performance[:, kept, 0, 3].mean(1) / np.float32(spec.seconds)])
    keys = performance[:, kept, 0, :2] / np.float32(127)
    return Table(names, x, torch.from_numpy(keys), torch.from_numpy(p), chosen.values)


def _not_zero(deviation: np.ndarray) -> np.ndarray:
    """Deviations to divide by: 1 for a column that never changes."""
    return np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)
