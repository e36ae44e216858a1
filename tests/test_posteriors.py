import pytest
import theano.tensor as tt

import fastvae
from fastvae import posteriors, renamed
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


def test_the_former_name_of_the_gradient_goes_on():
    with pytest.warns(renamed.RenamedWarning, match="posteriors.gradient_by_draw is now fastvae.posteriors.grad_log_q"):
        assert posteriors.gradient_by_draw is posteriors.grad_log_q


def test_the_former_name_of_makes_argument_goes_on():
    with pytest.warns(renamed.RenamedWarning, match=r"make\(..., name=\) is now posterior="):
        assert posteriors.make("VAE", name="mean-field").name == "mean-field"


def test_parameters_of_no_family_are_refused():
    for wrong in (dict(mu=1), dict(mu=1, rho=1, L_tril=1), dict(mu=1, sd=1)):
        with pytest.raises(
            ConfigurationError, match=r"of_params: params=.* must be dict\(mu=mean, rho=spread\) or dict"
        ):
            posteriors.of_params(wrong, 2)
