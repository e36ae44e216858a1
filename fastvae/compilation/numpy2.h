/* What theano 1.0.5's C code takes from the headers of numpy 1, for numpy 2; included before everything else. */

#ifndef FASTVAE_NUMPY2_H
#define FASTVAE_NUMPY2_H

#include <Python.h>

/* The names of Python 2 that npy_3kcompat.h had. */
#define NPY_PY3K 1
#define PyInt_Check PyLong_Check
#define PyInt_FromLong PyLong_FromLong
#define PyInt_AsLong PyLong_AsLong

/* The size of an element is a member of its type, as it was, in this version of the structures alone. */
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

/* theano means "all axes" by it. */
#undef NPY_MAXDIMS
#define NPY_MAXDIMS NPY_RAVEL_AXIS

#endif
