/* A vector of float32, of which the kernels of convolutions are made: as wide as the processor has registers for. */
#ifndef FASTVAE_VECTOR_H
#define FASTVAE_VECTOR_H

#include <immintrin.h>

#ifdef __AVX512F__
#define WIDTH 16 /* floats of a vector */
#else
#define WIDTH 8
#endif

/* Whether there are registers of that width, and fused multiplication and addition: else oneDNN's kernels, which it
 * compiles for the processor at hand, are faster. */
#if defined(__AVX512F__) || defined(__AVX2__) && defined(__FMA__)
#define HAS_VECTORS 1
#else
#define HAS_VECTORS 0
#endif

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int lanes __attribute__((vector_size(4 * WIDTH)));

#endif
