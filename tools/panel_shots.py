"""Pictures of the panel, every page in light and dark at three widths: ``python tools/panel_shots.py -o shots``.

Needs chromium and ``pip install '.[test]'``; plays a chord meanwhile, so that there is something to see.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import sync_playwright
from rich.progress import track

from jxemu import Event, SuperJX
from jxemu.app.panel import Panel
from jxemu.app.recorder import Recorder
from jxemu.live.audio import Silent
from jxemu.live.player import Player

PAGES = ("tone", "patch", "browser", "views", "wire", "midi", "poles")
WIDTHS = (390, 900, 1400)
PROGRAM = 3


def main(output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pictures.")]) -> None:
    """Take the pictures."""
    output.mkdir(parents=True, exist_ok=True)
    player = Player(SuperJX(), Silent())
    with player, tempfile.TemporaryDirectory() as takes, sync_playwright() as playwright:
        os.environ["JXEMU_HOME"] = takes
        player.play(Event(0.0, "program", PROGRAM))
        with Panel(player, Recorder(player, print), Path(takes), "127.0.0.1", 0) as panel:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            for scheme in ("light", "dark"):
                for width in track(WIDTHS, scheme):
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                    page.goto(panel.address)
                    page.wait_for_selector("#parameter-vcf_freq")
                    for name in PAGES:
                        page.click(f"#tab-{name}")
                        for key in (48, 55, 60, 64):
                            player.note("note_on", key, 100)
                        page.wait_for_timeout(1500)
                        page.screenshot(path=output / f"{name}-{scheme}-{width}.png", full_page=width == WIDTHS[0])
                        for key in (48, 55, 60, 64):
                            player.note("note_off", key, 0)
                    page.close()
            browser.close()


if __name__ == "__main__":
    typer.run(main)
