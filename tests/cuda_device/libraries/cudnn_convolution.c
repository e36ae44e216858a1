/* Convolutions of two dimensions, and their gradients: products of matrices in double, one image and one group at a time.

   The image's patches are a matrix of a row for each channel and place of the kernel, and a column for each place of the
   top; the weights one of a row for each filter. Operands are rounded (reals.h) where the math type lets tensor cores in:
   CUDNN_DEFAULT_MATH and CUDNN_TENSOR_OP_MATH to TF32, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION to half. */
#include "cudnn_convolution.h"
#include "cudnn_activation.h"
#include "products.h"

enum result { IMAGE, WEIGHTS, TOP };

/* A convolution in double, all operands packed: image (N, G C, H, W), weights (G O, C, R, S), top (N, G O, P, Q). */
struct geometry {
  int n, groups, channels, filters, h, w, r, s, p, q;
  struct convolution c;
};

static struct geometry geometry_of(FORWARD) {
  return (struct geometry){x->dims[0], c->groups,  w->dims[1], w->dims[0] / c->groups, x->dims[2], x->dims[3],
                           w->dims[2], w->dims[3], y->dims[2], y->dims[3],             *c};
}

static int rows_of(const struct geometry *g) { return g->channels * g->r * g->s; }
static int columns_of(const struct geometry *g) { return g->p * g->q; }

/* Calls `visit` for every row of the patches and every column whose place lies in the image. */
typedef void visitor(void *to, int row, int column, double *pixel);

static inline __attribute__((always_inline)) void each_entry(const struct geometry *g, double *image, visitor *visit,
                                                             void *to) {
  for (int row = 0; row < rows_of(g); row++) {
    int channel = row / (g->r * g->s), r = row / g->s % g->r, s = row % g->s;
    if (g->c.mode == CUDNN_CONVOLUTION) r = g->r - 1 - r, s = g->s - 1 - s;
    for (int p = 0; p < g->p; p++) {
      int y = p * g->c.stride[0] - g->c.padding[0] + r * g->c.dilation[0];
      if (y < 0 || y >= g->h) continue;
      for (int q = 0; q < g->q; q++) {
        int x = q * g->c.stride[1] - g->c.padding[1] + s * g->c.dilation[1];
        if (x >= 0 && x < g->w) visit(to, row, p * g->q + q, &image[((size_t)channel * g->h + y) * g->w + x]);
      }
    }
  }
}

static inline void read_by_row(void *to, int row, int column, double *pixel) { *panel_entry(to, column, row) = *pixel; }
static inline void read_by_column(void *to, int row, int column, double *pixel) { *panel_entry(to, row, column) = *pixel; }

struct patches { const double *sums; int columns; };

static inline void add_to_image(void *from, int row, int column, double *pixel) {
  const struct patches *p = from;
  *pixel += p->sums[(size_t)row * p->columns + column];
}

/* A packed matrix as panels, of its columns or of its rows. */
static struct panels panels_of(const double *matrix, int rows, int columns, int by_row) {
  struct panels to = by_row ? new_panels(rows, columns) : new_panels(columns, rows);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++)
      *(by_row ? panel_entry(&to, i, j) : panel_entry(&to, j, i)) = matrix[(size_t)i * columns + j];
  return to;
}

static void add_top(const struct geometry *g, double *image, const double *weights, double *top) {
  struct panels w = panels_of(weights, g->filters, rows_of(g), 1), patches = new_panels(columns_of(g), rows_of(g));
  each_entry(g, image, read_by_row, &patches);
  add_products(&w, &patches, top);
  free_panels(&w);
  free_panels(&patches);
}

static void add_image(const struct geometry *g, double *image, const double *weights, const double *top) {
  struct panels w = panels_of(weights, g->filters, rows_of(g), 0), t = panels_of(top, g->filters, columns_of(g), 0);
  struct patches patches = {new_numbers((size_t)rows_of(g) * columns_of(g)), columns_of(g)};
  add_products(&w, &t, (double *)patches.sums);
  each_entry(g, image, add_to_image, &patches);
  free_panels(&w);
  free_panels(&t);
  free((double *)patches.sums);
}

static void add_weights(const struct geometry *g, double *image, double *weights, const double *top) {
  struct panels t = panels_of(top, g->filters, columns_of(g), 1), patches = new_panels(rows_of(g), columns_of(g));
  each_entry(g, image, read_by_column, &patches);
  add_products(&t, &patches, weights);
  free_panels(&t);
  free_panels(&patches);
}

static void convolve(enum result result, const struct geometry *g, double *image, double *weights, double *top) {
  for (int n = 0; n < g->n; n++)
    for (int i = 0; i < g->groups; i++) {
      double *x = image + ((size_t)n * g->groups + i) * g->channels * g->h * g->w;
      double *w = weights + (size_t)i * g->filters * rows_of(g);
      double *y = top + ((size_t)n * g->groups + i) * g->filters * columns_of(g);
      if (result == TOP) add_top(g, x, w, y);
      if (result == IMAGE) add_image(g, x, w, y);
      if (result == WEIGHTS) add_weights(g, x, w, y);
    }
}

/* A call: what is not the result is read. `bias`, `addend` and `activation` belong to the fused forward pass. */
struct call {
  enum result result;
  enum rounding rounding;
  struct convolution c;
  struct tensor x, w, y, z, b;
  const void *image, *weights, *top, *addend, *bias;
  void *out, *workspace;
  size_t size;
  double alpha, beta;
  struct activation activation;
};

static struct tensor *result_tensor(struct call *c) {
  return c->result == IMAGE ? &c->x : c->result == WEIGHTS ? &c->w : &c->y;
}

static double *operand_of(const struct call *c, enum result which, const struct tensor *t, const void *data) {
  return which == c->result ? new_numbers(elements(t)) : numbers_of(t, data, t, c->rounding);
}

/* y = activation(alpha sums + beta z + bias), which leaves store_numbers nothing to scale. */
static void finish(const struct call *c, double *sums) {
  double *bias = numbers_of(&c->b, c->bias, &c->y, IN_FULL);
  double *addend = c->beta != 0 ? numbers_of(&c->z, c->addend, &c->y, IN_FULL) : NULL;
  for (size_t i = 0; i < elements(&c->y); i++)
    sums[i] = activated(&c->activation, c->alpha * sums[i] + (addend ? c->beta * addend[i] : 0) + bias[i]);
  free(bias);
  free(addend);
}

static void run_convolution(void *payload, struct operation *call) {
  struct call *c = payload;
  struct filter w = {.n = 4};
  memcpy(w.dims, c->w.dims, sizeof w.dims);
  struct geometry g = geometry_of(&c->x, &w, &c->c, &c->y);
  double *image = operand_of(c, IMAGE, &c->x, c->image), *weights = operand_of(c, WEIGHTS, &c->w, c->weights);
  double *top = operand_of(c, TOP, &c->y, c->top);
  convolve(c->result, &g, image, weights, top);
  double *sums = c->result == IMAGE ? image : c->result == WEIGHTS ? weights : top;
  if (c->bias) finish(c, sums);
  if (c->size) memset(c->workspace, 0xff, c->size); /* NaN: nobody may count on what was there */
  store_numbers(result_tensor(c), c->out, sums, c->bias ? 1 : c->alpha, c->bias ? 0 : c->beta);
  free(image);
  free(weights);
  free(top);
}

static enum rounding rounding_of(cudnnHandle_t handle, const struct convolution *c, cudnnDataType_t type) {
  if (type != CUDNN_DATA_FLOAT || c->math == CUDNN_FMA_MATH || !handle->tf32) return IN_FULL;
  return c->math == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION ? TO_HALF : TO_TF32;
}

static cudnnStatus_t queue_convolution(const char *name, cudnnHandle_t handle, struct call c) {
  double flop = 2. * elements(&c.w) * c.y.dims[0] * c.y.dims[2] * c.y.dims[3];
  c.rounding = rounding_of(handle, &c.c, c.x.type);
  struct operation *call = device_call(name, flop, run_convolution, &c, sizeof c);
  if (c.result != IMAGE) tensor_operand(call, "the image", &c.x, c.image, DEVICE_READ);
  if (c.result != WEIGHTS) tensor_operand(call, "the weights", &c.w, c.weights, DEVICE_READ);
  if (c.result != TOP) tensor_operand(call, "the top", &c.y, c.top, DEVICE_READ);
  if (c.bias) tensor_operand(call, "the bias", &c.b, c.bias, DEVICE_READ);
  int in_place = c.bias && c.beta != 0 && c.addend == c.out;
  if (c.bias && c.beta != 0) tensor_operand(call, "the addend", &c.z, c.addend, DEVICE_READ);
  result_operand(call, "the result", result_tensor(&c), c.out, c.bias ? 0 : c.beta);
  const long size[] = {(long)c.size}, one[] = {1};
  if (c.size) device_operand(call, "the workspace", c.workspace, DEVICE_WRITE, 1, 1, size, one);
  return queued(handle->stream, call, in_place) ? FAILED : OK;
}

#define HAS(...) all_there((const void *const[]){__VA_ARGS__, handle, alpha, beta, image, weights, top}, \
                           sizeof((const void *const[]){__VA_ARGS__}) / sizeof(void *) + 6)

static int all_there(const void *const *pointers, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!pointers[i]) return 0;
  return 1;
}

/* What the four calls have in common: `x`, `w`, `c`, `y` and their data have these names in each. */
#define OPERANDS(which, to) \
  .result = which, .c = *c, .x = *x, .w = filter_tensor(w), .y = *y, .image = image, .weights = weights, .top = top, \
  .out = to, .workspace = workspace, .size = workspace_of(algorithm), .alpha = factor_value(x->type, alpha), \
  .beta = factor_value(x->type, beta)

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                      const void *image, cudnnFilterDescriptor_t w, const void *weights,
                                      cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm,
                                      void *workspace, size_t size, const void *beta, cudnnTensorDescriptor_t y,
                                      void *top) {
  if (!HAS(x, w, c, y)) return BAD;
  cudnnStatus_t status = admitted(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  COUNT();
  return queue_convolution(__func__, handle, (struct call){OPERANDS(TOP, top)});
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, cudnnFilterDescriptor_t w,
                                           const void *weights, cudnnTensorDescriptor_t y, const void *top,
                                           cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t algorithm,
                                           void *workspace, size_t size, const void *beta, cudnnTensorDescriptor_t x,
                                           void *image) {
  if (!HAS(x, w, c, y)) return BAD;
  cudnnStatus_t status = admitted(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  COUNT();
  return queue_convolution(__func__, handle, (struct call){OPERANDS(IMAGE, image)});
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                             const void *image, cudnnTensorDescriptor_t y, const void *top,
                                             cudnnConvolutionDescriptor_t c,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void *workspace, size_t size,
                                             const void *beta, cudnnFilterDescriptor_t w, void *weights) {
  if (!HAS(x, w, c, y)) return BAD;
  cudnnStatus_t status = admitted(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  COUNT();
  return queue_convolution(__func__, handle, (struct call){OPERANDS(WEIGHTS, weights)});
}

/* Whether a tensor has one entry for each channel of another one. */
static int is_bias_of(const struct tensor *b, const struct tensor *y) {
  return b->n == y->n && b->type == y->type && b->dims[1] == y->dims[1] && elements(b) == (size_t)b->dims[1];
}

/* y = activation(alpha convolution + beta z + bias); the real one takes ReLU, and the identity with algorithm 1. */
cudnnStatus_t cudnnConvolutionBiasActivationForward(
    cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x, const void *image, cudnnFilterDescriptor_t w,
    const void *weights, cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm, void *workspace,
    size_t size, const void *beta, cudnnTensorDescriptor_t z, const void *addend, cudnnTensorDescriptor_t b,
    const void *bias, cudnnActivationDescriptor_t a, cudnnTensorDescriptor_t y, void *top) {
  if (!HAS(x, w, c, y, z, addend, b, bias, a)) return BAD;
  if (a->mode == CUDNN_ACTIVATION_IDENTITY && algorithm != 1) return UNSUPPORTED;
  if (a->mode != CUDNN_ACTIVATION_IDENTITY && a->mode != CUDNN_ACTIVATION_RELU) return UNSUPPORTED;
  if (!is_bias_of(b, y) || !same_dims(z, y) || z->type != y->type) return BAD;
  cudnnStatus_t status = admitted(x, w, c, y, algorithm, workspace, size);
  if (status) return status;
  COUNT();
  return queue_convolution(__func__, handle, (struct call){
    OPERANDS(TOP, top), .z = *z, .addend = addend, .b = *b, .bias = bias, .activation = *a});
}

struct bias_call {
  struct tensor y, b;
  const void *top;
  void *bias;
  double alpha, beta;
};

static void sum_by_channel(void *payload, struct operation *call) {
  const struct bias_call *c = payload;
  int channels = c->b.dims[1];
  size_t area = elements(&c->y) / c->y.dims[0] / channels;
  double *top = numbers_of(&c->y, c->top, &c->y, IN_FULL), *sums = new_numbers(channels);
  for (size_t i = 0; i < elements(&c->y); i++) sums[i / area % channels] += top[i];
  store_numbers(&c->b, c->bias, sums, c->alpha, c->beta);
  free(top);
  free(sums);
}

cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t y,
                                           const void *top, const void *beta, cudnnTensorDescriptor_t b, void *bias) {
  if (!handle || !alpha || !y || !top || !beta || !b || !bias || !is_bias_of(b, y)) return BAD;
  if (y->n < 4 || !is_real(y->type)) return UNSUPPORTED;
  COUNT();
  struct bias_call c = {*y, *b, top, bias, factor_value(y->type, alpha), factor_value(y->type, beta)};
  struct operation *call = device_call(__func__, elements(y), sum_by_channel, &c, sizeof c);
  tensor_operand(call, "the top", y, top, DEVICE_READ);
  result_operand(call, "the bias", b, bias, c.beta);
  return queued(handle->stream, call, 0) ? FAILED : OK;
}
