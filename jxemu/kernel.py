"""The one place where numba is configured: `kernel`, `struct`, lanes as LLVM vectors, cache, warm-up.

A *lane* is one voice (or one board's output stage). Step functions are written once on lane
vectors: compiled, a vector is an LLVM ``<W x float>`` and W comes from the state field it was
loaded from; with ``NUMBA_DISABLE_JIT=1`` it is a numpy array of W and the same source runs as
plain Python. The arithmetic is strict IEEE single precision (no fast-math, no libm, multiplications and
additions fused only where `fma` says so), so both give the same bits, whatever W and whatever the instruction set.

The cache folder carries a hash of all kernel sources, because numba does not notice that an
imported helper has changed.
"""

import hashlib
import importlib.util
import operator
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.event import Event, Listener, register
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, overload, register_model
from numba.np import linalg as numba_linalg

PACKAGE = Path(__file__).parent
KERNEL_SOURCES = ("kernel.py", "clock.py", "protocol.py", "chips", "soundboard", "live/callback.py")


def source_hash() -> str:
    """Hash of every source a kernel can be built from (12 hex digits): the cache folder's name."""
    digest = hashlib.sha256()
    for entry in KERNEL_SOURCES:
        path = PACKAGE / entry
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _cache_folder() -> Path:
    """In `NUMBA_CACHE_DIR` if set, else in the user's cache folder, else (read-only home) in a temporary one."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / source_hash()
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = base / "jxemu" / source_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"jxemu-{os.getuid()}" / source_hash()
        folder.mkdir(parents=True, exist_ok=True)
    return folder


numba.config.CACHE_DIR = str(_cache_folder())

JIT = not numba.config.DISABLE_JIT


def _import_numba_without_scipy() -> None:
    """Load numba's array functions without the third of a second that importing SciPy takes.

    Numba imports scipy.linalg only to see whether it is there; code that needs it imports it again.
    """
    if importlib.util.find_spec("scipy") is None or "numba.np.arraymath" in sys.modules:
        return
    check, numba_linalg.ensure_blas = numba_linalg.ensure_blas, lambda: None
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        numba_linalg.ensure_blas = check


if JIT:
    _import_numba_without_scipy()

_STRICT = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}


def kernel(function: Callable) -> Callable:
    """Compile an entry point: cached on disk, without the GIL, strict IEEE."""
    return numba.njit(cache=True, **_STRICT)(function)


def entry(function: Callable, *args: object) -> Callable:
    """`function` compiled (or loaded from the cache) for the types of `args`, to be called with such.

    Skips numba's own look at the arguments, which for large records takes longer than a short block.
    Says so on the error stream when it has to compile.
    """
    return function.compile(tuple(numba.typeof(arg) for arg in args)) if JIT else function


def c_function(*signature: types.Type) -> Callable:
    """Decorator: compile a function to be called from C, cached on disk; `signature` is result, arguments.

    The compiled function has an `address` (see numba.cfunc). Raises RuntimeError where numba is
    switched off, since nothing but machine code can be called without the GIL.
    """
    if not JIT:
        raise RuntimeError("live playing needs compiled kernels: unset NUMBA_DISABLE_JIT")
    result, *arguments = signature
    return numba.cfunc(result(*arguments), cache=True, error_model="numpy", fastmath=False)


class _Announce(Listener):
    """Tells the user why nothing happens for a while."""

    def on_start(self, event: Event) -> None:
        """A compilation begins."""
        name = event.data["dispatcher"].py_func.__name__
        if name in ANNOUNCED:
            print(f"jxemu: compiling {ANNOUNCED[name]} for this CPU, once ...", file=sys.stderr, flush=True)

    def on_end(self, event: Event) -> None:
        """A compilation has ended."""


ANNOUNCED = {"render_block": "the sound board (about 20 s)", "trace_block": "the firmware (about 5 s)"}
register("numba:compile", _Announce())


def step(function: Callable) -> Callable:
    """Compile a circuit's step function, inlined into the kernel that calls it."""
    return numba.njit(forceinline=True, **_STRICT)(function)


VECTOR_BYTES, CACHE_LINE = 32, 64


def struct(**fields: object) -> np.dtype:
    """A nested structured dtype whose fields read as attributes, jitted or not.

    Each value is a numpy dtype or a tuple ``(dtype, shape)``. Fields of whole vectors are laid out
    first, and such a record ends at the end of a cache line, so that no lanes straddle two.
    """
    rows = [(n, *v) if isinstance(v, tuple) else (n, v) for n, v in fields.items()]
    sizes = {row[0]: np.dtype([row]).itemsize for row in rows}
    rows.sort(key=lambda row: (sizes[row[0]] % CACHE_LINE != 0, sizes[row[0]] % VECTOR_BYTES != 0))
    dtype = np.dtype(rows, align=True)
    if any(size % VECTOR_BYTES == 0 for size in sizes.values()):
        names = list(dtype.names)
        formats, offsets = zip(*(dtype.fields[name][:2] for name in names), strict=True)
        whole = -(-dtype.itemsize // CACHE_LINE) * CACHE_LINE
        dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": whole}, align=True)
    return np.dtype((np.record, dtype))


def zeros(dtype: np.dtype, n: int) -> np.ndarray:
    """`n` zeroed records of `dtype` as a record array that begins at a cache line."""
    size = n * dtype.itemsize
    room = np.zeros(size + CACHE_LINE, np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    return room[start : start + size].view(dtype).view(np.recarray)


# --- the vector type ---------------------------------------------------------------------------

_ELEMENTS = {"f32": ir.FloatType(), "i32": ir.IntType(32), "u32": ir.IntType(32), "mask": ir.IntType(1)}
_OF_NUMBA = {types.float32: "f32", types.int32: "i32", types.uint32: "u32"}


class Vec(types.Type):
    """`width` lanes of `element`: "f32", "i32", "u32" or "mask"."""

    def __init__(self, element: str, width: int):
        self.element, self.width = element, width
        super().__init__(name=f"Vec({element}, {width})")

    @property
    def llvm(self) -> ir.VectorType:
        """Its LLVM type."""
        return ir.VectorType(_ELEMENTS[self.element], self.width)

    @property
    def is_float(self) -> bool:
        """Whether the lanes are floats."""
        return self.element == "f32"


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, fe_type.llvm)


def _splat(builder, scalar, vec_type: ir.VectorType):
    one = builder.insert_element(ir.Constant(vec_type, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros_ = ir.Constant(ir.VectorType(ir.IntType(32), vec_type.count), None)
    return builder.shuffle_vector(one, ir.Constant(vec_type, ir.Undefined), zeros_)


def _as_vector(context, builder, value, from_type, vec: Vec):
    """`value` as a vector of type `vec`, broadcasting a scalar."""
    if isinstance(from_type, Vec):
        return value
    target = types.float32 if vec.is_float else types.int32
    return _splat(builder, context.cast(builder, value, from_type, target), vec.llvm)


_ARITHMETIC = {
    operator.add: ("fadd", "add"),
    operator.sub: ("fsub", "sub"),
    operator.mul: ("fmul", "mul"),
    operator.truediv: ("fdiv", None),
    operator.and_: (None, "and_"),
    operator.or_: (None, "or_"),
    operator.xor: (None, "xor"),
    operator.lshift: (None, "shl"),
    operator.rshift: (None, "lshr"),
}
_COMPARISONS = {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">="}


def _operand(a, b) -> Vec | None:
    """The vector type two operands work in, or None if they do not fit."""
    vectors = [t for t in (a, b) if isinstance(t, Vec)]
    if not vectors or any(v != vectors[0] for v in vectors):
        return None
    if not all(isinstance(t, Vec | types.Number | types.Boolean) for t in (a, b)):
        return None
    return vectors[0]


def _register(op: Callable, result: Callable[[Vec], Vec], emit: Callable) -> None:
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and (vec := _operand(*args)) is not None:
                return signature(result(vec), *args)
            return None

    def lower(context, builder, sig, args):
        vec = _operand(*sig.args)
        a, b = (_as_vector(context, builder, v, t, vec) for v, t in zip(args, sig.args, strict=True))
        return emit(builder, vec, a, b)

    for pattern in ((Vec, Vec), (Vec, types.Number), (types.Number, Vec)):
        lower_builtin(op, *pattern)(lower)


def _arithmetic(names: tuple[str | None, str | None]) -> Callable:
    def emit(builder, vec, a, b):
        name = names[0] if vec.is_float else names[1]
        if vec.element == "i32" and name == "lshr":
            name = "ashr"
        return getattr(builder, name)(a, b)

    return emit


def _comparison(sign: str) -> Callable:
    def emit(builder, vec, a, b):
        compare = {"f32": builder.fcmp_ordered, "i32": builder.icmp_signed, "u32": builder.icmp_unsigned}
        return compare[vec.element](sign, a, b)

    return emit


for _op, _names in _ARITHMETIC.items():
    _register(_op, lambda vec: vec, _arithmetic(_names))
for _op, _sign in _COMPARISONS.items():
    _register(_op, lambda vec: Vec("mask", vec.width), _comparison(_sign))


@infer_global(operator.neg)
class _NegTyping(AbstractTemplate):
    def generic(self, args, kws):
        return signature(args[0], args[0]) if isinstance(args[0], Vec) else None


@lower_builtin(operator.neg, Vec)
def _neg(context, builder, sig, args):
    return builder.fneg(args[0]) if sig.args[0].is_float else builder.neg(args[0])


# --- vector functions: the numpy body is the meaning, the overload is the machine code ----------


def _field_type(array, rank: int) -> Vec | None:
    if isinstance(array, types.NestedArray) and array.ndim == rank and array.dtype in _OF_NUMBA:
        return Vec(_OF_NUMBA[array.dtype], array.shape[-1])
    return None


def _row_pointer(context, builder, array_type, array, vec: Vec, row=None):
    """Pointer to lane 0 of a state field (or of one row of a two-dimensional one)."""
    data = context.make_array(array_type)(context, builder, array).data
    if row is not None:
        data = builder.gep(data, [builder.mul(row, ir.Constant(ir.IntType(64), vec.width))])
    return data


def _load(builder, data, vec: Vec):
    value = builder.load(builder.bitcast(data, vec.llvm.as_pointer()))
    value.align = 4
    return value


def _store(builder, data, vec: Vec, value) -> None:
    builder.store(value, builder.bitcast(data, vec.llvm.as_pointer()), align=4)


@intrinsic
def _load_field(typingctx, array):
    vec = _field_type(array, 1)

    def codegen(context, builder, sig, args):
        return _load(builder, _row_pointer(context, builder, sig.args[0], args[0], vec), vec)

    return vec(array), codegen


@intrinsic
def _load_row(typingctx, array, row):
    vec = _field_type(array, 2)

    def codegen(context, builder, sig, args):
        return _load(builder, _row_pointer(context, builder, sig.args[0], args[0], vec, args[1]), vec)

    return vec(array, types.intp), codegen


@intrinsic
def _store_field(typingctx, array, value):
    vec = _field_type(array, 1)

    def codegen(context, builder, sig, args):
        filled = _as_vector(context, builder, args[1], sig.args[1], vec)
        _store(builder, _row_pointer(context, builder, sig.args[0], args[0], vec), vec, filled)
        return context.get_dummy_value()

    return types.void(array, value), codegen


@intrinsic
def _store_row(typingctx, array, row, value):
    vec = _field_type(array, 2)

    def codegen(context, builder, sig, args):
        filled = _as_vector(context, builder, args[2], sig.args[2], vec)
        _store(builder, _row_pointer(context, builder, sig.args[0], args[0], vec, args[1]), vec, filled)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def load(field: np.ndarray) -> np.ndarray:
    """The lanes of a state field of shape (W,)."""
    return field.copy()


@overload(load, inline="always")
def _(field):
    return lambda field: _load_field(field)


def load_row(field: np.ndarray, row: int) -> np.ndarray:
    """The lanes of row `row` of a state field of shape (n, W)."""
    return field[row].copy()


@overload(load_row, inline="always")
def _(field, row):
    return lambda field, row: _load_row(field, row)


def store(field: np.ndarray, value: np.ndarray) -> None:
    """Write lanes to a state field of shape (W,)."""
    field[:] = value


@overload(store, inline="always")
def _(field, value):
    return lambda field, value: _store_field(field, value)


def store_row(field: np.ndarray, row: int, value: np.ndarray) -> None:
    """Write lanes to row `row` of a state field of shape (n, W)."""
    field[row] = value


@overload(store_row, inline="always")
def _(field, row, value):
    return lambda field, row, value: _store_row(field, row, value)


WINDOW = 8
"""Length of the runs that `load_window` reads."""

_LANE_NUMBERS = ir.VectorType(ir.IntType(32), WINDOW)


def _element(context, builder, array_type, array, row, column):
    made = context.make_array(array_type)(context, builder, array)
    if isinstance(array_type, types.NestedArray):
        length = ir.Constant(ir.IntType(64), array_type.shape[1])
    else:
        length = builder.extract_value(made.shape, 1)
    return builder.gep(made.data, [builder.add(builder.mul(row, length), column)])


@intrinsic
def _load_window(typingctx, field, row, start):
    vec = Vec("f32", WINDOW)

    def codegen(context, builder, sig, args):
        return _load(builder, _element(context, builder, sig.args[0], *args), vec)

    return vec(field, types.intp, types.intp), codegen


def load_window(field: np.ndarray, row: int, start: int) -> np.ndarray:
    """`WINDOW` neighbouring columns of one row of a float field, as lanes; they must lie inside the field."""
    return field[row, start : start + WINDOW].copy()


@overload(load_window, inline="always")
def _(field, row, start):
    return lambda field, row, start: _load_window(field, row, start)


@intrinsic
def _store_window(typingctx, field, row, start, value):
    def codegen(context, builder, sig, args):
        _store(builder, _element(context, builder, sig.args[0], *args[:3]), sig.args[3], args[3])
        return context.get_dummy_value()

    return types.void(field, types.intp, types.intp, value), codegen


def store_window(field: np.ndarray, row: int, start: int, value: np.ndarray) -> None:
    """Write lanes to neighbouring columns of one row of a float field; they must lie inside the field."""
    field[row, start : start + len(value)] = value


@overload(store_window, inline="always")
def _(field, row, start, value):
    return lambda field, row, start, value: _store_window(field, row, start, value)


@intrinsic
def _transpose(typingctx, source, source_row, source_column, target, target_row, target_column):
    vec = Vec("f32", WINDOW)

    def codegen(context, builder, sig, args):
        def place(array, row, column, n):
            down = builder.add(row, ir.Constant(row.type, n))
            return _element(context, builder, sig.args[array], args[array], down, column)

        rows = [_load(builder, place(0, args[1], args[2], n), vec) for n in range(WINDOW)]
        for size in (1, 2, 4):
            lanes = np.arange(WINDOW)
            behind = (lanes & size) > 0
            first = ir.Constant(_LANE_NUMBERS, np.where(behind, lanes - size + WINDOW, lanes).tolist())
            second = ir.Constant(_LANE_NUMBERS, np.where(behind, lanes + WINDOW, lanes + size).tolist())
            for n in range(WINDOW):
                if not n & size:
                    a, b = rows[n], rows[n + size]
                    rows[n], rows[n + size] = (builder.shuffle_vector(a, b, each) for each in (first, second))
        for n, row in enumerate(rows):
            _store(builder, place(3, args[4], args[5], n), vec, row)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), codegen


def transpose(
    source: np.ndarray, source_row: int, source_column: int, target: np.ndarray, target_row: int, target_column: int
) -> None:
    """`WINDOW` rows and columns of one float field become columns and rows of another; both must lie inside."""
    square = source[source_row : source_row + WINDOW, source_column : source_column + WINDOW]
    target[target_row : target_row + WINDOW, target_column : target_column + WINDOW] = square.T


@overload(transpose, inline="always")
def _(source, source_row, source_column, target, target_row, target_column):
    return lambda source, source_row, source_column, target, target_row, target_column: _transpose(
        source, source_row, source_column, target, target_row, target_column
    )


@intrinsic
def _peek(typingctx, field, row, column):
    def codegen(context, builder, sig, args):
        return builder.load(_element(context, builder, sig.args[0], *args))

    return field.dtype(field, types.intp, types.intp), codegen


@intrinsic
def _poke(typingctx, field, row, column, value):
    def codegen(context, builder, sig, args):
        builder.store(args[3], _element(context, builder, sig.args[0], *args[:3]))
        return context.get_dummy_value()

    return types.void(field, types.intp, types.intp, field.dtype), codegen


def peek(field: np.ndarray, row: int, column: int) -> np.float32:
    """One element of a state field of shape (n, m); the indices must lie inside it."""
    return field[row, column]


@overload(peek, inline="always")
def _(field, row, column):
    return lambda field, row, column: _peek(field, row, column)


def poke(field: np.ndarray, row: int, column: int, value: float) -> None:
    """Write one element of a state field of shape (n, m); the indices must lie inside it."""
    field[row, column] = value


@overload(poke, inline="always")
def _(field, row, column, value):
    return lambda field, row, column, value: _poke(field, row, column, value)


def _lanes_of(first: int, count: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))


_EVEN_ROWS_FIRST = (0, 2, 4, 6, 1, 3, 5, 7)


@intrinsic
def _sum_rows(typingctx, field, row, start):
    vec = Vec("f32", WINDOW)

    def codegen(context, builder, sig, args):
        field_, row_, start_ = args
        sums = []
        for n in _EVEN_ROWS_FIRST:
            down = builder.add(row_, ir.Constant(row_.type, n))
            sums.append(_load(builder, _element(context, builder, sig.args[0], field_, down, start_), vec))
        while len(sums) > 1:
            groups = np.arange(2 * WINDOW).reshape(2 * WINDOW // len(sums), 2, -1)
            halves = [ir.Constant(_LANE_NUMBERS, groups[:, n].ravel().tolist()) for n in (0, 1)]
            sums = [
                builder.fadd(*(builder.shuffle_vector(a, b, half) for half in halves))
                for a, b in zip(sums[::2], sums[1::2], strict=True)
            ]
        return sums[0]

    return vec(field, types.intp, types.intp), codegen


def sum_rows(field: np.ndarray, row: int, start: int) -> np.ndarray:
    """Sums of `WINDOW` neighbouring columns in each of eight rows: those of rows 0, 2, 4, 6 and then of 1, 3, 5, 7.

    Halves are added to halves until one is left.
    """
    value = field[row + np.array(_EVEN_ROWS_FIRST), start : start + WINDOW]
    while value.shape[1] > 1:
        half = value.shape[1] // 2
        value = value[:, :half] + value[:, half:]
    return value[:, 0]


@overload(sum_rows, inline="always")
def _(field, row, start):
    return lambda field, row, start: _sum_rows(field, row, start)


@intrinsic
def _beside(typingctx, a, b):
    if not isinstance(a, Vec) or a != b:
        return None

    def codegen(context, builder, sig, args):
        return builder.shuffle_vector(*args, _lanes_of(0, 2 * sig.args[0].width))

    return Vec(a.element, 2 * a.width)(a, b), codegen


def beside(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Twice as many lanes: those of `a`, and behind them those of `b`."""
    return np.concatenate([a, b])


@overload(beside, inline="always")
def _(a, b):
    return lambda a, b: _beside(a, b)


@step
def twice(value):
    """Twice as many lanes: `value`, and behind it the same again."""
    return beside(value, value)


def _half(behind: bool):
    @intrinsic
    def half(typingctx, value):
        if not isinstance(value, Vec):
            return None

        def codegen(context, builder, sig, args):
            width = sig.args[0].width // 2
            return builder.shuffle_vector(args[0], args[0], _lanes_of(behind * width, width))

        return Vec(value.element, value.width // 2)(value), codegen

    return half


_front, _back = _half(False), _half(True)


def front(value: np.ndarray) -> np.ndarray:
    """The first half of some lanes."""
    return value[: len(value) // 2]


@overload(front, inline="always")
def _(value):
    return lambda value: _front(value)


def back(value: np.ndarray) -> np.ndarray:
    """The second half of some lanes."""
    return value[len(value) // 2 :]


@overload(back, inline="always")
def _(value):
    return lambda value: _back(value)


@intrinsic
def _select(typingctx, mask, a, b):
    vec = a if isinstance(a, Vec) else b
    if not isinstance(vec, Vec):
        return None

    def codegen(context, builder, sig, args):
        yes, no = (_as_vector(context, builder, args[i], sig.args[i], vec) for i in (1, 2))
        return builder.select(args[0], yes, no)

    return vec(mask, a, b), codegen


def where(mask: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Lane by lane `a` where `mask` holds, else `b`; one of them may be a scalar."""
    dtype = a.dtype if isinstance(a, np.ndarray) else b.dtype
    return np.where(mask, a, b).astype(dtype)


@overload(where, inline="always")
def _(mask, a, b):
    if isinstance(mask, Vec):
        return lambda mask, a, b: _select(mask, a, b)
    return None


@intrinsic
def _any_lane(typingctx, mask):
    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(sig.args[0].width))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), codegen


def any_lane(mask: np.ndarray) -> bool:
    """True if the mask holds in any lane."""
    return bool(mask.any())


@overload(any_lane, inline="always")
def _(mask):
    return lambda mask: _any_lane(mask)


@intrinsic
def _fma(typingctx, a, b, c):
    vec = next((t for t in (a, b, c) if isinstance(t, Vec)), None)
    if vec is None or not vec.is_float:
        return None

    def codegen(context, builder, sig, args):
        values = [_as_vector(context, builder, v, t, vec) for v, t in zip(args, sig.args, strict=True)]
        kind = ir.FunctionType(vec.llvm, [vec.llvm] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{vec.width}f32")
        return builder.call(function, values)

    return vec(a, b, c), codegen


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """A * b + c, rounded once (IEEE fusedMultiplyAdd); one of them at least is lanes, others may be scalars.

    Every x86-64 since 2013 has it as one instruction; older ones get the same bits from a slow call.
    """
    a, b, c = (np.asarray(x, np.float32).astype(np.longdouble) for x in (a, b, c))
    return (a * b + c).astype(np.float32)


@overload(fma, inline="always")
def _(a, b, c):
    return lambda a, b, c: _fma(a, b, c)


def smaller(a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
    """Lane by lane the smaller of the two."""
    return where(a < b, a, b)


@overload(smaller, inline="always")
def _(a, b):
    return lambda a, b: _select(a < b, a, b)


def larger(a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
    """Lane by lane the larger of the two."""
    return where(a > b, a, b)


@overload(larger, inline="always")
def _(a, b):
    return lambda a, b: _select(a > b, a, b)


def _conversion(element: str, method: str):
    @intrinsic
    def convert(typingctx, value):
        vec = Vec(element, value.width)

        def codegen(context, builder, sig, args):
            return getattr(builder, method)(args[0], vec.llvm)

        return vec(value), codegen

    return convert


_int_to_float = _conversion("f32", "sitofp")
_float_to_int = _conversion("i32", "fptosi")
_as_signed = _conversion("i32", "bitcast")
_as_float = _conversion("f32", "bitcast")


def to_float(value: np.ndarray) -> np.ndarray:
    """Signed integer lanes as floats, rounded to nearest."""
    return value.astype(np.float32)


@overload(to_float, inline="always")
def _(value):
    return lambda value: _int_to_float(value)


def to_int(value: np.ndarray) -> np.ndarray:
    """Float lanes as signed integers, truncated."""
    return value.astype(np.int32)


@overload(to_int, inline="always")
def _(value):
    return lambda value: _float_to_int(value)


def as_signed(value: np.ndarray) -> np.ndarray:
    """Unsigned lanes read as signed ones, bit by bit."""
    return value.view(np.int32)


@overload(as_signed, inline="always")
def _(value):
    return lambda value: _as_signed(value)


def bits_to_float(value: np.ndarray) -> np.ndarray:
    """The float whose IEEE bits are the integer lanes."""
    return value.view(np.float32)


@overload(bits_to_float, inline="always")
def _(value):
    return lambda value: _as_float(value)


# --- polynomials instead of libm: the same bits on every machine --------------------------------


@step
def exp2(x):
    """Two to the power of x, for lanes x in -126..126; relative error below 3e-7."""
    whole = to_int(x + 256.5) - 256
    f = x - to_float(whole)
    p = 1.0 + f * (
        0.69314718 + f * (0.24022651 + f * (0.055504109 + f * (0.0096181291 + f * (0.0013333558 + f * 0.00015403530))))
    )
    return p * bits_to_float((whole + 127) << 23)


@step
def tan(x):
    """Tangent of lanes x in 0..1.45; relative error below 2e-6 (Lambert's continued fraction)."""
    z = x * x
    return x * (10395.0 - z * (1260.0 - z * 21.0)) / (10395.0 - z * (4725.0 - z * (210.0 - z)))


@step
def clipped_and_secant(x):
    """``(c, tanh(c) / c)`` with c = any lanes x clipped to +-5; their product is tanh(x) within 6e-5.

    Minimax rational, exact slope at 0.
    """
    c = smaller(larger(x, -5.0), 5.0)
    z = c * c
    return c, fma(z, fma(z, 0.052338, 7.9844590), 77.903145) / fma(z, z + 33.931429, 77.903145)


@step
def tanh(x):
    """Hyperbolic tangent of any lanes x; absolute error below 6e-5."""
    clipped, secant = clipped_and_secant(x)
    return clipped * secant


# --- talking to C and to other threads ------------------------------------------------------------


@intrinsic
def pointer(typingctx, address):
    """The integer `address` as a pointer, for `numba.carray`."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@intrinsic
def address_of(typingctx, pointer):
    """A pointer as an integer."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(types.voidptr), codegen


@intrinsic
def call_native(typingctx, address, a, b, c):
    """Call the C function at `address` with up to three integers or pointers; returns its result register.

    A function that takes fewer does not look at the rest. Results narrower than 64 bits need a mask.
    """

    def codegen(context, builder, sig, args):
        word = ir.IntType(64)
        function = builder.inttoptr(args[0], ir.FunctionType(word, [word] * 3).as_pointer())
        return builder.call(function, args[1:])

    return types.int64(types.int64, types.int64, types.int64, types.int64), codegen


def _word(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def load_acquire(typingctx, words, index):
    """Element `index` of an int64 array that another thread writes with `store_release`."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(_word(context, builder, sig.args[0], args[0], args[1]), "acquire", 8)

    return types.int64(words, types.intp), codegen


@intrinsic
def store_release(typingctx, words, index, value):
    """Write element `index` of an int64 array: who reads it with `load_acquire` sees all that was written before."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[2], _word(context, builder, sig.args[0], args[0], args[1]), "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), codegen


# --- denormals -----------------------------------------------------------------------------------


@intrinsic
def _read_mxcsr(typingctx):
    def codegen(context, builder, sig, args):
        slot = cgutils.alloca_once(builder, ir.IntType(32))
        # An aligned slot aligns the kernel's whole stack: spilled vectors then do not straddle cache lines.
        slot.align = CACHE_LINE
        pointer = builder.bitcast(slot, ir.IntType(8).as_pointer())
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer.type]), "llvm.x86.sse.stmxcsr"
        )
        builder.call(function, [pointer])
        return builder.load(slot)

    return types.uint32(), codegen


@intrinsic
def _write_mxcsr(typingctx, value):
    def codegen(context, builder, sig, args):
        slot = cgutils.alloca_once_value(builder, args[0])
        pointer = builder.bitcast(slot, ir.IntType(8).as_pointer())
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer.type]), "llvm.x86.sse.ldmxcsr"
        )
        builder.call(function, [pointer])
        return context.get_dummy_value()

    return types.void(types.uint32), codegen


if JIT and platform.machine() in ("x86_64", "AMD64"):

    @numba.njit(forceinline=True)
    def flush_denormals() -> int:
        """Flush denormals to zero in this thread; returns what `restore_denormals` needs.

        Decaying filters would otherwise run eleven times slower some seconds after the last note.
        """
        before = _read_mxcsr()
        _write_mxcsr(before | types.uint32(0x8040))
        return before

    @numba.njit(forceinline=True)
    def restore_denormals(before: int) -> None:
        """Give the thread back the floating point mode it came with."""
        _write_mxcsr(before)

else:

    @step
    def flush_denormals() -> int:
        """No flush mode is known here: the same results, slower in long silence."""
        return 0

    @step
    def restore_denormals(before: int) -> None:
        """Nothing to restore."""
