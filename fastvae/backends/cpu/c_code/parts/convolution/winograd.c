/* 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3), float32, NHWC: 36 products for a tile of
 * 4x4 outputs where the direct way takes 144.
 *
 *     output    Y = A' [(G g G') . (B' d B)] A          d: a 6x6 tile of the input, g: a kernel, ".": by elements
 *     weights   dg = G' [sum over tiles (B' d B) . (A dY A')] G
 *
 * after Lavin and Gray, 2015, arXiv:1509.09308, at the points 0, 5/8, -5/8, 3/2, -3/2 and infinity: all powers are exact,
 * and rounding is less than half of that at the customary 1 and 2. Over the channels the products are 36 matrix products
 * of a block of tiles, which stays in the second-level cache from its transform to its way back.
 * An infinite input makes NaN of the whole tile. Where all that an output sees is 0 (black borders) it is exactly its
 * bias, as with direct convolution: a ReLU behind it looks at the sign, and the transforms would leave rounding there. */
#include "kernels.h"
#include "panels.h"
#include <omp.h>
#include <stdint.h>
#include <string.h>

#define POINTS 36
#define SEEN UINT64_C(0x71C7) /* of a tile's 6x6 pixels, those that its first output sees */
#define BLOCK 32 /* tiles that a thread takes from input to output at a time, a multiple of 4 */

#define P 0.625f /* the points are 0, P, -P, Q, -Q and infinity */
#define Q 1.5f
#define P2 (P * P)
#define Q2 (Q * Q)
#define INLINE static inline __attribute__((always_inline))

static npy_intp count_tiles(const fv_winograd *g) { return g->n * ((g->out_h + 3) / 4) * ((g->out_w + 3) / 4); }

/* Whether there is a kernel for these channels, and tiles enough to pay for the transform of the weights (measured). */
int fv_winograd_suits(const fv_winograd *g) {
    npy_intp tiles = count_tiles(g), channels = g->in * g->out;
    return HAS_VECTORS && g->in % WIDTH == 0 && g->out % WIDTH == 0 && g->in >= 32 && g->out >= 32 && g->in <= 256 && g->out <= 256 &&
           tiles >= 200 && tiles >= channels / 128;
}

static size_t weights_bytes(const fv_winograd *g) { return sizeof(float) * POINTS * g->in * g->out; }

/* From a point's part of a block, BLOCK tiles by so many channels, to the next: a cache line more than it holds, lest the
 * parts share their places in the first-level cache. */
INLINE npy_intp point_step(npy_intp channels) { return BLOCK * channels + 16; }

static size_t block_bytes(npy_intp channels) { return sizeof(float) * POINTS * point_step(channels); }
static size_t team_bytes(const fv_winograd *g) { return block_bytes(g->in) + block_bytes(g->out); }

/* Room for the transformed weights and the blocks of every thread. */
size_t fv_winograd_scratch(const fv_winograd *g) {
    return fv_round(weights_bytes(g) + omp_get_max_threads() * team_bytes(g));
}

/* Of one thread: its sums of weights and of the top's channels, then its blocks. */
static size_t share_bytes(const fv_winograd *g) { return weights_bytes(g) + sizeof(float) * g->out + team_bytes(g); }

size_t fv_winograd_weights_scratch(const fv_winograd *g) { return fv_round(omp_get_max_threads() * share_bytes(g)); }

/* y = B' x for six vectors that lie xs (ys) apart. */
INLINE void apply_bt(const vector *x, int xs, vector *y, int ys) {
    vector a = x[4 * xs] - Q2 * x[2 * xs], b = P * (x[3 * xs] - Q2 * x[xs]);
    vector c = x[4 * xs] - P2 * x[2 * xs], d = Q * (x[3 * xs] - P2 * x[xs]);
    y[0] = P2 * Q2 * x[0] - (P2 + Q2) * x[2 * xs] + x[4 * xs];
    y[ys] = a + b, y[2 * ys] = a - b, y[3 * ys] = c + d, y[4 * ys] = c - d;
    y[5 * ys] = P2 * Q2 * x[xs] - (P2 + Q2) * x[3 * xs] + x[5 * xs];
}

/* y = A' x, six vectors to four. */
INLINE void apply_at(const vector *x, int xs, vector *y, int ys) {
    vector a = x[xs] + x[2 * xs], b = x[xs] - x[2 * xs], c = x[3 * xs] + x[4 * xs], d = x[3 * xs] - x[4 * xs];
    y[0] = x[0] + a + c, y[ys] = P * b + Q * d, y[2 * ys] = P2 * a + Q2 * c;
    y[3 * ys] = P * P2 * b + Q * Q2 * d + x[5 * xs];
}

/* y = A x, four vectors to six. */
INLINE void apply_a(const vector *x, int xs, vector *y, int ys) {
    vector a = x[0] + P2 * x[2 * xs], b = P * x[xs] + P * P2 * x[3 * xs];
    vector c = x[0] + Q2 * x[2 * xs], d = Q * x[xs] + Q * Q2 * x[3 * xs];
    y[0] = x[0], y[ys] = a + b, y[2 * ys] = a - b, y[3 * ys] = c + d, y[4 * ys] = c - d, y[5 * ys] = x[3 * xs];
}

/* A row (1, x, x^2) / (the product of the differences of x to the other points) for each point. Kernels are few, so
 * theirs is the transform to take in double. */
#define AT_P (1 / (2. * P2 * (P2 - Q2)))
#define AT_Q (1 / (2. * Q2 * (Q2 - P2)))
static const double G[6][3] = {{1. / (P2 * Q2), 0, 0},
                               {AT_P, P * AT_P, P2 * AT_P},
                               {AT_P, -P * AT_P, P2 * AT_P},
                               {AT_Q, Q * AT_Q, Q2 * AT_Q},
                               {AT_Q, -Q * AT_Q, Q2 * AT_Q},
                               {0, 0, 1}};

/* Where tile k lies: its image, and the row and column of its first output. */
INLINE void locate(const fv_winograd *g, npy_intp k, npy_intp *image, npy_intp *y, npy_intp *x) {
    npy_intp across = (g->out_w + 3) / 4, down = (g->out_h + 3) / 4;
    *x = 4 * (k % across), *y = 4 * (k / across % down), *image = k / across / down;
}

/* WIDTH channels of the pixels (y, x) ... (y + size - 1, x + size - 1), zero outside of the image. */
INLINE void read_tile(const int size, vector *tile, const float *image, npy_intp h, npy_intp w, npy_intp channels,
                      npy_intp y, npy_intp x) {
    int inside = y >= 0 && x >= 0 && y + size <= h && x + size <= w;
#pragma GCC unroll 6
    for (int i = 0; i < size; i++)
#pragma GCC unroll 6
        for (int j = 0; j < size; j++) {
            int there = inside || (y + i >= 0 && y + i < h && x + j >= 0 && x + j < w);
            tile[i * size + j] = there ? *(const vector *)(image + ((y + i) * w + x + j) * channels) : (vector){0};
        }
}

INLINE int is_zero(vector v) {
#ifdef __AVX512F__
    return !_mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
#elif defined(__AVX2__)
    return !_mm256_movemask_ps((__m256)(v != 0));
#else
    for (int i = 0; i < WIDTH; i++)
        if (v[i] != 0) return 0;
    return 1;
#endif
}

/* A bit for each pixel of the tile from (y, x) on that is inside of the image. */
static uint64_t pixels_inside(const fv_winograd *g, npy_intp y, npy_intp x) {
    uint64_t bits = 0;
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            bits |= (uint64_t)(y + i >= 0 && y + i < g->in_h && x + j >= 0 && x + j < g->in_w) << (6 * i + j);
    return bits;
}

/* B' d B of n tiles from the first on -> to[POINTS][BLOCK][in]; a bit of nonzero[tile] for each pixel that is not 0. */
static void transform_input(const fv_winograd *g, const float *images, npy_intp first, npy_intp n, float *to,
                            uint64_t *nonzero) {
    for (npy_intp i = 0; i < n; i++) {
        npy_intp image, y, x;
        locate(g, first + i, &image, &y, &x);
        y -= g->pad[0], x -= g->pad[1];
        uint64_t inside = pixels_inside(g, y, x), zero = inside;
        for (npy_intp c = 0; c < g->in; c += WIDTH) {
            vector tile[36], half[36];
            read_tile(6, tile, images + image * g->in_h * g->in_w * g->in + c, g->in_h, g->in_w, g->in, y, x);
            for (uint64_t left = zero; left; left &= left - 1) {
                int p = __builtin_ctzll(left);
                zero &= ~((uint64_t)!is_zero(tile[p]) << p);
            }
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) apply_bt(tile + j, 6, half + j, 6);
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) apply_bt(half + 6 * j, 1, tile + 6 * j, 1);
#pragma GCC unroll 36
            for (int p = 0; p < POINTS; p++) *(vector *)(to + p * point_step(g->in) + i * g->in + c) = tile[p];
        }
        nonzero[i] = inside & ~zero;
    }
}

/* A dY A' of n tiles from the first on -> to[POINTS][BLOCK][out]; the sums of dY are added to `sums`. */
static void transform_gradient(const fv_winograd *g, const float *top, npy_intp first, npy_intp n, float *to,
                               float *sums) {
    for (npy_intp i = 0; i < n; i++) {
        npy_intp image, y, x;
        locate(g, first + i, &image, &y, &x);
        for (npy_intp c = 0; c < g->out; c += WIDTH) {
            vector tile[16], half[24], points[36], sum = *(vector *)(sums + c);
            read_tile(4, tile, top + image * g->out_h * g->out_w * g->out + c, g->out_h, g->out_w, g->out, y, x);
#pragma GCC unroll 16
            for (int j = 0; j < 16; j++) sum += tile[j];
            *(vector *)(sums + c) = sum;
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) apply_a(tile + j, 4, half + j, 4);
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) apply_a(half + 4 * j, 1, points + 6 * j, 1);
#pragma GCC unroll 36
            for (int p = 0; p < POINTS; p++) *(vector *)(to + p * point_step(g->out) + i * g->out + c) = points[p];
        }
    }
}

/* activation(A' m A + bias) of n tiles, m in from[POINTS][BLOCK][out], into the output. */
static void transform_output(const fv_winograd *g, const float *from, const uint64_t *nonzero, npy_intp first,
                             npy_intp n, const float *bias, const fv_activation *activation, float *to) {
    int kind = activation->kind, is_leaky = kind == FV_RELU || kind == FV_LEAKY_RELU;
    float slope = kind == FV_LEAKY_RELU ? activation->p[0] : 0;
    for (npy_intp i = 0; i < n; i++) {
        npy_intp image, y, x;
        locate(g, first + i, &image, &y, &x);
        npy_intp rows = g->out_h - y < 4 ? g->out_h - y : 4, columns = g->out_w - x < 4 ? g->out_w - x : 4;
        for (npy_intp c = 0; c < g->out; c += WIDTH) {
            vector points[36], half[24], tile[16], b = bias ? *(const vector *)(bias + c) : (vector){0};
#pragma GCC unroll 36
            for (int p = 0; p < POINTS; p++) points[p] = *(const vector *)(from + p * point_step(g->out) + i * g->out + c);
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) apply_at(points + j, 6, half + j, 6);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) apply_at(half + 6 * j, 1, tile + 4 * j, 1);
            float *out = to + ((image * g->out_h + y) * g->out_w + x) * g->out + c;
            for (npy_intp r = 0; r < rows; r++)
                for (npy_intp s = 0; s < columns; s++) {
                    vector v = b;
                    if (nonzero[i] & SEEN << (6 * r + s)) v += tile[4 * r + s];
                    if (is_leaky) { /* also 0 v keeps a NaN */
                        lanes positive = v > 0;
                        v = (vector)((positive & (lanes)v) | (~positive & (lanes)(slope * v)));
                    }
                    *(vector *)(out + (r * g->out_w + s) * g->out) = v;
                }
        }
        if (!is_leaky)
            for (npy_intp r = 0; r < rows; r++)
                fv_activate_all(activation, to + ((image * g->out_h + y + r) * g->out_w + x) * g->out,
                                columns * g->out);
    }
}

/* G g G' of every kernel -> to[POINTS][in][out]. */
static void transform_weights(const fv_winograd *g, const float *weights, float *to) {
#pragma omp parallel for num_threads(fv_team(POINTS * g->in * g->out))
    for (npy_intp c = 0; c < g->in; c++)
        for (npy_intp o = 0; o < g->out; o++) {
            const float *w = weights + c * g->in_stride + o * g->out_stride;
            double half[6][3];
            for (int i = 0; i < 6; i++)
                for (int j = 0; j < 3; j++) {
                    half[i][j] = 0;
                    for (int k = 0; k < 3; k++) half[i][j] += G[i][k] * w[g->mirror ? 8 - 3 * k - j : 3 * k + j];
                }
            for (int i = 0; i < 6; i++)
                for (int j = 0; j < 6; j++)
                    to[((6 * i + j) * g->in + c) * g->out + o] =
                        half[i][0] * G[j][0] + half[i][1] * G[j][1] + half[i][2] * G[j][2];
        }
}

/* The convolution of n images by the weights, plus a bias (or NULL), activated. */
void fv_winograd_convolve(const fv_winograd *g, const float *images, const float *weights, const float *bias,
                          const fv_activation *activation, float *to, char *scratch) {
    npy_intp tiles = count_tiles(g);
    float *kernels = (float *)scratch;
    char *teams = scratch + weights_bytes(g);
    transform_weights(g, weights, kernels);
#pragma omp parallel num_threads(fv_team_of_products(tiles * POINTS * g->in * g->out))
    {
        float *in = (float *)(teams + omp_get_thread_num() * team_bytes(g)), *out = in + POINTS * point_step(g->in);
        uint64_t nonzero[BLOCK];
        memset(in, 0, block_bytes(g->in)); /* rows behind the last tile are multiplied too */
#pragma omp for schedule(dynamic)
        for (npy_intp first = 0; first < tiles; first += BLOCK) {
            npy_intp n = tiles - first < BLOCK ? tiles - first : BLOCK;
            transform_input(g, images, first, n, in, nonzero);
            for (int p = 0; p < POINTS; p++)
                multiply((n + 3) / 4 * 4, g->out, in + p * point_step(g->in), g->in, 1, kernels + p * g->in * g->out,
                         out + p * point_step(g->out), g->in, 0);
            transform_output(g, out, nonzero, first, n, bias, activation, to);
        }
    }
}

/* A share of that gradient, before its way back: the sums over some blocks of tiles. */
static void add_share(const fv_winograd *g, const float *images, const float *top, npy_intp from, npy_intp to,
                      float *total) {
    npy_intp tiles = count_tiles(g), kernels = POINTS * g->in * g->out;
    float *sums = total + kernels, *in = sums + g->out, *out = in + POINTS * point_step(g->in);
    uint64_t nonzero[BLOCK];
    memset(total, 0, weights_bytes(g) + sizeof(float) * g->out);
    for (npy_intp first = from * BLOCK; first < tiles && first < to * BLOCK; first += BLOCK) {
        npy_intp n = tiles - first < BLOCK ? tiles - first : BLOCK;
        transform_input(g, images, first, n, in, nonzero);
        transform_gradient(g, top, first, n, out, sums);
        for (int p = 0; p < POINTS; p++)
            multiply(g->in, g->out, in + p * point_step(g->in), 1, g->in, out + p * point_step(g->out),
                     total + p * g->in * g->out, n, 1);
    }
}

/* The gradient with respect to the weights, and the sums of `top` over all but its channels (or NULL). */
void fv_winograd_weights_gradient(const fv_winograd *g, const float *images, const float *top, float *gradient,
                                  float *sums, char *scratch) {
    npy_intp tiles = count_tiles(g), kernels = POINTS * g->in * g->out, blocks = (tiles + BLOCK - 1) / BLOCK;
    int shares = omp_get_max_threads();
    size_t bytes = share_bytes(g);
#pragma omp parallel num_threads(fv_team_of_products(tiles * kernels))
    {
#pragma omp for schedule(static, 1)
        for (int i = 0; i < shares; i++)
            add_share(g, images, top, (blocks * i + shares - 1) / shares, (blocks * (i + 1) + shares - 1) / shares,
                      (float *)(scratch + i * bytes));
#pragma omp for schedule(static)
        for (npy_intp c = 0; c < g->in; c++)
            for (npy_intp o = 0; o < g->out; o++) {
                double points[6][6], half[3][6];
                float *w = gradient + c * g->in_stride + o * g->out_stride;
                for (int p = 0; p < POINTS; p++) {
                    double sum = 0;
                    for (int i = 0; i < shares; i++)
                        sum += ((float *)(scratch + i * bytes))[(p * g->in + c) * g->out + o];
                    points[p / 6][p % 6] = sum;
                }
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 6; j++) {
                        half[i][j] = 0;
                        for (int k = 0; k < 6; k++) half[i][j] += G[k][i] * points[k][j];
                    }
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 3; j++) {
                        double sum = 0;
                        for (int k = 0; k < 6; k++) sum += half[i][k] * G[k][j];
                        w[g->mirror ? 8 - 3 * i - j : 3 * i + j] = sum;
                    }
            }
    }
    for (npy_intp o = 0; sums && o < g->out; o++) {
        sums[o] = 0;
        for (int i = 0; i < shares; i++) sums[o] += ((float *)(scratch + i * bytes))[kernels + o];
    }
}
