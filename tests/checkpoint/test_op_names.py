import importlib

import pytest
import theano.tensor as tt

from fastvae.backends.abstract.layers import dense
from fastvae.backends.abstract.relu import Relu
from fastvae.checkpoint import op_names
from fastvae.checkpoint.description import graph_digest


def test_an_op_that_moves_to_another_module_keeps_its_digest(monkeypatch):
    def digest():
        return graph_digest([dense(tt.fmatrix("x"), tt.fmatrix("w"), activation="relu")])

    before = digest()
    for cls in (Relu, importlib.import_module("fastvae.backends.abstract.dense").Dense):
        monkeypatch.setattr(cls, "__module__", "fastvae.elsewhere")
    assert digest() == before == "d0877ee87418"  # as in format 1


def test_a_new_op_goes_by_its_class_and_a_users_by_its_full_name():
    new = type("New", (), {"__module__": "fastvae.backends.abstract.new"})
    own = type("New", (), {"__module__": "program"})
    assert op_names.of_class(new) == "fastvae.New" and op_names.of_class(own) == "program.New"
    assert op_names.of_class(type(tt.exp)) == "theano.tensor.elemwise.Elemwise"


@pytest.mark.parametrize("name", op_names.FORMER)
def test_every_op_of_the_table_is_there(name):
    homes = ["adam", "categorical", "conv", "dense", "discretized_logistic", "pixels", "relu", "unflatten"]
    modules = [importlib.import_module(f"fastvae.backends.abstract.{home}") for home in homes]
    modules.append(importlib.import_module("fastvae.minibatch.samplers"))
    assert any(hasattr(module, name) for module in modules)
