"""AVO, SPIRAL and Enhanced SPIRAL: a proposal over tones, moved by a critic that learns to tell its sounds from the target.

The synthesizer gives no gradient, so the proposal moves by the score function with the baseline of least variance,
from the papers (Louppe, Hermans and Cranmer 2017; Ganin et al. 2018): the thesis's equations 5.14 and 5.15 as printed
leave out the logarithm that AVO takes of the critic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH = 64
CRITIC_STEPS, CRITIC_RATE = 4, 3e-4
PENALTY = 5.0
"""R1: of the critic's slope at the target."""

ENTROPY = 0.02
"""What a step takes off the logarithm of the proposal's deviations, against the rest."""

MEAN_RATE, DEVIATION_RATE = 0.02, 0.03
NARROWEST, BLUR = 0.01, 0.02

Sounds = Callable[[np.ndarray], np.ndarray]
"""p (tones, parameters) -> vectors (tones, size) that stand for their sounds; all that a critic hears."""


@dataclass(frozen=True)
class Method:
    """bounded : the critic gives a probability, and cross-entropy is its loss (AVO); else a number without bounds (SPIRAL).

    informed : the proposal begins at a regressor's guess.  deviation : of the proposal at the start, parameters on 0..1.
    """

    bounded: bool
    informed: bool
    deviation: float


METHODS = {
    "avo": Method(True, False, 0.5),
    "spiral": Method(False, False, 0.5),
    "enhanced": Method(False, True, 0.25),
}
"""By name. Source: THESIS, ch. 5: proposals begin at 0.5 with deviation 0.5; "wide" for the enhanced one is PLACEHOLDER."""


@dataclass(frozen=True)
class Pursuit:
    """What came of it: the proposal's mean p, all p that were tried (renders, parameters), and the mean's way (steps, free)."""

    mean: np.ndarray
    tried: np.ndarray
    way: np.ndarray


class Critic(nn.Module):
    """How much a sound, as a vector, is the target: a number, before any sigmoid."""

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.body = nn.Sequential(
            nn.Linear(len(mean), 128), nn.LeakyReLU(0.2), nn.Linear(128, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
        )

    def forward(self, sounds: Tensor) -> Tensor:
        """(items,) of (items, size)."""
        return self.body((sounds - self.mean) / self.deviation)[:, 0]

    def loss(self, real: Tensor, made: Tensor, bounded: bool) -> Tensor:
        """Of telling them apart, with the penalty on its slope at the real ones."""
        real = real.requires_grad_()
        there, here = self(real), self(made)
        apart = (functional.softplus(-there) + functional.softplus(here)).mean() if bounded else (here - there).mean()
        (slope,) = torch.autograd.grad(there.sum(), real, create_graph=True)
        return apart + PENALTY / 2 * (slope * self.deviation).square().mean(0).sum()


def pursue(
    method: Method,
    target: np.ndarray,
    sounds: Sounds,
    start: np.ndarray,
    free: Sequence[int],
    steps: int,
    seed: int = 0,
    shown: Callable[[int], None] = lambda step: None,
) -> Pursuit:
    """Move a proposal over the `free` columns of p towards a target, a vector (size,); the others stay as in `start`.

    An informed method begins at `start` in the free ones too. Every step renders `BATCH` tones.
    """
    rng, free = np.random.default_rng(seed), list(free)
    torch.manual_seed(seed)
    mean = start[free].copy() if method.informed else np.full(len(free), 0.5)
    deviation = np.full(len(free), method.deviation)
    critic, optimiser = None, None
    pace = np.zeros((2, len(free)))
    tried, way = [], []
    for step in range(steps):
        drawn = mean + deviation * rng.standard_normal((BATCH, len(free)))
        p = np.repeat(start[None], BATCH, 0)
        p[:, free] = np.clip(drawn, 0, 1)
        heard = torch.from_numpy(sounds(p).astype(np.float32))
        real = torch.from_numpy(np.repeat(target[None].astype(np.float32), BATCH, 0))
        if critic is None:
            spread = torch.cat([heard, real]).std(0) + 0.1
            critic = Critic(heard.mean(0), spread)
            optimiser = torch.optim.RMSprop(critic.parameters(), CRITIC_RATE)
        for _ in range(CRITIC_STEPS):
            blurred = [each + BLUR * critic.deviation * torch.randn_like(each) for each in (real, heard)]
            optimiser.zero_grad()
            critic.loss(*blurred, method.bounded).backward()
            optimiser.step()
        with torch.no_grad():
            told = critic(heard)
            cost = -functional.softplus(told) if method.bounded else -told  # log(1 - d), and -d: both are to be small
        slope = _slope(drawn, mean, deviation, cost.numpy())
        slope[1] += ENTROPY * np.abs(slope[1]).mean()
        pace = 0.9 * pace + 0.1 * slope**2
        moved = slope / np.sqrt(pace / (1 - 0.9 ** (step + 1)) + 1e-12)
        mean = np.clip(mean - MEAN_RATE * moved[0], 0, 1)
        deviation = np.maximum(deviation * np.exp(-DEVIATION_RATE * moved[1]), NARROWEST)
        tried.append(p)
        way.append(mean)
        shown(step + 1)
    found = start.copy()
    found[free] = mean
    return Pursuit(found, np.concatenate(tried), np.array(way))


def _slope(drawn: np.ndarray, mean: np.ndarray, deviation: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Gradient (2, free) of the mean cost by means and logarithms of deviations: the score function with the best baselines."""
    away = (drawn - mean) / deviation
    scores = np.stack([away / deviation, away**2 - 1])  # 2, tones, free
    squares = scores**2
    baseline = (squares * cost[:, None]).sum(1) / np.maximum(squares.sum(1), 1e-12)
    return (scores * (cost[:, None] - baseline[:, None])).mean(1)
