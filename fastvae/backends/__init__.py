"""Where a model's Ops meet a device.

    abstract        device-free Ops (convolution, dense layer, ReLU gradient, Adam step) and what they mean in stock Ops
    levels          the categorical likelihood of pixel levels
    logistic        the discretised logistic likelihood of pixel levels
    pixels          what these two share
    stock           how an abstract Op becomes stock Ops where no backend takes it
    reference       what the convolutions are, in numpy
    onednn          the CPU backend: the same Ops in oneDNN
    gpu             the GPU backend: convolutions in cuDNN, Adam in one launch, nothing copied in a step
    c_module        how a backend's C code is compiled, loaded and called
    rewrites        graph rewrites that lower abstract and stock Ops to a backend

A model builds abstract or stock Ops and never asks where it runs.
"""
