/* An array at a slice of zeros: the gradient of a slice. */
#include "fastvae.h"
#include <string.h>

/* Which taken place is at i, -1 for a zero. */
static npy_intp taken_at(const fv_axis *a, npy_intp i) {
    npy_intp from = i - a->first;
    return from >= 0 && from % a->step == 0 && from / a->step < a->taken ? from / a->step : -1;
}

static int read_axes(const thunk *t, PyArrayObject *x, const npy_intp *shape, int ndim, fv_axis *axes) {
    for (int i = 0; i < FV_AXES; i++) axes[i] = (fv_axis){1, 1, 0, 1};
    for (int i = 0, k = FV_AXES - ndim; i < ndim; i++, k++) {
        npy_intp first = (npy_intp)t->settings[1 + k], step = (npy_intp)t->settings[1 + FV_AXES + k];
        if (first < 0) first += shape[i];
        if (first < 0) first = 0; /* as Python's slices have it */
        axes[k] = (fv_axis){shape[i], PyArray_DIM(x, i), first, step};
        if (!axes[k].taken || first + (axes[k].taken - 1) * step < shape[i]) continue;
        PyErr_Format(PyExc_ValueError, "IntoZeros: axis %d of %zd zeros has no room for %zd numbers from %zd on in steps of %zd",
                     i, (Py_ssize_t)shape[i], (Py_ssize_t)axes[k].taken, (Py_ssize_t)first, (Py_ssize_t)step);
        return -1;
    }
    return 0;
}

/* The last two axes: zeros and what is among them. */
static void place(float *to, const float *from, const fv_axis *y, const fv_axis *x) {
    npy_intp size = y->length * x->length;
    if (y->taken * x->taken < size) memset(to, 0, size * sizeof *to);
    to += y->first * x->length + x->first;
    if (x->taken == x->length && y->step == 1) {
        memcpy(to, from, y->taken * x->taken * sizeof *to);
        return;
    }
    for (npy_intp i = 0; i < y->taken; i++, to += y->step * x->length, from += x->taken) {
        if (x->step == 1) memcpy(to, from, x->taken * sizeof *to);
        else
            for (npy_intp j = 0; j < x->taken; j++) to[j * x->step] = from[j];
    }
}

/* from, of the taken places alone, among the zeros of four axes. */
void fv_into_zeros(float *to, const float *from, const fv_axis *axes) {
    npy_intp outer = axes[0].length * axes[1].length, large = axes[2].length * axes[3].length;
    npy_intp small = axes[2].taken * axes[3].taken;
#pragma omp parallel for schedule(static) num_threads(fv_team(outer * large))
    for (npy_intp i = 0; i < outer; i++) {
        npy_intp p = taken_at(&axes[0], i / axes[1].length), q = taken_at(&axes[1], i % axes[1].length);
        if (p < 0 || q < 0) memset(to + i * large, 0, large * sizeof *to);
        else place(to + i * large, from + (p * axes[1].taken + q) * small, &axes[2], &axes[3]);
    }
}

/* IntoZeros: x, the lengths of the result's axes -> x at a slice of zeros. Settings: the number of axes, and of four axes,
 * of which the first ones may be missing, the slice's starts and steps. */
static int run_into_zeros(thunk *t) {
    const int ndim = (int)t->settings[0];
    npy_intp shape[FV_AXES];
    fv_axis axes[FV_AXES];
    PyArrayObject *a = fv_input(t, 0, ndim);
    if (!a || fv_read_shape(t, shape, ndim) || read_axes(t, a, shape, ndim, axes)) return -1;
    PyArrayObject *out = fv_output(t, 0, ndim, shape);
    const float *from;
    if (!out || !fv_packed(&a, &from, 1, 0)) return -1;
    float *to = PyArray_DATA(out);
    Py_BEGIN_ALLOW_THREADS fv_into_zeros(to, from, axes);
    Py_END_ALLOW_THREADS return 0;
}

const op_kind into_zeros_kind = {"IntoZeros", 9, run_into_zeros, NULL};
