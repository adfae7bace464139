"""``python -m jxemu`` is the command ``jxemu``."""

from jxemu.app.cli import main

main()
