/* Batch normalisation by the statistics of the batch, then an activation, and its gradient, in one launch each.
 *
 * Training  inputs x, scale, bias, epsilon () [, rate (), running mean, running variance]
 *           -> y, mean, 1 / sqrt(variance + epsilon), variance, shift [, new running mean, new running variance]
 * Gradient  inputs x, gradient of y, scale, mean, 1 / sqrt(variance + epsilon), shift -> the gradients by x, scale, bias
 *
 * The shift is the bias and what is lost by rounding the mean, times the factor: the slope of an activation wants its
 * argument as it was. Axes of x between two settings are kept, the others averaged over; a statistic has length 1 there. */
#include "activations.h"
#include "kernels.h"

enum { FIRST_KEPT, END_OF_KEPT, ACTIVATION, N_SETTINGS = ACTIVATION + 4 };
enum { X, SCALE, BIAS, EPSILON, RATE, RUNNING_MEAN, RUNNING_VARIANCE };
enum { Y, MEAN, INVERSE, VARIANCE, SHIFT, NEW_MEAN, NEW_VARIANCE };

#define MAX_THREADS 1024
#define MAX_LANES 32
#define MAX_AXES 8

/* A block has the elements of one channel; or of `lanes` neighbours, which lie side by side in memory, one a lane. A thread
 * reads a few elements before it looks at the first one: reads take long, and there may be fewer blocks than
 * multiprocessors. */
static const char walk[] = R"(
#define MAX_THREADS 1024
#define FEW 8
#define NOWHERE 0xffffffffu
#define POSITION \
    const ga_uint lane = LID_0 % lanes, row = LID_0 / lanes, rows = LDIM_0 / lanes, channel = GID_0 * lanes + lane; \
    const ga_uint images = rows / inner, pixels = rows % inner
#define WALK for (ga_uint image = channel < channels ? row / inner : outer, pixel = row % inner; image < outer;)
#define FIND(at) \
    ga_uint at[FEW]; \
    for (int i = 0; i < FEW; i++) { \
        at[i] = image < outer ? (image * channels + channel) * inner + pixel : NOWHERE; \
        pixel += pixels; \
        image += images + (pixel >= inner); \
        pixel -= pixel >= inner ? inner : 0; \
    }
#define READ(to, a, otherwise) \
    float to[FEW]; \
    for (int i = 0; i < FEW; i++) to[i] = a[at[i] == NOWHERE ? 0 : at[i]]; /* without a branch */ \
    for (int i = 0; i < FEW; i++) to[i] = at[i] == NOWHERE ? otherwise : to[i]
/* The sum of a value of each thread of a lane; `room` is shared, and free again behind it. */
#define TOTAL(to, room, value) \
    room[LID_0] = value; \
    local_barrier(); \
    for (ga_uint apart = rows / 2; apart > 0; apart /= 2) { \
        if (row < apart) room[LID_0] += room[LID_0 + apart * lanes]; \
        local_barrier(); \
    } \
    to = room[lane]; \
    local_barrier()
)";

static const char training[] = R"(
KERNEL void fastvae_batch_norm(
    IN(x), IN(scale), IN(bias), IN(epsilon), IN(rate), IN(running_mean), IN(running_variance), OUT(y), OUT(mean),
    OUT(inverse), OUT(variance), OUT(shift), OUT(new_mean), OUT(new_variance), const ga_uint outer, const ga_uint channels,
    const ga_uint inner, const ga_uint lanes, const ga_uint runs, const ga_uint kind, const float p0, const float p1) {
    PLACE(x); PLACE(scale); PLACE(bias); PLACE(epsilon); PLACE(rate); PLACE(running_mean); PLACE(running_variance);
    PLACE_OUT(y); PLACE_OUT(mean); PLACE_OUT(inverse); PLACE_OUT(variance); PLACE_OUT(shift); PLACE_OUT(new_mean);
    PLACE_OUT(new_variance);
    LOCAL_MEM float room[MAX_THREADS];
    POSITION;
    const float n = (float)outer * (float)inner;
    float sum = 0.f, squares = 0.f, first, rest;
    WALK {
        FIND(at);
        READ(v, x, 0.f);
        for (int i = 0; i < FEW; i++) sum += v[i];
    }
    TOTAL(first, room, sum);
    first /= n;
    sum = 0.f;
    WALK {
        FIND(at);
        READ(v, x, first);
        for (int i = 0; i < FEW; i++) {
            const float off = v[i] - first;
            sum += off;
            squares += off * off;
        }
    }
    TOTAL(rest, room, sum);
    TOTAL(squares, room, squares);
    if (channel >= channels) return;
    rest /= n;
    const float average = first + rest, spread = squares / n - rest * rest, lost = first - average + rest;
    const float deviation = 1.f / sqrt(spread + epsilon[0]), factor = deviation * scale[channel];
    const float moved = bias[channel] - lost * factor;
    WALK {
        FIND(at);
        READ(v, x, 0.f);
        for (int i = 0; i < FEW; i++)
            if (at[i] != NOWHERE) y[at[i]] = activated(kind, p0, p1, (v[i] - average) * factor + moved);
    }
    if (row > 0) return;
    mean[channel] = average;
    inverse[channel] = deviation;
    variance[channel] = spread;
    shift[channel] = moved;
    if (runs) {
        const float r = rate[0];
        new_mean[channel] = running_mean[channel] * (1.f - r) + average * r;
        new_variance[channel] = running_variance[channel] * (1.f - r) + n / (n - 1.f) * spread * r;
    }
}
)";

static const char gradient[] = R"(
KERNEL void fastvae_batch_norm_gradient(
    IN(x), IN(g), IN(scale), IN(mean), IN(inverse), IN(shift), OUT(by_x), OUT(by_scale), OUT(by_bias), const ga_uint outer,
    const ga_uint channels, const ga_uint inner, const ga_uint lanes, const ga_uint kind, const float p0, const float p1,
    const float p2) {
    PLACE(x); PLACE(g); PLACE(scale); PLACE(mean); PLACE(inverse); PLACE(shift); PLACE_OUT(by_x); PLACE_OUT(by_scale);
    PLACE_OUT(by_bias);
    LOCAL_MEM float room[MAX_THREADS];
    POSITION;
    const float n = (float)outer * (float)inner;
    float average = 0.f, deviation = 0.f, factor = 0.f, moved = 0.f, sum = 0.f, product = 0.f;
    if (channel < channels) {
        average = mean[channel];
        deviation = inverse[channel];
        factor = deviation * scale[channel];
        moved = kind ? shift[channel] : 0.f;
    }
    WALK {
        FIND(at);
        READ(v, x, average);
        READ(by, g, 0.f);
        for (int i = 0; i < FEW; i++) {
            const float off = v[i] - average, by_y = by[i] * slope(kind, p0, p1, p2, off * factor + moved);
            sum += by_y;
            product += by_y * off;
        }
    }
    TOTAL(sum, room, sum);
    TOTAL(product, room, product);
    if (channel >= channels) return;
    const float same = sum / n, along = deviation * deviation * product / n;
    WALK {
        FIND(at);
        READ(v, x, average);
        READ(by, g, 0.f);
        for (int i = 0; i < FEW; i++) {
            const float off = v[i] - average, by_y = by[i] * slope(kind, p0, p1, p2, off * factor + moved);
            if (at[i] != NOWHERE) by_x[at[i]] = factor * (by_y - same - off * along);
        }
    }
    if (row > 0) return;
    by_scale[channel] = product * deviation;
    by_bias[channel] = sum;
}
)";

static kernel training_kernel = {"BatchNorm", "fastvae_batch_norm", "aaaaaaaaaaaaaauuuuuuff",
                                 {fv_prelude, fv_activations, walk, training}, NULL};
static kernel gradient_kernel = {"BatchNormGradient", "fastvae_batch_norm_gradient", "aaaaaaaaauuuuufff",
                                 {fv_prelude, fv_activations, walk, gradient}, NULL};

typedef struct {
    unsigned int outer, channels, inner, lanes;
    size_t blocks, threads;
    size_t statistic[MAX_AXES]; /* its shape */
} layout;

#define MAX_INPUTS 7

/* The layout of x; the inputs from `first` on but the scalars must be statistics of it. */
static int measured(const thunk *t, kernel *k, PyGpuArrayObject **in, layout *l) {
    PyGpuArrayObject *x = in[X];
    size_t sizes[3] = {1, 1, 1}; /* outer, channels, inner */
    for (unsigned int i = 0; i < fv_ndim(x); i++) {
        int part = i < t->settings[FIRST_KEPT] ? 0 : i < t->settings[END_OF_KEPT] ? 1 : 2;
        sizes[part] *= fv_dim(x, i);
        l->statistic[i] = part == 1 ? fv_dim(x, i) : 1;
    }
    if (fv_countable(t, fv_size(x)) || fv_countable(t, sizes[1])) return -1;
    l->channels = (unsigned int)sizes[1];
    l->inner = sizes[2] ? (unsigned int)sizes[2] : 1;
    l->outer = fv_size(x) ? (unsigned int)sizes[0] : 0;
    for (int i = 1; i < t->n_inputs; i++) {
        int like_x = k == &gradient_kernel && i == 1, is_number = k == &training_kernel && (i == EPSILON || i == RATE);
        size_t wanted = like_x ? fv_size(x) : is_number ? 1 : l->channels;
        if (like_x ? fv_same_shape(in[i], x) : fv_size(in[i]) == wanted) continue;
        PyErr_Format(PyExc_ValueError, "%s: input %d has %zu elements, not %zu%s", t->kind->name, i, fv_size(in[i]), wanted,
                     like_x ? " in the shape of input 0" : "");
        return -1;
    }
    size_t most = fv_largest_block(k, x->context->ctx, MAX_THREADS), rows = (size_t)l->outer * l->inner;
    if (!most) return -1;
    for (l->lanes = 1; l->inner == 1 && l->lanes < MAX_LANES && l->lanes < l->channels;) l->lanes *= 2;
    for (l->threads = MAX_LANES; 2 * l->threads <= most && l->threads < rows * l->lanes;) l->threads *= 2;
    l->blocks = (l->channels + l->lanes - 1) / l->lanes;
    return 0;
}

static int train(const thunk *t, PyGpuArrayObject **in) {
    layout l;
    if (measured(t, &training_kernel, in, &l)) return -1;
    PyGpuArrayObject *out[MAX_INPUTS];
    for (int i = 0; i < t->n_outputs; i++) {
        const size_t *shape = i == Y ? in[X]->ga.dimensions : l.statistic;
        if (!(out[i] = fv_output(t, i, fv_ndim(in[X]), shape, in[X]->context))) return -1;
    }
    unsigned int runs = t->n_inputs > RATE;
    if (!runs) {
        for (int i = RATE; i <= RUNNING_VARIANCE; i++) in[i] = in[SCALE];
        for (int i = NEW_MEAN; i <= NEW_VARIANCE; i++) out[i] = out[MEAN];
    }
    fv_activation a;
    fv_read_activation(&t->settings[ACTIVATION], &a);
    void *arguments[] = {ARRAY(in[X]), ARRAY(in[SCALE]), ARRAY(in[BIAS]), ARRAY(in[EPSILON]), ARRAY(in[RATE]),
                         ARRAY(in[RUNNING_MEAN]), ARRAY(in[RUNNING_VARIANCE]), ARRAY(out[Y]), ARRAY(out[MEAN]),
                         ARRAY(out[INVERSE]), ARRAY(out[VARIANCE]), ARRAY(out[SHIFT]), ARRAY(out[NEW_MEAN]),
                         ARRAY(out[NEW_VARIANCE]), &l.outer, &l.channels, &l.inner, &l.lanes, &runs, &a.kind, &a.p[0],
                         &a.p[1]};
    return l.channels ? fv_start(&training_kernel, in[X]->context->ctx, l.blocks, l.threads, arguments) : 0;
}

static int differentiate(const thunk *t, PyGpuArrayObject **in) {
    layout l;
    if (measured(t, &gradient_kernel, in, &l)) return -1;
    PyGpuArrayObject *out[3];
    for (int i = 0; i < 3; i++) {
        const size_t *shape = i ? l.statistic : in[X]->ga.dimensions;
        if (!(out[i] = fv_output(t, i, fv_ndim(in[X]), shape, in[X]->context))) return -1;
    }
    fv_activation a;
    fv_read_activation(&t->settings[ACTIVATION], &a);
    if (t->n_inputs < 6) in[5] = in[3]; /* without an activation, nobody looks at the shift */
    void *arguments[] = {ARRAY(in[0]), ARRAY(in[1]), ARRAY(in[2]), ARRAY(in[3]), ARRAY(in[4]), ARRAY(in[5]), ARRAY(out[0]),
                         ARRAY(out[1]), ARRAY(out[2]), &l.outer, &l.channels, &l.inner, &l.lanes, &a.kind, &a.p[0],
                         &a.p[1], &a.p[2]};
    return l.channels ? fv_start(&gradient_kernel, in[X]->context->ctx, l.blocks, l.threads, arguments) : 0;
}

static int with_inputs(thunk *t, int (*run)(const thunk *, PyGpuArrayObject **)) {
    PyGpuArrayObject *in[MAX_INPUTS] = {NULL}, *taken[MAX_INPUTS] = {NULL};
    int failed = 0;
    for (int i = 0; i < t->n_inputs && !failed; i++) failed = !(taken[i] = in[i] = fv_packed_input(t, i, -1));
    if (!failed) failed = run(t, in);
    for (int i = 0; i < t->n_inputs; i++) Py_XDECREF(taken[i]);
    return failed ? -1 : 0;
}

static int batch_norm(thunk *t) { return with_inputs(t, train); }
static int batch_norm_gradient(thunk *t) { return with_inputs(t, differentiate); }

const op_kind batch_norm_kind = {"BatchNormTrain", N_SETTINGS, batch_norm, NULL};
const op_kind batch_norm_gradient_kind = {"BatchNormGradient", N_SETTINGS, batch_norm_gradient, NULL};
