"""Many processes, many machines: whoever renders a shard, it is the same bytes.

The unit of work is a shard, and what is on the disk is the truth: a run asks what is missing, hands it
out, and puts the dataset together when nothing is. It can be stopped anywhere and given again.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawArray
from pathlib import Path

from jxemu.kernel import source_hash
from jxemu.render import sounds
from jxemu.render.card import write_card
from jxemu.render.dataset import (
    DatasetError,
    Folder,
    create,
    finish,
    finished,
    indices_of,
    item_bytes,
    missing,
    sweep,
    write_shard,
)  # fmt: skip
from jxemu.render.items import Items
from jxemu.render.spec import Spec

PATIENCE = 5
"""So many times in a row workers may die without having finished a shard."""

SCHEDULER_PATIENCE = 300.0
"""Seconds to wait for a Dask scheduler that is gone."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Say = Callable[[str], None]


@dataclass
class Progress:
    """Where a run stands. `shown` is called whenever something has changed."""

    items: int
    shown: Callable[["Progress"], None]
    done: int = 0
    bytes: int = 0
    ready: int = 0  # items that were there when the run began
    checking: bool = False
    under_way: dict[int, int] = field(default_factory=dict)  # shard -> items

    @property
    def now(self) -> int:
        """Items that are done, those of unfinished shards too."""
        return self.done + sum(self.under_way.values())


def run(
    path: Path,
    spec: Spec,
    workers: int | None = None,
    scheduler: str | None = None,
    shown: Callable[[Progress], None] = lambda progress: None,
    say: Say = print,
) -> Folder:
    """Render a frozen spec into a folder, or what is missing of it, and put it together.

    workers : processes (default: one a core).  scheduler : address of a Dask scheduler whose workers see
    the folder by the same path.  Raises DatasetError; what is done stays.
    """
    folder = create(path, spec)
    progress = Progress(spec.count, shown)
    if folder.captured:
        raise DatasetError(f"{path} was captured from a real board; jxemu capture goes on with it")
    with folder.held():
        wanted = _look(folder, spec, progress, say)
        if wanted or not finished(folder):
            started = time.time()
            _same_kernels(folder, set(range(spec.shards)) - set(wanted) if wanted else set())
            (path / "manifest.json").unlink(missing_ok=True)
            _room(path, spec, wanted)
            if wanted:
                shards = (
                    _dask(path, wanted, scheduler, say)
                    if scheduler
                    else _processes(path, spec, wanted, workers, progress, say)
                )
                with contextlib.closing(shards):
                    for record in shards:
                        progress.under_way.pop(record["shard"], None)
                        progress.done += record["items"]
                        progress.bytes += record["bytes"]
                        shown(progress)
            try:
                sweep(folder)  # after a worker that was killed
                write_card(folder, spec)
                finish(folder, spec)
            except OSError as error:
                raise DatasetError(
                    f"cannot write {path}: {error.strerror or error}; give the same command again"
                ) from None
            _note(path, progress, started, workers, scheduler)
    return folder


def _look(folder: Folder, spec: Spec, progress: Progress, say: Say) -> list[int]:
    """The shards that are missing; counts those that are there."""
    progress.checking = True

    def tick(number: int) -> None:
        if record := folder.whole(number - 1):
            progress.bytes += record["bytes"]
        progress.shown(progress)

    wanted, damaged = missing(folder, spec, tick)
    for sentence in damaged:
        say(sentence)
    progress.ready = progress.done = spec.count - sum(len(indices_of(spec, number)) for number in wanted)
    progress.checking = False
    progress.shown(progress)
    return wanted


def _same_kernels(folder: Folder, done: set[int]) -> None:
    """Refuse to go on with what another version of the model began: half of the sounds would be another instrument's."""
    if others := sorted(folder.kernels(done) - {source_hash()}):
        raise DatasetError(
            f"{folder.path} was begun with another version of the model (kernels {', '.join(others)}, these are "
            f"{source_hash()}): what is missing would sound otherwise; choose another folder, or go on with that version"
        )


def _room(path: Path, spec: Spec, wanted: list[int]) -> None:
    needed = item_bytes(spec) * sum(len(indices_of(spec, number)) for number in wanted)
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DatasetError(
            f"{path}: the disk is full: what is missing takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} are free; "
            "make room and give the same command again"
        )


def _note(path: Path, progress: Progress, started: float, workers: int | None, scheduler: str | None) -> None:
    seconds = time.time() - started
    row = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(seconds, 1),
        "items": progress.done - progress.ready,
        "workers": scheduler or workers or os.cpu_count(),
    }
    with (path / "runs.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


# --- processes -----------------------------------------------------------------------------------


def _begin(parent: int, counts: RawArray) -> None:
    """In a fresh worker: end when the parent does, however it ends."""
    global _counts
    _counts = counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.25)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(path: Path, number: int) -> dict:
    def tick(done: int) -> None:
        _counts[number] = done
        if _counts[-1]:
            raise DatasetError("stopped")

    return write_shard(path, number, tick)


def _result(future: Future) -> dict:
    try:
        return future.result()
    except (DatasetError, BrokenProcessPool):
        raise
    except Exception as error:  # whatever a worker came to grief on
        raise DatasetError(f"a worker failed ({type(error).__name__}: {error}); what is done stays") from None


def _processes(
    path: Path, spec: Spec, wanted: list[int], workers: int | None, progress: Progress, say: Say
) -> Iterator[dict]:
    """Records of shards, as they are done, from processes of this machine."""
    sounds.render(Items(spec), [(0, 0)])  # compiles the kernel once, not once a process
    for name in _THREADS:
        os.environ[name] = "1"  # a process is one core's
    context = multiprocessing.get_context("spawn")
    counts = RawArray("q", spec.shards + 1)  # items done by shard; then whether to stop
    left, died = list(wanted), 0
    while left:
        pool = ProcessPoolExecutor(workers or os.cpu_count(), context, _begin, (os.getpid(), counts))
        try:
            pending = {pool.submit(_work, path, number): number for number in left}
            while pending:
                done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    number = pending.pop(future)
                    record = _result(future)
                    left.remove(number)
                    died = 0
                    yield record
                progress.under_way = {n: counts[n] for n in left if counts[n]}
                progress.shown(progress)
        except BrokenProcessPool:
            died += 1
            for number in left:
                counts[number] = 0
            if died >= PATIENCE:
                raise DatasetError(
                    f"workers died {died} times in a row (out of memory?); what is done stays, try --workers 1"
                ) from None
            say("a worker died; its shard is rendered anew")
        finally:
            counts[-1] = 1
            pool.shutdown(cancel_futures=True)
            counts[-1] = 0


# --- Dask ----------------------------------------------------------------------------------------


def _dask(path: Path, wanted: list[int], address: str, say: Say) -> Iterator[dict]:
    """Records of shards, as they are done, from the workers of a Dask scheduler, through its restarts."""
    try:
        from distributed import Client
    except ImportError:
        raise DatasetError("Dask is not installed; pip install 'jxemu[dask]'") from None
    left, failed = list(wanted), 0
    while left:
        client = _connected(Client, address, say)
        try:
            futures = {
                client.submit(write_shard, path.resolve(), n, pure=False, key=f"jxemu-{n}-{time.time_ns()}"): n
                for n in left
            }
            while futures and client.status == "running":
                time.sleep(0.2)
                for future in [f for f in futures if f.status in ("finished", "error")]:
                    number = futures.pop(future)
                    record = future.result(timeout=60)
                    left.remove(number)
                    failed = 0
                    yield record
                if any(future.status in ("cancelled", "lost") for future in futures):
                    break
        except DatasetError:
            raise
        except Exception as error:  # whatever a scheduler in trouble brings
            failed += 1
            if failed >= PATIENCE:
                raise DatasetError(f"Dask fails again and again ({error}); what is done stays") from None
            say(f"Dask: {type(error).__name__}: {error}")
            time.sleep(1.0)
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=2)
        if left:
            say(f"the scheduler at {address} was lost; {len(left)} shards are handed out again when it is back")


def _connected(client_type: type, address: str, say: Say):
    end, told = time.monotonic() + SCHEDULER_PATIENCE, False
    while True:
        try:
            return client_type(address, timeout=5, set_as_default=False)
        except ValueError as error:
            raise DatasetError(f"{address!r} is no Dask scheduler, as tcp://host:8786 is ({error})") from None
        except (OSError, TimeoutError) as error:
            if time.monotonic() > end:
                raise DatasetError(
                    f"no Dask scheduler answers at {address} ({error}); what is done stays, give the same command again"
                ) from None
            if not told:
                say(f"waiting for the Dask scheduler at {address}")
                told = True
            time.sleep(1.0)
