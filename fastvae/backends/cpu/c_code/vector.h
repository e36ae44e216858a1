/* A vector of float32, of which the kernels of convolutions are made. */
#ifndef FASTVAE_VECTOR_H
#define FASTVAE_VECTOR_H

#define WIDTH 16 /* floats of a vector */

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

#endif
