/* What the C modules of both backends share (c_module.py): thunks, one for each Op of a compiled Theano function, and
 * the plans that an Op keeps from call to call. */
#ifndef FASTVAE_THUNKS_H
#define FASTVAE_THUNKS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define MAX_SETTINGS 24
#define MAX_KEY 128  /* bytes */
#define MAX_PARTS 16 /* of a module, each with Ops of its own */
#define MAX_PLANS 16 /* shapes that one Op instance keeps prepared; the least recently used one goes */

typedef struct thunk thunk;
typedef struct plan plan;

/* A kind of Op. */
typedef struct {
    const char *name;
    int n_settings;
    int (*run)(thunk *);       /* with the GIL held; -1 and a Python exception on failure */
    void (*free_plan)(plan *); /* NULL for Ops that keep no plans */
} op_kind;

/* What is prepared for one set of shapes, its key, and a number of threads; each Op extends it. */
struct plan {
    plan *next;
    int threads;
    unsigned char key[MAX_KEY];
};

/* One Op of a compiled Theano function. Theano's virtual machine reads `error` as the first member. */
struct thunk {
    PyObject *error; /* list of three: type, value, traceback */
    const op_kind *kind;
    int n_inputs, n_outputs;
    PyObject **inputs, **outputs; /* Theano's one-element storage lists */
    double settings[MAX_SETTINGS];
    plan *plans; /* the most recently used first */
};

/* Each backend's module.c has these: whether an Op can run now, else -1 and an exception; how many threads a plan that is
 * made now will run with; and what to do when the last thunk is gone. */
int fv_ready(const thunk *t);
int fv_threads(void);
void fv_idle(void);

/* The module's methods: make_thunk(kind, settings, input cells, output cells) -> capsule, and call_thunk(capsule). */
PyObject *fv_make_thunk(PyObject *self, PyObject *args);
PyObject *fv_call_thunk(PyObject *self, PyObject *capsule);

#define THUNK_METHODS \
    {"make_thunk", fv_make_thunk, METH_VARARGS, "make_thunk(kind, settings, input_cells, output_cells) -> capsule"}, \
    {"call_thunk", fv_call_thunk, METH_O, "call_thunk(capsule): run it and raise its exception"}

/* Ops of a part that is loaded later, a list that ends with NULL; -1 and an exception if there are too many parts. */
int fv_add_kinds(const op_kind *const *kinds);

#pragma GCC visibility push(default) /* parts call these */

/* The plan with this key for the present number of threads, moved to the front; NULL if there is none. */
plan *fv_find_plan(thunk *t, const void *key, size_t size);

/* Put a new plan in front and drop the least recently used one beyond MAX_PLANS. */
void fv_keep_plan(thunk *t, plan *p, const void *key, size_t size);

#pragma GCC visibility pop

#endif
