"""Several sensors of one quantity, row by row: whom to believe, how much, and what they differ by all the time.

    value_i = quantity + e_i + noise_i

Each e_i lasts: it has mean zero and the systematic variance that is stated, keeps its value for long (it forgets
in `MEMORY` rows), and shrinks or grows with its stated variance. The quantity may do what it likes: it is unknown
in each row, so that only differences speak, and what all sensors share is never learnt.

A sensor is outvoted in a row when it is further from the majority than noise and what is known of e_i allow; and for
good when means of its differences, over 8 to 512 rows, are larger than what is stated of e_i and the noise that is
left in a mean allow: no e_i may be learnt that its stated uncertainty does not hold. One such sensor at most leaves
at a time, the farthest, and only while a majority remains; it is back when means as long as those that spoke against
it agree again.

Sources: universal kriging, that is least squares with a nuisance mean (Cressie 1993, section 3.4); control charts with
exponential weights (Roberts 1959; JCGM 106 on conformity); leave-one-out consistency (Cox 2007).
"""

from __future__ import annotations

from math import inf, nan, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FIELDS", "SENSORS_MAX", "SPANS", "panel", "size"]

SENSORS_MAX: Final = 16
FIELDS: Final = 7
"""Of each sensor: offset, systematic variance it goes with, calm noise, rows heard, noise ratio, out (0: it is not, or
one more than the number of the span that spoke against it), rows in a row it disagreed."""
SPANS: Final = (8.0, 32.0, 128.0, 512.0)
"""Rows of the means by which sensors are compared."""
MEMORY: Final = 10_000.0
"""Rows after which most of an offset is forgotten: what lasts is taken to last for about so long."""
FOLLOW: Final = 32.0
"""Rows in which the level of the systematic variance follows; at once where it is off by `LEAP`."""
LEAP: Final = 1.5
UNSTEADY: Final = 0.05
"""Of a systematic variance, what may differ from row to row."""
CALM: Final = 4.0
"""Noise beyond so many times what is typical of a sensor does not widen the gate it is judged by."""
SETTLE: Final = 128.0
"""Rows in which the typical noise is learnt."""
NOISY: Final = 2.0
"""A sensor that strays so many times the variance it should from the mean is as noisy as it looks."""
NOISE_ROWS: Final = 32.0
CONTRADICTS: Final = 4.5
"""Standard deviations of a mean difference beyond which a sensor is outvoted for good."""
AGREES: Final = 3.0
"""Within so many it agrees again."""

LAW: Final = (CONTRADICTS, AGREES, MEMORY, FOLLOW, LEAP, UNSTEADY, CALM, SETTLE, NOISY, NOISE_ROWS, *SPANS)
"""As the compiled twin takes them."""


def size(sensors: int) -> int:
    """Numbers in the state of so many sensors."""
    return sensors * (FIELDS + sensors) + len(SPANS) * 3 * _pairs(sensors)


def _pairs(sensors: int) -> int:
    return sensors * (sensors - 1) // 2


class _Law:
    """The constants by name, from the row the door gives; gate first."""

    def __init__(self, law: Array) -> None:
        self.gate, self.contradicts, self.agrees, self.memory, self.follow, self.leap = law[:6].tolist()
        self.unsteady, self.calm, self.settle, self.noisy, self.noise_rows = law[6:11].tolist()
        self.spans = law[11:]


class _Panel:
    """The parts of the state, as views: what is changed here is changed there."""

    def __init__(self, state: Array, sensors: int) -> None:
        m, pairs, spans = sensors, _pairs(sensors), len(SPANS)
        fields = state[: FIELDS * m].reshape(FIELDS, m)
        self.m = m
        self.offset, self.level, self.calm, self.heard, self.ratio, self.out, self.run = fields
        self.cov = state[FIELDS * m : FIELDS * m + m * m].reshape(m, m)
        self.apart, self.noise, self.rows = state[FIELDS * m + m * m :].reshape(3, spans, pairs)
        at = np.zeros((m, m), np.intp)
        upper = np.triu_indices(m, 1)
        at[upper] = np.arange(pairs)
        self.pair, self.sign = at + at.T, np.sign(np.subtract.outer(range(m), range(m))) * -1.0

    def follow(self, law: _Law, s: Array, there: NDArray[np.bool_], *, learns: bool) -> None:
        """Offsets follow the systematic variances stated with this row, and are forgotten a little."""
        for i in np.flatnonzero(there & (s != self.level)):
            level = self.level[i]
            now = min(max(level + (s[i] - level) / law.follow, s[i] / law.leap), s[i] * law.leap) if level > 0 else s[i]
            if now >= level:
                self.cov[i, i] += now - level
            else:
                kept = now / level
                self.offset[i] *= kept
                self.cov[i] *= kept
                self.cov[:, i] *= kept
                self.cov[i, i] += now * (1.0 - kept)
            self.level[i] = now
        if learns:  # but for a sensor that disagrees, which is to agree with what it was
            kept = np.where((self.run == 0.0) & (self.out == 0.0), 1.0 - 1.0 / law.memory, 1.0)
            self.offset *= kept
            self.cov *= np.outer(kept, kept)
            self.cov += np.diag((1.0 - kept**2) * self.level)

    def common(self) -> float:
        """Variance of the best mean of all offsets: what they have in common."""
        try:
            np.linalg.cholesky(self.cov)
        except np.linalg.LinAlgError:
            return 0.0
        return 1.0 / float(np.linalg.inv(self.cov).sum())

    def learn(self, who: NDArray[np.intp], aligned: Array, inverse: Array) -> None:
        """C - C V^-1 C + (C V^-1 1)(C V^-1 1)' / (1' V^-1 1): a row whose quantity is unknown."""
        one, cross = inverse.sum(axis=1), self.cov[:, who]
        best = one @ aligned / one.sum()
        self.offset += cross @ inverse @ (aligned - best)
        shared = cross @ one
        self.cov += np.outer(shared, shared) / one.sum() - cross @ inverse @ cross.T
        self.cov[:] = (self.cov + self.cov.T) / 2.0

    def compare(self, law: _Law, z: Array, r: Array, wide: Array, fit: NDArray[np.bool_]) -> None:
        """Take a row into the means of differences, each over what is stated of it."""
        for i in range(self.m):
            for j in range(i + 1, self.m):
                both = wide[i] + wide[j]
                if fit[i] and fit[j] and both > 0.0:
                    at = np.s_[:, self.pair[i, j]]
                    self.rows[at] = np.minimum(self.rows[at] + 1.0, law.spans)
                    first = self.rows[at] == 1.0
                    for mean, now in ((self.apart, (z[i] - z[j]) / sqrt(both)), (self.noise, (r[i] + r[j]) / both)):
                        mean[at] = np.where(first, now, mean[at] + (now - mean[at]) / self.rows[at])

    def surprise(
        self, law: _Law, i: int, k: int, r: Array, wide: Array, judges: NDArray[np.bool_]
    ) -> tuple[float, float]:
        """How far the mean of one sensor is from that of its judges, in standard deviations; rows in that mean."""
        total = mean = own = others = 0.0
        fewest = inf
        for j in np.flatnonzero(judges):
            at = k, self.pair[i, j]
            if j == i or (n := self.rows[at]) < law.spans[0]:
                continue
            both, weight = wide[i] + wide[j], 1.0 / (wide[j] + r[j] / n)
            total += weight
            mean += weight * self.sign[i, j] * self.apart[at] * sqrt(both)
            own += weight * self.noise[at] * both / n
            others += weight**2 * wide[j]
            fewest = min(fewest, n)
        if not total:
            return 0.0, 0.0
        return abs(mean / total) / sqrt(wide[i] + own / total + others / total**2), fewest

    def judge(self, law: _Law, r: Array, wide: Array, there: NDArray[np.bool_]) -> None:
        """Outvote for good, one sensor at most; take back who agrees again."""
        stated = self.level > 0.0
        judges, spans, worst = (self.out == 0.0) & stated, range(len(law.spans)), -1
        if judges.sum() > _PAIR and 2 * (judges.sum() - 1) > stated.sum():
            found = [
                (self.surprise(law, i, k, r, wide, judges)[0], -i, -k)
                for i in np.flatnonzero(judges & there).tolist()
                for k in spans
            ]
            most = max(found, default=(0.0, 0, 0))
            if most[0] > law.contradicts:
                worst = -most[1]
                self.out[worst] = 1.0 - most[2]
                self.restart(worst)
                self.ratio[worst] = 1.0
                if self.run[worst] < law.spans[0]:  # it was believed while it went astray
                    self.offset[:], self.cov[:] = 0.0, np.diag(self.level)
                judges[worst] = False
        for i in np.flatnonzero((self.out != 0.0) & there).tolist():
            if i == worst:
                continue
            needed = max(law.spans[1], law.spans[int(self.out[i]) - 1])
            means = [self.surprise(law, i, k, r, wide, judges) for k in spans]
            if means[0][0] > law.agrees:
                self.restart(i)
            elif max(z for z, _ in means) <= law.agrees and max(n for _, n in means) >= needed:
                self.out[i] = 0.0

    def restart(self, i: int) -> None:
        """The means of differences with one sensor begin anew."""
        self.rows[:, np.delete(self.pair[i], i)] = 0.0


def panel(
    state: Array,
    law: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    systematic: Array,
    nearly: Array,
    jumped: NDArray[np.uint8],
    independent: bool,  # noqa: FBT001 - as the compiled twin takes it
    said: Array,
    share: Array,
    outvoted: NDArray[np.uint8],
) -> None:
    """Fills the last three; said: value, its noise, its systematic variance, disputed, refused."""
    panel_, rule = _Panel(state, value.shape[1]), _Law(law)
    share[:], outvoted[:] = 0.0, 0
    for i, dt in enumerate(dt_s.tolist()):
        row = value[i], r[i], systematic[i], float(nearly[i]), jumped[i] != 0
        said[i] = _row(panel_, rule, *row, share[i], outvoted[i], learns=not dt <= 0.0, independent=independent)


def _row(
    panel: _Panel,
    law: _Law,
    z: Array,
    given: Array,
    s: Array,
    nearly: float,
    jumped: NDArray[np.bool_],
    share: Array,
    outvoted: NDArray[np.uint8],
    *,
    learns: bool,
    independent: bool,
) -> tuple[float, float, float, bool, bool]:
    there = np.isfinite(z)
    panel.follow(law, s, there, learns=learns)
    usual = np.where(given > 0.0, given, panel.calm)
    r = np.where(panel.ratio > law.noisy, usual * panel.ratio, usual)
    apart = np.maximum(np.diag(panel.cov) - panel.common(), law.unsteady * s)
    typical = np.where(panel.heard >= law.spans[1], panel.calm, inf)
    allowed = np.minimum(r, law.calm * typical) + apart + nearly
    aligned, votes = z - panel.offset, there & (panel.out == 0.0)
    agree = _near(aligned, allowed, votes, law.gate)
    counted, disputed = _elect(votes, agree, jumped)
    outvoted[:] = there & ~counted & (there.sum() > 1)
    who = np.flatnonzero(counted)
    said = nan, nan, nan, False, bool(there.any())
    mean, noise = nan, nan
    if len(who):
        inverse = np.linalg.inv(panel.cov[np.ix_(who, who)] + np.diag(r[who]))
        x = np.ones(len(who)) if disputed else np.maximum(inverse.sum(axis=1), 0.0)
        share[who] = x / x.sum()
        mean = float(share[who] @ aligned[who])
        noise = float(share[who] ** 2 @ r[who])
        lasting = share @ panel.cov @ share if independent else float(share[who] @ np.sqrt(s[who])) ** 2
        between = float(share[who] @ (aligned[who] - mean) ** 2) if disputed else 0.0
        said = mean, noise, float(lasting) + between, disputed, False
    if learns:
        majority = 2 * agree.sum() > votes.sum()
        panel.run[votes] = np.where(agree | (not majority), 0.0, panel.run + 1.0)[votes]
        if len(who) > 1 and not disputed:
            panel.learn(who, aligned[who], inverse)
            if votes.sum() > _PAIR:
                expected = (given + apart) * (1.0 - share)  # from a mean that it is in itself
                strayed = np.minimum((aligned - mean) ** 2 / expected, law.gate**2)
                panel.ratio[counted] += (strayed - panel.ratio)[counted] / law.noise_rows
        if not disputed:
            _settle(panel, law, given, counted)
        if len(z) > _PAIR:
            panel.compare(
                law,
                z,
                r,
                panel.level + nearly,
                there & (agree | (panel.out != 0.0) | (panel.run >= law.spans[0])) & (s > 0.0),
            )
            panel.judge(law, r, panel.level + nearly, there)
    return said


def _near(aligned: Array, allowed: Array, votes: NDArray[np.bool_], gate: float) -> NDArray[np.bool_]:
    """Who agrees with the median of those who vote."""
    agree = np.zeros(len(votes), np.bool_)
    if votes.any():
        away = np.abs(aligned - np.median(aligned[votes])) * (2.0 if votes.sum() == _PAIR else 1.0)
        agree[votes] = (away <= gate * np.sqrt(allowed + np.median(allowed[votes])))[votes]
    return agree


def _elect(
    votes: NDArray[np.bool_], agree: NDArray[np.bool_], jumped: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], bool]:
    """Who counts, and is it disputed? Of two that disagree, the one that did not just jump; alone, not after a jump."""
    count, steady = votes.sum(), votes & ~jumped
    if 2 * agree.sum() > count:
        return (agree if count > 1 else agree & ~jumped), False
    if count == _PAIR and steady.sum() == 1:
        return steady, False
    return votes, bool(count > 1)


def _settle(panel: _Panel, law: _Law, given: Array, counted: NDArray[np.bool_]) -> None:
    """What noise each sensor has when it counts; a sensor that jumps is not to widen its own gate."""
    early = counted & (panel.heard < law.spans[1])
    later = counted & ~early
    panel.heard[early] += 1.0
    panel.calm[early] = given[early]
    panel.calm[later] += (np.minimum(given, law.calm * panel.calm) - panel.calm)[later] / law.settle


_PAIR = 2
