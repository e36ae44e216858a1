/* Handles and tensors' descriptors. */
#include "cudnn_tensors.h"
#include "products.h"
#include <limits.h>

static int streams;

/* How many handles were given a stream other than the legacy one. */
int device_streams(void) { return streams; }

long living_descriptors;
long device_descriptors(void) { return living_descriptors; }

size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
size_t cudnnGetCudartVersion(void) { return CUDA_MAJOR * 1000; }

const char *cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
  case OK: return "CUDNN_STATUS_SUCCESS";
  case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
  case FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
  case BAD: return "CUDNN_STATUS_BAD_PARAM";
  default: return "CUDNN_STATUS_NOT_SUPPORTED";
  }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  if (!handle) return BAD;
  if (!(*handle = calloc(1, sizeof **handle))) return CUDNN_STATUS_NOT_INITIALIZED;
  (*handle)->tf32 = tf32_override();
  return OK;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  free(handle);
  return OK;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, void *stream) {
  if (!handle) return BAD;
  handle->stream = stream;
  streams += stream != NULL;
  return OK;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, void **stream) {
  if (!handle || !stream) return BAD;
  *stream = handle->stream;
  return OK;
}

DESCRIPTOR(Tensor)

cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t t, cudnnDataType_t type, int n, const int *dims,
                                         const int *strides) {
  if (!t || !dims || !strides || (int)type < 0 || type > CUDNN_DATA_LAST || n < 2) return BAD;
  if (n > CUDNN_DIM_MAX) return UNSUPPORTED;
  long long extent = 1;
  for (int i = 0; i < n; i++) {
    if (dims[i] < 1 || (!strides[i] && dims[i] > 1)) return BAD;
    extent += (dims[i] - 1ll) * (strides[i] < 0 ? -(long long)strides[i] : strides[i]);
  }
  if (extent > INT_MAX) return UNSUPPORTED;
  *t = (struct tensor){.type = type, .n = n};
  memcpy(t->dims, dims, n * sizeof *dims);
  memcpy(t->strides, strides, n * sizeof *strides);
  return OK;
}

cudnnStatus_t cudnnGetTensorNdDescriptor(cudnnTensorDescriptor_t t, int room, cudnnDataType_t *type, int *n, int *dims,
                                         int *strides) {
  if (!t) return BAD;
  *type = t->type;
  *n = t->n;
  for (int i = 0; i < t->n && i < room; i++) {
    dims[i] = t->dims[i];
    strides[i] = t->strides[i];
  }
  return OK;
}

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t t, cudnnDataType_t type, int n, int c, int h, int w,
                                           int n_stride, int c_stride, int h_stride, int w_stride) {
  const int dims[] = {n, c, h, w}, strides[] = {n_stride, c_stride, h_stride, w_stride};
  return cudnnSetTensorNdDescriptor(t, type, 4, dims, strides);
}

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t t, cudnnTensorFormat_t format, cudnnDataType_t type,
                                         int n, int c, int h, int w) {
  if (format == CUDNN_TENSOR_NHWC) return cudnnSetTensor4dDescriptorEx(t, type, n, c, h, w, h * w * c, 1, w * c, c);
  if (format != CUDNN_TENSOR_NCHW) return BAD;
  return cudnnSetTensor4dDescriptorEx(t, type, n, c, h, w, c * h * w, h * w, w, 1);
}

cudnnStatus_t cudnnGetTensorSizeInBytes(cudnnTensorDescriptor_t t, size_t *size) {
  if (!t || !size) return BAD;
  if (!is_real(t->type)) return UNSUPPORTED;
  *size = 1;
  for (int i = 0; i < t->n; i++) *size += (t->dims[i] - 1) * (size_t)abs(t->strides[i]);
  *size *= real_size((enum real)t->type);
  return OK;
}

size_t elements(const struct tensor *t) {
  size_t n = 1;
  for (int i = 0; i < t->n; i++) n *= t->dims[i];
  return n;
}

int same_dims(const struct tensor *a, const struct tensor *b) {
  return a->n == b->n && !memcmp(a->dims, b->dims, a->n * sizeof *a->dims);
}

int same_strides(const struct tensor *a, const struct tensor *b) {
  return a->n == b->n && !memcmp(a->strides, b->strides, a->n * sizeof *a->strides);
}

int same_tensors(const struct tensor *a, const struct tensor *b) {
  return a->type == b->type && same_dims(a, b) && same_strides(a, b);
}

int broadcasts(const struct tensor *a, const struct tensor *b) {
  if (a->n != b->n) return 0;
  for (int i = 0; i < a->n; i++)
    if (a->dims[i] != b->dims[i] && a->dims[i] != 1) return 0;
  return 1;
}

int has_negative_stride(const struct tensor *t) {
  for (int i = 0; i < t->n; i++)
    if (t->strides[i] < 0) return 1;
  return 0;
}

int is_real(cudnnDataType_t type) { return type <= CUDNN_DATA_HALF; }

struct tensor packed_tensor(cudnnDataType_t type, int n, const int *dims) {
  struct tensor t = {.type = type, .n = n};
  for (int i = n - 1, stride = 1; i >= 0; stride *= dims[i--]) {
    t.dims[i] = dims[i];
    t.strides[i] = stride;
  }
  return t;
}

double factor_value(cudnnDataType_t type, const void *at) {
  return type == CUDNN_DATA_DOUBLE ? *(const double *)at : *(const float *)at;
}

/* Where the rows along the last axis of `shape` start in a tensor of these strides, one after the other. */
struct rows { const struct tensor *shape; long strides[CUDNN_DIM_MAX], at; int index[CUDNN_DIM_MAX]; };

static struct rows first_row(const struct tensor *t, const struct tensor *shape) {
  struct rows r = {.shape = shape};
  for (int i = 0; i < shape->n; i++) r.strides[i] = t->dims[i] == 1 ? 0 : t->strides[i];
  return r;
}

static int next_row(struct rows *r) {
  for (int i = r->shape->n - 2; i >= 0; i--) {
    r->at += r->strides[i];
    if (++r->index[i] < r->shape->dims[i]) return 1;
    r->at -= r->strides[i] * r->shape->dims[i];
    r->index[i] = 0;
  }
  return 0;
}

double *numbers_of(const struct tensor *t, const void *data, const struct tensor *shape, enum rounding rounding) {
  double *numbers = new_numbers(elements(shape)), *to = numbers;
  int width = shape->dims[shape->n - 1];
  struct rows row = first_row(t, shape);
  long step = row.strides[shape->n - 1];
  if (t->type != CUDNN_DATA_FLOAT) rounding = IN_FULL;
  do {
    for (int i = 0; i < width; i++) *to++ = rounded(real_at((enum real)t->type, data, row.at + i * step), rounding);
  } while (next_row(&row));
  return numbers;
}

void store_numbers(const struct tensor *t, void *data, const double *numbers, double alpha, double beta) {
  int width = t->dims[t->n - 1];
  struct rows row = first_row(t, t);
  long step = row.strides[t->n - 1];
  do {
    for (int i = 0; i < width; i++) {
      long at = row.at + i * step;
      double old = beta != 0 ? beta * real_at((enum real)t->type, data, at) : 0;
      set_real((enum real)t->type, data, at, alpha * *numbers++ + old);
    }
  } while (next_row(&row));
}

void tensor_operand(struct operation *call, const char *what, const struct tensor *t, const void *at, int how) {
  long dims[CUDNN_DIM_MAX], strides[CUDNN_DIM_MAX];
  for (int i = 0; i < t->n; i++) {
    dims[i] = t->dims[i];
    strides[i] = t->dims[i] == 1 ? 0 : t->strides[i];
  }
  device_operand(call, what, at, how, real_size((enum real)t->type), t->n, dims, strides);
}

void result_operand(struct operation *call, const char *what, const struct tensor *t, const void *at, double beta) {
  tensor_operand(call, what, t, at, DEVICE_WRITE | (beta != 0 ? DEVICE_READ : 0));
}
