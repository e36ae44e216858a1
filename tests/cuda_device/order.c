#include "order.h"
#include <stdlib.h>

static uint64_t state;
static int random_order;

/* From now on; NULL or no text: in turn. */
void device_order(const char *seed) {
  random_order = seed && *seed;
  if (random_order) state = strtoull(seed, NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
}

__attribute__((constructor)) static void read_seed(void) { device_order(getenv("TEST_DEVICE_ORDER")); }

int order_is_random(void) { return random_order; }

/* Knuth's linear congruential generator, its upper half. */
uint32_t order_below(uint32_t n) {
  if (!random_order) return 0;
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (state >> 33) % n;
}

void order_of(uint32_t *turns, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) turns[i] = i;
  if (!random_order) return;
  for (uint64_t i = n; i > 1; i--) {
    uint32_t j = order_below(i), kept = turns[j];
    turns[j] = turns[i - 1];
    turns[i - 1] = kept;
  }
}
