/* Arrays side by side along an axis, and the parts of one. */
#include "fastvae.h"
#include <string.h>

/* Copy as many stretches between the whole, where they are `width` floats apart, and a part of it. */
static void copy(float *whole, npy_intp width, float *part, npy_intp length, npy_intp stretches, int to_part) {
#pragma omp parallel for schedule(static) num_threads(fv_team(stretches * length))
    for (npy_intp i = 0; i < stretches; i++) {
        float *in_whole = whole + i * width, *in_part = part + i * length;
        memcpy(to_part ? in_part : in_whole, to_part ? in_whole : in_part, length * sizeof(float));
    }
}

static npy_intp product(const npy_intp *shape, int from, int end) {
    return PyArray_MultiplyList((npy_intp *)shape + from, end - from);
}

/* Copy an input, which is contiguous or is packed into scratch first, between the whole and a part of it. */
static int copy_from(PyArrayObject *input, float *output, npy_intp width, npy_intp length, npy_intp stretches,
                     npy_intp offset, int to_part) {
    const float *from;
    if (!fv_packed(&input, &from, 1, 0)) return -1;
    Py_BEGIN_ALLOW_THREADS
    if (to_part) copy((float *)from + offset, width, output, length, stretches, 1);
    else copy(output + offset, width, (float *)from, length, stretches, 0);
    Py_END_ALLOW_THREADS return 0;
}

/* Concatenate: arrays -> side by side along an axis. Settings: the axis, the number of axes. */
static int run_concatenate(thunk *t) {
    int axis = t->settings[0], ndim = t->settings[1];
    PyArrayObject *first = fv_input(t, 0, ndim);
    if (!first) return -1;
    npy_intp shape[NPY_MAXDIMS];
    memcpy(shape, PyArray_DIMS(first), ndim * sizeof *shape);
    for (int i = 1; i < t->n_inputs; i++) {
        PyArrayObject *a = fv_input(t, i, ndim);
        if (!a) return -1;
        for (int k = 0; k < ndim; k++)
            if (k != axis && PyArray_DIM(a, k) != shape[k]) {
                PyErr_Format(PyExc_ValueError, "Concatenate: along axis %d, the arrays have %zd and %zd elements in axis %d",
                             axis, (Py_ssize_t)shape[k], (Py_ssize_t)PyArray_DIM(a, k), k);
                return -1;
            }
        shape[axis] += PyArray_DIM(a, axis);
    }
    PyArrayObject *y = fv_output(t, 0, ndim, shape);
    if (!y) return -1;
    npy_intp inner = product(shape, axis + 1, ndim), stretches = product(shape, 0, axis), offset = 0;
    for (int i = 0; i < t->n_inputs; i++) {
        PyArrayObject *a = fv_input(t, i, ndim);
        npy_intp length = PyArray_DIM(a, axis) * inner;
        if (copy_from(a, PyArray_DATA(y), shape[axis] * inner, length, stretches, offset, 0)) return -1;
        offset += length;
    }
    return 0;
}

/* Split: an array, int64 lengths -> its parts of these lengths along an axis. Settings: as for Concatenate. */
static int run_split(thunk *t) {
    int axis = t->settings[0], ndim = t->settings[1];
    PyArrayObject *x = fv_input(t, 0, ndim), *lengths = x ? fv_input_of(t, 1, NPY_INT64, 1) : NULL;
    if (!lengths) return -1;
    npy_intp shape[NPY_MAXDIMS], whole = PyArray_DIM(x, axis), total = 0;
    memcpy(shape, PyArray_DIMS(x), ndim * sizeof *shape);
    int fits = PyArray_DIM(lengths, 0) == t->n_outputs;
    for (int i = 0; fits && i < t->n_outputs; i++) {
        npy_intp length = *(npy_int64 *)PyArray_GETPTR1(lengths, i);
        fits = length >= 0 && length <= whole - total;
        total += length;
    }
    if (!fits || total != whole) {
        PyErr_Format(PyExc_ValueError, "Split: the parts' lengths do not make the %zd elements along axis %d",
                     (Py_ssize_t)whole, axis);
        return -1;
    }
    npy_intp inner = product(shape, axis + 1, ndim), stretches = product(shape, 0, axis), offset = 0;
    for (int i = 0; i < t->n_outputs; i++) {
        shape[axis] = *(npy_int64 *)PyArray_GETPTR1(lengths, i);
        PyArrayObject *y = fv_output(t, i, ndim, shape);
        npy_intp length = shape[axis] * inner;
        if (!y || copy_from(x, PyArray_DATA(y), whole * inner, length, stretches, offset, 1)) return -1;
        offset += length;
    }
    return 0;
}

const op_kind concatenate_kind = {"Concatenate", 2, run_concatenate, NULL};
const op_kind split_kind = {"Split", 2, run_split, NULL};
