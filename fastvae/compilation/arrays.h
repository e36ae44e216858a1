/* What theano's C code does with each array that an Op takes or gives, once instead of in every place.
 *
 * The checks and messages are those of `theano.tensor.TensorType`. */
#ifndef FASTVAE_ARRAYS_H
#define FASTVAE_ARRAYS_H

static __attribute__((noinline, cold)) void fv_say_unaligned(const char *what, PyArrayObject *a) {
    const int n = PyArray_NDIM(a);
    long last[6];
    for (int i = 0; i < 3; i++) {
        last[i] = n >= 3 - i ? (long) PyArray_DIMS(a)[n - 3 + i] : -1;
        last[3 + i] = n >= 3 - i ? (long) PyArray_STRIDES(a)[n - 3 + i] : -1;
    }
    PyErr_Format(PyExc_NotImplementedError,
                 "%s, got non-aligned array of type %ld with %ld dimensions, with 3 last dims %ld, %ld, %ld"
                 " and 3 last strides %ld %ld, %ld.",
                 what, (long) PyArray_TYPE(a), (long) n, last[0], last[1], last[2], last[3], last[4], last[5]);
}

static __attribute__((noinline, cold)) void fv_say_refused(PyObject *value, int type, const char *name) {
    char what[80];
    if (value == Py_None) PyErr_SetString(PyExc_ValueError, "expected an ndarray, not None");
    else if (!PyArray_Check(value)) PyErr_SetString(PyExc_ValueError, "expected an ndarray");
    else if (!PyArray_ISALIGNED((PyArrayObject *) value)) {
        PyOS_snprintf(what, sizeof what, "expected an aligned array of type %d (%s)", type, name);
        fv_say_unaligned(what, (PyArrayObject *) value);
    } else
        PyErr_Format(PyExc_TypeError, "expected type_num %d (%s) got %d", type, name,
                     PyArray_TYPE((PyArrayObject *) value));
}

/* The value as an array of this type, a new reference; NULL, with an error, if it is none. */
static __attribute__((noinline)) PyArrayObject *fv_taken(PyObject *value, int type, const char *name) {
    PyArrayObject *a = (PyArrayObject *) value;
    if (!PyArray_Check(value) || !PyArray_ISALIGNED(a) || PyArray_TYPE(a) != type) {
        fv_say_refused(value, type, name);
        return NULL;
    }
    Py_INCREF(value);
    return a;
}

/* A new reference to an Op's result, or to None, for that to `before`; NULL, with an error, if it cannot be. */
static __attribute__((noinline)) PyObject *fv_given(PyObject *before, PyArrayObject *a) {
    PyObject *result = a ? (PyObject *) a : Py_None;
    Py_XDECREF(before);
    if (a && !PyArray_ISALIGNED(a)) {
        fv_say_unaligned("c_sync: expected an aligned array", a);
        return NULL;
    }
    Py_INCREF(result);
    return result;
}

#endif
