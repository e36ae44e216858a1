"""Threads follow affinity and quota, and only the linked BLAS has more than one."""

import json
import os

import pytest

from fastvae.devices import threads
from fastvae.errors import ConfigurationError

CORES = len(os.sched_getaffinity(0))


def group(tmp_path, membership, files):
    """A cgroup root in which `files` holds texts by path, and the process's file."""
    (tmp_path / "process").write_text(membership)
    (tmp_path / "cgroup").mkdir()
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"cgroup": tmp_path / "cgroup", "process": tmp_path / "process"}


@pytest.mark.parametrize(
    "membership, files, quota",
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/host/path\n", {"cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}, 1),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("7:memory:/\n", {"cpu.max": "50000 100000"}, None),
    ],
)
def test_quota_is_rounded_up_and_the_tightest_counts(tmp_path, monkeypatch, membership, files, quota):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert threads.available(**group(tmp_path, membership, files)) == (quota or 8)


def test_affinity_counts_and_without_cgroups_alone(tmp_path, python):
    assert threads.available(tmp_path / "none", tmp_path / "none") == CORES
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{first}]); import sys; sys.argv = ['fastvae']\n"
    done = python(code + "from fastvae.devices import threads; print(threads.requested())")
    assert done.stdout == f"1 thread ({threads.CORES})\n", done.stderr


@pytest.mark.parametrize(
    "cli, setting, text",
    [
        (None, None, f"{CORES} thread{'s' * (CORES > 1)} ({threads.CORES})"),
        (None, "", f"{CORES} thread{'s' * (CORES > 1)} ({threads.CORES})"),
        (None, "1", f"1 thread (OMP_NUM_THREADS; {CORES} available)"),
        (None, " 1,4", f"1 thread (OMP_NUM_THREADS; {CORES} available)"),
        (1, "2", f"1 thread (--threads; {CORES} available)"),
        ("1000", "2", f"1000 threads (--threads; more than the {CORES} available)"),
    ],
)
def test_the_command_line_beats_the_environment(cli, setting, text):
    request = threads.requested(cli, {} if setting is None else {"OMP_NUM_THREADS": setting})
    assert str(request) == text


@pytest.mark.parametrize("cli", ["two", "0", -1, "1.5", ""])
def test_a_wrong_number_of_threads_is_an_error(cli):
    with pytest.raises(ConfigurationError, match=f"--threads={cli!r}"):
        threads.requested(cli, {})
    if cli != "":
        with pytest.raises(ConfigurationError, match="OMP_NUM_THREADS"):
            threads.requested(None, {"OMP_NUM_THREADS": str(cli)})


POOLS = """
import json, fastvae
from fastvae import profiles, stack
from fastvae.devices import threads
import numpy, theano, theano.tensor as tt
x = tt.matrix()
theano.function([x], tt.dot(x, x))(numpy.ones((2, 2), "float32"))
count = lambda: {pool.path: pool.threads for pool in threads.pools() if pool.api == "blas"}
first = count()
stack.start(threads=1)
print(json.dumps([first, count(), profiles.active().blas_path]))
"""


def test_only_the_linked_blas_has_threads(python):
    done = python(POOLS, OMP_NUM_THREADS="3", FASTVAE_PROFILE="cpu-blas")
    assert done.returncode == 0, done.stderr
    pools, after, linked = json.loads(done.stdout)
    assert pools.pop(linked) == 3
    assert set(pools.values()) <= {1}
    assert set(after.values()) == {1}


def test_beside_onednn_no_blas_has_threads(python):
    code = POOLS.replace('if pool.api == "blas"', "")
    done = python(code, OMP_NUM_THREADS="3", FASTVAE_PROFILE="cpu")
    assert done.returncode == 0, done.stderr
    pools, *_ = json.loads(done.stdout)
    assert {count for path, count in pools.items() if "libgomp" in path} == {3}
    assert {count for path, count in pools.items() if "openblas" in path} == {1}


def test_without_a_linked_blas_numpys_pool_computes(python):
    done = python(POOLS, OMP_NUM_THREADS="3", flags="blas.ldflags=", FASTVAE_PROFILE="cpu-blas")
    assert done.returncode == 0, done.stderr
    pools, _, linked = json.loads(done.stdout)
    assert linked is None
    assert {count for path, count in pools.items() if "numpy.libs" in path} == {3}
    assert {count for path, count in pools.items() if "scipy.libs" in path} <= {1}


def test_the_line_names_every_pool_with_its_threads():
    line = threads.describe()
    for pool in threads.pools():
        assert f"{pool.threads} in {pool.library} ({pool.path})" in line
    counts = [int(part.split()[0]) for part in line.removeprefix("threads: ").split(", ")]
    assert counts == sorted(counts, reverse=True)
