#include "counters.h"

#define MOST 192

static struct counter counters[MOST];
static int n_counters;

struct counter *counter(const char *name) {
  if (n_counters == MOST) abort();
  counters[n_counters].name = name;
  return &counters[n_counters++];
}

/* Writes "name=count" lines of the counters above zero. */
void device_counts(char *text, size_t size) {
  size_t used = 0;
  if (size) *text = 0;
  for (int i = 0; i < n_counters; i++)
    if (counters[i].count && used < size)
      used += snprintf(text + used, size - used, "%s=%lu\n", counters[i].name, counters[i].count);
}

void device_reset(void) {
  for (int i = 0; i < n_counters; i++) counters[i].count = 0;
}
