/* Pooling of two dimensions. The gradient of a maximum goes to one place, the window's first that has it. */
#include "cudnn_tensors.h"
#include "products.h"
#include <math.h>

enum { MOST_SPATIAL = 6 };

struct pooling {
  int n, window[MOST_SPATIAL], padding[MOST_SPATIAL], stride[MOST_SPATIAL];
  cudnnPoolingMode_t mode;
  cudnnNanPropagation_t nan;
};

DESCRIPTOR(Pooling)

cudnnStatus_t cudnnSetPoolingNdDescriptor(cudnnPoolingDescriptor_t p, cudnnPoolingMode_t mode,
                                          cudnnNanPropagation_t nan, int n, const int *window, const int *padding,
                                          const int *stride) {
  if (!p || (int)mode < 0 || mode > CUDNN_POOLING_MAX_DETERMINISTIC || (int)nan < 0 || nan > CUDNN_PROPAGATE_NAN || n < 1)
    return BAD;
  if (n > MOST_SPATIAL) return UNSUPPORTED;
  for (int i = 0; i < n; i++)
    if (window[i] < 1 || stride[i] < 1) return BAD;
  *p = (struct pooling){.n = n, .mode = mode, .nan = nan};
  memcpy(p->window, window, n * sizeof *window);
  memcpy(p->padding, padding, n * sizeof *padding);
  memcpy(p->stride, stride, n * sizeof *stride);
  return OK;
}

cudnnStatus_t cudnnGetPoolingNdDescriptor(cudnnPoolingDescriptor_t p, int room, cudnnPoolingMode_t *mode,
                                          cudnnNanPropagation_t *nan, int *n, int *window, int *padding, int *stride) {
  if (!p) return BAD;
  *mode = p->mode;
  *nan = p->nan;
  *n = p->n;
  for (int i = 0; i < p->n && i < room; i++) {
    window[i] = p->window[i];
    padding[i] = p->padding[i];
    stride[i] = p->stride[i];
  }
  return OK;
}

cudnnStatus_t cudnnSetPooling2dDescriptor(cudnnPoolingDescriptor_t p, cudnnPoolingMode_t mode,
                                          cudnnNanPropagation_t nan, int window_h, int window_w, int padding_h,
                                          int padding_w, int stride_h, int stride_w) {
  const int window[] = {window_h, window_w}, padding[] = {padding_h, padding_w}, stride[] = {stride_h, stride_w};
  return cudnnSetPoolingNdDescriptor(p, mode, nan, 2, window, padding, stride);
}

cudnnStatus_t cudnnGetPoolingNdForwardOutputDim(cudnnPoolingDescriptor_t p, cudnnTensorDescriptor_t x, int n, int *dims) {
  if (!p || !x || !dims || n != x->n || p->n != n - 2) return BAD;
  for (int i = 0; i < n; i++) {
    dims[i] = x->dims[i];
    if (i < 2) continue;
    int room = x->dims[i] + 2 * p->padding[i - 2] - p->window[i - 2];
    if (room < 0) return BAD;
    dims[i] = 1 + room / p->stride[i - 2];
  }
  return OK;
}

cudnnStatus_t cudnnGetPooling2dForwardOutputDim(cudnnPoolingDescriptor_t p, cudnnTensorDescriptor_t x, int *n, int *c,
                                                int *h, int *w) {
  int dims[4];
  if (cudnnGetPoolingNdForwardOutputDim(p, x, 4, dims)) return BAD;
  *n = dims[0];
  *c = dims[1];
  *h = dims[2];
  *w = dims[3];
  return OK;
}

/* As the real one, which asks for the same images, channels and type. It takes a top of any size, and what it writes then is
   nowhere told, as is the value of a window that lies in the padding alone: here both are refused. */
static cudnnStatus_t agree(const struct pooling *p, const struct tensor *x, const struct tensor *y) {
  int dims[CUDNN_DIM_MAX];
  if (x->n != y->n || p->n + 2 != x->n || x->dims[0] != y->dims[0] || x->dims[1] != y->dims[1] || x->type != y->type)
    return BAD;
  if (x->n != 4 || !is_real(x->type) || has_negative_stride(x) || has_negative_stride(y)) return UNSUPPORTED;
  if (cudnnGetPoolingNdForwardOutputDim((struct pooling *)p, (struct tensor *)x, x->n, dims)) return BAD;
  if (memcmp(dims, y->dims, x->n * sizeof *dims)) return BAD;
  for (int i = 0; i < p->n; i++)
    if (p->padding[i] < 0 || p->padding[i] >= p->window[i]) return UNSUPPORTED;
  return OK;
}

/* The part of the image that a place of the top sees. */
struct window { int top, bottom, left, right; };

static struct window window_of(const struct pooling *p, const struct tensor *x, int h, int w) {
  struct window at = {.top = h * p->stride[0] - p->padding[0], .left = w * p->stride[1] - p->padding[1]};
  at.bottom = at.top + p->window[0];
  at.right = at.left + p->window[1];
  if (at.top < 0) at.top = 0;
  if (at.left < 0) at.left = 0;
  if (at.bottom > x->dims[2]) at.bottom = x->dims[2];
  if (at.right > x->dims[3]) at.right = x->dims[3];
  return at;
}

static int is_maximum(const struct pooling *p) {
  return p->mode == CUDNN_POOLING_MAX || p->mode == CUDNN_POOLING_MAX_DETERMINISTIC;
}

/* Where the window's maximum is: its first one. NaN is greater than all where it propagates, else smaller. */
static size_t maximum(const struct pooling *p, const struct window *at, const double *image, int width) {
  size_t best = (size_t)at->top * width + at->left;
  for (int h = at->top; h < at->bottom; h++)
    for (int w = at->left; w < at->right; w++) {
      size_t i = (size_t)h * width + w;
      int replaces = p->nan == CUDNN_PROPAGATE_NAN ? isnan(image[i]) && !isnan(image[best])
                                                   : isnan(image[best]) && !isnan(image[i]);
      if (replaces || image[i] > image[best]) best = i;
    }
  return best;
}

static double divisor(const struct pooling *p, const struct window *at) {
  if (p->mode == CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING) return p->window[0] * p->window[1];
  return (at->bottom - at->top) * (at->right - at->left);
}

struct call {
  struct pooling p;
  struct tensor x, y;
  const void *from, *gradient; /* a gradient only backwards */
  void *to;
  double alpha, beta;
};

static void pool(void *payload, struct operation *call) {
  const struct call *c = payload;
  double *image = numbers_of(&c->x, c->from, &c->x, IN_FULL), *top = new_numbers(elements(&c->y)), *to = top;
  int width = c->x.dims[3];
  size_t area = (size_t)c->x.dims[2] * width;
  for (int channel = 0; channel < c->x.dims[0] * c->x.dims[1]; channel++)
    for (int p = 0; p < c->y.dims[2]; p++)
      for (int q = 0; q < c->y.dims[3]; q++, to++) {
        struct window at = window_of(&c->p, &c->x, p, q);
        const double *from = image + channel * area;
        if (is_maximum(&c->p)) {
          *to = from[maximum(&c->p, &at, from, width)];
          continue;
        }
        for (int h = at.top; h < at.bottom; h++)
          for (int w = at.left; w < at.right; w++) *to += from[(size_t)h * width + w];
        *to /= divisor(&c->p, &at);
      }
  store_numbers(&c->y, c->to, top, c->alpha, c->beta);
  free(image);
  free(top);
}

static void pool_backwards(void *payload, struct operation *call) {
  const struct call *c = payload;
  double *image = is_maximum(&c->p) ? numbers_of(&c->x, c->from, &c->x, IN_FULL) : NULL;
  double *top = numbers_of(&c->y, c->gradient, &c->y, IN_FULL), *from = top, *gradient = new_numbers(elements(&c->x));
  int width = c->x.dims[3];
  size_t area = (size_t)c->x.dims[2] * width;
  for (int channel = 0; channel < c->x.dims[0] * c->x.dims[1]; channel++)
    for (int p = 0; p < c->y.dims[2]; p++)
      for (int q = 0; q < c->y.dims[3]; q++, from++) {
        struct window at = window_of(&c->p, &c->x, p, q);
        double *to = gradient + channel * area;
        if (image) {
          to[maximum(&c->p, &at, image + channel * area, width)] += *from;
          continue;
        }
        for (int h = at.top; h < at.bottom; h++)
          for (int w = at.left; w < at.right; w++) to[(size_t)h * width + w] += *from / divisor(&c->p, &at);
      }
  store_numbers(&c->x, c->to, gradient, c->alpha, c->beta);
  free(image);
  free(top);
  free(gradient);
}

cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, cudnnPoolingDescriptor_t p, const void *alpha,
                                  cudnnTensorDescriptor_t x, const void *from, const void *beta,
                                  cudnnTensorDescriptor_t y, void *to) {
  if (!handle || !p || !alpha || !x || !from || !beta || !y || !to) return BAD;
  cudnnStatus_t status = agree(p, x, y);
  if (status) return status;
  COUNT();
  struct call c = {*p, *x, *y, from, NULL, to, factor_value(x->type, alpha), factor_value(x->type, beta)};
  double flop = (double)elements(y) * p->window[0] * p->window[1];
  struct operation *call = device_call(__func__, flop, pool, &c, sizeof c);
  tensor_operand(call, "x", x, from, DEVICE_READ);
  result_operand(call, "y", y, to, c.beta);
  return queued(handle->stream, call, 0) ? FAILED : OK;
}

/* The real one wants the data of x and y for a maximum, and none for an average. */
cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, cudnnPoolingDescriptor_t p, const void *alpha,
                                   cudnnTensorDescriptor_t y, const void *value, cudnnTensorDescriptor_t dy,
                                   const void *gradient, cudnnTensorDescriptor_t x, const void *from, const void *beta,
                                   cudnnTensorDescriptor_t dx, void *to) {
  if (!handle || !p || !alpha || !beta || !y || !dy || !gradient || !x || !dx || !to) return BAD;
  if (is_maximum(p) && (!value || !from)) return BAD;
  if (!same_tensors(y, dy) || !same_tensors(x, dx)) return BAD;
  cudnnStatus_t status = agree(p, dx, dy);
  if (status) return status;
  COUNT();
  struct call c = {*p, *dx, *dy, from, gradient, to, factor_value(dx->type, alpha), factor_value(dx->type, beta)};
  double flop = (double)elements(dy) * p->window[0] * p->window[1];
  struct operation *call = device_call(__func__, flop, pool_backwards, &c, sizeof c);
  if (is_maximum(p)) {
    tensor_operand(call, "x", x, from, DEVICE_READ);
    tensor_operand(call, "y", y, value, DEVICE_READ);
  }
  tensor_operand(call, "dy", dy, gradient, DEVICE_READ);
  result_operand(call, "dx", dx, to, c.beta);
  return queued(handle->stream, call, 0) ? FAILED : OK;
}
