/* The one file that holds pygpu's table of functions. */
#include "arrays.h"
#include <gpuarray_api.h>

int fv_import_pygpu(void) { return import_pygpu__gpuarray(); }

int fv_is_gpu_array(PyObject *object) { return PyObject_TypeCheck(object, &PyGpuArrayType); }

int fv_is_gpu_context(PyObject *object) { return PyObject_TypeCheck(object, &PyGpuContextType); }

PyGpuArrayObject *fv_float_array(PyObject *object, int nd) {
    PyGpuArrayObject *a = (PyGpuArrayObject *)object;
    int fits = fv_is_gpu_array(object) && a->ga.typecode == GA_FLOAT && (nd < 0 || a->ga.nd == (unsigned int)nd);
    return fits ? a : NULL;
}

PyGpuArrayObject *fv_copied(PyGpuArrayObject *a) { return pygpu_copy(a, GA_C_ORDER); }

PyGpuArrayObject *fv_empty(unsigned int nd, const size_t *shape, PyGpuContextObject *context) {
    return pygpu_empty(nd, shape, GA_FLOAT, GA_C_ORDER, context, Py_None);
}
