"""The rate of change test: which changes are too fast, and what the next value is compared with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.stages import RateOfChange
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

NAN = float("nan")


def judge(
    config: RateOfChange, values: list[float], times_s: list[float] | None = None, step: float = 0.0
) -> list[int]:
    schema = Schema(device="d", stream="s", channels=(Channel(name="a", resolution=step),))
    times_s = list(range(len(values))) if times_s is None else times_s
    time_ns = [10**18 + round(t * 1e9) for t in times_s]
    judged = config.stage(schema)(Readings.raw(schema, time_ns, np.array(values).reshape(-1, 1)))
    assert set(judged.reason[judged.flag > Flag.NOT_EVALUATED].tolist()) <= {Reason.RATE_OF_CHANGE}
    found: list[int] = judged.flag[:, 0].tolist()
    return found


def test_limits_are_in_the_unit_per_second() -> None:
    """The same change is fast over one second and slow over ten."""
    config = RateOfChange(suspect_per_s=1.0, fail_per_s=2.0)
    assert judge(config, [0, 0, 1.0, 2.5, 5.0]) == [2, 1, 1, 3, 4]
    assert judge(config, [0, 0, 10.0, 25.0, 50.0], [0, 10, 20, 30, 40]) == [2, 1, 1, 3, 4]


def test_the_way_back_from_an_outlier_is_not_held_against_the_next() -> None:
    """A value that failed is not what the next is compared with."""
    assert judge(RateOfChange(fail_per_s=1.0), [0, 0, 50, 0.5, 1]) == [2, 1, 4, 1, 1]


def test_negative_control_the_plain_difference_blames_the_good_value_too() -> None:
    """With a suspect limit alone the value before is always what is compared with, as QARTOD has it."""
    assert judge(RateOfChange(suspect_per_s=1.0), [0, 0, 50, 0.5, 1]) == [2, 1, 3, 3, 1]


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_a_genuine_step_is_flagged_for_fewer_than_step_samples(samples: int) -> None:
    """The step fails for `step_samples` - 1 values, then it is believed."""
    found = judge(RateOfChange(fail_per_s=1.0, step_samples=samples), [0.0] * 4 + [50.0] * 8)
    assert found == [2, 1, 1, 1, *[4] * (samples - 1), *[1] * (9 - samples)]


def test_values_that_do_not_follow_one_another_are_no_step() -> None:
    """A burst of wild values is not believed, however long it is."""
    assert judge(RateOfChange(fail_per_s=1.0), [0, 0, 50, -70, 90, -110, 0.5]) == [2, 1, 4, 4, 4, 4, 1]


def test_the_first_value_may_be_the_outlier() -> None:
    """Nothing is believed until two agree: the outlier at the start makes no good value fail."""
    assert judge(RateOfChange(fail_per_s=1.0), [900, 1, 1.5, 2, 900, 2.5]) == [2, 2, 1, 1, 4, 1]


def test_elapsed_time_counts_from_the_value_believed() -> None:
    """After missing values the change is divided by all the time that has passed."""
    config = RateOfChange(fail_per_s=1.0)
    assert judge(config, [0, 0, NAN, NAN, 3.0]) == [2, 1, 2, 2, 1]
    assert judge(config, [0, 0, NAN, NAN, 3.1]) == [2, 1, 2, 2, 4]


def test_a_step_of_the_resolution_is_never_too_fast() -> None:
    """A coarse sensor that is read often jumps from step to step."""
    config = RateOfChange(fail_per_s=1.0)
    assert judge(config, [0, 0, 0.5, 0], [0, 0.1, 0.2, 0.3], step=0.5) == [2, 1, 1, 1]
    assert judge(config, [0, 0, 0.5, 0], [0, 0.1, 0.2, 0.3]) == [2, 1, 4, 1]


def test_rows_whose_clock_does_not_go_on_are_passed_through() -> None:
    """A duplicate or backward row is not judged and not learnt from; after it time goes on."""
    found = judge(RateOfChange(fail_per_s=1.0), [0, 0, 99, 99, 0, 0, 50], [0, 1, 1, -3600, -3599, -3598, -3597])
    assert found == [2, 1, 2, 2, 1, 1, 4]


def textbook(values: list[float], times: list[int], suspect: float) -> list[int]:
    """Each value against the one before it."""
    flags = [2]
    for n in range(1, len(values)):
        fast = abs(values[n] - values[n - 1]) > suspect * (times[n] - times[n - 1])
        flags.append(3 if fast else 1)
    return flags[: len(values)]


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 5)), max_size=50), st.integers(1, 9))
def test_a_suspect_limit_is_the_textbook(rows: list[tuple[int, int]], limit: int) -> None:
    """Law: with whole numbers, whatever the steps of time, just the plain differences above the limit are suspect."""
    values = [float(value) for value, _ in rows]
    times = np.cumsum([step for _, step in rows]).tolist()
    assert judge(RateOfChange(suspect_per_s=limit), values, times) == textbook(values, times, limit)


@given(st.integers(0, 1000), st.integers(1, 30))
def test_one_channel_alone_and_many_together_agree(seed: int, cut: int) -> None:
    """Law: the fast way over whole blocks and the way value by value say the same."""
    rng = np.random.default_rng(seed)
    schema = Schema(device="d", stream="s", channels=tuple(Channel(name=name) for name in "abc"))
    value = rng.integers(-3, 4, (40, 3)).cumsum(axis=0).astype(float)
    value[rng.random((40, 3)) < 0.03] = 40.0
    time_ns = 10**18 + rng.integers(1, 4, 40).cumsum() * 10**9
    config = RateOfChange(suspect_per_s=1.0, fail_per_s=3.0)
    readings = Readings.raw(schema, time_ns, value)
    stage = config.stage(schema)
    together = np.concatenate([stage(readings[:cut]).flag, stage(readings[cut:]).flag])
    one = Schema(device="d", stream="s", channels=(Channel(name="a"),))
    for k in range(3):
        alone = config.stage(one)(Readings.raw(one, time_ns, value[:, k : k + 1]))
        assert alone.flag[:, 0].tolist() == together[:, k].tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "suspect_per_s or fail_per_s"),
        ({"suspect_per_s": 0.0}, "suspect_per_s 0.0"),
        ({"fail_per_s": NAN}, "fail_per_s nan"),
        ({"fail_per_s": 1.0, "step_samples": 1}, "step_samples 1"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, float], message: str) -> None:
    """A configuration that exists is valid."""
    with pytest.raises(ValueError, match=message):
        RateOfChange(**wrong)  # type: ignore[arg-type]
