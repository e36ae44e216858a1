/* The loop of a fused element-wise pass: what Theano's generated code needs beside the pass itself. */
#ifndef FASTVAE_ELEMENTWISE_LOOP_H
#define FASTVAE_ELEMENTWISE_LOOP_H

#include <omp.h>

#define FV_PARALLEL_MIN 32768 /* elements below which a second thread costs more than it brings */

/* Threads for so many elements. */
static inline int fv_threads(npy_intp size) { return size > FV_PARALLEL_MIN ? omp_get_max_threads() : 1; }

/* Strides in bytes, 0 where an array is broadcast, of arrays of one shape: put the axes in the order of the last
 * array's memory, and make neighbours one axis where every array steps through them alike. Returns how many axes are
 * left, at least one; the last is the innermost. */
static inline int fv_merge_axes(int arrays, int axes, npy_intp *shape, npy_intp *strides) {
    npy_intp *last = strides + (arrays - 1) * axes;
#define FV_SWAP(a, b) do { npy_intp swapped = a; a = b; b = swapped; } while (0)
    for (int i = 1; i < axes; i++)
        for (int j = i; j > 0 && labs(last[j - 1]) < labs(last[j]); j--) {
            FV_SWAP(shape[j - 1], shape[j]);
            for (int a = 0; a < arrays; a++) FV_SWAP(strides[a * axes + j - 1], strides[a * axes + j]);
        }
#undef FV_SWAP
    int left = 0; /* axes that are finished, the one in the making not counted */
    for (int j = 1; j < axes; j++) {
        int alike = 1;
        for (int a = 0; a < arrays; a++) {
            npy_intp *of = strides + a * axes;
            alike &= of[left] == of[j] * shape[j] || shape[left] == 1;
        }
        if (!alike && shape[j] == 1) continue;
        if (alike) shape[left] *= shape[j];
        else shape[++left] = shape[j];
        for (int a = 0; a < arrays; a++) strides[a * axes + left] = strides[a * axes + j];
    }
    return left + 1;
}

/* Where element i of each array is, counted through the merged axes; returns its place on the innermost axis. */
static inline npy_intp fv_seek(int arrays, int axes, int left, const npy_intp *shape, const npy_intp *strides,
                               char *const *data, npy_intp i, char **at) {
    npy_intp column = i % shape[left - 1];
    for (int a = 0; a < arrays; a++) at[a] = data[a];
    for (int j = left - 1; j >= 0; i /= shape[j--])
        for (int a = 0; a < arrays; a++) at[a] += i % shape[j] * strides[a * axes + j];
    return column;
}

#endif
