/* ld, st, atom and addresses: where a lane's address lies, after the checks. */
#include <math.h>
#include <string.h>
#include "../checks.h"
#include "machine.h"

static struct accessor accessor(const struct warp *w, const struct instruction *in, u32 lane) {
  return (struct accessor){w->block->number, w->number * LANES + lane, w->epoch, w->own_epoch, in->from->line,
                           in->from->text};
}

static char nowhere[64]; /* what is beyond an allocation, when that is only a finding */

static char *in_shared(struct warp *w, const struct instruction *in, u32 lane, u64 at, u32 size, enum access how) {
  if (at + size > w->block->shared_size || at + size < at) {
    struct accessor who = accessor(w, in, lane);
    outside(&who, "shared memory", at, size, how, w->block->shared_size);
    return memset(nowhere, 0, sizeof nowhere);
  }
  if (tracking) {
    struct accessor who = accessor(w, in, lane);
    check_shared(&who, at, size, how);
  }
  return w->block->shared + at;
}

static char *in_local(struct warp *w, const struct instruction *in, u32 lane, u64 at, u32 size, enum access how) {
  u64 room = w->block->kernel->local_size, inside = at - (u64)(w->local + lane * room);
  if (inside + size > room || inside + size < inside) {
    struct accessor who = accessor(w, in, lane);
    outside(&who, "local memory", inside, size, how, room);
    return memset(nowhere, 0, sizeof nowhere);
  }
  return (char *)at;
}

static inline char *in_global(struct warp *w, const struct instruction *in, u32 lane, u64 at, u32 size,
                              enum access how) {
  int held = memory_holds(at, size);
  if (held && !tracking) return (char *)at;
  struct accessor who = accessor(w, in, lane);
  if (!held) {
    outside(&who, "global memory", at, size, how, 0);
    return memset(nowhere, 0, sizeof nowhere);
  }
  check_global(&who, at, size, how);
  return (char *)at;
}

/* Where the host finds `size` bytes at a lane's address. */
static inline char *place(struct warp *w, const struct instruction *in, u32 lane, u64 at, u32 size, enum access how) {
  at += in->value;
  if (at & (in->align - 1)) {
    struct accessor who = accessor(w, in, lane);
    check_aligned(&who, at, in->align);
  }
  switch (in->space) {
  case SHARED: return in_shared(w, in, lane, at, size, how);
  case LOCAL: return in_local(w, in, lane, at, size, how);
  case PARAMETER: return (char *)at;
  case GENERIC:
    if (at - (u64)w->block->shared < w->block->shared_size)
      return in_shared(w, in, lane, at - (u64)w->block->shared, size, how);
    if (at - (u64)w->local < (u64)w->block->kernel->local_size * LANES) return in_local(w, in, lane, at, size, how);
    if (at - (u64)w->block->parameters < w->block->kernel->parameters_size) return (char *)at;
    return in_global(w, in, lane, at, size, how);
  default: return in_global(w, in, lane, at, size, how);
  }
}

#define ACCESSES(n, T) \
  void load_##n(struct warp *w, const struct instruction *in) { \
    T *d = ROW(T, in->d); const u64 *at = ROW(u64, in->a); \
    for (u32 left = w->active; left; left &= left - 1) { \
      u32 i = __builtin_ctz(left); \
      memcpy(&d[i], place(w, in, i, at[i], n, ACCESS_READ), n); \
    } \
  } \
  void store_##n(struct warp *w, const struct instruction *in) { \
    const T *value = ROW(T, in->b); const u64 *at = ROW(u64, in->a); \
    EACH_IN_ORDER(memcpy(place(w, in, i, at[i], n, ACCESS_WRITE), &value[i], n)) \
  }
ACCESSES(1, u8)
ACCESSES(2, u16)
ACCESSES(4, u32)
ACCESSES(8, u64)

/* A kernel's parameter is one value for all. */
void load_parameter(struct warp *w, const struct instruction *in) {
  const char *from = w->block->parameters + in->value;
  switch (in->align) {
  case 1: EACH(ROW(u8, in->d)[i] = *(u8 *)from); break;
  case 2: EACH(ROW(u16, in->d)[i] = *(u16 *)from); break;
  case 4: EACH(ROW(u32, in->d)[i] = *(u32 *)from); break;
  default: EACH(ROW(u64, in->d)[i] = *(u64 *)from);
  }
}

void parameter_address(struct warp *w, const struct instruction *in) {
  EACH(ROW(u64, in->d)[i] = (u64)w->block->parameters + in->value);
}

/* The bytes of a local variable to another one. */
void copy_local(struct warp *w, const struct instruction *in) {
  u64 room = w->block->kernel->local_size;
  EACH(memcpy(w->local + i * room + in->d, w->local + i * room + in->a, in->value));
}

void local_address(struct warp *w, const struct instruction *in) {
  u64 room = w->block->kernel->local_size;
  EACH(ROW(u64, in->d)[i] = (u64)w->local + i * room + in->value);
}

void shared_to_generic(struct warp *w, const struct instruction *in) {
  EACH(ROW(u64, in->d)[i] = ROW(u64, in->a)[i] + (u64)w->block->shared);
}

void generic_to_shared(struct warp *w, const struct instruction *in) {
  EACH(ROW(u64, in->d)[i] = ROW(u64, in->a)[i] - (u64)w->block->shared);
}

void is_in_space(struct warp *w, const struct instruction *in) {
  const u64 *at = ROW(u64, in->a);
  for (u32 i = 0; i < LANES; i++) {
    if (!(w->active >> i & 1)) continue;
    int shared = at[i] - (u64)w->block->shared < w->block->shared_size;
    int local = at[i] - (u64)w->local < (u64)w->block->kernel->local_size * LANES;
    ROW(u8, in->d)[i] = in->space == SHARED ? shared : in->space == LOCAL ? local : !shared && !local;
  }
}

#define ATOMIC(name, T, expression) \
  static void name(struct warp *w, const struct instruction *in) { \
    const u64 *at = ROW(u64, in->a); \
    EACH_IN_ORDER(T *here = (T *)place(w, in, i, at[i], sizeof(T), ACCESS_ATOMIC); T old = *here; \
                  T b = ROW(T, in->b)[i]; *here = (T)(expression); ROW(T, in->d)[i] = old) \
  }
#define COMPARE_AND_SWAP(name, T) \
  static void name(struct warp *w, const struct instruction *in) { \
    const u64 *at = ROW(u64, in->a); \
    EACH_IN_ORDER(T *here = (T *)place(w, in, i, at[i], sizeof(T), ACCESS_ATOMIC); T old = *here; \
                  T b = ROW(T, in->b)[i]; T c = ROW(T, in->c)[i]; if (old == b) *here = c; ROW(T, in->d)[i] = old) \
  }
#define ATOMICS(n, U, S) \
  ATOMIC(atom_add_##n, U, old + b) ATOMIC(atom_and_##n, U, old & b) ATOMIC(atom_or_##n, U, old | b) \
  ATOMIC(atom_xor_##n, U, old ^ b) ATOMIC(atom_exch_##n, U, b) ATOMIC(atom_inc_##n, U, old >= b ? 0 : old + 1) \
  ATOMIC(atom_dec_##n, U, !old || old > b ? b : old - 1) ATOMIC(atom_min_u##n, U, old < b ? old : b) \
  ATOMIC(atom_max_u##n, U, old > b ? old : b) ATOMIC(atom_min_s##n, S, old < b ? old : b) \
  ATOMIC(atom_max_s##n, S, old > b ? old : b) COMPARE_AND_SWAP(atom_cas_##n, U)
ATOMICS(32, u32, s32)
ATOMICS(64, u64, s64)
COMPARE_AND_SWAP(atom_cas_16, u16)
ATOMIC(atom_add_f16, f16, old + b)
ATOMIC(atom_add_f32, f32, old + b)
ATOMIC(atom_add_f64, f64, old + b)
/* Two halves, each added on its own. */
static void atom_add_f16x2(struct warp *w, const struct instruction *in) {
  const u64 *at = ROW(u64, in->a);
  EACH_IN_ORDER(f16 *here = (f16 *)place(w, in, i, at[i], 4, ACCESS_ATOMIC); u32 old; memcpy(&old, here, 4);
                for (u32 k = 0; k < 2; k++) here[k] = (f16)(here[k] + ROW(f16, in->b)[2 * i + k]);
                ROW(u32, in->d)[i] = old)
}

#define WIDTHS(name, n, d) \
  {"atom." #name ".u" #n, atom_##name##_##n, d "x" d, 0}, {"atom." #name ".s" #n, atom_##name##_##n, d "x" d, 0}, \
  {"atom." #name ".b" #n, atom_##name##_##n, d "x" d, 0}
#define EXTREMES(n, d) \
  {"atom.min.u" #n, atom_min_u##n, d "x" d, 0}, {"atom.max.u" #n, atom_max_u##n, d "x" d, 0}, \
  {"atom.min.s" #n, atom_min_s##n, d "x" d, 0}, {"atom.max.s" #n, atom_max_s##n, d "x" d, 0}
#define ALL(n, d) \
  WIDTHS(add, n, d), WIDTHS(and, n, d), WIDTHS(or, n, d), WIDTHS(xor, n, d), WIDTHS(exch, n, d), WIDTHS(inc, n, d), \
  WIDTHS(dec, n, d), EXTREMES(n, d), {"atom.cas.b" #n, atom_cas_##n, d "x" d d, 0}, \
  {"atom.cas.u" #n, atom_cas_##n, d "x" d d, 0}, {"atom.cas.s" #n, atom_cas_##n, d "x" d d, 0}
const struct entry atomic_entries[] = {
    ALL(32, "w"), ALL(64, "x"), {"atom.cas.b16", atom_cas_16, "hxhh", 0}, {"atom.add.f16", atom_add_f16, "hxh", 1},
    {"atom.add.noftz.f16", atom_add_f16, "hxh", 1}, {"atom.add.f32", atom_add_f32, "wxw", 1},
    {"atom.add.f64", atom_add_f64, "xxx", 1}, {"atom.add.f16x2", atom_add_f16x2, "wxw", 2},
    {"atom.add.noftz.f16x2", atom_add_f16x2, "wxw", 2}, {0}};
