/* Pooling of images, NHWC, and its gradient. */
#include "fastvae.h"
#include "channels.h"
#include <string.h>

enum { MAXIMUM, SUM, AVERAGE_OF_WINDOW, AVERAGE_OF_PIXELS };

/* Rows or columns: of the image, of windows, and of one window. */
typedef struct {
    npy_intp size, windows, window, stride, padding;
} axis;

typedef struct {
    int mode;
    npy_intp n, c;
    axis y, x;
} pooling;

typedef struct {
    npy_intp from, end;
} range;

/* The pixels of window i, without the padding. */
static inline range pixels_of(const axis *a, npy_intp i) {
    npy_intp start = i * a->stride - a->padding, end = start + a->window;
    return (range){start < 0 ? 0 : start, end > a->size ? a->size : end};
}

/* The windows that pixel i lies in. */
static inline range windows_of(const axis *a, npy_intp i) {
    npy_intp last = i + a->padding, first = last - a->window + a->stride;
    npy_intp from = first < 0 ? 0 : first / a->stride, end = last / a->stride + 1;
    return (range){from, end > a->windows ? a->windows : end};
}

static inline npy_intp length(range r) { return r.end > r.from ? r.end - r.from : 0; }

static inline float divisor(const pooling *p, range rows, range columns) {
    return p->mode == AVERAGE_OF_WINDOW ? p->y.window * p->x.window : length(rows) * length(columns);
}

/* Four pixels at once: windows of 2 x 2 are the usual ones. */
static inline void pool_four(int maximum, float *to, const float *first, npy_intp row, npy_intp c) {
    const float *second = first + c, *third = first + row, *fourth = third + c;
    if (maximum) {
#pragma omp simd
        for (npy_intp k = 0; k < c; k++) {
            float value = first[k]; /* and NaN only if that is */
            value = second[k] > value ? second[k] : value;
            value = third[k] > value ? third[k] : value;
            to[k] = fourth[k] > value ? fourth[k] : value;
        }
    } else {
#pragma omp simd
        for (npy_intp k = 0; k < c; k++) to[k] = first[k] + second[k] + third[k] + fourth[k];
    }
}

static inline void pool_window(int maximum, float *to, const float *first, npy_intp row, range rows, range columns,
                               npy_intp c) {
    for (npy_intp k = 0; k < c; k++) to[k] = maximum ? first[k] : 0;
    for (npy_intp y = 0; y < length(rows); y++)
        for (npy_intp x = 0; x < length(columns); x++) {
            const float *pixel = first + y * row + x * c;
            if (maximum) {
#pragma omp simd
                for (npy_intp k = 0; k < c; k++) to[k] = pixel[k] > to[k] ? pixel[k] : to[k];
            } else {
#pragma omp simd
                for (npy_intp k = 0; k < c; k++) to[k] += pixel[k];
            }
        }
}

/* Row i of the windows of an image. */
static inline __attribute__((always_inline)) void pool_row(const pooling *p, const float *image, float *to, npy_intp i,
                                                           const npy_intp c) {
    range rows = pixels_of(&p->y, i);
    npy_intp row = p->x.size * c;
    for (npy_intp j = 0; j < p->x.windows; j++, to += c) {
        range columns = pixels_of(&p->x, j);
        const float *first = image + rows.from * row + columns.from * c;
        if (length(rows) == 2 && length(columns) == 2) pool_four(p->mode == MAXIMUM, to, first, row, c);
        else pool_window(p->mode == MAXIMUM, to, first, row, rows, columns, c);
        if (p->mode > SUM) {
            float pixels = divisor(p, rows, columns);
#pragma omp simd
            for (npy_intp k = 0; k < c; k++) to[k] /= pixels;
        }
    }
}

/* Row i of an image's gradient: what the windows that it lies in give it, in their order. */
static inline __attribute__((always_inline)) void spread_row(const pooling *p, const float *image, const float *pooled,
                                                             const float *g, float *to, npy_intp i, const npy_intp c) {
    range windows = windows_of(&p->y, i);
    const float *row = image + i * p->x.size * c;
    memset(to, 0, p->x.size * c * sizeof *to);
    for (npy_intp w = windows.from; w < windows.end; w++)
        for (npy_intp j = 0; j < p->x.windows; j++) {
            range columns = pixels_of(&p->x, j);
            npy_intp at = (w * p->x.windows + j) * c;
            float share = p->mode > SUM ? 1 / divisor(p, pixels_of(&p->y, w), columns) : 1;
            for (npy_intp x = columns.from; x < columns.end; x++) {
                float *pixel = to + x * c;
                if (p->mode == MAXIMUM) {
#pragma omp simd
                    for (npy_intp k = 0; k < c; k++) {
                        float value = g[at + k]; /* read in any case: a masked read is many times slower */
                        pixel[k] += row[x * c + k] == pooled[at + k] ? value : 0.f;
                    }
                } else {
#pragma omp simd
                    for (npy_intp k = 0; k < c; k++) pixel[k] += g[at + k] * share;
                }
            }
        }
}

static npy_intp windows(int ignore_border, const axis *a) {
    npy_intp left = a->size + 2 * a->padding - a->window;
    if (ignore_border) return left < 0 ? 0 : left / a->stride + 1;
    if (a->stride >= a->window) return (a->size + a->stride - 1) / a->stride;
    return left < 0 ? 1 : (left + a->stride - 1) / a->stride + 1;
}

static pooling geometry(const thunk *t, PyArrayObject *x) {
    const double *s = t->settings;
    const npy_intp *d = PyArray_DIMS(x);
    pooling p = {s[0], d[0], d[3], {d[1], 0, s[2], s[4], s[6]}, {d[2], 0, s[3], s[5], s[7]}};
    p.y.windows = windows(s[1], &p.y);
    p.x.windows = windows(s[1], &p.x);
    return p;
}

static int every_window_has_a_pixel(const axis *a) {
    for (npy_intp i = 0; i < a->windows; i++)
        if (!length(pixels_of(a, i))) return 0;
    return 1;
}

/* Pool: input (n, h, w, c) -> each window's maximum, sum or average. Settings: which, whether windows beyond the border
 * are left out, then rows and columns of a window, from one to the next, and of padding; whether one must fit. */
static int run_pool(thunk *t) {
    PyArrayObject *x = fv_input(t, 0, 4);
    if (!x) return -1;
    pooling p = geometry(t, x);
    if (t->settings[8] && !(p.y.windows && p.x.windows)) {
        PyErr_Format(PyExc_ValueError,
                     "Pool: windows of %zd x %zd do not fit into the images with padding %zd x %zd, of %zd x %zd",
                     (Py_ssize_t)p.y.window, (Py_ssize_t)p.x.window, (Py_ssize_t)p.y.padding,
                     (Py_ssize_t)p.x.padding, (Py_ssize_t)p.y.size, (Py_ssize_t)p.x.size);
        return -1;
    }
    if (p.mode == MAXIMUM && !(every_window_has_a_pixel(&p.y) && every_window_has_a_pixel(&p.x))) {
        PyErr_Format(PyExc_ValueError, "Pool: a window has no pixel, in images of %zd x %zd", (Py_ssize_t)p.y.size,
                     (Py_ssize_t)p.x.size);
        return -1;
    }
    npy_intp shape[] = {p.n, p.y.windows, p.x.windows, p.c}, row = p.x.windows * p.c, image = p.y.size * p.x.size * p.c;
    PyArrayObject *y = fv_output(t, 0, 4, shape);
    const float *from;
    if (!y || !fv_packed(&x, &from, 1, 0)) return -1;
    float *to = PyArray_DATA(y);
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel for schedule(static) num_threads(fv_team(p.n * image))
    for (npy_intp i = 0; i < p.n * p.y.windows; i++) {
#define ROW(c) pool_row(&p, from + i / p.y.windows * image, to + i * row, i % p.y.windows, c)
        FOR_CHANNELS(p.c, ROW)
    }
    Py_END_ALLOW_THREADS return 0;
}

/* PoolGradient: inputs x (n, h, w, c), of a maximum its result, and the result's gradient -> x's. Settings: Pool's. */
static int run_pool_gradient(thunk *t) {
    int n = t->n_inputs;
    PyArrayObject *a[3];
    for (int i = 0; i < n; i++)
        if (!(a[i] = fv_input(t, i, 4))) return -1;
    pooling p = geometry(t, a[0]);
    npy_intp shape[] = {p.n, p.y.windows, p.x.windows, p.c};
    for (int i = 1; i < n; i++)
        if (!PyArray_CompareLists(PyArray_DIMS(a[i]), shape, 4)) {
            PyErr_Format(PyExc_ValueError, "PoolGradient: images of %zd x %zd pixels have %zd x %zd windows, not %zd x %zd",
                         (Py_ssize_t)p.y.size, (Py_ssize_t)p.x.size, (Py_ssize_t)p.y.windows, (Py_ssize_t)p.x.windows,
                         (Py_ssize_t)PyArray_DIM(a[i], 1), (Py_ssize_t)PyArray_DIM(a[i], 2));
            return -1;
        }
    PyArrayObject *out = fv_output(t, 0, 4, PyArray_DIMS(a[0]));
    const float *from[3];
    int unread = p.mode != MAXIMUM; /* only the shape of x is looked at */
    if (!out || !fv_packed(a + unread, from + unread, n - unread, 0)) return -1;
    const float *x = from[unread], *y = from[1], *g = from[n - 1];
    float *to = PyArray_DATA(out);
    npy_intp row = p.x.size * p.c, image = p.y.size * row, pooled = p.y.windows * p.x.windows * p.c;
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel for schedule(static) num_threads(fv_team(p.n * image))
    for (npy_intp i = 0; i < p.n * p.y.size; i++) {
        npy_intp m = i / p.y.size;
#define SPREAD(c) spread_row(&p, x + m * image, y + m * pooled, g + m * pooled, to + i * row, i % p.y.size, c)
        FOR_CHANNELS(p.c, SPREAD)
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind pool_kind = {"Pool", 9, run_pool, NULL};
const op_kind pool_gradient_kind = {"PoolGradient", 9, run_pool_gradient, NULL};
