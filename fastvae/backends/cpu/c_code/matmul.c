/* Products of float32 matrices: with bias and activation for dense layers, and alpha * x y + beta * z in place. */
#include "fastvae.h"
#include "product.h"
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Every product shares out its longest axis, rows of x, columns of w, or the terms that are summed, and so do the other
 * Ops on the same arrays: the same thread then meets the same numbers again, and they need not move between cores. */
enum { ROWS, COLUMNS, TERMS, NONE };
#define SHARE_MIN 64        /* below this width of a share oneDNN divides the work itself */
#define SERIAL_MAX (1 << 18) /* products of two numbers below which one thread is faster */

typedef struct {
    dnnl_primitive_t compute;
    dnnl_stream_t stream;
    dnnl_memory_t x, w, bias, y, scratchpad;
    npy_intp from, to; /* its share of the axis */
    size_t scratchpad_bytes;
} part;

typedef struct {
    plan base;
    npy_intp m, n, k;
    int axis, n_parts, late; /* late: activated by us, after the product */
    int own;                 /* computed by product.c, without oneDNN */
    fv_activation activation;
    part parts[];
} matmul_plan;

static void free_plan(plan *p) {
    matmul_plan *q = (matmul_plan *)p;
    for (part *r = q->parts; r < q->parts + q->n_parts && !q->own; r++) {
        dnnl_memory_destroy(r->x);
        dnnl_memory_destroy(r->w);
        dnnl_memory_destroy(r->bias);
        dnnl_memory_destroy(r->y);
        dnnl_memory_destroy(r->scratchpad);
        dnnl_primitive_destroy(r->compute);
        dnnl_stream_destroy(r->stream);
    }
    free(q);
}

/* How a matrix lies in memory, in elements: rows `row` apart and columns 1 apart, or the other way round. */
typedef struct {
    PyArrayObject *array;
    npy_intp rows, columns, row, column;
    int copy;
} matrix;

static matrix look_at(PyArrayObject *a) {
    npy_intp m = PyArray_DIM(a, 0), n = PyArray_DIM(a, 1), size = sizeof(float);
    npy_intp row = PyArray_STRIDE(a, 0), column = PyArray_STRIDE(a, 1);
    if (n == 1 && row > 0 && row % size == 0) column = size; /* strides of axes of length 1 mean nothing */
    if (m == 1 && column == size) row = n * size;
    if (m == 1 && n > 1 && column > 0 && column % size == 0 && column != size) row = size;
    if (column == size && row >= n * size && row % size == 0) return (matrix){a, m, n, row / size, 1, 0};
    if (row == size && column >= m * size && column % size == 0) return (matrix){a, m, n, 1, column / size, 0};
    return (matrix){a, m, n, n, 1, 1};
}

static matrix transposed(matrix m) { return (matrix){m.array, m.columns, m.rows, m.column, m.row, m.copy}; }

static size_t copy_bytes(const matrix *m) { return m->copy ? fv_round(PyArray_NBYTES(m->array)) : 0; }

static float *data(const matrix *m, char **at) {
    if (!m->copy) return PyArray_DATA(m->array);
    float *copy = (float *)*at;
    *at += copy_bytes(m);
    fv_pack(copy, m->array);
    return copy;
}

static int bad_shapes(const thunk *t, PyArrayObject *x, PyArrayObject *w, const char *why) {
    PyErr_Format(PyExc_ValueError, "%s: %s: shapes (%ld, %ld) and (%ld, %ld)", t->kind->name, why,
                 (long)PyArray_DIM(x, 0), (long)PyArray_DIM(x, 1), (long)PyArray_DIM(w, 0), (long)PyArray_DIM(w, 1));
    return -1;
}

#define TRY(what, call)          \
    do {                         \
        if ((status = (call))) { \
            *step = what;        \
            goto done;           \
        }                        \
    } while (0)

static dnnl_status_t make_part(part *p, npy_intp m, npy_intp n, npy_intp k, npy_intp y_row, const matrix *a,
                               const matrix *b, int with_bias, const fv_activation *activation, const char **step) {
    dnnl_status_t status = dnnl_success;
    dnnl_memory_desc_t x = NULL, w = NULL, bias = NULL, y = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_engine_t engine = fv_engine();
    dnnl_dims_t x_dims = {m, k}, x_strides = {a->row, a->column}, w_dims = {k, n}, w_strides = {b->row, b->column};
    dnnl_dims_t y_dims = {m, n}, y_strides = {y_row, 1}, bias_dims = {1, n};
    TRY("describe the input", dnnl_memory_desc_create_with_strides(&x, 2, x_dims, dnnl_f32, x_strides));
    TRY("describe the weights", dnnl_memory_desc_create_with_strides(&w, 2, w_dims, dnnl_f32, w_strides));
    TRY("describe the output", dnnl_memory_desc_create_with_strides(&y, 2, y_dims, dnnl_f32, y_strides));
    if (with_bias)
        TRY("describe the bias", dnnl_memory_desc_create_with_strides(&bias, 2, bias_dims, dnnl_f32, y_strides));
    TRY("set attributes", dnnl_primitive_attr_create(&attr));
    TRY("set attributes", dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (activation) TRY("set attributes", fv_append_activation(attr, activation));
    TRY("choose a kernel", dnnl_matmul_primitive_desc_create(&pd, engine, x, w, bias, y, attr));
    TRY("build a kernel", dnnl_primitive_create(&p->compute, pd));
    TRY("create a stream", dnnl_stream_create(&p->stream, engine, dnnl_stream_default_flags));
    const_dnnl_memory_desc_t pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratchpad_bytes = fv_round(dnnl_memory_desc_get_size(pad));
    TRY("make memory", dnnl_memory_create(&p->x, x, engine, DNNL_MEMORY_NONE));
    TRY("make memory", dnnl_memory_create(&p->w, w, engine, DNNL_MEMORY_NONE));
    TRY("make memory", dnnl_memory_create(&p->y, y, engine, DNNL_MEMORY_NONE));
    TRY("make memory", dnnl_memory_create(&p->scratchpad, pad, engine, DNNL_MEMORY_NONE));
    if (bias) TRY("make memory", dnnl_memory_create(&p->bias, bias, engine, DNNL_MEMORY_NONE));
done:
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    dnnl_memory_desc_destroy(x);
    dnnl_memory_desc_destroy(w);
    dnnl_memory_desc_destroy(y);
    dnnl_memory_desc_destroy(bias);
    return status;
}

static matmul_plan *make_plan(npy_intp m, npy_intp n, npy_intp k, const matrix *a, const matrix *b, int with_bias,
                              fv_activation activation, dnnl_status_t *status, const char **step) {
    int threads = omp_get_max_threads(), serial = m * n * k <= SERIAL_MAX, axis = NONE;
    npy_intp sizes[] = {m, n, k};
    if (!serial && threads > 1) {
        axis = n >= m ? COLUMNS : ROWS;
        if (k > sizes[axis] && activation.kind != FV_SIGMOID) axis = TERMS;
        if (sizes[axis] < SHARE_MIN * threads) axis = NONE;
    }
    int n_parts = axis == NONE ? 1 : threads;
    matmul_plan *p = calloc(1, sizeof *p + n_parts * sizeof *p->parts);
    *step = "allocate a plan";
    *status = dnnl_out_of_memory;
    if (!p) return NULL;
    p->m = m, p->n = n, p->k = k, p->axis = axis, p->activation = activation, p->n_parts = n_parts;
    p->late = activation.kind && (axis == TERMS || !fv_is_post_op(&activation));
    p->own = serial && fv_has_product() && activation.kind != FV_SIGMOID; /* which rounds otherwise in oneDNN */
    if (p->own) {
        p->late = activation.kind != 0;
        *status = dnnl_success;
        return p;
    }
    if (serial || axis != NONE) omp_set_num_threads(1); /* oneDNN plans for the threads that it sees */
    for (int i = 0; i < n_parts; i++) {
        part *q = &p->parts[i];
        if (axis != NONE) fv_share_of(i, n_parts, sizes[axis], &q->from, &q->to);
        npy_intp size[] = {m, n, k};
        if (axis != NONE) size[axis] = q->to - q->from;
        *status = make_part(q, size[0], size[1], size[2], n, a, b, with_bias && (axis != TERMS || i == 0),
                            p->late || !activation.kind ? NULL : &p->activation, step);
        if (*status) break;
    }
    omp_set_num_threads(threads);
    if (*status) {
        free_plan(&p->base);
        return NULL;
    }
    return p;
}

static size_t scratch_bytes(const matmul_plan *p) {
    size_t bytes = p->axis == TERMS ? (p->n_parts - 1) * fv_round(p->m * p->n * sizeof(float)) : 0;
    for (int i = 0; i < p->n_parts; i++) bytes += p->parts[i].scratchpad_bytes;
    return bytes;
}

static dnnl_status_t execute_part(part *p, const fv_activation *activation, float *x, float *w, float *bias, float *y, char *scratchpad,
                                  const char **step) {
    dnnl_status_t status = dnnl_success;
    TRY("set memory", dnnl_memory_set_data_handle(p->scratchpad, scratchpad));
    TRY("set memory", dnnl_memory_set_data_handle(p->x, x));
    TRY("set memory", dnnl_memory_set_data_handle(p->w, w));
    TRY("set memory", dnnl_memory_set_data_handle(p->y, y));
    if (p->bias) TRY("set memory", dnnl_memory_set_data_handle(p->bias, bias));
    dnnl_exec_arg_t args[6] = {
        {DNNL_ARG_SRC, p->x}, {DNNL_ARG_WEIGHTS, p->w}, {DNNL_ARG_DST, p->y}, {DNNL_ARG_SCRATCHPAD, p->scratchpad}};
    int n = 4;
    if (p->bias) args[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, p->bias};
    if (activation) n += fv_post_op_argument(activation, args + n);
    TRY("compute", dnnl_primitive_execute(p->compute, p->stream, n, args));
    TRY("finish", dnnl_stream_wait(p->stream));
done:
    return status;
}

static void execute_own(const matmul_plan *p, const matrix *a, const matrix *b, const float *x, const float *w,
                        const float *bias, float *y) {
    fv_product(&(fv_product_sizes){p->m, p->n, p->k, a->row, a->column, b->row, b->column}, x, w, y);
    for (npy_intp i = 0; i < p->m && bias; i++)
        for (npy_intp j = 0; j < p->n; j++) y[i * p->n + j] += bias[j];
}

/* y and the further partial sums added up and activated, where that is left to do: this thread's share of it. */
static void finish(const matmul_plan *p, float *y, const float *partial, size_t stretch) {
    npy_intp from, to;
    fv_share(p->m * p->n, &from, &to);
    for (int i = 0; p->axis == TERMS && i < p->n_parts - 1; i++)
#pragma omp simd
        for (npy_intp j = from; j < to; j++) y[j] += partial[i * stretch + j];
    if (p->late) fv_activate_all(&p->activation, y + from, to - from);
}

/* Runs without the GIL. */
static dnnl_status_t execute(matmul_plan *p, const matrix *a, const matrix *b, float *bias, float *y, char *scratch,
                             const char **step) {
    char *at = scratch + scratch_bytes(p), *pads[p->n_parts];
    float *x = data(a, &at), *w = data(b, &at), *partial = (float *)scratch;
    size_t stretch = fv_round(p->m * p->n * sizeof(float)) / sizeof(float);
    at = scratch + (p->axis == TERMS ? (p->n_parts - 1) * stretch * sizeof(float) : 0);
    for (int i = 0; i < p->n_parts; at += p->parts[i++].scratchpad_bytes) pads[i] = at;
    const fv_activation *early = p->late ? NULL : &p->activation;
    if (p->axis == NONE) {
        dnnl_status_t status = dnnl_success;
        if (p->own) execute_own(p, a, b, x, w, bias, y);
        else status = execute_part(p->parts, early, x, w, bias, y, scratch, step);
        if (!status && p->late) fv_activate_threaded(&p->activation, y, p->m * p->n);
        return status;
    }
    dnnl_status_t status = dnnl_success;
#pragma omp parallel num_threads(fv_team_of_products(p->m * p->n * p->k))
    {
        omp_set_num_threads(1); /* of oneDNN in each part, also where the region has but one thread */
#pragma omp for schedule(static, 1)
        for (int i = 0; i < p->n_parts; i++) {
            part *q = &p->parts[i];
            npy_intp row = p->axis == ROWS ? q->from : 0, column = p->axis == COLUMNS ? q->from : 0,
                     term = p->axis == TERMS ? q->from : 0;
            float *out = p->axis == TERMS && i ? partial + (i - 1) * stretch : y + row * p->n + column;
            const char *my_step = "";
            float *my_x = x + row * a->row + term * a->column, *my_w = w + term * b->row + column * b->column;
            dnnl_status_t mine = execute_part(q, early, my_x, my_w, bias ? bias + column : NULL, out, pads[i], &my_step);
            if (mine)
#pragma omp critical
                status = mine, *step = my_step;
        }
        if (p->axis == TERMS || p->late) finish(p, y, partial, stretch);
    }
    return status;
}

/* MatMul: inputs x (m, k), w (k, n) [, bias (n,)] -> activation(x w + bias). Settings: bias, x and w transposed, the
 * activation's four. */
static int run_matmul(thunk *t) {
    int with_bias = t->settings[0];
    PyArrayObject *x = fv_input(t, 0, 2), *w = x ? fv_input(t, 1, 2) : NULL, *bias = NULL;
    if (!w) return -1;
    matrix a = look_at(x), b = look_at(w);
    if (t->settings[1]) a = transposed(a);
    if (t->settings[2]) b = transposed(b);
    npy_intp m = a.rows, k = a.columns, n = b.columns;
    if (b.rows != k) return bad_shapes(t, x, w, "the inner sizes differ");
    if (with_bias) {
        if (!(bias = fv_input(t, 2, 1))) return -1;
        if (PyArray_DIM(bias, 0) != n) return bad_shapes(t, x, w, "the bias has another length than the columns");
    }
    PyArrayObject *y = fv_output(t, 0, 2, (npy_intp[]){m, n});
    if (!y) return -1;
    if (m * n == 0) return 0;
    if (k == 0) {
        if (with_bias) return bad_shapes(t, x, w, "a dense layer needs at least one input");
        memset(PyArray_DATA(y), 0, PyArray_NBYTES(y));
        return 0;
    }
    npy_intp key[] = {m, n, k, a.row, a.column, b.row, b.column};
    matmul_plan *p = (matmul_plan *)fv_find_plan(t, key, sizeof key);
    dnnl_status_t status;
    const char *step = "";
    if (!p) {
        if (!(p = make_plan(m, n, k, &a, &b, with_bias, fv_activation_from(t->settings + 3),
                            &status, &step)))
            return fv_fail(t, step, status, key, 7);
        fv_keep_plan(t, &p->base, key, sizeof key);
    }
    size_t bytes = scratch_bytes(p) + copy_bytes(&a) + copy_bytes(&b);
    char *scratch = fv_scratch(bytes);
    if (!scratch) return fv_oom(bytes);
    PyArrayObject *bias_copy = NULL;
    if (bias && !(bias_copy = PyArray_GETCONTIGUOUS(bias))) return -1;
    float *bias_data = bias_copy ? PyArray_DATA(bias_copy) : NULL, *y_data = PyArray_DATA(y);
    Py_BEGIN_ALLOW_THREADS status = execute(p, &a, &b, bias_data, y_data, scratch, &step);
    Py_END_ALLOW_THREADS Py_XDECREF(bias_copy);
    return status ? fv_fail(t, step, status, key, 7) : 0;
}

/* Gemm: inputs z (m, n), alpha (), x (m, k), y (k, n), beta () -> beta z + alpha x y. Setting: in place of z. */
static int run_gemm(thunk *t) {
    PyArrayObject *z = fv_input(t, 0, 2), *alpha = z ? fv_input(t, 1, 0) : NULL, *x = alpha ? fv_input(t, 2, 2) : NULL;
    PyArrayObject *y = x ? fv_input(t, 3, 2) : NULL, *beta = y ? fv_input(t, 4, 0) : NULL;
    if (!beta) return -1;
    npy_intp m = PyArray_DIM(x, 0), k = PyArray_DIM(x, 1), n = PyArray_DIM(y, 1);
    if (PyArray_DIM(y, 0) != k) return bad_shapes(t, x, y, "the inner sizes differ");
    if (PyArray_DIM(z, 0) != m || PyArray_DIM(z, 1) != n)
        return bad_shapes(t, x, y, "the product has another shape than what it is added to");
    PyArrayObject *out = z;
    if (t->settings[0] && fv_is_contiguous(z)) {
        if (fv_alias_output(t, 0, z)) return -1;
    } else {
        if (t->settings[0]) { /* last call's output may be last call's z */
            Py_INCREF(Py_None);
            PyList_SetItem(t->outputs[0], 0, Py_None);
        }
        if (!(out = fv_output(t, 0, 2, (npy_intp[]){m, n}))) return -1;
    }
    if (m * n == 0) return 0;
    matrix a = look_at(x), b = look_at(y);
    int serial = m * n * k <= SERIAL_MAX, own = serial && fv_has_product();
    size_t bytes = copy_bytes(&a) + copy_bytes(&b) + (own ? fv_round(m * n * sizeof(float)) : 0);
    char *at = fv_scratch(bytes);
    if (!at) return fv_oom(bytes);
    float *to = PyArray_DATA(out), scale = *(float *)PyArray_DATA(alpha), keep = *(float *)PyArray_DATA(beta);
    dnnl_status_t status = dnnl_success;
    Py_BEGIN_ALLOW_THREADS if (out != z && keep != 0.f) fv_pack(to, z);
    float *x_data = data(&a, &at), *y_data = data(&b, &at);
    if (k == 0) {
        for (npy_intp i = 0; i < m * n; i++) to[i] = keep == 0.f ? 0.f : keep * to[i];
    } else if (own) {
        float *product = (float *)at;
        fv_product(&(fv_product_sizes){m, n, k, a.row, a.column, b.row, b.column}, x_data, y_data, product);
        for (npy_intp i = 0; i < m * n; i++) to[i] = (keep == 0.f ? 0.f : keep * to[i]) + scale * product[i];
    } else {
        int threads = omp_get_max_threads();
        if (serial) omp_set_num_threads(1);
        status = dnnl_sgemm(a.column == 1 ? 'N' : 'T', b.column == 1 ? 'N' : 'T', m, n, k, scale, x_data,
                            a.column == 1 ? a.row : a.column, y_data, b.column == 1 ? b.row : b.column, keep, to, n);
        omp_set_num_threads(threads);
    }
    Py_END_ALLOW_THREADS return status ? fv_fail(t, "compute", status, (npy_intp[]){m, n, k}, 3) : 0;
}

const op_kind matmul_kind = {"MatMul", 7, run_matmul, free_plan};
const op_kind gemm_kind = {"Gemm", 1, run_gemm, NULL};
