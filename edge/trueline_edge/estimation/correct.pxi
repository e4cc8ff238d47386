# Part of hot.pyx: the twin of `trueline_edge.calibration.linear` and `correct`, where it can be read.

from libc.math cimport log as natural_logarithm

cdef enum:
    CORRECT_FACTORS_MAX = 64
    CORRECT_TERMS_MAX = 64
    CORRECT_INPUTS_MAX = 16
    CORRECT_PLACES_MAX = 256

cdef double CORRECT_TINY = 1e-3
cdef double CORRECT_WIDEN_MAX = 1000.0
cdef long long CORRECT_STEP_NS = 1350000000000

cdef struct Sum:
    # One channel's function and what is known of it, close together.
    int terms, factors, inputs
    bint straight, affine
    int term_start[CORRECT_TERMS_MAX + 1]
    int term_factor[CORRECT_PLACES_MAX]
    int factor_input[CORRECT_FACTORS_MAX]
    int factor_function[CORRECT_FACTORS_MAX]
    double centre[CORRECT_FACTORS_MAX]
    double inverse_scale[CORRECT_FACTORS_MAX]
    double floor[CORRECT_FACTORS_MAX]
    double coefficient[CORRECT_TERMS_MAX]
    double middle[CORRECT_INPUTS_MAX + 1]
    double inverse_half[CORRECT_INPUTS_MAX + 1]
    double part[7]
    const double* root
    # and at one row
    double x[CORRECT_INPUTS_MAX + 1]
    double slope[CORRECT_INPUTS_MAX + 1]
    double feature[CORRECT_FACTORS_MAX]
    double derivative[CORRECT_FACTORS_MAX]
    double product[CORRECT_TERMS_MAX]


cdef class SumsOfTerms:
    """Channels whose functions have the same terms. Arrays as `trueline_edge.calibration.compiled` lays them out."""

    cdef const long long[::1] columns, inputs, factor_input, factor_function, term_start, term_factor
    cdef const long long[:, ::1] dates
    cdef const double[:, :, ::1] scaling, root, limits
    cdef const double[:, ::1] coefficient, part

    def __init__(self, columns, inputs, factor_input, factor_function, term_start, term_factor, scaling, coefficient,
                 root, limits, part, dates):
        if (coefficient.shape[0] > CORRECT_TERMS_MAX or len(factor_input) > CORRECT_FACTORS_MAX
                or len(inputs) > CORRECT_INPUTS_MAX or len(term_factor) > CORRECT_PLACES_MAX):
            raise ValueError("more terms than there is room for")
        self.columns, self.inputs, self.dates = columns, inputs, dates
        self.factor_input, self.factor_function = factor_input, factor_function
        self.term_start, self.term_factor = term_start, term_factor
        self.scaling, self.coefficient, self.root = scaling, coefficient, root
        self.limits, self.part = limits, part

    cdef void lay_out(self, Py_ssize_t g, Sum* f) noexcept nogil:
        cdef Py_ssize_t j
        f.terms, f.factors = self.coefficient.shape[0], self.factor_input.shape[0]
        f.inputs = self.inputs.shape[0]
        f.root = &self.root[g, 0, 0]
        for j in range(f.terms):
            f.term_start[j] = self.term_start[j]
            f.coefficient[j] = self.coefficient[j, g]
        f.term_start[f.terms] = self.term_start[f.terms]
        for j in range(self.term_factor.shape[0]):
            f.term_factor[j] = self.term_factor[j]
        for j in range(f.factors):
            f.factor_input[j], f.factor_function[j] = self.factor_input[j], self.factor_function[j]
            f.centre[j], f.inverse_scale[j] = self.scaling[j, g, 0], 1.0 / self.scaling[j, g, 1]
            f.floor[j] = self.scaling[j, g, 2]
        f.middle[0], f.inverse_half[0] = self.part[g, 0], self.part[g, 1]
        for j in range(f.inputs):
            f.middle[j + 1], f.inverse_half[j + 1] = self.limits[j, g, 0], 1.0 / self.limits[j, g, 1]
        for j in range(7):
            f.part[j] = self.part[g, j]
        f.straight = True
        for j in range(f.factors):
            f.straight = f.straight and f.factor_function[j] == 0
        for j in range(f.terms):
            f.straight = f.straight and f.term_start[j + 1] - f.term_start[j] <= 1
        f.affine = (f.straight and f.inputs == 0 and f.terms == 2 and f.term_start[1] == 0 and f.term_start[2] == 1)
        for j in range(f.inputs + 1):
            f.x[j] = 0.0
        if f.straight:  # the slopes are the same everywhere
            bent(f)

    def __call__(self, const long long[:] time_ns, const double[:, :] own, const float[:, :] own_u,
                 const double[:, :] value, const float[:, :] u, const unsigned char[:, :] usable,
                 const float[:, :] u_lag, double[:, :] out, float[:, :] out_u, unsigned char[:, :] doubtful):
        cdef Py_ssize_t n = time_ns.shape[0], count = self.inputs.shape[0], i, g, k, p, column, begin
        cdef double outside, d, corrected, variance, spread, s, days
        cdef long long t, late, date, first, last, from_ns, until_ns
        cdef bint lags = u_lag.shape[0] > 0
        cdef int found = 0
        cdef Sum f
        with nogil:
            for g in range(self.columns.shape[0]):
                self.lay_out(g, &f)
                k = self.columns[g]
                date, first, last = self.dates[g, 0], self.dates[g, 1], self.dates[g, 2]
                days, from_ns, until_ns, i = 0.0, 1, 0, 0
                while i < n:
                    if f.affine and not lags:
                        begin = in_line(&f, i, time_ns, date, first, last, own, own_u, k, out, out_u)
                        if begin > i:
                            i = begin
                            continue
                    t = time_ns[i]
                    f.x[0] = own[i, k]
                    outside = 0.0
                    for p in range(count):
                        column = self.inputs[p]
                        if usable[i, column]:
                            f.x[p + 1] = value[i, column]
                            d = fabs((f.x[p + 1] - f.middle[p + 1]) * f.inverse_half[p + 1]) - 1.0
                            if d > 0.0:
                                outside += d
                        else:
                            f.x[p + 1] = f.middle[p + 1]
                            outside += CORRECT_TINY
                    corrected = along(&f) if f.straight else bent(&f)
                    variance = of_parameters(&f)
                    s = f.slope[0] * own_u[i, k]
                    spread = s * s if s == s else 0.0
                    for p in range(count):
                        column = self.inputs[p]
                        s = f.slope[p + 1]
                        if not usable[i, column]:
                            s /= f.inverse_half[p + 1]
                            variance += s * s / 3.0
                        elif u[i, column] == u[i, column]:
                            s *= u[i, column]
                            spread += s * s
                    if spread < f.part[2]:
                        spread = f.part[2]
                    s = f.slope[0] * f.slope[0]
                    spread += variance + s * f.part[3] + f.part[4] + f.part[5] * corrected * corrected
                    if f.part[6] > 0.0:
                        late = t - date if t > date else date - t
                        if late < from_ns or late >= until_ns:
                            from_ns = late // CORRECT_STEP_NS * CORRECT_STEP_NS
                            until_ns = from_ns + CORRECT_STEP_NS
                            days = (late // CORRECT_STEP_NS) * 0.015625
                        spread += f.part[6] * days
                    if lags:
                        spread += s * u_lag[i, k] * u_lag[i, k]
                    spread = sqrt(spread) if isfinite(corrected) else NAN
                    d = fabs(f.x[0] - f.middle[0]) * f.inverse_half[0]
                    if d > 1.0 and isfinite(d):
                        outside += d - 1.0
                    if t > last or t < first:
                        if t > last:
                            late = last - date
                            late = CORRECT_STEP_NS if late < CORRECT_STEP_NS else late
                            outside += <double>(t - last) / <double>late
                        if outside < CORRECT_TINY:
                            outside = CORRECT_TINY
                    if outside > 0.0:
                        s = 1.0 + 2.0 * outside
                        spread *= s if s < CORRECT_WIDEN_MAX else CORRECT_WIDEN_MAX
                        doubtful[i, k] = 1
                        found = 1
                    out[i, k] = corrected
                    out_u[i, k] = <float>spread
                    i += 1
        return found


cdef Py_ssize_t in_line(Sum* f, Py_ssize_t begin, const long long[:] time_ns, long long date, long long first, long long last,
                        const double[:, :] own, const float[:, :] own_u, Py_ssize_t k,
                        double[:, :] out, float[:, :] out_u) noexcept nogil:
    """A straight line, as long as readings are within the range, the validity and one step of the drift: up to where."""
    cdef Py_ssize_t n = time_ns.shape[0], i
    cdef double centre = f.centre[0], inverse_scale = f.inverse_scale[0]
    cdef double offset = f.coefficient[0], gain = f.coefficient[1]
    cdef double a = f.root[0], b = f.root[1], c = f.root[3]
    cdef double slope = gain * inverse_scale, noise = f.part[2], relative = f.part[5]
    cdef double middle = f.middle[0], inverse_half = f.inverse_half[0]
    cdef double x, z, y, s, t, base
    cdef long long late = time_ns[begin] - date if time_ns[begin] > date else date - time_ns[begin]
    cdef long long step = late // CORRECT_STEP_NS * CORRECT_STEP_NS, low, high
    low, high = (date + step, date + step + CORRECT_STEP_NS) if time_ns[begin] >= date else (date, date)
    low = low if low > first else first
    high = high if high < last else last
    base = slope * slope * f.part[3] + f.part[4] + f.part[6] * (step // CORRECT_STEP_NS * 0.015625)
    for i in range(begin, n):
        x = own[i, k]
        if not (low <= time_ns[i] < high and fabs(x - middle) * inverse_half <= 1.0):
            return i
        z = (x - centre) * inverse_scale
        y = offset + gain * z
        s = slope * own_u[i, k]
        s *= s
        s = s if s > noise else noise
        t = a + b * z
        z *= c
        out[i, k] = y
        out_u[i, k] = <float>sqrt(s + (t * t + z * z + base + relative * y * y))
    return n


cdef inline double along(Sum* f) noexcept nogil:
    """The value at `x` where each term is a plain input or 1."""
    cdef int j, a
    cdef double total = 0.0
    for j in range(f.terms):
        f.product[j] = 1.0
        if f.term_start[j] < f.term_start[j + 1]:
            a = f.term_factor[f.term_start[j]]
            f.product[j] = (f.x[f.factor_input[a]] - f.centre[a]) * f.inverse_scale[a]
        total += f.coefficient[j] * f.product[j]
    return total


cdef double bent(Sum* f) noexcept nogil:
    """The value at `x`, and its derivative by each input."""
    cdef int j, a, b, start, end
    cdef double z, rest, total = 0.0
    for j in range(f.inputs + 1):
        f.slope[j] = 0.0
    for j in range(f.factors):
        factor(f.x[f.factor_input[j]], f.factor_function[j], f.centre[j], f.inverse_scale[j], f.floor[j],
               &f.feature[j], &f.derivative[j])
    for j in range(f.terms):
        start, end = f.term_start[j], f.term_start[j + 1]
        z = 1.0
        for a in range(start, end):
            z *= f.feature[f.term_factor[a]]
            rest = f.coefficient[j] * f.derivative[f.term_factor[a]]
            for b in range(start, end):
                if b != a:
                    rest *= f.feature[f.term_factor[b]]
            f.slope[f.factor_input[f.term_factor[a]]] += rest
        f.product[j] = z
        total += f.coefficient[j] * z
    return total


cdef inline double of_parameters(const Sum* f) noexcept nogil:
    """f' C f with C = A A', a sum of squares, so never below zero."""
    cdef int r, j
    cdef double z, total = 0.0
    for r in range(f.terms):
        z = 0.0
        for j in range(r, f.terms):
            z += f.root[r * f.terms + j] * f.product[j]
        total += z * z
    return total


cdef inline void factor(double x, int function, double centre, double inverse_scale, double floor,
                        double* feature, double* derivative) noexcept nogil:
    """A function of an input, moved by its centre and divided by its scale, and its derivative."""
    cdef double y = x, slope = 1.0
    cdef bint low
    if function:
        low = not x > floor
        y = floor if x <= floor else x
        if function == 1:
            slope = 1.0 / y
            y = natural_logarithm(y)
        elif function == 2:
            y = sqrt(y)
            slope = 0.5 / y
        else:
            y = 1.0 / y
            slope = -y * y
        if low:
            slope = 0.0
    feature[0] = (y - centre) * inverse_scale
    derivative[0] = slope * inverse_scale
