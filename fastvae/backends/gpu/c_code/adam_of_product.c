/* One Adam update of a matrix whose gradient is a product, which is not put into memory: a dense layer's weights.
 *
 * Inputs rate (), p, a, b, m, v, the gradient being a b -> the new p, m and v.
 * Settings: those of Adam. */
#include "adam.h"
#include "kernels.h"
#include <gpuarray/blas.h>
#include <limits.h>

#define TILE 64 /* rows and columns of a block, of 256 threads with 4 x 4 elements each */
#define DEEP 128 /* products of a sum: of more the product is arithmetic rather than memory, and cuBLAS is better at it */

static const char source[] = R"(
#define TILE 64
#define DEPTH 16
#define THREADS 256
KERNEL void fastvae_adam_of_product(IN(rate), const float beta1, const float beta2, const float epsilon,
                                    OUT(p), OUT(m), OUT(v), IN(a), IN(b),
                                    const ga_uint rows, const ga_uint inner, const ga_uint columns,
                                    const ga_int a_down, const ga_int a_along, const ga_int b_down, const ga_int b_along) {
    PLACE(rate); PLACE(a); PLACE(b); PLACE_OUT(p); PLACE_OUT(m); PLACE_OUT(v);
    LOCAL_MEM float left[DEPTH * TILE], right[DEPTH * TILE];
    const ga_uint across = (columns + TILE - 1) / TILE;
    const ga_uint row = GID_0 / across * TILE, column = GID_0 % across * TILE;
    const ga_uint y = LID_0 / 16, x = LID_0 % 16;
    float gradient[16];
    for (int i = 0; i < 16; i++) gradient[i] = 0.f;
    for (ga_uint first = 0; first < inner; first += DEPTH) {
        for (ga_uint i = LID_0; i < DEPTH * TILE; i += THREADS) {
            const ga_uint k = first + i / TILE, r = row + i % TILE, c = column + i % TILE;
            left[i] = k < inner && r < rows ? a[(ga_int)r * a_down + (ga_int)k * a_along] : 0.f;
            right[i] = k < inner && c < columns ? b[(ga_int)k * b_down + (ga_int)c * b_along] : 0.f;
        }
        local_barrier();
        for (int k = 0; k < DEPTH; k++)
            for (int i = 0; i < 16; i++)
                gradient[i] += left[k * TILE + y + i / 4 * 16] * right[k * TILE + x + i % 4 * 16];
        local_barrier();
    }
    const float r = rate[0];
    for (int i = 0; i < 16; i++) {
        const ga_uint down = row + y + i / 4 * 16, along = column + x + i % 4 * 16;
        if (down < rows && along < columns) {
            const ga_size at = (ga_size)down * columns + along;
            const float mean = beta1 * m[at] + (1.f - beta1) * gradient[i];
            const float square = beta2 * v[at] + (1.f - beta2) * (gradient[i] * gradient[i]);
            m[at] = mean;
            v[at] = square;
            p[at] -= r * mean / (sqrt(square) + epsilon);
        }
    }
}
)";

static kernel update_kernel = {
    "AdamOfProduct", "fastvae_adam_of_product", "afffaaaaauuuiiii", {fv_prelude, source}, NULL};

enum { RATE, P, A, B, M, V };

/* An input as a matrix that the kernel can step through in 32 bits: a new reference, or NULL with an exception. */
static PyGpuArrayObject *factor(const thunk *t, int i, int steps[2]) {
    PyGpuArrayObject *x = fv_float_array(PyList_GET_ITEM(t->inputs[i], 0), 2);
    int fits = x != NULL;
    size_t reach = 0;
    for (int axis = 0; fits && axis < 2; axis++) {
        ssize_t stride = fv_stride(x, axis);
        reach += fv_dim(x, axis) * (size_t)(stride < 0 ? -stride : stride) / sizeof(float);
        fits = stride % (ssize_t)sizeof(float) == 0 && reach <= INT_MAX;
    }
    if (fits)
        Py_INCREF(x);
    else if (!(x = fv_packed_input(t, i, 2)))
        return NULL;
    for (int axis = 0; axis < 2; axis++) steps[axis] = (int)(fv_stride(x, axis) / (ssize_t)sizeof(float));
    return x;
}

/* With the gradient in memory, from libgpuarray's BLAS. */
static int in_two_steps(const thunk *t, PyGpuArrayObject *rate, PyGpuArrayObject *a, PyGpuArrayObject *b) {
    size_t shape[] = {fv_dim(a, 0), fv_dim(b, 1)};
    PyGpuArrayObject *gradient = fv_empty(2, shape, rate->context);
    if (!gradient) return -1;
    int error = GpuArray_rgemm(cb_no_trans, cb_no_trans, 1, &a->ga, &b->ga, 0, &gradient->ga, 0), failed = -1;
    if (error)
        PyErr_Format(PyExc_RuntimeError, "Adam: the product of its gradient failed: %s", GpuArray_error(&a->ga, error));
    else
        failed = fv_adam_launch(t, rate, &gradient, 0, 1);
    Py_DECREF(gradient);
    return failed;
}

static int start(const thunk *t, PyGpuArrayObject *rate, PyGpuArrayObject *a, PyGpuArrayObject *b, const int *a_steps,
                 const int *b_steps) {
    PyGpuArrayObject *state[3];
    static const int sources[] = {P, M, V};
    for (int i = 0; i < 3; i++) {
        if (!(state[i] = fv_adam_updated(t, sources[i], i))) return -1;
        if (fv_ndim(state[i]) != 2 || fv_dim(state[i], 0) != fv_dim(a, 0) || fv_dim(state[i], 1) != fv_dim(b, 1) ||
            fv_dim(a, 1) != fv_dim(b, 0)) {
            PyErr_Format(PyExc_ValueError, "Adam: a product (%zu, %zu) (%zu, %zu) is no gradient of its parameter, m and v",
                         fv_dim(a, 0), fv_dim(a, 1), fv_dim(b, 0), fv_dim(b, 1));
            return -1;
        }
    }
    if (fv_dim(a, 1) > DEEP) return in_two_steps(t, rate, a, b);
    unsigned int rows = (unsigned int)fv_dim(a, 0), inner = (unsigned int)fv_dim(a, 1), columns = (unsigned int)fv_dim(b, 1);
    float constants[3] = {t->settings[1], t->settings[2], t->settings[3]};
    void *arguments[] = {ARRAY(rate),         &constants[0], &constants[1], &constants[2],     ARRAY(state[0]),
                         ARRAY(state[1]),     ARRAY(state[2]), ARRAY(a),    ARRAY(b),          &rows,
                         &inner,              &columns,      (void *)&a_steps[0], (void *)&a_steps[1],
                         (void *)&b_steps[0], (void *)&b_steps[1]};
    size_t blocks = (((size_t)rows + TILE - 1) / TILE) * (((size_t)columns + TILE - 1) / TILE);
    return blocks ? fv_start(&update_kernel, rate->context->ctx, blocks, 256, arguments) : 0;
}

static int adam_of_product(thunk *t) {
    int a_steps[2], b_steps[2], failed = -1;
    PyGpuArrayObject *rate = fv_packed_input(t, RATE, 0), *a = NULL, *b = NULL;
    if (rate && (a = factor(t, A, a_steps)) && (b = factor(t, B, b_steps))) failed = start(t, rate, a, b, a_steps, b_steps);
    Py_XDECREF(b);
    Py_XDECREF(a);
    Py_XDECREF(rate);
    return failed;
}

const op_kind adam_of_product_kind = {"AdamOfProduct", 5, adam_of_product, NULL};
