# Part of hot.pyx: the twin of textbook/bank.py.

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

make_grids()


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
        for i in range(n):
            dt = dt_s[i]
            for k in range(channels):  # one after the other: what a row writes lies together
                head = <Head*>&state[k, 0]
                models = &state[k, HEAD]
                z, scale = value[i, k], r[i, k]
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
