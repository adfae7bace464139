"""Diagonal state-space modes: the linear memory of models that hear sample after sample."""

import math

import torch
from torch import Tensor, nn


class Modes(nn.Module):
    """Linear modes that ring, each channel's own: (batch, width, n) -> the same.

    s' = pole s + x and y = Re(read s) + straight x, with |pole| < 1 whatever is learned; a stretch is one convolution.
    """

    def __init__(self, width: int, modes: int):
        super().__init__()
        self.fall = nn.Parameter(torch.linspace(-7.0, -0.5, modes).repeat(width, 1))  # log of decay a sample
        self.turn = nn.Parameter(torch.linspace(0.0, 0.9, modes).pow(2).repeat(width, 1) * torch.pi)
        self.read = nn.Parameter(torch.randn(width, modes, 2) * 0.5 / math.sqrt(modes))
        self.straight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A stretch, and the states (batch, width, modes) after it; from rest, and without them, where `before` is None."""
        count = x.shape[2]
        log_pole, read = torch.complex(-self.fall.exp(), self.turn), self.poles()[1]
        powers = torch.exp(log_pole[..., None] * torch.arange(count + 1))
        kernel = (read[..., None] * powers[..., :count]).sum(1).real
        size = 2 * count
        made = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(kernel, size), size)[..., :count]
        made = made + self.straight[:, None] * x
        if before is None:
            return made, None
        made = made + torch.einsum("bwm,wmn->bwn", before * read, powers[..., 1:]).real
        after = before * powers[..., count] + torch.einsum(
            "bwn,wmn->bwm", x.to(powers.dtype), powers[..., :count].flip(2)
        )
        return made, after

    def poles(self) -> tuple[Tensor, Tensor]:
        """Each mode's pole and what it is read by, complex (width, modes)."""
        log_pole = torch.complex(-self.fall.exp(), self.turn)
        return log_pole.exp(), torch.view_as_complex(self.read) * (-torch.expm1(-self.fall.exp()))
