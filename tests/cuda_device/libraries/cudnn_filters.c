/* Descriptors of filters and convolutions. */
#include "cudnn_convolution.h"

DESCRIPTOR(Filter)

cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int n, const int *dims) {
  if (!f || !dims || (int)type < 0 || type > CUDNN_DATA_LAST || n < 3) return BAD;
  if (n > CUDNN_DIM_MAX) return UNSUPPORTED;
  if ((int)format < 0 || format > CUDNN_TENSOR_NCHW_VECT_C) return BAD;
  if (format == CUDNN_TENSOR_NCHW_VECT_C && type != CUDNN_DATA_INT8x4) return BAD;
  for (int i = 0; i < n; i++)
    if (dims[i] < 1) return BAD;
  *f = (struct filter){.type = type, .format = format, .n = n};
  memcpy(f->dims, dims, n * sizeof *dims);
  return OK;
}

cudnnStatus_t cudnnGetFilterNdDescriptor(cudnnFilterDescriptor_t f, int room, cudnnDataType_t *type,
                                         cudnnTensorFormat_t *format, int *n, int *dims) {
  if (!f) return BAD;
  *type = f->type;
  *format = f->format;
  *n = f->n;
  for (int i = 0; i < f->n && i < room; i++) dims[i] = f->dims[i];
  return OK;
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int o, int c, int h, int w) {
  const int dims[] = {o, c, h, w};
  return cudnnSetFilterNdDescriptor(f, type, format, 4, dims);
}

struct tensor filter_tensor(const struct filter *f) {
  if (f->format == CUDNN_TENSOR_NCHW) return packed_tensor(f->type, f->n, f->dims);
  struct tensor t = packed_tensor(f->type, f->n, f->dims);
  int stride = t.dims[1];
  for (int i = f->n - 1; i > 1; stride *= f->dims[i--]) t.strides[i] = stride;
  t.strides[0] = stride;
  t.strides[1] = 1;
  return t;
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *c) {
  COUNT();
  if (!c || !(*c = calloc(1, sizeof **c))) return BAD;
  (*c)->groups = 1;
  living_descriptors++;
  return OK;
}

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t c) {
  if (c) living_descriptors--;
  free(c);
  return OK;
}

static int is_compute_type(cudnnDataType_t type) { return is_real(type) || type == CUDNN_DATA_INT32; }

/* The math type and the groups stay as they were. */
cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int n, const int *padding,
                                              const int *stride, const int *dilation, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t type) {
  if (!c || n < 0) return BAD;
  if (n > MOST_SPATIAL) return UNSUPPORTED;
  if ((int)mode < 0 || mode > CUDNN_CROSS_CORRELATION || (int)type < 0 || !is_compute_type(type)) return BAD;
  for (int i = 0; i < n; i++)
    if (padding[i] < 0 || stride[i] < 1 || dilation[i] < 1) return BAD;
  c->n = n;
  memcpy(c->padding, padding, n * sizeof *padding);
  memcpy(c->stride, stride, n * sizeof *stride);
  memcpy(c->dilation, dilation, n * sizeof *dilation);
  c->mode = mode;
  c->type = type;
  return OK;
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t c, int ph, int pw, int sh, int sw, int dh,
                                              int dw, cudnnConvolutionMode_t mode, cudnnDataType_t type) {
  const int padding[] = {ph, pw}, stride[] = {sh, sw}, dilation[] = {dh, dw};
  return cudnnSetConvolutionNdDescriptor(c, 2, padding, stride, dilation, mode, type);
}

cudnnStatus_t cudnnGetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int room, int *n, int *padding,
                                              int *stride, int *dilation, cudnnConvolutionMode_t *mode,
                                              cudnnDataType_t *type) {
  if (!c) return BAD;
  *n = c->n;
  for (int i = 0; i < c->n && i < room; i++) {
    padding[i] = c->padding[i];
    stride[i] = c->stride[i];
    dilation[i] = c->dilation[i];
  }
  *mode = c->mode;
  *type = c->type;
  return OK;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int groups) {
  if (!c || groups < 1) return BAD;
  c->groups = groups;
  return OK;
}

cudnnStatus_t cudnnGetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int *groups) {
  if (!c || !groups) return BAD;
  *groups = c->groups;
  return OK;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math) {
  if (!c || (int)math < 0 || math > CUDNN_FMA_MATH) return BAD;
  c->math = math;
  return OK;
}

cudnnStatus_t cudnnGetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t *math) {
  if (!c || !math) return BAD;
  *math = c->math;
  return OK;
}

cudnnStatus_t cudnnGetConvolutionNdForwardOutputDim(cudnnConvolutionDescriptor_t c, cudnnTensorDescriptor_t x,
                                                    cudnnFilterDescriptor_t w, int n, int *dims) {
  if (!c || !x || !w || !dims || x->n != w->n || c->n != x->n - 2 || n > x->n) return BAD;
  if (x->dims[1] != w->dims[1] * c->groups) return BAD;
  for (int i = 0; i < n; i++) {
    if (i < 2) {
      dims[i] = i ? w->dims[0] : x->dims[0];
      continue;
    }
    int span = (w->dims[i] - 1) * c->dilation[i - 2] + 1, room = x->dims[i] + 2 * c->padding[i - 2] - span;
    if (room < 0) return BAD;
    dims[i] = 1 + room / c->stride[i - 2];
  }
  return OK;
}
