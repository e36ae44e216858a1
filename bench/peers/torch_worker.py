"""The seed models, and the networks of `bench/networks.py`, in PyTorch.

    python -m bench.peers.torch_worker PROBLEM.npz eager|channels_last|compile|graphs [cpu|cuda|cuda-tf32]

`graphs` is compiled and replays a CUDA graph of the whole step. On the CPU all but eager keep images channels last; on
a GPU all do under TF32 and none in strict float32, as cuDNN is quickest. There Adam is PyTorch's fused one, cuDNN times
its algorithms, and the loss is fetched every 100 steps.
"""

import contextlib
import os
import sys

import torch
from torch import nn
from torch.nn import functional

from bench.networks import NETWORKS
from bench.peers.torch_network import Stack
from bench.problem import load
from bench.worker import serve

HALF_LOG_TAU = 0.9189385332046727  # log(2 pi) / 2
LOG_SD = -2.302585092994046  # of a pixel, whose sd is 0.1


class VAE(nn.Module):
    """`encode` and `decode`; the forward pass is the loss of a minibatch: nats, summed over the batch."""

    def forward(self, x, noise):
        mean, rho = self.encode(x).chunk(2, dim=1)
        sd = functional.softplus(rho)
        z = mean + sd * noise
        x_mean = self.decode(z).reshape(x.shape)
        log_likelihood = (-0.5 * ((x - x_mean) / 0.1) ** 2 - LOG_SD - HALF_LOG_TAU).sum()
        log_prior = (-0.5 * z**2 - HALF_LOG_TAU).sum()
        log_posterior = (-0.5 * ((z - mean) / sd) ** 2 - torch.log(sd) - HALF_LOG_TAU).sum()
        return -(log_likelihood + log_prior - log_posterior)


class NetworkVAE(VAE):
    """A network of `bench/networks.py`."""

    def __init__(self, problem, memory_format):
        super().__init__()
        network, weights = NETWORKS[problem.config["name"]], iter(problem.weights)
        self.encode = Stack(network.encoder, weights, memory_format)
        self.decode = Stack(network.decoder, weights, memory_format)


class SeedVAE(VAE):
    """A seed model."""

    def __init__(self, problem, memory_format):
        super().__init__()
        self.memory_format, self.maps = memory_format, problem.maps
        pairs = list(zip(problem.weights[0::2], problem.weights[1::2]))
        n = 3 if problem.kind == "conv" else 0
        steps = list(zip(problem.config["strides"], problem.config["padding"])) if n else []
        self.convs = nn.ModuleList(convolution(nn.Conv2d, *p, *s) for p, s in zip(pairs[:n], steps))
        self.dense = nn.ModuleList(dense(*p) for p in pairs[n : n + 4])
        self.transposed = nn.ModuleList(
            convolution(nn.ConvTranspose2d, *p, *s) for p, s in zip(pairs[n + 4 :], reversed(steps))
        )

    def encode(self, x):
        for layer in self.convs:
            x = functional.relu(layer(x))
        return self.dense[1](functional.relu(self.dense[0](x.flatten(1))))

    def decode(self, z):
        h = self.dense[3](functional.relu(self.dense[2](z)))
        if self.transposed:
            h = h.reshape(-1, *self.maps).contiguous(memory_format=self.memory_format)
            for layer in self.transposed:
                h = layer(functional.relu(h))
        return torch.sigmoid(h)


def dense(weight, bias):
    layer = nn.Linear(*weight.shape)
    return filled(layer, weight.T, bias)


def convolution(cls, weight, bias, stride, padding):
    n_in, n_out = weight.shape[:2] if cls is nn.ConvTranspose2d else weight.shape[1::-1]
    return filled(cls(n_in, n_out, weight.shape[2:], tuple(stride), tuple(padding)), weight, bias)


def filled(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


FETCH_EVERY = 100  # steps, on a GPU


class Graph:
    """A step as a CUDA graph, captured once: what it reads is copied into place before it is replayed."""

    def __init__(self, take, optimizer, rows, noise):
        self.rows, self.noise, self.graph = rows.clone(), noise.clone(), torch.cuda.CUDAGraph()
        params = [param for group in optimizer.param_groups for param in group["params"]]
        initial = [param.detach().clone() for param in params]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # compiles, allocates and chooses algorithms
            for _ in range(3):
                take(self.rows, self.noise)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.no_grad():
            for param, value in zip(params, initial):
                param.copy_(value)
            for state in optimizer.state.values():
                for value in state.values():
                    value.zero_()
        with torch.cuda.graph(self.graph):
            self.loss = take(self.rows, self.noise)

    def __call__(self, rows, noise):
        self.rows.copy_(rows)
        self.noise.copy_(noise)
        self.graph.replay()
        return self.loss


def main(path, variant, where="cpu"):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    problem = load(path)
    device, tf32 = where.removesuffix("-tf32"), where.endswith("-tf32")
    on_gpu = device == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = on_gpu
    channels_last = tf32 if on_gpu else variant != "eager"
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.from_numpy(problem.images).to(device)
    batches, noises = torch.from_numpy(problem.batches).to(device), torch.from_numpy(problem.noise).to(device)

    vae = (NetworkVAE if problem.kind == "network" else SeedVAE)(problem, memory_format).to(
        device, memory_format=memory_format
    )
    loss_of = torch.compile(vae) if variant in ("compile", "graphs") else vae
    initial = {name: value.clone() for name, value in vae.state_dict().items()}

    def differentiate(rows, noise):
        loss = loss_of(images[rows].contiguous(memory_format=memory_format), noise)
        loss.backward()
        return loss.detach()

    def prepare():
        """Compile; cuDNN times its algorithms later, when no other program keeps the GPU busy."""
        torch.backends.cudnn.benchmark = False
        differentiate(batches[0], noises[0])
        torch.backends.cudnn.benchmark = on_gpu

    def make_step(given):
        vae.load_state_dict(initial)
        options = dict(fused=True, capturable=True) if on_gpu else {}
        optimizer = torch.optim.Adam(vae.parameters(), lr=1e-4, **options)
        numbers = iter(range(len(batches)))

        def take(rows, noise):
            optimizer.zero_grad()
            loss = differentiate(rows, noise)
            optimizer.step()
            return loss

        if variant == "graphs":
            take = Graph(take, optimizer, batches[0], noises[0])

        def step():
            if given:
                number = next(numbers)
                return take(batches[number], noises[number])
            rows = torch.randint(len(images), batches[0].shape, device=device)
            return take(rows, torch.randn(noises[0].shape, device=device))

        return step

    def about():
        card = torch.cuda.get_device_name() if on_gpu else "cpu"
        capability = torch.backends.cpu.get_cpu_capability()
        return {
            "torch": torch.__version__,
            "torch threads": torch.get_num_threads(),
            "device": card,
            "instructions": capability,
        }

    @contextlib.contextmanager
    def verbose():
        with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                yield

    synchronize, fetch_every = (torch.cuda.synchronize, FETCH_EVERY) if on_gpu else (None, 1)
    serve(make_step, len(batches), about, synchronize, fetch_every, prepare, verbose)


if __name__ == "__main__":
    main(*sys.argv[1:])
