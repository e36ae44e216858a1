/* The discretised logistic likelihood: log-probabilities of pixel levels under mixtures of logistics, and their
 * gradient.
 *
 * The formulas, and why nothing in them cancels, are in fastvae/backends/abstract/discretized_logistic.py. Scales are clipped such that h is
 * at most 4.3 and at least 3.5e-6: H = exp(-h) and 1 - H are never 0, whatever the means. */
#include "elementary.h"
#include "pixels.h"

typedef struct {
    npy_intp components;
    float half_width, limit; /* of a level, and of the log scales */
} constants;

static constants constants_of(const double *settings) {
    return (constants){settings[0], (float)settings[1], (float)settings[2]};
}

/* Levels y = 2x - 1 with what rounding lost, which a narrow logistic sees; -1 the lowest, 1 the highest, 0 another. */
typedef struct {
    float y[BLOCK], lost[BLOCK], outermost[BLOCK];
} levels;

static void levels_of(const fv_pass *p, const fv_block *b, float half_width, levels *at) {
    for (npy_intp i = 0; i < b->some; i++) {
        float twice = 2.f * fv_pixel(&p->image[0], b, i), y = twice - 1.f;
        at->y[i] = y;
        at->lost[i] = twice - (y + 1.f);
        at->outermost[i] = y <= half_width - 1.f ? -1.f : y >= 1.f - half_width ? 1.f : 0.f;
    }
}

/* The logarithm of the mass that a logistic has at pixel i's level, and its derivatives in mean and log scale. What a
 * caller leaves unused is not computed; comparisons are such that NaN stays. */
FV_INLINE void logistic(const levels *at, npy_intp i, float mean, float log_scale, constants s, float *log_mass,
                        float *by_mean, float *by_log_scale) {
    float clipped = log_scale < -s.limit ? -s.limit : log_scale > s.limit ? s.limit : log_scale;
    float per_scale = fv_exp(-clipped), distance = (at->y[i] - mean) + at->lost[i];
    float sign = distance >= 0.f ? 1.f : -1.f, u = fabsf(distance) * per_scale, h = s.half_width * per_scale;
    float U_less_1, H_less_1, U = fv_exp_and_expm1(-u, &U_less_1), H = fv_exp_and_expm1(-h, &H_less_1);
    int outermost = at->outermost[i] != 0.f, beyond = at->outermost[i] * sign < 0.f;
    float larger = H > U ? H : U, smaller = H < U ? H : U;
    float sum = H + U, other = 1.f + U * H, width = -H_less_1 * (1.f + H); /* D = sum * other, 1 - H^2 = width */

    float above = larger * H * sum + smaller * other, below = larger * width;
    above = beyond ? U * H : outermost ? smaller : above;
    below = beyond ? 1.f : outermost ? larger : below;
    float outside = u - h;
    outside = (outside < 0.f) | beyond ? 0.f : outside;
    *log_mass = -outside - fv_log1p(above / below);

    float by_u = H * U_less_1 * (1.f + U) * width, by_h = H * (4.f * U * H + (1.f + U * U) * (1.f + H * H));
    below = beyond ? other : outermost ? sum : sum * other * width;
    by_u = (beyond ? U * H : outermost ? -H : by_u) / below;
    by_h = (beyond ? U * H : outermost ? H : by_h) / below;
    *by_mean = -per_scale * sign * by_u;
    *by_log_scale = (log_scale >= -s.limit) & (log_scale <= s.limit) ? -(u * by_u + h * by_h) : 0.f;
}

/* A block's outputs with its pixels side by side, a stride from each output to the next: where they lie, or a copy. */
static const float *planes(const fv_pass *p, const fv_block *b, float *copy) {
    const float *from = p->outputs + b->start;
    if (!p->last) return from;
    for (npy_intp i = 0; i < b->some; i++)
        for (npy_intp k = 0; k < p->each; k++) copy[k * BLOCK + i] = from[i * b->next + k];
    return copy;
}

static npy_intp stride_of(const fv_pass *p, const fv_block *b) { return p->last ? BLOCK : b->step; }

static void largest_of(const float *logits, npy_intp n, npy_intp stride, npy_intp some, float *largest) {
    for (npy_intp i = 0; i < some; i++) largest[i] = logits[i];
    for (npy_intp k = 1; k < n; k++)
#pragma omp simd
        for (npy_intp i = 0; i < some; i++) {
            float logit = logits[k * stride + i];
            largest[i] = logit > largest[i] ? logit : largest[i];
        }
}

/* A sum of exp(term - most) with one more term. */
FV_INLINE void add_exp(float term, float *most, float *sum) {
    int rises = term > *most;
    float less = fv_exp(-fabsf(term - *most));
    *sum = rises ? fv_fma(*sum, less, 1.f) : *sum + less;
    *most = rises ? term : *most;
}

static void log_prob(const fv_pass *p, const fv_block *b, float *scratch) {
    constants s = constants_of(p->settings);
    levels at;
    npy_intp n = s.components, stride = stride_of(p, b), some = b->some;
    const float *of = planes(p, b, scratch), *logits = of + 2 * n * stride;
    float *to = p->to[0] + b->at;
    levels_of(p, b, s.half_width, &at);
    if (n == 1) {
#pragma omp simd
        for (npy_intp i = 0; i < some; i++) {
            float unused[2];
            logistic(&at, i, of[i], of[stride + i], s, &to[i], &unused[0], &unused[1]);
        }
        return;
    }
    float largest[BLOCK], weights[BLOCK], most[BLOCK], sum[BLOCK];
    largest_of(logits, n, stride, some, largest);
    for (npy_intp i = 0; i < some; i++) weights[i] = sum[i] = 0.f, most[i] = -INFINITY;
    for (npy_intp k = 0; k < n; k++) {
        const float *mean = of + k * stride, *log_scale = mean + n * stride, *logit = logits + k * stride;
#pragma omp simd
        for (npy_intp i = 0; i < some; i++) {
            float log_mass, unused[2], log_weight = logit[i] - largest[i];
            logistic(&at, i, mean[i], log_scale[i], s, &log_mass, &unused[0], &unused[1]);
            weights[i] += fv_exp(log_weight);
            add_exp(log_mass + log_weight, &most[i], &sum[i]);
        }
    }
#pragma omp simd
    for (npy_intp i = 0; i < some; i++) to[i] = most[i] + fv_log(sum[i] / weights[i]);
}

static void gradient_of_one(const fv_block *b, constants s, const levels *at, const float *of, const float *g,
                            float *to, npy_intp stride) {
#pragma omp simd
    for (npy_intp i = 0; i < b->some; i++) {
        float unused, by_mean, by_log_scale;
        logistic(at, i, of[i], of[stride + i], s, &unused, &by_mean, &by_log_scale);
        to[i] = g[i] * by_mean;
        to[stride + i] = g[i] * by_log_scale;
    }
}

/* First each logistic's own derivatives, and in its logit's place its term of the sum of exp; then its share of it. */
static void gradient_of_mixture(const fv_block *b, constants s, const levels *at, const float *of,
                                const float *g, float *to, npy_intp stride) {
    npy_intp n = s.components, some = b->some;
    const float *logits = of + 2 * n * stride;
    float largest[BLOCK], weights[BLOCK], most[BLOCK], sum[BLOCK];
    largest_of(logits, n, stride, some, largest);
    for (npy_intp i = 0; i < some; i++) weights[i] = sum[i] = 0.f, most[i] = -INFINITY;
    for (npy_intp k = 0; k < n; k++) {
        const float *mean = of + k * stride, *log_scale = mean + n * stride, *logit = logits + k * stride;
        float *by_mean = to + k * stride, *by_log_scale = by_mean + n * stride, *term = by_log_scale + n * stride;
#pragma omp simd
        for (npy_intp i = 0; i < some; i++) {
            float log_mass, log_weight = logit[i] - largest[i];
            logistic(at, i, mean[i], log_scale[i], s, &log_mass, &by_mean[i], &by_log_scale[i]);
            term[i] = log_mass + log_weight;
            weights[i] += fv_exp(log_weight);
            add_exp(term[i], &most[i], &sum[i]);
        }
    }
#pragma omp simd
    for (npy_intp i = 0; i < some; i++) weights[i] = g[i] / weights[i], sum[i] = g[i] / sum[i];
    for (npy_intp k = 0; k < n; k++) {
        const float *logit = logits + k * stride;
        float *by_mean = to + k * stride, *by_log_scale = by_mean + n * stride, *term = by_log_scale + n * stride;
#pragma omp simd
        for (npy_intp i = 0; i < some; i++) {
            float share = sum[i] * fv_exp(term[i] - most[i]);
            float weight = weights[i] * fv_exp(logit[i] - largest[i]);
            by_mean[i] *= share;
            by_log_scale[i] *= share;
            term[i] = share - weight;
        }
    }
}

static void gradient(const fv_pass *p, const fv_block *b, float *scratch) {
    constants s = constants_of(p->settings);
    levels at;
    npy_intp stride = stride_of(p, b);
    const float *of = planes(p, b, scratch);
    float *to = p->to[0] + b->start, *side_by_side = p->last ? scratch + p->each * BLOCK : to, g[BLOCK];
    levels_of(p, b, s.half_width, &at);
    for (npy_intp i = 0; i < b->some; i++) g[i] = fv_pixel(&p->image[2], b, i);
    if (s.components == 1) gradient_of_one(b, s, &at, of, g, side_by_side, stride);
    else gradient_of_mixture(b, s, &at, of, g, side_by_side, stride);
    if (p->last)
        for (npy_intp i = 0; i < b->some; i++)
            for (npy_intp k = 0; k < p->each; k++) to[i * b->next + k] = side_by_side[k * BLOCK + i];
}

/* DiscretizedLogisticLogProb: x, outputs -> nats.
 * DiscretizedLogisticLogProbGradient: x, outputs, g -> the gradient with respect to the outputs.
 * Settings: components, half a level's width, the largest log scale, channels last. */
static int run(thunk *t, int backward, fv_kernel *kernel) {
    npy_intp components = t->settings[0], each = components == 1 ? 2 : 3 * components;
    int last = t->settings[3];
    return fv_run_pixels(t, each, last, backward, last ? (1 + backward) * each * BLOCK : 0, kernel);
}

static int run_log_prob(thunk *t) { return run(t, 0, log_prob); }

static int run_gradient(thunk *t) { return run(t, 1, gradient); }

const op_kind discretized_logistic_log_prob_kind = {"DiscretizedLogisticLogProb", 4, run_log_prob, NULL};
const op_kind discretized_logistic_log_prob_gradient_kind = {"DiscretizedLogisticLogProbGradient", 4, run_gradient, NULL};
