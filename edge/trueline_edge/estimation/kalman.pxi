# Part of hot.pyx: the twins of textbook/level.py and textbook/trend.py.

cdef extern from "level.h":
    void filter_levels(double* state, const double* dt_s, Columns value, Columns r, const double* q,
                       double inverse_dof, double gate, int step_samples, Py_ssize_t n, Py_ssize_t channels,
                       double* mean, double* var, double* innovation, double* nis) noexcept nogil


def kalman_level(
    double[:, ::1] state, const double[::1] dt_s, const double[:, :] value, const double[:, :] r,
    const double[::1] q, double dof, double gate, int step_samples,
    double[:, ::1] mean, double[:, ::1] var, double[:, ::1] innovation, double[:, ::1] nis,
):
    cdef Columns z = columns(value), noise = columns(r)
    with nogil:
        filter_levels(&state[0, 0], &dt_s[0], z, noise, &q[0], 1.0 / dof, gate, step_samples,
                      value.shape[0], value.shape[1], &mean[0, 0], &var[0, 0], &innovation[0, 0], &nis[0, 0])


cdef double SHORT = 1e-2


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
