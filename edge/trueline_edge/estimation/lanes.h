/* Channels (or models) side by side: what a compiler turns into vector instructions, with nothing but plain C.
 *
 * On x86-64 each function marked TWICE is compiled for every processor and for those with AVX2 and FMA; what the machine
 * has is looked up when the module is loaded.
 */
#ifndef TRUELINE_LANES_H
#define TRUELINE_LANES_H

#include <math.h>
#include <stddef.h>
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
#define MAD_TO_SIGMA 1.4826

typedef double Lane[LANES];
typedef unsigned char Pair[2];

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
        Lane low, high;
        for (int l = 0; l < LANES; l++) {
            double x = a[l], y = b[l];
            low[l] = x < y ? x : y;
            high[l] = x < y ? y : x;
        }
        memcpy(a, low, sizeof low);
        memcpy(b, high, sizeof high);
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
