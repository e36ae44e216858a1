#include "products.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef double vector __attribute__((vector_size(WIDTH * sizeof(double))));

double *new_numbers(size_t n) {
  size_t size = (n * sizeof(double) / sizeof(vector) + 1) * sizeof(vector);
  double *numbers = aligned_alloc(sizeof(vector), size);
  if (!numbers) { fprintf(stderr, "test device: no %zu bytes\n", size); abort(); }
  return memset(numbers, 0, size);
}

struct panels new_panels(int columns, int depth) {
  size_t wide = (columns + WIDTH - 1) / WIDTH * WIDTH;
  return (struct panels){columns, depth, new_numbers(wide * depth)};
}

void free_panels(struct panels *p) { free(p->data); }

static void add_tile(int depth, const double *a, const double *b, vector *tile) {
  vector sum[WIDTH] = {0};
  for (int l = 0; l < depth; l++, a += WIDTH, b += WIDTH)
    for (int i = 0; i < WIDTH; i++) sum[i] += a[i] * *(const vector *)b;
  memcpy(tile, sum, sizeof sum);
}

void add_products(const struct panels *a, const struct panels *b, double *sums) {
  vector tile[WIDTH];
  for (int i = 0; i < a->columns; i += WIDTH)
    for (int j = 0; j < b->columns; j += WIDTH) {
      add_tile(a->depth, panel_entry(a, i, 0), panel_entry(b, j, 0), tile);
      for (int r = 0; r < WIDTH && i + r < a->columns; r++)
        for (int s = 0; s < WIDTH && j + s < b->columns; s++) sums[(size_t)(i + r) * b->columns + j + s] += tile[r][s];
    }
}
