"""A dataset in the formats of other libraries: numpy memmap, Hugging Face Parquet, WebDataset, Zarr, and plain WAV files.

Sound that was not stored is rendered again. Memory does not grow with the number of items.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jxemu.patch.bank import Bank
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone
from jxemu.render import sounds
from jxemu.render.dataset import PERFORMANCE, Dataset, DatasetError, DatasetItem, Tick, item_bytes
from jxemu.render.items import caption
from jxemu.render.spec import NAMES, Spec

KINDS: dict[str, Callable] = {}
_BLOCK = 256
_BLOCK_BYTES = 1 << 26
_TAR_ITEMS = 1_000
_TICKS = 480
_TEMPO = 500_000


class ExportError(RuntimeError):
    """An export that cannot be written; the message says what to do."""


def export(dataset: Dataset, path: Path, kind: str, limit: int | None = None, tick: Tick = lambda done: None) -> int:
    """Write the items of a dataset, or the first `limit`, into a new folder; returns how many.

    kind : one of `KINDS`.  Raises ExportError if the folder is there already, a library is missing or the disk is full.
    """
    if path.exists():
        raise ExportError(f"{path} is there already; choose another folder")
    if not len(dataset):
        raise ExportError(f"there are no such items in {dataset.folder.path}")
    part = path.with_name(f".{path.name}.part")
    try:
        part.mkdir(parents=True)
    except FileExistsError:
        raise ExportError(f"{part} is left over from an export that was stopped; remove it") from None
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from None
    count = min(limit or len(dataset), len(dataset))
    try:
        KINDS[kind](dataset, part, _counted((dataset[n] for n in range(count)), tick), count)
        (part / "spec.json").write_text(dataset.spec.to_json())
        part.rename(path)
    except ImportError as error:
        raise ExportError(f"{error.name} is not installed; pip install 'jxemu[export]'") from None
    except DatasetError:
        raise
    except (OSError, RuntimeError) as error:  # soundfile's is a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"cannot write {path}: {reason}; what there is stands in {part}") from None
    return count


def _counted(items: Iterator[DatasetItem], tick: Tick) -> Iterator[DatasetItem]:
    for done, item in enumerate(items, 1):
        yield item
        tick(done)


def _kind(name: str) -> Callable:
    def keep(function: Callable) -> Callable:
        KINDS[name] = function
        return function

    return keep


def _takes(item: DatasetItem) -> np.ndarray:
    """Sound of an item, int16 (takes, n[, 2]) at the item's own peak, and as it is stored."""
    spec = item.dataset.spec
    if spec.store.audio:
        data = item["audio"]
    else:
        sound = sounds.heard(spec, item.plan)
        data = sounds.scaled(sound, float(np.abs(sound).max()))
    return data[None] if spec.takes == 1 else data


def _row(item: DatasetItem) -> dict[str, Any]:
    """What is known of an item, as plain values."""
    plan, spec = item.plan, item.dataset.spec
    tones = [dict(zip(NAMES, row, strict=True)) for row in plan.values.tolist()]
    keys = [
        [dict(zip(PERFORMANCE, key, strict=True)) for key in take if key[0] == key[0]]
        for take in plan.performance.tolist()
    ]
    return {
        "index": plan.index,
        "split": plan.split,
        "family": plan.family,
        "unit": plan.unit,
        "name": plan.tones()[0].name,
        "origin": plan.origin,
        "caption": " | ".join(caption(row) for row in plan.values),
        "sample_rate": spec.machine.sample_rate,
        "peak": item.peak,
        "tones": tones,
        "changes": [plan.changes[take % len(plan.changes)] for take in range(spec.takes)],
        "performance": keys,
    }


def _flac(sound: np.ndarray, rate: int) -> bytes:
    import soundfile

    data = io.BytesIO()
    soundfile.write(data, sound, rate, format="FLAC", subtype="PCM_16")
    return data.getvalue()


@_kind("npy")
def _npy(dataset: Dataset, path: Path, items: Iterator[DatasetItem], count: int) -> None:
    """One array a name, to be opened with ``np.load(..., mmap_mode="r")``."""
    spec = dataset.spec
    arrays = {}
    for name, (shape, dtype) in _arrays(spec).items():
        file = path / f"{name.replace('/', '_')}.npy"
        arrays[name] = np.lib.format.open_memmap(file, "w+", dtype, (count, *shape))
        with file.open(
            "r+b"
        ) as opened:  # the disk's room is taken now: a full one would end a mapped array's writing without a word
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    for at, item in enumerate(items):
        for name, data in _stored(item).items():
            arrays[name][at] = data
    for array in arrays.values():
        array.flush()
    (path / "columns.json").write_text(
        json.dumps({"values": NAMES, "p": spec.varied, "performance": PERFORMANCE}, indent=1)
    )


def _arrays(spec: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of the arrays of an item in npy and Zarr."""
    boards = () if spec.machine.boards == 1 else (2,)
    takes = () if spec.takes == 1 else (spec.takes,)
    return {
        "index": ((), "<i8"), "split": ((), "<u1"), "family": ((), "<i8"), "unit": ((), "<i8"), "peak": ((), "<f4"),
        "values": ((*boards, len(NAMES)), "<u1"), "p": ((*boards, len(spec.varied)), "<f4"),
        "performance": ((*takes, spec.performance.most_keys, len(PERFORMANCE)), "<f4"),
        **({"stems_peak": ((), "<f4")} if spec.store.stems else {}),
    } | {name: (shape, f"<{kind}") for name, (shape, kind) in sounds.shapes(spec).items()}  # fmt: skip


def _stored(item: DatasetItem) -> dict[str, Any]:
    names = sounds.shapes(item.dataset.spec)
    peaks = ("peak", "stems_peak") if item.dataset.spec.store.stems else ("peak",)
    columns = {name: item.column(name) for name in ("split", "family", "unit", *peaks)}
    own = {"index": item.index, "values": item.values, "p": item.p, "performance": item.performance}
    return columns | own | {name: item[name] for name in names}


def _block(spec: Spec) -> int:
    """Items written at once."""
    return max(1, min(_BLOCK, _BLOCK_BYTES // (item_bytes(spec) + 4 * spec.takes * spec.frames)))


@_kind("zarr")
def _zarr(dataset: Dataset, path: Path, items: Iterator[DatasetItem], count: int) -> None:
    """A Zarr v3 group, an item a chunk, many chunks a file."""
    import zarr

    group, block_items = zarr.create_group(path / "data.zarr", zarr_format=3), _block(dataset.spec)
    group.attrs["columns"] = {"values": NAMES, "p": dataset.spec.varied, "performance": PERFORMANCE}
    arrays = {}
    for name, (shape, dtype) in _arrays(dataset.spec).items():
        arrays[name] = group.create_array(
            name,
            shape=(count, *shape),
            dtype=dtype,
            chunks=(1, *shape) if shape else (block_items,),
            shards=(block_items, *shape),
        )
    rows: dict[str, list] = {name: [] for name in arrays}
    begin = 0
    for at, item in enumerate(items, 1):
        for name, data in _stored(item).items():
            rows[name].append(data)
        if at % block_items == 0 or at == count:
            for name, block in rows.items():
                arrays[name][begin:at] = np.array(block)
                block.clear()
            begin = at


@_kind("parquet")
def _parquet(dataset: Dataset, path: Path, items: Iterator[DatasetItem], count: int) -> None:
    """Files that Hugging Face's `datasets` reads: FLAC in an Audio column, a column a parameter; a file each split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec = dataset.spec
    takes = ["audio"] if spec.takes == 1 else [f"audio_{take}" for take in range(spec.takes)]
    boards = [""] if spec.machine.boards == 1 else ["", "lower_"]
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields: dict[str, Any] = {"index": pa.int64(), "split": pa.string(), "family": pa.int64(), "unit": pa.int64()}
    fields |= {"name": pa.string(), "origin": pa.string(), "caption": pa.string(), "peak": pa.float32()}
    fields |= {f"{board}{name}": pa.uint8() for board in boards for name in NAMES}
    fields |= {"changes": pa.string(), "performance": pa.string()} | dict.fromkeys(takes, audio)
    features = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in fields.items() if kind != audio}
    features |= {name: {"sampling_rate": spec.machine.sample_rate, "_type": "Audio"} for name in takes}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([pa.field(name, kind) for name, kind in fields.items()], metadata=about)
    writers: dict[str, Any] = {}
    waiting: dict[str, list[dict]] = {}

    def flush(split: str) -> None:
        if split not in writers:
            writers[split] = pq.ParquetWriter(path / f"{split}.parquet", schema)
        writers[split].write_table(pa.Table.from_pylist(waiting.pop(split), schema))

    for item in items:
        row = _row(item)
        made = {name: row[name] for name in ("index", "split", "family", "unit", "name", "origin", "caption", "peak")}
        for board, tone in zip(boards, row["tones"], strict=True):
            made |= {f"{board}{name}": value for name, value in tone.items()}
        made |= {name: json.dumps(row[name]) for name in ("changes", "performance")}
        for name, sound in zip(takes, _takes(item), strict=True):
            made[name] = {"bytes": _flac(sound, spec.machine.sample_rate), "path": f"{item.index:07d}-{name}.flac"}
        waiting.setdefault(row["split"], []).append(made)
        if len(waiting[row["split"]]) >= _block(spec):
            flush(row["split"])
    for split in list(waiting):
        flush(split)
    for writer in writers.values():
        writer.close()


@_kind("webdataset")
def _webdataset(dataset: Dataset, path: Path, items: Iterator[DatasetItem], count: int) -> None:
    """Tar files of 1,000 items: ``0000042.flac`` (``.1.flac`` and so on for further takes), ``.json``, features as ``.npy``."""
    import webdataset

    rate = dataset.spec.machine.sample_rate
    with webdataset.ShardWriter(str(path / "%05d.tar"), maxcount=_TAR_ITEMS, verbose=0, mtime=0) as tar:
        for item in items:
            sample: dict[str, Any] = {"__key__": f"{item.index:07d}", "json": _row(item)}
            for take, sound in enumerate(_takes(item)):
                sample[f"{take}.flac" if take else "flac"] = _flac(sound, rate)
            for feature in dataset.spec.store.features:
                sample[f"{feature}.npy"] = item[feature]
            tar.write(sample)


@_kind("wav")
def _wav(dataset: Dataset, path: Path, items: Iterator[DatasetItem], count: int) -> None:
    """A WAV (float) a take with the MIDI file that plays it, a sysex file an item (a variant, where there are some), and ``items.csv``."""
    import soundfile

    spec = dataset.spec
    with (path / "items.csv").open("w", newline="") as file:
        table = None
        for item in items:
            row, plan = _row(item), item.plan
            stem = f"{item.index:07d}"
            files, sysex = [], []
            for take, (sound, keys) in enumerate(zip(_takes(item), plan.performance.astype(float), strict=True)):
                name = stem if spec.takes == 1 else f"{stem}-{take}"
                heard = sounds.unscaled(sound, item.peak)  # float: a peak may be above full scale
                soundfile.write(path / f"{name}.wav", heard, spec.machine.sample_rate, "FLOAT")
                if take < len(plan.changes):  # of further takes it is one of these again
                    sysex.append(_sysex(path / f"{name}.syx", plan.tones(take)))
                _midi(path / f"{name}.mid", keys[~np.isnan(keys[:, 0])].tolist())
                files.append(f"{name}.wav")
            line = {
                name: row[name] for name in ("index", "split", "family", "unit", "name", "origin", "caption", "peak")
            }
            line |= {"files": " ".join(files), "sysex": " ".join(sysex)}
            line |= {"changes": json.dumps(row["changes"]), "performance": json.dumps(row["performance"])}
            for board, tone in zip(("", "lower_"), row["tones"], strict=False):
                line |= {f"{board}{name}": value for name, value in tone.items()}
            if table is None:
                table = csv.DictWriter(file, line)
                table.writeheader()
            table.writerow(line)


def _sysex(path: Path, tones: list[Tone]) -> str:
    """A JX-8P bank of one tone, or an MKS-70 bank of two with the dual patch that plays them; returns its name."""
    patches = [Patch(tones[0].name, key_mode="dual", upper_tone=0, lower_tone=1)] if len(tones) > 1 else []
    path.write_bytes(Bank(tones, patches).encode("mks70" if patches else "jx8p")[0])
    return path.name


def _midi(path: Path, keys: list[list[float]]) -> None:
    """The keys of a take as a standard MIDI file."""
    import mido

    song = mido.MidiFile(ticks_per_beat=_TICKS)
    track = mido.MidiTrack()
    song.tracks.append(track)
    ends = [(start + hold, "note_off", int(note), 0) for note, _, start, hold in keys]
    begins = [(start, "note_on", int(note), int(velocity)) for note, velocity, start, _ in keys]
    now = 0
    for at, kind, note, velocity in sorted([*begins, *ends], key=lambda event: event[0]):
        ticks = round(mido.second2tick(at, _TICKS, _TEMPO))
        track.append(mido.Message(kind, note=note, velocity=velocity, time=ticks - now))
        now = ticks
    song.save(path)
