/* What the C files of the cuDNN backend share. No header of NVIDIA's is needed: cuDNN's functions are declared here, and
 * found in the library when the module is told where it is. */
#ifndef FASTVAE_CUDNN_RUNTIME_H
#define FASTVAE_CUDNN_RUNTIME_H

#include "thunks.h"

#include <gpuarray/array.h>
#include <gpuarray/buffer.h>
#include <gpuarray/extension.h>

#define MAX_ALGORITHMS 8

/* cuDNN's own numbers. */
enum { FLOAT = 0, NCHW = 0, NOT_PROPAGATE_NAN = 0, ACTIVATION_RELU = 1 };
enum { CONVOLUTION = 0, CROSS_CORRELATION = 1 };
enum { DEFAULT_MATH = 0, FMA_MATH = 3 };
enum { SUCCESS = 0, NOT_SUPPORTED = 3000, NOT_SUPPORTED_END = 4000 };

typedef int status;
typedef void *object; /* a handle or descriptor */

typedef struct {
    int algorithm;
    status result;
    float time;
    size_t memory;
    int determinism;
    int math;
    int reserved[3];
} choice;

#define FUNCTIONS(X) \
    X(const char *, cudnnGetErrorString, (status)) \
    X(size_t, cudnnGetVersion, (void)) \
    X(status, cudnnCreate, (object *)) \
    X(status, cudnnDestroy, (object)) \
    X(status, cudnnSetStream, (object, void *)) \
    X(status, cudnnCreateTensorDescriptor, (object *)) \
    X(status, cudnnDestroyTensorDescriptor, (object)) \
    X(status, cudnnSetTensor4dDescriptorEx, (object, int, int, int, int, int, int, int, int, int)) \
    X(status, cudnnCreateFilterDescriptor, (object *)) \
    X(status, cudnnDestroyFilterDescriptor, (object)) \
    X(status, cudnnSetFilter4dDescriptor, (object, int, int, int, int, int, int)) \
    X(status, cudnnCreateConvolutionDescriptor, (object *)) \
    X(status, cudnnDestroyConvolutionDescriptor, (object)) \
    X(status, cudnnSetConvolution2dDescriptor, (object, int, int, int, int, int, int, int, int)) \
    X(status, cudnnSetConvolutionGroupCount, (object, int)) \
    X(status, cudnnSetConvolutionMathType, (object, int)) \
    X(status, cudnnCreateActivationDescriptor, (object *)) \
    X(status, cudnnDestroyActivationDescriptor, (object)) \
    X(status, cudnnSetActivationDescriptor, (object, int, int, double)) \
    X(status, cudnnGetConvolutionForwardAlgorithm_v7, (object, object, object, object, object, int, int *, choice *)) \
    X(status, cudnnGetConvolutionBackwardDataAlgorithm_v7, \
      (object, object, object, object, object, int, int *, choice *)) \
    X(status, cudnnGetConvolutionBackwardFilterAlgorithm_v7, \
      (object, object, object, object, object, int, int *, choice *)) \
    X(status, cudnnFindConvolutionForwardAlgorithmEx, (object, object, const void *, object, const void *, object, \
      object, void *, int, int *, choice *, void *, size_t)) \
    X(status, cudnnFindConvolutionBackwardDataAlgorithmEx, (object, object, const void *, object, const void *, object, \
      object, void *, int, int *, choice *, void *, size_t)) \
    X(status, cudnnFindConvolutionBackwardFilterAlgorithmEx, (object, object, const void *, object, const void *, \
      object, object, void *, int, int *, choice *, void *, size_t)) \
    X(status, cudnnConvolutionForward, (object, const void *, object, const void *, object, const void *, object, int, \
      void *, size_t, const void *, object, void *)) \
    X(status, cudnnConvolutionBackwardData, (object, const void *, object, const void *, object, const void *, object, \
      int, void *, size_t, const void *, object, void *)) \
    X(status, cudnnConvolutionBackwardFilter, (object, const void *, object, const void *, object, const void *, \
      object, int, void *, size_t, const void *, object, void *)) \
    X(status, cudnnConvolutionBackwardBias, (object, const void *, object, const void *, const void *, object, void *)) \
    X(status, cudnnConvolutionBiasActivationForward, (object, const void *, object, const void *, object, const void *, \
      object, int, void *, size_t, const void *, object, const void *, object, const void *, object, object, void *))

#define DECLARED(result, name, arguments) extern result(*fv_##name) arguments;
FUNCTIONS(DECLARED)

/* How all convolutions of the process are to be computed. */
typedef struct {
    int tf32, deterministic, search;
    size_t limit; /* bytes of workspace */
} policy;
extern policy fv_policy;

/* One device: cuDNN's handle on libgpuarray's own stream, and the workspace that its convolutions share, which only
 * grows. They run one after the other on that stream. */
typedef struct device {
    struct device *next;
    gpucontext *context;
    object handle;
    gpudata *workspace;
    size_t size;
} device;

/* runtime.c */
int fv_open(const char *path);
int fv_fail(const char *what, status result);
device *fv_device(gpucontext *context);
int fv_workspace(device *d, size_t size);

/* The workspace of a context with one more reference, NULL if it has none. */
gpudata *fv_held_workspace(gpucontext *context);
void fv_enter(device *d);
void fv_exit(device *d);
int fv_wait(gpudata *data, int flags);
int fv_record(gpudata *data, int flags);

#endif
