import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from importlib.metadata import version
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from commands import call

from jxemu.app.cli import main
from jxemu.kernel import source_hash
from jxemu.link import load_log
from jxemu.render.score import MidiFileError, load_midi

ROOT = Path(__file__).parents[1]
SONG, BANK = ROOT / "demo" / "song.mid", ROOT / "demo" / "tones.syx"


def render(tmp_path, *words, name="out.wav"):
    out = tmp_path / name
    done = call("render", SONG, "--bank", BANK, "--tone", "sunday ep", "-o", out, "--seconds", "1", *words)
    assert done.returncode == 0, done.stderr
    return soundfile.info(out), soundfile.read(out)[0]


def test_the_version_is_said_with_a_hash_of_the_kernels():
    assert call("--version").stdout == f"jxemu {version('jxemu')}, kernels {source_hash()}\n"


def test_a_song_and_a_bank_become_a_stereo_wav(tmp_path):
    info, sound = render(tmp_path)
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (48_000, 2, "PCM_24", 48_000)
    assert 0.01 < np.abs(sound).max() < 1


@pytest.mark.parametrize("rate", [44_100, 88_200, 96_000])
def test_other_rates_are_written(tmp_path, rate):
    assert render(tmp_path, "--rate", rate)[0].samplerate == rate


@pytest.mark.parametrize("word, subtype", [("16", "PCM_16"), ("24", "PCM_24"), ("float", "FLOAT")])
def test_other_sample_formats_are_written(tmp_path, word, subtype):
    assert render(tmp_path, "--format", word)[0].subtype == subtype


def test_flac_is_chosen_by_file_name(tmp_path):
    assert render(tmp_path, name="out.flac")[0].format == "FLAC"


def test_the_wire_is_logged_when_asked(tmp_path):
    render(tmp_path, "--jxlog", tmp_path / "take.jxlog")
    assert len(load_log(tmp_path / "take.jxlog")) > 100


def bad(tmp_path, kind):
    out = tmp_path / "out.wav"
    words = {"song": SONG, "bank": BANK, "tone": "SUNDAY EP", "out": out}
    extra = []
    if kind == "truncated sysex":
        words["bank"] = tmp_path / "cut.syx"
        words["bank"].write_bytes(BANK.read_bytes()[:40])
    elif kind == "corrupt sysex":
        words["bank"] = tmp_path / "bad.syx"
        words["bank"].write_bytes(bytes(b ^ 0x80 for b in BANK.read_bytes()))
    elif kind == "missing bank":
        words["bank"] = tmp_path / "none.syx"
    elif kind == "not midi":
        words["song"] = BANK
    elif kind == "cut midi":
        words["song"] = tmp_path / "cut.mid"
        words["song"].write_bytes(SONG.read_bytes()[:200])
    elif kind == "missing midi":
        words["song"] = tmp_path / "none.mid"
    elif kind == "unknown tone":
        words["tone"] = "SUNDAY PE"
    elif kind == "no folder":
        words["out"] = tmp_path / "none" / "out.wav"
    elif kind == "folder as file":
        words["out"].mkdir()
    elif kind == "wrong ending":
        words["out"] = tmp_path / "out.mp3"
    elif kind == "wrong rate":
        extra = ["--rate", "1000"]
    elif kind == "float flac":
        words["out"] = tmp_path / "out.flac"
        extra = ["--format", "float"]
    return words["out"], call(
        "render",
        words["song"],
        "--bank",
        words["bank"],
        "--tone",
        words["tone"],
        "-o",
        words["out"],
        "--seconds",
        "0.2",
        *extra,
    )


@pytest.mark.parametrize("kind, says", [
    ("truncated sysex", "cut.syx: no whole"), ("corrupt sysex", "bad.syx: no whole"), ("missing bank", "none.syx: No such"),
    ("not midi", "not a standard MIDI file"), ("cut midi", "damaged MIDI file"), ("missing midi", "none.mid: No such"),
    ("unknown tone", "near: SUNDAY EP"), ("no folder", "cannot write"), ("folder as file", "cannot write"),
    ("wrong ending", ".wav or .flac"), ("wrong rate", "sample rate 1000 Hz"), ("float flac", "16 or 24"),
])  # fmt: skip
def test_bad_input_gives_one_clear_sentence_and_leaves_no_file(tmp_path, kind, says):
    out, done = bad(tmp_path, kind)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip() and "%" not in line]
    assert len(lines) == 1 and says in lines[0], done.stderr
    assert "Traceback" not in done.stderr
    assert not out.is_file()
    assert not list(tmp_path.glob(".out*"))


def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path):
    if shutil.which("mount") is None or jxemu_cannot_mount(tmp_path):
        pytest.skip("needs the right to mount a small file system")
    try:
        done = call("render", SONG, "-o", tmp_path / "small" / "out.wav", "--seconds", "8")
        assert done.returncode == 2 and "cannot write" in done.stderr
        assert not list((tmp_path / "small").iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


def jxemu_cannot_mount(tmp_path):
    (tmp_path / "small").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "small")]
    return subprocess.run(command, capture_output=True).returncode != 0


def test_a_midi_file_s_events_are_all_read(tmp_path):
    file = mido.MidiFile()
    track = mido.MidiTrack()
    file.tracks.append(track)
    for message in ("note_on note=60 velocity=90", "pitchwheel pitch=-100", "control_change control=1 value=5",
                    "control_change control=64 value=127", "aftertouch value=3", "program_change program=2",
                    "control_change control=7 value=80", "control_change control=123 value=0", "note_on note=60 velocity=0"):  # fmt: skip
        track.append(mido.Message.from_str(message + " time=96"))
    file.save(tmp_path / "x.mid")
    kinds = [event.kind for event in load_midi(tmp_path / "x.mid")]
    assert kinds == [
        "note_on",
        "bend",
        "modulation",
        "hold",
        "aftertouch",
        "program",
        "volume",
        "all_notes_off",
        "note_off",
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"RIFF", "not a standard MIDI file"),
        (b"MThd\0\0\0\6\0\2\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0", "of type 2"),
        (b"MThd\0\0\0\6\0\0\0\1\xe7\x28MTrk\0\0\0\4\0\xff\x2f\0", "SMPTE frames"),
        (b"MThd\0\0\0\6\0\0\0\1\0\0MTrk\0\0\0\4\0\xff\x2f\0", "no ticks at all"),
    ],
)
def test_a_file_that_cannot_be_played_as_midi_is_named(tmp_path, data, why):
    (tmp_path / "x.mid").write_bytes(data)
    with pytest.raises(MidiFileError, match=rf"x.mid: .*{why}"):
        load_midi(tmp_path / "x.mid")


def ends_as_stopped(monkeypatch, capsys, stop):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # which `main` changes
    monkeypatch.setattr("jxemu.app.cli.load_midi", stop)
    monkeypatch.setattr("sys.argv", ["jxemu", "render", str(SONG), "-o", "out.wav"])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code == 130 and "jxemu: stopped" in capsys.readouterr().err


def test_a_command_that_is_stopped_says_so(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    assert ends_as_stopped(monkeypatch, capsys, stop)


def test_a_ctrl_c_that_comes_within_a_callback_stops_a_command_all_the_same(monkeypatch, capsys):
    def stop(*_):
        part = threading.Event()
        kept = weakref.ref(part, lambda _: signal.raise_signal(signal.SIGINT))
        del part
        time.sleep(60)
        assert kept() is None

    assert ends_as_stopped(monkeypatch, capsys, stop)


def test_help_names_every_option():
    text = call("render", "--help").stdout
    for option in (
        "--bank",
        "--tone",
        "--output",
        "--rate",
        "--format",
        "--machine",
        "--seed",
        "--oversample",
        "--jxlog",
    ):
        assert option in text
