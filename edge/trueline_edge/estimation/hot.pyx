# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The hot loops, compiled. Each is the twin of the function of its name in `textbook`, where it can be read with its
source; the tests hold the two together. Nothing here takes the GIL while it works. Here is what they share; each of the
files included below holds the twins of one or two files of the textbook."""

from libc.stdint cimport int64_t
from libc.math cimport INFINITY, NAN, exp, fabs, fmax, fmin, isfinite, isinf, isnan, pow, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "lanes.h":
    enum: LANES
    enum: WINDOW_MAX
    enum: NARROW_MAX
    double MAD_TO_SIGMA
    ctypedef double Lane[8]
    ctypedef unsigned char Pair[2]
    ctypedef struct Columns:
        const double* at
        Py_ssize_t row
        Py_ssize_t step
    void take(double* to, Columns source, Py_ssize_t row, Py_ssize_t first, int lanes) noexcept nogil
    void give(double* to, const double* source, int lanes) noexcept nogil
    void copy_lane(double* to, const double* source) noexcept nogil
    void mark(unsigned char* to, unsigned char what, int lanes) noexcept nogil
    void look_at_processor()
    int sorting_network(int width, Pair* pairs) noexcept nogil
    void judge_lanes(Lane* s, int width, int pairs_count, Pair* pairs, double* median, double* mad) noexcept nogil
    void judge_row(const Lane* window, Lane* room, int width, int pairs_count, Pair* pairs, const double* z,
                   double threshold, const double* floor, double* median, double* mad, int64_t* plain,
                   int* others) noexcept nogil
    void judge_few(double* s, int count, double* median, double* mad) noexcept nogil
    bint beyond(double z, double median, double mad, double threshold, double floor) noexcept nogil

look_at_processor()


cdef Columns columns(const double[:, :] table) except *:
    """Where its numbers lie."""
    cdef Columns found
    if table.strides[0] % 8 or table.strides[1] % 8:
        raise ValueError("a field of records: a copy of it is wanted")
    found.at = &table[0, 0]
    found.row, found.step = table.strides[0] // 8, table.strides[1] // 8
    return found


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
include "correct.pxi"
include "play.pxi"
include "panel.pxi"
