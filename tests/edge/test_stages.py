"""What each stage says, in examples and against textbook versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.pipeline import Pipeline
from trueline_edge.stages import FlatLine, GrossRange, Missing
from trueline_edge.stages.windows import sliding_extreme
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

NAN = float("nan")
INF = float("inf")


def readings(*values: float, resolution: float = 0.0) -> Readings:
    schema = Schema(device="d", stream="s", channels=(Channel(name="a", resolution=resolution),))
    return Readings.raw(schema, np.arange(len(values)), np.array(values).reshape(-1, 1))


def flags(config: GrossRange | Missing | FlatLine, batch: Readings) -> list[int]:
    judged: list[int] = config.stage(batch.schema)(batch).flag[:, 0].tolist()
    return judged


def test_gross_range_limits_are_inclusive() -> None:
    """A value on a limit is inside; suspect limits lie within fail limits; NaN is not judged."""
    config = GrossRange(minimum=0, maximum=10, suspect_minimum=2, suspect_maximum=8)
    batch = readings(-0.1, 0, 1.9, 2, 8, 8.1, 10, 10.1, NAN, INF, -INF)
    assert flags(config, batch) == [4, 3, 3, 1, 1, 3, 3, 4, 2, 4, 4]
    judged = config.stage(batch.schema)(batch)
    assert set(judged.reason[judged.flag > 2].tolist()) == {Reason.GROSS_RANGE}


def test_gross_range_judges_only_its_channels() -> None:
    """A channel that is not named is not marked as evaluated."""
    schema = Schema(device="d", stream="s", channels=(Channel(name="a"), Channel(name="b")))
    batch = Readings.raw(schema, [0], [[5.0, 5.0]])
    assert GrossRange(maximum=1, channels=("b",)).stage(schema)(batch).flag.tolist() == [[2, 4]]


def test_missing_flags_nan() -> None:
    """NaN is MISSING, infinity is no measurement and FAILs, numbers pass."""
    assert flags(Missing(), readings(1.0, NAN, INF, -INF, 0.0)) == [1, 9, 4, 4, 1]


def test_missing_keeps_what_the_source_said() -> None:
    """A cell that was no number stays MISSING, with both reasons."""
    batch = readings(NAN).flagged(np.array([[True]]), Flag.MISSING, Reason.UNPARSABLE)
    judged = Missing().stage(batch.schema)(batch)
    assert judged.flag.tolist() == [[9]]
    assert judged.reason.tolist() == [[Reason.UNPARSABLE | Reason.MISSING]]


def test_flat_line_is_qartod() -> None:
    """Three repeats make a value suspect and five make it fail; before three there is nothing to say."""
    assert flags(FlatLine(), readings(1, 1, 1, 1, 1, 1, 1, 2, 2)) == [2, 2, 2, 3, 3, 4, 4, 1, 1]


def test_flat_line_is_not_broken_by_a_gap() -> None:
    """A sensor that is stuck and sometimes silent is stuck."""
    assert flags(FlatLine(), readings(1, 1, NAN, 1, 1, NAN, 1, 1)) == [2, 2, 2, 2, 3, 2, 3, 4]


def test_flat_line_knows_the_resolution() -> None:
    """Two texts of one step are one step; the next step is another value."""
    batch = readings(0.3, 0.1 + 0.2, 0.3, 0.3000001, 0.4, 0.4, 0.4, 0.4, resolution=0.1)
    assert flags(FlatLine(), batch) == [2, 2, 2, 3, 1, 1, 1, 3]


def test_flat_line_is_not_hidden_by_slow_drift() -> None:
    """Each value is compared with all before it, not with its neighbour: a slow drift is no flat line."""
    drift = [k * 0.4 for k in range(8)]
    assert flags(FlatLine(tolerance=0.5), readings(*drift)) == [2, 2, 2, 1, 1, 1, 1, 1]


def textbook_flat_line(values: list[float], count: int, tolerance: float) -> list[bool]:
    """QARTOD, test 8, as it is written: the value less each of the `count` before it, all within the tolerance."""
    return [
        n >= count and all(abs(values[n] - values[n - i]) <= tolerance for i in range(1, count + 1))
        for n in range(len(values))
    ]


@given(st.lists(st.integers(0, 3).map(float), max_size=60), st.integers(1, 5), st.integers(0, 5))
def test_flat_line_equals_the_textbook(values: list[float], suspect: int, more: int) -> None:
    """Law: the sliding windows say what the definition says."""
    config = FlatLine(suspect_repeats=suspect, fail_repeats=suspect + more, tolerance=1.0)
    suspects = textbook_flat_line(values, suspect, 1.0)
    fails = textbook_flat_line(values, suspect + more, 1.0)
    expected = [
        4 if f else 3 if s else 1 if n >= suspect else 2 for n, (s, f) in enumerate(zip(suspects, fails, strict=True))
    ]
    assert flags(config, readings(*values)) == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 50))
def test_sliding_extreme_equals_the_textbook(values: list[float], width: int) -> None:
    """Law: the extreme of each window is the extreme of its values."""
    width = min(width, len(values))
    windows = [values[i : i + width] for i in range(len(values) - width + 1)]
    array = np.array(values)
    assert sliding_extreme(array, width, np.maximum).tolist() == [max(window) for window in windows]
    assert sliding_extreme(array, width, np.minimum).tolist() == [min(window) for window in windows]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GrossRange(minimum=2, maximum=1), "minimum 2"),
        (lambda: GrossRange(minimum=NAN), "minimum nan"),
        (lambda: GrossRange(suspect_minimum=2, suspect_maximum=2), "suspect_minimum 2"),
        (lambda: FlatLine(suspect_repeats=0), "suspect_repeats 0"),
        (lambda: FlatLine(suspect_repeats=6), "suspect_repeats 6"),
        (lambda: FlatLine(tolerance=-1), "tolerance -1"),
        (lambda: FlatLine(tolerance=NAN), "tolerance nan"),
    ],
)
def test_a_stage_that_exists_is_valid(make: type[GrossRange], message: str) -> None:
    """Nonsense is refused where it is written, and named."""
    with pytest.raises(ValueError, match=message):
        make()


def test_a_pipeline_starts_fresh_under_another_configuration() -> None:
    """State saved under other stages is not taken, and that is said."""
    schema = readings().schema
    pipeline = Pipeline([FlatLine()], schema)
    pipeline(readings(1, 1, 1))
    assert Pipeline([FlatLine()], schema).restore(pipeline.state())
    other = Pipeline([FlatLine(fail_repeats=9)], schema)
    assert not other.restore(pipeline.state())
    assert other(readings(1)).flag.tolist() == [[2]]
