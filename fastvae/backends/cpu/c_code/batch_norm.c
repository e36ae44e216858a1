/* Batch normalisation and its gradient. The input is a matrix: of each column, a channel of images in NHWC, mean and
 * variance are those of its rows.
 *
 * Sums are taken in float over chunks of some rows and put together in doubles, chunk after chunk. Chunks depend on the
 * matrix alone, so a result is the same for any number of threads. Within a chunk deviations are from its first row, so
 * that no digits are lost where the mean is many times the standard deviation.
 *
 * Narrow matrices are read as wider ones, `fold` rows in one, to fill the vectors; what is left over is `rest`. */
#include "fastvae.h"
#include <math.h>
#include <omp.h>
#include <string.h>

#define WIDE 256 /* columns; narrower matrices are folded */
#define TILE 512 /* columns that are summed at a time */
#define MAX_CHUNK 128 /* rows summed in float */
#define MIN_CHUNK 16
#define PIECES 64 /* into how many a matrix is divided if chunks of that size allow */

typedef struct {
    npy_intp rows, columns, fold, width, wide_rows, rest; /* rest: numbers behind the last wide row */
    npy_intp chunk, chunks, tiles;
} matrix;

static matrix matrix_of(npy_intp rows, npy_intp columns) {
    matrix m = {rows, columns, 1};
    while (columns && m.fold * columns < WIDE) m.fold *= 2;
    if (rows < m.fold * MIN_CHUNK) m.fold = 1;
    m.width = m.fold * columns;
    m.wide_rows = rows / m.fold;
    m.rest = rows % m.fold * columns;
    m.tiles = (m.width + TILE - 1) / TILE;
    m.chunk = m.wide_rows * m.tiles / PIECES / 4 * 4;
    if (m.chunk < MIN_CHUNK) m.chunk = MIN_CHUNK;
    if (m.chunk > MAX_CHUNK) m.chunk = MAX_CHUNK;
    m.chunks = (m.wide_rows + m.chunk - 1) / m.chunk;
    return m;
}

/* A piece of a matrix: some columns of a chunk. */
typedef struct {
    npy_intp chunk, column, start, rows, columns; /* start: of its first number */
} piece;

static piece piece_of(const matrix *m, npy_intp i) {
    npy_intp chunk = i / m->tiles, column = i % m->tiles * TILE, row = chunk * m->chunk;
    npy_intp rows = m->wide_rows - row < m->chunk ? m->wide_rows - row : m->chunk;
    npy_intp columns = m->width - column < TILE ? m->width - column : TILE;
    return (piece){chunk, column, row * m->width + column, rows, columns};
}

static npy_intp rows_of_chunk(const matrix *m, npy_intp chunk) {
    npy_intp left = m->wide_rows - chunk * m->chunk;
    return left < m->chunk ? left : m->chunk;
}

/* This thread's share of the pieces: the same in every pass, so that it finds what it has read in its cache. */
static void pieces_of_thread(const matrix *m, npy_intp *first, npy_intp *end) {
    npy_intp me = omp_get_thread_num(), threads = omp_get_num_threads(), pieces = m->chunks * m->tiles;
    *first = pieces * me / threads;
    *end = pieces * (me + 1) / threads;
}

/* Of each column of a piece: its mean, and the sum of squared deviations from it. */
static void moments(const float *x, npy_intp width, piece p, double *mean, double *squares) {
    float sum[TILE] = {0}, square[TILE] = {0};
    npy_intp r = 1;
    for (; r + 4 <= p.rows; r += 4) {
        const float *row = x + r * width;
#pragma omp simd
        for (npy_intp j = 0; j < p.columns; j++) {
            float first = x[j], a = row[j] - first, b = row[width + j] - first, c = row[2 * width + j] - first,
                  d = row[3 * width + j] - first;
            sum[j] += (a + b) + (c + d);
            square[j] += (a * a + b * b) + (c * c + d * d);
        }
    }
    for (; r < p.rows; r++)
#pragma omp simd
        for (npy_intp j = 0; j < p.columns; j++) {
            float a = x[r * width + j] - x[j];
            sum[j] += a;
            square[j] += a * a;
        }
    for (npy_intp j = 0; j < p.columns; j++) {
        double shift = sum[j] / (double)p.rows;
        mean[j] = x[j] + shift;
        squares[j] = square[j] - shift * sum[j];
    }
}

/* Mean and variance of the columns from..to (at most TILE), out of the moments of all chunks. */
static void variances(const matrix *m, const double *partial, const float *rest, npy_intp from, npy_intp to,
                      double *mean, double *variance) {
    npy_intp n = to - from;
    for (npy_intp j = 0; j < n; j++) mean[j] = variance[j] = 0;
    for (npy_intp k = 0; k < m->chunks; k++)
        for (npy_intp f = 0; f < m->fold; f++) {
            const double *means = partial + 2 * k * m->width + f * m->columns + from;
            double rows = rows_of_chunk(m, k);
            for (npy_intp j = 0; j < n; j++) mean[j] += rows * means[j];
        }
    for (npy_intp i = from; i < m->rest; i += m->columns)
        for (npy_intp j = 0; j < n; j++) mean[j] += rest[i + j];
    for (npy_intp j = 0; j < n; j++) mean[j] /= m->rows;
    for (npy_intp k = 0; k < m->chunks; k++)
        for (npy_intp f = 0; f < m->fold; f++) {
            const double *means = partial + 2 * k * m->width + f * m->columns + from, *squares = means + m->width;
            double rows = rows_of_chunk(m, k);
            for (npy_intp j = 0; j < n; j++) {
                double off = means[j] - mean[j];
                variance[j] += squares[j] + rows * off * off;
            }
        }
    for (npy_intp i = from; i < m->rest; i += m->columns)
        for (npy_intp j = 0; j < n; j++) {
            double off = rest[i + j] - mean[j];
            variance[j] += off * off;
        }
    for (npy_intp j = 0; j < n; j++) variance[j] /= m->rows;
}

/* y = (x - mean) factor + shift, by columns. y may be x. */
static void normalise(const float *x, float *y, npy_intp width, npy_intp rows, npy_intp columns, const float *mean,
                      const float *factor, const float *shift) {
    npy_intp r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *from = x + r * width;
        float *to = y + r * width;
#pragma omp simd
        for (npy_intp j = 0; j < columns; j++) {
            float m = mean[j], f = factor[j], s = shift[j];
            float a = fmaf(from[j] - m, f, s), b = fmaf(from[width + j] - m, f, s),
                  c = fmaf(from[2 * width + j] - m, f, s), d = fmaf(from[3 * width + j] - m, f, s);
            to[j] = a, to[width + j] = b, to[2 * width + j] = c, to[3 * width + j] = d;
        }
    }
    for (; r < rows; r++)
#pragma omp simd
        for (npy_intp j = 0; j < columns; j++) y[r * width + j] = fmaf(x[r * width + j] - mean[j], factor[j], shift[j]);
}

static void normalise_pieces(const matrix *m, const fv_activation *activation, const float *x, float *y,
                             const float *mean, const float *factor, const float *shift) {
    npy_intp first, end, rest = m->wide_rows * m->width;
    pieces_of_thread(m, &first, &end);
    for (npy_intp i = end; i-- > first;) { /* what was read last is still in cache */
        piece p = piece_of(m, i);
        for (npy_intp r = 0, rows; r < p.rows; r += rows) {
            rows = p.rows - r < 4 ? p.rows - r : 4;
            npy_intp at = p.start + r * m->width;
            normalise(x + at, y + at, m->width, rows, p.columns, mean + p.column, factor + p.column, shift + p.column);
            if (!activation->kind) continue;
            for (npy_intp k = 0; k < rows; k++) fv_activate_all(activation, y + at + k * m->width, p.columns);
        }
    }
#pragma omp single
    {
        normalise(x + rest, y + rest, 0, 1, m->rest, mean, factor, shift);
        fv_activate_all(activation, y + rest, m->rest);
    }
}

/* to = g times the slope of the activation behind the normalised x, in a row. `to` may be g. */
static void before_activation(const fv_activation *activation, const float *x, const float *g, float *to,
                              npy_intp columns, const float *mean, const float *factor, const float *shift) {
    float source[TILE];
    for (npy_intp from = 0; from < columns; from += TILE) {
        npy_intp n = columns - from < TILE ? columns - from : TILE;
        normalise(x + from, source, 0, 1, n, mean + from, factor + from, shift + from);
        if (fv_from_output(activation->kind)) fv_activate_all(activation, source, n);
        fv_multiply_by_slope(activation, source, g + from, to + from, n);
    }
}

/* Of each column of a piece: the sums of g, of g (x - mean) and of x - mean. */
static void products(const float *x, const float *g, npy_intp width, piece p, const float *mean, double *sum_g,
                     double *sum_gd, double *sum_d) {
    float of_g[TILE] = {0}, of_gd[TILE] = {0}, of_d[TILE] = {0};
    npy_intp r = 0;
    for (; r + 4 <= p.rows; r += 4) {
        const float *u = x + r * width, *v = g + r * width;
#pragma omp simd
        for (npy_intp j = 0; j < p.columns; j++) {
            float m = mean[j], a = u[j] - m, b = u[width + j] - m, c = u[2 * width + j] - m, d = u[3 * width + j] - m;
            of_d[j] += (a + b) + (c + d);
            of_g[j] += (v[j] + v[width + j]) + (v[2 * width + j] + v[3 * width + j]);
            of_gd[j] += (a * v[j] + b * v[width + j]) + (c * v[2 * width + j] + d * v[3 * width + j]);
        }
    }
    for (; r < p.rows; r++)
#pragma omp simd
        for (npy_intp j = 0; j < p.columns; j++) {
            float a = x[r * width + j] - mean[j], value = g[r * width + j];
            of_d[j] += a;
            of_g[j] += value;
            of_gd[j] += a * value;
        }
    for (npy_intp j = 0; j < p.columns; j++) sum_g[j] = of_g[j], sum_gd[j] = of_gd[j], sum_d[j] = of_d[j];
}

/* The sums of the columns from..to (at most TILE), out of those of all chunks; mean: of these columns. */
static void total_products(const matrix *m, const double *partial, const float *rest_x, const float *rest_g,
                           const float *mean, npy_intp from, npy_intp to, double (*total)[TILE]) {
    npy_intp n = to - from;
    for (int s = 0; s < 3; s++) {
        memset(total[s], 0, n * sizeof **total);
        for (npy_intp k = 0; k < m->chunks; k++)
            for (npy_intp f = 0; f < m->fold; f++) {
                const double *sums = partial + (3 * k + s) * m->width + f * m->columns + from;
                for (npy_intp j = 0; j < n; j++) total[s][j] += sums[j];
            }
    }
    for (npy_intp i = from; i < m->rest; i += m->columns)
        for (npy_intp j = 0; j < n; j++) {
            double g = rest_g[i + j], d = rest_x[i + j] - mean[j];
            total[0][j] += g;
            total[1][j] += g * d;
            total[2][j] += d;
        }
}

/* gradient = a g + b (x - mean) + c, by columns. The gradient may be g. */
static void by_input(const float *x, const float *g, float *to, npy_intp width, npy_intp rows, npy_intp columns,
                     const float *mean, const float *a, const float *b, const float *c) {
    for (npy_intp r = 0; r < rows; r++)
#pragma omp simd
        for (npy_intp j = 0; j < columns; j++)
            to[r * width + j] = fmaf(x[r * width + j] - mean[j], b[j], fmaf(g[r * width + j], a[j], c[j]));
}

static void by_input_pieces(const matrix *m, const float *x, const float *g, float *to, const float *mean,
                            const float *a, const float *b, const float *c) {
    npy_intp first, end, rest = m->wide_rows * m->width;
    pieces_of_thread(m, &first, &end);
    for (npy_intp i = end; i-- > first;) {
        piece p = piece_of(m, i);
        by_input(x + p.start, g + p.start, to + p.start, m->width, p.rows, p.columns, mean + p.column, a + p.column,
                 b + p.column, c + p.column);
    }
#pragma omp single
    by_input(x + rest, g + rest, to + rest, 0, 1, m->rest, mean, a, b, c);
}

/* Columns from..to of a table were written: repeat them for the other rows that are folded into one. */
static void repeat(const matrix *m, float *table, npy_intp from, npy_intp to) {
    for (npy_intp f = 1; f < m->fold; f++)
        memcpy(table + f * m->columns + from, table + from, (to - from) * sizeof *table);
}

/* What the Ops below have in common: their input as a matrix, and their scratch. */
typedef struct {
    PyArrayObject *x;
    matrix m;
    int axes; /* of a number for each column */
    fv_activation activation;
    char *scratch;
} call;

/* Start a call with input 0: `arrays` of the inputs are as large as it, `vectors` have a number for each column, and
 * `tables` floats and `sums` doubles a column are needed beside; NULL without them. */
static int start(thunk *t, call *c, int arrays, int vectors, int tables, int sums) {
    c->axes = (int)t->settings[1];
    c->activation.kind = (int)t->settings[4];
    for (int i = 0; i < 3; i++) c->activation.p[i] = (float)t->settings[5 + i];
    int axes = (int)t->settings[0], summed = axes - c->axes;
    if (!(c->x = fv_input(t, 0, axes))) return -1;
    npy_intp *shape = PyArray_DIMS(c->x);
    c->m = matrix_of(PyArray_MultiplyList(shape, summed), PyArray_MultiplyList(shape + summed, c->axes));
    size_t table = fv_round(c->m.width * sizeof(float));
    size_t bytes = arrays * fv_round(PyArray_NBYTES(c->x)) + (vectors + tables) * table +
                   fv_round(sums * c->m.chunks * c->m.width * sizeof(double));
    if (!(c->scratch = fv_scratch(bytes))) return fv_oom(bytes);
    return 0;
}

static void *take(call *c, size_t bytes) {
    void *taken = c->scratch;
    c->scratch += fv_round(bytes);
    return taken;
}

static float *take_table(call *c) { return take(c, c->m.width * sizeof(float)); }

/* Input i as a contiguous array of the shape of input 0; NULL and an exception if it has another. */
static const float *array_of(thunk *t, call *c, int i) {
    PyArrayObject *a = fv_input(t, i, PyArray_NDIM(c->x));
    if (!a || !fv_same_shape(t, c->x, a)) return NULL;
    if (fv_is_contiguous(a)) return PyArray_DATA(a);
    float *copy = take(c, PyArray_NBYTES(a));
    fv_pack(copy, a);
    return copy;
}

/* Input i, a number for each column, or one for all of them where the settings say so; NULL and an exception if not. */
static const float *vector_of(thunk *t, call *c, int i) {
    PyArrayObject *a = fv_input(t, i, c->axes);
    if (!a) return NULL;
    npy_intp *shape = PyArray_DIMS(c->x) + PyArray_NDIM(c->x) - c->axes;
    int whole = PyArray_CompareLists(PyArray_DIMS(a), shape, c->axes);
    if (whole && fv_is_contiguous(a)) return PyArray_DATA(a);
    if (!whole && !((int)t->settings[3] >> i & 1)) {
        PyErr_Format(PyExc_ValueError, "%s: input %d has %zd numbers for %zd channels of the input", t->kind->name, i,
                     (Py_ssize_t)PyArray_SIZE(a), (Py_ssize_t)c->m.columns);
        return NULL;
    }
    float *copy = take_table(c);
    if (whole) fv_pack(copy, a);
    else
        for (npy_intp j = 0; j < c->m.columns; j++) copy[j] = *(float *)PyArray_DATA(a);
    return copy;
}

/* Output i, a number for each column. */
static float *vector_output(thunk *t, call *c, int i) {
    PyArrayObject *a = fv_output(t, i, c->axes, PyArray_DIMS(c->x) + PyArray_NDIM(c->x) - c->axes);
    return a ? PyArray_DATA(a) : NULL;
}

typedef struct {
    const float *scale, *bias, *running_mean, *running_variance;
    float *mean, *inverse, *variance, *shift;
    float *new_mean, *new_variance; /* with the running ones: NULL if there are none */
    float epsilon, rate;
} training;

/* The outputs of the columns from..to, and what normalises them. */
static void statistics(const matrix *m, const training *v, const double *partial, const float *rest, npy_intp from,
                       npy_intp to, float *mean_of, float *factor, float *shift) {
    double mean[TILE], variance[TILE];
    variances(m, partial, rest, from, to, mean, variance);
    float rows = (float)m->rows, unbiased = rows / (rows - 1.f);
    for (npy_intp c = from; c < to; c++) {
        double exact = mean[c - from];
        float inverse = (float)(1 / sqrt(variance[c - from] + v->epsilon));
        v->mean[c] = mean_of[c] = (float)exact;
        v->inverse[c] = inverse;
        v->variance[c] = (float)variance[c - from];
        factor[c] = v->scale[c] * inverse;
        v->shift[c] = shift[c] = (float)(v->bias[c] - (exact - mean_of[c]) * factor[c]); /* lost by rounding the mean */
        if (!v->running_mean) continue;
        v->new_mean[c] = v->running_mean[c] * (1.f - v->rate) + mean_of[c] * v->rate;
        v->new_variance[c] = v->running_variance[c] * (1.f - v->rate) + unbiased * v->variance[c] * v->rate;
    }
    repeat(m, mean_of, from, to);
    repeat(m, factor, from, to);
    repeat(m, shift, from, to);
}

/* BatchNormTrain: inputs x, scale, bias, epsilon [, rate, running mean, running variance] -> the normalised x, mean,
 * 1 / sqrt(variance + epsilon), variance, shift [, new running mean, new running variance]. Settings: axes of x, of a
 * number for each column, in place of x, bit i if input i has one number for all columns, an activation's kind and three
 * parameters. */
static int run_train(thunk *t) {
    call c;
    int running = t->n_inputs > 4;
    if (start(t, &c, 1, 4, 3, 2)) return -1;
    const float *x = array_of(t, &c, 0);
    PyArrayObject *epsilon = x ? fv_input(t, 3, 0) : NULL, *rate = epsilon && running ? fv_input(t, 4, 0) : epsilon;
    if (!rate) return -1;
    training v = {.epsilon = *(float *)PyArray_DATA(epsilon), .rate = *(float *)PyArray_DATA(rate)};
    if (!(v.scale = vector_of(t, &c, 1)) || !(v.bias = vector_of(t, &c, 2)) || !(v.mean = vector_output(t, &c, 1)) ||
        !(v.inverse = vector_output(t, &c, 2)) || !(v.variance = vector_output(t, &c, 3)) ||
        !(v.shift = vector_output(t, &c, 4)))
        return -1;
    if (running && (!(v.running_mean = vector_of(t, &c, 5)) || !(v.running_variance = vector_of(t, &c, 6)) ||
                    !(v.new_mean = vector_output(t, &c, 5)) || !(v.new_variance = vector_output(t, &c, 6))))
        return -1;
    PyArrayObject *out = fv_destination(t, 0, c.x, (int)t->settings[2]);
    if (!out) return -1;
    const matrix *m = &c.m;
    float *y = PyArray_DATA(out), *mean = take_table(&c), *factor = take_table(&c), *shift = take_table(&c);
    double *partial = take(&c, 2 * m->chunks * m->width * sizeof *partial);
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel if (m->rows * m->columns > PARALLEL_MIN)
    {
        npy_intp first, end;
        pieces_of_thread(m, &first, &end);
        for (npy_intp i = first; i < end; i++) {
            piece p = piece_of(m, i);
            double *means = partial + 2 * p.chunk * m->width + p.column;
            moments(x + p.start, m->width, p, means, means + m->width);
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (npy_intp from = 0; from < m->columns; from += TILE)
            statistics(m, &v, partial, x + m->wide_rows * m->width, from,
                       from + TILE < m->columns ? from + TILE : m->columns, mean, factor, shift);
        normalise_pieces(m, &c.activation, x, y, mean, factor, shift);
    }
    Py_END_ALLOW_THREADS return 0;
}

/* BatchNormInference: inputs x, mean, factor, shift -> (x - mean) factor + shift. Settings as above. */
static int run_inference(thunk *t) {
    call c;
    const float *vector[3];
    float *table[3];
    if (start(t, &c, 1, 3, 3, 0)) return -1;
    const float *x = array_of(t, &c, 0);
    if (!x) return -1;
    for (int i = 0; i < 3; i++)
        if (!(vector[i] = vector_of(t, &c, 1 + i))) return -1;
    PyArrayObject *out = fv_destination(t, 0, c.x, (int)t->settings[2]);
    if (!out) return -1;
    for (int i = 0; i < 3; i++) {
        memcpy(table[i] = take_table(&c), vector[i], c.m.columns * sizeof(float));
        repeat(&c.m, table[i], 0, c.m.columns);
    }
    float *y = PyArray_DATA(out);
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel if (c.m.rows * c.m.columns > PARALLEL_MIN)
    normalise_pieces(&c.m, &c.activation, x, y, table[0], table[1], table[2]);
    Py_END_ALLOW_THREADS return 0;
}

typedef struct {
    const float *scale, *mean, *inverse;
    float *by_scale, *by_bias;
} backward;

/* The gradients by scale and bias of the columns from..to, and the coefficients of that by the input. */
static void coefficients(const matrix *m, const backward *v, const double *partial, const float *rest_x,
                         const float *rest_g, npy_intp from, npy_intp to, float *a, float *b, float *c) {
    double total[3][TILE];
    total_products(m, partial, rest_x, rest_g, v->mean + from, from, to, total);
    for (npy_intp i = from; i < to; i++) {
        double g = total[0][i - from], gd = total[1][i - from], d = total[2][i - from], inverse = v->inverse[i];
        double of_g = v->scale[i] * inverse, of_d = -of_g * inverse * inverse * gd / m->rows;
        v->by_scale[i] = m->rows ? (float)(gd * inverse) : 0.f; /* without rows the latter is NaN */
        v->by_bias[i] = (float)g;
        a[i] = (float)of_g;
        b[i] = (float)of_d;
        c[i] = (float)(-(of_g * g + of_d * d) / m->rows);
    }
    repeat(m, a, from, to);
    repeat(m, b, from, to);
    repeat(m, c, from, to);
}

/* The sums over this thread's pieces. With an activation, `to` becomes the gradient before it first. */
static void products_of_pieces(const matrix *m, const fv_activation *activation, const float *x, const float *g,
                               float *to, const float *mean, const float *factor, const float *shift,
                               double *partial) {
    npy_intp first, end, rest = m->wide_rows * m->width;
    pieces_of_thread(m, &first, &end);
    for (npy_intp i = first; i < end; i++) {
        piece p = piece_of(m, i);
        double *sums = partial + 3 * p.chunk * m->width + p.column;
        for (npy_intp r = 0; activation->kind && r < p.rows; r++) {
            npy_intp at = p.start + r * m->width;
            before_activation(activation, x + at, g + at, to + at, p.columns, mean + p.column, factor + p.column,
                              shift + p.column);
        }
        products(x + p.start, (activation->kind ? to : g) + p.start, m->width, p, mean + p.column, sums,
                 sums + m->width, sums + 2 * m->width);
    }
    if (activation->kind)
#pragma omp single
        before_activation(activation, x + rest, g + rest, to + rest, m->rest, mean, factor, shift);
}

/* BatchNormGradient: inputs x, g, scale, mean, 1 / sqrt(variance + epsilon) [, shift, with an activation] -> the
 * gradients by x, scale and bias. Settings: as above, in place of g. */
static int run_gradient(thunk *t) {
    call c;
    if (start(t, &c, 2, 4, 6, 3)) return -1;
    const float *x = array_of(t, &c, 0), *g = x ? array_of(t, &c, 1) : NULL, *vector_shift = NULL;
    backward v;
    if (!g || !(v.scale = vector_of(t, &c, 2)) || !(v.mean = vector_of(t, &c, 3)) ||
        !(v.inverse = vector_of(t, &c, 4)) || !(v.by_scale = vector_output(t, &c, 1)) ||
        !(v.by_bias = vector_output(t, &c, 2)) || (c.activation.kind && !(vector_shift = vector_of(t, &c, 5))))
        return -1;
    PyArrayObject *top = fv_input(t, 1, PyArray_NDIM(c.x)), *out = fv_destination(t, 0, top, (int)t->settings[2]);
    if (!out) return -1;
    const matrix *m = &c.m;
    float *to = PyArray_DATA(out), *mean = take_table(&c), *of_g = take_table(&c), *of_d = take_table(&c),
          *constant = take_table(&c), *factor = take_table(&c), *shift = take_table(&c);
    double *partial = take(&c, 3 * m->chunks * m->width * sizeof *partial);
    npy_intp rest = m->wide_rows * m->width;
    memcpy(mean, v.mean, m->columns * sizeof *mean);
    repeat(m, mean, 0, m->columns);
    if (vector_shift) {
        for (npy_intp j = 0; j < m->columns; j++) factor[j] = v.scale[j] * v.inverse[j], shift[j] = vector_shift[j];
        repeat(m, factor, 0, m->columns);
        repeat(m, shift, 0, m->columns);
    }
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel if (m->rows * m->columns > PARALLEL_MIN)
    {
        const float *top = vector_shift ? to : g;
        products_of_pieces(m, &c.activation, x, g, to, mean, factor, shift, partial);
#pragma omp barrier
#pragma omp for schedule(static)
        for (npy_intp from = 0; from < m->columns; from += TILE)
            coefficients(m, &v, partial, x + rest, top + rest, from, from + TILE < m->columns ? from + TILE : m->columns,
                         of_g, of_d, constant);
        by_input_pieces(m, x, top, to, mean, of_g, of_d, constant);
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind batch_norm_train_kind = {"BatchNormTrain", 8, run_train, NULL};
const op_kind batch_norm_inference_kind = {"BatchNormInference", 8, run_inference, NULL};
const op_kind batch_norm_gradient_kind = {"BatchNormGradient", 8, run_gradient, NULL};
