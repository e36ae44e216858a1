/* Changes of layout. */
#include "fastvae.h"

/* Layout: input -> its axes in another order, contiguous; a view where they already are. Of any type. Settings: the
 * number of axes, and four of them. */
static int run_layout(thunk *t) {
    PyObject *value = PyList_GET_ITEM(t->inputs[0], 0);
    PyArrayObject *x = PyArray_Check(value) ? fv_input_of(t, 0, PyArray_TYPE((PyArrayObject *)value), -1) : fv_input(t, 0, 0);
    if (!x) return -1;
    int ndim = (int)t->settings[0];
    PyArray_Dims axes = {NULL, ndim};
    npy_intp order[NPY_MAXDIMS];
    for (int i = 0; i < ndim; i++) order[i] = (npy_intp)t->settings[i + 1];
    axes.ptr = order;
    PyArrayObject *view = (PyArrayObject *)PyArray_Transpose(x, &axes);
    if (!view) return -1;
    if (fv_is_contiguous(view)) return PyList_SetItem(t->outputs[0], 0, (PyObject *)view);
    PyObject *old = PyList_GET_ITEM(t->outputs[0], 0);
    /* last call's output may be a view of an input: never write into it */
    if (PyArray_Check(old) &&
        !(PyArray_BASE((PyArrayObject *)old) && PyCapsule_CheckExact(PyArray_BASE((PyArrayObject *)old)))) {
        Py_INCREF(Py_None);
        PyList_SetItem(t->outputs[0], 0, Py_None);
    }
    PyArrayObject *y = fv_output_of(t, 0, PyArray_TYPE(x), ndim, PyArray_DIMS(view));
    if (y) {
        void *to = PyArray_DATA(y);
        Py_BEGIN_ALLOW_THREADS if (PyArray_ITEMSIZE(x) == sizeof(float)) fv_pack(to, view);
        else fv_pack_any(to, view);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(view);
    return y ? 0 : -1;
}

const op_kind layout_kind = {"Layout", 5, run_layout, NULL};
