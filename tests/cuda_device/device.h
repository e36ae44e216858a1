/* What the driver, cuBLAS, cuDNN and CUDA graphs of the tests' device share: operations that are queued into streams.

   A library's call is one operation: a name, its FLOP, what it reads and writes, and a function that computes it in the
   host's memory when its turn in the stream comes (not when it is called):

       struct arguments given = {...};                    // a copy is kept; alpha and beta by value
       struct operation *call = device_call("cublasSgemm_v2", 2.0 * m * n * k, multiply, &given, sizeof given);
       device_operand(call, "A", a, DEVICE_READ, sizeof(float), 2, (long[]){k, m}, (long[]){lda, 1});
       device_enqueue(stream, call);

   A call that hands a number to the host ends in device_synchronize(stream). */
#ifndef DEVICE_H
#define DEVICE_H
#include <stddef.h>
#include <stdint.h>

enum { DEVICE_READ = 1, DEVICE_WRITE = 2, DEVICE_COPIED = 4 }; /* copied: need not have been written */
enum { DEVICE_OPERANDS = 12, DEVICE_DIMS = 8 };

/* Elements of `item` bytes; the strides are in elements. */
struct operand {
  const char *what;
  const void *at;
  int how, n;
  size_t item;
  long dims[DEVICE_DIMS], strides[DEVICE_DIMS];
};

struct operation {
  const char *name; /* lives for ever */
  unsigned grid[3], block[3]; /* of a kernel's launch; else 0 */
  double flop;
  void (*run)(void *payload, struct operation *);
  int n_operands;
  struct operand operands[DEVICE_OPERANDS];
  size_t size;
  _Alignas(16) char payload[]; /* `size` bytes, copied */
};

/* An operation that computes by `run`; memory for it that ends is fatal. */
struct operation *device_call(const char *name, double flop, void (*run)(void *payload, struct operation *),
                              const void *payload, size_t size);

/* What the operation reads or writes, for the checks and the count of bytes. Reading and writing: DEVICE_READ |
   DEVICE_WRITE. A null pointer or an empty dimension is no operand. */
void device_operand(struct operation *, const char *what, const void *at, int how, size_t item, int n,
                    const long *dims, const long *strides);

/* What the driver answers to work for a stream, or to a call that waits for it: 0, or why a capture does not admit it. */
int device_admits(void *stream, int waits);

/* Hands the operation to the stream (NULL: the legacy one), which runs and releases it. */
void device_enqueue(void *stream, struct operation *);

/* Runs an operation as a part of the one under way, which learned of its operands only now; the caller frees it. */
void device_run(struct operation *);

/* Runs what the stream waits for and all that was queued into it. */
void device_synchronize(void *stream);

/* Runs all that was queued. */
void device_finish(void);

/* The operations of cuLaunchKernel, of copies and of fills. */
struct operation *device_launch(void *function, const unsigned grid[3], const unsigned block[3], unsigned shared,
                                void **arguments);
struct operation *device_copy(const char *name, void *to, const void *from, size_t size);
struct operation *device_copy_now(const char *name, void *to, const void *from, size_t size); /* the bytes as they are */
struct operation *device_fill(const char *name, void *to, unsigned value, size_t width, size_t n);

/* The same operation once more, to be queued on its own: a recorded one is kept and its copies run. */
struct operation *device_copy_of(const struct operation *);

/* Where a graph is recorded: is offered every operation before it is queued, and returns 1 if it has taken it over. */
extern int (*device_recorder)(void *stream, struct operation *);

/* Something that is wrong, told once for each text. */
void device_finding(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif
