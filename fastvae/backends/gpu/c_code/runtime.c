/* cuDNN's functions, one handle a device on libgpuarray's stream, and the workspace. */
#define _GNU_SOURCE
#include "cudnn_runtime.h"
#include <dlfcn.h>
#include <stdlib.h>

#define DEFINED(result, name, arguments) result(*fv_##name) arguments;
FUNCTIONS(DEFINED)

policy fv_policy;
static device *devices;
static int is_open;

static void (*enter)(gpucontext *), (*leave)(gpucontext *);
static void *(*stream_of)(void *);
static int (*wait_for)(gpudata *, int), (*record)(gpudata *, int);

/* Finds every function of cuDNN and every extension of libgpuarray that is used. */
int fv_open(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        PyErr_Format(PyExc_OSError, "cuDNN does not load: %s", dlerror());
        return -1;
    }
#define FOUND(result, name, arguments) \
    if (!(fv_##name = (result(*) arguments)dlsym(library, #name))) { \
        PyErr_Format(PyExc_OSError, "%s has no function " #name ": cuDNN 9 is needed", path); \
        return -1; \
    }
    FUNCTIONS(FOUND)
    enter = (void (*)(gpucontext *))gpuarray_get_extension("cuda_enter");
    leave = (void (*)(gpucontext *))gpuarray_get_extension("cuda_exit");
    stream_of = (void *(*)(void *))gpuarray_get_extension("cuda_get_stream");
    wait_for = (int (*)(gpudata *, int))gpuarray_get_extension("cuda_wait");
    record = (int (*)(gpudata *, int))gpuarray_get_extension("cuda_record");
    if (enter && leave && stream_of && wait_for && record) {
        is_open = 1;
        return 0;
    }
    PyErr_SetString(PyExc_OSError, "this libgpuarray was built without CUDA");
    return -1;
}

int fv_fail(const char *what, status result) {
    PyErr_Format(PyExc_RuntimeError, "cuDNN: %s failed with %s (%d)", what, fv_cudnnGetErrorString(result), result);
    return -1;
}

void fv_enter(device *d) { enter(d->context); }
void fv_exit(device *d) { leave(d->context); }
int fv_wait(gpudata *data, int flags) { return wait_for(data, flags); }
int fv_record(gpudata *data, int flags) { return record(data, flags); }

/* The device of a context, made on its first use; it lives as long as the process, as Theano's contexts do. */
device *fv_device(gpucontext *context) {
    for (device *d = devices; d; d = d->next)
        if (d->context == context) return d;
    if (!is_open) {
        PyErr_SetString(PyExc_RuntimeError, "a convolution before open_cudnn()");
        return NULL;
    }
    device *d = calloc(1, sizeof *d);
    if (!d) {
        PyErr_NoMemory();
        return NULL;
    }
    d->context = context;
    fv_enter(d);
    status s = fv_cudnnCreate(&d->handle);
    const char *what = "cudnnCreate (is the driver too old?)";
    if (!s) {
        what = "cudnnSetStream";
        if ((s = fv_cudnnSetStream(d->handle, stream_of(context)))) fv_cudnnDestroy(d->handle);
    }
    fv_exit(d);
    if (s) {
        free(d);
        fv_fail(what, s);
        return NULL;
    }
    d->next = devices;
    return devices = d;
}

/* A workspace of at least so many bytes. libgpuarray keeps the old one until the stream has passed its last use. */
int fv_workspace(device *d, size_t size) {
    if (size <= d->size) return 0;
    int error = 0;
    gpudata *larger = gpudata_alloc(d->context, size, NULL, 0, &error);
    if (!larger) {
        PyErr_Format(PyExc_MemoryError, "no %zu bytes of workspace for a convolution: %s", size,
                     gpucontext_error(d->context, error));
        return -1;
    }
    if (d->workspace) gpudata_release(d->workspace);
    d->workspace = larger;
    d->size = size;
    return 0;
}

gpudata *fv_held_workspace(gpucontext *context) {
    for (device *d = devices; d; d = d->next)
        if (d->context == context && d->workspace) {
            gpudata_retain(d->workspace);
            return d->workspace;
        }
    return NULL;
}
