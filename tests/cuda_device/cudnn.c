/* A cuDNN 9 that checks shapes, counts convolutions by their math type and algorithm, and computes them in the host's
   memory when it is told to (slowly). Tests only.

   Its heuristics offer algorithm 1 first and then 0, which needs no workspace. TEST_DEVICE_WORKSPACE (4096): the bytes that
   algorithm 1 asks for. TEST_DEVICE_REFUSE: an algorithm that is offered and then refuses to run. TEST_DEVICE_COMPUTE: compute
   from the start. */
#include "counters.h"
#include "device.h"
#include "include/cudnn.h"

#define OK CUDNN_STATUS_SUCCESS
#define BAD CUDNN_STATUS_BAD_PARAM
#define UNSUPPORTED CUDNN_STATUS_NOT_SUPPORTED

struct handle { void *stream; };
struct tensor { int n, dims[8], strides[8]; };
struct filter { int n, dims[8]; };
struct convolution { int n, padding[3], stride[3], dilation[3], groups; cudnnConvolutionMode_t mode; cudnnMathType_t math; };
struct activation { cudnnActivationMode_t mode; };
struct reduction { cudnnReduceTensorOp_t op; };

static int computing = -1, streams;

void device_compute(int on) { computing = on; }

static int computes(void) {
  if (computing < 0) computing = getenv("TEST_DEVICE_COMPUTE") != NULL;
  if (computing) device_finish();
  return computing;
}

/* How many handles were given a stream other than the legacy one. */
int device_streams(void) { return streams; }

static size_t workspace_of(int algorithm) {
  const char *text = getenv("TEST_DEVICE_WORKSPACE");
  return algorithm == 1 ? (text ? strtoull(text, NULL, 10) : 4096) : 0;
}

static int refused(int algorithm) {
  const char *text = getenv("TEST_DEVICE_REFUSE");
  return text && atoi(text) == algorithm;
}

size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
size_t cudnnGetCudartVersion(void) { return CUDA_MAJOR * 1000; }

const char *cudnnGetErrorString(cudnnStatus_t status) {
  return status == OK ? "CUDNN_STATUS_SUCCESS" : status == BAD ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_NOT_SUPPORTED";
}

#define CREATED(what) ((*(what) = calloc(1, sizeof **(what))) ? OK : BAD)

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) { return CREATED(handle); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { free(handle); return OK; }

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, void *stream) {
  handle->stream = stream;
  streams += stream != NULL;
  return OK;
}

/* Living descriptors, so that a test sees a leak. */
static long living;
long device_descriptors(void) { return living; }

#define DESCRIPTOR(Name) \
  cudnnStatus_t cudnnCreate##Name##Descriptor(cudnn##Name##Descriptor_t *d) { COUNT(); living++; return CREATED(d); } \
  cudnnStatus_t cudnnDestroy##Name##Descriptor(cudnn##Name##Descriptor_t d) { living--; free(d); return OK; }
DESCRIPTOR(Tensor)
DESCRIPTOR(Filter)
DESCRIPTOR(Convolution)
DESCRIPTOR(Activation)
DESCRIPTOR(ReduceTensor)

static void copied(int *to, const int *from, int n) { memcpy(to, from, n * sizeof *to); }

cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t t, cudnnDataType_t type, int n, const int *dims,
                                         const int *strides) {
  if (type != CUDNN_DATA_FLOAT || n > 8) return UNSUPPORTED;
  t->n = n;
  copied(t->dims, dims, n);
  copied(t->strides, strides, n);
  return OK;
}

cudnnStatus_t cudnnGetTensorNdDescriptor(cudnnTensorDescriptor_t t, int room, cudnnDataType_t *type, int *n, int *dims,
                                         int *strides) {
  *type = CUDNN_DATA_FLOAT;
  *n = t->n;
  copied(dims, t->dims, t->n);
  copied(strides, t->strides, t->n);
  return OK;
}

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t t, cudnnDataType_t type, int n, int c, int h, int w,
                                           int n_stride, int c_stride, int h_stride, int w_stride) {
  int dims[] = {n, c, h, w}, strides[] = {n_stride, c_stride, h_stride, w_stride};
  for (int i = 0; i < 4; i++)
    if (dims[i] < 1) return BAD;
  return cudnnSetTensorNdDescriptor(t, type, 4, dims, strides);
}

cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int n, const int *dims) {
  if (type != CUDNN_DATA_FLOAT || format != CUDNN_TENSOR_NCHW || n > 8) return UNSUPPORTED;
  f->n = n;
  copied(f->dims, dims, n);
  return OK;
}

cudnnStatus_t cudnnGetFilterNdDescriptor(cudnnFilterDescriptor_t f, int room, cudnnDataType_t *type,
                                         cudnnTensorFormat_t *format, int *n, int *dims) {
  *type = CUDNN_DATA_FLOAT;
  *format = CUDNN_TENSOR_NCHW;
  *n = f->n;
  copied(dims, f->dims, f->n);
  return OK;
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int o, int c, int h, int w) {
  int dims[] = {o, c, h, w};
  return cudnnSetFilterNdDescriptor(f, type, format, 4, dims);
}

cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int n, const int *padding,
                                              const int *stride, const int *dilation, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t type) {
  if (type != CUDNN_DATA_FLOAT || n != 2) return UNSUPPORTED;
  c->n = n;
  copied(c->padding, padding, n);
  copied(c->stride, stride, n);
  copied(c->dilation, dilation, n);
  c->mode = mode;
  c->groups = 1;
  return OK;
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t c, int ph, int pw, int sh, int sw, int dh,
                                              int dw, cudnnConvolutionMode_t mode, cudnnDataType_t type) {
  int padding[] = {ph, pw}, stride[] = {sh, sw}, dilation[] = {dh, dw};
  return cudnnSetConvolutionNdDescriptor(c, 2, padding, stride, dilation, mode, type);
}

cudnnStatus_t cudnnGetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int room, int *n, int *padding,
                                              int *stride, int *dilation, cudnnConvolutionMode_t *mode,
                                              cudnnDataType_t *type) {
  *n = c->n;
  copied(padding, c->padding, c->n);
  copied(stride, c->stride, c->n);
  copied(dilation, c->dilation, c->n);
  *mode = c->mode;
  *type = CUDNN_DATA_FLOAT;
  return OK;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int groups) { c->groups = groups; return OK; }
cudnnStatus_t cudnnGetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int *groups) { *groups = c->groups; return OK; }
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math) { c->math = math; return OK; }

cudnnStatus_t cudnnGetConvolutionNdForwardOutputDim(cudnnConvolutionDescriptor_t c, cudnnTensorDescriptor_t x,
                                                    cudnnFilterDescriptor_t w, int n, int *dims) {
  dims[0] = x->dims[0];
  dims[1] = w->dims[0];
  for (int i = 0; i < n - 2; i++) {
    int span = (w->dims[i + 2] - 1) * c->dilation[i] + 1;
    dims[i + 2] = 1 + (x->dims[i + 2] + 2 * c->padding[i] - span) / c->stride[i];
  }
  return OK;
}

cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t a, cudnnActivationMode_t mode,
                                           cudnnNanPropagation_t nan, double coefficient) {
  a->mode = mode;
  return OK;
}

/* Whether image, weights and top belong together. */
static int fits(FORWARD) {
  int dims[8];
  if (x->n != 4 || w->n != 4 || y->n != 4) return 0;
  if (x->dims[1] != w->dims[1] * c->groups || w->dims[0] % c->groups) return 0;
  cudnnGetConvolutionNdForwardOutputDim(c, x, w, 4, dims);
  return !memcmp(dims, y->dims, 4 * sizeof *dims);
}

#define CHOOSE(Name, Short, OPERANDS) \
  cudnnStatus_t cudnnGetConvolution##Name##Algorithm_v7(cudnnHandle_t handle, OPERANDS, int room, int *n, \
                                                        cudnnConvolution##Short##AlgoPerf_t *found) { \
    COUNT(); \
    if (!fits(x, w, c, y)) return BAD; \
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
    return fits(x, w, c, y) ? OK : BAD; \
  } \
  cudnnStatus_t cudnnGetConvolution##Name##WorkspaceSize(cudnnHandle_t handle, OPERANDS, \
                                                         cudnnConvolution##Short##Algo_t algorithm, size_t *size) { \
    *size = workspace_of(algorithm); \
    return OK; \
  }
CHOOSE(Forward, Fwd, FORWARD)
CHOOSE(BackwardData, BwdData, BACKWARD_DATA)
CHOOSE(BackwardFilter, BwdFilter, BACKWARD_FILTER)

#define SEARCHING(Name, Short, A, B, C, image, weights, top) \
  cudnnStatus_t cudnnFindConvolution##Name##AlgorithmEx( \
      cudnnHandle_t handle, A a, const void *p, B b, const void *q, cudnnConvolutionDescriptor_t c, C d, void *out, \
      int room, int *n, cudnnConvolution##Short##AlgoPerf_t *found, void *workspace, size_t size) { \
    COUNT(); \
    if (!fits(image, weights, c, top)) return BAD; \
    memset(found, 0, room * sizeof *found); \
    found[0].algo = workspace_of(1) <= size; \
    found[0].memory = workspace_of(found[0].algo); \
    found[0].mathType = c->math; \
    *n = 1; \
    return OK; \
  }
SEARCHING(Forward, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, a, b, d)
SEARCHING(BackwardData, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, d, a, b)
SEARCHING(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, a, d, b)

/* The sum over every product that a convolution forms: image, weights and top take turns as its result. */
enum result { IMAGE, WEIGHTS, TOP };

static void convolve(enum result result, const struct tensor *x, float *image, const struct filter *w, float *weights,
                     const struct convolution *c, const struct tensor *y, float *top, float alpha) {
  int per = w->dims[0] / c->groups, kh = w->dims[2], kw = w->dims[3];
  for (int n = 0; n < y->dims[0]; n++)
    for (int o = 0; o < w->dims[0]; o++)
      for (int p = 0; p < y->dims[2]; p++)
        for (int q = 0; q < y->dims[3]; q++)
          for (int i = 0; i < w->dims[1]; i++)
            for (int r = 0; r < kh; r++)
              for (int s = 0; s < kw; s++) {
                int h = p * c->stride[0] - c->padding[0] + r * c->dilation[0];
                int v = q * c->stride[1] - c->padding[1] + s * c->dilation[1];
                if (h < 0 || h >= x->dims[2] || v < 0 || v >= x->dims[3]) continue;
                int flip = c->mode == CUDNN_CONVOLUTION;
                float *a = image + n * x->strides[0] + (o / per * w->dims[1] + i) * x->strides[1] + h * x->strides[2]
                           + v * x->strides[3];
                float *b = weights + ((o * w->dims[1] + i) * kh + (flip ? kh - 1 - r : r)) * kw
                           + (flip ? kw - 1 - s : s);
                float *t = top + n * y->strides[0] + o * y->strides[1] + p * y->strides[2] + q * y->strides[3];
                if (result == TOP) *t += alpha * *a * *b;
                if (result == IMAGE) *a += alpha * *t * *b;
                if (result == WEIGHTS) *b += alpha * *a * *t;
              }
}

static void scale_tensor(const struct tensor *t, float *data, float beta) {
  for (int n = 0; n < t->dims[0]; n++)
    for (int c = 0; c < t->dims[1]; c++)
      for (int h = 0; h < t->dims[2]; h++)
        for (int w = 0; w < t->dims[3]; w++) {
          float *one = data + n * t->strides[0] + c * t->strides[1] + h * t->strides[2] + w * t->strides[3];
          *one = beta ? beta * *one : 0;
        }
}

/* What every convolution is held to; counts its math type and its algorithm. */
static cudnnStatus_t checked(FORWARD, int algorithm, void *workspace, size_t size) {
  static struct counter *by_math[4], *by_algorithm[8];
  static const char *math[] = {"math_default", "math_tensor", "math_conversion", "math_fma"};
  static const char *algorithms[] = {"algorithm_0", "algorithm_1", "algorithm_2", "algorithm_3", "algorithm_4",
                                     "algorithm_5", "algorithm_6", "algorithm_7"};
  if (!fits(x, w, c, y)) return BAD;
  if (refused(algorithm)) return UNSUPPORTED;
  if (size < workspace_of(algorithm) || (size && !workspace)) return BAD;
  if (!by_math[c->math]) by_math[c->math] = counter(math[c->math]);
  if (!by_algorithm[algorithm]) by_algorithm[algorithm] = counter(algorithms[algorithm]);
  by_math[c->math]->count++;
  by_algorithm[algorithm]->count++;
  return OK;
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                      const void *image, cudnnFilterDescriptor_t w, const void *weights,
                                      cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm,
                                      void *workspace, size_t size, const void *beta, cudnnTensorDescriptor_t y,
                                      void *top) {
  cudnnStatus_t status = checked(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  COUNT();
  if (computes()) {
    scale_tensor(y, top, *(const float *)beta);
    convolve(TOP, x, (float *)image, w, (float *)weights, c, y, top, *(const float *)alpha);
  }
  return OK;
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, cudnnFilterDescriptor_t w,
                                           const void *weights, cudnnTensorDescriptor_t y, const void *top,
                                           cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t algorithm,
                                           void *workspace, size_t size, const void *beta, cudnnTensorDescriptor_t x,
                                           void *image) {
  cudnnStatus_t status = checked(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  COUNT();
  if (computes()) {
    scale_tensor(x, image, *(const float *)beta);
    convolve(IMAGE, x, image, w, (float *)weights, c, y, (float *)top, *(const float *)alpha);
  }
  return OK;
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                             const void *image, cudnnTensorDescriptor_t y, const void *top,
                                             cudnnConvolutionDescriptor_t c,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void *workspace, size_t size,
                                             const void *beta, cudnnFilterDescriptor_t w, void *weights) {
  cudnnStatus_t status = checked(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  COUNT();
  if (computes()) {
    size_t n = (size_t)w->dims[0] * w->dims[1] * w->dims[2] * w->dims[3];
    for (size_t i = 0; i < n; i++) ((float *)weights)[i] *= *(const float *)beta;
    if (*(const float *)beta == 0) memset(weights, 0, n * sizeof(float));
    convolve(WEIGHTS, x, (float *)image, w, weights, c, y, (float *)top, *(const float *)alpha);
  }
  return OK;
}

cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t y,
                                           const void *top, const void *beta, cudnnTensorDescriptor_t b, void *bias) {
  if (b->dims[0] != 1 || b->dims[1] != y->dims[1] || b->dims[2] != 1 || b->dims[3] != 1) return BAD;
  COUNT();
  if (computes()) {
    scale_tensor(b, bias, *(const float *)beta);
    for (int n = 0; n < y->dims[0]; n++)
      for (int c = 0; c < y->dims[1]; c++)
        for (int h = 0; h < y->dims[2]; h++)
          for (int w = 0; w < y->dims[3]; w++)
            ((float *)bias)[c * b->strides[1]] +=
                *(const float *)alpha * ((const float *)top)[n * y->strides[0] + c * y->strides[1]
                                                             + h * y->strides[2] + w * y->strides[3]];
  }
  return OK;
}

cudnnStatus_t cudnnConvolutionBiasActivationForward(
    cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x, const void *image, cudnnFilterDescriptor_t w,
    const void *weights, cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm, void *workspace,
    size_t size, const void *beta, cudnnTensorDescriptor_t z, const void *addend, cudnnTensorDescriptor_t b,
    const void *bias, cudnnActivationDescriptor_t a, cudnnTensorDescriptor_t y, void *top) {
  cudnnStatus_t status = checked(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  if (a->mode == CUDNN_ACTIVATION_IDENTITY && algorithm != 1) return UNSUPPORTED;
  if (a->mode != CUDNN_ACTIVATION_IDENTITY && a->mode != CUDNN_ACTIVATION_RELU) return UNSUPPORTED;
  if (*(const float *)beta || b->dims[1] != y->dims[1]) return BAD;
  COUNT();
  if (computes()) {
    scale_tensor(y, top, 0);
    convolve(TOP, x, (float *)image, w, (float *)weights, c, y, top, *(const float *)alpha);
    for (int n = 0; n < y->dims[0]; n++)
      for (int o = 0; o < y->dims[1]; o++)
        for (int h = 0; h < y->dims[2]; h++)
          for (int v = 0; v < y->dims[3]; v++) {
            float *one = (float *)top + n * y->strides[0] + o * y->strides[1] + h * y->strides[2] + v * y->strides[3];
            *one += ((const float *)bias)[o * b->strides[1]];
            if (a->mode == CUDNN_ACTIVATION_RELU && *one < 0) *one = 0;
          }
  }
  return OK;
}

cudnnStatus_t cudnnSetReduceTensorDescriptor(cudnnReduceTensorDescriptor_t r, cudnnReduceTensorOp_t op,
                                             cudnnDataType_t type, cudnnNanPropagation_t nan,
                                             cudnnReduceTensorIndices_t indices, cudnnIndicesType_t index) {
  r->op = op;
  return OK;
}

cudnnStatus_t cudnnGetReductionWorkspaceSize(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r,
                                             cudnnTensorDescriptor_t a, cudnnTensorDescriptor_t c, size_t *size) {
  *size = 4096;
  return OK;
}

cudnnStatus_t cudnnReduceTensor(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r, void *indices,
                                size_t indices_size, void *workspace, size_t size, const void *alpha,
                                cudnnTensorDescriptor_t a, const void *from, const void *beta,
                                cudnnTensorDescriptor_t c, void *to) {
  COUNT();
  return OK;
}
