/* What every access to memory is held to, and what it counts.

   TEST_DEVICE_CHECK=1: bounds, alignment, use after free, reads of what nobody wrote, races, barriers that not all threads
   reach. With it or TEST_DEVICE_LOG each launch's unique bytes are counted too. */
#ifndef CHECKS_H
#define CHECKS_H
#include <stddef.h>
#include <stdint.h>
#include "device.h"
#include "memory.h"

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_ATOMIC = 4 };

/* Who touches memory: a thread of a block, at an instruction, between two barriers of its block and of its warp. */
struct accessor {
  uint64_t block;
  uint32_t thread, epoch, own_epoch;
  int line;
  const char *instruction;
};

struct traffic { uint64_t read, written; }; /* unique bytes */

extern int checking, tracking; /* tracking: checks or a log */
void checks_forget(struct block *);

/* A device operation starts, and ends with the bytes it moved. */
void checks_begin(const char *name);
struct traffic checks_end(void);

void check_global(const struct accessor *, uint64_t at, uint32_t size, enum access);
void check_shared(const struct accessor *, uint32_t at, uint32_t size, enum access);
void check_new_block(void); /* whose shared memory nobody has written */
void check_aligned(const struct accessor *, uint64_t at, uint32_t size);

/* An access that no allocation holds: a finding; without checks the end. */
void outside(const struct accessor *, const char *space, uint64_t at, uint32_t size, enum access, uint64_t room);

int check_operand(const struct operand *); /* 0 where it is not all in one allocation */
void check_copied(void *to, const void *from, size_t size); /* what was not written stays so */

void thread_finding(const struct accessor *, const char *what, const char *detail);
#endif
