/* Products with vectors: gemv, ger and dot. */
#include "cublas_handle.h"

/* A matrix and vectors, whose steps may be negative: they start at the other end then. */
struct matrix_and_vectors {
  int transposed, m, n, lda, step_x, step_y;
  const void *x;
  void *a, *y;
  enum real type;
  struct factor alpha, beta;
};

static long entry(int n, int step, int i) { return step < 0 ? (long)(i - n + 1) * step : (long)i * step; }

static void multiply_vector(void *payload, struct operation *call) {
  const struct matrix_and_vectors *g = payload;
  double alpha = value_of(&g->alpha, g->type), beta = value_of(&g->beta, g->type);
  int rows = g->transposed ? g->n : g->m, columns = g->transposed ? g->m : g->n;
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    for (int l = 0; l < columns && alpha != 0; l++) {
      size_t at = g->transposed ? l + (size_t)i * g->lda : i + (size_t)l * g->lda;
      sum += real_at(g->type, g->a, at) * real_at(g->type, g->x, entry(columns, g->step_x, l));
    }
    long at = entry(rows, g->step_y, i);
    set_real(g->type, g->y, at, alpha * sum + (beta != 0 ? beta * real_at(g->type, g->y, at) : 0));
  }
}

static int queue_gemv(const char *name, handle_t handle, struct matrix_and_vectors g, const void *alpha,
                      const void *beta) {
  if (!handle) return NOT_INITIALIZED;
  if (g.m < 0 || g.n < 0 || g.lda < g.m || g.lda < 1 || !g.step_x || !g.step_y || g.transposed < 0 || g.transposed > 2
      || !alpha || !beta)
    return INVALID_VALUE;
  if (!g.m || !g.n) return OK;
  if (!g.a || !g.x || !g.y) return INVALID_VALUE;
  g.alpha = factor_of(handle, g.type, alpha);
  g.beta = factor_of(handle, g.type, beta);
  int adds = !g.beta.at && g.beta.value != 0;
  struct operation *call = device_call(name, 2. * g.m * g.n, multiply_vector, &g, sizeof g);
  factor_operand(call, "alpha", &g.alpha, g.type);
  factor_operand(call, "beta", &g.beta, g.type);
  if (!vanishes(&g.alpha)) {
    matrix_operand(call, "A", g.a, DEVICE_READ, g.type, g.m, g.n, g.lda, 1, 0);
    vector_operand(call, "x", g.x, DEVICE_READ, g.type, g.transposed ? g.m : g.n, g.step_x);
  }
  vector_operand(call, "y", g.y, DEVICE_WRITE | (adds ? DEVICE_READ : 0), g.type, g.transposed ? g.n : g.m, g.step_y);
  return queued(handle->stream, call, 0) ? EXECUTION_FAILED : OK;
}

#define GEMV(name, real, TYPE) \
  int name(handle_t handle, int ta, int m, int n, const real *alpha, const real *a, int lda, const real *x, int step_x, \
           const real *beta, real *y, int step_y) { \
    COUNT(); \
    struct matrix_and_vectors g = {.transposed = ta, .m = m, .n = n, .lda = lda, .step_x = step_x, .step_y = step_y, \
                                   .a = (void *)a, .x = x, .y = y, .type = TYPE}; \
    return queue_gemv(#name, handle, g, alpha, beta); \
  }
GEMV(cublasSgemv_v2, float, FLOAT)
GEMV(cublasDgemv_v2, double, DOUBLE)

static void add_outer_product(void *payload, struct operation *call) {
  const struct matrix_and_vectors *g = payload;
  double alpha = value_of(&g->alpha, g->type);
  for (int j = 0; j < g->n; j++)
    for (int i = 0; i < g->m; i++) {
      size_t at = i + (size_t)j * g->lda;
      double x = real_at(g->type, g->x, entry(g->m, g->step_x, i)), y = real_at(g->type, g->y, entry(g->n, g->step_y, j));
      set_real(g->type, g->a, at, real_at(g->type, g->a, at) + alpha * x * y);
    }
}

static int queue_ger(const char *name, handle_t handle, struct matrix_and_vectors g, const void *alpha) {
  if (!handle) return NOT_INITIALIZED;
  if (g.m < 0 || g.n < 0 || g.lda < g.m || g.lda < 1 || !g.step_x || !g.step_y || !alpha) return INVALID_VALUE;
  if (!g.m || !g.n) return OK;
  if (!g.a || !g.x || !g.y) return INVALID_VALUE;
  g.alpha = factor_of(handle, g.type, alpha);
  if (vanishes(&g.alpha)) return OK;
  struct operation *call = device_call(name, 2. * g.m * g.n, add_outer_product, &g, sizeof g);
  factor_operand(call, "alpha", &g.alpha, g.type);
  vector_operand(call, "x", g.x, DEVICE_READ, g.type, g.m, g.step_x);
  vector_operand(call, "y", g.y, DEVICE_READ, g.type, g.n, g.step_y);
  matrix_operand(call, "A", g.a, DEVICE_READ | DEVICE_WRITE, g.type, g.m, g.n, g.lda, 1, 0);
  return queued(handle->stream, call, 0) ? EXECUTION_FAILED : OK;
}

#define GER(name, real, TYPE) \
  int name(handle_t handle, int m, int n, const real *alpha, const real *x, int step_x, const real *y, int step_y, \
           real *a, int lda) { \
    COUNT(); \
    struct matrix_and_vectors g = {.m = m, .n = n, .lda = lda, .step_x = step_x, .step_y = step_y, .a = a, .x = x, \
                                   .y = (void *)y, .type = TYPE}; \
    return queue_ger(#name, handle, g, alpha); \
  }
GER(cublasSger_v2, float, FLOAT)
GER(cublasDger_v2, double, DOUBLE)

struct dot {
  int n, step_x, step_y;
  const void *x, *y;
  void *result;
  enum real type;
};

static void sum_products(void *payload, struct operation *call) {
  const struct dot *d = payload;
  double sum = 0;
  for (int i = 0; i < d->n; i++)
    sum += real_at(d->type, d->x, entry(d->n, d->step_x, i)) * real_at(d->type, d->y, entry(d->n, d->step_y, i));
  set_real(d->type, d->result, 0, sum);
}

static int queue_dot(const char *name, handle_t handle, struct dot d) {
  if (!handle) return NOT_INITIALIZED;
  if (!d.result || (d.n > 0 && (!d.x || !d.y))) return INVALID_VALUE;
  int waits = handle->pointers == HOST_POINTERS;
  if (waits && device_admits(handle->stream, 1)) return EXECUTION_FAILED;
  struct operation *call = device_call(name, 2. * (d.n > 0 ? d.n : 0), sum_products, &d, sizeof d);
  if (d.n > 0) {
    vector_operand(call, "x", d.x, DEVICE_READ, d.type, d.step_x ? d.n : 1, d.step_x);
    vector_operand(call, "y", d.y, DEVICE_READ, d.type, d.step_y ? d.n : 1, d.step_y);
  }
  if (!waits) device_operand(call, "the result", d.result, DEVICE_WRITE, real_size(d.type), 0, NULL, NULL);
  if (queued(handle->stream, call, 0)) return EXECUTION_FAILED;
  if (waits) device_synchronize(handle->stream);
  return OK;
}

#define DOT(name, real, TYPE) \
  int name(handle_t handle, int n, const real *x, int step_x, const real *y, int step_y, real *result) { \
    COUNT(); \
    struct dot d = {.n = n, .step_x = step_x, .step_y = step_y, .x = x, .y = y, .result = result, .type = TYPE}; \
    return queue_dot(#name, handle, d); \
  }
DOT(cublasSdot_v2, float, FLOAT)
DOT(cublasDdot_v2, double, DOUBLE)
