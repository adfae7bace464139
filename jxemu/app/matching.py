"""A sound that was dropped on the panel: ``jxemu match`` finds tones for it."""

import tempfile
from pathlib import Path

from jxemu.app.files import beside
from jxemu.app.process import CommandError, plain_stem, run
from jxemu.patch.bank import Bank
from jxemu.patch.tone import Tone

LARGEST_SOUND = 64 << 20
SUFFIXES = (".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3")

LONGEST = 300.0
"""Seconds after which a search is given up."""


class MatchingError(Exception):
    """Why there are no tones for a sound."""


async def matched(data: bytes, name: str) -> tuple[str, list[Tone]]:
    """A sentence on how near they came, and tones that sound like a file's bytes, the nearest first. Raises MatchingError."""
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise MatchingError(f"{name} is not a sound file that can be matched ({', '.join(SUFFIXES)})")
    with tempfile.TemporaryDirectory(prefix="jxemu-") as folder:
        sound = Path(folder) / f"{plain_stem(name)}{suffix}"
        sound.write_bytes(data)
        output = Path(folder) / "found" / f"{sound.stem}.syx"
        output.parent.mkdir()
        try:
            said = await run("match", str(sound), "-o", str(output), longest=LONGEST)
        except CommandError as error:
            raise MatchingError(str(error).replace(str(sound), name)) from None
        return said.splitlines()[0].replace(str(output), name), Bank.load(beside(output, "candidates")).tones
