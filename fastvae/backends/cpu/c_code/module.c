/* The Python module: the Ops of this backend, and the methods that make and call their thunks. */
#define FASTVAE_MODULE
#include "fastvae.h"
#include <omp.h>

const op_kind *const fv_kinds[] = {
    &convolution_kind,   &matmul_kind,     &gemm_kind,         &contiguous_kind,
    &relu_gradient_kind, &column_sum_kind, &reshape_like_kind, &adam_kind,
    &take_rows_kind,     &unflatten_kind,  &total_kind,        &uniform_kind,
    &log_probability_kind, &log_probability_gradient_kind,
    &logistic_log_probability_kind, &logistic_log_probability_gradient_kind, NULL};

int fv_ready(const thunk *t) { return fv_enter(); }

int fv_threads(void) { return omp_get_max_threads(); } /* oneDNN plans for so many, and then runs with no other number */

void fv_idle(void) { fv_scratch_release(); }

static PyMethodDef methods[] = {THUNK_METHODS, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fastvae_onednn", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_fastvae_onednn(void) {
    import_array();
    return PyModule_Create(&definition);
}
