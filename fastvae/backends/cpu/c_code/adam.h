/* The formula of an Adam step, for all Ops that take one. */
#ifndef FASTVAE_ADAM_H
#define FASTVAE_ADAM_H

#include "fastvae.h"
#include "vector.h"
#include <math.h>
#include <string.h>

/* What every element's step has in common; the rate holds the bias corrections. */
typedef struct {
    float rate, beta1, beta2, rest1, rest2, epsilon;
} fv_adam;

/* Settings: beta1, beta2, epsilon. */
static inline fv_adam fv_adam_from(const double *settings, float rate) {
    float beta1 = settings[0], beta2 = settings[1];
    return (fv_adam){rate, beta1, beta2, 1.f - beta1, 1.f - beta2, settings[2]};
}

/* Where a gradient stays 0, as that of a pixel that is never lit, m and v decay to denormal numbers, with which many
 * processors compute some ten times slower, and stay there for ever. Between these two calls they count as 0. No bit of a
 * parameter shows it as long as epsilon is far larger than the root of one; below this epsilon they are kept. */
#define FV_FLUSHING_EPSILON 1e-11f

static inline unsigned fv_flush_denormals(const fv_adam *a) {
    unsigned mode = _mm_getcsr();
    if (a->epsilon >= FV_FLUSHING_EPSILON) _mm_setcsr(mode | 0x8040); /* those of results, and of operands */
    return mode;
}

static inline void fv_keep_denormals(unsigned mode) { _mm_setcsr(mode); }

FV_INLINE vector fv_root(vector x) {
#if defined(__AVX512F__)
    return (vector)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX__)
    return (vector)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < WIDTH; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* The step of a vector of parameters in three pieces: the new moments, of which it returns the first and the second one's
 * root; by how much the parameters change; and that. */
FV_INLINE vector fv_adam_moments(const fv_adam *a, vector g, float *m, float *v, vector *root) {
    vector mean = a->beta1 * *(vector *)m + a->rest1 * g, square = a->beta2 * *(vector *)v + a->rest2 * g * g;
    *(vector *)m = mean;
    *(vector *)v = square;
    *root = fv_root(square);
    return mean;
}

FV_INLINE vector fv_adam_change(const fv_adam *a, vector mean, vector root) {
    return a->rate * mean / (root + a->epsilon);
}

FV_INLINE void fv_adam_vector(const fv_adam *a, vector g, float *p, float *m, float *v) {
    vector root, mean = fv_adam_moments(a, g, m, v, &root);
    *(vector *)p -= fv_adam_change(a, mean, root);
}

/* The step of less than a vector of them. */
__attribute__((noinline, unused)) static void fv_adam_few(const fv_adam *a, const float *g, float *p, float *m, float *v,
                                                          npy_intp n) {
    float all[4][WIDTH] = {{0}}, *from[] = {p, m, v};
    memcpy(all[3], g, n * sizeof(float));
    for (int i = 0; i < 3; i++) memcpy(all[i], from[i], n * sizeof(float));
    fv_adam_vector(a, *(vector *)all[3], all[0], all[1], all[2]);
    for (int i = 0; i < 3; i++) memcpy(from[i], all[i], n * sizeof(float));
}

#endif
