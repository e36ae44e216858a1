"""Weights and configuration in one .npz that needs neither fastvae nor Theano to be read.

Every parameter is an array under its own name, such as ``decoder.dense1.weight``, and so is the state of batch
normalisations. ``config`` is a text, JSON:

    format          1
    model           name of the class
    image_shape     [channels, rows, columns]
    n_latent        latents of an image
    likelihood      {"name": ..., its arguments}
    posterior       "mean-field" or "full-covariance"
    encoder         its layers in order, for ConvVAE and MLPVAE; of other models only the arrays are known
    decoder         likewise

A layer is ``{"name", "kind", "activation", "output_shape", its settings}``; batches are (N, channels, rows, columns) or
(N, units), float32. Its activation is a name of `fastvae.nn.ACTIVATIONS`, whose formula `fastvae.nn.activations` has.
With x the layer's input, and the activation after everything else:

    Linear            x @ weight + bias; weight (n_in, n_out), the transpose of PyTorch's
    Conv2D            cross-correlation, weight (n_out, n_in, rows, columns), stride, padding: as torch's conv2d
    ConvTranspose2D   weight (n_in, n_out, rows, columns), stride, padding: as torch's conv_transpose2d
    BatchNorm         gamma (x - running_mean) / sqrt(running_var + epsilon) + beta
    MaxPool2D, AveragePool2D, Upsample2D, Flatten, Reshape
                      window, stride and padding; factor and mode; row by row, the last axis fastest; shape

A layer without a bias has no array of that name. The encoder's outputs are n_latent means and then what the posterior
takes beside them: rho, of which softplus is the standard deviation, or a packed lower triangle
(`fastvae.posteriors`). What the decoder's outputs are to the likelihood, `fastvae.likelihoods` says: for ``normal``
they are the mean image, for ``bernoulli`` its logits.

Examples
--------
>>> import io, json
>>> from fastvae.models import MLPVAE
>>> file = io.BytesIO()
>>> np.savez(file, **contents(MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)))
>>> arrays = np.load(io.BytesIO(file.getvalue()))
>>> arrays["decoder.dense1.weight"].shape, json.loads(str(arrays["config"]))["decoder"][0]["activation"]
((2, 8), 'relu')
"""

from __future__ import annotations

import collections
import os
from typing import Any

import numpy as np

from fastvae import atomic, nn
from fastvae.errors import ConfigurationError, DataError
from fastvae.models import persistence

FORMAT = 1
SETTINGS = ("kernel", "window", "stride", "padding", "factor", "mode", "shape", "epsilon", "p")


def write(path: str | os.PathLike, vae: Any) -> None:
    """Write what `contents` returns to `path`, replacing the file at once or not at all.

    Raises
    ------
    DataError
        If a parameter is not finite or the path cannot be written.
    ConfigurationError
        If a parameter has no name, or several have one name.
    """
    arrays = contents(vae)
    for name, value in arrays.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise DataError(f"{path}: parameter {name} holds NaN or infinity, so nothing was exported: train again")
    try:
        with atomic.replacing(path) as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}): give a file in a writable folder") from error


def contents(vae: Any) -> dict[str, np.ndarray]:
    """The arrays of the file, by name."""
    variables = [*vae.get_params(), *vae.get_state()]
    names = collections.Counter(variable.name for variable in variables)
    bad = [name for name, times in names.items() if not name or times > 1 or name == "config"]
    if bad:
        n = names[bad[0]]
        raise ConfigurationError(
            f"{type(vae).__name__}.export: {f'{n} parameters are' if n > 1 else 'a parameter is'} named {bad[0]!r}: an "
            "exported file holds them by name, so give each layer a name of its own"
        )
    config = {
        "format": FORMAT,
        "model": type(vae).__name__,
        "image_shape": vae.image_shape,
        "n_latent": vae.n_latent,
        "likelihood": vae.likelihood.config,
        "posterior": vae.posterior.name,
    }
    shapes = {stage.name: stage.output_shape for stage in getattr(vae, "stages", ())}
    if shapes:
        for half in ("encoder", "decoder"):
            config[half] = [_layer(layer, shapes[layer.name]) for layer in getattr(vae, half)]
    text = persistence.as_json(f"{type(vae).__name__}.export", config)
    return {"config": np.array(text), **{each.name: each.get_value() for each in variables}}


def _layer(layer: nn.Layer, output_shape: tuple[int, ...]) -> dict[str, Any]:
    activation = layer.activation
    known = [name for name, function in nn.ACTIVATIONS.items() if function is activation]
    return {
        "name": layer.name,
        "kind": type(layer).__name__,
        "activation": known[0] if known else getattr(activation, "__name__", "identity"),
        "output_shape": output_shape,
        **{name: getattr(layer, name) for name in SETTINGS if hasattr(layer, name)},
    }
