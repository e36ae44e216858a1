"""Graph rewrites that lower abstract and stock Ops to a backend, registered in Theano's optdb.

    lift       stock convolutions of anybody's graph -> abstract ones
    fuse       a bias and a ReLU behind a convolution or product -> part of it
    onednn     abstract Ops and BLAS products -> oneDNN's, and the register of all rewrites of that backend
    layout     activations stay NHWC from convolution to convolution
    cudnn      abstract convolutions -> cuDNN's, and the register of all rewrites of that backend
    resident   what keeps a step on the GPU
"""
