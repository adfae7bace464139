"""Where the player's own things are kept: learned controllers, favourites and tags."""

import os
from pathlib import Path


def home() -> Path:
    """``JXEMU_HOME``, else ``jxemu`` in the user's configuration folder."""
    if chosen := os.environ.get("JXEMU_HOME"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "jxemu"
