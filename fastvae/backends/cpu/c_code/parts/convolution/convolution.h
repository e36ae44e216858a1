/* What a convolution is, for the kernels that take it: oneDNN's (convolution.c) and our own (own_convolution.c). */
#ifndef FASTVAE_CONVOLUTION_H
#define FASTVAE_CONVOLUTION_H

#include "kernels.h"

enum { FORWARD, DATA, WEIGHTS };
enum { SUM_NONE, SUM_TOP, SUM_IMAGE };
enum { HALF = -1, FULL = -2 };

typedef struct {
    int direction, groups, flip, bias, like, sum_of, winograd; /* winograd: allowed */
    fv_activation activation;
    npy_intp stride[2], dilation[2], pad[2][2];
} convolution;

typedef struct {
    npy_intp n, c, h, w, o, oh, ow, kh, kw;
} geometry;
#define N_SIZES 9

typedef struct {
    PyArrayObject *image, *top, *weights; /* whichever are arrays; a strided one is packed into scratch */
    float *bias, *sum;
} operands;

static inline char *carve(char **at, size_t bytes) {
    char *here = *at;
    *at += bytes;
    return here;
}

static inline size_t copy_bytes(PyArrayObject *a) { return fv_is_contiguous(a) ? 0 : fv_round(PyArray_NBYTES(a)); }

static inline float *packed(PyArrayObject *a, char **at) {
    if (fv_is_contiguous(a)) return PyArray_DATA(a);
    float *copy = (float *)carve(at, copy_bytes(a));
    fv_pack(copy, a);
    return copy;
}

/* own_convolution.c: one of our own kernels, how it sees a convolution, and the scratch that it needs. */
typedef struct {
    enum { NO_KERNEL, WINOGRAD, POINTWISE, NARROW } kernel;
    union {
        fv_winograd winograd;
        fv_pointwise pointwise;
        fv_narrow narrow;
    };
    size_t scratch;
} fv_own;
fv_own fv_find_own(const convolution *c, const geometry *g);
void fv_execute_own(const convolution *c, const geometry *g, const fv_own *own, const operands *x, char *scratch);

#endif
