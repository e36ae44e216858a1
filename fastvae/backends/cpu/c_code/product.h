/* product.c: a small product of matrices by one thread, y (m, n) = a (m, k) b (k, n) with k > 0. a and b lie in memory with
 * so many elements from row to row and from column to column, y is contiguous. */
#ifndef FASTVAE_PRODUCT_H
#define FASTVAE_PRODUCT_H

#include "fastvae.h"

typedef struct {
    npy_intp m, n, k, a_row, a_column, b_row, b_column;
} fv_product_sizes;

int fv_has_product(void); /* whether it is faster than oneDNN's */
void fv_product(const fv_product_sizes *g, const float *a, const float *b, float *y);

#endif
