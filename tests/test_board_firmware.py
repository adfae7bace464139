"""The capture rig's firmware: its core on this computer, the AVR's in simavr, the RP2040's as far as its compiler."""

import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conformance import SCENES, board, performed_behind
from live import require

from jxemu.bridge.rig import Rig
from jxemu.link import load_log

FIRMWARE = Path(__file__).parents[1] / "tools/board_firmware"


def made(folder, what, compiler):
    require(shutil.which("make") and shutil.which(compiler), f"{compiler} (the README names the packages)")
    done = subprocess.run(["make", "-C", FIRMWARE, f"BUILD={folder}", *what], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_core_does_what_its_own_tests_say(tmp_path):
    assert " checks" in made(tmp_path, ["test"], "gcc")


def test_the_rp2040s_program_is_built_with_a_first_stage_that_its_rom_accepts(tmp_path):
    made(tmp_path, ["rp2040"], "arm-none-eabi-gcc")
    blocks = (tmp_path / "rig.uf2").read_bytes()
    assert len(blocks) % 512 == 0
    magic, _, flags, at, size, number, count, family = struct.unpack("<8I", blocks[:32])
    assert (magic, flags, at, size, number, count, family) == (
        0x0A324655, 0x2000, 0x10000000, 256, 0, len(blocks) // 512, 0xE48BFF56,
    )  # fmt: skip
    crc = 0xFFFFFFFF  # over the stage and its own CRC, bit by bit: nothing is left
    for bit in np.unpackbits(np.frombuffer(blocks[32 : 32 + 252] + blocks[32 + 252 : 32 + 256][::-1], np.uint8)):
        top = (crc >> 31) ^ int(bit)
        crc = (crc << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if top else 0)
    assert crc == 0
    stack, start = struct.unpack("<2I", blocks[512 + 32 : 512 + 40])
    assert stack == 0x20040000
    assert 0x10000100 < start < 0x10100000


@pytest.fixture(scope="module")
def chip(tmp_path_factory):
    """The AVR with the rig's program, in simavr, before an emulated board; its port, and where the board's log will be."""
    folder = tmp_path_factory.mktemp("chip")
    made(folder, ["avr"], "avr-gcc")
    made(folder, ["sim"], "gcc")
    log = folder / "heard.jxlog"
    options = "--firmware", folder / "rig.elf", "--bench", folder / "bench", "--jxlog", log
    with board("avr", folder, *options) as name:
        yield name


@pytest.fixture(scope="module")
def performance(chip):
    return list(performed_behind(chip))


@pytest.mark.parametrize("n", range(len(SCENES)), ids=[scene.name for scene in SCENES])
def test_a_board_behind_the_avrs_program_conforms(performance, n):
    SCENES[n].check(*performance[n])


def test_every_byte_goes_through_the_avrs_program_in_order_and_samples_come_back_whole(tmp_path):
    made(tmp_path, ["avr"], "avr-gcc")
    made(tmp_path, ["sim"], "gcc")
    log = tmp_path / "heard.jxlog"
    options = "--firmware", tmp_path / "rig.elf", "--bench", tmp_path / "bench", "--jxlog", log
    data = np.random.default_rng(2).bytes(4000)
    heard = []
    with board("avr", tmp_path, *options) as name:
        rig = Rig.open(name, heard.append)
        rig.listen()
        left, end = memoryview(data), time.monotonic() + 60
        at = rig.now + 100_000
        while (left or rig.waiting) and time.monotonic() < end:
            if (room := min(rig.room, len(left), 100)) > 0:
                rig.play(bytes(left[:room]), at)
                at, left = at + 320 * room, left[room:]
            rig.poll()
            time.sleep(0.0005)
        time.sleep(0.5)
        rig.close()
    assert bytes(byte for _, byte in load_log(log)) == data
    assert (rig.faults.bad_here, rig.faults.bad_there, rig.faults.missing) == (0, 0, 0)
    positions = [audio.position for audio in heard]
    assert set(np.diff(positions)) == {len(heard[0].data) // 4}
    rate = (positions[-1] - positions[0]) / (heard[-1].time - heard[0].time) * 1e6
    assert rate == pytest.approx(rig.welcome.rate, rel=1e-4)
