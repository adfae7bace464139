"""The project's own tones, from `factory.toml`."""

import tomllib
from importlib.resources import files

from jxemu.patch.tone import Tone


def factory_tones() -> list[Tone]:
    """The factory tones in their order."""
    text = files("jxemu.patch").joinpath("factory.toml").read_text()
    return [Tone(**row) for row in tomllib.loads(text)["tone"]]
