"""The VAE of Burda, Grosse and Salakhutdinov (2016, arXiv:1509.00519, Table 1): one layer, k = 1.

Pixels are binarised anew in every step. The paper trains for 3,280 epochs in batches of 20, its learning rate falling
from 1e-3 to 1e-4 in eight steps; here the rate falls once, after two thirds of the time that there is.
"""

from protocol import burda, reproduce

STAGES = [(1e-3, 2 / 3), (1e-4, 1 / 3)]
if __name__ == "__main__":
    reproduce(burda, STAGES, minutes=30, batch_size=20, published="-86.76 (MNIST)")
