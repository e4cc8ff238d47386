# Part of hot.pyx: the twin of textbook/walk.py.

from libc.math cimport log

cdef extern from *:
    """
    #include <math.h>
    enum { WALK_LEVELS = 13, WALK_TRENDS = 9, WALK_MODELS = WALK_LEVELS + WALK_TRENDS, WALK_HEAD = 8 };
    #define WALK_SHARED 0.002
    #define WALK_DOF 6.0
    #define WALK_FAR 1e30
    #define WALK_STEP_PRIOR 0.3
    #define WALK_SPIKE_PRIOR 1.0
    #define WALK_MEMORY 0.98
    #define WALK_SHORT 1e-6
    static double walk_level[WALK_MODELS], walk_slope[WALK_MODELS];

    static void walk_grids(void) {
        for (int j = 0; j < WALK_MODELS; j++) {
            walk_level[j] = j < WALK_LEVELS ? pow(10.0, j - 6.0) : 0.0;
            walk_slope[j] = j < WALK_LEVELS ? 0.0 : pow(10.0, j - WALK_LEVELS - 7.0);
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
        for (int j = 0; j < WALK_MODELS; j++) {
            double slope = walk_slope[j] * per_slope, b = a->b[j], p12 = a->p12[j], p22 = a->p22[j];
            a->m[j] += reach * b;
            a->b[j] = keep * b;
            a->p11[j] += reach * (2.0 * p12 + reach * p22) + walk_level[j] * per_level + slope * dt * dt / 3.0;
            a->p12[j] = keep * (p12 + reach * p22) + slope * dt / 2.0;
            a->p22[j] = keep * keep * p22 + slope;
        }
    }

    static double walk_update(WalkBranch *a, double z, double s) {
        double sum = 0.0;
        for (int j = 0; j < WALK_MODELS; j++) {
            double p11 = a->p11[j], p12 = a->p12[j], e = z - a->m[j], total = p11 + s;
            double y = e * e / total / WALK_DOF;
            double tail = 1.0 + (y < WALK_FAR ? y : WALK_FAR);
            double cube = tail * tail * tail;
            double w = (1.0 - WALK_SHARED) * a->w[j] + WALK_SHARED / WALK_MODELS;
            w /= sqrt(total * (cube * cube * tail));
            double wider = tail / (1.0 + 1.0 / WALK_DOF);
            double softer = s * (wider > 1.0 ? wider : 1.0);
            double spread = p11 + softer, share = softer / spread;
            double left = p11 * share, cross = p12 * share;
            a->m[j] += p11 / spread * e;
            a->b[j] += p12 / spread * e;
            double p22 = a->p22[j] - p12 * p12 / spread, least = cross * cross / left;
            a->p22[j] = p22 > least ? p22 : least;
            a->p11[j] = left; a->p12[j] = cross;
            a->w[j] = w; sum += w;
        }
        double share = 1.0 / sum;
        for (int j = 0; j < WALK_MODELS; j++) a->w[j] *= share;
        return log(sum);
    }
    """
    enum: WALK_MODELS
    enum: WALK_HEAD
    double WALK_STEP_PRIOR
    double WALK_SPIKE_PRIOR
    double WALK_MEMORY
    double walk_level[1]
    double walk_slope[1]
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

walk_grids()


def bank_walk(
    double[:, ::1] state, const double[::1] dt_s, const double[:, :] value, const double[:, :] r,
    double damping_s, double gate, int step_samples,
    double[:, ::1] mean, double[:, ::1] var, double[:, ::1] innovation, double[:, ::1] nis, double[:, ::1] q,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef int j
    cdef double gate2 = gate * gate
    cdef double stage, r0, dt0, steps, spikes, opened, odds, dt, z, s, e, x, now, spread, told, untold, chance
    cdef double at, other_at, wide, walks
    cdef double* here
    cdef WalkBranch main, other, believed, doubted
    cdef WalkBranch* out
    with nogil:
        for k in range(channels):
            here = &state[k, 0]
            stage, r0, dt0, steps, spikes, opened, odds = here[0], here[1], here[2], here[3], here[4], here[5], here[6]
            memcpy(&main, here + WALK_HEAD, sizeof(WalkBranch))
            memcpy(&other, here + WALK_HEAD + 6 * WALK_MODELS, sizeof(WalkBranch))
            for i in range(n):
                dt, z, s = dt_s[i], value[i, k], r[i, k]
                e = x = NAN
                if stage == 1.0 and dt > 0.0:
                    stage, dt0 = 2.0, dt
                    for j in range(WALK_MODELS):
                        main.p22[j] = r0 / (dt0 * dt0) if walk_slope[j] > 0.0 else 0.0
                if stage == 2.0 and dt > 0.0:
                    walk_predict(&main, dt, r0, dt0, damping_s)
                    if opened != 0.0:
                        walk_predict(&other, dt, r0, dt0, damping_s)
                if not measured(z, s, dt):
                    pass
                elif stage == 0.0:
                    for j in range(WALK_MODELS):
                        main.w[j], main.m[j], main.b[j] = 1.0 / WALK_MODELS, z, 0.0
                        main.p11[j], main.p12[j], main.p22[j] = s, 0.0, 0.0
                    stage, r0 = 1.0, s
                elif stage == 2.0:
                    walk_foretold(&main, &now, &spread)
                    e = z - now
                    x = e * e / (spread + s)
                    if opened != 0.0:
                        believed, doubted = other, main
                        told = walk_update(&believed, z, s)
                        untold = walk_update(&doubted, z, s)
                        odds += told - untold
                        opened += 1.0
                        if odds <= 0.0:
                            opened, spikes, steps = 0.0, WALK_MEMORY * spikes + 1.0, WALK_MEMORY * steps
                        elif opened >= step_samples:
                            main = other
                            opened, steps, spikes = 0.0, WALK_MEMORY * steps + 1.0, WALK_MEMORY * spikes
                            walk_foretold(&main, &now, &spread)
                            e = z - now
                            x = e * e / (spread + s)
                        else:
                            other = believed
                            if x <= gate2:
                                main = doubted
                    if opened == 0.0:
                        believed = main
                        walk_update(&believed, z, s)
                        if x <= gate2:
                            main = believed
                        else:
                            other = believed
                            opened = 1.0
                            odds = log((steps + WALK_STEP_PRIOR) / (spikes + WALK_SPIKE_PRIOR))
                chance = (steps + WALK_STEP_PRIOR) / (steps + spikes + WALK_STEP_PRIOR + WALK_SPIKE_PRIOR)
                out = &other if opened != 0.0 and chance > 0.5 else &main
                at, wide, walks = NAN, INFINITY, NAN
                if stage == 1.0:
                    at, wide = main.m[0], main.p11[0]
                elif stage == 2.0:
                    walk_foretold(out, &at, &wide)
                    walks = 0.0
                    for j in range(WALK_MODELS):
                        walks += out.w[j] * walk_level[j]
                    walks *= r0 / dt0
                    if opened != 0.0:
                        walk_foretold(&main, &now, &spread)
                        walk_foretold(&other, &other_at, &spread)
                        wide += (chance if chance < 1.0 - chance else 1.0 - chance) * (now - other_at) * (now - other_at)
                mean[i, k], var[i, k], innovation[i, k], nis[i, k], q[i, k] = at, wide, e, x, walks
            here[0], here[1], here[2], here[3], here[4], here[5], here[6] = stage, r0, dt0, steps, spikes, opened, odds
            memcpy(here + WALK_HEAD, &main, sizeof(WalkBranch))
            memcpy(here + WALK_HEAD + 6 * WALK_MODELS, &other, sizeof(WalkBranch))
