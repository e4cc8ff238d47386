# Part of hot.pyx: the twin of textbook/linear.py.

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
