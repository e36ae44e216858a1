#define _GNU_SOURCE
#include "memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "checks.h"

enum { PAGE = 4096, ALIGNMENT = 512, KEPT = 4096 };

static struct block *blocks; /* by address */
static int n_blocks, room_blocks;
struct recent_block recent_block;

/* Addresses of freed allocations stay taken for a while, without memory: a use after free is seen. */
static struct { char *at; size_t room; } freed[KEPT];
static unsigned n_freed;

static size_t rounded_up(size_t size, size_t to) { return (size + to - 1) / to * to; }

struct block *block_of(uint64_t at) {
  int low = 0, high = n_blocks;
  while (low < high) {
    int middle = (low + high) / 2;
    if (blocks[middle].base <= at) low = middle + 1;
    else high = middle;
  }
  if (!low || at - blocks[low - 1].base >= blocks[low - 1].size) return NULL;
  recent_block = (struct recent_block){blocks[low - 1].base, blocks[low - 1].size};
  return &blocks[low - 1];
}

/* Fresh memory is NaN in every float. The data's end, on 512 bytes, touches the page behind it. */
uint64_t memory_new(size_t size, enum memory_kind kind) {
  if (!size) size = 1;
  size_t data = rounded_up(size, PAGE), room = data + 2 * PAGE;
  char *all = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return 0;
  if (mprotect(all + PAGE, data, PROT_READ | PROT_WRITE)) {
    munmap(all, room);
    return 0;
  }
  char *base = kind == PINNED_MEMORY ? all + PAGE : all + PAGE + data - rounded_up(size, ALIGNMENT);
  if (kind == DEVICE_MEMORY && (size < 1 << 26 || checking)) memset(base, 0xff, size);
  if (n_blocks == room_blocks) {
    struct block *more = realloc(blocks, (room_blocks = 2 * room_blocks + 64) * sizeof *blocks);
    if (!more) abort();
    blocks = more;
  }
  int i = n_blocks++;
  for (; i && blocks[i - 1].base > (uint64_t)base; i--) blocks[i] = blocks[i - 1];
  blocks[i] = (struct block){(uint64_t)base, size, room, kind, NULL, 0};
  return (uint64_t)base;
}

static char *mapping_of(const struct block *b) { return (char *)(b->base / PAGE * PAGE - PAGE); }

int memory_free(uint64_t base) {
  struct block *b = block_of(base);
  recent_block.size = 0;
  if (!b || b->base != base) return 0;
  checks_forget(b);
  char *all = mapping_of(b);
  unsigned slot = n_freed++ % KEPT;
  if (freed[slot].at) munmap(freed[slot].at, freed[slot].room);
  if (mmap(all, b->room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
    abort();
  freed[slot].at = all;
  freed[slot].room = b->room;
  memmove(b, b + 1, (&blocks[--n_blocks] - b) * sizeof *b);
  return 1;
}

int memory_was_freed(uint64_t at) {
  for (unsigned i = 0; i < KEPT && i < n_freed; i++)
    if (at - (uint64_t)freed[i].at < freed[i].room) return 1;
  return 0;
}
