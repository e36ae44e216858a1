"""A network of `bench/networks.py` in PyTorch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from bench import networks

ACTIVATIONS = {
    "relu": functional.relu,
    "leaky relu": lambda x: functional.leaky_relu(x, 0.2),
    "elu": functional.elu,
    "sigmoid": torch.sigmoid,
}


class Stack(nn.Module):
    """Some layers, with their weights taken from an iterator of arrays."""

    def __init__(self, layers, weights, memory_format):
        super().__init__()
        self.layers, self.memory_format = layers, memory_format
        self.params, self.branches = nn.ParameterList(), nn.ModuleList()
        for layer in layers:
            if isinstance(layer, networks.Residual):
                self.branches.extend(Stack(part, weights, memory_format) for part in (layer.main, layer.shortcut))
            for _ in range(n_weights(layer)):
                weight = torch.tensor(next(weights))
                weight = weight.T if isinstance(layer, networks.Dense) and weight.ndim == 2 else weight
                self.params.append(nn.Parameter(weight.contiguous()))

    def forward(self, x):
        weights, branches = iter(self.params), iter(self.branches)
        for layer in self.layers:
            x = self.apply_layer(layer, x, weights, branches)
        return x

    def apply_layer(self, layer, x, weights, branches):
        """One layer's output."""
        if isinstance(layer, networks.Residual):
            return next(branches)(x) + next(branches)(x)
        if isinstance(layer, networks.Conv):
            bias = layer.bias
            x = functional.conv2d(x, next(weights), next(weights) if bias else None, layer.stride, layer.padding)
            return x if layer.crop is None else x[:, :, : layer.crop, : layer.crop]
        if isinstance(layer, networks.ConvTransposed):
            return functional.conv_transpose2d(x, next(weights), next(weights), layer.stride, layer.padding)
        if isinstance(layer, networks.Dense):
            return functional.linear(x, next(weights), next(weights))
        if isinstance(layer, networks.BatchNorm):
            return functional.batch_norm(x, None, None, next(weights), next(weights), training=True, eps=1e-4)
        if isinstance(layer, networks.Activation):
            return ACTIVATIONS[layer.name](x)
        if isinstance(layer, networks.Pool):
            return (functional.max_pool2d if layer.mode == "max" else functional.avg_pool2d)(x, 2)
        if isinstance(layer, networks.Upsample):
            return upsampled(layer.mode, x)
        if isinstance(layer, networks.Flatten):
            return x.flatten(1)
        return x.reshape(-1, *layer.shape).contiguous(memory_format=self.memory_format)


def n_weights(layer) -> int:
    """Weights and biases that a layer takes."""
    if isinstance(layer, networks.Conv):
        return 1 + layer.bias
    return 2 * isinstance(layer, (networks.Dense, networks.ConvTransposed, networks.BatchNorm))


def upsampled(mode, x):
    """Images of twice the size; bilinear as Theano has it, where pixel i stays pixel 2 i and the last is repeated."""
    if mode == "nearest":
        return functional.interpolate(x, scale_factor=2)
    rows, columns = 2 * x.shape[2], 2 * x.shape[3]
    x = torch.cat([x, x[:, :, -1:]], 2)  # torch.compile has no working gradient of a padding by replication
    x = torch.cat([x, x[:, :, :, -1:]], 3)
    x = functional.interpolate(x, size=(rows + 1, columns + 1), mode="bilinear", align_corners=True)
    return x[:, :, :rows, :columns]
