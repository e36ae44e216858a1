/* Loops over activations and their gradients, one for each kind. */
#include "fastvae.h"

/* One loop for each kind, chosen before it starts. */
#define FOR_KIND(kind, loop)                                 \
    switch (kind) {                                          \
        case FV_RELU: loop(FV_RELU) break;                   \
        case FV_SIGMOID: loop(FV_SIGMOID) break;             \
        case FV_TANH: loop(FV_TANH) break;                   \
        case FV_SOFTPLUS: loop(FV_SOFTPLUS) break;           \
        case FV_LEAKY_RELU: loop(FV_LEAKY_RELU) break;       \
        case FV_SIGNED_RELU: loop(FV_SIGNED_RELU) break;     \
        case FV_ELU: loop(FV_ELU) break;                     \
        case FV_GELU: loop(FV_GELU) break;                   \
        case FV_GELU_TANH: loop(FV_GELU_TANH) break;         \
        case FV_SWISH: loop(FV_SWISH) break;                 \
        case FV_CLIP: loop(FV_CLIP) break;                   \
        default: break;                                      \
    }

/* The four numbers that `activations.settings` of Python gives. */
fv_activation fv_activation_from(const double *settings) {
    return (fv_activation){settings[0], {settings[1], settings[2], settings[3]}};
}

/* The activation of n numbers, in their place. */
void fv_activate_all(const fv_activation *a, float *x, npy_intp n) {
    const float p[] = {a->p[0], a->p[1], a->p[2]};
#define LOOP(kind)                                                                        \
    _Pragma("omp simd") for (npy_intp i = 0; i < n; i++) x[i] = fv_activate(kind, p, x[i]);
    FOR_KIND(a->kind, LOOP)
#undef LOOP
}

/* The same by all threads, where that pays. */
void fv_activate_threaded(const fv_activation *a, float *x, npy_intp n) {
#pragma omp parallel num_threads(fv_team(n))
    {
        npy_intp from, to;
        fv_share(n, &from, &to);
        fv_activate_all(a, x + from, to - from);
    }
}

/* to = g times the slope, for n numbers; the source is the output where `fv_from_output(a->kind)`, else the argument.
 * `to` may be g or the source. */
void fv_multiply_by_slope(const fv_activation *a, const float *source, const float *g, float *to, npy_intp n) {
    const float p[] = {a->p[0], a->p[1], a->p[2]};
#define LOOP(kind)                                                                                          \
    _Pragma("omp simd") for (npy_intp i = 0; i < n; i++) to[i] = g[i] * fv_slope(kind, p, source[i]);
    FOR_KIND(a->kind, LOOP)
#undef LOOP
}
