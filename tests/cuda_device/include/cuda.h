/* As much of CUDA's header as theano's stock cuDNN Ops need, through gpuarray/ext_cuda.h. */
#pragma once
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef unsigned long long CUdeviceptr;
typedef struct { char reserved[64]; } CUipcMemHandle;
