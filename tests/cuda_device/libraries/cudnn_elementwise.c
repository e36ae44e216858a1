/* Tensors that are added, combined, copied, set and scaled. */
#include "cudnn_tensors.h"
#include "products.h"
#include <math.h>

struct elementwise {
  cudnnOpTensorOp_t op;
  cudnnDataType_t type;
  cudnnNanPropagation_t nan;
};

DESCRIPTOR(OpTensor)

cudnnStatus_t cudnnSetOpTensorDescriptor(cudnnOpTensorDescriptor_t o, cudnnOpTensorOp_t op, cudnnDataType_t type,
                                         cudnnNanPropagation_t nan) {
  if (!o || (int)op < 0 || op > CUDNN_OP_TENSOR_NOT || (int)type < 0 || !is_real(type)) return BAD;
  if ((int)nan < 0 || nan > CUDNN_PROPAGATE_NAN) return BAD;
  *o = (struct elementwise){op, type, nan};
  return OK;
}

/* to = op(alpha_a a, alpha_b b) + beta to; `b` broadcasts, and is not read by a square root or NOT. */
struct call {
  struct elementwise o;
  struct tensor a, b, c;
  const void *from_a, *from_b;
  void *to;
  double alpha_a, alpha_b, beta;
};

/* The smaller one or the greater one; NaN only where it is to propagate, or both are. */
static double extreme(const struct elementwise *o, double a, double b) {
  if (isnan(a) || isnan(b)) return o->nan == CUDNN_PROPAGATE_NAN ? NAN : isnan(a) ? b : a;
  return (o->op == CUDNN_OP_TENSOR_MIN) == (a < b) ? a : b;
}

static double combined(const struct elementwise *o, double a, double b) {
  switch (o->op) {
  case CUDNN_OP_TENSOR_ADD: return a + b;
  case CUDNN_OP_TENSOR_MUL: return a * b;
  case CUDNN_OP_TENSOR_SQRT: return sqrt(a);
  case CUDNN_OP_TENSOR_NOT: return 1 - a;
  default: return extreme(o, a, b);
  }
}

static int has_two(const struct elementwise *o) {
  return o->op != CUDNN_OP_TENSOR_SQRT && o->op != CUDNN_OP_TENSOR_NOT;
}

static void combine(void *payload, struct operation *call) {
  const struct call *c = payload;
  double *a = numbers_of(&c->a, c->from_a, &c->c, IN_FULL), *b = NULL;
  if (has_two(&c->o)) b = numbers_of(&c->b, c->from_b, &c->c, IN_FULL);
  for (size_t i = 0; i < elements(&c->c); i++) a[i] = combined(&c->o, c->alpha_a * a[i], b ? c->alpha_b * b[i] : 0);
  store_numbers(&c->c, c->to, a, 1, c->beta);
  free(a);
  free(b);
}

static cudnnStatus_t queue(const char *name, cudnnHandle_t handle, struct call c) {
  struct operation *call = device_call(name, elements(&c.c), combine, &c, sizeof c);
  tensor_operand(call, "a", &c.a, c.from_a, DEVICE_READ);
  if (has_two(&c.o)) tensor_operand(call, "b", &c.b, c.from_b, DEVICE_READ);
  result_operand(call, "c", &c.c, c.to, c.beta);
  return queued(handle->stream, call, 1) ? FAILED : OK;
}

cudnnStatus_t cudnnOpTensor(cudnnHandle_t handle, cudnnOpTensorDescriptor_t o, const void *alpha_a,
                            cudnnTensorDescriptor_t a, const void *from_a, const void *alpha_b,
                            cudnnTensorDescriptor_t b, const void *from_b, const void *beta, cudnnTensorDescriptor_t c,
                            void *to) {
  if (!handle || !o || !alpha_a || !a || !from_a || !alpha_b || !b || !from_b || !beta || !c || !to) return BAD;
  if (a->n <= 3 || !same_dims(a, c) || !broadcasts(b, c) || a->type != b->type) return BAD;
  if (a->n > 5 || !is_real(a->type) || a->type != c->type || o->type != (a->type == CUDNN_DATA_DOUBLE)) return UNSUPPORTED;
  COUNT();
  return queue(__func__, handle, (struct call){
    *o, *a, *b, *c, from_a, from_b, to, factor_value(a->type, alpha_a), factor_value(a->type, alpha_b),
    factor_value(a->type, beta)});
}

struct scaled {
  struct tensor x, y;
  const void *from; /* NULL: `value` */
  void *to;
  double value, alpha, beta;
};

static void scale(void *payload, struct operation *call) {
  const struct scaled *s = payload;
  double *numbers = s->from ? numbers_of(&s->x, s->from, &s->y, IN_FULL) : new_numbers(elements(&s->y));
  if (!s->from)
    for (size_t i = 0; i < elements(&s->y); i++) numbers[i] = s->value;
  store_numbers(&s->y, s->to, numbers, s->alpha, s->beta);
  free(numbers);
}

static cudnnStatus_t queue_scaled(const char *name, cudnnHandle_t handle, struct scaled s) {
  struct operation *call = device_call(name, elements(&s.y), scale, &s, sizeof s);
  if (s.from) tensor_operand(call, "x", &s.x, s.from, DEVICE_READ);
  result_operand(call, "y", &s.y, s.to, s.beta);
  return queued(handle->stream, call, 1) ? FAILED : OK;
}

/* to = alpha a + beta to, where `a` broadcasts. */
cudnnStatus_t cudnnAddTensor(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t a, const void *from,
                             const void *beta, cudnnTensorDescriptor_t c, void *to) {
  if (!handle || !alpha || !a || !from || !beta || !c || !to) return BAD;
  if (c->n <= 3 || !broadcasts(a, c) || a->type != c->type) return BAD;
  if (c->n > 5 || !is_real(a->type)) return UNSUPPORTED;
  COUNT();
  return queue_scaled(__func__, handle, (struct scaled){
    .x = *a, .y = *c, .from = from, .to = to, .alpha = factor_value(a->type, alpha), .beta = factor_value(a->type, beta)});
}

cudnnStatus_t cudnnTransformTensor(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x, const void *from,
                                   const void *beta, cudnnTensorDescriptor_t y, void *to) {
  if (!handle || !alpha || !x || !from || !beta || !y || !to || !same_dims(x, y)) return BAD;
  if (!is_real(x->type) || !is_real(y->type)) return UNSUPPORTED;
  COUNT();
  return queue_scaled(__func__, handle, (struct scaled){
    .x = *x, .y = *y, .from = from, .to = to, .alpha = factor_value(x->type, alpha), .beta = factor_value(x->type, beta)});
}

cudnnStatus_t cudnnSetTensor(cudnnHandle_t handle, cudnnTensorDescriptor_t y, void *to, const void *value) {
  if (!handle || !y || !to || !value) return BAD;
  if (!is_real(y->type)) return UNSUPPORTED;
  COUNT();
  double of_all = real_at((enum real)y->type, value, 0);
  return queue_scaled(__func__, handle, (struct scaled){.y = *y, .to = to, .value = of_all, .alpha = 1});
}

cudnnStatus_t cudnnScaleTensor(cudnnHandle_t handle, cudnnTensorDescriptor_t y, void *to, const void *alpha) {
  if (!handle || !y || !to || !alpha) return BAD;
  if (!is_real(y->type)) return UNSUPPORTED;
  COUNT();
  double factor = factor_value(y->type, alpha);
  return queue_scaled(__func__, handle, (struct scaled){.x = *y, .y = *y, .from = to, .to = to, .alpha = factor});
}
