/* The categorical likelihood: log-probabilities of pixel levels under the softmax of their logits, their gradient. */
#include "elementary.h"
#include "pixels.h"

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

static void log_prob(const fv_pass *p, const fv_block *b, float *scratch) {
    const float *logits = p->outputs + b->start;
    float *nats = p->to[0] + b->at, *total = p->to[1] + b->at;
    if (p->last)
        for (npy_intp i = 0; i < b->some; i++) total[i] = total_of(logits + i * b->next, p->each);
    else totals_of(logits, p->each, b->step, b->some, total);
    for (npy_intp i = 0; i < b->some; i++) {
        int level = level_of(fv_pixel(&p->image[0], b, i), p->each);
        nats[i] = (level < 0 ? 0.f : logits[level * b->step + i * b->next]) - total[i];
    }
}

static void gradient(const fv_pass *p, const fv_block *b, float *scratch) {
    const float *logits = p->outputs + b->start;
    float *to = p->to[0] + b->start, less[BLOCK], factor[BLOCK];
    for (npy_intp i = 0; i < b->some; i++) {
        less[i] = fv_pixel(&p->image[2], b, i);
        factor[i] = fv_pixel(&p->image[3], b, i);
    }
    if (p->last)
        for (npy_intp i = 0; i < b->some; i++) {
            float minus = -factor[i], t = less[i];
#pragma omp simd
            for (npy_intp k = 0; k < p->each; k++) to[i * b->next + k] = minus * fv_exp(logits[i * b->next + k] - t);
        }
    else
        for (npy_intp k = 0; k < p->each; k++)
#pragma omp simd
            for (npy_intp i = 0; i < b->some; i++)
                to[k * b->step + i] = -factor[i] * fv_exp(logits[k * b->step + i] - less[i]);
    for (npy_intp i = 0; i < b->some; i++) {
        int level = level_of(fv_pixel(&p->image[0], b, i), p->each);
        if (level >= 0) to[level * b->step + i * b->next] += factor[i];
    }
}

/* CategoricalLogProb: x, logits -> nats and the logarithms of the logits' sums of exp.
 * CategoricalLogProbGradient: x, logits, these logarithms, g -> the gradient with respect to the logits.
 * Settings: levels, channels last. */
static int run_log_prob(thunk *t) {
    return fv_run_pixels(t, t->settings[0], t->settings[1], 0, 0, log_prob);
}

static int run_gradient(thunk *t) { return fv_run_pixels(t, t->settings[0], t->settings[1], 1, 0, gradient); }

const op_kind categorical_log_prob_kind = {"CategoricalLogProb", 2, run_log_prob, NULL};
const op_kind categorical_log_prob_gradient_kind = {"CategoricalLogProbGradient", 2, run_gradient, NULL};
