"""Runs of a `World` by seed: which steps, what came of them, and the same in fewer steps.

A step is a name and a number: the same steps give the same world, whatever their origin (a seed, hypothesis, a shrunken
list).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from delivery_actions import ACTIONS
from delivery_judge import Violation
from delivery_world import Parts, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Step(NamedTuple):
    """One thing that happens: an action's name, and a number it takes its choices from."""

    action: str
    pick: int


def take(world: World, step: Step) -> None:
    """Let one thing happen."""
    agent = world.agents[step.pick % len(world.agents)]
    ACTIONS[step.action].run(world, agent, step.pick // len(world.agents))


def steps_of(seed: int, count: int, focus: Sequence[str] | None = None) -> list[Step]:
    """The steps of a seed.

    Args:
        seed: each leaves some kinds of faults out, so that the others can go deep.
        count: of steps.
        focus: only these kinds of faults, and often.
    """
    rng = random.Random(f"steps {seed}")
    faults = [name for name, action in ACTIONS.items() if not action.is_core]
    if focus is not None:
        often = dict.fromkeys(focus, 6.0)
    elif seed % 3 == 0:  # each kind of fault in its turn, with at most two others
        often = dict.fromkeys([faults[seed // 3 % len(faults)], *rng.sample(faults, rng.choice((0, 1, 2)))], 6.0)
    else:
        often = {name: ACTIONS[name].weight * rng.choice((0, 0, 1, 1, 3)) for name in faults}
    weights = {name: action.weight if action.is_core else often.get(name, 0.0) for name, action in ACTIONS.items()}
    names = rng.choices(list(weights), list(weights.values()), k=count)
    return [Step("connect", 0), *(Step(name, rng.getrandbits(20)) for name in names)]


def run(seed: int, steps: Iterable[Step], parts: Parts | None = None) -> World:
    """Live through these steps, and come to rest.

    Raises:
        Violation: an invariant is broken; `steps` on it is how many were taken.
    """
    world = World(seed, parts)
    taken = 0
    try:
        for step in steps:
            taken += 1
            take(world, step)
        world.quiesce()
    except Violation as violation:
        violation.add_note(f"seed {seed}, step {taken}")
        violation.taken = taken
        raise
    return world


def verdict(seed: int, steps: Iterable[Step], parts: Parts | None = None) -> Violation | None:
    """The violation these steps lead to, if any."""
    try:
        run(seed, steps, parts)
    except Violation as violation:
        return violation
    return None


def shrink(seed: int, steps: Sequence[Step], parts: Parts | None = None) -> list[Step]:
    """Fewer steps that break the same invariant (delta debugging: Zeller and Hildebrandt, 2002)."""
    rule = getattr(verdict(seed, steps, parts), "rule", None)
    kept, size = list(steps), len(steps) // 2
    while size:
        cuts = range(0, len(kept), size)
        for start, end in [(cut, cut + size) for cut in reversed(cuts)]:
            fewer = kept[:start] + kept[end:]
            if getattr(verdict(seed, fewer, parts), "rule", None) == rule:
                kept = fewer
        size //= 2
    return kept
