"""Circuits on the workbench: single step functions, compiled and fed with a signal."""

import math

import numpy as np

from jxemu.kernel import kernel, load, peek, poke, store, struct, tan, tanh, twice, zeros
from jxemu.soundboard.decimator import OUT, SLICE, decimate_rows, first_row
from jxemu.soundboard.vcf import SECTION_DELAY, TOP_ANGLE, control_step, load_vcf, store_rule, vcf_state, vcf_step

_F = (np.float32, (8,))
FILTER = struct(vcf=vcf_state(8), x=_F, y=_F)
TILE = struct(tile=(np.float32, (OUT + SLICE, 8)))


@kernel
def _run_filter(bench, signal, out):
    vcf = bench[0].vcf
    angle, warp, rule = control_step(load(vcf.cv), load(vcf.scale), load(vcf.offset), load(vcf.top))
    store_rule(vcf, rule)
    state, setting = load_vcf(vcf)
    for n in range(signal.shape[0]):
        store(bench[0].x, signal[n])
        y, state = vcf_step(load(bench[0].x), state, setting, twice(angle), twice(warp), True)
        store(bench[0].x, y)
        out[n] = bench[0].x[0]


def run_filter(signal: np.ndarray, cutoff: float, q: float, rate: int) -> np.ndarray:
    """Both sections at `cutoff` Hz and damping `q`, fed with `signal` in units of 2 VT; aligned to it."""
    bench = zeros(FILTER, 1)
    bench.vcf.offset[:] = math.log2(math.pi * cutoff / rate)
    bench.vcf.top[:] = TOP_ANGLE
    bench.vcf.q1[:] = bench.vcf.q2[:] = q
    out = np.empty(len(signal) + SECTION_DELAY, np.float32)
    _run_filter(bench, np.pad(signal, (0, SECTION_DELAY)).astype(np.float32), out)
    return out[SECTION_DELAY:]


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
        store(b.y, tanh(v))
        out_tanh[n] = b.y[0]
        store(b.y, tan(v))
        out_tan[n] = b.y[0]


def run_polynomials(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kernels' own tanh and tan of each value."""
    out = np.empty((2, len(x)), np.float32)
    _run_function(zeros(FILTER, 1), x.astype(np.float32), out[0], out[1])
    return out[0], out[1]
