"""The laws every stage obeys, and the pipeline made of stages too."""

from __future__ import annotations

import itertools
import typing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import wander_model
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import KEY, calibrated, kept, network_package, pca_package, prediction_package

from trueline_edge.pipeline import Pipeline
from trueline_edge.stages import (
    Attenuated,
    Band,
    Calibrate,
    Climatology,
    Convert,
    Detect,
    Estimate,
    FlatLine,
    GrossRange,
    Missing,
    Moving,
    Neighbours,
    Noise,
    Normalise,
    Predict,
    RateOfChange,
    SelfCalibrate,
    Significance,
    Spike,
    StageChoice,
    Timing,
)
from trueline_edge.stages.estimate import Output
from trueline_edge.stages.fuse import Fuse, FuseOutput
from trueline_edge.stages.significance import Event
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
    "timing": Timing(interval_s=1.0, jitter_s=0.5),
    "timing of one channel, strict": Timing(
        gap_s=1.5, late_max_s=30.0, earliest=datetime(2001, 9, 9, 2, tzinfo=UTC), channels=("b",)
    ),
    "rate of change": RateOfChange(suspect_per_s=0.5, fail_per_s=1.0),
    "rate of change, failing alone": RateOfChange(fail_per_s=0.3, step_samples=2, channels=("a", "c")),
    "rate of change, suspecting alone": RateOfChange(suspect_per_s=0.3),
    "spike": Spike(),
    "spike, narrow and sharp": Spike(width=4, suspect_deviations=2.0, fail_deviations=3.0, floor=0.1, step_samples=2),
    "spike, centred": Spike(mode="centred", suspect_deviations=3.0),
    "spike, centred, of one channel": Spike(
        mode="centred", width=5, suspect_deviations=2.0, floor=0.0, channels=("b",)
    ),
    "attenuated": Attenuated(suspect=0.5, fail=0.2, window=4),
    "attenuated range": Attenuated(suspect=2.0, fail=0.5, window=7, measure="range", channels=("a", "c")),
    "noise": Noise(suspect=0.5, fail=1.0, window=4),
    "noise, against the first": Noise(suspect_times=1.1, fail_times=2.0, fail=9.0, learn_samples=10, window=5),
    "neighbours": Neighbours(suspect=0.5, fail=1.0),
    "neighbours of two": Neighbours(suspect=0.5, channels=("a", "c")),
    "climatology": Climatology(
        bands=(
            Band(minimum=-1.0, maximum=1.0),
            Band(hours=(22, 5), fail_minimum=0.0),
            Band(months=(9, 10), maximum=0.5),
        ),
        zone="Europe/Rome",
    ),
    "climatology, nights of one channel": Climatology(bands=(Band(hours=(1, 4), maximum=0.5),), channels=("b",)),
    "send on delta": Significance(method="send_on_delta", bounds={"a": 0.5, "b": 1.0, "c": 0.0}),
    "deadband, one channel along": Significance(
        method="deadband", percent=10, spans={"a": 10.0, "c": 20.0}, along=("b",), interval_max_s=100
    ),
    "swinging door": Significance(method="swinging_door", bounds={"a": 1.0, "b": 0.5, "c": 2.0}),
    "swinging door with events": Significance(
        method="swinging_door",
        bounds={"a": 2.0, "b": 2.0, "c": 3.0},
        event=Event(above={"a": 4.0}, below={"b": -8.0}, rows_before=3, rows_after=2),
    ),
    "send on delta with events": Significance(
        method="send_on_delta", bounds={"a": 2.0, "b": 2.0, "c": 3.0}, event=Event(rows_before=5, rows_after=0)
    ),
}
ESTIMATE = Estimate(model=Path(wander_model.__file__), outputs=(Output(name="level"),))
STAGES |= {
    "estimate, extended": ESTIMATE,
    "estimate, unscented": msgspec.structs.replace(ESTIMATE, filter="ukf", innovations=True, patience=2),
    "estimate, interacting": msgspec.structs.replace(
        ESTIMATE, filter="imm", channels=("b", "a"), parameters={"inputs": 2}, gap_max_s=1e7
    ),
}
MODEL = kept(calibrated(pca_package(k=3)), "pca")
NETWORK = kept(network_package(k=2, window=4), "network")
STAGES |= {
    "detect, without a model": Detect(name="d", model=MODEL / "nowhere", public_key=KEY.public, channels=("a",)),
    "detect": Detect(name="d", model=MODEL, public_key=KEY.public),
    "detect, a network on two channels": Detect(
        name="d", model=NETWORK, public_key=KEY.public, channels=("c", "a"), details=True, gap_max_s=30.0
    ),
    "detect, p-values that follow drift": Detect(name="d", model=MODEL, public_key=KEY.public, memory_rows=100),
}
PREDICTION = {"name": "p", "unit": "Cel", "public_key": KEY.public, "channels": ("c", "a")}
STAGES |= {
    "predict, without a model": Predict(model=MODEL / "nowhere", **PREDICTION),
    "predict": Predict(model=kept(prediction_package(), "prediction"), **PREDICTION),
    "predict, by steps of time": Predict(
        model=kept(prediction_package(step_s=3.0), "prediction-steps"), coverage=0.5, **PREDICTION
    ),
}
STAGES |= {
    "convert": Convert(to={"a": "%", "c": "[ppm]"}),
    "normalise": Normalise(ranges={"b": (-2.0, 3.0)}, scores={"c": (0.5, 0.25)}),
    "moving, rows": Moving(statistics=("mean", "min", "max", "std", "median"), window_rows=7),
    "moving, seconds": Moving(
        statistics=("median", "mean", "std"),
        window_s=5.0,
        rows_max=6,
        count_min=2,
        channels=("c",),
        systematic_u={"c": 0.2},
    ),
}
CALIBRATIONS = Path(__file__).parent / "calibrations"
STAGES |= {
    "calibrate, three inputs and a lag": Calibrate(files=(CALIBRATIONS / "a.toml", CALIBRATIONS / "b.toml")),
    "calibrate, a lag": Calibrate(files=(CALIBRATIONS / "b.toml",)),
    "calibrate, play and a lag": Calibrate(files=(CALIBRATIONS / "p.toml", CALIBRATIONS / "b.toml")),
}
FUSE = Fuse(name="f", inputs=("a", "b", "c"), independent=True)
STAGES |= {
    "fuse, learning": FUSE,
    "fuse, with known noises": msgspec.structs.replace(FUSE, r=0.2, step_samples=2),
    "fuse, each with known noise": Fuse(inputs=("a", "c"), each=True, systematic_u=0.05),
    "fuse, each by itself": Fuse(inputs=("b", "a"), each=True, details=False),
    "fuse, each with given noise": Fuse(inputs=("a", "c"), each=True, noise="given", q=0.1, timeout_s=30.0),
    "fuse, given noise": msgspec.structs.replace(FUSE, noise="given", q=0.1, r=0.2, systematic_u=0.1),
    "fuse, groups and single": Fuse(
        outputs=(FuseOutput(name="f", inputs=("c", "a")), FuseOutput(name="g", inputs=("b",), common_u=0.1))
    ),
    "fuse, weighted mean": msgspec.structs.replace(FUSE, model="weighted_mean", confidence=0.95),
    "fuse, weighted mean of what shares": msgspec.structs.replace(FUSE, model="weighted_mean", r=0.2, own_u=0.1),
    "fuse, what shares": msgspec.structs.replace(FUSE, r=0.2, own_u=(0.1, 0.2, 0.1)),
    "fuse, vote": msgspec.structs.replace(FUSE, model="vote", fail_after=2, recover_after=3),
    "fuse, learning a trend": msgspec.structs.replace(FUSE, model="trend"),
    "fuse, given trend": msgspec.structs.replace(FUSE, model="trend", noise="given", r=0.2, q=0.1, q_trend=0.01),
    "fuse, given day": Fuse(
        name="f", inputs=("a",), model="daily", noise="given", r=0.2, q=0.1, q_trend=0.01, q_daily=1e-4
    ),
    "fuse, learning a day": Fuse(name="f", inputs=("c",), model="daily"),
    "fuse, smoothed": msgspec.structs.replace(FUSE, lag_rows=4, noise="given", q=0.1, r=0.2),
    "self_calibrate": SelfCalibrate(name="sc", inputs=("a", "c", "b"), bias_u=2.0),
    "self_calibrate, with a reference, drift and gain": SelfCalibrate(
        name="sc", inputs=("a", "c"), reference="b", details=True, gain_u=0.1, drift_u_per_day=0.1, walk_u_per_day=0.1
    ),
    "fuse, smoothed and learning": Fuse(inputs=("a", "b"), each=True, lag_rows=7),
}
MAKERS: dict[str, Callable[[], Any]] = {name: lambda c=config: c.stage(SCHEMA) for name, config in STAGES.items()}  # type: ignore[misc]
KINDS: dict[str, str] = {name: config.kind for name, config in STAGES.items()}
PIPELINES: dict[str, list[StageConfig]] = {
    "pipeline of all judges": [config for config in STAGES.values() if config.kind == "judge"],
    "pipeline of one of each": list({type(c): c for c in STAGES.values() if c.kind != "thinner"}.values()),
}
PIPELINES["pipeline that ends with a thinner"] = [
    *PIPELINES["pipeline of all judges"],
    STAGES["swinging door with events"],
]


class _Whole:
    """A pipeline seen as one stage."""

    def __init__(self, configs: list[StageConfig]) -> None:
        self._pipeline = Pipeline(configs, SCHEMA)
        self.schema = self._pipeline.schema
        schema, self.delay = SCHEMA, 0
        for config in configs:
            stage = config.stage(schema)
            schema, self.delay = stage.schema, self.delay + stage.delay
        self.state = self._pipeline.state

    def __call__(self, readings: Readings) -> Readings:
        return self._pipeline(readings)

    def flush(self) -> Readings:
        return Readings.concatenate([Readings.empty(self.schema), *self._pipeline.flush()])

    def restore(self, state: bytes) -> None:
        assert self._pipeline.restore(state)


for _name, _configs in PIPELINES.items():
    MAKERS[_name] = lambda c=_configs: _Whole(c)  # type: ignore[misc]
    KINDS[_name] = "of several kinds"
KINDS |= {"pipeline of all judges": "judge", "pipeline that ends with a thinner": "thinned"}
each_stage = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def those(*kinds: str) -> pytest.MarkDecorator:
    """The makers of stages of these kinds."""
    names = [name for name in MAKERS if KINDS[name] in kinds]
    return pytest.mark.parametrize("make", [MAKERS[name] for name in names], ids=names)


VALUES = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 1.75, 3.0, -0.75, -9.0, np.nan, np.inf, -np.inf])
STEPS_S = st.sampled_from([1, 1, 1, 1, 1, 0, 2, 60, -1, -3600, 86_400, 10**9])


@st.composite
def batches(draw: st.DrawFn) -> Readings:
    """Readings with runs, gaps, clocks that step, and whatever flags an earlier stage may have left."""
    rows = draw(st.lists(st.tuples(VALUES, VALUES, VALUES, STEPS_S), max_size=40))
    n = len(rows)
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    table = np.array(rows).reshape(n, 4)
    steady, smooth = draw(st.booleans()), draw(st.booleans())
    time_s = np.arange(n) if steady else np.cumsum(table[:, 3]).astype(np.int64)
    value = table[:, :3] + (np.cumsum(rng.normal(size=(n, 3)), axis=0) if smooth else 0.0)
    readings = Readings.raw(SCHEMA, 10**18 + time_s * 10**9, value, [0.1, np.nan, 0.3])
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
    return Readings.concatenate([Readings.empty(stage.schema), *[stage(part) for part in parts], stage.flush()])


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


SEVERITY = np.array([0, 1, 0, 2, 3, 9, 9, 9, 9, 4])


@those("judge", "mender", "adder", "of several kinds")
@settings(max_examples=30)
@given(batches(), st.integers(0, 40))
def test_each_row_comes_out_once_with_its_own_time(make: Callable[[], Any], readings: Readings, cut: int) -> None:
    """Rows come in order, under the schema the stage declares, after at most `delay` rows; `flush()` gives the rest."""
    stage = make()
    first = stage(readings[:cut])
    assert len(readings[:cut]) - len(first) <= stage.delay
    out = Readings.concatenate([first, run(stage, readings[cut:])])
    assert out.schema == stage.schema
    assert np.array_equal(out.time_ns, readings.time_ns)
    assert len(stage.flush()) == 0


@those("judge")
@settings(max_examples=30)
@given(batches())
def test_a_judge_changes_flags_and_reasons_alone(make: Callable[[], Any], readings: Readings) -> None:
    """A judge neither deletes, mends nor moves a reading, and makes no flag better."""
    judged = run(make(), readings)
    assert judged.schema == readings.schema
    assert judged.value.tobytes() == readings.value.tobytes()
    assert judged.u.tobytes() == readings.u.tobytes()
    assert (SEVERITY[judged.flag] >= SEVERITY[readings.flag]).all()
    assert (judged.reason & readings.reason == readings.reason).all()


@those("mender")
@settings(max_examples=30)
@given(batches())
def test_a_mender_keeps_channels_and_makes_no_flag_better(make: Callable[[], Any], readings: Readings) -> None:
    """A mender may change value, u and unit; not which channels there are, nor what was said against a reading."""
    mended = run(make(), readings)
    assert len(mended.schema.channels) == len(readings.schema.channels)
    assert (SEVERITY[mended.flag] >= SEVERITY[readings.flag]).all()
    assert (mended.reason & readings.reason == readings.reason).all()


@those("adder")
@settings(max_examples=30)
@given(batches())
def test_an_adder_leaves_what_came_in_untouched(make: Callable[[], Any], readings: Readings) -> None:
    """The incoming channels come first, bit for bit; new ones stand behind them."""
    out = run(make(), readings)
    k = len(SCHEMA.channels)
    assert out.schema.channels[:k] == SCHEMA.channels
    assert len(out.schema.channels) > k
    for name in ("value", "u", "flag", "reason"):
        assert getattr(out, name)[:, :k].tobytes() == getattr(readings, name).tobytes()


@those("thinner")
@settings(max_examples=60)
@given(batches(), st.integers(0, 40))
def test_a_thinner_leaves_rows_out_and_counts_them(make: Callable[[], Any], readings: Readings, cut: int) -> None:
    """What comes out came in, in order, with its own time, value, flag and reason; all others are counted."""
    numbered = replace(readings, time_ns=readings.time_ns // 100 * 100 + np.arange(len(readings)))
    stage = make()
    first = stage(numbered[:cut])
    held = cut - len(first) - stage.insignificant
    assert len(numbered) < cut or 0 <= held <= stage.delay
    out = Readings.concatenate([first, run(stage, numbered[cut:])])
    rows = out.time_ns % 100
    assert (np.diff(rows) > 0).all()
    assert len(out) + stage.insignificant == len(readings)
    assert np.array_equal(out.time_ns, numbered.time_ns[rows])
    assert out.value.tobytes() == readings.value[rows].tobytes()
    assert (SEVERITY[out.flag] >= SEVERITY[readings.flag[rows]]).all()
    assert (out.u >= readings.u[rows])[~np.isnan(out.u)].all()
    assert np.array_equal(np.isnan(out.u), np.isnan(readings.u[rows]))
    assert len(stage.flush()) == 0


@those("thinner")
@settings(max_examples=60)
@given(batches(), st.sampled_from([0.0, 1e9, np.nan, -np.inf]))
def test_a_thinner_does_not_look_into_bad_cells(make: Callable[[], Any], readings: Readings, garbage: float) -> None:
    """Which rows matter does not depend on what a cell that came in FAIL or MISSING holds."""
    spoilt = replace(readings, value=np.where(readings.flag >= Flag.FAIL, garbage, readings.value))
    one, other = run(make(), readings), run(make(), spoilt)
    good = one.flag < Flag.FAIL
    assert np.array_equal(one.time_ns, other.time_ns)
    assert np.array_equal(one.flag, other.flag)
    assert np.array_equal(one.value[good], other.value[good], equal_nan=True)


@those("judge", "mender", "adder", "of several kinds")
@settings(max_examples=30)
@given(batches(), st.sampled_from([0.0, 1e9, np.nan, -np.inf]))
def test_what_a_bad_cell_holds_changes_no_other(make: Callable[[], Any], readings: Readings, garbage: float) -> None:
    """A cell that came in FAIL or MISSING is not learnt from: whatever stands in it, all others come out the same."""
    bad = readings.flag >= Flag.FAIL
    spoilt = replace(readings, value=np.where(bad, garbage, readings.value))
    one, other = run(make(), readings), run(make(), spoilt)
    elsewhere = np.ones(one.value.shape, np.bool_)
    elsewhere[:, : bad.shape[1]] = ~bad
    for name in ("value", "u", "flag", "reason"):
        assert np.array_equal(getattr(one, name)[elsewhere], getattr(other, name)[elsewhere], equal_nan=True)


@each_stage
@pytest.mark.parametrize("state", [b"\xc1", b"nonsense", b"\x91\xc4\x03abc", b"\x80"])
def test_a_bad_state_is_refused(make: Callable[[], Any], state: bytes) -> None:
    """Bytes that are no state raise ValueError, whatever they are."""
    with pytest.raises(ValueError, match=r"."):
        make().restore(state)


@each_stage
def test_a_state_is_small_and_does_not_grow(make: Callable[[], Any]) -> None:
    """After 2,000 rows a state is not larger than after 1,000."""
    stage = make()
    rng = np.random.default_rng(1)
    sizes = []
    for block in range(2):
        time_ns = (np.arange(1000) + 1000 * block) * 10**9
        stage(Readings.raw(SCHEMA, time_ns, rng.normal(size=(1000, 3))))
        sizes.append(len(stage.state()))
    assert sizes[1] <= sizes[0] + 64


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
