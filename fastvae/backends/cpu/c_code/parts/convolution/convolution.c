/* A convolution, and its gradients with respect to the image (transposed convolution) and the weights; float32, NHWC.
 *
 * All three are described in the convolution's own terms: an image (N, H, W, C), weights (O, C / groups, kh, kw) and
 * the "top", its output (N, OH, OW, O).
 *     forward   inputs image, weights [, bias]           -> top
 *     data      inputs top, weights [, bias] [, like]    -> image     (a deconvolution in oneDNN's words)
 *     weights   inputs image, top, like                  -> weights' gradient [, sums of top or image over N, H, W]
 * `like` has the shape that cannot be told from the others: an image (weights) to copy it from, or a vector (h, w).
 * Those that one of our own kernels suits go through it (own_convolution.c), the others through oneDNN. */
#include "convolution.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    plan base;
    dnnl_primitive_t compute, reorder;
    dnnl_memory_t image, top, bias, weights, plain_weights, scratchpad, reorder_scratchpad;
    size_t weights_bytes, scratchpad_bytes, reorder_scratchpad_bytes;
} convolution_plan;

static void free_plan(plan *p) {
    convolution_plan *q = (convolution_plan *)p;
    if (q->weights != q->plain_weights) dnnl_memory_destroy(q->weights);
    dnnl_memory_destroy(q->plain_weights);
    dnnl_memory_destroy(q->image);
    dnnl_memory_destroy(q->top);
    dnnl_memory_destroy(q->bias);
    dnnl_memory_destroy(q->scratchpad);
    dnnl_memory_destroy(q->reorder_scratchpad);
    dnnl_primitive_destroy(q->compute);
    dnnl_primitive_destroy(q->reorder);
    free(q);
}

static void read_settings(const thunk *t, convolution *c) {
    const double *s = t->settings;
    *c = (convolution){.direction = s[0],
                       .stride = {s[1], s[2]},
                       .dilation = {s[3], s[4]},
                       .groups = s[5],
                       .pad = {{s[6], s[7]}, {s[8], s[9]}},
                       .flip = s[10],
                       .bias = s[11],
                       .like = s[12],
                       .sum_of = s[13],
                       .winograd = s[14],
                       .activation = fv_activation_from(s + 15)};
}

/* The two sizes that an operand's shape, or the values of a vector, prescribe. */
static int read_like(const thunk *t, int i, int axis, npy_intp *h, npy_intp *w) {
    PyArrayObject *a = (PyArrayObject *)PyList_GET_ITEM(t->inputs[i], 0);
    if (PyArray_NDIM(a) == 4) {
        *h = PyArray_DIM(a, axis);
        *w = PyArray_DIM(a, axis + 1);
        return 0;
    }
    if (PyArray_NDIM(a) != 1 || PyArray_DIM(a, 0) != 2 || PyArray_TYPE(a) != NPY_INT64) {
        PyErr_SetString(PyExc_TypeError, "Convolution: the shape to produce must be an image, weights or two int64");
        return -1;
    }
    *h = *(npy_int64 *)PyArray_GETPTR1(a, 0);
    *w = *(npy_int64 *)PyArray_GETPTR1(a, 1);
    return 0;
}

static int bad_sizes(const char *why, const geometry *g) {
    PyErr_Format(
        PyExc_ValueError,
        "Convolution: %s: image (N, C, H, W) = (%ld, %ld, %ld, %ld), output (O, H, W) = (%ld, %ld, %ld), kernel "
        "(%ld, %ld)",
        why, (long)g->n, (long)g->c, (long)g->h, (long)g->w, (long)g->o, (long)g->oh, (long)g->ow, (long)g->kh,
        (long)g->kw);
    return -1;
}

/* All sizes and the padding in numbers, checked against each other. */
static int measure(const thunk *t, convolution *c, PyArrayObject *a, PyArrayObject *b, geometry *g) {
    npy_intp *x = PyArray_DIMS(a), *y = PyArray_DIMS(b), channels, filters;
    memset(g, 0, sizeof *g);
    g->n = x[0];
    if (c->direction == WEIGHTS) {
        *g = (geometry){x[0], x[3], x[1], x[2], y[3], y[1], y[2], 0, 0};
        if (read_like(t, 2, 2, &g->kh, &g->kw)) return -1;
        if (y[0] != x[0]) return bad_sizes("the two operands differ in batch size", g);
        channels = g->c;
        filters = g->o;
    } else {
        g->kh = y[2];
        g->kw = y[3];
        filters = y[0];
        channels = y[1] * c->groups;
        if (c->direction == FORWARD) {
            g->c = x[3], g->h = x[1], g->w = x[2], g->o = filters;
            if (g->c != channels) return bad_sizes("the weights' channels (times groups) differ from the image's", g);
        } else {
            g->o = x[3], g->oh = x[1], g->ow = x[2], g->c = channels;
            if (g->o != filters) return bad_sizes("the weights' filters differ from the operand's channels", g);
        }
    }
    if (g->c % c->groups || g->o % c->groups) return bad_sizes("channels are not divisible by groups", g);
    npy_intp *image[2] = {&g->h, &g->w}, *top[2] = {&g->oh, &g->ow}, kernel[2] = {g->kh, g->kw};
    if (c->direction == DATA && c->like && read_like(t, 2 + c->bias, 1, &g->h, &g->w)) return -1;
    for (int i = 0; i < 2; i++) {
        npy_intp extent = (kernel[i] - 1) * c->dilation[i] + 1;
        if (kernel[i] < 1) return bad_sizes("the kernel is empty", g);
        if (c->pad[i][0] == HALF) c->pad[i][0] = c->pad[i][1] = extent / 2;
        if (c->pad[i][0] == FULL) c->pad[i][0] = c->pad[i][1] = extent - 1;
        npy_intp pad = c->pad[i][0] + c->pad[i][1];
        if (c->direction == DATA && !c->like) *image[i] = (*top[i] - 1) * c->stride[i] - pad + extent;
        npy_intp room = *image[i] + pad - extent, out = room < 0 ? 0 : room / c->stride[i] + 1;
        if (room < 0 || *image[i] < 0) return bad_sizes("the kernel does not fit into the padded image", g);
        if (c->direction == FORWARD) *top[i] = out;
        if (*top[i] != out) return bad_sizes("image and output sizes do not belong together", g);
    }
    return 0;
}

static dnnl_status_t nhwc(dnnl_memory_desc_t *md, npy_intp n, npy_intp c, npy_intp h, npy_intp w) {
    dnnl_dims_t dims = {n, c, h, w}, strides = {h * w * c, 1, w * c, c};
    return dnnl_memory_desc_create_with_strides(md, 4, dims, dnnl_f32, strides);
}

/* The weights (O, C / groups, kh, kw) as oneDNN sees them: with a leading group axis where there are groups, and with
 * O and C exchanged for a deconvolution. */
static dnnl_status_t weights_md(dnnl_memory_desc_t *md, const convolution *c, const geometry *g, int any) {
    npy_intp k = g->kh * g->kw, per_o = g->c / c->groups, o = g->o / c->groups;
    dnnl_dims_t dims = {c->groups, o, per_o, g->kh, g->kw}, strides = {o * per_o * k, per_o * k, k, g->kw, 1};
    if (c->direction == DATA) {
        dims[1] = per_o, dims[2] = o;
        strides[1] = k, strides[2] = per_o * k;
    }
    int skip = c->groups == 1;
    if (any) return dnnl_memory_desc_create_with_tag(md, 5 - skip, dims + skip, dnnl_f32, dnnl_format_tag_any);
    return dnnl_memory_desc_create_with_strides(md, 5 - skip, dims + skip, dnnl_f32, strides + skip);
}

#define TRY(what, call)          \
    do {                         \
        if ((status = (call))) { \
            *step = what;        \
            goto done;           \
        }                        \
    } while (0)

typedef struct {
    dnnl_memory_desc_t image, top, weights, bias; /* the weights in whatever layout suits */
} descriptions;

/* oneDNN's kernel for what these describe. */
static dnnl_status_t choose(const convolution *c, const descriptions *d, dnnl_primitive_attr_t attr,
                            dnnl_primitive_desc_t *chosen) {
    dnnl_engine_t engine = fv_engine();
    dnnl_dims_t stride = {c->stride[0], c->stride[1]}, dilation = {c->dilation[0] - 1, c->dilation[1] - 1};
    dnnl_dims_t before = {c->pad[0][0], c->pad[1][0]}, after = {c->pad[0][1], c->pad[1][1]};
    if (c->direction == FORWARD)
        return dnnl_convolution_forward_primitive_desc_create(
            chosen, engine, dnnl_forward_inference, dnnl_convolution_direct, d->image, d->weights, d->bias, d->top,
            stride, dilation, before, after, attr);
    if (c->direction == DATA)
        return dnnl_deconvolution_forward_primitive_desc_create(
            chosen, engine, dnnl_forward_inference, dnnl_deconvolution_direct, d->top, d->weights, d->bias, d->image,
            stride, dilation, before, after, attr);
    dnnl_primitive_desc_t hint = NULL;
    dnnl_status_t status = dnnl_convolution_forward_primitive_desc_create(
        &hint, engine, dnnl_forward_training, dnnl_convolution_direct, d->image, d->weights, NULL, d->top, stride,
        dilation, before, after, NULL);
    if (!status)
        status = dnnl_convolution_backward_weights_primitive_desc_create(
            chosen, engine, dnnl_convolution_direct, d->image, d->weights, d->bias, d->top, stride, dilation, before,
            after, hint, attr);
    dnnl_primitive_desc_destroy(hint);
    return status;
}

/* A plan for these sizes; on failure NULL, the status, and what failed in *step. */
static convolution_plan *make_plan(const convolution *c, const geometry *g, dnnl_status_t *result, const char **step) {
    dnnl_status_t status = dnnl_success;
    descriptions d = {NULL};
    dnnl_memory_desc_t plain = NULL;
    dnnl_primitive_attr_t attr = NULL, reorder_attr = NULL;
    dnnl_primitive_desc_t pd = NULL, reorder = NULL;
    dnnl_engine_t engine = fv_engine();
    dnnl_dims_t bias_dims = {c->direction == DATA ? g->c : g->o}; /* channels that come out */
    convolution_plan *p = calloc(1, sizeof *p);
    if (!p) TRY("allocate a plan", dnnl_out_of_memory);

    TRY("describe the image", nhwc(&d.image, g->n, g->c, g->h, g->w));
    TRY("describe the output", nhwc(&d.top, g->n, g->o, g->oh, g->ow));
    TRY("describe the weights", weights_md(&d.weights, c, g, 1));
    TRY("describe the weights", weights_md(&plain, c, g, 0));
    if (c->bias || c->sum_of == SUM_TOP)
        TRY("describe the bias", dnnl_memory_desc_create_with_tag(&d.bias, 1, bias_dims, dnnl_f32, dnnl_a));
    TRY("set attributes", dnnl_primitive_attr_create(&attr));
    TRY("set attributes", dnnl_primitive_attr_create(&reorder_attr));
    TRY("set attributes", dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    TRY("set attributes", dnnl_primitive_attr_set_scratchpad_mode(reorder_attr, dnnl_scratchpad_mode_user));
    if (fv_is_post_op(&c->activation)) TRY("set attributes", fv_append_activation(attr, &c->activation));
    TRY("choose a kernel", choose(c, &d, attr, &pd));
    TRY("build a kernel", dnnl_primitive_create(&p->compute, pd));
    const_dnnl_memory_desc_t chosen = dnnl_primitive_desc_query_md(
        pd, c->direction == WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    const_dnnl_memory_desc_t pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratchpad_bytes = fv_round(dnnl_memory_desc_get_size(pad));
    TRY("make memory", dnnl_memory_create(&p->image, d.image, engine, DNNL_MEMORY_NONE));
    TRY("make memory", dnnl_memory_create(&p->top, d.top, engine, DNNL_MEMORY_NONE));
    TRY("make memory", dnnl_memory_create(&p->scratchpad, pad, engine, DNNL_MEMORY_NONE));
    TRY("make memory", dnnl_memory_create(&p->plain_weights, plain, engine, DNNL_MEMORY_NONE));
    if (d.bias) TRY("make memory", dnnl_memory_create(&p->bias, d.bias, engine, DNNL_MEMORY_NONE));
    if (dnnl_memory_desc_equal(chosen, plain))
        p->weights = p->plain_weights;
    else {
        const_dnnl_memory_desc_t from = c->direction == WEIGHTS ? chosen : plain,
                                 to = c->direction == WEIGHTS ? plain : chosen;
        TRY("make memory", dnnl_memory_create(&p->weights, chosen, engine, DNNL_MEMORY_NONE));
        p->weights_bytes = fv_round(dnnl_memory_desc_get_size(chosen));
        TRY("reorder weights", dnnl_reorder_primitive_desc_create(&reorder, from, engine, to, engine, reorder_attr));
        TRY("reorder weights", dnnl_primitive_create(&p->reorder, reorder));
        pad = dnnl_primitive_desc_query_md(reorder, dnnl_query_scratchpad_md, 0);
        p->reorder_scratchpad_bytes = fv_round(dnnl_memory_desc_get_size(pad));
        TRY("make memory", dnnl_memory_create(&p->reorder_scratchpad, pad, engine, DNNL_MEMORY_NONE));
    }
done:
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_desc_destroy(reorder);
    dnnl_primitive_attr_destroy(attr);
    dnnl_primitive_attr_destroy(reorder_attr);
    dnnl_memory_desc_destroy(d.image);
    dnnl_memory_desc_destroy(d.top);
    dnnl_memory_desc_destroy(d.weights);
    dnnl_memory_desc_destroy(plain);
    dnnl_memory_desc_destroy(d.bias);
    if (status && p) {
        free_plan(&p->base);
        p = NULL;
    }
    *result = status;
    return p;
}

/* Reverse every kernel in place: a flipped filter is the same numbers read backwards. */
static void flip_kernels(float *w, npy_intp kernels, npy_intp k) {
    for (npy_intp i = 0; i < kernels; i++, w += k)
        for (npy_intp a = 0, b = k - 1; a < b; a++, b--) {
            float swap = w[a];
            w[a] = w[b];
            w[b] = swap;
        }
}

/* Runs without the GIL. */
static dnnl_status_t execute(const convolution *c, const geometry *g, convolution_plan *p, const operands *x,
                             char *scratch, const char **step) {
    dnnl_status_t status = dnnl_success;
    dnnl_stream_t stream = fv_stream();
    char *at = scratch, *pad = carve(&at, p->scratchpad_bytes), *reorder_pad = carve(&at, p->reorder_scratchpad_bytes);
    char *blocked = carve(&at, p->weights_bytes);
    float *image = packed(x->image, &at), *top = packed(x->top, &at), *weights = PyArray_DATA(x->weights);
    npy_intp k = g->kh * g->kw, kernels = g->o * (g->c / c->groups);
    if (c->direction != WEIGHTS && (c->flip || !fv_is_contiguous(x->weights))) {
        weights = (float *)carve(&at, fv_round(PyArray_NBYTES(x->weights)));
        fv_pack(weights, x->weights);
        if (c->flip) flip_kernels(weights, kernels, k);
    }
    TRY("set memory", dnnl_memory_set_data_handle(p->image, image));
    TRY("set memory", dnnl_memory_set_data_handle(p->top, top));
    TRY("set memory", dnnl_memory_set_data_handle(p->plain_weights, weights));
    TRY("set memory", dnnl_memory_set_data_handle(p->scratchpad, pad));
    if (p->bias) TRY("set memory", dnnl_memory_set_data_handle(p->bias, c->direction == WEIGHTS ? x->sum : x->bias));
    dnnl_exec_arg_t move[] = {
        {DNNL_ARG_FROM, p->plain_weights}, {DNNL_ARG_TO, p->weights}, {DNNL_ARG_SCRATCHPAD, p->reorder_scratchpad}};
    if (p->reorder) {
        TRY("set memory", dnnl_memory_set_data_handle(p->weights, blocked));
        TRY("set memory", dnnl_memory_set_data_handle(p->reorder_scratchpad, reorder_pad));
        if (c->direction != WEIGHTS) TRY("reorder weights", dnnl_primitive_execute(p->reorder, stream, 3, move));
    }
    if (c->direction == WEIGHTS) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->image},
                                  {DNNL_ARG_DIFF_DST, p->top},
                                  {DNNL_ARG_DIFF_WEIGHTS, p->weights},
                                  {DNNL_ARG_SCRATCHPAD, p->scratchpad},
                                  {DNNL_ARG_DIFF_BIAS, p->bias}};
        TRY("compute", dnnl_primitive_execute(p->compute, stream, p->bias ? 5 : 4, args));
        if (p->reorder) {
            move[0].memory = p->weights, move[1].memory = p->plain_weights;
            TRY("reorder weights", dnnl_primitive_execute(p->reorder, stream, 3, move));
        }
        if (c->flip) flip_kernels(weights, kernels, k);
        if (c->sum_of == SUM_IMAGE) fv_column_sum(x->sum, image, g->n * g->h * g->w, g->c, at);
    } else {
        int forward = c->direction == FORWARD;
        dnnl_exec_arg_t args[6] = {{DNNL_ARG_SRC, forward ? p->image : p->top},
                                   {DNNL_ARG_DST, forward ? p->top : p->image},
                                   {DNNL_ARG_WEIGHTS, p->weights},
                                   {DNNL_ARG_SCRATCHPAD, p->scratchpad}};
        int n = 4;
        if (p->bias) args[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, p->bias};
        n += fv_post_op_argument(&c->activation, args + n);
        TRY("compute", dnnl_primitive_execute(p->compute, stream, n, args));
    }
    TRY("finish", dnnl_stream_wait(stream));
    if (c->activation.kind && !fv_is_post_op(&c->activation)) {
        int forward = c->direction == FORWARD;
        npy_intp pixels = forward ? g->oh * g->ow * g->o : g->h * g->w * g->c;
        fv_activate_threaded(&c->activation, forward ? top : image, g->n * pixels);
    }
done:
    return status;
}

static void fill_zero(PyArrayObject *a) { memset(PyArray_DATA(a), 0, PyArray_NBYTES(a)); }

static int run_convolution(thunk *t) {
    convolution c;
    geometry g;
    read_settings(t, &c);
    PyArrayObject *a = fv_input(t, 0, 4), *b = a ? fv_input(t, 1, 4) : NULL;
    if (!b || measure(t, &c, a, b, &g)) return -1;
    const npy_intp *sizes = &g.n;
    operands x = {NULL};
    PyArrayObject *out, *sum = NULL, *bias = NULL, *bias_copy = NULL;
    if (c.direction == FORWARD) {
        out = fv_output(t, 0, 4, (npy_intp[]){g.n, g.oh, g.ow, g.o});
        x = (operands){a, out, b, NULL, NULL};
    } else if (c.direction == DATA) {
        out = fv_output(t, 0, 4, (npy_intp[]){g.n, g.h, g.w, g.c});
        x = (operands){out, a, b, NULL, NULL};
    } else {
        out = fv_output(t, 0, 4, (npy_intp[]){g.o, g.c / c.groups, g.kh, g.kw});
        x = (operands){a, b, out, NULL, NULL};
        if (out && c.sum_of) {
            sum = fv_output(t, 1, 1, (npy_intp[]){c.sum_of == SUM_TOP ? g.o : g.c});
            if (!sum) return -1;
            x.sum = PyArray_DATA(sum);
        }
    }
    if (!out) return -1;
    if (g.n * g.c * g.o * g.h * g.w == 0) {
        if (PyArray_SIZE(out) && c.direction != WEIGHTS) return bad_sizes("an axis other than the batch is empty", &g);
        fill_zero(out);
        if (sum) fill_zero(sum);
        return 0;
    }
    fv_own own = fv_find_own(&c, &g);
    int planned = own.kernel == NO_KERNEL;
    convolution_plan *p = planned ? (convolution_plan *)fv_find_plan(t, &g, sizeof g) : NULL;
    dnnl_status_t status = dnnl_success;
    const char *step = "";
    if (planned && !p) {
        if (!(p = make_plan(&c, &g, &status, &step))) return fv_fail(t, step, status, sizes, N_SIZES);
        fv_keep_plan(t, &p->base, &g, sizeof g);
    }
    if (c.bias) {
        if (!(bias = fv_input(t, 2, 1))) return -1;
        if (PyArray_DIM(bias, 0) != (c.direction == DATA ? g.c : g.o))
            return bad_sizes("the bias has another length than the channels", &g);
        if (!(bias_copy = PyArray_GETCONTIGUOUS(bias))) return -1;
        x.bias = PyArray_DATA(bias_copy);
    }
    size_t bytes = copy_bytes(x.image) + copy_bytes(x.top) + fv_round(PyArray_NBYTES(x.weights)) +
                   (c.sum_of ? fv_column_sum_scratch(c.sum_of == SUM_TOP ? g.o : g.c) : 0) +
                   (planned ? p->scratchpad_bytes + p->reorder_scratchpad_bytes + p->weights_bytes : own.scratch);
    char *scratch = fv_scratch(bytes);
    if (!scratch) {
        Py_XDECREF(bias_copy);
        return fv_oom(bytes);
    }
    Py_BEGIN_ALLOW_THREADS;
    if (planned) status = execute(&c, &g, p, &x, scratch, &step);
    else fv_execute_own(&c, &g, &own, &x, scratch);
    Py_END_ALLOW_THREADS;
    Py_XDECREF(bias_copy);
    return status ? fv_fail(t, step, status, sizes, N_SIZES) : 0;
}

const op_kind convolution_kind = {"Convolution", 19, run_convolution, free_plan};
