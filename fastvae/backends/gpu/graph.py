"""A step as a CUDA graph: recorded once, then launched as a whole, so that its Ops cost the host nothing.

A recorded step is a list of launches with their arguments: addresses, shapes, and the values that the host passed. So a
step is recorded again when any of them is another one, after steps that are not recorded, in which memory is allocated,
kernels are compiled and cuDNN chooses its algorithms. New values that the step does not compute in place are copied to
where the old ones are, at the end of what is recorded.

Two recordings are kept at once, since an epoch may end with a smaller minibatch; each has arrays of its own.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import theano
from theano.gof.link import raise_with_op
from theano.gof.vm import VM_Linker
from theano.gpuarray.type import GpuArrayType

from fastvae.backends.gpu import library
from fastvae.backends.gpu.copies import CopyWhenNew
from fastvae.backends.gpu.phases import NotRecordable, divided, on_gpu

WARM_UP = 3  # steps before the first recording
PATIENCE = 50  # steps in a row that could not be launched as recorded, after which recording is given up
KEPT = 2  # recordings at once


def stepping(function: Any) -> Any:
    """The function as a `StepGraph`; itself, and a line in the log, if it cannot be one."""
    try:
        return StepGraph(function)
    except NotRecordable as reason:
        say(reason)
        return function


def say(reason: object) -> None:
    """Tell the log why a step is not recorded."""
    logging.getLogger("fastvae").warning("the step is not recorded as a CUDA graph: %s", reason)


class Recording:
    """A step of certain shapes and values of the host.

    Attributes
    ----------
    graph : capsule or None
        None: it was taken once, and will be recorded the next time.
    written, copied : list
        What is in the cells `StepGraph._written` and `_copied` when it is launched.
    """

    def __init__(self) -> None:
        self.graph: Any = None
        self.written: list[Any] = []
        self.copied: list[Any] = []


class StepGraph:
    """A compiled function without arguments, called as the function is.

    Parameters
    ----------
    function : theano.compile.Function

    Attributes
    ----------
    function : theano.compile.Function
    recordings, replays : int
        How often the step was recorded, and launched as recorded.

    Raises
    ------
    NotRecordable
        If it is known beforehand that it cannot be recorded.
    """

    def __init__(self, function: Any) -> None:
        _check(function)
        self.function = function
        self.recordings = self.replays = 0
        fn, graph, cells = function.fn, function.maker.fgraph, _cells(function.fn)
        phases = divided(function)
        self._before, self._recorded, self._after = phases[:3]
        self._nodes, self._thunks, self._cells = fn.nodes, fn.thunks, cells
        self._context = next(v.type.context for node in fn.nodes for v in node.outputs if on_gpu(v))
        self._inputs = [cells[v] for v in graph.inputs if on_gpu(v)]
        self._crossing = [cells[v] for v in phases.crossing if on_gpu(v)]
        self._crossing_host = [cells[v] for v in phases.crossing if not on_gpu(v)]
        self._copies = [place for place in self._recorded if isinstance(fn.nodes[place].op, CopyWhenNew)]
        self._copied = [*self._crossing, *(cells[fn.nodes[place].outputs[0]] for place in self._copies)]
        linker = function.maker.linker
        self._updated = [v for v in linker.updated_vars if on_gpu(v)]
        self._updates = [(cells[v], cells[linker.updated_vars[v]]) for v in self._updated]
        self._updates_host = [(cells[v], cells[new]) for v, new in linker.updated_vars.items() if not on_gpu(v)]
        recorded = {v for place in self._recorded for v in fn.nodes[place].outputs}
        # Cells that are emptied, so that an Op does not write into what somebody else holds.
        self._fresh = [cells[v] for v in linker.no_recycling if v not in recorded]
        self._fresh_recorded = [cells[v] for v in linker.no_recycling if v in recorded]
        self._written = [cells[v] for v in recorded]
        self._outputs = [(cells[v], v in recorded) for v in graph.outputs[: function.n_returned_outputs]]
        self._recordings: dict[Any, Recording] = {}  # by what they read of the host, the oldest first
        self._current: Any = None  # the one of the last step
        self._known = None  # where the last step found its inputs, to see that this one finds them there too
        self._warm_up, self._unrecorded = WARM_UP, 0
        self._recording = self._given_up = False
        self._failed: Any = None  # the Op that could not be recorded

    def __call__(self) -> Any:
        """Take one step; what the function returns."""
        if self._given_up:
            return self.function()
        if self._warm_up or library.loaded().fingerprint(self._inputs) != self._known:
            return self._ordinary()
        may_record = any(recording.graph is None for recording in self._recordings.values())
        host = [(old, copy.copy(old[0])) for old, _ in self._updates_host] if may_record else []
        _empty(self._fresh)
        self._run(self._before)
        recording = self._recordings.get(self._read_of_the_host())
        if recording is None:
            self._count_unrecorded()
            self._current = None
            _empty(self._written)  # what was there is another recording's
            self._compute()
            self._keep()
        else:
            self._go_back_to(recording)
            if recording.graph is None:
                self._record(recording, host)
            else:
                library.loaded().launch(recording.graph)
                self.replays += 1
                self._unrecorded = 0
        self._run(self._after)
        _update(self._updates_host)
        return self._returned()

    def _ordinary(self):
        """The step as Theano takes it; what it read is known from then on."""
        self._recordings, self._current = {}, None
        self._count_unrecorded()
        outputs = self.function()
        self._warm_up = max(0, self._warm_up - 1)
        self._known = library.loaded().fingerprint(self._inputs)
        self._keep()
        return outputs

    def _read_of_the_host(self):
        """What decides which recording a step is: shapes, and values that are part of launches."""
        return *(cell[0].shape for cell in self._crossing), *(_bits(cell[0]) for cell in self._crossing_host)

    def _keep(self):
        """Keep what the step left in its cells as a recording without a graph, in the place of the oldest."""
        if self._given_up:
            return
        if len(self._recordings) == KEPT:
            del self._recordings[next(iter(self._recordings))]
        self._current = self._recordings[self._read_of_the_host()] = Recording()
        self._current.written = [cell[0] for cell in self._written]
        self._current.copied = [cell[0] for cell in self._copied]

    def _go_back_to(self, recording):
        """Let the cells hold the arrays of a recording, with the values that the host has for them now."""
        if recording is not self._current:
            self._current = None
            for cell, value in zip(self._written, recording.written):
                cell[0] = value
            self._run(self._copies)
            self._current = recording
        for cell, array in zip(self._copied, recording.copied):
            if cell[0] is not array:
                library.loaded().overwrite(array, cell[0])
                cell[0] = array

    def _count_unrecorded(self):
        self._unrecorded += 1
        if self._unrecorded > PATIENCE:
            self._give_up(f"in {PATIENCE} steps in a row addresses, shapes or values changed")

    def _give_up(self, reason):
        self._given_up = True
        self._recordings, self._current = {}, None
        say(reason)

    def _run(self, places):
        for place in places:
            try:
                self._thunks[place]()
            except Exception:
                if self._recording:  # the values of operands, which Theano's message shows, cannot be read now
                    self._failed = self._nodes[place].op
                    raise
                raise_with_op(self._nodes[place], self._thunks[place], storage_map=self._cells)

    def _compute(self):
        """The GPU's part of the step."""
        _empty(self._fresh_recorded)
        self._run(self._recorded)
        if all(old[0].shape == new[0].shape for old, new in self._updates):
            self._copy_back()
        else:
            _update(self._updates)

    def _record(self, recording, host):
        """Record the GPU's part of the step and launch it; if that fails, compute it.

        `host` are the cells of the host's values and what they held before the step, for one that Ctrl-C ends here.
        """
        module = library.loaded()
        self._recording = True
        try:
            module.begin_recording(self._context)
            _empty(self._fresh_recorded)
            self._run(self._recorded)
            self._copy_back()
            recording.graph = module.end_recording()
        except Exception as error:
            reason = module.abandon_recording() or (str(error) or type(error).__name__).splitlines()[0]
            self._give_up(reason if self._failed is None else f"{self._failed}: {reason}")
        except BaseException:
            for cell, value in host:
                cell[0] = value
            raise
        finally:
            self._recording = False
            module.abandon_recording()
        if recording.graph is None:
            return self._compute()
        recording.written = [cell[0] for cell in self._written]
        self.recordings += 1
        module.launch(recording.graph)

    def _copy_back(self):
        """Copy new values that are not computed in place to where the old ones are."""
        pairs = [(old[0], new[0]) for old, new in self._updates if new[0] is not old[0]]
        for variable, (old, new) in zip(self._updated, self._updates):
            if old[0].shape != new[0].shape:
                raise NotRecordable(f"{variable} of shape {old[0].shape} gets a value of shape {new[0].shape}")
        overwritten = [old for old, _ in pairs]
        new = [_apart(new, overwritten) for _, new in pairs]
        for pair in zip(overwritten, new):
            library.loaded().overwrite(*pair)

    def _returned(self):
        """The outputs, as the function returns them; what the next launch overwrites is copied."""
        values = [cell[0].copy() if recorded else cell[0] for cell, recorded in self._outputs]
        if self.function.return_none:
            return None
        return values[0] if self.function.unpack_single and len(values) == 1 else values


def _check(function):
    """Raise NotRecordable unless the function is nothing but Ops, in a fixed order, on one stream."""
    linker = function.maker.linker
    if type(linker) is not VM_Linker:
        raise NotRecordable(f"its mode has the linker {type(linker).__name__}, not Theano's virtual machine")
    if linker.callback or linker.callback_input:
        raise NotRecordable("its mode looks at every Op while it runs")
    if function.profile:
        raise NotRecordable("profile=True measures every Op")
    if function.fn.allow_gc:
        raise NotRecordable("allow_gc=True gives its memory back; set allow_gc=False")
    if not theano.config.gpuarray.single_stream:
        raise NotRecordable("gpuarray.single_stream=False lets it use two streams; set it to True")
    if function.output_keys is not None or any(c.required for c in function.input_storage):
        raise NotRecordable("it takes arguments or returns a dict")
    if any(thunk.lazy for thunk in function.fn.thunks):
        raise NotRecordable("it chooses what it computes, as ifelse does")


def _cells(fn):
    """The cells that the Ops use.

    Theano's loop in Python, which runs where there is no C++ compiler, names others in its `storage_map` for scalars
    that could have taken the place of another one.
    """
    cells = dict(fn.storage_map)
    for node, thunk in zip(fn.nodes, fn.thunks):
        cells.update(zip((*node.inputs, *node.outputs), (*thunk.inputs, *thunk.outputs)))
    return cells


def _apart(array, others):
    """The array, or a copy of it where it shares memory with others."""
    shares = any(GpuArrayType.may_share_memory(array, other) for other in others)
    return array.copy() if shares else array


def _update(pairs):
    """Put new values, all taken beforehand, in the place of old ones."""
    values = [new[0] for _, new in pairs]
    for (old, _), value in zip(pairs, values):
        old[0] = value


def _empty(cells):
    for cell in cells:
        cell[0] = None


def _bits(value):
    """A value of the host in a form that compares equal only for the same bits."""
    return (value.dtype.str, value.shape, value.tobytes()) if hasattr(value, "tobytes") else value
