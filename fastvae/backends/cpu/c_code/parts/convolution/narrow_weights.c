/* Gradients with respect to the weights of convolutions from or to few channels, as a network's first and last layers,
 * float32, NHWC, any kernel, stride, dilation and padding. One side of such a convolution is narrow, the other wide: the
 * vectors run along the wide one's channels, and each number of the narrow one is a factor of a whole vector. */
#include "kernels.h"
#include "vector.h"
#include <string.h>

#define BLOCKS 32 /* sums are kept of so many blocks of rows: results do not depend on the number of threads */

typedef struct {
    const float *wide, *narrow;
    npy_intp wide_step, narrow_step, n; /* from pixel to pixel, and how many */
} row;

static int image_is_narrow(const fv_narrow *g) { return g->c <= FV_NARROW_CHANNELS && g->o % WIDTH == 0; }
static npy_intp wide_channels(const fv_narrow *g) { return image_is_narrow(g) ? g->o : g->c; }
static npy_intp narrow_channels(const fv_narrow *g) { return image_is_narrow(g) ? g->c : g->o; }
static npy_intp block_size(const fv_narrow *g) { return g->kh * g->kw * g->o * g->c; }

static npy_intp count_blocks(const fv_narrow *g) {
    npy_intp rows = g->n * g->oh;
    return rows < BLOCKS ? rows : BLOCKS;
}

/* Whether there is a kernel for these sizes. */
int fv_narrow_weights_suits(const fv_narrow *g) {
    return image_is_narrow(g) || (g->o <= FV_NARROW_CHANNELS && g->c % WIDTH == 0);
}

size_t fv_narrow_weights_scratch(const fv_narrow *g) {
    return fv_round(sizeof(float) * count_blocks(g) * block_size(g));
}

/* to[channel] += the sum over a row of pixels of wide[channel] * narrow, for n vectors of channels. */
FV_INLINE void add_products(const int n, const row *r, npy_intp channel, float *to) {
    vector even[4] = {{0}}, odd[4] = {{0}}; /* two sums, so that one need not wait for the other */
    const float *wide = r->wide + channel, *narrow = r->narrow;
    npy_intp i = 0;
    for (; i + 2 <= r->n; i += 2, wide += 2 * r->wide_step, narrow += 2 * r->narrow_step) {
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            even[j] += *(const vector *)(wide + j * WIDTH) * narrow[0];
            odd[j] += *(const vector *)(wide + r->wide_step + j * WIDTH) * narrow[r->narrow_step];
        }
    }
#pragma GCC unroll 4
    for (int j = 0; i < r->n && j < n; j++) even[j] += *(const vector *)(wide + j * WIDTH) * narrow[0];
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) *(vector *)(to + j * WIDTH) += even[j] + odd[j];
}

static void add_row(const row *r, npy_intp channels, float *to) {
    for (npy_intp k = 0; k < channels; k += 4 * WIDTH) switch ((channels - k) / WIDTH) {
            case 1: add_products(1, r, k, to + k); break;
            case 2: add_products(2, r, k, to + k); break;
            case 3: add_products(3, r, k, to + k); break;
            default: add_products(4, r, k, to + k);
        }
}

/* The pixels of a row of the top that a tap at this distance (in columns of the image) joins with pixels of the image:
 * the first, and how many. */
static npy_intp joined(const fv_narrow *g, npy_intp distance, npy_intp *first) {
    npy_intp step = g->stride[1], last = g->w - 1 - distance;
    *first = distance < 0 ? (-distance + step - 1) / step : 0;
    npy_intp end = last < 0 ? 0 : last / step + 1;
    if (end > g->ow) end = g->ow;
    return end > *first ? end - *first : 0;
}

/* Adds what one row of the top (of image i, its row y) gives to the sums (tap, narrow channel, wide channel). */
static void add_row_of_top(const fv_narrow *g, const float *images, const float *tops, npy_intp i, npy_intp y,
                           float *sums) {
    int narrow_image = image_is_narrow(g);
    npy_intp wide = wide_channels(g), narrow = narrow_channels(g);
    for (npy_intp ky = 0; ky < g->kh; ky++) {
        npy_intp image_row = y * g->stride[0] + ky * g->dilation[0] - g->pad[0];
        if (image_row < 0 || image_row >= g->h) continue;
        for (npy_intp kx = 0; kx < g->kw; kx++) {
            npy_intp distance = kx * g->dilation[1] - g->pad[1], first, n = joined(g, distance, &first);
            if (!n) continue;
            const float *top = tops + ((i * g->oh + y) * g->ow + first) * g->o;
            const float *image = images + ((i * g->h + image_row) * g->w + first * g->stride[1] + distance) * g->c;
            npy_intp image_step = g->stride[1] * g->c;
            row r = narrow_image ? (row){top, image, g->o, image_step, n} : (row){image, top, image_step, g->o, n};
            float *to = sums + (ky * g->kw + kx) * narrow * wide;
            for (npy_intp q = 0; q < narrow; q++, r.narrow++, to += wide) add_row(&r, wide, to);
        }
    }
}

/* The gradient (o, c, kh, kw), read backwards where flipped. */
void fv_narrow_weights_gradient(const fv_narrow *g, const float *images, const float *tops, float *gradient,
                                char *scratch) {
    npy_intp rows = g->n * g->oh, blocks = count_blocks(g), size = block_size(g), taps = g->kh * g->kw;
    npy_intp wide = wide_channels(g), narrow = narrow_channels(g);
    float *sums = (float *)scratch;
#pragma omp parallel num_threads(fv_team_of_products(rows * g->ow * size))
    {
#pragma omp for schedule(static)
        for (npy_intp b = 0; b < blocks; b++) {
            float *sum = sums + b * size;
            memset(sum, 0, sizeof *sum * size);
            for (npy_intp r = rows * b / blocks; r < rows * (b + 1) / blocks; r++)
                add_row_of_top(g, images, tops, r / g->oh, r % g->oh, sum);
        }
#pragma omp for schedule(static)
        for (npy_intp j = 0; j < size; j++) {
            double total = 0;
            for (npy_intp b = 0; b < blocks; b++) total += sums[b * size + j];
            npy_intp tap = j / (narrow * wide), q = j / wide % narrow, k = j % wide;
            npy_intp o = image_is_narrow(g) ? k : q, c = image_is_narrow(g) ? q : k;
            gradient[(o * g->c + c) * taps + (g->flip ? taps - 1 - tap : tap)] = (float)total;
        }
    }
}
