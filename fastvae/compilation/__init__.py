"""Compile less of a function, and its C modules side by side.

Theano's linker walks through a function's nodes and compiles what its cache lacks, one g++ after the other. Here the
first missing module makes the C code of all that are missing, and as many g++ as there are threads compile it in a
folder of this process. Where the linker then asks for a module, its finished file is moved to where g++ would have
written it: theano's cache and its lock work as before, and what is compiled is the same.

Examples
--------
>>> import theano, theano.tensor as tt
>>> from fastvae.compilation import watched
>>> seen = []
>>> with watched(lambda done, total: seen.append((done, total))):
...     f = theano.function([], tt.zeros(()))  # one entry for each module that theano's cache lacked
"""

import contextlib
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import theano
import theano.tensor as tt
from theano.gof import CLinker, FunctionGraph, Op
from theano.gof.cc import get_module_cache
from theano.gof.cmodule import GCC_compiler, dlimport, get_lib_extension, get_module_hash
from theano.gof.utils import MethodNotDefined
from theano.gof.vm import VM_Linker
from theano.scalar import Scalar

from . import precompiled  # not by its full name: stock's programs of bench/ load this package without fastvae
from .drafts import drafts

SMALL = 100  # elements of a constant that Python computes at once
_batches = []  # of the functions that are being linked, the innermost last
_watchers = []
_preparations = [precompiled.prepare]
_contexts = []  # of a thread, under which other threads compile for it


def install(workers):
    """Switch both on for the process.

    Parameters
    ----------
    workers : int
        How many g++ run at a time.
    """
    fold_constants_in_python()
    compile_side_by_side(workers)


def prepare_with(function):
    """Let `function()` compile what every function of this profile needs, from the next `preparing` on."""
    if function not in _preparations:
        _preparations.append(function)


def help_under(context):
    """Let `context()`, called in the thread that compiles, return a context manager under which others help it."""
    _contexts.append(context)


@contextlib.contextmanager
def preparing():
    """Inside this context, what every function needs is compiled in threads while Python makes and rewrites graphs.

    What fails there is tried again, and raised, where it is needed.
    """
    with ThreadPoolExecutor() as pool:
        for preparation in _preparations:
            pool.submit(preparation)
        yield


class InTurn:
    """A compiled function for several threads, which take turns: theano mixes up the inputs of calls at a time.

    Parameters
    ----------
    function : theano.compile.Function

    Examples
    --------
    >>> x = tt.fscalar()
    >>> double = InTurn(theano.function([x], 2 * x))
    >>> float(double(1.5))
    3.0
    """

    def __init__(self, function):
        self.__setstate__(function)

    def __call__(self, *args):
        with self._lock:
            return self.function(*args)

    def __getstate__(self):
        return self.function

    def __setstate__(self, function):
        self.function, self._lock = function, threading.Lock()


@contextlib.contextmanager
def watched(watcher):
    """Inside this context `watcher(done, total)` is called as the modules of a function are compiled."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def fold_constants_in_python():
    """Theano compiles a C module to compute one constant: let numpy compute the small ones."""

    def is_small(self, node):
        variables = node.inputs + node.outputs
        return (
            type(node.op).perform is not Op.perform
            and all(isinstance(v.type, (tt.TensorType, Scalar)) for v in variables)
            and sum(np.size(v.data) for v in node.inputs) <= SMALL
        )

    def is_single(self, node):
        return len(node.inputs) < 32 and all(np.size(v.data) == 1 for v in node.inputs)  # numpy takes at most 31

    Op.python_constant_folding = is_small
    tt.Elemwise.python_constant_folding = is_single


def compile_side_by_side(workers):
    """Let `workers` compilers at a time compile the modules of a function."""
    compile_str, make_all = GCC_compiler.compile_str, VM_Linker.make_all

    @functools.wraps(make_all)
    def make_all_ahead(self, *args, **kwargs):
        with _Batch(lambda: self.schedule(self.fgraph), compile_str, workers) as batch:
            _batches.append(batch)
            try:
                return make_all(self, *args, **kwargs)
            finally:
                _batches.remove(batch)

    @functools.wraps(compile_str)
    def take_or_compile(module_name, src_code, location=None, *args, **kwargs):
        folder = _batches[-1].compiled(module_name) if _batches else None
        if folder is None:
            return compile_str(module_name, src_code, location, *args, **kwargs)
        for name in os.listdir(folder):
            os.replace(os.path.join(folder, name), os.path.join(location, name))
        open(os.path.join(location, "__init__.py"), "w").close()
        return dlimport(os.path.join(location, f"{module_name}.{get_lib_extension()}"))

    VM_Linker.make_all = make_all_ahead
    GCC_compiler.compile_str = staticmethod(take_or_compile)


class _Batch:
    """The modules of one function, compiled in a folder of their own from the first that is missing on."""

    def __init__(self, nodes, compile_str, workers):
        self.nodes, self.compile_str, self.workers = nodes, compile_str, workers
        self.jobs = None

    def __enter__(self):
        self.open = contextlib.ExitStack()
        return self

    def __exit__(self, *exception):
        self.open.close()

    def compiled(self, module_name):
        """The folder of a finished module, once; None for one that is not among those compiled ahead."""
        if self.jobs is None:
            self._start()
        job = self.jobs.pop(module_name, None)
        if job is None:
            return None
        folder = job.result()
        for watcher in _watchers:
            watcher(self.total - sum(not job.done() for job in self.jobs.values()), self.total)
        return folder

    def _start(self):
        self.jobs = {}
        home = self.open.enter_context(drafts(theano.config.compiledir))
        pool = ThreadPoolExecutor(self.workers)
        self.open.callback(pool.shutdown, cancel_futures=True)
        nodes = self.nodes()
        for preparation in _preparations:
            pool.submit(preparation)
        for module, arguments in _missing(nodes):
            if module.code_hash not in self.jobs:
                folder = os.path.join(home, module.code_hash)
                contexts = [context() for context in _contexts]
                self.jobs[module.code_hash] = pool.submit(self._help, contexts, module, folder, arguments)
        self.total = len(self.jobs)

    def _help(self, contexts, *args):
        with contextlib.ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            return self._compile(*args)

    def _compile(self, module, folder, arguments):
        os.mkdir(folder)
        self.compile_str(module.code_hash, module.code(), folder, **arguments, py_module=False)
        return folder


def _missing(nodes):
    """(module, arguments of the compiler) of the nodes that compile one of their own, if theano's cache lacks it."""
    cache = get_module_cache()
    for node in nodes:
        if not _is_plain(type(node.op)):
            continue
        node.op.prepare_node(node, storage_map=None, compute_map=None, impl="c")
        linker = CLinker().accept(FunctionGraph(node.inputs, node.outputs), no_recycling=[])
        try:
            key = linker.cmodule_key()
            if key in cache.entry_from_key or linker.c_compiler() is not GCC_compiler:
                continue
            source = linker.get_src_code()
        except (NotImplementedError, MethodNotDefined):  # it has no C code
            continue
        if get_module_hash(source, key) not in cache.module_hash_to_key_data:
            arguments = dict(
                include_dirs=linker.header_dirs(),
                lib_dirs=linker.lib_dirs(),
                libs=linker.libraries(),
                preargs=linker.compile_args(),
            )
            yield linker.get_dynamic_module(), arguments


def _is_plain(op):
    """Whether an Op's thunk is made as most are, so that its module can be made before its thunk is."""
    return (
        op.make_thunk is Op.make_thunk
        and op.make_c_thunk is Op.make_c_thunk
        and op.prepare_node in (Op.prepare_node, tt.Elemwise.prepare_node)
    )
