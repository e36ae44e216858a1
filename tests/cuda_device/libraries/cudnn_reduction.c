/* A tensor summed, or otherwise reduced, along the axes of which the result has a single entry. */
#include "cudnn_tensors.h"
#include "products.h"
#include <math.h>

enum { WORKSPACE = 4096 };

struct reduction {
  cudnnReduceTensorOp_t op;
  cudnnDataType_t type;
  cudnnNanPropagation_t nan;
  cudnnReduceTensorIndices_t indices;
  cudnnIndicesType_t index;
};

DESCRIPTOR(ReduceTensor)

cudnnStatus_t cudnnSetReduceTensorDescriptor(cudnnReduceTensorDescriptor_t r, cudnnReduceTensorOp_t op,
                                             cudnnDataType_t type, cudnnNanPropagation_t nan,
                                             cudnnReduceTensorIndices_t indices, cudnnIndicesType_t index) {
  if (!r || (int)op < 0 || op > CUDNN_REDUCE_TENSOR_MUL_NO_ZEROS || (int)type < 0 || !is_real(type)) return BAD;
  if ((int)nan < 0 || nan > CUDNN_PROPAGATE_NAN || (int)indices < 0 || indices > CUDNN_REDUCE_TENSOR_FLATTENED_INDICES)
    return BAD;
  if ((int)index < 0 || index > CUDNN_8BIT_INDICES) return BAD;
  *r = (struct reduction){op, type, nan, indices, index};
  return OK;
}

cudnnStatus_t cudnnGetReductionWorkspaceSize(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r,
                                             cudnnTensorDescriptor_t a, cudnnTensorDescriptor_t c, size_t *size) {
  if (!handle || !r || !a || !c || !size) return BAD;
  *size = WORKSPACE;
  return OK;
}

static int finds_place(const struct reduction *r) {
  int extreme = r->op == CUDNN_REDUCE_TENSOR_MIN || r->op == CUDNN_REDUCE_TENSOR_MAX || r->op == CUDNN_REDUCE_TENSOR_AMAX;
  return extreme && r->indices == CUDNN_REDUCE_TENSOR_FLATTENED_INDICES;
}

cudnnStatus_t cudnnGetReductionIndicesSize(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r,
                                           cudnnTensorDescriptor_t a, cudnnTensorDescriptor_t c, size_t *size) {
  if (!handle || !r || !a || !c || !size) return BAD;
  *size = finds_place(r) ? elements(c) * sizeof(uint32_t) : 0;
  return OK;
}

/* The result's entry to which the next number of `a` belongs, row by row. */
struct place { const struct tensor *a; long strides[CUDNN_DIM_MAX], at; int index[CUDNN_DIM_MAX]; };

static struct place first_place(const struct tensor *a, const struct tensor *c) {
  struct place p = {.a = a};
  struct tensor packed = packed_tensor(c->type, c->n, c->dims);
  for (int i = 0; i < a->n; i++) p.strides[i] = c->dims[i] == 1 ? 0 : packed.strides[i];
  return p;
}

static void next_place(struct place *p) {
  for (int i = p->a->n - 1; i >= 0; i--) {
    p->at += p->strides[i];
    if (++p->index[i] < p->a->dims[i]) return;
    p->at -= p->strides[i] * p->a->dims[i];
    p->index[i] = 0;
  }
}

struct call {
  struct reduction r;
  struct tensor a, c;
  const void *from;
  void *to, *workspace;
  uint32_t *places;
  double alpha, beta;
};

/* What one more number makes of a result; `first` if it is the first. */
static double reduced(const struct reduction *r, double so_far, double x, int first) {
  if (r->op == CUDNN_REDUCE_TENSOR_AMAX) x = fabs(x);
  switch (r->op) {
  case CUDNN_REDUCE_TENSOR_MUL: return first ? x : so_far * x;
  case CUDNN_REDUCE_TENSOR_MUL_NO_ZEROS: return (first ? 1 : so_far) * (x == 0 ? 1 : x);
  case CUDNN_REDUCE_TENSOR_NORM1: return so_far + fabs(x);
  case CUDNN_REDUCE_TENSOR_NORM2: return so_far + x * x;
  case CUDNN_REDUCE_TENSOR_ADD: case CUDNN_REDUCE_TENSOR_AVG: return so_far + x;
  default:
    if (first) return x;
    if (isnan(x) || isnan(so_far)) return r->nan == CUDNN_PROPAGATE_NAN ? NAN : isnan(x) ? so_far : x;
    return (r->op == CUDNN_REDUCE_TENSOR_MIN ? x < so_far : x > so_far) ? x : so_far;
  }
}

static void reduce(void *payload, struct operation *call) {
  const struct call *c = payload;
  size_t n = elements(&c->c), count = elements(&c->a) / n;
  double *a = numbers_of(&c->a, c->from, &c->a, IN_FULL), *results = new_numbers(n);
  size_t *seen = calloc(n, sizeof *seen);
  if (!seen) abort();
  struct place p = first_place(&c->a, &c->c);
  for (size_t i = 0; i < elements(&c->a); i++, next_place(&p)) {
    double before = results[p.at];
    results[p.at] = reduced(&c->r, before, a[i], !seen[p.at]);
    if (c->places && (!seen[p.at] || results[p.at] != before)) c->places[p.at] = seen[p.at];
    seen[p.at]++;
  }
  for (size_t i = 0; i < n; i++) {
    if (c->r.op == CUDNN_REDUCE_TENSOR_AVG) results[i] /= count;
    if (c->r.op == CUDNN_REDUCE_TENSOR_NORM2) results[i] = sqrt(results[i]);
  }
  memset(c->workspace, 0xff, WORKSPACE);
  store_numbers(&c->c, c->to, results, c->alpha, c->beta);
  free(a);
  free(results);
  free(seen);
}

/* Indices, if asked for, are those of 32 bits along the reduced axes. */
cudnnStatus_t cudnnReduceTensor(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r, void *indices,
                                size_t indices_size, void *workspace, size_t size, const void *alpha,
                                cudnnTensorDescriptor_t a, const void *from, const void *beta,
                                cudnnTensorDescriptor_t c, void *to) {
  if (!handle || !r || !alpha || !a || !from || !beta || !c || !to || a->n <= 2) return BAD;
  if (!broadcasts(c, a) || same_dims(a, c) || a->type != c->type || size < WORKSPACE || !workspace) return BAD;
  if (finds_place(r) && (!indices || indices_size < elements(c) * sizeof(uint32_t))) return BAD;
  if (!is_real(a->type) || (finds_place(r) && r->index != CUDNN_32BIT_INDICES)) return UNSUPPORTED;
  COUNT();
  struct call given = {*r, *a, *c, from, to, workspace, finds_place(r) ? indices : NULL, factor_value(a->type, alpha),
                       factor_value(a->type, beta)};
  struct operation *call = device_call(__func__, elements(a), reduce, &given, sizeof given);
  tensor_operand(call, "a", a, from, DEVICE_READ);
  result_operand(call, "c", c, to, given.beta);
  const long bytes[] = {WORKSPACE}, n[] = {(long)elements(c)}, one[] = {1};
  device_operand(call, "the workspace", workspace, DEVICE_WRITE, 1, 1, bytes, one);
  device_operand(call, "the indices", given.places, DEVICE_WRITE, sizeof(uint32_t), 1, n, one);
  return queued(handle->stream, call, 0) ? FAILED : OK;
}
