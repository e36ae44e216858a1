#include "launches.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ptx/machine.h"

struct launch { struct function *function; size_t shared; }; /* and the parameters */

struct operation *device_call(const char *name, double flop, void (*run)(void *, struct operation *),
                              const void *payload, size_t size) {
  struct operation *o = calloc(1, sizeof *o + size);
  if (!o) abort();
  o->name = name;
  o->flop = flop;
  o->run = run;
  o->size = size;
  if (size) memcpy(o->payload, payload, size);
  return o;
}

struct operation *device_copy_of(const struct operation *o) {
  struct operation *copy = malloc(sizeof *o + o->size);
  if (!copy) abort();
  return memcpy(copy, o, sizeof *o + o->size);
}

void device_operand(struct operation *o, const char *what, const void *at, int how, size_t item, int n,
                    const long *dims, const long *strides) {
  if (o->n_operands == DEVICE_OPERANDS || n > DEVICE_DIMS) abort();
  if (!at) return;
  struct operand *operand = &o->operands[o->n_operands++];
  *operand = (struct operand){.what = what, .at = at, .how = how, .n = n, .item = item};
  memcpy(operand->dims, dims, n * sizeof *dims);
  memcpy(operand->strides, strides, n * sizeof *strides);
}

/* -- kernels */

struct function *function_new(struct module *m, const char *name) {
  for (u32 i = 0; i < m->n_routines; i++)
    if (m->routines[i].is_entry && !strcmp(m->routines[i].name, name)) {
      struct function *f = calloc(1, sizeof *f);
      if (!f) abort();
      *f = (struct function){m, m->routines[i].name, NULL};
      return f;
    }
  return NULL;
}

static void run_launch(void *payload, struct operation *o) {
  struct launch *launch = payload;
  u64 flop = 0;
  run_grid(launch->function->kernel, o->grid, o->block, launch->shared, (char *)(launch + 1), &flop);
  o->flop = flop;
}

struct operation *device_launch(void *handle, const unsigned grid[3], const unsigned block[3], unsigned shared,
                                void **arguments) {
  struct function *f = handle;
  if (!f->kernel) f->kernel = kernel_of(f->module, f->name);
  const struct kernel *k = f->kernel;
  struct launch launch = {f, shared};
  struct operation *o = calloc(1, sizeof *o + sizeof launch + k->parameters_size + 8);
  if (!o) abort();
  o->name = f->name;
  o->run = run_launch;
  o->size = sizeof launch + k->parameters_size + 8;
  memcpy(o->grid, grid, sizeof o->grid);
  memcpy(o->block, block, sizeof o->block);
  memcpy(o->payload, &launch, sizeof launch);
  char *parameters = o->payload + sizeof launch;
  for (u32 i = 0; i < k->n_parameters; i++)
    memcpy(parameters + k->parameters[i].at, arguments[i], k->parameters[i].size);
  return o;
}

/* -- copies and fills */

struct copy { void *to; const void *from; size_t size; };

static void run_copy(void *payload, struct operation *o) {
  struct copy *copy = payload;
  const void *from = copy->from ? copy->from : copy + 1;
  memmove(copy->to, from, copy->size);
  if (tracking) check_copied(copy->to, from, copy->size);
}

/* Whether the device knows the address, so that its reads and writes can be told. */
static void copy_operand(struct operation *o, const char *what, const void *at, int how, size_t size) {
  if (block_of((uint64_t)at)) device_operand(o, what, at, how | DEVICE_COPIED, 1, 1, (long[]){size}, (long[]){1});
}

struct operation *device_copy(const char *name, void *to, const void *from, size_t size) {
  struct copy copy = {to, from, size};
  struct operation *o = device_call(name, 0, run_copy, &copy, sizeof copy);
  copy_operand(o, "source", from, DEVICE_READ, size);
  copy_operand(o, "target", to, DEVICE_WRITE, size);
  return o;
}

/* The bytes as they are now, of memory that the host may change at once. */
struct operation *device_copy_now(const char *name, void *to, const void *from, size_t size) {
  struct operation *o = calloc(1, sizeof *o + sizeof(struct copy) + size);
  if (!o) abort();
  o->name = name;
  o->run = run_copy;
  o->size = sizeof(struct copy) + size;
  memcpy(o->payload, &(struct copy){to, NULL, size}, sizeof(struct copy));
  memcpy(o->payload + sizeof(struct copy), from, size);
  copy_operand(o, "target", to, DEVICE_WRITE, size);
  return o;
}

struct fill { void *to; unsigned value; size_t width, n; };

static void run_fill(void *payload, struct operation *o) {
  struct fill *fill = payload;
  for (size_t i = 0; i < fill->n; i++) memcpy((char *)fill->to + i * fill->width, &fill->value, fill->width);
}

struct operation *device_fill(const char *name, void *to, unsigned value, size_t width, size_t n) {
  struct fill fill = {to, value, width, n};
  struct operation *o = device_call(name, 0, run_fill, &fill, sizeof fill);
  copy_operand(o, "target", to, DEVICE_WRITE, width * n);
  return o;
}

/* -- the log: TEST_DEVICE_LOG, a file, one JSON object a line */

static FILE *log_file;

__attribute__((constructor)) static void open_log(void) {
  const char *path = getenv("TEST_DEVICE_LOG");
  if (!path || !*path) return;
  log_file = fopen(path, "a");
  if (!log_file) {
    perror(path);
    abort();
  }
  setvbuf(log_file, NULL, _IOLBF, 0);
}

void launch_logged(const struct operation *o, struct traffic bytes) {
  if (!log_file) return;
  const struct launch *launch = o->run == run_launch ? (const struct launch *)o->payload : NULL;
  fprintf(log_file, "{\"name\": \"%s\", \"module\": \"", o->name);
  if (launch) fprintf(log_file, "%016llx", (unsigned long long)launch->function->module->hash);
  fprintf(log_file,
          "\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], \"read\": %llu, \"written\": %llu, \"flop\": %.0f}\n",
          o->grid[0], o->grid[1], o->grid[2], o->block[0], o->block[1], o->block[2], (unsigned long long)bytes.read,
          (unsigned long long)bytes.written, o->flop);
}
