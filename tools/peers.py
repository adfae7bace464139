"""What the benchmark compares the emulator with: the same circuit in Faust, and torchsynth.

Both are measured on one core in CPU time (not wall time), so that other work on the machine hardly
shows. Needs ``pip install 'jxemu[bench]'``; nothing here is imported by the emulator itself.
"""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

SOURCE = Path(__file__).with_suffix(".dsp")
SAMPLE_RATE = 96_000
"""Faust has one rate: 2x oversampling of 48 kHz."""

FAUST_MODES = ((), ("-mcd", "0"), ("-vec", "-vs", "32"))
"""Compiler flags tried, the fastest counts: scalar, scalar with ring buffers only, loops for the vectoriser."""

BATCHES = (8, 16, 32, 64)
SILENCE = 1e-3


def _missing(package: str) -> RuntimeError:
    return RuntimeError(f"{package} is not installed; run: pip install 'jxemu[bench]'")


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _check(audio: np.ndarray, what: str) -> None:
    """Raise RuntimeError unless `audio` is finite and every channel (row) sounds."""
    if not np.isfinite(audio).all():
        raise RuntimeError(f"{what} is not finite")
    if audio.size == 0 or np.sqrt(np.square(audio, dtype=np.float64).mean(axis=-1)).min() < SILENCE:
        raise RuntimeError(f"{what} is silent")


# --- Faust ---------------------------------------------------------------------------------------


def _faust_engine(dawdreamer: ModuleType, source: str, flags: tuple[str, ...], block: int, voices: int) -> Any:
    """A render engine with the board compiled and its keys held."""
    engine = dawdreamer.RenderEngine(SAMPLE_RATE, block)
    board = engine.make_faust_processor("board")
    board.opt_level = -1  # the highest there is
    board.compile_flags = list(flags)
    board.set_dsp_string(source)
    if not board.compile():
        raise RuntimeError(f"Faust could not compile {SOURCE.name}")
    gates = [p["index"] for p in board.get_parameters_description() if "gate" in p["name"]]
    if len(gates) != voices:
        raise RuntimeError(f"{SOURCE.name} has {len(gates)} gates, not {voices}")
    for gate in gates:
        board.set_parameter(gate, 1.0)
    engine.load_graph([(board, [])])
    return engine


def faust_board(seconds: float = 2.0, block: int = 512, *, chorus: bool = True, repetitions: int = 12) -> float:
    """CPU seconds per second of a six-voice chord played by ``peers.dsp``, single precision.

    The best of `repetitions` renders of `seconds` in each of `FAUST_MODES`, after a warm-up; a call
    takes about 15 s. Faust runs the chorus at the oversampled rate, the emulator at the
    output rate: without `chorus` the voices, high pass and decimator are measured alone.
    Do not call it with denormals flushed to zero: Faust's compiler then aborts the process.
    Raises RuntimeError if DawDreamer is missing or the output is silent or not finite.
    """
    return _faust_cost(seconds, block, {} if chorus else {"CHORUS = 1;": "CHORUS = 0;"}, repetitions, 6)


def faust_notes(seconds: float = 4.0, block: int = 512) -> float:
    """Voice-seconds per CPU second of ``peers.dsp`` with one voice: single notes, one after the other.

    As `faust_board`; what setting a patch costs is not counted.
    """
    return 1 / _faust_cost(seconds, block, {"VOICES = 6;": "VOICES = 1;"}, 4, 1)


def _faust_cost(seconds: float, block: int, changes: dict[str, str], repetitions: int, voices: int) -> float:
    try:
        import dawdreamer
    except ImportError as error:
        raise _missing("dawdreamer") from error
    source = SOURCE.read_text(encoding="utf-8")
    for line, other in changes.items():
        if line not in source:
            raise RuntimeError(f"{SOURCE.name} has no line {line!r}")
        source = source.replace(line, other)
    engines = [_faust_engine(dawdreamer, source, flags, block, voices) for flags in FAUST_MODES]
    for engine in engines:
        engine.render(1.0)
        _check(engine.get_audio(), "the Faust board's output")
    best = min(_cpu_seconds(lambda e=e: e.render(seconds)) for _ in range(repetitions) for e in engines)
    for engine in engines:
        _check(engine.get_audio(), "the Faust board's output")
    return best / seconds


# --- torchsynth ----------------------------------------------------------------------------------


def _import_torchsynth() -> tuple[ModuleType, type, type]:
    """``(torch, Voice, SynthConfig)``.

    torchsynth 1.0.2 is older than what it stands on. It wants ``pytorch_lightning.core.lightning``,
    which has since become ``pytorch_lightning.core.module``: the old name is put back. And it wants
    ``pkg_resources``, hence setuptools < 80, whose deprecation warning is muted.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pytorch_lightning
            import torch

            old_name = "pytorch_lightning.core.lightning"
            shim = ModuleType(old_name)
            shim.LightningModule = pytorch_lightning.LightningModule
            sys.modules.setdefault(old_name, shim)
            from torchsynth.config import SynthConfig
            from torchsynth.synth import Voice
    except ImportError as error:
        raise _missing(error.name or "torchsynth") from error
    return torch, Voice, SynthConfig


def torchsynth_batches(repetitions: int = 6) -> dict[int, float]:
    """Voice-seconds per CPU second of torchsynth's `Voice` by batch size: one thread, 44.1 kHz, notes of 4 s.

    Only the rendering counts; the patches are drawn before. Raises RuntimeError if a package is
    missing or the output is silent or not finite.
    """
    torch, voice_type, config_type = _import_torchsynth()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = {}
        for batch in BATCHES:
            config = config_type(batch, sample_rate=44_100, buffer_size_seconds=4.0, reproducible=False)
            voice = voice_type(config)
            voice.randomize(seed=1)
            with torch.no_grad():
                audio = voice()[0].numpy()
                _check(audio.reshape(1, -1), "torchsynth's output")
                best = min(_cpu_seconds(voice) for _ in range(repetitions))
            results[batch] = batch * 4.0 / best
        return results
    finally:
        torch.set_num_threads(threads)


def torchsynth_notes() -> float:
    """Voice-seconds per CPU second of torchsynth's `Voice` at its best batch size (see `torchsynth_batches`)."""
    return max(torchsynth_batches().values())
