/* What the lanes of a warp do together: shuffle, vote, match and reduce. */
#include "machine.h"

/* Whether all members are here. If not, those that are wait for the others: the instruction comes once more. */
int join_lanes(struct warp *w, const struct instruction *in, u32 members) {
  u32 here = (u32)(in - w->block->kernel->code), parked = 0;
  for (u32 left = w->parked; left; left &= left - 1) {
    u32 i = __builtin_ctz(left);
    if (w->lane_pc[i] == here) parked |= 1u << i;
  }
  if ((members & w->live & ~w->active & ~parked) && !w->meet_anyway) {
    for (u32 left = w->active; left; left &= left - 1) w->lane_pc[__builtin_ctz(left)] = here;
    w->parked |= w->active;
    w->ready &= ~w->active;
    w->active = w->stop = 0;
    return 0;
  }
  w->meet_anyway = 0;
  w->parked &= ~parked;
  w->ready |= parked;
  w->active |= parked;
  w->own_epoch++;
  return 1;
}

static u32 members_of(const struct warp *w, u32 row) { return ROW(u32, row)[__builtin_ctz(w->active)]; }

void join_warp(struct warp *w, const struct instruction *in) { join_lanes(w, in, members_of(w, in->a)); }

/* shfl: d | p, a, b, c, members; how is in `value`, p's row in `target`. */
void shuffle(struct warp *w, const struct instruction *in) {
  if (!join_lanes(w, in, in->negated ? members_of(w, in->e) : w->active)) return;
  u32 from[LANES];
  const u32 *a = ROW(u32, in->a), *b = ROW(u32, in->b), *c = ROW(u32, in->c);
  u8 inside[LANES];
  for (int i = 0; i < LANES; i++) {
    int lane = b[i] & 31, clamp = c[i] & 31, segment = c[i] >> 8 & 31, most = (i & segment) | (clamp & ~segment), j;
    switch (in->value) {
    case 'u': j = i - lane; inside[i] = j >= most; break;
    case 'd': j = i + lane; inside[i] = j <= most; break;
    case 'b': j = i ^ lane; inside[i] = j <= most; break;
    default: j = (i & segment) | (lane & ~segment); inside[i] = j <= most;
    }
    from[i] = a[inside[i] ? j & 31 : i];
  }
  u32 *d = ROW(u32, in->d);
  EACH(d[i] = from[i]);
  if (in->target) EACH(ROW(u8, in->target)[i] = inside[i]);
}

/* vote: d, a, members; whether any, all or as many, or which lanes. */
void vote(struct warp *w, const struct instruction *in) {
  if (!join_lanes(w, in, in->align ? members_of(w, in->b) : w->active)) return;
  u32 yes = 0;
  for (u32 left = w->active; left; left &= left - 1) {
    u32 i = __builtin_ctz(left);
    yes |= (u32)(ROW(u8, in->a)[i] != in->negated) << i;
  }
  if (in->value == 'b') EACH(ROW(u32, in->d)[i] = yes);
  else {
    u8 is = in->value == 'n' ? yes != 0 : in->value == 'l' ? yes == w->active : yes == w->active || !yes;
    EACH(ROW(u8, in->d)[i] = is);
  }
}

void active_mask(struct warp *w, const struct instruction *in) {
  u32 active = w->active;
  EACH(ROW(u32, in->d)[i] = active);
}

static u64 value_of(const struct warp *w, const struct instruction *in, u32 lane) {
  return in->value == 64 ? ROW(u64, in->a)[lane] : ROW(u32, in->a)[lane];
}

static u32 alike(const struct warp *w, const struct instruction *in, u32 lane) {
  u32 found = 0;
  for (u32 left = w->active; left; left &= left - 1) {
    u32 j = __builtin_ctz(left);
    found |= (u32)(value_of(w, in, j) == value_of(w, in, lane)) << j;
  }
  return found;
}

void match_any(struct warp *w, const struct instruction *in) {
  if (!join_lanes(w, in, members_of(w, in->b))) return;
  u32 found[LANES];
  for (u32 i = 0; i < LANES; i++) found[i] = alike(w, in, i);
  EACH(ROW(u32, in->d)[i] = found[i]);
}

void match_all(struct warp *w, const struct instruction *in) {
  if (!join_lanes(w, in, members_of(w, in->b))) return;
  u32 all = alike(w, in, __builtin_ctz(w->active)) == w->active ? w->active : 0;
  EACH(ROW(u32, in->d)[i] = all);
  if (in->target) EACH(ROW(u8, in->target)[i] = all != 0);
}

/* redux: d, a, members. */
void reduce_warp(struct warp *w, const struct instruction *in) {
  if (!join_lanes(w, in, members_of(w, in->b))) return;
  const u32 *a = ROW(u32, in->a);
  u32 out = a[__builtin_ctz(w->active)];
  for (u32 left = w->active & (w->active - 1); left; left &= left - 1) {
    u32 b = a[__builtin_ctz(left)];
    switch (in->value) {
    case '+': out += b; break;
    case '&': out &= b; break;
    case '|': out |= b; break;
    case '^': out ^= b; break;
    case 'u': out = b < out ? b : out; break;
    case 'U': out = b > out ? b : out; break;
    case 's': out = (s32)b < (s32)out ? b : out; break;
    default: out = (s32)b > (s32)out ? b : out;
    }
  }
  EACH(ROW(u32, in->d)[i] = out);
}
