/* The statements of a kernel, and of the functions that it calls, to instructions. */
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include "decode.h"

void ptx_unknown(const char *routine, const struct statement *s, const char *why) {
  fprintf(stderr, "test device: %s, line %d: the instruction is not known: %s (%s)\n", routine, s ? s->line : 0,
          s ? s->text : "", why);
  abort();
}

enum { TABLE = 4096 };

/* The entry of an instruction that a table has. */
const struct entry *entry_of(const char *name) {
  static const struct entry *found[TABLE];
  static int filled;
  const struct entry *all[] = {arithmetic_entries, conversion_entries, atomic_entries};
  for (int k = 0; !filled && k < 3; k++)
    for (const struct entry *e = all[k]; e->name; e++) {
      u32 hash = 5381;
      for (const char *c = e->name; *c; c++) hash = hash * 33 + (u8)*c;
      while (found[hash % TABLE]) hash++;
      found[hash % TABLE] = e;
    }
  filled = 1;
  u32 hash = 5381;
  for (const char *c = name; *c; c++) hash = hash * 33 + (u8)*c;
  for (; found[hash % TABLE]; hash++)
    if (!strcmp(found[hash % TABLE]->name, name)) return found[hash % TABLE];
  return NULL;
}

/* An opcode's modifiers: those of rounding and range, and the name without what changes nothing. */
struct modifiers { int rounding, whole, flush, saturate; char name[64]; };

static const struct { const char *text; int mode; } roundings[] = {
    {"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}, {"rzi", FE_TOWARDZERO}, {"rmi", FE_DOWNWARD},
    {"rpi", FE_UPWARD}};
static const char *const without_effect[] = {"rn", "approx", "full", "uni", "noftz", "relaxed", "acquire", "release",
                                             "acq_rel", "gpu", "cta", "sys", "cluster", "global", "shared", "seq_cst"};

static int is_one_of(const char *text, const char *const *all, int n) {
  for (int i = 0; i < n; i++)
    if (!strcmp(text, all[i])) return 1;
  return 0;
}

static struct modifiers modifiers_of(char **parts, int n) {
  struct modifiers m = {.rounding = FE_TONEAREST};
  const char *from = parts[n - 1], *to = n > 1 ? parts[n - 2] : "";
  size_t used = snprintf(m.name, sizeof m.name, "%s", parts[0]);
  int is_conversion = !strcmp(parts[0], "cvt");
  for (int i = 1; i < n; i++) {
    int known = 0;
    for (u32 k = 0; k < sizeof roundings / sizeof *roundings; k++)
      if (!strcmp(parts[i], roundings[k].text)) m.rounding = roundings[k].mode, known = 1;
    if (strlen(parts[i]) == 3 && parts[i][0] == 'r' && parts[i][2] == 'i') known = 1, m.whole = 1;
    if (!strcmp(parts[i], "ftz")) m.flush = known = 1;
    int float_sat = !strcmp(parts[i], "sat") && (is_conversion ? to[0] == 'f' : from[0] == 'f');
    if (float_sat) m.saturate = known = 1;
    if (known || is_one_of(parts[i], without_effect, sizeof without_effect / sizeof *without_effect)) continue;
    if (is_conversion && m.whole && i == n - 2 && to[0] == 'f')
      used += snprintf(m.name + used, sizeof m.name - used, ".whole");
    if (used < sizeof m.name) used += snprintf(m.name + used, sizeof m.name - used, ".%s", parts[i]);
  }
  return m;
}

static u32 flushed(struct decoder *d, u32 row, u32 into) {
  struct instruction *in = emit(d, entry_of("flush.f32")->run);
  in->a = row;
  return in->d = into;
}

/* An instruction of a table: its operands' rows, what its modifiers ask for, and the result. */
static void emit_entry(struct decoder *d, const struct entry *e, char **operands, int n, const struct modifiers *m,
                       const char *to, const char *from) {
  int wanted = strlen(e->operands);
  u32 rows[5] = {0};
  if (n != wanted) unknown(d, "the number of operands");
  struct target t = target(d, operands[0], e->operands[0]);
  for (int i = 1; i < wanted; i++) {
    rows[i] = source(d, operands[i], e->operands[i]);
    if (m->flush && e->operands[i] == 'w' && !strcmp(from, "f32")) rows[i] = flushed(d, rows[i], new_row(d, 4));
  }
  if (m->rounding != FE_TONEAREST) emit(d, round_next)->rounding = m->rounding;
  struct instruction *in = emit(d, e->run);
  in->d = t.row;
  in->a = rows[1];
  in->b = rows[2];
  in->c = rows[3];
  in->e = rows[4];
  in->flop = e->flop;
  in->align = kind_width(e->operands[0]); /* of an atomic */
  if (m->flush && e->operands[0] == 'w' && !strcmp(to, "f32")) flushed(d, t.row, t.row);
  if (m->saturate) {
    char name[32];
    snprintf(name, sizeof name, "saturated.%s", to);
    const struct entry *saturated = entry_of(name);
    if (!saturated) unknown(d, "saturation");
    struct instruction *last = emit(d, saturated->run);
    last->a = last->d = t.row;
  }
  finish_target(d, t);
}

/* An instruction by its name in a table, without modifiers. */
void plain(struct decoder *d, const char *name, char *operands[], int n_operands) {
  const struct entry *e = entry_of(name);
  struct modifiers none = {.rounding = FE_TONEAREST};
  if (!e) unknown(d, name);
  emit_entry(d, e, operands, n_operands, &none, "", "");
}

static void decode_instruction(struct decoder *d) {
  const struct statement *s = d->now;
  char opcode[128], *parts[16], *save = NULL;
  int n = 0;
  snprintf(opcode, sizeof opcode, "%s", s->opcode);
  for (char *part = strtok_r(opcode, ".", &save); part && n < 16; part = strtok_r(NULL, ".", &save)) parts[n++] = part;
  if (!n) unknown(d, "no opcode");
  if (decode_special(d, parts, n)) return;
  struct modifiers m = modifiers_of(parts, n);
  const struct entry *e = entry_of(m.name);
  if (!e) unknown(d, m.name);
  int is_conversion = !strcmp(parts[0], "cvt");
  emit_entry(d, e, (char **)s->operands, s->n_operands, &m, parts[is_conversion ? n - 2 : n - 1], parts[n - 1]);
}

/* .reg .type %name<n> or names */
static void declare_registers(struct decoder *d, char *text) {
  char *type = strtok(text, " \t\n\r"), *rest = strtok(NULL, ""), *names[64];
  u32 width = type_width(type + 1);
  int n = split_at_commas(rest, names, 64);
  if (n < 0) unknown(d, "more names than fit");
  for (int i = 0; i < n; i++) {
    char *family = strchr(names[i], '<');
    u32 count = family ? strtoul(family + 1, NULL, 10) : 1;
    if (family) *family = 0;
    for (u32 k = 0; k < count; k++) {
      struct symbol *s = APPEND(d, symbols);
      char name[256];
      snprintf(name, sizeof name, family ? "%s%u" : "%s", names[i], k);
      s->name = strdup(name);
      if (!s->name) abort();
      s->is_register = 1;
      s->width = width ? width : 1;
      s->at = new_row(d, s->width);
    }
  }
}

static void declare(struct decoder *d) {
  char *text = strdup(d->now->text), *word = text;
  if (!text) abort();
  if (!strncmp(word, ".branchtargets", 14)) { /* its name is the label before; the labels' text stays */
    struct table *t = APPEND(d, tables);
    t->name = d->labels[d->n_labels - 1].name;
    t->n = split_at_commas(word + 14, t->labels, 128);
    if (t->n < 1) unknown(d, "labels");
    return;
  }
  if (!strncmp(word, ".reg", 4)) declare_registers(d, word + 4);
  else if (!strncmp(word, ".local", 6) || !strncmp(word, ".param", 6)) {
    struct symbol *s = APPEND(d, symbols);
    parse_variable(s, word);
    s->at = local_place(d, s->size, s->at);
  } else if (strncmp(word, ".shared", 7) && strncmp(word, ".pragma", 7))
    unknown(d, "directive");
  free(text);
}

static void place_shared(struct decoder *d, struct symbol *s) {
  u32 align = s->at ? s->at : 1;
  s->at = (d->kernel->shared_size + align - 1) / align * align;
  d->kernel->shared_size = s->at + s->size;
}

/* Shared variables have their places before the first is used; that of unknown size comes behind all. */
static void place_all_shared(struct decoder *d, const struct statement *all, u32 n) {
  struct module *m = d->kernel->module;
  for (u32 i = 0; i < m->n_variables; i++)
    if (m->variables[i].space == SHARED && m->variables[i].size) {
      struct symbol *s = APPEND(d, symbols);
      *s = m->variables[i];
      place_shared(d, s);
    }
  for (u32 i = 0; i < n; i++)
    if (!strncmp(all[i].text, ".shared", 7)) {
      char *text = strdup(all[i].text);
      if (!text) abort();
      struct symbol *s = APPEND(d, symbols);
      parse_variable(s, text);
      place_shared(d, s);
      free(text);
    }
  for (u32 i = 0; i < m->n_variables; i++)
    if (m->variables[i].space == SHARED && !m->variables[i].size) {
      struct symbol *s = APPEND(d, symbols);
      *s = m->variables[i];
      s->at = (d->kernel->shared_size + 15) / 16 * 16;
    }
}

static void decode_statement(struct decoder *d) {
  const struct statement *s = d->now;
  if (!strcmp(s->opcode, "{")) {
    *APPEND(d, scopes) = d->n_symbols;
  } else if (!strcmp(s->opcode, "}")) {
    d->n_symbols = d->scopes[--d->n_scopes];
  } else if (s->guard && !strcmp(s->guard, ":")) {
    *APPEND(d, labels) = (struct label){s->opcode, d->kernel->n_code};
  } else if (s->opcode[0] == '.') {
    declare(d);
  } else if (s->guard && strncmp(s->opcode, "bra", 3)) {
    u8 negated;
    u32 row = source_predicate(d, s->guard, &negated), at = d->kernel->n_code;
    emit(d, guard_next);
    decode_instruction(d);
    struct instruction *guard = &d->kernel->code[at];
    guard->a = row;
    guard->negated = negated;
    guard->target = d->kernel->n_code - at - 1;
  } else
    decode_instruction(d);
}

static void resolve_jumps(struct decoder *d) {
  for (u32 i = 0; i < d->n_jumps; i++) {
    u32 k = d->n_labels;
    while (k && strcmp(d->labels[k - 1].name, d->jumps[i].label)) k--;
    if (!k) ptx_unknown(d->routine->name, d->jumps[i].from, "no such label");
    d->kernel->code[d->jumps[i].instruction].target = d->labels[k - 1].at;
  }
  d->n_jumps = d->n_labels = 0;
}

static void decode_body(struct decoder *d, const struct routine *routine, int is_kernel) {
  u32 n;
  char *body = strdup(routine->body);
  if (!body) abort();
  struct statement *all = statements_of(body, routine->line, &n);
  d->routine = routine;
  if (is_kernel) place_all_shared(d, all, n);
  for (u32 i = 0; i < n; i++) {
    d->now = &all[i];
    decode_statement(d);
  }
  struct instruction *end = emit(d, d->function ? return_from_function : end_thread);
  if (d->function) end->a = d->function->back;
  resolve_jumps(d);
}

static void declare_parameters(struct decoder *d, const struct routine *routine) {
  char *text = strdup(routine->parameters ? routine->parameters : ""), *one[1024];
  if (!text) abort();
  int n = split_at_commas(text, one, 1024);
  if (n < 0) unknown(d, "more parameters than fit");
  for (int i = 0; i < n; i++) {
    struct symbol *s = APPEND(d, symbols);
    parse_variable(s, one[i]);
    u32 align = s->at ? s->at : 1, at = (d->kernel->parameters_size + align - 1) / align * align;
    s->space = PARAMETER;
    s->at = at;
    *APPEND(d->kernel, parameters) = (struct parameter){at, s->size};
    d->kernel->parameters_size = at + s->size;
  }
  free(text);
}

struct kernel *decode(struct module *m, const struct routine *routine) {
  struct kernel *k = calloc(1, sizeof *k);
  if (!k) abort();
  k->name = routine->name;
  k->module = m;
  struct decoder d = {.kernel = k, .routine = routine};
  d.carry = new_row(&d, 1);
  declare_parameters(&d, routine);
  decode_body(&d, routine, 1);
  for (u32 i = 0; i < d.n_calls; i++) {
    struct called *f = d.calls[i];
    d.n_symbols = 0;
    d.function = f;
    f->entry = k->n_code;
    for (int j = 0; j < f->n_arguments; j++) *APPEND(&d, symbols) = f->arguments[j];
    for (int j = 0; j < f->n_results; j++) *APPEND(&d, symbols) = f->results[j];
    decode_body(&d, f->routine, 0);
  }
  for (u32 i = 0; i < k->n_code; i++)
    if (k->code[i].run == call_function) k->code[i].target = d.calls[k->code[i].target]->entry;
  free(d.symbols);
  free(d.labels);
  free(d.jumps);
  free(d.tables);
  free(d.calls);
  free(d.scopes);
  return k;
}
