/* The loop of a fused element-wise pass (C++): what Theano's generated code needs beside the pass itself. */
#ifndef FASTVAE_ELEMENTWISE_LOOP_H
#define FASTVAE_ELEMENTWISE_LOOP_H

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define FV_ONCE __attribute__((noinline)) /* compiled once for all passes, which begin once and end once */
#define FV_PARALLEL_MIN 32768 /* elements below which a second thread costs more than it brings */
#define FV_ROW 256            /* elements of a row that is worth a call of its own */
#define FV_BLOCK 512          /* elements that are gathered at a time */

/* How many threads work on so many elements, with the GIL held: the backend's own function says (contention.c), which is
 * found at the first call. A function without Ops of the backend may come before it is loaded. */
static FV_ONCE int fv_threads(npy_intp elements) {
    static int (**team)(npy_intp);
    static int sought;
    if (!sought) {
        sought = 1;
        team = (int (**)(npy_intp)) PyCapsule_Import("fastvae_cpu.team", 0);
        if (!team) PyErr_Clear();
    }
    return team ? (*team)(elements) : elements > FV_PARALLEL_MIN ? omp_get_max_threads() : 1;
}

/* Strides in bytes, 0 where an array is broadcast, of arrays of one shape: put the axes in the order of the last
 * array's memory, and make neighbours one axis where every array steps through them alike. Returns how many axes are
 * left, at least one; the last is the innermost. */
static FV_ONCE int fv_merge_axes(int arrays, int axes, npy_intp *shape, npy_intp *strides) {
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

template <typename T>
static void fv_copy_run(char *to, npy_intp to_step, const char *from, npy_intp from_step, npy_intp n) {
    if (from_step == 0 && to_step == sizeof(T)) {
        const T value = *(const T *)from;
        for (npy_intp j = 0; j < n; j++) ((T *)to)[j] = value;
    } else {
        for (npy_intp j = 0; j < n; j++) *(T *)(to + j * to_step) = *(const T *)(from + j * from_step);
    }
}

/* n elements of so many bytes from one place to another, each with a step of its own. */
static FV_ONCE void fv_copy_elements(int bytes, char *to, npy_intp to_step, const char *from, npy_intp from_step, npy_intp n) {
    if (to_step == bytes && from_step == bytes) memcpy(to, from, n * bytes);
    else if (bytes == 1) fv_copy_run<char>(to, to_step, from, from_step, n);
    else if (bytes == 2) fv_copy_run<npy_int16>(to, to_step, from, from_step, n);
    else if (bytes == 4) fv_copy_run<npy_int32>(to, to_step, from, from_step, n);
    else fv_copy_run<npy_int64>(to, to_step, from, from_step, n);
}

/* Arrays of one shape, the last the result. `row` elements of the innermost axes, from axis `outer` on, are worked on in
 * one go: within a row an array is direct (its elements lie side by side), periodic (the same `period` elements again
 * and again, as the channels of an image) or neither. All but direct ones go through a buffer, block by block. */
template <int ARRAYS, int AXES>
struct fv_pass {
    npy_intp shape[AXES], strides[ARRAYS][AXES];
    char *data[ARRAYS];
    int bytes[ARRAYS];
    int axes, outer, direct[ARRAYS], periodic[ARRAYS];
    npy_intp size, row, period, block;

    FV_ONCE void prepare() {
        axes = fv_merge_axes(ARRAYS, AXES, shape, strides[0]);
        size = row = 1;
        for (int j = 0; j < axes; j++) size *= shape[j];
        if (size == 0) return;
        for (outer = axes; outer > 0 && row < FV_ROW; row *= shape[--outer]);
        period = row / shape[outer];
        block = row;
        const npy_intp gathered = FV_BLOCK / period * period;
        for (int a = 0; a < ARRAYS; a++) {
            const npy_intp *of = strides[a];
            direct[a] = 1;
            npy_intp step = bytes[a];
            for (int j = axes - 1; j >= outer; step *= shape[j--]) direct[a] &= of[j] == step || shape[j] == 1;
            periodic[a] = of[outer] == 0 && a + 1 < ARRAYS;
            if (!direct[a] && gathered < block) block = gathered;
        }
    }

    /* n elements of the row that begins at `at`, from its element `first` on, into or out of a buffer. */
    FV_ONCE void through_buffer(int a, char *buffer, char *at, npy_intp first, npy_intp n, bool scatter) const {
        const npy_intp inner = shape[axes - 1], step = strides[a][axes - 1];
        while (n > 0) {
            char *place = at;
            npy_intp rest = first;
            for (int j = axes - 1; j >= outer; rest /= shape[j--]) place += rest % shape[j] * strides[a][j];
            const npy_intp left = inner - first % inner, some = left < n ? left : n;
            if (scatter) fv_copy_elements(bytes[a], place, step, buffer, bytes[a], some);
            else fv_copy_elements(bytes[a], buffer, bytes[a], place, step, some);
            buffer += some * bytes[a], first += some, n -= some;
        }
    }

    /* A block of a row that repeats itself. */
    FV_ONCE void repeat(int a, char *buffer, char *at) const {
        npy_intp have = period < block ? period : block;
        through_buffer(a, buffer, at, 0, have, false);
        for (; have < block; have *= 2)
            memcpy(buffer + have * bytes[a], buffer, (have < block - have ? have : block - have) * bytes[a]);
    }

    /* Elements begin to end, counted through the merged axes; begin is a multiple of the period. */
    template <class Body>
    __attribute__((noinline)) void run(npy_intp begin, npy_intp end, const Body &body) const {
        alignas(64) char buffers[ARRAYS][FV_BLOCK * 8];
        char *rows[ARRAYS], *at[ARRAYS], *repeated[ARRAYS] = {};
        for (npy_intp i = begin; i < end;) {
            const npy_intp first = i % row, last = row - first < end - i ? row : first + (end - i);
            npy_intp index = i / row;
            for (int a = 0; a < ARRAYS; a++) rows[a] = data[a];
            for (int j = outer - 1; j >= 0; index /= shape[j--])
                for (int a = 0; a < ARRAYS; a++) rows[a] += index % shape[j] * strides[a][j];
            for (npy_intp k = first; k < last; k += block) {
                const npy_intp n = last - k < block ? last - k : block;
                for (int a = 0; a < ARRAYS; a++) {
                    if (direct[a]) at[a] = rows[a] + k * bytes[a];
                    else at[a] = buffers[a];
                    if (direct[a] || a + 1 == ARRAYS) continue;
                    if (!periodic[a]) through_buffer(a, at[a], rows[a], k, n, false);
                    else if (repeated[a] != rows[a]) repeat(a, at[a], rows[a]), repeated[a] = rows[a];
                }
                body(at, n);
                if (!direct[ARRAYS - 1]) through_buffer(ARRAYS - 1, at[ARRAYS - 1], rows[ARRAYS - 1], k, n, true);
            }
            i += last - first;
        }
    }

    /* Body(places, n) computes n elements of the result. */
    template <class Body>
    void run(const Body &body) const {
        if (size == 0) return;
        const int threads = fv_threads(size);
        if (threads == 1) return run(0, size, body);
#pragma omp parallel num_threads(threads)
        {
            const npy_intp me = omp_get_thread_num(), all = omp_get_num_threads(), unit = 16 * period;
            run(size * me / all / unit * unit, me + 1 == all ? size : size * (me + 1) / all / unit * unit, body);
        }
    }
};

#endif
