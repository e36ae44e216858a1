#define _GNU_SOURCE
#include "checks.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_FINDINGS = 256, SHARED_MOST = 1 << 16 };

/* Who accessed a unit of memory last: the operation (0: nobody), and in it the block, the barriers passed by block and
   warp, and the thread, in 60 bits. Above: whether all accesses were atomic; whether several threads of a warp, warps of a
   block or blocks read without an order between them. */
struct mark { uint32_t wrote, read; uint64_t writer, reader; };
static const uint64_t ATOMIC_BIT = 1ull << 63, BLOCKS = 1ull << 62, WARPS = 1ull << 61, THREADS = 1ull << 60,
                      WHO = (1ull << 60) - 1;

int checking, tracking;
static uint32_t operation = 1;
static const char *running = "host";
static struct traffic traffic;

static struct finding { char *text; unsigned long times; size_t key; } findings[MOST_FINDINGS];
static int n_findings;

__attribute__((constructor)) static void read_settings(void) {
  const char *check = getenv("TEST_DEVICE_CHECK"), *log = getenv("TEST_DEVICE_LOG");
  checking = check && atoi(check);
  tracking = checking || (log && *log);
}

/* The first `key` characters tell findings apart. */
static void found(const char *text, size_t key) {
  for (int i = 0; i < n_findings; i++)
    if (findings[i].key == key && !strncmp(findings[i].text, text, key)) {
      findings[i].times++;
      return;
    }
  if (n_findings == MOST_FINDINGS) return;
  findings[n_findings] = (struct finding){strdup(text), 1, key};
  if (!findings[n_findings++].text) abort();
}

void device_finding(const char *format, ...) {
  char text[1024];
  va_list arguments;
  if (!checking) return;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  found(text, strlen(text));
}

/* Writes the findings, one a line, and forgets them. */
void device_findings(char *text, size_t size) {
  size_t used = 0;
  if (size) *text = 0;
  for (int i = 0; i < n_findings; i++) {
    if (used < size) used += snprintf(text + used, size - used, "%s (%lu times)\n", findings[i].text, findings[i].times);
    free(findings[i].text);
  }
  n_findings = 0;
}

void thread_finding(const struct accessor *who, const char *what, const char *detail) {
  char text[1024];
  if (!checking) return;
  size_t key = snprintf(text, sizeof text, "%s: %s, line %d: %s", what, running, who->line, who->instruction);
  if (key < sizeof text)
    snprintf(text + key, sizeof text - key, ": %s, thread %u of block %llu", detail, who->thread,
             (unsigned long long)who->block);
  found(text, key < sizeof text ? key : sizeof text - 1);
}

void checks_begin(const char *name) {
  operation++;
  running = name;
  traffic = (struct traffic){0, 0};
}

struct traffic checks_end(void) {
  operation++;
  running = "host";
  return traffic;
}

void outside(const struct accessor *who, const char *space, uint64_t at, uint32_t size, enum access how, uint64_t room) {
  char what[64], detail[128];
  const char *kind = room || !memory_was_freed(at) ? "out of bounds" : "use after free";
  snprintf(what, sizeof what, "%s: a %s of %s", kind, how == ACCESS_READ ? "read" : "write", space);
  if (room) snprintf(detail, sizeof detail, "%u bytes at %lld of %llu", size, (long long)at, (unsigned long long)room);
  else {
    const struct block *before = NULL;
    for (uint64_t back = 0; back < 1 << 16 && !before; back += 256) before = at > back ? block_of(at - back) : NULL;
    if (before)
      snprintf(detail, sizeof detail, "%u bytes at %llu of an allocation of %zu", size,
               (unsigned long long)(at - before->base), before->size);
    else snprintf(detail, sizeof detail, "%u bytes at %#llx", size, (unsigned long long)at);
  }
  if (checking) {
    thread_finding(who, what, detail);
    return;
  }
  fprintf(stderr, "test device: %s: %s, line %d: %s: %s\n", what, running, who->line, who->instruction, detail);
  abort();
}

void check_aligned(const struct accessor *who, uint64_t at, uint32_t size) {
  char detail[64];
  snprintf(detail, sizeof detail, "%u bytes at %#llx", size, (unsigned long long)at);
  if (checking) {
    thread_finding(who, "misaligned", detail);
    return;
  }
  fprintf(stderr, "test device: misaligned: %s, line %d: %s: %s\n", running, who->line, who->instruction, detail);
  abort();
}

static struct mark *new_marks(const struct block *b, unsigned unit) {
  void *all = mmap(NULL, (b->size / unit + 1) * sizeof(struct mark), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) abort();
  return all;
}

void checks_forget(struct block *b) {
  if (b->marks) munmap(b->marks, (b->size / b->unit + 1) * sizeof *b->marks);
  b->marks = NULL;
}

/* Marks of units of 4 bytes, or of 1 once somebody accesses less. */
static void need_marks(struct block *b, unsigned unit) {
  if (b->marks && unit >= b->unit) return;
  struct block old = *b;
  b->marks = new_marks(b, unit);
  b->unit = unit;
  if (!old.marks) return;
  for (size_t i = 0; i < b->size; i++) b->marks[i] = old.marks[i / old.unit];
  checks_forget(&old);
}

/* Block, barriers of the block, barriers of the warp, thread; a thread's upper 5 bits are its warp. */
static uint64_t identity(const struct accessor *who) {
  return (who->block & 0xfffffff) << 32 | (uint64_t)(who->epoch & 0xfff) << 20 | (who->own_epoch & 0x3ff) << 10 |
         who->thread;
}
static int block_differs(uint64_t a, uint64_t b) { return ((a ^ b) & WHO) >> 32 != 0; }
static int epoch_differs(uint64_t a, uint64_t b) { return ((a ^ b) & 0xfff00000) != 0; }
static int warp_differs(uint64_t a, uint64_t b) { return ((a ^ b) & 0x3e0) != 0; }
static int own_epoch_differs(uint64_t a, uint64_t b) { return ((a ^ b) & 0xffc00) != 0; }

/* Whether a barrier of the block or of the warp, or being one thread, orders an access after those that a mark stands for. */
static int ordered(uint64_t before, uint64_t now) {
  if (before & BLOCKS || block_differs(before, now)) return 0;
  if (epoch_differs(before, now)) return 1;
  if (before & WARPS || warp_differs(before, now)) return 0;
  if (own_epoch_differs(before, now)) return 1;
  return !(before & THREADS) && !((before ^ now) & 0x3ff);
}

/* The last reader, who stands for those that are ordered before it; of the others it is kept that there are some. */
static uint64_t readers(uint64_t before, uint64_t now) {
  if (block_differs(before, now)) return before | BLOCKS;
  if (epoch_differs(before, now)) return now | (before & BLOCKS);
  if (warp_differs(before, now)) return now | (before & BLOCKS) | WARPS;
  uint64_t kept = before & (BLOCKS | WARPS);
  return own_epoch_differs(before, now) ? now | kept
                                        : now | kept | ((before & THREADS) | ((before ^ now) & 0x3ff ? THREADS : 0));
}

static void mark_read(struct mark *m, uint64_t me, uint64_t atomic, unsigned unit) {
  if (m->read != operation) {
    traffic.read += unit;
    m->read = operation;
    m->reader = me | atomic;
  } else m->reader = readers(m->reader & ~ATOMIC_BIT, me) | (m->reader & atomic);
}

static void mark_write(struct mark *m, uint64_t me, uint64_t atomic, unsigned unit) {
  if (m->wrote != operation) traffic.written += unit;
  m->wrote = operation;
  m->writer = me | atomic;
}

/* A race, if any, of an access with those before it. */
static const char *race(const struct mark *m, uint32_t now, uint64_t me, enum access how) {
  int atomic = how == ACCESS_ATOMIC;
  if (m->wrote == now && !ordered(m->writer, me) && !(atomic && m->writer & ATOMIC_BIT))
    return how == ACCESS_READ ? "race: reads what another thread writes" : "race: two threads write";
  if (how != ACCESS_READ && m->read == now && !ordered(m->reader, me) && !(atomic && m->reader & ATOMIC_BIT))
    return "race: writes what another thread reads";
  return NULL;
}

static void check_unit(const struct accessor *who, struct mark *m, uint32_t now, uint64_t me, enum access how,
                       unsigned unit, const char *detail) {
  uint64_t atomic = how == ACCESS_ATOMIC ? ATOMIC_BIT : 0;
  const char *what = checking ? race(m, now, me, how) : NULL;
  if (what) thread_finding(who, what, detail);
  if (how & (ACCESS_READ | ACCESS_ATOMIC)) mark_read(m, me, atomic, unit);
  if (how & (ACCESS_WRITE | ACCESS_ATOMIC)) mark_write(m, me, atomic, unit);
}

void check_global(const struct accessor *who, uint64_t at, uint32_t size, enum access how) {
  struct block *b = block_of(at);
  need_marks(b, size < 4 || at % 4 ? 1 : 4);
  uint64_t me = identity(who);
  size_t last = (at + size - 1 - b->base) / b->unit;
  for (size_t i = (at - b->base) / b->unit; i <= last; i++) {
    struct mark *m = &b->marks[i];
    if (checking && !m->wrote && how != ACCESS_WRITE && b->kind == DEVICE_MEMORY) {
      char detail[96];
      snprintf(detail, sizeof detail, "at %llu of an allocation of %zu", (unsigned long long)(at - b->base), b->size);
      thread_finding(who, "uninitialised: reads what nobody wrote", detail);
    }
    check_unit(who, m, operation, me, how, b->unit, "in global memory");
  }
}

static struct mark shared_marks[SHARED_MOST];
static uint32_t shared_number; /* of the block that runs */

void check_new_block(void) { shared_number++; }

void check_shared(const struct accessor *who, uint32_t at, uint32_t size, enum access how) {
  struct accessor alone = *who;
  struct traffic kept = traffic;
  alone.block = 0;
  for (uint32_t i = at; i < at + size && i < SHARED_MOST; i++) {
    struct mark *m = &shared_marks[i];
    if (m->wrote != shared_number && how != ACCESS_WRITE)
      thread_finding(who, "uninitialised: reads shared memory that nobody wrote", "");
    uint32_t global = operation;
    operation = shared_number;
    check_unit(who, m, shared_number, identity(&alone), how, 1, "in shared memory");
    operation = global;
  }
  traffic = kept;
}

static void mark_run(const struct operand *o, struct block *b, uint64_t at, size_t size) {
  need_marks(b, size % 4 || (at - b->base) % 4 ? 1 : 4);
  size_t last = (at + size - 1 - b->base) / b->unit, never = 0;
  for (size_t i = (at - b->base) / b->unit; i <= last; i++) {
    struct mark *m = &b->marks[i];
    if (o->how & DEVICE_READ) {
      never += !m->wrote;
      mark_read(m, WHO, 0, b->unit);
    }
    if (o->how & DEVICE_WRITE) mark_write(m, WHO, 0, b->unit);
  }
  if (never && b->kind == DEVICE_MEMORY && !(o->how & DEVICE_COPIED))
    device_finding("uninitialised: %s: %s: nobody wrote it", running, o->what);
}

/* The allocation that holds all of an operand, or NULL and a finding; without checks the end. */
static struct block *holder_of(const struct operand *o) {
  int64_t first = 0, last = (int64_t)o->item;
  for (int i = 0; i < o->n; i++) {
    int64_t span = (o->dims[i] - 1) * o->strides[i] * (int64_t)o->item;
    *(span < 0 ? &first : &last) += span;
  }
  uint64_t at = (uint64_t)o->at;
  struct block *b = block_of(at);
  if (b && at + first >= b->base && at + last <= b->base + b->size) return b;
  char text[256];
  if (b)
    snprintf(text, sizeof text, "bytes %lld to %lld of an allocation of %zu", (long long)(at - b->base + first),
             (long long)(at - b->base + last), b->size);
  else snprintf(text, sizeof text, "%#llx is in no allocation", (unsigned long long)at);
  const char *kind = memory_was_freed(at) ? "use after free" : "out of bounds";
  device_finding("%s: %s: %s: %s", kind, running, o->what, text);
  if (checking) return NULL;
  fprintf(stderr, "test device: %s: %s: %s: %s\n", kind, running, o->what, text);
  abort();
}

/* The operand's elements in runs that are contiguous. */
int check_operand(const struct operand *o) {
  size_t run = o->item;
  int n = o->n;
  if (!o->at) return 1;
  for (int i = 0; i < n; i++)
    if (o->dims[i] < 1) return 1;
  struct block *b = holder_of(o);
  if (!b || !tracking) return b != NULL;
  while (n && (o->dims[n - 1] == 1 || (size_t)o->strides[n - 1] * o->item == run)) {
    run *= o->dims[n - 1];
    n--;
  }
  long index[DEVICE_DIMS] = {0};
  for (;;) {
    long offset = 0;
    for (int i = 0; i < n; i++) offset += index[i] * o->strides[i];
    mark_run(o, b, (uint64_t)o->at + offset * (long)o->item, run);
    int i = n - 1;
    while (i >= 0 && ++index[i] == o->dims[i]) index[i--] = 0;
    if (i < 0) return 1;
  }
}

void check_copied(void *to, const void *from, size_t size) {
  struct block *a = block_of((uint64_t)from), *b = block_of((uint64_t)to);
  if (!a || !b || !a->marks || a->kind != DEVICE_MEMORY) return;
  unsigned unit = size % 4 ? 1 : 4;
  need_marks(a, unit);
  need_marks(b, a->unit);
  need_marks(a, b->unit);
  size_t p = ((uint64_t)from - a->base) / a->unit, q = ((uint64_t)to - b->base) / b->unit;
  for (size_t i = 0; i < size / a->unit; i++)
    if (!a->marks[p + i].wrote) b->marks[q + i].wrote = 0;
}
