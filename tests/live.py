"""What the live tests share: a JACK server of their own, the instrument as a process, other processes beside it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RATE = 48_000


def require(found, what):
    """Skip a test whose tools are missing on a developer's machine; in CI that is a failure."""
    if not found:
        (pytest.fail if os.environ.get("JXEMU_REQUIRE_ALL") else pytest.skip)(f"{what} is not installed")


@contextlib.contextmanager
def jack_server(block):
    """A JACK server without hardware, in real time where that is allowed; its environment for clients."""
    require(shutil.which("jackd"), "jackd (apt-get install jackd2)")
    name = f"jx{os.getpid()}b{block}"
    realtime = ["-R", "-P", "20"] if os.geteuid() == 0 else ["-r"]
    process = subprocess.Popen(
        ["jackd", "-n", name, *realtime, "-d", "dummy", "-r", str(RATE), "-p", str(block), "-C", "2", "-P", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    env = os.environ | {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1"}
    try:
        wait_for(lambda: subprocess.run(["jack_lsp"], env=env, capture_output=True).returncode == 0, 10)
        yield env
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
        for leftover in Path("/dev/shm").glob(f"jack*{name}*"):
            leftover.unlink(missing_ok=True)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextlib.contextmanager
def instrument(env, tmp_path, *options):
    """``jxemu play`` as a process, ended as a user ends it; gives the process and the file of what it says."""
    said = tmp_path / "said.txt"
    env = env | {"JXEMU_HOME": str(tmp_path / "home")}
    command = [str(Path(sys.executable).with_name("jxemu")), "play", *options]
    with said.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        wait_for(lambda: "MIDI in:" in said.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, said.read_text()
        yield process, said
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def probe(env, *arguments):
    return subprocess.Popen(
        [sys.executable, str(HERE / "jack_probe.py"), *map(str, arguments)],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
