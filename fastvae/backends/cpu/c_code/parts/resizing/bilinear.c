/* Bilinear upsampling of images, NHWC, and its gradient. */
#include "fastvae.h"
#include "channels.h"
#include <omp.h>
#include <string.h>

/* Rows or columns: of the smaller image, and those of the larger one for each of them. */
typedef struct {
    npy_intp size, factor;
    int centred;
} axis;

/* A place between two pixels, and what each of them weighs there. */
typedef struct {
    npy_intp before, behind;
    float of_before, of_behind;
} place;

static place place_of(const axis *a, npy_intp i) {
    npy_intp unit = 2 * a->factor, twice_the_shift = a->centred ? a->factor - 1 : (a->factor - 1) / 2 * 2;
    npy_intp from_pixel = 2 * (i % a->factor) - twice_the_shift, before = i / a->factor;
    if (from_pixel < 0) from_pixel += unit, before--;
    npy_intp behind = before + 1 < a->size ? before + 1 : a->size - 1;
    return (place){before < 0 ? 0 : before, behind, (float)(unit - from_pixel) / unit, (float)from_pixel / unit};
}

/* to = u a + v b; to may be a. */
static inline void mix(float *to, float u, const float *a, float v, const float *b, npy_intp n) {
#pragma omp simd
    for (npy_intp k = 0; k < n; k++) to[k] = u * a[k] + v * b[k];
}

static inline void add(float *to, float u, const float *a, npy_intp n) {
#pragma omp simd
    for (npy_intp k = 0; k < n; k++) to[k] += u * a[k];
}

typedef struct {
    axis y, x;
    npy_intp n, c;
    place *columns; /* of each column of the larger image */
} sizes;

/* Row i of the larger image: first between the rows, then between the columns. */
static inline __attribute__((always_inline)) void enlarge_row(const sizes *s, const float *image, float *to,
                                                              npy_intp i, float *mixed, const npy_intp c) {
    place row = place_of(&s->y, i);
    npy_intp width = s->x.size * c;
    mix(mixed, row.of_before, image + row.before * width, row.of_behind, image + row.behind * width, width);
    for (npy_intp j = 0; j < s->x.size * s->x.factor; j++) {
        const place *p = s->columns + j;
        mix(to + j * c, p->of_before, mixed + p->before * c, p->of_behind, mixed + p->behind * c, c);
    }
}

/* Row i of the smaller image's gradient: the larger one's rows that it weighs in, then their columns. */
static inline __attribute__((always_inline)) void gather_row(const sizes *s, const float *g, float *to, npy_intp i,
                                                             float *mixed, const npy_intp c) {
    npy_intp columns = s->x.size * s->x.factor, width = columns * c, rows = s->y.size * s->y.factor;
    npy_intp from = (i - 1) * s->y.factor, end = (i + 2) * s->y.factor;
    memset(mixed, 0, width * sizeof *mixed);
    for (npy_intp j = from < 0 ? 0 : from; j < end && j < rows; j++) {
        place row = place_of(&s->y, j);
        float weight = (row.before == i) * row.of_before + (row.behind == i) * row.of_behind;
        if (weight > 0) add(mixed, weight, g + j * width, width);
    }
    memset(to, 0, s->x.size * c * sizeof *to);
    for (npy_intp j = 0; j < columns; j++) {
        const place *p = s->columns + j;
        add(to + p->before * c, p->of_before, mixed + j * c, c);
        add(to + p->behind * c, p->of_behind, mixed + j * c, c);
    }
}

static int run(thunk *t, int gradient) {
    npy_intp rows = t->settings[0], columns = t->settings[1];
    int centred = t->settings[2];
    PyArrayObject *x = fv_input(t, 0, 4);
    if (!x) return -1;
    npy_intp *d = PyArray_DIMS(x);
    if (gradient && (d[1] % rows || d[2] % columns)) {
        PyErr_Format(PyExc_ValueError, "%s: images of %zd x %zd pixels do not consist of blocks of %zd x %zd",
                     t->kind->name, (Py_ssize_t)d[1], (Py_ssize_t)d[2], (Py_ssize_t)rows, (Py_ssize_t)columns);
        return -1;
    }
    sizes s = {.n = d[0], .c = d[3], .y = {gradient ? d[1] / rows : d[1], rows, centred},
               .x = {gradient ? d[2] / columns : d[2], columns, centred}};
    npy_intp smaller[] = {s.n, s.y.size, s.x.size, s.c}, larger[] = {s.n, s.y.size * rows, s.x.size * columns, s.c};
    PyArrayObject *y = fv_output(t, 0, 4, gradient ? smaller : larger);
    size_t row = fv_round((gradient ? larger : smaller)[2] * s.c * sizeof(float));
    size_t places = fv_round(larger[2] * sizeof(place));
    const float *from;
    char *scratch = y ? fv_packed(&x, &from, 1, places + omp_get_max_threads() * row) : NULL;
    if (!scratch) return -1;
    s.columns = (place *)scratch;
    for (npy_intp j = 0; j < larger[2]; j++) s.columns[j] = place_of(&s.x, j);
    float *to = PyArray_DATA(y);
    npy_intp *is = gradient ? smaller : larger, in = PyArray_SIZE(x) / (s.n ? s.n : 1), out = is[2] * s.c;
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel for schedule(static) num_threads(fv_team(PyArray_MultiplyList(larger, 4)))
    for (npy_intp i = 0; i < s.n * is[1]; i++) {
        float *mixed = (float *)(scratch + places + omp_get_thread_num() * row);
        const float *image = from + i / is[1] * in;
#define ROW(c) gradient ? gather_row(&s, image, to + i * out, i % is[1], mixed, c) \
                        : enlarge_row(&s, image, to + i * out, i % is[1], mixed, c)
        FOR_CHANNELS(s.c, ROW)
    }
    Py_END_ALLOW_THREADS return 0;
}

/* BilinearUpsample: input (n, h, w, c) -> (n, h rows, w columns, c). Settings: rows, columns, whether it is centred. */
static int run_bilinear_upsample(thunk *t) { return run(t, 0); }

/* BilinearUpsampleGradient: its adjoint. Settings: the same. */
static int run_bilinear_upsample_gradient(thunk *t) { return run(t, 1); }

const op_kind bilinear_upsample_kind = {"BilinearUpsample", 3, run_bilinear_upsample, NULL};
const op_kind bilinear_upsample_gradient_kind = {"BilinearUpsampleGradient", 3, run_bilinear_upsample_gradient, NULL};
