"""The backend of GPUs, on libgpuarray: layers and Adam in a launch each, no copies, and cuDNN 9 on NVIDIA's; float32.

    missing()            None: it needs nothing beside the device
    register(profile)    switch it on
    stepping(...)        a compiled step that is launched as a CUDA graph
    prepare_ranks(...)   let MPI ranks average on their GPUs

    op           what all Ops share, how they are declared, and how an abstract Op waits to be moved to the GPU
    ops          the Theano Ops, one concept a file: convolutions, batch norm and other Ops of images (NCHW), and Adam
    lowering     the register of the rewrites to these
    transfers    what spares a step copies between host and GPU
    rows         a minibatch's rows, gathered without waiting for a check
    copies       small values of the host, copied only when they changed
    fusion       on CUDA, what lies between two library calls becomes one Op
    small_calls  calls of libraries that become part of such an Op
    fused        that Op, which writes its kernels when it meets the shapes of its inputs
    averaging    the mean over ranks within a step
    nccl         the ranks' GPUs, which NCCL lets sum
    graph        a step that is recorded once and then launched as a whole
    phases       which parts of a step that can be
    repairs      of Theano's own GPU Ops
    library      compiles c_code/ once into one Python module and loads it; no header of NVIDIA's is needed

Everything else on the GPU is Theano's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fastvae.devices import family
from fastvae.devices.findings import Finding
from fastvae.errors import ConfigurationError
from fastvae.parallel import ALONE, Ranks

__all__ = ["DEVICES", "missing", "prepare_ranks", "register", "stepping"]

DEVICES = ("cuda", "opencl")


class Settings(Protocol):
    """What the backend takes of a profile."""

    @property
    def cudnn(self) -> str | None: ...
    @property
    def tf32(self) -> bool: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def search(self) -> bool: ...
    @property
    def graphs(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def cuda_path(self) -> str | None: ...
    @property
    def settings(self) -> Mapping[str, tuple[str, str]]: ...


def missing() -> Finding | None:
    """None: what a GPU needs, `fastvae.devices.missing_for` finds, and the backend needs no more."""
    return None


def register(profile: Settings) -> None:
    """Register the backend's rewrites in Theano's optdb; a second call does nothing.

    Parameters
    ----------
    profile : fastvae.profiles.Profile
        Its ``cudnn`` is the path of libcudnn.so.9; without it convolutions stay Theano's own. ``tf32`` says whether
        tensor cores may round the factors of products to TF32, else they stay full float32 (CUDNN_FMA_MATH);
        ``deterministic``, whether only algorithms that give the same bits in every run are taken; ``search``, whether
        cuDNN times its algorithms when a convolution first meets its shapes, in place of its heuristics.

    Every rewrite carries the tag ``fastvae_gpu``; those of convolutions are registered with cuDNN alone.

    ==========================  ========  ==================================================================
    name                        position  what it does
    ==========================  ========  ==================================================================
    fastvae_dropout                 0.03  dropout becomes an element-wise function of random numbers; always there
    fastvae_cudnn_lift              0.05  stock convolutions become abstract ones
    fastvae_gpu_rows                0.05  a minibatch's rows are gathered without a check of their numbers
    fastvae_cudnn_fuse_early        0.06  a bias and a ReLU behind a convolution become part of its Op
    (fastvae_gpu_size)              1.00  the size of random numbers is what was asked for (in "canonicalize")
    fastvae_gpu_truth               1.60  whether anything is true is summed up
    fastvae_cudnn_fuse              1.61  the same again, and the sums of bias gradients
    fastvae_cudnn_defer             1.62  abstract convolutions wait for Theano to move the graph to the GPU
    fastvae_gpu_defer               1.62  and so do the other Ops that the GPU has, such as Adam's steps and batch norm
    fastvae_gpu_batch_norm         1.625  activations become part of the batch normalisation before them
    fastvae_stock                   1.65  what is left of the abstract Ops becomes stock; always there
    (gpuarray_opt)                 48.50  Theano moves the graph, and with it what waits
    fastvae_gpu_sum                48.55  sums over a batch are taken image by image first, where it is computed
    fastvae_gpu_end                48.60  convolutions that nothing on the GPU touches are moved by themselves
    fastvae_gpu_factor             48.65  a product's factor that changes is one of its operands'
    fastvae_gpu_shape              48.70  nothing is copied to the host for its shape
    fastvae_gpu_product            48.74  Adam makes the gradient of a dense layer's large weights itself
    fastvae_gpu_merge              48.75  Adam's steps of one rate share their launches
    fastvae_gpu_copy               48.80  scalars are copied to the GPU only when they changed
    fastvae_gpu_fuse               48.90  what lies between two library calls becomes one Op, on CUDA alone
    fastvae_gpu_inplace            70.10  Adam overwrites parameters and moments
    fastvae_gpu_overwrite          70.20  such an Op overwrites the shared variables that it updates
    ==========================  ========  ==================================================================

    Raises
    ------
    fastvae.errors.StackError
        If the backend does not compile, or the library is not cuDNN 9.
    """
    from fastvae.backends.gpu import averaging, fusion, library, lowering, repairs, transfers

    repairs.install()
    library.load()
    cudnn = profile.cudnn
    if cudnn is not None:
        library.open_cudnn(cudnn, profile.tf32, profile.deterministic, profile.search)
        lowering.register_cudnn()
    lowering.register()
    transfers.register()
    averaging.register()
    fusion.register()


def prepare_ranks(ranks: Ranks, profile: Settings) -> None:
    """Open NCCL between the GPUs of ranks, one each (collective).

    Parameters
    ----------
    ranks : fastvae.parallel.Ranks
    profile : fastvae.profiles.Profile

    Raises
    ------
    ConfigurationError
        If the device is not NVIDIA's, a rank finds no NCCL, or two have one GPU.
    """
    if family(profile.device) != "cuda":
        raise ConfigurationError(
            f"parallel: ranks train on CPUs and NVIDIA's GPUs, and the profile {profile.name} has "
            f"device={profile.device}: take the profile cpu or cuda, or parallel=None for a training on one device"
        )
    from fastvae.backends.gpu import nccl

    nccl.join(ranks, profile.device, profile.cuda_path, profile.settings.get("cxx", ("g++",))[0])


def stepping(step: Any, profile: Settings, ranks: Ranks = ALONE) -> Any:
    """What a training calls in place of a compiled step: on NVIDIA's GPUs a CUDA graph, if the profile has `graphs`.

    Parameters
    ----------
    step : theano.compile.Function
    profile : fastvae.profiles.Profile
    ranks : fastvae.parallel.Ranks
        Those that train together. Several are not recorded: NCCL wants all of them to record the same calls, and each
        rank records when its own memory has come to rest.

    Returns
    -------
    callable
        Computes what the step does. A step that cannot be recorded is called as it is; one line of the log says why.
    """
    if ranks.size > 1:
        from fastvae.backends.gpu import averaging, graph

        if ranks.is_first and profile.graphs:
            graph.say(f"{ranks.size} ranks average within it")
        return averaging.stepping(step, ranks)
    if profile.cudnn is None or not profile.graphs:
        return step
    from fastvae.backends.gpu import graph

    return graph.stepping(step)
