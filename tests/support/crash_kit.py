"""What all crash tests share: how many, which seed, and where it is written down.

A test of the campaign runs in full with `TRUELINE_CAMPAIGN=full` (make crash) and a tenth of it otherwise (CI); a
number is a share of the whole. Its random choices come from one seed, printed, and set with `TRUELINE_SEED` to replay a
failure.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def campaign(full: int) -> int:
    """`full` in `make crash`, a tenth of it (at least one) in CI."""
    share = os.environ.get("TRUELINE_CAMPAIGN", "0.1")
    return max(1, round(full * (1.0 if share == "full" else float(share))))


@dataclass
class Proof:
    """One row of the reliability table while its test runs.

    Attributes:
        row: R1, R2, ... or a name.
        name: of the test.
        seed: of all its random choices.
        said: what is written down, in the order it was said.
    """

    row: str
    name: str
    seed: int
    said: dict[str, Any] = field(default_factory=dict)

    def rng(self, salt: str = "") -> random.Random:
        """Random choices of this test."""
        return random.Random(f"{self.seed} {self.name} {salt}")

    def says(self, **facts: Any) -> None:
        """Write something down, and print it."""
        self.said.update(facts)
        print(f"[{self.row} seed {self.seed}]", ", ".join(f"{name} {value}" for name, value in facts.items()))  # noqa: T201 - a campaign says what it did

    def save(self, outcome: str) -> None:
        """Append one line of JSON to the file that `TRUELINE_CRASH_RESULTS` names, if it does."""
        where = os.environ.get("TRUELINE_CRASH_RESULTS")
        if where:
            with Path(where).open("a") as file:
                line = {"row": self.row, "test": self.name, "seed": self.seed, "outcome": outcome, **self.said}
                file.write(json.dumps(line) + "\n")
