"""What is said of networks whose evaluation of one image depends on others or on chance."""

import numpy as np
import pymc3 as pm
import pytest
import theano.tensor as tt

import fastvae
from fastvae import nn
from fastvae.elbo.evaluating import in_evaluation

X = tt.fmatrix("x")


def written_out(x):
    mean = x.mean(axis=0)
    return (x - mean) / tt.sqrt(((x - mean) ** 2).mean(axis=0) + np.float32(1e-4))


@pytest.mark.parametrize(
    "build, named",
    [
        (written_out, "Sum{axis=[0]"),
        (lambda x: x + pm.tt_rng(1).normal(x.shape, dtype="float32"), "mrg_uniform"),
        (nn.BatchNorm(3), None),
        (nn.Dropout(0.5), None),
        (tt.nnet.softmax, None),
        (lambda x: [nn.Linear(3, 2)(x), x.sum(axis=1)], None),
    ],
    ids=["written out", "noise", "BatchNorm", "Dropout", "rows", "a list"],
)
def test_what_has_no_evaluation_form_is_named(build, named, caplog):
    in_evaluation(build(X), [X])
    assert ([named in line for line in caplog.messages] == [True]) if named else not caplog.messages


def test_one_without_running_statistics_is_named_once(caplog):
    ones = np.ones(3, "float32")
    in_evaluation(tt.nnet.bn.batch_normalization_train(X, ones, ones)[0], [X])
    (line,) = caplog.messages
    assert "has no running mean and variance" in line


def test_a_vae_says_it_when_it_evaluates(caplog):
    class Written(fastvae.MLPVAE):
        def decode_output(self, z):
            return super().decode_output(written_out(z))

    vae = Written(image_shape=(1, 3, 3), hidden=4, seed=0)
    vae.encode_mean(np.zeros((2, 1, 3, 3)))
    assert not caplog.messages
    vae.decode_mean(np.zeros((2, 2)))
    (line,) = caplog.messages
    assert "depends on the rest of the batch" in line and "take fastvae.nn.BatchNorm" in line
