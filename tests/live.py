"""What the live tests share: a JACK server of their own, the instrument as a process, other processes beside it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soak

import jxemu
from jxemu.link import replay

HERE = Path(__file__).parent
RATE = 48_000


def require(found, what):
    """Skip a test whose tools are missing on a developer's machine; in CI that is a failure."""
    if not found:
        (pytest.fail if os.environ.get("JXEMU_REQUIRE_ALL") else pytest.skip)(f"{what} is not installed")


@contextlib.contextmanager
def jack_server(block, name=None):
    require(shutil.which("jackd"), "jackd (apt-get install jackd2)")
    with soak.jack_server(block, RATE, name, waits=True) as env:
        yield env


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


def offline(kind, log, frames):
    """What a log of `jxemu play` sounds like when it is rendered."""
    machine = jxemu.Machine(kind, boot=False)
    replay(log, machine.link)
    return machine.render(frames)


def place_of(piece, whole):
    """Where a piece of sound begins in a whole one, by its loudest 64 frames."""
    peak = min(int(np.abs(piece[:, 0]).argmax()), len(piece) - 64)
    for start in np.flatnonzero(whole[:, 0] == piece[peak, 0]):
        if np.array_equal(whole[start : start + 64], piece[peak : peak + 64]):
            return int(start) - peak
    raise AssertionError("what was captured is nowhere in the offline rendering")
