/* Runs a grid: block after block, the warps of a block from barrier to barrier, a warp's lanes in groups that stand at
   the same instruction. TEST_DEVICE_ORDER: the seed of a random order of blocks, warps and lanes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../checks.h"
#include "../order.h"
#include "machine.h"

/* Which lanes run next: those that are furthest behind, so that lanes which branched apart meet again. In a random order
   now and then others. */
static void choose_group(struct warp *w) {
  u32 pick = __builtin_ctz(w->ready);
  if (order_is_random() && !order_below(4)) {
    for (u32 skip = order_below(LANES), left = w->ready; left; left &= left - 1, skip--) {
      pick = __builtin_ctz(left);
      if (!skip) break;
    }
  } else
    for (u32 left = w->ready; left; left &= left - 1) {
      u32 i = __builtin_ctz(left);
      if (w->others_first ? w->lane_pc[i] > w->lane_pc[pick] : w->lane_pc[i] < w->lane_pc[pick]) pick = i;
    }
  w->others_first = 0;
  w->pc = w->lane_pc[pick];
  w->stop = ~0u;
  w->active = 0;
  for (u32 left = w->ready; left; left &= left - 1) {
    u32 i = __builtin_ctz(left), pc = w->lane_pc[i];
    if (pc == w->pc) w->active |= 1u << i;
    else if (pc > w->pc && pc < w->stop) w->stop = pc;
  }
}

/* Until all its lanes have ended or wait. */
static void run_warp(struct warp *w) {
  const struct instruction *code = w->block->kernel->code;
  while (w->ready) {
    choose_group(w);
    while (w->pc < w->stop) {
      const struct instruction *in = &code[w->pc++];
      in->run(w, in);
      if (in->flop) w->block->flop += in->flop * __builtin_popcount(w->active);
    }
    for (u32 left = w->active; left; left &= left - 1) w->lane_pc[__builtin_ctz(left)] = w->pc;
  }
}

/* The values of a special register. */
static void special_values(const struct warp *w, const struct special *s, u32 *values) {
  const struct block_state *block = w->block;
  const u32 *n = block->size, first = w->number * LANES;
  for (u32 i = 0; i < LANES; i++) {
    u32 thread = first + i, below = (1u << i) - 1, one = 1u << i;
    switch (s->kind) {
    case TID:
      values[i] = s->axis == 0 ? (n[0] == block->threads ? thread : thread % n[0])
                               : s->axis == 1 ? thread / n[0] % n[1] : thread / n[0] / n[1];
      break;
    case NTID: values[i] = n[s->axis]; break;
    case CTAID: values[i] = block->at[s->axis]; break;
    case NCTAID: values[i] = block->grid[s->axis]; break;
    case LANE: values[i] = i; break;
    case WARP: values[i] = w->number; break;
    case WARPS: values[i] = MOST_WARPS; break;
    case LANES_EQ: values[i] = one; break;
    case LANES_LT: values[i] = below; break;
    case LANES_LE: values[i] = below | one; break;
    case LANES_GT: values[i] = ~(below | one); break;
    case LANES_GE: values[i] = ~below; break;
    case DYNAMIC_SHARED: values[i] = block->shared_size - (block->kernel->shared_size + 15) / 16 * 16; break;
    case ALL_SHARED: values[i] = block->shared_size; break;
    case ZERO: values[i] = 0;
    }
  }
}

static void fill_specials(struct warp *w) {
  const struct kernel *kernel = w->block->kernel;
  u32 values[LANES];
  for (u32 k = 0; k < kernel->n_specials; k++) {
    const struct special *s = &kernel->specials[k];
    special_values(w, s, values);
    for (u32 i = 0; i < LANES; i++)
      if (s->width == 8) ROW(u64, s->row)[i] = values[i];
      else if (s->width == 4) ROW(u32, s->row)[i] = values[i];
      else ROW(u16, s->row)[i] = values[i];
  }
}

static void fill_constants(const struct kernel *kernel, char *rows) {
  for (u32 k = 0; k < kernel->n_constants; k++)
    for (u32 i = 0; i < LANES; i++)
      memcpy(rows + kernel->constants[k].row + i * kernel->constants[k].width, &kernel->constants[k].value,
             kernel->constants[k].width);
}

static void start_warp(struct warp *w, struct block_state *block, u32 number) {
  u32 left = block->threads - number * LANES;
  char *rows = w->rows, *local = w->local;
  memset(w, 0, sizeof *w);
  w->rows = rows;
  w->local = local;
  w->block = block;
  w->number = number;
  w->live = w->ready = left >= LANES ? ~0u : (1u << left) - 1;
  w->twist = order_below(LANES);
  fill_specials(w);
}

/* Nothing can go on: threads wait for others that have ended or wait elsewhere. */
static void stuck(struct block_state *block, struct warp *warps, u32 n_warps) {
  for (u32 k = 0; k < n_warps; k++) {
    struct warp *w = &warps[k];
    if (!w->parked) continue;
    device_finding("divergent warp: lanes of a warp of %s wait for others at line %d", block->kernel->name,
                   block->kernel->code[w->lane_pc[__builtin_ctz(w->parked)]].from->line);
    u32 at = w->lane_pc[__builtin_ctz(w->parked)];
    for (u32 left = w->parked; left; left &= left - 1)
      if (w->lane_pc[__builtin_ctz(left)] == at) w->ready |= 1u << __builtin_ctz(left);
    w->parked &= ~w->ready;
    w->meet_anyway = 1;
    return;
  }
  fprintf(stderr, "test device: the threads of a block of %s wait at barriers for ever\n", block->kernel->name);
  abort();
}

static void run_block(struct block_state *block, struct warp *warps) {
  u32 turns[MOST_WARPS];
  memset(block->arrived, 0, sizeof block->arrived);
  if (tracking) check_new_block();
  if (checking) memset(block->shared, 0xff, block->shared_size);
  if (!block->kernel->waits) { /* one warp after the other */
    order_of(turns, block->n_warps);
    for (u32 k = 0; k < block->n_warps; k++) {
      start_warp(warps, block, turns[k]);
      run_warp(warps);
      while (warps->live) {
        stuck(block, warps, 1);
        run_warp(warps);
      }
    }
    return;
  }
  for (u32 k = 0; k < block->n_warps; k++) start_warp(&warps[k], block, k);
  for (;;) {
    u32 live = 0;
    order_of(turns, block->n_warps);
    for (u32 k = 0; k < block->n_warps; k++) run_warp(&warps[turns[k]]);
    for (u32 k = 0; k < block->n_warps; k++) live |= warps[k].live;
    if (!live) return;
    if (!barriers_release(block, warps)) stuck(block, warps, block->n_warps);
  }
}

void run_grid(const struct kernel *kernel, const u32 grid[3], const u32 size[3], u32 shared, char *parameters,
              u64 *flop) {
  struct block_state block = {.kernel = kernel, .parameters = parameters};
  u64 n_blocks = (u64)grid[0] * grid[1] * grid[2];
  memcpy(block.grid, grid, sizeof block.grid);
  memcpy(block.size, size, sizeof block.size);
  block.threads = size[0] * size[1] * size[2];
  block.n_warps = (block.threads + LANES - 1) / LANES;
  block.shared_size = (kernel->shared_size + 15) / 16 * 16 + shared;
  block.shared = ptx_allocated(block.shared_size + 1);
  u32 n_contexts = kernel->waits ? block.n_warps : 1;
  struct warp *warps = calloc(n_contexts, sizeof *warps);
  u32 *turns = malloc(n_blocks * sizeof *turns);
  if (!warps || !turns) abort();
  char *rows = ptx_allocated((size_t)n_contexts * kernel->rows_size);
  char *local = ptx_allocated((size_t)n_contexts * kernel->local_size * LANES + 1);
  for (u32 k = 0; k < n_contexts; k++) {
    warps[k].rows = rows + (size_t)k * kernel->rows_size;
    warps[k].local = local + (size_t)k * kernel->local_size * LANES;
    fill_constants(kernel, warps[k].rows);
  }
  order_of(turns, n_blocks);
  for (u64 k = 0; k < n_blocks; k++) {
    block.number = turns[k];
    block.at[0] = block.number % grid[0];
    block.at[1] = block.number / grid[0] % grid[1];
    block.at[2] = block.number / grid[0] / grid[1];
    run_block(&block, warps);
  }
  *flop = block.flop;
  free(local);
  free(rows);
  free(turns);
  free(warps);
  free(block.shared);
}
