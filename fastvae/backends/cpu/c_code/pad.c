/* Images, NHWC, among zeros: around them and between their pixels. */
#include "fastvae.h"
#include <string.h>

/* Rows or columns: of the image with its zeros, of the image, of zeros before it, and from pixel to pixel. */
typedef struct {
    npy_intp large, small, low, step;
} axis;

/* The pixel at place i, -1 for a zero. */
static inline npy_intp pixel_at(const axis *a, npy_intp i) {
    npy_intp from = i - a->low;
    return from >= 0 && from % a->step == 0 && from / a->step < a->small ? from / a->step : -1;
}

/* Copy the c channels of every pixel of a row to, or from, their places. */
static void copy_row(const axis *x, float *large, float *small, npy_intp c, int unpad) {
    float *place = large + x->low * c;
    if (x->step == 1) memcpy(unpad ? small : place, unpad ? place : small, x->small * c * sizeof *large);
    else
        for (npy_intp j = 0; j < x->small; j++, place += x->step * c, small += c)
            for (npy_intp k = 0; k < c; k++) *(unpad ? small + k : place + k) = *(unpad ? place + k : small + k);
}

static axis axis_of(const thunk *t, int i, npy_intp size, int unpad) {
    npy_intp low = t->settings[i], high = t->settings[2 + i], step = t->settings[4 + i], zeros = low + high + 1;
    axis a = {size, size, low, step};
    if (unpad) a.small = size < zeros ? 0 : (size - zeros) / step + 1;
    else a.large = (size - 1) * step + zeros;
    if (a.large < 0) a.large = 0;
    return a;
}

static int run(thunk *t, int unpad) {
    PyArrayObject *a = fv_input(t, 0, 4);
    if (!a) return -1;
    npy_intp *d = PyArray_DIMS(a), n = d[0], c = d[3];
    axis y = axis_of(t, 0, d[1], unpad), x = axis_of(t, 1, d[2], unpad);
    for (int i = 0; i < 2 && unpad; i++) {
        axis of = i ? x : y;
        if (of.large != (of.small - 1) * of.step + 1 + of.low + (npy_intp)t->settings[2 + i]) {
            PyErr_Format(PyExc_ValueError, "Unpad: images of %zd x %zd are none between these zeros", (Py_ssize_t)d[1],
                         (Py_ssize_t)d[2]);
            return -1;
        }
    }
    npy_intp large[] = {n, y.large, x.large, c}, small[] = {n, y.small, x.small, c};
    PyArrayObject *out = fv_output(t, 0, 4, unpad ? small : large);
    const float *from;
    if (!out || !fv_packed(&a, &from, 1, 0)) return -1;
    float *to = PyArray_DATA(out);
    npy_intp of_large = x.large * c, of_small = x.small * c, rows = unpad ? y.small : y.large;
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel for schedule(static) if (n * rows * of_large > PARALLEL_MIN)
    for (npy_intp i = 0; i < n * rows; i++) {
        npy_intp image = i / rows, row = i % rows;
        if (unpad) {
            npy_intp place = y.low + row * y.step;
            copy_row(&x, (float *)from + (image * y.large + place) * of_large, to + i * of_small, c, 1);
            continue;
        }
        npy_intp pixel = pixel_at(&y, row);
        if (pixel < 0 || x.small * c < of_large) memset(to + i * of_large, 0, of_large * sizeof *to);
        if (pixel >= 0) copy_row(&x, to + i * of_large, (float *)from + (image * y.small + pixel) * of_small, c, 0);
    }
    Py_END_ALLOW_THREADS return 0;
}

/* Pad: input (n, h, w, c) -> the same among zeros. Settings: rows and columns of zeros before the image, behind it, and
 * from one pixel to the next. */
static int run_pad(thunk *t) { return run(t, 0); }

/* Unpad: the pixels without the zeros. Settings: the same. */
static int run_unpad(thunk *t) { return run(t, 1); }

const op_kind pad_kind = {"Pad", 6, run_pad, NULL};
const op_kind unpad_kind = {"Unpad", 6, run_unpad, NULL};
