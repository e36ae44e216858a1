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

PyGpuArrayObject *fv_packed_input(const thunk *t, int i, int nd) {
    PyGpuArrayObject *a = fv_float_array(PyList_GET_ITEM(t->inputs[i], 0), nd);
    if (!a) {
        PyErr_Format(PyExc_TypeError, "%s: input %d is not a float32 array%s on the device", t->kind->name, i,
                     nd < 0 ? "" : " of as many axes as it must have");
        return NULL;
    }
    if (!GpuArray_IS_C_CONTIGUOUS(&a->ga)) return fv_copied(a);
    Py_INCREF(a);
    return a;
}

PyGpuArrayObject *fv_output(const thunk *t, int i, unsigned int nd, const size_t *shape, PyGpuContextObject *context) {
    PyGpuArrayObject *old = fv_float_array(PyList_GET_ITEM(t->outputs[i], 0), (int)nd);
    int fits = old && GpuArray_IS_C_CONTIGUOUS(&old->ga);
    for (unsigned int j = 0; fits && j < nd; j++) fits = fv_dim(old, j) == shape[j];
    if (fits) return old;
    PyGpuArrayObject *new = fv_empty(nd, shape, context);
    if (!new || PyList_SetItem(t->outputs[i], 0, (PyObject *)new)) return NULL;
    return new;
}
