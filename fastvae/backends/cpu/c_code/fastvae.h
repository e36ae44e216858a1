/* What the C files of the CPU backend share: one Op instance, its errors, its memory. */
#ifndef FASTVAE_H
#define FASTVAE_H

#include "thunks.h"

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL fastvae_cpu_array_api
#ifndef FASTVAE_MODULE
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#if NPY_ABI_VERSION < 0x02000000 /* numpy 1 has no name for it */
#define PyDataType_ELSIZE(type) ((type)->elsize)
#endif
#include <oneapi/dnnl/dnnl.h>

#define PARALLEL_MIN 32768 /* elements below which a second thread costs more than it brings */

#include "elementary.h"
#include "activations.h"

#pragma GCC visibility push(default) /* parts call these */

/* runtime.c */
int fv_enter(void);
dnnl_engine_t fv_engine(void);
dnnl_stream_t fv_stream(void);
int fv_is_post_op(const fv_activation *a);
dnnl_status_t fv_append_activation(dnnl_primitive_attr_t attr, const fv_activation *a);
int fv_post_op_argument(const fv_activation *a, dnnl_exec_arg_t *argument);
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
PyArrayObject *fv_destination(thunk *t, int out, PyArrayObject *from, int in_place);
int fv_same_shape(const thunk *t, PyArrayObject *a, PyArrayObject *b);
size_t fv_round(size_t bytes);
int fv_verbose(void);
void fv_share_of(npy_intp me, npy_intp threads, npy_intp n, npy_intp *from, npy_intp *to);
void fv_share(npy_intp n, npy_intp *from, npy_intp *to);

/* contention.c */
void fv_watch_others(void);
void fv_contention(int *contended, int *left);
int fv_watch_file(const char *path);
int fv_team(npy_intp elements);
int fv_team_of_products(npy_intp products);

/* activations.c */
fv_activation fv_activation_from(const double *settings);
void fv_activate_all(const fv_activation *a, float *x, npy_intp n);
void fv_activate_threaded(const fv_activation *a, float *x, npy_intp n);
void fv_multiply_by_slope(const fv_activation *a, const float *source, const float *g, float *to, npy_intp n);

/* pack.c */
void fv_pack(float *to, PyArrayObject *from);
void fv_pack_any(void *to, PyArrayObject *from);
char *fv_packed(PyArrayObject **arrays, const float **data, int n, size_t more);

/* fill.c */
int fv_read_shape(const thunk *t, npy_intp *shape, int ndim);

/* into_zeros.c: an axis of an array among zeros: its length, how many places of it are taken, the first of them, and from
 * one to the next */
#define FV_AXES 4
typedef struct {
    npy_intp length, taken, first, step;
} fv_axis;
void fv_into_zeros(float *to, const float *from, const fv_axis *axes);

/* sums.c */
size_t fv_column_sum_scratch(npy_intp columns);
void fv_column_sum(float *to, const float *from, npy_intp rows, npy_intp columns, char *scratch);

#pragma GCC visibility pop

#endif
