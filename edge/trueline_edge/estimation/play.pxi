# The twin of textbook/play.py.

from libc.math cimport erfc, floor, log as ln

cdef enum:
    PLAY_NODES = 21
    PLAY_WALKS = 8
    PLAY_FLUTTERS = 3
    PLAY_PLACES = 5
    PLAY_MODELS = 11
    PLAY_COARSE = 6
    PLAY_FIRST_FLUTTER = 3
    PLAY_HEAD = 4

cdef double PLAY_STEP = 2.0 / (PLAY_NODES - 1)
cdef double PLAY_CHANGE = 0.2
cdef double PLAY_KEPT = 0.998
cdef double PLAY_KIND_CHANGE = 0.0005
cdef double PLAY_WALK_FIRST = 0.8
cdef double PLAY_LEAP = 0.003
cdef double PLAY_REACH = 3.0
cdef double PLAY_EVEN = 1.5
cdef double PLAY_TINY = 1e-6
cdef double PLAY_FAR = 8.0
cdef double PLAY_WIDE = 6.0
cdef double PLAY_LOST = 1e-200
cdef double PLAY_GONE = 1e-12
cdef double ROOT_2 = 1.4142135623730951
cdef double TWO_PI = 6.283185307179586

cdef struct Nodes:
    double w[PLAY_NODES]
    double m[PLAY_NODES]
    double v[PLAY_NODES]

cdef double play_scale[PLAY_MODELS]
cdef int play_model
for play_model in range(PLAY_MODELS):
    play_scale[play_model] = 0.002 * 4.0 ** (
        play_model if play_model < PLAY_WALKS else play_model - PLAY_WALKS + PLAY_FIRST_FLUTTER
    )


cdef inline double play_d(int node) noexcept nogil:
    return -1.0 + node * PLAY_STEP


cdef inline void play_told(const double* w, double h, double* offset, double* var) noexcept nogil:
    cdef double mean = 0.0, square = 0.0, spread
    cdef int j
    for j in range(PLAY_NODES):
        mean += w[j] * play_d(j)
        square += w[j] * play_d(j) * play_d(j)
    spread = square - mean * mean
    spread = (spread if spread > 0.0 else 0.0) + (1.0 - w[0] - w[PLAY_NODES - 1]) * PLAY_STEP * PLAY_STEP / 12.0
    offset[0] = mean * h
    var[0] = spread * h * h


cdef void play_changed(const double* now, const double* usual, double* out) noexcept nogil:
    cdef int kind, start, stop, s
    cdef double own, often, first, whole
    for kind in range(2):
        start = PLAY_WALKS * kind
        stop = PLAY_MODELS if kind else PLAY_WALKS
        first = 1.0 - PLAY_WALK_FIRST if kind else PLAY_WALK_FIRST
        own = often = 0.0
        for s in range(start, stop):
            own += now[s]
            often += usual[s]
        whole = (1.0 - PLAY_KIND_CHANGE) * own + PLAY_KIND_CHANGE * first
        for s in range(start, stop):
            out[s] = whole * ((1.0 - PLAY_CHANGE) * now[s] / own + PLAY_CHANGE * usual[s] / often)


cdef void play_shifted(double* weights, double ratio) noexcept nogil:
    cdef double up = ln(ratio) / ln(16.0)
    cdef double before[PLAY_WALKS]
    cdef int s, whole, target
    up = -<double>PLAY_WALKS if up < -<double>PLAY_WALKS else (<double>PLAY_WALKS if up > PLAY_WALKS else up)
    whole = <int>floor(up)
    for s in range(PLAY_WALKS):
        before[s] = weights[s]
        weights[s] = 0.0
    for s in range(PLAY_WALKS):
        target = s + whole
        weights[0 if target < 0 else (PLAY_WALKS - 1 if target >= PLAY_WALKS else target)] += (1.0 - up + whole) * before[s]
        target += 1
        weights[0 if target < 0 else (PLAY_WALKS - 1 if target >= PLAY_WALKS else target)] += (up - whole) * before[s]


cdef double play_push(
    double sign, double m, double v, double r, double scale, double away, double* mean, double* var
) noexcept nogil:
    cdef double spread = v + r
    cdef double total = scale * scale + spread
    cdef double off = -sign * m + away
    cdef double middle = -sign * m - off * spread / total
    cdef double wide = scale * sqrt(spread / total)
    cdef double cut = middle / wide
    cdef double positive, mills, excess, excess_var, left
    if cut < -PLAY_FAR:
        return 0.0
    positive = 0.5 * erfc(-cut / ROOT_2)
    mills = exp(-0.5 * cut * cut) / sqrt(TWO_PI) / positive
    excess = middle + wide * mills
    excess_var = wide * wide * (1.0 - mills * (mills + cut))
    if excess_var < 0.0:
        excess_var = 0.0
    left = r / spread
    mean[0] = left * (m + sign * excess)
    var[0] = left * v + left * left * excess_var
    return exp(-0.5 * off * off / total) / sqrt(TWO_PI * total) * positive


cdef void play_moved(
    const Nodes* nodes, const double* used, const double* table, double z, double r, double wander,
    Nodes* after, double* likelihood,
) noexcept nogil:
    cdef Nodes g
    cdef double m[PLAY_NODES]
    cdef double v[PLAY_NODES]
    cdef double row[PLAY_NODES]
    cdef double density[PLAY_NODES]
    cdef double centre = 0.0, square = 0.0, share, rest, mean, spread, kept, scale, sign, chance, var, total, expected
    cdef double along = 0.0, away
    cdef int reach[PLAY_WALKS]
    cdef const double* line
    cdef int i, j, s, side, end, count
    for s in range(PLAY_WALKS):
        scale = play_scale[s]
        reach[s] = 1 if scale < PLAY_STEP else (<int>(PLAY_WIDE * scale / PLAY_STEP) + 1 if scale < 0.5 else PLAY_NODES)
    for i in range(PLAY_NODES):
        m[i] = nodes.m[i] - z
        v[i] = nodes.v[i] + wander
        centre += nodes.w[i] * m[i]
        square += nodes.w[i] * (v[i] + m[i] * m[i])
        along += nodes.w[i] * play_d(i)
        g.w[i] = g.m[i] = g.v[i] = 0.0
    for i in range(PLAY_NODES):
        share = nodes.w[i]
        if share <= PLAY_TINY:
            continue
        for j in range(PLAY_NODES):
            row[j] = 0.0
        for s in range(PLAY_WALKS):
            line = table + (s * PLAY_NODES + i) * PLAY_NODES
            for j in range(i - reach[s] if i > reach[s] else 0, i + reach[s] + 1 if i + reach[s] < PLAY_NODES else PLAY_NODES):
                row[j] += used[s] * line[j]
        for j in range(PLAY_NODES):
            g.w[j] += share * row[j]
            g.m[j] += share * m[i] * row[j]
            g.v[j] += share * (v[i] + m[i] * m[i]) * row[j]
    for s in range(PLAY_WALKS, PLAY_MODELS):
        line = table + s * PLAY_NODES * PLAY_NODES
        for j in range(PLAY_NODES):
            g.w[j] += used[s] * line[j]
            g.m[j] += used[s] * line[j] * centre
            g.v[j] += used[s] * line[j] * square
    for j in range(PLAY_NODES):
        rest = g.w[j] if g.w[j] > 1e-300 else 1e-300
        mean = g.m[j] / rest
        spread = g.v[j] / rest - mean * mean
        if spread < 0.0:
            spread = 0.0
        density[j] = exp(-0.5 * mean * mean / (spread + r)) / sqrt(TWO_PI * (spread + r))
        kept = spread / (spread + r)
        g.w[j] *= density[j]
        g.m[j] = g.w[j] * mean * (1.0 - kept)
        g.v[j] = g.w[j] * (mean * (1.0 - kept) * mean * (1.0 - kept) + spread * (1.0 - kept))
    for s in range(PLAY_MODELS):
        likelihood[s] = 0.0
        if s >= PLAY_WALKS:
            line = table + s * PLAY_NODES * PLAY_NODES
            for j in range(PLAY_NODES):
                likelihood[s] += line[j] * density[j]
            continue
        for i in range(PLAY_NODES):
            if nodes.w[i] <= PLAY_TINY:
                continue
            line = table + (s * PLAY_NODES + i) * PLAY_NODES
            expected = 0.0
            for j in range(i - reach[s] if i > reach[s] else 0, i + reach[s] + 1 if i + reach[s] < PLAY_NODES else PLAY_NODES):
                expected += line[j] * density[j]
            likelihood[s] += nodes.w[i] * expected
    for s in range(PLAY_MODELS):
        scale = play_scale[s]
        for side in range(2):
            sign = 1.0 if side else -1.0
            end = (PLAY_NODES - 1) * side
            if s >= PLAY_WALKS:
                count = PLAY_PLACES
            else:
                count = PLAY_NODES if s < PLAY_COARSE and scale >= PLAY_STEP else 1
            for i in range(count):
                if s >= PLAY_COARSE:
                    share = 1.0 / count
                    away = 1.0 - sign * (play_d(2 + 4 * i) if s >= PLAY_WALKS else along)
                    if s >= PLAY_WALKS and away > PLAY_FAR * scale:
                        continue
                    chance = play_push(sign, centre, square - centre * centre, r, scale, away, &mean, &var)
                elif count == 1:
                    share = nodes.w[end] if nodes.w[end] > PLAY_TINY else 0.0
                    chance = play_push(sign, m[end], v[end], r, scale, 0.0, &mean, &var)
                else:
                    share = nodes.w[i]
                    away = 1.0 - sign * play_d(i)
                    if share <= PLAY_TINY or away > PLAY_FAR * scale:
                        continue
                    chance = play_push(sign, m[i], v[i], r, scale, away, &mean, &var)
                if chance > 0.0:
                    likelihood[s] += share * chance
                    share *= used[s] * chance
                    g.w[end] += share
                    g.m[end] += share * mean
                    g.v[end] += share * (mean * mean + var)
    total = 0.0
    for j in range(PLAY_NODES):
        total += g.w[j]
    for j in range(PLAY_NODES):
        after.w[j] = 0.0
        after.m[j] = z
        after.v[j] = r
        if total > PLAY_LOST:
            if g.w[j] > PLAY_GONE * total:
                after.w[j] = g.w[j] / total
                mean = g.m[j] / g.w[j]
                spread = g.v[j] / g.w[j] - mean * mean
                after.m[j] = mean + z
                after.v[j] = spread if spread > 0.0 else 0.0
    if not total > PLAY_LOST:
        after.w[PLAY_NODES - 1 if centre < 0.0 else 0] = 1.0


cdef void play_row(
    double* head, const double* table, double dt, double z, double r, double wander, double h,
    double* offset, double* var,
) noexcept nogil:
    cdef double* now = head + PLAY_HEAD
    cdef double* usual = now + PLAY_MODELS
    cdef Nodes* nodes = <Nodes*>(usual + PLAY_MODELS)
    cdef Nodes after
    cdef double used[PLAY_MODELS]
    cdef double likelihood[PLAY_MODELS]
    cdef double ratio, far, reached = 0.0, total = 0.0, middle = 0.0
    cdef bint even
    cdef int s, j
    if dt > 0.0:
        head[2] += dt
    if not isfinite(z) or dt <= 0.0:
        play_told(nodes.w, h, offset, var)
        return
    if head[0] == 0.0:
        head[0] = 1.0
        head[2] = 0.0
        for j in range(PLAY_NODES):
            nodes.m[j] = z
            nodes.v[j] = r
        play_told(nodes.w, h, offset, var)
        return
    if head[1] == 0.0:
        head[1] = head[2]
    ratio = head[2] / head[1]
    even = 1.0 / PLAY_EVEN < ratio and ratio < PLAY_EVEN
    if not even:
        head[1] *= 1.1 if ratio > 1.0 else 1.0 / 1.1
    play_changed(now, usual, used)
    if not even:
        play_shifted(used, ratio)
    play_moved(nodes, used, table, z, r, wander * ratio, &after, likelihood)
    for j in range(PLAY_NODES):
        middle += nodes.w[j] * nodes.m[j]
    far = fabs(z - middle) - 2.0
    for s in range(PLAY_MODELS):
        if PLAY_REACH * play_scale[s] >= far:
            reached += used[s]
        total += used[s] * likelihood[s]
    if reached < PLAY_LEAP and head[3] == 0.0:
        head[3] = 1.0
        play_told(after.w, h, offset, var)
        return
    head[2] = head[3] = 0.0
    nodes[0] = after
    if even and total > PLAY_LOST:
        for s in range(PLAY_MODELS):
            now[s] = used[s] * likelihood[s] / total
            usual[s] += (1.0 - PLAY_KEPT) * (now[s] - usual[s])
    play_told(nodes.w, h, offset, var)


def undo_play(
    double[:, ::1] state, const double[:, :, ::1] table, const double[::1] dt_s, const double[:, :] value,
    const double[::1] half, const double[:, :] noise, const double[::1] wander,
    double[:, ::1] offset, double[:, ::1] var,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], i, k
    cdef double h
    with nogil:
        for k in range(channels):
            h = half[k]
            for i in range(n):
                play_row(&state[k, 0], &table[0, 0, 0], dt_s[i], value[i, k] / h, noise[i, k] / (h * h),
                         wander[k] / (h * h), h, &offset[i, k], &var[i, k])
