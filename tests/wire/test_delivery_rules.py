"""Each rule is needed: with just that rule taken out of the real code the model fails, with all of them it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from delivery_mutants import MUTANTS, Mutant
from delivery_run import steps_of, verdict

if TYPE_CHECKING:
    from delivery_judge import Violation

STEPS = 300
SEEDS = 40


def first_failure(mutant: Mutant) -> tuple[int, Violation] | None:
    """The first seed that sees the rule is missing."""
    for seed in range(SEEDS):
        violation = verdict(seed, steps_of(seed, STEPS, mutant.focus), mutant.parts)
        if violation is not None:
            return seed, violation
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_without_the_rule_the_model_fails(mutant: Mutant) -> None:
    """A seed fails for the code without the rule, and the same seed passes for the code as it is."""
    failure = first_failure(mutant)
    assert failure is not None, f"{SEEDS} seeds do not miss the rule: {mutant.rule}"
    seed, _ = failure
    for sound in range(seed + 1):
        assert verdict(sound, steps_of(sound, STEPS, mutant.focus)) is None
