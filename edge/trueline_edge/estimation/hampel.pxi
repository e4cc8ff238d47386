# Part of hot.pyx: the twins of textbook/windows.py.

cdef Pair* network(int width) except NULL:
    """The comparators that sort `width` values; to be freed."""
    cdef Pair* pairs = <Pair*>malloc(sorting_network(width, NULL) * sizeof(Pair) + 1)
    if pairs == NULL:
        raise MemoryError
    sorting_network(width, pairs)
    return pairs


def hampel(
    double[:, ::1] state, const double[:, :] value, int width, double threshold, const double[::1] floor,
    int step_samples, int judges, double[:, ::1] medians, double[:, ::1] mads, unsigned char[:, ::1] rejected,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], group, first, lanes, i
    cdef int l, j, start, pairs_count = sorting_network(width, NULL)
    cdef Lane window[WINDOW_MAX]
    cdef Lane sorted_[WINDOW_MAX]
    cdef double few[WINDOW_MAX]
    cdef double middle[8]
    cdef double deviation[8]
    cdef int here[8]
    cdef int next_[8]
    cdef int waits[8]
    cdef double z
    cdef double* kept
    cdef double* waiting
    cdef bint out, some_full
    cdef Pair* pairs = network(width)
    with nogil:
        for group in range((channels + LANES - 1) // LANES):
            first = group * LANES
            lanes = min(<Py_ssize_t>LANES, channels - first)
            memset(window, 0, sizeof(window))
            for l in range(lanes):
                kept = &state[first + l, 0]
                here[l], waits[l] = <int>kept[0], <int>kept[1]
                next_[l] = here[l] % width
                for j in range(here[l]):
                    window[j][l] = kept[2 + j]
            for i in range(n):
                some_full = False
                for l in range(lanes):
                    some_full = some_full or here[l] == width
                if some_full:
                    memcpy(sorted_, window, width * sizeof(Lane))
                    judge_lanes(sorted_, width, pairs_count, pairs, middle, deviation)
                for l in range(lanes):
                    if here[l] < width or here[l] < judges:
                        if here[l] < judges:
                            middle[l] = deviation[l] = NAN
                        else:
                            for j in range(here[l]):
                                few[j] = window[j][l]
                            judge_few(few, here[l], &middle[l], &deviation[l])
                    z = value[i, first + l]
                    out = beyond(z, middle[l], deviation[l], threshold, floor[first + l])
                    medians[i, first + l], mads[i, first + l], rejected[i, first + l] = middle[l], deviation[l], out
                    waiting = &state[first + l, 2 + width]
                    if out:
                        waiting[waits[l]] = z
                        waits[l] += 1
                        if waits[l] >= step_samples:
                            start = max(0, waits[l] - width)
                            here[l] = waits[l] - start
                            for j in range(here[l]):
                                window[j][l] = waiting[start + j]
                            next_[l] = here[l] % width
                            waits[l] = 0
                    elif isfinite(z):
                        window[next_[l]][l] = z
                        next_[l] = 0 if next_[l] + 1 == width else next_[l] + 1
                        here[l] = min(here[l] + 1, width)
                        waits[l] = 0
            for l in range(lanes):
                kept = &state[first + l, 0]
                kept[0], kept[1] = here[l], waits[l]
                start = next_[l] if here[l] == width else 0
                for j in range(width):
                    kept[2 + j] = window[(start + j) % width][l] if j < here[l] else 0.0
                for j in range(waits[l], step_samples):
                    kept[2 + width + j] = 0.0
    free(pairs)


cdef inline int lacks(const double* row) noexcept nogil:
    cdef int l, lacking = 0
    for l in range(LANES):
        lacking = lacking or not isfinite(row[l])
    return lacking


def hampel_centred(
    double[:, ::1] state, const double[:, :] value, int width, double threshold, const double[::1] floor,
    int judges, double[:, ::1] medians, double[:, ::1] mads, unsigned char[:, ::1] rejected,
):
    cdef Py_ssize_t n = value.shape[0], channels = value.shape[1], group, first, lanes, i
    cdef int half = width // 2, span = 2 * half + 1, l, j, at, count, where, pairs_count, lacking_rows
    cdef int lacking[WINDOW_MAX]
    cdef Lane rows[WINDOW_MAX]
    cdef Lane sorted_[WINDOW_MAX]
    cdef double few[WINDOW_MAX]
    cdef double middle[8]
    cdef double deviation[8]
    cdef double z
    cdef bint out, all_there
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
                    z = rows[where][l]
                    out = beyond(z, middle[l], deviation[l], threshold, floor[first + l])
                    if out:
                        rows[where][l] = NAN
                        lacking_rows += 1 - lacking[where]
                        lacking[where] = 1
                    medians[i, first + l], mads[i, first + l], rejected[i, first + l] = middle[l], deviation[l], out
                at = 0 if at + 1 == span else at + 1
            for l in range(lanes):
                for j in range(2 * half):
                    state[first + l, j] = rows[(at + 1 + j) % span][l]
    free(pairs)
