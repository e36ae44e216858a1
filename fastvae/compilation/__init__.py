"""Compile fewer C modules for a function, several in one run of the compiler, and side by side.

Theano's linker walks through a function's nodes and compiles the modules that its cache lacks, one after the other.
Here, as soon as one module is missing, the C code of all missing ones is generated, and as many g++ as there are
threads compile it, each a share of it, in a folder of this process. When the linker then asks for a module, the
finished file is moved to where g++ would have written it. Theano's cache and its lock work as before, and the result
is the same.

    brief           less code in each module
    precompiled     the headers that all modules include, compiled once
    carried         modules that came with the environment, and are not compiled
    drafts          folders for what compilers write
    together        several modules in one run of the compiler
    processor       which instructions it may use
    lookup          which compiled module a node has

Examples
--------
>>> import theano, theano.tensor as tt
>>> from fastvae.compilation import watched
>>> seen = []
>>> with watched(lambda done, total: seen.append((done, total))):
...     f = theano.function([], tt.zeros(()))  # one entry for each module that theano's cache lacked
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from theano.gof import Apply, CLinker, FunctionGraph, Op
from theano.gof.cc import get_module_cache
from theano.gof.cmodule import GCC_compiler, dlimport, get_lib_extension, get_module_hash
from theano.gof.utils import MethodNotDefined
from theano.gof.vm import VM_Linker
from theano.scalar import Scalar

# Relative imports: bench/'s stock programs load this package without fastvae.
from . import brief, carried, lookup, processor, together
from .drafts import drafts

SMALL = 100  # elements of a constant that numpy may compute
ENOUGH = 150_000  # characters of C code for a second compiler, which reads the headers again
_batches: list[_Batch] = []  # of the functions that are being linked, the innermost last
_watchers: list[Callable[[int, int], object]] = []
_preparations: list[Callable[[], object]] = []
_of_nodes: list[Callable[[Iterable[Apply]], object]] = []
_contexts: list[Callable[[], Any]] = []  # of a thread, for the threads that compile for it


def install(workers: int) -> None:
    """Switch on both for the whole process.

    Parameters
    ----------
    workers : int
        How many g++ may run at the same time.
    """
    fold_constants_in_python()
    brief.install()
    processor.install()
    lookup.install()
    carried.install()
    compile_side_by_side(workers)


def prepare_with(function: Callable[[], object]) -> None:
    """Register a function that compiles something which every theano function of this profile needs."""
    if function not in _preparations:
        _preparations.append(function)


def prepare_for(function: Callable[[Iterable[Apply]], object]) -> None:
    """Register a function of a graph's nodes that lets threads compile what these need beside theano's modules."""
    if function not in _of_nodes:
        _of_nodes.append(function)


def help_under(context: Callable[[], Any]) -> None:
    """Register a function that, called in a thread that compiles, returns a context for the threads that help it."""
    _contexts.append(context)


def begin() -> None:
    """Let threads compile what every function needs; what fails there is tried again when it is needed."""

    def tried(preparation):
        with contextlib.suppress(Exception):
            preparation()

    for preparation in _preparations:
        threading.Thread(target=tried, args=(preparation,), daemon=True).start()


@contextlib.contextmanager
def preparing() -> Iterator[None]:
    """Within this context threads compile what every function needs, while Python builds and rewrites graphs.

    If something fails there, it is tried again, and raises, when it is needed. Python's search for cycles of garbage
    pauses: it would look at a million nodes of graphs again and again, a seventh of the whole time.
    """
    collects = gc.isenabled()
    begin()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class InTurn:
    """A compiled function for several threads, which take turns, because theano mixes up inputs of concurrent calls.

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

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__setstate__(function)

    def __call__(self, *args: Any) -> Any:
        with self._lock:
            return self.function(*args)

    def __getstate__(self) -> Callable[..., Any]:
        return self.function

    def __setstate__(self, function: Callable[..., Any]) -> None:
        self.function, self._lock = function, threading.Lock()


@contextlib.contextmanager
def watched(watcher: Callable[[int, int], object]) -> Iterator[None]:
    """Within this context `watcher(done, total)` is called for each module of a function that has been compiled."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def fold_constants_in_python() -> None:
    """Let numpy compute small constants, for each of which theano would compile a C module."""

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


def compile_side_by_side(workers: int) -> None:
    """Let up to `workers` compilers at a time compile the modules of a function."""
    compile_str, make_all = GCC_compiler.compile_str, VM_Linker.make_all

    @functools.wraps(make_all)
    def make_all_ahead(self, *args, **kwargs):
        for begin_with in _of_nodes:
            begin_with(self.fgraph.apply_nodes)
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
    """The modules of one function, which are compiled in a folder of their own as soon as one is missing."""

    def __init__(self, nodes: Callable[[], Any], compile_str: Callable[..., Any], workers: int) -> None:
        self.nodes, self.compile_str, self.workers = nodes, compile_str, workers
        self.jobs: dict[str, Future[str]] | None = None

    def __enter__(self):
        self.open = contextlib.ExitStack()
        return self

    def __exit__(self, *exception):
        self.open.close()

    def compiled(self, module_name: str) -> str | None:
        """The folder of a finished module, which is handed out once; None for a module that was not compiled ahead."""
        if self.jobs is None:
            self._start()
        job = self.jobs.pop(module_name, None)
        if job is None:
            return None
        home = job.result()
        for watcher in _watchers:
            watcher(self.total - sum(not job.done() for job in self.jobs.values()), self.total)
        return os.path.join(home, module_name)

    def _start(self):
        self.jobs = {}
        self.home = self.open.enter_context(drafts(theano.config.compiledir))
        pool = ThreadPoolExecutor(self.workers)
        self.open.callback(pool.shutdown, cancel_futures=True)
        nodes = self.nodes()
        begin()  # not in the pool, where it would take the place of a compiler that is waited for as well
        for sources, arguments in sorted(_shares(dict(_missing(nodes)), self.workers), key=_shortest_last):
            contexts = [context() for context in _contexts]
            self.jobs.update(dict.fromkeys(sources, pool.submit(self._help, contexts, sources, arguments)))
        self.total = len(self.jobs)

    def _help(self, contexts, *args):
        with contextlib.ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            return self._compile(*args)

    def _compile(self, sources, arguments):
        """Compile modules, each into a folder of its name, and return where these are."""
        for name, source in sources.items():
            os.mkdir(os.path.join(self.home, name))
            with open(os.path.join(self.home, name, "mod.cpp"), "w", encoding="utf-8") as file:
                file.write(source)
        if len(sources) == 1 or not self._compile_together(sources, arguments):
            for name, source in sources.items():
                self.compile_str(name, source, os.path.join(self.home, name), **arguments, py_module=False)
        return self.home

    def _compile_together(self, sources, arguments):
        """Whether it worked: some do not go together, and an error is said of the module that has it."""
        library = together.compiled(sources, os.path.join(self.home, f"with_{min(sources)}"), **arguments)
        if library is None:
            return False
        for name in sources:
            together.hand_out(library, os.path.join(self.home, name), f"{name}.{get_lib_extension()}")
        return True


def _shares(missing, workers):
    """What each compiler gets: ({name: source}, arguments of the compiler)."""
    alike: dict[str, list[str]] = {}
    for name, (source, arguments) in missing.items():
        goes_along = together.can_be(source) and not os.path.isdir(carried.folder())
        alike.setdefault(repr(arguments) if goes_along else name, []).append(name)
    for names in alike.values():
        sizes = {name: len(missing[name][0]) for name in names}
        for share in together.shared_out(sizes, min(workers, 1 + sum(sizes.values()) // ENOUGH)):
            yield {name: missing[name][0] for name in share}, missing[share[0]][1]


def _shortest_last(share):
    """So that no compiler is waited for alone; what is hardly optimised takes little time."""
    sources, arguments = share
    return "-O1" in arguments["preargs"], -sum(map(len, sources.values()))


def _missing(nodes):
    """(name, (source, arguments of the compiler)) of the nodes' modules that theano's cache lacks."""
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
            yield linker.get_dynamic_module().code_hash, (source, arguments)


def _is_plain(op):
    """Whether an Op's thunk is made in the usual way, so that its module can be made before the thunk."""
    return (
        op.make_thunk is Op.make_thunk
        and op.make_c_thunk is Op.make_c_thunk
        and op.prepare_node in (Op.prepare_node, tt.Elemwise.prepare_node)
    )
