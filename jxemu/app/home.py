"""Where the player's own things are kept: learned controllers, favourites and tags, trained weights."""

import os
from pathlib import Path

WEIGHTS = "weights"
"""Folder in `home` of what ``jxemu match`` has learned."""


def home() -> Path:
    """``JXEMU_HOME``, else ``jxemu`` in the user's configuration folder."""
    if chosen := os.environ.get("JXEMU_HOME"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "jxemu"
