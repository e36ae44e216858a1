/* NCCL 2 as far as libgpuarray asks for it, between processes of this machine: in memory that they share each rank puts down
   what it has, and all add it up in one order, so that they get the same bits. A call returns when every rank has made it.

   It refuses two ranks on one device, as NCCL does, and ranks whose calls differ, where NCCL hangs. */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "library.h"

enum { OK, UNHANDLED_CUDA, SYSTEM, INTERNAL, INVALID_ARGUMENT, INVALID_USAGE };
enum { MOST = 8, CHUNK = 1 << 20, NAME = 128, PATIENCE = 120 /* seconds */ };
enum { FLOAT32 = 7, FLOAT64 = 8, SUM = 0 }; /* of nccl.h */

int cuCtxGetDevice(int *device);

struct call { size_t count; int type; };

struct meeting {
  atomic_int arrived;
  atomic_uint times; /* that all have met */
  int devices[MOST];
  struct call calls[MOST];
  char chunks[MOST][CHUNK];
};

typedef struct { char name[NAME]; } ncclUniqueId;
typedef struct comm { struct meeting *shared; int n, rank; } *ncclComm_t;

int ncclGetVersion(int *version) { *version = 22705; return OK; }

const char *ncclGetErrorString(int status) {
  static const char *const texts[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error",
                                      "invalid argument", "invalid usage (two ranks on one device)"};
  return status >= 0 && status <= INVALID_USAGE ? texts[status] : "unknown result code";
}

int ncclGetUniqueId(ncclUniqueId *id) {
  static int made;
  COUNT();
  snprintf(id->name, sizeof id->name, "/test-nccl-%d-%ld-%d", getpid(), (long)time(NULL), made++);
  return OK;
}

static void give_up(const char *why) {
  fprintf(stderr, "test device: NCCL: %s\n", why);
  abort();
}

/* Waits until every rank has come here. */
static void meet(struct comm *c) {
  struct meeting *m = c->shared;
  unsigned before = atomic_load(&m->times);
  if (atomic_fetch_add(&m->arrived, 1) + 1 == c->n) {
    atomic_store(&m->arrived, 0);
    atomic_fetch_add(&m->times, 1);
    return;
  }
  for (time_t since = time(NULL); atomic_load(&m->times) == before; usleep(20))
    if (time(NULL) - since > PATIENCE) give_up("a rank does not come");
}

int ncclCommInitRank(ncclComm_t *made, int n, ncclUniqueId id, int rank) {
  COUNT();
  *made = NULL;
  if (n < 1 || n > MOST || rank < 0 || rank >= n) return INVALID_ARGUMENT;
  int file = shm_open(id.name, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(struct meeting))) return SYSTEM;
  struct comm *c = malloc(sizeof *c);
  if (!c) abort();
  *c = (struct comm){mmap(NULL, sizeof(struct meeting), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), n, rank};
  close(file);
  if (c->shared == MAP_FAILED) { free(c); return SYSTEM; }
  cuCtxGetDevice(&c->shared->devices[rank]);
  meet(c);
  if (!rank) shm_unlink(id.name);
  *made = c;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i; j++)
      if (c->shared->devices[i] == c->shared->devices[j]) return INVALID_USAGE;
  return OK;
}

int ncclCommDestroy(ncclComm_t c) {
  COUNT();
  munmap(c->shared, sizeof *c->shared);
  free(c);
  return OK;
}

int ncclCommCount(const ncclComm_t c, int *n) { *n = c->n; return OK; }
int ncclCommUserRank(const ncclComm_t c, int *rank) { *rank = c->rank; return OK; }

struct reduction {
  struct comm *comm;
  const char *from;
  char *to;
  struct call call;
  enum real type;
};

static void compare_calls(struct comm *c, struct call mine) {
  c->shared->calls[c->rank] = mine;
  meet(c);
  for (int i = 0; i < c->n; i++)
    if (c->shared->calls[i].count != mine.count || c->shared->calls[i].type != mine.type)
      give_up("the ranks' calls differ");
}

static void add_up(void *payload, struct operation *o) {
  struct reduction *r = payload;
  struct comm *c = r->comm;
  size_t item = real_size(r->type), most = CHUNK / item;
  compare_calls(c, r->call);
  for (size_t done = 0, n; done < r->call.count; done += n) {
    n = r->call.count - done < most ? r->call.count - done : most;
    memcpy(c->shared->chunks[c->rank], r->from + done * item, n * item);
    meet(c);
    for (size_t i = 0; i < n; i++) {
      double sum = 0;
      for (int rank = 0; rank < c->n; rank++) sum += real_at(r->type, c->shared->chunks[rank], i);
      set_real(r->type, r->to + done * item, i, sum);
    }
    meet(c);
  }
}

/* Within a group calls only wait in their stream: this device runs nothing while a host waits for another one. */
static int depth;
static void *of_group;

static void finish(void *stream) {
  if (depth) of_group = stream;
  else device_synchronize(stream);
}

int ncclGroupStart(void) { COUNT(); depth++; return OK; }

int ncclGroupEnd(void) {
  COUNT();
  if (!depth) return INVALID_USAGE;
  if (!--depth && of_group) {
    device_synchronize(of_group);
    of_group = NULL;
  }
  return OK;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, ncclComm_t c, void *stream) {
  COUNT();
  if ((type != FLOAT32 && type != FLOAT64) || op != SUM) return INVALID_ARGUMENT;
  if (!count) return OK;
  if (device_admits(stream, 1)) return UNHANDLED_CUDA; /* what is captured here cannot be run by another process */
  struct reduction r = {c, from, to, {count, type}, type == FLOAT32 ? FLOAT : DOUBLE};
  struct operation *call = device_call("ncclAllReduce", (double)(c->n - 1) * count, add_up, &r, sizeof r);
  long dims[] = {count}, strides[] = {1};
  if (from == to) device_operand(call, "the array", to, DEVICE_READ | DEVICE_WRITE, real_size(r.type), 1, dims, strides);
  else {
    device_operand(call, "the array", from, DEVICE_READ, real_size(r.type), 1, dims, strides);
    device_operand(call, "the sum", to, DEVICE_WRITE, real_size(r.type), 1, dims, strides);
  }
  if (queued(stream, call, 0)) return UNHANDLED_CUDA;
  finish(stream);
  return OK;
}

/* libgpuarray wants these to be there. */
#define UNKNOWN(name) \
  int name(void) { give_up("it does not know " #name); return INTERNAL; }
UNKNOWN(ncclReduce)
UNKNOWN(ncclReduceScatter)
UNKNOWN(ncclBcast)
UNKNOWN(ncclAllGather)
