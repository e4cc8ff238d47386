from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from crash_kit import Proof

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[_OUTCOME] = report.outcome
    return report


_OUTCOME = pytest.StashKey[str]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.crash)


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Iterator[Proof]:
    """The row of the reliability table this test belongs to: its file is called `test_<row>_...`."""
    row = request.path.stem.split("_")[1].capitalize()
    seed = int(os.environ.get("TRUELINE_SEED", "1"))
    proof = Proof(row, request.node.name, seed)
    yield proof
    proof.save(request.node.stash.get(_OUTCOME, "error"))
