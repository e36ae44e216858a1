/* Small products of matrices by one thread, for which oneDNN takes longer to begin than to compute.
 *
 * Blocks of b stay in the first-level cache while all rows of a meet them; each element is one chain of terms in their
 * order, whatever the blocks. */
#include "product.h"
#include "vector.h"
#include <string.h>

#define ROWS 4
#if WIDTH == 16
#define VECTORS 4 /* of columns: ROWS * VECTORS sums, a row of b and a factor stay in registers */
#else
#define VECTORS 2
#endif
#define COLUMNS (VECTORS * WIDTH)
#define TERMS 64 /* of a block */

int fv_has_product(void) { return HAS_VECTORS; }

/* So many rows and vectors of y, from 0 or from what is there. */
FV_INLINE void multiply_rows(const int rows, const int n, const float *a, npy_intp a_row, npy_intp a_k, const float *b,
                             npy_intp b_row, float *y, npy_intp y_row, npy_intp terms, int add) {
    vector sum[ROWS][VECTORS];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) sum[r][j] = add ? *(vector *)(y + r * y_row + j * WIDTH) : (vector){0};
    for (npy_intp k = 0; k < terms; k++, a += a_k, b += b_row) {
        vector row[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) row[j] = *(const vector *)(b + j * WIDTH);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            float x = a[r * a_row];
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) sum[r][j] += x * row[j];
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) *(vector *)(y + r * y_row + j * WIDTH) = sum[r][j];
}

/* n vectors of columns of y, all rows. */
FV_INLINE void multiply_columns(const int n, npy_intp m, const float *a, npy_intp a_row, npy_intp a_k, const float *b,
                                npy_intp b_row, float *y, npy_intp y_row, npy_intp terms, int add) {
    npy_intp r = 0;
    for (; r + ROWS <= m; r += ROWS)
        multiply_rows(ROWS, n, a + r * a_row, a_row, a_k, b, b_row, y + r * y_row, y_row, terms, add);
    for (; r < m; r++) multiply_rows(1, n, a + r * a_row, a_row, a_k, b, b_row, y + r * y_row, y_row, terms, add);
}

__attribute__((noinline)) static void multiply_block(npy_intp n, npy_intp m, const float *a, npy_intp a_row,
                                                     npy_intp a_k, const float *b, npy_intp b_row, float *y,
                                                     npy_intp y_row, npy_intp terms, int add) {
    switch (n) {
        case 1: multiply_columns(1, m, a, a_row, a_k, b, b_row, y, y_row, terms, add); break;
#if VECTORS > 2
        case 2: multiply_columns(2, m, a, a_row, a_k, b, b_row, y, y_row, terms, add); break;
        case 3: multiply_columns(3, m, a, a_row, a_k, b, b_row, y, y_row, terms, add); break;
#endif
        default: multiply_columns(VECTORS, m, a, a_row, a_k, b, b_row, y, y_row, terms, add);
    }
}

/* A block of b with its columns side by side, zeros behind the last. */
static void pack_block(float *to, npy_intp width, const float *b, npy_intp b_row, npy_intp b_column, npy_intp columns,
                       npy_intp terms) {
    for (npy_intp k = 0; k < terms; k++)
        for (npy_intp j = 0; j < width; j++) to[k * width + j] = j < columns ? b[k * b_row + j * b_column] : 0;
}

/* Some columns of y, of which the last vector is not whole, from a packed block of b. */
static void multiply_ragged(npy_intp columns, npy_intp n, npy_intp m, const float *a, npy_intp a_row, npy_intp a_k,
                            const float *b, float *y, npy_intp y_row, npy_intp terms, int add) {
    float few[ROWS * COLUMNS] __attribute__((aligned(64))) = {0};
    npy_intp width = n * WIDTH;
    for (npy_intp r = 0; r < m; r += ROWS) {
        npy_intp rows = m - r < ROWS ? m - r : ROWS;
        float *to = y + r * y_row;
        for (npy_intp i = 0; i < rows && add; i++) memcpy(few + i * width, to + i * y_row, columns * sizeof *to);
        multiply_block(n, rows, a + r * a_row, a_row, a_k, b, width, few, width, terms, add);
        for (npy_intp i = 0; i < rows; i++) memcpy(to + i * y_row, few + i * width, columns * sizeof *to);
    }
}

void fv_product(const fv_product_sizes *g, const float *a, const float *b, float *y) {
    float packed[TERMS * COLUMNS] __attribute__((aligned(64)));
    for (npy_intp j = 0; j < g->n; j += COLUMNS) {
        npy_intp columns = g->n - j < COLUMNS ? g->n - j : COLUMNS, n = (columns + WIDTH - 1) / WIDTH, width = n * WIDTH;
        for (npy_intp k = 0; k < g->k; k += TERMS) {
            npy_intp terms = g->k - k < TERMS ? g->k - k : TERMS, stride = g->b_row;
            const float *x = a + k * g->a_column, *w = b + k * g->b_row + j * g->b_column;
            if (g->b_column != 1 || columns < width) {
                pack_block(packed, width, w, g->b_row, g->b_column, columns, terms);
                w = packed, stride = width;
            }
            if (columns < width)
                multiply_ragged(columns, n, g->m, x, g->a_row, g->a_column, w, y + j, g->n, terms, k > 0);
            else multiply_block(n, g->m, x, g->a_row, g->a_column, w, stride, y + j, g->n, terms, k > 0);
        }
    }
}
