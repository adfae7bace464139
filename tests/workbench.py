"""Circuits on the workbench: single step functions, compiled and fed with a signal."""

import math

import numpy as np

from jxemu.kernel import kernel, load, peek, poke, store, struct, tan, tanh, zeros
from jxemu.soundboard.decimator import OUT, SLICE, decimate_rows, first_row
from jxemu.soundboard.vcf import TOP_ANGLE, control_step, load_section, section_state, section_step, store_section

_F = (np.float32, (8,))
FILTER = struct(first=section_state(8), second=section_state(8), cv=_F, scale=_F, offset=_F, top=_F, q=_F, x=_F)
TILE = struct(tile=(np.float32, (OUT + SLICE, 8)))


@kernel
def _run_filter(bench, signal, out):
    b = bench[0]
    angle, warp, correction, lean, secant = control_step(load(b.cv), load(b.scale), load(b.offset), load(b.top))
    q = load(b.q)
    first, second = load_section(b.first), load_section(b.second)
    for n in range(signal.shape[0]):
        store(b.x, signal[n])
        middle, first = section_step(load(b.x), first, angle, warp, q, q * correction, lean, secant, True)
        y, second = section_step(middle, second, angle, warp, q, q * correction, lean, secant, True)
        store(b.x, y)
        out[n] = b.x[0]
    store_section(b.first, first)
    store_section(b.second, second)


def run_filter(signal: np.ndarray, cutoff: float, q: float, rate: int) -> np.ndarray:
    """Both sections at `cutoff` Hz and damping `q`, fed with `signal` in units of 2 VT."""
    bench = zeros(FILTER, 1)
    bench.offset[:] = math.log2(math.pi * cutoff / rate)
    bench.top[:] = TOP_ANGLE
    bench.q[:] = q
    out = np.empty(len(signal), np.float32)
    _run_filter(bench, signal.astype(np.float32), out)
    return out


@kernel
def _run_decimator(bench, signal, out, factor):
    tile, count = bench[0].tile, SLICE * factor
    for n in range(signal.shape[0] // count):
        for i in range(count):
            poke(tile, first_row(factor) + i, 0, signal[count * n + i])
        decimate_rows(tile, factor, 0, SLICE)
        for i in range(SLICE):
            out[SLICE * n + i] = peek(tile, OUT + i, 0)


def run_decimator(signal: np.ndarray, factor: int) -> np.ndarray:
    """The whole chain from `factor` times the output rate."""
    out = np.empty(len(signal) // factor, np.float32)
    _run_decimator(zeros(TILE, 1), signal.astype(np.float32), out, factor)
    return out


@kernel
def _run_function(bench, x, out_tanh, out_tan):
    b = bench[0]
    for n in range(x.shape[0]):
        store(b.x, x[n])
        v = load(b.x)
        store(b.q, tanh(v))
        out_tanh[n] = b.q[0]
        store(b.q, tan(v))
        out_tan[n] = b.q[0]


def run_polynomials(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kernels' own tanh and tan of each value."""
    out = np.empty((2, len(x)), np.float32)
    _run_function(zeros(FILTER, 1), x.astype(np.float32), out[0], out[1])
    return out[0], out[1]
