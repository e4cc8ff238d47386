"""The laws every stage obeys, and the pipeline made of stages too."""

from __future__ import annotations

import itertools
import typing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.pipeline import Pipeline
from trueline_edge.stages import FlatLine, GrossRange, Missing, StageChoice
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_edge.stages import StageConfig

SCHEMA = Schema(
    device="d", stream="s", channels=(Channel(name="a", resolution=0.5), Channel(name="b"), Channel(name="c"))
)

STAGES: dict[str, StageConfig] = {
    "gross range": GrossRange(minimum=-1.0, maximum=2.0, suspect_minimum=-0.5, suspect_maximum=1.5),
    "gross range of one channel": GrossRange(minimum=0.0, channels=("b",)),
    "missing": Missing(),
    "missing in two channels": Missing(channels=("a", "c")),
    "flat line": FlatLine(),
    "flat line, short and tolerant": FlatLine(suspect_repeats=1, fail_repeats=2, tolerance=0.6, channels=("a", "b")),
    "flat line, one count": FlatLine(suspect_repeats=4, fail_repeats=4, tolerance=0.0),
}
MAKERS: dict[str, Callable[[], Any]] = {name: lambda c=config: c.stage(SCHEMA) for name, config in STAGES.items()}  # type: ignore[misc]
MAKERS["pipeline of all"] = lambda: _Whole(Pipeline(list(STAGES.values()), SCHEMA))


class _Whole:
    """A pipeline seen as one stage."""

    delay = 0

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.state = pipeline.state

    def __call__(self, readings: Readings) -> Readings:
        return self._pipeline(readings)

    def flush(self) -> Readings:
        return Readings.concatenate([Readings.empty(SCHEMA), *self._pipeline.flush()])

    def restore(self, state: bytes) -> None:
        assert self._pipeline.restore(state)


each_stage = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())

VALUES = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 1.75, 3.0, -0.75, -9.0, np.nan, np.inf, -np.inf])


@st.composite
def batches(draw: st.DrawFn) -> Readings:
    """Readings with runs, gaps and whatever flags an earlier stage may have left."""
    rows = draw(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=40))
    n = len(rows)
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    readings = Readings.raw(SCHEMA, rng.integers(0, 10**18, n), np.array(rows).reshape(n, 3), [0.1, np.nan, 0.3])
    marked = rng.random((n, 3)) < 0.2
    return readings.flagged(marked, draw(st.sampled_from([Flag.SUSPECT, Flag.FAIL, Flag.MISSING])), Reason.UNPARSABLE)


def same(one: Readings, other: Readings) -> bool:
    return (
        one.schema == other.schema
        and np.array_equal(one.time_ns, other.time_ns)
        and np.array_equal(one.value, other.value, equal_nan=True)
        and np.array_equal(one.u, other.u, equal_nan=True)
        and np.array_equal(one.flag, other.flag)
        and np.array_equal(one.reason, other.reason)
    )


def run(stage: Any, *parts: Readings) -> Readings:
    return Readings.concatenate([Readings.empty(SCHEMA), *[stage(part) for part in parts], stage.flush()])


def test_every_stage_a_configuration_may_name_is_here() -> None:
    """A stage that is not in this suite cannot be configured."""
    assert {type(config) for config in STAGES.values()} == set(typing.get_args(StageChoice))


@each_stage
@settings(max_examples=30)
@given(batches())
def test_input_arrays_are_left_untouched(make: Callable[[], Any], readings: Readings) -> None:
    """A stage changes nothing it was given."""
    columns = ("time_ns", "value", "u", "flag", "reason")
    before = [getattr(readings, name).tobytes() for name in columns]
    run(make(), readings)
    assert [getattr(readings, name).tobytes() for name in columns] == before


@each_stage
@settings(max_examples=30)
@given(batches())
def test_same_input_same_output(make: Callable[[], Any], readings: Readings) -> None:
    """Two fresh stages agree."""
    assert same(run(make(), readings), run(make(), readings))


@each_stage
def test_an_empty_batch_is_fine(make: Callable[[], Any]) -> None:
    """Nothing in, nothing out, at any time."""
    stage = make()
    assert len(run(stage, Readings.empty(SCHEMA), Readings.empty(SCHEMA))) == 0


@each_stage
@settings(max_examples=30)
@given(batches())
def test_each_reading_comes_out_once_with_its_own_time_value_and_u(make: Callable[[], Any], readings: Readings) -> None:
    """A stage sets flags and reasons; it neither deletes, mends nor moves a reading, and makes no flag better."""
    judged = run(make(), readings)
    assert np.array_equal(judged.time_ns, readings.time_ns)
    assert judged.value.tobytes() == readings.value.tobytes()
    assert judged.u.tobytes() == readings.u.tobytes()
    severity = np.array([0, 1, 0, 2, 3, 9, 9, 9, 9, 4])
    assert (severity[judged.flag] >= severity[readings.flag]).all()
    assert (judged.reason & readings.reason == readings.reason).all()


@each_stage
@settings(max_examples=30)
@given(batches(), st.lists(st.integers(0, 40), max_size=6))
def test_where_a_batch_is_cut_changes_nothing(make: Callable[[], Any], readings: Readings, cuts: list[int]) -> None:
    """Any cut into batches gives the same readings in the end."""
    edges = sorted({0, len(readings), *[min(cut, len(readings)) for cut in cuts]})
    parts = [readings[a:b] for a, b in itertools.pairwise(edges)]
    assert same(run(make(), *parts), run(make(), readings))


@each_stage
@settings(max_examples=30)
@given(batches(), st.integers(0, 40))
def test_a_restart_changes_nothing(make: Callable[[], Any], readings: Readings, cut: int) -> None:
    """A stage restored from a saved state goes on as if nothing had happened."""
    first, second = make(), make()
    before = first(readings[:cut])
    second.restore(first.state())
    restarted = Readings.concatenate([before, run(second, readings[cut:])])
    assert same(restarted, run(make(), readings))


def test_negative_control_a_forgetful_stage_is_found_out() -> None:
    """The laws can fail: a flat line test that forgets at each cut breaks batch invariance."""
    flat = Readings.raw(SCHEMA, np.arange(12), np.zeros((12, 3)))
    make = MAKERS["flat line"]
    forgetful = Readings.concatenate([make()(flat[:6]), make()(flat[6:])])
    assert not same(forgetful, run(make(), flat))
