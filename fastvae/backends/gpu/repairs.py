"""Repairs of Theano's own GPU Ops."""

from __future__ import annotations

import re


def install() -> None:
    """Install all of them; a second call changes nothing."""
    name_without_addresses()
    name_functions_of_any_type()
    say_what_is_refused()


def name_without_addresses() -> None:
    """Let the C code of Ops with parameters be the same in every process, so that a bundle can carry it compiled.

    Theano names a structure by what `str` tells of its types, once, when their Op is imported.
    """
    from theano.gof.params_type import ParamsType
    from theano.gpuarray.type import GpuContextType

    GpuContextType.__str__ = lambda self: type(self).__name__
    ParamsType.name = property(ParamsType.generate_struct_name, lambda self, name: None)


def name_functions_of_any_type() -> None:
    """Let element-wise kernels that round or divide with a remainder compile for OpenCL too, which has no `floorf`."""
    from theano.gpuarray.elemwise import GpuElemwise

    kernel = GpuElemwise._generate_op_string
    if kernel.__module__ == __name__:
        return

    def _generate_op_string(self, node):
        functions, expression = kernel(self, node)
        return functions, re.sub(r"\b(floor|fmod)f\(", r"\1(", expression)

    GpuElemwise._generate_op_string = _generate_op_string


def say_what_is_refused() -> None:
    """Let an element-wise Op whose kernel the device refuses be an error that says so.

    Theano's code frees the kernel that it did not get, which ends the process; its other Ops look before they free.
    """
    from theano.gpuarray.elemwise import GpuElemwise

    if GpuElemwise.c_cleanup_code_struct is _free_if_there:
        return
    init, version = GpuElemwise.c_init_code_struct, GpuElemwise.c_code_cache_version
    vague = 'PyErr_SetString(PyExc_RuntimeError, "Could not initialize elemwise support");'

    def c_init_code_struct(self, node, name, sub):
        reason = f"gpucontext_error({sub['params']}->ctx, 0)"
        clear = f'PyErr_Format(PyExc_RuntimeError, "the device refuses its kernel: %s", {reason});'
        return init(self, node, name, sub).replace(vague, clear)

    def c_code_cache_version(self):
        stock = version(self)
        return stock and (*stock, "repaired")

    GpuElemwise.c_init_code_struct = c_init_code_struct
    GpuElemwise.c_cleanup_code_struct = _free_if_there
    GpuElemwise.c_code_cache_version = c_code_cache_version


def _free_if_there(self, node, name):
    return "if (ge) GpuElemwise_free(ge);"
