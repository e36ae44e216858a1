/* What the files of the stub cuBLAS share: the handle, factors and operands. */
#ifndef CUBLAS_HANDLE_H
#define CUBLAS_HANDLE_H
#include "library.h"

enum { OK = 0, NOT_INITIALIZED = 1, ALLOC_FAILED = 3, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { DEFAULT_MATH, TENSOR_OP_MATH, PEDANTIC_MATH, TF32_MATH, LAST_MATH = TF32_MATH, NO_REDUCED_PRECISION = 16 };
enum { HOST_POINTERS, DEVICE_POINTERS };
enum { R_32F = 0, R_64F = 1, R_16F = 2 }; /* cudaDataType_t, numbered as enum real */
enum { COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_32F_FAST_16F = 74, COMPUTE_32F_FAST_TF32 = 77 };

struct handle {
  void *stream, *workspace;
  int pointers, math, atomics, tf32;
};
typedef struct handle *handle_t;

/* A factor: its value, or where it will be found when the call's turn has come. */
struct factor { double value; const void *at; };

static inline struct factor factor_of(handle_t handle, enum real type, const void *at) {
  return handle->pointers == DEVICE_POINTERS ? (struct factor){.at = at} : (struct factor){.value = real_at(type, at, 0)};
}

static inline double value_of(const struct factor *f, enum real type) { return f->at ? real_at(type, f->at, 0) : f->value; }

static inline int vanishes(const struct factor *f) { return !f->at && f->value == 0; }

static inline void factor_operand(struct operation *call, const char *what, const struct factor *f, enum real type) {
  device_operand(call, what, f->at, DEVICE_READ, real_size(type), 0, NULL, NULL);
}

/* A matrix that is read or written: so many columns of so many rows, `ld` apart, once or `stride` apart in a batch. */
static inline void matrix_operand(struct operation *call, const char *what, const void *at, int how,
                                  enum real type, int rows, int columns, int ld, int count,
                                  long long stride) {
  const long dims[] = {count, columns, rows}, strides[] = {stride, ld, 1};
  device_operand(call, what, at, how, real_size(type), 3, dims, strides);
}

static inline void vector_operand(struct operation *call, const char *what, const void *at, int how, enum real type,
                                  int n, int step) {
  const long dims[] = {n}, strides[] = {step < 0 ? -step : step};
  device_operand(call, what, at, how, real_size(type), 1, dims, strides);
}
#endif
