/* One value meets the bank of models: see textbook/bank.py, whose twin this is, for the sense of it. */
#ifndef TRUELINE_MODELS_H
#define TRUELINE_MODELS_H

#include <stdint.h>

#include "lanes.h"

#define R_MODELS 6
#define Q_MODELS 8
#define MODELS (R_MODELS * Q_MODELS)
#define R_STEP 2.5
#define Q_STEP 4.0

#define GROSS 100.0        /* variance of a gross outlier, in that of the innovation */
#define GROSS_DOF 3.0
#define FAR_SHARE 1e-6     /* of values that say nothing about any model */
#define SURPRISE_MAX 1e6

typedef struct {
    double mean, spread, r, q, gross;
} Sums;

static double R_GRID[MODELS], Q_GRID[MODELS];

static void make_grids(void)
{
    double r = 1.0;
    for (int i = 0; i < R_MODELS; i++, r *= R_STEP) {
        double q = 1.0;
        for (int j = 0; j < Q_MODELS; j++, q *= Q_STEP) {
            R_GRID[i * Q_MODELS + j] = r;
            Q_GRID[i * Q_MODELS + j] = q;
        }
    }
}

/* exp of numbers from -700 to 0, to 1e-11; nothing but arithmetic, so that it becomes vector code. */
ALWAYS double exponential(double y)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer, left in the low bits */
    union { double d; int64_t i; } power;
    power.d = y * 1.4426950408889634 + magic;
    double k = power.d - magic;
    double t = y - k * 0.69314718055994531;
    /* Taylor's series to the ninth power, in Estrin's order: short chains, which a processor can overlap. */
    double t2 = t * t, t4 = t2 * t2;
    double low = (1.0 + t) + (0.5 + t * (1.0 / 6.0)) * t2;
    double middle = (1.0 / 24.0 + t * (1.0 / 120.0)) + (1.0 / 720.0 + t * (1.0 / 5040.0)) * t2;
    double high = 1.0 / 40320.0 + t * (1.0 / 362880.0);
    double s = low + (middle + high * t4) * t4;
    power.i = (power.i + 1023) << 52;
    return s * power.d;
}

/* Let time pass by what a walk of Q = 1 gains, then weigh and move all models by the value z; `centre` is near their mean. */
ALWAYS void weigh_body(double *restrict m, double *restrict p, double *restrict w, double z, double r, double q_dt,
                       double share, double forgetting, double far, double centre, Sums *sums)
{
    double bells[MODELS], gains[MODELS], inverses[MODELS], surprises[MODELS];
    Half weights = SPREAD(0.0), shifts = weights, spreads = weights, noises = weights, walks = weights;
    Half inliers = weights;
    const double good = 1.0 - share, gross = share * 0.1, keep = 1.0 - forgetting, anew = forgetting / MODELS;
    /* Three short loops: a processor overlaps more of each than of one long chain. */
    for (int j = 0; j < MODELS; j++) {
        double pj = p[j] + Q_GRID[j] * q_dt, e = z - m[j];
        double inverse = 1.0 / sqrt(pj + R_GRID[j] * r);
        double scaled = e * inverse;
        double x = scaled * scaled;
        p[j] = pj;
        gains[j] = pj * inverse * inverse;
        inverses[j] = inverse;
        surprises[j] = x < SURPRISE_MAX ? x : SURPRISE_MAX;
    }
    for (int j = 0; j < MODELS; j++) {
        double y = -0.5 * surprises[j];
        bells[j] = good * inverses[j] * exponential(y > -700.0 ? y : -700.0);
    }
    for (int j = 0; j < MODELS; j += HALF) {
        Half root = 1.0 + LOAD(surprises + j) * (1.0 / (GROSS * GROSS_DOF)), tail = root * root;
        Half inside = LOAD(bells + j) * tail;
        Half all = inside + gross * LOAD(inverses + j) + far * tail; /* likelihood times tail */
        Half both = 1.0 / (tail * all);
        Half inlier = inside * tail * both;
        Half wj = (keep * LOAD(w + j) + anew) * (all * all * both);
        STORE(bells + j, inlier);
        STORE(w + j, wj);
        weights += wj;
        inliers += wj * inlier;
        noises += wj * LOAD(R_GRID + j);
        walks += wj * LOAD(Q_GRID + j);
    }
    for (int j = 0; j < MODELS; j += HALF) {
        Half mj = LOAD(m + j), pj = LOAD(p + j), gain = LOAD(gains + j), wj = LOAD(w + j), inlier = LOAD(bells + j);
        Half outlier = 1.0 - inlier, ge = gain * (z - mj), unmoved = outlier * (1.0 - 1.0 / GROSS);
        Half off = (mj - centre) + ge * (1.0 - unmoved);
        Half left = gain * (LOAD(R_GRID + j) * r + pj * unmoved) + inlier * outlier * ge * ge;
        STORE(m + j, centre + off);
        STORE(p + j, left);
        shifts += wj * off;
        spreads += wj * (left + off * off);
    }
    double total[6] = {SUM(weights), SUM(shifts), SUM(spreads), SUM(noises), SUM(walks), SUM(inliers)};
    double scale = 1.0 / total[0], shift = total[1] * scale;
    for (int j = 0; j < MODELS; j++) w[j] *= scale;
    sums->mean = centre + shift;
    sums->spread = total[2] * scale - shift * shift;
    sums->r = total[3] * scale;
    sums->q = total[4] * scale;
    sums->gross = 1.0 - total[5] * scale;
}
TWICE(weigh,
      (double *m, double *p, double *w, double z, double r, double q_dt, double share, double forgetting, double far,
       double centre, Sums *sums),
      (m, p, w, z, r, q_dt, share, forgetting, far, centre, sums))

/* Time passes: every walk gains variance. */
static void walk(double *restrict p, double q_dt)
{
    for (int j = 0; j < MODELS; j++) p[j] += Q_GRID[j] * q_dt;
}

/* Mean, spread and scales anew, after the models were changed by hand; the weights add up to one again. */
static void tally(const double *m, const double *p, double *w, Sums *sums)
{
    double total = 0.0;
    memset(sums, 0, sizeof *sums);
    for (int j = 0; j < MODELS; j++) total += w[j];
    for (int j = 0; j < MODELS; j++) {
        w[j] /= total;
        sums->mean += w[j] * m[j];
        sums->r += w[j] * R_GRID[j];
        sums->q += w[j] * Q_GRID[j];
    }
    for (int j = 0; j < MODELS; j++) sums->spread += w[j] * (p[j] + (m[j] - sums->mean) * (m[j] - sums->mean));
}

/* Move the grid by one step of R (or Q) up or down: the models at the far end are given up, those at the near end are
 * doubled. */
static void slide(double *three, int of_r, int up)
{
    for (int column = 0; column < 3; column++) {
        double old[MODELS], *new_ = three + column * MODELS;
        memcpy(old, new_, sizeof old);
        for (int i = 0; i < R_MODELS; i++) {
            for (int j = 0; j < Q_MODELS; j++) {
                int from_i = i, from_j = j;
                if (of_r) from_i += up ? 1 : -1;
                else from_j += up ? 1 : -1;
                if (from_i < 0) from_i = 0;
                if (from_j < 0) from_j = 0;
                if (from_i >= R_MODELS) from_i = R_MODELS - 1;
                if (from_j >= Q_MODELS) from_j = Q_MODELS - 1;
                new_[i * Q_MODELS + j] = old[from_i * Q_MODELS + from_j];
            }
        }
    }
}

#endif
