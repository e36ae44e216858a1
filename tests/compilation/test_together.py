"""Modules that are compiled as one are those that theano would compile one by one."""

import os
import subprocess

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof import Apply, Op

from fastvae.compilation import together


class Times(Op):
    """x * n in C that no cache keeps; `code` is in front of it."""

    __props__ = ("n", "code")

    def __init__(self, n, code=""):
        self.n, self.code = n, code

    def make_node(self, x):
        return Apply(self, [x], [x.type()])

    def c_support_code(self):
        return self.code

    def c_code(self, node, name, inputs, outputs, sub):
        return f"{outputs[0]} = {inputs[0]} * {self.n};"


def times(*ops):
    x = total = tt.lscalar()
    scalar = tt.scalar_from_tensor(x)
    for op in ops:
        total = total + tt.tensor_from_scalar(op(scalar))
    return theano.function([x], total)


@pytest.fixture
def commands(monkeypatch):
    """Every command that compiles several modules."""
    made, run = [], subprocess.run
    spy = lambda command, **options: made.append(command) or run(command, **options)  # noqa: E731
    monkeypatch.setattr(together.subprocess, "run", spy)
    return made


def test_modules_that_use_each_others_names_do_not_disturb_one_another(commands):
    ops = [
        Times("N", "#define N 1001\nstatic int twice(int x) { return 2 * x; }"),
        Times("twice(N)", "#define N 1002\nstatic int twice(int x) { return 2 * x; }"),
        Times("N", "#ifndef N\n#define N 1003\n#endif"),
        Times("std::max((int)N, 5)", "#include <limits>\n#include <algorithm>\nenum { N = 1004 };"),
    ]
    assert times(*ops)(1) == 1 + 1001 + 2004 + 1003 + 1004
    assert commands and all(not done.endswith("mod.cpp") for command in commands for done in command)


def test_those_that_do_not_go_together_are_compiled_one_by_one(commands):
    ops = [Times(n, f'extern "C" int of_all() {{ return {n}; }}') for n in (1101, 1102, 1103, 1104)]
    assert times(*ops)(1) == 1 + sum(op.n for op in ops)
    assert commands


@pytest.mark.parametrize(
    "code, goes",
    [("#pragma omp parallel for", True), ("#pragma GCC unroll 4", True), ("#pragma GCC optimize 0", False)],
)
def test_what_would_last_is_left_alone(code, goes):
    assert together.can_be(f"int a;\n  {code}\nint b;") is goes


def test_a_file_system_without_hard_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "library").write_bytes(b"code")
    together.hand_out(str(tmp_path / "library"), str(tmp_path), "module.so")
    assert (tmp_path / "module.so").read_bytes() == b"code"


def test_the_parts_are_of_about_the_same_size_and_lose_nothing():
    sizes = {str(i): int(size) for i, size in enumerate(np.random.default_rng(0).integers(1, 100, 40))}
    parts = together.shared_out(sizes, 3)
    totals = [sum(map(sizes.__getitem__, part)) for part in parts]
    assert sorted(sum(parts, [])) == sorted(sizes) and max(totals) - min(totals) <= 100
    assert together.shared_out({"a": 1}, 3) == [["a"]]
