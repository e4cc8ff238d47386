# Part of hot.pyx: the twin of textbook/panels.py.

cdef enum:
    PANEL_MAX = 16
    PANEL_SPANS = 4

cdef struct PanelLaw:
    double gate, slow_gate, back_gate, memory, follow, leap, unsteady, calm, settle, noisy, noise_rows
    double spans[PANEL_SPANS]

cdef struct Panel:
    Py_ssize_t m, pairs
    double *offset
    double *level
    double *calm
    double *heard
    double *ratio
    double *out
    double *run      # rows in a row that disagree
    double *cov      # m x m
    double *apart    # spans x pairs: means of normalised differences
    double *noise    # spans x pairs: variance of their noise, normalised
    double *rows     # spans x pairs: rows in them


cdef inline Py_ssize_t panel_pair(const Panel *p, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    return i * p.m - i * (i + 1) // 2 + j - i - 1


cdef double panel_median(const double *of, const bint *which, Py_ssize_t m) noexcept nogil:
    cdef double ranked[PANEL_MAX]
    cdef Py_ssize_t i, j, count = 0
    for i in range(m):
        if which[i]:
            j = count
            while j > 0 and ranked[j - 1] > of[i]:
                ranked[j] = ranked[j - 1]
                j -= 1
            ranked[j] = of[i]
            count += 1
    return 0.5 * (ranked[(count - 1) // 2] + ranked[count // 2]) if count else NAN


cdef void panel_solve(const double *low, double *x, Py_ssize_t c) noexcept nogil:
    """x becomes V^-1 x, of the Cholesky factor of V."""
    cdef Py_ssize_t i, j
    for i in range(c):
        for j in range(i):
            x[i] -= low[i * PANEL_MAX + j] * x[j]
        x[i] /= low[i * PANEL_MAX + i]
    for i in range(c - 1, -1, -1):
        for j in range(i + 1, c):
            x[i] -= low[j * PANEL_MAX + i] * x[j]
        x[i] /= low[i * PANEL_MAX + i]


cdef bint panel_factor(const double *cov, Py_ssize_t m, const double *r, const Py_ssize_t *who, Py_ssize_t c,
                       double *low) noexcept nogil:
    """Cholesky factor of the covariance of some sensors, with r on its diagonal; False: it is not positive."""
    cdef Py_ssize_t i, j, k
    cdef double sum
    for i in range(c):
        for j in range(i + 1):
            sum = cov[who[i] * m + who[j]]
            if i == j:
                sum += r[who[i]]
            for k in range(j):
                sum -= low[i * PANEL_MAX + k] * low[j * PANEL_MAX + k]
            if i != j:
                low[i * PANEL_MAX + j] = sum / low[j * PANEL_MAX + j]
            elif sum > 0.0:
                low[i * PANEL_MAX + i] = sqrt(sum)
            else:
                return False
    return True


cdef double panel_common(const Panel *p) noexcept nogil:
    """Variance of the best mean of all offsets: what they have in common."""
    cdef Py_ssize_t who[PANEL_MAX]
    cdef double low[PANEL_MAX * PANEL_MAX]
    cdef double one[PANEL_MAX]
    cdef double nothing[PANEL_MAX]
    cdef double sum = 0.0
    cdef Py_ssize_t i
    for i in range(p.m):
        who[i], one[i], nothing[i] = i, 1.0, 0.0
    if not panel_factor(p.cov, p.m, nothing, who, p.m, low):
        return 0.0
    panel_solve(low, one, p.m)
    for i in range(p.m):
        sum += one[i]
    return 1.0 / sum if sum > 0.0 else 0.0


cdef void panel_level(Panel *p, const PanelLaw *law, const double *s, const bint *there, bint learns) noexcept nogil:
    """Offsets follow the systematic variances stated with this row, and are forgotten a little."""
    cdef Py_ssize_t i, j, m = p.m
    cdef double now, kept
    for i in range(m):
        if there[i] and s[i] != p.level[i]:
            now = p.level[i] + (s[i] - p.level[i]) / law.follow
            now = fmax(s[i] / law.leap, fmin(now, s[i] * law.leap)) if p.level[i] > 0.0 else s[i]
            if now >= p.level[i]:
                p.cov[i * m + i] += now - p.level[i]
            else:
                kept = now / p.level[i]
                p.offset[i] *= kept
                for j in range(m):
                    p.cov[i * m + j] *= kept
                    p.cov[j * m + i] *= kept
                p.cov[i * m + i] += now * (1.0 - kept)
            p.level[i] = now
    if learns:
        for i in range(m):
            if p.run[i] == 0.0 and p.out[i] == 0.0:
                kept = 1.0 - 1.0 / law.memory
                p.offset[i] *= kept
                for j in range(m):
                    p.cov[i * m + j] *= kept
                    p.cov[j * m + i] *= kept
                p.cov[i * m + i] += (1.0 - kept * kept) * p.level[i]


cdef void panel_forget(Panel *p) noexcept nogil:
    """Of offsets nothing is known but what is stated."""
    cdef Py_ssize_t i, j
    for i in range(p.m):
        p.offset[i] = 0.0
        for j in range(p.m):
            p.cov[i * p.m + j] = p.level[i] if i == j else 0.0


cdef void panel_restart(Panel *p, Py_ssize_t i) noexcept nogil:
    """The means of differences with one sensor begin anew."""
    cdef Py_ssize_t j, k
    for j in range(p.m):
        if j != i:
            for k in range(PANEL_SPANS):
                p.rows[k * p.pairs + (panel_pair(p, i, j) if i < j else panel_pair(p, j, i))] = 0.0


cdef double panel_surprise(const Panel *p, const PanelLaw *law, Py_ssize_t i, Py_ssize_t k, const double *r,
                           const double *wide, const bint *judges, double *rows) noexcept nogil:
    """How far the mean of one sensor is from that of its judges, in standard deviations; rows in that mean."""
    cdef Py_ssize_t j, at
    cdef double total = 0.0, mean = 0.0, own = 0.0, others = 0.0, both, n, w
    rows[0] = INFINITY
    for j in range(p.m):
        if j == i or not judges[j]:
            continue
        at = k * p.pairs + (panel_pair(p, i, j) if i < j else panel_pair(p, j, i))
        n = p.rows[at]
        if n < law.spans[0]:
            continue
        both = wide[i] + wide[j]
        w = 1.0 / (wide[j] + r[j] / n)
        total += w
        mean += w * (p.apart[at] if i < j else -p.apart[at]) * sqrt(both)
        own += w * p.noise[at] * both / n
        others += w * w * wide[j]
        rows[0] = fmin(rows[0], n)
    if total == 0.0:
        rows[0] = 0.0
        return 0.0
    return fabs(mean / total) / sqrt(wide[i] + own / total + others / (total * total))


cdef void panel_compare(Panel *p, const PanelLaw *law, const double *z, const double *r, const double *wide,
                        const bint *fit) noexcept nogil:
    """Take a row into the means of differences."""
    cdef Py_ssize_t i, j, k, at
    cdef double both, apart, noise
    for i in range(p.m):
        for j in range(i + 1, p.m):
            both = wide[i] + wide[j]
            if fit[i] and fit[j] and both > 0.0:
                apart, noise = (z[i] - z[j]) / sqrt(both), (r[i] + r[j]) / both
                for k in range(PANEL_SPANS):
                    at = k * p.pairs + panel_pair(p, i, j)
                    p.rows[at] = fmin(p.rows[at] + 1.0, law.spans[k])
                    if p.rows[at] == 1.0:
                        p.apart[at], p.noise[at] = apart, noise
                    else:
                        p.apart[at] += (apart - p.apart[at]) / p.rows[at]
                        p.noise[at] += (noise - p.noise[at]) / p.rows[at]


cdef void panel_judge(Panel *p, const PanelLaw *law, const double *r, const double *wide,
                      const bint *there) noexcept nogil:
    """Outvote for good, one sensor at most; take back who agrees again."""
    cdef bint judges[PANEL_MAX]
    cdef Py_ssize_t i, k, known = 0, healthy = 0, worst = -1, span = 0
    cdef double most = law.slow_gate, x, n, fewest
    cdef bint agrees
    for i in range(p.m):
        judges[i] = p.out[i] == 0.0 and p.level[i] > 0.0
        known += p.level[i] > 0.0
        healthy += judges[i]
    if healthy >= 3 and 2 * (healthy - 1) > known:
        for i in range(p.m):
            if judges[i] and there[i]:
                for k in range(PANEL_SPANS):
                    x = panel_surprise(p, law, i, k, r, wide, judges, &n)
                    if x > most:
                        most, worst, span = x, i, k
        if worst >= 0:
            p.out[worst] = 1.0 + span
            panel_restart(p, worst)
            if p.run[worst] < law.spans[0]:
                panel_forget(p)
            p.ratio[worst] = 1.0
            judges[worst] = False
    for i in range(p.m):
        if p.out[i] != 0.0 and there[i] and i != worst:
            agrees, fewest = True, 0.0
            for k in range(PANEL_SPANS):
                x = panel_surprise(p, law, i, k, r, wide, judges, &n)
                agrees, fewest = agrees and x <= law.back_gate, fmax(fewest, n)
                if k == 0 and x > law.back_gate:
                    panel_restart(p, i)
                    break
            if agrees and fewest >= fmax(law.spans[1], law.spans[<Py_ssize_t>p.out[i] - 1]):
                p.out[i] = 0.0


cdef bint panel_row(Panel *p, const PanelLaw *law, const double *z, const double *given, const double *s,
                    double nearly, const unsigned char *jumped, bint learns, bint independent, double *said, double *share,
                    unsigned char *outvoted) noexcept nogil:
    """One row. Said: value, variance of its noise, systematic variance, disputed, refused."""
    cdef Py_ssize_t m = p.m, i, j, c = 0, count = 0, agreed = 0, steady = 0, present = 0
    cdef bint there[PANEL_MAX]
    cdef bint votes[PANEL_MAX]
    cdef bint agree[PANEL_MAX]
    cdef bint counted[PANEL_MAX]
    cdef Py_ssize_t who[PANEL_MAX]
    cdef double r[PANEL_MAX]
    cdef double aligned[PANEL_MAX]
    cdef double apart[PANEL_MAX]
    cdef double wide[PANEL_MAX]
    cdef double allowed[PANEL_MAX]
    cdef double x[PANEL_MAX]
    cdef double y[PANEL_MAX]
    cdef double low[PANEL_MAX * PANEL_MAX]
    cdef double common, middle, typical, mean = 0.0, total = 0.0, noise = 0.0, systematic = 0.0, away, expected
    cdef bint majority, disputed, decided = False
    for i in range(m):
        there[i] = isfinite(z[i])
        present += there[i]
        share[i] = 0.0
        outvoted[i] = False
    panel_level(p, law, s, there, learns)
    common = panel_common(p)
    for i in range(m):
        votes[i] = there[i] and p.out[i] == 0.0
        count += votes[i]
        counted[i] = agree[i] = False
        r[i] = given[i] if given[i] > 0.0 else p.calm[i]
        r[i] = r[i] * p.ratio[i] if p.ratio[i] > law.noisy else r[i]
        aligned[i] = z[i] - p.offset[i]
        typical = p.calm[i] if p.heard[i] >= law.spans[1] else INFINITY
        apart[i] = fmax(p.cov[i * m + i] - common, law.unsteady * s[i])
        allowed[i] = fmin(r[i], law.calm * typical) + apart[i] + nearly
        wide[i] = p.level[i] + nearly
    middle, typical = panel_median(aligned, votes, m), panel_median(allowed, votes, m)
    for i in range(m):
        if votes[i]:
            away = fabs(aligned[i] - middle) * (2.0 if count == 2 else 1.0)
            agree[i] = away <= law.gate * sqrt(allowed[i] + typical)
            agreed += agree[i]
            steady += not jumped[i]
    majority = 2 * agreed > count
    if count == 2 and not majority:
        decided = steady == 1
    disputed = count > 1 and not majority and not decided
    for i in range(m):
        counted[i] = agree[i] if majority else (votes[i] and not jumped[i] if decided else votes[i])
        if count == 1 and jumped[i]:
            counted[i] = False
        outvoted[i] = there[i] and not counted[i] and present > 1
        if counted[i]:
            who[c] = i
            c += 1
    if c == 0:
        said[0], said[1], said[2], said[3], said[4] = NAN, NAN, NAN, 0.0, 1.0 if present > 0 else 0.0
    else:
        if not panel_factor(p.cov, m, r, who, c, low):
            disputed = True
        for i in range(c):
            x[i] = 1.0
        if not disputed:
            panel_solve(low, x, c)
            for i in range(c):
                x[i] = fmax(x[i], 0.0)
        for i in range(c):
            total += x[i]
        for i in range(c):
            share[who[i]] = x[i] / total
            mean += share[who[i]] * aligned[who[i]]
        for i in range(c):
            noise += share[who[i]] * share[who[i]] * r[who[i]]
            if disputed:
                systematic += share[who[i]] * (aligned[who[i]] - mean) * (aligned[who[i]] - mean)
            if independent:
                for j in range(c):
                    systematic += share[who[i]] * share[who[j]] * p.cov[who[i] * m + who[j]]
        if not independent:
            away = 0.0
            for i in range(c):
                away += share[who[i]] * sqrt(s[who[i]])
            systematic += away * away
        said[0], said[1], said[2], said[3], said[4] = mean, noise, systematic, 1.0 if disputed else 0.0, 0.0
    if not learns:
        return True
    if c > 1 and not disputed:
        panel_learn(p, aligned, mean, who, c, low)
    for i in range(m):
        if votes[i]:
            p.run[i] = 0.0 if agree[i] or not majority else p.run[i] + 1.0
        if counted[i] and count > 2 and c > 1 and not disputed:
            expected = (given[i] + apart[i]) * (1.0 - share[i])  # from a mean that it is in itself
            away = (aligned[i] - mean) * (aligned[i] - mean) / expected
            p.ratio[i] += (fmin(away, law.gate * law.gate) - p.ratio[i]) / law.noise_rows
        if counted[i] and not disputed:
            if p.heard[i] < law.spans[1]:
                p.heard[i] += 1.0
                p.calm[i] = given[i]
            else:
                p.calm[i] += (fmin(given[i], law.calm * p.calm[i]) - p.calm[i]) / law.settle
        agree[i] = there[i] and (agree[i] or p.out[i] != 0.0 or p.run[i] >= law.spans[0]) and s[i] > 0.0
    if m > 2:
        panel_compare(p, law, z, r, wide, agree)
        panel_judge(p, law, r, wide, there)
    return True


cdef void panel_learn(Panel *p, const double *aligned, double mean, const Py_ssize_t *who, Py_ssize_t c,
                      const double *low) noexcept nogil:
    """Offsets after a row, whose quantity is unknown: C - C V^-1 C + (C V^-1 1)(C V^-1 1)' / (1' V^-1 1)."""
    cdef Py_ssize_t m = p.m, i, j, a
    cdef double total = 0.0, best = 0.0
    cdef double one[PANEL_MAX]
    cdef double off[PANEL_MAX]
    cdef double shared[PANEL_MAX]
    cdef double column[PANEL_MAX]
    cdef double rest[PANEL_MAX * PANEL_MAX]
    for i in range(c):
        one[i] = 1.0
    panel_solve(low, one, c)
    for i in range(c):
        total += one[i]
        best += one[i] * aligned[who[i]]
    for i in range(c):
        off[i] = aligned[who[i]] - best / total
    panel_solve(low, off, c)
    for i in range(m):
        shared[i] = 0.0
        for j in range(c):
            p.offset[i] += p.cov[i * m + who[j]] * off[j]
            shared[i] += p.cov[i * m + who[j]] * one[j]
    for a in range(m):
        for j in range(c):
            column[j] = p.cov[a * m + who[j]]
        panel_solve(low, column, c)
        for i in range(m):
            rest[i * PANEL_MAX + a] = p.cov[i * m + a] + shared[i] * shared[a] / total
            for j in range(c):
                rest[i * PANEL_MAX + a] -= p.cov[i * m + who[j]] * column[j]
    for i in range(m):
        for a in range(m):
            p.cov[i * m + a] = 0.5 * (rest[i * PANEL_MAX + a] + rest[a * PANEL_MAX + i])


def panel(double[::1] state, const double[::1] law, const double[::1] dt_s, const double[:, ::1] value,
          const double[:, ::1] r, const double[:, ::1] systematic, const double[::1] nearly, const unsigned char[:, ::1] jumped,
          bint independent, double[:, ::1] said, double[:, ::1] share, unsigned char[:, ::1] outvoted):
    cdef Py_ssize_t n = value.shape[0], m = value.shape[1], i, k
    cdef Panel p
    cdef PanelLaw rule
    cdef double *at = &state[0]
    rule.gate, rule.slow_gate, rule.back_gate, rule.memory = law[0], law[1], law[2], law[3]
    rule.follow, rule.leap, rule.unsteady, rule.calm = law[4], law[5], law[6], law[7]
    rule.settle, rule.noisy, rule.noise_rows = law[8], law[9], law[10]
    for k in range(PANEL_SPANS):
        rule.spans[k] = law[11 + k]
    p.m, p.pairs = m, m * (m - 1) // 2
    p.offset, p.level, p.calm, p.heard, p.ratio = at, at + m, at + 2 * m, at + 3 * m, at + 4 * m
    p.out, p.run, p.cov = at + 5 * m, at + 6 * m, at + 7 * m
    p.apart = p.cov + m * m
    p.noise = p.apart + PANEL_SPANS * p.pairs
    p.rows = p.noise + PANEL_SPANS * p.pairs
    with nogil:
        for i in range(n):
            panel_row(&p, &rule, &value[i, 0], &r[i, 0], &systematic[i, 0], nearly[i], &jumped[i, 0], not dt_s[i] <= 0.0,
                      independent, &said[i, 0], &share[i, 0], &outvoted[i, 0])
