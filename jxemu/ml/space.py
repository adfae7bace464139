"""Parameters as networks see them: what a switch is, what does nothing, which tones are the same with their DCOs exchanged."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jxemu.ml.metrics import AMOUNTS, SWITCHES, is_symmetric, swapped
from jxemu.patch.parameter import PARAMETERS
from jxemu.render.spec import NAMES

IDLE_WEIGHT = 0.25
"""Weight in training of a parameter that does nothing in its tone. It is scored like any other."""


class Space:
    """Some parameters, in the order of `p` [shape=(items, parameters), 0..1], as outputs and tokens of a network.

    switches : whether a switch is a choice (one output a state, cross-entropy) or a number like a fader.
    """

    def __init__(self, names: Sequence[str], switches: bool = True):
        self.names = tuple(names)
        self.faders = [n for n, name in enumerate(self.names) if not (switches and name in SWITCHES)]
        self.choices: list[tuple[int, int, int]] = []
        """Column of p, first output and number of states of each choice."""
        place = len(self.faders)
        for n, name in enumerate(self.names):
            if n not in self.faders:
                states = PARAMETERS[name].top + 1
                self.choices.append((n, place, states))
                place += states
        self.width = place
        """Outputs, and tokens, of a network."""

    def states(self, p: Tensor, place: int, states: int) -> Tensor:
        """Which state a choice of `p` is in, int64 (items,)."""
        return (p[:, place] * (states - 1)).round().long()

    def loss(self, out: Tensor, p: Tensor, weights: Tensor) -> Tensor:
        """Error of outputs (items, width) against p: squares of faders, cross-entropy of choices, one number an item.

        Both count alike: an even guess costs a choice about what a fader at random costs.
        """
        total = (weights[:, self.faders] * (out[:, : len(self.faders)] - p[:, self.faders]).square()).sum(1)
        for place, first, states in self.choices:
            logits = out[:, first : first + states]
            entropy = functional.cross_entropy(logits, self.states(p, place, states), reduction="none")
            total = total + weights[:, place] * entropy / (12 * np.log(states))
        return total / len(self.names)

    def read(self, out: Tensor) -> Tensor:
        """The p that outputs stand for: of a choice the mean under its probabilities, which has the least squared error."""
        p = out.new_zeros(len(out), len(self.names))
        p[:, self.faders] = out[:, : len(self.faders)].clamp(0, 1)
        for place, first, states in self.choices:
            chances = out[:, first : first + states].softmax(1)
            p[:, place] = chances @ torch.linspace(0, 1, states, dtype=out.dtype, device=out.device)
        return p

    def decided(self, out: Tensor) -> Tensor:
        """As `read`, but a choice is in one state: a tone to be played.

        Of `metrics.AMOUNTS` the middle one, which has the least error under its probabilities; else the likeliest.
        """
        p = self.read(out)
        for place, first, states in self.choices:
            logits = out[:, first : first + states]
            if self.names[place] in AMOUNTS:
                state = (logits.softmax(1).cumsum(1)[:, :-1] < 0.5).sum(1)
            else:
                state = logits.argmax(1)
            p[:, place] = state.to(p.dtype) / (states - 1)
        return p

    def tokens(self, p: Tensor, beyond: float = 0.0) -> Tensor:
        """Points of a flow (items, width) for p: faders on -1..1, a choice -1 everywhere but for its state, where it is 1.

        beyond : faders at an end of their range are put anywhere up to so far outside, which reads as that end.
        """
        points = -p.new_ones(len(p), self.width)
        faders = 2 * p[:, self.faders] - 1
        outside = beyond * torch.rand_like(faders) * faders.sign()
        points[:, : len(self.faders)] = torch.where(faders.abs() == 1, faders + outside, faders)
        for place, first, states in self.choices:
            points.scatter_(1, first + self.states(p, place, states)[:, None], 1.0)
        return points

    def untokens(self, points: Tensor) -> Tensor:
        """The p of points of a flow; a choice is in the state that stands highest."""
        p = points.new_zeros(points.shape[0], len(self.names))  # its `len` would be a constant in ONNX
        p[:, self.faders] = ((points[:, : len(self.faders)] + 1) / 2).clamp(0, 1)
        for place, first, states in self.choices:
            p[:, place] = points[:, first : first + states].argmax(1).to(p.dtype) / (states - 1)
        return p


def active(values: np.ndarray) -> np.ndarray:
    """Which parameters of tones (items, 44) can be heard in a note: bool (items, 44).

    A DCO that is mixed out and modulates nothing is idle, so is an envelope or LFO that goes nowhere, and its mode.
    """
    at = {name: values[:, n].astype(int) for n, name in enumerate(NAMES)}
    opened, upwards = at["mix_env"] > 0, at["mix_mode"] % 2 == 1  # the odd modes are not inverted
    mixed1, mixed2 = at["mix_dco1"] > 0, (at["mix_dco2"] > 0) | (opened & upwards)
    coupled = (at["dco_xmod"] > 0) & mixed2
    dco1, dco2 = mixed1 | coupled, mixed2
    bent1, bent2 = dco1 & (at["dco1_env"] > 0), dco2 & (at["dco2_env"] > 0)
    swept = at["vcf_env"] > 0
    by_env1 = {
        "dco": (bent1 | bent2) & (at["dco_mode"] >= 2),
        "mix": mixed2 & opened & (at["mix_mode"] >= 2),
        "vcf": swept & (at["vcf_mode"] >= 2),
    }
    by_env2 = {
        "dco": (bent1 | bent2) & (at["dco_mode"] < 2),
        "mix": mixed2 & opened & (at["mix_mode"] < 2),
        "vcf": swept & (at["vcf_mode"] < 2),
    }
    env1 = by_env1["dco"] | by_env1["mix"] | by_env1["vcf"]
    env2 = by_env2["dco"] | by_env2["mix"] | by_env2["vcf"] | (at["vca_mode"] == 1)
    lfo = (dco1 & (at["dco1_lfo"] > 0)) | (dco2 & (at["dco2_lfo"] > 0)) | (at["vcf_lfo"] > 0)
    heard = {f"env1_{stage}": env1 for stage in ("a", "d", "s", "r", "key")}
    heard |= {f"env2_{stage}": env2 for stage in ("a", "d", "s", "r", "key")}
    heard |= {f"lfo_{what}": lfo for what in ("wave", "delay", "rate")}
    heard |= {f"dco1_{what}": dco1 for what in ("range", "wave", "tune", "lfo", "env")}
    heard |= {f"dco2_{what}": dco2 for what in ("range", "wave", "tune", "fine", "lfo", "env")}
    heard |= {"dco_xmod": mixed2, "dco_mode": bent1 | bent2, "dco_dyn": bent1 | bent2}
    heard |= {"mix_mode": mixed2 & opened, "mix_env": mixed2 | upwards, "mix_dyn": mixed2 & opened}
    heard |= {"vcf_mode": swept, "vcf_dyn": swept}
    every = np.ones(len(values), bool)
    return np.stack([heard.get(name, every) for name in NAMES], 1)


def heard_in(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Which columns of p can be heard in tones (items, 44): bool (items, names). What is none of the 44 always can."""
    busy = dict(zip(NAMES, active(values).T, strict=True))
    return np.stack([busy.get(name, np.ones(len(values), bool)) for name in names], 1)


def weights_of(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Weights in training, float32 (items, parameters): `IDLE_WEIGHT` for what does nothing."""
    return np.where(heard_in(values, names), 1.0, IDLE_WEIGHT).astype(np.float32)


def ordered(p: np.ndarray, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Parameters p with the DCOs of every tone whose exchange changes nothing in one order: the louder, then the higher first.

    values : the 44 of each, which say whether its DCOs may be exchanged (`metrics.is_symmetric`).
    """
    column = {name: p[:, n] for n, name in enumerate(names)}
    turned = np.zeros(len(p), bool)
    undecided = np.ones(len(p), bool)
    for what in ("mix_dco{}", "dco{}_range", "dco{}_tune", "dco{}_wave", "dco{}_lfo", "dco{}_env"):
        first, second = (column.get(what.format(n)) for n in (1, 2))
        if first is not None and second is not None:
            turned |= undecided & (second > first)
            undecided &= second == first
    turned &= is_symmetric(values, names)
    return np.where(turned[:, None], swapped(p, tuple(names)), p)
