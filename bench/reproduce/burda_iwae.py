"""The IWAE of Burda, Grosse and Salakhutdinov (2016, arXiv:1509.00519, Table 1): one layer, k = 50.

Model, data and learning rates as in `burda_vae.py`; the bound of 50 importance samples takes the place of the ELBO.
"""

from burda_vae import STAGES
from protocol import burda, reproduce

if __name__ == "__main__":
    reproduce(burda, STAGES, minutes=30, batch_size=20, published="-84.78 (MNIST)", objective="iwae", n_samples=50)
