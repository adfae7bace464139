"""Banks of tones: load from a file, find by name."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from jxemu.patch.sysex import Skipped, SysexError, decode_tones
from jxemu.patch.tone import Tone


def read_bank(path: str | Path) -> tuple[list[Tone], list[Skipped]]:
    """Tones of a sysex file or cartridge image, and what was skipped in it.

    Raises OSError if the file cannot be read, SysexError if it holds no whole tone.
    """
    data = Path(path).read_bytes()
    tones, skipped = decode_tones(data)
    if not tones:
        reason = f" ({skipped[0]})" if skipped else ""
        raise SysexError(f"{path}: no whole JX-8P, JX-10 or MKS-70 tone in {len(data)} bytes{reason}")
    return tones, skipped


def load_bank(path: str | Path) -> list[Tone]:
    """Tones of a sysex file or cartridge image; see `read_bank` for what was skipped."""
    return read_bank(path)[0]


def find_tone(tones: Sequence[Tone], name: str) -> int:
    """Index of the tone called `name`, case and outer blanks aside, or with that number from 1.

    Raises KeyError with near matches.
    """
    wanted = name.strip().lower()
    names = [tone.name.strip().lower() for tone in tones]
    if wanted in names:
        return names.index(wanted)
    if wanted.isdigit() and 1 <= int(wanted) <= len(tones):
        return int(wanted) - 1
    near = difflib.get_close_matches(wanted, names, 3, 0.4)
    listed = [tones[names.index(n)].name for n in near] or [tone.name for tone in tones[:5]]
    raise KeyError(f"no tone {name!r} in the bank; " + ("near: " if near else "it begins with: ") + ", ".join(listed))
