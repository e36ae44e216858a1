/* pygpu's arrays, as the Ops of this backend use them. Include it before cudnn_runtime.h. */
#ifndef FASTVAE_CUDNN_ARRAYS_H
#define FASTVAE_CUDNN_ARRAYS_H

#include "thunks.h"

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/ndarraytypes.h> /* the types that pygpu's headers name */
#include <gpuarray/array.h>
#include <gpuarray/kernel.h>

/* pygpu's headers are written for C++, where a struct's tag is a type. */
typedef struct PyGpuArrayObject PyGpuArrayObject;
typedef struct PyGpuContextObject PyGpuContextObject;
typedef struct PyGpuKernelObject PyGpuKernelObject;
#include <gpuarray.h>

int fv_import_pygpu(void);

/* The object as a float32 array of so many axes (-1: any), borrowed; NULL without an exception if it is none. */
PyGpuArrayObject *fv_float_array(PyObject *object, int nd);

int fv_is_gpu_array(PyObject *object);
int fv_is_gpu_context(PyObject *object);

/* A packed copy; and a new array, its values not set. New references, or NULL with an exception. */
PyGpuArrayObject *fv_copied(PyGpuArrayObject *a);
PyGpuArrayObject *fv_empty(unsigned int nd, const size_t *shape, PyGpuContextObject *context);

/* An Op's input as a packed float32 array of so many axes (-1: any): a new reference, or NULL with an exception. */
PyGpuArrayObject *fv_packed_input(const thunk *t, int i, int nd);

/* The array for an Op's output: the old one if it fits, else a new one. Borrowed from its cell, or NULL with an
 * exception. */
PyGpuArrayObject *fv_output(const thunk *t, int i, unsigned int nd, const size_t *shape, PyGpuContextObject *context);

static inline unsigned int fv_ndim(const PyGpuArrayObject *a) { return a->ga.nd; }
static inline size_t fv_dim(const PyGpuArrayObject *a, int i) { return a->ga.dimensions[i]; }
static inline ssize_t fv_stride(const PyGpuArrayObject *a, int i) { return a->ga.strides[i]; }

static inline size_t fv_size(const PyGpuArrayObject *a) {
    size_t n = 1;
    for (unsigned int i = 0; i < a->ga.nd; i++) n *= a->ga.dimensions[i];
    return n;
}

static inline int fv_same_shape(const PyGpuArrayObject *a, const PyGpuArrayObject *b) {
    int same = a->ga.nd == b->ga.nd;
    for (unsigned int i = 0; same && i < a->ga.nd; i++) same = a->ga.dimensions[i] == b->ga.dimensions[i];
    return same;
}

#endif
