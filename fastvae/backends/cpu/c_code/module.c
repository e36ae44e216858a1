/* The Python module: the Ops of this backend, and the methods that make and call their thunks. */
#define _GNU_SOURCE /* dladdr */
#define FASTVAE_MODULE
#include "fastvae.h"
#include <dlfcn.h>
#include <omp.h>

int fv_ready(const thunk *t) { return fv_enter(); }

int fv_threads(void) { return omp_get_max_threads(); } /* oneDNN plans for so many, and then runs with no other number */

void fv_idle(void) { fv_scratch_release(); }

static PyObject *contention(PyObject *module, PyObject *unused) {
    int contended, left;
    fv_contention(&contended, &left);
    return Py_BuildValue("Ni", PyBool_FromLong(contended), left);
}

static PyObject *watch_file(PyObject *module, PyObject *path) {
    const char *name = PyUnicode_AsUTF8(path);
    if (!name) return NULL;
    if (!fv_watch_file(name)) return PyErr_Format(PyExc_ValueError, "the name of this file is too long: %R", path);
    Py_RETURN_NONE;
}

/* A part calls functions of this module, which others find only once it is global. */
static PyObject *load_part(PyObject *module, PyObject *path) {
    const char *name = PyUnicode_AsUTF8(path);
    if (!name) return NULL;
    Dl_info own;
    int is_global = dladdr((void *)load_part, &own) && dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
    void *part = is_global ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : NULL; /* for good, as Python's modules are */
    const op_kind *const *(*kinds)(void) = part ? (const op_kind *const *(*)(void))dlsym(part, "fv_kinds") : NULL;
    if (!kinds) {
        const char *why = dlerror();
        return PyErr_Format(PyExc_ImportError, "%s cannot be loaded: %s", name, why ? why : "of an unknown reason");
    }
    const op_kind *const *more = kinds();
    if (!more || fv_add_kinds(more)) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    THUNK_METHODS,
    {"contention", contention, METH_NOARGS, "contention() -> (whether other processes want the cores, threads left or 0)"},
    {"load_part", load_part, METH_O, "load_part(path): add the Ops of a part that was compiled by itself"},
    {"watch_file", watch_file, METH_O, "watch_file(path): processor times are read from this file, as from /proc/stat"},
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
