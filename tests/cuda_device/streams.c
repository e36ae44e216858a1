/* The order of work is CUDA's: first in, first out in a stream; between streams only what events and the legacy stream ask
   for. Nothing runs before it has to, and with TEST_DEVICE_ORDER work of other streams runs before or after, as it falls. */
#define _GNU_SOURCE
#include "streams.h"
#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "checks.h"
#include "launches.h"
#include "order.h"
#include "pinned.h"

enum { MOST_WAITING = 1024 }; /* a launch beyond waits for the device, as CUDA's does */

/* What stands in a queue: an operation, a wait for another stream, or an event that is reached. */
struct item {
  struct operation *operation;
  struct stream *awaited;
  uint64_t until;
  struct event *event;
};

/* Items are numbered from 1 in their stream; `done` of `queued` have run. */
struct stream {
  int blocking;
  uint64_t queued, done;
  struct item *items;
  size_t room;
  struct stream *next;
};

struct event { struct stream *stream; uint64_t number; double time; int users; };

static struct stream legacy = {.blocking = 1}, *streams = &legacy;
static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
int (*device_recorder)(void *stream, struct operation *);

void device_lock(void) { pthread_mutex_lock(&mutex); }
void device_unlock(void) { pthread_mutex_unlock(&mutex); }

static struct stream *stream_of(void *handle) { return handle ? handle : &legacy; }

/* Streams stay for good, since events may name them. */
struct stream *stream_new(int blocking) {
  struct stream *s = calloc(1, sizeof *s);
  if (!s) abort();
  s->blocking = blocking;
  s->next = streams;
  streams = s;
  return s;
}

static size_t waiting(const struct stream *s) { return s->queued - s->done; }

static struct item *push(struct stream *s) {
  size_t n = waiting(s);
  if (n == s->room) { /* a ring: item i is at i % room */
    size_t room = s->room ? 2 * s->room : 16;
    struct item *items = calloc(room, sizeof *items);
    if (!items) abort();
    for (uint64_t i = s->done; i < s->queued; i++) items[i % room] = s->items[i % s->room];
    free(s->items);
    s->items = items;
    s->room = room;
  }
  struct item *item = &s->items[s->queued++ % s->room];
  *item = (struct item){0};
  return item;
}

static void push_wait(struct stream *s, struct stream *awaited, uint64_t until) {
  if (awaited == s || awaited->done >= until) return;
  struct item *item = push(s);
  item->awaited = awaited;
  item->until = until;
}

void device_run(struct operation *o) {
  int all_there = 1;
  for (int i = 0; i < o->n_operands; i++)
    if (o->operands[i].how & DEVICE_READ) all_there &= check_operand(&o->operands[i]);
  for (int i = 0; i < o->n_operands; i++)
    if (!(o->operands[i].how & DEVICE_READ)) all_there &= check_operand(&o->operands[i]);
  if (all_there) o->run(o->payload, o);
}

int device_executes(void) {
  static int executes = -1;
  if (executes < 0) executes = !getenv("TEST_DEVICE_EXECUTE") || atoi(getenv("TEST_DEVICE_EXECUTE"));
  return executes;
}

static int is_transfer(const struct operation *o) { return !strncmp(o->name, "copy", 4) || !strcmp(o->name, "fill"); }

static void run_operation(struct operation *o) {
  fenv_t hosts;
  checks_begin(o->name);
  pinned_release(o);
  fegetenv(&hosts);
  fesetenv(FE_DFL_ENV); /* whatever a library of the host does with denormal numbers */
  pinned_by_device = 1;
  if (device_executes() || is_transfer(o)) device_run(o);
  pinned_by_device = 0;
  fesetenv(&hosts);
  launch_logged(o, checks_end());
  free(o);
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * now.tv_sec + 1e-6 * now.tv_nsec;
}

static void event_release(struct event *e) {
  if (!--e->users) free(e);
}

static int can_run(const struct stream *s) {
  const struct item *item = &s->items[s->done % s->room];
  return !item->awaited || item->awaited->done >= item->until;
}

static void run_first(struct stream *s) {
  struct item item = s->items[s->done % s->room];
  if (item.operation) run_operation(item.operation);
  if (item.event) {
    item.event->time = milliseconds();
    event_release(item.event);
  }
  s->done++;
}

/* Another stream's first item may run as well, as it falls. */
static void run_any(void) {
  uint32_t n = 0;
  struct stream *chosen = NULL;
  for (struct stream *s = streams; s; s = s->next)
    if (waiting(s) && can_run(s) && !order_below(++n)) chosen = s;
  if (chosen) run_first(chosen);
}

static void run_until(struct stream *s, uint64_t until) {
  while (s->done < until) {
    if (order_is_random()) {
      run_any();
      continue;
    }
    struct item *first = &s->items[s->done % s->room];
    if (first->awaited) run_until(first->awaited, first->until);
    run_first(s);
  }
}

/* The legacy stream waits for all blocking ones, and they for it. */
static void order_with_legacy(struct stream *s) {
  if (s == &legacy) {
    for (struct stream *other = streams; other; other = other->next)
      if (other->blocking) push_wait(&legacy, other, other->queued);
  } else if (s->blocking) push_wait(s, &legacy, legacy.queued);
}

void device_enqueue(void *handle, struct operation *o) {
  struct stream *s = stream_of(handle);
  device_lock();
  if (!device_recorder || !device_recorder(handle, o)) {
    order_with_legacy(s);
    push(s)->operation = o;
    pinned_hold(o);
    if (order_is_random() && !order_below(4)) run_any();
    if (waiting(s) > MOST_WAITING) run_until(s, s->queued - MOST_WAITING / 2);
  }
  device_unlock();
}

void device_synchronize(void *handle) {
  struct stream *s = stream_of(handle);
  device_lock();
  if (s == &legacy) order_with_legacy(s);
  run_until(s, s->queued);
  device_unlock();
}

void device_finish(void) {
  device_lock();
  for (struct stream *s = streams; s; s = s->next) run_until(s, s->queued);
  device_unlock();
}

void stream_end(struct stream *s) { device_synchronize(s); }

int stream_is_done(struct stream *s) { return !waiting(stream_of(s)); }

struct event *event_new(void) {
  struct event *e = calloc(1, sizeof *e);
  if (!e) abort();
  e->stream = &legacy;
  e->users = 1;
  return e;
}

void event_end(struct event *e) {
  device_lock();
  event_release(e);
  device_unlock();
}

void event_record(struct event *e, struct stream *handle) {
  struct stream *s = stream_of(handle);
  device_lock();
  order_with_legacy(s);
  push(s)->event = e;
  e->users++;
  e->stream = s;
  e->number = s->queued;
  device_unlock();
}

void event_wait(struct event *e) {
  device_lock();
  run_until(e->stream, e->number);
  device_unlock();
}

int event_is_done(struct event *e) { return e->stream->done >= e->number; }
double event_time(struct event *e) { return e->time; }

void stream_wait_event(struct stream *handle, struct event *e) {
  device_lock();
  push_wait(stream_of(handle), e->stream, e->number);
  device_unlock();
}
