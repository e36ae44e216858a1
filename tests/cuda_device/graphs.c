/* CUDA graphs on the tests' device: what a capturing stream is given is kept, and runs when the graph is launched.

   As the driver does, a launch takes what a graph was made of: addresses and scalars of the time of its capture. One
   capture at a time is all that a test needs. Calls that the driver refuses in a capture end it here too; so do calls
   about graphs that nobody here makes, by not being there. */
#include "graphs.h"
#include "counters.h"
#include "streams.h"

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_HANDLE = 400 };
enum { GLOBAL, THREAD_LOCAL, RELAXED };

struct graph {
  struct graph *next; /* of all that live */
  struct operation **nodes;
  size_t n, room;
  int executable;
};

static struct graph *living;
static struct {
  void *stream; /* NULL: none is captured */
  int mode, invalid;
  struct graph *graph;
} capture;

static struct graph *new_graph(int executable) {
  struct graph *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  g->executable = executable;
  g->next = living;
  return living = g;
}

static struct graph *found(void *handle, int executable) {
  for (struct graph *g = living; g; g = g->next)
    if (g == handle && g->executable == executable) return g;
  return NULL;
}

static void append(struct graph *g, struct operation *node) {
  if (g->n == g->room) {
    g->room = 2 * g->room + 64;
    if (!(g->nodes = realloc(g->nodes, g->room * sizeof *g->nodes))) abort();
  }
  g->nodes[g->n++] = node;
}

static int destroy(void *handle, int executable) {
  struct graph *g = found(handle, executable);
  if (!g) return INVALID_HANDLE;
  for (struct graph **at = &living; *at; at = &(*at)->next)
    if (*at == g) {
      *at = g->next;
      break;
    }
  for (size_t i = 0; i < g->n; i++) free(g->nodes[i]);
  free(g->nodes);
  free(g);
  return 0;
}

/* Takes an operation for the graph; what a capture gets that has failed is lost. */
static int record(void *stream, struct operation *given) {
  if (!graphs_capture(stream)) return 0;
  if (capture.invalid) free(given);
  else append(capture.graph, given);
  return 1;
}

static int ended(int status) {
  capture.invalid = 1;
  return status;
}

int graphs_capture(void *stream) { return stream && stream == capture.stream; }

int graphs_admit(void *stream) {
  if (!capture.stream) return 0;
  if (!stream) return ended(CAPTURE_IMPLICIT);
  return graphs_capture(stream) && capture.invalid ? CAPTURE_INVALIDATED : 0;
}

int graphs_admit_wait(void *stream) {
  if (!stream || !graphs_capture(stream)) return graphs_admit(stream);
  return ended(CAPTURE_UNSUPPORTED);
}

int device_admits(void *stream, int waits) { return waits ? graphs_admit_wait(stream) : graphs_admit(stream); }

int graphs_admit_unsafe(void) {
  return capture.stream && capture.mode != RELAXED ? ended(CAPTURE_UNSUPPORTED) : 0;
}

int cuStreamBeginCapture_v2(void *stream, int mode) {
  COUNT();
  if (mode < GLOBAL || mode > RELAXED) return INVALID_VALUE;
  if (!stream) return CAPTURE_UNSUPPORTED;
  if (capture.stream) return ILLEGAL_STATE;
  if (!(capture.graph = new_graph(0))) return OUT_OF_MEMORY;
  capture.stream = stream;
  capture.mode = mode;
  capture.invalid = 0;
  device_recorder = record;
  return 0;
}

int cuStreamEndCapture(void *stream, void **graph) {
  COUNT();
  *graph = NULL;
  if (!graphs_capture(stream)) return ILLEGAL_STATE;
  int invalid = capture.invalid;
  if (invalid) destroy(capture.graph, 0);
  else *graph = capture.graph;
  capture.stream = capture.graph = NULL;
  device_recorder = NULL;
  return invalid ? CAPTURE_INVALIDATED : 0;
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  COUNT();
  struct graph *from = found(graph, 0);
  if (!from || graph == capture.graph) return INVALID_VALUE;
  if (flags) return INVALID_VALUE; /* nobody here asks for any */
  struct graph *to = new_graph(1);
  if (!to) return OUT_OF_MEMORY;
  for (size_t i = 0; i < from->n; i++) append(to, device_copy_of(from->nodes[i]));
  *executable = to;
  return 0;
}

int cuGraphLaunch(void *executable, void *stream) {
  static struct counter *nodes;
  COUNT();
  struct graph *g = found(executable, 1);
  if (!g) return INVALID_HANDLE;
  if (graphs_capture(stream)) return ended(CAPTURE_UNSUPPORTED); /* a graph in a graph, which nobody here makes */
  if (!nodes) nodes = counter("graph_nodes");
  nodes->count += g->n;
  for (size_t i = 0; i < g->n && device_executes(); i++) device_enqueue(stream, device_copy_of(g->nodes[i]));
  return 0;
}

int cuGraphDestroy(void *graph) { COUNT(); return destroy(graph, 0); }
int cuGraphExecDestroy(void *executable) { COUNT(); return destroy(executable, 1); }

/* How many graphs of either kind nobody has destroyed yet. */
int device_living_graphs(void) {
  int n = 0;
  for (struct graph *g = living; g; g = g->next) n++;
  return n;
}
