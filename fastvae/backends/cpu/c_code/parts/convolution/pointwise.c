/* 1x1 convolutions of stride 1, float32, NHWC: each pixel's channels times one matrix. A block of pixels stays in the
 * first-level cache from its product to its activation. */
#include "kernels.h"
#include "panels.h"
#include <omp.h>
#include <string.h>

#define BLOCK 64 /* pixels, a multiple of 4 */

/* Whether there is a kernel for these channels. */
int fv_pointwise_suits(const fv_pointwise *g) {
    npy_intp least = 2 * WIDTH, most = 256;
    return HAS_VECTORS && g->in % WIDTH == 0 && g->out % WIDTH == 0 && g->in >= least && g->out >= least &&
           g->in <= most && g->out <= most;
}

static size_t weights_bytes(const fv_pointwise *g) { return fv_round(sizeof(float) * g->in * g->out); }

/* Room for the weights, and for the last few pixels before and after them. */
size_t fv_pointwise_scratch(const fv_pointwise *g) {
    return weights_bytes(g) + fv_round(sizeof(float) * 4 * (g->in + g->out));
}

size_t fv_pointwise_weights_scratch(const fv_pointwise *g) { return omp_get_max_threads() * weights_bytes(g); }

/* activation(y + bias) of n pixels in place. */
static void finish(const fv_pointwise *g, float *y, npy_intp n, const float *bias, const fv_activation *activation) {
    int kind = activation->kind, is_leaky = kind == FV_RELU || kind == FV_LEAKY_RELU;
    float slope = kind == FV_LEAKY_RELU ? activation->p[0] : 0;
    if (bias || is_leaky)
        for (npy_intp i = 0; i < n; i++)
            for (npy_intp c = 0; c < g->out; c += WIDTH) {
                vector *at = (vector *)(y + i * g->out + c), v = *at;
                if (bias) v += *(const vector *)(bias + c);
                if (is_leaky) { /* also 0 v keeps a NaN */
                    lanes positive = v > 0;
                    v = (vector)((positive & (lanes)v) | (~positive & (lanes)(slope * v)));
                }
                *at = v;
            }
    if (kind && !is_leaky) fv_activate_all(activation, y, n * g->out);
}

/* The convolution of all pixels by the weights, plus a bias (or NULL), activated. */
void fv_pointwise_convolve(const fv_pointwise *g, const float *x, const float *weights, const float *bias,
                           const fv_activation *activation, float *y, char *scratch) {
    float *matrix = (float *)scratch, *few_x = (float *)(scratch + weights_bytes(g)), *few_y = few_x + 4 * g->in;
    npy_intp whole = g->pixels / 4 * 4, rest = g->pixels - whole;
    for (npy_intp c = 0; c < g->in; c++)
        for (npy_intp o = 0; o < g->out; o++) matrix[c * g->out + o] = weights[c * g->in_stride + o * g->out_stride];
#pragma omp parallel for schedule(static) num_threads(fv_team_of_products(g->pixels * g->in * g->out))
    for (npy_intp first = 0; first < whole; first += BLOCK) {
        npy_intp n = whole - first < BLOCK ? whole - first : BLOCK;
        float *to = y + first * g->out;
        multiply(n, g->out, x + first * g->in, g->in, 1, matrix, to, g->in, 0);
        finish(g, to, n, bias, activation);
    }
    if (!rest) return;
    memset(few_x, 0, sizeof *few_x * 4 * g->in);
    memcpy(few_x, x + whole * g->in, sizeof *few_x * rest * g->in);
    multiply(4, g->out, few_x, g->in, 1, matrix, few_y, g->in, 0);
    finish(g, few_y, rest, bias, activation);
    memcpy(y + whole * g->out, few_y, sizeof *few_y * rest * g->out);
}

/* The gradient with respect to the weights. */
void fv_pointwise_weights_gradient(const fv_pointwise *g, const float *x, const float *top, float *gradient,
                                   char *scratch) {
    int shares = omp_get_max_threads();
    size_t bytes = weights_bytes(g);
    npy_intp blocks = (g->pixels + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(fv_team_of_products(g->pixels * g->in * g->out))
    {
#pragma omp for schedule(static, 1)
        for (int i = 0; i < shares; i++) {
            float *sum = (float *)(scratch + i * bytes);
            memset(sum, 0, bytes);
            for (npy_intp b = blocks * i / shares; b < blocks * (i + 1) / shares; b++) {
                npy_intp first = b * BLOCK, n = g->pixels - first < BLOCK ? g->pixels - first : BLOCK;
                multiply(g->in, g->out, x + first * g->in, 1, g->in, top + first * g->out, sum, n, 1);
            }
        }
#pragma omp for schedule(static)
        for (npy_intp c = 0; c < g->in; c++)
            for (npy_intp o = 0; o < g->out; o++) {
                double sum = 0;
                for (int i = 0; i < shares; i++) sum += ((float *)(scratch + i * bytes))[c * g->out + o];
                gradient[c * g->in_stride + o * g->out_stride] = (float)sum;
            }
    }
}
