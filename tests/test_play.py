import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import live
import numpy as np
import pytest
import soundfile

import jxemu
from jxemu.app import recorder
from jxemu.link import load_log
from jxemu.patch.bank import Bank
from jxemu.protocol import SILENCE, Decoder

pytestmark = pytest.mark.live
JXEMU = str(Path(sys.executable).with_name("jxemu"))


def run(tmp_path, *arguments, **extra):
    env = os.environ | {
        "JXEMU_HOME": str(tmp_path / "home"),
        "JACK_NO_START_SERVER": "1",
        "JACK_DEFAULT_SERVER": "nobody",
    }
    return subprocess.run(
        [JXEMU, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path, env=env | extra, timeout=120
    )


def said(result):
    return " ".join((result.stdout + result.stderr).split())


def test_devices_says_what_there_is_and_what_is_missing(tmp_path):
    result = run(tmp_path, "devices")
    assert result.returncode == 0
    assert "MIDI in" in result.stdout
    assert "no JACK server is running; start one" in said(result)


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        ("sounddevice", "pip install 'jxemu[live]'"),
        ("rtmidi", "pip install 'jxemu[live]'"),
        ("starlette", "pip install 'jxemu[live]'"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_remedy(tmp_path, module, hint):
    (tmp_path / f"{module}.py").write_text(f"raise ImportError('gone', name='{module}')\n")
    command = ["play", "--audio", "none", "--port", "0", "--seconds", "0"] if module == "starlette" else ["devices"]
    assert hint in said(run(tmp_path, *command, PYTHONPATH=str(tmp_path)))


def test_without_a_sound_card_the_instrument_runs_and_says_so(tmp_path):
    result = run(tmp_path, "play", "--no-panel", "--seconds", "0.5", "--record", "a.wav", "--jxlog", "a.jxlog")
    assert result.returncode == 0
    assert "no sound: " in said(result)
    assert "jxemu devices" in said(result)
    assert (tmp_path / "a.wav").stat().st_size > 1000
    assert load_log(tmp_path / "a.jxlog")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--audio", "jack"), "no JACK server is running; start one"),
        (
            ("--audio", "portaudio", "--device", "harp"),
            ("jxemu devices lists what there is", "apt-get install libportaudio2"),
        ),
        (("--audio", "none", "--rate", "32000"), "sample rate 32000 Hz is not supported"),
        (("--audio", "none", "--midi-out", "nowhere"), "jxemu devices lists them"),
        (("--audio", "none", "--tone", "NO SUCH TONE"), "NO SUCH TONE"),
        (("--audio", "none", "--bank", "missing.syx"), "cannot read missing.syx"),
        (("--audio", "none", "--record", "a.mp3"), "the name must end in .wav"),
        (("--audio", "none", "--jxlog", "no/such/folder/a.jxlog"), "No such file or directory"),
        (("--audio", "none", "--upper-channel", "2", "--lower-channel", "2"), "channel 2 is given twice"),
    ],
)
def test_what_cannot_be_played_ends_with_one_sentence(tmp_path, options, why):
    result = run(tmp_path, "play", "--no-panel", "--seconds", "0.2", *options)
    assert result.returncode == 2
    assert any(reason in said(result) for reason in ([why] if isinstance(why, str) else why))
    assert "Traceback" not in said(result)


def test_a_port_that_is_taken_is_said(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run(tmp_path, "play", "--audio", "none", "--port", taken.getsockname()[1])
    assert result.returncode == 2
    assert "choose another --port" in said(result)


def test_a_damaged_map_of_controllers_ends_with_its_name(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "controllers.json").write_text("{")
    result = run(tmp_path, "play", "--audio", "none", "--no-panel", "--seconds", "0.2")
    assert result.returncode == 2
    assert "controllers.json" in said(result)


def test_a_terminal_that_is_closed_leaves_the_log(tmp_path):
    env = os.environ | {"JXEMU_HOME": str(tmp_path / "home")}
    command = [JXEMU, "play", "--audio", "none", "--no-panel", "--jxlog", "a.jxlog"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "MIDI in:" in line:
            break
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert load_log(tmp_path / "a.jxlog")


def test_the_keys_of_the_terminal_change_programs_record_and_end(tmp_path):
    bank = tmp_path / "two.syx"
    bank.write_bytes(Bank([jxemu.Tone("FIRST"), jxemu.Tone("SECOND", vcf_freq=9)]).encode("jx8p")[0])
    ours, theirs = pty.openpty()
    command = [
        JXEMU,
        "play",
        "--audio",
        "none",
        "--no-panel",
        "--machine",
        "jx8p",
        "--bank",
        bank,
        "--jxlog",
        "a.jxlog",
    ]
    env = os.environ | {"JXEMU_HOME": str(tmp_path / "home"), "TERM": "xterm", "COLUMNS": "160"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=env)
    os.close(theirs)
    screen = b""

    def wait_for(text, seconds=60.0):
        nonlocal screen
        end = time.monotonic() + seconds
        while text not in screen and time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                screen += os.read(ours, 65536)
        assert text in screen, screen[-2000:]

    try:
        wait_for(b"q quit")
        wait_for(b"FIRST")
        os.write(ours, b"n")
        wait_for(b"SECOND")
        os.write(ours, b"r")
        wait_for(b"recording takes/take-")
        os.write(ours, b" r")
        wait_for(b"recorded takes/take-")
        os.write(ours, b"q")
        assert process.wait(30) == 0
    finally:
        process.send_signal(signal.SIGKILL)
        os.close(ours)
    assert len(list((tmp_path / "takes").glob("*.wav"))) == 1
    assert any(row[2] == SILENCE for row in Decoder().feed(byte for _, byte in load_log(tmp_path / "a.jxlog")))


def test_a_take_ends_in_a_sentence_before_its_file_is_too_large_for_its_header(tmp_path, monkeypatch):
    class Shared:
        kept, end = 1 << 20, 0

        def word(self, name):
            self.end += 300
            return self.end

        def heard(self, count, end):
            return np.zeros((count, 2), np.float32)

    monkeypatch.setattr(recorder, "_MOST_BYTES", 8 * 1000)
    said = []
    player = SimpleNamespace(shared=Shared(), machine=SimpleNamespace(sample_rate=48_000))
    taken = recorder.Recorder(player, said.append)
    taken.start(tmp_path / "a.wav")
    taken._thread.join(10)
    assert not taken.running
    assert "holds no more than 4 GiB" in said[0]
    assert soundfile.info(tmp_path / "a.wav").frames == 900


def test_a_full_disk_ends_the_recording_with_one_sentence_and_keeps_what_there_is(tmp_path):
    import soundfile

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small], stderr=subprocess.DEVNULL)
    live.require(mounted.returncode == 0, "a small disk (only root can mount one)")
    try:
        result = run(
            tmp_path,
            "play",
            "--audio",
            "none",
            "--no-panel",
            "--seconds",
            "2",
            "--record",
            small / "a.wav",
            "--jxlog",
            small / "a.jxlog",
        )
        assert "is the disk full?" in said(result)
        assert "cannot write" in said(result)
        assert result.returncode == 2
        assert soundfile.info(small / "a.wav").frames > 10_000
        assert not list(small.glob("*.jxlog")) + list(small.glob("*.part"))
    finally:
        subprocess.run(["umount", small])
