"""Steps as CUDA graphs on the tests' device: the same bits as without, recorded anew when something changed."""

import json

import numpy as np
import pytest

from tests.backends.gpu.graph_program import STEPS, mlp, trained, with_options

ONCE = [1, STEPS - 4]  # recordings and replays after three steps without and one that records


@pytest.fixture(scope="module")
def report(cuda_process):
    return json.loads(cuda_process("tests.backends.gpu.graph_program"))


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_a_recorded_step_trains_as_one_that_is_not(report, model):
    found = report[model]
    assert found["equal"] and found["counts"] == [ONCE] and found["said"] == []


def test_it_trains_as_the_cpu_does(report):
    for case, fit in (("mlp", lambda: trained(mlp, recorded=False)), ("options", lambda: with_options(recorded=False))):
        losses, _ = fit()
        np.testing.assert_allclose(report[case]["losses"], losses, rtol=1e-5)


@pytest.mark.parametrize("kind", ["epochs", "streamed"])
def test_every_minibatch_is_its_own(report, kind):
    found = report["minibatches"][kind]
    assert found["equal"] and found["counts"] == [ONCE] and found["said"] == []


def test_schedules_clipping_and_steps_that_may_be_skipped_are_recorded(report):
    """The learning rate and the KL's weight are numbers of the host that change in every step."""
    found = report["options"]
    assert found["equal"] and found["counts"] == [ONCE] and found["said"] == []


def test_a_step_that_theano_runs_in_python_is_recorded(report):
    assert report["python_loop"] == {"loop": "Loop", "equal": True, "counts": ONCE}


def test_a_resumed_run_and_one_that_fetches_every_loss_are_the_same(report):
    again, singly = report["resumed"]["equal"]
    assert again and singly
    assert report["resumed"]["counts"] == [ONCE, [1, STEPS // 2 - 4], ONCE]


def test_a_step_is_recorded_anew_when_a_shape_an_address_or_a_launch_changed(report):
    """After new values in the same memory, a number that is copied, one of the launches, a shape, a place, an alias."""
    changes = report["changes"]
    assert all(changes["equal"])
    assert changes["recordings"] == [1, 2, 2, 3, 4, 5, 6]


def test_a_recording_that_is_interrupted_changes_nothing(report):
    assert report["interrupted"] == {"equal": True, "counts": [1, 2]}


def test_a_full_and_a_smaller_last_minibatch_are_recorded_once_each(report):
    """Epochs of 3, 3 and 2 rows: each size is taken once as it is, then recorded; 22 steps, 3 of them the warm-up."""
    assert report["smaller_last"] == {"equal": True, "counts": [2, STEPS + 2 - 6], "launches": 2}


@pytest.mark.parametrize(
    "step, reason",
    [
        ("a check on the host", "GpuAdvancedSubtensor1: a copy to the host"),
        ("through the host", "GpuSubtensor{:int64:} needs what the host computes in the same step of x"),
        ("a choice", "it chooses what it computes, as ifelse does"),
        ("memory given back", "allow_gc=True gives its memory back; set allow_gc=False"),
        ("a look at every Op", "its mode looks at every Op while it runs"),
        ("an argument", "it takes arguments or returns a dict"),
        ("the host alone", "nothing of it runs on the GPU"),
        ("a new size", "x of shape (9,) gets a value of shape (10,)"),
    ],
)
def test_a_step_that_cannot_be_recorded_is_taken_as_it_is_and_one_line_says_why(report, step, reason):
    found = report["fall_backs"][step]
    assert found["said"] == [f"the step is not recorded as a CUDA graph: {reason}"]
    assert found["equal"]


def test_a_step_that_is_never_twice_the_same_is_given_up_with_one_line(report):
    said = "the step is not recorded as a CUDA graph: in 8 steps in a row addresses, shapes or values changed"
    assert report["moving"] == {"said": [said], "total": [66.0] * 3}


def test_a_key_of_the_profile_switches_it_off(report):
    assert report["switch"] == ["Function", "StepGraph"]


def test_a_replayed_step_is_one_call_of_the_driver(report):
    calls = report["calls"]
    assert calls.pop("graph_nodes") >= 1
    assert calls == {"cuGraphLaunch": 1}


def test_no_graph_outlives_its_step(report):
    assert report["living"] == 0
