# Part of hot.pyx: the twins of textbook/sequences.py, which judge cell by cell.

def pick(const double[:, :] value, const unsigned char[:, :] grade, int worst, const unsigned char[:] column,
         double[:, ::1] out):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k, others = 0
    cdef double z
    with nogil:
        for i in range(n):
            for k in range(channels):
                z = value[i, k]
                if isfinite(z) and grade[i, k] < worst and column[k]:
                    out[i, k] = z
                else:
                    out[i, k] = NAN
                    others += 1
    return others


def look_up(const unsigned char[:, :] verdict, const unsigned char[:, :] grade, const unsigned int[:, :] bits,
            const unsigned char[:, ::1] table, const unsigned int[::1] bits_of,
            unsigned char[:, ::1] new_grade, unsigned int[:, ::1] new_bits):
    cdef Py_ssize_t n = grade.shape[0], channels = grade.shape[1], i, k
    with nogil:
        for i in range(n):
            for k in range(channels):
                new_grade[i, k] = table[verdict[i, k], grade[i, k]]
                new_bits[i, k] = bits[i, k] | bits_of[verdict[i, k]]


def limits(const double[:, :] value, double low, double high, double inner_low, double inner_high,
           unsigned char[:, ::1] verdict):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef double z
    with nogil:
        for i in range(n):
            for k in range(channels):
                z = value[i, k]
                verdict[i, k] = (z == z) + ((z < inner_low) | (z > inner_high))
                if (z < low) | (z > high):
                    verdict[i, k] = 3


def repeats(double[:, ::1] past, const double[:, :] value, const double[::1] tolerance, int suspect,
            unsigned char[:, ::1] verdict):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], fail = past.shape[0], i, k, at, j, run
    cdef double z, within, low, high
    cdef double* values = <double*>malloc((fail + n) * sizeof(double))
    if values == NULL:
        raise MemoryError
    with nogil:
        for k in range(channels):
            for j in range(fail):
                values[j] = past[j, k]
            at, run, within = fail, -1, tolerance[k]
            for i in range(n):
                z = value[i, k]
                verdict[i, k] = 0
                if isnan(z):
                    continue
                if run >= 0 and z == values[at - 1]:
                    run = min(run + 1, fail)  # what was near the one before is as near to its like
                else:
                    run = 0
                    while run < fail and fabs(z - values[at - 1 - run]) <= within:
                        run += 1
                if not isnan(values[at - suspect]):
                    verdict[i, k] = 3 if run >= fail else 2 if run >= suspect else 1
                values[at] = z
                at += 1
            for j in range(fail):
                past[j, k] = values[at - fail + j]
    free(values)


def leaps(const double[:, :] value, const long long[::1] clock_ns, const double[::1] step, double suspect_per_s,
          double fail_per_s, int step_samples, double[::1] believed, long long[::1] age_ns, double[::1] waiting,
          long long[::1] waiting_age_ns, long long[::1] agreeing, unsigned char[:, ::1] verdict):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef double x, change, elapsed_s
    cdef long long now_ns
    cdef bint known
    with nogil:
        for i in range(n):
            now_ns = clock_ns[i]
            for k in range(channels):
                x = value[i, k]
                verdict[i, k] = 0
                if isnan(x):
                    continue
                known = not isnan(believed[k])
                change, elapsed_s = fabs(x - believed[k]) - step[k], (now_ns + age_ns[k]) * 1e-9
                if not known or change > fail_per_s * elapsed_s:
                    change, elapsed_s = fabs(x - waiting[k]) - step[k], (now_ns + waiting_age_ns[k]) * 1e-9
                    agreeing[k] = agreeing[k] + 1 if agreeing[k] > 0 and change <= fail_per_s * elapsed_s else 1
                    waiting[k], waiting_age_ns[k] = x, -now_ns
                    if agreeing[k] < (step_samples if known else 2):
                        verdict[i, k] = 3 if known else 0
                        continue
                believed[k], age_ns[k] = x, -now_ns
                agreeing[k] = 0
                verdict[i, k] = 2 if change > suspect_per_s * elapsed_s else 1
