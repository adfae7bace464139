"""A sound that was dropped on the panel: ``jxemu match`` in a process of its own, so that playing goes on undisturbed."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from jxemu.app.files import beside
from jxemu.patch.bank import Bank
from jxemu.patch.tone import Tone

LARGEST_SOUND = 64 << 20
SUFFIXES = (".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3")
_COMMAND = "from jxemu.app.cli import main; main()"

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
        stem = "".join(
            letter for letter in Path(name).stem if letter.isascii() and (letter.isalnum() or letter in " -")
        )
        sound = Path(folder) / f"{stem.strip() or 'sound'}{suffix}"
        sound.write_bytes(data)
        output = Path(folder) / "found" / f"{sound.stem}.syx"
        output.parent.mkdir()
        gently = [shutil.which("nice"), "-n", "3"] if shutil.which("nice") else []
        command = [*gently, sys.executable, "-P", "-c", _COMMAND, "match", str(sound), "-o", str(output)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), LONGEST)
        except TimeoutError:
            raise MatchingError(f"{name}: the search took more than {LONGEST:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            last = (err.decode(errors="replace").strip().splitlines() or ["the search failed"])[-1]
            raise MatchingError(last.removeprefix("jxemu: ").replace(str(sound), name))
        said = out.decode(errors="replace").splitlines()[0].replace(str(output), name)
        return said, Bank.load(beside(output, "candidates")).tones
