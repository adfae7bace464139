"""The nearest of many known sounds, by vectors that stand for them."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

POOLED = (43, 32)
"""Frames and bands that log-mel levels are reduced to before they are compared."""

MOST = 40_000


class Index:
    """Vectors [shape=(known, size)], compared by Euclidean distance."""

    def __init__(self, vectors: np.ndarray):
        self._vectors = vectors.astype(np.float32)
        self._squares = np.square(self._vectors).sum(1)

    def nearest(self, asked: np.ndarray, count: int = 1) -> np.ndarray:
        """Places of the nearest known vectors to each asked one, int (asked, count), the nearest first."""
        far = self._squares - 2 * asked.astype(np.float32) @ self._vectors.T
        few = np.argpartition(far, min(count, far.shape[1] - 1), axis=1)[:, :count]
        return np.take_along_axis(few, np.take_along_axis(far, few, 1).argsort(1), 1)


def pooled(x: "Tensor | np.ndarray") -> np.ndarray:
    """Log-mel levels (items, takes, frames, bands) as vectors: the means of `POOLED` tiles, not below 80 dB under 0."""
    import torch
    from torch.nn import functional

    parts = []
    for part in torch.as_tensor(x).split(1024):
        levels = part.float().clamp_min(-80).flatten(0, 1)[:, None]
        frames, bands = (min(wanted, there) for wanted, there in zip(POOLED, levels.shape[2:], strict=True))
        parts.append(functional.adaptive_avg_pool2d(levels, (frames, bands)).reshape(len(part), -1))
    return torch.cat(parts).numpy()
