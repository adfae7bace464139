import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jxemu"
BASE = {"kernel", "clock", "protocol"}
MAY_IMPORT = {
    "kernel": set(),
    "clock": set(),
    "protocol": set(),
    "chips": BASE - {"protocol"},
    "soundboard": BASE | {"chips"},
    "patch": {"protocol"},
    "assigner": {"protocol", "patch", "clock"},
    "link": {"protocol", "clock"},
    "bridge": {"protocol", "clock"},
    "machine": BASE | {"assigner", "soundboard", "link", "patch"},
    "live": BASE | {"machine", "patch", "link"},
    "render": BASE | {"machine", "patch", "link"},
    "ml": BASE | {"render", "patch"},
}
ONLY_THERE = {
    "torch": {"ml"},
    "onnxruntime": {"ml"},
    "cma": {"ml"},
    "sounddevice": {"live", "bridge"},
    "jack": {"live"},
    "rtmidi": {"live"},
    "starlette": {"app"},
    "serial": {"bridge"},
    "cobs": {"bridge"},
    "soundfile": {"app", "ml", "render"},
    "pydantic": {"render"},
    "h5py": {"render"},
    "pyarrow": {"render"},
    "xxhash": {"render"},
    "distributed": {"render"},
    "mido": {"render", "live"},
}


def _unit(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_package_imports_only_what_the_house_allows(path):
    unit = _unit(path)
    if unit in ("app", "__init__"):
        return
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "jxemu":
            assert parts[1] == unit or parts[1] in MAY_IMPORT[unit], f"{unit} imports {name}"
        elif parts[0] in ONLY_THERE:
            assert unit in ONLY_THERE[parts[0]], f"{unit} imports {name}"


def test_importing_jxemu_loads_no_heavy_library():
    code = "import sys, jxemu; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & {
        "mido",
        "soundfile",
        "typer",
        "rich",
        "matplotlib",
        "torch",
        "sounddevice",
        "jack",
        "rtmidi",
        "starlette",
        "serial",
        "pydantic",
        "h5py",
        "pyarrow",
        "xxhash",
        "distributed",
    }


def test_kernels_hold_no_libm_and_no_fast_math():
    for path in (PACKAGE / "soundboard" / "render.py", *sorted((PACKAGE / "chips").glob("*.py"))):
        assert not re.search(r"\bmath\.|np\.(sin|cos|exp|tan|tanh|power|sqrt)\b", path.read_text()), path
    assert '"fastmath": False' in (PACKAGE / "kernel.py").read_text()
