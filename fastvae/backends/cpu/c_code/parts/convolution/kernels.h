/* The kernels for convolutions that oneDNN is not the fastest for. */
#ifndef FASTVAE_CONVOLUTION_KERNELS_H
#define FASTVAE_CONVOLUTION_KERNELS_H

#include "fastvae.h"

/* narrow.c and narrow_weights.c: sizes of a convolution from or to few channels, in its own terms (see convolution.c), and
 * the padding before it. In narrow.c it is a transposed one, from o channels to c; the weights of (top's channel, image's
 * channel) start at o_stride and c_stride times these. */
#define FV_NARROW_CHANNELS 4 /* how many are few */
typedef struct {
    npy_intp n, c, h, w, o, oh, ow, kh, kw, stride[2], dilation[2], pad[2], o_stride, c_stride;
    int flip;
    fv_activation activation;
} fv_narrow;
int fv_narrow_suits(const fv_narrow *g);
size_t fv_narrow_scratch(const fv_narrow *g);
void fv_narrow_transposed(const fv_narrow *g, const float *top, const float *weights, const float *bias, float *images,
                          char *scratch);
int fv_narrow_weights_suits(const fv_narrow *g);
size_t fv_narrow_weights_scratch(const fv_narrow *g);
void fv_narrow_weights_gradient(const fv_narrow *g, const float *images, const float *tops, float *gradient,
                                char *scratch);

/* winograd.c: sizes of a 3x3 convolution of stride 1, contiguous NHWC; the weights of (input channel, output channel)
 * start at in_stride and out_stride times these, and are read backwards where mirrored */
typedef struct {
    npy_intp n, in, in_h, in_w, out, out_h, out_w, pad[2], in_stride, out_stride;
    int mirror;
} fv_winograd;
int fv_winograd_suits(const fv_winograd *g);
size_t fv_winograd_scratch(const fv_winograd *g);
size_t fv_winograd_weights_scratch(const fv_winograd *g);
void fv_winograd_convolve(const fv_winograd *g, const float *images, const float *weights, const float *bias,
                          const fv_activation *activation, float *to, char *scratch);
void fv_winograd_weights_gradient(const fv_winograd *g, const float *images, const float *top, float *gradient,
                                  float *sums, char *scratch);

/* pointwise.c: sizes of a 1x1 convolution of stride 1, contiguous NHWC; the weights of (input channel, output channel)
 * start at in_stride and out_stride times these */
typedef struct {
    npy_intp pixels, in, out, in_stride, out_stride;
} fv_pointwise;
int fv_pointwise_suits(const fv_pointwise *g);
size_t fv_pointwise_scratch(const fv_pointwise *g);
size_t fv_pointwise_weights_scratch(const fv_pointwise *g);
void fv_pointwise_convolve(const fv_pointwise *g, const float *x, const float *weights, const float *bias,
                           const fv_activation *activation, float *y, char *scratch);
void fv_pointwise_weights_gradient(const fv_pointwise *g, const float *x, const float *top, float *gradient,
                                   char *scratch);

#endif
