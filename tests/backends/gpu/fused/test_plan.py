"""Loops and launches: which loops share a launch, and what neighbouring axes become."""

from fastvae.backends.gpu.fused.plan import SMALL, Loop, launches, runs_of
from fastvae.backends.gpu.fused.sources import blocks_for, number_of, parts_of


def depths(found):
    return [[[loop.depth for loop in step] for step in launch.steps] for launch in found]


def test_neighbouring_axes_of_one_kind_are_one():
    assert runs_of((3, 1, 4, 5), (0, 1, 0, 1)) == ((12, False), (5, True))
    assert (
        runs_of((3, 4)) == ((12, False),)
        and runs_of((1, 1)) == ()
        and runs_of((0, 3), (1, 0)) == ((0, True), (3, False))
    )


def test_small_loops_of_successive_depths_share_a_block():
    small, large = ((10, False),), ((SMALL + 1, False),)
    found = launches([Loop(1, small, ["b"]), Loop(0, small, ["a"]), Loop(0, small, ["c"]), Loop(2, small, ["d"])])
    assert depths(found) == [[[0, 0], [1], [2]]] and found[0].is_single_block
    found = launches([Loop(0, large, ["a"]), Loop(1, small, ["b"]), Loop(2, small, ["c"]), Loop(3, large, ["d"])])
    assert depths(found) == [[[0]], [[1], [2]], [[3]]]


def test_a_loop_of_no_elements_is_none_unless_it_stores_sums():
    nothing, sums = Loop(0, ((0, False),), ["a"]), Loop(0, ((4, False), (0, True)), [], ["b"])
    assert launches([nothing]) == [] and launches([nothing, sums])[0].loops == [sums]


def test_numbers_of_summed_elements():
    """Every element is met once, in the sum that it belongs to."""
    runs = ((2, True), (3, False), (4, True))
    code = number_of(runs).replace("/", "//")
    numbers = [eval(code, {}, dict(m=m, r=r)) for m in range(3) for r in range(8)]
    assert sorted(numbers) == list(range(24))
    assert all(number // 4 % 3 == m for m, group in enumerate(zip(*[iter(numbers)] * 8)) for number in group)


def test_threads_of_a_sum_are_a_power_of_two_that_fits():
    for m, r, along in (
        (1, 10**6, True),
        (10**6, 3, False),
        (5, 1, True),
        (64, 64, False),
        (0, 0, True),
        (1, 9, False),
    ):
        parts = parts_of(m, r, along, 256)
        assert parts & (parts - 1) == 0 and 1 <= parts <= 256
        assert parts <= max(r, 1)
    assert blocks_for(0, 256) == 1 and blocks_for(10**9, 1) == 2048
