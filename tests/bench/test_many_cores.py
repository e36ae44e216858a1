"""What each Op of the seed steps does with 16 threads: all of them work on whatever is large, and about as long."""

import json

import pytest

from bench import many_cores
from bench.many_cores import Node, Region

THREADS = 16
SHARED = 1e6  # bytes that an Op is not left alone with
UNEVEN = 2.5  # times the even share; one thread alone would have 16, and a machine that is busy adds a little
LARGE = 1e7  # bytes of which each thread's share takes long enough to be compared
CODE = """
import json
from bench import many_cores
found = many_cores.all_counts(["conv", "mlp"], [16])
print(json.dumps({model: by_count[16] for model, by_count in found.items()}))
"""


def test_a_node_takes_the_time_of_its_slowest_threads():
    node = Node("Op", 0, 1.0, (Region(0, (2.0, 4.0)), Region(3, (3.0, 0.0))))
    assert (node.work, node.span) == (10.0, 1.0 + 4.0 + 2.0)  # of three equal pieces one thread takes two
    assert (node.busy, node.imbalance(2)) == (2, pytest.approx(7 / 5))
    assert Region(0, (1.0, 0.01, 1.0)).busy == 2 and Region(3, (0.0,) * 8).busy == 3
    assert Node("Op", 0, 1.0, ()).busy == 1


def test_no_large_op_is_left_to_one_thread_and_none_is_shared_unevenly(python, tmp_path):
    path = str(many_cores.library(str(tmp_path)))
    done = python(CODE, FASTVAE_PROFILE="cpu", OMP_WAIT_POLICY="PASSIVE", LD_PRELOAD=path, FASTVAE_BENCH_REGIONS=path)
    assert done.returncode == 0, done.stderr
    for model, nodes in json.loads(done.stdout.splitlines()[-1]).items():
        nodes = [Node(*rest, tuple(Region(*region) for region in regions)) for *rest, regions in nodes]
        shared, large = ([node for node in nodes if node.bytes > least] for least in (SHARED, LARGE))
        assert len(shared) >= (35 if model == "conv" else 2) and len(large) >= (33 if model == "conv" else 0)
        assert {node.name: node.busy for node in shared if node.busy < THREADS} == {}
        assert {node.name: node.imbalance(THREADS) for node in large if node.imbalance(THREADS) > UNEVEN} == {}
        assert sum(node.serial for node in large) <= 0.1 * sum(node.work for node in large)
