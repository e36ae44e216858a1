/* libgpuarray under watch while a step is recorded. */
#ifndef FASTVAE_WATCH_H
#define FASTVAE_WATCH_H

#include "arrays.h"
#include <gpuarray/buffer.h>

typedef struct {
    gpudata **buffers; /* all that were handed out, each with a reference of ours, also those that were given back since */
    size_t n, room;
    const char *refused; /* what a graph cannot contain and somebody tried, or NULL */
} watched;

/* From here on buffers of the context are kept and copies between host and device refused; -1 and an exception if this
 * libgpuarray cannot be watched. */
int fv_watch(gpucontext *context);

/* No longer. What was seen is the caller's. */
watched fv_unwatch(void);

void fv_release(watched *seen);

#endif
