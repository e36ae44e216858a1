/* Convolutions by our own kernels: which of them takes one, and how it sees it. Winograd's algorithm (winograd.c) takes 3x3
 * ones of stride 1, pointwise.c 1x1 ones, narrow.c those to few channels, narrow_weights.c the gradients with respect to
 * the weights of those from or to few channels. */
#include "convolution.h"
#include <omp.h>
#include <stdio.h>

/* Whether Winograd's kernel takes this convolution, and how it sees it. A transposed one is a convolution of the top by
 * the weights read backwards, their two channels exchanged. */
static int suits_winograd(const convolution *c, const geometry *g, fv_winograd *w) {
    if (!c->winograd || c->activation.kind == FV_SIGMOID || g->kh != 3 || g->kw != 3 || c->groups != 1) return 0;
    for (int i = 0; i < 2; i++)
        if (c->stride[i] != 1 || c->dilation[i] != 1 || c->pad[i][0] > 2) return 0;
    if (c->direction == DATA)
        *w = (fv_winograd){.n = g->n, .in = g->o, .in_h = g->oh, .in_w = g->ow, .out = g->c, .out_h = g->h, .out_w = g->w,
                           .pad = {2 - c->pad[0][0], 2 - c->pad[1][0]}, .in_stride = 9 * g->c, .out_stride = 9,
                           .mirror = !c->flip};
    else
        *w = (fv_winograd){.n = g->n, .in = g->c, .in_h = g->h, .in_w = g->w, .out = g->o, .out_h = g->oh,
                           .out_w = g->ow, .pad = {c->pad[0][0], c->pad[1][0]}, .in_stride = 9, .out_stride = 9 * g->c,
                           .mirror = c->flip};
    return fv_winograd_suits(w);
}

/* Whether the kernel for 1x1 convolutions takes this one, and how it sees it. */
static int suits_pointwise(const convolution *c, const geometry *g, fv_pointwise *w) {
    if (g->kh != 1 || g->kw != 1 || c->groups != 1) return 0;
    for (int i = 0; i < 2; i++)
        if (c->stride[i] != 1 || c->pad[i][0] || c->pad[i][1]) return 0;
    *w = (fv_pointwise){.pixels = g->n * g->h * g->w, .in = g->c, .out = g->o, .in_stride = 1, .out_stride = g->c};
    if (c->direction == DATA) w->in = g->o, w->out = g->c, w->in_stride = g->c, w->out_stride = 1;
    return fv_pointwise_suits(w);
}

/* Whether there is a kernel of ours for this convolution from or to few channels, and how it sees it. One of stride 1 to
 * few channels is a transposed one by the weights read backwards, their two channels exchanged. */
static int suits_narrow(const convolution *c, const geometry *g, fv_narrow *w) {
    if (c->groups != 1) return 0;
    npy_intp taps = g->kh * g->kw;
    *w = (fv_narrow){.n = g->n, .c = g->c, .h = g->h, .w = g->w, .o = g->o, .oh = g->oh, .ow = g->ow, .kh = g->kh,
                     .kw = g->kw, .stride = {c->stride[0], c->stride[1]}, .dilation = {c->dilation[0], c->dilation[1]},
                     .pad = {c->pad[0][0], c->pad[1][0]}, .o_stride = g->c * taps, .c_stride = taps, .flip = c->flip,
                     .activation = c->activation};
    if (c->direction == WEIGHTS) return fv_narrow_weights_suits(w);
    if (c->direction == FORWARD) {
        npy_intp extent[2] = {(g->kh - 1) * c->dilation[0], (g->kw - 1) * c->dilation[1]};
        for (int i = 0; i < 2; i++)
            if (c->stride[i] != 1 || c->pad[i][0] > extent[i] || c->pad[i][1] > extent[i]) return 0;
        w->c = g->o, w->h = g->oh, w->w = g->ow, w->o = g->c, w->oh = g->h, w->ow = g->w;
        w->pad[0] = extent[0] - c->pad[0][0], w->pad[1] = extent[1] - c->pad[1][0];
        w->o_stride = taps, w->c_stride = g->c * taps, w->flip = !c->flip;
    }
    return fv_narrow_suits(w);
}

/* The kernel for a convolution, if there is one. */
fv_own fv_find_own(const convolution *c, const geometry *g) {
    fv_own own = {NO_KERNEL};
    int weights = c->direction == WEIGHTS;
    if (suits_winograd(c, g, &own.winograd)) {
        own.kernel = WINOGRAD;
        own.scratch = weights ? fv_winograd_weights_scratch(&own.winograd) : fv_winograd_scratch(&own.winograd);
    } else if (suits_pointwise(c, g, &own.pointwise)) {
        own.kernel = POINTWISE;
        own.scratch = weights ? fv_pointwise_weights_scratch(&own.pointwise) : fv_pointwise_scratch(&own.pointwise);
    } else if (suits_narrow(c, g, &own.narrow)) {
        own.kernel = NARROW;
        own.scratch = weights ? fv_narrow_weights_scratch(&own.narrow) : fv_narrow_scratch(&own.narrow);
    }
    return own;
}

/* A line like those of oneDNN's own kernels, for one of ours. */
static void report(const char *kernel, const convolution *c, const geometry *g, double started) {
    static const char *kinds[] = {"convolution,fastvae_%s,forward", "deconvolution,fastvae_%s,forward",
                                  "convolution,fastvae_%s,backward_weights"};
    npy_intp image[] = {g->c, g->h, g->w}, top[] = {g->o, g->oh, g->ow};
    npy_intp *in = c->direction == DATA ? top : image, *out = c->direction == DATA ? image : top;
    char kind[64];
    snprintf(kind, sizeof kind, kinds[c->direction], kernel);
    printf("onednn_verbose,exec,cpu,%s,f32:acdb,,alg:convolution_%s,mb%ld_ic%ldoc%ld_"
           "ih%ldoh%ldkh%ldsh%lddh%ldph%ld_iw%ldow%ldkw%ldsw%lddw%ldpw%ld,%g\n",
           kind, kernel, (long)g->n, (long)in[0], (long)out[0], (long)in[1], (long)out[1], (long)g->kh,
           (long)c->stride[0], (long)c->dilation[0] - 1, (long)c->pad[0][0], (long)in[2], (long)out[2], (long)g->kw,
           (long)c->stride[1], (long)c->dilation[1] - 1, (long)c->pad[1][0], 1e3 * (omp_get_wtime() - started));
    fflush(stdout);
}

static void compute_weights(const fv_own *own, const float *image, const float *top, float *gradient, float *top_sum,
                            char *scratch) {
    if (own->kernel == WINOGRAD) fv_winograd_weights_gradient(&own->winograd, image, top, gradient, top_sum, scratch);
    else if (own->kernel == POINTWISE) fv_pointwise_weights_gradient(&own->pointwise, image, top, gradient, scratch);
    else fv_narrow_weights_gradient(&own->narrow, image, top, gradient, scratch);
}

static void compute_image(const fv_own *own, const fv_activation *activation, const float *from, const float *weights,
                          const float *bias, float *to, char *scratch) {
    if (own->kernel == WINOGRAD) fv_winograd_convolve(&own->winograd, from, weights, bias, activation, to, scratch);
    else if (own->kernel == POINTWISE)
        fv_pointwise_convolve(&own->pointwise, from, weights, bias, activation, to, scratch);
    else fv_narrow_transposed(&own->narrow, from, weights, bias, to, scratch);
}

/* Runs without the GIL. */
void fv_execute_own(const convolution *c, const geometry *g, const fv_own *own, const operands *x, char *scratch) {
    static const char *names[] = {NULL, "winograd", "pointwise", "narrow"};
    double started = fv_verbose() ? omp_get_wtime() : 0;
    char *at = scratch, *room = carve(&at, own->scratch);
    float *image = packed(x->image, &at), *top = packed(x->top, &at), *weights = packed(x->weights, &at);
    if (c->direction == FORWARD) compute_image(own, &c->activation, image, weights, x->bias, top, room);
    else if (c->direction == DATA) compute_image(own, &c->activation, top, weights, x->bias, image, room);
    else {
        int sums_top = c->sum_of == SUM_TOP, summed = sums_top && own->kernel == WINOGRAD; /* which does so on its way */
        compute_weights(own, image, top, weights, summed ? x->sum : NULL, room);
        if (sums_top && !summed) fv_column_sum(x->sum, top, g->n * g->oh * g->ow, g->o, at);
        if (c->sum_of == SUM_IMAGE) fv_column_sum(x->sum, image, g->n * g->h * g->w, g->c, at);
    }
    if (fv_verbose()) report(names[own->kernel], c, g, started);
}
