/* Images, NHWC, among zeros: around them and between their pixels. */
#include "fastvae.h"
#include <string.h>

/* The rows (0) or columns (1) of images with their zeros. */
static fv_axis axis_of(const thunk *t, int i, npy_intp size, int unpad) {
    npy_intp low = t->settings[i], high = t->settings[2 + i], step = t->settings[4 + i], zeros = low + high + 1;
    fv_axis a = {size, size, low, step};
    if (unpad) a.taken = size < zeros ? 0 : (size - zeros) / step + 1;
    else a.length = (size - 1) * step + zeros;
    if (a.length < 0) a.length = 0;
    return a;
}

/* The c channels of every pixel of a row, from their places. */
static void take_row(float *to, const float *row, const fv_axis *x, npy_intp c) {
    const float *place = row + x->first * c;
    if (x->step == 1) memcpy(to, place, x->taken * c * sizeof *to);
    else
        for (npy_intp j = 0; j < x->taken; j++, place += x->step * c, to += c)
            for (npy_intp k = 0; k < c; k++) to[k] = place[k];
}

/* Pad: input (n, h, w, c) -> the same among zeros. Settings: rows and columns of zeros before the image, behind it, and
 * from one pixel to the next. */
static int run_pad(thunk *t) {
    PyArrayObject *a = fv_input(t, 0, 4);
    if (!a) return -1;
    npy_intp *d = PyArray_DIMS(a), n = d[0], c = d[3];
    fv_axis axes[FV_AXES] = {{n, n, 0, 1}, axis_of(t, 0, d[1], 0), axis_of(t, 1, d[2], 0), {c, c, 0, 1}};
    PyArrayObject *out = fv_output(t, 0, 4, (npy_intp[]){n, axes[1].length, axes[2].length, c});
    const float *from;
    if (!out || !fv_packed(&a, &from, 1, 0)) return -1;
    float *to = PyArray_DATA(out);
    Py_BEGIN_ALLOW_THREADS fv_into_zeros(to, from, axes);
    Py_END_ALLOW_THREADS return 0;
}

/* Unpad: the pixels without the zeros. Settings: the same. */
static int run_unpad(thunk *t) {
    PyArrayObject *a = fv_input(t, 0, 4);
    if (!a) return -1;
    npy_intp *d = PyArray_DIMS(a), n = d[0], c = d[3];
    fv_axis y = axis_of(t, 0, d[1], 1), x = axis_of(t, 1, d[2], 1);
    for (int i = 0; i < 2; i++) {
        fv_axis of = i ? x : y;
        if (of.length != (of.taken - 1) * of.step + 1 + of.first + (npy_intp)t->settings[2 + i]) {
            PyErr_Format(PyExc_ValueError, "Unpad: images of %zd x %zd are none between these zeros", (Py_ssize_t)d[1],
                         (Py_ssize_t)d[2]);
            return -1;
        }
    }
    PyArrayObject *out = fv_output(t, 0, 4, (npy_intp[]){n, y.taken, x.taken, c});
    const float *from;
    if (!out || !fv_packed(&a, &from, 1, 0)) return -1;
    float *to = PyArray_DATA(out);
    npy_intp of_large = x.length * c, of_small = x.taken * c;
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel for schedule(static) num_threads(fv_team(n * y.taken * of_large))
    for (npy_intp i = 0; i < n * y.taken; i++) {
        npy_intp image = i / y.taken, row = y.first + i % y.taken * y.step;
        take_row(to + i * of_small, from + (image * y.length + row) * of_large, &x, c);
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind pad_kind = {"Pad", 6, run_pad, NULL};
const op_kind unpad_kind = {"Unpad", 6, run_unpad, NULL};
