/* Batch normalisation by the statistics of the batch, or by given ones. Sums as batch_norm.h says. Within a chunk
 * deviations are from its first row, so that no digits are lost where the mean is many times the standard deviation. */
#include "batch_norm.h"

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

/* Mean and variance of the columns from..to (at most SHARE), out of the moments of all chunks. */
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

typedef struct {
    const float *scale, *bias, *running_mean, *running_variance;
    float *mean, *inverse, *variance, *shift;
    float *new_mean, *new_variance; /* with the running ones: NULL if there are none */
    float epsilon, rate;
} training;

/* The outputs of the columns from..to, and what normalises them. */
static void statistics(const matrix *m, const training *v, const double *partial, const float *rest, npy_intp from,
                       npy_intp to, float *mean_of, float *factor, float *shift) {
    double mean[SHARE], variance[SHARE];
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
#pragma omp parallel num_threads(fv_team(m->rows * m->columns))
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
        for (npy_intp from = 0; from < m->columns; from += SHARE)
            statistics(m, &v, partial, x + m->wide_rows * m->width, from,
                       from + SHARE < m->columns ? from + SHARE : m->columns, mean, factor, shift);
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
#pragma omp parallel num_threads(fv_team(c.m.rows * c.m.columns))
    normalise_pieces(&c.m, &c.activation, x, y, table[0], table[1], table[2]);
    Py_END_ALLOW_THREADS return 0;
}

const op_kind batch_norm_train_kind = {"BatchNormTrain", 8, run_train, NULL};
const op_kind batch_norm_inference_kind = {"BatchNormInference", 8, run_inference, NULL};
