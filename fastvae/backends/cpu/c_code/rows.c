/* Rows of an array by their numbers: what draws a minibatch. */
#include "fastvae.h"
#include <string.h>

/* TakeRows: inputs x (N, ...), numbers (n,) int64, negative ones counted from the end -> x[numbers].
 * Setting: numpy's number of x's type. */
static int run_take_rows(thunk *t) {
    int type = t->settings[0];
    PyArrayObject *x = fv_input_of(t, 0, type, -1), *numbers = x ? fv_input_of(t, 1, NPY_INT64, 1) : NULL;
    if (!numbers) return -1;
    int ndim = PyArray_NDIM(x);
    npy_intp shape[NPY_MAXDIMS], rows = PyArray_DIM(x, 0), n = PyArray_DIM(numbers, 0);
    memcpy(shape, PyArray_DIMS(x), ndim * sizeof *shape);
    shape[0] = n;
    if (!fv_is_contiguous(x)) {
        PyObject *taken = PyArray_TakeFrom(x, (PyObject *)numbers, 0, NULL, NPY_RAISE);
        return taken ? PyList_SetItem(t->outputs[0], 0, taken) : -1;
    }
    for (npy_intp i = 0; i < n; i++) {
        npy_int64 row = *(npy_int64 *)PyArray_GETPTR1(numbers, i);
        if (row < -rows || row >= rows) {
            PyErr_Format(PyExc_IndexError, "index %lld is out of bounds for axis 0 with size %zd", (long long)row,
                         (Py_ssize_t)rows);
            return -1;
        }
    }
    PyArrayObject *y = fv_output_of(t, 0, type, ndim, shape);
    if (!y) return -1;
    size_t bytes = rows ? PyArray_NBYTES(x) / rows : 0;
    char *to = PyArray_BYTES(y), *from = PyArray_BYTES(x), *at = PyArray_BYTES(numbers);
    npy_intp stride = PyArray_STRIDE(numbers, 0);
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel num_threads(fv_team(n * bytes / 2))
    {
        npy_intp first, end, size = PyArray_ITEMSIZE(x);
        fv_share(bytes / size, &first, &end); /* of every row: the product that follows shares out this axis */
        for (npy_intp i = 0; i < n; i++) {
            npy_int64 row = *(npy_int64 *)(at + i * stride);
            char *source = from + (row < 0 ? row + rows : row) * bytes;
            memcpy(to + i * bytes + first * size, source + first * size, (end - first) * size);
        }
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind take_rows_kind = {"TakeRows", 1, run_take_rows, NULL};
