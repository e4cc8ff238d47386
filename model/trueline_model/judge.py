"""Detector, calibration, alarm and verdict as one: rows in; score, p-value and alarm out.

Cloud and agent judge with this code. Promises: what it says does not depend on where rows are cut. A row whose time
does not go forward is not looked at; after a gap the detector starts anew, and the alarm goes on. Refuses to know flags
and files: who calls it says which cells are valid, and keeps the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from trueline_model.alarm import Alarm, Alarming
from trueline_model.conformal import Calibration, beyond_counting
from trueline_model.load import ROWS_MAX, detector_of
from trueline_model.recalibration import Recalibration
from trueline_model.verdict import Judge as Blame
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.detector import Detector, State
    from trueline_model.load import NetworkRunner
    from trueline_model.package import Package
    from trueline_model.verdict import Verdict

__all__ = ["Judge", "Judged", "judge_of"]

GAP_INTERVALS: Final = 10.0
"""So many intervals without a row are a gap, where nothing else is said."""

_SUPPORT_MIN: Final = 2.0
"""Events a rate must give over the calibration, as in `fit_alarm`."""
_VERDICT_ROWS_MAX: Final = 10_000
_NEVER: Final = np.iinfo(np.int64).min


class Judged(NamedTuple):
    """What is said of a batch; NaN where nothing can be.

    Attributes:
        score: (n,) at least 0, larger is stranger.
        p: (n,) conformal p-value; NaN throughout without calibration.
        alarm: (n,) 1 while the alarm is on, else 0; NaN throughout where none is set.
        contribution: (n, k) what of the score came from each input.
        begins: (n,) bool, rows an event begins at.
        looked: (n,) bool, rows that were looked at: their time went forward.
        fresh: (n,) bool, rows the detector starts anew with.
        state: goes into the next call.
    """

    score: NDArray[np.float64]
    p: NDArray[np.float64]
    alarm: NDArray[np.float64]
    contribution: NDArray[np.float64]
    begins: NDArray[np.bool_]
    looked: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    state: State


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A detector with what its scores mean.

    Attributes:
        detector: see `Detector`.
        gap_s: without a row for longer, the detector starts anew.
        calibration: what normal scores look like; None: no p-values, no alarm.
        alarming: None: no alarm.
        blame: tells a sensor's fault from the process's; None: nobody does.
        memory_rows: p-values are counted among the last so many scores, so that they follow drift (`recalibration`);
            None: among those of calibration alone.

    Raises:
        ValueError: too few scores to remember.
    """

    detector: Detector
    gap_s: float
    calibration: Calibration | None = None
    alarming: Alarming | None = None
    blame: Blame | None = None
    memory_rows: int | None = None

    def __post_init__(self) -> None:
        self._moving()

    def __call__(
        self,
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        valid: NDArray[np.bool_],
        state: State | None = None,
    ) -> Judged:
        """Judge a batch that follows the one `state` came from.

        Args:
            time_ns: (n,), may step back.
            value: (n, k), the inputs' units, in their order.
            valid: (n, k), False where the cell means nothing.
            state: None at a start.
        """
        n = len(time_ns)
        state = state or None  # what came of an empty batch at the start
        nothing = np.full(n, np.nan)
        said = Judged(
            nothing,
            nothing.copy(),
            nothing.copy(),
            np.full(value.shape, np.nan),
            np.zeros(n, np.bool_),
            np.zeros(n, np.bool_),
            np.zeros(n, np.bool_),
            state or {},
        )
        if not n:
            return said
        before = np.concatenate([[_NEVER if state is None else int(state["last_ns"])], time_ns[:-1]])
        rows = np.flatnonzero(time_ns > before)
        steps_ns = (time_ns - before)[rows].view(np.uint64)  # above 0, also where int64 has no room for it
        gaps = set(np.flatnonzero(steps_ns > round(self.gap_s * 1e9)).tolist())
        said.looked[rows] = True
        said.fresh[rows[list(gaps)]] = True
        good = valid[rows]
        cells = np.where(good, value[rows], 0.0)
        inner = None if state is None else _part(state, "detector.")
        for start, end in pairwise([*sorted({0, *gaps, *range(0, len(rows), ROWS_MAX)}), len(rows)]):
            scored = self.detector.score(cells[start:end], good[start:end], None if start in gaps else inner)
            inner = scored.state
            said.score[rows[start:end]] = np.where(np.isfinite(scored.score), scored.score, np.nan)
            said.contribution[rows[start:end]] = scored.contribution
        left = {"last_ns": np.array(time_ns[-1]), **_named("detector.", inner or {})}
        if self.calibration is not None:
            score = said.score[rows]
            if (moving := self._moving()) is None:
                said.p[rows] = p = self.calibration.p(score)
                surprise = beyond_counting(p, score, np.float64(self.calibration.rows), self.calibration.tail)
            else:
                said.p[rows], surprise, memory = moving(score, None if state is None else _part(state, "moving."))
                left |= _named("moving.", memory)
            left |= self._raise(time_ns, rows, said, surprise, state)
        return said._replace(state=left)

    def _moving(self) -> Recalibration | None:
        if self.memory_rows is None or self.calibration is None:
            return None
        return Recalibration(self.calibration, self.memory_rows)

    def _raise(
        self,
        time_ns: NDArray[np.int64],
        rows: NDArray[np.intp],
        said: Judged,
        surprise: NDArray[np.float64],
        state: State | None,
    ) -> State:
        """Fill in the alarm, and give what it remembers."""
        if self.alarming is None:
            return {}
        # The alarm wants times that never go back: after a step back its clock stands until they are ahead again.
        least = int(state["alarm_ns"]) if state else _NEVER
        clock_ns = np.maximum.accumulate(np.maximum(time_ns[rows], least))
        known = None if state is None else _part(state, "alarm.") or None
        alarmed = self.alarming(clock_ns, surprise, known)
        said.alarm[rows] = np.where(np.isnan(surprise), np.nan, alarmed.alarm)
        said.begins[rows] = alarmed.begins
        last_ns = clock_ns[-1] if len(rows) else least
        return {"alarm_ns": np.array(last_ns), **_named("alarm.", alarmed.state)}

    @property
    def verdict_rows(self) -> int:
        """Rows up to the one an event begins with that a verdict wants; 0 where there is none to be had."""
        return 0 if self.blame is None else self.blame.rows

    @property
    def review_rows(self) -> int:
        """Rows behind the one an event begins with that a verdict makes use of."""
        return 0 if self.blame is None else self.blame.rows

    def verdict(self, value: NDArray[np.float64], valid: NDArray[np.bool_], begun: int) -> Verdict | None:
        """Whose trouble an event is; None where nobody says, or there are too few rows before it.

        Args:
            value: (m, k) the rows around its beginning, none of them behind a gap: the more follow, the surer.
            valid: (m, k).
            begun: row it began with, below m.
        """
        if self.blame is None or begun < self.blame.least:
            return None
        return self.blame.verdict(value, valid, begun)


def judge_of(
    package: Package,
    run: NetworkRunner | None = None,
    *,
    rate_hz: float | None = None,
    gap_s: float | None = None,
    memory_rows: int | None = None,
) -> Judge:
    """The judge a package describes.

    Args:
        package: see there.
        run: what runs a network.
        rate_hz: false alarms a second; the package's own rate where left out.
        gap_s: see `Judge`; `GAP_INTERVALS` of the package's intervals where left out.
        memory_rows: see `Judge`.

    Raises:
        NeverRetry: the package does not fit together.
        ConfigError: its calibration cannot support the rate; the message says which it can.
    """
    manifest = package.manifest
    detector = detector_of(package, run)
    try:
        calibration = Calibration.from_arrays(package.calibration) if package.calibration else None
        recipe = msgspec.convert(manifest.alarm, Alarm)
        alarming = Alarming.from_arrays(recipe, package.alarm) if package.alarm else None
        blame = Blame.from_arrays(package.verdict) if package.verdict else None
    except (ConfigError, ValueError) as error:  # what msgspec refuses is one of the latter
        raise NeverRetry(f"{manifest.file_name}: {error}") from error
    if alarming is not None and calibration is None:
        raise NeverRetry(f"{manifest.file_name}: an alarm without the calibration its threshold is counted in")
    if blame is not None and not 1 <= blame.rows <= _VERDICT_ROWS_MAX:
        raise NeverRetry(f"{manifest.file_name}: verdicts on windows of {blame.rows} rows")
    if blame is not None and blame.width != len(manifest.inputs):
        raise NeverRetry(f"{manifest.file_name}: verdicts on {blame.width} channels, and {len(manifest.inputs)} inputs")
    if alarming is not None and rate_hz is not None:
        alarming = _at_rate(alarming, rate_hz, manifest.calibrated_s)
    return Judge(detector, gap_s or GAP_INTERVALS * manifest.interval_s, calibration, alarming, blame, memory_rows)


def _at_rate(alarming: Alarming, rate_hz: float, calibrated_s: float) -> Alarming:
    """The alarm at another rate than it was fitted to: a decade of surprise is a tenth of the rows.

    Raises:
        ConfigError: so rare an alarm cannot be promised from so short a calibration.
    """
    if rate_hz * calibrated_s < _SUPPORT_MIN:
        raise ConfigError(
            f"a false alarm each {1.0 / rate_hz:.3g} s cannot be promised from {calibrated_s:.3g} s of normal running: "
            f"ask for one each {calibrated_s / _SUPPORT_MIN:.3g} s or more often, or train on a longer recording"
        )
    recipe = msgspec.structs.replace(alarming.recipe, events=rate_hz, per_s=1.0)
    threshold = alarming.threshold + math.log10(alarming.recipe.rate_hz / rate_hz)
    return Alarming(recipe, threshold, alarming.step_s)


def _named(prefix: str, state: State) -> dict[str, NDArray[Any]]:
    return {prefix + name: array for name, array in state.items()}


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
