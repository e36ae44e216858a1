/* The Python module: the Ops of this backend, the methods that make and call their thunks, how cuDNN is opened, and CUDA
 * graphs. */
#include "arrays.h"
#include "cudnn_runtime.h"
#include "graph.h"

int fv_ready(const thunk *t) { return 0; }

int fv_threads(void) { return 0; } /* a plan runs on the device */

void fv_idle(void) {} /* a device's workspace lives as long as its context */

static PyObject *open_cudnn(PyObject *self, PyObject *args) {
    const char *path;
    Py_ssize_t limit;
    policy asked;
    if (!PyArg_ParseTuple(args, "spppn", &path, &asked.tf32, &asked.deterministic, &asked.search, &limit)) return NULL;
    if (fv_open(path)) return NULL;
    asked.limit = (size_t)limit;
    fv_policy = asked;
    return PyLong_FromSize_t(fv_cudnnGetVersion());
}

static PyMethodDef methods[] = {
    THUNK_METHODS,
    GRAPH_METHODS,
    {"open_cudnn", open_cudnn, METH_VARARGS, "open_cudnn(path, tf32, deterministic, search, workspace limit) -> version"},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fastvae_gpu", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_fastvae_gpu(void) {
    if (fv_import_pygpu()) return NULL;
    return PyModule_Create(&definition);
}
