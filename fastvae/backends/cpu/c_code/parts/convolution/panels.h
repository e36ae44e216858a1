/* Products of small matrices that lie in the caches, by panels of which the sums stay in registers. */
#ifndef FASTVAE_PANELS_H
#define FASTVAE_PANELS_H

#include "fastvae.h"
#include "vector.h"

/* Vectors of columns that a panel of 4 rows has: its sums, a row of b and a factor stay in registers, 32 or 16. */
#ifdef __AVX512F__
#define PANEL 4
#else
#define PANEL 3
#endif

/* c[r][j] (+)= sum over k of a[r a_row + k a_k] b[k][j] for 4 rows and n vectors of columns. The sum starts from 0 even
 * if it is then added to c: a long sum in pieces rounds less. */
FV_INLINE void multiply_panel(const int n, const float *a, npy_intp a_row, npy_intp a_k, const float *b, float *c,
                           npy_intp columns, npy_intp depth, const int add) {
    vector sum[4][PANEL];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) sum[r][j] = (vector){0};
    for (npy_intp k = 0; k < depth; k++, a += a_k, b += columns) {
        vector row[PANEL];
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) row[j] = *(const vector *)(b + j * WIDTH);
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            float x = a[r * a_row];
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) sum[r][j] += x * row[j];
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            vector *to = (vector *)(c + r * columns + j * WIDTH);
            if (add) sum[r][j] += *to;
            *to = sum[r][j];
        }
}

/* The same for any multiple of 4 rows and at least two vectors of columns. */
FV_INLINE void multiply(npy_intp rows, npy_intp columns, const float *a, npy_intp a_row, npy_intp a_k, const float *b,
                     float *c, npy_intp depth, const int add) {
    npy_intp n; /* vectors of a panel, never one alone, whose few sums would wait for each other */
    for (npy_intp j = 0, left = columns / WIDTH; left; left -= n, j += n * WIDTH) {
        n = left > PANEL ? (left == PANEL + 1 ? 2 : PANEL) : left;
        for (npy_intp r = 0; r < rows; r += 4) {
            const float *x = a + r * a_row, *y = b + j;
            float *z = c + r * columns + j;
            switch (n) {
                case 2: multiply_panel(2, x, a_row, a_k, y, z, columns, depth, add); break;
                case 3: multiply_panel(3, x, a_row, a_k, y, z, columns, depth, add); break;
                default: multiply_panel(PANEL, x, a_row, a_k, y, z, columns, depth, add);
            }
        }
    }
}

#endif
