/* As much of cuDNN's header as theano 1.0.5's stock Ops and cudnn.c need. The three functions that choose an algorithm
   within a limit of workspace, and their enums, are cuDNN 7's: theano needs them, and cuDNN 8 dropped them. */
#pragma once
#include <stddef.h>

#define CUDNN_MAJOR 9
#define CUDNN_VERSION 91002
#define CUDNN_DIM_MAX 8

#ifdef __cplusplus
extern "C" {
#endif

typedef struct handle *cudnnHandle_t;
typedef struct tensor *cudnnTensorDescriptor_t;
typedef struct filter *cudnnFilterDescriptor_t;
typedef struct convolution *cudnnConvolutionDescriptor_t;
typedef struct activation *cudnnActivationDescriptor_t;
typedef struct pooling *cudnnPoolingDescriptor_t;
typedef struct elementwise *cudnnOpTensorDescriptor_t;
typedef struct reduction *cudnnReduceTensorDescriptor_t;

typedef enum {
  CUDNN_STATUS_SUCCESS = 0,
  CUDNN_STATUS_NOT_INITIALIZED = 1001,
  CUDNN_STATUS_BAD_PARAM = 2000,
  CUDNN_STATUS_NOT_SUPPORTED = 3000,
  CUDNN_STATUS_EXECUTION_FAILED = 5000
} cudnnStatus_t;
typedef enum {
  CUDNN_DATA_FLOAT,
  CUDNN_DATA_DOUBLE,
  CUDNN_DATA_HALF,
  CUDNN_DATA_INT8,
  CUDNN_DATA_INT32,
  CUDNN_DATA_INT8x4,
  CUDNN_DATA_LAST = 16
} cudnnDataType_t;
typedef enum { CUDNN_TENSOR_NCHW, CUDNN_TENSOR_NHWC, CUDNN_TENSOR_NCHW_VECT_C } cudnnTensorFormat_t;
typedef enum { CUDNN_CONVOLUTION, CUDNN_CROSS_CORRELATION } cudnnConvolutionMode_t;
typedef enum { CUDNN_DEFAULT_MATH, CUDNN_TENSOR_OP_MATH, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION, CUDNN_FMA_MATH }
    cudnnMathType_t;
typedef enum { CUDNN_NON_DETERMINISTIC, CUDNN_DETERMINISTIC } cudnnDeterminism_t;
typedef enum { CUDNN_NOT_PROPAGATE_NAN, CUDNN_PROPAGATE_NAN } cudnnNanPropagation_t;
typedef enum {
  CUDNN_ACTIVATION_SIGMOID,
  CUDNN_ACTIVATION_RELU,
  CUDNN_ACTIVATION_TANH,
  CUDNN_ACTIVATION_CLIPPED_RELU,
  CUDNN_ACTIVATION_ELU,
  CUDNN_ACTIVATION_IDENTITY,
  CUDNN_ACTIVATION_SWISH
} cudnnActivationMode_t;
typedef enum {
  CUDNN_POOLING_MAX,
  CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING,
  CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING,
  CUDNN_POOLING_MAX_DETERMINISTIC
} cudnnPoolingMode_t;
typedef enum { CUDNN_BATCHNORM_PER_ACTIVATION, CUDNN_BATCHNORM_SPATIAL, CUDNN_BATCHNORM_SPATIAL_PERSISTENT }
    cudnnBatchNormMode_t;
#define CUDNN_BN_MIN_EPSILON 0.0
typedef enum {
  CUDNN_OP_TENSOR_ADD,
  CUDNN_OP_TENSOR_MUL,
  CUDNN_OP_TENSOR_MIN,
  CUDNN_OP_TENSOR_MAX,
  CUDNN_OP_TENSOR_SQRT,
  CUDNN_OP_TENSOR_NOT
} cudnnOpTensorOp_t;
typedef enum {
  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
  CUDNN_CONVOLUTION_FWD_ALGO_GEMM,
  CUDNN_CONVOLUTION_FWD_ALGO_DIRECT,
  CUDNN_CONVOLUTION_FWD_ALGO_FFT,
  CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING,
  CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD,
  CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED
} cudnnConvolutionFwdAlgo_t;
typedef enum {
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING
} cudnnConvolutionBwdFilterAlgo_t;
typedef enum {
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED
} cudnnConvolutionBwdDataAlgo_t;
enum {
  CUDNN_CONVOLUTION_FWD_SPECIFY_WORKSPACE_LIMIT = 2,
  CUDNN_CONVOLUTION_BWD_DATA_SPECIFY_WORKSPACE_LIMIT = 2,
  CUDNN_CONVOLUTION_BWD_FILTER_SPECIFY_WORKSPACE_LIMIT = 2
};
typedef enum {
  CUDNN_REDUCE_TENSOR_ADD,
  CUDNN_REDUCE_TENSOR_MUL,
  CUDNN_REDUCE_TENSOR_MIN,
  CUDNN_REDUCE_TENSOR_MAX,
  CUDNN_REDUCE_TENSOR_AMAX,
  CUDNN_REDUCE_TENSOR_AVG,
  CUDNN_REDUCE_TENSOR_NORM1,
  CUDNN_REDUCE_TENSOR_NORM2,
  CUDNN_REDUCE_TENSOR_MUL_NO_ZEROS
} cudnnReduceTensorOp_t;
typedef enum { CUDNN_REDUCE_TENSOR_NO_INDICES, CUDNN_REDUCE_TENSOR_FLATTENED_INDICES } cudnnReduceTensorIndices_t;
typedef enum { CUDNN_32BIT_INDICES, CUDNN_64BIT_INDICES, CUDNN_16BIT_INDICES, CUDNN_8BIT_INDICES } cudnnIndicesType_t;

#define PERF(name) \
  typedef struct { \
    name##Algo_t algo; \
    cudnnStatus_t status; \
    float time; \
    size_t memory; \
    cudnnDeterminism_t determinism; \
    cudnnMathType_t mathType; \
    int reserved[3]; \
  } name##AlgoPerf_t;
PERF(cudnnConvolutionFwd)
PERF(cudnnConvolutionBwdData)
PERF(cudnnConvolutionBwdFilter)

size_t cudnnGetVersion(void);
size_t cudnnGetCudartVersion(void);
const char *cudnnGetErrorString(cudnnStatus_t status);
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle);
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle);
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, void *stream);
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, void **stream);

#define OBJECT(Name) \
  cudnnStatus_t cudnnCreate##Name##Descriptor(cudnn##Name##Descriptor_t *descriptor); \
  cudnnStatus_t cudnnDestroy##Name##Descriptor(cudnn##Name##Descriptor_t descriptor);
OBJECT(Tensor)
OBJECT(Filter)
OBJECT(Convolution)
OBJECT(Activation)
OBJECT(Pooling)
OBJECT(OpTensor)
OBJECT(ReduceTensor)

cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t t, cudnnDataType_t type, int n, const int *dims,
                                         const int *strides);
cudnnStatus_t cudnnGetTensorNdDescriptor(cudnnTensorDescriptor_t t, int room, cudnnDataType_t *type, int *n, int *dims,
                                         int *strides);
cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t t, cudnnDataType_t type, int n, int c, int h, int w,
                                           int n_stride, int c_stride, int h_stride, int w_stride);
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t t, cudnnTensorFormat_t format, cudnnDataType_t type,
                                         int n, int c, int h, int w);
cudnnStatus_t cudnnGetTensorSizeInBytes(cudnnTensorDescriptor_t t, size_t *size);
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int n, const int *dims);
cudnnStatus_t cudnnGetFilterNdDescriptor(cudnnFilterDescriptor_t f, int room, cudnnDataType_t *type,
                                         cudnnTensorFormat_t *format, int *n, int *dims);
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int o, int c, int h, int w);
cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int n, const int *padding,
                                              const int *stride, const int *dilation, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t type);
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t c, int ph, int pw, int sh, int sw, int dh,
                                              int dw, cudnnConvolutionMode_t mode, cudnnDataType_t type);
cudnnStatus_t cudnnGetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int room, int *n, int *padding,
                                              int *stride, int *dilation, cudnnConvolutionMode_t *mode,
                                              cudnnDataType_t *type);
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int groups);
cudnnStatus_t cudnnGetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int *groups);
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math);
cudnnStatus_t cudnnGetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t *math);
cudnnStatus_t cudnnGetConvolutionNdForwardOutputDim(cudnnConvolutionDescriptor_t c, cudnnTensorDescriptor_t x,
                                                    cudnnFilterDescriptor_t w, int n, int *dims);
cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t a, cudnnActivationMode_t mode,
                                           cudnnNanPropagation_t nan, double coefficient);

/* The operands of the three directions, in cuDNN's order. */
#define FORWARD cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t c, \
  cudnnTensorDescriptor_t y
#define BACKWARD_DATA cudnnFilterDescriptor_t w, cudnnTensorDescriptor_t y, cudnnConvolutionDescriptor_t c, \
  cudnnTensorDescriptor_t x
#define BACKWARD_FILTER cudnnTensorDescriptor_t x, cudnnTensorDescriptor_t y, cudnnConvolutionDescriptor_t c, \
  cudnnFilterDescriptor_t w
#define CHOICE(Name, Short, OPERANDS) \
  cudnnStatus_t cudnnGetConvolution##Name##Algorithm_v7(cudnnHandle_t handle, OPERANDS, int room, int *n, \
                                                        cudnnConvolution##Short##AlgoPerf_t *found); \
  cudnnStatus_t cudnnGetConvolution##Name##Algorithm(cudnnHandle_t handle, OPERANDS, int preference, size_t limit, \
                                                     cudnnConvolution##Short##Algo_t *algorithm); \
  cudnnStatus_t cudnnGetConvolution##Name##WorkspaceSize(cudnnHandle_t handle, OPERANDS, \
                                                         cudnnConvolution##Short##Algo_t algorithm, size_t *size);
CHOICE(Forward, Fwd, FORWARD)
CHOICE(BackwardData, BwdData, BACKWARD_DATA)
CHOICE(BackwardFilter, BwdFilter, BACKWARD_FILTER)

#define SEARCH(Name, Short, A, B, C) \
  cudnnStatus_t cudnnFindConvolution##Name##AlgorithmEx( \
      cudnnHandle_t handle, A a, const void *p, B b, const void *q, cudnnConvolutionDescriptor_t c, C d, void *out, \
      int room, int *n, cudnnConvolution##Short##AlgoPerf_t *found, void *workspace, size_t size);
SEARCH(Forward, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t)
SEARCH(BackwardData, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t)
SEARCH(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t)

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                      const void *image, cudnnFilterDescriptor_t w, const void *weights,
                                      cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm,
                                      void *workspace, size_t size, const void *beta, cudnnTensorDescriptor_t y,
                                      void *top);
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, cudnnFilterDescriptor_t w,
                                           const void *weights, cudnnTensorDescriptor_t y, const void *top,
                                           cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t algorithm,
                                           void *workspace, size_t size, const void *beta, cudnnTensorDescriptor_t x,
                                           void *image);
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                             const void *image, cudnnTensorDescriptor_t y, const void *top,
                                             cudnnConvolutionDescriptor_t c,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void *workspace, size_t size,
                                             const void *beta, cudnnFilterDescriptor_t w, void *weights);
cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t y,
                                           const void *top, const void *beta, cudnnTensorDescriptor_t b, void *bias);
cudnnStatus_t cudnnConvolutionBiasActivationForward(
    cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x, const void *image, cudnnFilterDescriptor_t w,
    const void *weights, cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm, void *workspace,
    size_t size, const void *beta, cudnnTensorDescriptor_t z, const void *addend, cudnnTensorDescriptor_t b,
    const void *bias, cudnnActivationDescriptor_t a, cudnnTensorDescriptor_t y, void *top);

cudnnStatus_t cudnnSetActivationDescriptorSwishBeta(cudnnActivationDescriptor_t a, double beta);
cudnnStatus_t cudnnActivationForward(cudnnHandle_t handle, cudnnActivationDescriptor_t a, const void *alpha,
                                     cudnnTensorDescriptor_t x, const void *from, const void *beta,
                                     cudnnTensorDescriptor_t y, void *to);
cudnnStatus_t cudnnActivationBackward(cudnnHandle_t handle, cudnnActivationDescriptor_t a, const void *alpha,
                                      cudnnTensorDescriptor_t y, const void *value, cudnnTensorDescriptor_t dy,
                                      const void *gradient, cudnnTensorDescriptor_t x, const void *from,
                                      const void *beta, cudnnTensorDescriptor_t dx, void *to);

cudnnStatus_t cudnnSetPoolingNdDescriptor(cudnnPoolingDescriptor_t p, cudnnPoolingMode_t mode,
                                          cudnnNanPropagation_t nan, int n, const int *window, const int *padding,
                                          const int *stride);
cudnnStatus_t cudnnGetPoolingNdDescriptor(cudnnPoolingDescriptor_t p, int room, cudnnPoolingMode_t *mode,
                                          cudnnNanPropagation_t *nan, int *n, int *window, int *padding, int *stride);
cudnnStatus_t cudnnSetPooling2dDescriptor(cudnnPoolingDescriptor_t p, cudnnPoolingMode_t mode,
                                          cudnnNanPropagation_t nan, int window_h, int window_w, int padding_h,
                                          int padding_w, int stride_h, int stride_w);
cudnnStatus_t cudnnGetPoolingNdForwardOutputDim(cudnnPoolingDescriptor_t p, cudnnTensorDescriptor_t x, int n, int *dims);
cudnnStatus_t cudnnGetPooling2dForwardOutputDim(cudnnPoolingDescriptor_t p, cudnnTensorDescriptor_t x, int *n, int *c,
                                                int *h, int *w);
cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, cudnnPoolingDescriptor_t p, const void *alpha,
                                  cudnnTensorDescriptor_t x, const void *from, const void *beta,
                                  cudnnTensorDescriptor_t y, void *to);
cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, cudnnPoolingDescriptor_t p, const void *alpha,
                                   cudnnTensorDescriptor_t y, const void *value, cudnnTensorDescriptor_t dy,
                                   const void *gradient, cudnnTensorDescriptor_t x, const void *from, const void *beta,
                                   cudnnTensorDescriptor_t dx, void *to);

cudnnStatus_t cudnnDeriveBNTensorDescriptor(cudnnTensorDescriptor_t derived, cudnnTensorDescriptor_t x,
                                            cudnnBatchNormMode_t mode);
cudnnStatus_t cudnnBatchNormalizationForwardTraining(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta, cudnnTensorDescriptor_t x,
    const void *from, cudnnTensorDescriptor_t y, void *to, cudnnTensorDescriptor_t parameters, const void *scale,
    const void *bias, double factor, void *running_mean, void *running_variance, double epsilon, void *saved_mean,
    void *saved_inverse);
cudnnStatus_t cudnnBatchNormalizationForwardInference(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta, cudnnTensorDescriptor_t x,
    const void *from, cudnnTensorDescriptor_t y, void *to, cudnnTensorDescriptor_t parameters, const void *scale,
    const void *bias, const void *mean, const void *variance, double epsilon);
cudnnStatus_t cudnnBatchNormalizationBackward(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta, const void *alpha_parameters,
    const void *beta_parameters, cudnnTensorDescriptor_t x, const void *from, cudnnTensorDescriptor_t dy,
    const void *gradient, cudnnTensorDescriptor_t dx, void *to, cudnnTensorDescriptor_t parameters, const void *scale,
    void *scale_gradient, void *bias_gradient, double epsilon, const void *saved_mean, const void *saved_inverse);

cudnnStatus_t cudnnSetOpTensorDescriptor(cudnnOpTensorDescriptor_t o, cudnnOpTensorOp_t op, cudnnDataType_t type,
                                         cudnnNanPropagation_t nan);
cudnnStatus_t cudnnOpTensor(cudnnHandle_t handle, cudnnOpTensorDescriptor_t o, const void *alpha_a,
                            cudnnTensorDescriptor_t a, const void *from_a, const void *alpha_b,
                            cudnnTensorDescriptor_t b, const void *from_b, const void *beta, cudnnTensorDescriptor_t c,
                            void *to);
cudnnStatus_t cudnnAddTensor(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t a, const void *from,
                             const void *beta, cudnnTensorDescriptor_t c, void *to);
cudnnStatus_t cudnnTransformTensor(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x, const void *from,
                                   const void *beta, cudnnTensorDescriptor_t y, void *to);
cudnnStatus_t cudnnSetTensor(cudnnHandle_t handle, cudnnTensorDescriptor_t y, void *to, const void *value);
cudnnStatus_t cudnnScaleTensor(cudnnHandle_t handle, cudnnTensorDescriptor_t y, void *to, const void *alpha);

cudnnStatus_t cudnnSetReduceTensorDescriptor(cudnnReduceTensorDescriptor_t r, cudnnReduceTensorOp_t op,
                                             cudnnDataType_t type, cudnnNanPropagation_t nan,
                                             cudnnReduceTensorIndices_t indices, cudnnIndicesType_t index);
cudnnStatus_t cudnnGetReductionWorkspaceSize(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r,
                                             cudnnTensorDescriptor_t a, cudnnTensorDescriptor_t c, size_t *size);
cudnnStatus_t cudnnGetReductionIndicesSize(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r,
                                           cudnnTensorDescriptor_t a, cudnnTensorDescriptor_t c, size_t *size);
cudnnStatus_t cudnnReduceTensor(cudnnHandle_t handle, cudnnReduceTensorDescriptor_t r, void *indices,
                                size_t indices_size, void *workspace, size_t size, const void *alpha,
                                cudnnTensorDescriptor_t a, const void *from, const void *beta,
                                cudnnTensorDescriptor_t c, void *to);

#ifdef __cplusplus
}
#endif
