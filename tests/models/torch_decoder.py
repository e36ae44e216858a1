"""A program without fastvae: rebuilds decoders in PyTorch from exported files and decodes latents.

python torch_decoder.py LATENTS.npz EXPORTED.npz IMAGES.npy [EXPORTED.npz IMAGES.npy ...]
"""

import json
import sys

import numpy as np
import torch
from torch import nn

ACTIVATIONS = {"identity": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "elu": nn.ELU, "tanh": nn.Tanh}


def module(layer, arrays):
    """A layer of the file as a module of PyTorch, with its weights."""
    kind, own = layer["kind"], {}
    for key, array in arrays.items():
        owner, _, what = key.rpartition(".")
        if owner == layer["name"]:
            own[what] = torch.tensor(array)
    bias = "bias" in own
    if kind == "Linear":
        made = nn.Linear(*own["weight"].shape, bias=bias)
        own["weight"] = own["weight"].T
    elif kind == "ConvTranspose2D":
        n_in, n_out, *kernel = own["weight"].shape
        made = nn.ConvTranspose2d(n_in, n_out, kernel, layer["stride"], layer["padding"], bias=bias)
    elif kind == "BatchNorm":
        made = nn.BatchNorm1d if len(layer["output_shape"]) == 1 else nn.BatchNorm2d
        made = made(len(own["gamma"]), eps=layer["epsilon"])
        own = {
            "weight": own["gamma"],
            "bias": own["beta"],
            **{key: own[key] for key in ("running_mean", "running_var")},
        }
    elif kind == "Upsample2D":
        return nn.Upsample(scale_factor=tuple(layer["factor"]), mode="nearest")
    else:
        assert kind == "Reshape", kind
        return nn.Unflatten(1, layer["shape"])
    made.load_state_dict(own, strict=kind != "BatchNorm")
    return nn.Sequential(made, ACTIVATIONS[layer["activation"]]())


def main(latents, *files):
    z = torch.tensor(np.load(latents))
    for exported, images in zip(files[::2], files[1::2]):
        arrays = dict(np.load(exported))
        config = json.loads(str(arrays["config"]))
        decoder = nn.Sequential(*(module(layer, arrays) for layer in config["decoder"])).eval()
        decoded = decoder(z).detach()
        if config["likelihood"]["name"] == "bernoulli":
            decoded = torch.sigmoid(decoded)
        np.save(images, decoded.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
