/* libgpuarray under watch while a step is recorded.
 *
 * A context of libgpuarray 0.7 begins with the address of a table of its functions. While we watch, it is a copy of that
 * table in which some are ours. */
#include "watch.h"
#include <gpuarray/error.h>
#include <stdlib.h>
#include <string.h>

/* libgpuarray's `gpuarray_buffer_ops`; those that are not ours are without their arguments. */
typedef struct {
    void *platforms, *devices, *init, *deinit;
    gpudata *(*alloc)(gpucontext *, size_t, void *, int);
    void (*retain)(gpudata *), (*release)(gpudata *);
    void *share, *move;
    int (*read)(void *, gpudata *, size_t, size_t);
    int (*write)(gpudata *, size_t, const void *, size_t);
    void *memset, *kernel_alloc, *kernel_retain, *kernel_release, *kernel_setarg, *kernel_call;
    int (*sync)(gpudata *);
    int (*transfer)(gpudata *, size_t, gpudata *, size_t, size_t);
    void *property, *error;
} table;

static gpucontext *context;
static const table *usual;
static table ours;
static watched now;

static gpudata *alloc(gpucontext *c, size_t size, void *data, int flags) {
    if (flags & GA_BUFFER_INIT) now.refused = "a copy to the GPU";
    if (now.n == now.room) {
        size_t room = 2 * now.room + 256;
        gpudata **larger = realloc(now.buffers, room * sizeof *larger);
        if (!larger) return NULL;
        now.buffers = larger;
        now.room = room;
    }
    gpudata *buffer = usual->alloc(c, size, data, flags);
    if (buffer) {
        usual->retain(buffer);
        now.buffers[now.n++] = buffer;
    }
    return buffer;
}

static int refuse(const char *what) {
    now.refused = what;
    return GA_UNSUPPORTED_ERROR;
}

static int read_refused(void *to, gpudata *from, size_t offset, size_t size) { return refuse("a copy to the host"); }

static int write_refused(gpudata *to, size_t offset, const void *from, size_t size) { return refuse("a copy to the GPU"); }

static int sync_refused(gpudata *buffer) { return refuse("waiting for the GPU"); }

static int transfer_refused(gpudata *to, size_t at, gpudata *from, size_t offset, size_t size) {
    return refuse("a copy between GPUs");
}

int fv_watch(gpucontext *of) {
    if (context) {
        PyErr_SetString(PyExc_RuntimeError, "a step is being recorded already");
        return -1;
    }
    const table **place = (const table **)of;
    usual = *place;
    ours = *usual;
    ours.alloc = alloc;
    ours.read = read_refused;
    ours.write = write_refused;
    ours.sync = sync_refused;
    ours.transfer = transfer_refused;
    memset(&now, 0, sizeof now);
    context = of;
    *place = &ours;
    int error = 0;
    gpudata *trial = gpudata_alloc(of, 1, NULL, 0, &error);
    if (now.n == 1 && now.buffers[0] == trial) {
        gpudata_release(trial);
        return 0;
    }
    watched seen = fv_unwatch();
    fv_release(&seen);
    if (trial) gpudata_release(trial);
    PyErr_SetString(PyExc_RuntimeError, trial ? "libgpuarray is not 0.7.6" : "no memory is left on the GPU");
    return -1;
}

watched fv_unwatch(void) {
    if (context) *(const table **)context = usual;
    context = NULL;
    watched seen = now;
    memset(&now, 0, sizeof now);
    return seen;
}

void fv_release(watched *seen) {
    for (size_t i = 0; i < seen->n; i++) gpudata_release(seen->buffers[i]);
    free(seen->buffers);
    memset(seen, 0, sizeof *seen);
}
