"""The stub cuBLAS against numpy in float64: sizes, leading dimensions, transpositions, factors, pointer modes, TF32."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cuda_device.calls import SWEEP, error, scalar, tf32

SIZES = st.sampled_from([1, 2, 3, 7, 8, 9, 17])
FACTORS = st.sampled_from([0.0, 1.0, -0.5])
LETTERS = {"float32": "S", "float64": "D"}
TOLERANCE = {"float32": 2e-7, "float64": 1e-15, "float16": 1e-3}
INVALID, NOT_INITIALIZED = 7, 1
TF32, HALF, PEDANTIC = 3, 1, 2
scalars = st.sampled_from(sorted(LETTERS))


def matrix(libraries, rng, rows, columns, dtype, beyond=0):
    """A random matrix by columns, its leading dimension `beyond` its rows."""
    return libraries.operand(rng.normal(size=(rows, columns)).astype(dtype), (1, rows + beyond))


def op(operand, transposed):
    values = operand._view().astype("float64")
    return values.T if transposed else values


@SWEEP
@given(st.data())
def test_gemm(libraries, data):
    m, n, k = (data.draw(SIZES) for _ in range(3))
    ta, tb = data.draw(st.sampled_from([0, 1, 2])), data.draw(st.sampled_from([0, 1, 2]))
    alpha, beta, dtype = data.draw(FACTORS), data.draw(FACTORS), data.draw(scalars)
    rng, beyond = np.random.default_rng(data.draw(st.integers(0, 99))), data.draw(st.integers(0, 2))
    a = matrix(libraries, rng, *((k, m) if ta else (m, k)), dtype, beyond)
    b = matrix(libraries, rng, *((n, k) if tb else (k, n)), dtype, beyond)
    c = matrix(libraries, rng, m, n, dtype, beyond)
    expected = alpha * op(a, ta) @ op(b, tb) + beta * op(c, 0)
    if beta == 0:  # whatever C holds, and so on
        c = libraries.empty((m, n), dtype, c.strides)
    if alpha == 0:
        a, b = (libraries.empty(o.shape, dtype, o.strides) for o in (a, b))
    libraries.blas_call(
        *(f"cublas{LETTERS[dtype]}gemm_v2", ta, tb, m, n, k, scalar(alpha, dtype), a.pointer, a.strides[1]),
        *(b.pointer, b.strides[1], scalar(beta, dtype), c.pointer, c.strides[1]),
    )
    assert error(c.read(), expected) < TOLERANCE[dtype] * (1 + k)


BATCHES = [("float32", "tables"), ("float64", "tables"), *[(dtype, "strides") for dtype in TOLERANCE]]


@pytest.mark.parametrize("dtype, how", BATCHES)
def test_batched_gemm(libraries, rng, dtype, how):
    count, m, n, k = 3, 4, 5, 6
    a, b, c = (libraries.operand(rng.randn(count, *shape).astype(dtype)) for shape in ((m, k), (k, n), (m, n)))
    expected = 0.5 * a.read().astype("float64") @ b.read() - c.read()
    factors = [np.array(value, dtype) for value in (0.5, -1)]
    alpha, beta = (value.ctypes.data_as(ctypes.c_void_p) for value in factors)
    # arrays in rows are their own transpositions in columns
    if how == "strides":
        letter = {**LETTERS, "float16": "H"}[dtype]
        strides = [ctypes.c_longlong(rows * columns) for rows, columns in ((k, n), (m, k), (m, n))]
        libraries.blas_call(
            *(f"cublas{letter}gemmStridedBatched", 0, 0, n, m, k, alpha, b.pointer, n, strides[0], a.pointer, k),
            *(strides[1], beta, c.pointer, n, strides[2], count),
        )
    else:
        tables = []
        for operand in (b, a, c):
            size = operand.buffer.nbytes // count
            tables.append(libraries.operand(np.array([operand.base.value + i * size for i in range(count)], "uint64")))
        b_table, a_table, c_table = (table.pointer for table in tables)
        libraries.blas_call(
            *(
                f"cublas{LETTERS[dtype]}gemmBatched",
                0,
                0,
                n,
                m,
                k,
                alpha,
                b_table,
                n,
                a_table,
                k,
                beta,
                c_table,
                n,
                count,
            )
        )
    assert error(c.read(), expected) < 10 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [0, 2])  # cudaDataType_t of float32 and float16
@pytest.mark.parametrize("name, more", [("cublasSgemmEx", ()), ("cublasGemmEx", (68, -1))])
def test_gemm_of_a_named_type(libraries, rng, dtype, name, more):
    numpy_type = {0: "float32", 2: "float16"}[dtype]
    a, b, c = (libraries.operand(rng.randn(4, 4).astype(numpy_type)) for _ in range(3))
    expected = b.read().astype("float64") @ a.read()
    libraries.blas_call(
        *(name, 0, 0, 4, 4, 4, scalar(1), a.pointer, dtype, 4, b.pointer, dtype, 4, scalar(0), c.pointer, dtype, 4),
        *more,
    )
    assert error(c.read(), expected) < 4 * TOLERANCE[numpy_type]
    other = 2 - dtype
    operands = a.pointer, dtype, 4, b.pointer, other, 4, scalar(0), c.pointer, dtype, 4
    assert libraries.blas_status(name, 0, 0, 4, 4, 4, scalar(1), *operands, *more) == 15  # not supported


@SWEEP
@given(st.data())
def test_gemv_and_ger(libraries, data):
    m, n, transposed = data.draw(SIZES), data.draw(SIZES), data.draw(st.booleans())
    alpha, beta, dtype = data.draw(FACTORS), data.draw(FACTORS), data.draw(scalars)
    step_x, step_y = (data.draw(st.sampled_from([1, 3, -1, -2])) for _ in range(2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a = matrix(libraries, rng, m, n, dtype, data.draw(st.integers(0, 2)))
    lengths = (m, n) if transposed else (n, m)
    x, y = (vector(libraries, rng, size, step, dtype) for size, step in zip(lengths, (step_x, step_y), strict=True))
    expected = alpha * op(a, transposed) @ op(x, 0) + beta * op(y, 0)
    if beta == 0:
        y = libraries.empty(y.shape, dtype, y.strides)
    letter = LETTERS[dtype]
    libraries.blas_call(
        *(f"cublas{letter}gemv_v2", int(transposed), m, n, scalar(alpha, dtype), a.pointer, a.strides[1]),
        *(x.base, step_x, scalar(beta, dtype), y.base, step_y),
    )
    assert error(y.read(), expected) < 20 * TOLERANCE[dtype]
    u, v = vector(libraries, rng, m, step_x, dtype), vector(libraries, rng, n, step_y, dtype)
    expected = op(a, 0) + alpha * np.outer(op(u, 0), op(v, 0))
    libraries.blas_call(
        f"cublas{letter}ger_v2", m, n, scalar(alpha, dtype), u.base, step_x, v.base, step_y, a.pointer, a.strides[1]
    )
    assert error(a.read(), expected) < 2 * TOLERANCE[dtype]


def vector(libraries, rng, size, step, dtype):
    """A vector as BLAS has it: with a negative step it starts at its other end; its pointer is where memory starts."""
    return libraries.operand(rng.normal(size=size).astype(dtype), (step,))


@pytest.mark.parametrize("dtype", sorted(LETTERS))
@pytest.mark.parametrize("on_device", [0, 1])
def test_dot_gives_its_result_to_the_host_or_to_the_device(libraries, rng, dtype, on_device):
    x, y = libraries.operand(rng.randn(9).astype(dtype), (2,)), libraries.operand(rng.randn(9).astype(dtype), (-3,))
    result, on_host = libraries.empty((1,), dtype), np.full(1, np.nan, dtype)
    at = result.pointer if on_device else on_host.ctypes.data_as(ctypes.c_void_p)
    libraries.blas_call("cublasSetPointerMode_v2", on_device)
    try:
        libraries.blas_call(f"cublas{LETTERS[dtype]}dot_v2", 9, x.base, 2, y.base, -3, at)
    finally:
        libraries.blas_call("cublasSetPointerMode_v2", 0)
    (value,) = result.read() if on_device else on_host
    np.testing.assert_allclose(value, op(x, 0) @ op(y, 0), rtol=1e-6)


def test_factors_on_the_device_are_read_when_the_call_has_its_turn(libraries, rng):
    a, b, c = (libraries.operand(rng.randn(4, 4).astype("float32")) for _ in range(3))
    alpha, beta = (libraries.operand(np.array([value], "float32")) for value in (2, 0.5))
    expected = 2 * b.read().astype("float64") @ a.read() + 0.5 * c.read()
    libraries.blas_call("cublasSetPointerMode_v2", 1)
    try:
        libraries.blas_call(
            *("cublasSgemm_v2", 0, 0, 4, 4, 4, alpha.pointer, a.pointer, 4, b.pointer, 4, beta.pointer, c.pointer, 4)
        )
    finally:
        libraries.blas_call("cublasSetPointerMode_v2", 0)
    assert error(c.read(), expected) < 1e-6


def test_sizes_of_zero(libraries, rng):
    nothing = ctypes.c_void_p()
    a, c = (libraries.operand(rng.randn(4, 4).astype("float32")) for _ in range(2))
    before = c.read()
    for m, n in ((0, 4), (4, 0)):
        operands = scalar(1), nothing, 4, nothing, 4, scalar(0), nothing, 4
        libraries.blas_call("cublasSgemm_v2", 0, 0, m, n, 4, *operands)
    libraries.blas_call("cublasSgemv_v2", 0, 0, 4, scalar(1), a.pointer, 4, a.pointer, 1, scalar(0), nothing, 1)
    libraries.blas_call("cublasSger_v2", 0, 4, scalar(1), nothing, 1, nothing, 1, nothing, 1)
    result = np.ones(1, "float32")
    libraries.blas_call("cublasSdot_v2", 0, nothing, 1, nothing, 1, result.ctypes.data_as(ctypes.c_void_p))
    assert result[0] == 0
    np.testing.assert_array_equal(c.read(), before)
    libraries.blas_call(
        *("cublasSgemm_v2", 0, 0, 4, 4, 0, scalar(1), nothing, 4, nothing, 1, scalar(0.5), c.pointer, 4)
    )
    np.testing.assert_array_equal(c.read(), before / 2)  # no products: C is scaled


def product(libraries, a, b):
    """a b, each in rows."""
    (m, k), n = a.shape, b.shape[1]
    on_device = [libraries.operand(value) for value in (a, b)]
    c = libraries.empty((m, n))
    operands = on_device[1].pointer, n, on_device[0].pointer, k, scalar(0), c.pointer, n
    libraries.blas_call("cublasSgemm_v2", 0, 0, n, m, k, scalar(1), *operands)
    return c.read()


def with_math(libraries, mode, function):
    libraries.blas_call("cublasSetMathMode", mode)
    try:
        return function()
    finally:
        libraries.blas_call("cublasSetMathMode", 0)


def test_math_modes_are_told_apart_by_numbers(libraries, rng):
    a, b = (rng.randn(32, 32).astype("float32") for _ in range(2))
    exact = a.astype("float64") @ b
    errors = {mode: error(with_math(libraries, mode, lambda: product(libraries, a, b)), exact) for mode in range(4)}
    assert errors[0] < 1e-7 and errors[PEDANTIC] < 1e-7
    assert 1e-4 < errors[TF32] < 1e-3 and 1e-4 < errors[HALF] < 1e-3
    rounded = tf32(a) @ tf32(b)
    assert error(with_math(libraries, TF32, lambda: product(libraries, a, b)), rounded) < 1e-7


def test_tf32_rounds_to_nearest_and_ties_away_from_zero(libraries):
    ulp = 2.0**-10
    values = np.array([[1 + ulp / 2, -1 - ulp / 2, 1 + 0.49 * ulp, 1 + 1.5 * ulp, np.inf, np.nan]], "float32").T
    got = with_math(libraries, TF32, lambda: product(libraries, values, np.ones((1, 1), "float32")))
    np.testing.assert_array_equal(got.T, [[1 + ulp, -1 - ulp, 1, 1 + 2 * ulp, np.inf, np.nan]])


def test_vectors_are_never_rounded(libraries, rng):
    a, x, y = rng.randn(8, 8).astype("float32"), rng.randn(8).astype("float32"), libraries.empty((8,))
    on_device = libraries.operand(a), libraries.operand(x)
    arguments = scalar(1), on_device[0].pointer, 8, on_device[1].pointer, 1, scalar(0), y.pointer, 1
    with_math(libraries, TF32, lambda: libraries.blas_call("cublasSgemv_v2", 1, 8, 8, *arguments))
    assert error(y.read(), a.astype("float64") @ x) < 1e-7


@pytest.mark.parametrize("override, mode, rounds", [("0", TF32, False), ("1", 0, True), ("1", PEDANTIC, False)])
def test_the_override_of_tf32_is_read_when_a_handle_is_made(libraries, monkeypatch, rng, override, mode, rounds):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    a, b = (rng.randn(32, 32).astype("float32") for _ in range(2))
    usual, libraries.blas = libraries.blas, ctypes.c_void_p()
    assert not libraries.cublas.cublasCreate_v2(ctypes.byref(libraries.blas))
    try:
        got = error(with_math(libraries, mode, lambda: product(libraries, a, b)), a.astype("float64") @ b)
    finally:
        assert not libraries.cublas.cublasDestroy_v2(libraries.blas)
        libraries.blas = usual
    assert (got > 1e-4) == rounds and (rounds or got < 1e-7)


GEMM = dict(ta=0, tb=0, m=3, n=4, k=5, alpha=scalar(1), a="a", lda=3, b="b", ldb=5, beta=scalar(0), c="c", ldc=3)


@pytest.mark.parametrize(
    "wrong",
    [
        *[dict(ta=3), dict(tb=-1), dict(m=-1), dict(n=-1), dict(k=-1), dict(lda=2), dict(ldb=4), dict(ldc=2)],
        *[dict(ta=1), dict(tb=1, ldb=3), dict(alpha=None), dict(beta=None), dict(a=None), dict(b=None), dict(c=None)],
        dict(m=0, lda=0),
    ],
)
def test_gemm_refuses(libraries, wrong):
    operands = {name: libraries.empty((8, 8)).pointer for name in "abc"}
    arguments = {name: operands.get(value, value) if isinstance(value, str) else value for name, value in GEMM.items()}
    assert libraries.blas_status("cublasSgemm_v2", *{**arguments, **wrong}.values()) == INVALID
    assert libraries.cublas.cublasSgemm_v2(None, *arguments.values()) == NOT_INITIALIZED


def test_vectors_refuse_steps_of_zero_and_short_columns(libraries):
    one, at = scalar(1), libraries.empty((8, 8)).pointer
    for lda, step_x, step_y in ((8, 0, 1), (8, 1, 0), (7, 1, 1)):
        assert libraries.blas_status("cublasSgemv_v2", 0, 8, 8, one, at, lda, at, step_x, one, at, step_y) == INVALID
        assert libraries.blas_status("cublasSger_v2", 8, 8, one, at, step_x, at, step_y, at, lda) == INVALID
    assert libraries.blas_status("cublasSdot_v2", 8, at, 1, at, 1, None) == INVALID


def test_settings_are_kept_and_refused(libraries):
    value = ctypes.c_int()
    for name, default, kept, wrong in (("PointerMode_v2", 0, 1, 2), ("AtomicsMode", 0, 1, 2), ("MathMode", 0, 16, 4)):
        libraries.blas_call(f"cublasGet{name}", ctypes.byref(value))
        assert value.value == default
        libraries.blas_call(f"cublasSet{name}", kept)
        libraries.blas_call(f"cublasGet{name}", ctypes.byref(value))
        assert value.value == kept and libraries.blas_status(f"cublasSet{name}", wrong) == INVALID
        libraries.blas_call(f"cublasSet{name}", default)
    assert libraries.blas_status("cublasSetWorkspace_v2", ctypes.c_void_p(8), ctypes.c_size_t(8)) == INVALID
    libraries.blas_call("cublasSetWorkspace_v2", ctypes.c_void_p(256), ctypes.c_size_t(8))
