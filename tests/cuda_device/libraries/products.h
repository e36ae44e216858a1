/* Products of matrices in double, for gemm and convolutions. */
#ifndef PRODUCTS_H
#define PRODUCTS_H
#include <stddef.h>

enum { WIDTH = 8 };

/* A matrix of `depth` rows, kept as panels of WIDTH columns that follow one another; 0 in what the last panel has beyond
   `columns`. */
struct panels { int columns, depth; double *data; };

struct panels new_panels(int columns, int depth);
void free_panels(struct panels *p);

static inline double *panel_entry(const struct panels *p, int column, int row) {
  return p->data + ((size_t)(column / WIDTH) * p->depth + row) * WIDTH + column % WIDTH;
}

/* sums[i][j] += the sum over l of a[l][i] b[l][j] */
void add_products(const struct panels *a, const struct panels *b, double *sums);

/* Memory for so many numbers, 0 each; the program ends where there is none. */
double *new_numbers(size_t n);
#endif
