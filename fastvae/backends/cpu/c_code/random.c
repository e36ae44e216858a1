/* Random numbers: Theano's generator MRG31k3p, its streams side by side in vector code. */
#include "fastvae.h"

#define BLOCK 64 /* streams that advance together */

/* MRG31k3p of L'Ecuyer and Touzin (2000), "Fast Combined Multiple Recursive Generators with Multipliers of the form
 * a = +/- 2^d +/- 2^e": two recurrences of order 3, modulo M1 and M2, whose difference is the number. */
#define M1 2147483647u
#define M2 2147462579u
#define TO_FLOAT 4.6566126e-10f /* Theano's factor: the largest number stays below 1 */

static inline unsigned below(unsigned x, unsigned modulus) { return x >= modulus ? x - modulus : x; }

/* Advance n of the block's streams, state[i][stream], and write a number of each. */
static void next(unsigned state[6][BLOCK], npy_intp n, float *to) {
#pragma omp simd
    for (npy_intp i = 0; i < n; i++) {
        unsigned x2 = state[1][i], x3 = state[2][i], z1 = state[3][i], z3 = state[5][i];
        unsigned x = below(((x2 & 511) << 22) + (x2 >> 9) + ((x3 & 16777215) << 7) + (x3 >> 24), M1);
        x = below(x + x3, M1);
        unsigned z = below(((z1 & 65535) << 15) + 21069 * (z1 >> 16), M2);
        unsigned z0 = below(((z3 & 65535) << 15) + 21069 * (z3 >> 16), M2);
        z = below(below(z0 + z3, M2) + z, M2);
        state[2][i] = x2;
        state[1][i] = state[0][i];
        state[0][i] = x;
        state[5][i] = state[4][i];
        state[4][i] = z1;
        state[3][i] = z;
        to[i] = (float)(int)(x <= z ? x - z + M1 : x - z) * TO_FLOAT;
    }
}

/* The numbers of the streams first..last: number i of the output is of stream i % streams. */
static void draw(npy_int32 *states, npy_intp streams, npy_intp first, npy_intp last, float *to, npy_intp n) {
    unsigned state[6][BLOCK];
    for (npy_intp s = first; s < last; s += BLOCK) {
        npy_intp some = last - s < BLOCK ? last - s : BLOCK;
        for (npy_intp i = 0; i < some; i++)
            for (int j = 0; j < 6; j++) state[j][i] = states[6 * (s + i) + j];
        for (npy_intp at = s; at < n; at += streams) next(state, n - at < some ? n - at : some, to + at);
        for (npy_intp i = 0; i < some; i++)
            for (int j = 0; j < 6; j++) states[6 * (s + i) + j] = state[j][i];
    }
}

/* Uniform: inputs states (streams, 6) int32 and the shape, int64 -> the states after it, and float32 uniforms between 0
 * and 1 of that shape. Settings: axes, in place of the states. */
static int run_uniform(thunk *t) {
    int ndim = t->settings[0], in_place = t->settings[1];
    PyArrayObject *states = fv_input_of(t, 0, NPY_INT32, 2), *size = states ? fv_input_of(t, 1, NPY_INT64, 1) : NULL;
    if (!size) return -1;
    if (PyArray_DIM(states, 1) != 6 || PyArray_DIM(states, 0) < 1 || PyArray_DIM(size, 0) != ndim) {
        PyErr_Format(PyExc_ValueError, "Uniform: needs states (streams, 6) and %d lengths, got (%zd, %zd) and %zd", ndim,
                     (Py_ssize_t)PyArray_DIM(states, 0), (Py_ssize_t)PyArray_DIM(states, 1),
                     (Py_ssize_t)PyArray_DIM(size, 0));
        return -1;
    }
    npy_intp shape[NPY_MAXDIMS], streams = PyArray_DIM(states, 0);
    for (int i = 0; i < ndim; i++)
        if ((shape[i] = *(npy_int64 *)PyArray_GETPTR1(size, i)) < 0) {
            PyErr_Format(PyExc_ValueError, "Uniform: the length of axis %d is negative, %zd", i, (Py_ssize_t)shape[i]);
            return -1;
        }
    PyArrayObject *to = fv_output(t, 1, ndim, shape);
    if (!to) return -1;
    if (in_place && fv_is_contiguous(states)) {
        if (fv_alias_output(t, 0, states)) return -1;
    } else {
        PyObject *copy = PyArray_NewCopy(states, NPY_CORDER);
        if (!copy || PyList_SetItem(t->outputs[0], 0, copy)) return -1;
        states = (PyArrayObject *)copy;
    }
    npy_int32 *state = PyArray_DATA(states);
    float *numbers = PyArray_DATA(to);
    npy_intp n = PyArray_SIZE(to);
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel num_threads(fv_team(n))
    {
        npy_intp first, last;
        fv_share(streams < n ? streams : n, &first, &last);
        draw(state, streams, first, last, numbers, n);
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind uniform_kind = {"Uniform", 2, run_uniform, NULL};
