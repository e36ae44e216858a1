/* Branches, guards, calls, barriers and the end of a thread. */
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include "../device.h"
#include "machine.h"

/* The lanes that run go on at `pc` when their turn comes. */
static void leave(struct warp *w, u32 lanes, u32 pc) {
  for (u32 left = lanes; left; left &= left - 1) w->lane_pc[__builtin_ctz(left)] = pc;
  w->active &= ~lanes;
  w->stop = 0;
}

static u32 lanes_where(const struct warp *w, u32 row, int negated) {
  const u8 *p = ROW(u8, row);
  u32 found = 0;
  for (int i = 0; i < LANES; i++) found |= (u32)(p[i] != negated) << i;
  return found & w->active;
}

enum { MOST_TURNS = 1 << 26, PATIENCE = 1024 };

/* A loop's turn. Lanes that wait in it for others must let those run, now and then. */
static void turn(struct warp *w, const struct instruction *in) {
  if (++w->turns == MOST_TURNS) {
    fprintf(stderr, "test device: kernel %s, line %d: a loop does not end\n", w->block->kernel->name, in->from->line);
    abort();
  }
  if (w->turns % PATIENCE == 0 && w->active != w->ready) {
    leave(w, w->active, w->pc);
    w->others_first = 1;
  }
}

void branch(struct warp *w, const struct instruction *in) {
  int back = in->target < w->pc;
  w->pc = in->target;
  if (back) turn(w, in);
}

void branch_if(struct warp *w, const struct instruction *in) {
  u32 taken = lanes_where(w, in->a, in->negated);
  if (taken == w->active) {
    branch(w, in);
  } else if (taken) {
    leave(w, w->active & ~taken, w->pc);
    leave(w, taken, in->target);
  }
}

/* The next instructions, `target` many, are only for some lanes. */
void guard_next(struct warp *w, const struct instruction *in) {
  u32 all = w->active, some = lanes_where(w, in->a, in->negated), end = w->pc + in->target;
  w->active = some;
  while (w->active && w->pc < end) {
    const struct instruction *next = &w->block->kernel->code[w->pc++];
    next->run(w, next);
    w->block->flop += next->flop * __builtin_popcount(w->active);
  }
  if (some && !w->active) leave(w, w->ready & all & ~some, end);
  else w->active = all, w->pc = end;
}

void round_next(struct warp *w, const struct instruction *in) {
  const struct instruction *next = in + 1;
  w->pc++;
  fesetround(in->rounding);
  next->run(w, next);
  fesetround(FE_TONEAREST);
  w->block->flop += next->flop * __builtin_popcount(w->active);
}

/* A function's registers are its own, so that it cannot call itself: the place to return to is one of them. */
void call_function(struct warp *w, const struct instruction *in) {
  u32 *back = ROW(u32, in->d);
  EACH(back[i] = w->pc);
  leave(w, w->active, in->target);
}

void return_from_function(struct warp *w, const struct instruction *in) {
  const u32 *back = ROW(u32, in->a);
  for (u32 left = w->active; left; left &= left - 1) {
    int i = __builtin_ctz(left);
    leave(w, 1u << i, back[i]);
  }
}

void end_thread(struct warp *w, const struct instruction *in) {
  w->live &= ~w->active;
  w->ready &= ~w->active;
  leave(w, w->active, w->pc);
}

void trap(struct warp *w, const struct instruction *in) {
  fprintf(stderr, "test device: kernel %s, line %d: %s\n", w->block->kernel->name, in->from->line, in->from->text);
  abort();
}

static void arrive(struct warp *w, const struct instruction *in) {
  for (u32 left = w->active; left; left &= left - 1) {
    int i = __builtin_ctz(left);
    w->barrier[i] = ROW(u32, in->a)[i] % BARRIERS;
    w->expected[i] = in->negated ? ROW(u32, in->b)[i] : 0;
  }
}

void wait_at_barrier(struct warp *w, const struct instruction *in) {
  arrive(w, in);
  w->waiting |= w->active;
  w->ready &= ~w->active;
  leave(w, w->active, w->pc);
}

void reduce_at_barrier(struct warp *w, const struct instruction *in) { wait_at_barrier(w, in); }

void arrive_at_barrier(struct warp *w, const struct instruction *in) {
  arrive(w, in);
  for (u32 left = w->active; left; left &= left - 1) w->block->arrived[w->barrier[__builtin_ctz(left)]]++;
}

/* What a barrier with a reduction gives: how many, whether all or whether any of its threads had the predicate. */
static void give_reduction(struct block_state *block, struct warp *warps, u32 barrier, u32 waiting) {
  u32 count = 0;
  for (int pass = 0; pass < 2; pass++)
    for (u32 k = 0; k < block->n_warps; k++)
      for (u32 left = warps[k].waiting; left; left &= left - 1) {
        struct warp *w = &warps[k];
        int i = __builtin_ctz(left);
        const struct instruction *in = &block->kernel->code[w->lane_pc[i] - 1];
        if (w->barrier[i] != barrier || in->run != reduce_at_barrier) continue;
        int is = ROW(u8, in->c)[i] != in->align;
        if (!pass) count += is;
        else if (in->value == 'p') ROW(u32, in->d)[i] = count;
        else ROW(u8, in->d)[i] = in->value == 'a' ? count == waiting : count > 0;
      }
}

static void release(struct block_state *block, struct warp *warps, u32 barrier, u32 waiting) {
  give_reduction(block, warps, barrier, waiting);
  for (u32 k = 0; k < block->n_warps; k++) {
    struct warp *w = &warps[k];
    u32 freed = 0;
    for (u32 left = w->waiting; left; left &= left - 1) {
      int i = __builtin_ctz(left);
      if (w->barrier[i] == barrier) freed |= 1u << i;
    }
    w->waiting &= ~freed;
    w->ready |= freed;
    w->epoch += freed != 0;
  }
  block->arrived[barrier] = 0;
}

/* Lets the threads go that wait at barriers which are complete; 0 if there is none. */
int barriers_release(struct block_state *block, struct warp *warps) {
  int released = 0;
  for (u32 barrier = 0; barrier < BARRIERS; barrier++) {
    u32 waiting = 0, live = 0, expected = 0, at = 0, apart = 0;
    for (u32 k = 0; k < block->n_warps; k++) {
      live += __builtin_popcount(warps[k].live);
      for (u32 left = warps[k].waiting; left; left &= left - 1) {
        int i = __builtin_ctz(left);
        if (warps[k].barrier[i] != barrier) continue;
        apart |= waiting && at != warps[k].lane_pc[i];
        at = warps[k].lane_pc[i];
        expected = warps[k].expected[i];
        waiting++;
      }
    }
    if (!waiting) continue;
    int line = block->kernel->code[at - 1].from->line;
    if (apart)
      device_finding("divergent barrier: threads of a block of %s wait at barriers of their own, line %d",
                     block->kernel->name, line);
    if (!expected && live < block->threads)
      device_finding("divergent barrier: threads of %s end while others wait at line %d", block->kernel->name, line);
    if (waiting + block->arrived[barrier] < (expected ? expected : live)) continue;
    release(block, warps, barrier, waiting);
    released = 1;
  }
  return released;
}
