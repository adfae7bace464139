"""Memory that long work keeps."""

import platform
import subprocess
import sys

import pytest

AGAIN = """
import resource, sys
import numpy as np
from jxemu.render.memory import LARGE, keep_memory

def pages_had_anew(size):
    np.ones(size, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(size, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_memory()
print(pages_had_anew(LARGE // 4), pages_had_anew(2 * LARGE))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory")
def test_an_array_is_made_in_memory_that_was_kept_unless_it_is_large():
    made = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True)
    kept, given_back = map(int, made.stdout.split())
    assert (kept, given_back >= 128) == (0, True), made.stderr
