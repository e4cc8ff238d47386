# Part of hot.pyx: the twin of textbook/walk.py.

from libc.math cimport log

cdef extern from *:
    """
    #include <math.h>
    enum { WALK_LEVELS = 13, WALK_TRENDS = 9, WALK_MOVING = WALK_LEVELS + WALK_TRENDS, WALK_FLUTTERS = 12,
           WALK_MODELS = WALK_MOVING + WALK_FLUTTERS, WALK_HEAD = 8 };
    #define WALK_SHARED 0.002
    #define WALK_DOF 12.0
    #define WALK_FAR 1e15
    #define WALK_STEP_PRIOR 0.3
    #define WALK_SPIKE_PRIOR 1.0
    #define WALK_MEMORY 0.98
    #define WALK_SHORT 1e-6
    static double walk_level[WALK_MODELS], walk_slope[WALK_MODELS], walk_jitter[WALK_MODELS];

    static void walk_grids(void) {
        const double jitter[WALK_FLUTTERS / 2] = {0.3, 1.0, 3.0, 10.0, 1e2, 1e4}, walks[2] = {1e-4, 1e-2};
        for (int j = 0; j < WALK_LEVELS; j++) walk_level[j] = pow(10.0, j - 6.0);
        for (int j = 0; j < WALK_TRENDS; j++) walk_slope[WALK_LEVELS + j] = pow(10.0, j - 7.0);
        for (int j = 0; j < WALK_FLUTTERS; j++) {
            walk_jitter[WALK_MOVING + j] = jitter[j / 2];
            walk_level[WALK_MOVING + j] = (1.0 + jitter[j / 2]) * walks[j % 2];
        }
    }

    /* A branch: weight, level, slope and covariance of each model, one array after the other. */
    typedef struct { double w[WALK_MODELS], m[WALK_MODELS], b[WALK_MODELS];
                     double p11[WALK_MODELS], p12[WALK_MODELS], p22[WALK_MODELS]; } WalkBranch;

    static void walk_foretold(const WalkBranch *a, double *mean, double *spread) {
        double sum = 0.0, wide = 0.0;
        for (int j = 0; j < WALK_MODELS; j++) sum += a->w[j] * a->m[j];
        for (int j = 0; j < WALK_MODELS; j++) {
            double off = a->m[j] - sum;
            wide += a->w[j] * (a->p11[j] + off * off);
        }
        *mean = sum; *spread = wide;
    }

    static void walk_predict(WalkBranch *a, double dt, double r0, double dt0, double damping_s) {
        double keep = exp(-dt / damping_s);
        double reach = dt > WALK_SHORT * damping_s ? damping_s * (1.0 - keep) : dt;
        double per_level = r0 * dt / dt0, per_slope = r0 * dt / (dt0 * dt0 * dt0);
        for (int j = 0; j < WALK_MOVING; j++) {
            double slope = walk_slope[j] * per_slope, b = a->b[j], p12 = a->p12[j], p22 = a->p22[j];
            a->m[j] += reach * b;
            a->b[j] = keep * b;
            a->p11[j] += reach * (2.0 * p12 + reach * p22) + walk_level[j] * per_level + slope * dt * dt / 3.0;
            a->p12[j] = keep * (p12 + reach * p22) + slope * dt / 2.0;
            a->p22[j] = keep * keep * p22 + slope;
        }
        for (int j = WALK_MOVING; j < WALK_MODELS; j++) {
            double wide = a->p22[j] + walk_level[j] * per_level;
            a->m[j] = a->b[j];
            a->p11[j] = wide + walk_jitter[j] * r0;
            a->p12[j] = a->p22[j] = wide;
        }
    }

    static double walk_update(WalkBranch *a, double z, double s) {
        double sum = 0.0;
        for (int j = 0; j < WALK_MODELS; j++) {
            double p11 = a->p11[j], p12 = a->p12[j], e = z - a->m[j], total = p11 + s;
            double y = e * e / total / (WALK_DOF - 2.0);
            double tail = 1.0 + (y < WALK_FAR ? y : WALK_FAR);
            double two = tail * tail, four = two * two;
            double w = (1.0 - WALK_SHARED) * a->w[j] + WALK_SHARED / WALK_MODELS;
            w /= sqrt(total * (four * four * four * tail));
            double left = p11 * s / total, cross = p12 * s / total;
            a->m[j] += p11 / total * e;
            a->b[j] += p12 / total * e;
            double p22 = a->p22[j] - p12 * p12 / total, least = cross * cross / left;
            a->p22[j] = p22 > least ? p22 : least;
            a->p11[j] = left; a->p12[j] = cross;
            a->w[j] = w; sum += w;
        }
        double share = 1.0 / sum;
        for (int j = 0; j < WALK_MODELS; j++) a->w[j] *= share;
        return log(sum);
    }

    static void walk_jump(WalkBranch *a, double z, double s, double r0) {
        for (int j = 0; j < WALK_MODELS; j++) {
            a->m[j] = z; a->p11[j] = s; a->p12[j] = 0.0;
        }
        for (int j = WALK_MOVING; j < WALK_MODELS; j++) {
            a->b[j] = z; a->p12[j] = s; a->p22[j] = s + walk_jitter[j] * r0;
        }
    }
    """
    enum: WALK_MODELS
    enum: WALK_HEAD
    double WALK_STEP_PRIOR
    double WALK_SPIKE_PRIOR
    double WALK_MEMORY
    double walk_level[1]
    double walk_slope[1]
    double walk_jitter[1]
    ctypedef struct WalkBranch:
        double w[1]
        double m[1]
        double b[1]
        double p11[1]
        double p12[1]
        double p22[1]
    void walk_grids()
    void walk_foretold(const WalkBranch* a, double* mean, double* spread) noexcept nogil
    void walk_predict(WalkBranch* a, double dt, double r0, double dt0, double damping_s) noexcept nogil
    double walk_update(WalkBranch* a, double z, double s) noexcept nogil
    void walk_jump(WalkBranch* a, double z, double s, double r0) noexcept nogil

walk_grids()


cdef struct Walker:
    double stage
    double r0
    double dt0
    double steps
    double spikes
    double opened
    double odds
    WalkBranch main
    WalkBranch other


cdef inline double surprise(const WalkBranch* a, double z, double s, double* e) noexcept nogil:
    cdef double now, spread
    walk_foretold(a, &now, &spread)
    e[0] = z - now
    return e[0] * e[0] / (spread + s)


cdef inline double odds_of_step(const Walker* c) noexcept nogil:
    return log((c.steps + WALK_STEP_PRIOR) / (c.spikes + WALK_SPIKE_PRIOR))


cdef inline void turned_out(Walker* c, double steps) noexcept nogil:
    c.opened = 0.0
    c.steps = WALK_MEMORY * c.steps + steps
    c.spikes = WALK_MEMORY * c.spikes + (0.0 if steps > 0.0 else 1.0)


cdef void decide(Walker* c, double z, double s, double* e, double* x, double gate2, int step_samples) noexcept nogil:
    cdef double off, far = surprise(&c.other, z, s, &off)
    cdef bint home = x[0] <= gate2, follows = far <= gate2
    cdef WalkBranch believed = c.other, doubted = c.main
    cdef double told = walk_update(&believed, z, s)
    c.odds += told - walk_update(&doubted, z, s)
    c.opened += 1.0
    if home and c.odds <= 0.0:
        c.main = doubted
        turned_out(c, 2.0 if c.opened > 2.0 else 0.0)
    elif follows and c.odds > 0.0 and c.opened >= step_samples:
        c.main = believed
        e[0], x[0] = off, far
        turned_out(c, 1.0)
    elif follows or home:
        c.other = believed
        if home:
            c.main = doubted
    else:
        walk_jump(&c.other, z, s, c.r0)
        c.odds = odds_of_step(c)
        if c.opened >= step_samples:
            c.main = c.other
            e[0], x[0] = off, far
            turned_out(c, 1.0)


cdef void learn(Walker* c, double z, double s, double* e, double* x, double gate2, int step_samples) noexcept nogil:
    x[0] = surprise(&c.main, z, s, e)
    if c.opened != 0.0:
        decide(c, z, s, e, x, gate2, step_samples)
    elif x[0] <= gate2:
        walk_update(&c.main, z, s)
    elif step_samples <= 1:
        walk_jump(&c.main, z, s, c.r0)
    else:
        c.other = c.main
        walk_jump(&c.other, z, s, c.r0)
        c.opened, c.odds = 1.0, odds_of_step(c)


cdef void begin(Walker* c, double z, double s) noexcept nogil:
    cdef int j
    memset(&c.main, 0, sizeof(WalkBranch))
    for j in range(WALK_MODELS):
        c.main.w[j] = 1.0 / WALK_MODELS
    walk_jump(&c.main, z, s, s)
    c.stage, c.r0 = 1.0, s


cdef void advance(Walker* c, double dt, double damping_s) noexcept nogil:
    cdef int j
    if c.stage == 1.0:
        c.stage, c.dt0 = 2.0, dt
        for j in range(WALK_MODELS):
            if walk_slope[j] > 0.0:
                c.main.p22[j] = c.r0 / (dt * dt)
    if c.stage == 2.0:
        walk_predict(&c.main, dt, c.r0, c.dt0, damping_s)
        if c.opened != 0.0:
            walk_predict(&c.other, dt, c.r0, c.dt0, damping_s)


cdef void says(const Walker* c, double* at, double* wide, double* walks) noexcept nogil:
    cdef double chance = (c.steps + WALK_STEP_PRIOR) / (c.steps + c.spikes + WALK_STEP_PRIOR + WALK_SPIKE_PRIOR)
    cdef double other_at, spread
    cdef bint follow = c.opened != 0.0 and chance > 0.5
    cdef const WalkBranch* out = &c.other if follow else &c.main
    cdef int j
    at[0], wide[0], walks[0] = NAN, INFINITY, NAN
    if c.stage == 1.0:
        at[0], wide[0] = c.main.m[0], c.main.p11[0]
    elif c.stage == 2.0:
        walk_foretold(out, at, wide)
        walks[0] = 0.0
        for j in range(WALK_MODELS):
            walks[0] += out.w[j] * (walk_level[j] + walk_jitter[j])
        walks[0] *= c.r0 / c.dt0
        if c.opened != 0.0 and not follow:
            walk_foretold(&c.other, &other_at, &spread)
            wide[0] += chance * (at[0] - other_at) * (at[0] - other_at)


def bank_walk(
    double[:, ::1] state, const double[::1] dt_s, const double[:, :] value, const double[:, :] r,
    double damping_s, double gate, int step_samples,
    double[:, ::1] mean, double[:, ::1] var, double[:, ::1] innovation, double[:, ::1] nis, double[:, ::1] q,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef double gate2 = gate * gate
    cdef double dt, z, s, e, x, at, wide, walks
    cdef double* here
    cdef Walker c
    with nogil:
        for k in range(channels):
            here = &state[k, 0]
            c.stage, c.r0, c.dt0, c.steps = here[0], here[1], here[2], here[3]
            c.spikes, c.opened, c.odds = here[4], here[5], here[6]
            memcpy(&c.main, here + WALK_HEAD, sizeof(WalkBranch))
            memcpy(&c.other, here + WALK_HEAD + 6 * WALK_MODELS, sizeof(WalkBranch))
            for i in range(n):
                dt, z, s = dt_s[i], value[i, k], r[i, k]
                e = x = NAN
                if dt > 0.0:
                    advance(&c, dt, damping_s)
                if measured(z, s, dt):
                    if c.stage == 0.0:
                        begin(&c, z, s)
                    elif c.stage == 2.0:
                        learn(&c, z, s, &e, &x, gate2, step_samples)
                says(&c, &at, &wide, &walks)
                mean[i, k], var[i, k], innovation[i, k], nis[i, k], q[i, k] = at, wide, e, x, walks
            here[0], here[1], here[2], here[3] = c.stage, c.r0, c.dt0, c.steps
            here[4], here[5], here[6] = c.spikes, c.opened, c.odds
            memcpy(here + WALK_HEAD, &c.main, sizeof(WalkBranch))
            memcpy(here + WALK_HEAD + 6 * WALK_MODELS, &c.other, sizeof(WalkBranch))
