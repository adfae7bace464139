"""Play for minutes under hard conditions and count missed deadlines: ``python tools/soak.py --minutes 10``.

A Super JX on a JACK server without hardware, twelve voices sounding, a patch change every second, the
panel open in headless Chromium on its busiest page, and a thread of Python in a busy loop. Prints a line
every ten seconds and the account at the end; needs jackd2, chromium and ``pip install '.[test]'``.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from jxemu import Event, SuperJX
from jxemu.app.panel import Panel
from jxemu.app.play import SWITCH_INTERVAL
from jxemu.app.recorder import Recorder
from jxemu.live.audio import Jack
from jxemu.live.player import Player

RATE = 48_000
KEYS = (36, 43, 48, 52, 55, 60, 64, 67, 71, 72, 76, 79)


@contextlib.contextmanager
def jack_server(block: int, rate: int = RATE, name: str | None = None, waits: bool = False) -> Iterator[dict[str, str]]:
    """A JACK server without hardware, in real time where that is allowed; gives the environment for its clients.

    waits : whether it waits for late clients; else it goes on without them, as servers with hardware do, and the
        sound and MIDI of that block are lost.

    Raises FileNotFoundError without jackd, TimeoutError if it does not start.
    """
    name = name or f"jx{os.getpid()}b{block}"
    realtime = ["-R", "-P", "20"] if os.geteuid() == 0 else ["-r"]
    process = subprocess.Popen(
        ["jackd", "-n", name, *(["-S"] if waits else []), *realtime, "-d", "dummy", "-r", str(rate), "-p", str(block), "-C", "2", "-P", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    env = os.environ | {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1"}
    try:
        end = time.monotonic() + 20
        while subprocess.run(["jack_lsp"], env=env, capture_output=True).returncode != 0:
            if time.monotonic() > end:
                raise TimeoutError("jackd does not answer")
            time.sleep(0.05)
        yield env
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for leftover in Path("/dev/shm").glob(f"jack*{name}*"):
            with contextlib.suppress(OSError):
                leftover.unlink()


@contextlib.contextmanager
def _browser(address: str) -> Iterator[None]:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(address)
        page.click("#tab-views")
        yield
        browser.close()


def _hog(stop: threading.Event) -> None:
    count = 0
    while not stop.is_set():
        count += 1


def soak(minutes: float, block: int, browser: bool = True, hog: bool = True) -> dict[str, float]:
    """Play on the JACK server of the environment; the player's counters at the end."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    driver = Jack()
    player = Player(SuperJX(sample_rate=driver.rate), driver)
    recorder, stop = Recorder(player, print), threading.Event()
    with player, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as things:
        os.environ["JXEMU_HOME"] = folder
        panel = things.enter_context(Panel(player, recorder, Path(folder), "127.0.0.1", 0))
        if browser:
            things.enter_context(_browser(panel.address))
        if hog:
            threading.Thread(target=_hog, args=(stop,), daemon=True).start()
            things.callback(stop.set)
        time.sleep(2.0)
        begun = player.status() | {"stolen": _stolen()}
        for second in track(range(round(minutes * 60)), "playing"):
            player.play(Event(0.0, "program", second % 64))
            for key in KEYS:
                player.note("note_on", key, 100)
            time.sleep(0.9)
            for key in KEYS:
                player.note("note_off", key, 0)
            time.sleep(0.1)
            if second % 10 == 9:
                print(_account(begun, player.status()), flush=True)
        end = player.status()
    print(_account(begun, end))
    return {
        name: end[name] - begun[name]
        for name in ("late_blocks", "slow_blocks", "xruns", "late_bytes", "frames", "busy_ns")
    }


def _stolen() -> float:
    """Seconds that a hypervisor has taken of all processors since the start of the machine."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def _account(before: dict, now: dict) -> str:
    played = (now["frames"] - before["frames"]) / now["rate"]
    load = (now["busy_ns"] - before["busy_ns"]) / 1e9 / played
    return (
        f"{played:6.1f} s: load {load:.1%}, longest block {now['worst_ns'] / 1e6:.2f} ms of {now['block'] / now['rate'] * 1000:.2f} "
        f"(of its own processor time {now['worst_cpu_ns'] / 1e6:.2f}), blocks over their time "
        f"{now['late_blocks'] - before['late_blocks']} (by their own processor time {now['slow_blocks'] - before['slow_blocks']}), "
        f"xruns of the server {now['xruns'] - before['xruns']}, late bytes {now['late_bytes'] - before['late_bytes']}; the hypervisor took {_stolen() - before['stolen']:.1f} s"
    )


def main(
    minutes: Annotated[float, typer.Option(help="How long.")] = 10.0,
    block: Annotated[int, typer.Option(help="Frames a block.")] = 128,
    browser: Annotated[bool, typer.Option(help="Open the panel in headless Chromium.")] = True,
    hog: Annotated[bool, typer.Option(help="Run a busy thread beside.")] = True,
) -> None:
    """Run the soak and say what was missed."""
    with jack_server(block) as env:
        os.environ.update(env)
        soak(minutes, block, browser, hog)


if __name__ == "__main__":
    typer.run(main)
