/* What the stubs of cuBLAS and cuDNN share: numbers that come from the host or the device, and operands that overlap. */
#ifndef LIBRARY_H
#define LIBRARY_H
#include "../counters.h"
#include "../device.h"
#include "reals.h"

/* 0 where NVIDIA's libraries are forbidden TF32 whatever else they are told, 1 where cuBLAS takes it unasked, else -1. */
static inline int tf32_override(void) {
  const char *text = getenv("NVIDIA_TF32_OVERRIDE");
  return text ? atoi(text) != 0 : -1;
}

/* Tells a finding for each operand that is written and overlaps another one; where the call works `in_place`, what is only
   read may lie exactly where a result does. */
void find_overlaps(const struct operation *call, int in_place);

/* Hands a call to its stream after a look at its overlaps: 0, or the driver's refusal where a capture does not admit it. */
int queued(void *stream, struct operation *call, int in_place);
#endif
