/* One Adam update of some parameters, in one launch for as many of them as its kernel has slots.
 *
 * Inputs rate () and parameter, gradient, m, v of each -> the new parameter, m and v of each.
 * Settings: whether parameters, m and v are overwritten, beta1, beta2, epsilon, whether the kernel of many slots is taken. */
#include "adam.h"
#include "kernels.h"
#include <stdlib.h>

#define FEW 12     /* OpenCL devices may take no more than 1,024 bytes of arguments */
#define MANY 32    /* CUDA takes 4,096 */
#define PER_SLOT 9 /* arguments: four arrays with their offsets, and the number of elements */
#define FIRST 5    /* arguments before them: rate with its offset, beta1, beta2, epsilon */
#define LETTERS(i) "aaaas"

#define FOR_FEW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define FOR_MANY(X) \
    FOR_FEW(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) \
    X(30) X(31)

/* Elements of all slots are numbered one after the other; an empty slot has none. */
static const char head[] =
    "#include \"cluda.h\"\n"
    "#define AT(array, offset) ((GLOBAL_MEM float *)((GLOBAL_MEM char *)(array) + (offset)))\n"
    "KERNEL void fastvae_adam(GLOBAL_MEM const float *rate, const ga_size rate_at, const float beta1, const float beta2,\n"
    "                         const float epsilon";
#define ARGUMENTS(i) \
    ",\n GLOBAL_MEM float *p" #i ", const ga_size p" #i "_at, GLOBAL_MEM float *g" #i ", const ga_size g" #i "_at," \
    " GLOBAL_MEM float *m" #i ", const ga_size m" #i "_at, GLOBAL_MEM float *v" #i ", const ga_size v" #i "_at," \
    " const ga_size n" #i
static const char loop[] =
    ") {\n"
    "  const float r = *AT(rate, rate_at);\n"
    "  for (ga_size element = GID_0 * LDIM_0 + LID_0;; element += GDIM_0 * LDIM_0) {\n"
    "    ga_size at = element;\n"
    "    GLOBAL_MEM float *p, *g, *m, *v;\n";
#define CHOICE(i) \
    "    if (at < n" #i ") { p = AT(p" #i ", p" #i "_at); g = AT(g" #i ", g" #i "_at); m = AT(m" #i ", m" #i "_at);" \
    " v = AT(v" #i ", v" #i "_at); } else { at -= n" #i ";\n"
#define CLOSE(i) "}"
static const char tail[] =
    "    const float gradient = g[at];\n"
    "    const float mean = beta1 * m[at] + (1.f - beta1) * gradient;\n"
    "    const float square = beta2 * v[at] + (1.f - beta2) * (gradient * gradient);\n"
    "    m[at] = mean;\n"
    "    v[at] = square;\n"
    "    p[at] -= r * mean / (sqrt(square) + epsilon);\n"
    "  }\n"
    "}\n";

#define OF_SLOTS(EACH) \
    {"Adam", "fastvae_adam", "afff" EACH(LETTERS), \
     {head, EACH(ARGUMENTS), loop, EACH(CHOICE) "    return; " EACH(CLOSE) "\n", tail}, NULL}
static kernel few = OF_SLOTS(FOR_FEW), many = OF_SLOTS(FOR_MANY);

static int slots_of(const thunk *t) { return t->settings[4] ? MANY : FEW; }

PyGpuArrayObject *fv_adam_updated(const thunk *t, int i, int to) {
    PyGpuArrayObject *a = fv_packed_input(t, i, -1);
    if (a && !t->settings[0] && (PyObject *)a == PyList_GET_ITEM(t->inputs[i], 0)) {
        PyGpuArrayObject *copy = fv_copied(a);
        Py_DECREF(a);
        a = copy;
    }
    if (!a || PyList_SetItem(t->outputs[to], 0, (PyObject *)a)) return NULL;
    return a;
}

int fv_adam_launch(const thunk *t, PyGpuArrayObject *rate, PyGpuArrayObject **gradients, int first, int last) {
    void *args[FIRST + MANY * PER_SLOT];
    float constants[3] = {t->settings[1], t->settings[2], t->settings[3]};
    size_t sizes[MANY], none = 0, total = 0;
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
            total += sizes[slot] = fv_size(arrays[0]);
        }
        for (int i = 0; i < 4; i++) {
            arg[2 * i] = arrays[i]->ga.data;
            arg[2 * i + 1] = &arrays[i]->ga.offset;
        }
        arg[8] = &sizes[slot];
    }
    return fv_start_elements(t->settings[4] ? &many : &few, rate->context->ctx, total, args);
}

static int update(thunk *t, PyGpuArrayObject *rate, PyGpuArrayObject **gradients, int n) {
    for (int i = 0; i < n; i++) {
        if (!(gradients[i] = fv_packed_input(t, 4 * i + 2, -1))) return -1;
        for (int j = 0; j < 3; j++) {
            PyGpuArrayObject *array = fv_adam_updated(t, 4 * i + 1 + j + (j > 0), 3 * i + j);
            if (!array) return -1;
            if (!fv_same_shape(array, gradients[i])) {
                PyErr_Format(PyExc_ValueError, "Adam: parameter %d and its gradient, m and v differ in shape", i);
                return -1;
            }
        }
    }
    int slots = slots_of(t);
    for (int first = 0; first < n; first += slots)
        if (fv_adam_launch(t, rate, gradients, first, first + slots < n ? first + slots : n)) return -1;
    return 0;
}

static int adam(thunk *t) {
    int n = t->n_outputs / 3, failed = -1;
    PyGpuArrayObject *rate = fv_packed_input(t, 0, -1), **gradients = calloc(n + 1, sizeof *gradients);
    if (rate && !gradients) PyErr_NoMemory();
    if (rate && gradients) failed = update(t, rate, gradients, n);
    for (int i = 0; gradients && i < n; i++) Py_XDECREF(gradients[i]);
    free(gradients);
    Py_XDECREF(rate);
    return failed;
}

const op_kind adam_kind = {"Adam", 5, adam, NULL};
