"""The seed models in PyTorch.

    python -m bench.peers.torch_worker PROBLEM.npz eager|channels_last|compile
"""
import os
import sys

import torch
from torch import nn
from torch.nn import functional

from bench.problem import load
from bench.worker import serve

HALF_LOG_TAU = 0.9189385332046727  # log(2 pi) / 2
LOG_SD = -2.302585092994046  # of a pixel, whose sd is 0.1


class VAE(nn.Module):
    """A seed model; its forward pass is the loss of a minibatch: nats, summed over the batch."""

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

    def forward(self, x, noise):
        mean, rho = self.encode(x).chunk(2, dim=1)
        sd = functional.softplus(rho)
        z = mean + sd * noise
        x_mean = self.decode(z).reshape(x.shape)
        log_likelihood = (-0.5 * ((x - x_mean) / 0.1) ** 2 - LOG_SD - HALF_LOG_TAU).sum()
        log_prior = (-0.5 * z**2 - HALF_LOG_TAU).sum()
        log_posterior = (-0.5 * ((z - mean) / sd) ** 2 - torch.log(sd) - HALF_LOG_TAU).sum()
        return -(log_likelihood + log_prior - log_posterior)

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


def main(path, variant):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    problem = load(path)
    memory_format = torch.contiguous_format if variant == "eager" else torch.channels_last
    images = torch.from_numpy(problem.images)
    batches, noises = torch.from_numpy(problem.batches), torch.from_numpy(problem.noise)

    def make_step(given):
        vae = VAE(problem, memory_format).to(memory_format=memory_format)
        optimizer = torch.optim.Adam(vae.parameters(), lr=1e-4)
        loss_of = torch.compile(vae) if variant == "compile" else vae
        numbers = iter(range(len(batches)))

        def step():
            if given:
                number = next(numbers)
                rows, noise = batches[number], noises[number]
            else:
                rows, noise = torch.randint(len(images), batches[0].shape), torch.randn(noises[0].shape)
            optimizer.zero_grad()
            loss = loss_of(images[rows].contiguous(memory_format=memory_format), noise)
            loss.backward()
            optimizer.step()
            return loss

        return step

    serve(make_step, len(batches), lambda: {"torch": torch.__version__, "torch threads": torch.get_num_threads()})


if __name__ == "__main__":
    main(*sys.argv[1:])
