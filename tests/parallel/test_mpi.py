"""Ranks on MPI train as one process with all their rows: two groups serve all tests, see `tests.parallel.cases`."""

import numpy as np
import pytest

import fastvae
from fastvae import checkpoint
from fastvae.minibatch.samplers import ShuffledRow
from tests.parallel import problem

TWO = (
    *problem.PROBLEMS, "gradient", "batch_norm", "streams", "parameters_of_the_first", "held_out", "one_stops",
    "signalled", "nan", "skipped", "resumed", "after_kill", "on_other_ranks", "memory", "refusals",
)  # fmt: skip
ON_FOUR = ("mlp", "conv", "iwae")


@pytest.fixture(scope="module")
def killed(launch, shared_folder):
    """A run of two ranks of which one was killed."""
    done = launch(2, "-m", "tests.parallel.cases", shared_folder, "killed")
    assert done.returncode and max(checkpoint.steps(shared_folder / "killed")) == 6


@pytest.fixture(scope="module")
def two(group, killed):
    return group(2, *TWO)


@pytest.fixture(scope="module")
def four(group, two):  # it goes on with a run of the two
    return group(4, *ON_FOUR, "on_other_ranks")


@pytest.mark.parametrize("size, name", [*((2, name) for name in problem.PROBLEMS), *((4, name) for name in ON_FOUR)])
def test_ranks_train_as_one_process_with_all_rows(request, size, name):
    found, _ = request.getfixturevalue("two" if size == 2 else "four")
    (alone,) = [each["alone"] for each in found[name] if each["alone"]]
    first, *others = [each["ranks"] for each in found[name]]
    assert all(other == first for other in others) and len(first["losses"]) == problem.STEPS
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=1e-5)
    for mine, theirs in zip(first["params"], alone["params"]):
        difference = np.linalg.norm(np.subtract(mine, theirs))
        assert difference <= 1e-4 * np.linalg.norm(theirs)


def test_the_step_is_that_of_the_mean_gradient(two):
    x, e = (array.astype(float) for array in problem.hand_data())
    m, rho, rate = (problem.HAND[name] for name in ("mu", "rho", "rate"))
    key = int(np.random.SeedSequence(2).generate_state(1, np.uint64).view(np.int64)[0])
    s, slope = np.log1p(np.exp(rho)), 1 / (1 + np.exp(-rho))
    gradients = []
    for rank in range(2):
        rows = [ShuffledRow.impl(None, place, len(x), key, 0) for place in (2 * rank, 2 * rank + 1)]
        noise = e[rows[0]]
        z = m + s * noise
        by_z = -np.sum(x[rows] - z) + 2 / len(x) * z / 100
        gradients.append([by_z, by_z * noise * slope - 2 / len(x) * slope / s])
    expected = np.array([m, rho]) - rate * np.mean(gradients, axis=0)
    for each in two[0]["gradient"]:
        np.testing.assert_allclose([each["mu"], each["rho"]], expected, rtol=1e-5)


def test_running_means_are_averaged(two):
    first, second = two[0]["batch_norm"]
    assert first == second
    ratio = np.array(first["mean"]) / np.array(first["expected"])
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # the share of a new value
    assert 0 < ratio[0] < 1


def test_each_rank_has_streams_of_its_own(two):
    first, second = two[0]["streams"]
    assert first["alone"] == second["alone"] == first["together"]
    assert len(first["together"]) == 2
    assert all(mine != theirs for mine, theirs in zip(first["together"], second["together"]))


def test_parameters_are_those_of_the_first_rank(two):
    assert all(each["moved"] < 1e-6 for each in two[0]["parameters_of_the_first"])


def test_one_measurement_and_one_decision(two):
    first, second = two[0]["held_out"]
    assert first == second and first["ended_by"] == "patience" and len(first["hist"]) >= 3


def test_a_wish_of_one_rank_ends_all_after_the_next_step(two):
    assert two[0]["one_stops"] == 2 * [{"steps": 6, "ended_by": "callback"}]


def test_a_signal_to_one_rank_ends_all_though_losses_are_fetched_seldom(two):
    first, second = two[0]["signalled"]
    assert first == second and first["ended_by"] == "SIGTERM"


def test_a_loss_that_is_not_a_number_on_one_rank_ends_all(two):
    first, second = two[0]["nan"]
    assert first == second and first["steps"] == 3 and "the loss became nan at step 4" in first["error"]


def test_a_bad_step_of_one_rank_is_skipped_by_all(two):
    assert two[0]["skipped"] == 2 * [{"hist": [False, False, False, True, False, False]}]


def test_a_resumed_run_is_the_same_bit_for_bit(two):
    first, second = two[0]["resumed"]
    assert first == second and first["same"] and len(first["losses"]) == 10


def test_a_run_whose_ranks_were_killed_goes_on_bit_for_bit(two):
    first, second = two[0]["after_kill"]
    assert first["same"] and second["same"] and first["losses"] == second["losses"] and len(first["losses"]) == 10
    assert (first["killed began after"], first["not-killed began after"]) == (6, 0)


def test_a_run_goes_on_on_another_number_of_ranks_and_says_so(two, four, shared_folder, capsys):
    assert [each["steps"] for each in two[0]["on_other_ranks"]] == [3, 3]
    assert [each["steps"] for each in four[0]["on_other_ranks"]] == 4 * [6]
    assert len({each["bits"] for each in four[0]["on_other_ranks"]}) == 1
    assert "ranks=4 (it was 2); parameters, optimizer and the place in the epoch go on, random streams" in four[1]
    vae = problem.MODELS["mlp"]()
    rows = fastvae.on_disk(shared_folder / "images.npy")
    options = dict(n=9, batch_size=2, seed=1, checkpoint=shared_folder / "others", progressbar=False)
    approx = vae.fit(rows, resume=True, **options)
    assert len(approx.hist) == 9 and np.isfinite(approx.hist).all()
    assert "not bit for bit as in one go: ranks=1 (it was 4)" in capsys.readouterr().err
    assert len(checkpoint.newest(shared_folder / "others")["ranks"]) == 0


@pytest.mark.parametrize("kind", ["hdf5", "npy"])
def test_ranks_share_a_file_that_no_rank_could_hold(two, kind):
    """Limited by RLIMIT_AS; for .npy, which is mapped and so counts as address space, by RLIMIT_DATA."""
    found = [each[kind] for each in two[0]["memory"]]
    assert [each["whole"] for each in found] == 2 * ["does not fit"]
    rows = [row for each in found for row in each["rows"]]
    assert sorted(rows) == list(range(problem.LARGE[0]))  # each once, on one rank alone


@pytest.mark.parametrize(
    "name, words",
    [
        ("n", "rank 1 has n=6, rank 0 has 5: start all ranks with the same script"),
        ("data", "rank 1 has step="),
        ("shape", "rank 1 has step="),
        ("optimizer", "rank 1 has obj_optimizer="),
        ("model", "rank 1 has step="),
        ("version", "rank 1 has numpy="),
        ("method", "stock pm.fit, which would train alone on each of the 2 ranks"),
        ("iterator", "whose iterator each of them would read by itself"),
        ("uneven", 'take last="drop"'),
        ("short_epoch", "an epoch has fewer minibatches than there are ranks, 2"),
    ],
)
def test_what_ranks_cannot_train_is_refused_on_each(two, name, words):
    first, second = two[0]["refusals"]
    assert first[name] == second[name] and words in first[name]


def test_the_first_rank_says_how_many_rows_a_step_has(two):
    assert two[1].count("fastvae: 2 ranks x 4 images = 8 a step; learning rate as given") >= 1
