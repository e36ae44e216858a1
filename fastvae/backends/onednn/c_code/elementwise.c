/* Element-wise Ops in one threaded pass over memory: the gradient of ReLU and the Adam update. */
#include "fastvae.h"
#include <math.h>
#include <string.h>

/* Start an in-place Op on input `from`: its own memory if it is contiguous (and the Op may), else a packed copy. */
static PyArrayObject *destination(thunk *t, int out, PyArrayObject *from, int in_place) {
    if (in_place && fv_is_contiguous(from)) return fv_alias_output(t, out, from) ? NULL : from;
    if (in_place) { /* last call's output may be last call's input */
        Py_INCREF(Py_None);
        PyList_SetItem(t->outputs[out], 0, Py_None);
    }
    return fv_output(t, out, PyArray_NDIM(from), PyArray_DIMS(from));
}

static int same_shape(const thunk *t, PyArrayObject *a, PyArrayObject *b) {
    if (PyArray_SAMESHAPE(a, b)) return 1;
    PyErr_Format(PyExc_ValueError, "%s: its operands have different shapes (%zd and %zd elements in all)",
                 t->kind->name, (Py_ssize_t)PyArray_SIZE(a), (Py_ssize_t)PyArray_SIZE(b));
    return 0;
}

/* ReluGradient: inputs y (a ReLU's output), g -> g where y > 0, else 0. Settings: axes, in place of g. */
static int run_relu_gradient(thunk *t) {
    int ndim = t->settings[0];
    PyArrayObject *y = fv_input(t, 0, ndim), *g = y ? fv_input(t, 1, ndim) : NULL;
    if (!g || !same_shape(t, y, g)) return -1;
    PyArrayObject *out = destination(t, 0, g, t->settings[1]);
    if (!out) return -1;
    size_t y_copy = fv_is_contiguous(y) ? 0 : fv_round(PyArray_NBYTES(y)),
           g_copy = fv_is_contiguous(g) ? 0 : fv_round(PyArray_NBYTES(g));
    char *scratch = fv_scratch(y_copy + g_copy);
    if (!scratch) return fv_oom(y_copy + g_copy);
    float *to = PyArray_DATA(out), *from = PyArray_DATA(g), *value = PyArray_DATA(y);
    npy_intp n = PyArray_SIZE(g);
    Py_BEGIN_ALLOW_THREADS if (y_copy) fv_pack(value = (float *)scratch, y);
    if (g_copy) fv_pack(from = (float *)(scratch + y_copy), g);
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_MIN)
    for (npy_intp i = 0; i < n; i++) to[i] = value[i] > 0.f ? from[i] : 0.f;
    Py_END_ALLOW_THREADS return 0;
}

/* Adam: inputs parameter, gradient, m, v, rate () -> their new values; rate holds the bias corrections.
 * Settings: axes, in place, beta1, beta2, epsilon. */
static int run_adam(thunk *t) {
    int ndim = t->settings[0], in_place = t->settings[1];
    PyArrayObject *in[4], *out[3];
    for (int i = 0; i < 4; i++)
        if (!(in[i] = fv_input(t, i, ndim)) || !same_shape(t, in[0], in[i])) return -1;
    PyArrayObject *rate = fv_input(t, 4, 0);
    if (!rate) return -1;
    const int source[3] = {0, 2, 3};
    for (int i = 0; i < 3; i++)
        if (!(out[i] = destination(t, i, in[source[i]], in_place))) return -1;
    size_t copy = fv_is_contiguous(in[1]) ? 0 : fv_round(PyArray_NBYTES(in[1]));
    char *scratch = fv_scratch(copy);
    if (!scratch) return fv_oom(copy);
    float *restrict p = PyArray_DATA(out[0]), *restrict m = PyArray_DATA(out[1]), *restrict v = PyArray_DATA(out[2]);
    const float *restrict g = copy ? (float *)scratch : PyArray_DATA(in[1]);
    float a = *(float *)PyArray_DATA(rate), beta1 = t->settings[2], beta2 = t->settings[3], epsilon = t->settings[4];
    float rest1 = 1.f - beta1, rest2 = 1.f - beta2;
    npy_intp n = PyArray_SIZE(in[0]);
    Py_BEGIN_ALLOW_THREADS if (copy) fv_pack((float *)scratch, in[1]);
    for (int i = 0; i < 3; i++)
        if (out[i] != in[source[i]]) fv_pack(PyArray_DATA(out[i]), in[source[i]]);
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_MIN)
    for (npy_intp i = 0; i < n; i++) {
        m[i] = beta1 * m[i] + rest1 * g[i];
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i];
        p[i] -= a * m[i] / (sqrtf(v[i]) + epsilon);
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind relu_gradient_kind = {"ReluGradient", 2, run_relu_gradient, NULL};
const op_kind adam_kind = {"Adam", 5, run_adam, NULL};
