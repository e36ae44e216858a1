"""A training run so small that nothing is compiled twice: one parameter, one random stream, one counter."""

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae.checkpoint import Checkpoints
from fastvae.run_options import RunOptions
from fastvae.training.loop import Loop
from fastvae.training.losses import LossBuffer
from fastvae.training.parts import assemble


class Run:
    """`loss = sum(w) + noise`; every step adds noise to w, and counts. With `buffered` losses stay in a buffer."""

    def __init__(self, buffered=None):
        noise = MRG_RandomStreams(5).normal((3,), dtype="float32")
        self.w = theano.shared(np.ones(3, "float32"), name="w")
        self.count = theano.shared(np.int64(0), name="count")
        self.scale = theano.shared(np.float32(1), name="scale")
        updates = OrderedDict([(self.w, self.w + noise * self.scale), (self.count, self.count + 1)])
        loss, self.buffer = tt.sum(self.w) + noise[0], None
        if buffered:
            self.buffer = LossBuffer(loss, buffered)
            updates.update(self.buffer.updates)
        self.step = theano.function([], None if buffered else loss, updates=updates)
        self.start = [entry.variable.get_value() for entry in self.step.maker.inputs if entry.implicit]

    def again(self):
        """As it was before the first step."""
        for entry, value in zip([entry for entry in self.step.maker.inputs if entry.implicit], self.start):
            entry.variable.set_value(value)
        self.w.name = "w"
        return self

    def checkpoints(self, folder, every=2, resume=False, pipelines=(), may_change=(), **configuration):
        checkpoints = Checkpoints(folder, every, resume, configuration, may_change)
        checkpoints.bind(self.step, [self.w], list(pipelines))
        return checkpoints

    def loop(self, n, step=None, pipelines=(), checkpoints=None, elbo=None, **options):
        """A loop of `n` steps, or of what `step` makes of each, its parts as `assemble` makes them of `options`."""
        inference = SimpleNamespace(approx=SimpleNamespace(), hist=np.array([]))
        options = RunOptions(**{"progressbar": False, **options})
        parts = assemble([self.w], options, elbo=elbo, checkpoints=checkpoints)
        past = ()
        if checkpoints is not None:
            checkpoints.bind_parts(parts)
            past = checkpoints.losses
        step = self.step if step is None else step
        return Loop(inference, step, n, [self.w], parts, buffer=self.buffer, pipelines=pipelines, past=past)

    def train(self, n, **options):
        loop = self.loop(n, **options)
        loop.run()
        return loop.approx

    def bits(self):
        return [entry.variable.get_value().tobytes() for entry in self.step.maker.inputs if entry.implicit]
