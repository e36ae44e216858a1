"""Running out of memory is one line; the errors are those that libgpuarray, cuDNN, theano and numpy raise."""

import numpy as np
import pymc3 as pm
import pytest

import fastvae
from fastvae import cli, profiles
from fastvae.errors import FastvaeError, OutOfMemoryError
from fastvae.profiles import memory


class GpuArrayException(Exception):
    """pygpu's, which derives from Exception too."""


CUDA = GpuArrayException(
    "b'cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory'\nApply node that caused the error: GpuDnnConv{...}\n"
    "Toposort index: 12\nInputs types: [...]"
)


def of_numpy():
    """What numpy raises for 4 EB, which no machine has."""
    with pytest.raises(MemoryError) as caught:
        np.empty((10**9, 10**9), "float32")
    return caught.value


def ending(error):
    def callback(*_):
        raise error

    return callback


@pytest.mark.parametrize(
    "error",
    [
        CUDA,
        GpuArrayException("b'clCreateBuffer: Memory object allocation failure'"),
        GpuArrayException("Out of memory"),
        RuntimeError("error doing operation: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
        of_numpy(),
    ],
)
def test_a_fit_that_runs_out_of_memory(error):
    with pm.Model():
        pm.Normal("mu", 0, 1)
        quick = dict(progressbar=False, fn_kwargs=dict(mode="FAST_COMPILE"))
        with pytest.raises(OutOfMemoryError) as caught:
            fastvae.fit(2, batch_size=64, callbacks=[ending(error)], **quick)
    text, name = str(caught.value), profiles.active().name
    assert text.startswith(f"fit: out of memory under the profile {name!r}, device ") and "\n" not in text
    assert "lower batch_size (now 64), n_samples" in text and "Apply node" not in text
    assert caught.value.__cause__ is error and isinstance(caught.value, FastvaeError)


def test_it_quotes_the_library():
    assert "(cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory)" in memory.message("fit", CUDA)
    assert "(MemoryError)" in memory.message("fit", MemoryError())


def test_other_errors_pass_unchanged():
    with pm.Model():
        pm.Normal("mu", 0, 1)
        with pytest.raises(ZeroDivisionError):
            fastvae.fit(2, callbacks=[ending(ZeroDivisionError())], progressbar=False)


@pytest.mark.parametrize("error", [CUDA, MemoryError()])
def test_the_command_line_says_it_in_one_line(error, monkeypatch, capsys):
    monkeypatch.setattr("fastvae.devices.describe", ending(error))
    assert cli.main(["devices"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fastvae: error: fastvae devices: out of memory") and said.count("\n") == 1
