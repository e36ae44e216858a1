/* What the parts of the decoder share: the state of decoding one kernel, and its operands. */
#ifndef DECODE_H
#define DECODE_H
#include "machine.h"

struct label { char *name; u32 at; };
struct jump { u32 instruction; const char *label; const struct statement *from; };
struct table { const char *name; char *labels[128]; int n; }; /* of brx.idx */

/* A function that the kernel calls: decoded once, behind the kernel's own code. */
struct called {
  const struct routine *routine;
  u32 entry, back; /* where it starts; the row of where to return to */
  struct symbol arguments[16], results[4];
  int n_arguments, n_results;
};

struct decoder {
  struct kernel *kernel;
  const struct routine *routine; /* whose body is being decoded */
  struct called *function;       /* NULL in the kernel itself */
  const struct statement *now;
  LIST(struct symbol, symbols);
  LIST(struct label, labels);
  LIST(struct jump, jumps);
  LIST(struct table, tables);
  LIST(struct called *, calls);
  LIST(u32, scopes); /* how many symbols there were when each { began */
  u32 carry;
};

/* operands.c */
struct symbol *symbol_of(struct decoder *, const char *name);
u32 new_row(struct decoder *, u32 width);
u32 constant_row(struct decoder *, u64 value, u32 width);
u32 local_place(struct decoder *, u64 size, u32 align);
u32 kind_width(char kind);
u32 source(struct decoder *, const char *text, char kind);
u32 source_predicate(struct decoder *, const char *text, u8 *negated);
u32 address(struct decoder *, const char *text, s64 *offset, enum space *);
struct instruction *emit(struct decoder *, behaviour *);

/* Where a result goes: a register's row, or another one whose values are brought to the register's width afterwards. */
struct target { u32 row, into, width; char kind; };
struct target target(struct decoder *, const char *text, char kind);
void finish_target(struct decoder *, struct target);
void resize(struct decoder *, u32 to, u32 to_width, u32 from, u32 from_width, int with_sign);
_Noreturn void unknown(struct decoder *, const char *why);

/* decode.c: an instruction of a table by its name */
const struct entry *entry_of(const char *name);
void plain(struct decoder *, const char *name, char *operands[], int n_operands);

/* special.c: 1 if the instruction is one that no table has; calls.c */
int decode_special(struct decoder *, char **parts, int n);
void decode_call(struct decoder *);
#endif
