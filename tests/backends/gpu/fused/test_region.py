"""On the tests' device: regions compute what numpy does, at any shape and stride, in few launches, without faults."""

import json

import pytest
import theano.tensor as tt
from theano.gof import Apply, Op

from fastvae.backends.gpu.fused.region import between
from tests.backends.gpu.fused.cases import CASES

# What stays Theano's own among the Ops of the cases: on the device no pass over an array.
ON_THE_DEVICE = {"CopyWhenNew", "GpuDimShuffle", "GpuFromHost", "GpuReshape", "GpuSoftmax", "GpuSubtensor"}


@pytest.fixture(scope="module")
def report(cuda_process):
    return json.loads(cuda_process("tests.backends.gpu.fused.program", checked=True, TEST_DEVICE_ORDER="5"))


@pytest.mark.parametrize("name", CASES)
def test_every_case_equals_numpy_whether_its_arrays_are_packed_or_not(report, name):
    packed, strided = report["cases"]["errors"][name]
    assert packed < 1e-6 and strided < 1e-6


def test_regions_compute_all_of_them(report):
    assert {name for name in report["cases"]["others"] if name.startswith("Gpu")} <= ON_THE_DEVICE


def test_a_region_takes_new_shapes_and_refuses_those_that_do_not_fit(report):
    assert max(report["shapes"]["errors"]) < 1e-6
    assert "mis-match on axis 1 of shapes [(3, 4), (3, 1)]" in report["shapes"]["refusal"]


def test_states_are_overwritten_after_all_that_reads_them(report):
    """A pair, each of which needs the other's old value, is not overwritten both."""
    assert max(report["states"]["errors"]) < 1e-6
    assert report["states"]["same_memory"] and report["states"]["in_place"] == [True]


@pytest.mark.parametrize("batch", ["small", "large"])
def test_adam_makes_the_gradient_of_large_weights_itself(report, batch):
    """Of a large batch by the library's product."""
    found = report["adam"][batch == "large"]
    assert max(found["errors"]) < 2e-6
    assert (found["ops"]["AdamOfProduct"], found["ops"]["Adam"]) == (1, 1)


@pytest.mark.parametrize("flip", [False, True])
def test_a_convolution_of_one_channel_and_its_gradient_are_computed_with_what_follows(report, flip):
    """Also by weights of another shape, which the graph did not know."""
    found = report["one_channel"][flip]
    assert max(found["errors"]) < 2e-6
    assert "Region" in found["ops"] and not any("Conv" in name or "Gradients" in name for name in found["ops"])


def test_products_with_few_weights_are_computed_with_their_neighbours(report):
    found = report["small_products"]
    assert max(found["errors"]) < 1e-5
    assert found["products"] == [["GpuDot22"], []]  # a gradient is known to be one of few weights by Adam's step


def test_a_region_of_more_arrays_than_a_kernel_takes_is_divided(report):
    assert report["many_arrays"] < 1e-6


def test_launches(report):
    assert report["launches"]["a pass with two results"] == 1
    assert report["launches"]["small results of results"] <= 3  # with Theano's own softmax
    assert report["launches"]["a bias gradient"] == 1


def test_the_device_finds_no_fault(report):
    assert report["findings"] == []


class Pair(Op):
    """Two outputs of one input."""

    def make_node(self, x):
        return Apply(self, [x], [x.type(), x.type()])


def test_a_region_ends_at_its_inputs_whichever_outputs_of_their_nodes_they_are():
    first, second = Pair()(tt.fvector())
    _, last = Pair()(second)
    total = first * last
    assert between([first, last], [total]) == [total.owner]
