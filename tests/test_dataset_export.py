import csv
import io
import json
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from test_dataset import rendered, spec

from jxemu.patch.bank import Bank
from jxemu.render import dataset, sounds
from jxemu.render.export import ExportError, export


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("sets") / "tiny", spec())


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    """Two tones, two takes, two channels, nothing of the sound stored."""
    performance = {"choose": "all", "notes": [50, 62], "velocities": 90, "hold": 0.08}
    store = {"audio": False, "channels": 2, "features": ["mel"]}
    found = spec(4, 4, machine={"kind": "superjx", "oversample": 2}, performance=performance, store=store)
    return rendered(tmp_path_factory.mktemp("sets") / "dual", found)


def test_npy_is_memory_mapped_and_equal(tmp_path, tiny):
    assert export(tiny, tmp_path / "npy", "npy") == 24
    audio = np.load(tmp_path / "npy/audio.npy", mmap_mode="r")
    assert isinstance(audio, np.memmap)
    assert np.array_equal(audio[7], tiny[7]["audio"])
    assert np.array_equal(np.load(tmp_path / "npy/features_mel.npy")[3], tiny[3]["mel"])
    assert np.array_equal(np.load(tmp_path / "npy/p.npy"), tiny.p)


def test_stems_are_exported_with_their_own_level(tmp_path):
    found = rendered(tmp_path / "set", spec(2, 2, store={"audio": True, "stems": True, "features": []}))
    export(found, tmp_path / "npy", "npy")
    peaks, stems = (np.load(tmp_path / f"npy/{name}.npy") for name in ("stems_peak", "stems"))
    for n, item in enumerate(found):
        assert np.array_equal(sounds.unscaled(stems[n], peaks[n]), item.stems)


def test_zarr_3_is_read_by_its_library(tmp_path, tiny):
    import zarr

    export(tiny, tmp_path / "z", "zarr")
    group = zarr.open_group(tmp_path / "z/data.zarr", mode="r")
    assert group.metadata.zarr_format == 3
    assert np.array_equal(group["audio"][7], tiny[7]["audio"])
    assert np.array_equal(group["values"][:], tiny.values)


def test_parquet_is_read_by_hugging_face_with_its_sound(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    from datasets import Audio, load_dataset

    export(tiny, tmp_path / "hf", "parquet")
    files = {path.stem: str(path) for path in (tmp_path / "hf").glob("*.parquet")}
    found = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert sum(found.num_rows.values()) == 24
    assert isinstance(found["train"].features["audio"], Audio)
    row = found["train"].cast_column("audio", Audio(decode=False))[0]
    sound, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")
    assert rate == 44_100
    assert np.array_equal(sound, tiny[row["index"]]["audio"])
    assert row["vcf_freq"] == tiny[row["index"]].tone.vcf_freq


def test_webdataset_is_read_by_its_library(tmp_path, tiny):
    import webdataset

    export(tiny, tmp_path / "tar", "webdataset", limit=10)
    rows = list(webdataset.WebDataset(str(tmp_path / "tar/00000.tar"), shardshuffle=False))
    assert len(rows) == 10
    assert json.loads(rows[3]["json"])["index"] == 3
    sound, _ = soundfile.read(io.BytesIO(rows[3]["flac"]), dtype="int16")
    assert np.array_equal(sound, tiny[3]["audio"])
    assert np.array_equal(np.load(io.BytesIO(rows[3]["mel.npy"])), tiny[3]["mel"])


def test_a_folder_of_wav_has_a_sysex_and_a_midi_file_that_make_the_sound_again(tmp_path, tiny):
    import jxemu
    from jxemu.render.score import load_midi

    export(tiny.split("train"), tmp_path / "wav", "wav", limit=5)
    rows = list(csv.DictReader((tmp_path / "wav/items.csv").open()))
    assert len(rows) == 5
    row = rows[2]
    item = tiny[int(row["index"])]
    tone = Bank.load(tmp_path / "wav" / row["sysex"]).tones[0]
    assert tone.values() == item.tone.values()
    sound, rate = soundfile.read(tmp_path / "wav" / row["files"], dtype="float32")
    events = load_midi(tmp_path / "wav" / row["files"].replace(".wav", ".mid"))
    again = jxemu.render(tone, (), 0.12, sample_rate=rate, oversample=2, events=events).mean(1)
    assert np.abs(again[:3000] - sound[:3000]).max() < 2 * item.peak / 32767


def test_two_tones_and_two_takes_are_exported_too(tmp_path, dual):
    import pyarrow.parquet as pq

    assert dual.values.shape == (4, 2, 44)
    for kind in ("wav", "parquet", "webdataset", "npy", "zarr"):
        assert export(dual, tmp_path / kind, kind) == 4
    bank = Bank.load(tmp_path / "wav/0000001-0.syx")
    assert [tone.values() for tone in bank.tones[:2]] == [tone.values() for tone in dual[1].plan.tones()]
    assert bank.patches[0].key_mode == 0
    sound, _ = soundfile.read(tmp_path / "wav/0000001-1.wav", dtype="float32")
    assert np.abs(sound - dual[1].audio[1]).max() <= 2 * dual[1].peak / 32767
    assert [m.note for m in mido.MidiFile(tmp_path / "wav/0000001-1.mid") if m.type == "note_on"] == [62]
    rows = [row for path in (tmp_path / "parquet").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert {row["lower_vcf_freq"] for row in rows} == set(
        dual.values[:, 1, list(bank.tones[0].values()).index("vcf_freq")]
    )


def test_a_variant_has_a_sysex_of_its_own(tmp_path):
    import pyarrow.parquet as pq

    found = spec(2, 2, variants=[{"chorus": "off"}, {"chorus": 2}], store={"features": []})
    made = rendered(tmp_path / "set", found)
    export(made, tmp_path / "parquet", "parquet")
    told = [row for path in (tmp_path / "parquet").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert json.loads(told[0]["changes"]) == [{"chorus": 0}, {"chorus": 2}]
    export(made, tmp_path / "wav", "wav")
    row = next(csv.DictReader((tmp_path / "wav/items.csv").open()))
    chorus = [Bank.load(tmp_path / "wav" / name).tones[0].chorus for name in row["sysex"].split()]
    assert chorus == [0, 2]
    assert json.loads(row["changes"]) == [{"chorus": 0}, {"chorus": 2}]


def test_an_empty_split_is_said(tmp_path):
    found = rendered(tmp_path / "set", spec(2, 2, splits={"train": 1.0, "validation": 0.0, "test": 0.0}))
    with pytest.raises(ExportError, match="no such items"):
        export(found.split("test"), tmp_path / "out", "npy")


def test_an_export_does_not_write_over_anything_and_leaves_no_half_folder(tmp_path, tiny, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportError, match="is there already"):
        export(tiny, tmp_path / "there", "npy")
    monkeypatch.setattr(
        dataset.DatasetItem, "__getitem__", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(ExportError, match="No space left"):
        export(tiny, tmp_path / "full", "npy")
    assert not (tmp_path / "full").exists()


def test_one_take_is_read_alone(dual):
    whole = dual.rows("features/mel")[:]
    assert dual.spec.takes == 2
    for take in range(2):
        alone = dual.rows("features/mel", take)
        assert alone.shape == (len(whole), *whole.shape[2:])
        assert np.array_equal(alone[np.array([3, 0, 1])], whole[[3, 0, 1], take])


def test_networks_hear_all_takes_of_an_item_or_one(tmp_path):
    from jxemu.ml.data import table

    performance = {"choose": "all", "notes": [50, 62], "velocities": 90, "hold": 0.08}
    rendered(tmp_path / "takes", spec(16, 8, performance=performance, store={"features": ["mel"]}))
    whole = table(tmp_path / "takes", "train", ("mel",))
    for take in range(2):
        alone = table(tmp_path / "takes", "train", ("mel",), take=take)
        assert np.array_equal(alone.x[:], whole.x[:][:, [take]])
        assert np.array_equal(alone.keys, whole.keys[:, [take]])


def test_pytorch_takes_items_in_several_processes(tiny):
    import torch
    from torch.utils.data import DataLoader

    from jxemu.ml.data import Notes

    notes = Notes(tiny.folder.path, "train")
    feature, p = notes[2]
    assert feature.dtype == p.dtype == torch.float32
    assert tuple(p.shape) == (44,)
    single = torch.cat([feature for feature, _ in notes])
    assert single.mean(0).abs().max() < 1e-3
    assert (single.std(0) - 1).abs().median() < 0.1
    for start in ("fork", "spawn"):
        batches = list(DataLoader(notes, batch_size=5, num_workers=2, multiprocessing_context=start))
        assert torch.equal(torch.cat([p for _, p in batches]), torch.stack([p for _, p in notes]))
    both, _ = Notes(tiny.folder.path, None, ["thesis", "audio"])[0]
    assert set(both) == {"thesis", "audio"}
    with pytest.raises(ValueError, match="no feature 'stft'"):
        Notes(tiny.folder.path, None, "stft")


def test_the_folder_is_a_path_or_a_string(tiny):
    assert len(dataset.open(str(Path(tiny.folder.path)))) == 24
