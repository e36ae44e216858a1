/* The order in which things happen that the device leaves open: TEST_DEVICE_ORDER, the seed of a random one. */
#ifndef ORDER_H
#define ORDER_H
#include <stdint.h>

void device_order(const char *seed);
int order_is_random(void);
uint32_t order_below(uint32_t n); /* 0 without a seed */
void order_of(uint32_t *turns, uint64_t n); /* 0 ... n - 1, in turn or at random */
#endif
