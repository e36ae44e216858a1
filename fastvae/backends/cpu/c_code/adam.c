/* The Adam update in one threaded pass over all parameters. */
#include "adam.h"
#include <stdlib.h>

typedef struct {
    float *p, *m, *v;
    const float *g;
    npy_intp n;
} adam_parameter;

__attribute__((noinline)) static void adam(const adam_parameter *q, npy_intp i, npy_intp to, const fv_adam *a) {
    for (; i + WIDTH <= to; i += WIDTH) fv_adam_vector(a, *(const vector *)(q->g + i), q->p + i, q->m + i, q->v + i);
    if (i < to) fv_adam_few(a, q->g + i, q->p + i, q->m + i, q->v + i, to - i);
}

/* Adam: inputs rate (), which holds the bias corrections, then parameter, gradient, m, v of each parameter -> the new
 * parameter, m and v of each. Settings: in place, beta1, beta2, epsilon. */
static int run_adam(thunk *t) {
    int in_place = t->settings[0], n = t->n_outputs / 3, status = -1;
    PyArrayObject *rate = fv_input(t, 0, 0);
    adam_parameter *all = calloc(n, sizeof *all);
    size_t copies = 0;
    npy_intp total = 0;
    if (!rate || !all) goto done;
    for (int i = 0; i < n; i++) {
        PyArrayObject *in[4];
        for (int j = 0; j < 4; j++)
            if (!(in[j] = fv_input(t, 1 + 4 * i + j, -1)) || !fv_same_shape(t, in[0], in[j])) goto done;
        PyArrayObject *from[3] = {in[0], in[2], in[3]}, *out[3];
        for (int j = 0; j < 3; j++) {
            if (!(out[j] = fv_destination(t, 3 * i + j, from[j], in_place))) goto done;
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
    fv_adam a = fv_adam_from(t->settings + 1, *(float *)PyArray_DATA(rate));
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel num_threads(fv_team(total))
    {
        unsigned mode = fv_flush_denormals(&a);
        for (int i = 0; i < n; i++) {
            npy_intp from, to;
            fv_share(all[i].n, &from, &to);
            adam(&all[i], from, to, &a);
        }
        fv_keep_denormals(mode);
    }
    Py_END_ALLOW_THREADS status = 0;
done:
    if (!rate || !all) status = all ? -1 : fv_oom(n * sizeof *all);
    free(all);
    return status;
}

const op_kind adam_kind = {"Adam", 4, run_adam, NULL};
