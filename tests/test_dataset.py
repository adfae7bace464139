import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import call

import jxemu
from jxemu.render import dataset, engine
from jxemu.render.spec import checked, freeze

JXEMU = str(Path(sys.executable).with_name("jxemu"))
TINY = """
version = 1
name = "tiny"
items = {items}
seconds = 0.12
shard = {shard}
[machine]
oversample = 2
[performance]
notes = {{low = 40, high = 80}}
hold = 0.08
[tones]
source = "prior"
[store]
features = ["thesis", "mel"]
captions = true
"""


def spec(items=24, shard=8, **changes):
    import tomllib

    return freeze(checked(tomllib.loads(TINY.format(items=items, shard=shard)) | changes, "test"), Path())


def rendered(path, found):
    """Rendered here, in this process."""
    folder = dataset.create(path, found)
    for number in range(found.shards):
        dataset.write_shard(path, number)
    engine.write_card(folder, found)
    dataset.finish(folder, found)
    return dataset.open(path)


def run(path, found, **options):
    said = []
    engine.run(path, found, say=said.append, **options)
    return said


def same(a, b):
    """Whether two folders hold the same files and bytes, but for when they were made."""
    names = [
        sorted(str(p.relative_to(f)) for p in f.rglob("*") if p.is_file() and p.name != "runs.jsonl") for f in (a, b)
    ]
    assert names[0] == names[1]
    return filecmp.cmpfiles(a, b, names[0], shallow=False)[1:] == ([], [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("sets") / "whole", spec()).folder.path


def test_two_processes_write_the_bytes_of_one(tmp_path, whole):
    run(tmp_path / "two", spec(), workers=2)
    assert same(tmp_path / "two", whole)


def test_many_small_shards_are_rendered_to_the_end(tmp_path):
    run(tmp_path / "many", spec(40, 1), workers=2)
    assert len(list((tmp_path / "many/shards").glob("*.h5"))) == 40


def test_a_set_that_another_version_of_the_model_began_is_not_gone_on_with(tmp_path, monkeypatch):
    path = tmp_path / "begun"
    dataset.create(path, spec())
    dataset.write_shard(path, 0)
    monkeypatch.setattr(engine, "source_hash", lambda: "other")
    with pytest.raises(dataset.DatasetError, match=r"begun with another version of the model .*, these are other"):
        run(path, spec())
    assert len(list((path / "shards").glob("*.h5"))) == 1


def test_a_finished_set_is_left_alone(tmp_path, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert run(whole, spec()) == []
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_a_set_of_another_layout_is_read_but_not_called_damaged(tmp_path, whole):
    path = shutil.copytree(whole, tmp_path / "older")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"layout": 1}))
    with pytest.raises(dataset.DatasetError, match=r"older has layout 1 .* render it again"):
        dataset.check_files(dataset.open(path))


def test_shards_of_another_layout_are_not_rendered_over(tmp_path, whole):
    path = shutil.copytree(whole, tmp_path / "older")
    record = json.loads((path / "shards/00001.json").read_text())
    record["sha256"] = record.pop("xxh3")
    (path / "shards/00001.json").write_text(json.dumps(record))
    before = (path / "shards/00001.h5").stat().st_mtime_ns
    with pytest.raises(dataset.DatasetError, match=r"00001\.h5 was made by another version .* another folder"):
        run(path, spec())
    assert (path / "shards/00001.h5").stat().st_mtime_ns == before


def test_a_damaged_and_a_lost_shard_are_said_and_repaired(tmp_path, whole):
    path = tmp_path / "hurt"
    rendered(path, spec())
    data = bytearray((path / "shards/00001.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "shards/00001.h5").write_bytes(data)
    (path / "shards/00002.h5").unlink()
    found = dataset.open(path)
    assert len(dataset.check_files(found)) == 2
    said = run(path, spec(), workers=1)
    assert [sentence.split(" is ")[0] for sentence in said] == [str(path / f"shards/0000{n}.h5") for n in (1, 2)]
    assert same(path, whole)


def test_a_damaged_index_is_put_together_again(tmp_path, whole):
    rendered(tmp_path / "hurt", spec())
    (tmp_path / "hurt/index.parquet").write_bytes(b"nonsense")
    (tmp_path / "hurt/stats.npz").unlink()
    run(tmp_path / "hurt", spec())
    assert same(tmp_path / "hurt", whole)


def test_every_item_renders_again_to_its_bytes_and_a_changed_one_is_found(tmp_path, whole):
    found = dataset.open(whole)
    assert dataset.check_items(found, range(len(found))) == []
    path = tmp_path / "changed"
    rendered(path, spec())
    with h5py.File(path / "shards/00001.h5", "r+") as file:
        file["audio"][3, 100] += 1
    assert dataset.check_items(dataset.open(path), [11, 12]) == ["item 11 differs in audio"]


def test_a_spec_that_was_changed_afterwards_is_found(tmp_path, whole):
    path = tmp_path / "changed"
    shutil.copytree(whole, path)
    text = (path / "spec.json").read_text()
    rows = json.loads(text)
    (path / "spec.json").write_text(json.dumps(rows | {"name": "other"}))
    assert "is not the spec that the items were made of" in dataset.check_files(dataset.open(path))[0]
    (path / "spec.json").write_text(text)
    (path / "manifest.json").write_text("{}")
    with pytest.raises(dataset.DatasetError, match="layout"):
        dataset.check_files(dataset.open(path))


def test_another_spec_does_not_go_into_the_folder(whole):
    with pytest.raises(dataset.DatasetError, match="its items, seconds differ"):
        run(whole, spec(items=25, seconds=0.2))


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(dataset.DatasetError, match="holds other files"):
        run(tmp_path, spec())
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_run_that_was_killed_before_its_spec_stood_is_begun_again(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/.spec.json.123.part").write_text("{")
    rendered(tmp_path / "set", spec(items=1))
    run(tmp_path / "set", spec(items=1))
    (tmp_path / "empty/shards").mkdir(parents=True)
    with pytest.raises(dataset.DatasetError, match="holds other files"):
        dataset.create(tmp_path / "empty", spec())


def test_a_name_that_is_not_ascii_goes_through(tmp_path):
    values = bytes(jxemu.Tone().values().values()).hex()
    given = {"source": "bank", "files": ["x"], "tones": [{"name": "STRINGSÄÄÄ", "origin": "ä.csv", "values": values}]}
    rendered(tmp_path / "set", spec(items=1, tones=given))
    row = pq.read_table(tmp_path / "set/index.parquet").to_pylist()[0]
    assert (row["name"], row["origin"]) == ("STRINGSÄÄÄ", "ä.csv")


def test_a_split_without_items_is_empty(tmp_path):
    found = rendered(tmp_path / "set", spec(items=3, splits={"train": 1.0, "validation": 0.0, "test": 0.0}))
    empty = found.split("test")
    assert (len(empty), empty.values.shape, empty.p.shape) == (0, (0, 44), (0, 44))


def test_one_folder_is_for_one_run_at_a_time(tmp_path):
    folder = dataset.create(tmp_path / "busy", spec())
    with folder.held(), pytest.raises(dataset.DatasetError, match="another process"):
        run(tmp_path / "busy", spec())


def test_silent_items_are_drawn_again_inside_their_index(tmp_path):
    gate = {"level": -40.0, "attempts": 40}
    loud = rendered(tmp_path / "loud", spec(gate=gate))
    attempts = loud.column("attempt")
    assert attempts.max() > 0
    assert loud.column("level").min() >= -40
    assert loud.manifest["tried"] == (attempts + 1).sum()
    assert "drawn again" in (tmp_path / "loud/README.md").read_text()
    assert dataset.check_items(loud, range(len(loud))) == []


def test_a_silent_tone_of_a_bank_is_kept_and_marked(tmp_path):
    mute = {"name": "MUTE", "origin": "x", "values": "00" * 44}
    given = {"source": "bank", "files": ["x"], "tones": [mute]}
    found = rendered(tmp_path / "mute", spec(items=2, tones=given))
    assert found.column("silent").all()
    assert not found.column("attempt").any()
    assert np.abs(found[0].audio).max() < 1e-4


def test_reading_gives_what_was_rendered(whole):
    found = dataset.open(whole)
    item = found[9]
    assert found.values.shape == (24, 44)
    assert np.array_equal(found.values[9], item.values)
    assert np.array_equal(found.p[9], item.p)
    assert list(item.tone.values().values()) == item.values.tolist()
    assert item["mel"].shape == (1 + (5292 - 2048) // 1024, 96)
    assert np.abs(item.audio).max() == pytest.approx(item.peak, rel=1e-4)
    assert found[-1].index == 23
    with pytest.raises(IndexError):
        found[24]
    sides = [found.split(name) for name in ("train", "validation", "test")]
    assert sum(map(len, sides)) == 24
    assert all(item.split == "train" for item in sides[0])
    assert np.array_equal(sides[0].values, found.values[found.column("split") == 0])
    train = np.stack([item["mel"].astype(float) for item in sides[0]])
    assert found.stats["mel_mean"] == pytest.approx(train.mean((0, 1)))
    assert found.stats["mel_std"] == pytest.approx(train.std((0, 1)))


def test_sound_that_is_not_stored_is_rendered_when_it_is_asked_for(tmp_path, whole):
    store = {"audio": False, "features": ["mel"]}
    found = rendered(tmp_path / "lean", spec(items=3, shard=3, store=store))
    stored = dataset.open(whole)[1]
    assert np.abs(found[1].audio - stored.audio).max() <= stored.peak / 32767


def test_the_index_has_a_row_an_item(whole):
    rows = pq.read_table(whole / "index.parquet").to_pylist()
    found = dataset.open(whole)
    assert [row["index"] for row in rows] == list(range(24))
    assert [row["split"] for row in rows] == [item.split for item in found]
    assert rows[4]["note"] == found[4].performance[0, 0]
    assert "VCF cutoff" in rows[4]["caption"]


def test_what_is_no_dataset_or_not_finished_is_said(tmp_path):
    with pytest.raises(dataset.DatasetError, match="not a dataset"):
        dataset.open(tmp_path)
    dataset.create(tmp_path / "begun", spec())
    with pytest.raises(dataset.DatasetError, match="not finished"):
        dataset.open(tmp_path / "begun")


def command(path, toml, *options):
    return [JXEMU, "dataset", "render", str(toml), "-o", str(path), "--workers", "2", *options]


def children(pid):
    """Workers of a process; one may end while it is looked at."""
    found = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(row.split()[0]) for row in found.splitlines() if "spawn_main" in row]


def kill_somebody(process, rng):
    """SIGKILL to the parent or to one of its workers, at random; whether there was somebody."""
    if process.poll() is not None:
        return False
    try:
        workers = children(process.pid)
        victim = int(rng.choice(workers)) if workers and rng.random() < 0.5 else process.pid
        os.kill(victim, signal.SIGKILL)
        if victim == process.pid:
            process.wait()
    except ProcessLookupError:
        return False
    return True


def killed_again_and_again(path, toml, kills, rng):
    """Render with `kills` kills of an unfinished set; then let it finish.

    Four of five come up to 0.2 s after another shard is whole, amid the next ones; the others up to 2 s after the last kill.
    """

    def whole():
        return len(list((path / "shards").glob("*.json")))

    process, done = None, 0
    while done < kills:
        if process is None or process.poll() is not None:
            assert not (path / "manifest.json").exists(), f"it was finished after {done} kills"
            process = subprocess.Popen(command(path, toml), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if rng.random() < 0.8:
            before = whole()
            wait_for(lambda before=before, running=process: whole() > before or running.poll() is not None)
            time.sleep(rng.uniform(0.0, 0.2))
        else:
            time.sleep(rng.uniform(0.0, 2.0))
        done += kill_somebody(process, rng)
    process.wait()
    assert subprocess.run(command(path, toml), capture_output=True).returncode == 0


@pytest.mark.slow  # 40 s
def test_kills_of_workers_and_parent_lose_nothing(tmp_path):
    toml = tmp_path / "t.toml"
    toml.write_text(TINY.format(items=800, shard=40))
    killed_again_and_again(tmp_path / "killed", toml, 4, np.random.default_rng(1))
    rendered(tmp_path / "calm", spec(800, 40))
    assert same(tmp_path / "killed", tmp_path / "calm")
    assert not list((tmp_path / "killed").rglob(".*"))


@pytest.mark.slow  # half an hour
def test_200_kills_during_20000_items_lose_nothing(tmp_path):
    toml = tmp_path / "t.toml"
    toml.write_text(TINY.format(items=20_000, shard=25).replace("seconds = 0.12", "seconds = 4.0"))
    killed_again_and_again(tmp_path / "killed", toml, 200, np.random.default_rng(2))
    assert subprocess.run(command(tmp_path / "calm", toml), capture_output=True).returncode == 0
    assert same(tmp_path / "killed", tmp_path / "calm")


def test_no_worker_outlives_its_parent(tmp_path):
    toml = tmp_path / "t.toml"
    toml.write_text(TINY.format(items=4000, shard=2000))
    process = subprocess.Popen(command(tmp_path / "a", toml), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_ctrl_c_ends_it_with_one_sentence(tmp_path):
    toml = tmp_path / "t.toml"
    toml.write_text(TINY.format(items=4000, shard=50))
    process = subprocess.Popen(command(tmp_path / "a", toml), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list((tmp_path / "a/shards").glob("*.json")))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the same command goes on" in said
    assert "Traceback" not in said


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(tmp_path):
    import live

    small, toml = tmp_path / "small", tmp_path / "t.toml"
    small.mkdir()
    toml.write_text(TINY.format(items=600, shard=200))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], stderr=subprocess.DEVNULL)
    live.require(mounted.returncode == 0, "a small disk (only root can mount one)")
    try:
        (small / "other").write_bytes(bytes(4_800_000))
        result = call(*command(small / "a", toml)[1:])
        assert result.returncode == 2
        assert "the disk is full" in result.stderr
        assert "Traceback" not in result.stderr
        (small / "other").unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        result = call(*command(small / "a", toml)[1:])
        assert result.returncode == 0, result.stderr
        assert dataset.check_files(dataset.open(small / "a")) == []
    finally:
        subprocess.run(["umount", small])


def test_the_command_line_renders_checks_and_describes(tmp_path):
    toml = tmp_path / "t.toml"
    toml.write_text(TINY.format(items=24, shard=8))
    assert call(*command(tmp_path / "a", toml)[1:]).returncode == 0
    result = call("dataset", "check", tmp_path / "a", "-n", 5)
    assert "3 files are whole, 5 items render to the same bytes" in result.stdout
    assert json.loads(call("dataset", "schema").stdout)["properties"]
    text = call("dataset", "spec", "thesis-1k").stdout
    assert "items = 1000" in text
    bad = tmp_path / "bad.toml"
    bad.write_text(TINY.format(items=24, shard=8).replace("seconds", "secnds"))
    result = call(*command(tmp_path / "b", bad)[1:])
    assert result.returncode == 2
    assert "secnds" in result.stderr
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "words",
    ["presets", "spec toy", "schema", "check here", "export here -o there --to npy", "render --preset toy -o x"],
)
def test_what_is_not_installed_is_said_by_every_command(words):
    hidden = (
        "import sys; sys.modules |= dict.fromkeys(('h5py', 'scipy', 'pyarrow')); from jxemu.app.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", hidden, "dataset", *words.split()], capture_output=True, text=True)
    assert result.returncode == 2
    assert "is not installed" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_pictures_of_the_card_are_there(whole):
    text = (whole / "README.md").read_text()
    for name in ("parameters", "correlations", "levels", "sounds"):
        assert f"pictures/{name}.png" in text
        assert (whole / f"pictures/{name}.png").stat().st_size > 10_000
