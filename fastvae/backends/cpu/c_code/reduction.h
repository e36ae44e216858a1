/* Sums, maxima and minima over any axes: what sums.c and extrema.c share.
 *
 * An array is taken as five axes, each possibly of length 1: kept, reduced, kept, reduced, kept, the last one without
 * gaps. Any set of axes of a tensor of four axes is of this kind; what is not is copied first. Results do not depend on
 * the number of threads: numbers are combined in float within blocks of fixed size, blocks in double, in their order. */
#ifndef FASTVAE_REDUCTION_H
#define FASTVAE_REDUCTION_H

#include "fastvae.h"
#include <math.h>
#include <string.h>

#define ROWS 256    /* rows, or numbers, combined in float before they go into a double */
#define TILE 1024   /* results that are worked on together */
#define CHUNKS 64   /* parts of a long reduced axis at most */
#define PART 32768  /* numbers in such a part at least */
#define WIDTH 64    /* columns that are kept in registers */
#define NARROW 16   /* or if there are fewer */
#define MANY 4096   /* results enough to occupy all threads without such parts */

typedef enum { SUM, MAXIMUM, MINIMUM } combination;

/* Lengths, and steps in floats, of the five axes; those named r are reduced. */
typedef struct {
    npy_intp k0, r1, k1, r2, k2, k0_step, r1_step, k1_step, r2_step;
    combination how;
} reduction;

/* A part of a reduction: one place on k0, ranges on the other axes. */
typedef struct {
    npy_intp k0, r1[2], k1[2], r2[2], k2[2];
} region;

#define INLINE static inline __attribute__((always_inline))

/* NaN stays NaN, as in Theano's maximum and minimum. */
INLINE float combined(float a, float b, const combination how) {
    if (how == SUM) return a + b;
    return (how == MAXIMUM ? b > a : b < a) | (b != b) ? b : a; /* no branch */
}

INLINE double combined_blocks(double a, double b, const combination how) {
    if (how == SUM) return a + b;
    return (how == MAXIMUM ? b > a : b < a) | (b != b) ? b : a; /* no branch */
}

INLINE float neutral(const combination how) { return how == SUM ? 0 : how == MAXIMUM ? -INFINITY : INFINITY; }

/* Of neighbours, lane by lane, then the lanes; n is a multiple of their number. */
INLINE float lanes_of(const float *from, npy_intp n, const int lanes, const combination how) {
    float lane[WIDTH];
    for (int c = 0; c < lanes; c++) lane[c] = from[c];
    for (npy_intp i = lanes; i < n; i += lanes)
        for (int c = 0; c < lanes; c++) lane[c] = combined(lane[c], from[i + c], how);
    for (int size = lanes / 2; size > 0; size /= 2)
        for (int c = 0; c < size; c++) lane[c] = combined(lane[c], lane[c + size], how);
    return lane[0];
}

/* Of neighbours, at most ROWS. */
INLINE float run_of(const float *from, npy_intp n, const combination how) {
    if (n < NARROW) {
        float few = from[0];
        for (npy_intp i = 1; i < n; i++) few = combined(few, from[i], how);
        return few;
    }
    npy_intp wide = n / WIDTH * WIDTH, all = n / NARROW * NARROW;
    float result = wide ? lanes_of(from, wide, WIDTH, how) : neutral(how);
    if (all > wide) result = combined(result, lanes_of(from + wide, all - wide, NARROW, how), how);
    for (; all < n; all++) result = combined(result, from[all], how);
    return result;
}

/* to[c] and rows of from[c], for so many columns. */
INLINE void columns_of(double *to, const float *from, npy_intp rows, npy_intp step, const int width,
                       const combination how) {
    float block[WIDTH];
    for (npy_intp r0 = 0; r0 < rows; r0 += ROWS) {
        for (int c = 0; c < width; c++) block[c] = from[r0 * step + c];
        for (npy_intp r = r0 + 1; r < rows && r < r0 + ROWS; r++)
            for (int c = 0; c < width; c++) block[c] = combined(block[c], from[r * step + c], how);
        for (int c = 0; c < width; c++) to[c] = combined_blocks(to[c], block[c], how);
    }
}

/* The same where their number is known only when it runs. */
static __attribute__((noinline)) void some_columns_of(double *to, const float *from, npy_intp rows, npy_intp step,
                                                      int width, combination how) {
    columns_of(to, from, rows, step, width, how);
}

/* The same for few columns without gaps: several rows are taken as one. */
static void narrow_columns(double *to, const float *from, npy_intp rows, const int columns, const combination how) {
    const int together = WIDTH / columns, width = together * columns;
    double wide[WIDTH];
    for (int c = 0; c < width; c++) wide[c] = neutral(how);
    some_columns_of(wide, from, rows / together, width, width, how);
    some_columns_of(to, from + rows / together * width, rows % together, columns, columns, how);
    for (int c = 0; c < width; c++) to[c % columns] = combined_blocks(to[c % columns], wide[c], how);
}

/* Combine a region's numbers into `to`, its results side by side. */
INLINE void combine(double *to, const reduction *g, const region *at, const float *from, const combination how) {
    const npy_intp columns = at->k2[1] - at->k2[0], rows = at->r2[1] - at->r2[0];
    for (npy_intp r1 = at->r1[0]; r1 < at->r1[1]; r1++)
        for (npy_intp k1 = at->k1[0]; k1 < at->k1[1]; k1++) {
            double *result = to + (k1 - at->k1[0]) * columns;
            const float *source = from + at->k0 * g->k0_step + r1 * g->r1_step + k1 * g->k1_step +
                                  at->r2[0] * g->r2_step + at->k2[0];
            if (g->k2 == 1 && g->r2_step == 1) {
                for (npy_intp r = 0; r < rows; r += ROWS)
                    *result = combined_blocks(*result, run_of(source + r, rows - r < ROWS ? rows - r : ROWS, how), how);
            } else if (columns <= NARROW && g->r2_step == columns) {
                narrow_columns(result, source, rows, (int)columns, how);
            } else {
                npy_intp c = 0;
                for (; c + WIDTH <= columns; c += WIDTH)
                    columns_of(result + c, source + c, rows, g->r2_step, WIDTH, how);
                for (; c + WIDTH / 2 <= columns; c += WIDTH / 2)
                    columns_of(result + c, source + c, rows, g->r2_step, WIDTH / 2, how);
                for (; c + NARROW <= columns; c += NARROW)
                    columns_of(result + c, source + c, rows, g->r2_step, NARROW, how);
                if (c < columns) some_columns_of(result + c, source + c, rows, g->r2_step, (int)(columns - c), how);
            }
        }
}

/* Combine a region's numbers into `to` in the way that g says; each file has those of its Ops. */
static void combine_into(double *to, const reduction *g, const region *at, const float *from);

static void combine_region(double *to, const reduction *g, const region *at, const float *from) {
    npy_intp results = (at->k1[1] - at->k1[0]) * (at->k2[1] - at->k2[0]);
    for (npy_intp i = 0; i < results; i++) to[i] = neutral(g->how);
    combine_into(to, g, at, from);
}

/* How many regions there are on an axis, and the length of each but the last. */
static npy_intp regions_of(npy_intp length, npy_intp most, npy_intp *each) {
    *each = length < most ? length : most;
    return *each ? (length + *each - 1) / *each : 1;
}

static void range_of(npy_intp range[2], npy_intp i, npy_intp each, npy_intp length) {
    range[0] = i * each;
    range[1] = (i + 1) * each < length ? (i + 1) * each : length;
}

/* The parts of the longer reduced axis, and the length of each but the last. */
static npy_intp parts_of(const reduction *g, npy_intp *each) {
    npy_intp length = g->r1 > 1 ? g->r1 : g->r2, results = g->k0 * g->k1 * g->k2, unit = g->r1 > 1 ? 1 : ROWS;
    npy_intp parts = results < MANY ? results * g->r1 * g->r2 / PART : 1;
    parts = parts < 1 ? 1 : parts > CHUNKS ? CHUNKS : parts;
    return regions_of(length, ((length + parts - 1) / parts + unit - 1) / unit * unit, each);
}

static size_t scratch_of(const reduction *g) {
    npy_intp each, parts = parts_of(g, &each);
    return parts > 1 ? fv_round(parts * g->k0 * g->k1 * g->k2 * sizeof(double)) : 0;
}

/* to[k0][k1][k2] = what is left of `from`; scratch of `scratch_of` bytes. */
static void reduce(float *to, const reduction *g, const float *from, double *scratch) {
    npy_intp part_length, k1_length, k2_length, parts = parts_of(g, &part_length);
    npy_intp k2_tiles = regions_of(g->k2, TILE, &k2_length);
    npy_intp k1_tiles = regions_of(g->k1, k2_length < TILE ? TILE / (k2_length ? k2_length : 1) : 1, &k1_length);
    npy_intp results = g->k0 * g->k1 * g->k2, tiles = g->k0 * k1_tiles * k2_tiles;
#pragma omp parallel for schedule(static) num_threads(fv_team(results * g->r1 * g->r2))
    for (npy_intp item = 0; item < parts * tiles; item++) {
        npy_intp part = item / tiles, tile = item % tiles;
        region at = {tile / (k1_tiles * k2_tiles), {0, g->r1}, {0}, {0, g->r2}, {0}};
        range_of(at.k1, tile / k2_tiles % k1_tiles, k1_length, g->k1);
        range_of(at.k2, tile % k2_tiles, k2_length, g->k2);
        if (g->r1 > 1) range_of(at.r1, part, part_length, g->r1);
        else range_of(at.r2, part, part_length, g->r2);
        double sums[TILE], *sum = sums;
        combine_region(sums, g, &at, from);
        npy_intp columns = at.k2[1] - at.k2[0];
        for (npy_intp k1 = at.k1[0]; k1 < at.k1[1]; k1++, sum += columns) {
            npy_intp place = (at.k0 * g->k1 + k1) * g->k2 + at.k2[0];
            if (parts > 1) memcpy(scratch + part * results + place, sum, columns * sizeof *sum);
            else
                for (npy_intp c = 0; c < columns; c++) to[place + c] = (float)sum[c];
        }
    }
    for (npy_intp i = 0; parts > 1 && i < results; i++) {
        double all = scratch[i];
        for (npy_intp part = 1; part < parts; part++) all = combined_blocks(all, scratch[part * results + i], g->how);
        to[i] = (float)all;
    }
}

/* Groups of neighbouring axes that are all kept or all reduced, from the outermost in memory. */
typedef struct {
    npy_intp length, step;
    int reduced;
} group;

/* The groups of an array, -1 if it has gaps or its kept axes lie in another order than they are in. */
static int groups_of(group *groups, PyArrayObject *x, const int *reduced) {
    int axes[NPY_MAXDIMS], n = 0, left = 0, kept = -1;
    for (int i = 0; i < PyArray_NDIM(x); i++)
        if (PyArray_DIM(x, i) != 1) {
            int j = n++;
            for (; j > 0 && PyArray_STRIDE(x, axes[j - 1]) < PyArray_STRIDE(x, i); j--) axes[j] = axes[j - 1];
            axes[j] = i;
        }
    npy_intp dense = sizeof(float);
    for (int j = n - 1; j >= 0; dense *= PyArray_DIM(x, axes[j--]))
        if (PyArray_STRIDE(x, axes[j]) != dense) return -1;
    for (int j = 0; j < n; j++) {
        int is_reduced = reduced[axes[j]];
        npy_intp step = PyArray_STRIDE(x, axes[j]) / (npy_intp)sizeof(float);
        if (!is_reduced && axes[j] < kept) return -1;
        if (!is_reduced) kept = axes[j];
        if (!left || groups[left - 1].reduced != is_reduced) groups[left++] = (group){1, 0, is_reduced};
        groups[left - 1].length *= PyArray_DIM(x, axes[j]);
        groups[left - 1].step = step;
    }
    return left;
}

/* Whether the groups are those of a reduction. */
static int takes(reduction *g, const group *groups, int n) {
    npy_intp *lengths[] = {&g->k2, &g->r2, &g->k1, &g->r1, &g->k0}, k2_step;
    npy_intp *steps[] = {&k2_step, &g->r2_step, &g->k1_step, &g->r1_step, &g->k0_step};
    for (int i = 0; i < 5; i++) *lengths[i] = 1, *steps[i] = i == 1;
    int place = 0;
    for (int i = n - 1; i >= 0; i--, place++) {
        place += groups[i].reduced != place % 2;
        if (place > 4) return 0;
        *lengths[place] = groups[i].length, *steps[place] = groups[i].step;
    }
    return n >= 0;
}

/* The array with kept axes before reduced ones; a new reference. */
static PyArrayObject *kept_first(PyArrayObject *x, const int *reduced) {
    npy_intp order[NPY_MAXDIMS];
    PyArray_Dims axes = {order, 0};
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < PyArray_NDIM(x); i++)
            if (reduced[i] == pass) order[axes.len++] = i;
    return (PyArrayObject *)PyArray_Transpose(x, &axes);
}

/* One output: what is left of the first input when these axes are reduced. */
static int run_over(thunk *t, PyArrayObject *x, const int *reduced, combination how) {
    npy_intp shape[NPY_MAXDIMS], left = 1, gone = 1;
    int ndim = 0;
    for (int i = 0; i < PyArray_NDIM(x); i++)
        if (reduced[i]) gone *= PyArray_DIM(x, i);
        else left *= shape[ndim++] = PyArray_DIM(x, i);
    if (left && !gone && how != SUM) {
        PyErr_Format(PyExc_ValueError, "%s: a maximum or minimum over an axis of length 0", t->kind->name);
        return -1;
    }
    PyArrayObject *y = fv_output(t, 0, ndim, shape), *view = NULL;
    if (!y) return -1;
    reduction g = {.how = how};
    group groups[NPY_MAXDIMS];
    size_t copy = 0;
    if (left && gone && !takes(&g, groups, groups_of(groups, x, reduced))) {
        if (!(view = kept_first(x, reduced))) return -1;
        copy = fv_round(PyArray_NBYTES(x));
        g = (reduction){1, 1, left, gone, 1, 0, 0, gone, 1, how};
    }
    size_t bytes = copy + (left && gone ? scratch_of(&g) : 0);
    char *scratch = fv_scratch(bytes);
    if (!scratch) {
        Py_XDECREF(view);
        return fv_oom(bytes);
    }
    float *to = PyArray_DATA(y), *from = view ? (float *)scratch : PyArray_DATA(x);
    Py_BEGIN_ALLOW_THREADS if (view) fv_pack(from, view);
    if (!gone) memset(to, 0, left * sizeof *to);
    else if (left) reduce(to, &g, from, (double *)(scratch + copy));
    Py_END_ALLOW_THREADS Py_XDECREF(view);
    return 0;
}

/* Reduction and Extremum. Settings: 0 sum, 1 maximum, 2 minimum; the number of axes; for each of eight whether it is reduced. */
static int run_reduction(thunk *t) {
    int ndim = (int)t->settings[1], reduced[NPY_MAXDIMS];
    PyArrayObject *x = fv_input(t, 0, ndim);
    if (!x) return -1;
    for (int i = 0; i < ndim; i++) reduced[i] = t->settings[i + 2] != 0;
    return run_over(t, x, reduced, (combination)t->settings[0]);
}

#endif
