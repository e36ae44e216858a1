"""The fully connected VAE of the same author: 784-128-2, Normal pixels of sd 0.1, 10,000 steps of 128."""

from protocol import reproduce

import fastvae

if __name__ == "__main__":
    reproduce(lambda shape, seed: fastvae.MLPVAE(shape, seed=seed), [(1e-3, 1)], iterations=10_000, batch_size=128)
