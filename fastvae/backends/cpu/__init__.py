"""The backend of CPUs, float32: convolutions and products through oneDNN, and threaded vector code.

    missing()            what it lacks here, or None; does not import Theano
    register(profile)    switch it on

    op          what all Ops share, and how they are declared
    ops         the Theano Ops, one concept a file
    lowering    the register of all rewrites; layout, reshape, vectorize and elementary are the longer ones
    library     compiles c_code/ once into one Python module and loads it

All Ops run in one compiled module: Theano generates and compiles no C for any of them.

Examples
--------
>>> from fastvae.backends import cpu
>>> print(cpu.missing())
None
"""

from __future__ import annotations

import ctypes
from typing import Protocol

from fastvae import devices
from fastvae.devices import instructions
from fastvae.devices.findings import Finding
from fastvae.errors import ProfileError

__all__ = ["DEVICES", "missing", "register"]

DEVICES = ("cpu",)


class Settings(Protocol):
    """What the backend takes of a profile."""

    @property
    def winograd(self) -> bool: ...

    @property
    def isa(self) -> str: ...


def missing() -> Finding | None:
    """What this machine lacks for the backend, oneDNN or the processor for it; None if nothing."""
    finding = devices.onednn()
    return None if finding.found else finding


def register(profile: Settings) -> None:
    """Register the backend's rewrites in Theano's optdb; a second call does nothing.

    Parameters
    ----------
    profile : fastvae.profiles.Profile
        Its ``winograd`` says whether 3x3 convolutions may take Winograd's F(4x4, 3x3), about twice as fast as oneDNN's
        direct kernels. Its norm-wise error against float64 is about 1e-6 where the direct kernels' is 1e-7. Its
        ``isa`` limits the instructions of oneDNN's kernels.

    Every rewrite carries the tag ``fastvae_onednn``, so that
    ``theano.compile.get_default_mode().excluding("fastvae_onednn")`` compiles without the backend.

    ==========================  ========  ==================================================================
    name                        position  what it does
    ==========================  ========  ==================================================================
    (fastvae_dropout)               0.03  dropout becomes an element-wise function of random numbers; always there
    fastvae_onednn_recognise        0.04  upsampling and padding that are spelled out become abstract Ops
    fastvae_onednn_lift             0.05  stock convolutions become abstract ones; a reshape takes the variable whose
                                          shape it names
    fastvae_onednn_fuse_early       0.06  spelled activations become Ops, a bias and an activation behind a product part
                                          of it
    fastvae_onednn_fuse             1.61  the same again, once simplification has removed other users; stock's sigmoid,
                                          tanh and softplus too
    fastvae_onednn_lower            1.62  abstract Ops become the CPU's, on NHWC between changes of layout
    fastvae_onednn_winograd        1.625  convolutions of stride 1 may take Winograd's kernel
    fastvae_onednn_layout           1.63  changes of layout cancel, through element-wise Ops, reductions and slices too
    fastvae_onednn_reshape         1.635  element-wise Ops and sums on images that are a view of vectors work on these
    fastvae_onednn_batch_norm      1.637  activations become part of the batch normalisation before them
    fastvae_onednn_passes           1.64  ReLU gradients, rows of a minibatch, sums, maxima and random numbers become
                                          one threaded pass each
    (fastvae_stock)                 1.65  what is left of the abstract Ops becomes stock; always there
    fastvae_onednn_product          1.72  matrix products that BlasOpt (1.7) found become the CPU's
    fastvae_onednn_adam             1.73  Adam makes the gradient of a dense layer's large weights itself
    fastvae_onednn_vectorize       49.10  element-wise passes of float32 become threaded vector code, maxima and the
                                          remaining sums one threaded pass each
    fastvae_onednn_inplace         70.10  Ops that can, such as Gemm and Adam, overwrite inputs that nobody else needs
    fastvae_onednn_overwrite       75.10  so do the vector passes
    (fastvae_average)              75.20  so do means over MPI ranks; there where there are several
    ==========================  ========  ==================================================================

    Raises
    ------
    fastvae.errors.ProfileError
        If something is `missing`.
    """
    finding = devices.onednn()
    if not finding.found:
        raise ProfileError(f"the backend of CPUs is not available on this machine: {finding}")
    from fastvae import compilation
    from fastvae.backends.cpu import library, lowering

    onednn = ctypes.CDLL(finding.path)  # a pool of threads can be limited only once it is there
    instructions.limit_onednn(onednn, profile.isa)
    lowering.register(profile.winograd)
    compilation.prepare_with(library.compiled)
    compilation.prepare_for(library.begin)
