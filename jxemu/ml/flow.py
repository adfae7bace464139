"""A posterior over tones by conditional flow matching: noise flows to the tones that could have made a sound.

Straight paths from noise to tokens (`Space.tokens`); the network learns their velocity, given what an `Ear` heard.
Noise and tone are paired at random: pairing them by nearness within a batch would bend what a sound tells.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

UNCONDITIONED = 0.1
"""Share of the items that are learned without their sound, for guidance."""

GUIDANCE = 1.5
"""For tones to be tried: nearer to the sound than the posterior is, and less varied."""

STEPS = 25
TIME_LINES = 32


class Velocity(nn.Module):
    """Velocity of tokens at a time, given an embedding: residual blocks, modulated by both (adaptive layer norm)."""

    def __init__(self, tokens: int, heard: int, size: int = 384, blocks: int = 3):
        super().__init__()
        self.tokens, self.heard = tokens, heard
        self.register_buffer("mean", torch.zeros(heard))
        self.register_buffer("deviation", torch.ones(heard))
        self.nothing = nn.Parameter(torch.zeros(heard))
        self.condition = nn.Sequential(nn.Linear(heard + 2 * TIME_LINES, size), nn.GELU(), nn.Linear(size, size))
        self._build(size, blocks)

    def _build(self, size: int, blocks: int) -> None:
        self.first = nn.Linear(self.tokens, size)
        self.blocks = nn.ModuleList([_Block(size) for _ in range(blocks)])
        self.last = nn.Linear(size, self.tokens)

    def _moved(self, points: Tensor, condition: Tensor) -> Tensor:
        found = self.first(points)
        for block in self.blocks:
            found = block(found, condition)
        return self.last(found)

    def forward(self, points: Tensor, time: Tensor, heard: Tensor, known: Tensor | None = None) -> Tensor:
        """Velocity (items, tokens) at points (items, tokens) and times (items,), or one for all; known : bool (items,), default all.

        heard : (items, size), or (1, size) for points that are all of one sound.
        """
        condition = (heard - self.mean) / self.deviation
        if known is not None:
            condition = torch.where(known[:, None], condition, self.nothing)
        turns = time[:, None] * torch.exp(torch.linspace(0, math.log(200.0), TIME_LINES, device=time.device))
        turns = turns.expand(len(condition), -1)
        return self._moved(points, functional.gelu(self.condition(torch.cat([condition, turns.sin(), turns.cos()], 1))))

    def loss(self, points: Tensor, heard: Tensor) -> Tensor:
        """Mean squared error of the velocity at a random time of the path from noise to each of `points`."""
        time = torch.rand(len(points), device=points.device)
        noise = torch.randn_like(points)
        known = torch.rand(len(points), device=points.device) >= UNCONDITIONED
        place = torch.lerp(noise, points, time[:, None])
        return (self(place, time, heard, known) - (points - noise)).square().mean()

    @torch.no_grad()
    def sample(self, heard: Tensor, guidance: float = 1.0, steps: int = STEPS, seed: int = 0) -> Tensor:
        """A point (items, tokens) for each embedding, by the midpoint rule.

        guidance : 1 draws from the posterior; more draws nearer to what this sound tells and other sounds do not.
        """
        points = torch.randn(len(heard), self.tokens, generator=torch.Generator().manual_seed(seed)).to(heard)
        for step in range(steps):
            points = self.moved(points, heard, points.new_tensor([step / steps]), 1 / steps, guidance)
        return points

    def moved(self, points: Tensor, heard: Tensor, time: Tensor, length: float, guidance: float) -> Tensor:
        """Where points are a step of a `length` after a time (1,), by the midpoint rule; the rest as in `sample`."""
        none = torch.zeros(len(heard), dtype=torch.bool, device=heard.device)

        def velocity(points: Tensor, time: Tensor) -> Tensor:
            told = self(points, time, heard)
            return told if guidance == 1 else torch.lerp(self(points, time, heard, none), told, guidance)

        middle = points + velocity(points, time) * (length / 2)
        return points + velocity(middle, time + length / 2) * length


class TokenVelocity(Velocity):
    """The same by a transformer in which every token of the parameters is one of its own: for a GPU.

    Each scalar is laid along a direction of its own; what was heard, and the time, is a token beside them.
    """

    def __init__(self, tokens: int, heard: int, size: int = 256, blocks: int = 6):
        super().__init__(tokens, heard, size, blocks)

    def _build(self, size: int, blocks: int) -> None:
        self.direction = nn.Parameter(0.5 * torch.randn(self.tokens, size) / math.sqrt(size))
        self.place = nn.Parameter(0.5 * torch.randn(self.tokens, size) / math.sqrt(size))
        layer = nn.TransformerEncoderLayer(size, 8, 4 * size, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, blocks, nn.LayerNorm(size), enable_nested_tensor=False)
        self.last = nn.Linear(size, 1)

    def _moved(self, points: Tensor, condition: Tensor) -> Tensor:
        laid = points[:, :, None] * self.direction + self.place + condition[:, None]
        told = condition.expand(len(points), -1)[:, None]
        return self.last(self.blocks(torch.cat([told, laid], 1)))[:, 1:, 0]


class _Block(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self.modulation = nn.Linear(size, 3 * size)
        self.first, self.second = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift, gate = self.modulation(condition).chunk(3, 1)
        return x + gate * self.second(functional.gelu(self.first(self.norm(x) * (1 + scale) + shift)))
