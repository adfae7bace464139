"""CMA-ES: the library `cma`, loaded without SciPy's statistics.

They take a second to load, of the seven of a short ``jxemu match``; the library does without them where they are missing.
"""

import importlib
import sys

_STATISTICS = "scipy.stats"


def _import_cma():
    if _STATISTICS in sys.modules:
        return importlib.import_module("cma")
    sys.modules[_STATISTICS] = None  # as if it were missing
    try:
        return importlib.import_module("cma")
    finally:
        del sys.modules[_STATISTICS]


cma = _import_cma()
