"""Networks that hear a sound and give the parameters of its tone: the thesis's eight, and the `Ear` that this project uses.

All take (items, takes, frames, bands) as datasets store it, and `keys` (items, takes, 2): note and velocity on 0..1.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from jxemu.render.features import FINE_BANDS, FINE_LOWEST, FINE_PER_OCTAVE

THESIS_KERNEL, LAST_KERNEL = (10, 3), (2, 2)
"""Frames x bins of the thesis's "3x10" and "2x2" kernels: ten frames, since ten of 16 bins cannot be taken again after pooling. INFERRED."""


THOUSANDTHS = 1000.0
"""Amplitudes are some of these; in them their variances are about 1, which half precision holds."""


class Thesis(nn.Module):
    """A network of the thesis: amplitudes of one take, ends in as many numbers as there are parameters."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, keys: Tensor) -> Tensor:
        """Parameters (items, width)."""
        return self.body(x[:, 0])


class Level(nn.Module):
    """Every bin at mean 0 and deviation 1 over what is learned from; the thesis does not tell the scale of its own.

    Amplitudes are some thousandths, of which convolutions and LSTMs that start as usual learn next to nothing. Locally
    connected layers hear them as they are: at deviation 1, each place's own weights begin as noise that stays.
    """

    def __init__(self, bins: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(bins, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """(items, frames, bins) of the same."""
        return self.norm(THOUSANDTHS * x.transpose(1, 2)).transpose(1, 2)


def _convolved(shape: tuple[int, int], filters: list[tuple[tuple[int, int], int]], dense: list[int], width: int):
    """Convolutions of the same size, each followed by ReLU and 2x2 pooling; then dense layers.

    Pooled first, which comes to the same, ReLU has a quarter of the work; channels lie last, which is twice as fast.
    """
    layers: list[nn.Module] = [Level(shape[1]), nn.Unflatten(1, (1, shape[0]))]
    channels, (frames, bins) = 1, shape
    for kernel, count in filters:
        same = ((kernel[1] - 1) // 2, kernel[1] // 2, (kernel[0] - 1) // 2, kernel[0] // 2)
        layers += [nn.ZeroPad2d(same), nn.Conv2d(channels, count, kernel), nn.MaxPool2d(2), nn.ReLU()]
        channels, frames, bins = count, frames // 2, bins // 2
    whole = nn.Sequential(*layers, nn.Flatten(), *_dense(channels * frames * bins, dense, width))
    return whole.to(memory_format=torch.channels_last)


def _dense(size: int, sizes: list[int], width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for wide in sizes:
        layers += [nn.Linear(size, wide), nn.ReLU()]
        size = wide
    return [*layers, nn.Linear(size, width)]


class Recurrent(nn.Module):
    """An LSTM over the frames; its last state goes on."""

    def __init__(self, bands: int, size: int):
        super().__init__()
        self.lstm = nn.LSTM(bands, size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """The last state (items, size)."""
        return self.lstm(x)[1][0][-1]


class Attentive(Recurrent):
    """The same, but the mean of its states goes on: the last one comes after a second in which the note has died away."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean of all states (items, size)."""
        return self.lstm(x)[0].mean(1)


class Local(nn.Module):
    """A locally connected layer (frames, bins): like a convolution, but each place has weights of its own; pooled, then ReLU."""

    def __init__(self, shape: tuple[int, int], kernel: tuple[int, int], filters: int, pool: int):
        super().__init__()
        self.kernel, self.pool = kernel, pool
        self.shape = tuple(n - k + 1 for n, k in zip(shape, kernel, strict=True))
        places, taps = math.prod(self.shape), math.prod(kernel)
        self.size = filters * math.prod(n // pool for n in self.shape)
        weight = torch.randn(places, taps + 1, filters) / math.sqrt(taps)
        weight[:, taps] = 0.0
        self.weight = nn.Parameter(weight)  # of the taps, and a bias

    def forward(self, x: Tensor) -> Tensor:
        """(items, size) of (items, frames, bins): filters of each place side by side."""
        seen = x.unfold(1, self.kernel[0], 1).unfold(2, self.kernel[1], 1)  # items, frames, bins, taps
        seen = seen.permute(1, 2, 0, 3, 4).flatten(3).flatten(0, 1)
        made = torch.bmm(functional.pad(seen, (0, 1), value=1.0), self.weight)  # places, items, filters
        if self.pool > 1:
            made = made.transpose(0, 1).contiguous().unflatten(1, self.shape).permute(0, 3, 1, 2)
            return functional.max_pool2d(made, self.pool).relu().permute(0, 2, 3, 1).flatten(1)
        return made.relu().transpose(0, 1).flatten(1)


def _local(shape: tuple[int, int], pool: int, dense: list[int], width: int) -> nn.Module:
    local = Local(shape, THESIS_KERNEL, 64, pool)
    return nn.Sequential(local, *_dense(local.size, dense, width))


def _recurrent(layer: type[Recurrent], size: int, dense: list[int], shape: tuple[int, int], width: int) -> nn.Module:
    return nn.Sequential(Level(shape[1]), layer(shape[1], size), *_dense(size, dense, width))


_FIRST, _SECOND, _LAST = (THESIS_KERNEL, 32), (THESIS_KERNEL, 64), (LAST_KERNEL, 64)

THESIS_NETWORKS: dict[str, Callable[[tuple[int, int], int], nn.Module]] = {
    "cnn1": lambda shape, width: _convolved(shape, [_FIRST, _LAST], [128], width),
    "cnn2": lambda shape, width: _convolved(shape, [_FIRST, _SECOND, _LAST], [128], width),
    "cnn3": lambda shape, width: _convolved(shape, [_FIRST, _SECOND, _LAST], [512, 128], width),
    "lstm1": partial(_recurrent, Recurrent, 64, [64]),
    "lstm2": partial(_recurrent, Recurrent, 128, [64]),
    "lstm3": partial(_recurrent, Recurrent, 256, [128, 64]),
    "lcnn1": lambda shape, width: _local(shape, 1, [128], width),
    "lcnn2": lambda shape, width: _local(shape, 3, [256], width),
    "lstm1-mean": partial(_recurrent, Attentive, 64, [64]),
    "lstm2-mean": partial(_recurrent, Attentive, 128, [64]),
    "lstm3-mean": partial(_recurrent, Attentive, 256, [128, 64]),
}
"""Of (frames, bins) and the number of parameters. Source: THESIS, tables of ch. 6; the last three are its LSTMs as `Attentive`."""

QUIETEST_DB = -80.0


class Ear(nn.Module):
    """Log-mel and fine levels of one or several takes, and the keys that were played, in; an embedding, and outputs of a `Space`.

    Convolutions run over one axis only, time of the mel levels and pitch of the fine ones, with the other as channels:
    that is what two processor cores do fastest. Magnitude spectra of levels (`lines`) stand beside, which tell a pattern
    wherever it lies: over time, of a few wide bands, for slow modulation; over pitch, of each frame and each fine window,
    for waves and intervals. Fine levels are heard from two octaves below the key upwards, so that an interval looks the
    same at any key. Of several takes each is also heard beside the others of its note, and beside the others of its
    velocity, in both of its spectra: what velocity and key follow do is small, and lies in these differences alone. How
    much faster one take runs than another is given beside, and how much higher it sounds: `Pace`, `Bend`.
    """

    WIDE, PIECES = 12, 3
    """Bands whose modulation is heard; pieces, each of half the length, a quarter of it apart, in which it is."""

    BELOW = 2 * FINE_PER_OCTAVE
    COMPARED = 256
    """Numbers that `Pace` and `Bend` tell each."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        frames: int,
        width: int,
        relative: bool = False,
        held: int | None = None,
        size: int = 512,
    ):
        """Shape : takes, rows, bands.  frames : how many rows are those of `mel`; the others are those of `fine`.

        relative : hear levels against the loudest, since a recording's level tells nothing.
        held : frames until the keys of several takes are let go; None where that differs.
        """
        super().__init__()
        takes, rows, bands = shape
        self.frames, self.relative = frames, relative
        heard = 3 if takes > 1 else 1  # itself, beside its note's others, beside its velocity's
        self.stack = nn.Sequential(
            nn.Conv1d(bands * heard + bands // 2 + 2, 128, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv1d(128, 192, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv1d(192, 224, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv1d(224, 224, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(),
        )  # fmt: skip
        windows = (rows - frames) * bands // FINE_BANDS
        self.pitch = nn.Sequential(
            nn.Conv1d(windows * heard, 64, 9, stride=2, padding=4), nn.GELU(),
            nn.Conv1d(64, 64, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv1d(64, 64, 5, stride=2, padding=2), nn.GELU(), nn.Flatten(),
            nn.Linear(FINE_BANDS // 8 * 64, 256), nn.GELU(),
        )  # fmt: skip
        shrunk = frames
        for _ in range(4):
            shrunk = (shrunk + 1) // 2
        self.piece = max(2, frames // 2)
        self.swing = nn.Linear(self.WIDE * self.PIECES * (self.piece // 2), 256)
        self.ripple = nn.Linear(windows * FINE_BANDS // 2, 256)
        joined = (224 * shrunk + 3 * 256 + 2) * takes
        self.several = takes > 1
        if self.several:
            self.pace = Pace(takes, frames, bands, held, self.COMPARED)
            self.bend = Bend(takes, windows, self.COMPARED)
            joined += 2 * self.COMPARED
        self.joined = nn.Linear(joined, size)
        self.deeper = nn.ModuleList([_Residual(size) for _ in range(2)])
        self.last = nn.Linear(size, width)

    def embed(self, x: Tensor, keys: Tensor) -> Tensor:
        """What was heard (items, size)."""
        items, takes, _, bands = x.shape
        if self.relative:
            x = x - x[:, :, : self.frames].amax((1, 2, 3), keepdim=True)
        x = x.clamp(QUIETEST_DB, 20.0) / 20.0 + 3.0
        levels = x[:, :, : self.frames].flatten(0, 1)
        played = keys.reshape(items * takes, 2)
        pressed = played[:, None].expand(-1, self.frames, -1)
        heard = torch.cat([levels, lines(levels), *self._from_others(levels, keys), pressed], 2)
        found = self.stack(heard.transpose(1, 2))
        wide = levels.unflatten(2, (self.WIDE, bands // self.WIDE)).mean(3).transpose(1, 2)
        begins = [n * (self.frames // 4) for n in range(self.PIECES)]
        pieces = torch.stack([wide[:, :, begin : begin + self.piece] for begin in begins], 2)
        fine = self._from_key(x[:, :, self.frames :].reshape(items * takes, -1, FINE_BANDS), played[:, 0])
        pitch = self.pitch(torch.cat([fine, *self._from_others(fine, keys)], 1))
        swing = functional.gelu(self.swing(lines(pieces).flatten(1)))
        ripple = functional.gelu(self.ripple(lines(fine).flatten(1)))
        joined = torch.cat([found, swing, pitch, ripple, played], 1).reshape(items, -1)
        if self.several:
            apart = self.pace(levels.unflatten(0, (items, takes))), self.bend(fine.unflatten(0, (items, takes)))
            joined = torch.cat([joined, *apart], 1)
        joined = functional.gelu(self.joined(functional.dropout(joined, 0.2, self.training)))
        for block in self.deeper:
            joined = block(joined)
        return joined

    def _from_others(self, levels: Tensor, keys: Tensor) -> list[Tensor]:
        """How far levels (items x takes, frames, bands) stand from the mean of all takes of their note, and of their velocity, in 5 dB.

        keys : note and velocity of takes (items, takes, 2). Of a single take: nothing.
        """
        if keys.shape[1] == 1:
            return []
        together = levels.unflatten(0, keys.shape[:2])
        found = []
        for each in keys.unbind(2):
            same = (each[:, :, None] == each[:, None]).to(levels)
            mean = torch.einsum("nij,njtb->nitb", same / same.sum(2, keepdim=True), together)
            found.append(4 * (together - mean).flatten(0, 1))
        return found

    def _from_key(self, fine: Tensor, note: Tensor) -> Tensor:
        """Fine levels, from two octaves below the key of each item; what lies outside of them is silent."""
        key = FINE_PER_OCTAVE * ((127 * note - 69) / 12 + math.log2(440 / FINE_LOWEST))
        places = torch.arange(FINE_BANDS, device=fine.device) + (key - self.BELOW).round().long()[:, None]
        there = (places >= 0) & (places < FINE_BANDS)
        moved = fine.gather(2, places.clamp(0, FINE_BANDS - 1)[:, None].expand_as(fine))
        return torch.where(there[:, None], moved, QUIETEST_DB / 20.0 + 3.0)

    def forward(self, x: Tensor, keys: Tensor) -> Tensor:
        """Outputs (items, width)."""
        return self.last(self.embed(x, keys))


def lines(levels: Tensor) -> Tensor:
    """The magnitude spectrum of levels (..., n), without what is the same in all, on a logarithmic scale (..., n // 2)."""
    window = torch.hann_window(levels.shape[-1], device=levels.device)
    apart = (levels - levels.mean(-1, keepdim=True)) * window
    return torch.log1p(torch.fft.rfft(apart).abs()[..., 1:])


class Pace(nn.Module):
    """How much faster one take runs than another: what an envelope's key follow does.

    Over the logarithm of time, from where the note begins and from where it ends, a faster envelope is the same curve
    farther to the left. So each two takes are compared at several shifts, by the slopes of curves through their levels:
    the spectrum's first cosines over pitch, and wide bands.
    """

    COSINES = 6
    STEP, SHIFTS = 1.17, 10
    """From one point in time to the next, as a factor, half a frame from where it begins; the farthest shift, in these steps."""

    def __init__(self, takes: int, frames: int, bands: int, held: int | None, size: int):
        """Held : frames until the note ends; None: compare from where it begins alone."""
        super().__init__()
        angles = math.pi / bands * (torch.arange(bands) + 0.5)
        cosines = torch.cos(torch.arange(self.COSINES)[:, None] * angles) / math.sqrt(bands)
        wide = bands // Ear.WIDE
        curves = torch.cat([cosines, torch.eye(Ear.WIDE).repeat_interleave(wide, 1) / math.sqrt(wide)])
        self.register_buffer("curves", curves, persistent=False)
        ends = (0, frames) if held is None else (0, held, frames)
        self.parts = len(ends) - 1
        for n, (begin, end) in enumerate(pairwise(ends)):
            self.register_buffer(f"slopes{n}", self._slopes(frames, begin, end), persistent=False)
        self.told = nn.Linear(math.comb(takes, 2) * len(curves) * self.parts * (2 * self.SHIFTS + 1), size)

    def _slopes(self, frames: int, begin: int, end: int) -> Tensor:
        """What levels (..., frames) are multiplied with to give how they rise from point to point (..., points)."""
        count = 1 + math.ceil(math.log(2 * (end - begin)) / math.log(self.STEP))
        places = (begin - 0.5 + 0.5 * self.STEP ** torch.arange(count)).clamp(0, end - 1)
        between = (1 - (places - torch.arange(frames)[:, None]).abs()).clamp_min(0)  # on the line from frame to frame
        return between.diff(dim=1)

    def compared(self, levels: Tensor) -> list[Tensor]:
        """How `alike` takes are, from the note's begin and from its end. At a shift of n, the first runs faster by `STEP` to the n.

        levels : (items, takes, frames, bands) in 20 dB.
        """
        with torch.autocast(levels.device.type, enabled=False):  # differences of large sums
            curves = self.curves @ levels.float().transpose(2, 3)
            return [alike(curves @ getattr(self, f"slopes{n}"), self.SHIFTS) for n in range(self.parts)]

    def forward(self, levels: Tensor) -> Tensor:
        """What is told (items, size) of levels (items, takes, frames, bands) in 20 dB."""
        return functional.gelu(self.told(torch.cat([part.flatten(1) for part in self.compared(levels)], 1)))


class Bend(nn.Module):
    """How much higher one take sounds than another, from its key and by window: what the DCOs' dynamics do."""

    SHIFTS = 48
    """The farthest, in fine bands."""

    def __init__(self, takes: int, windows: int, size: int):
        super().__init__()
        self.told = nn.Linear(math.comb(takes, 2) * windows * (2 * self.SHIFTS + 1), size)

    def forward(self, fine: Tensor) -> Tensor:
        """What is told (items, size) of levels from the key (items, takes, windows, fine bands) in 20 dB."""
        with torch.autocast(fine.device.type, enabled=False):
            found = alike(fine.float().diff(dim=3), self.SHIFTS)
        return functional.gelu(self.told(found.flatten(1)))


AS_GOOD_AS_NONE = 0.02
"""Square of 20 dB, of slopes."""


def alike(slopes: Tensor, shifts: int) -> Tensor:
    """How alike each two takes are, their slopes (items, takes, curves, points) as long as 1, at so many shifts either way.

    (items, pairs, curves, shifts): at a shift of n, the second take is as the first one, n points later.
    """
    slopes = slopes / (slopes.square().sum(3, keepdim=True) + AS_GOOD_AS_NONE).sqrt()
    first, second = torch.triu_indices(slopes.shape[1], slopes.shape[1], 1, device=slopes.device)
    points = slopes.shape[3] + shifts
    lines = torch.fft.rfft(slopes, points)
    found = torch.fft.irfft(lines[:, first].conj() * lines[:, second], points)
    return torch.cat([found[..., -shifts:], found[..., : shifts + 1]], 3)


class _Residual(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(size), nn.Linear(size, size), nn.Linear(size, size)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.drop(functional.gelu(self.first(self.norm(x)))))
