/* Nearest-neighbour upsampling of images, NHWC, and its gradient, the sum over each block of pixels. */
#include "fastvae.h"
#include <string.h>

typedef struct {
    npy_intp n, h, w, c, rows, columns; /* of the smaller images, and of a block */
} sizes;

/* A row of pixels as as many equal rows as a block has. */
static void spread(const sizes *s, const float *from, float *to) {
    npy_intp width = s->w * s->columns * s->c;
    for (npy_intp x = 0; x < s->w; x++)
        for (npy_intp i = 0; i < s->columns; i++)
            memcpy(to + (x * s->columns + i) * s->c, from + x * s->c, s->c * sizeof *to);
    for (npy_intp r = 1; r < s->rows; r++) memcpy(to + r * width, to, width * sizeof *to);
}

/* The sums over the blocks that lie side by side in as many rows as a block has. */
static void sum(const sizes *s, const float *from, float *to) {
    npy_intp width = s->w * s->columns * s->c;
    memset(to, 0, s->w * s->c * sizeof *to);
    for (npy_intp r = 0; r < s->rows; r++)
        for (npy_intp x = 0; x < s->w; x++)
            for (npy_intp i = 0; i < s->columns; i++) {
                const float *pixel = from + r * width + (x * s->columns + i) * s->c;
#pragma omp simd
                for (npy_intp k = 0; k < s->c; k++) to[x * s->c + k] += pixel[k];
            }
}

static int run(thunk *t, int sums) {
    npy_intp rows = t->settings[0], columns = t->settings[1];
    PyArrayObject *x = fv_input(t, 0, 4);
    if (!x) return -1;
    npy_intp *d = PyArray_DIMS(x);
    if (sums && (d[1] % rows || d[2] % columns)) {
        PyErr_Format(PyExc_ValueError, "BlockSum: images of %zd x %zd pixels do not consist of blocks of %zd x %zd",
                     (Py_ssize_t)d[1], (Py_ssize_t)d[2], (Py_ssize_t)rows, (Py_ssize_t)columns);
        return -1;
    }
    sizes s = {d[0], sums ? d[1] / rows : d[1], sums ? d[2] / columns : d[2], d[3], rows, columns};
    npy_intp larger[] = {s.n, s.h * rows, s.w * columns, s.c}, smaller[] = {s.n, s.h, s.w, s.c};
    PyArrayObject *y = fv_output(t, 0, 4, sums ? smaller : larger);
    if (!y) return -1;
    size_t copy = fv_is_contiguous(x) ? 0 : fv_round(PyArray_NBYTES(x));
    char *scratch = fv_scratch(copy);
    if (!scratch) return fv_oom(copy);
    float *from = PyArray_DATA(x), *to = PyArray_DATA(y);
    npy_intp row = s.w * s.c, block = row * rows * columns;
    Py_BEGIN_ALLOW_THREADS if (copy) fv_pack(from = (float *)scratch, x);
#pragma omp parallel for schedule(static) num_threads(fv_team(s.n * s.h * block))
    for (npy_intp i = 0; i < s.n * s.h; i++) {
        if (sums) sum(&s, from + i * block, to + i * row);
        else spread(&s, from + i * row, to + i * block);
    }
    Py_END_ALLOW_THREADS return 0;
}

/* Upsample: input (n, h, w, c) -> each pixel as a block of equal ones. Settings: rows and columns of a block. */
static int run_upsample(thunk *t) { return run(t, 0); }

/* BlockSum: input (n, h rows, w columns, c) -> the sum over each block of pixels. Settings: rows and columns of one. */
static int run_block_sum(thunk *t) { return run(t, 1); }

const op_kind upsample_kind = {"Upsample", 2, run_upsample, NULL};
const op_kind block_sum_kind = {"BlockSum", 2, run_block_sum, NULL};
