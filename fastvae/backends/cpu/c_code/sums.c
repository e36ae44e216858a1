/* Sums over all axes, or over all but the last. */
#include "fastvae.h"
#include <omp.h>
#include <string.h>

#define ROWS 256 /* rows, or numbers, summed in float before they go into a double */

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

const op_kind total_kind = {"Total", 1, run_total, NULL};
const op_kind column_sum_kind = {"ColumnSum", 1, run_column_sum, NULL};
