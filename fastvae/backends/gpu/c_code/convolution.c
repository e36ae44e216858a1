/* A convolution, and its gradients with respect to the image and the weights, through cuDNN: NCHW, float32.
 *
 * Inputs    forward         image (N, C, H, W), weights (O, C / groups, kh, kw) [, bias (O,), with ReLU]
 *           by the image    top (N, O, H', W'), weights [, like]
 *           by the weights  image, top, like [-> also the sums of image or top over N, H and W]
 * `like` tells the size of the result: a tensor of that height and width, on the device or not, or two integers.
 *
 * The GIL is kept: a launch returns at once, and the GIL is the lock of the workspace that all convolutions share. */
#include "arrays.h"
#include "cudnn_runtime.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { FORWARD, BY_IMAGE, BY_WEIGHTS };
/* The Op's settings. */
enum { DIRECTION, SH, SW, PH, PW, DH, DW, GROUPS, FLIP, BIAS_RELU, SUM_OF, N_SETTINGS };
enum { HALF = -1, FULL = -2 }; /* padding that depends on the kernel */
enum { SUM_IMAGE = 1, SUM_TOP = 2 };

typedef struct {
    int image[4], weights[4], top[4];
    int image_strides[4], top_strides[4];
} geometry;

typedef struct {
    plan base; /* its key is the geometry */
    geometry g;
    object image, weights, top, bias, convolution, activation;
    choice choices[MAX_ALGORITHMS];
    int n, current; /* algorithms, the best first, and the one in use */
} convolution_plan;

_Static_assert(sizeof(geometry) <= MAX_KEY, "a geometry is the key of a plan");

static void free_plan(plan *base) {
    convolution_plan *p = (convolution_plan *)base;
    if (p->image) fv_cudnnDestroyTensorDescriptor(p->image);
    if (p->top) fv_cudnnDestroyTensorDescriptor(p->top);
    if (p->bias) fv_cudnnDestroyTensorDescriptor(p->bias);
    if (p->weights) fv_cudnnDestroyFilterDescriptor(p->weights);
    if (p->convolution) fv_cudnnDestroyConvolutionDescriptor(p->convolution);
    if (p->activation) fv_cudnnDestroyActivationDescriptor(p->activation);
    free(p);
}

static int setting(const thunk *t, int i) { return (int)t->settings[i]; }

static void read_settings(const thunk *t, int *to) {
    for (int i = 0; i < N_SETTINGS; i++) to[i] = setting(t, i);
}

static void padding(const thunk *t, const int *weights, int *pad) {
    for (int i = 0; i < 2; i++) {
        int span = (weights[2 + i] - 1) * setting(t, DH + i) + 1, asked = setting(t, PH + i);
        pad[i] = asked == HALF ? span / 2 : asked == FULL ? span - 1 : asked;
    }
}

/* Height and width of the top that an image and weights of these sizes give. */
static void size_of_top(const thunk *t, const geometry *g, int *size) {
    int pad[2];
    padding(t, g->weights, pad);
    for (int i = 0; i < 2; i++) {
        int span = (g->weights[2 + i] - 1) * setting(t, DH + i) + 1, room = g->image[2 + i] + 2 * pad[i] - span;
        size[i] = room < 0 ? 0 : room / setting(t, SH + i) + 1;
    }
}

static const char *names[] = {"convolution", "gradient of a convolution with respect to its image",
                              "gradient of a convolution with respect to its weights"};

static int bad_shapes(const thunk *t, const geometry *g) {
    PyErr_Format(PyExc_ValueError,
                 "%s: image (%d, %d, %d, %d), weights (%d, %d, %d, %d) in %d groups and top (%d, %d, %d, %d) do not belong "
                 "together", names[setting(t, DIRECTION)], g->image[0], g->image[1], g->image[2], g->image[3],
                 g->weights[0], g->weights[1], g->weights[2], g->weights[3], setting(t, GROUPS), g->top[0], g->top[1],
                 g->top[2], g->top[3]);
    return -1;
}

/* An input on the device as float32 with so many axes and strides that cuDNN takes: a new reference. */
static PyGpuArrayObject *operand(const thunk *t, int i, int nd, int contiguous) {
    PyGpuArrayObject *a = fv_float_array(PyList_GET_ITEM(t->inputs[i], 0), nd);
    if (!a) {
        PyErr_Format(PyExc_TypeError, "%s: input %d is not a float32 array of %d axes on the device",
                     names[setting(t, DIRECTION)], i, nd);
        return NULL;
    }
    int fits = GpuArray_IS_C_CONTIGUOUS(&a->ga);
    if (!fits && !contiguous) {
        fits = 1;
        for (int j = 0; j < nd; j++) {
            if (fv_dim(a, j) > 1 && (fv_stride(a, j) <= 0 || fv_stride(a, j) % 4)) fits = 0;
        }
    }
    if (!fits) return fv_copied(a);
    Py_INCREF(a);
    return a;
}

static int fill(PyGpuArrayObject *a, int *dims, int *strides) {
    ssize_t packed = 1;
    for (int i = 3; i >= 0; i--) {
        size_t n = fv_dim(a, i);
        ssize_t stride = n > 1 ? fv_stride(a, i) / 4 : packed;
        if (n > INT_MAX || stride > INT_MAX) {
            PyErr_Format(PyExc_ValueError, "axis %d has %zu entries: cuDNN counts in 32 bits", i, n);
            return -1;
        }
        dims[i] = (int)n;
        if (strides) strides[i] = (int)stride;
        packed *= (ssize_t)n;
    }
    return 0;
}

/* Height and width that `like` tells. */
static int size_of_like(const thunk *t, int i, int *size) {
    PyObject *like = PyList_GET_ITEM(t->inputs[i], 0);
    if (fv_is_gpu_array(like) && fv_ndim((PyGpuArrayObject *)like) == 4) {
        size[0] = (int)fv_dim((PyGpuArrayObject *)like, 2);
        size[1] = (int)fv_dim((PyGpuArrayObject *)like, 3);
        return 0;
    }
    PyObject *shape = PyObject_GetAttrString(like, "shape");
    if (!shape) return -1;
    int on_host = PyTuple_Check(shape) && PyTuple_GET_SIZE(shape) == 4;
    for (int j = 0; j < 2; j++) {
        PyObject *one = on_host ? PySequence_GetItem(shape, 2 + j) : PySequence_GetItem(like, j);
        size[j] = one ? (int)PyLong_AsLong(one) : -1;
        Py_XDECREF(one);
        if (PyErr_Occurred()) {
            Py_DECREF(shape);
            return -1;
        }
    }
    Py_DECREF(shape);
    return 0;
}

static void packed(const int *dims, int *strides) {
    for (int i = 3, n = 1; i >= 0; n *= dims[i--]) strides[i] = n;
}

#define CHECKED(call) \
    do { \
        status s_ = fv_##call; \
        if (s_) return fv_fail(#call, s_); \
    } while (0)

static int describe(const thunk *t, convolution_plan *p) {
    const geometry *g = &p->g;
    int s[N_SETTINGS];
    read_settings(t, s);
    const int *x = g->image, *w = g->weights, *y = g->top, *xs = g->image_strides, *ys = g->top_strides;
    int pad[2], channels = s[SUM_OF] == SUM_IMAGE ? x[1] : y[1];
    padding(t, w, pad);
    CHECKED(cudnnCreateTensorDescriptor(&p->image));
    CHECKED(cudnnSetTensor4dDescriptorEx(p->image, FLOAT, x[0], x[1], x[2], x[3], xs[0], xs[1], xs[2], xs[3]));
    CHECKED(cudnnCreateTensorDescriptor(&p->top));
    CHECKED(cudnnSetTensor4dDescriptorEx(p->top, FLOAT, y[0], y[1], y[2], y[3], ys[0], ys[1], ys[2], ys[3]));
    CHECKED(cudnnCreateFilterDescriptor(&p->weights));
    CHECKED(cudnnSetFilter4dDescriptor(p->weights, FLOAT, NCHW, w[0], w[1], w[2], w[3]));
    CHECKED(cudnnCreateConvolutionDescriptor(&p->convolution));
    CHECKED(cudnnSetConvolution2dDescriptor(p->convolution, pad[0], pad[1], s[SH], s[SW], s[DH], s[DW],
                                            s[FLIP] ? CONVOLUTION : CROSS_CORRELATION, FLOAT));
    CHECKED(cudnnSetConvolutionGroupCount(p->convolution, s[GROUPS]));
    CHECKED(cudnnSetConvolutionMathType(p->convolution, fv_policy.tf32 ? DEFAULT_MATH : FMA_MATH));
    if (s[BIAS_RELU] || s[SUM_OF]) {
        CHECKED(cudnnCreateTensorDescriptor(&p->bias));
        CHECKED(cudnnSetTensor4dDescriptorEx(p->bias, FLOAT, 1, channels, 1, 1, channels, 1, 1, 1));
    }
    if (s[BIAS_RELU]) {
        CHECKED(cudnnCreateActivationDescriptor(&p->activation));
        CHECKED(cudnnSetActivationDescriptor(p->activation, ACTIVATION_RELU, NOT_PROPAGATE_NAN, 0.0));
    }
    return 0;
}

/* The operands of the three directions in cuDNN's order: two inputs and the result. */
typedef struct {
    object first, second, result;
    const void *a, *b;
    void *out;
} call;

static call call_of(int direction, const convolution_plan *p, void *image, void *weights, void *top) {
    if (direction == FORWARD) return (call){p->image, p->weights, p->top, image, weights, top};
    if (direction == BY_IMAGE) return (call){p->weights, p->top, p->image, weights, top, image};
    return (call){p->image, p->top, p->weights, image, top, weights};
}

static status ranked(int direction, device *d, const convolution_plan *p, const call *c, int *n, choice *found) {
    if (fv_policy.search) {
        void *workspace = d->workspace ? *(void **)d->workspace : NULL;
        status (*search)(object, object, const void *, object, const void *, object, object, void *, int, int *, choice *,
                         void *, size_t) = direction == FORWARD    ? fv_cudnnFindConvolutionForwardAlgorithmEx
                                           : direction == BY_IMAGE ? fv_cudnnFindConvolutionBackwardDataAlgorithmEx
                                                                   : fv_cudnnFindConvolutionBackwardFilterAlgorithmEx;
        return search(d->handle, c->first, c->a, c->second, c->b, p->convolution, c->result, c->out, MAX_ALGORITHMS, n,
                      found, workspace, d->size);
    }
    status (*guess)(object, object, object, object, object, int, int *, choice *) =
        direction == FORWARD    ? fv_cudnnGetConvolutionForwardAlgorithm_v7
        : direction == BY_IMAGE ? fv_cudnnGetConvolutionBackwardDataAlgorithm_v7
                                : fv_cudnnGetConvolutionBackwardFilterAlgorithm_v7;
    return guess(d->handle, c->first, c->second, p->convolution, c->result, MAX_ALGORITHMS, n, found);
}

/* The algorithms that may be used, the best first. */
static int choose(const thunk *t, device *d, convolution_plan *p, const call *c) {
    choice found[MAX_ALGORITHMS];
    int n = 0;
    status s;
    if (fv_policy.search && fv_workspace(d, fv_policy.limit)) return -1;
    fv_enter(d);
    s = ranked(setting(t, DIRECTION), d, p, c, &n, found);
    fv_exit(d);
    if (s) return fv_fail("the choice of an algorithm", s);
    for (int i = 0; i < n; i++) {
        int usable = found[i].result == SUCCESS && found[i].memory <= fv_policy.limit;
        if (usable && (found[i].determinism || !fv_policy.deterministic)) p->choices[p->n++] = found[i];
    }
    if (p->n) return 0;
    PyErr_Format(PyExc_RuntimeError, "%s: cuDNN has no %salgorithm within %zu bytes of workspace for these shapes",
                 names[setting(t, DIRECTION)], fv_policy.deterministic ? "deterministic " : "", fv_policy.limit);
    return -1;
}

static convolution_plan *made(const thunk *t, device *d, const geometry *g, void *image, void *weights, void *top) {
    convolution_plan *p = calloc(1, sizeof *p);
    if (!p) return (convolution_plan *)PyErr_NoMemory();
    p->g = *g;
    if (!describe(t, p)) {
        call c = call_of(setting(t, DIRECTION), p, image, weights, top);
        if (!choose(t, d, p, &c)) return p;
    }
    free_plan(&p->base);
    return NULL;
}

/* The plan for these shapes and strides, moved to the front; made if there is none. */
static convolution_plan *plan_for(thunk *t, device *d, const geometry *g, void *image, void *weights, void *top) {
    convolution_plan *p = (convolution_plan *)fv_find_plan(t, g, sizeof *g);
    if (p) return p;
    p = made(t, d, g, image, weights, top);
    if (p) fv_keep_plan(t, &p->base, g, sizeof *g);
    return p;
}

static status launch(const thunk *t, device *d, const convolution_plan *p, const call *c, const void *bias) {
    const float one = 1, zero = 0;
    const choice *with = &p->choices[p->current];
    void *workspace = d->workspace ? *(void **)d->workspace : NULL;
    if (setting(t, BIAS_RELU))
        return fv_cudnnConvolutionBiasActivationForward(d->handle, &one, c->first, c->a, c->second, c->b, p->convolution,
                                                        with->algorithm, workspace, with->memory, &zero, c->result,
                                                        c->out, p->bias, bias, p->activation, c->result, c->out);
    status (*run)(object, const void *, object, const void *, object, const void *, object, int, void *, size_t,
                  const void *, object, void *) = setting(t, DIRECTION) == FORWARD    ? fv_cudnnConvolutionForward
                                                  : setting(t, DIRECTION) == BY_IMAGE ? fv_cudnnConvolutionBackwardData
                                                                                       : fv_cudnnConvolutionBackwardFilter;
    return run(d->handle, &one, c->first, c->a, c->second, c->b, p->convolution, with->algorithm, workspace, with->memory,
               &zero, c->result, c->out);
}

/* Runs the convolution; where an algorithm refuses, the next best one is taken from then on. */
static int computed(const thunk *t, device *d, convolution_plan *p, const call *c, const void *bias) {
    for (;; p->current++) {
        if (fv_workspace(d, p->choices[p->current].memory)) return -1;
        fv_enter(d);
        status s = launch(t, d, p, c, bias);
        fv_exit(d);
        if (!s) return 0;
        int refuses = s >= NOT_SUPPORTED && s < NOT_SUPPORTED_END;
        if (!refuses || p->current + 1 == p->n) return fv_fail(names[setting(t, DIRECTION)], s);
    }
}

static void *data_of(PyGpuArrayObject *a) { return *(char **)a->ga.data + a->ga.offset; }

static PyGpuArrayObject *output(const thunk *t, int i, int nd, const int *dims, PyGpuContextObject *context) {
    size_t shape[4];
    for (int j = 0; j < nd; j++) shape[j] = (size_t)dims[j];
    return fv_output(t, i, nd, shape, context);
}

/* All sizes and strides, checked against each other. `first` and `second` are the Op's inputs in their order. Returns the
 * sizes of the result, which will be packed; NULL with an exception. */
static const int *measured(const thunk *t, const int *s, PyGpuArrayObject *first, PyGpuArrayObject *second, geometry *g) {
    int size[2], *dims, *strides = NULL;
    memset(g, 0, sizeof *g);
    if (s[DIRECTION] == BY_WEIGHTS) {
        if (fill(first, g->image, g->image_strides) || fill(second, g->top, g->top_strides)) return NULL;
        if (size_of_like(t, 2, &g->weights[2])) return NULL;
        g->weights[0] = g->top[1];
        g->weights[1] = g->image[1] / s[GROUPS];
        dims = g->weights;
    } else if (s[DIRECTION] == BY_IMAGE) {
        if (fill(first, g->top, g->top_strides) || fill(second, g->weights, NULL)) return NULL;
        int pad[2];
        padding(t, g->weights, pad);
        g->image[0] = g->top[0];
        g->image[1] = g->weights[1] * s[GROUPS];
        for (int i = 0; i < 2; i++)
            g->image[2 + i] = (g->top[2 + i] - 1) * s[SH + i] - 2 * pad[i] + (g->weights[2 + i] - 1) * s[DH + i] + 1;
        if (t->n_inputs > 2 && size_of_like(t, 2, &g->image[2])) return NULL;
        dims = g->image, strides = g->image_strides;
    } else {
        if (fill(first, g->image, g->image_strides) || fill(second, g->weights, NULL)) return NULL;
        size_of_top(t, g, &g->top[2]);
        g->top[0] = g->image[0];
        g->top[1] = g->weights[0];
        dims = g->top, strides = g->top_strides;
    }
    size_of_top(t, g, size);
    if (g->image[1] != g->weights[1] * s[GROUPS] || g->weights[0] % s[GROUPS] || g->top[1] != g->weights[0]
        || g->top[0] != g->image[0] || size[0] != g->top[2] || size[1] != g->top[3]) {
        bad_shapes(t, g);
        return NULL;
    }
    if (strides) packed(dims, strides);
    return dims;
}

typedef struct {
    PyGpuArrayObject *first, *second, *bias, *out, *sums; /* bias and sums NULL where there is none */
} operands;

static void mark(const operands *x, int (*with)(gpudata *, int)) {
    with(x->first->ga.data, GPUARRAY_CUDA_WAIT_READ);
    with(x->second->ga.data, GPUARRAY_CUDA_WAIT_READ);
    with(x->out->ga.data, GPUARRAY_CUDA_WAIT_WRITE);
    if (x->bias) with(x->bias->ga.data, GPUARRAY_CUDA_WAIT_READ);
    if (x->sums) with(x->sums->ga.data, GPUARRAY_CUDA_WAIT_WRITE);
}

static int summed(device *d, const convolution_plan *p, int of_image, const void *source, PyGpuArrayObject *sums) {
    const float one = 1, zero = 0;
    fv_enter(d);
    status result = fv_cudnnConvolutionBackwardBias(d->handle, &one, of_image ? p->image : p->top, source, &zero, p->bias,
                                                    data_of(sums));
    fv_exit(d);
    return result ? fv_fail("cudnnConvolutionBackwardBias", result) : 0;
}

/* The convolution, and the sums beside it, on libgpuarray's stream. */
static int execute(thunk *t, device *d, const int *s, const geometry *g, const operands *x) {
    int direction = s[DIRECTION], of_image = s[SUM_OF] == SUM_IMAGE;
    void *image = direction == BY_IMAGE ? data_of(x->out) : data_of(x->first);
    void *weights = direction == BY_WEIGHTS ? data_of(x->out) : data_of(x->second);
    void *top = direction == FORWARD ? data_of(x->out) : direction == BY_IMAGE ? data_of(x->first) : data_of(x->second);
    convolution_plan *p = plan_for(t, d, g, image, weights, top);
    if (!p) return -1;
    call c = call_of(direction, p, image, weights, top);
    mark(x, fv_wait);
    if (computed(t, d, p, &c, x->bias ? data_of(x->bias) : NULL)) return -1;
    if (x->sums && summed(d, p, of_image, of_image ? image : top, x->sums)) return -1;
    mark(x, fv_record);
    return 0;
}

static int set_to_zero(const operands *x) {
    if (!GpuArray_memset(&x->out->ga, 0) && !(x->sums && GpuArray_memset(&x->sums->ga, 0))) return 0;
    PyErr_SetString(PyExc_RuntimeError, "the gradient of no images could not be set to 0");
    return -1;
}

static int run(thunk *t, PyGpuArrayObject *first, PyGpuArrayObject *second, PyGpuArrayObject *bias) {
    int s[N_SETTINGS];
    read_settings(t, s);
    geometry g;
    PyGpuContextObject *context = first->context;
    device *d = fv_device(context->ctx);
    const int *dims = d ? measured(t, s, first, second, &g) : NULL;
    if (!dims) return -1;
    if (bias && fv_dim(bias, 0) != (size_t)g.top[1]) {
        PyErr_Format(PyExc_ValueError, "convolution: %zu biases for %d channels", fv_dim(bias, 0), g.top[1]);
        return -1;
    }
    operands x = {first, second, bias, output(t, 0, 4, dims, context), NULL};
    if (!x.out) return -1;
    if (s[SUM_OF]) {
        int channels = s[SUM_OF] == SUM_IMAGE ? g.image[1] : g.top[1];
        if (!(x.sums = output(t, 1, 1, &channels, context))) return -1;
    }
    int empty = 0;
    for (int i = 0; i < 4; i++) empty |= !g.image[i] || !g.weights[i] || !g.top[i];
    if (!empty) return execute(t, d, s, &g, &x);
    return g.image[0] && s[DIRECTION] != BY_WEIGHTS ? bad_shapes(t, &g) : set_to_zero(&x);
}

static int convolution(thunk *t) {
    PyGpuArrayObject *first = operand(t, 0, 4, 0), *second = NULL, *bias = NULL;
    int failed = !first || !(second = operand(t, 1, 4, setting(t, DIRECTION) != BY_WEIGHTS));
    if (!failed && setting(t, BIAS_RELU)) failed = !(bias = operand(t, 2, 1, 1));
    if (!failed) failed = run(t, first, second, bias);
    Py_XDECREF(first);
    Py_XDECREF(second);
    Py_XDECREF(bias);
    return failed ? -1 : 0;
}

const op_kind convolution_kind = {"Convolution", N_SETTINGS, convolution, free_plan};
