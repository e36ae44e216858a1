/* Device memory, which is the host's: each allocation stands alone between pages that nobody may touch. */
#ifndef MEMORY_H
#define MEMORY_H
#include <stddef.h>
#include <stdint.h>

enum memory_kind { DEVICE_MEMORY, PINNED_MEMORY, MODULE_MEMORY };

struct block {
  uint64_t base;
  size_t size, room;   /* bytes asked for, and mapped around them */
  enum memory_kind kind;
  struct mark *marks;  /* who read and wrote each unit last (checks.c) */
  unsigned unit;       /* bytes */
};

uint64_t memory_new(size_t size, enum memory_kind);
int memory_free(uint64_t base); /* 0 if this is no allocation */
struct block *block_of(uint64_t at);
int memory_was_freed(uint64_t at);

/* The allocation that was asked for last, so that most accesses need no search. */
extern struct recent_block { uint64_t base; size_t size; } recent_block;

static inline int memory_holds(uint64_t at, size_t size) {
  if (at - recent_block.base < recent_block.size && size <= recent_block.size - (at - recent_block.base)) return 1;
  const struct block *found = block_of(at);
  return found && size <= found->size - (at - found->base);
}
#endif
