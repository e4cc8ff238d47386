"""What an event is: a sensor at fault, or something that happens to the process; and which channel, and what kind.

A sensor that fails moves alone, against its redundancy and its neighbours; a process that goes wrong moves several
channels, as they move together in normal running or as they never did. So the channel is sought without which the
others run most nearly as they do in normal running (reconstruction: Dunia, Qin, Edgar and McAvoy, AIChE J. 42 (1996)),
over windows of several lengths, as some answer at once and some slowly (`moves`). Where without it the others do what
they do less often than once in 10**5 windows, it is the process. Else it moved alone, and how it moved decides
(`shape`): errors of sensors come in one row, freeze, or creep against what the others foretell; a process has inertia.

How much each of these says was learnt from simulated faults and anomalies (`WEIGHTS`; `benchmarks/_detect_verdict.py`
learns them again, and judges each scenario by weights that never saw it).

Promises: the more rows after the beginning, the surer; slow drift of the process since training does not matter.
Refuses to say more than the channels can: what one channel shows alone, in a shape that both can have, gets the
confidence of a guess. Confidence is the share of such verdicts that is right where both are equally frequent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from trueline_model.arrays import array
from trueline_model.moves import Moves, fit_moves, gap_rows, held, moves
from trueline_model.shape import LATE_ROWS, SWAPPED, Kind, Motion, fit_motion
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.series import Series

    Array = NDArray[np.float64]

__all__ = ["EVIDENCE", "WEIGHTS", "Evidence", "Judge", "Kind", "Verdict", "Weights", "fit_judge"]

SPANS: Final = (8, 30, 120)
"""Rows of the windows: what comes at once, and what answers slowly."""

REVIEW_ROWS: Final = SPANS[-1]
"""Rows from the beginning of an event on that say all a verdict uses."""

FAR: Final = 5.0
"""Decades: what the others do is the process where it is this rare."""

_MOST: Final = 6.0
_OWN_MOST: Final = 8.0
_REDUNDANT: Final = 0.8
_WINDOWS_MIN: Final = 10
_EARLY: Final = 4
_SURE: Final = 0.97

EVIDENCE: Final = ("others", "rest", "step", "frozen", "sharp", "smooth", "against", "own")
"""What is weighed: decades of what the others did, the most of any part and all together; the channel's `Shape`;
decades of the move of its mean that the others did not follow, as far as they foretell it to more than four fifths (a
redundant sensor does; what merely goes with it may part from it in trouble); and decades of its own move."""

SIGNS: Final = (-1, -1, 1, 1, 1, -1, 1, 1)
"""Which of them speak for the sensor: known beforehand, not learnt."""


class Weights(NamedTuple):
    """How much each of `EVIDENCE` speaks for the sensor, as logits, and where they start."""

    start: float
    each: tuple[float, ...]


WEIGHTS: Final = Weights(-1.54, (-0.53, -0.38, 1.31, 1.17, 1.11, -1.27, 0.47, 0.30))
"""Learnt from seeds 22, 23, 25 and 26 of all six scenarios, with one and with two sensors a quantity."""


class Verdict(NamedTuple):
    """What an event is.

    Attributes:
        what: whose trouble it is.
        channel: number of the sensor at fault, or the channel that moved most.
        kind: of the sensor's fault; "" for the process.
        confidence: 0.5 (a guess) to 1.
        share: (k,) how strange each channel's own move was, of all, summing to 1.
    """

    what: Literal["sensor fault", "process anomaly"]
    channel: int
    kind: Kind
    confidence: float
    share: Array


class Evidence(NamedTuple):
    """What is known of an event.

    Attributes:
        channel: without which the others run most nearly as they do in normal running.
        gone: it has no valid value since.
        swapped: it says what another said before, and that one what it said.
        others: decades of what the others did, the most of any.
        weighed: values of `EVIDENCE`.
        share: as in `Verdict`.
    """

    channel: int
    gone: bool
    swapped: bool
    others: float
    weighed: Array
    share: Array


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What normal running looks like to a verdict.

    Attributes:
        motion: of channels from row to row.
        spans: moves between windows, short to long.
    """

    motion: Motion
    spans: tuple[Moves, ...]

    @property
    def width(self) -> int:
        """Channels it knows."""
        return len(self.motion.noise)

    @property
    def least(self) -> int:
        """Rows before an event without which nothing can be said."""
        return self.spans[0].rows + gap_rows(self.spans[0].rows) + LATE_ROWS

    @property
    def rows(self) -> int:
        """Rows before an event, and as many from its beginning on, with which all is said that can be."""
        return self.spans[-1].rows + gap_rows(self.spans[-1].rows) + LATE_ROWS

    def verdict(self, value: Array, valid: NDArray[np.bool_], begun: int, weights: Weights = WEIGHTS) -> Verdict:
        """The verdict on an event.

        Args:
            value: (n, k) rows around its beginning, in order, best `rows` of them before it and while it lasts.
            valid: (n, k).
            begun: row it began with, `least` at least.
            weights: other ones than were learnt.

        Raises:
            ValueError: too few rows, or another number of channels.
        """
        if value.ndim != 2 or value.shape[1] != self.width or valid.shape != value.shape:  # noqa: PLR2004 - a table
            raise ValueError(f"a verdict wants (n, {self.width}) cells, not {value.shape}")
        if not self.least <= begun < len(value):
            raise ValueError(f"an event that began with row {begun} of {len(value)}: {self.least} before it are wanted")
        known = self.evidence(value, valid, begun)
        if known.gone or known.swapped:
            sensor = _SURE
        elif known.others >= FAR:
            sensor = 1.0 - _SURE
        else:
            logit = weights.start + float(np.dot(weights.each, known.weighed))
            sensor = float(np.clip(1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0))), 1.0 - _SURE, _SURE))
        if sensor < 0.5:  # noqa: PLR2004 - whichever is likelier
            return Verdict("process anomaly", known.channel, "", 1.0 - sensor, known.share)
        kind = self.motion.kind(held(value, valid), valid, begun, known.channel)
        return Verdict("sensor fault", known.channel, kind, sensor, known.share)

    def evidence(self, value: Array, valid: NDArray[np.bool_], begun: int) -> Evidence:
        """What is known of an event: arguments as for `verdict`."""
        rows = held(value, valid)
        gone = valid[max(begun - LATE_ROWS, 0) : begun].any(axis=0) & ~valid[begun:].any(axis=0)
        gone = np.asarray(gone & (not gone.all()))
        seen = [(span, *self._strangest(span, rows, begun)) for span in self.spans if self._fits(span, rows, begun)]
        own = np.max([_by_channel(span.strange(z[None, :])[0]) for span, _, z in seen], axis=0)
        # A channel gone wrong makes all that follow it look wrong; without it, they do not.
        left = [[span.without(z, j) for span, _, z in seen] for j in range(self.width)]
        most = np.array([max(float(part.max()) for part, _ in each) for each in left])
        channel = int(gone.argmax()) if gone.any() else int(np.lexsort((-own, most))[0])
        move = max(float(abs(found[channel])) for _, found, _ in seen)
        shape = self.motion.shape(rows, begun, channel, move)
        among = np.log10(max(2 * (self.width - 1), 1))
        others = max(float(most[channel] - among), 0.0)
        rest = max(whole for _, whole in left[channel])
        against = max(
            max(span.followed[channel] - _REDUNDANT, 0.0)
            / (1.0 - _REDUNDANT)
            * min(float(span.strange(z[None, :])[0, channel]), _MOST)
            for span, _, z in seen
        )
        weighed = [min(others, _MOST), min(rest, _MOST), shape.step, shape.frozen, shape.sharp, shape.smooth]
        weighed += [against, min(float(own[channel]), _OWN_MOST)]
        return Evidence(
            channel,
            bool(gone[channel]),
            shape.swapped > SWAPPED,
            max(others, rest),
            np.array(weighed),
            own / max(float(own.sum()), 1e-12),
        )

    def _fits(self, span: Moves, rows: Array, begun: int) -> bool:
        """Are there rows for its windows before and after? The shortest is taken as it is."""
        apart = span.rows + gap_rows(span.rows)
        return span is self.spans[0] or (begun - _EARLY >= apart and len(rows) - begun + _EARLY >= span.rows)

    def _strangest(self, span: Moves, rows: Array, begun: int) -> tuple[Array, Array]:
        """The strangest move to a window that begins with the event or later, as it is and scaled, (2 k,) each."""
        apart = span.rows + gap_rows(span.rows)
        first = min(begun - _EARLY, len(rows) - span.rows)
        found = moves(rows[max(first - apart, 0) :], span.rows, self.motion.noise)
        z = span.scaled(found)
        place = int(span.strange(z).max(axis=1).argmax())
        return found[place], z[place]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What to keep of it in a package."""
        kept: dict[str, NDArray[Any]] = {f"motion.{name}": values for name, values in self.motion.arrays().items()}
        for number, span in enumerate(self.spans):
            kept |= {f"span{number}.{name}": values for name, values in span.arrays().items()}
        return kept

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Judge:
        """The judge whose `arrays()` these are.

        Raises:
            ConfigError: one is missing, or of another shape.
        """
        motion = Motion.from_arrays(_part(arrays, "motion."))
        count = max(sum(name.startswith("span") and name.endswith(".rows") for name in arrays), 1)
        spans = tuple(Moves.from_arrays(_part(arrays, f"span{number}.")) for number in range(count))
        for span in spans:
            array({"followed": span.followed}, "followed", 1, motion.noise.shape)
        return cls(motion, spans)


def fit_judge(series: Sequence[Series], spans: tuple[int, ...] = SPANS) -> Judge:
    """A judge of normal running.

    Args:
        series: recordings, none of which follows another without a break.
        spans: rows of windows, short to long; those of which fewer than ten fit into the recordings are left out.

    Raises:
        ConfigError: fewer than ten windows of the second length.
    """
    least = spans[:2][-1]
    long = [each for each in series if len(each) >= 2 * least + gap_rows(least)]
    rows = sum(map(len, long))
    if rows < _WINDOWS_MIN * least:
        raise ConfigError(
            f"verdicts of windows of {least} rows want {_WINDOWS_MIN * least} rows of normal running in a row, "
            f"not {sum(map(len, series))}"
        )
    recordings = [held(each.value, each.valid) for each in long]
    motion = fit_motion(recordings)
    found = []
    for span in spans:
        fit = [each for each in recordings if len(each) >= 2 * span + gap_rows(span)]
        if sum(map(len, fit)) >= _WINDOWS_MIN * span:
            found.append(fit_moves(fit, span, motion.noise))
    return Judge(motion, tuple(found))


def _by_channel(parts: Array) -> Array:
    return np.asarray(parts.reshape(2, -1).max(axis=0))


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
