/* Preloaded, it counts what each thread does in the parallel regions of GCC's OpenMP, oneDNN's among them:
 *
 *     cc -O2 -shared -fPIC -fopenmp bench/regions.c -o regions.so -ldl
 *
 * Processor time, not time on the clock: it is the same whether the threads have a core each or take turns. Of loops
 * whose pieces are handed out while they run (schedule(dynamic)) the pieces are counted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define MOST_REGIONS 256 /* since the last `regions_take` */
#define MOST_THREADS 128

typedef struct {
    int threads;
    long pieces; /* of dynamic loops, 0 where there are none */
    double caller;                /* of the thread that starts the region, waking the others included */
    double seconds[MOST_THREADS]; /* of each thread, in the region itself */
} region;

typedef void work(void *);
typedef struct {
    work *run;
    void *data;
    region *of;
} call;

static region regions[MOST_REGIONS];
static int n_regions;
static region *running;

static double processor_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* The regions since the last time: how many, and the place of the first; they are gone at the next region. */
int regions_take(region **first) {
    int n = n_regions;
    *first = regions;
    n_regions = 0;
    return n;
}

static void took(region *r, double since) {
    int me = omp_get_thread_num();
    r->threads = omp_get_num_threads();
    if (me < MOST_THREADS) r->seconds[me] = processor_time() - since;
}

static void timed(void *p) {
    call *c = p;
    double started = processor_time();
    c->run(c->data);
    took(c->of, started);
}

/* The region that a call starts; NULL inside of another one, or where there is no room. */
static region *new_region(long pieces) {
    if (omp_in_parallel() || n_regions == MOST_REGIONS) return NULL;
    running = &regions[n_regions++];
    memset(running, 0, sizeof *running);
    running->pieces = pieces;
    return running;
}

#define PIECES(start, end, step, chunk) (((end) - (start) + (step) * (chunk) - 1) / ((step) * (chunk)))

#define NEXT(name, type) \
    static type *next; \
    if (!next) next = (type *)dlsym(RTLD_NEXT, name)

typedef void start_region(work *, void *, unsigned, unsigned);
void GOMP_parallel(work *run, void *data, unsigned threads, unsigned flags) {
    NEXT("GOMP_parallel", start_region);
    call c = {run, data, new_region(0)};
    double started = processor_time();
    if (c.of) next(timed, &c, threads, flags);
    else next(run, data, threads, flags);
    if (c.of) c.of->caller = processor_time() - started;
}

/* The older way, oneDNN's: the caller computes its own share between these two. */
static call old;
static double old_called, old_started;
typedef void old_start(work *, void *, unsigned);
typedef void old_end(void);

void GOMP_parallel_start(work *run, void *data, unsigned threads) {
    NEXT("GOMP_parallel_start", old_start);
    call c = {run, data, new_region(0)};
    if (!c.of) {
        next(run, data, threads);
        return;
    }
    old = c;
    old_called = processor_time();
    next(timed, &old, threads);
    old_started = processor_time();
}

void GOMP_parallel_end(void) {
    NEXT("GOMP_parallel_end", old_end);
    region *ended = omp_get_level() == 1 ? old.of : NULL;
    if (ended) took(ended, old_started);
    next();
    if (!ended) return;
    ended->caller = processor_time() - old_called;
    old.of = NULL;
}

#define LOOP_REGION(name) \
    typedef void name##_type(work *, void *, unsigned, long, long, long, long, unsigned); \
    void name(work *run, void *data, unsigned threads, long start, long end, long step, long chunk, unsigned flags) { \
        NEXT(#name, name##_type); \
        call c = {run, data, new_region(PIECES(start, end, step, chunk))}; \
        double started = processor_time(); \
        if (c.of) next(timed, &c, threads, start, end, step, chunk, flags); \
        else next(run, data, threads, start, end, step, chunk, flags); \
        if (c.of) c.of->caller = processor_time() - started; \
    }
LOOP_REGION(GOMP_parallel_loop_dynamic)
LOOP_REGION(GOMP_parallel_loop_nonmonotonic_dynamic)

#define LOOP(name) \
    typedef bool name##_type(long, long, long, long, long *, long *); \
    bool name(long start, long end, long step, long chunk, long *from, long *to) { \
        NEXT(#name, name##_type); \
        if (omp_get_thread_num() == 0 && running) running->pieces += PIECES(start, end, step, chunk); \
        return next(start, end, step, chunk, from, to); \
    }
LOOP(GOMP_loop_dynamic_start)
LOOP(GOMP_loop_nonmonotonic_dynamic_start)
