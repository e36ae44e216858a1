/* Instructions that no table has: memory, control, predicates, carries, what a warp's lanes do together. */
#include <stdio.h>
#include <stdlib.h>
#include "decode.h"

static int has(char **parts, int n, const char *what) {
  for (int i = 1; i < n; i++)
    if (!strcmp(parts[i], what)) return 1;
  return 0;
}

static enum space space_of(char **parts, int n) {
  static const struct { const char *name; enum space space; } spaces[] = {
      {"global", GLOBAL}, {"shared", SHARED}, {"local", LOCAL}, {"const", CONSTANT}, {"param", PARAMETER}};
  for (int i = 1; i < n; i++)
    for (u32 k = 0; k < sizeof spaces / sizeof *spaces; k++)
      if (!strncmp(parts[i], spaces[k].name, strcspn(parts[i], ":"))) return spaces[k].space;
  return GENERIC;
}

static char kind_of(struct decoder *d, const char *type) {
  switch (type_width(type)) {
  case 1: return type[0] == 's' ? 'C' : 'c';
  case 2: return type[0] == 's' ? 'H' : 'h';
  case 4: return type[0] == 's' ? 'W' : 'w';
  case 8: return 'x';
  default: unknown(d, type);
  }
}

/* {a, b, ...} or one operand; they are cut from a copy that stays. */
static int elements(struct decoder *d, const char *text, char **parts) {
  char *copy = strdup(text);
  if (!copy) abort();
  size_t n = strlen(copy);
  if (copy[0] != '{') {
    parts[0] = copy;
    return 1;
  }
  copy[n - 1] = 0;
  int count = split_at_commas(copy + 1, parts, 8);
  if (count < 1) unknown(d, text);
  return count;
}

static behaviour *access_of(char kind, int is_store) {
  switch (kind_width(kind)) {
  case 1: return is_store ? store_1 : load_1;
  case 2: return is_store ? store_2 : load_2;
  case 4: return is_store ? store_4 : load_4;
  default: return is_store ? store_8 : load_8;
  }
}

static void load(struct decoder *d, char **parts, int n) {
  char kind = kind_of(d, parts[n - 1]), *into[8];
  int count = elements(d, d->now->operands[0], into);
  enum space space = space_of(parts, n);
  s64 offset;
  u32 row = address(d, d->now->operands[1], &offset, &space), width = kind_width(kind);
  int is_parameter = space == PARAMETER && d->now->operands[1][1] != '%';
  for (int i = 0; i < count; i++) {
    struct target t = target(d, into[i], kind);
    struct instruction *in = emit(d, is_parameter ? load_parameter : access_of(kind, 0));
    in->d = t.row;
    in->a = row;
    in->value = offset + i * width;
    in->space = space;
    in->align = is_parameter || i ? width : width * count;
    finish_target(d, t);
  }
}

static void store(struct decoder *d, char **parts, int n) {
  char kind = kind_of(d, parts[n - 1]), *from[8];
  int count = elements(d, d->now->operands[1], from);
  enum space space = space_of(parts, n);
  s64 offset;
  u32 row = address(d, d->now->operands[0], &offset, &space), width = kind_width(kind);
  for (int i = 0; i < count; i++) {
    u32 value = source(d, from[i], kind);
    struct instruction *in = emit(d, access_of(kind, 1));
    in->a = row;
    in->b = value;
    in->value = offset + i * width;
    in->space = space;
    in->align = i ? width : width * count;
  }
}

/* atom: what was there, and a new value; red: only the new value. */
static void atomic(struct decoder *d, char **parts, int n) {
  static const char *const operations[] = {"add", "and", "or", "xor", "exch", "inc", "dec", "min", "max", "cas"};
  const char *operation = NULL;
  char name[64], scratch[] = "_";
  int returns = !strcmp(parts[0], "atom");
  for (u32 i = 0; i < sizeof operations / sizeof *operations; i++)
    if (has(parts, n, operations[i])) operation = operations[i];
  if (!operation) unknown(d, "atomic operation");
  snprintf(name, sizeof name, "atom.%s.%s", operation, parts[n - 1]);
  const struct entry *e = entry_of(name);
  char **operands = (char **)d->now->operands;
  if (!e || d->now->n_operands != (int)strlen(e->operands) - !returns || parts[1][0] == 'v') unknown(d, name);
  struct target t = target(d, returns ? operands[0] : scratch, e->operands[0]);
  enum space space = space_of(parts, n);
  s64 offset;
  u32 row = address(d, operands[returns], &offset, &space);
  u32 b = source(d, operands[returns + 1], e->operands[2]);
  u32 c = e->operands[3] ? source(d, operands[returns + 2], e->operands[3]) : 0;
  struct instruction *in = emit(d, e->run);
  in->d = t.row;
  in->a = row;
  in->b = b;
  in->c = c;
  in->value = offset;
  in->space = space;
  in->align = kind_width(e->operands[0]);
  in->flop = e->flop;
  finish_target(d, t);
}

/* Addresses are the host's, but for those of shared memory. */
static void convert_address(struct decoder *d, char **parts, int n) {
  struct target t = target(d, d->now->operands[0], 'x');
  u32 row = source(d, d->now->operands[1], 'x');
  behaviour *run = !has(parts, n, "shared") ? entry_of("mov.b64")->run
                   : has(parts, n, "to")    ? generic_to_shared : shared_to_generic;
  struct instruction *in = emit(d, run);
  in->d = t.row;
  in->a = row;
  finish_target(d, t);
}

static void move(struct decoder *d, char **parts, int n) {
  char **operands = (char **)d->now->operands, *pieces[8];
  char kind = strcmp(parts[n - 1], "pred") ? kind_of(d, parts[n - 1]) : 'p';
  if (operands[0][0] == '{') { /* one value to its pieces */
    int count = elements(d, operands[0], pieces);
    u32 width = kind_width(kind) / count, whole = source(d, operands[1], kind);
    char piece = width == 1 ? 'c' : width == 2 ? 'h' : 'w';
    u32 rows = new_row(d, 8), shifted = rows;
    for (int i = 0; i < count; i++) {
      struct target t = target(d, pieces[i], piece);
      resize(d, shifted, 8, whole, kind_width(kind), 0);
      if (i) {
        struct instruction *in = emit(d, entry_of("shr.u64")->run);
        in->d = in->a = shifted;
        in->b = constant_row(d, 8 * width * i, 4);
      }
      resize(d, t.row, width, shifted, 8, 0);
      finish_target(d, t);
    }
  } else if (operands[1][0] == '{') { /* pieces to one value */
    int count = elements(d, operands[1], pieces);
    u32 width = kind_width(kind) / count, sum = new_row(d, 8), shifted = new_row(d, 8);
    char piece = width == 1 ? 'c' : width == 2 ? 'h' : 'w';
    resize(d, sum, 8, source(d, pieces[0], piece), width, 0);
    for (int i = 1; i < count; i++) {
      resize(d, shifted, 8, source(d, pieces[i], piece), width, 0);
      struct instruction *in = emit(d, entry_of("shl.b64")->run);
      in->d = in->a = shifted;
      in->b = constant_row(d, 8 * width * i, 4);
      in = emit(d, entry_of("or.b64")->run);
      in->d = in->a = sum;
      in->b = shifted;
    }
    struct target t = target(d, operands[0], kind);
    resize(d, t.row, kind_width(kind), sum, 8, 0);
    finish_target(d, t);
  } else {
    char name[32];
    snprintf(name, sizeof name, "mov.%s", parts[n - 1]);
    plain(d, name, operands, d->now->n_operands);
  }
}

static u32 logical(struct decoder *d, const char *name, u32 a, u32 b, u32 to) {
  struct instruction *in = emit(d, entry_of(name)->run);
  in->a = a;
  in->b = b;
  return in->d = to;
}

/* setp.compare[.and|or|xor].type p[|q], a, b[, c]: p is the comparison with c, q its opposite with c. */
static void compare(struct decoder *d, char **parts, int n) {
  char **operands = (char **)d->now->operands, name[64], into[128];
  const char *type = parts[n - 1];
  int combine = has(parts, n, "and") || has(parts, n, "or") || has(parts, n, "xor");
  if (d->now->n_operands != 3 + combine) unknown(d, "the number of operands");
  snprintf(name, sizeof name, "setp.%s.%s", parts[1], type);
  const struct entry *e = entry_of(name);
  if (!e) unknown(d, name);
  u32 a = source(d, operands[1], e->operands[1]), b = source(d, operands[2], e->operands[2]);
  if (has(parts, n, "ftz") && !strcmp(type, "f32")) {
    a = logical(d, "flush.f32", a, 0, new_row(d, 4));
    b = logical(d, "flush.f32", b, 0, new_row(d, 4));
  }
  u32 result = logical(d, name, a, b, new_row(d, 1));
  snprintf(into, sizeof into, "%s", operands[0]);
  char *second = strchr(into, '|');
  if (second) *second++ = 0;
  u32 opposite = second ? logical(d, "not.pred", result, 0, new_row(d, 1)) : 0;
  if (combine) {
    u32 third = source(d, operands[3], 'p');
    snprintf(name, sizeof name, "%s.pred", has(parts, n, "and") ? "and" : has(parts, n, "or") ? "or" : "xor");
    logical(d, name, result, third, result);
    if (second) logical(d, name, opposite, third, opposite);
  }
  logical(d, "mov.pred", result, 0, target(d, trimmed(into), 'p').row);
  if (second) logical(d, "mov.pred", opposite, 0, target(d, trimmed(second), 'p').row);
}

/* set: a comparison as a number; slct: one of two values by a third's sign. */
static void select_number(struct decoder *d, char **parts, int n) {
  char name[64];
  char **operands = (char **)d->now->operands;
  int is_set = !strcmp(parts[0], "set");
  const char *type = parts[n - 2], *from = parts[n - 1];
  if (is_set && d->now->n_operands != 3) unknown(d, "set with a third operand");
  snprintf(name, sizeof name, "setp.%s.%s", is_set ? parts[1] : "ge", from);
  const struct entry *e = entry_of(name);
  if (!e) unknown(d, name);
  u32 zero = constant_row(d, 0, kind_width(e->operands[1]));
  u32 yes = source(d, operands[is_set ? 1 : 3], e->operands[1]);
  yes = logical(d, name, yes, is_set ? source(d, operands[2], e->operands[2]) : zero, new_row(d, 1));
  char kind = kind_of(d, type);
  struct target t = target(d, operands[0], kind);
  u32 a = is_set ? constant_row(d, type[0] == 'f' ? 0x3f800000 : 0xffffffff, 4) : source(d, operands[1], kind);
  u32 b = is_set ? constant_row(d, 0, 4) : source(d, operands[2], kind);
  snprintf(name, sizeof name, "selp.b%u", 8 * kind_width(kind));
  struct instruction *in = emit(d, entry_of(name)->run);
  in->d = t.row;
  in->a = a;
  in->b = b;
  in->c = yes;
  finish_target(d, t);
}

/* add.cc, addc, sub.cc, subc, mad.cc, madc: the sum takes the carry that the last one left, or leaves one. */
static void carry(struct decoder *d, char **parts, int n) {
  char **operands = (char **)d->now->operands, name[64];
  const char *type = parts[n - 1];
  int takes = parts[0][strlen(parts[0]) - 1] == 'c', is_product = parts[0][0] == 'm', width = type_width(type);
  char kind = width == 8 ? 'x' : 'w';
  if ((width != 4 && width != 8) || d->now->n_operands != 3 + is_product) unknown(d, "carry");
  u32 a = source(d, operands[1], kind), b = source(d, operands[2], kind);
  if (is_product) {
    snprintf(name, sizeof name, "mul.%s.%s", parts[1], type);
    if (!entry_of(name)) unknown(d, name);
    a = logical(d, name, a, b, new_row(d, width));
    b = source(d, operands[3], kind);
  }
  snprintf(name, sizeof name, "%s.carry.%d", parts[0][0] == 's' ? "sub" : "add", 8 * width);
  struct target t = target(d, operands[0], kind);
  struct instruction *in = emit(d, entry_of(name)->run);
  in->d = t.row;
  in->a = a;
  in->b = b;
  in->e = d->carry;
  in->value = takes | has(parts, n, "cc") << 1;
  finish_target(d, t);
}

static void jump(struct decoder *d) {
  const struct statement *s = d->now;
  u8 negated = 0;
  u32 row = s->guard ? source_predicate(d, s->guard, &negated) : 0;
  struct instruction *in = emit(d, s->guard ? branch_if : branch);
  in->a = row;
  in->negated = negated;
  *APPEND(d, jumps) = (struct jump){d->kernel->n_code - 1, s->operands[0], s};
}

/* brx.idx: one of the labels of a table. */
static void jump_by_table(struct decoder *d) {
  char **operands = (char **)d->now->operands;
  u32 k = 0;
  while (k < d->n_tables && strcmp(d->tables[k].name, operands[1])) k++;
  if (k == d->n_tables) unknown(d, "no such table");
  u32 index = source(d, operands[0], 'w');
  for (int i = 0; i < d->tables[k].n; i++) { /* a comparison and a branch for each */
    u32 equal = new_row(d, 1);
    struct instruction *in = emit(d, entry_of("setp.eq.u32")->run);
    in->a = index;
    in->b = constant_row(d, i, 4);
    in->d = equal;
    emit(d, branch_if)->a = equal;
    *APPEND(d, jumps) = (struct jump){d->kernel->n_code - 1, d->tables[k].labels[i], d->now};
  }
  emit(d, trap);
}

/* isspacep: whether a generic address is of a space. */
static void ask_space(struct decoder *d, char **parts, int n) {
  u32 row = source(d, d->now->operands[1], 'x');
  struct target t = target(d, d->now->operands[0], 'p');
  struct instruction *in = emit(d, is_in_space);
  in->a = row;
  in->d = t.row;
  in->space = space_of(parts, n);
}

static void barrier(struct decoder *d, char **parts, int n) {
  char **operands = (char **)d->now->operands;
  int n_operands = d->now->n_operands, reduces = has(parts, n, "red");
  if (has(parts, n, "warp")) {
    u32 members = source(d, operands[0], 'w');
    emit(d, join_warp)->a = members;
    return;
  }
  u8 negated = 0;
  u32 number = source(d, operands[reduces], 'w'), count = 0, predicate = 0;
  int counted = n_operands - 2 * reduces > 1;
  if (counted) count = source(d, operands[reduces + 1], 'w');
  if (reduces) predicate = source_predicate(d, operands[n_operands - 1], &negated);
  if (reduces && has(parts, n, "popc") && symbol_of(d, operands[0])->width != 4) unknown(d, "the result's register");
  u32 into = reduces ? target(d, operands[0], has(parts, n, "popc") ? 'w' : 'p').row : 0;
  d->kernel->waits = 1;
  struct instruction *in =
      emit(d, reduces ? reduce_at_barrier : has(parts, n, "arrive") ? arrive_at_barrier : wait_at_barrier);
  in->d = into;
  in->a = number;
  in->b = count;
  in->c = predicate;
  in->negated = counted;
  in->align = negated;
  in->value = has(parts, n, "popc") ? 'p' : has(parts, n, "and") ? 'a' : 'o';
}

/* redux: the sign of the operation that reduce_warp knows. */
static s64 reduction_of(struct decoder *d, const char *operation, const char *type) {
  static const struct { const char *name; char of_signed, of_unsigned; } reductions[] = {
      {"add", '+', '+'}, {"and", '&', '&'}, {"or", '|', '|'}, {"xor", '^', '^'}, {"min", 's', 'u'}, {"max", 'S', 'U'}};
  for (u32 i = 0; i < sizeof reductions / sizeof *reductions; i++)
    if (!strcmp(operation, reductions[i].name))
      return type[0] == 's' ? reductions[i].of_signed : reductions[i].of_unsigned;
  unknown(d, operation);
}

/* What shfl, vote, match, redux and activemask are given, in an instruction that has no place yet; its result's kind. */
static char lanes_given(struct decoder *d, char **parts, int n, struct instruction *in) {
  char **operands = (char **)d->now->operands;
  int synchronised = has(parts, n, "sync"), width = type_width(parts[n - 1]);
  if (!strcmp(parts[0], "activemask")) {
    in->run = active_mask;
  } else if (!strcmp(parts[0], "shfl")) {
    in->run = shuffle;
    in->value = parts[n - 2][0];
    in->a = source(d, operands[1], 'w');
    in->b = source(d, operands[2], 'w');
    in->c = source(d, operands[3], 'w');
    if ((in->negated = synchronised)) in->e = source(d, operands[4], 'w');
  } else if (!strcmp(parts[0], "vote")) {
    in->run = vote;
    in->value = has(parts, n, "ballot") ? 'b' : has(parts, n, "any") ? 'n' : has(parts, n, "all") ? 'l' : 'u';
    in->a = source_predicate(d, operands[1], &in->negated);
    if ((in->align = synchronised)) in->b = source(d, operands[2], 'w');
    return in->value == 'b' ? 'w' : 'p';
  } else {
    int is_match = !strcmp(parts[0], "match");
    in->run = !is_match ? reduce_warp : has(parts, n, "any") ? match_any : match_all;
    in->a = source(d, operands[1], width == 8 ? 'x' : 'w');
    in->b = source(d, operands[2], 'w');
    in->value = is_match ? 8 * width : reduction_of(d, parts[2], parts[n - 1]);
  }
  return 'w';
}

static void lanes_together(struct decoder *d, char **parts, int n) {
  char into[128], *second;
  struct instruction in = {0};
  char kind = lanes_given(d, parts, n, &in);
  snprintf(into, sizeof into, "%s", d->now->operands[0]);
  if ((second = strchr(into, '|'))) *second++ = 0;
  struct target t = target(d, trimmed(into), kind);
  in.d = t.row;
  in.target = second ? target(d, trimmed(second), 'p').row : 0;
  in.from = d->now;
  *APPEND(d->kernel, code) = in;
  finish_target(d, t);
}

static void end(struct decoder *d, int of_thread) {
  struct instruction *in = emit(d, d->function && !of_thread ? return_from_function : end_thread);
  if (d->function) in->a = d->function->back;
}

static int is(const char *text, const char *one) { return !strcmp(text, one); }

int decode_special(struct decoder *d, char **parts, int n) {
  static const char *const nothing[] = {"membar", "fence", "prefetch", "prefetchu", "nanosleep", "discard",
                                        "applypriority", "pmevent"};
  const char *name = parts[0];
  for (u32 i = 0; i < sizeof nothing / sizeof *nothing; i++)
    if (is(name, nothing[i])) return 1;
  if (is(name, "ld") || is(name, "ldu")) load(d, parts, n);
  else if (is(name, "st")) store(d, parts, n);
  else if (is(name, "atom") || is(name, "red")) atomic(d, parts, n);
  else if (is(name, "cvta")) convert_address(d, parts, n);
  else if (is(name, "mov")) move(d, parts, n);
  else if (is(name, "setp")) compare(d, parts, n);
  else if (is(name, "set") || is(name, "slct")) select_number(d, parts, n);
  else if (is(name, "addc") || is(name, "subc") || is(name, "madc") || has(parts, n, "cc")) carry(d, parts, n);
  else if (is(name, "bra")) jump(d);
  else if (is(name, "brx")) jump_by_table(d);
  else if (is(name, "isspacep")) ask_space(d, parts, n);
  else if (is(name, "bar") || is(name, "barrier")) barrier(d, parts, n);
  else if (is(name, "shfl") || is(name, "vote") || is(name, "match") || is(name, "redux") || is(name, "activemask"))
    lanes_together(d, parts, n);
  else if (is(name, "call")) decode_call(d);
  else if (is(name, "ret") || is(name, "exit")) end(d, is(name, "exit"));
  else if (is(name, "trap") || is(name, "brkpt")) emit(d, trap);
  else return 0;
  return 1;
}
