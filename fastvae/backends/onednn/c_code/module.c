/* The Python module: makes the thunks that Theano's virtual machine calls, so that no Op needs C code of its own. */
#define FASTVAE_MODULE
#include "fastvae.h"
#include <stdlib.h>
#include <string.h>

static const op_kind *kinds[] = {&convolution_kind,   &matmul_kind,     &gemm_kind,         &contiguous_kind,
                                 &relu_gradient_kind, &column_sum_kind, &reshape_like_kind, &adam_kind,
                                 &take_rows_kind,     &unflatten_kind,  &total_kind,        &uniform_kind,
                                 &log_probability_kind, &log_probability_gradient_kind,
                                 &logistic_log_probability_kind, &logistic_log_probability_gradient_kind};
static Py_ssize_t live_thunks;

static int run(thunk *t) { return fv_enter() ? -1 : t->kind->run(t); }

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
    if (--live_thunks == 0) fv_scratch_release();
}

static int take_cells(PyObject *list, PyObject ***to, int *n) {
    if (!(*to = calloc(PyList_GET_SIZE(list) + 1, sizeof **to))) return fv_oom(PyList_GET_SIZE(list) * sizeof **to);
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

static PyObject *make_thunk(PyObject *self, PyObject *args) {
    const char *name;
    PyObject *settings, *inputs, *outputs;
    if (!PyArg_ParseTuple(args, "sO!O!O!", &name, &PyTuple_Type, &settings, &PyList_Type, &inputs, &PyList_Type,
                          &outputs))
        return NULL;
    const op_kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->name, name)) kind = kinds[i];
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

static PyObject *call_thunk(PyObject *self, PyObject *capsule) {
    if (!PyCapsule_CheckExact(capsule) || PyCapsule_GetPointer(capsule, NULL) != (void *)execute)
        return PyErr_Format(PyExc_TypeError, "not a thunk of this module");
    if (run(PyCapsule_GetContext(capsule))) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"make_thunk", make_thunk, METH_VARARGS, "make_thunk(op, settings, input_cells, output_cells) -> capsule"},
    {"call_thunk", call_thunk, METH_O, "call_thunk(capsule): run it and raise its exception"},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fastvae_onednn", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_fastvae_onednn(void) {
    import_array();
    return PyModule_Create(&definition);
}
