/* Element-wise Ops in one threaded pass over memory: the gradient of ReLU and the Adam update. */
#include "fastvae.h"
#include <math.h>
#include <stdlib.h>

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

static void relu_gradient(float *to, const float *y, const float *g, npy_intp from, npy_intp end) {
#pragma omp simd
    for (npy_intp i = from; i < end; i++) {
        float value = g[i]; /* read in any case: a masked read is many times slower */
        to[i] = y[i] > 0.f ? value : 0.f;
    }
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
if (n <= PARALLEL_MIN) relu_gradient(to, value, from, 0, n);
    else {
#pragma omp parallel
        {
            npy_intp i, j;
            fv_share(n, &i, &j);
            relu_gradient(to, value, from, i, j);
        }
    }
    Py_END_ALLOW_THREADS return 0;
}

typedef struct {
    float *restrict p, *restrict m, *restrict v;
    const float *restrict g;
    npy_intp n;
} adam_parameter;

static void adam(adam_parameter q, npy_intp from, npy_intp to, float rate, float beta1, float beta2, float epsilon) {
    float *restrict p = q.p, *restrict m = q.m, *restrict v = q.v, rest1 = 1.f - beta1, rest2 = 1.f - beta2;
    const float *restrict g = q.g;
    for (npy_intp i = from; i < to; i++) {
        m[i] = beta1 * m[i] + rest1 * g[i];
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i];
        p[i] -= rate * m[i] / (sqrtf(v[i]) + epsilon);
    }
}

/* Adam: inputs rate (), which holds the bias corrections, then parameter, gradient, m, v of each parameter -> the new
 * parameter, m and v of each. Settings: in place, beta1, beta2, epsilon. */
static int run_adam(thunk *t) {
    int in_place = t->settings[0], n = t->n_outputs / 3, status = -1;
    float beta1 = t->settings[1], beta2 = t->settings[2], epsilon = t->settings[3];
    PyArrayObject *rate = fv_input(t, 0, 0);
    adam_parameter *all = calloc(n, sizeof *all);
    size_t copies = 0;
    npy_intp total = 0;
    if (!rate || !all) goto done;
    for (int i = 0; i < n; i++) {
        PyArrayObject *in[4];
        for (int j = 0; j < 4; j++)
            if (!(in[j] = fv_input(t, 1 + 4 * i + j, -1)) || !same_shape(t, in[0], in[j])) goto done;
        PyArrayObject *from[3] = {in[0], in[2], in[3]}, *out[3];
        for (int j = 0; j < 3; j++) {
            if (!(out[j] = destination(t, 3 * i + j, from[j], in_place))) goto done;
            if (out[j] != from[j]) fv_pack(PyArray_DATA(out[j]), from[j]);
        }
        npy_intp size = PyArray_SIZE(in[0]);
        const float *g = fv_is_contiguous(in[1]) ? PyArray_DATA(in[1]) : NULL;
        all[i] = (adam_parameter){PyArray_DATA(out[0]), PyArray_DATA(out[1]), PyArray_DATA(out[2]), g, size};
        total += size;
        if (!g) copies += fv_round(PyArray_NBYTES(in[1]));
    }
    char *at = fv_scratch(copies);
    if (!at) {
        fv_oom(copies);
        goto done;
    }
    for (int i = 0; i < n; i++)
        if (!all[i].g) {
            PyArrayObject *g = fv_input(t, 2 + 4 * i, -1);
            fv_pack((float *)at, g);
            all[i].g = (float *)at;
            at += fv_round(PyArray_NBYTES(g));
        }
    float a = *(float *)PyArray_DATA(rate);
    Py_BEGIN_ALLOW_THREADS if (total <= PARALLEL_MIN) {
        for (int i = 0; i < n; i++) adam(all[i], 0, all[i].n, a, beta1, beta2, epsilon);
    }
    else {
#pragma omp parallel
        for (int i = 0; i < n; i++) {
            npy_intp from, to;
            fv_share(all[i].n, &from, &to);
            adam(all[i], from, to, a, beta1, beta2, epsilon);
        }
    }
    Py_END_ALLOW_THREADS status = 0;
done:
    if (!rate || !all) status = all ? -1 : fv_oom(n * sizeof *all);
    free(all);
    return status;
}

const op_kind relu_gradient_kind = {"ReluGradient", 2, run_relu_gradient, NULL};
const op_kind adam_kind = {"Adam", 4, run_adam, NULL};
