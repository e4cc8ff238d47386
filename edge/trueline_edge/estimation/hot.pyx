# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The hot loops, compiled. Each is the twin of the function of its name in `textbook`, where it can be read with its
source; the tests hold the two together. Nothing here takes the GIL while it works. Here is what they share; each of the
files included below holds the twins of one or two files of the textbook."""

from libc.math cimport INFINITY, NAN, exp, fabs, isfinite, isinf, isnan, pow, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "lanes.h":
    enum: LANES
    enum: WINDOW_MAX
    ctypedef double Lane[8]
    ctypedef unsigned char Pair[2]
    void look_at_processor()
    int sorting_network(int width, Pair* pairs) noexcept nogil
    void judge_lanes(Lane* s, int width, int pairs_count, Pair* pairs, double* median, double* mad) noexcept nogil
    void judge_few(double* s, int count, double* median, double* mad) noexcept nogil
    bint beyond(double z, double median, double mad, double threshold, double floor) noexcept nogil

look_at_processor()


cdef inline bint measured(double z, double noise, double dt) noexcept nogil:
    return isfinite(z) and noise > 0.0 and not isinf(noise) and not dt <= 0.0


cdef inline double softened(double x, double inverse_dof) noexcept nogil:
    cdef double wider = (1.0 + x * inverse_dof) / (1.0 + inverse_dof)
    return wider if wider > 1.0 else 1.0


cdef inline void agreeing(double z, double noise, double gate, double* candidate, double* count) noexcept nogil:
    cdef double off = z - candidate[0]
    if count[0] > 0.0 and off * off <= gate * gate * noise * (1.0 + 1.0 / count[0]):
        candidate[0] += off / (count[0] + 1.0)
        count[0] += 1.0
    else:
        candidate[0] = z
        count[0] = 1.0


include "kalman.pxi"
include "linear.pxi"
include "fuse.pxi"
include "cells.pxi"
include "hampel.pxi"
include "bank.pxi"
include "walk.pxi"
