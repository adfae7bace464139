"""Rendered datasets for PyTorch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from jxemu.render import dataset


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

    def __getitem__(self, place: int) -> tuple[torch.Tensor | dict[str, torch.Tensor], torch.Tensor]:
        item = self._items[place]
        found = {name: self._feature(item, name) for name in self.features}
        return found[self.features[0]] if self._single else found, torch.from_numpy(item.p)

    def _feature(self, item: dataset.DatasetItem, name: str) -> torch.Tensor:
        if name == "audio":
            return torch.from_numpy(item.audio)
        data = item[name].astype(np.float32)
        if name in self._scales:
            mean, deviation = self._scales[name]
            data = (data - mean) / deviation
        return torch.from_numpy(data)


def _not_zero(deviation: np.ndarray) -> np.ndarray:
    """Deviations to divide by: 1 for a column that never changes."""
    return np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)
