"""The convolutional VAE of the PyMC3 blog post: Normal pixels of sd 0.1, 2 latents, 10,000 steps of 64."""

from protocol import reproduce

import fastvae

if __name__ == "__main__":
    reproduce(lambda shape, seed: fastvae.ConvVAE(shape, seed=seed), [(1e-4, 1)], iterations=10_000)
