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

/* narrow.c and narrow_weights.c: sizes of a convolution from or to few channels, in its own terms (see convolution.c), and
 * the padding before it. In narrow.c it is a transposed one, from o channels to c; the weights of (top's channel, image's
 * channel) start at o_stride and c_stride times these. */
#define FV_NARROW_CHANNELS 4 /* how many are few */
typedef struct {
    npy_intp n, c, h, w, o, oh, ow, kh, kw, stride[2], dilation[2], pad[2], o_stride, c_stride;
    int flip;
    fv_activation activation;
} fv_narrow;
int fv_narrow_suits(const fv_narrow *g);
size_t fv_narrow_scratch(const fv_narrow *g);
void fv_narrow_transposed(const fv_narrow *g, const float *top, const float *weights, const float *bias, float *images,
                          char *scratch);
int fv_narrow_weights_suits(const fv_narrow *g);
size_t fv_narrow_weights_scratch(const fv_narrow *g);
void fv_narrow_weights_gradient(const fv_narrow *g, const float *images, const float *tops, float *gradient,
                                char *scratch);

/* winograd.c: sizes of a 3x3 convolution of stride 1, contiguous NHWC; the weights of (input channel, output channel)
 * start at in_stride and out_stride times these, and are read backwards where mirrored */
typedef struct {
    npy_intp n, in, in_h, in_w, out, out_h, out_w, pad[2], in_stride, out_stride;
    int mirror;
} fv_winograd;
int fv_winograd_suits(const fv_winograd *g);
size_t fv_winograd_scratch(const fv_winograd *g);
size_t fv_winograd_weights_scratch(const fv_winograd *g);
void fv_winograd_convolve(const fv_winograd *g, const float *images, const float *weights, const float *bias,
                          const fv_activation *activation, float *to, char *scratch);
void fv_winograd_weights_gradient(const fv_winograd *g, const float *images, const float *top, float *gradient,
                                  float *sums, char *scratch);

/* pointwise.c: sizes of a 1x1 convolution of stride 1, contiguous NHWC; the weights of (input channel, output channel)
 * start at in_stride and out_stride times these */
typedef struct {
    npy_intp pixels, in, out, in_stride, out_stride;
} fv_pointwise;
int fv_pointwise_suits(const fv_pointwise *g);
size_t fv_pointwise_scratch(const fv_pointwise *g);
size_t fv_pointwise_weights_scratch(const fv_pointwise *g);
void fv_pointwise_convolve(const fv_pointwise *g, const float *x, const float *weights, const float *bias,
                           const fv_activation *activation, float *y, char *scratch);
void fv_pointwise_weights_gradient(const fv_pointwise *g, const float *x, const float *top, float *gradient,
                                   char *scratch);

#endif
