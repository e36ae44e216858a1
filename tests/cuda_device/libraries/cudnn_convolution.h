/* What the files about convolutions share: descriptors, and what every call is held to. */
#ifndef CUDNN_CONVOLUTION_H
#define CUDNN_CONVOLUTION_H
#include "cudnn_tensors.h"

struct filter {
  cudnnDataType_t type;
  cudnnTensorFormat_t format;
  int n, dims[CUDNN_DIM_MAX];
};

enum { MOST_SPATIAL = 6 };

struct convolution {
  int n, padding[MOST_SPATIAL], stride[MOST_SPATIAL], dilation[MOST_SPATIAL], groups;
  cudnnConvolutionMode_t mode;
  cudnnMathType_t math;
  cudnnDataType_t type;
};

/* A filter as a tensor: packed, its channels last where the format says so. */
HIDDEN struct tensor filter_tensor(const struct filter *f);

/* Whether image, weights and top belong together. */
HIDDEN cudnnStatus_t agree(FORWARD);

/* Bytes that an algorithm needs beside its operands; algorithm 1 alone needs any. */
HIDDEN size_t workspace_of(int algorithm);

/* Agreement, workspace and algorithm of a call that is to run; counts its math type and its algorithm. */
HIDDEN cudnnStatus_t admitted(FORWARD, int algorithm, const void *workspace, size_t size);
#endif
