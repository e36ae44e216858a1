/* New arrays of given values. */
#include "fastvae.h"
#include <string.h>

/* The lengths that the inputs behind the first one are. */
int fv_read_shape(const thunk *t, npy_intp *shape, int ndim) {
    for (int i = 0; i < ndim; i++) {
        PyArrayObject *length = fv_input_of(t, i + 1, NPY_INT64, 0);
        if (!length) return -1;
        shape[i] = (npy_intp) * (npy_int64 *)PyArray_DATA(length);
        if (shape[i] < 0) {
            PyErr_Format(PyExc_ValueError, "%s: axis %d has a length of %zd; give 0 or more", t->kind->name, i,
                         (Py_ssize_t)shape[i]);
            return -1;
        }
    }
    return 0;
}

/* Strides of an array that is broadcast to a shape: 0 along axes where it is. */
static int broadcast_strides(npy_intp *strides, PyArrayObject *value, const npy_intp *shape, int ndim) {
    int missing = ndim - PyArray_NDIM(value);
    for (int i = 0; i < ndim; i++) {
        npy_intp length = i < missing ? 1 : PyArray_DIM(value, i - missing);
        strides[i] = length == 1 ? 0 : PyArray_STRIDE(value, i - missing);
        if (length == 1 || length == shape[i]) continue;
        PyErr_Format(PyExc_ValueError, "Fill: axis %d has %zd numbers, which cannot be broadcast to %zd", i,
                     (Py_ssize_t)length, (Py_ssize_t)shape[i]);
        return -1;
    }
    return 0;
}

static void fill(float *to, npy_intp n, float value) {
#pragma omp parallel num_threads(fv_team(n))
    {
        npy_intp first, end;
        fv_share(n, &first, &end);
        for (npy_intp i = first; i < end; i++) to[i] = value;
    }
}

/* Fill: a value, the lengths of the axes -> an array of it. Setting: the number of axes. */
static int run_fill(thunk *t) {
    const int ndim = (int)t->settings[0];
    npy_intp shape[NPY_MAXDIMS], strides[NPY_MAXDIMS];
    PyArrayObject *value = fv_input(t, 0, -1);
    if (!value || fv_read_shape(t, shape, ndim) || broadcast_strides(strides, value, shape, ndim)) return -1;
    PyArrayObject *y = fv_output(t, 0, ndim, shape), *view = NULL;
    if (!y) return -1;
    if (PyArray_SIZE(value) != 1) {
        view = (PyArrayObject *)PyArray_New(&PyArray_Type, ndim, shape, NPY_FLOAT32, strides, PyArray_DATA(value), 0, 0,
                                            NULL);
        if (!view) return -1;
    }
    float *to = PyArray_DATA(y);
    npy_intp n = PyArray_SIZE(y);
    Py_BEGIN_ALLOW_THREADS if (view) fv_pack(to, view);
    else fill(to, n, *(float *)PyArray_DATA(value));
    Py_END_ALLOW_THREADS Py_XDECREF(view);
    return 0;
}

const op_kind fill_kind = {"Fill", 1, run_fill, NULL};
