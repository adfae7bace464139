"""Random tones and one hash of their sound; also run as a script, for other instruction sets."""

import hashlib

import numpy as np

import jxemu
from jxemu.patch.parameter import PARAMETERS

PHRASE = [(48, 100, 0.0, 0.06), (60, 70, 0.02, 0.05), (67, 127, 0.03, 0.04)]


def random_tone(seed):
    random = np.random.default_rng(seed)
    values = {name: int(random.integers(0, row.top + 1)) for name, row in PARAMETERS.items()}
    values.update(vca_level=110, env2_a=int(random.integers(0, 30)), env2_s=int(random.integers(60, 128)))
    return jxemu.Tone(f"R{seed}", **values)


def digest(sound):
    return hashlib.sha256(np.ascontiguousarray(sound).tobytes()).hexdigest()[:16]


def sounds(count, seconds=0.1):
    return [jxemu.render(random_tone(seed), PHRASE, seconds, seed=seed % 3) for seed in range(count)]


if __name__ == "__main__":
    print(*(digest(sound) for sound in sounds(20)))
