"""Shared by all tests: the stack is started once, subprocesses get a clean environment."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from xdist.scheduler import LoadFileScheduling

# Several workers share the cores: a thread that waits for another must not keep one from a neighbour. libgomp reads it
# once, when it is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell's background job ignores Ctrl-C, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import fastvae  # noqa: E402, F401  (before anything imports theano)
from fastvae import devices  # noqa: E402
from fastvae.devices import cuda_libraries, cuda_search  # noqa: E402
from tests import cuda_device, gpu_headers, on_devices  # noqa: E402
from tests.quick import QUICK  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ("THEANO_FLAGS", "THEANORC", "FASTVAE_PROFILE", "FASTVAE_CUDA_PATH", "OMP_NUM_THREADS")

if on_devices.HERE in on_devices.GPUS:
    cuda_device.without_host_code()

# Files that take long although they have few tests: xdist would leave them for the end, where one worker waits for the
# other. Neighbours of this list compile in folders of their own or do not compile, so that they do not wait.
LONGEST = (
    "cuda",  # all tests on that device
    "opencl",
    "tests/docs/test_site.py",
    "tests/training/test_training.py",
    "tests/elbo/test_elbo.py",
    "tests/profiles/test_activation.py",
    "tests/cli/test_cli.py",
    "tests/bench/test_agreement.py",
    "tests/bench/test_measure.py",
    "tests/bench/test_make_bundle.py",
    "tests/backends/gpu/test_ops.py",
    "tests/cuda_device/test_calibration.py",
    "tests/cuda_device/test_steps.py",
    "tests/compilation/test_compilation.py",
    "tests/stack/test_legacy.py",
    "tests/test_kills.py",
    "tests/parallel/test_mpi.py",
    "tests/parallel/test_endings.py",
    "tests/parallel/test_gpus.py",
)


class LongestFirst(LoadFileScheduling):
    """`--dist loadfile` that hands out the files of `LONGEST` first, in their order; a GPU's tests are one file."""

    def _split_scope(self, nodeid):
        return on_devices.gpu_in(nodeid) or super()._split_scope(nodeid)

    def _assign_work_unit(self, node):
        def place(file):
            return LONGEST.index(file) if file in LONGEST else len(LONGEST)

        self.workqueue.move_to_end(min(self.workqueue, key=place), last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return LongestFirst(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.startswith(QUICK) and on_devices.device_of(item) not in on_devices.GPUS:
            item.add_marker("quick")
    on_devices.sort_out(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.following = nextitem


def pytest_pyfunc_call(pyfuncitem):
    """A test of another device runs there; True: pytest need not call it here."""
    elsewhere = pyfuncitem.funcargs.get("device")
    if not isinstance(elsewhere, on_devices.Elsewhere):
        return None
    elsewhere.run(pyfuncitem.nodeid, pyfuncitem.following and pyfuncitem.following.nodeid)
    return True


def look_often_for_the_compile_lock():
    """Let theano, which waits for a neighbour's compilation in whole seconds, look ten times a second."""
    from theano.gof import compilelock

    timeout, _, _, verbosity = compilelock.lock.__defaults__
    compilelock.lock.__defaults__ = (timeout, 0.05, 0.1, verbosity)


look_often_for_the_compile_lock()


def compile_cache(name=""):
    """Theano's compile folder of this run, which subprocesses share.

    Processes wait for each other while one of them compiles. Those with flags of their own, which share no C module
    with the others, have a folder of their own within it, of this name.
    """
    import theano

    return os.path.join(theano.config.base_compiledir, name).rstrip("/")


os.environ.setdefault("TEST_DEVICE_CACHE", compile_cache("cuda_device"))  # compiled once a run


def pocl():
    """Variables under which PoCL keeps the kernels of a run, and compiles them three times as fast."""
    return {"POCL_CACHE_DIR": compile_cache("pocl"), "POCL_EXTRA_BUILD_FLAGS": "-cl-opt-disable"}


def stock_flags():
    """THEANO_FLAGS of a process of stock PyMC3: fastvae's BLAS, and the folder that `bench.problem` gives it too."""
    import theano

    return f"floatX=float32,blas.ldflags={theano.config.blas.ldflags},base_compiledir={compile_cache('stock')}"


@pytest.fixture
def clean_environ(tmp_path):
    """An environment in which no user's setting selects a profile, with this run's compile cache."""
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    (tmp_path / "home").mkdir()
    environ["HOME"] = str(tmp_path / "home")
    environ["THEANO_FLAGS"] = f"base_compiledir={compile_cache()}"
    environ.update(pocl())
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    return environ


def without_compile_lock(said):
    """What a process said, less theano's lines about waiting for a neighbour's compilation: those depend on timing."""
    return "".join(line for line in said.splitlines(keepends=True) if "(theano.gof.compilelock)" not in line)


@pytest.fixture
def run(clean_environ, tmp_path):
    """Run a command in a clean environment and return the finished process, its output as text."""

    def run(*command, flags="", timeout=300, **environ):
        env = {**clean_environ, **environ}
        if flags:
            env["THEANO_FLAGS"] += "," + flags
        done = subprocess.run(
            [str(part) for part in command], env=env, cwd=tmp_path, text=True, capture_output=True, timeout=timeout
        )
        done.stderr = without_compile_lock(done.stderr)
        return done

    return run


@pytest.fixture
def python(run):
    """Run a piece of Python in a process of its own."""
    return lambda code, **options: run(sys.executable, "-c", code, **options)


def required_device(missing):
    """Skip a test whose device is not here, saying why and what to install; in CI that is a failure."""
    if missing:
        reason = "; ".join(map(str, missing))
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def runs_in_python(step):
    """The Ops of a compiled function that have neither C code nor a thunk of their own (as oneDNN's)."""
    from theano.gof.op import Op

    def is_stocks(op, method):
        return getattr(type(op), method) is getattr(Op, method)

    ops = [node.op for node in step.maker.fgraph.toposort()]
    return [op for op in ops if is_stocks(op, "c_code") and is_stocks(op, "make_thunk")]


@pytest.fixture(scope="session")
def computing_device(tmp_path_factory):
    """The folder of the tests' CUDA device, see `tests.cuda_device`; skips where what it needs is not installed."""
    missing = [devices.pygpu(), devices.gpuarray_headers(), cuda_libraries.find()[1]]
    required_device([finding for finding in missing if not finding.found])
    return cuda_device.build(tmp_path_factory.mktemp("cuda_device"))


@pytest.fixture(scope="session")
def pytests(request):
    """A function from a GPU's name to the pytest that runs on it."""
    started = {}

    def pytest_on(gpu):
        if gpu not in started:
            files = {item.location[0] for item in request.session.items if on_devices.device_of(item) == gpu}
            started[gpu] = on_devices.Elsewhere(sorted(files), environment_on(gpu, request))
        return started[gpu]

    yield pytest_on
    for other in started.values():
        other.close()


def environment_on(gpu, request):
    """The environment of that pytest; the computing device checks, in an order of threads that is not theirs."""
    if gpu == "opencl":
        required_device(devices.missing_for(gpu))
        return {**environment(gpu, gpu_flags()), "FASTVAE_PROFILE": gpu, "TESTS_RUN_ON": gpu}
    device = cuda_device.environ(request.getfixturevalue("computing_device"))
    checking = {"TEST_DEVICE_CHECK": "1", "TEST_DEVICE_ORDER": os.environ.get("TEST_DEVICE_ORDER", "1")}
    clean = environment(gpu, f"{gpu_flags()},{cuda_device.CHECKING_FLAGS}")
    return {**clean, **device, **checking, "TESTS_RUN_ON": gpu}


@pytest.fixture(scope="module", params=["cpu", *on_devices.GPUS])
def device(request):
    """What `tests.on_devices` says: the name of this process's device, or the pytest on another one."""
    if request.param == on_devices.HERE:
        return request.param
    if on_devices.HERE != "cpu":
        pytest.skip(f"this process runs on {on_devices.HERE}")
    return request.getfixturevalue("pytests")(request.param)


@pytest.fixture(scope="session")
def computing_device_13(tmp_path_factory):
    """The same with the libraries of CUDA 13."""
    nvrtc = cuda_search.candidates("nvrtc")
    if not any(path.endswith(".13") for path in nvrtc):
        required_device([f"nvrtc 13 is not among {nvrtc}; pip install nvidia-cuda-nvrtc==13.0.88"])
    return cuda_device.build(tmp_path_factory.mktemp("cuda_device_13"), cuda=13)


def environment(cache="", flags=""):
    """An environment without a user's settings; `cache` names a folder within the compile folder."""
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    clean["THEANO_FLAGS"] = f"base_compiledir={compile_cache(cache)}{flags}"
    clean["PYTHONPATH"] = os.pathsep.join([str(ROOT), clean.get("PYTHONPATH", "")])
    return {**clean, **pocl()}


def gpu_flags():
    """THEANO_FLAGS under which a GPU's process compiles fast."""
    return f",gcc.cxxflags={gpu_headers.flags(compile_cache('gpu_headers'))}"


def last_line_of(module, *arguments, flags="", cache="", status=0, **environ):
    """Run a module in a process of its own, without a user's settings, and return the last line that it prints.

    `cache` names a folder within the compile folder.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    env = {**environment(cache, flags), **environ}
    child = subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, timeout=600)
    assert child.returncode == status, child.stderr[-4000:]
    return (child.stdout.splitlines() or [""])[-1]


@pytest.fixture(scope="session")
def cuda_process(computing_device):
    """Run a module on the tests' device in a process of its own and return the last line that it prints."""
    os.makedirs(compile_cache("cuda"), exist_ok=True)
    os.makedirs(compile_cache("stock"), exist_ok=True)
    with contextlib.suppress(FileExistsError):  # stock's processes that these start find what others compiled
        os.symlink(compile_cache("stock"), compile_cache("cuda/stock"))

    def run(module, *arguments, stock=False, checked=False, status=0, device=computing_device, **environ):
        # theano's check of cuDNN links a program, which `gpu_headers` does not let it
        flags = f",gcc.cxxflags=-O0,{cuda_device.stock_flags(device)}" if stock else gpu_flags()
        environ = {**cuda_device.environ(device), **environ}
        if checked:
            flags += f",{cuda_device.CHECKING_FLAGS}"
            environ["TEST_DEVICE_CHECK"] = "1"
        return last_line_of(module, *arguments, flags=flags, cache="cuda", status=status, **environ)

    return run
