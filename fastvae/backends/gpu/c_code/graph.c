/* CUDA graphs: a step is recorded once from libgpuarray's stream, and launched as a whole from then on.
 *
 * A graph contains addresses. So that they stay the step's own, it keeps every buffer that is handed out while it is
 * recorded, also those that an Op gives back at once, and cuDNN's workspace. The caller keeps the arrays of before. */
#define _GNU_SOURCE
#include "graph.h"
#include "cudnn_runtime.h"
#include "watch.h"
#include <dlfcn.h>
#include <stdlib.h>

enum { RELAXED = 2 }; /* allocations are allowed in a capture, and whatever other threads do */

/* NVIDIA's driver, found in libcuda.so.1: a status of 0 is success. */
#define DRIVER_FUNCTIONS(X) \
    X(cuGetErrorName, (int, const char **)) \
    X(cuStreamBeginCapture_v2, (void *, int)) \
    X(cuStreamEndCapture, (void *, void **)) \
    X(cuGraphInstantiateWithFlags, (void **, void *, unsigned long long)) \
    X(cuGraphLaunch, (void *, void *)) \
    X(cuGraphExecDestroy, (void *)) \
    X(cuGraphDestroy, (void *))

#define DEFINED(name, arguments) static int(*name) arguments;
DRIVER_FUNCTIONS(DEFINED)

static void (*enter)(gpucontext *), (*leave)(gpucontext *);
static void *(*stream_of)(void *);

typedef struct {
    PyGpuContextObject *context;
    void *executable;
    watched memory;
    gpudata *workspace; /* NULL if cuDNN has none */
} graph;

static PyGpuContextObject *recording; /* NULL: nothing is recorded */

static int open_driver(void) {
    if (stream_of) return 0;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        PyErr_Format(PyExc_RuntimeError, "%s", dlerror());
        return -1;
    }
#define FOUND(name, arguments) \
    if (!(name = (int(*) arguments)dlsym(library, #name))) { \
        PyErr_SetString(PyExc_RuntimeError, "the driver has no " #name); \
        return -1; \
    }
    DRIVER_FUNCTIONS(FOUND)
    enter = (void (*)(gpucontext *))gpuarray_get_extension("cuda_enter");
    leave = (void (*)(gpucontext *))gpuarray_get_extension("cuda_exit");
    stream_of = (void *(*)(void *))gpuarray_get_extension("cuda_get_stream");
    if (enter && leave && stream_of) return 0;
    stream_of = NULL;
    PyErr_SetString(PyExc_RuntimeError, "this libgpuarray was built without CUDA");
    return -1;
}

static int fail(const char *what, int status) {
    const char *name = NULL;
    if (cuGetErrorName(status, &name) || !name) name = "an unknown error";
    PyErr_Format(PyExc_RuntimeError, "%s failed with %s (%d)", what, name, status);
    return -1;
}

/* Whether the object is a GPU array, else an exception. */
static int is_array(PyObject *object) {
    if (fv_is_gpu_array(object)) return 1;
    PyErr_Format(PyExc_TypeError, "a GPU array is needed, not a %s", Py_TYPE(object)->tp_name);
    return 0;
}

/* What a recorded step depends on: of each cell's array the address, the shape and the strides. */
PyObject *fv_fingerprint(PyObject *self, PyObject *cells) {
    if (!PyList_Check(cells)) return PyErr_Format(PyExc_TypeError, "fingerprint takes a list of cells");
    size_t words = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(cells); i++) {
        PyObject *cell = PyList_GET_ITEM(cells, i);
        if (!PyList_Check(cell) || PyList_GET_SIZE(cell) != 1)
            return PyErr_Format(PyExc_TypeError, "a storage cell must be a list of one element");
        if (!is_array(PyList_GET_ITEM(cell, 0))) return NULL;
        words += 2 + 2 * fv_ndim((PyGpuArrayObject *)PyList_GET_ITEM(cell, 0));
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(words * sizeof(size_t)));
    if (!bytes) return NULL;
    size_t *to = (size_t *)PyBytes_AS_STRING(bytes);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(cells); i++) {
        const GpuArray *a = &((PyGpuArrayObject *)PyList_GET_ITEM(PyList_GET_ITEM(cells, i), 0))->ga;
        *to++ = a->nd;
        *to++ = *(size_t *)a->data + a->offset;
        for (unsigned int j = 0; j < a->nd; j++) {
            *to++ = a->dimensions[j];
            *to++ = (size_t)a->strides[j];
        }
    }
    return bytes;
}

PyObject *fv_overwrite(PyObject *self, PyObject *args) {
    PyObject *to, *source;
    if (!PyArg_ParseTuple(args, "OO", &to, &source) || !is_array(to) || !is_array(source)) return NULL;
    PyGpuArrayObject *array = (PyGpuArrayObject *)to;
    int error = GpuArray_move(&array->ga, &((PyGpuArrayObject *)source)->ga);
    if (!error) Py_RETURN_NONE;
    return PyErr_Format(PyExc_ValueError, "one array into another: %s", gpucontext_error(array->context->ctx, error));
}

PyObject *fv_begin_recording(PyObject *self, PyObject *object) {
    if (!fv_is_gpu_context(object)) return PyErr_Format(PyExc_TypeError, "begin_recording takes a GPU context");
    gpucontext *context = ((PyGpuContextObject *)object)->ctx;
    if (open_driver() || fv_watch(context)) return NULL;
    enter(context);
    int status = cuStreamBeginCapture_v2(stream_of(context), RELAXED);
    leave(context);
    if (status) {
        watched seen = fv_unwatch();
        fv_release(&seen);
        fail("cuStreamBeginCapture", status);
        return NULL;
    }
    Py_INCREF(object);
    recording = (PyGpuContextObject *)object;
    Py_RETURN_NONE;
}

static void drop(graph *g) {
    gpucontext *context = g->context->ctx;
    enter(context);
    if (g->executable) cuGraphExecDestroy(g->executable); /* if it runs, once it has ended */
    leave(context);
    fv_release(&g->memory);
    if (g->workspace) gpudata_release(g->workspace);
    Py_DECREF(g->context);
    free(g);
}

static void drop_capsule(PyObject *capsule) { drop(PyCapsule_GetPointer(capsule, NULL)); }

/* Ends the capture; what was captured, which the caller destroys, or NULL. The status is that of the driver. */
static void *captured(int *status) {
    void *found = NULL;
    gpucontext *context = recording->ctx;
    enter(context);
    *status = cuStreamEndCapture(stream_of(context), &found);
    leave(context);
    return found;
}

/* Ends the recording; what it allocated is given back. */
PyObject *fv_abandon_recording(PyObject *self, PyObject *none) {
    if (!recording) Py_RETURN_NONE;
    int status;
    void *found = captured(&status); /* a capture that failed ends with an error */
    if (found) cuGraphDestroy(found);
    watched seen = fv_unwatch();
    const char *refused = seen.refused;
    fv_release(&seen);
    Py_CLEAR(recording);
    if (refused) return PyUnicode_FromString(refused);
    Py_RETURN_NONE;
}

PyObject *fv_end_recording(PyObject *self, PyObject *none) {
    if (!recording) return PyErr_Format(PyExc_RuntimeError, "nothing is recorded");
    graph *g = calloc(1, sizeof *g);
    if (!g) return PyErr_NoMemory();
    int status;
    void *found = captured(&status);
    const char *what = "cuStreamEndCapture";
    gpucontext *context = recording->ctx;
    g->context = recording; /* its reference too */
    recording = NULL;
    g->memory = fv_unwatch();
    g->workspace = fv_held_workspace(context);
    if (!status) {
        what = "cuGraphInstantiate";
        enter(context);
        Py_BEGIN_ALLOW_THREADS
        status = cuGraphInstantiateWithFlags(&g->executable, found, 0);
        Py_END_ALLOW_THREADS
        cuGraphDestroy(found);
        leave(context);
    }
    if (status) fail(what, status);
    else if (g->memory.refused) PyErr_Format(PyExc_RuntimeError, "%s", g->memory.refused);
    PyObject *capsule = PyErr_Occurred() ? NULL : PyCapsule_New(g, NULL, drop_capsule);
    if (!capsule) drop(g);
    return capsule;
}

PyObject *fv_launch_graph(PyObject *self, PyObject *capsule) {
    if (!PyCapsule_CheckExact(capsule) || PyCapsule_GetDestructor(capsule) != drop_capsule)
        return PyErr_Format(PyExc_TypeError, "not a graph of this module");
    graph *g = PyCapsule_GetPointer(capsule, NULL);
    gpucontext *context = g->context->ctx;
    int status;
    enter(context);
    Py_BEGIN_ALLOW_THREADS
    status = cuGraphLaunch(g->executable, stream_of(context));
    Py_END_ALLOW_THREADS
    leave(context);
    if (status) {
        fail("cuGraphLaunch", status);
        return NULL;
    }
    Py_RETURN_NONE;
}
