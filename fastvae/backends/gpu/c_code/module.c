/* The Python module: makes the thunks that Theano's virtual machine calls, so that no Op needs C code of its own. */
#include "arrays.h"
#include "cudnn_runtime.h"
#include <stdlib.h>
#include <string.h>

static const op_kind *const kinds[] = {&convolution_kind, &adam_kind};
static int is_open;

/* What Theano's virtual machine calls: an exception goes into the error list. */
static int execute(void *p) {
    thunk *t = p;
    if (!t->kind->run(t)) return 0;
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
    t->kind->release(t);
    Py_XDECREF(t->error);
    for (int i = 0; i < t->n_inputs; i++) Py_DECREF(t->inputs[i]);
    for (int i = 0; i < t->n_outputs; i++) Py_DECREF(t->outputs[i]);
    free(t->inputs);
    free(t->outputs);
    free(t);
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

static PyObject *make_thunk(PyObject *self, PyObject *args) {
    PyObject *settings, *constants, *inputs, *outputs;
    const char *name;
    if (!PyArg_ParseTuple(args, "sO!O!O!O!", &name, &PyTuple_Type, &settings, &PyTuple_Type, &constants, &PyList_Type,
                          &inputs, &PyList_Type, &outputs))
        return NULL;
    const op_kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->name, name)) kind = kinds[i];
    if (!kind) return PyErr_Format(PyExc_ValueError, "there is no kind '%s'", name);
    if (kind == &convolution_kind && !is_open) return PyErr_Format(PyExc_RuntimeError, "open_cudnn() was not called");
    if (PyTuple_GET_SIZE(settings) > MAX_SETTINGS || PyTuple_GET_SIZE(constants) > MAX_CONSTANTS)
        return PyErr_Format(PyExc_ValueError, "too many settings");
    thunk *t = calloc(1, sizeof *t);
    if (!t) return PyErr_NoMemory();
    t->kind = kind;
    PyObject *capsule = PyCapsule_New((void *)execute, NULL, NULL);
    if (!capsule || PyCapsule_SetContext(capsule, t) || PyCapsule_SetDestructor(capsule, free_thunk)) {
        Py_XDECREF(capsule);
        free(t);
        return NULL;
    }
    int failed = take_cells(inputs, &t->inputs, &t->n_inputs) || take_cells(outputs, &t->outputs, &t->n_outputs);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(settings) && !failed; i++) {
        t->settings[i] = (int)PyLong_AsLong(PyTuple_GET_ITEM(settings, i));
        failed = PyErr_Occurred() != NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(constants) && !failed; i++) {
        t->constants[i] = (float)PyFloat_AsDouble(PyTuple_GET_ITEM(constants, i));
        failed = PyErr_Occurred() != NULL;
    }
    if (!failed && (t->error = Py_BuildValue("[OOO]", Py_None, Py_None, Py_None))) return capsule;
    Py_DECREF(capsule);
    return NULL;
}

static PyObject *call_thunk(PyObject *self, PyObject *capsule) {
    if (!PyCapsule_CheckExact(capsule) || PyCapsule_GetPointer(capsule, NULL) != (void *)execute)
        return PyErr_Format(PyExc_TypeError, "not a thunk of this module");
    thunk *t = PyCapsule_GetContext(capsule);
    if (t->kind->run(t)) return NULL;
    Py_RETURN_NONE;
}

static PyObject *open_cudnn(PyObject *self, PyObject *args) {
    const char *path;
    Py_ssize_t limit;
    policy asked;
    if (!PyArg_ParseTuple(args, "spppn", &path, &asked.tf32, &asked.deterministic, &asked.search, &limit)) return NULL;
    if (fv_open(path)) return NULL;
    asked.limit = (size_t)limit;
    fv_policy = asked;
    is_open = 1;
    return PyLong_FromSize_t(fv_cudnnGetVersion());
}

static PyMethodDef methods[] = {
    {"open_cudnn", open_cudnn, METH_VARARGS, "open_cudnn(path, tf32, deterministic, search, workspace limit) -> version"},
    {"make_thunk", make_thunk, METH_VARARGS, "make_thunk(kind, settings, constants, input_cells, output_cells) -> capsule"},
    {"call_thunk", call_thunk, METH_O, "call_thunk(capsule): run it and raise its exception"},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fastvae_gpu", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_fastvae_gpu(void) {
    if (fv_import_pygpu()) return NULL;
    return PyModule_Create(&definition);
}
