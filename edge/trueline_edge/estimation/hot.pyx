# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The hot loops, compiled. Each is the twin of the function of its name in `textbook`, where it can be read with its
source; the tests hold the two together. Nothing here takes the GIL while it works."""

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

cdef extern from "models.h":
    enum: R_MODELS
    enum: Q_MODELS
    enum: MODELS
    double R_STEP
    double Q_STEP
    double FAR_SHARE
    double R_GRID[1]
    double Q_GRID[1]
    ctypedef struct Sums:
        double mean
        double spread
        double r
        double q
        double gross
    void make_grids()
    void weigh(double* m, double* p, double* w, double z, double r, double q_dt, double share, double forgetting,
               double far, double centre, Sums* sums) noexcept nogil
    void walk(double* p, double q_dt) noexcept nogil
    void tally(const double* m, const double* p, double* w, Sums* sums) noexcept nogil
    void slide(double* three, int of_r, int up) noexcept nogil

look_at_processor()
make_grids()

cdef double SHORT = 1e-2


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


def kalman_level(
    double[:, ::1] state, const double[::1] dt_s, const double[:, :] value, const double[:, :] r,
    const double[::1] q, double dof, double gate, int step_samples,
    double[:, ::1] mean, double[:, ::1] var, double[:, ::1] innovation, double[:, ::1] nis,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef double inverse_dof = 1.0 / dof, gate2 = gate * gate
    cdef double dt, z, noise, m, p, e, x, softer, total
    cdef double* here
    with nogil:
        for i in range(n):
            dt = dt_s[i]
            for k in range(channels):
                here = &state[k, 0]
                z, noise, m, p = value[i, k], r[i, k], here[0], here[1]
                e = x = NAN
                if dt > 0.0:
                    p += q[k] * dt
                if measured(z, noise, dt):
                    if isinf(p):
                        m, p = z, noise
                        here[3] = 0.0
                    else:
                        e = z - m
                        x = e * e / (p + noise)
                        if x <= gate2:
                            softer = noise if x <= 1.0 or inverse_dof == 0.0 else noise * softened(x, inverse_dof)
                            total = 1.0 / (p + softer)
                            m += p * total * e
                            p *= softer * total
                            here[3] = 0.0
                        else:
                            agreeing(z, noise, gate, &here[2], &here[3])
                            if here[3] >= step_samples:
                                m, p = here[2], noise / here[3]
                                here[3] = 0.0
                here[0], here[1] = m, p
                mean[i, k], var[i, k], innovation[i, k], nis[i, k] = m, p, e, x


cdef struct Move:
    double keep
    double reach
    double level
    double slope
    double cross


cdef Move moved(double dt, double q_level, double q_slope, double damping_s) noexcept nogil:
    cdef Move move
    cdef double h, both, own
    if isinf(damping_s):
        move.keep, move.reach = 1.0, dt
        move.level = q_level * dt + q_slope * dt * dt * dt / 12.0
        move.slope, move.cross = q_slope * dt, q_slope * dt * dt / 2.0
        return move
    h = dt / damping_s
    move.keep = exp(-h)
    move.reach = damping_s * (1.0 - move.keep)
    move.slope = q_slope * damping_s * (1.0 - move.keep * move.keep) / 2.0
    move.cross = q_slope * move.reach * move.reach / 2.0
    if h < SHORT:
        own = q_slope * dt * dt * dt * (1.0 - h * h / 10.0) / 12.0
    else:
        both = q_slope * damping_s * damping_s * damping_s
        both *= h - 2.0 * (1.0 - move.keep) + (1.0 - move.keep * move.keep) / 2.0
        own = both - move.cross * move.cross / move.slope if move.slope > 0.0 else 0.0
    move.level = q_level * dt + own
    return move


cdef inline void predict(Move move, double* d1, double* d2, double* u) noexcept nogil:
    cdef double reach = u[0] + move.reach
    cdef double grown = move.keep * move.keep * d2[0] + move.slope
    cdef double differ
    if grown <= 0.0:
        d1[0] += move.level + reach * reach * d2[0]
        d2[0] = u[0] = 0.0
        return
    d1[0] += move.level
    if move.slope > 0.0:
        differ = reach * move.slope - move.keep * move.cross
        d1[0] += d2[0] * differ * differ / (move.slope * grown)
    u[0] = (move.keep * reach * d2[0] + move.cross) / grown
    d2[0] = grown


def kalman_trend(
    double[:, ::1] state, const double[::1] dt_s, const double[:, :] value, const double[:, :] r,
    const double[::1] q_level, const double[::1] q_slope, const double[::1] damping_s,
    double dof, double gate, int step_samples,
    double[:, ::1] mean, double[:, ::1] var, double[:, ::1] innovation, double[:, ::1] nis,
    double[:, ::1] slope, double[:, ::1] slope_var,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef double inverse_dof = 1.0 / dof, gate2 = gate * gate
    cdef double dt, z, noise, e, x, softer, first, total, off, last_dt
    cdef double* s  # level, slope, D1, D2, U, candidate, count, D2 at the start
    cdef Move move
    with nogil:
        for k in range(channels):
            s = &state[k, 0]
            last_dt = NAN
            for i in range(n):
                dt, z, noise = dt_s[i], value[i, k], r[i, k]
                e = x = NAN
                if dt > 0.0 and not isinf(s[2]):
                    if dt != last_dt:
                        move = moved(dt, q_level[k], q_slope[k], damping_s[k])
                        last_dt = dt
                    s[0] += move.reach * s[1]
                    s[1] *= move.keep
                    predict(move, &s[2], &s[3], &s[4])
                if measured(z, noise, dt):
                    if isinf(s[2]):
                        s[0], s[1], s[2], s[3], s[4], s[6] = z, 0.0, noise, s[7], 0.0, 0.0
                    else:
                        e = z - s[0]
                        off = s[4] * s[4] * s[3]
                        x = e * e / (s[2] + off + noise)
                        if x <= gate2:
                            softer = noise * softened(x, inverse_dof)
                            first = s[2] + softer
                            total = first + off
                            s[0] += (s[2] + off) / total * e
                            s[1] += s[4] * s[3] / total * e
                            s[2] *= softer / first
                            s[3] *= first / total
                            s[4] *= softer / first
                            s[6] = 0.0
                        else:
                            agreeing(z, noise, gate, &s[5], &s[6])
                            if s[6] >= step_samples:
                                s[0], s[2], s[4] = s[5], noise / s[6], 0.0
                                s[6] = 0.0
                innovation[i, k], nis[i, k] = e, x
                mean[i, k] = s[0]
                if isinf(s[2]):
                    var[i, k], slope[i, k], slope_var[i, k] = INFINITY, NAN, INFINITY
                else:
                    var[i, k], slope[i, k], slope_var[i, k] = s[2] + s[4] * s[4] * s[3], s[1], s[3]


cdef void factors(const double* cov, double* u, double* d, Py_ssize_t s) noexcept nogil:
    cdef Py_ssize_t i, j, k
    cdef double left
    memset(u, 0, s * s * sizeof(double))
    for j in range(s - 1, -1, -1):
        u[j * s + j] = 1.0
        for i in range(j, -1, -1):
            left = 0.0
            for k in range(j + 1, s):
                left += u[i * s + k] * d[k] * u[j * s + k]
            left = cov[i * s + j] - left
            if i == j:
                d[j] = left if left > 0.0 else 0.0
            else:
                u[i * s + j] = left / d[j] if d[j] > 0.0 else 0.0


cdef void predict_factors(double* u, double* d, const double* f, const double* noise_u, const double* noise_d,
                          double* w, Py_ssize_t s) noexcept nogil:
    """`w`: room for (s, 2 s) and, behind it, 2 s weights."""
    cdef Py_ssize_t i, j, k
    cdef double total
    cdef double* weight = w + 2 * s * s
    for i in range(s):
        weight[i], weight[s + i] = d[i], noise_d[i]
        for j in range(s):
            total = 0.0
            for k in range(j + 1):
                total += f[i * s + k] * u[k * s + j]
            w[i * 2 * s + j] = total
            w[i * 2 * s + s + j] = noise_u[i * s + j]
    for i in range(s - 1, -1, -1):
        total = 0.0
        for k in range(2 * s):
            total += w[i * 2 * s + k] * w[i * 2 * s + k] * weight[k]
        d[i] = total
        for j in range(i):
            total = 0.0
            for k in range(2 * s):
                total += w[i * 2 * s + k] * w[j * 2 * s + k] * weight[k]
            u[j * s + i] = total / d[i] if d[i] > 0.0 else 0.0
            for k in range(2 * s):
                w[j * 2 * s + k] -= u[j * s + i] * w[i * 2 * s + k]


cdef void update_factors(double* m, double* u, double* d, const double* a, double e, double r, double* b,
                         Py_ssize_t s) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double alpha = r, before, old
    for j in range(s):
        b[j] = d[j] * a[j]
    for j in range(s):
        before = alpha
        alpha += a[j] * b[j]
        d[j] *= before / alpha
        for i in range(j):
            old = u[i * s + j]
            u[i * s + j] -= b[i] * (a[j] / before)
            b[i] += b[j] * old
    for j in range(s):
        m[j] += b[j] / alpha * e


def kalman_linear(
    double[:, ::1] state, const double[:, :, ::1] transition, const double[:, :, ::1] noise,
    const double[:, ::1] observation, const double[::1] learn, const double[:, :] value, const double[:, :] r,
    double dof, double gate, int step_samples,
    double[:, ::1] mean, double[:, :, ::1] cov, double[:, ::1] innovation, double[:, ::1] nis,
):
    cdef Py_ssize_t n = value.shape[0], sensors = value.shape[1], s = observation.shape[1], i, j, k, l
    cdef double inverse_dof = 1.0 / dof, gate2 = gate * gate
    cdef double z, variance, e, x, spread, total
    cdef double* m = &state[0, 0]
    cdef double* packed = &state[1, 0]
    cdef double* rows = &state[s + 1, 0]
    cdef const double* f
    cdef const double* h
    cdef int taken, gated
    cdef double* room = <double*>malloc((4 * s * s + 6 * s) * sizeof(double))
    if room == NULL:
        raise MemoryError
    cdef double* u = room
    cdef double* noise_u = u + s * s
    cdef double* w = noise_u + s * s  # and 2 s weights behind it
    cdef double* d = w + 2 * s * s + 2 * s
    cdef double* noise_d = d + s
    cdef double* a = noise_d + s
    cdef double* b = a + s
    with nogil:
        for j in range(s):
            d[j] = packed[j * s + j]
            for k in range(s):
                u[j * s + k] = packed[j * s + k] if k > j else 1.0 if k == j else 0.0
        for i in range(n):
            f = &transition[i if transition.shape[0] > 1 else 0, 0, 0]
            for j in range(s):
                total = 0.0
                for k in range(s):
                    total += f[j * s + k] * m[k]
                b[j] = total
            for j in range(s):
                m[j] = b[j]
            if i == 0 or noise.shape[0] > 1:
                factors(&noise[i if noise.shape[0] > 1 else 0, 0, 0], noise_u, noise_d, s)
            predict_factors(u, d, f, noise_u, noise_d, w, s)
            taken = gated = 0
            for j in range(sensors):
                z, variance = value[i, j], r[i, j]
                innovation[i, j] = nis[i, j] = NAN
                if learn[i] == 0.0 or not measured(z, variance, 1.0):
                    continue
                h = &observation[j, 0]
                e = spread = 0.0
                for k in range(s):
                    e += h[k] * m[k]
                    total = 0.0
                    for l in range(k + 1):
                        total += u[l * s + k] * h[l]
                    a[k] = total
                    spread += total * total * d[k]
                e = z - e
                x = e * e / (spread + variance)
                innovation[i, j], nis[i, j] = e, x
                if x > gate2:
                    if rows[0] + 1.0 < step_samples:
                        gated += 1
                        continue
                    total = (e * e - variance) / spread
                    for k in range(s):
                        d[k] *= total
                    x = 1.0
                taken += 1
                update_factors(m, u, d, a, e, variance * softened(x, inverse_dof), b, s)
            rows[0] = 0.0 if taken else rows[0] + (1.0 if gated else 0.0)
            for j in range(s):
                mean[i, j] = m[j]
                for k in range(j, s):
                    total = 0.0
                    for l in range(k, s):
                        total += u[j * s + l] * d[l] * u[k * s + l]
                    cov[i, j, k] = cov[i, k, j] = total
        for j in range(s):
            for k in range(s):
                packed[j * s + k] = u[j * s + k] if k > j else d[j] if k == j else 0.0
    free(room)


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


def credit(const double[:, :] value, const double[:, :] stated, const double[:, :] r, const double[:, :] widening,
           const double[::1] dt_s, const double[:, ::1] mean, const double[:, ::1] var,
           const double[:, ::1] innovation, const double[:, ::1] nis, double gate, double share,
           const double[::1] declared, const double[::1] common, double[::1] last,
           double[:, ::1] total, double[:, ::1] weight, unsigned char[:, ::1] refused):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k, count = 0
    cdef double z, e, rest, gate2 = gate * gate
    cdef bint stayed, idle
    with nogil:
        for i in range(n):
            idle = dt_s[i] <= 0.0
            for k in range(channels):
                z, e = value[i, k], innovation[i, k]
                if not isnan(declared[k]):
                    last[k] = declared[k]
                elif not isnan(z):
                    rest = stated[i, k] - r[i, k]
                    last[k] = rest if rest > 0.0 else 0.0
                if isinf(var[i, k]):
                    total[i, k] = stated[i, k] * widening[i, k]
                else:
                    total[i, k] = var[i, k] + last[k] + common[k]
                stayed = nis[i, k] > gate2 and fabs(mean[i, k] - (z - e)) < share * fabs(e)
                refused[i, k] = stayed
                count += stayed
                weight[i, k] = 1.0 if isfinite(z) and not idle and not stayed else 0.0
    return count


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


cdef Pair* network(int width) except NULL:
    """The comparators that sort `width` values; to be freed."""
    cdef Pair* pairs = <Pair*>malloc(sorting_network(width, NULL) * sizeof(Pair) + 1)
    if pairs == NULL:
        raise MemoryError
    sorting_network(width, pairs)
    return pairs


def hampel(
    double[:, ::1] state, const double[:, :] value, int width, double threshold, const double[::1] floor,
    int step_samples, int judges, double[:, ::1] medians, double[:, ::1] mads, unsigned char[:, ::1] rejected,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], group, first, lanes, i
    cdef int l, j, start, pairs_count = sorting_network(width, NULL)
    cdef Lane window[WINDOW_MAX]
    cdef Lane sorted_[WINDOW_MAX]
    cdef double few[WINDOW_MAX]
    cdef double middle[8]
    cdef double deviation[8]
    cdef int here[8]
    cdef int next_[8]
    cdef int waits[8]
    cdef double z
    cdef double* kept
    cdef double* waiting
    cdef bint out, some_full
    cdef Pair* pairs = network(width)
    with nogil:
        for group in range((channels + LANES - 1) // LANES):
            first = group * LANES
            lanes = min(<Py_ssize_t>LANES, channels - first)
            memset(window, 0, sizeof(window))
            for l in range(lanes):
                kept = &state[first + l, 0]
                here[l], waits[l] = <int>kept[0], <int>kept[1]
                next_[l] = here[l] % width
                for j in range(here[l]):
                    window[j][l] = kept[2 + j]
            for i in range(n):
                some_full = False
                for l in range(lanes):
                    some_full = some_full or here[l] == width
                if some_full:
                    memcpy(sorted_, window, width * sizeof(Lane))
                    judge_lanes(sorted_, width, pairs_count, pairs, middle, deviation)
                for l in range(lanes):
                    if here[l] < width or here[l] < judges:
                        if here[l] < judges:
                            middle[l] = deviation[l] = NAN
                        else:
                            for j in range(here[l]):
                                few[j] = window[j][l]
                            judge_few(few, here[l], &middle[l], &deviation[l])
                    z = value[i, first + l]
                    out = beyond(z, middle[l], deviation[l], threshold, floor[first + l])
                    medians[i, first + l], mads[i, first + l], rejected[i, first + l] = middle[l], deviation[l], out
                    waiting = &state[first + l, 2 + width]
                    if out:
                        waiting[waits[l]] = z
                        waits[l] += 1
                        if waits[l] >= step_samples:
                            start = max(0, waits[l] - width)
                            here[l] = waits[l] - start
                            for j in range(here[l]):
                                window[j][l] = waiting[start + j]
                            next_[l] = here[l] % width
                            waits[l] = 0
                    elif isfinite(z):
                        window[next_[l]][l] = z
                        next_[l] = 0 if next_[l] + 1 == width else next_[l] + 1
                        here[l] = min(here[l] + 1, width)
                        waits[l] = 0
            for l in range(lanes):
                kept = &state[first + l, 0]
                kept[0], kept[1] = here[l], waits[l]
                start = next_[l] if here[l] == width else 0
                for j in range(width):
                    kept[2 + j] = window[(start + j) % width][l] if j < here[l] else 0.0
                for j in range(waits[l], step_samples):
                    kept[2 + width + j] = 0.0
    free(pairs)


cdef inline int lacks(const double* row) noexcept nogil:
    cdef int l, lacking = 0
    for l in range(LANES):
        lacking = lacking or not isfinite(row[l])
    return lacking


def hampel_centred(
    double[:, ::1] state, const double[:, :] value, int width, double threshold, const double[::1] floor,
    int judges, double[:, ::1] medians, double[:, ::1] mads, unsigned char[:, ::1] rejected,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], group, first, lanes, i
    cdef int half = width // 2, span = 2 * half + 1, l, j, at, count, where, pairs_count, lacking_rows
    cdef int lacking[WINDOW_MAX]
    cdef Lane rows[WINDOW_MAX]
    cdef Lane sorted_[WINDOW_MAX]
    cdef double few[WINDOW_MAX]
    cdef double middle[8]
    cdef double deviation[8]
    cdef double z
    cdef bint out, all_there
    cdef Pair* pairs = network(2 * half)
    pairs_count = sorting_network(2 * half, NULL)
    with nogil:
        for group in range((channels + LANES - 1) // LANES):
            first = group * LANES
            lanes = min(<Py_ssize_t>LANES, channels - first)
            memset(rows, 0, sizeof(rows))
            for l in range(lanes):
                for j in range(2 * half):
                    rows[j][l] = state[first + l, j]
            at = 2 * half  # where the newest row goes; the oldest is behind it
            memset(lacking, 0, sizeof(lacking))
            lacking_rows = 0
            for j in range(2 * half):
                lacking[j] = lacks(rows[j])
                lacking_rows += lacking[j]
            for i in range(n):
                for l in range(lanes):
                    rows[at][l] = value[i, first + l]
                lacking_rows -= lacking[at]
                lacking[at] = lacks(rows[at])
                lacking_rows += lacking[at]
                where = at - half if at >= half else at - half + span
                memcpy(sorted_, rows, where * sizeof(Lane))
                memcpy(&sorted_[where], &rows[where + 1], (span - 1 - where) * sizeof(Lane))
                all_there = lacking_rows == lacking[where] and 2 * half >= judges
                judge_lanes(sorted_, 2 * half, pairs_count, pairs, middle, deviation)
                for l in range(lanes):
                    if not all_there:
                        count = 0
                        for j in range(span):
                            if j != where and isfinite(rows[j][l]):
                                few[count] = rows[j][l]
                                count += 1
                        if count < judges:
                            middle[l] = deviation[l] = NAN
                        elif count < 2 * half:
                            judge_few(few, count, &middle[l], &deviation[l])
                    z = rows[where][l]
                    out = beyond(z, middle[l], deviation[l], threshold, floor[first + l])
                    if out:
                        rows[where][l] = NAN
                        lacking_rows += 1 - lacking[where]
                        lacking[where] = 1
                    medians[i, first + l], mads[i, first + l], rejected[i, first + l] = middle[l], deviation[l], out
                at = 0 if at + 1 == span else at + 1
            for l in range(lanes):
                for j in range(2 * half):
                    state[first + l, j] = rows[(at + 1 + j) % span][l]
    free(pairs)


cdef struct Head:  # as in the textbook
    double r0
    double q0
    double candidate
    double count
    double last
    double run
    double laid
    double now
    double spread
    double r
    double q
    double share


cdef double Q_LOWEST = 1e-3
cdef double SHARE_MIN = 0.003
cdef double SHARE_MAX = 0.1
cdef double SHARE_RATE = 0.01
cdef double LOST_RUNS = 4.0
cdef double R_UP = pow(R_STEP, R_MODELS - 2.3)
cdef double R_DOWN = pow(R_STEP, 1.3)
cdef double Q_UP = pow(Q_STEP, Q_MODELS - 2.3)
cdef double Q_DOWN = pow(Q_STEP, 1.3)
cdef double R_MIDDLE = pow(R_STEP, R_MODELS // 2)
cdef double R_SMALLEST = 1e-24
cdef double Q_SMALLEST = 1e-8
cdef double SMALLEST = 1e-250
cdef Py_ssize_t HEAD = 16


cdef inline void note(Head* head, Sums* sums) noexcept nogil:
    head.now, head.spread, head.r, head.q = sums.mean, sums.spread, sums.r, sums.q


cdef void lay(Head* head, double* models, double dt, double z, double scale, double floor) noexcept nogil:
    cdef double first = (z - head.last) * (z - head.last) / (2.0 * scale)
    cdef Py_ssize_t j
    cdef Sums sums
    if first < floor:
        first = floor
    head.last = z
    if not (first > 0.0 and dt > 0.0):
        head.now = z
        return
    head.r0 = first / R_MIDDLE
    if head.r0 < floor:
        head.r0 = floor
    head.q0 = first * scale / dt * Q_LOWEST
    for j in range(MODELS):
        models[j] = z
        models[MODELS + j] = R_GRID[j] * (head.r0 * scale)
        models[2 * MODELS + j] = 1.0 / MODELS
    head.candidate, head.count, head.run, head.laid = NAN, 0.0, 0.0, 1.0
    tally(models, models + MODELS, models + 2 * MODELS, &sums)
    note(head, &sums)


cdef void gated(Head* head, double* models, double z, double scale, double q_dt, double total, double far,
                double forgetting, double gate, int step_samples) noexcept nogil:
    """The value moves nobody; the weights learn from it. Enough that agree are a step; too many mean: start anew."""
    cdef double saved[2 * 48]
    cdef Sums sums
    cdef Py_ssize_t j
    walk(models + MODELS, q_dt)
    memcpy(saved, models, 2 * MODELS * sizeof(double))
    weigh(models, models + MODELS, models + 2 * MODELS, z, head.r0 * scale, 0.0, head.share, forgetting, far, head.now,
          &sums)
    memcpy(models, saved, 2 * MODELS * sizeof(double))
    head.share = clipped(head.share, sums.gross)
    agreeing(z, total, gate, &head.candidate, &head.count)
    head.run += 1.0
    if head.count >= step_samples:
        for j in range(MODELS):
            models[j] = head.candidate
            models[MODELS + j] = R_GRID[j] * (head.r0 * scale) / head.count
        head.count = head.run = 0.0
    elif head.run >= LOST_RUNS * step_samples:
        head.r0 = head.q0 = head.count = head.run = head.laid = 0.0
        head.candidate = head.r = head.q = NAN
        head.now, head.spread, head.share = z, INFINITY, 0.02
        return
    tally(models, models + MODELS, models + 2 * MODELS, &sums)
    note(head, &sums)


cdef inline double clipped(double share, double gross) noexcept nogil:
    share = (1.0 - SHARE_RATE) * share + SHARE_RATE * gross
    return SHARE_MIN if share < SHARE_MIN else SHARE_MAX if share > SHARE_MAX else share


cdef void follow(Head* head, double* models, double dt, double z, double scale, double floor) noexcept nogil:
    cdef double smallest = R_SMALLEST * z * z / scale
    cdef bint r_up, r_down, q_up, q_down
    cdef Sums sums
    smallest = max(smallest, max(floor, SMALLEST))
    r_up, r_down = head.r > R_UP, head.r < R_DOWN and head.r0 / R_STEP >= smallest
    q_up, q_down = head.q > Q_UP, head.q < Q_DOWN and head.q0 / Q_STEP * dt >= Q_SMALLEST * head.r0 * scale
    if r_up or r_down:
        head.r0 = head.r0 * R_STEP if r_up else head.r0 / R_STEP
        slide(models, 1, r_up)
    if q_up or q_down:
        head.q0 = head.q0 * Q_STEP if q_up else head.q0 / Q_STEP
        slide(models, 0, q_up)
    if r_up or r_down or q_up or q_down:
        tally(models, models + MODELS, models + 2 * MODELS, &sums)
        note(head, &sums)


def bank_level(
    double[:, ::1] state, const double[::1] dt_s, const double[:, :] value, const double[:, :] r,
    const double[::1] floor, double forgetting, double gate, int step_samples,
    double[:, ::1] mean, double[:, ::1] var, double[:, ::1] innovation, double[:, ::1] nis,
    double[:, ::1] r_learnt, double[:, ::1] q_learnt,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef double dt, z, scale, e, x, q_dt, total, far
    cdef double* models
    cdef Head* head
    cdef Sums sums
    with nogil:
        for k in range(channels):
            head = <Head*>&state[k, 0]
            models = &state[k, HEAD]
            for i in range(n):
                dt, z, scale = dt_s[i], value[i, k], r[i, k]
                e = x = NAN
                q_dt = 0.0
                if dt > 0.0 and head.laid != 0.0:
                    q_dt = head.q0 * dt
                    head.spread += head.q * head.q0 * dt
                if not measured(z, scale, dt):
                    if q_dt > 0.0:
                        walk(models + MODELS, q_dt)
                elif head.laid == 0.0:
                    lay(head, models, dt, z, scale, floor[k])
                else:
                    e = z - head.now
                    total = head.spread + head.r * head.r0 * scale
                    x = e * e / total
                    far = FAR_SHARE / sqrt(total)
                    head.last = z
                    if x <= gate * gate:
                        weigh(models, models + MODELS, models + 2 * MODELS, z, head.r0 * scale, q_dt, head.share,
                              forgetting, far, head.now, &sums)
                        note(head, &sums)
                        head.share = clipped(head.share, sums.gross)
                        head.count = head.run = 0.0
                    else:
                        gated(head, models, z, scale, q_dt, total, far, forgetting, gate, step_samples)
                    if head.laid != 0.0:
                        follow(head, models, dt, z, scale, floor[k])
                mean[i, k], var[i, k], innovation[i, k], nis[i, k] = head.now, head.spread, e, x
                r_learnt[i, k], q_learnt[i, k] = head.r0 * head.r, head.q0 * head.q


include "walk.pxi"
