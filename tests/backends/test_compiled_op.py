"""What an Op declares is all that it takes."""

import pytest
import theano
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends import compiled_op
from fastvae.backends.compiled_op import CompiledOp
from fastvae.backends.cpu import ops
from fastvae.backends.cpu.op import CpuOp, lowers


class Twice(CompiledOp):
    """2 x, in place of x where asked."""

    __props__ = ("inplace",)
    overwrites = {0: 0}

    def make_node(self, x):
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, outputs):
        (x,) = inputs
        outputs[0][0] = x if self.inplace else x.copy()
        outputs[0][0] *= 2


def every(cls):
    return [cls, *(sub for each in cls.__subclasses__() for sub in every(each))]


def test_the_variant_in_place_is_another_op_that_destroys_its_input():
    op = Twice()
    variant = op.in_place()
    assert variant != op and variant == Twice().in_place() and variant.destroy_map == {0: [0]}
    assert not hasattr(op, "destroy_map") and variant.in_place() is None
    assert op.kind == "Twice"


def test_it_is_taken_only_where_nobody_needs_the_input():
    x = tt.fvector()
    rewrite = theano.gof.opt.in2out(compiled_op.local_inplace)
    mode = theano.Mode(linker="py", optimizer=rewrite)
    for outputs, inplace in ((Twice()(tt.exp(x)), True), (Twice()(x), False)):
        function = theano.function([x], outputs, mode=mode)
        (node,) = [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, Twice)]
        assert node.op.inplace is inplace


def test_ops_that_have_a_variant_in_place_are_told_apart_from_it():
    compiled_op.import_modules(ops)
    in_place = [cls for cls in every(CpuOp) if cls.overwrites]
    assert {"Adam", "Gemm", "ReluGradient", "Uniform"} <= {cls.__name__ for cls in in_place}
    assert all("inplace" in cls.__props__ for cls in in_place)


def test_a_rule_for_no_stage_is_an_error():
    with pytest.raises(KeyError):
        lowers(tt.Dot, stage="nowhere")(lambda node: None)
