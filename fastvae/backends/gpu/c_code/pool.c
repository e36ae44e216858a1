/* Pooling of images (N, C, H, W), its gradient, and repetition of pixels, in one launch each.
 *
 * Pool          images x -> the maximum, sum or average of each window
 * PoolGradient  x, of a maximum also its result, and the gradient of the result -> x's gradient; pixels that equal their
 *               window's maximum all have its gradient, as in Theano
 * BlockSum      the sum of each of the windows of which the images consist
 * Upsample      each pixel as a block: what the gradient of a sum is
 *
 * Settings of the first two: mode, ignore_border, window, stride and padding, which is less than the window (rows, columns
 * each), and whether images without a window are an error; of the others: rows and columns of a block. */
#include "kernels.h"

enum { MAXIMUM, SUM, AVERAGE_OF_WINDOW, AVERAGE_OF_PIXELS };
enum { MODE, IGNORE_BORDER, WINDOW, STRIDE = WINDOW + 2, PADDING = STRIDE + 2, FITS = PADDING + 2, N_SETTINGS };

/* Pixels of a window along an axis without the padding, from `first` to `end` - 1. */
static const char geometry[] = R"(
#define GEOMETRY \
    const ga_uint mode, const ga_uint height, const ga_uint width, const ga_uint rows, const ga_uint columns, \
    const ga_uint window_h, const ga_uint window_w, const ga_uint stride_h, const ga_uint stride_w, const ga_uint pad_h, \
    const ga_uint pad_w
#define PIXELS(first, end, window, size, stride, pad, place) \
    const ga_uint first = place * stride < pad ? 0 : place * stride - pad, \
                  end = place * stride + window < size + pad ? place * stride + window - pad : size
#define WINDOWS(first, end, window, stride, pad, n, pixel) \
    const ga_uint first = pixel + pad < window ? 0 : (pixel + pad - window) / stride + 1, \
                  end = (pixel + pad) / stride < n ? (pixel + pad) / stride + 1 : n
)";

static const char forward[] = R"(
KERNEL void fastvae_pool(IN(x), OUT(y), const ga_uint n, GEOMETRY) {
    PLACE(x); PLACE_OUT(y);
    EACH(i, n) {
        const ga_uint column = i % columns, row = i / columns % rows, image = i / columns / rows * height;
        PIXELS(top, bottom, window_h, height, stride_h, pad_h, row);
        PIXELS(left, right, window_w, width, stride_w, pad_w, column);
        float value = mode == 0 ? x[(image + top) * width + left] : 0.f; /* a maximum is NaN only if that is */
        for (ga_uint h = top; h < bottom; h++)
            for (ga_uint w = left; w < right; w++) {
                const float pixel = x[(image + h) * width + w];
                value = mode ? value + pixel : pixel > value ? pixel : value;
            }
        if (mode == 2) value /= (float)(window_h * window_w);
        if (mode == 3) value /= (float)((bottom - top) * (right - left));
        y[i] = value;
    }
}
)";

static const char backward[] = R"(
KERNEL void fastvae_pool_gradient(IN(x), IN(y), IN(g), OUT(by_x), const ga_uint n, GEOMETRY) {
    PLACE(x); PLACE(y); PLACE(g); PLACE_OUT(by_x);
    EACH(i, n) {
        const ga_uint w = i % width, h = i / width % height, image = i / width / height * rows;
        WINDOWS(from_row, end_row, window_h, stride_h, pad_h, rows, h);
        WINDOWS(from_column, end_column, window_w, stride_w, pad_w, columns, w);
        float value = 0.f;
        for (ga_uint row = from_row; row < end_row; row++)
            for (ga_uint column = from_column; column < end_column; column++) {
                const ga_uint at = (image + row) * columns + column;
                if (mode == 0) {
                    if (x[i] == y[at]) value += g[at];
                } else if (mode == 3) {
                    PIXELS(top, bottom, window_h, height, stride_h, pad_h, row);
                    PIXELS(left, right, window_w, width, stride_w, pad_w, column);
                    value += g[at] / (float)((bottom - top) * (right - left));
                } else {
                    value += mode == 2 ? g[at] / (float)(window_h * window_w) : g[at];
                }
            }
        by_x[i] = value;
    }
}
)";

static kernel forward_kernel = {"Pool", "fastvae_pool", "aauuuuuuuuuuuu", {fv_prelude, geometry, forward}, NULL};
static kernel backward_kernel = {
    "PoolGradient", "fastvae_pool_gradient", "aaaauuuuuuuuuuuu", {fv_prelude, geometry, backward}, NULL};

/* Rows or columns: of the image, of windows, and of one window. */
typedef struct {
    size_t size, windows, window, stride, padding;
} axis;

typedef struct {
    unsigned int mode;
    axis h, w;
} pooling;

static size_t windows(int ignore_border, const axis *a) {
    size_t padded = a->size + 2 * a->padding;
    if (ignore_border) return padded < a->window ? 0 : (padded - a->window) / a->stride + 1;
    if (a->stride >= a->window) return (a->size + a->stride - 1) / a->stride;
    return padded < a->window ? 1 : (padded - a->window + a->stride - 1) / a->stride + 1;
}

static pooling read_pooling(const double *s, const PyGpuArrayObject *x) {
    pooling p = {(unsigned int)s[MODE], {.size = fv_dim(x, 2)}, {.size = fv_dim(x, 3)}};
    axis *axes[] = {&p.h, &p.w};
    for (int i = 0; i < 2; i++) {
        axes[i]->window = (size_t)s[WINDOW + i];
        axes[i]->stride = (size_t)s[STRIDE + i];
        axes[i]->padding = (size_t)s[PADDING + i];
        axes[i]->windows = windows((int)s[IGNORE_BORDER], axes[i]);
    }
    return p;
}

/* Of blocks, which the images with the larger sizes consist of. */
static pooling of_blocks(const thunk *t, size_t height, size_t width) {
    size_t h = (size_t)t->settings[0], w = (size_t)t->settings[1];
    return (pooling){SUM, {height, height / h, h, h, 0}, {width, width / w, w, w, 0}};
}

static int pooled(const thunk *t, const pooling *p, PyGpuArrayObject *x) {
    size_t shape[] = {fv_dim(x, 0), fv_dim(x, 1), p->h.windows, p->w.windows};
    PyGpuArrayObject *y = fv_output(t, 0, 4, shape, x->context);
    if (!y || fv_countable(t, fv_size(x)) || fv_countable(t, fv_size(y))) return -1;
    unsigned int numbers[] = {(unsigned int)fv_size(y), p->mode, p->h.size, p->w.size, p->h.windows, p->w.windows,
                              p->h.window, p->w.window, p->h.stride, p->w.stride, p->h.padding, p->w.padding};
    void *arguments[4 + 12] = {ARRAY(x), ARRAY(y)};
    for (int i = 0; i < 12; i++) arguments[4 + i] = &numbers[i];
    return fv_start_elements(&forward_kernel, x->context->ctx, numbers[0], arguments);
}

/* The gradient of images of this shape; x and y are those of a maximum, else anything. */
static int spread(const thunk *t, const pooling *p, PyGpuArrayObject *x, PyGpuArrayObject *y, PyGpuArrayObject *g) {
    size_t shape[] = {fv_dim(g, 0), fv_dim(g, 1), p->h.size, p->w.size};
    PyGpuArrayObject *to = fv_output(t, 0, 4, shape, g->context);
    if (!to || fv_countable(t, fv_size(to)) || fv_countable(t, fv_size(g))) return -1;
    unsigned int numbers[] = {(unsigned int)fv_size(to), p->mode, p->h.size, p->w.size, p->h.windows, p->w.windows,
                              p->h.window, p->w.window, p->h.stride, p->w.stride, p->h.padding, p->w.padding};
    void *arguments[8 + 12] = {ARRAY(x), ARRAY(y), ARRAY(g), ARRAY(to)};
    for (int i = 0; i < 12; i++) arguments[8 + i] = &numbers[i];
    return fv_start_elements(&backward_kernel, g->context->ctx, numbers[0], arguments);
}

static int refused(const thunk *t, const char *why, const pooling *p) {
    PyErr_Format(PyExc_ValueError, "%s: %s in images of %zu x %zu: windows of %zu x %zu, padding %zu x %zu", t->kind->name,
                 why, p->h.size, p->w.size, p->h.window, p->w.window, p->h.padding, p->w.padding);
    return -1;
}

static int pool(thunk *t) {
    PyGpuArrayObject *x = fv_packed_input(t, 0, 4);
    if (!x) return -1;
    pooling p = read_pooling(t->settings, x);
    int is_empty = !p.h.windows || !p.w.windows, failed;
    if (t->settings[FITS] && is_empty) failed = refused(t, "windows do not fit", &p);
    else if (p.mode == MAXIMUM && !is_empty && !(p.h.size && p.w.size))
        failed = refused(t, "a window has no pixel", &p);
    else failed = pooled(t, &p, x);
    Py_DECREF(x);
    return failed;
}

static int pool_gradient(thunk *t) {
    int is_maximum = t->settings[MODE] == MAXIMUM, failed = -1;
    PyGpuArrayObject *shaped = fv_float_array(PyList_GET_ITEM(t->inputs[0], 0), 4), *x = NULL, *y = NULL;
    PyGpuArrayObject *g = fv_packed_input(t, t->n_inputs - 1, 4);
    if (g && shaped) {
        pooling p = read_pooling(t->settings, shaped);
        int fits = fv_dim(g, 0) == fv_dim(shaped, 0) && fv_dim(g, 1) == fv_dim(shaped, 1)
                   && fv_dim(g, 2) == p.h.windows && fv_dim(g, 3) == p.w.windows;
        if (!fits) failed = refused(t, "a gradient of another shape", &p);
        else if (!is_maximum) failed = spread(t, &p, g, g, g);
        else if ((x = fv_packed_input(t, 0, 4)) && (y = fv_packed_input(t, 1, 4)))
            failed = fv_size(y) == fv_size(g) ? spread(t, &p, x, y, g) : refused(t, "maxima of another shape", &p);
    } else if (g) PyErr_SetString(PyExc_TypeError, "PoolGradient: its images are not float32 of 4 axes on the device");
    Py_XDECREF(x);
    Py_XDECREF(y);
    Py_XDECREF(g);
    return failed;
}

static int upsample(thunk *t) {
    PyGpuArrayObject *x = fv_packed_input(t, 0, 4);
    if (!x) return -1;
    pooling p = of_blocks(t, fv_dim(x, 2) * (size_t)t->settings[0], fv_dim(x, 3) * (size_t)t->settings[1]);
    int failed = spread(t, &p, x, x, x);
    Py_DECREF(x);
    return failed;
}

static int block_sum(thunk *t) {
    PyGpuArrayObject *x = fv_packed_input(t, 0, 4);
    if (!x) return -1;
    pooling p = of_blocks(t, fv_dim(x, 2), fv_dim(x, 3));
    int failed = p.h.size % p.h.window || p.w.size % p.w.window ? refused(t, "no whole number of windows", &p)
                                                                  : pooled(t, &p, x);
    Py_DECREF(x);
    return failed;
}

const op_kind pool_kind = {"Pool", N_SETTINGS, pool, NULL};
const op_kind pool_gradient_kind = {"PoolGradient", N_SETTINGS, pool_gradient, NULL};
const op_kind upsample_kind = {"Upsample", 2, upsample, NULL};
const op_kind block_sum_kind = {"BlockSum", 2, block_sum, NULL};
