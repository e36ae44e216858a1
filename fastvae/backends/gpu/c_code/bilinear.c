/* Bilinear upsampling of images (N, C, H, W), and its adjoint, in one launch each.
 *
 * Settings: the factors of rows and columns, and whether the result is centred. Places along an axis are counted in parts
 * of a pixel, 2 factor of them: pixel p lies at 2 factor p. */
#include "kernels.h"

enum { FACTORS, CENTRED = 2, N_SETTINGS };

static const char places[] = R"(
WITHIN_KERNEL ga_uint place_of(const ga_uint i, const ga_uint factor, const ga_uint shift, const ga_uint size) {
    const ga_uint at = 2 * i < shift ? 0 : 2 * i - shift, last = 2 * factor * (size - 1);
    return at < last ? at : last;
}
WITHIN_KERNEL float weight_of(const ga_uint place, const ga_uint pixel, const ga_uint factor) {
    const ga_uint whole = 2 * factor, at = whole * pixel, distance = place < at ? at - place : place - at;
    return distance < whole ? (float)(whole - distance) / (float)whole : 0.f;
}
#define GEOMETRY \
    const ga_uint height, const ga_uint width, const ga_uint factor_h, const ga_uint factor_w, const ga_uint shift_h, \
    const ga_uint shift_w
)";

static const char enlarging[] = R"(
KERNEL void fastvae_bilinear(IN(x), OUT(y), const ga_uint n, GEOMETRY) {
    PLACE(x); PLACE_OUT(y);
    EACH(i, n) {
        const ga_uint large_h = height * factor_h, large_w = width * factor_w;
        const ga_uint row = place_of(i / large_w % large_h, factor_h, shift_h, height);
        const ga_uint column = place_of(i % large_w, factor_w, shift_w, width);
        const ga_uint top = row / (2 * factor_h), left = column / (2 * factor_w), image = i / large_w / large_h * height;
        const ga_uint bottom = top + 1 < height ? top + 1 : top, right = left + 1 < width ? left + 1 : left;
        const float up = weight_of(row, top, factor_h), down = 1.f - up;
        const float before = weight_of(column, left, factor_w), behind = 1.f - before;
        y[i] = up * (before * x[(image + top) * width + left] + behind * x[(image + top) * width + right])
             + down * (before * x[(image + bottom) * width + left] + behind * x[(image + bottom) * width + right]);
    }
}
)";

/* The pixels of the large image that have a share of a pixel lie between its neighbours; behind the last one and before
 * the first one all have. */
static const char reducing[] = R"(
#define RANGE(first, end, pixel, size, factor, shift) \
    const ga_uint first = pixel == 0 ? 0 : factor * (pixel - 1) + shift / 2, \
                  end = pixel + 1 == size || factor * (pixel + 1) + shift / 2 + 1 > factor * size \
                            ? factor * size : factor * (pixel + 1) + shift / 2 + 1
KERNEL void fastvae_bilinear_gradient(IN(g), OUT(by_x), const ga_uint n, GEOMETRY) {
    PLACE(g); PLACE_OUT(by_x);
    EACH(i, n) {
        const ga_uint w = i % width, h = i / width % height, image = i / width / height * (height * factor_h);
        RANGE(top, bottom, h, height, factor_h, shift_h);
        RANGE(left, right, w, width, factor_w, shift_w);
        float total = 0.f;
        for (ga_uint row = top; row < bottom; row++) {
            float along = 0.f;
            for (ga_uint column = left; column < right; column++)
                along += g[(image + row) * (width * factor_w) + column]
                       * weight_of(place_of(column, factor_w, shift_w, width), w, factor_w);
            total += along * weight_of(place_of(row, factor_h, shift_h, height), h, factor_h);
        }
        by_x[i] = total;
    }
}
)";

static kernel enlarging_kernel = {
    "BilinearUpsample", "fastvae_bilinear", "aauuuuuuu", {fv_prelude, places, enlarging}, NULL};
static kernel reducing_kernel = {
    "BilinearUpsampleGradient", "fastvae_bilinear_gradient", "aauuuuuuu", {fv_prelude, places, reducing}, NULL};

/* x becomes images of this height and width; `small` has those of the smaller images. */
static int resampled(const thunk *t, kernel *k, PyGpuArrayObject *x, size_t height, size_t width, const size_t *small) {
    size_t shape[] = {fv_dim(x, 0), fv_dim(x, 1), height, width};
    PyGpuArrayObject *y = fv_output(t, 0, 4, shape, x->context);
    if (!y || fv_countable(t, 2 * fv_size(x)) || fv_countable(t, 2 * fv_size(y))) return -1;
    unsigned int factors[2], shifts[2];
    for (int i = 0; i < 2; i++) {
        factors[i] = (unsigned int)t->settings[FACTORS + i];
        shifts[i] = t->settings[CENTRED] ? factors[i] - 1 : (factors[i] - 1) / 2 * 2; /* twice the shift */
    }
    unsigned int n = fv_size(y), numbers[] = {small[0], small[1], factors[0], factors[1], shifts[0], shifts[1]};
    void *arguments[5 + 6] = {ARRAY(x), ARRAY(y), &n};
    for (int i = 0; i < 6; i++) arguments[5 + i] = &numbers[i];
    return fv_start_elements(k, x->context->ctx, n, arguments);
}

static int bilinear(thunk *t) {
    PyGpuArrayObject *x = fv_packed_input(t, 0, 4);
    if (!x) return -1;
    const size_t *small = &x->ga.dimensions[2];
    size_t height = small[0] * (size_t)t->settings[FACTORS], width = small[1] * (size_t)t->settings[FACTORS + 1];
    int failed = resampled(t, &enlarging_kernel, x, height, width, small);
    Py_DECREF(x);
    return failed;
}

static int bilinear_gradient(thunk *t) {
    PyGpuArrayObject *g = fv_packed_input(t, 0, 4);
    if (!g) return -1;
    size_t rows = (size_t)t->settings[FACTORS], columns = (size_t)t->settings[FACTORS + 1];
    size_t small[] = {fv_dim(g, 2) / rows, fv_dim(g, 3) / columns};
    int failed = -1;
    if (small[0] * rows != fv_dim(g, 2) || small[1] * columns != fv_dim(g, 3))
        PyErr_Format(PyExc_ValueError, "%s: images of %zu x %zu pixels do not consist of blocks of %zu x %zu",
                     t->kind->name, fv_dim(g, 2), fv_dim(g, 3), rows, columns);
    else failed = resampled(t, &reducing_kernel, g, small[0], small[1], small);
    Py_DECREF(g);
    return failed;
}

const op_kind bilinear_upsample_kind = {"BilinearUpsample", N_SETTINGS, bilinear, NULL};
const op_kind bilinear_upsample_gradient_kind = {"BilinearUpsampleGradient", N_SETTINGS, bilinear_gradient, NULL};
