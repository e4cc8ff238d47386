/* Filters of a local level, eight channels side by side: see textbook/level.py, whose twin this is. */
#ifndef TRUELINE_LEVEL_H
#define TRUELINE_LEVEL_H

#include "lanes.h"

typedef struct {
    Lane m, p, candidate, count;
} Levels;

static void follow_step(Levels *s, int l, double z, double noise, double gate, int step_samples)
{
    double off = z - s->candidate[l];
    if (s->count[l] > 0.0 && off * off <= gate * gate * noise * (1.0 + 1.0 / s->count[l])) {
        s->candidate[l] += off / (s->count[l] + 1.0);
        s->count[l] += 1.0;
    } else {
        s->candidate[l] = z;
        s->count[l] = 1.0;
    }
    if (s->count[l] >= step_samples) {
        s->m[l] = s->candidate[l];
        s->p[l] = noise / s->count[l];
        s->count[l] = 0.0;
    }
}

ALWAYS void filter_levels_body(double *state, const double *dt_s, Columns value, Columns r, const double *q,
                               double inverse_dof, double gate, int step_samples, ptrdiff_t n, ptrdiff_t channels,
                               double *mean, double *var, double *innovation, double *nis)
{
    const double gate2 = gate * gate, tail = 1.0 / (1.0 + inverse_dof);
    const Half one = SPREAD(1.0), none = SPREAD(NAN);
    for (ptrdiff_t first = 0; first < channels; first += LANES) {
        int lanes = channels - first < LANES ? (int)(channels - first) : LANES;
        Levels s = {{0}, {0}, {0}, {0}};
        Lane z, noise, gain = {0}, e, x;
        for (int l = 0; l < LANES; l++) z[l] = noise[l] = NAN;
        for (int l = 0; l < lanes; l++) {
            const double *was = state + 4 * (first + l);
            s.m[l] = was[0]; s.p[l] = was[1]; s.candidate[l] = was[2]; s.count[l] = was[3];
            gain[l] = q[first + l];
        }
        for (ptrdiff_t i = 0; i < n; i++) {
            const double dt = dt_s[i], passed = dt > 0.0 ? dt : 0.0, reach = dt <= 0.0 ? -1.0 : INFINITY;
            int64_t beyond[LANES];
            Mask any = {0};
            take(z, value, i, first, lanes);
            take(noise, r, i, first, lanes);
            for (int h = 0; h < LANES; h += HALF) {
                Half zh = LOAD(z + h), rh = LOAD(noise + h), mh = LOAD(s.m + h), count = LOAD(s.count + h);
                Half ph = LOAD(s.p + h) + LOAD(gain + h) * passed;
                Half eh = zh - mh, xh = eh * eh / (ph + rh);
                Half wider = (1.0 + xh * inverse_dof) * tail, softer = rh * EITHER(wider > one, wider, one);
                Half total = one / (ph + softer);
                Mask there = (SIZE(zh) < reach) & (rh > 0.0) & (rh < INFINITY), begun = ph < INFINITY;
                Mask known = there & begun, anew = there & ~begun, inside = known & (xh <= gate2);
                STORE(s.m + h, EITHER(anew, zh, EITHER(inside, mh + ph * total * eh, mh)));
                STORE(s.p + h, EITHER(anew, rh, EITHER(inside, ph * softer * total, ph)));
                STORE(s.count + h, EITHER(anew | inside, one - one, count));
                STORE(e + h, EITHER(known, eh, none));
                STORE(x + h, EITHER(known, xh, none));
                Mask gated = known & ~inside;
                memcpy(beyond + h, &gated, sizeof gated);
                any |= gated;
            }
            if (ANY(any))
                for (int l = 0; l < lanes; l++)
                    if (beyond[l]) follow_step(&s, l, z[l], noise[l], gate, step_samples);
            ptrdiff_t at = i * channels + first;
            give(mean + at, s.m, lanes);
            give(var + at, s.p, lanes);
            give(innovation + at, e, lanes);
            give(nis + at, x, lanes);
        }
        for (int l = 0; l < lanes; l++) {
            double *will = state + 4 * (first + l);
            will[0] = s.m[l]; will[1] = s.p[l]; will[2] = s.candidate[l]; will[3] = s.count[l];
        }
    }
}
TWICE(filter_levels,
      (double *state, const double *dt_s, Columns value, Columns r, const double *q, double inverse_dof, double gate,
       int step_samples, ptrdiff_t n, ptrdiff_t channels, double *mean, double *var, double *innovation, double *nis),
      (state, dt_s, value, r, q, inverse_dof, gate, step_samples, n, channels, mean, var, innovation, nis))

/* See textbook/credit.py. */
ALWAYS void credit_levels_body(Columns value, Columns stated, Columns r, Columns widening, const double *dt_s,
                               ptrdiff_t n, ptrdiff_t channels, const double *mean, const double *var,
                               const double *innovation, const double *nis, double gate, double share,
                               const double *declared, const double *common, double *last, double *total,
                               double *weight, unsigned char *refused, ptrdiff_t *count)
{
    const double gate2 = gate * gate;
    const Half one = SPREAD(1.0), nothing = SPREAD(0.0);
    *count = 0;
    for (ptrdiff_t first = 0; first < channels; first += LANES) {
        int lanes = channels - first < LANES ? (int)(channels - first) : LANES;
        Columns means = {mean, channels, 1}, vars = {var, channels, 1};
        Columns surprises = {innovation, channels, 1}, squares = {nis, channels, 1};
        Lane z = {0}, u2 = {0}, noise = {0}, wide = {0}, m = {0}, p = {0}, e = {0}, x = {0};
        Lane systematic = {0}, shared = {0}, given = {0}, sum, counted;
        give(given, declared + first, lanes);
        give(shared, common + first, lanes);
        give(systematic, last + first, lanes);
        for (ptrdiff_t i = 0; i < n; i++) {
            const double reach = dt_s[i] <= 0.0 ? -1.0 : INFINITY;
            int64_t kept[LANES];
            Mask any = {0};
            take(z, value, i, first, lanes);
            take(u2, stated, i, first, lanes);
            take(noise, r, i, first, lanes);
            take(wide, widening, i, first, lanes);
            take(m, means, i, first, lanes);
            take(p, vars, i, first, lanes);
            take(e, surprises, i, first, lanes);
            take(x, squares, i, first, lanes);
            for (int h = 0; h < LANES; h += HALF) {
                Half zh = LOAD(z + h), own = LOAD(given + h), eh = LOAD(e + h), rh = LOAD(noise + h);
                Half ph = LOAD(p + h), then = LOAD(systematic + h);
                Half rest = LOAD(u2 + h) - EITHER(rh == rh, rh, nothing);
                rest = EITHER(rest > 0.0, rest, nothing); /* and zero where one of them is not known */
                then = EITHER(own == own, own, EITHER(zh == zh, rest, then));
                Half whole = ph + then + LOAD(shared + h), alone = LOAD(u2 + h) * LOAD(wide + h);
                Mask stayed = (LOAD(x + h) > gate2) & (SIZE(LOAD(m + h) - (zh - eh)) < share * SIZE(eh));
                STORE(systematic + h, then);
                STORE(sum + h, EITHER(ph == INFINITY, alone, whole));
                STORE(counted + h, EITHER((SIZE(zh) < reach) & ~stayed, one, nothing));
                memcpy(kept + h, &stayed, sizeof stayed);
                any |= stayed;
            }
            ptrdiff_t at = i * channels + first;
            give(total + at, sum, lanes);
            give(weight + at, counted, lanes);
            mark(refused + at, 0, lanes);
            if (ANY(any))
                for (int l = 0; l < lanes; l++)
                    if (kept[l]) { refused[at + l] = 1; ++*count; }
        }
        give(last + first, systematic, lanes);
    }
}
TWICE(credit_levels,
      (Columns value, Columns stated, Columns r, Columns widening, const double *dt_s, ptrdiff_t n, ptrdiff_t channels,
       const double *mean, const double *var, const double *innovation, const double *nis, double gate, double share,
       const double *declared, const double *common, double *last, double *total, double *weight,
       unsigned char *refused, ptrdiff_t *count),
      (value, stated, r, widening, dt_s, n, channels, mean, var, innovation, nis, gate, share, declared, common, last,
       total, weight, refused, count))

#endif
