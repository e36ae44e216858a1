/* The shim for cuBLAS under a profile with TF32: handles are made for tensor cores.
 *
 * libgpuarray knows no such setting. It looks for cublasCreate_v2 in the library of the plain name, which is this one,
 * and for everything else finds cuBLAS behind it. CUBLAS is cuBLAS's own name, such as "libcublas.so.12". */
#include <dlfcn.h>

enum { NOT_INITIALIZED = 1, TF32_TENSOR_OP_MATH = 3 }; /* cuBLAS's own numbers */

int cublasCreate_v2(void **handle) {
    void *library = dlopen(CUBLAS, RTLD_NOW | RTLD_NOLOAD);
    if (!library) return NOT_INITIALIZED;
    int (*create)(void **) = (int (*)(void **))dlsym(library, "cublasCreate_v2");
    int (*destroy)(void *) = (int (*)(void *))dlsym(library, "cublasDestroy_v2");
    int (*set_math_mode)(void *, int) = (int (*)(void *, int))dlsym(library, "cublasSetMathMode");
    int status = create && destroy && set_math_mode ? create(handle) : NOT_INITIALIZED;
    if (!status && (status = set_math_mode(*handle, TF32_TENSOR_OP_MATH))) destroy(*handle);
    dlclose(library);
    return status;
}
