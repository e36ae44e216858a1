/* The Python module: the Ops of this backend, and the methods that make and call their thunks. */
#define FASTVAE_MODULE
#include "fastvae.h"
#include <omp.h>

int fv_ready(const thunk *t) { return fv_enter(); }

int fv_threads(void) { return omp_get_max_threads(); } /* oneDNN plans for so many, and then runs with no other number */

void fv_idle(void) { fv_scratch_release(); }

static PyObject *cores_left(PyObject *module, PyObject *unused) { return PyLong_FromLong(fv_cores_left()); }

static PyObject *set_cores_left(PyObject *module, PyObject *left) {
    long cores = PyLong_AsLong(left);
    if (cores == -1 && PyErr_Occurred()) return NULL;
    fv_set_cores_left((int)cores);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    THUNK_METHODS,
    {"cores_left", cores_left, METH_NOARGS, "cores_left(): cores that other processes leave to us, 0 if enough"},
    {"set_cores_left", set_cores_left, METH_O, "set_cores_left(n): take n for that, from now on; -1: look again"},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fastvae_cpu", NULL, -1, methods, NULL, NULL, NULL, NULL};

/* The module's `team`, for the C code of element-wise passes, which Theano compiles by itself. */
static int add_team(PyObject *module) {
    static int (*team)(npy_intp) = fv_team;
    PyObject *capsule = PyCapsule_New(&team, "fastvae_cpu.team", NULL);
    int failed = !capsule || PyModule_AddObject(module, "team", capsule);
    if (failed) Py_XDECREF(capsule);
    return failed ? -1 : 0;
}

PyMODINIT_FUNC PyInit_fastvae_cpu(void) {
    import_array();
    PyObject *module = PyModule_Create(&definition);
    if (module && add_team(module)) Py_CLEAR(module);
    return module;
}
