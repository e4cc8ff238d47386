"""Nothing is lost in silence and nothing stored twice: many small worlds, each judged at every write."""

from __future__ import annotations

import pytest
from delivery_actions import ACTIONS, CALM
from delivery_judge import Violation
from delivery_run import Step, run, shrink, steps_of, take
from delivery_world import DRAIN_MAX_S, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from trueline_wire.envelope import Kind

STEPS = 300
"""Steps a seed takes before its faults stop."""

SEEDS_CI = 340
SEEDS_SOAK = 3400
CHUNKS = 10


def hold_or_explain(seed: int) -> None:
    """Run a seed; if it fails, say so in as few steps as it can be said."""
    steps = steps_of(seed, STEPS)
    try:
        run(seed, steps)
    except Violation as violation:
        fewer = "\n".join(f"    Step({action!r}, {pick})," for action, pick in shrink(seed, steps))
        pytest.fail(
            f"seed {seed}, step {violation.taken}: {violation}\nThe same in fewer steps, for run({seed}, …):\n{fewer}"
        )


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_happens_every_row_is_stored_once_or_counted(chunk: int) -> None:
    """Every invariant of `delivery_judge` holds over 100,000 random steps, and everything drains once faults stop."""
    for seed in range(chunk, SEEDS_CI, CHUNKS):
        hold_or_explain(seed)


@pytest.mark.soak
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_million_steps(chunk: int) -> None:
    """The same over a million steps of other seeds."""
    for seed in range(100_000 + chunk, 100_000 + SEEDS_SOAK, CHUNKS):
        hold_or_explain(seed)


class DeliveryMachine(RuleBasedStateMachine):
    """The same world, its steps chosen by hypothesis."""

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        take(self.world, Step("connect", 0))

    @rule(action=st.sampled_from([*ACTIONS, *CALM * 3]), pick=st.integers(0, (1 << 20) - 1))
    def step(self, action: str, pick: int) -> None:
        take(self.world, Step(action, pick))

    @rule(picks=st.lists(st.integers(0, (1 << 20) - 1), min_size=1, max_size=4))
    def exchange(self, picks: list[int]) -> None:
        for pick in picks:
            for action in ("append", "poll", "deliver", "commit", "hear"):
                take(self.world, Step(action, pick))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.quiesce()


DeliveryMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
TestDelivery = DeliveryMachine.TestCase


def test_a_seed_replays_identically() -> None:
    """The same seed gives the same messages, byte for byte, and the same store."""
    first, second = (run(7, steps_of(7, STEPS)) for _ in range(2))
    assert list(first.judge.records) == list(second.judge.records)
    assert first.store.lanes == second.store.lanes
    assert first.store.frames == second.store.frames


def test_the_model_reaches_what_it_is_about() -> None:
    """Over the first seeds every kind of message, gap, quarantine, conflict and alarm does occur."""
    worlds = [run(seed, steps_of(seed, STEPS)) for seed in range(25)]
    kinds = {kind for world in worlds for kind, count in world.sent.items() if count}
    assert kinds == set(Kind) - {Kind.ACK}
    reasons = {
        record.reason for world in worlds for record in world.judge.records.values() if hasattr(record, "reason")
    }
    assert reasons == {"dropped", "corrupt", "forgotten", "schema_lost"}
    alarms = {name for world in worlds for lane in world.store.lanes.values() for name in lane.alarms}
    assert alarms == {"fork", "restored_or_cloned"}
    assert sum(len(numbers) for world in worlds for numbers in world.store.aside.values()) > 100
    assert any(consumer.counts.conflicts for world in worlds for consumer in world.consumers)
    assert any(consumer.counts.quarantined for world in worlds for consumer in world.consumers)


def test_what_waits_drains_soon_and_cheaply() -> None:
    """Draining takes minutes of the hour allowed, and at most a few times as many records as waited."""
    drains = [drain for seed in range(25) for drain in run(seed, steps_of(seed, STEPS)).drains]
    assert max(seconds for seconds, _, _ in drains) < DRAIN_MAX_S / 10
    waited, sent = sum(waiting for _, _, waiting in drains), sum(sent for _, sent, _ in drains)
    assert sent < 3 * waited
