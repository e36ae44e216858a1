"""The backend of NVIDIA GPUs: convolutions and their gradients through cuDNN 9, float32, NCHW.

    register()   switch it on: from then on Theano's optimizer lowers float32 convolutions of graphs on the GPU to it

    library      compiles c_code/ once into one Python module and loads it; no header of NVIDIA's is needed
    ops          the Theano Op on it

    rows         a minibatch's rows, gathered without waiting for a check

Everything else on the GPU is Theano's own, on libgpuarray.
"""

__all__ = ["register"]


def register(cudnn, tf32=False, deterministic=False, search=False):
    """Register the backend's rewrites in Theano's optdb; a second call does nothing.

    Parameters
    ----------
    cudnn : str
        Path of libcudnn.so.9.
    tf32 : bool
        Whether tensor cores may round the factors of products to TF32; else full float32 (CUDNN_FMA_MATH).
    deterministic : bool
        Whether only algorithms that give the same bits in every run are taken.
    search : bool
        Whether cuDNN times its algorithms when a convolution first meets its shapes, in place of its heuristics.

    Every rewrite carries the tag ``fastvae_cudnn``.

    ==========================  ========  ==================================================================
    name                        position  what it does
    ==========================  ========  ==================================================================
    fastvae_cudnn_lift              0.05  stock convolutions become abstract ones
    fastvae_resident_rows           0.05  a minibatch's rows are gathered without a check of their numbers
    fastvae_cudnn_fuse_early        0.06  a bias and a ReLU behind a convolution become part of its Op
    fastvae_cudnn_fuse              1.61  the same again, and the sums of bias gradients
    fastvae_cudnn_defer             1.62  abstract convolutions wait for Theano to move the graph to the GPU
    (fastvae_stock)                 1.65  what is left of the abstract Ops becomes stock; always there
    (gpuarray_opt)                 48.50  Theano moves the graph, and with it the convolutions become cuDNN's
    fastvae_cudnn_transfer         48.60  those that nothing on the GPU touches are moved there by themselves
    fastvae_resident_shape         48.70  nothing is copied to the host for its shape
    ==========================  ========  ==================================================================

    Raises
    ------
    fastvae.errors.StackError
        If the backend does not compile, or the library is not cuDNN 9.
    """
    from fastvae.backends.cudnn import library
    from fastvae.backends.rewrites import cudnn as rewrites
    from fastvae.backends.rewrites import resident

    library.load(cudnn, tf32, deterministic, search)
    rewrites.register()
    resident.register()
