/* What the files of the stub cuDNN share: the structures behind its descriptors, and tensors as numbers.

   A call checks its arguments as cuDNN 9 does (the statuses of a real 9.10 are in test_cudnn_statuses.py), copies its
   descriptors, and queues an operation that reads whole tensors as double, computes, and stores them again. */
#ifndef CUDNN_TENSORS_H
#define CUDNN_TENSORS_H
#include "../include/cudnn.h"
#include "library.h"

#define OK CUDNN_STATUS_SUCCESS
#define BAD CUDNN_STATUS_BAD_PARAM
#define UNSUPPORTED CUDNN_STATUS_NOT_SUPPORTED
#define FAILED CUDNN_STATUS_EXECUTION_FAILED

struct handle {
  void *stream;
  int tf32; /* see tf32_override() */
};

struct tensor {
  cudnnDataType_t type;
  int n, dims[CUDNN_DIM_MAX], strides[CUDNN_DIM_MAX];
};

/* Living descriptors, so that a test sees a leak. */
extern long living_descriptors __attribute__((visibility("hidden")));

#define DESCRIPTOR(Name) \
  cudnnStatus_t cudnnCreate##Name##Descriptor(cudnn##Name##Descriptor_t *d) { \
    COUNT(); \
    if (!d) return BAD; \
    living_descriptors++; \
    return (*d = calloc(1, sizeof **d)) ? OK : BAD; \
  } \
  cudnnStatus_t cudnnDestroy##Name##Descriptor(cudnn##Name##Descriptor_t d) { \
    if (d) living_descriptors--; \
    free(d); \
    return OK; \
  }

#define HIDDEN __attribute__((visibility("hidden")))

/* How many numbers, and whether two tensors agree. */
HIDDEN size_t elements(const struct tensor *t);
HIDDEN int same_dims(const struct tensor *a, const struct tensor *b);
HIDDEN int same_strides(const struct tensor *a, const struct tensor *b);
HIDDEN int same_tensors(const struct tensor *a, const struct tensor *b); /* type, sizes and strides */

/* Whether every axis of `a` is one of `b` or a single entry, and there are as many. */
HIDDEN int broadcasts(const struct tensor *a, const struct tensor *b);
HIDDEN int has_negative_stride(const struct tensor *t);
HIDDEN int is_real(cudnnDataType_t type);

/* Packed, row by row. */
HIDDEN struct tensor packed_tensor(cudnnDataType_t type, int n, const int *dims);

/* alpha and beta are float, and double for tensors of double. */
HIDDEN double factor_value(cudnnDataType_t type, const void *at);

/* The numbers of a tensor as `shape` orders them (repeated where it has a single entry), each rounded: to be freed. */
HIDDEN double *numbers_of(const struct tensor *t, const void *data, const struct tensor *shape, enum rounding rounding);

/* data = alpha numbers + beta data; beta = 0 reads nothing. */
HIDDEN void store_numbers(const struct tensor *t, void *data, const double *numbers, double alpha, double beta);

HIDDEN void tensor_operand(struct operation *call, const char *what, const struct tensor *t, const void *at, int how);
/* An operand that is written, and read before if there is a beta. */
HIDDEN void result_operand(struct operation *call, const char *what, const struct tensor *t, const void *at, double beta);
#endif
