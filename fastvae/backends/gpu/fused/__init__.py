"""Passes over arrays that run in as few launches as their data allow: CUDA written for the shapes that a step has.

region    a part of a graph, as one Op: it is compiled when it first meets the shapes of its inputs
nodes     what each of Theano's Ops means in a region: the shape of its result, and its value at one place
places    places in arrays, as expressions of C
plan      the loops of a region and the kernels that they share
sources   the text of a kernel
"""
