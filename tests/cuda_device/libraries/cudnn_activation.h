/* Activations, which convolutions apply too. */
#ifndef CUDNN_ACTIVATION_H
#define CUDNN_ACTIVATION_H
#include "cudnn_tensors.h"

struct activation {
  cudnnActivationMode_t mode;
  cudnnNanPropagation_t nan;
  double coefficient, swish_beta; /* the ceiling of a clipped ReLU, alpha of ELU */
};

HIDDEN double activated(const struct activation *a, double x);
#endif
