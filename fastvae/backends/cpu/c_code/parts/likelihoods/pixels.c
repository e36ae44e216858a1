/* The threads' way through the pixels of images, in blocks. */
#include "pixels.h"
#include <omp.h>

/* (n, c, pixels) of an input (n, c, height, width): its own memory where the pixels have one stride, else a copy, for
 * which `copies` is the place. */
static fv_image image_of(PyArrayObject *a, char **copies) {
    npy_intp *d = PyArray_DIMS(a), *b = PyArray_STRIDES(a);
    if (d[2] == 1 || d[3] == 1 || b[2] == d[3] * b[3]) {
        npy_intp pixel = d[3] == 1 ? b[2] : b[3];
        return (fv_image){PyArray_DATA(a), {b[0] / 4, b[1] / 4, pixel / 4}};
    }
    float *to = (float *)*copies;
    fv_pack(to, a);
    *copies += fv_round(PyArray_NBYTES(a));
    return (fv_image){to, {d[1] * d[2] * d[3], d[2] * d[3], 1}};
}

/* Blocks are numbered image by image, channel by channel. */
static npy_intp blocks_of(const fv_pass *p) { return (p->pixels + BLOCK - 1) / BLOCK; }

static fv_block block_of(const fv_pass *p, npy_intp number) {
    npy_intp blocks = blocks_of(p), plane = number / blocks, first = number % blocks * BLOCK;
    fv_block b = {plane / p->c, plane % p->c, first, p->pixels - first < BLOCK ? p->pixels - first : BLOCK};
    b.at = plane * p->pixels + first;
    b.start = p->last ? ((b.n * p->pixels + first) * p->c + b.c) * p->each : plane * p->each * p->pixels + first;
    b.step = p->last ? 1 : p->pixels;
    b.next = p->last ? p->c * p->each : 1;
    return b;
}

static int refuse(const thunk *t, const npy_intp *o, npy_intp each, const npy_intp *d) {
    PyErr_Format(PyExc_ValueError,
                 "%s: the decoder's outputs (%zd, %zd, %zd, %zd) are not %zd for each pixel and channel of images "
                 "(%zd, %zd, %zd, %zd)",
                 t->kind->name, (Py_ssize_t)o[0], (Py_ssize_t)o[1], (Py_ssize_t)o[2], (Py_ssize_t)o[3],
                 (Py_ssize_t)each, (Py_ssize_t)d[0], (Py_ssize_t)d[1], (Py_ssize_t)d[2], (Py_ssize_t)d[3]);
    return -1;
}

int fv_run_pixels(thunk *t, npy_intp each, int last, int backward, size_t scratch, fv_kernel *kernel) {
    PyArrayObject *in[4];
    size_t bytes = 0, own = fv_round(scratch * sizeof(float));
    for (int i = 0; i < t->n_inputs; i++) {
        if (!(in[i] = fv_input(t, i, 4))) return -1;
        bytes += fv_round(PyArray_NBYTES(in[i]));
    }
    npy_intp *d = PyArray_DIMS(in[0]), *o = PyArray_DIMS(in[1]);
    npy_intp wanted[2][4] = {{d[0], d[1] * each, d[2], d[3]}, {d[0], d[2], d[3], d[1] * each}};
    int fits = PyArray_CompareLists(o, wanted[last], 4);
    for (int i = 2; i < t->n_inputs; i++) fits &= PyArray_SAMESHAPE(in[0], in[i]);
    if (!fits) return refuse(t, o, each, d);
    fv_pass p = {t->settings, d[0], d[1], each, d[2] * d[3], last};
    for (int i = 0; i < t->n_outputs; i++) {
        PyArrayObject *out = fv_output(t, i, 4, backward ? o : d);
        if (!out) return -1;
        p.to[i] = PyArray_DATA(out);
    }
    char *threads = fv_scratch(omp_get_max_threads() * own + bytes);
    if (!threads) return fv_oom(omp_get_max_threads() * own + bytes);
    char *copies = threads + omp_get_max_threads() * own;
    npy_intp blocks = p.n * p.c * blocks_of(&p);
    Py_BEGIN_ALLOW_THREADS
    for (int i = 0; i < t->n_inputs; i++)
        if (i != 1) p.image[i] = image_of(in[i], &copies);
    if (!fv_is_contiguous(in[1])) fv_pack((float *)copies, in[1]);
    p.outputs = fv_is_contiguous(in[1]) ? PyArray_DATA(in[1]) : (float *)copies;
#pragma omp parallel for num_threads(fv_team(PyArray_SIZE(in[1])))
    for (npy_intp number = 0; number < blocks; number++) {
        fv_block b = block_of(&p, number);
        kernel(&p, &b, (float *)(threads + omp_get_thread_num() * own));
    }
    Py_END_ALLOW_THREADS return 0;
}
