"""Rows of an array on the GPU by numbers that are known to be in range.

Theano's own Op checks them, and waits for the GPU after every gather to read the error flag. These Ops do not.
"""

from theano.gpuarray.subtensor import GpuAdvancedSubtensor1
from theano.tensor.subtensor import AdvancedSubtensor1


class RowsInRange(AdvancedSubtensor1):
    """x[row numbers], none of which is out of range: what a minibatch draws (its tag ``in_range`` says so)."""


class GpuRowsInRange(GpuAdvancedSubtensor1):
    """`RowsInRange` on the GPU."""

    def c_code(self, node, name, inputs, outputs, sub):
        checked = "&%s->ga, 1);" % inputs[1]
        code = super().c_code(node, name, inputs, outputs, sub)
        if code.count(checked) != 1:
            raise NotImplementedError("theano's GpuAdvancedSubtensor1 is not that of theano 1.0.5")
        return code.replace(checked, "&%s->ga, 0);" % inputs[1])

    def c_code_cache_version(self):
        return (*super().c_code_cache_version(), 1)
