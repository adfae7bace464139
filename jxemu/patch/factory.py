"""The project's own tones and patches, from `factory.toml`."""

import functools
import tomllib
from pathlib import Path

from jxemu.patch.bank import Bank
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone


@functools.cache
def factory_bank() -> Bank:
    """The factory tones and patches in their order."""
    text = tomllib.loads(Path(__file__).with_name("factory.toml").read_text())
    names = {row["name"]: number for number, row in enumerate(text["tone"])}

    def numbered(row: dict) -> dict:
        return {key: names[value] if key in ("upper_tone", "lower_tone") else value for key, value in row.items()}

    return Bank([Tone(**row) for row in text["tone"]], [Patch(**numbered(row)) for row in text.get("patch", [])])
