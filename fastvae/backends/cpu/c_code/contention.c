/* How many threads a parallel region takes while other processes want the same cores.
 *
 * Threads that share out a region wait for the slowest of them. GCC's OpenMP lets them spin for some milliseconds first:
 * the least latency while the cores are free, but the worst while one of them is wanted elsewhere, for then a thread that
 * spins keeps the core from the one that it waits for. So now and then the time that other processes took is looked up.
 * As long as they leave fewer cores than we have threads, threads that wait sleep at once, and regions take as many
 * threads as there are cores left. Only where Ops are long and two or more threads to each of these cores come out even do
 * they keep all: waking them costs little then, and the kernel gives a process with more threads more of the cores.
 *
 * No result depends on the number of threads that a region takes: what is summed up is divided by the number that is
 * configured. */
#define _GNU_SOURCE
#include "fastvae.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL 0.2             /* seconds between looks; the kernel counts in hundredths */
#define SOME 0.4                 /* of a core, taken by others: contention begins */
#define LITTLE 0.2               /* contention is over */
#define CALM 3                   /* looks in a row with so little */
#define PAUSE 1.                 /* seconds between looks after which we may have been idle, and others rightly busy */
#define BRIEF 2e-4               /* seconds of an Op that is too short to wake threads for */
#define LENGTHY 5e-4             /* of one that is worth it again */

/* All since some point in time, in seconds: the clock, the time that these cores idled, the time that we computed. */
typedef struct {
    double clock, idle, own;
    int cores;
} usage;

static struct {
    int contended, brief;
    int left;         /* how many threads regions are restricted to, 0: not at all */
    int calm;         /* looks in a row at which others took little */
    unsigned calls;   /* of Ops since the last look */
    usage last;
} watch;

static char processor_times[256] = "/proc/stat";

static double seconds(clockid_t id) {
    struct timespec t;
    return clock_gettime(id, &t) ? 0 : t.tv_sec + 1e-9 * t.tv_nsec;
}

/* The idle time, by text as in /proc/stat, of the cores that are in a set; 0 cores if it says nothing of them. What has a
 * lower priority makes room for us, so its time counts as idle. */
static void add_idle(usage *u, const char *text, const cpu_set_t *set) {
    double tick = 1. / sysconf(_SC_CLK_TCK);
    int normal = getpriority(PRIO_PROCESS, 0) <= 0;
    for (const char *line = strchr(text, '\n'); line && !strncmp(line, "\ncpu", 4); line = strchr(line + 1, '\n')) {
        int core;
        unsigned long long user, nice, system, idle, waiting;
        if (sscanf(line + 4, "%d %llu %llu %llu %llu %llu", &core, &user, &nice, &system, &idle, &waiting) != 6) break;
        if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, set)) continue;
        u->idle += tick * (idle + waiting + (normal ? nice : 0));
        u->cores++;
    }
}

/* Whether it could be told. */
static int look_up(usage *u) {
    static char text[1 << 16]; /* 128 bytes a core; under the GIL */
    cpu_set_t set;
    int file = open(processor_times, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t n, all = 0;
    while ((n = read(file, text + all, sizeof text - 1 - all)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) all += n;
    close(file);
    text[all] = 0;
    *u = (usage){.clock = seconds(CLOCK_MONOTONIC), .own = seconds(CLOCK_PROCESS_CPUTIME_ID)};
    if (sched_getaffinity(0, sizeof set, &set)) return 0;
    add_idle(u, text, &set);
    return u->cores > 0;
}

/* The cores that others took between two looks. */
static double others(const usage *then, const usage *now) {
    double span = now->clock - then->clock;
    return now->cores - (now->idle - then->idle + now->own - then->own) / span;
}

/* How many of the cores are left to so many threads when others take `taken`; 0: enough. */
static int cores_left(double taken, int cores, int threads, int contended) {
    double spare = cores > threads ? cores - threads : 0;
    if (taken <= spare + (contended ? LITTLE : SOME)) return 0;
    int left = (int)lround(cores - taken);
    return left < 1 ? 1 : left < threads ? left : threads - 1;
}

/* Idle threads of OpenMP: while it has more than there are cores, its threads sleep after 100 turns instead of 300,000
 * (documented with GOMP_SPINCOUNT). They belong to a thread that ends when they are no longer needed. */
static struct {
    int extra;
    sem_t end;
} idle_team;

static void *keep_idle_team(void *unused) {
#pragma omp parallel num_threads(idle_team.extra + 1)
    __asm__ volatile(""); /* an empty region would be left out */
    while (sem_wait(&idle_team.end) && errno == EINTR) {}
    return NULL;
}

/* Whether waiting threads shall sleep soon. What the user says of it in the environment stands. */
static void set_sleep(int soon) {
    static int on, ready;
    static pthread_t keeper;
    if (soon == on || getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (soon) {
        idle_team.extra = omp_get_num_procs() - omp_get_max_threads() + 1;
        if (idle_team.extra < 1) return; /* more threads than cores as it is */
        if (!ready && sem_init(&idle_team.end, 0, 0)) return;
        ready = 1;
        on = !pthread_create(&keeper, NULL, keep_idle_team, NULL);
    } else {
        sem_post(&idle_team.end);
        pthread_join(keeper, NULL);
        on = 0;
    }
}

static void look(int threads) {
    usage u;
    if (!look_up(&u)) return;
    double span = u.clock - watch.last.clock;
    int paused = span > PAUSE && u.own - watch.last.own < span / 4; /* what others took meanwhile says nothing */
    if (watch.last.cores == u.cores && !paused) {
        double taken = others(&watch.last, &u), each = span / watch.calls;
        int left = cores_left(taken, u.cores, threads, watch.contended);
        watch.calm = left ? 0 : watch.calm + 1;
        watch.contended = left || (watch.contended && watch.calm < CALM);
        watch.brief = each < (watch.brief ? LENGTHY : BRIEF);
        if (left || !watch.contended) watch.left = left && (watch.brief || threads % left) ? left : 0;
        set_sleep(watch.contended);
    }
    watch.last = u;
    watch.calls = 0;
}

/* Called before every Op, with the GIL held. */
void fv_watch_others(void) {
    int threads;
    if (++watch.calls % 8 || (threads = omp_get_max_threads()) == 1) return;
    if (seconds(CLOCK_MONOTONIC) - watch.last.clock >= INTERVAL) look(threads);
}

/* Whether others want the cores, and how many threads regions are restricted to, 0: not at all. */
void fv_contention(int *contended, int *left) { *contended = watch.contended, *left = watch.left; }

/* Read the processor times from another file than /proc/stat, in its format; whether the name is not too long. */
int fv_watch_file(const char *path) {
    memset(&watch, 0, sizeof watch);
    return snprintf(processor_times, sizeof processor_times, "%s", path) < (int)sizeof processor_times;
}

/* The number of threads for a region that works on so many elements, or takes as long as if it did. */
int fv_team(npy_intp elements) {
    int threads = omp_get_max_threads();
    if (elements <= PARALLEL_MIN) return 1;
    return watch.left && watch.left < threads ? watch.left : threads;
}

/* The same for a region of so many multiplications: eight take about as long as an element that is read and written. */
int fv_team_of_products(npy_intp products) { return fv_team(products / 8); }
