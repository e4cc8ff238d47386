# Part of hot.pyx: the twins of textbook/fuse.py and textbook/credit.py.

cdef struct Heard:
    double z
    double r
    bint moved
    bint gated


cdef Heard listen(double m, double p, const double* values, const double* variances, double* share,
                  char* heard, char* counted, Py_ssize_t sensors, double inverse_dof, double gate) noexcept nogil:
    """See the textbook. `heard` and `counted` are room to work in."""
    cdef Heard said
    cdef Py_ssize_t j, other, middle = 0, before, number = 0, inside = 0, together = 0, first = -1
    cdef double gate2 = gate * gate, x, total = 0.0, off
    cdef bint known = not isinf(p)
    said.z = said.r = NAN
    said.moved = said.gated = False
    for j in range(sensors):
        heard[j] = measured(values[j], variances[j], 1.0)
        counted[j] = 0
        share[j] = 0.0
        if heard[j]:
            number += 1
            off = values[j] - m
            if known and off * off <= gate2 * (p + variances[j]):
                counted[j] = 1
                inside += 1
    if number == 0:
        return said
    if 2 * inside < number or inside == 0:
        for j in range(sensors):
            if heard[j]:
                before = 0
                for other in range(sensors):
                    if heard[other] and (values[other] < values[j] or (values[other] == values[j] and other < j)):
                        before += 1
                if before == (number - 1) // 2:
                    middle = j
        for j in range(sensors):
            off = values[j] - values[middle]
            if heard[j] and off * off <= gate2 * (variances[j] + variances[middle]):
                heard[j] = 2
                together += 1
        if not known or (together > 1 and 2 * together > number):
            said.moved = True
            for j in range(sensors):
                counted[j] = heard[j] == 2
        elif inside == 0:
            said.gated = True
            counted[middle] = 1
    for j in range(sensors):
        if counted[j]:
            if first < 0:
                first = j
            x = 0.0
            if not (said.moved or said.gated):
                off = values[j] - m
                x = off * off / (p + variances[j])
            share[j] = 1.0 / (variances[j] * softened(x, inverse_dof))
            total += share[j]
    said.z = values[first]
    for j in range(sensors):
        if counted[j]:
            share[j] /= total
            said.z += share[j] * (values[j] - values[first])
    said.r = 1.0 / total
    return said


def fuse_level(
    double[:, ::1] state, const double[::1] dt_s, const double[:, :, :] value, const double[:, :, :] r,
    const double[::1] q, double dof, double gate, int step_samples,
    double[:, ::1] mean, double[:, ::1] var, double[:, ::1] innovation, double[:, ::1] nis,
    double[:, :, ::1] weight,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], sensors = value.shape[2], i, k, j
    cdef double inverse_dof = 1.0 / dof, dt, m, p, e, x, total
    cdef double* here
    cdef Heard said
    cdef double* work = <double*>malloc(sensors * (2 * sizeof(double) + 2) + 1)
    if work == NULL:
        raise MemoryError
    cdef double* variances = work + sensors
    cdef char* heard = <char*>(variances + sensors)
    with nogil:
        for i in range(n):
            dt = dt_s[i]
            for k in range(channels):
                here = &state[k, 0]
                m, p = here[0], here[1]
                e = x = NAN
                if dt > 0.0:
                    p += q[k] * dt
                for j in range(sensors):
                    work[j], variances[j] = value[i, k, j], r[i, k, j]
                said = listen(m, p, work, variances, &weight[i, k, 0], heard, heard + sensors, sensors, inverse_dof,
                              gate)
                if isnan(said.z) or dt <= 0.0:
                    memset(&weight[i, k, 0], 0, sensors * sizeof(double))
                else:
                    if not isinf(p):
                        e = said.z - m
                        x = e * e / (p + said.r)
                    if said.moved:
                        m, p = said.z, said.r
                        here[3] = 0.0
                    elif not said.gated:
                        total = 1.0 / (p + said.r)
                        m += p * total * e
                        p *= said.r * total
                        here[3] = 0.0
                    else:
                        agreeing(said.z, said.r, gate, &here[2], &here[3])
                        if here[3] >= step_samples:
                            m, p = here[2], said.r / here[3]
                            here[3] = 0.0
                        else:
                            memset(&weight[i, k, 0], 0, sensors * sizeof(double))
                here[0], here[1] = m, p
                mean[i, k], var[i, k], innovation[i, k], nis[i, k] = m, p, e, x
    free(work)


cdef extern from "level.h":
    void credit_levels(Columns value, Columns stated, Columns r, Columns widening, const double* dt_s, Py_ssize_t n,
                       Py_ssize_t channels, const double* mean, const double* var, const double* innovation,
                       const double* nis, double gate, double share, const double* declared, const double* common,
                       double* last, double* total, double* weight, unsigned char* refused,
                       Py_ssize_t* count) noexcept nogil


def credit(const double[:, :] value, const double[:, :] stated, const double[:, :] r, const double[:, :] widening,
           const double[::1] dt_s, const double[:, ::1] mean, const double[:, ::1] var,
           const double[:, ::1] innovation, const double[:, ::1] nis, double gate, double share,
           const double[::1] declared, const double[::1] common, double[::1] last,
           double[:, ::1] total, double[:, ::1] weight, unsigned char[:, ::1] refused):
    cdef Py_ssize_t count
    cdef Columns z = columns(value), u2 = columns(stated), noise = columns(r), wide = columns(widening)
    with nogil:
        credit_levels(z, u2, noise, wide, &dt_s[0], value.shape[0],
                      value.shape[1], &mean[0, 0], &var[0, 0], &innovation[0, 0], &nis[0, 0], gate, share,
                      &declared[0], &common[0], &last[0], &total[0, 0], &weight[0, 0], &refused[0, 0], &count)
    return count
