/* A cuBLAS that computes in the host's memory, column-major as the real one, with sums in double. Tests only.

   A handle's math mode is honoured: with TF32 (mode 3, or NVIDIA_TF32_OVERRIDE=1 when the handle was made, and never with
   NVIDIA_TF32_OVERRIDE=0) products of float matrices take rounded operands, see reals.h; with mode 1 half ones. Vectors are
   never rounded, as tensor cores multiply matrices only. */
#include "cublas_handle.h"

int cublasCreate_v2(handle_t *handle) {
  if (!handle) return INVALID_VALUE;
  if (!(*handle = calloc(1, sizeof **handle))) return ALLOC_FAILED;
  (*handle)->tf32 = tf32_override();
  return OK;
}

int cublasDestroy_v2(handle_t handle) {
  if (!handle) return NOT_INITIALIZED;
  free(handle);
  return OK;
}

/* The parts of a version: major, minor, patch. */
int cublasGetProperty(int part, int *value) {
  static const int version[] = {CUDA_MAJOR, 0, 1};
  if (part < 0 || part > 2 || !value) return INVALID_VALUE;
  *value = version[part];
  return OK;
}

int cublasGetVersion_v2(handle_t handle, int *version) {
  if (!version) return INVALID_VALUE;
  *version = CUDA_MAJOR * 10000 + 1;
  return OK;
}

const char *cublasGetStatusName(int status) {
  switch (status) {
  case OK: return "CUBLAS_STATUS_SUCCESS";
  case NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
  case ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
  case INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
  case EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
  case NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
  default: return "CUBLAS_STATUS_INTERNAL_ERROR";
  }
}

const char *cublasGetStatusString(int status) { return cublasGetStatusName(status); }

/* A value of the handle that is set, between bounds, and read. */
#define SETTING(Set, Get, member, least, most) \
  int Set(handle_t handle, int value) { \
    COUNT(); \
    if (!handle) return NOT_INITIALIZED; \
    if (value < least || value > most) return INVALID_VALUE; \
    handle->member = value; \
    return OK; \
  } \
  int Get(handle_t handle, int *value) { \
    COUNT(); \
    if (!handle) return NOT_INITIALIZED; \
    if (!value) return INVALID_VALUE; \
    *value = handle->member; \
    return OK; \
  }
SETTING(cublasSetPointerMode_v2, cublasGetPointerMode_v2, pointers, HOST_POINTERS, DEVICE_POINTERS)
SETTING(cublasSetAtomicsMode, cublasGetAtomicsMode, atomics, 0, 1)

int cublasSetMathMode(handle_t handle, int mode) {
  if (!handle) return NOT_INITIALIZED;
  if ((mode & ~NO_REDUCED_PRECISION) > LAST_MATH || mode < 0) return INVALID_VALUE;
  handle->math = mode;
  if (mode == TF32_MATH) counter("cublas_tf32")->count++;
  return OK;
}

int cublasGetMathMode(handle_t handle, int *mode) {
  if (!handle) return NOT_INITIALIZED;
  if (!mode) return INVALID_VALUE;
  *mode = handle->math;
  return OK;
}

int cublasSetStream_v2(handle_t handle, void *stream) {
  COUNT();
  if (!handle) return NOT_INITIALIZED;
  handle->stream = stream;
  handle->workspace = NULL;
  return OK;
}

int cublasGetStream_v2(handle_t handle, void **stream) {
  if (!handle) return NOT_INITIALIZED;
  *stream = handle->stream;
  return OK;
}

int cublasSetWorkspace_v2(handle_t handle, void *workspace, size_t size) {
  if (!handle) return NOT_INITIALIZED;
  if ((uintptr_t)workspace % 256) return INVALID_VALUE;
  handle->workspace = workspace;
  return OK;
}
