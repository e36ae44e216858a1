#define _GNU_SOURCE
#include "pinned.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "checks.h"
#include "memory.h"

enum { HELD = 64, PAGE = 4096 };

/* Blocks that queued copies touch, each as often as it is queued. */
static struct { uint64_t base; size_t size; int copies, written; } held[HELD];
static struct sigaction previous;
volatile int pinned_by_device; /* the device's own accesses are none of the host's */

int is_pinned(const void *at) {
  const struct block *b = block_of((uint64_t)at);
  return b && b->kind == PINNED_MEMORY;
}

static void open_to(int i, int protection) {
  mprotect((void *)held[i].base, (held[i].size + PAGE - 1) / PAGE * PAGE, protection);
}

static void touched(int signal, siginfo_t *info, void *context) {
  uint64_t at = (uint64_t)info->si_addr;
  for (int i = 0; i < HELD; i++)
    if (held[i].copies && at - held[i].base < held[i].size) {
      int writes = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
      if (!pinned_by_device)
        device_finding("asynchronous: the host %s pinned memory before it has waited for the copy %s it",
                       writes ? "writes" : "reads", held[i].written ? "to" : "from");
      open_to(i, PROT_READ | PROT_WRITE);
      return;
    }
  sigaction(signal, &previous, NULL); /* not ours: it comes once more */
}

static void close_to_host(int i) {
  static int installed;
  if (!installed) {
    struct sigaction action = {.sa_sigaction = touched, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSEGV, &action, &previous)) abort();
    installed = 1;
  }
  open_to(i, held[i].written ? PROT_NONE : PROT_READ);
}

/* The copy's end in pinned memory: the operand that no device memory is. */
static const struct block *end_of(const struct operation *o, int *written) {
  if (!checking) return NULL;
  for (int i = 0; i < o->n_operands; i++) {
    const struct block *b = block_of((uint64_t)o->operands[i].at);
    *written = o->operands[i].how & DEVICE_WRITE;
    if (b && b->kind == PINNED_MEMORY) return b;
  }
  return NULL;
}

void pinned_hold(const struct operation *o) {
  int written, free_slot = -1;
  const struct block *b = end_of(o, &written);
  if (!b) return;
  for (int i = 0; i < HELD; i++) {
    if (!held[i].copies) free_slot = i;
    else if (held[i].base == b->base) {
      free_slot = i;
      break;
    }
  }
  if (free_slot < 0) return;
  held[free_slot].base = b->base;
  held[free_slot].size = b->size;
  held[free_slot].written = written || (held[free_slot].copies && held[free_slot].written);
  held[free_slot].copies++;
  close_to_host(free_slot);
}

void pinned_release(const struct operation *o) {
  int written;
  const struct block *b = end_of(o, &written);
  for (int i = 0; b && i < HELD; i++)
    if (held[i].copies && held[i].base == b->base) {
      held[i].copies--;
      open_to(i, PROT_READ | PROT_WRITE);
    }
}
