/* Maxima and minima over any axes. */
#include "reduction.h"

/* Functions of their own: the compiler takes twice as long for both in one. */
#define APART static __attribute__((noinline)) void
APART maximum_into(double *to, const reduction *g, const region *at, const float *from) {
    combine(to, g, at, from, MAXIMUM);
}

APART minimum_into(double *to, const reduction *g, const region *at, const float *from) {
    combine(to, g, at, from, MINIMUM);
}

static void combine_into(double *to, const reduction *g, const region *at, const float *from) {
    if (g->how == MAXIMUM) maximum_into(to, g, at, from);
    else minimum_into(to, g, at, from);
}

const op_kind extremum_kind = {"Extremum", 10, run_reduction, NULL};
