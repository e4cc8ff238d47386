# Part of hot.pyx: the twins of textbook/sequences.py, which go cell by cell.

cdef extern from "cells.h":
    ctypedef struct Leap:
        double* believed
        int64_t* age_ns
        double* waiting
        int64_t* waiting_age_ns
        int64_t* agreeing
    Py_ssize_t pick_cells(const double* z, Py_ssize_t z_step, const unsigned char* grade, Py_ssize_t grade_step,
                          int worst, double* out, Py_ssize_t count) noexcept nogil
    void there_cells(const double* z, Py_ssize_t z_step, const unsigned char* grade, Py_ssize_t grade_step, int worst,
                     unsigned char* out, Py_ssize_t count) noexcept nogil
    void look_up_cells(const unsigned char* verdict, const unsigned char* grade, const unsigned int* bits,
                       const unsigned char* table, const unsigned int* bits_of, unsigned char* new_grade,
                       unsigned int* new_bits, Py_ssize_t count) noexcept nogil
    void limit_cells(const double* z, Py_ssize_t step, double low, double high, double inner_low, double inner_high,
                     unsigned char* verdict, Py_ssize_t count) noexcept nogil
    void spare_cells(const unsigned char* grade, Py_ssize_t step, int worst, unsigned char* verdict,
                     Py_ssize_t count) noexcept nogil
    void leap_cells(Leap past, Columns value, const int64_t* clock_ns, const double* step, double suspect_per_s,
                    double fail_per_s, int step_samples, Py_ssize_t n, Py_ssize_t channels,
                    unsigned char* verdict) noexcept nogil
    void repeat_cells(double* ring, int64_t* at, Columns value, const double* tolerance, int fail, int suspect,
                      Py_ssize_t n, Py_ssize_t channels, unsigned char* verdict) noexcept nogil
    void pace_rows(int64_t last, const int64_t* time_ns, Py_ssize_t n, int64_t* since, int64_t* least,
                   int64_t* most) noexcept nogil


cdef inline bint whole(const double[:, :] value, const unsigned char[:, :] grade) noexcept nogil:
    """Do all their cells lie side by side?"""
    cdef Py_ssize_t channels = value.shape[1]
    return (value.strides[1] == 8 and value.strides[0] == 8 * channels
            and grade.strides[1] == 1 and grade.strides[0] == channels)


cdef inline bint every(const unsigned char[:] column) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(column.shape[0]):
        if not column[k]:
            return False
    return True


def pick(const double[:, :] value, const unsigned char[:, :] grade, int worst, const unsigned char[:] column,
         double[:, ::1] out):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k, others = 0
    cdef Columns z = columns(value)
    cdef bint all_meant = every(column)
    with nogil:
        if all_meant and whole(value, grade):
            others = pick_cells(z.at, 1, &grade[0, 0], 1, worst, &out[0, 0], n * channels)
            n = 0
        for i in range(n):
            others += pick_cells(z.at + i * z.row, z.step, &grade[i, 0], grade.strides[1], worst, &out[i, 0], channels)
            for k in range(channels):
                if not all_meant and not column[k] and not isnan(out[i, k]):
                    out[i, k] = NAN
                    others += 1
    return others


def there(const double[:, :] value, const unsigned char[:, :] grade, int worst, const unsigned char[:] column,
          unsigned char[:, ::1] out):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef Columns z = columns(value)
    cdef bint all_meant = every(column)
    with nogil:
        if all_meant and whole(value, grade):
            there_cells(z.at, 1, &grade[0, 0], 1, worst, &out[0, 0], n * channels)
            n = 0
        for i in range(n):
            there_cells(z.at + i * z.row, z.step, &grade[i, 0], grade.strides[1], worst, &out[i, 0], channels)
            for k in range(channels):
                out[i, k] &= column[k]


def look_up(const unsigned char[:, ::1] verdict, const unsigned char[:, ::1] grade, const unsigned int[:, ::1] bits,
            const unsigned char[:, ::1] table, const unsigned int[::1] bits_of,
            unsigned char[:, ::1] new_grade, unsigned int[:, ::1] new_bits):
    with nogil:
        look_up_cells(&verdict[0, 0], &grade[0, 0], &bits[0, 0], &table[0, 0], &bits_of[0], &new_grade[0, 0],
                      &new_bits[0, 0], grade.shape[0] * grade.shape[1])


def limits(const double[:, :] value, const unsigned char[:, :] grade, int worst, double low, double high,
           double inner_low, double inner_high, unsigned char[:, ::1] verdict):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i
    cdef Columns z = columns(value)
    with nogil:
        if whole(value, grade):
            limit_cells(z.at, 1, low, high, inner_low, inner_high, &verdict[0, 0], n * channels)
            spare_cells(&grade[0, 0], 1, worst, &verdict[0, 0], n * channels)
            n = 0
        for i in range(n):
            limit_cells(z.at + i * z.row, z.step, low, high, inner_low, inner_high, &verdict[i, 0], channels)
            spare_cells(&grade[i, 0], grade.strides[1], worst, &verdict[i, 0], channels)


def repeats(double[:, ::1] past, int64_t[::1] at, const double[:, :] value, const double[::1] tolerance, int suspect,
            unsigned char[:, ::1] verdict):
    cdef Columns z = columns(value)
    with nogil:
        repeat_cells(&past[0, 0], &at[0], z, &tolerance[0], <int>past.shape[1], suspect, value.shape[0],
                     value.shape[1], &verdict[0, 0])


def leaps(const double[:, :] value, const int64_t[::1] clock_ns, const double[::1] step, double suspect_per_s,
          double fail_per_s, int step_samples, double[::1] believed, int64_t[::1] age_ns, double[::1] waiting,
          int64_t[::1] waiting_age_ns, int64_t[::1] agreeing, unsigned char[:, ::1] verdict):
    cdef Py_ssize_t k
    cdef Leap past
    cdef Columns z = columns(value)
    past.believed, past.age_ns, past.waiting = &believed[0], &age_ns[0], &waiting[0]
    past.waiting_age_ns, past.agreeing = &waiting_age_ns[0], &agreeing[0]
    with nogil:
        leap_cells(past, z, &clock_ns[0], &step[0], suspect_per_s, fail_per_s, step_samples,
                   value.shape[0], value.shape[1], &verdict[0, 0])
        for k in range(value.shape[1] if value.shape[0] else 0):
            age_ns[k] += clock_ns[value.shape[0] - 1]
            waiting_age_ns[k] += clock_ns[value.shape[0] - 1]


def paces(int64_t last, const int64_t[:] time_ns, int64_t[::1] since):
    cdef int64_t least, most
    if time_ns.shape[0] > 1 and time_ns.strides[0] != 8:
        time_ns = time_ns.copy()
    with nogil:
        pace_rows(last, &time_ns[0], time_ns.shape[0], &since[0], &least, &most)
    return least, most


def beside(const double[:, :] value, const float[:, :] u, const unsigned char[:, :] grade,
           const unsigned int[:, :] bits, const double[:, :] more, const double[:, :] variance, int good,
           double[:, ::1] all_value, float[:, ::1] all_u, unsigned char[:, ::1] all_grade,
           unsigned int[:, ::1] all_bits):
    cdef Py_ssize_t n = value.shape[0], first = value.shape[1], k = more.shape[1], i, j, missing = 0
    cdef double z, p
    with nogil:
        for i in range(n):
            for j in range(first):
                all_value[i, j] = value[i, j]
            for j in range(first):
                all_u[i, j] = u[i, j]
            for j in range(first):
                all_grade[i, j] = grade[i, j]
            for j in range(first):
                all_bits[i, j] = bits[i, j]
            for j in range(k):
                z, p = more[i, j], variance[i, j]
                all_value[i, first + j] = z
                all_u[i, first + j] = <float>sqrt(p) if p < INFINITY else NAN
                all_grade[i, first + j] = good
                all_bits[i, first + j] = 0
                missing += isnan(z)
    return missing


def ages(const double[:, :, :] weight, const int64_t[::1] dt_ns, int64_t rows_max, int64_t ns_max, int64_t never,
         int64_t[:, ::1] age, unsigned char[:, ::1] stale):
    cdef Py_ssize_t n = weight.shape[0], channels = weight.shape[1], inputs = weight.shape[2], i, k, j, count = 0
    cdef int64_t passed
    cdef bint fresh, old
    with nogil:
        for i in range(n):
            passed = dt_ns[i] if dt_ns[i] > 0 else 0
            for k in range(channels):
                fresh = False
                for j in range(inputs):
                    fresh = fresh or weight[i, k, j] > 0.0
                stale[i, k] = 0
                if fresh:
                    age[0, k] = age[1, k] = 0
                    continue
                age[0, k] = min(age[0, k] + 1, never)
                age[1, k] = min(age[1, k] + min(passed, never), never)
                old = age[1, k] > ns_max if ns_max >= 0 else age[0, k] > rows_max
                stale[i, k] = old
                count += old
    return count
