"""The window of a lane: how much is in flight, and how patient it is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_wire.delivery import SenderLimits
from trueline_wire.delivery.window import LaneWindow
from trueline_wire.envelope import Lane

LIMITS = SenderLimits(window_frames=16, window_bytes=4_000, timeout_min_s=1.0, timeout_max_s=60.0)
SCHEMA, OTHER = b"schema-1", b"schema-2"


@pytest.fixture
def window() -> LaneWindow:
    return LaneWindow(Lane.DATA, [], LIMITS)


def send(window: LaneWindow, numbers: range, now_s: float) -> None:
    for number in numbers:
        window.sent(number, number, 100, now_s)


def test_the_timer_follows_rfc_6298(window: LaneWindow) -> None:
    """First measurement R: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR; then gains of 1/8 and 1/4."""
    send(window, range(1, 3), 0.0)
    window.acknowledged(1, 2.0)
    assert (window.srtt_s, window.rttvar_s, window.timeout_s) == (2.0, 1.0, 6.0)
    window.acknowledged(2, 4.0)
    assert window.rttvar_s == pytest.approx(0.75 * 1.0 + 0.25 * 2.0)
    assert window.srtt_s == pytest.approx(2.0 + 2.0 / 8)


def test_a_record_sent_twice_is_not_measured(window: LaneWindow) -> None:
    """Karn: nobody knows which of the two was acknowledged."""
    send(window, range(1, 2), 0.0)
    window.rewind(1)
    send(window, range(1, 2), 10.0)
    window.acknowledged(1, 10.1)
    assert window.srtt_s is None


def test_a_timeout_starts_over_with_one_record_and_twice_the_patience(window: LaneWindow) -> None:
    """Window 1, from the floor, the timer doubled within its jitter and its bound."""
    send(window, range(1, 6), 0.0)
    window.timed_out(random.Random(1))
    assert (window.next, window.room(16)) == (1, 1)
    assert 1.8 <= window.timeout_s <= 2.2
    for _ in range(20):
        window.timed_out(random.Random(1))
    assert window.timeout_s == LIMITS.timeout_max_s


def test_two_schemas_asked_for_in_one_breath_are_both_sent(window: LaneWindow) -> None:
    """A lane carries several streams: asking for one must not make the other wait."""
    assert window.may_send_schema(SCHEMA, 0.0)
    assert window.may_send_schema(OTHER, 0.0)
    assert not window.may_send_schema(SCHEMA, 0.0), "each record behind the first asks again: no storm"


def test_a_schema_asked_for_after_each_timeout_is_sent_each_time(window: LaneWindow) -> None:
    """A schema that got lost is sent again with the record that needs it, however far the timer has backed off."""
    now_s = 0.0
    for _ in range(8):
        send(window, range(1, 2), now_s)
        assert window.may_send_schema(SCHEMA, now_s + 0.1)
        now_s += window.timeout_s
        window.timed_out(random.Random(2))


def test_once_backed_off_nothing_is_rewound_faster_than_the_timer(window: LaneWindow) -> None:
    """A link that has become slow would only queue what is sent again behind itself."""
    send(window, range(1, 2), 0.0)
    window.acknowledged(1, 0.01)  # fast while it was idle
    send(window, range(2, 4), 1.0)
    assert window.may_rewind(1.1), "a measured round trip is enough while nothing timed out"
    window.timed_out(random.Random(3))
    send(window, range(2, 4), 2.0)
    assert not window.may_rewind(2.1)
    assert window.may_rewind(2.0 + window.timeout_s)


def test_one_record_may_be_larger_than_the_window_but_never_two(window: LaneWindow) -> None:
    """Whatever its size, the record at the floor goes out."""
    assert window.fits(1 << 20)
    window.sent(1, 1, 3_950, 0.0)
    assert not window.fits(100)


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=40), st.integers(0, 1 << 30))
def test_the_window_never_exceeds_its_limit_and_the_floor_never_falls(steps: list[tuple[int, bool]], seed: int) -> None:
    """Law: whatever comes, 0 ≤ in flight ≤ limit, and what was acknowledged stays so."""
    window, rng, now_s = LaneWindow(Lane.DATA, [], LIMITS), random.Random(seed), 0.0
    for count, progress in steps:
        now_s += 1.0
        floor = window.floor
        for _ in range(min(count, max(0, window.room(LIMITS.window_frames)))):
            window.sent(window.next, window.next, 10, now_s)
        assert len(window.in_flight) <= LIMITS.window_frames
        if progress and window.in_flight:
            window.acknowledged(rng.randint(window.floor, window.in_flight[-1].last), now_s)
        else:
            window.timed_out(rng)
        assert window.floor >= floor
        assert LIMITS.timeout_min_s <= window.timeout_s <= LIMITS.timeout_max_s
