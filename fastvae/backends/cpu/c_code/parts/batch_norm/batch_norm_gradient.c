/* The gradient of batch normalisation by the statistics of the batch, with an activation behind it or without. */
#include "batch_norm.h"

typedef struct {
    fv_activation activation;
    const float *mean, *factor, *shift; /* tables; the last two with an activation only */
} layer;

/* to = g times the slope of the activation behind the normalised x, for some columns of a row, from that column on. */
static void before_activation(const layer *l, const float *x, const float *g, float *to, npy_intp column,
                              npy_intp columns) {
    float source[TILE];
    normalise(x, source, 0, 1, columns, l->mean + column, l->factor + column, l->shift + column);
    if (fv_from_output(l->activation.kind)) fv_activate_all(&l->activation, source, columns);
    fv_multiply_by_slope(&l->activation, source, g, to, columns);
}

/* Add to the sums of each column: of g, of g (x - mean) and of x - mean. */
static void add_products(const float *x, const float *g, npy_intp width, npy_intp rows, npy_intp columns,
                         const float *mean, float (*sum)[TILE]) {
    npy_intp r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *u = x + r * width, *v = g + r * width;
#pragma omp simd
        for (npy_intp j = 0; j < columns; j++) {
            float m = mean[j], a = u[j] - m, b = u[width + j] - m, c = u[2 * width + j] - m, d = u[3 * width + j] - m;
            float e = v[j], f = v[width + j], h = v[2 * width + j], i = v[3 * width + j];
            sum[0][j] += (e + f) + (h + i);
            sum[1][j] += (a * e + b * f) + (c * h + d * i);
            sum[2][j] += (a + b) + (c + d);
        }
    }
    for (; r < rows; r++)
#pragma omp simd
        for (npy_intp j = 0; j < columns; j++) {
            float a = x[r * width + j] - mean[j], value = g[r * width + j];
            sum[0][j] += value;
            sum[1][j] += a * value;
            sum[2][j] += a;
        }
}

/* The sums of a piece, as they go into the doubles of its chunk. With an activation, `to` becomes the gradient before
 * it first, so that its slope is computed once. */
static void sum_piece(const matrix *m, const layer *l, const float *x, const float *g, float *to, piece p,
                      double *partial) {
    float sum[3][TILE] = {{0}};
    for (npy_intp r = 0, rows; r < p.rows; r += rows) {
        npy_intp at = p.start + r * m->width;
        rows = p.rows - r < 4 ? p.rows - r : 4;
        for (npy_intp k = 0; l->activation.kind && k < rows; k++, at += m->width)
            before_activation(l, x + at, g + at, to + at, p.column, p.columns);
        at = p.start + r * m->width;
        add_products(x + at, (l->activation.kind ? to : g) + at, m->width, rows, p.columns, l->mean + p.column, sum);
    }
    for (int s = 0; s < 3; s++)
        for (npy_intp j = 0; j < p.columns; j++) partial[(3 * p.chunk + s) * m->width + p.column + j] = sum[s][j];
}

/* The sums of the columns from..to (at most SHARE), out of those of all chunks; mean: of these columns. */
static void total_products(const matrix *m, const double *partial, const float *rest_x, const float *rest_g,
                           const float *mean, npy_intp from, npy_intp to, double (*total)[SHARE]) {
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

typedef struct {
    const float *scale, *mean, *inverse;
    float *by_scale, *by_bias;
} backward;

/* The gradients by scale and bias of the columns from..to, and the coefficients of that by the input. */
static void coefficients(const matrix *m, const backward *v, const double *partial, const float *rest_x,
                         const float *rest_g, npy_intp from, npy_intp to, float *a, float *b, float *c) {
    double total[3][SHARE];
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

/* BatchNormGradient: inputs x, g, scale, mean, 1 / sqrt(variance + epsilon) [, shift, with an activation] -> the
 * gradients by x, scale and bias. Settings: those of BatchNormTrain, in place of g. */
static int run_gradient(thunk *t) {
    call c;
    if (start(t, &c, 2, 4, 6, 3)) return -1;
    const float *x = array_of(t, &c, 0), *g = x ? array_of(t, &c, 1) : NULL, *shift = NULL;
    backward v;
    if (!g || !(v.scale = vector_of(t, &c, 2)) || !(v.mean = vector_of(t, &c, 3)) ||
        !(v.inverse = vector_of(t, &c, 4)) || !(v.by_scale = vector_output(t, &c, 1)) ||
        !(v.by_bias = vector_output(t, &c, 2)) || (c.activation.kind && !(shift = vector_of(t, &c, 5))))
        return -1;
    PyArrayObject *top = fv_input(t, 1, PyArray_NDIM(c.x)), *out = fv_destination(t, 0, top, (int)t->settings[2]);
    if (!out) return -1;
    const matrix *m = &c.m;
    npy_intp rest = m->wide_rows * m->width;
    float *to = PyArray_DATA(out), *mean = take_table(&c), *factor = take_table(&c), *shifts = take_table(&c),
          *of_g = take_table(&c), *of_d = take_table(&c), *constant = take_table(&c);
    double *partial = take(&c, 3 * m->chunks * m->width * sizeof *partial);
    for (npy_intp j = 0; j < m->columns; j++) {
        mean[j] = v.mean[j];
        factor[j] = v.scale[j] * v.inverse[j];
        shifts[j] = shift ? shift[j] : 0;
    }
    repeat(m, mean, 0, m->columns), repeat(m, factor, 0, m->columns), repeat(m, shifts, 0, m->columns);
    layer l = {c.activation, mean, factor, shifts};
    const float *before = shift ? to : g;
    for (npy_intp j = 0, n; shift && j < m->rest; j += n) {
        n = m->rest - j < TILE ? m->rest - j : TILE;
        before_activation(&l, x + rest + j, g + rest + j, to + rest + j, j, n);
    }
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel num_threads(fv_team(m->rows * m->columns))
    {
        npy_intp first, end;
        pieces_of_thread(m, &first, &end);
        for (npy_intp i = first; i < end; i++) sum_piece(m, &l, x, g, to, piece_of(m, i), partial);
#pragma omp barrier
#pragma omp for schedule(static)
        for (npy_intp from = 0; from < m->columns; from += SHARE)
            coefficients(m, &v, partial, x + rest, before + rest, from,
                         from + SHARE < m->columns ? from + SHARE : m->columns, of_g, of_d, constant);
        for (npy_intp i = end; i-- > first;) { /* what was read last is still in cache */
            piece p = piece_of(m, i);
            by_input(x + p.start, before + p.start, to + p.start, m->width, p.rows, p.columns, mean + p.column,
                     of_g + p.column, of_d + p.column, constant + p.column);
        }
#pragma omp single
        by_input(x + rest, before + rest, to + rest, 0, 1, m->rest, mean, of_g, of_d, constant);
    }
    Py_END_ALLOW_THREADS return 0;
}

const op_kind batch_norm_gradient_kind = {"BatchNormGradient", 8, run_gradient, NULL};
