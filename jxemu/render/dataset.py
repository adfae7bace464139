"""A rendered dataset on disk: shards written whole or not at all, put together, checked, and read.

::

    out/spec.json        the frozen spec: with an index, all there is to know about an item
        manifest.json    versions, and of each shard its items, bytes and hash (XXH3, 128 bits)
        index.parquet    one row an item
        stats.npz        mean and deviation of parameters and features over the training split
        shards/00000.h5  values, performance, features, sound; 00000.json says that it is whole
        README.md        the data card, with pictures/
        runs.jsonl       when it was worked on, and how fast: the only file that differs between two runs

Everything else is the same bytes whoever rendered it, in whatever order, however often it was stopped.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import mmap
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from jxemu.kernel import source_hash
from jxemu.patch.tone import Tone
from jxemu.render import sounds
from jxemu.render.items import Draw, Items, Plan, caption
from jxemu.render.memory import keep_memory
from jxemu.render.spec import NAMES, SPLITS, TOPS, Spec, SpecError, checked

LAYOUT = 2
"""Version of the folder's layout."""

CAPTURE = "capture.json"
"""Beside the files of a dataset that a real board has played: of which, and what was wrong with which item."""

PERFORMANCE = ("note", "velocity", "start", "hold")
"""Columns of a key in `performance`; start and hold in seconds."""

_COLUMNS = {
    "index": "i8", "attempt": "u2", "split": "u1", "family": "i8", "unit": "i8", "peak": "f4", "level": "f4",
    "stems_peak": "f4", "silent": "?", "name": "S40", "origin": "S64",
}  # fmt: skip
_PUT_TOGETHER = ("index.parquet", "stats.npz", "README.md")
_VERSIONED = ("jxemu", "numpy", "numba", "scipy", "h5py", "pyarrow")
_SLACK = 8 << 20
_BOARDS_DRAWN = 8 * sounds.LANES  # at once, so that there are some that sound alike
_MOST_SAMPLES = 1 << 25  # of them: 256 MB

Tick = Callable[[int], None]
"""Called with the number of items that are done in a shard."""


Source = Callable[[Items, Sequence[Draw]], list[sounds.Sound]]
"""Where the sounds of items come from, in their order: `sounds.render`, or a real board."""


class DatasetError(RuntimeError):
    """A dataset that cannot be written or read; the message says what to do."""


class SourceError(Exception):
    """A sound that its source cannot give; the message says why."""


class DiskFullError(DatasetError):
    """There is no room for the next shard."""


# --- the folder ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """Where things are."""

    path: Path

    def shard(self, number: int, suffix: str = ".h5") -> Path:
        """A shard's file, or what says that it is whole."""
        return self.path / "shards" / f"{number:05d}{suffix}"

    def spec(self) -> Spec:
        """The frozen spec. Raises DatasetError."""
        path = self.path / "spec.json"
        try:
            return checked(json.loads(path.read_text()), str(path))
        except OSError as error:
            raise DatasetError(f"{self.path}: not a dataset (cannot read spec.json: {error.strerror})") from None
        except (ValueError, SpecError) as error:
            raise DatasetError(f"{path}: damaged ({error}); render into another folder") from None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out. Raises DatasetError."""
        with (self.path / "spec.json").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatasetError(
                    f"{self.path} is being rendered by another process; wait for it or stop it"
                ) from None
            except OSError as error:
                raise DatasetError(f"{self.path} cannot be kept from other processes: {error.strerror}") from None
            yield

    @property
    def captured(self) -> bool:
        """Whether a real board has played it: then its items cannot be rendered again."""
        return (self.path / CAPTURE).exists()

    def whole(self, number: int) -> dict[str, Any] | None:
        """What a shard's record says, if the shard is there and as long as that. Its bytes are not looked at."""
        try:
            row = json.loads(self.shard(number, ".json").read_text())
            return row if self.shard(number).stat().st_size == row["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def kernels(self, numbers: Iterable[int]) -> set[str]:
        """Hashes of the kernels that rendered shards, those of before they were noted as "unknown"."""
        return {record.get("kernels", "unknown") for number in numbers if (record := self.whole(number))}


def create(path: Path, spec: Spec) -> Folder:
    """The folder of a frozen spec, made if it is not there. Raises DatasetError if it holds something else."""
    folder = Folder(path)
    try:
        others = [each for each in path.glob("*") if not each.match(".*.part")]  # a run killed here leaves a part
        if others and not (path / "spec.json").exists():
            raise DatasetError(f"{path} holds other files; choose a new folder")
        path.mkdir(parents=True, exist_ok=True)
        if not (path / "spec.json").exists():
            part = path / f".spec.json.{os.getpid()}.part"
            write_whole(part, spec.to_json().encode())
            try:
                os.link(part, path / "spec.json")
                part.unlink()
            except FileExistsError:  # another run that has just begun
                part.unlink()
            except OSError:  # a file system without links
                part.replace(path / "spec.json")
        (path / "shards").mkdir(exist_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot write {path}: {error.strerror}") from None
    there = folder.spec()
    if there != spec:
        mine, other = spec.model_dump(), there.model_dump()
        entries = ", ".join(name for name in mine if mine[name] != other[name])
        raise DatasetError(f"{path} holds another dataset (its {entries} differ); choose another folder")
    return folder


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that has its name only when it is whole and on the disk. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def digest_of(path: Path) -> str:
    """XXH3 (128 bits) of a file: it is asked whether the disk kept it, and costs next to nothing beside rendering it."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return xxhash.xxh3_128().hexdigest()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            return xxhash.xxh3_128(whole).hexdigest()


def sweep(folder: Folder) -> None:
    """Remove what unfinished work has left."""
    for part in (*folder.path.glob(".*.part*"), *(folder.path / "shards").glob(".*.part")):
        if part.is_file():
            part.unlink(missing_ok=True)


def missing(folder: Folder, spec: Spec, tick: Tick = lambda done: None) -> tuple[list[int], list[str]]:
    """Shards that are still to be rendered, and a sentence for each damaged one; left-overs are removed.

    Raises DatasetError for shards of another layout, which are whole and are not to be lost.
    """
    sweep(folder)
    wanted, damaged = [], []
    for number in range(spec.shards):
        intact = False
        row = folder.whole(number)
        if row and "xxh3" not in row:
            raise DatasetError(
                f"{folder.shard(number)} was made by another version of jxemu, whose hashes are not known here; "
                "what is there stays, choose another folder"
            )
        with contextlib.suppress(OSError):  # unreadable is damaged
            intact = bool(row) and digest_of(folder.shard(number)) == row["xxh3"]
        if intact:
            tick(number + 1)
            continue
        if folder.shard(number, ".json").exists():
            damaged.append(f"{folder.shard(number)} is damaged or gone; it is rendered anew")
        wanted.append(number)
        tick(number + 1)
    return wanted, damaged


# --- a shard -------------------------------------------------------------------------------------


def indices_of(spec: Spec, number: int) -> range:
    """The items of a shard."""
    return range(number * spec.shard, min((number + 1) * spec.shard, spec.count))


def item_bytes(spec: Spec) -> int:
    """Bytes that an item takes in a shard, nearly."""
    stored = sum(np.dtype(kind).itemsize * int(np.prod(shape)) for shape, kind in sounds.shapes(spec).values())
    row = sum(np.dtype(kind).itemsize for kind in _COLUMNS.values())
    return stored + row + len(NAMES) * spec.machine.boards + 16 * spec.takes * spec.performance.most_keys


def write_shard(
    path: Path, number: int, tick: Tick = lambda done: None, source: Source = sounds.render
) -> dict[str, Any]:
    """Render a shard into a dataset's folder; returns its record. It has its name only when it is whole.

    Raises DiskFullError, or DatasetError for a shard that cannot be written.
    """
    keep_memory()
    folder = Folder(path)
    items = Items(folder.spec())
    spec, indices = items.spec, indices_of(items.spec, number)
    needed = item_bytes(spec) * len(indices) + _SLACK
    if shutil.disk_usage(path).free < needed:
        raise _full(path, needed)
    part = folder.shard(number).with_name(f".{number:05d}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with h5py.File(part, "w") as file:
            record = _fill(file, items, indices, tick, source)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        record |= {"shard": number, "bytes": part.stat().st_size, "xxh3": digest_of(part), "kernels": source_hash()}
        part.replace(folder.shard(number))
        write_whole(folder.shard(number, ".json"), (json.dumps(record, indent=1) + "\n").encode())
    except (OSError, RuntimeError, SourceError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, SourceError):
            raise DatasetError(f"{error}; what is done stays, the same command goes on") from None
        if shutil.disk_usage(path).free < needed:
            raise _full(path, needed) from None
        raise DatasetError(f"cannot write {folder.shard(number)}: {error}") from None
    return record


def _full(path: Path, needed: int) -> DiskFullError:
    return DiskFullError(
        f"{path}: the disk is full (a shard takes {needed / 1e6:.0f} MB); make room and give the same command again"
    )


def _fill(file: h5py.File, items: Items, indices: range, tick: Tick, source: Source) -> dict[str, Any]:
    """Render all items of a shard into an open file; silent ones again, beside what is still to come."""
    spec = items.spec
    rows = {name: np.zeros(len(indices), kind) for name, kind in _COLUMNS.items()}
    boards = () if spec.machine.boards == 1 else (2,)
    values = np.zeros((len(indices), *boards, len(NAMES)), np.uint8)
    takes = () if spec.takes == 1 else (spec.takes,)
    performance = np.zeros((len(indices), *takes, spec.performance.most_keys, len(PERFORMANCE)), np.float32)
    stored = {
        name: file.create_dataset(name, (len(indices), *shape), kind)
        for name, (shape, kind) in sounds.shapes(spec).items()
    }
    waiting, again, done, tried = list(indices), [], 0, 0
    width = spec.takes * spec.machine.boards
    batch = max(1, min(_BOARDS_DRAWN // width, _MOST_SAMPLES // (width * spec.frames)))
    while waiting or again:
        draws = again[:batch]
        again = again[batch:]
        fresh = waiting[: batch - len(draws)]
        waiting = waiting[len(fresh) :]
        for sound in source(items, draws + [(index, 0) for index in fresh]):
            plan, tried = sound.plan, tried + 1
            if sound.silent and items.redrawn and plan.attempt + 1 < spec.gate.attempts:
                again.append((plan.index, plan.attempt + 1))
                continue
            at = plan.index - indices.start
            values[at] = plan.values if boards else plan.values[0]
            performance[at] = plan.performance if takes else plan.performance[0]
            row = {
                "index": plan.index, "attempt": plan.attempt, "split": SPLITS.index(plan.split), "family": plan.family,
                "unit": plan.unit, "peak": sound.peak, "level": sound.level, "silent": sound.silent,
                "stems_peak": sound.stems_peak,
                "name": plan.name.encode(), "origin": plan.origin.encode(),
            }  # fmt: skip
            for name, value in row.items():
                rows[name][at] = value
            for name, data in sound.data.items():
                _put(stored[name], at, data)
            done += 1
        tick(done)
    file["values"], file["performance"] = values, performance
    for name, column in rows.items():
        file[f"index/{name}"] = column
    train = rows["split"] == SPLITS.index("train")
    _moments(file, "values", values.reshape(len(values), -1, len(NAMES)), train)
    for name, data in stored.items():
        if name.startswith("features/"):
            _moments(file, name, data, train)
    return {"items": len(indices), "tried": tried, "silent": int(rows["silent"].sum())}


def _put(rows: h5py.Dataset, at: int, data: np.ndarray) -> None:
    """``rows[at] = data`` without what h5py asks itself first, which for a short row takes as long as writing it."""
    place = rows.id.get_space()
    place.select_hyperslab((at, *(0,) * data.ndim), (1, *data.shape))
    rows.id.write(h5py.h5s.create_simple(data.shape), place, np.ascontiguousarray(data))


def _moments(file: h5py.File, name: str, data: np.ndarray | h5py.Dataset, train: np.ndarray) -> None:
    """Count, sum and sum of squares by column (last axis) over the training items, in the order of the items."""
    total = np.zeros((2, data.shape[-1]))
    count = 0
    for at in np.flatnonzero(train):
        rows = np.asarray(data[at], np.float64).reshape(-1, data.shape[-1])
        total += rows.sum(0), np.square(rows).sum(0)
        count += len(rows)
    file[f"moments/{name}/sums"], file[f"moments/{name}/count"] = total, count


# --- put together --------------------------------------------------------------------------------


def finish(folder: Folder, spec: Spec) -> None:
    """Write manifest, index and statistics of a dataset whose shards are all there. Raises DatasetError or OSError."""
    records = []
    for number in range(spec.shards):
        record = folder.whole(number)
        if record is None:
            raise DatasetError(f"{folder.shard(number)} is damaged or gone; give the same command again")
        records.append(record)
    _write_index(folder, spec)
    _write_stats(folder, spec)
    manifest = {
        "layout": LAYOUT,
        "spec_sha256": spec.digest,
        "items": spec.count,
        "tried": sum(row["tried"] for row in records),
        "silent": sum(row["silent"] for row in records),
        "files": {name: digest_of(folder.path / name) for name in _PUT_TOGETHER},
        "versions": {name: version(name) for name in _VERSIONED} | {"python": sys.version.split()[0]},
        "shards": records,
    }
    write_whole(folder.path / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def finished(folder: Folder) -> bool:
    """Whether a dataset was put together, and what was made of its shards is as it was."""
    try:
        made = json.loads((folder.path / "manifest.json").read_text())["files"]
        return all(digest_of(folder.path / name) == made[name] for name in _PUT_TOGETHER)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_index(folder: Folder, spec: Spec) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder.path / "index.parquet"
    part = path.with_name(f".{path.name}.part")
    writer = None
    try:
        for number in range(spec.shards):
            table = pa.table(index_rows(folder, spec, number))
            writer = writer or pq.ParquetWriter(part, table.schema)
            writer.write_table(table)
        writer.close()
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def index_rows(folder: Folder, spec: Spec, number: int) -> dict[str, list | np.ndarray]:
    """Columns of the index for a shard: who an item is, without its sound."""
    with h5py.File(folder.shard(number)) as file:
        columns = {name: file[f"index/{name}"][:] for name in _COLUMNS}
        values, performance = file["values"][:], file["performance"][:]
    first = performance.reshape(len(values), -1, len(PERFORMANCE))[:, 0]
    flat = values.reshape(len(values), -1)
    return {
        "index": columns["index"],
        "shard": np.full(len(values), number, np.int32),
        "split": [SPLITS[n] for n in columns["split"]],
        "family": columns["family"],
        "tone": [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in flat],
        "name": [name.decode(errors="ignore") for name in columns["name"]],
        "origin": [origin.decode(errors="ignore") for origin in columns["origin"]],
        "note": first[:, 0].astype(np.int16),
        "velocity": first[:, 1].astype(np.int16),
        "hold": first[:, 3],
        "f0": 440 * 2 ** ((first[:, 0] - 69) / 12),
        "unit": columns["unit"],
        "attempt": columns["attempt"],
        "peak": columns["peak"],
        "level": columns["level"],
        "silent": columns["silent"],
        "clipped": columns["peak"] > 1.0,
        **({"caption": [_caption(row) for row in values]} if spec.store.captions else {}),
    }


def _caption(values: np.ndarray) -> str:
    return " | ".join(caption(row) for row in values.reshape(-1, len(NAMES)))


def _write_stats(folder: Folder, spec: Spec) -> None:
    totals: dict[str, tuple[np.ndarray, int]] = {}
    for number in range(spec.shards):
        with h5py.File(folder.shard(number)) as file:
            for name in ("values", *(f"features/{feature}" for feature in spec.store.features)):
                sums, count = totals.get(name, (0.0, 0))
                group = file[f"moments/{name}"]
                totals[name] = sums + group["sums"][:], count + int(group["count"][()])
    arrays = {}
    for name, (sums, count) in totals.items():
        mean, square = sums / max(count, 1)
        short = name.removeprefix("features/")
        arrays[f"{short}_mean"] = mean
        arrays[f"{short}_std"] = np.sqrt(np.maximum(square - mean**2, 0))
        arrays[f"{short}_count"] = np.array(count)
    path = folder.path / "stats.npz"
    part = path.with_name(f".{path.name}.part.npz")
    np.savez(part, **arrays)
    part.replace(path)


# --- reading -------------------------------------------------------------------------------------


class Dataset:
    """A rendered dataset as a sequence of items; files are opened when they are needed, in each process for itself.

    ``ds = open(path); ds[7].values; ds[7].audio; ds.split("train")``. Raises DatasetError for a folder that is
    not a whole dataset.
    """

    def __init__(self, path: str | Path, indices: np.ndarray | None = None):
        self.folder = Folder(Path(path))
        self.spec = self.folder.spec()
        try:
            self.manifest = json.loads((self.folder.path / "manifest.json").read_text())
        except (OSError, ValueError):
            raise DatasetError(f"{path} is not finished; give the command that made it again") from None
        self.indices = np.arange(self.spec.count) if indices is None else indices
        self.items = Items(self.spec)
        self._files: dict[int, h5py.File] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> "DatasetItem":
        if not -len(self) <= place < len(self):
            raise IndexError(f"item {place} of {len(self)}")
        return DatasetItem(self, int(self.indices[place]))

    def __iter__(self) -> Iterator["DatasetItem"]:
        return (self[place] for place in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that vary, in the order of `p`."""
        return self.spec.varied

    @property
    def stats(self) -> dict[str, np.ndarray]:
        """Mean and deviation by column over the training split: ``values_mean``, ``mel_std``, ..."""
        with np.load(self.folder.path / "stats.npz") as arrays:
            return dict(arrays)

    def split(self, name: str) -> "Dataset":
        """The items of train, validation or test. Raises KeyError for another name."""
        if name not in SPLITS:
            raise KeyError(f"there is no split {name!r}; choose one of {', '.join(SPLITS)}")
        own = self.column("split") == SPLITS.index(name)
        return Dataset(self.folder.path, self.indices[own])

    def column(self, name: str) -> np.ndarray:
        """A column of the index for every item: index, attempt, split, family, unit, peak, level, silent."""
        return self.gathered(f"index/{name}")

    @property
    def values(self) -> np.ndarray:
        """The 44 values of every item, uint8 (items, 44), or (items, 2, 44) with the upper tone first."""
        return self.gathered("values")

    @property
    def p(self) -> np.ndarray:
        """The varied parameters on 0..1, float32 (items, parameters)."""
        return normalised(self.spec, self.values)

    def gathered(self, name: str) -> np.ndarray:
        """An array of the shards (``values``, ``performance``, ``features/mel``) for every item. Raises DatasetError."""
        one = self.read(name, 0)
        found = np.empty((len(self), *one.shape[1:]), one.dtype)
        shards = self.indices // self.spec.shard
        for number in np.unique(shards):
            own = np.flatnonzero(shards == number)
            found[own] = self.read(name, int(number))[:][self.indices[own] % self.spec.shard]
        return found

    def rows(self, name: str, take: int | None = None) -> "Rows":
        """The same, but read when asked for; of items with several takes all, or one of them. Raises DatasetError."""
        return Rows(self, name, take)

    def read(self, name: str, number: int) -> h5py.Dataset:
        """An array of a shard. Raises DatasetError if it cannot be read."""
        if self._process != os.getpid():  # HDF5 does not survive a fork
            self._files, self._process = {}, os.getpid()
        try:
            if number not in self._files:
                if len(self._files) >= 32:
                    self._files.pop(next(iter(self._files))).close()
                self._files[number] = h5py.File(self.folder.shard(number), "r")
            return self._files[number][name]
        except (OSError, KeyError) as error:
            raise DatasetError(
                f"{self.folder.shard(number)}: cannot read {name} ({error}); render again to repair it"
            ) from None


class Rows:
    """An array of the shards, row by row out of the files: more than fits into memory, in any order.

    take : the only place of a row's first axis that is read.
    Raises DatasetError for a shard that cannot be read.
    """

    def __init__(self, dataset: Dataset, name: str, take: int | None = None):
        self._dataset, self._name = dataset, name
        self._shards, self._places = np.divmod(dataset.indices, dataset.spec.shard)
        first = dataset.read(name, 0)
        self.shape: tuple[int, ...] = (len(dataset), *first.shape[1 if take is None else 2 :])
        self._kind, self._size = first.dtype, int(np.prod(self.shape[1:]))
        self._step = first.dtype.itemsize * int(np.prod(first.shape[1:]))
        self._skipped = (take or 0) * first.dtype.itemsize * self._size
        self._starts = {int(n): dataset.read(name, int(n)).id.get_offset() for n in np.unique(self._shards)}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: slice | np.ndarray) -> np.ndarray:
        """Rows of a slice, or of a list of places."""
        chosen = np.arange(len(self))[places]
        found = np.empty((len(chosen), self._size), self._kind)
        for row, place in zip(found, chosen, strict=True):
            self._read(row, int(self._shards[place]), int(self._places[place]))
        return found.reshape(-1, *self.shape[1:])

    def _read(self, row: np.ndarray, number: int, place: int) -> None:
        # without HDF5, which takes a hundred times as long to open a file
        path = self._dataset.folder.shard(number)
        try:
            with io.FileIO(path) as file:
                file.seek(self._starts[number] + place * self._step + self._skipped)
                got = file.readinto(row)
        except OSError as error:
            raise DatasetError(
                f"{path}: cannot read {self._name} ({error.strerror}); render again to repair it"
            ) from None
        if got < row.nbytes:
            raise DatasetError(f"{path}: {self._name} is cut off; render again to repair it")


def normalised(spec: Spec, values: np.ndarray) -> np.ndarray:
    """The varied parameters of values (..., 44) on 0..1, float32."""
    places = [NAMES.index(name) for name in spec.varied]
    return (values[..., places] / TOPS[places]).astype(np.float32)


@dataclass(frozen=True)
class DatasetItem:
    """One item; its arrays are read when they are asked for."""

    dataset: Dataset
    index: int

    def column(self, name: str) -> Any:
        """Its place in a column of the index, as in `Dataset.column`."""
        return self._read(f"index/{name}")

    @property
    def peak(self) -> float:
        """Largest sample; above 1 is above full scale."""
        return float(self.column("peak"))

    def _read(self, name: str) -> Any:
        spec = self.dataset.spec
        return self.dataset.read(name, self.index // spec.shard)[self.index % spec.shard]

    @property
    def values(self) -> np.ndarray:
        """The 44 values, uint8 (44,), or (2, 44) with the upper tone first."""
        return self._read("values")

    @property
    def p(self) -> np.ndarray:
        """The varied parameters on 0..1, float32."""
        return normalised(self.dataset.spec, self.values)

    @property
    def performance(self) -> np.ndarray:
        """Keys by `PERFORMANCE`, float32 ([takes,] keys, 4); NaN where there is no key."""
        return self._read("performance")

    @property
    def split(self) -> str:
        """train, validation or test."""
        return SPLITS[int(self.column("split"))]

    @property
    def plan(self) -> Plan:
        """What it is, worked out again from spec and index."""
        return self.dataset.items.plans([(self.index, int(self.column("attempt")))])[0]

    @property
    def tone(self) -> Tone:
        """Its tone; the upper one of two."""
        return self.plan.tones()[0]

    def __getitem__(self, feature: str) -> np.ndarray:
        """A feature, float16 ([takes,] frames, columns); `audio` (int16), `stems`, `latch` likewise. Raises DatasetError."""
        return self._read(f"features/{feature}" if feature in self.dataset.spec.store.features else feature)

    @property
    def audio(self) -> np.ndarray:
        """The sound, float32 ([takes,] n[, 2]): as it was stored, or rendered again."""
        spec = self.dataset.spec
        if spec.store.audio:
            return sounds.unscaled(self._read("audio"), self.peak)
        return sounds.heard(spec, self.plan)

    @property
    def stems(self) -> np.ndarray:
        """Every voice by itself, float32 ([takes,] voices, n); of two boards the lower one's first. Raises DatasetError."""
        return sounds.unscaled(self._read("stems"), float(self.column("stems_peak")))


def open(path: str | Path) -> Dataset:
    """A rendered dataset. Raises DatasetError if there is none, or if it is not finished."""
    return Dataset(path)


def check_files(dataset: Dataset, tick: Tick = lambda done: None) -> list[str]:
    """Compare every file with its hash; a sentence for each that differs. Raises DatasetError for another layout."""
    if (layout := dataset.manifest.get("layout")) != LAYOUT:
        raise DatasetError(
            f"{dataset.folder.path} has layout {layout} of another version of jxemu, whose hashes are not checked here; "
            "it can be read, but to check it render it again"
        )
    wrong = []
    if dataset.spec.digest != dataset.manifest["spec_sha256"]:
        wrong.append(f"{dataset.folder.path / 'spec.json'} is not the spec that the items were made of")
    for done, record in enumerate(dataset.manifest["shards"], 1):
        if not _is(dataset.folder.shard(record["shard"]), record["xxh3"]):
            wrong.append(f"{dataset.folder.shard(record['shard'])} is damaged or gone")
        tick(done)
    for name, digest in dataset.manifest["files"].items():
        if not _is(dataset.folder.path / name, digest):
            wrong.append(f"{dataset.folder.path / name} is damaged or gone")
    return wrong


def _is(path: Path, digest: str) -> bool:
    try:
        return digest_of(path) == digest
    except OSError:
        return False


def check_items(dataset: Dataset, places: Sequence[int], tick: Tick = lambda done: None) -> list[str]:
    """Render items singly and compare with what is stored, byte by byte; a sentence for each that differs."""
    items, wrong = dataset.items, []
    for done, place in enumerate(places, 1):
        item = dataset[int(place)]
        try:
            differ = _differences(items, item)
        except DatasetError as error:
            wrong.append(str(error))
        else:
            if differ:
                wrong.append(f"item {item.index} differs in {', '.join(differ)}")
        tick(done)
    return wrong


def _differences(items: Items, item: DatasetItem) -> list[str]:
    sound = sounds.render(items, [(item.index, int(item.column("attempt")))])[0]
    made = sound.data | {"values": sound.plan.values, "performance": sound.plan.performance}
    made |= {"index/peak": np.float32(sound.peak), "index/level": np.float32(sound.level)}
    return [name for name, data in made.items() if data.tobytes() != item._read(name).tobytes()]
