/* An array of up to four axes among zeros, in one launch.
 *
 * Pad        images (N, C, H, W); settings: rows of zeros above and columns at the left, below and at the right, and from
 *            one pixel to the next
 * IntoZeros  x, and the sizes of the result, numbers of the host; settings: the number of axes, and of the slice where x
 *            goes, behind a 0 and 1 for each axis that is missing, the starts, which may count from the end, and the steps */
#include "kernels.h"
#include <limits.h>

enum { LOW, HIGH = 2, STEP = 4 };
enum { AXES, STARTS, STEPS = 5 };

static const char source[] = R"(
#define ALONG(name) const ga_uint name##0, const ga_uint name##1, const ga_uint name##2, const ga_uint name##3
#define FIND(axis, index) \
    const ga_uint from##axis = index - start##axis, at##axis = from##axis / step##axis; \
    inside = inside && index >= start##axis && from##axis % step##axis == 0 && at##axis < small##axis
KERNEL void fastvae_into_zeros(IN(x), OUT(y), const ga_uint n, ALONG(small), ALONG(large), ALONG(start), ALONG(step),
                               const ga_int stride0, const ga_int stride1, const ga_int stride2, const ga_int stride3) {
    PLACE(x); PLACE_OUT(y);
    EACH(i, n) {
        int inside = 1;
        FIND(3, i % large3);
        FIND(2, i / large3 % large2);
        FIND(1, i / large3 / large2 % large1);
        FIND(0, i / large3 / large2 / large1);
        const ga_int from = (ga_int)at0 * stride0 + (ga_int)at1 * stride1 + (ga_int)at2 * stride2 + (ga_int)at3 * stride3;
        y[i] = inside ? x[from] : 0.f;
    }
}
)";

static kernel into_zeros_kernel = {
    "IntoZeros", "fastvae_into_zeros", "aauuuuuuuuuuuuuuuuuiiii", {fv_prelude, source}, NULL};

typedef struct {
    size_t small[4], large[4], start[4], step[4];
} place;

/* Whether the kernel can step through x as it lies in memory, in 32 bits. */
static int is_within_reach(const PyGpuArrayObject *x) {
    ssize_t reach = 0;
    for (unsigned int i = 0; i < fv_ndim(x); i++) {
        ssize_t stride = fv_stride(x, i);
        if (stride % (ssize_t)sizeof(float)) return 0;
        reach += (stride < 0 ? -stride : stride) / (ssize_t)sizeof(float) * (ssize_t)fv_dim(x, i);
    }
    return reach <= INT_MAX;
}

/* The first input, packed if it must be: a new reference. */
static PyGpuArrayObject *input(const thunk *t, int nd) {
    PyGpuArrayObject *x = fv_float_array(PyList_GET_ITEM(t->inputs[0], 0), nd);
    if (!x || !is_within_reach(x)) return fv_packed_input(t, 0, nd);
    Py_INCREF(x);
    return x;
}

static int among_zeros(const thunk *t, const place *p, PyGpuArrayObject *x, unsigned int nd) {
    PyGpuArrayObject *y = fv_output(t, 0, nd, &p->large[4 - nd], x->context);
    if (!y || fv_countable(t, fv_size(x)) || fv_countable(t, fv_size(y))) return -1;
    unsigned int n = (unsigned int)fv_size(y), numbers[16];
    int strides[4] = {0};
    for (unsigned int i = 0; i < nd; i++) strides[4 - nd + i] = (int)(fv_stride(x, i) / (ssize_t)sizeof(float));
    void *arguments[5 + 16 + 4] = {ARRAY(x), ARRAY(y), &n};
    for (int i = 0; i < 4; i++) arguments[5 + 16 + i] = &strides[i];
    for (int i = 0; i < 16; i++) {
        numbers[i] = (unsigned int)(i < 4 ? p->small : i < 8 ? p->large : i < 12 ? p->start : p->step)[i % 4];
        arguments[5 + i] = &numbers[i];
    }
    return fv_start_elements(&into_zeros_kernel, x->context->ctx, n, arguments);
}

static int pad(thunk *t) {
    PyGpuArrayObject *x = input(t, 4);
    if (!x) return -1;
    place p = {{0}, {0}, {0}, {1, 1, 1, 1}};
    for (int i = 0; i < 4; i++) p.small[i] = p.large[i] = fv_dim(x, i);
    for (int i = 0; i < 2; i++) {
        size_t low = (size_t)t->settings[LOW + i], high = (size_t)t->settings[HIGH + i], size = p.small[2 + i];
        p.start[2 + i] = low;
        p.step[2 + i] = (size_t)t->settings[STEP + i];
        /* Of no pixels there is nothing to keep apart: one step less than none, as in the abstract Op. */
        p.large[2 + i] = size * p.step[2 + i] + 1 + low + high - p.step[2 + i];
    }
    int failed = among_zeros(t, &p, x, 4);
    Py_DECREF(x);
    return failed;
}

/* A size that the host has; -1 with an exception. */
static Py_ssize_t size_of(const thunk *t, int i) {
    Py_ssize_t size = PyNumber_AsSsize_t(PyList_GET_ITEM(t->inputs[i], 0), PyExc_OverflowError);
    if (size < 0 && !PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "%s: an axis of %zd", t->kind->name, size);
    return size < 0 ? -1 : size;
}

static int placed(const thunk *t, PyGpuArrayObject *x) {
    int nd = (int)t->settings[AXES];
    place p;
    for (int i = 0; i < 4; i++) {
        int axis = i - (4 - nd);
        Py_ssize_t size = axis < 0 ? 1 : size_of(t, 1 + axis), start = (Py_ssize_t)t->settings[STARTS + i];
        if (size < 0) return -1;
        p.large[i] = (size_t)size;
        p.small[i] = axis < 0 ? 1 : fv_dim(x, axis);
        p.step[i] = (size_t)t->settings[STEPS + i];
        if (start < 0) start += size;
        p.start[i] = start < 0 ? 0 : (size_t)start;
        if (p.small[i] && p.start[i] + (p.small[i] - 1) * p.step[i] >= p.large[i]) {
            PyErr_Format(PyExc_ValueError, "%s: %zu entries from %zu on, %zu apart, do not fit into an axis of %zu",
                         t->kind->name, p.small[i], p.start[i], p.step[i], p.large[i]);
            return -1;
        }
    }
    return among_zeros(t, &p, x, nd);
}

static int into_zeros(thunk *t) {
    PyGpuArrayObject *x = input(t, (int)t->settings[AXES]);
    int failed = x ? placed(t, x) : -1;
    Py_XDECREF(x);
    return failed;
}

const op_kind pad_kind = {"Pad", 6, pad, NULL};
const op_kind into_zeros_kind = {"IntoZeros", 9, into_zeros, NULL};
