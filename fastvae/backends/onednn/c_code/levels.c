/* The categorical likelihood: log-probabilities of pixel levels under the softmax of their logits, and their gradient. */
#include "elementary.h"
#include "fastvae.h"

#define BLOCK 64 /* pixels that are computed together */

/* Logits are (n, c, levels, pixels), or with the channels last (n, pixels, c, levels); x, totals and g are (n, c,
 * pixels) in any layout that keeps the pixels one axis, given by their strides. */
typedef struct {
    npy_intp n, c, levels, pixels;
    int last;
} sizes;

typedef struct {
    const float *data;
    npy_intp stride[3];
} image;

static inline float value(const image *a, npy_intp n, npy_intp c, npy_intp pixel) {
    return a->data[n * a->stride[0] + c * a->stride[1] + pixel * a->stride[2]];
}

/* A pixel's level, -1 if it is none: no logit is chosen then. */
static inline int level_of(float x, npy_intp levels) {
    float level = rintf(x * (float)(levels - 1));
    return level >= 0.f && level < (float)levels ? (int)level : -1;
}

/* The logarithm of the sum of exp of consecutive logits. */
static float total_of(const float *logits, npy_intp levels) {
    float highest = logits[0], sum = 0.f;
#pragma omp simd reduction(max : highest)
    for (npy_intp k = 1; k < levels; k++) highest = logits[k] > highest ? logits[k] : highest;
#pragma omp simd reduction(+ : sum)
    for (npy_intp k = 0; k < levels; k++) sum += fv_exp(logits[k] - highest);
    return fv_log(sum) + highest;
}

/* The same of some pixels side by side, whose logits are a stride apart. */
static void totals_of(const float *logits, npy_intp levels, npy_intp stride, npy_intp some, float *total) {
    float highest[BLOCK], sum[BLOCK];
    for (npy_intp i = 0; i < some; i++) highest[i] = logits[i], sum[i] = 0.f;
    for (npy_intp k = 1; k < levels; k++)
#pragma omp simd
        for (npy_intp i = 0; i < some; i++) {
            float logit = logits[k * stride + i];
            highest[i] = logit > highest[i] ? logit : highest[i];
        }
    for (npy_intp k = 0; k < levels; k++)
#pragma omp simd
        for (npy_intp i = 0; i < some; i++) sum[i] += fv_exp(logits[k * stride + i] - highest[i]);
    for (npy_intp i = 0; i < some; i++) total[i] = fv_log(sum[i]) + highest[i];
}

/* Work is shared out in units: a block of pixels of one channel of one image. */
static npy_intp blocks_of(const sizes *s) { return (s->pixels + BLOCK - 1) / BLOCK; }

static void log_probability(const sizes *s, const float *logits, image x, float *nats, float *total, npy_intp unit) {
    npy_intp blocks = blocks_of(s), n = unit / blocks / s->c, c = unit / blocks % s->c, first = unit % blocks * BLOCK;
    npy_intp some = s->pixels - first < BLOCK ? s->pixels - first : BLOCK, at = (n * s->c + c) * s->pixels + first;
    npy_intp step = s->last ? 1 : s->pixels, next = s->last ? s->c * s->levels : 1;
    const float *of = logits + (s->last ? ((n * s->pixels + first) * s->c + c) * s->levels
                                        : (n * s->c + c) * s->levels * s->pixels + first);
    if (s->last)
        for (npy_intp i = 0; i < some; i++) total[at + i] = total_of(of + i * next, s->levels);
    else totals_of(of, s->levels, step, some, total + at);
    for (npy_intp i = 0; i < some; i++) {
        int level = level_of(value(&x, n, c, first + i), s->levels);
        nats[at + i] = (level < 0 ? 0.f : of[level * step + i * next]) - total[at + i];
    }
}

static void gradient(const sizes *s, const float *logits, image x, image total, image g, float *to, npy_intp unit) {
    npy_intp blocks = blocks_of(s), n = unit / blocks / s->c, c = unit / blocks % s->c, first = unit % blocks * BLOCK;
    npy_intp some = s->pixels - first < BLOCK ? s->pixels - first : BLOCK;
    npy_intp step = s->last ? 1 : s->pixels, next = s->last ? s->c * s->levels : 1;
    npy_intp start = s->last ? ((n * s->pixels + first) * s->c + c) * s->levels
                             : (n * s->c + c) * s->levels * s->pixels + first;
    float less[BLOCK], factor[BLOCK];
    for (npy_intp i = 0; i < some; i++) less[i] = value(&total, n, c, first + i), factor[i] = value(&g, n, c, first + i);
    const float *of = logits + start;
    to += start;
    if (s->last)
        for (npy_intp i = 0; i < some; i++) {
            float minus = -factor[i], t = less[i];
#pragma omp simd
            for (npy_intp k = 0; k < s->levels; k++) to[i * next + k] = minus * fv_exp(of[i * next + k] - t);
        }
    else
        for (npy_intp k = 0; k < s->levels; k++)
#pragma omp simd
            for (npy_intp i = 0; i < some; i++) to[k * step + i] = -factor[i] * fv_exp(of[k * step + i] - less[i]);
    for (npy_intp i = 0; i < some; i++) {
        int level = level_of(value(&x, n, c, first + i), s->levels);
        if (level >= 0) to[level * step + i * next] += factor[i];
    }
}

/* (n, c, pixels) of an input (n, c, height, width): its own memory where the pixels have one stride, else a copy, for
 * which `copies` is the place. */
static image image_of(PyArrayObject *a, char **copies) {
    npy_intp *d = PyArray_DIMS(a), *b = PyArray_STRIDES(a);
    if (d[2] == 1 || d[3] == 1 || b[2] == d[3] * b[3]) {
        npy_intp pixel = d[3] == 1 ? b[2] : b[3];
        return (image){PyArray_DATA(a), {b[0] / 4, b[1] / 4, pixel / 4}};
    }
    float *to = (float *)*copies;
    fv_pack(to, a);
    *copies += fv_round(PyArray_NBYTES(a));
    return (image){to, {d[1] * d[2] * d[3], d[2] * d[3], 1}};
}

/* LogProbability: inputs x (n, c, h, w), logits (n, c levels, h, w) or with the channels last (n, h, w, c levels) ->
 * nats and the logarithms of the sums of exp, both like x.
 * LogProbabilityGradient: x, logits, these logarithms, g like x -> the gradient, like the logits.
 * Settings: levels, channels last. */
static int run_levels(thunk *t) {
    int backward = t->n_inputs == 4;
    sizes s = {.levels = t->settings[0], .last = t->settings[1]};
    PyArrayObject *in[4];
    size_t bytes = 0;
    for (int i = 0; i < t->n_inputs; i++) {
        if (!(in[i] = fv_input(t, i, 4))) return -1;
        bytes += fv_round(PyArray_NBYTES(in[i]));
    }
    npy_intp *d = PyArray_DIMS(in[0]), *l = PyArray_DIMS(in[1]);
    npy_intp wanted[2][4] = {{d[0], d[1] * s.levels, d[2], d[3]}, {d[0], d[2], d[3], d[1] * s.levels}};
    int fits = PyArray_CompareLists(l, wanted[s.last], 4);
    for (int i = 2; i < t->n_inputs; i++) fits &= PyArray_SAMESHAPE(in[0], in[i]);
    if (!fits) {
        PyErr_Format(PyExc_ValueError, "%s: logits (%zd, %zd, %zd, %zd) are not those of %zd levels of images (%zd, %zd, "
                     "%zd, %zd)", t->kind->name, (Py_ssize_t)l[0], (Py_ssize_t)l[1], (Py_ssize_t)l[2],
                     (Py_ssize_t)l[3], (Py_ssize_t)s.levels, (Py_ssize_t)d[0], (Py_ssize_t)d[1], (Py_ssize_t)d[2],
                     (Py_ssize_t)d[3]);
        return -1;
    }
    s.n = d[0], s.c = d[1], s.pixels = d[2] * d[3];
    PyArrayObject *out = backward ? fv_output(t, 0, 4, l) : fv_output(t, 0, 4, d);
    PyArrayObject *sums = backward ? out : fv_output(t, 1, 4, d);
    if (!out || !sums) return -1;
    char *copies = fv_scratch(bytes);
    if (!copies) return fv_oom(bytes);
    float *to = PyArray_DATA(out), *total = PyArray_DATA(sums), *logits = PyArray_DATA(in[1]);
    npy_intp units = s.n * s.c * blocks_of(&s);
    image images[4];
    Py_BEGIN_ALLOW_THREADS
    for (int i = 0; i < t->n_inputs; i++)
        if (i != 1) images[i] = image_of(in[i], &copies);
    if (!fv_is_contiguous(in[1])) fv_pack(logits = (float *)copies, in[1]);
#pragma omp parallel for if (PyArray_SIZE(in[1]) > PARALLEL_MIN)
    for (npy_intp unit = 0; unit < units; unit++)
        if (backward) gradient(&s, logits, images[0], images[2], images[3], to, unit);
        else log_probability(&s, logits, images[0], to, total, unit);
    Py_END_ALLOW_THREADS return 0;
}

const op_kind log_probability_kind = {"LogProbability", 2, run_levels, NULL};
const op_kind log_probability_gradient_kind = {"LogProbabilityGradient", 2, run_levels, NULL};
