# Part of hot.pyx: the twins of textbook/windows.py.

cdef Pair* network(int width) except NULL:
    """The comparators that sort `width` values; to be freed."""
    cdef Pair* pairs = <Pair*>malloc(sorting_network(width, NULL) * sizeof(Pair) + 1)
    if pairs == NULL:
        raise MemoryError
    sorting_network(width, pairs)
    return pairs


cdef inline unsigned char judged(double z, double median, double mad, double threshold, double far,
                                 double floor) noexcept nogil:
    if isnan(median) or not isfinite(z):
        return 0
    if not beyond(z, median, mad, threshold, floor):
        return 1
    return 3 if fabs(z - median) > far * MAD_TO_SIGMA * mad else 2


cdef inline void turn(Lane* window, int lane, int width, int from_, int to) noexcept nogil:
    """The values of a lane, the oldest at `from_`, to where the oldest is at `to`."""
    cdef double kept[WINDOW_MAX]
    cdef int j
    for j in range(width):
        kept[j] = window[(from_ + j) % width][lane]
    for j in range(width):
        window[(to + j) % width][lane] = kept[j]


cdef struct Hampel:  # up to eight channels
    Lane window[WINDOW_MAX]
    int here[8]
    int waits[8]
    double* waiting[8]
    int next  # where all windows are full, the place of the oldest value of each; else 0, where it is in each


cdef bint take_one(Hampel* past, int l, double z, bint out, int width, int step_samples) noexcept nogil:
    """What is good goes into the window, whose oldest value has gone; what is not, waits. Is the window full?"""
    cdef int j, start
    if out:
        past.waiting[l][past.waits[l]] = z
        past.waits[l] += 1
        if past.waits[l] >= step_samples:
            start = max(0, past.waits[l] - width)
            past.here[l] = past.waits[l] - start
            for j in range(past.here[l]):
                past.window[(past.next + j) % width][l] = past.waiting[l][start + j]
            past.waits[l] = 0
    elif isfinite(z):
        if past.here[l] == width:
            for j in range(width - 1):
                past.window[(past.next + j) % width][l] = past.window[(past.next + j + 1) % width][l]
            past.here[l] -= 1
        past.window[(past.next + past.here[l]) % width][l] = z
        past.here[l] += 1
        past.waits[l] = 0
    return past.here[l] == width


def hampel(
    double[:, ::1] state, const double[:, :] value, int width, double threshold, double far, const double[::1] floor,
    int step_samples, int judges, double[:, ::1] medians, double[:, ::1] mads, unsigned char[:, ::1] verdict,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], group, first, i
    cdef int l, j, lanes, others, wide = width if width > NARROW_MAX else 0
    cdef int pairs_count = sorting_network(wide, NULL)
    cdef Hampel past
    cdef Lane sorted_[WINDOW_MAX]
    cdef double few[WINDOW_MAX]
    cdef Lane z
    cdef Lane least
    cdef Lane middle
    cdef Lane deviation
    cdef Lane oldest
    cdef int64_t plain[8]
    cdef double* kept
    cdef unsigned char said
    cdef bint full, waiting
    cdef Columns table = columns(value)
    cdef Pair* pairs = network(wide)
    with nogil:
        for group in range((channels + LANES - 1) // LANES):
            first = group * LANES
            lanes = <int>min(<Py_ssize_t>LANES, channels - first)
            memset(past.window, 0, width * sizeof(Lane))
            past.next, full, waiting = 0, judges <= width, True
            for l in range(LANES):
                z[l], least[l] = 0.0, INFINITY
            for l in range(lanes):
                kept = &state[first + l, 0]
                past.here[l], past.waits[l], least[l] = <int>kept[0], <int>kept[1], floor[first + l]
                past.waiting[l] = kept + 2 + width
                full = full and past.here[l] == width
                for j in range(past.here[l]):
                    past.window[j][l] = kept[2 + j]
            for i in range(n):
                take(z, table, i, first, lanes)
                judge_row(past.window, sorted_, width, pairs_count, pairs, z, threshold, least, middle, deviation,
                          plain, &others)
                if full:
                    copy_lane(oldest, past.window[past.next])
                    copy_lane(past.window[past.next], z)
                    past.next = past.next + 1 if past.next + 1 < width else 0
                    mark(&verdict[i, first], 1, lanes)
                    if others or waiting:
                        waiting = False
                        for l in range(lanes):
                            if plain[l]:
                                past.waits[l] = 0
                                continue
                            said = judged(z[l], middle[l], deviation[l], threshold, far, least[l])
                            verdict[i, first + l] = said
                            past.window[past.next - 1 if past.next else width - 1][l] = oldest[l]
                            turn(past.window, l, width, past.next - 1 if past.next else width - 1, past.next)
                            full = take_one(&past, l, z[l], said > 1, width, step_samples) and full
                            waiting = waiting or past.waits[l] > 0
                else:
                    full = judges <= width
                    for l in range(lanes):
                        if past.here[l] < judges:
                            middle[l] = deviation[l] = NAN
                        elif past.here[l] < width:
                            for j in range(past.here[l]):
                                few[j] = past.window[(past.next + j) % width][l]
                            judge_few(few, past.here[l], &middle[l], &deviation[l])
                        said = judged(z[l], middle[l], deviation[l], threshold, far, least[l])
                        verdict[i, first + l] = said
                        full = take_one(&past, l, z[l], said > 1, width, step_samples) and full
                    waiting = True
                give(&medians[i, first], middle, lanes)
                give(&mads[i, first], deviation, lanes)
            for l in range(lanes):
                kept = &state[first + l, 0]
                kept[0], kept[1] = past.here[l], past.waits[l]
                for j in range(width):
                    kept[2 + j] = past.window[(past.next + j) % width][l] if j < past.here[l] else 0.0
                for j in range(past.waits[l], step_samples):
                    kept[2 + width + j] = 0.0
    free(pairs)


cdef inline int lacks(const double* row) noexcept nogil:
    cdef int l, lacking = 0
    for l in range(LANES):
        lacking = lacking or not isfinite(row[l])
    return lacking


def hampel_centred(
    double[:, ::1] state, const double[:, :] value, int width, double threshold, double far, const double[::1] floor,
    int judges, double[:, ::1] medians, double[:, ::1] mads, unsigned char[:, ::1] verdict,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], group, first, lanes, i
    cdef int half = width // 2, span = 2 * half + 1, l, j, at, count, where, pairs_count, lacking_rows
    cdef int lacking[WINDOW_MAX]
    cdef Lane rows[WINDOW_MAX]
    cdef Lane sorted_[WINDOW_MAX]
    cdef double few[WINDOW_MAX]
    cdef double middle[8]
    cdef double deviation[8]
    cdef unsigned char said
    cdef bint all_there
    cdef Pair* pairs = network(2 * half)
    pairs_count = sorting_network(2 * half, NULL)
    with nogil:
        for group in range((channels + LANES - 1) // LANES):
            first = group * LANES
            lanes = min(<Py_ssize_t>LANES, channels - first)
            memset(rows, 0, sizeof(rows))
            for l in range(lanes):
                for j in range(2 * half):
                    rows[j][l] = state[first + l, j]
            at = 2 * half  # where the newest row goes; the oldest is behind it
            memset(lacking, 0, sizeof(lacking))
            lacking_rows = 0
            for j in range(2 * half):
                lacking[j] = lacks(rows[j])
                lacking_rows += lacking[j]
            for i in range(n):
                for l in range(lanes):
                    rows[at][l] = value[i, first + l]
                lacking_rows -= lacking[at]
                lacking[at] = lacks(rows[at])
                lacking_rows += lacking[at]
                where = at - half if at >= half else at - half + span
                memcpy(sorted_, rows, where * sizeof(Lane))
                memcpy(&sorted_[where], &rows[where + 1], (span - 1 - where) * sizeof(Lane))
                all_there = lacking_rows == lacking[where] and 2 * half >= judges
                judge_lanes(sorted_, 2 * half, pairs_count, pairs, middle, deviation)
                for l in range(lanes):
                    if not all_there:
                        count = 0
                        for j in range(span):
                            if j != where and isfinite(rows[j][l]):
                                few[count] = rows[j][l]
                                count += 1
                        if count < judges:
                            middle[l] = deviation[l] = NAN
                        elif count < 2 * half:
                            judge_few(few, count, &middle[l], &deviation[l])
                    said = judged(rows[where][l], middle[l], deviation[l], threshold, far, floor[first + l])
                    if said > 1:
                        rows[where][l] = NAN
                        lacking_rows += 1 - lacking[where]
                        lacking[where] = 1
                    medians[i, first + l], mads[i, first + l], verdict[i, first + l] = middle[l], deviation[l], said
                at = 0 if at + 1 == span else at + 1
            for l in range(lanes):
                for j in range(2 * half):
                    state[first + l, j] = rows[(at + 1 + j) % span][l]
    free(pairs)
