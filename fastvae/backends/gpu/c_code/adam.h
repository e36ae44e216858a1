/* What the kinds of Adam share. */
#ifndef FASTVAE_GPU_ADAM_H
#define FASTVAE_GPU_ADAM_H

#include "arrays.h"

/* The array that starts as an input and becomes an output, in its cell: the input itself if the thunk's first setting says
 * so, or a packed copy. Borrowed, or NULL with an exception. */
PyGpuArrayObject *fv_adam_updated(const thunk *t, int i, int to);

/* One launch, for parameters `first` to `last` - 1, whose packed gradients are given; their p, m and v are the outputs. */
int fv_adam_launch(const thunk *t, PyGpuArrayObject *rate, PyGpuArrayObject **gradients, int first, int last);

#endif
