/* What the C files of the oneDNN backend share: one Op instance, its errors, its memory. */
#ifndef FASTVAE_H
#define FASTVAE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL fastvae_onednn_array_api
#ifndef FASTVAE_MODULE
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <oneapi/dnnl/dnnl.h>

#define MAX_SETTINGS 16
#define MAX_PLANS 16 /* shapes that one Op instance keeps prepared; the least recently used one goes */
#define PARALLEL_MIN 32768 /* elements below which a second thread costs more than it brings */

enum { RELU = 1, SIGMOID = 2 }; /* activations; 0 is none */

typedef struct thunk thunk;
typedef struct plan plan;

typedef struct {
    const char *name;
    int n_settings;
    int (*run)(thunk *); /* with the GIL held; -1 and a Python exception on failure */
    void (*free_plan)(plan *); /* NULL for Ops that keep no plans */
} op_kind;

/* A prepared oneDNN primitive for one set of shapes; each Op extends it. */
struct plan {
    plan *next;
    npy_intp key[MAX_SETTINGS];
};

/* One Op of a compiled Theano function. Theano's virtual machine reads `error` as the first member. */
struct thunk {
    PyObject *error; /* list of three: type, value, traceback */
    const op_kind *kind;
    int n_inputs, n_outputs;
    PyObject **inputs, **outputs; /* Theano's one-element storage lists */
    double settings[MAX_SETTINGS];
    plan *plans;
};

extern const op_kind convolution_kind, matmul_kind, gemm_kind, contiguous_kind, relu_gradient_kind, column_sum_kind,
    reshape_like_kind, adam_kind, take_rows_kind, unflatten_kind, total_kind, uniform_kind,
    log_probability_kind, log_probability_gradient_kind, logistic_log_probability_kind,
    logistic_log_probability_gradient_kind;

/* runtime.c */
int fv_enter(void);
dnnl_engine_t fv_engine(void);
dnnl_stream_t fv_stream(void);
dnnl_status_t fv_activation(dnnl_primitive_attr_t attr, int activation);
dnnl_exec_arg_t fv_relu_argument(void);
char *fv_scratch(size_t bytes);
void fv_scratch_release(void);
int fv_oom(size_t bytes);
int fv_fail(const thunk *t, const char *step, dnnl_status_t status, const npy_intp *shape, int n);
PyArrayObject *fv_input(const thunk *t, int i, int ndim);
PyArrayObject *fv_input_of(const thunk *t, int i, int type, int ndim);
int fv_is_contiguous(PyArrayObject *a);
PyArrayObject *fv_output(const thunk *t, int i, int ndim, const npy_intp *shape);
PyArrayObject *fv_output_of(const thunk *t, int i, int type, int ndim, const npy_intp *shape);
int fv_alias_output(const thunk *t, int i, PyArrayObject *a);
plan *fv_find_plan(thunk *t, const npy_intp *key, int n);
void fv_keep_plan(thunk *t, plan *p, const npy_intp *key, int n);
size_t fv_round(size_t bytes);
int fv_verbose(void);
void fv_share_of(npy_intp me, npy_intp threads, npy_intp n, npy_intp *from, npy_intp *to);
void fv_share(npy_intp n, npy_intp *from, npy_intp *to);

/* layout.c */
void fv_pack(float *to, PyArrayObject *from);
size_t fv_column_sum_scratch(npy_intp columns);
void fv_column_sum(float *to, const float *from, npy_intp rows, npy_intp columns, char *scratch);

/* winograd.c: sizes of a 3x3 convolution of stride 1, contiguous NHWC; the weights of (input channel, output channel)
 * start at in_stride and out_stride times these, and are read backwards where mirrored */
typedef struct {
    npy_intp n, in, in_h, in_w, out, out_h, out_w, pad[2], in_stride, out_stride;
    int mirror;
} fv_winograd;
int fv_winograd_suits(const fv_winograd *g);
size_t fv_winograd_scratch(const fv_winograd *g);
size_t fv_winograd_weights_scratch(const fv_winograd *g);
void fv_winograd_convolve(const fv_winograd *g, const float *images, const float *weights, const float *bias, int relu,
                          float *to, char *scratch);
void fv_winograd_weights_gradient(const fv_winograd *g, const float *images, const float *top, float *gradient,
                                  float *sums, char *scratch);

#endif
