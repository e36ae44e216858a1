/* Batch normalisation of 4 or 5 axes: one mean and variance for each channel (spatial), or for each entry of an image. */
#include "cudnn_tensors.h"
#include "products.h"
#include <math.h>

cudnnStatus_t cudnnDeriveBNTensorDescriptor(cudnnTensorDescriptor_t derived, cudnnTensorDescriptor_t x,
                                            cudnnBatchNormMode_t mode) {
  if (!derived || !x || (int)mode < 0 || mode > CUDNN_BATCHNORM_SPATIAL_PERSISTENT) return BAD;
  int dims[CUDNN_DIM_MAX];
  for (int i = 0; i < x->n; i++)
    dims[i] = i == 0 ? 1 : i == 1 || mode == CUDNN_BATCHNORM_PER_ACTIVATION ? x->dims[i] : 1;
  *derived = packed_tensor(x->type == CUDNN_DATA_HALF ? CUDNN_DATA_FLOAT : x->type, x->n, dims);
  return OK;
}

/* Whether x, another tensor of its size and the parameters belong together. */
static int agree(cudnnBatchNormMode_t mode, const struct tensor *x, const struct tensor *y,
                 const struct tensor *parameters) {
  struct tensor derived;
  if (cudnnDeriveBNTensorDescriptor(&derived, (struct tensor *)x, mode) || !is_real(x->type)) return 0;
  if (x->n < 4 || x->n > 5 || !same_dims(x, y) || x->type != y->type || !same_tensors(&derived, parameters)) return 0;
  return !has_negative_stride(x) && !has_negative_stride(y);
}

/* The numbers of which each statistic is made: entry i of x belongs to statistic of(i). */
struct layout { size_t n, per_image, area, statistics; };

static struct layout layout_of(const struct tensor *x, const struct tensor *parameters) {
  struct layout l = {.n = elements(x), .statistics = elements(parameters)};
  l.per_image = l.n / x->dims[0];
  l.area = l.per_image / l.statistics;
  return l;
}

static inline size_t of(const struct layout *l, size_t i) { return i % l->per_image / l->area; }

/* The mean and the (biased) variance of each. */
static void moments(const struct layout *l, const double *x, double *mean, double *variance) {
  double count = (double)l->n / l->statistics;
  for (size_t i = 0; i < l->n; i++) mean[of(l, i)] += x[i] / count;
  for (size_t i = 0; i < l->n; i++) {
    double difference = x[i] - mean[of(l, i)];
    variance[of(l, i)] += difference * difference / count;
  }
}

struct forward {
  struct tensor x, y, parameters;
  const void *from, *scale, *bias, *mean, *variance; /* a mean and variance only where they are given */
  void *to, *running_mean, *running_variance, *saved_mean, *saved_inverse;
  double alpha, beta, factor, epsilon;
};

static void keep(const struct forward *f, void *running, const double *statistic, double correction) {
  size_t n = elements(&f->parameters);
  double *scaled = new_numbers(n);
  for (size_t i = 0; i < n; i++) scaled[i] = correction * statistic[i];
  store_numbers(&f->parameters, running, scaled, f->factor, 1 - f->factor);
  free(scaled);
}

static void normalize(void *payload, struct operation *call) {
  const struct forward *f = payload;
  const struct tensor *p = &f->parameters;
  struct layout l = layout_of(&f->x, p);
  double *x = numbers_of(&f->x, f->from, &f->x, IN_FULL);
  double *scale = numbers_of(p, f->scale, p, IN_FULL), *bias = numbers_of(p, f->bias, p, IN_FULL);
  double *mean = f->mean ? numbers_of(p, f->mean, p, IN_FULL) : new_numbers(l.statistics);
  double *variance = f->variance ? numbers_of(p, f->variance, p, IN_FULL) : new_numbers(l.statistics);
  if (!f->mean) moments(&l, x, mean, variance);
  double *inverse = new_numbers(l.statistics), count = (double)l.n / l.statistics;
  for (size_t i = 0; i < l.statistics; i++) inverse[i] = 1 / sqrt(variance[i] + f->epsilon);
  for (size_t i = 0; i < l.n; i++) x[i] = scale[of(&l, i)] * (x[i] - mean[of(&l, i)]) * inverse[of(&l, i)] + bias[of(&l, i)];
  store_numbers(&f->y, f->to, x, f->alpha, f->beta);
  if (f->saved_mean) store_numbers(p, f->saved_mean, mean, 1, 0);
  if (f->saved_inverse) store_numbers(p, f->saved_inverse, inverse, 1, 0);
  if (f->running_mean) keep(f, f->running_mean, mean, 1);
  if (f->running_variance) keep(f, f->running_variance, variance, count > 1 ? count / (count - 1) : 1); /* unbiased */
  for (double **numbers = (double *[]){x, scale, bias, mean, variance, inverse, NULL}; *numbers; numbers++) free(*numbers);
}

static cudnnStatus_t queue_forward(const char *name, cudnnHandle_t handle, struct forward f) {
  struct operation *call = device_call(name, 8. * elements(&f.x), normalize, &f, sizeof f);
  tensor_operand(call, "x", &f.x, f.from, DEVICE_READ);
  tensor_operand(call, "scale", &f.parameters, f.scale, DEVICE_READ);
  tensor_operand(call, "bias", &f.parameters, f.bias, DEVICE_READ);
  tensor_operand(call, "the mean", &f.parameters, f.mean, DEVICE_READ);
  tensor_operand(call, "the variance", &f.parameters, f.variance, DEVICE_READ);
  result_operand(call, "y", &f.y, f.to, f.beta);
  result_operand(call, "the running mean", &f.parameters, f.running_mean, 1 - f.factor);
  result_operand(call, "the running variance", &f.parameters, f.running_variance, 1 - f.factor);
  result_operand(call, "the saved mean", &f.parameters, f.saved_mean, 0);
  result_operand(call, "the saved inverse", &f.parameters, f.saved_inverse, 0);
  return queued(handle->stream, call, 1) ? FAILED : OK;
}

cudnnStatus_t cudnnBatchNormalizationForwardTraining(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta, cudnnTensorDescriptor_t x,
    const void *from, cudnnTensorDescriptor_t y, void *to, cudnnTensorDescriptor_t parameters, const void *scale,
    const void *bias, double factor, void *running_mean, void *running_variance, double epsilon, void *saved_mean,
    void *saved_inverse) {
  if (!handle || !alpha || !beta || !x || !from || !y || !to || !parameters || !scale || !bias) return BAD;
  if (!agree(mode, x, y, parameters) || epsilon < CUDNN_BN_MIN_EPSILON) return BAD;
  if (!saved_mean != !saved_inverse || !running_mean != !running_variance) return BAD;
  COUNT();
  return queue_forward(__func__, handle, (struct forward){
    .x = *x, .y = *y, .parameters = *parameters, .from = from, .scale = scale, .bias = bias, .to = to,
    .running_mean = running_mean, .running_variance = running_variance, .saved_mean = saved_mean,
    .saved_inverse = saved_inverse, .alpha = factor_value(x->type, alpha), .beta = factor_value(x->type, beta),
    .factor = factor, .epsilon = epsilon});
}

cudnnStatus_t cudnnBatchNormalizationForwardInference(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta, cudnnTensorDescriptor_t x,
    const void *from, cudnnTensorDescriptor_t y, void *to, cudnnTensorDescriptor_t parameters, const void *scale,
    const void *bias, const void *mean, const void *variance, double epsilon) {
  if (!handle || !alpha || !beta || !x || !from || !y || !to || !parameters || !scale || !bias) return BAD;
  if (!mean || !variance || !agree(mode, x, y, parameters) || epsilon < CUDNN_BN_MIN_EPSILON) return BAD;
  COUNT();
  return queue_forward(__func__, handle, (struct forward){
    .x = *x, .y = *y, .parameters = *parameters, .from = from, .scale = scale, .bias = bias, .mean = mean,
    .variance = variance, .to = to, .alpha = factor_value(x->type, alpha), .beta = factor_value(x->type, beta),
    .epsilon = epsilon});
}

struct backward {
  struct tensor x, dy, dx, parameters;
  const void *from, *gradient, *scale, *saved_mean, *saved_inverse;
  void *to, *scale_gradient, *bias_gradient;
  double alpha, beta, alpha_parameters, beta_parameters, epsilon;
};

static void differentiate(void *payload, struct operation *call) {
  const struct backward *b = payload;
  const struct tensor *p = &b->parameters;
  struct layout l = layout_of(&b->x, p);
  double *x = numbers_of(&b->x, b->from, &b->x, IN_FULL), *dy = numbers_of(&b->dy, b->gradient, &b->dy, IN_FULL);
  double *scale = numbers_of(p, b->scale, p, IN_FULL);
  double *mean = b->saved_mean ? numbers_of(p, b->saved_mean, p, IN_FULL) : new_numbers(l.statistics);
  double *inverse = b->saved_inverse ? numbers_of(p, b->saved_inverse, p, IN_FULL) : new_numbers(l.statistics);
  if (!b->saved_mean) {
    moments(&l, x, mean, inverse);
    for (size_t i = 0; i < l.statistics; i++) inverse[i] = 1 / sqrt(inverse[i] + b->epsilon);
  }
  double *sums = new_numbers(l.statistics), *products = new_numbers(l.statistics), count = (double)l.n / l.statistics;
  for (size_t i = 0; i < l.n; i++) {
    x[i] = (x[i] - mean[of(&l, i)]) * inverse[of(&l, i)];
    sums[of(&l, i)] += dy[i];
    products[of(&l, i)] += dy[i] * x[i];
  }
  for (size_t i = 0; i < l.n; i++) {
    size_t s = of(&l, i);
    dy[i] = scale[s] * inverse[s] * (dy[i] - sums[s] / count - x[i] * products[s] / count);
  }
  store_numbers(&b->dx, b->to, dy, b->alpha, b->beta);
  store_numbers(p, b->scale_gradient, products, b->alpha_parameters, b->beta_parameters);
  store_numbers(p, b->bias_gradient, sums, b->alpha_parameters, b->beta_parameters);
  for (double **numbers = (double *[]){x, dy, scale, mean, inverse, sums, products, NULL}; *numbers; numbers++)
    free(*numbers);
}

cudnnStatus_t cudnnBatchNormalizationBackward(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta, const void *alpha_parameters,
    const void *beta_parameters, cudnnTensorDescriptor_t x, const void *from, cudnnTensorDescriptor_t dy,
    const void *gradient, cudnnTensorDescriptor_t dx, void *to, cudnnTensorDescriptor_t parameters, const void *scale,
    void *scale_gradient, void *bias_gradient, double epsilon, const void *saved_mean, const void *saved_inverse) {
  if (!handle || !alpha || !beta || !alpha_parameters || !beta_parameters || !x || !from || !dy || !gradient) return BAD;
  if (!dx || !to || !parameters || !scale || !scale_gradient || !bias_gradient) return BAD;
  if (!agree(mode, x, dx, parameters) || !agree(mode, x, dy, parameters)) return BAD;
  if (epsilon < CUDNN_BN_MIN_EPSILON || !saved_mean != !saved_inverse) return BAD;
  COUNT();
  struct backward b = {
    .x = *x, .dy = *dy, .dx = *dx, .parameters = *parameters, .from = from, .gradient = gradient, .scale = scale,
    .saved_mean = saved_mean, .saved_inverse = saved_inverse, .to = to, .scale_gradient = scale_gradient,
    .bias_gradient = bias_gradient, .alpha = factor_value(x->type, alpha), .beta = factor_value(x->type, beta),
    .alpha_parameters = factor_value(x->type, alpha_parameters), .beta_parameters = factor_value(x->type, beta_parameters),
    .epsilon = epsilon};
  struct operation *call = device_call(__func__, 12. * elements(x), differentiate, &b, sizeof b);
  tensor_operand(call, "x", x, from, DEVICE_READ);
  tensor_operand(call, "dy", dy, gradient, DEVICE_READ);
  tensor_operand(call, "scale", parameters, scale, DEVICE_READ);
  tensor_operand(call, "the saved mean", parameters, saved_mean, DEVICE_READ);
  tensor_operand(call, "the saved inverse", parameters, saved_inverse, DEVICE_READ);
  result_operand(call, "dx", dx, to, b.beta);
  result_operand(call, "the gradient of scale", parameters, scale_gradient, b.beta_parameters);
  result_operand(call, "the gradient of bias", parameters, bias_gradient, b.beta_parameters);
  return queued(handle->stream, call, 1) ? FAILED : OK;
}
