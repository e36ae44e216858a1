"""Where a model's Ops meet a device.

    abstract        device-free Ops, each defined by one expression of stock Ops
    rewrites        graph rewrites that all backends share: stock convolutions become abstract, neighbours fuse
    cpu             the CPU backend: the same Ops in oneDNN and vector code
    gpu             the GPU backend: convolutions in cuDNN, Adam in one launch, nothing copied in a step
    c_module        how a backend's C code is compiled, loaded and called

A model builds abstract or stock Ops and never asks where it runs.
"""
