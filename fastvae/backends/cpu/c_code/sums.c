/* Sums over any axes. */
#include "reduction.h"

static void combine_into(double *to, const reduction *g, const region *at, const float *from) {
    combine(to, g, at, from, SUM);
}

size_t fv_column_sum_scratch(npy_intp columns) {
    return columns < MANY ? fv_round(CHUNKS * columns * sizeof(double)) : 0;
}

/* to[c] = sum of from[r][c] over r. */
void fv_column_sum(float *to, const float *from, npy_intp rows, npy_intp columns, char *scratch) {
    reduction g = {1, 1, 1, rows, columns, 0, 0, 0, columns, SUM};
    reduce(to, &g, from, (double *)scratch);
}

/* ColumnSum: the sum over all axes but the last; Total: over all. Setting: the number of axes. */
static int run_sum(thunk *t, int keeps_last) {
    int ndim = (int)t->settings[0], reduced[NPY_MAXDIMS];
    PyArrayObject *x = fv_input(t, 0, ndim);
    if (!x) return -1;
    for (int i = 0; i < ndim; i++) reduced[i] = i + 1 < ndim || !keeps_last;
    return run_over(t, x, reduced, SUM);
}

static int run_column_sum(thunk *t) { return run_sum(t, 1); }
static int run_total(thunk *t) { return run_sum(t, 0); }

const op_kind reduction_kind = {"Reduction", 10, run_reduction, NULL};
const op_kind total_kind = {"Total", 1, run_total, NULL};
const op_kind column_sum_kind = {"ColumnSum", 1, run_column_sum, NULL};
