"""The CPU backend: convolutions, dense layers, ReLU gradient and Adam through oneDNN, float32.

    check()      why this machine cannot use it, or None; does not import theano
    register()   switch it on: from then on Theano's optimizer lowers float32 graphs on the CPU to it

    location     where oneDNN's library and headers are
    library      compiles c_code/ once into one Python module and loads it
    ops          the Theano Ops on it

All Ops run in one compiled module: Theano generates and compiles no C for any of them.

Examples
--------
>>> from fastvae.backends import cpu
>>> print(cpu.check())
None
"""

import ctypes

from fastvae.backends.cpu import location
from fastvae.backends.cpu.location import check

__all__ = ["check", "register"]


def register(winograd=True):
    """Register the backend's rewrites in Theano's optdb; a second call does nothing.

    Parameters
    ----------
    winograd : bool
        Whether 3x3 convolutions may take Winograd's F(4x4, 3x3), about twice as fast, in place of oneDNN's direct
        kernels. Its norm-wise error against float64 is about 1e-6 where the direct kernels' is 1e-7. Profiles say it
        by their key ``winograd``.

    Every rewrite carries the tag ``fastvae_onednn``, so that
    ``theano.compile.get_default_mode().excluding("fastvae_onednn")`` compiles without the backend.

    ==========================  ========  ==================================================================
    name                        position  what it does
    ==========================  ========  ==================================================================
    fastvae_onednn_lift             0.05  stock convolutions become abstract ones
    fastvae_onednn_fuse_early       0.06  a bias and a ReLU behind a product become part of its Op
    fastvae_onednn_fuse             1.61  the same again, once simplification has removed other users; a sigmoid too
    fastvae_onednn_lower            1.62  abstract Ops become oneDNN's, in NHWC between changes of layout
    fastvae_onednn_winograd        1.625  convolutions of stride 1 may take Winograd's kernel
    fastvae_onednn_layout           1.63  changes of layout cancel, through element-wise Ops and sums too
    fastvae_onednn_reshape         1.635  element-wise Ops and sums on images that are a view of vectors work on these
    fastvae_onednn_passes           1.64  ReLU gradients, rows of a minibatch, total sums and random numbers become
                                          one threaded pass each
    (fastvae_stock)                 1.65  what is left of the abstract Ops becomes stock; always there
    fastvae_onednn_product          1.72  matrix products that BlasOpt (1.7) found become oneDNN's
    fastvae_onednn_vectorize       49.10  element-wise passes that call exp, log, ... or take a scalar from the graph
                                          become threaded vector code
    fastvae_onednn_inplace         70.10  ReLU gradient, Gemm, Adam and random states overwrite their operands
    fastvae_onednn_overwrite       75.10  so do these passes
    ==========================  ========  ==================================================================

    Raises
    ------
    fastvae.errors.ProfileError
        If `check()` finds a reason against it.
    """
    from fastvae.errors import ProfileError

    reason = check()
    if reason is not None:
        raise ProfileError(f"the oneDNN backend cannot be used: {reason}; or take the profile 'cpu-blas'")
    from fastvae import compilation
    from fastvae.backends.cpu import library, lowering

    ctypes.CDLL(location.locate().library)  # a pool of threads can be limited only once it is there
    lowering.register(winograd)
    compilation.prepare_with(library.compiled)
