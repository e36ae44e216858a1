/* The same values in another shape. */
#include "fastvae.h"

/* ReshapeLike: inputs a, b -> the values of a in the shape of b; a view where a is contiguous. Settings: axes of a and
 * b. */
static int run_reshape_like(thunk *t) {
    PyArrayObject *a = fv_input(t, 0, (int)t->settings[0]), *b = a ? fv_input(t, 1, (int)t->settings[1]) : NULL;
    if (!b) return -1;
    PyArray_Dims shape = {PyArray_DIMS(b), PyArray_NDIM(b)};
    PyObject *view = PyArray_Newshape(a, &shape, NPY_CORDER);
    return view ? PyList_SetItem(t->outputs[0], 0, view) : -1;
}

/* Unflatten: input (n, c h w) -> (n, c, h, w); a view where it is contiguous. Settings: c, h, w. */
static int run_unflatten(thunk *t) {
    PyArrayObject *a = fv_input(t, 0, 2);
    if (!a) return -1;
    npy_intp dims[] = {PyArray_DIM(a, 0), t->settings[0], t->settings[1], t->settings[2]};
    PyArray_Dims shape = {dims, 4};
    PyObject *view = PyArray_Newshape(a, &shape, NPY_CORDER);
    return view ? PyList_SetItem(t->outputs[0], 0, view) : -1;
}

const op_kind reshape_like_kind = {"ReshapeLike", 2, run_reshape_like, NULL};
const op_kind unflatten_kind = {"Unflatten", 3, run_unflatten, NULL};
