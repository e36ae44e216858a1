/* Products of matrices: gemm, one or a batch of them. */
#include "cublas_handle.h"
#include "products.h"

/* op(A), op(B) and C of a gemm; in a batch C is `count` matrices, at a stride or in tables of pointers. */
struct product {
  int transposed_a, transposed_b, m, n, k, lda, ldb, ldc, count, in_tables;
  long long stride_a, stride_b, stride_c;
  const void *a, *b;
  void *c;
  enum real type, scale_type; /* of the matrices, and of alpha and beta */
  enum rounding rounding;
  struct factor alpha, beta;
};

static struct panels packed(const struct product *p, const void *matrix, int columns, int ld, int row_wise) {
  struct panels to = new_panels(columns, p->k);
  for (int l = 0; l < p->k; l++)
    for (int i = 0; i < columns; i++) {
      size_t at = row_wise ? l + (size_t)i * ld : i + (size_t)l * ld;
      *panel_entry(&to, i, l) = rounded(real_at(p->type, matrix, at), p->rounding);
    }
  return to;
}

static void multiply_one(const struct product *p, const void *a, const void *b, void *c) {
  double alpha = value_of(&p->alpha, p->scale_type), beta = value_of(&p->beta, p->scale_type);
  double *sums = new_numbers((size_t)p->m * p->n);
  if (alpha != 0) {
    struct panels left = packed(p, b, p->n, p->ldb, !p->transposed_b), right = packed(p, a, p->m, p->lda, p->transposed_a);
    add_products(&left, &right, sums);
    free_panels(&left);
    free_panels(&right);
  }
  for (int j = 0; j < p->n; j++)
    for (int i = 0; i < p->m; i++) {
      size_t at = i + (size_t)j * p->ldc;
      double old = beta != 0 ? beta * real_at(p->type, c, at) : 0; /* what beta = 0 does not read may be NaN */
      set_real(p->type, c, at, alpha * sums[(size_t)j * p->m + i] + old);
    }
  free(sums);
}

static void multiply(void *payload, struct operation *call) {
  const struct product *p = payload;
  long long size = real_size(p->type);
  for (int i = 0; i < p->count; i++)
    multiply_one(p, (const char *)p->a + i * p->stride_a * size, (const char *)p->b + i * p->stride_b * size,
                 (char *)p->c + i * p->stride_c * size);
}

static void product_operands(struct operation *call, const struct product *p);

/* What the tables point to is known when the call's turn has come. */
static void multiply_in_tables(void *payload, struct operation *call) {
  const struct product *p = payload;
  for (int i = 0; i < p->count; i++) {
    struct product one = *p;
    one.a = ((const void *const *)p->a)[i];
    one.b = ((const void *const *)p->b)[i];
    one.c = ((void *const *)p->c)[i];
    one.count = 1;
    one.in_tables = 0;
    struct operation *part = device_call(call->name, 0, multiply, &one, sizeof one);
    product_operands(part, &one);
    find_overlaps(part, 0);
    device_run(part);
    free(part);
  }
}

static int fits(const struct product *p) {
  int rows_a = p->transposed_a ? p->k : p->m, rows_b = p->transposed_b ? p->n : p->k;
  if (p->m < 0 || p->n < 0 || p->k < 0 || p->count < 0) return 0;
  if (p->transposed_a < 0 || p->transposed_a > 2 || p->transposed_b < 0 || p->transposed_b > 2) return 0;
  return p->lda >= rows_a && p->lda >= 1 && p->ldb >= rows_b && p->ldb >= 1 && p->ldc >= p->m && p->ldc >= 1;
}

static void table_operand(struct operation *call, const char *what, const void *at, int count) {
  const long dims[] = {count}, strides[] = {1};
  device_operand(call, what, at, DEVICE_READ, sizeof(void *), 1, dims, strides);
}

static void product_operands(struct operation *call, const struct product *p) {
  int reads = !vanishes(&p->alpha) && p->k, adds = !p->beta.at && p->beta.value != 0;
  factor_operand(call, "alpha", &p->alpha, p->scale_type);
  factor_operand(call, "beta", &p->beta, p->scale_type);
  if (p->in_tables) {
    table_operand(call, "the table of A", p->a, p->count);
    table_operand(call, "the table of B", p->b, p->count);
    table_operand(call, "the table of C", p->c, p->count);
    return;
  }
  if (reads) {
    int rows_a = p->transposed_a ? p->k : p->m, rows_b = p->transposed_b ? p->n : p->k;
    matrix_operand(call, "A", p->a, DEVICE_READ, p->type, rows_a, p->m + p->k - rows_a, p->lda, p->count, p->stride_a);
    matrix_operand(call, "B", p->b, DEVICE_READ, p->type, rows_b, p->n + p->k - rows_b, p->ldb, p->count, p->stride_b);
  }
  matrix_operand(call, "C", p->c, DEVICE_WRITE | (adds ? DEVICE_READ : 0), p->type, p->m, p->n, p->ldc, p->count,
                 p->stride_c);
}

static enum rounding rounding_of(handle_t handle, enum real type) {
  int math = handle->math & ~NO_REDUCED_PRECISION;
  if (type != FLOAT || math == PEDANTIC_MATH) return IN_FULL;
  if (math == TENSOR_OP_MATH) return TO_HALF;
  return handle->tf32 && (math == TF32_MATH || handle->tf32 == 1) ? TO_TF32 : IN_FULL;
}

static int queue_product(const char *name, handle_t handle, struct product p, enum real scale_type, const void *alpha,
                         const void *beta) {
  if (!handle) return NOT_INITIALIZED;
  if (!fits(&p) || !alpha || !beta) return INVALID_VALUE;
  if (!p.m || !p.n || !p.count) return OK;
  p.scale_type = scale_type;
  p.alpha = factor_of(handle, scale_type, alpha);
  p.beta = factor_of(handle, scale_type, beta);
  int reads = p.k && !vanishes(&p.alpha);
  if (!p.c || (reads && (!p.a || !p.b))) return INVALID_VALUE;
  if (!p.rounding) p.rounding = rounding_of(handle, p.type);
  double flop = 2. * p.m * p.n * p.k * p.count;
  struct operation *call = device_call(name, flop, p.in_tables ? multiply_in_tables : multiply, &p, sizeof p);
  product_operands(call, &p);
  return queued(handle->stream, call, 0) ? EXECUTION_FAILED : OK;
}

#define SIZES .transposed_a = ta, .transposed_b = tb, .m = m, .n = n, .k = k, .a = a, .lda = lda, .b = b, .ldb = ldb, \
  .c = c, .ldc = ldc

#define GEMM(name, real, TYPE) \
  int name(handle_t handle, int ta, int tb, int m, int n, int k, const real *alpha, const real *a, int lda, \
           const real *b, int ldb, const real *beta, real *c, int ldc) { \
    COUNT(); \
    return queue_product(#name, handle, (struct product){SIZES, .count = 1, .type = TYPE}, TYPE, alpha, beta); \
  }
GEMM(cublasSgemm_v2, float, FLOAT)
GEMM(cublasDgemm_v2, double, DOUBLE)

#define GEMM_BATCHED(name, real, TYPE) \
  int name(handle_t handle, int ta, int tb, int m, int n, int k, const real *alpha, const real *const *a, int lda, \
           const real *const *b, int ldb, const real *beta, real *const *c, int ldc, int count) { \
    COUNT(); \
    struct product p = {.transposed_a = ta, .transposed_b = tb, .m = m, .n = n, .k = k, .a = a, .lda = lda, .b = b, \
                        .ldb = ldb, .c = (void *)c, .ldc = ldc, .count = count, .in_tables = 1, .type = TYPE}; \
    return queue_product(#name, handle, p, TYPE, alpha, beta); \
  }
GEMM_BATCHED(cublasSgemmBatched, float, FLOAT)
GEMM_BATCHED(cublasDgemmBatched, double, DOUBLE)

#define GEMM_STRIDED(name, real, TYPE) \
  int name(handle_t handle, int ta, int tb, int m, int n, int k, const real *alpha, const real *a, int lda, \
           long long stride_a, const real *b, int ldb, long long stride_b, const real *beta, real *c, int ldc, \
           long long stride_c, int count) { \
    COUNT(); \
    struct product p = {SIZES, .stride_a = stride_a, .stride_b = stride_b, .stride_c = stride_c, .count = count, \
                        .type = TYPE}; \
    return queue_product(#name, handle, p, TYPE, alpha, beta); \
  }
GEMM_STRIDED(cublasSgemmStridedBatched, float, FLOAT)
GEMM_STRIDED(cublasDgemmStridedBatched, double, DOUBLE)
GEMM_STRIDED(cublasHgemmStridedBatched, _Float16, HALF)

/* Matrices of a type named beside them, which is the same for all three here; alpha and beta are float. */
int cublasSgemmEx(handle_t handle, int ta, int tb, int m, int n, int k, const float *alpha, const void *a, int type_a,
                  int lda, const void *b, int type_b, int ldb, const float *beta, void *c, int type_c, int ldc) {
  COUNT();
  if (type_a != type_b || type_a != type_c || (type_a != R_32F && type_a != R_16F)) return NOT_SUPPORTED;
  return queue_product(__func__, handle, (struct product){SIZES, .count = 1, .type = type_a}, FLOAT, alpha, beta);
}

int cublasGemmEx(handle_t handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int type_a,
                 int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int compute,
                 int algorithm) {
  COUNT();
  if (type_a != type_b || type_a != type_c || (type_a != R_32F && type_a != R_16F)) return NOT_SUPPORTED;
  struct product p = {SIZES, .count = 1, .type = type_a};
  if (compute == COMPUTE_32F_FAST_TF32 && type_a == R_32F && handle && handle->tf32) p.rounding = TO_TF32;
  else if (compute == COMPUTE_32F_FAST_16F && type_a == R_32F) p.rounding = TO_HALF;
  else if (compute != COMPUTE_32F && compute != COMPUTE_32F_PEDANTIC && compute != COMPUTE_32F_FAST_TF32
           && compute != COMPUTE_32F_FAST_16F)
    return NOT_SUPPORTED;
  return queue_product(__func__, handle, p, FLOAT, alpha, beta);
}
