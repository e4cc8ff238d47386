/* Loops over the cells of a batch that know nothing of one another, written so that a compiler makes vector code of them.
 *
 * Cells lie side by side, or `step` apart where columns of a wider table are meant.
 */
#ifndef TRUELINE_CELLS_H
#define TRUELINE_CELLS_H

#include "lanes.h"

/* Finite values with a grade below `worst`, NaN for others; how many others. */
ALWAYS ptrdiff_t pick_apart(const double *restrict z, ptrdiff_t z_step, const unsigned char *restrict grade,
                            ptrdiff_t grade_step, int worst, double *restrict out, ptrdiff_t count)
{
    ptrdiff_t others = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        double x = z[i * z_step];
        int64_t good = (fabs(x) < INFINITY) & (grade[i * grade_step] < worst);
        out[i] = good ? x : NAN;
        others += 1 - good;
    }
    return others;
}

static ptrdiff_t pick_cells(const double *z, ptrdiff_t z_step, const unsigned char *grade, ptrdiff_t grade_step,
                            int worst, double *out, ptrdiff_t count)
{
    if (z_step == 1 && grade_step == 1) return pick_apart(z, 1, grade, 1, worst, out, count);
    return pick_apart(z, z_step, grade, grade_step, worst, out, count);
}

/* New grades and bits by verdict and grade. Eight cells that are as the eight before them are not looked up again. */
static void look_up_cells(const unsigned char *verdict, const unsigned char *grade, const unsigned int *bits,
                          const unsigned char *table, const unsigned int *bits_of, unsigned char *restrict new_grade,
                          unsigned int *restrict new_bits, ptrdiff_t count)
{
    ptrdiff_t i = 0;
    uint64_t verdicts = 0, grades = 0, known_verdicts = 0, known_grades = 0;
    unsigned char found[LANES] = {0};
    unsigned int more[LANES] = {0};
    for (; i + LANES <= count; i += LANES) {
        memcpy(&verdicts, verdict + i, LANES);
        memcpy(&grades, grade + i, LANES);
        if (i == 0 || verdicts != known_verdicts || grades != known_grades) {
            for (int l = 0; l < LANES; l++) {
                found[l] = table[verdict[i + l] * 256 + grade[i + l]];
                more[l] = bits_of[verdict[i + l]];
            }
            known_verdicts = verdicts;
            known_grades = grades;
        }
        memcpy(new_grade + i, found, LANES);
        for (int l = 0; l < LANES; l++) new_bits[i + l] = bits[i + l] | more[l];
    }
    for (; i < count; i++) {
        new_grade[i] = table[verdict[i] * 256 + grade[i]];
        new_bits[i] = bits[i] | bits_of[verdict[i]];
    }
}

/* 0 where there is nothing to judge, 3 outside, 2 outside the inner limits, else 1. */
ALWAYS void limit_cells_body(const double *z, ptrdiff_t step, double low, double high, double inner_low,
                             double inner_high, unsigned char *verdict, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        if (step == 1)
            for (; i + HALF <= count; i += HALF) { /* as long as all are well inside */
                Half x = LOAD(z + i);
                Mask well = (x >= low) & (x <= high) & (x >= inner_low) & (x <= inner_high);
                if (!ALL(well)) break;
                memset(verdict + i, 1, HALF);
            }
        if (i == count) break;
        double x = z[i * step];
        verdict[i] = (unsigned char)((x == x) + ((x < inner_low) | (x > inner_high)));
        if ((x < low) | (x > high)) verdict[i] = 3;
    }
}
TWICE(limit_cells, (const double *z, ptrdiff_t step, double low, double high, double inner_low, double inner_high,
                    unsigned char *verdict, ptrdiff_t count),
      (z, step, low, high, inner_low, inner_high, verdict, count))

/* Where a grade is not below `worst`, there is nothing to judge. */
static void spare_cells(const unsigned char *restrict grade, ptrdiff_t step, int worst, unsigned char *restrict verdict,
                        ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++) verdict[i] = grade[i * step] < worst ? verdict[i] : 0;
}

/* 1 where a finite value of a grade below `worst` is, else 0. */
static void there_cells(const double *restrict z, ptrdiff_t z_step, const unsigned char *restrict grade,
                        ptrdiff_t grade_step, int worst, unsigned char *restrict out, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = (unsigned char)((fabs(z[i * z_step]) < INFINITY) & (grade[i * grade_step] < worst));
}

/* What is remembered of the channels: see `sequences.Leaps`. */
typedef struct {
    double *believed;
    int64_t *age_ns;
    double *waiting;
    int64_t *waiting_age_ns;
    int64_t *agreeing;
} Leap;

static int leap_one(Leap past, ptrdiff_t k, double x, int64_t now_ns, double step, double suspect_per_s,
                    double fail_per_s, int step_samples)
{
    int known = !isnan(past.believed[k]);
    double change = fabs(x - past.believed[k]) - step, elapsed_s = (now_ns + past.age_ns[k]) * 1e-9;
    if (isnan(x)) return 0;
    if (!known || change > fail_per_s * elapsed_s) {
        change = fabs(x - past.waiting[k]) - step;
        elapsed_s = (now_ns + past.waiting_age_ns[k]) * 1e-9;
        int agrees = past.agreeing[k] > 0 && change <= fail_per_s * elapsed_s;
        past.agreeing[k] = agrees ? past.agreeing[k] + 1 : 1;
        past.waiting[k] = x;
        past.waiting_age_ns[k] = -now_ns;
        if (past.agreeing[k] < (known ? step_samples : 2)) return known ? 3 : 0;
    }
    past.believed[k] = x;
    past.age_ns[k] = -now_ns;
    past.agreeing[k] = 0;
    return change > suspect_per_s * elapsed_s ? 2 : 1;
}

/* See textbook/sequences.py. Where all channels were believed at one time, and are again, they go side by side. */
ALWAYS void leap_cells_body(Leap past, Columns value, const int64_t *clock_ns, const double *step,
                            double suspect_per_s, double fail_per_s, int step_samples, ptrdiff_t n,
                            ptrdiff_t channels, unsigned char *verdict)
{
    for (ptrdiff_t first = 0; first < channels; first += LANES) {
        int lanes = channels - first < LANES ? (int)(channels - first) : LANES, even = 0;
        Lane z = {0}, steps = {0}, believed = {0};
        give(steps, step + first, lanes);
        for (ptrdiff_t i = 0; i < n; i++) {
            unsigned char *said = verdict + i * channels + first;
            take(z, value, i, first, lanes);
            if (even) {
                double elapsed_s = (clock_ns[i] + past.age_ns[first]) * 1e-9;
                Mask fine = {-1, -1, -1, -1}, slow = fine;
                for (int h = 0; h < LANES; h += HALF) {
                    Half x = LOAD(z + h), change = SIZE(x - LOAD(believed + h)) - LOAD(steps + h);
                    fine &= (x == x) & ~(change > fail_per_s * elapsed_s);
                    slow &= ~(change > suspect_per_s * elapsed_s);
                }
                if (ALL(fine) && ALL(slow)) {
                    memcpy(believed, z, sizeof z);
                    mark(said, 1, lanes);
                    past.age_ns[first] = -clock_ns[i];
                    continue;
                }
                for (int l = 0; l < lanes; l++) {
                    past.believed[first + l] = believed[l];
                    past.age_ns[first + l] = past.age_ns[first];
                    past.agreeing[first + l] = 0;
                }
            }
            even = 1;
            for (int l = 0; l < lanes; l++) {
                ptrdiff_t k = first + l;
                said[l] = (unsigned char)leap_one(past, k, z[l], clock_ns[i], step[k], suspect_per_s, fail_per_s,
                                                  step_samples);
                believed[l] = past.believed[k];
                even = even && !isnan(believed[l]) && past.age_ns[k] == past.age_ns[first] && past.agreeing[k] == 0;
            }
        }
        for (int l = 0; even && l < lanes; l++) {
            past.believed[first + l] = believed[l];
            past.age_ns[first + l] = past.age_ns[first];
        }
    }
}
TWICE(leap_cells,
      (Leap past, Columns value, const int64_t *clock_ns, const double *step, double suspect_per_s, double fail_per_s,
       int step_samples, ptrdiff_t n, ptrdiff_t channels, unsigned char *verdict),
      (past, value, clock_ns, step, suspect_per_s, fail_per_s, step_samples, n, channels, verdict))

static int repeat_one(const double *ring, int64_t at, int fail, int suspect, double z, double within, int64_t *run)
{
    if (*run >= 0 && z == ring[at > 0 ? at - 1 : fail - 1]) {
        if (*run < fail) ++*run; /* what was near the one before is as near to its like */
    } else {
        int64_t back = at;
        for (*run = 0; *run < fail; ++*run) {
            back = back > 0 ? back - 1 : fail - 1;
            if (!(fabs(z - ring[back]) <= within)) break;
        }
    }
    if (isnan(ring[at >= suspect ? at - suspect : at - suspect + fail])) return 0;
    return *run >= fail ? 3 : *run >= suspect ? 2 : 1;
}

/* Rows `from` to `to` of a column into its ring. */
static void remember(double *ring, int64_t *at, int fail, Columns value, ptrdiff_t k, ptrdiff_t from, ptrdiff_t to)
{
    const double *z = value.at + k * value.step;
    if (to - from > fail) { /* the oldest would be forgotten again */
        *at = (*at + (to - fail - from)) % fail;
        from = to - fail;
    }
    for (; from < to; from++) {
        ring[*at] = z[from * value.row];
        *at = *at + 1 < fail ? *at + 1 : 0;
    }
}

/* See textbook/sequences.py. What is far from the value before needs no look into the ring, which is filled when
 * somebody must. */
ALWAYS void repeat_cells_body(double *ring, int64_t *at, Columns value, const double *tolerance, int fail, int suspect,
                              ptrdiff_t n, ptrdiff_t channels, unsigned char *verdict)
{
    for (ptrdiff_t first = 0; first < channels; first += LANES) {
        int lanes = channels - first < LANES ? (int)(channels - first) : LANES, ready = 0;
        ptrdiff_t behind[LANES] = {0};
        Lane z = {0}, within = {0}, before;
        int64_t run[LANES], fresh[LANES] = {0};
        for (int l = 0; l < LANES; l++) {
            run[l] = -1;
            before[l] = INFINITY; /* of no channel: far from all */
        }
        give(within, tolerance + first, lanes);
        for (ptrdiff_t i = 0; i < n; i++) {
            unsigned char *said = verdict + i * channels + first;
            take(z, value, i, first, lanes);
            mark(said, 1, lanes);
            if (ready) {
                Mask all = {-1, -1, -1, -1};
                for (int h = 0; h < LANES; h += HALF) {
                    Mask far = SIZE(LOAD(z + h) - LOAD(before + h)) > LOAD(within + h);
                    memcpy(fresh + h, &far, sizeof far);
                    all &= far;
                }
                if (ALL(all)) {
                    copy_lane(before, z);
                    continue;
                }
            }
            int seen = 1; /* have all seen enough to be judged? */
            for (int l = 0; l < lanes; l++) {
                ptrdiff_t k = first + l;
                double *own = ring + k * fail;
                if (fresh[l]) {
                    before[l] = z[l];
                    continue;
                }
                if (behind[l] < i) run[l] = 0;
                remember(own, at + k, fail, value, k, behind[l], i);
                behind[l] = i + 1;
                said[l] = 0;
                if (!isnan(z[l])) {
                    said[l] = (unsigned char)repeat_one(own, at[k], fail, suspect, z[l], within[l], &run[l]);
                    own[at[k]] = before[l] = z[l];
                    at[k] = at[k] + 1 < fail ? at[k] + 1 : 0;
                } else if (!ready) {
                    before[l] = own[at[k] > 0 ? at[k] - 1 : fail - 1];
                }
                seen = seen && !isnan(own[at[k] >= suspect ? at[k] - suspect : at[k] - suspect + fail]);
            }
            ready = ready || seen;
        }
        for (int l = 0; l < lanes; l++) remember(ring + (first + l) * fail, at + first + l, fail, value, first + l, behind[l], n);
    }
}
TWICE(repeat_cells,
      (double *ring, int64_t *at, Columns value, const double *tolerance, int fail, int suspect, ptrdiff_t n,
       ptrdiff_t channels, unsigned char *verdict),
      (ring, at, value, tolerance, fail, suspect, n, channels, verdict))

/* Steps of a clock from row to row, the first from `last`; the least and the most of them. */
static void pace_rows(int64_t last, const int64_t *time_ns, ptrdiff_t n, int64_t *restrict since, int64_t *least,
                      int64_t *most)
{
    *least = INT64_MAX;
    *most = INT64_MIN;
    for (ptrdiff_t i = 0; i < n; i++) {
        int64_t step = since[i] = (int64_t)((uint64_t)time_ns[i] - (uint64_t)(i ? time_ns[i - 1] : last));
        if (step < *least) *least = step;
        if (step > *most) *most = step;
    }
}

#endif
