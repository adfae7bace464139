import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from test_dataset import TINY, rendered, run, same, spec

from jxemu.render import dataset, engine

PORT = 18_786


@contextlib.contextmanager
def process(*arguments):
    """A part of a Dask cluster as a process of its own."""
    started = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def scheduler(port):
    return process("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")


def worker(port):
    return process(
        "dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard", "--death-timeout", "60"
    )


def test_two_workers_of_a_scheduler_write_the_bytes_of_one_process_though_one_is_killed_and_the_scheduler_restarts(
    tmp_path,
):
    found = spec(240, 12)
    toml = tmp_path / "t.toml"
    toml.write_text(TINY.format(items=240, shard=12))
    jxemu = sys.executable.replace("python", "jxemu")
    with contextlib.ExitStack() as cluster:
        first = cluster.enter_context(scheduler(PORT))
        doomed, _ = cluster.enter_context(worker(PORT)), cluster.enter_context(worker(PORT))
        command = [
            jxemu,
            "dataset",
            "render",
            str(toml),
            "-o",
            str(tmp_path / "dask"),
            "--scheduler",
            f"tcp://127.0.0.1:{PORT}",
        ]
        rendering = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        done = lambda: len(list((tmp_path / "dask/shards").glob("*.json")))  # noqa: E731
        wait_for(lambda: done() >= 3 or rendering.poll() is not None)
        os.killpg(doomed.pid, signal.SIGKILL)
        wait_for(lambda: done() >= 6 or rendering.poll() is not None)
        os.killpg(first.pid, signal.SIGKILL)
        time.sleep(2)
        assert rendering.poll() is None
        cluster.enter_context(scheduler(PORT))
        cluster.enter_context(worker(PORT))
        said, _ = rendering.communicate(timeout=240)
    assert rendering.returncode == 0, said
    assert "was lost" in said
    rendered(tmp_path / "one", found)
    assert same(tmp_path / "dask", tmp_path / "one")


def test_no_scheduler_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SCHEDULER_PATIENCE", 1.0)
    with pytest.raises(dataset.DatasetError, match="no Dask scheduler answers"):
        run(tmp_path / "a", spec(), scheduler="tcp://127.0.0.1:1")


def wait_for(condition, seconds=180.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
