/* Operands: registers, literals, special registers, names of variables. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include "decode.h"

void unknown(struct decoder *d, const char *why) { ptx_unknown(d->routine->name, d->now, why); }

struct instruction *emit(struct decoder *d, behaviour *run) {
  struct instruction *in = APPEND(d->kernel, code);
  in->run = run;
  in->from = d->now;
  return in;
}

u32 new_row(struct decoder *d, u32 width) {
  u32 row = d->kernel->rows_size;
  d->kernel->rows_size += width * LANES;
  return row;
}

u32 constant_row(struct decoder *d, u64 value, u32 width) {
  struct kernel *k = d->kernel;
  for (u32 i = 0; i < k->n_constants; i++)
    if (k->constants[i].value == value && k->constants[i].width == width) return k->constants[i].row;
  u32 row = new_row(d, width);
  *APPEND(k, constants) = (struct constant){row, width, value};
  return row;
}

u32 local_place(struct decoder *d, u64 size, u32 align) {
  u32 at = (d->kernel->local_size + align - 1) / align * align;
  d->kernel->local_size = (at + size + 15) / 16 * 16;
  return at;
}

u32 kind_width(char kind) {
  switch (tolower(kind)) {
  case 'p': case 'c': return 1;
  case 'h': return 2;
  case 'w': return 4;
  default: return 8;
  }
}

struct symbol *symbol_of(struct decoder *d, const char *name) {
  for (u32 i = d->n_symbols; i--;)
    if (!strcmp(d->symbols[i].name, name)) return &d->symbols[i];
  struct module *m = d->kernel->module;
  for (u32 i = 0; i < m->n_variables; i++)
    if (!strcmp(m->variables[i].name, name)) return &m->variables[i];
  return NULL;
}

static void resize_rows(struct warp *w, const struct instruction *in) {
  const char *from = w->rows + in->a;
  char *to = w->rows + in->d;
  EACH(u64 value = 0; memcpy(&value, from + i * in->align, in->align);
       if (in->negated) {
         int shift = 64 - 8 * in->align;
         value = (u64)((s64)(value << shift) >> shift);
       } memcpy(to + i * in->value, &value, in->value));
}

void resize(struct decoder *d, u32 to, u32 to_width, u32 from, u32 from_width, int with_sign) {
  struct instruction *in = emit(d, resize_rows);
  in->d = to;
  in->a = from;
  in->align = from_width;
  in->value = to_width;
  in->negated = with_sign;
}

static const char *const special_names[] = {
    [TID] = "tid", [NTID] = "ntid", [CTAID] = "ctaid", [NCTAID] = "nctaid", [LANE] = "laneid", [WARP] = "warpid",
    [WARPS] = "nwarpid", [LANES_EQ] = "lanemask_eq", [LANES_LT] = "lanemask_lt", [LANES_LE] = "lanemask_le",
    [LANES_GT] = "lanemask_gt", [LANES_GE] = "lanemask_ge", [DYNAMIC_SHARED] = "dynamic_smem_size",
    [ALL_SHARED] = "total_smem_size"};
static const char *const zeros[] = {"clock", "clock_hi", "clock64", "globaltimer", "smid", "gridid"};

static int special_row(struct decoder *d, const char *text, u32 width, u32 *row) {
  struct special found = {.width = width, .kind = ZERO};
  size_t n = strcspn(text + 1, ".");
  int known = 0;
  for (u32 i = 0; i < sizeof special_names / sizeof *special_names; i++)
    if (strlen(special_names[i]) == n && !strncmp(special_names[i], text + 1, n)) found.kind = i, known = 1;
  for (u32 i = 0; i < sizeof zeros / sizeof *zeros; i++) known |= !strcmp(zeros[i], text + 1);
  if (!known) return 0;
  if (text[1 + n] == '.') found.axis = text[2 + n] - 'x';
  struct kernel *k = d->kernel;
  for (u32 i = 0; i < k->n_specials; i++) {
    const struct special *s = &k->specials[i];
    if (s->kind == found.kind && s->axis == found.axis && s->width == width) {
      *row = s->row;
      return 1;
    }
  }
  *row = found.row = new_row(d, width);
  *APPEND(k, specials) = found;
  return 1;
}

/* 0f and 8 digits, 0d and 16, or an integer; as the bits of `width` bytes. */
static int literal(const char *text, u32 width, u64 *value) {
  char *end;
  int is_float = text[0] == '0' && text[1] && strchr("fFdD", text[1]);
  if (is_float) {
    *value = strtoull(text + 2, &end, 16);
    if (*end) return 0;
    if (width == 8 && strchr("fF", text[1])) {
      u32 bits = *value;
      f32 single;
      memcpy(&single, &bits, 4);
      f64 twice = single;
      memcpy(value, &twice, 8);
    }
    return 1;
  }
  if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1]))) return 0;
  *value = strtoull(text, &end, 0);
  if (*end == 'U') end++;
  if (*end) return 0;
  if (width < 8) *value &= (1ull << 8 * width) - 1;
  return 1;
}

static u32 variable_row(struct decoder *d, struct symbol *v, s64 offset, u32 width) {
  if (v->space == SHARED || v->space == GLOBAL || v->space == CONSTANT)
    return constant_row(d, (v->space == SHARED ? v->at : variable_address(v)) + offset, width);
  struct instruction *in = emit(d, v->space == LOCAL ? local_address : parameter_address);
  in->value = v->at + offset;
  return in->d = new_row(d, 8);
}

/* The row of an operand, of the kind's width. */
u32 source(struct decoder *d, const char *text, char kind) {
  u32 width = kind_width(kind), row;
  u64 value;
  if (*text == '!') {
    u32 whole = source(d, trimmed((char *)text + 1), kind);
    behaviour *not = entry_of("not.pred")->run;
    struct instruction *in = emit(d, not);
    in->a = whole;
    return in->d = new_row(d, 1);
  }
  if (literal(text, width, &value)) return constant_row(d, kind == 'p' ? value != 0 : value, width);
  if (!strcmp(text, "WARP_SZ")) return constant_row(d, LANES, width);
  struct symbol *s = symbol_of(d, text);
  if (!s) {
    if (*text == '%' && special_row(d, text, width, &row)) return row;
    char name[256];
    const char *plus = strchr(text, '+');
    if (plus && plus - text < 256) {
      snprintf(name, sizeof name, "%.*s", (int)(plus - text), text);
      s = symbol_of(d, trimmed(name));
      if (s && !s->is_register) return variable_row(d, s, strtoll(plus + 1, NULL, 0), width);
    }
    unknown(d, text);
  }
  if (!s->is_register) return variable_row(d, s, 0, width);
  if (s->width == width) return s->at;
  if (s->width < width) unknown(d, "a register is narrower than its instruction");
  row = new_row(d, width);
  resize(d, row, width, s->at, s->width, 0);
  return row;
}

u32 source_predicate(struct decoder *d, const char *text, u8 *negated) {
  *negated = *text == '!';
  return source(d, trimmed((char *)text + *negated), 'p');
}

/* [operand+offset]: the row of the address, the offset; of a variable its space. */
u32 address(struct decoder *d, const char *text, s64 *offset, enum space *space) {
  char inside[256];
  size_t n = strlen(text);
  if (text[0] != '[' || text[n - 1] != ']' || n > 255) unknown(d, text);
  snprintf(inside, sizeof inside, "%.*s", (int)n - 2, text + 1);
  char *plus = strchr(inside, '+');
  *offset = plus ? strtoll(plus + 1, NULL, 0) : 0;
  if (plus) *plus = 0;
  char *base = trimmed(inside);
  struct symbol *s = symbol_of(d, base);
  if (!s || !s->is_register) {
    if (s && s->space == PARAMETER) {
      *space = PARAMETER;
      *offset += s->at;
      return 0;
    }
    if (s) *space = s->space;
    return source(d, base, 'x');
  }
  if (s->width == 8) return s->at;
  u32 row = new_row(d, 8);
  resize(d, row, 8, s->at, s->width, 0);
  return row;
}

struct target target(struct decoder *d, const char *text, char kind) {
  u32 width = kind_width(kind);
  if (!strcmp(text, "_")) return (struct target){new_row(d, width), 0, 0, kind};
  struct symbol *s = symbol_of(d, text);
  if (!s || !s->is_register) unknown(d, text);
  if (s->width == width) return (struct target){s->at, 0, 0, kind};
  return (struct target){new_row(d, width), s->at, s->width, kind};
}

void finish_target(struct decoder *d, struct target t) {
  if (t.width) resize(d, t.into, t.width, t.row, kind_width(t.kind), isupper((unsigned char)t.kind) != 0);
}
