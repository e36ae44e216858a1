/* call: a function's registers and variables are its own, once for the kernel; what it is given is copied to them. */
#include <stdlib.h>
#include "decode.h"

static const struct routine *routine_of(struct decoder *d, const char *name) {
  struct module *m = d->kernel->module;
  for (u32 i = 0; i < m->n_routines; i++)
    if (!strcmp(m->routines[i].name, name)) return &m->routines[i];
  unknown(d, "no such function");
}

static int declare_all(struct decoder *d, const char *text, struct symbol *to, int room) {
  char *copy = strdup(text ? text : ""), *one[16];
  if (!copy) abort();
  int n = split_at_commas(copy, one, 16);
  if (n < 0 || n > room) unknown(d, "more parameters than fit");
  for (int i = 0; i < n; i++) {
    int in_register = !strncmp(one[i], ".reg", 4);
    parse_variable(&to[i], one[i]);
    if (in_register) {
      to[i].is_register = 1;
      to[i].at = new_row(d, to[i].width);
    } else {
      to[i].space = LOCAL;
      to[i].at = local_place(d, to[i].size, to[i].at);
    }
  }
  return n;
}

static struct called *called_of(struct decoder *d, const struct routine *routine, u32 *number) {
  for (*number = 0; *number < d->n_calls; ++*number)
    if (d->calls[*number]->routine == routine) return d->calls[*number];
  struct called *f = calloc(1, sizeof *f);
  if (!f) abort();
  f->routine = routine;
  f->back = new_row(d, 4);
  f->n_arguments = declare_all(d, routine->parameters, f->arguments, 16);
  f->n_results = declare_all(d, routine->results, f->results, 4);
  return *APPEND(d, calls) = f;
}

/* Between a caller's variable or register and a function's. */
static void hand_over(struct decoder *d, const char *ours, const struct symbol *theirs, int to_them) {
  const struct symbol *s = symbol_of(d, ours);
  if (theirs->is_register) {
    char kind = theirs->width == 8 ? 'x' : theirs->width == 4 ? 'w' : theirs->width == 2 ? 'h' : 'p';
    u32 row = to_them ? source(d, ours, kind) : target(d, ours, kind).row;
    resize(d, to_them ? theirs->at : row, theirs->width, to_them ? row : theirs->at, theirs->width, 0);
    return;
  }
  if (!s || s->is_register || s->size < theirs->size) unknown(d, ours);
  struct instruction *in = emit(d, copy_local);
  in->d = to_them ? theirs->at : s->at;
  in->a = to_them ? s->at : theirs->at;
  in->value = theirs->size;
}

/* The names within ( and ); their text stays. */
static int names_within(const char *text, char **names, int room) {
  char *copy = strdup(text + 1);
  if (!copy) abort();
  copy[strcspn(copy, ")")] = 0;
  return split_at_commas(copy, names, room);
}

/* call (results), function, (arguments) */
void decode_call(struct decoder *d) {
  char **operands = (char **)d->now->operands, *arguments[16], *results[4];
  int with_results = operands[0][0] == '(', n_results = 0, n_arguments = 0;
  const char *name = operands[with_results];
  if (with_results) n_results = names_within(operands[0], results, 4);
  if (d->now->n_operands > with_results + 1) n_arguments = names_within(operands[with_results + 1], arguments, 16);
  const struct routine *routine = routine_of(d, name);
  if (!routine->body) { /* of the driver's own: an assertion that failed */
    emit(d, trap);
    return;
  }
  if (routine == d->routine) unknown(d, "a function calls itself");
  u32 number;
  struct called *f = called_of(d, routine, &number);
  if (n_arguments != f->n_arguments || n_results != f->n_results) unknown(d, "the number of arguments");
  for (int i = 0; i < n_arguments; i++) hand_over(d, arguments[i], &f->arguments[i], 1);
  struct instruction *in = emit(d, call_function);
  in->d = f->back;
  in->target = number;
  for (int i = 0; i < n_results; i++) hand_over(d, results[i], &f->results[i], 0);
}
