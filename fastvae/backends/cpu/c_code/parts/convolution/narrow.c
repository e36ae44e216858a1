/* Transposed convolutions to an image of few channels, as the last layer of a decoder, float32, NHWC, any kernel, stride,
 * dilation and padding. A tap is one place of the kernel in one channel of the image: each pixel of the top adds to
 * c kh kw numbers of the image its product over the o channels, which are what the vectors run along. The image has
 * borders meanwhile, so that a tap is a fixed distance in it. */
#include "kernels.h"
#include "vector.h"
#include <omp.h>
#include <string.h>

#define TAPS 128

/* Whether there is a kernel for these sizes. */
int fv_narrow_suits(const fv_narrow *g) {
    return HAS_VECTORS && g->c <= FV_NARROW_CHANNELS && g->c * g->kh * g->kw <= TAPS && g->o % WIDTH == 0 && g->o <= 256;
}

static npy_intp count_taps(const fv_narrow *g) { return g->c * g->kh * g->kw; }
static npy_intp rows(const fv_narrow *g) { return (g->oh - 1) * g->stride[0] + (g->kh - 1) * g->dilation[0] + 1; }
static npy_intp columns(const fv_narrow *g) { return (g->ow - 1) * g->stride[1] + (g->kw - 1) * g->dilation[1] + 1; }
static size_t kernels_bytes(const fv_narrow *g) { return fv_round(sizeof(float) * count_taps(g) * g->o); }
static size_t bordered_bytes(const fv_narrow *g) { return fv_round(sizeof(float) * g->c * rows(g) * columns(g)); }

/* Room for the weights in order of taps, and a bordered image of every thread. */
size_t fv_narrow_scratch(const fv_narrow *g) { return kernels_bytes(g) + omp_get_max_threads() * bordered_bytes(g); }

/* How far each tap lies from the first in a bordered image. */
static void find_taps(const fv_narrow *g, npy_intp *offset) {
    for (npy_intp y = 0; y < g->kh; y++)
        for (npy_intp x = 0; x < g->kw; x++)
            for (npy_intp c = 0; c < g->c; c++)
                *offset++ = (y * g->dilation[0] * columns(g) + x * g->dilation[1]) * g->c + c;
}

/* A kernel for each two channels, read backwards where flipped -> (tap, o). */
static void order_weights(const fv_narrow *g, const float *weights, float *kernels) {
    npy_intp size = g->kh * g->kw;
    for (npy_intp tap = 0; tap < count_taps(g); tap++) {
        npy_intp k = g->flip ? size - 1 - tap / g->c : tap / g->c;
        for (npy_intp o = 0; o < g->o; o++) kernels[tap * g->o + o] = weights[o * g->o_stride + tap % g->c * g->c_stride + k];
    }
}

FV_INLINE float total(vector x) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
#pragma GCC unroll 4
    for (int size = WIDTH / 2; size > 0; size /= 2) {
        lanes other;
        for (int i = 0; i < WIDTH; i++) other[i] = i ^ size;
        x += __builtin_shuffle(x, other);
    }
    return x[0];
#endif
}

#define TOGETHER (64 / WIDTH) /* vectors of channels of which one sum is taken, at most */

/* Adds to the image what n vectors of channels of one pixel of the top give it. */
FV_INLINE void add_pixel(const int n, const fv_narrow *g, const npy_intp *offset, const float *top,
                         const float *kernels, float *image) {
    vector x[TOGETHER];
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) x[j] = *(const vector *)(top + j * WIDTH);
    for (npy_intp tap = 0; tap < count_taps(g); tap++, kernels += g->o) {
        vector sum = x[0] * *(const vector *)kernels;
#pragma GCC unroll 8
        for (int j = 1; j < n; j++) sum += x[j] * *(const vector *)(kernels + j * WIDTH);
        image[offset[tap]] += total(sum);
    }
}

static void add_row(const fv_narrow *g, const npy_intp *offset, const float *top, const float *kernels, float *image) {
    for (npy_intp x = 0; x < g->ow; x++, top += g->o, image += g->stride[1] * g->c)
        for (npy_intp o = 0, n, left = g->o / WIDTH; left; left -= n, o += n * WIDTH) {
            n = left >= TOGETHER ? TOGETHER : left < 4 ? left : 4;
            switch (n) {
                case 1: add_pixel(1, g, offset, top + o, kernels + o, image); break;
                case 2: add_pixel(2, g, offset, top + o, kernels + o, image); break;
                case 3: add_pixel(3, g, offset, top + o, kernels + o, image); break;
                case 4: add_pixel(4, g, offset, top + o, kernels + o, image); break;
                default: add_pixel(TOGETHER, g, offset, top + o, kernels + o, image);
            }
        }
}

/* How many of an image's rows (axis 0) or columns (1) the taps reach; those behind are 0. */
static npy_intp reached(const fv_narrow *g, int axis) {
    npy_intp room = (axis ? columns(g) : rows(g)) - g->pad[axis], size = axis ? g->w : g->h;
    return room < 0 ? 0 : room < size ? room : size;
}

/* The image inside its borders, plus a bias (or NULL), activated. */
static void finish(const fv_narrow *g, const float *bordered, const float *bias, float *image) {
    npy_intp n_rows = reached(g, 0), width = g->w * g->c;
    for (npy_intp y = 0; y < g->h; y++) {
        npy_intp n = y < n_rows ? reached(g, 1) * g->c : 0;
        float *to = image + y * width;
        if (n) memcpy(to, bordered + ((y + g->pad[0]) * columns(g) + g->pad[1]) * g->c, sizeof(float) * n);
        memset(to + n, 0, sizeof(float) * (width - n));
        for (npy_intp i = 0; bias && i < width; i++) to[i] += bias[i % g->c];
        fv_activate_all(&g->activation, to, width);
    }
}

/* The transposed convolution of the top, plus a bias (or NULL), activated. */
void fv_narrow_transposed(const fv_narrow *g, const float *top, const float *weights, const float *bias, float *images,
                          char *scratch) {
    npy_intp offset[TAPS];
    float *kernels = (float *)scratch;
    find_taps(g, offset);
    order_weights(g, weights, kernels);
#pragma omp parallel for schedule(static) num_threads(fv_team_of_products(g->n * g->oh * g->ow * g->o * g->c * g->kh * g->kw))
    for (npy_intp i = 0; i < g->n; i++) {
        float *image = (float *)(scratch + kernels_bytes(g) + omp_get_thread_num() * bordered_bytes(g));
        memset(image, 0, bordered_bytes(g));
        for (npy_intp y = 0; y < g->oh; y++)
            add_row(g, offset, top + (i * g->oh + y) * g->ow * g->o, kernels,
                    image + y * g->stride[0] * columns(g) * g->c);
        finish(g, image, bias, images + i * g->h * g->w * g->c);
    }
}
