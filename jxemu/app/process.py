"""A command of ours in a process of its own, a little less urgent than the instrument, so that playing goes on undisturbed."""

import asyncio
import shutil
import sys

_COMMAND = "from jxemu.app.cli import main; main()"


class CommandError(Exception):
    """Why a command came to nothing, as it said it itself."""


async def run(*arguments: str, longest: float) -> str:
    """What ``jxemu`` with these arguments prints; it is ended with the task that waits for it.

    longest : seconds after which it is given up.  Raises CommandError.
    """
    gently = [shutil.which("nice"), "-n", "3"] if shutil.which("nice") else []
    process = await asyncio.create_subprocess_exec(
        *gently, sys.executable, "-P", "-c", _COMMAND, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), longest)
    except TimeoutError:
        raise CommandError(f"it took more than {longest:.0f} s and was given up") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = (err.decode(errors="replace").strip().splitlines() or ["it failed and did not say why"])[-1]
        raise CommandError(last.removeprefix("jxemu: "))
    return out.decode(errors="replace")


def plain_stem(name: str) -> str:
    """A file's name as a plain one of our own: ASCII letters, digits, blanks and dashes, without its ending."""
    stem = name.rpartition(".")[0] or name
    kept = "".join(letter for letter in stem if letter.isascii() and (letter.isalnum() or letter in " -"))
    return kept.strip()[:40] or "sound"
