/* Kernels of our own are compiled and started. */
#include "kernels.h"
#include <gpuarray/kernel.h>
#include <limits.h>
#include <stdlib.h>

const char fv_prelude[] = R"(
#include "cluda.h"
#define IN(a) GLOBAL_MEM const float *a, const ga_size a##_at
#define OUT(a) GLOBAL_MEM float *a, const ga_size a##_at
#define PLACE(a) a = (GLOBAL_MEM const float *)((GLOBAL_MEM const char *)a + a##_at)
#define PLACE_OUT(a) a = (GLOBAL_MEM float *)((GLOBAL_MEM char *)a + a##_at)
#define EACH(i, n) for (ga_uint i = GID_0 * LDIM_0 + LID_0; i < n; i += GDIM_0 * LDIM_0)
)";

#define THREADS 256
#define BLOCKS 2048 /* at most: enough to fill a card */

/* A kernel on one device; it lives as long as the process, as Theano's contexts do. */
struct compiled {
    compiled *next;
    gpucontext *context;
    GpuKernel kernel;
};

static int refused(const kernel *k, gpucontext *context, const char *what, int error, const char *said) {
    PyErr_Format(PyExc_RuntimeError, "%s: %s: %s", k->op, what, said ? said : gpucontext_error(context, error));
    return -1;
}

static int compile(kernel *k, compiled *new) {
    unsigned int n = 0, n_sources = 0;
    int types[MAX_ARGUMENTS];
    for (const char *letter = k->arguments; *letter; letter++) {
        types[n++] = *letter == 'a' ? GA_BUFFER : *letter == 'u' ? GA_UINT : *letter == 'i' ? GA_INT : *letter == 'f' ? GA_FLOAT : GA_SIZE;
        if (*letter == 'a') types[n++] = GA_SIZE;
    }
    const char *sources[MAX_SOURCES];
    while (n_sources < MAX_SOURCES && k->sources[n_sources]) {
        sources[n_sources] = k->sources[n_sources];
        n_sources++;
    }
    char *message = NULL;
    int error = GpuKernel_init(&new->kernel, new->context, n_sources, sources, NULL, k->name, n, types, 0, &message);
    if (error) refused(k, new->context, "its kernel does not compile", error, message);
    free(message);
    return error ? -1 : 0;
}

static GpuKernel *kernel_on(kernel *k, gpucontext *context) {
    for (compiled *c = k->devices; c; c = c->next)
        if (c->context == context) return &c->kernel;
    compiled *new = calloc(1, sizeof *new);
    if (!new) return (GpuKernel *)PyErr_NoMemory();
    new->context = context;
    if (compile(k, new)) {
        free(new);
        return NULL;
    }
    new->next = k->devices;
    return &(k->devices = new)->kernel;
}

int fv_start(kernel *k, gpucontext *context, size_t blocks, size_t threads, void **arguments) {
    GpuKernel *on_device = kernel_on(k, context);
    if (!on_device) return -1;
    int error = GpuKernel_call(on_device, 1, &blocks, &threads, 0, arguments);
    return error ? refused(k, context, "its kernel does not start", error, GpuKernel_error(on_device, error)) : 0;
}

int fv_start_elements(kernel *k, gpucontext *context, size_t n, void **arguments) {
    size_t blocks = (n + THREADS - 1) / THREADS;
    return n ? fv_start(k, context, blocks < BLOCKS ? blocks : BLOCKS, THREADS, arguments) : 0;
}

int fv_countable(const thunk *t, size_t n) {
    if (n <= INT_MAX) return 0;
    PyErr_Format(PyExc_ValueError, "%s: %zu elements are more than the %d that its kernel counts: take a smaller batch",
                 t->kind->name, n, INT_MAX);
    return -1;
}

size_t fv_largest_block(kernel *k, gpucontext *context, size_t at_most) {
    GpuKernel *on_device = kernel_on(k, context);
    if (!on_device) return 0;
    size_t most = 0;
    int error = gpukernel_property(on_device->k, GA_KERNEL_PROP_MAXLSIZE, &most);
    if (error || !most) {
        refused(k, context, "the size of its blocks is not known", error, NULL);
        return 0;
    }
    return most < at_most ? most : at_most;
}
