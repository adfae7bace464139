"""Long work on many targets keeps those that are done in a JSON file, and goes on with the others."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jxemu.render.dataset import write_whole

TARGETS = "targets"


def earlier(path: Path, asked: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    """Targets that are done of what is asked for; none if there is no file yet. Raises ValueError for a file of something else."""
    if not path.exists():
        return []
    try:
        report = json.loads(path.read_text())
        rows = report.pop(TARGETS)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{path} is no {what}; choose another folder") from None
    if report != asked:
        other = [name for name in {**asked, **report} if report.get(name) != asked.get(name)]
        raise ValueError(f"{path} is of another {what} ({', '.join(other)}); choose another folder")
    return rows


def keep(path: Path, asked: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what was asked for and the targets that are done. Raises OSError."""
    write_whole(path, (json.dumps({**asked, TARGETS: rows}, indent=1) + "\n").encode())
