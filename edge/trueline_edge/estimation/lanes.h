/* Channels (or models) side by side: what a compiler turns into vector instructions, with nothing but plain C.
 *
 * On x86-64 each function marked TWICE is compiled for every processor and for those with AVX2 and FMA; what the machine
 * has is looked up when the module is loaded.
 */
#ifndef TRUELINE_LANES_H
#define TRUELINE_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
static int has_avx2;
static void look_at_processor(void) { has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#define TWICE(name, parameters, arguments)                                                                    \
    __attribute__((target("avx2,fma"))) static void name##_avx2 parameters { name##_body arguments; }         \
    static void name##_any parameters { name##_body arguments; }                                              \
    static void name parameters { if (has_avx2) name##_avx2 arguments; else name##_any arguments; }
#else
static void look_at_processor(void) {}
#define TWICE(name, parameters, arguments) static void name parameters { name##_body arguments; }
#endif

#define LANES 8
#define WINDOW_MAX 255
#define NARROW_MAX 9 /* windows that fit the registers */
#define MAD_TO_SIGMA 1.4826

typedef double Lane[LANES];

/* Half a lane as one number, where a choice between cells must not become a branch. */
#define HALF 4
typedef double Half __attribute__((vector_size(8 * HALF)));
typedef int64_t Mask __attribute__((vector_size(8 * HALF)));
#define SPREAD(x) (Half){(x), (x), (x), (x)}
#define LOAD(from) ({ Half loaded_; memcpy(&loaded_, (from), sizeof loaded_); loaded_; })
#define STORE(to, what) do { Half stored_ = (what); memcpy((to), &stored_, sizeof stored_); } while (0)
#define EITHER(mask, yes, no) (Half)(((mask) & (Mask)(yes)) | (~(mask) & (Mask)(no)))
#define ALL(mask) (((mask)[0] & (mask)[1] & (mask)[2] & (mask)[3]) != 0)
#define ANY(mask) (((mask)[0] | (mask)[1] | (mask)[2] | (mask)[3]) != 0)
#define SUM(x) (((x)[0] + (x)[2]) + ((x)[1] + (x)[3]))
#define SIZE(x) (Half)((Mask)(x) & INT64_MAX)
typedef unsigned char Pair[2];

/* By the same pieces as it will be loaded: a processor waits for what was stored in other pieces. */
ALWAYS void copy_lane(double *restrict to, const double *restrict from)
{
    for (int h = 0; h < LANES; h += HALF) STORE(to + h, LOAD(from + h));
}

/* (n, k) numbers, `row` and `step` apart; both are 0 where one stands for all. */
typedef struct {
    const double *at;
    ptrdiff_t row, step;
} Columns;

ALWAYS void take(double *restrict to, Columns from, ptrdiff_t row, ptrdiff_t first, int lanes)
{
    const double *at = from.at + row * from.row + first * from.step;
    if (lanes == LANES && from.step == 1) copy_lane(to, at);
    else if (from.step == 0) for (int h = 0; h < LANES; h += HALF) STORE(to + h, (Half)SPREAD(*at));
    else for (int l = 0; l < lanes; l++) to[l] = at[l * from.step];
}

ALWAYS void give(double *restrict to, const double *restrict from, int lanes)
{
    if (lanes == LANES) copy_lane(to, from);
    else for (int l = 0; l < lanes; l++) to[l] = from[l];
}

ALWAYS void mark(unsigned char *restrict to, unsigned char what, int lanes)
{
    if (lanes == LANES) memset(to, what, LANES);
    else for (int l = 0; l < lanes; l++) to[l] = what;
}

/* Batcher's odd-even merge sort (Knuth, volume 3, 5.2.2, algorithm M): the pairs to compare, the same for all lanes. */
static int sorting_network(int width, Pair *pairs)
{
    int count = 0, top = 1;
    while (2 * top < width) top *= 2;
    for (int p = width > 1 ? top : 0; p > 0; p /= 2) {
        int q = top, r = 0, d = p;
        for (;;) {
            for (int i = 0; i < width - d; i++) {
                if ((i & p) == r) {
                    if (pairs) {
                        pairs[count][0] = (unsigned char)i;
                        pairs[count][1] = (unsigned char)(i + d);
                    }
                    count++;
                }
            }
            if (q == p) break;
            d = q - p;
            q /= 2;
            r = p;
        }
    }
    return count;
}

ALWAYS void sort_lanes(Lane *s, int pairs_count, Pair *pairs)
{
    for (int c = 0; c < pairs_count; c++) {
        double *a = s[pairs[c][0]], *b = s[pairs[c][1]];
        for (int h = 0; h < LANES; h += HALF) {
            Half x = LOAD(a + h), y = LOAD(b + h);
            Mask less = x < y;
            STORE(a + h, EITHER(less, x, y));
            STORE(b + h, EITHER(less, y, x));
        }
    }
}

/* Median and median absolute deviation of each lane of sorted rows. The deviations below the median and those above it
 * are two sorted rows already: the k-th smallest of both is the least of max(below[i - 1], above[k - i - 1]). */
ALWAYS void judge_sorted(const Lane *s, int width, double *restrict median, double *restrict mad)
{
    int half = width / 2, odd = width & 1;
    const double *under = s[(width - 1) / 2], *over = s[half];
    for (int l = 0; l < LANES; l++) {
        double m = odd ? over[l] : (under[l] + over[l]) / 2.0;
        double first = s[width - 1][l] - m, second = 0.0;
        double lowest = m - s[0][l];
        if (lowest < first) first = lowest;
        for (int i = 1; i < half; i++) {
            double below = m - s[half - i][l], above = s[width - half + (half - i - 1)][l] - m;
            double larger = below > above ? below : above;
            first = larger < first ? larger : first;
        }
        if (!odd) {
            second = INFINITY;
            for (int i = 1; i <= half; i++) {
                double below = m - s[half - i][l], above = s[half + (half - i)][l] - m;
                double larger = below > above ? below : above;
                second = larger < second ? larger : second;
            }
        }
        median[l] = m;
        mad[l] = odd ? first : (first + second) / 2.0;
    }
}

ALWAYS void judge_lanes_body(Lane *s, int width, int pairs_count, Pair *pairs, double *median, double *mad)
{
    sort_lanes(s, pairs_count, pairs);
    judge_sorted(s, width, median, mad);
}
TWICE(judge_lanes, (Lane *s, int width, int pairs_count, Pair *pairs, double *median, double *mad),
      (s, width, pairs_count, pairs, median, mad))

/* As `sort_lanes`, by odd-even transposition, for a width the compiler knows: nothing leaves the registers. */
ALWAYS void sort_narrow(Lane *s, int width)
{
    for (int h = 0; h < LANES; h += HALF) {
        Half x[NARROW_MAX];
        _Pragma("GCC unroll 9") for (int i = 0; i < width; i++) x[i] = LOAD(s[i] + h);
        _Pragma("GCC unroll 9") for (int round = 0; round < width; round++) {
            _Pragma("GCC unroll 9") for (int i = round & 1; i + 1 < width; i += 2) {
                Mask less = x[i] < x[i + 1];
                Half low = EITHER(less, x[i], x[i + 1]);
                x[i + 1] = EITHER(less, x[i + 1], x[i]);
                x[i] = low;
            }
        }
        _Pragma("GCC unroll 9") for (int i = 0; i < width; i++) STORE(s[i] + h, x[i]);
    }
}

/* Judge a row by full windows. `plain`: which are there and within their limits; `others`: some are not. */
ALWAYS void judge_row_body(const Lane *window, Lane *room, int width, int pairs_count, Pair *pairs, const double *z,
                           double threshold, const double *floor, double *median, double *mad, int64_t *plain,
                           int *others)
{
    for (int i = 0; i < width; i++) copy_lane(room[i], window[i]);
    switch (width) {
#define NARROW(w) case w: sort_narrow(room, w); judge_sorted(room, w, median, mad); break;
    NARROW(3) NARROW(4) NARROW(5) NARROW(6) NARROW(7) NARROW(8) NARROW(9)
#undef NARROW
    default:
        sort_lanes(room, pairs_count, pairs);
        judge_sorted(room, width, median, mad);
    }
    Mask all = {-1, -1, -1, -1};
    for (int h = 0; h < LANES; h += HALF) {
        Half x = LOAD(z + h), limit = threshold * MAD_TO_SIGMA * LOAD(mad + h), least = LOAD(floor + h);
        limit = EITHER(limit > least, limit, least);
        Mask within = (SIZE(x) < INFINITY) & (SIZE(x - LOAD(median + h)) <= limit);
        memcpy(plain + h, &within, sizeof within);
        all &= within;
    }
    *others = !ALL(all);
}
TWICE(judge_row,
      (const Lane *window, Lane *room, int width, int pairs_count, Pair *pairs, const double *z, double threshold,
       const double *floor, double *median, double *mad, int64_t *plain, int *others),
      (window, room, width, pairs_count, pairs, z, threshold, floor, median, mad, plain, others))

/* The same for one lane of any number of values, where the window is not full. */
static void judge_few(double *s, int count, double *median, double *mad)
{
    for (int round = 0; round < 2; round++) {
        for (int i = 1; i < count; i++) {
            double x = s[i];
            int j = i;
            for (; j > 0 && s[j - 1] > x; j--) s[j] = s[j - 1];
            s[j] = x;
        }
        double middle = (count & 1) ? s[count / 2] : (s[count / 2 - 1] + s[count / 2]) / 2.0;
        if (round) {
            *mad = middle;
        } else {
            *median = middle;
            for (int i = 0; i < count; i++) s[i] = fabs(s[i] - middle);
        }
    }
}

static inline int beyond(double z, double median, double mad, double threshold, double floor)
{
    double limit = threshold * MAD_TO_SIGMA * mad;
    if (!(limit > floor)) limit = floor;
    return isfinite(z) && fabs(z - median) > limit;
}

#endif
