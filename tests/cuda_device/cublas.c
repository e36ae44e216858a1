/* A cuBLAS that counts its calls and computes nothing. Tests only. */
#include "counters.h"

int cublasCreate_v2(void **handle) { return (*handle = malloc(1)) ? 0 : 3; }
int cublasDestroy_v2(void *handle) { free(handle); return 0; }

/* The parts of a version: major, minor, patch. */
int cublasGetProperty(int part, int *value) {
  static const int version[] = {CUDA_MAJOR, 0, 1};
  *value = version[part];
  return 0;
}

int cublasSetMathMode(void *handle, int mode) {
  if (mode == 3) counter("cublas_tf32")->count++;
  return 0;
}

#define CALL(name) int name(void *handle) { COUNT(); return 0; }
CALL(cublasSetStream_v2)
CALL(cublasSetPointerMode_v2)
CALL(cublasGetPointerMode_v2)
CALL(cublasSetAtomicsMode)
CALL(cublasSdot_v2)
CALL(cublasSgemm_v2)
CALL(cublasSgemv_v2)
CALL(cublasSger_v2)
CALL(cublasSgemmBatched)
CALL(cublasSgemmStridedBatched)

/* float64 and float16 have no place in a step. */
#define UNKNOWN(name) int name(void) { fprintf(stderr, "dry run: " #name " is not float32\n"); abort(); }
UNKNOWN(cublasDdot_v2)
UNKNOWN(cublasDgemm_v2)
UNKNOWN(cublasDgemv_v2)
UNKNOWN(cublasDger_v2)
UNKNOWN(cublasDgemmBatched)
UNKNOWN(cublasDgemmStridedBatched)
UNKNOWN(cublasSgemmEx)
UNKNOWN(cublasGemmEx)
UNKNOWN(cublasHgemmStridedBatched)
