"""PyTorch's training step of the seed models on paper: its kernels, and the bytes that their operands have.

step        every operation of one step, in order
ASSUMED     what that takes for granted
"""

from __future__ import annotations

import math
from collections.abc import Iterator

ASSUMED = (
    "eager mode, float32 without TF32, Adam(fused=True), zero_grad(set_to_none=True), the images resident as bytes",
    "a convolution adds its bias in a kernel of its own (elementwise_kernel), a Linear in its product (addmm)",
    "ReLU and sigmoid are a kernel each, and so are their gradients (threshold_backward, sigmoid_backward)",
    "the gradient of a bias is a reduce_kernel over the output's gradient",
    "softplus, randn, the draw, both log densities, KL and the loss are elementwise kernels over whole tensors",
    "fused Adam is one multi_tensor_apply_kernel, which reads p, g, m, v and writes p, m, v",
)
FLOAT = 4

Row = tuple[str, float, float, float, bool]


def _elementwise(name: str, size: int, reads: int = 1, writes: int = 1) -> Row:
    return f"elementwise {name}", FLOAT * reads * size, FLOAT * writes * size, 0, True


def _sum(size: int, results: int = 1) -> Row:
    return "reduce_kernel", FLOAT * size, FLOAT * results, 0, True


class _Layer:
    """A layer: sizes of input, output, weights and bias, FLOP of one product, whether it is a convolution."""

    def __init__(self, n, inputs, outputs, weights, activation, is_convolution):
        self.inputs, self.outputs = n * math.prod(inputs), n * math.prod(outputs)
        self.weights, self.bias = math.prod(weights), outputs[0]
        # A product for every pair of a weight and a place: of the smaller image where it is a transposed convolution.
        places = min(math.prod(inputs[1:]), math.prod(outputs[1:])) if is_convolution else 1
        self.flop = 2 * n * places * self.weights
        self.activation, self.is_convolution = activation, is_convolution

    def forward(self) -> Iterator[Row]:
        name = "cudnn forward" if self.is_convolution else "addmm"
        yield name, FLOAT * (self.inputs + self.weights), FLOAT * self.outputs, self.flop, False
        if self.is_convolution:
            yield _elementwise("add bias", self.outputs)
        if self.activation:
            yield _elementwise(self.activation, self.outputs)

    def backward(self, to_inputs: bool) -> Iterator[Row]:
        if self.activation:
            yield _elementwise(f"{self.activation} backward", self.outputs, reads=2)
        name = "cudnn" if self.is_convolution else "mm"
        if to_inputs:
            yield f"{name} by input", FLOAT * (self.outputs + self.weights), FLOAT * self.inputs, self.flop, False
        yield f"{name} by weights", FLOAT * (self.outputs + self.inputs), FLOAT * self.weights, self.flop, False
        yield _sum(self.outputs, self.bias)


def _layers(kind: str, n: int, hidden: int, filters: int) -> list[_Layer]:
    """The layers of a seed model, encoder first: 28 x 28 images, two latent numbers."""

    def dense(inputs, outputs, activation="relu"):
        return _Layer(n, (inputs,), (outputs,), (inputs, outputs), activation, False)

    if kind == "mlp":
        return [dense(784, hidden), dense(hidden, 4, None), dense(2, hidden), dense(hidden, 784, "sigmoid")]

    def convolution(channels, filters, size, out, kernel, activation="relu"):
        weights = (channels, filters, kernel, kernel)
        return _Layer(n, (channels, size, size), (filters, out, out), weights, activation, True)

    flat = filters * 24 * 24
    return [
        *(convolution(1, filters, 28, 26, 3), convolution(filters, filters, 26, 26, 1)),
        *(convolution(filters, filters, 26, 24, 3), dense(flat, hidden), dense(hidden, 4, None)),
        *(dense(2, hidden), dense(hidden, flat), convolution(filters, filters, 24, 26, 3)),
        *(convolution(filters, filters, 26, 26, 1), convolution(filters, 1, 26, 28, 3, "sigmoid")),
    ]


def step(kind: str, n: int, hidden: int = 128, filters: int = 64) -> list[Row]:
    """Every operation of one step: name, bytes read, bytes written, FLOP, and whether it is a kernel of PyTorch's own.

    Parameters
    ----------
    kind : "conv" or "mlp"
    n : int
        Images of a minibatch.
    hidden, filters : int
    """
    pixels, latents = n * 784, n * 2
    layers = _layers(kind, n, hidden, filters)
    middle = next(i for i, layer in enumerate(layers) if layer.inputs == latents)
    rows: list[Row] = [
        ("randint", 0, 8 * n, 0, True),
        ("index_select", pixels + 8 * n, pixels, 0, True),
        ("elementwise to float", pixels, FLOAT * pixels, 0, True),
        _elementwise("scale", pixels),
    ]
    for layer in layers[:middle]:
        rows += layer.forward()
    rows += [_elementwise("softplus", latents), ("randn", 0, FLOAT * latents, 0, True)]
    rows += [_elementwise("mul", latents, reads=2), _elementwise("add", latents, reads=2)]
    for layer in layers[middle:]:
        rows += layer.forward()
    # log p(x | z): subtract, square, scale, sum; log p(z) and log q(z): square, log, add, scale, sum each; their sum.
    rows += [_elementwise("sub", pixels, reads=2), _elementwise("square", pixels), _elementwise("scale", pixels)]
    rows += [_sum(pixels)]
    for _ in range(2):
        rows += [_elementwise(name, latents) for name in ("square", "log", "add", "scale")] + [_sum(latents)]
    rows += [_elementwise("loss", 1, reads=2)] * 3
    # Backwards through the same.
    rows += [_elementwise("scale", pixels), _elementwise("square backward", pixels, reads=2)]
    for layer in reversed(layers[middle:]):
        rows += layer.backward(to_inputs=True)
    rows += [_elementwise(name, latents, reads=2) for name in ("mul", "add", "log backward", "square backward", "add")]
    rows += [
        _elementwise("softplus backward", latents, reads=2),
        ("cat", FLOAT * 2 * latents, FLOAT * 2 * latents, 0, True),
    ]
    for i, layer in reversed(list(enumerate(layers[:middle]))):
        rows += layer.backward(to_inputs=i > 0)
    parameters = sum(layer.weights + layer.bias for layer in layers)
    return [*rows, ("multi_tensor_apply_kernel", FLOAT * 4 * parameters, FLOAT * 3 * parameters, 0, True)]
