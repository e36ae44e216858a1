/* Adam's step of a matrix whose gradient is the product of two others, which is never written, so that the step reads and
 * writes less memory: while the product of a tile is computed, the tile before it takes its step. */
#include "adam.h"
#include <omp.h>

#ifdef __AVX512F__
#define TALL 8 /* rows of a tile, whose sums stay in registers */
#else
#define TALL 4
#endif
#define WIDE (2 * WIDTH)        /* columns of a tile */
#define PIECES (2 * TALL)       /* vectors of a tile */
#define CHUNK 512               /* rows or columns whose factors are packed at a time, in the second-level cache */
#define CHUNK_ELEMENTS (1 << 16) /* and at most so many elements of them, but for a tile's */

/* A factor in memory: element (k, i) of it at k depth_stride + i stride, in elements. */
typedef struct {
    const float *data;
    npy_intp depth_stride, stride;
} factor;

/* A tile whose gradient is known, and that is to take its step. */
typedef struct {
    float *p, *m, *v;
    npy_intp rows, columns, row_stride;
    float gradient[TALL * WIDE] __attribute__((aligned(64)));
} tile;

/* The step of a tile, of whatever size. */
static void take_step(const fv_adam *a, tile *q) {
    for (npy_intp i = 0; i < q->rows; i++)
        for (npy_intp j = 0; j < q->columns; j += WIDTH) {
            const float *g = q->gradient + i * WIDE + j;
            npy_intp at = i * q->row_stride + j, n = q->columns - j;
            if (n >= WIDTH) fv_adam_vector(a, *(const vector *)g, q->p + at, q->m + at, q->v + at);
            else fv_adam_few(a, g, q->p + at, q->m + at, q->v + at, n);
        }
    q->rows = 0;
}

/* Where one of a tile's vectors is, in elements from its first. */
FV_INLINE npy_intp place(const tile *q, int piece) { return piece / 2 * q->row_stride + piece % 2 * WIDTH; }

/* The gradient of one tile, from packed factors. Between the terms of its sums its parameters are fetched into the cache,
 * and `before`, which is whole, takes its step, vector by vector in three pieces, so that a root or a quotient is there
 * before it is needed. */
FV_INLINE void multiply_tile(const float *x, const float *y, npy_intp depth, tile *to, const fv_adam *a, tile *before,
                             const int with_step) {
    vector sum[TALL][2], mean = {0}, root = {0}, change = {0};
#pragma GCC unroll 8
    for (int r = 0; r < TALL; r++) sum[r][0] = sum[r][1] = (vector){0};
    npy_intp k = 0;
    for (int piece = 0; piece < PIECES + 2; piece++) {
        for (npy_intp end = depth * (piece + 1) / (PIECES + 2); k < end; k++, x += TALL, y += WIDE) {
            vector left = *(const vector *)y, right = *(const vector *)(y + WIDTH);
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++) sum[r][0] += x[r] * left, sum[r][1] += x[r] * right;
        }
        if (with_step && piece > 1) *(vector *)(before->p + place(before, piece - 2)) -= change;
        if (with_step && piece > 0) change = fv_adam_change(a, mean, root);
        if (piece >= PIECES) continue;
        npy_intp next = place(to, piece);
        __builtin_prefetch(to->p + next, 1);
        __builtin_prefetch(to->m + next, 1);
        __builtin_prefetch(to->v + next, 1);
        if (!with_step) continue;
        npy_intp at = place(before, piece);
        vector g = *(const vector *)(before->gradient + piece * WIDTH);
        mean = fv_adam_moments(a, g, before->m + at, before->v + at, &root);
    }
#pragma GCC unroll 8
    for (int r = 0; r < TALL; r++) {
        *(vector *)(to->gradient + r * WIDE) = sum[r][0];
        *(vector *)(to->gradient + r * WIDE + WIDTH) = sum[r][1];
    }
}

__attribute__((noinline)) static void tile_with_step(const float *x, const float *y, npy_intp depth, tile *to,
                                                     const fv_adam *a, tile *before) {
    multiply_tile(x, y, depth, to, a, before, 1);
}

__attribute__((noinline)) static void tile_alone(const float *x, const float *y, npy_intp depth, tile *to) {
    multiply_tile(x, y, depth, to, NULL, NULL, 0);
}

/* n rows or columns of a factor, as panels of so many: (panel, depth, width), zeros where the last one has fewer. */
FV_INLINE void pack_panels(float *to, const factor *f, npy_intp first, npy_intp n, npy_intp depth, const int width) {
    for (npy_intp k = 0; k < depth; k++, to += width) {
        const float *from = f->data + k * f->depth_stride + first * f->stride;
        float *row = to;
        for (npy_intp i = 0; i < n; i += width, row += depth * width, from += width * f->stride) {
            npy_intp some = n - i < width ? n - i : width;
            if (some == width && f->stride == 1) memcpy(row, from, width * sizeof *row);
            else
                for (npy_intp j = 0; j < width; j++) row[j] = j < some ? from[j * f->stride] : 0;
        }
    }
}

/* How many rows or columns are packed at a time: whole tiles. */
static npy_intp chunk(npy_intp depth, npy_intp width) {
    npy_intp n = CHUNK_ELEMENTS / (depth ? depth : 1);
    n = n < CHUNK ? n / width * width : CHUNK;
    return n < width ? width : n;
}

static size_t scratch_bytes(npy_intp depth) {
    return fv_round(sizeof(float) * depth * (chunk(depth, TALL) + chunk(depth, WIDE)));
}

typedef struct {
    float *p, *m, *v;
    npy_intp rows, columns, depth;
    factor x, y; /* (depth, rows), (depth, columns) */
} problem;

static npy_intp least(npy_intp a, npy_intp b) { return a < b ? a : b; }

/* The step of these rows and columns. */
static void work(const problem *q, const fv_adam *a, npy_intp row, npy_intp last_row, npy_intp column,
                 npy_intp last_column, float *scratch) {
    npy_intp depth = q->depth, tall = chunk(depth, TALL), wide = chunk(depth, WIDE);
    float *x = scratch, *y = scratch + depth * tall;
    tile tiles[2];
    int now = 0;
    tiles[0].rows = tiles[1].rows = 0;
    for (npy_intp r = row; r < last_row; r += tall) {
        npy_intp height = least(tall, last_row - r);
        pack_panels(x, &q->x, r, height, depth, TALL);
        for (npy_intp c = column; c < last_column; c += wide) {
            npy_intp width = least(wide, last_column - c);
            if (r == row || last_column - column > wide) pack_panels(y, &q->y, c, width, depth, WIDE);
            for (npy_intp i = 0; i < height; i += TALL)
                for (npy_intp j = 0; j < width; j += WIDE) {
                    npy_intp at = (r + i) * q->columns + c + j;
                    tile *to = &tiles[now], *before = &tiles[now ^= 1];
                    to->p = q->p + at, to->m = q->m + at, to->v = q->v + at, to->row_stride = q->columns;
                    to->rows = least(TALL, height - i), to->columns = least(WIDE, width - j);
                    if (before->rows == TALL && before->columns == WIDE) {
                        tile_with_step(x + i * depth, y + j * depth, depth, to, a, before);
                    } else {
                        take_step(a, before);
                        tile_alone(x + i * depth, y + j * depth, depth, to);
                    }
                }
        }
    }
    take_step(a, &tiles[now ^ 1]);
}

static factor factor_of(PyArrayObject *a, int depth_axis) {
    return (factor){PyArray_DATA(a), PyArray_STRIDE(a, depth_axis) / (npy_intp)sizeof(float),
                    PyArray_STRIDE(a, !depth_axis) / (npy_intp)sizeof(float)};
}

static int is_whole(PyArrayObject *a) { /* whole elements from one to the next */
    return PyArray_ISALIGNED(a) && PyArray_STRIDE(a, 0) % sizeof(float) == 0 && PyArray_STRIDE(a, 1) % sizeof(float) == 0;
}

/* AdamOfProduct: inputs rate (), p (rows, columns), x, y, m, v, the gradient being x y -> the new p, m and v. Settings: in
 * place, beta1, beta2, epsilon, x and y transposed. */
static int run_adam_of_product(thunk *t) {
    int in_place = t->settings[0], status = -1;
    PyArrayObject *rate = fv_input(t, 0, 0), *in[5] = {0}, *factors[2] = {0};
    for (int i = 0; i < 5; i++)
        if (!rate || !(in[i] = fv_input(t, i + 1, 2))) return -1;
    int x_depth = t->settings[4] ? 0 : 1, y_depth = t->settings[5] ? 1 : 0;
    npy_intp rows = PyArray_DIM(in[1], !x_depth), columns = PyArray_DIM(in[2], !y_depth), depth = PyArray_DIM(in[1], x_depth);
    if (PyArray_DIM(in[2], y_depth) != depth || PyArray_DIM(in[0], 0) != rows || PyArray_DIM(in[0], 1) != columns) {
        PyErr_Format(PyExc_ValueError, "AdamOfProduct: parameters of shape (%zd, %zd) cannot have the gradient of "
                     "shape (%zd, %zd) that is summed over %zd and %zd terms", PyArray_DIM(in[0], 0),
                     PyArray_DIM(in[0], 1), rows, columns, depth, PyArray_DIM(in[2], y_depth));
        return -1;
    }
    PyArrayObject *from[3] = {in[0], in[3], in[4]}, *out[3];
    for (int i = 0; i < 3; i++) {
        if (!fv_same_shape(t, in[0], from[i]) || !(out[i] = fv_destination(t, i, from[i], in_place))) return -1;
        if (out[i] != from[i]) fv_pack(PyArray_DATA(out[i]), from[i]);
    }
    size_t bytes = scratch_bytes(depth), threads = omp_get_max_threads();
    char *scratch = fv_scratch(bytes * threads);
    if (!scratch) return fv_oom(bytes * threads);
    for (int i = 0; i < 2; i++) {
        factors[i] = in[1 + i];
        Py_INCREF(factors[i]);
        if (is_whole(factors[i])) continue;
        Py_DECREF(factors[i]);
        if (!(factors[i] = (PyArrayObject *)PyArray_NewCopy(in[1 + i], NPY_CORDER))) goto done;
    }
    fv_adam a = fv_adam_from(t->settings + 1, *(float *)PyArray_DATA(rate));
    problem q = {PyArray_DATA(out[0]), PyArray_DATA(out[1]), PyArray_DATA(out[2]), rows, columns, depth,
                 factor_of(factors[0], x_depth), factor_of(factors[1], y_depth)};
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel num_threads(fv_team_of_products(rows * columns * (depth + 8)))
    {
        unsigned mode = fv_flush_denormals(&a);
        npy_intp begin, end, by_rows = rows > columns;
        fv_share(by_rows ? rows : columns, &begin, &end); /* of the longer axis, as products do */
        float *mine = (float *)(scratch + omp_get_thread_num() * bytes);
        if (by_rows) work(&q, &a, begin, end, 0, columns, mine);
        else work(&q, &a, 0, rows, begin, end, mine);
        fv_keep_denormals(mode);
    }
    Py_END_ALLOW_THREADS status = 0;
done:
    Py_XDECREF(factors[0]);
    Py_XDECREF(factors[1]);
    return status;
}

const op_kind adam_of_product_kind = {"AdamOfProduct", 6, run_adam_of_product, NULL};
