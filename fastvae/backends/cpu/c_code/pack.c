/* Copies of arrays into C order, from any layout. */
#include "fastvae.h"
#include "vector.h"
#include <omp.h>
#include <string.h>

#define TILE 16

/* One stage of a transposition: exchange the off-diagonal blocks of `size` x `size` lanes. */
FV_INLINE void exchange(vector *row, const int size) {
    lanes low, high;
    for (int i = 0; i < WIDTH; i++) {
        low[i] = i & size ? i - size + WIDTH : i;
        high[i] = i & size ? i + WIDTH : i + size;
    }
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++)
        if (!(i & size)) {
            vector a = row[i], b = row[i + size];
            row[i] = __builtin_shuffle(a, b, low);
            row[i + size] = __builtin_shuffle(a, b, high);
        }
}

/* to[r][c] = from[c][r], WIDTH x WIDTH in registers; rows are so many floats apart. */
FV_INLINE void transpose_block(float *to, npy_intp to_row, const float *from, npy_intp from_row) {
    vector row[WIDTH];
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++) row[i] = *(const vector *)(from + i * from_row);
    if (WIDTH == 16) exchange(row, 8); /* spelled out, for a loop's shuffles would not be known in time */
    exchange(row, 4), exchange(row, 2), exchange(row, 1);
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++) *(vector *)(to + i * to_row) = row[i];
}

/* The same for a whole tile. */
static void transpose_tile(float *to, npy_intp to_row, const float *from, npy_intp from_row) {
    for (int r = 0; r < TILE; r += WIDTH)
        for (int c = 0; c < TILE; c += WIDTH) transpose_block(to + r * to_row + c, to_row, from + c * from_row + r, from_row);
}

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
#pragma omp parallel for collapse(2) schedule(static) num_threads(fv_team(total))
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

/* Copy an array of any type into C order, row by row of its last axis. */
void fv_pack_any(void *to, PyArrayObject *from) {
    const int ndim = PyArray_NDIM(from), last = ndim - 1;
    const npy_intp size = PyArray_ITEMSIZE(from), columns = ndim ? PyArray_DIM(from, last) : 1;
    const npy_intp step = ndim ? PyArray_STRIDE(from, last) : 0, rows = columns ? PyArray_SIZE(from) / columns : 0;
#pragma omp parallel for schedule(static) num_threads(fv_team(rows * columns))
    for (npy_intp row = 0; row < rows; row++) {
        const char *source = PyArray_BYTES(from);
        char *target = (char *)to + row * columns * size;
        npy_intp rest = row;
        for (int i = last - 1; i >= 0; rest /= PyArray_DIM(from, i--))
            source += rest % PyArray_DIM(from, i) * PyArray_STRIDE(from, i);
        if (step == size) memcpy(target, source, columns * size);
        else if (size == 1)
            for (npy_intp c = 0; c < columns; c++) target[c] = source[c * step];
        else
            for (npy_intp c = 0; c < columns; c++) memcpy(target + c * size, source + c * step, size);
    }
}

/* The elements of n float32 arrays in C order: their own memory, or a copy in this thread's scratch. Returns more bytes
 * of that, NULL without memory, and an exception. GIL held. */
char *fv_packed(PyArrayObject **arrays, const float **data, int n, size_t more) {
    size_t bytes = fv_round(more);
    for (int i = 0; i < n; i++)
        if (!fv_is_contiguous(arrays[i])) bytes += fv_round(PyArray_NBYTES(arrays[i]));
    char *scratch = fv_scratch(bytes), *to = scratch + fv_round(more);
    if (!scratch) {
        fv_oom(bytes);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        data[i] = PyArray_DATA(arrays[i]);
        if (fv_is_contiguous(arrays[i])) continue;
        Py_BEGIN_ALLOW_THREADS fv_pack((float *)to, arrays[i]);
        Py_END_ALLOW_THREADS data[i] = (float *)to;
        to += fv_round(PyArray_NBYTES(arrays[i]));
    }
    return scratch;
}
