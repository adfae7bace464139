"""Where the player's own things are kept: learned controllers, favourites and tags, trained weights, sounds with poles."""

import os
from pathlib import Path

WEIGHTS = "weights"
"""Folder in `home` of what ``jxemu match`` has learned."""

POLES = "poles"
"""Folder in `home` of the machines whose poles the panel shows, one folder each."""


def home() -> Path:
    """``JXEMU_HOME``, else ``jxemu`` in the user's configuration folder."""
    if chosen := os.environ.get("JXEMU_HOME"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "jxemu"
