/* CUDA graphs: a step is recorded once from libgpuarray's stream, and launched as a whole from then on. */
#ifndef FASTVAE_GRAPH_H
#define FASTVAE_GRAPH_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *fv_fingerprint(PyObject *self, PyObject *cells);
PyObject *fv_overwrite(PyObject *self, PyObject *args);
PyObject *fv_begin_recording(PyObject *self, PyObject *context);
PyObject *fv_end_recording(PyObject *self, PyObject *none);
PyObject *fv_abandon_recording(PyObject *self, PyObject *none);
PyObject *fv_launch_graph(PyObject *self, PyObject *graph);

#define GRAPH_METHODS \
    {"fingerprint", fv_fingerprint, METH_O, "fingerprint(cells) -> bytes: addresses, shapes and strides of their arrays"}, \
    {"overwrite", fv_overwrite, METH_VARARGS, "overwrite(to, source): copy one array into another of the same shape"}, \
    {"begin_recording", fv_begin_recording, METH_O, "begin_recording(context): what follows is recorded, and not run"}, \
    {"end_recording", fv_end_recording, METH_NOARGS, "end_recording() -> graph"}, \
    {"abandon_recording", fv_abandon_recording, METH_NOARGS, \
     "abandon_recording() -> what the recorded Ops tried that no graph can contain, or None"}, \
    {"launch", fv_launch_graph, METH_O, "launch(graph): run what was recorded"}

#endif
