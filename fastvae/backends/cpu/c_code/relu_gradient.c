/* The gradient of ReLU in one threaded pass. */
#include "fastvae.h"

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
    if (!g || !fv_same_shape(t, y, g)) return -1;
    PyArrayObject *out = fv_destination(t, 0, g, t->settings[1]);
    if (!out) return -1;
    size_t y_copy = fv_is_contiguous(y) ? 0 : fv_round(PyArray_NBYTES(y)),
           g_copy = fv_is_contiguous(g) ? 0 : fv_round(PyArray_NBYTES(g));
    char *scratch = fv_scratch(y_copy + g_copy);
    if (!scratch) return fv_oom(y_copy + g_copy);
    float *to = PyArray_DATA(out), *from = PyArray_DATA(g), *value = PyArray_DATA(y);
    npy_intp n = PyArray_SIZE(g);
    Py_BEGIN_ALLOW_THREADS if (y_copy) fv_pack(value = (float *)scratch, y);
    if (g_copy) fv_pack(from = (float *)(scratch + y_copy), g);
#pragma omp parallel num_threads(fv_team(n))
    {
        npy_intp i, j;
        fv_share(n, &i, &j);
        relu_gradient(to, value, from, i, j);
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind relu_gradient_kind = {"ReluGradient", 2, run_relu_gradient, NULL};
