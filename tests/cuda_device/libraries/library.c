#include "library.h"

/* The first and the last byte of an operand. */
static void bounds(const struct operand *o, const char **first, const char **last) {
  *first = o->at;
  *last = *first + o->item - 1;
  for (int i = 0; i < o->n; i++) {
    long span = (o->dims[i] - 1) * o->strides[i] * (long)o->item;
    if (span < 0) *first += span;
    else *last += span;
  }
}

/* Calls `visit` with the offset of every element from `base`, until it returns 1. */
static int any_element(const struct operand *o, const char *base, int (*visit)(unsigned char *map, size_t at, size_t item),
                       unsigned char *map) {
  long index[DEVICE_DIMS] = {0};
  for (;;) {
    const char *at = o->at;
    for (int i = 0; i < o->n; i++) at += index[i] * o->strides[i] * (long)o->item;
    if (visit(map, at - base, o->item)) return 1;
    int i = o->n - 1;
    for (; i >= 0 && ++index[i] == o->dims[i]; i--) index[i] = 0;
    if (i < 0) return 0;
  }
}

static int mark(unsigned char *map, size_t at, size_t item) {
  memset(map + at, 1, item);
  return 0;
}

static int is_marked(unsigned char *map, size_t at, size_t item) { return memchr(map + at, 1, item) != NULL; }

static int overlap(const struct operand *a, const struct operand *b) {
  const char *first_a, *last_a, *first_b, *last_b;
  bounds(a, &first_a, &last_a);
  bounds(b, &first_b, &last_b);
  if (last_a < first_b || last_b < first_a) return 0;
  const char *first = first_a < first_b ? first_a : first_b, *last = last_a > last_b ? last_a : last_b;
  unsigned char *map = calloc(last - first + 1, 1);
  if (!map) abort();
  any_element(a, first, mark, map);
  int found = any_element(b, first, is_marked, map);
  free(map);
  return found;
}

static int same(const struct operand *a, const struct operand *b) {
  size_t size = a->n * sizeof *a->dims;
  return a->at == b->at && a->n == b->n && a->item == b->item && !memcmp(a->dims, b->dims, size)
         && !memcmp(a->strides, b->strides, size);
}

void find_overlaps(const struct operation *call, int in_place) {
  const struct operand *all = call->operands;
  for (int i = 0; i < call->n_operands; i++)
    for (int j = 0; j < call->n_operands; j++) {
      int both = all[j].how & DEVICE_WRITE;
      if (i == j || !(all[i].how & DEVICE_WRITE) || (both && j < i)) continue;
      int shared = in_place && !both && same(&all[i], &all[j]);
      if (!shared && overlap(&all[i], &all[j]))
        device_finding("%s: %s, which is written, overlaps %s", call->name, all[i].what, all[j].what);
    }
}

int queued(void *stream, struct operation *call, int in_place) {
  int refused = device_admits(stream, 0);
  if (refused) {
    free(call);
    return refused;
  }
  find_overlaps(call, in_place);
  device_enqueue(stream, call);
  return 0;
}
