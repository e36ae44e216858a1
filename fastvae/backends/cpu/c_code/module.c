/* The Python module: the Ops of this backend, and the methods that make and call their thunks. */
#define FASTVAE_MODULE
#include "fastvae.h"
#include <omp.h>

int fv_ready(const thunk *t) { return fv_enter(); }

int fv_threads(void) { return omp_get_max_threads(); } /* oneDNN plans for so many, and then runs with no other number */

void fv_idle(void) { fv_scratch_release(); }

static PyMethodDef methods[] = {THUNK_METHODS, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fastvae_cpu", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_fastvae_cpu(void) {
    import_array();
    return PyModule_Create(&definition);
}
