/* What batch normalisation and its gradient share. The input is a matrix: of each column, a channel of images in NHWC,
 * mean and variance are those of its rows.
 *
 * Sums are taken in float over chunks of some rows and put together in doubles, chunk after chunk. Chunks depend on the
 * matrix alone, so a result is the same for any number of threads.
 *
 * Narrow matrices are read as wider ones, `fold` rows in one, to fill the vectors; what is left over is `rest`. */
#ifndef FASTVAE_BATCH_NORM_H
#define FASTVAE_BATCH_NORM_H

#include "fastvae.h"
#include <math.h>
#include <omp.h>
#include <string.h>

#define WIDE 256 /* columns; narrower matrices are folded */
#define TILE 512 /* columns that are summed at a time */
#define SHARE 32 /* columns whose sums one thread puts together */
#define MAX_CHUNK 128 /* rows summed in float */
#define MIN_CHUNK 16
#define PIECES 64 /* into how many a matrix is divided if chunks of that size allow */

typedef struct {
    npy_intp rows, columns, fold, width, wide_rows, rest; /* rest: numbers behind the last wide row */
    npy_intp chunk, chunks, tiles;
} matrix;

static inline matrix matrix_of(npy_intp rows, npy_intp columns) {
    matrix m = {rows, columns, 1};
    while (columns && m.fold * columns < WIDE) m.fold *= 2;
    if (rows < m.fold * MIN_CHUNK) m.fold = 1;
    m.width = m.fold * columns;
    m.wide_rows = rows / m.fold;
    m.rest = rows % m.fold * columns;
    m.tiles = (m.width + TILE - 1) / TILE;
    m.chunk = m.wide_rows * m.tiles / PIECES / 4 * 4;
    if (m.chunk < MIN_CHUNK) m.chunk = MIN_CHUNK;
    if (m.chunk > MAX_CHUNK) m.chunk = MAX_CHUNK;
    m.chunks = (m.wide_rows + m.chunk - 1) / m.chunk;
    return m;
}

/* A piece of a matrix: some columns of a chunk. */
typedef struct {
    npy_intp chunk, column, start, rows, columns; /* start: of its first number */
} piece;

static inline piece piece_of(const matrix *m, npy_intp i) {
    npy_intp chunk = i / m->tiles, column = i % m->tiles * TILE, row = chunk * m->chunk;
    npy_intp rows = m->wide_rows - row < m->chunk ? m->wide_rows - row : m->chunk;
    npy_intp columns = m->width - column < TILE ? m->width - column : TILE;
    return (piece){chunk, column, row * m->width + column, rows, columns};
}

static inline npy_intp rows_of_chunk(const matrix *m, npy_intp chunk) {
    npy_intp left = m->wide_rows - chunk * m->chunk;
    return left < m->chunk ? left : m->chunk;
}

/* This thread's share of the pieces: the same in every pass, so that it finds what it has read in its cache. */
static inline void pieces_of_thread(const matrix *m, npy_intp *first, npy_intp *end) {
    npy_intp me = omp_get_thread_num(), threads = omp_get_num_threads(), pieces = m->chunks * m->tiles;
    *first = pieces * me / threads;
    *end = pieces * (me + 1) / threads;
}

/* y = (x - mean) factor + shift, by columns. y may be x. */
static inline void normalise(const float *x, float *y, npy_intp width, npy_intp rows, npy_intp columns, const float *mean,
                      const float *factor, const float *shift) {
    npy_intp r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *from = x + r * width;
        float *to = y + r * width;
#pragma omp simd
        for (npy_intp j = 0; j < columns; j++) {
            float m = mean[j], f = factor[j], s = shift[j];
            float a = fmaf(from[j] - m, f, s), b = fmaf(from[width + j] - m, f, s),
                  c = fmaf(from[2 * width + j] - m, f, s), d = fmaf(from[3 * width + j] - m, f, s);
            to[j] = a, to[width + j] = b, to[2 * width + j] = c, to[3 * width + j] = d;
        }
    }
    for (; r < rows; r++)
#pragma omp simd
        for (npy_intp j = 0; j < columns; j++) y[r * width + j] = fmaf(x[r * width + j] - mean[j], factor[j], shift[j]);
}

/* Columns from..to of a table were written: repeat them for the other rows that are folded into one. */
static inline void repeat(const matrix *m, float *table, npy_intp from, npy_intp to) {
    for (npy_intp f = 1; f < m->fold; f++)
        memcpy(table + f * m->columns + from, table + from, (to - from) * sizeof *table);
}

/* What the Ops below have in common: their input as a matrix, and their scratch. */
typedef struct {
    PyArrayObject *x;
    matrix m;
    int axes; /* of a number for each column */
    fv_activation activation;
    char *scratch;
} call;

/* Start a call with input 0: `arrays` of the inputs are as large as it, `vectors` have a number for each column, and
 * `tables` floats and `sums` doubles a column are needed beside; NULL without them. */
static inline int start(thunk *t, call *c, int arrays, int vectors, int tables, int sums) {
    c->axes = (int)t->settings[1];
    c->activation.kind = (int)t->settings[4];
    for (int i = 0; i < 3; i++) c->activation.p[i] = (float)t->settings[5 + i];
    int axes = (int)t->settings[0], summed = axes - c->axes;
    if (!(c->x = fv_input(t, 0, axes))) return -1;
    npy_intp *shape = PyArray_DIMS(c->x);
    c->m = matrix_of(PyArray_MultiplyList(shape, summed), PyArray_MultiplyList(shape + summed, c->axes));
    size_t table = fv_round(c->m.width * sizeof(float));
    size_t bytes = (vectors + tables) * table + fv_round(sums * c->m.chunks * c->m.width * sizeof(double));
    for (int i = 0; i < arrays; i++) { /* those that array_of has to copy */
        PyArrayObject *a = fv_input(t, i, axes);
        if (!a) return -1;
        if (!fv_is_contiguous(a)) bytes += fv_round(PyArray_NBYTES(a));
    }
    if (!(c->scratch = fv_scratch(bytes))) return fv_oom(bytes);
    return 0;
}

static inline void *take(call *c, size_t bytes) {
    void *taken = c->scratch;
    c->scratch += fv_round(bytes);
    return taken;
}

static inline float *take_table(call *c) { return take(c, c->m.width * sizeof(float)); }

/* Input i as a contiguous array of the shape of input 0; NULL and an exception if it has another. */
static inline const float *array_of(thunk *t, call *c, int i) {
    PyArrayObject *a = fv_input(t, i, PyArray_NDIM(c->x));
    if (!a || !fv_same_shape(t, c->x, a)) return NULL;
    if (fv_is_contiguous(a)) return PyArray_DATA(a);
    float *copy = take(c, PyArray_NBYTES(a));
    Py_BEGIN_ALLOW_THREADS fv_pack(copy, a);
    Py_END_ALLOW_THREADS return copy;
}

/* Input i, a number for each column, or one for all of them where the settings say so; NULL and an exception if not. */
static inline const float *vector_of(thunk *t, call *c, int i) {
    PyArrayObject *a = fv_input(t, i, c->axes);
    if (!a) return NULL;
    npy_intp *shape = PyArray_DIMS(c->x) + PyArray_NDIM(c->x) - c->axes;
    int whole = PyArray_CompareLists(PyArray_DIMS(a), shape, c->axes);
    if (whole && fv_is_contiguous(a)) return PyArray_DATA(a);
    if (!whole && !((int)t->settings[3] >> i & 1)) {
        PyErr_Format(PyExc_ValueError, "%s: input %d has %zd numbers for %zd channels of the input", t->kind->name, i,
                     (Py_ssize_t)PyArray_SIZE(a), (Py_ssize_t)c->m.columns);
        return NULL;
    }
    float *copy = take_table(c);
    if (whole) fv_pack(copy, a);
    else
        for (npy_intp j = 0; j < c->m.columns; j++) copy[j] = *(float *)PyArray_DATA(a);
    return copy;
}

/* Output i, a number for each column. */
static inline float *vector_output(thunk *t, call *c, int i) {
    PyArrayObject *a = fv_output(t, i, c->axes, PyArray_DIMS(c->x) + PyArray_NDIM(c->x) - c->axes);
    return a ? PyArray_DATA(a) : NULL;
}

#endif
