"""Memory that is kept: long work makes and frees the same large arrays again and again."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt

LARGE = 1 << 28
"""Bytes from which on a block is given back all the same: aligned ones of several hundred MB fit badly into what others
have left (glibc before 2.38), and a locally connected network grew to more than 20 GB while it was validated."""


def keep_memory() -> None:
    """Let the C library keep what this process frees, up to blocks of `LARGE`; elsewhere than in glibc nothing is done.

    Getting pages anew took half of the time of a feature, and 40 % of that of training a network.
    """
    with contextlib.suppress(AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
