/* Copies between memory layouts, and sums over rows. */
#include "fastvae.h"
#include <omp.h>
#include <string.h>

#define TILE 16
#define ROWS 256 /* rows, or numbers, summed in float before they go into a double */

#ifdef __AVX512F__
typedef float vector __attribute__((vector_size(64), aligned(4), may_alias));
typedef int lanes __attribute__((vector_size(64)));

/* One stage of a transposition: exchange the off-diagonal blocks of `size` x `size` lanes. */
static inline __attribute__((always_inline)) void exchange(vector *row, const int size) {
    lanes low, high;
    for (int i = 0; i < TILE; i++) {
        low[i] = i & size ? i - size + TILE : i;
        high[i] = i & size ? i + TILE : i + size;
    }
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++)
        if (!(i & size)) {
            vector a = row[i], b = row[i + size];
            row[i] = __builtin_shuffle(a, b, low);
            row[i + size] = __builtin_shuffle(a, b, high);
        }
}

/* to[r][c] = from[c][r], 16 x 16 in registers; rows are so many floats apart. */
static void transpose_tile(float *to, npy_intp to_row, const float *from, npy_intp from_row) {
    vector row[TILE];
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) row[i] = *(const vector *)(from + i * from_row);
    exchange(row, 8), exchange(row, 4), exchange(row, 2), exchange(row, 1);
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) *(vector *)(to + i * to_row) = row[i];
}
#else
static void transpose_tile(float *to, npy_intp to_row, const float *from, npy_intp from_row) {
    for (int r = 0; r < TILE; r++)
        for (int c = 0; c < TILE; c++) to[r * to_row + c] = from[c * from_row + r];
}
#endif

/* Copy any float32 array into C order. Works tile by tile over its last axis and its fastest one, so that both
 * sides stay in cache when the two differ (NCHW <-> NHWC is such a transposition). */
void fv_pack(float *to, PyArrayObject *from) {
    const char *source = PyArray_BYTES(from);
    npy_intp size[NPY_MAXDIMS], stride[NPY_MAXDIMS], step[NPY_MAXDIMS];
    int n = 0;
    for (int i = 0; i < PyArray_NDIM(from); i++) { /* merge neighbouring axes that are one run in memory */
        npy_intp length = PyArray_DIM(from, i), s = PyArray_STRIDE(from, i);
        if (length == 0) return;
        if (length == 1) continue;
        if (n && stride[n - 1] == s * length) {
            size[n - 1] *= length;
            stride[n - 1] = s;
        } else {
            size[n] = length;
            stride[n++] = s;
        }
    }
    if (n == 0) {
        *to = *(const float *)source;
        return;
    }
    step[n - 1] = 1;
    for (int i = n - 1; i > 0; i--) step[i - 1] = step[i] * size[i];
    int last = n - 1, fast = n > 1 ? n - 2 : -1;
    for (int i = 0; i < n - 1; i++)
        if (labs(stride[i]) < labs(stride[fast])) fast = i;
    npy_intp rows = fast < 0 ? 1 : size[fast], columns = size[last], outer = 1;
    npy_intp row_stride = fast < 0 ? 0 : stride[fast], row_step = fast < 0 ? 0 : step[fast], stride_last = stride[last];
    for (int i = 0; i < n - 1; i++)
        if (i != fast) outer *= size[i];
    int runs = stride_last == sizeof(float);
    int transposes = row_stride == sizeof(float) && stride_last % (npy_intp)sizeof(float) == 0;
    npy_intp tile_columns = runs ? columns : TILE, tiles = (rows + TILE - 1) / TILE;
    npy_intp total = outer * rows * columns;
#pragma omp parallel for collapse(2) schedule(static) if (total > PARALLEL_MIN)
    for (npy_intp o = 0; o < outer; o++)
        for (npy_intp tile = 0; tile < tiles; tile++) {
            const char *s = source;
            float *d = to;
            npy_intp rest = o;
            for (int i = n - 2; i >= 0; i--) {
                if (i == fast) continue;
                s += rest % size[i] * stride[i];
                d += rest % size[i] * step[i];
                rest /= size[i];
            }
            npy_intp r0 = tile * TILE, r1 = r0 + TILE < rows ? r0 + TILE : rows;
            for (npy_intp c0 = 0; c0 < columns; c0 += tile_columns) {
                npy_intp c1 = c0 + tile_columns < columns ? c0 + tile_columns : columns;
                if (transposes && r1 - r0 == TILE && c1 - c0 == TILE) {
                    transpose_tile(d + r0 * row_step + c0, row_step, (const float *)(s + c0 * stride_last) + r0,
                                   stride_last / (npy_intp)sizeof(float));
                    continue;
                }
                for (npy_intp r = r0; r < r1; r++) {
                    const char *row = s + r * row_stride;
                    float *out = d + r * row_step;
                    if (runs)
                        memcpy(out + c0, row + c0 * sizeof(float), (c1 - c0) * sizeof(float));
                    else
                        for (npy_intp c = c0; c < c1; c++) out[c] = *(const float *)(row + c * stride_last);
                }
            }
        }
}

static npy_intp row_stretch(npy_intp columns) {
    return (npy_intp)(fv_round(columns * sizeof(double)) / sizeof(double));
}

size_t fv_column_sum_scratch(npy_intp columns) {
    return omp_get_max_threads() * fv_round(row_stretch(columns) * (sizeof(double) + sizeof(float)));
}

static void sum_few_rows(float *to, const float *from, npy_intp rows, npy_intp columns) {
#pragma omp parallel if (rows * columns > PARALLEL_MIN)
    {
        npy_intp first, end;
        fv_share(columns, &first, &end);
        for (npy_intp c = first; c < end; c++) to[c] = 0;
        for (npy_intp r = 0; r < rows; r++)
            for (npy_intp c = first; c < end; c++) to[c] += from[r * columns + c];
    }
}

/* to[c] = sum of from[r][c] over r, in doubles from block to block. */
void fv_column_sum(float *to, const float *from, npy_intp rows, npy_intp columns, char *scratch) {
    if (rows <= ROWS) {
        sum_few_rows(to, from, rows, columns);
        return;
    }
    npy_intp width = row_stretch(columns);
    size_t stretch = fv_round(width * (sizeof(double) + sizeof(float)));
    int threads = 1;
#pragma omp parallel if (rows * columns > PARALLEL_MIN)
    {
        double *sum = (double *)(scratch + omp_get_thread_num() * stretch);
        float *block = (float *)(sum + width);
        memset(sum, 0, width * sizeof *sum);
#pragma omp single
        threads = omp_get_num_threads();
#pragma omp for schedule(static)
        for (npy_intp r0 = 0; r0 < rows; r0 += ROWS) {
            memset(block, 0, columns * sizeof *block);
            for (npy_intp r = r0; r < rows && r < r0 + ROWS; r++)
                for (npy_intp c = 0; c < columns; c++) block[c] += from[r * columns + c];
            for (npy_intp c = 0; c < columns; c++) sum[c] += block[c];
        }
    }
    for (npy_intp c = 0; c < columns; c++) {
        double total = 0;
        for (int i = 0; i < threads; i++) total += ((double *)(scratch + i * stretch))[c];
        to[c] = (float)total;
    }
}

/* Contiguous: input -> the same values in C order; a view where they already are. */
static int run_contiguous(thunk *t) {
    PyObject *value = PyList_GET_ITEM(t->inputs[0], 0);
    PyArrayObject *x = PyArray_Check(value) ? fv_input(t, 0, PyArray_NDIM((PyArrayObject *)value)) : fv_input(t, 0, 0);
    if (!x) return -1;
    int ndim = (int)t->settings[0];
    PyArray_Dims axes = {NULL, ndim};
    npy_intp order[NPY_MAXDIMS];
    for (int i = 0; i < ndim; i++) order[i] = (npy_intp)t->settings[i + 1];
    axes.ptr = order;
    PyArrayObject *view = (PyArrayObject *)PyArray_Transpose(x, &axes);
    if (!view) return -1;
    if (fv_is_contiguous(view)) return PyList_SetItem(t->outputs[0], 0, (PyObject *)view);
    PyObject *old = PyList_GET_ITEM(t->outputs[0], 0);
    /* last call's output may be a view of an input: never write into it */
    if (PyArray_Check(old) &&
        !(PyArray_BASE((PyArrayObject *)old) && PyCapsule_CheckExact(PyArray_BASE((PyArrayObject *)old)))) {
        Py_INCREF(Py_None);
        PyList_SetItem(t->outputs[0], 0, Py_None);
    }
    PyArrayObject *y = fv_output(t, 0, ndim, PyArray_DIMS(view));
    if (y) {
        float *to = PyArray_DATA(y);
        Py_BEGIN_ALLOW_THREADS fv_pack(to, view);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(view);
    return y ? 0 : -1;
}

/* ReshapeLike: inputs a, b -> the values of a in the shape of b; a view where a is contiguous. Settings: axes of a and
 * b. */
static int run_reshape_like(thunk *t) {
    PyArrayObject *a = fv_input(t, 0, (int)t->settings[0]), *b = a ? fv_input(t, 1, (int)t->settings[1]) : NULL;
    if (!b) return -1;
    PyArray_Dims shape = {PyArray_DIMS(b), PyArray_NDIM(b)};
    PyObject *view = PyArray_Newshape(a, &shape, NPY_CORDER);
    return view ? PyList_SetItem(t->outputs[0], 0, view) : -1;
}

/* Unflatten: input (n, c h w) -> (n, c, h, w); a view where it is contiguous. Settings: c, h, w. */
static int run_unflatten(thunk *t) {
    PyArrayObject *a = fv_input(t, 0, 2);
    if (!a) return -1;
    npy_intp dims[] = {PyArray_DIM(a, 0), t->settings[0], t->settings[1], t->settings[2]};
    PyArray_Dims shape = {dims, 4};
    PyObject *view = PyArray_Newshape(a, &shape, NPY_CORDER);
    return view ? PyList_SetItem(t->outputs[0], 0, view) : -1;
}

/* ColumnSum: sum over all axes but the last. */
static int run_column_sum(thunk *t) {
    PyArrayObject *x = fv_input(t, 0, (int)t->settings[0]);
    if (!x) return -1;
    npy_intp columns = PyArray_DIM(x, PyArray_NDIM(x) - 1), rows = columns ? PyArray_SIZE(x) / columns : 0;
    PyArrayObject *y = fv_output(t, 0, 1, &columns);
    if (!y) return -1;
    size_t sum = fv_column_sum_scratch(columns), copy = fv_is_contiguous(x) ? 0 : fv_round(PyArray_NBYTES(x));
    char *scratch = fv_scratch(sum + copy);
    if (!scratch) return fv_oom(sum + copy);
    float *to = PyArray_DATA(y), *from = PyArray_DATA(x);
    Py_BEGIN_ALLOW_THREADS if (copy) fv_pack(from = (float *)(scratch + sum), x);
    fv_column_sum(to, from, rows, columns, scratch);
    Py_END_ALLOW_THREADS return 0;
}

/* Total: the sum over all axes, in doubles from block to block. */
static int run_total(thunk *t) {
    PyArrayObject *x = fv_input(t, 0, (int)t->settings[0]), *y = x ? fv_output(t, 0, 0, NULL) : NULL;
    if (!y) return -1;
    size_t copy = fv_is_contiguous(x) ? 0 : fv_round(PyArray_NBYTES(x));
    char *scratch = fv_scratch(copy);
    if (!scratch) return fv_oom(copy);
    const float *from = PyArray_DATA(x);
    npy_intp n = PyArray_SIZE(x);
    double total = 0;
    Py_BEGIN_ALLOW_THREADS if (copy) fv_pack((float *)scratch, x), from = (float *)scratch;
#pragma omp parallel for schedule(static) reduction(+ : total) if (n > PARALLEL_MIN)
    for (npy_intp i = 0; i < n; i += ROWS) {
        npy_intp end = i + ROWS < n ? i + ROWS : n;
        float block = 0;
#pragma omp simd reduction(+ : block)
        for (npy_intp j = i; j < end; j++) block += from[j];
        total += block;
    }
    Py_END_ALLOW_THREADS *(float *)PyArray_DATA(y) = (float)total;
    return 0;
}

const op_kind contiguous_kind = {"Contiguous", 5, run_contiguous, NULL};
const op_kind reshape_like_kind = {"ReshapeLike", 2, run_reshape_like, NULL};
const op_kind unflatten_kind = {"Unflatten", 3, run_unflatten, NULL};
const op_kind total_kind = {"Total", 1, run_total, NULL};
const op_kind column_sum_kind = {"ColumnSum", 1, run_column_sum, NULL};
