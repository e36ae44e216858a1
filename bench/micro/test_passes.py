"""The Ops that are passes over memory, and the matrix products of the dense layers."""

import numpy as np
import theano

from bench.micro.conftest import BATCH
from fastvae.backends import abstract
from fastvae.backends.cpu.ops.adam import Adam
from fastvae.backends.cpu.ops.layout import to_nchw, to_nhwc
from fastvae.backends.cpu.ops.matmul import Gemm, MatMul
from fastvae.backends.cpu.ops.relu_gradient import ReluGradient
from fastvae.backends.cpu.ops.rows import TakeRows
from fastvae.backends.cpu.ops.sums import ColumnSum, Total

PIXELS, HIDDEN = 64 * 24 * 24, 128
MAPS = (BATCH, 26, 26, 64)


def test_product_with_bias_and_relu(op_timed, drawn):
    op = MatMul("relu")
    op_timed(op, drawn(BATCH, HIDDEN), drawn(HIDDEN, PIXELS), drawn(PIXELS), work=2e-9 * BATCH * HIDDEN * PIXELS)


def test_product_of_a_weights_gradient(op_timed, drawn):
    op = MatMul(transposed=(True, False))
    op_timed(op, drawn(BATCH, HIDDEN), drawn(BATCH, PIXELS), work=2e-9 * BATCH * HIDDEN * PIXELS)


def test_gemm(op_timed, drawn):
    one = np.float32(1)
    op_timed(Gemm(), drawn(1024, 1024), one, drawn(1024, 1024), drawn(1024, 1024), one, work=2e-9 * 1024**3)


def test_layout_to_nhwc(op_timed, drawn):
    op_timed(to_nhwc, drawn(BATCH, 64, 26, 26))


def test_layout_to_nchw(op_timed, drawn):
    op_timed(to_nchw, drawn(*MAPS))


def test_relu_gradient(op_timed, drawn):
    op_timed(ReluGradient(), drawn(*MAPS), drawn(*MAPS))


def test_column_sum(op_timed, drawn):
    op_timed(ColumnSum(), drawn(*MAPS))


def test_total(op_timed, drawn):
    op_timed(Total(), drawn(*MAPS))


def test_take_rows(op_timed, drawn):
    numbers = theano.shared(np.random.default_rng(0).integers(5000, size=BATCH))
    op_timed(TakeRows(), drawn(5000, 1, 28, 28), numbers)


def test_adam(op_timed, drawn):
    arrays = [drawn(HIDDEN, PIXELS) for _ in range(4)]
    arrays[3].set_value(arrays[3].get_value() ** 2)
    op_timed(Adam(abstract.AdamStep(), 1), np.float32(1e-4), *arrays)
