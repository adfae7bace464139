import os
import signal
from pathlib import Path

import pytest

import jxemu

BANKS = Path(os.environ.get("JXEMU_BANKS", Path(__file__).parents[2] / "shared" / "banks"))
TONES = Path(os.environ.get("JXEMU_TONES", Path(__file__).parents[2] / "shared" / "tones"))

for library in ("OMP", "OPENBLAS"):
    # Small sums on busy cores: threads would wait for each other, also those of the commands that the tests start.
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would all that the tests start and stop by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from what is rendered now")


@pytest.fixture
def update_golden(request):
    return request.config.getoption("--update-golden")


@pytest.fixture(scope="session")
def banks():
    """Real sysex files, which are other people's and not part of the project."""
    if not BANKS.is_dir():
        pytest.skip(f"no real banks in {BANKS}; set JXEMU_BANKS to a folder of sysex files")
    return BANKS


@pytest.fixture(scope="session")
def tones_table():
    """Table of real tones, which are other people's and not part of the project."""
    if not (TONES / "real_tones.csv").is_file():
        pytest.skip(f"no real_tones.csv in {TONES}; set JXEMU_TONES to its folder")
    return TONES / "real_tones.csv"


@pytest.fixture
def saw():
    return jxemu.Tone("SAW", mix_dco1=20, env2_r=0)
