/* Kernels of our own: one source for CUDA and OpenCL, in libgpuarray's cluda.h, compiled when a device first runs it. */
#ifndef FASTVAE_GPU_KERNELS_H
#define FASTVAE_GPU_KERNELS_H

#include "arrays.h"

/* What kernels begin with: `IN(a)` and `OUT(a)` declare an array and its offset, `PLACE(a)` and `PLACE_OUT(a)` move a to
 * its first element, and `EACH(i, n)` is a loop over n elements, which all threads share among them. */
extern const char fv_prelude[];

#define MAX_SOURCES 8
#define MAX_ARGUMENTS 320

typedef struct compiled compiled;

typedef struct {
    const char *op;                    /* what an error names */
    const char *name;                  /* of the function */
    const char *arguments;             /* a letter each: array and its offset, uint, int, float, size (of ga_size) */
    const char *sources[MAX_SOURCES];  /* one after the other, up to the first NULL */
    compiled *devices;                 /* on which it is compiled */
} kernel;

/* What an array is among the arguments of a launch. */
#define ARRAY(a) (void *)(a)->ga.data, &(a)->ga.offset

/* Start the kernel on so many blocks; -1 with an exception. Arguments are pointers to their values, but for an array's
 * data. */
int fv_start(kernel *k, gpucontext *context, size_t blocks, size_t threads, void **arguments);

/* The same for n elements, which the threads share among them: each takes every (number of threads)-th one. */
int fv_start_elements(kernel *k, gpucontext *context, size_t n, void **arguments);

/* 0 if a kernel, which counts in 32 bits, can take so many elements, else -1 with an exception. */
int fv_countable(const thunk *t, size_t n);

/* How many threads a block of the kernel may have, but at most so many; 0 with an exception. */
size_t fv_largest_block(kernel *k, gpucontext *context, size_t at_most);

#endif
