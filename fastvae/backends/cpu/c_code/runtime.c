/* Engine, streams, memory and errors: what every Op of the backend stands on. */
#include "fastvae.h"
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static dnnl_engine_t engine;
static dnnl_memory_t slope; /* one zero: ReLU's slope below 0 */

/* Per thread: a stream and one buffer that only grows, shared by all Ops that this thread runs. */
typedef struct {
    dnnl_stream_t stream;
    char *buffer;
    size_t size;
} thread_state;

static pthread_key_t state_key;
static pthread_once_t state_once = PTHREAD_ONCE_INIT;

static void free_state(void *p) {
    thread_state *s = p;
    if (s->stream) dnnl_stream_destroy(s->stream);
    free(s->buffer);
    free(s);
}

static void make_key(void) { pthread_key_create(&state_key, free_state); }

static thread_state *state(void) {
    pthread_once(&state_once, make_key);
    thread_state *s = pthread_getspecific(state_key);
    if (!s && (s = calloc(1, sizeof *s))) pthread_setspecific(state_key, s);
    return s;
}

static dnnl_status_t make_slope(void) {
    static float zero;
    dnnl_memory_desc_t md;
    dnnl_dims_t one = {1};
    dnnl_status_t status = dnnl_memory_desc_create_with_tag(&md, 1, one, dnnl_f32, dnnl_a);
    if (status) return status;
    status = dnnl_memory_create(&slope, md, engine, &zero);
    dnnl_memory_desc_destroy(md);
    return status;
}

/* Whether oneDNN's primitives can end with an activation as exactly as ours. Its ELU is exp(x) - 1, which loses all digits
 * near 0, and the sign of a ReLU's 0 depends on the primitive. */
int fv_is_post_op(const fv_activation *a) {
    return a->kind == FV_RELU || a->kind == FV_SIGMOID || a->kind == FV_LEAKY_RELU;
}

/* Let a primitive end with such an activation. ReLU as x > 0 ? x : 0 x, a parametric ReLU, which keeps NaN; oneDNN's own
 * makes it 0. */
dnnl_status_t fv_append_activation(dnnl_primitive_attr_t attr, const fv_activation *a) {
    dnnl_post_ops_t post;
    dnnl_status_t status = dnnl_post_ops_create(&post);
    if (status) return status;
    if (a->kind == FV_RELU) status = dnnl_post_ops_append_prelu(post, 0);
    else if (a->kind == FV_LEAKY_RELU) status = dnnl_post_ops_append_eltwise(post, dnnl_eltwise_relu, a->p[0], 0.f);
    else status = dnnl_post_ops_append_eltwise(post, dnnl_eltwise_logistic, 0.f, 0.f);
    if (!status) status = dnnl_primitive_attr_set_post_ops(attr, post);
    dnnl_post_ops_destroy(post);
    return status;
}

/* How many arguments a primitive takes for its activation, one or none, and that one. */
int fv_post_op_argument(const fv_activation *a, dnnl_exec_arg_t *argument) {
    if (a->kind != FV_RELU) return 0;
    *argument = (dnnl_exec_arg_t){DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_WEIGHTS, slope};
    return 1;
}

/* oneDNN 3.2 leaks some kilobytes of each 1x1 convolution that it drops and makes again: let it keep those of many
 * shapes. */
#define PRIMITIVES 2048

/* First call of every Op, GIL held: start the engine and this thread's stream. */
int fv_enter(void) {
    fv_watch_others();
    if (!engine) {
        dnnl_status_t status = dnnl_set_primitive_cache_capacity(PRIMITIVES);
        if (!status) status = dnnl_engine_create(&engine, dnnl_cpu, 0);
        if (!status) status = make_slope();
        if (status) {
            dnnl_engine_destroy(engine);
            engine = NULL;
            PyErr_Format(PyExc_RuntimeError, "oneDNN could not create its CPU engine: status %d", (int)status);
            return -1;
        }
    }
    thread_state *s = state();
    if (!s) return fv_oom(sizeof *s);
    if (!s->stream) {
        dnnl_status_t status = dnnl_stream_create(&s->stream, engine, dnnl_stream_default_flags);
        if (status) {
            s->stream = NULL;
            PyErr_Format(PyExc_RuntimeError, "oneDNN could not create a stream: status %d", (int)status);
            return -1;
        }
    }
    return 0;
}

dnnl_engine_t fv_engine(void) { return engine; }
dnnl_stream_t fv_stream(void) { return state()->stream; }

/* This thread's buffer, 64-byte aligned and at least so large; NULL without memory. What it held is lost. */
char *fv_scratch(size_t bytes) {
    thread_state *s = state();
    if (bytes > s->size || !s->buffer) {
        free(s->buffer);
        s->size = fv_round(bytes ? bytes : 1);
        s->buffer = aligned_alloc(64, s->size);
        if (!s->buffer) s->size = 0;
    }
    return s->buffer;
}

void fv_scratch_release(void) {
    thread_state *s = state();
    if (!s) return;
    free(s->buffer);
    s->buffer = NULL;
    s->size = 0;
}

/* Whether oneDNN prints a line for every execution (ONEDNN_VERBOSE), so that our own kernels do too. */
int fv_verbose(void) {
    const char *level = getenv("ONEDNN_VERBOSE");
    return level && atoi(level) > 0;
}

size_t fv_round(size_t bytes) { return (bytes + 63) / 64 * 64; }

int fv_oom(size_t bytes) {
    PyErr_Format(PyExc_MemoryError, "no memory for %zu bytes", bytes);
    return -1;
}

static const char *status_name(dnnl_status_t status) {
    switch (status) {
        case dnnl_out_of_memory: return "out of memory";
        case dnnl_invalid_arguments: return "invalid arguments";
        case dnnl_unimplemented: return "unimplemented";
        case dnnl_runtime_error: return "runtime error";
        default: return "unexpected status";
    }
}

/* Raise RuntimeError naming the Op, what it was doing, the status and the shape at hand. */
int fv_fail(const thunk *t, const char *step, dnnl_status_t status, const npy_intp *shape, int n) {
    char text[256] = "";
    size_t used = 0;
    for (int i = 0; i < n && used < sizeof text - 24; i++)
        used += snprintf(text + used, sizeof text - used, i ? ", %ld" : "%ld", (long)shape[i]);
    PyErr_Format(PyExc_RuntimeError, "oneDNN %s: could not %s: %s (status %d) for sizes (%s)", t->kind->name, step,
                 status_name(status), (int)status, text);
    return -1;
}

/* One of so many threads' share of n elements: whole cache lines, the same ones in every Op. */
void fv_share_of(npy_intp me, npy_intp threads, npy_intp n, npy_intp *from, npy_intp *to) {
    *from = n * me / threads / 16 * 16;
    *to = me + 1 == threads ? n : n * (me + 1) / threads / 16 * 16;
}

/* This OpenMP thread's. */
void fv_share(npy_intp n, npy_intp *from, npy_intp *to) {
    fv_share_of(omp_get_thread_num(), omp_get_num_threads(), n, from, to);
}

/* Borrowed reference to input i, an array of that type and so many axes (any number: -1). */
PyArrayObject *fv_input_of(const thunk *t, int i, int type, int ndim) {
    PyObject *value = PyList_GET_ITEM(t->inputs[i], 0);
    PyArrayObject *a = PyArray_Check(value) ? (PyArrayObject *)value : NULL;
    if (!a || PyArray_TYPE(a) != type || (ndim >= 0 && PyArray_NDIM(a) != ndim) || !PyArray_ISBEHAVED_RO(a)) {
        PyArray_Descr *wanted = PyArray_DescrFromType(type);
        PyErr_Format(PyExc_TypeError, "%s: input %d must be an aligned %S array of %d axes, got %R", t->kind->name, i,
                     (PyObject *)wanted, ndim, (PyObject *)Py_TYPE(value));
        Py_DECREF(wanted);
        return NULL;
    }
    return a;
}

PyArrayObject *fv_input(const thunk *t, int i, int ndim) { return fv_input_of(t, i, NPY_FLOAT32, ndim); }

/* C-contiguous, by the strides that matter (axes of length 1 have none). */
int fv_is_contiguous(PyArrayObject *a) { return PyArray_IS_C_CONTIGUOUS(a); }

static void free_data(PyObject *capsule) { free(PyCapsule_GetPointer(capsule, NULL)); }

/* Borrowed reference to output i, of a numeric type: last call's array if it fits, else a new one aligned to cache
 * lines. */
PyArrayObject *fv_output_of(const thunk *t, int i, int type, int ndim, const npy_intp *shape) {
    PyObject *old = PyList_GET_ITEM(t->outputs[i], 0);
    if (PyArray_Check(old)) {
        PyArrayObject *a = (PyArrayObject *)old;
        if (PyArray_NDIM(a) == ndim && PyArray_TYPE(a) == type && fv_is_contiguous(a) && PyArray_ISBEHAVED(a) &&
            PyArray_CompareLists(PyArray_DIMS(a), shape, ndim))
            return a;
    }
    PyArray_Descr *of_type = PyArray_DescrFromType(type);
    size_t bytes = fv_round(PyDataType_ELSIZE(of_type) * (PyArray_MultiplyList(shape, ndim) + 1));
    Py_DECREF(of_type);
    void *data = aligned_alloc(64, bytes);
    if (!data) {
        fv_oom(bytes);
        return NULL;
    }
    PyObject *owner = PyCapsule_New(data, NULL, free_data);
    if (!owner) {
        free(data);
        return NULL;
    }
    PyArrayObject *a = (PyArrayObject *)PyArray_SimpleNewFromData(ndim, (npy_intp *)shape, type, data);
    if (!a) {
        Py_DECREF(owner);
        return NULL;
    }
    if (PyArray_SetBaseObject(a, owner)) { /* steals owner, even when it fails */
        Py_DECREF(a);
        return NULL;
    }
    PyList_SetItem(t->outputs[i], 0, (PyObject *)a);
    return a;
}

PyArrayObject *fv_output(const thunk *t, int i, int ndim, const npy_intp *shape) {
    return fv_output_of(t, i, NPY_FLOAT32, ndim, shape);
}

/* Make an input the output (an in-place Op, or a view). */
int fv_alias_output(const thunk *t, int i, PyArrayObject *a) {
    Py_INCREF(a);
    return PyList_SetItem(t->outputs[i], 0, (PyObject *)a);
}

/* Start an in-place Op on input `from`: its own memory if it is contiguous (and the Op may), else a packed copy. */
PyArrayObject *fv_destination(thunk *t, int out, PyArrayObject *from, int in_place) {
    if (in_place && fv_is_contiguous(from)) return fv_alias_output(t, out, from) ? NULL : from;
    if (in_place) { /* last call's output may be last call's input */
        Py_INCREF(Py_None);
        PyList_SetItem(t->outputs[out], 0, Py_None);
    }
    return fv_output(t, out, PyArray_NDIM(from), PyArray_DIMS(from));
}

int fv_same_shape(const thunk *t, PyArrayObject *a, PyArrayObject *b) {
    if (PyArray_SAMESHAPE(a, b)) return 1;
    PyErr_Format(PyExc_ValueError, "%s: its operands have different shapes (%zd and %zd elements in all)",
                 t->kind->name, (Py_ssize_t)PyArray_SIZE(a), (Py_ssize_t)PyArray_SIZE(b));
    return 0;
}
