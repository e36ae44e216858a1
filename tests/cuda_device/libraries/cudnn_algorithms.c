/* Which algorithm a convolution takes. The heuristics offer algorithm 1 first and then 0, which needs no workspace; a search
   runs and so overwrites its result and its workspace.

   TEST_DEVICE_WORKSPACE (4096): the bytes that algorithm 1 asks for. TEST_DEVICE_REFUSE: an algorithm that is offered and
   then refuses to run. */
#include "cudnn_convolution.h"

size_t workspace_of(int algorithm) {
  const char *text = getenv("TEST_DEVICE_WORKSPACE");
  return algorithm == 1 ? (text ? strtoull(text, NULL, 10) : 4096) : 0;
}

static int refused(int algorithm) {
  const char *text = getenv("TEST_DEVICE_REFUSE");
  return text && atoi(text) == algorithm;
}

cudnnStatus_t agree(FORWARD) {
  int dims[CUDNN_DIM_MAX];
  if (!x || !w || !c || !y || x->type != w->type || x->type != y->type || y->n != x->n) return BAD;
  if (cudnnGetConvolutionNdForwardOutputDim(c, x, w, x->n, dims) || w->dims[0] % c->groups) return BAD;
  if (memcmp(dims, y->dims, y->n * sizeof *dims)) return BAD;
  int computes = c->type == x->type || (x->type == CUDNN_DATA_HALF && c->type == CUDNN_DATA_FLOAT);
  if (x->n != 4 || !is_real(x->type) || !computes || has_negative_stride(x) || has_negative_stride(y)) return UNSUPPORTED;
  return OK;
}

cudnnStatus_t admitted(FORWARD, int algorithm, const void *workspace, size_t size) {
  static struct counter *by_math[4], *by_algorithm[8];
  static const char *math[] = {"math_default", "math_tensor", "math_conversion", "math_fma"};
  static const char *algorithms[] = {"algorithm_0", "algorithm_1", "algorithm_2", "algorithm_3", "algorithm_4",
                                     "algorithm_5", "algorithm_6", "algorithm_7"};
  cudnnStatus_t status = agree(x, w, c, y);
  if (status) return status;
  if (algorithm < 0 || algorithm > 7) return BAD;
  if (refused(algorithm)) return UNSUPPORTED;
  if (size < workspace_of(algorithm) || (workspace_of(algorithm) && !workspace)) return BAD;
  if (!by_math[c->math]) by_math[c->math] = counter(math[c->math]);
  if (!by_algorithm[algorithm]) by_algorithm[algorithm] = counter(algorithms[algorithm]);
  by_math[c->math]->count++;
  by_algorithm[algorithm]->count++;
  return OK;
}

#define CHOOSE(Name, Short, OPERANDS) \
  cudnnStatus_t cudnnGetConvolution##Name##Algorithm_v7(cudnnHandle_t handle, OPERANDS, int room, int *n, \
                                                        cudnnConvolution##Short##AlgoPerf_t *found) { \
    COUNT(); \
    if (!handle || room < 1 || !n || !found) return BAD; \
    cudnnStatus_t status = agree(x, w, c, y); \
    if (status) return status; \
    memset(found, 0, room * sizeof *found); \
    for (*n = 0; *n < 2 && *n < room; ++*n) { \
      found[*n].algo = 1 - *n; \
      found[*n].memory = workspace_of(1 - *n); \
      found[*n].determinism = *n == 0; \
      found[*n].mathType = c->math; \
    } \
    return OK; \
  } \
  cudnnStatus_t cudnnGetConvolution##Name##Algorithm(cudnnHandle_t handle, OPERANDS, int preference, size_t limit, \
                                                     cudnnConvolution##Short##Algo_t *algorithm) { \
    COUNT(); \
    *algorithm = workspace_of(1) <= limit; \
    return agree(x, w, c, y); \
  } \
  cudnnStatus_t cudnnGetConvolution##Name##WorkspaceSize(cudnnHandle_t handle, OPERANDS, \
                                                         cudnnConvolution##Short##Algo_t algorithm, size_t *size) { \
    if (!handle || !size) return BAD; \
    *size = workspace_of(algorithm); \
    return agree(x, w, c, y); \
  }
CHOOSE(Forward, Fwd, FORWARD)
CHOOSE(BackwardData, BwdData, BACKWARD_DATA)
CHOOSE(BackwardFilter, BwdFilter, BACKWARD_FILTER)

/* What a search leaves in the result: NaN, as nobody may count on it. */
struct search {
  struct tensor result;
  void *out;
};

static void overwrite(void *payload, struct operation *call) {
  const struct search *s = payload;
  double *numbers = numbers_of(&s->result, s->out, &s->result, IN_FULL);
  for (size_t i = 0; i < elements(&s->result); i++) numbers[i] = 0.0 / 0.0;
  store_numbers(&s->result, s->out, numbers, 1, 0);
  free(numbers);
}

static cudnnStatus_t search(const char *name, cudnnHandle_t handle, struct tensor result, void *out, void *workspace,
                            size_t size) {
  if (device_admits(handle->stream, 1)) return FAILED;
  struct search s = {result, out};
  struct operation *call = device_call(name, 0, overwrite, &s, sizeof s);
  tensor_operand(call, "the result", &result, out, DEVICE_WRITE);
  if (queued(handle->stream, call, 0)) return FAILED;
  if (workspace && size) device_enqueue(handle->stream, device_fill(name, workspace, 0xff, 1, size));
  device_synchronize(handle->stream);
  return OK;
}

#define SEARCH_FOR(Name, Short, A, B, C, image, weights, top, RESULT) \
  cudnnStatus_t cudnnFindConvolution##Name##AlgorithmEx( \
      cudnnHandle_t handle, A a, const void *p, B b, const void *q, cudnnConvolutionDescriptor_t c, C d, void *out, \
      int room, int *n, cudnnConvolution##Short##AlgoPerf_t *found, void *workspace, size_t size) { \
    COUNT(); \
    if (!handle || !p || !q || !out || room < 1 || !n || !found || (size && !workspace)) return BAD; \
    cudnnStatus_t status = agree(image, weights, c, top); \
    if (status) return status; \
    memset(found, 0, room * sizeof *found); \
    found[0].algo = workspace_of(1) <= size; \
    found[0].memory = workspace_of(found[0].algo); \
    found[0].mathType = c->math; \
    *n = 1; \
    return search(__func__, handle, RESULT, out, workspace, found[0].memory); \
  }
SEARCH_FOR(Forward, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, a, b, d, *d)
SEARCH_FOR(BackwardData, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, d, a, b, *d)
SEARCH_FOR(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, a, d, b,
           filter_tensor(d))
