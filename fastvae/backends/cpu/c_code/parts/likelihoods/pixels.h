/* What the likelihoods of pixel levels share: images, blocks of their pixels, and the threads' way through them. */
#ifndef FASTVAE_PIXELS_H
#define FASTVAE_PIXELS_H

#include "fastvae.h"

#define BLOCK 64 /* pixels that are computed together */

/* (n, c, pixels) in any layout that keeps the pixels one axis, given by its strides. */
typedef struct {
    const float *data;
    npy_intp stride[3];
} fv_image;

/* The decoder's outputs are (n, c, each, pixels), or with the channels last (n, pixels, c, each), contiguous. */
typedef struct {
    const double *settings;
    npy_intp n, c, each, pixels;
    int last;
    const float *outputs;
    fv_image image[4]; /* the Op's inputs; number 1 is `outputs` */
    float *to[2];
} fv_pass;

/* Some pixels side by side of one channel of one image. */
typedef struct {
    npy_intp n, c, first, some;
    npy_intp at; /* where they begin in a contiguous image */
    npy_intp start, step, next; /* and among the outputs; from an output to the next one, from a pixel to the next */
} fv_block;

typedef void fv_kernel(const fv_pass *p, const fv_block *b, float *scratch);

static inline float fv_pixel(const fv_image *a, const fv_block *b, npy_intp i) {
    return a->data[b->n * a->stride[0] + b->c * a->stride[1] + (b->first + i) * a->stride[2]];
}

/* Run an Op of inputs x (n, c, h, w), outputs (n, c each, h, w) or with the channels last (n, h, w, c each), and images
 * like x. Its results are like x, or with `backward` like the outputs. Each thread's scratch has that many floats. */
int fv_run_pixels(thunk *t, npy_intp each, int last, int backward, size_t scratch, fv_kernel *kernel);

#endif
