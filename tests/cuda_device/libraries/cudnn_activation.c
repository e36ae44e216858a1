#include "cudnn_activation.h"
#include <math.h>

cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t *a) {
  COUNT();
  if (!a || !(*a = calloc(1, sizeof **a))) return BAD;
  (*a)->swish_beta = 1;
  living_descriptors++;
  return OK;
}

cudnnStatus_t cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t a) {
  if (a) living_descriptors--;
  free(a);
  return OK;
}

cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t a, cudnnActivationMode_t mode,
                                           cudnnNanPropagation_t nan, double coefficient) {
  if (!a || (int)mode < 0 || mode > CUDNN_ACTIVATION_SWISH || (int)nan < 0 || nan > CUDNN_PROPAGATE_NAN) return BAD;
  a->mode = mode;
  a->nan = nan;
  a->coefficient = coefficient;
  return OK;
}

cudnnStatus_t cudnnSetActivationDescriptorSwishBeta(cudnnActivationDescriptor_t a, double beta) {
  if (!a) return BAD;
  a->swish_beta = beta;
  return OK;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

double activated(const struct activation *a, double x) {
  int lost = isnan(x) && a->nan == CUDNN_NOT_PROPAGATE_NAN; /* a ReLU makes 0 of it, unless NaN is to propagate */
  switch (a->mode) {
  case CUDNN_ACTIVATION_SIGMOID: return sigmoid(x);
  case CUDNN_ACTIVATION_RELU: return lost || x < 0 ? 0 : x;
  case CUDNN_ACTIVATION_TANH: return tanh(x);
  case CUDNN_ACTIVATION_CLIPPED_RELU: return lost || x < 0 ? 0 : x > a->coefficient ? a->coefficient : x;
  case CUDNN_ACTIVATION_ELU: return x > 0 ? x : a->coefficient * expm1(x);
  case CUDNN_ACTIVATION_SWISH: return x * sigmoid(a->swish_beta * x);
  default: return x;
  }
}

/* The derivative by the value y of sigmoid, tanh and ELU, by x of the others. */
static double derivative(const struct activation *a, double x_or_y) {
  double at = x_or_y, s;
  switch (a->mode) {
  case CUDNN_ACTIVATION_SIGMOID: return at * (1 - at);
  case CUDNN_ACTIVATION_RELU: return at > 0;
  case CUDNN_ACTIVATION_TANH: return 1 - at * at;
  case CUDNN_ACTIVATION_CLIPPED_RELU: return at > 0 && at <= a->coefficient;
  case CUDNN_ACTIVATION_ELU: return at > 0 ? 1 : at + a->coefficient;
  default: s = sigmoid(a->swish_beta * at); return s + a->swish_beta * at * s * (1 - s);
  }
}

struct forward {
  struct activation a;
  struct tensor x, y;
  const void *from;
  void *to;
  double alpha, beta;
};

static void apply(void *payload, struct operation *call) {
  const struct forward *f = payload;
  double *numbers = numbers_of(&f->x, f->from, &f->x, IN_FULL);
  for (size_t i = 0; i < elements(&f->x); i++) numbers[i] = activated(&f->a, numbers[i]);
  store_numbers(&f->y, f->to, numbers, f->alpha, f->beta);
  free(numbers);
}

cudnnStatus_t cudnnActivationForward(cudnnHandle_t handle, cudnnActivationDescriptor_t a, const void *alpha,
                                     cudnnTensorDescriptor_t x, const void *from, const void *beta,
                                     cudnnTensorDescriptor_t y, void *to) {
  if (!handle || !a || !x || !y || !from || !to || !alpha || !beta) return BAD;
  if (x->n <= 2 || !same_dims(x, y) || x->type != y->type || a->mode == CUDNN_ACTIVATION_IDENTITY) return BAD;
  if (from == to && !same_strides(x, y)) return BAD;
  if (!is_real(x->type) || has_negative_stride(x) || has_negative_stride(y)) return UNSUPPORTED;
  COUNT();
  struct forward f = {*a, *x, *y, from, to, factor_value(x->type, alpha), factor_value(x->type, beta)};
  struct operation *call = device_call(__func__, elements(x), apply, &f, sizeof f);
  tensor_operand(call, "x", x, from, DEVICE_READ);
  result_operand(call, "y", y, to, f.beta);
  return queued(handle->stream, call, 1) ? FAILED : OK;
}

struct backward {
  struct activation a;
  struct tensor t;
  const void *at, *gradient;
  void *to;
  double alpha, beta;
};

static void apply_backwards(void *payload, struct operation *call) {
  const struct backward *b = payload;
  double *at = numbers_of(&b->t, b->at, &b->t, IN_FULL), *numbers = numbers_of(&b->t, b->gradient, &b->t, IN_FULL);
  for (size_t i = 0; i < elements(&b->t); i++) numbers[i] *= derivative(&b->a, at[i]);
  store_numbers(&b->t, b->to, numbers, b->alpha, b->beta);
  free(at);
  free(numbers);
}

/* Of y and x only one is read, and the other may be NULL. */
cudnnStatus_t cudnnActivationBackward(cudnnHandle_t handle, cudnnActivationDescriptor_t a, const void *alpha,
                                      cudnnTensorDescriptor_t y, const void *value, cudnnTensorDescriptor_t dy,
                                      const void *gradient, cudnnTensorDescriptor_t x, const void *from,
                                      const void *beta, cudnnTensorDescriptor_t dx, void *to) {
  if (!handle || !a || a->mode == CUDNN_ACTIVATION_IDENTITY) return BAD;
  int by_value = a->mode == CUDNN_ACTIVATION_SIGMOID || a->mode == CUDNN_ACTIVATION_TANH || a->mode == CUDNN_ACTIVATION_ELU;
  const struct tensor *at = by_value ? y : x;
  const void *data = by_value ? value : from;
  if (!at || !data || !dy || !gradient || !dx || !to || !alpha || !beta) return BAD;
  if (dy->n <= 2 || (gradient == to && !same_strides(dy, dx))) return BAD;
  if (!same_tensors(at, dy) || !same_tensors(at, dx) || !is_real(dy->type) || has_negative_stride(dy)) return UNSUPPORTED;
  COUNT();
  struct backward b = {*a, *dy, data, gradient, to, factor_value(dy->type, alpha), factor_value(dy->type, beta)};
  struct operation *call = device_call(__func__, 2. * elements(dy), apply_backwards, &b, sizeof b);
  tensor_operand(call, by_value ? "y" : "x", at, data, DEVICE_READ);
  tensor_operand(call, "dy", dy, gradient, DEVICE_READ);
  result_operand(call, "dx", dx, to, b.beta);
  return queued(handle->stream, call, 1) ? FAILED : OK;
}
