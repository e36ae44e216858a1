import pytest
import theano.tensor as tt

import fastvae
from fastvae import posteriors
from fastvae.errors import ConfigurationError

B, D = 4, 3


@pytest.mark.parametrize("name", ["full", None, "mean_field", ["mean-field"]])
def test_an_unknown_posterior_is_refused(name):
    with pytest.raises(ConfigurationError, match="MLPVAE: posterior=.* must be one of 'mean-field', 'full-cov"):
        fastvae.MLPVAE(posterior=name)


def test_what_the_encoder_says_is_taken_as_pymc3_once_had_it():
    mean, rho = tt.matrices("mean", "rho")
    for given in ((mean, rho), [mean, rho], dict(mu=mean, rho=rho)):
        assert posteriors.of_latents({"z": given}) == {"z": dict(mu=mean, rho=rho)}
    assert posteriors.of_latents(None) is None
    for wrong in ([mean, rho], {"z": mean}, {"z": (mean,)}, {"z": (mean, rho, rho)}):
        with pytest.raises(ConfigurationError, match=r"local_rv=.* give a dict \{latent: dict\(mu=mean, rho=rho\)\}"):
            posteriors.of_latents(wrong)
