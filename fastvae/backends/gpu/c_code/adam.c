/* One Adam update of some parameters, in one launch for as many of them as a kernel has slots.
 *
 * Inputs rate () and parameter, gradient, m, v of each -> the new parameter, m and v of each.
 * Settings: whether parameters, m and v are overwritten, beta1, beta2, epsilon, and the number of slots. */
#include "arrays.h"
#include "cudnn_runtime.h"
#include <stdio.h>
#include <stdlib.h>

#define SLOTS 32   /* at most */
#define PER_SLOT 9 /* arguments: four arrays with their offsets, and the number of elements */
#define FIRST 5    /* arguments before them: rate with its offset, beta1, beta2, epsilon */
#define THREADS 256
#define BLOCKS 2048 /* at most: enough to fill a card, each thread then takes several elements */

/* Elements of all slots are numbered one after the other; an empty slot has none. */
static const char head[] =
    "#include \"cluda.h\"\n"
    "#define AT(array, offset) ((GLOBAL_MEM float *)((GLOBAL_MEM char *)(array) + (offset)))\n"
    "#define SLOT(i) , GLOBAL_MEM float *p##i, const ga_size p##i##_at, GLOBAL_MEM float *g##i, const ga_size g##i##_at, \\\n"
    "  GLOBAL_MEM float *m##i, const ga_size m##i##_at, GLOBAL_MEM float *v##i, const ga_size v##i##_at, const ga_size n##i\n"
    "#define CHOICE(i) if (at < n##i) { p = AT(p##i, p##i##_at); g = AT(g##i, g##i##_at); m = AT(m##i, m##i##_at); \\\n"
    "  v = AT(v##i, v##i##_at); } else if (at -= n##i, 0) {} else\n"
    "KERNEL void fastvae_adam(GLOBAL_MEM const float *rate, const ga_size rate_at, const float beta1, const float beta2,\n"
    "                         const float epsilon\n";
static const char loop[] =
    ") {\n"
    "  const float r = *AT(rate, rate_at);\n"
    "  for (ga_size element = GID_0 * LDIM_0 + LID_0;; element += GDIM_0 * LDIM_0) {\n"
    "    ga_size at = element;\n"
    "    GLOBAL_MEM float *p, *g, *m, *v;\n";
static const char tail[] =
    "    return;\n"
    "    const float gradient = g[at];\n"
    "    const float mean = beta1 * m[at] + (1.f - beta1) * gradient;\n"
    "    const float square = beta2 * v[at] + (1.f - beta2) * (gradient * gradient);\n"
    "    m[at] = mean;\n"
    "    v[at] = square;\n"
    "    p[at] -= r * mean / (sqrt(square) + epsilon);\n"
    "  }\n"
    "}\n";

/* The macro `name`, applied to every slot. */
static const char *for_slots(char *text, size_t size, const char *name, int slots) {
    size_t length = 0;
    for (int i = 0; i < slots; i++) length += snprintf(text + length, size - length, "%s(%d)\n", name, i);
    return text;
}

/* The kernel on one device; it lives as long as the process, as Theano's contexts do. */
typedef struct compiled {
    struct compiled *next;
    gpucontext *context;
    GpuKernel kernel;
    int slots;
} compiled;

static int refused(gpucontext *context, const char *what, int error, const char *said) {
    PyErr_Format(PyExc_RuntimeError, "Adam: %s: %s", what, said ? said : gpucontext_error(context, error));
    return -1;
}

static GpuKernel *kernel_of(gpucontext *context, int slots) {
    static compiled *all;
    for (compiled *c = all; c; c = c->next)
        if (c->context == context && c->slots == slots) return &c->kernel;
    compiled *new = calloc(1, sizeof *new);
    if (!new) return (GpuKernel *)PyErr_NoMemory();
    char arguments[SLOTS * 16], choices[SLOTS * 16];
    const char *source[] = {head, for_slots(arguments, sizeof arguments, "SLOT", slots), loop,
                            for_slots(choices, sizeof choices, "CHOICE", slots), tail};
    int types[FIRST + SLOTS * PER_SLOT] = {GA_BUFFER, GA_SIZE, GA_FLOAT, GA_FLOAT, GA_FLOAT};
    for (int i = 0; i < slots * PER_SLOT; i++) types[FIRST + i] = i % PER_SLOT % 2 || i % PER_SLOT == 8 ? GA_SIZE : GA_BUFFER;
    char *message = NULL;
    int error = GpuKernel_init(&new->kernel, context, sizeof source / sizeof *source, source, NULL, "fastvae_adam",
                               FIRST + slots * PER_SLOT, types, 0, &message);
    if (error) {
        refused(context, "its kernel does not compile", error, message);
        free(message);
        free(new);
        return NULL;
    }
    new->context = context;
    new->slots = slots;
    new->next = all;
    return &(all = new)->kernel;
}

/* An input on the device as a packed float32 array: a new reference. */
static PyGpuArrayObject *packed_input(const thunk *t, int i) {
    PyGpuArrayObject *a = fv_float_array(PyList_GET_ITEM(t->inputs[i], 0), -1);
    if (!a) {
        PyErr_Format(PyExc_TypeError, "Adam: input %d is not a float32 array on the device", i);
        return NULL;
    }
    if (!GpuArray_IS_C_CONTIGUOUS(&a->ga)) return fv_copied(a);
    Py_INCREF(a);
    return a;
}

/* The array that starts as an input and becomes an output, in its cell: the input itself, or a packed copy. */
static PyGpuArrayObject *updated(const thunk *t, int i, int to) {
    PyGpuArrayObject *a = packed_input(t, i);
    if (a && !t->settings[0] && (PyObject *)a == PyList_GET_ITEM(t->inputs[i], 0)) {
        PyGpuArrayObject *copy = fv_copied(a);
        Py_DECREF(a);
        a = copy;
    }
    if (!a || PyList_SetItem(t->outputs[to], 0, (PyObject *)a)) return NULL;
    return a;
}

static int same_shape(const PyGpuArrayObject *a, const PyGpuArrayObject *b) {
    if (fv_ndim(a) != fv_ndim(b)) return 0;
    for (unsigned int i = 0; i < fv_ndim(a); i++)
        if (fv_dim(a, i) != fv_dim(b, i)) return 0;
    return 1;
}

static size_t size_of(const PyGpuArrayObject *a) {
    size_t n = 1;
    for (unsigned int i = 0; i < fv_ndim(a); i++) n *= fv_dim(a, i);
    return n;
}

static int slots_of(const thunk *t) { return (int)t->settings[4]; }

/* One launch, for parameters `first` to `last` - 1, whose packed gradients are given. */
static int launch(const thunk *t, GpuKernel *kernel, PyGpuArrayObject *rate, PyGpuArrayObject **gradients, int first, int last) {
    void *args[FIRST + SLOTS * PER_SLOT];
    float constants[3] = {t->settings[1], t->settings[2], t->settings[3]};
    size_t sizes[SLOTS], none = 0, total = 0;
    args[0] = rate->ga.data;
    args[1] = &rate->ga.offset;
    for (int i = 0; i < 3; i++) args[2 + i] = &constants[i];
    for (int slot = 0; slot < slots_of(t); slot++) {
        void **arg = args + FIRST + slot * PER_SLOT;
        int number = first + slot;
        PyGpuArrayObject *arrays[4] = {rate, rate, rate, rate};
        sizes[slot] = none;
        if (number < last) {
            for (int i = 0; i < 4; i++)
                arrays[i] = i == 1 ? gradients[number]
                                   : (PyGpuArrayObject *)PyList_GET_ITEM(t->outputs[3 * number + (i ? i - 1 : 0)], 0);
            total += sizes[slot] = size_of(arrays[0]);
        }
        for (int i = 0; i < 4; i++) {
            arg[2 * i] = arrays[i]->ga.data;
            arg[2 * i + 1] = &arrays[i]->ga.offset;
        }
        arg[8] = &sizes[slot];
    }
    if (!total) return 0;
    size_t threads = THREADS, blocks = (total + THREADS - 1) / THREADS;
    if (blocks > BLOCKS) blocks = BLOCKS;
    int error = GpuKernel_call(kernel, 1, &blocks, &threads, 0, args);
    return error ? refused(rate->context->ctx, "its kernel does not start", error, GpuKernel_error(kernel, error)) : 0;
}

static int update(thunk *t, PyGpuArrayObject *rate, PyGpuArrayObject **gradients, int n) {
    int slots = slots_of(t);
    GpuKernel *kernel = kernel_of(rate->context->ctx, slots);
    if (!kernel) return -1;
    for (int i = 0; i < n; i++) {
        if (!(gradients[i] = packed_input(t, 4 * i + 2))) return -1;
        for (int j = 0; j < 3; j++) {
            PyGpuArrayObject *array = updated(t, 4 * i + 1 + j + (j > 0), 3 * i + j);
            if (!array) return -1;
            if (!same_shape(array, gradients[i])) {
                PyErr_Format(PyExc_ValueError, "Adam: parameter %d and its gradient, m and v differ in shape", i);
                return -1;
            }
        }
    }
    for (int first = 0; first < n; first += slots)
        if (launch(t, kernel, rate, gradients, first, first + slots < n ? first + slots : n)) return -1;
    return 0;
}

static int adam(thunk *t) {
    int n = t->n_outputs / 3, failed = -1;
    PyGpuArrayObject *rate = packed_input(t, 0), **gradients = calloc(n + 1, sizeof *gradients);
    if (rate && !gradients) PyErr_NoMemory();
    if (rate && gradients) failed = update(t, rate, gradients, n);
    for (int i = 0; gradients && i < n; i++) Py_XDECREF(gradients[i]);
    free(gradients);
    Py_XDECREF(rate);
    return failed;
}

const op_kind adam_kind = {"Adam", 5, adam, NULL};
