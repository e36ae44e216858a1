/* The machine that runs PTX: a warp's 32 lanes take each instruction together.

   A kernel is decoded to instructions, each a C function with the places of its operands. A register is a row of 32
   values, and a row's place is its offset in the warp's memory; constants and special registers are rows too. Lanes that
   branch apart have program counters of their own and are run group by group.

       statements.c, module.c                       text -> statements, routines, variables
       decode.c, operands.c, special.c, calls.c     statements -> instructions
       arithmetic.c, conversions.c, access.c, control.c, warp.c     what instructions do
       execute.c                                    grids, blocks, warps */
#ifndef MACHINE_H
#define MACHINE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
typedef _Float16 f16; typedef float f32; typedef double f64;

enum { LANES = 32, MOST_THREADS = 1024, MOST_WARPS = MOST_THREADS / LANES, BARRIERS = 16 };
enum space { GENERIC, GLOBAL, SHARED, LOCAL, CONSTANT, PARAMETER };

struct warp;
struct instruction;
typedef void behaviour(struct warp *, const struct instruction *);

struct instruction {
  behaviour *run;
  u32 d, a, b, c, e;   /* rows */
  u32 target;          /* of a branch or call; how many instructions a guard covers */
  s64 value;           /* an offset from an address, a number of bits, ... */
  enum space space;
  u8 align, negated, flop;
  int rounding;        /* as fesetround() takes it */
  const struct statement *from;
};

/* A name in PTX: a register's row, or a variable's place. */
struct symbol {
  char *name;
  int is_register;
  u32 width, at;       /* bytes of a register; its row, or a variable's offset in its space */
  enum space space;
  u64 size, address;   /* of a variable; a global one has its address from its first use on */
  char *values;        /* of a global variable, as they stand in PTX */
};

/* Rows that are filled before a warp starts. */
struct constant { u32 row, width; u64 value; };
enum special_kind { TID, NTID, CTAID, NCTAID, LANE, WARP, WARPS, LANES_EQ, LANES_LT, LANES_LE, LANES_GT, LANES_GE,
                    DYNAMIC_SHARED, ALL_SHARED, ZERO };
struct special { u32 row, width; enum special_kind kind; int axis; };

struct parameter { u32 at, size; };

/* A vector that grows: LIST(type, name), and APPEND gives the place of one more element. */
#define LIST(type, name) type *name; u32 n_##name, room_##name
#define APPEND(list, name) \
  ((list)->n_##name == (list)->room_##name \
       ? (void)((list)->name = ptx_grown((list)->name, sizeof *(list)->name, &(list)->room_##name)) : (void)0, \
   memset(&(list)->name[(list)->n_##name], 0, sizeof *(list)->name), &(list)->name[(list)->n_##name++])

/* An entry or a function, as it stands in PTX. */
struct routine { char *name, *parameters, *results, *body; int line, is_entry; };

struct module {
  u64 hash; /* of its text */
  LIST(struct routine, routines);
  LIST(struct symbol, variables);
  LIST(struct kernel *, kernels);
};

struct kernel {
  char *name;
  struct module *module;
  LIST(struct instruction, code);
  LIST(struct constant, constants);
  LIST(struct special, specials);
  LIST(struct parameter, parameters);
  u32 parameters_size, rows_size, local_size, shared_size;
  int waits; /* whether a thread can wait for another of its block */
};

struct warp {
  char *rows;              /* the registers */
  u32 active, ready, live; /* lanes that run now, that can run, that have not ended */
  u32 pc, stop;            /* of the lanes that run; where others may join them, or have to be run first */
  u32 waiting, parked;     /* lanes at a block's barrier, at an instruction that takes several lanes */
  u32 lane_pc[LANES];
  u32 barrier[LANES], expected[LANES]; /* of a waiting lane: the barrier's number, and threads that it waits for */
  u32 number, epoch, own_epoch;        /* in the block; barriers passed, by the block and by the warp */
  u32 twist;                           /* accesses of one instruction go in the order lane ^ twist */
  u32 turns;                           /* of loops */
  int others_first;                    /* lanes that are ahead run next */
  int meet_anyway;                     /* the next instruction for several lanes takes those that are there */
  char *local;
  struct block_state *block;
};

struct block_state {
  const struct kernel *kernel;
  u32 grid[3], size[3], at[3];
  u64 number;
  u32 threads, n_warps, shared_size;
  char *shared, *parameters;
  u32 arrived[BARRIERS]; /* threads that did not stay to wait */
  u64 flop;
};

#define ROW(type, at) ((type *)(w->rows + (at)))

/* Does something for each lane that runs. Lanes that have ended may go along: nobody reads their registers. */
#define EACH(body) \
  do { \
    if (w->active == w->live) { \
      _Pragma("GCC ivdep") for (int i = 0; i < LANES; i++) { body; } \
    } else \
      for (u32 left_ = w->active; left_; left_ &= left_ - 1) { int i = __builtin_ctz(left_); body; } \
  } while (0)

/* The same where memory is touched: only lanes that run, in an order that may be random. */
#define EACH_IN_ORDER(body) \
  for (u32 k_ = 0; k_ < LANES; k_++) { \
    u32 i = k_ ^ w->twist; \
    if (w->active >> i & 1) { body; } \
  }

/* An instruction's name without what does not matter, what runs it, and its operands' kinds: p predicate, c byte,
   h 16, w 32, x 64 bits. */
struct entry { const char *name; behaviour *run; const char *operands; int flop; };
extern const struct entry arithmetic_entries[], conversion_entries[], atomic_entries[];

/* statements.c */
struct statement {
  int line;
  char *guard, *opcode, *operands[16]; /* a label's guard is ":" */
  int n_operands;
  char *text, *words;
};
struct statement *statements_of(char *body, int line, u32 *n);
char *without_comments(const char *text);
char *trimmed(char *text);
int split_at_commas(char *text, char **parts, int room);

/* module.c */
struct module *module_of(const char *ptx);
void module_release(struct module *);
struct kernel *kernel_of(struct module *, const char *name); /* NULL if there is none; decoded when it is first asked for */
u64 variable_address(struct symbol *);
void parse_variable(struct symbol *, char *declaration);
u32 type_width(const char *type); /* bytes; 0 for a predicate */
void *ptx_grown(void *list, size_t item, u32 *room);
void *ptx_allocated(size_t size); /* or the end */

/* decode.c */
struct kernel *decode(struct module *, const struct routine *);
_Noreturn void ptx_unknown(const char *routine, const struct statement *, const char *why);

/* access.c, control.c, warp.c */
behaviour load_1, load_2, load_4, load_8, store_1, store_2, store_4, store_8;
behaviour load_parameter, copy_local, local_address, shared_to_generic, generic_to_shared, parameter_address, is_in_space;
behaviour branch, branch_if, guard_next, round_next, call_function, return_from_function, end_thread, trap, wait_at_barrier,
    arrive_at_barrier, reduce_at_barrier, join_warp;
behaviour shuffle, vote, active_mask, match_any, match_all, reduce_warp;
int join_lanes(struct warp *, const struct instruction *, u32 members);

/* execute.c */
void run_grid(const struct kernel *, const u32 grid[3], const u32 block[3], u32 shared, char *parameters, u64 *flop);
int barriers_release(struct block_state *, struct warp *warps);
#endif
