/* Thunks, which Theano's virtual machine calls, so that no Op needs C code of its own. */
#include "thunks.h"
#include <stdlib.h>
#include <string.h>

/* Each backend's folder has its own kinds.h. */
#define KIND(name) extern const op_kind name##_kind;
#include "kinds.h"
#undef KIND
#define KIND(name) &name##_kind,
static const op_kind *const kinds[] = {
#include "kinds.h"
    NULL};
static const op_kind *const *lists[1 + MAX_PARTS] = {kinds};
static int n_lists = 1;

static Py_ssize_t live_thunks;

static int run(thunk *t) { return fv_ready(t) ? -1 : t->kind->run(t); }

/* What Theano's virtual machine calls: an exception goes into the error list. */
static int execute(void *p) {
    thunk *t = p;
    if (!run(t)) return 0;
    PyObject *error[3];
    PyErr_Fetch(&error[0], &error[1], &error[2]);
    for (int i = 0; i < 3; i++) {
        if (!error[i]) Py_INCREF(error[i] = Py_None);
        PyList_SetItem(t->error, i, error[i]);
    }
    return 1;
}

static void free_thunk(PyObject *capsule) {
    thunk *t = PyCapsule_GetContext(capsule);
    for (plan *p = t->plans, *next; p; p = next) {
        next = p->next;
        t->kind->free_plan(p);
    }
    Py_XDECREF(t->error);
    for (int i = 0; i < t->n_inputs; i++) Py_DECREF(t->inputs[i]);
    for (int i = 0; i < t->n_outputs; i++) Py_DECREF(t->outputs[i]);
    free(t->inputs);
    free(t->outputs);
    free(t);
    if (--live_thunks == 0) fv_idle();
}

static int take_cells(PyObject *list, PyObject ***to, int *n) {
    if (!(*to = calloc(PyList_GET_SIZE(list) + 1, sizeof **to))) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *cell = PyList_GET_ITEM(list, i);
        if (!PyList_Check(cell) || PyList_GET_SIZE(cell) != 1) {
            PyErr_SetString(PyExc_TypeError, "a storage cell must be a list of one element");
            return -1;
        }
        Py_INCREF((*to)[(*n)++] = cell);
    }
    return 0;
}

int fv_add_kinds(const op_kind *const *more) {
    for (int i = 0; i < n_lists; i++)
        if (lists[i] == more) return 0;
    if (n_lists == 1 + MAX_PARTS) {
        PyErr_Format(PyExc_ImportError, "a module has at most %d parts", MAX_PARTS);
        return -1;
    }
    lists[n_lists++] = more;
    return 0;
}

static const op_kind *kind_of(const char *name) {
    for (int i = 0; i < n_lists; i++)
        for (const op_kind *const *each = lists[i]; *each; each++)
            if (!strcmp((*each)->name, name)) return *each;
    return NULL;
}

PyObject *fv_make_thunk(PyObject *self, PyObject *args) {
    const char *name;
    PyObject *settings, *inputs, *outputs;
    if (!PyArg_ParseTuple(args, "sO!O!O!", &name, &PyTuple_Type, &settings, &PyList_Type, &inputs, &PyList_Type,
                          &outputs))
        return NULL;
    const op_kind *kind = kind_of(name);
    if (!kind || PyTuple_GET_SIZE(settings) != kind->n_settings)
        return PyErr_Format(PyExc_ValueError, "no Op %s with %zd settings", name, PyTuple_GET_SIZE(settings));
    thunk *t = calloc(1, sizeof *t);
    if (!t) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New((void *)execute, NULL, NULL);
    if (!capsule || PyCapsule_SetContext(capsule, t) || PyCapsule_SetDestructor(capsule, free_thunk)) {
        Py_XDECREF(capsule);
        free(t);
        return NULL;
    }
    live_thunks++;
    t->kind = kind;
    int failed = take_cells(inputs, &t->inputs, &t->n_inputs) || take_cells(outputs, &t->outputs, &t->n_outputs);
    for (int i = 0; i < kind->n_settings && !failed; i++) {
        t->settings[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(settings, i));
        failed = PyErr_Occurred() != NULL;
    }
    if (!failed && (t->error = Py_BuildValue("[OOO]", Py_None, Py_None, Py_None))) return capsule;
    Py_DECREF(capsule);
    return NULL;
}

PyObject *fv_call_thunk(PyObject *self, PyObject *capsule) {
    if (!PyCapsule_CheckExact(capsule) || PyCapsule_GetPointer(capsule, NULL) != (void *)execute)
        return PyErr_Format(PyExc_TypeError, "not a thunk of this module");
    if (run(PyCapsule_GetContext(capsule))) return NULL;
    Py_RETURN_NONE;
}

plan *fv_find_plan(thunk *t, const void *key, size_t size) {
    int threads = fv_threads();
    for (plan **at = &t->plans; *at; at = &(*at)->next) {
        plan *p = *at;
        if (p->threads == threads && memcmp(p->key, key, size) == 0) {
            *at = p->next;
            p->next = t->plans;
            return t->plans = p;
        }
    }
    return NULL;
}

void fv_keep_plan(thunk *t, plan *p, const void *key, size_t size) {
    memcpy(p->key, key, size);
    p->threads = fv_threads();
    p->next = t->plans;
    t->plans = p;
    int kept = 1;
    for (plan *at = p; at->next; at = at->next)
        if (kept++ == MAX_PLANS) {
            t->kind->free_plan(at->next);
            at->next = NULL;
            break;
        }
}
