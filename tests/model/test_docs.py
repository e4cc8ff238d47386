"""What the page on detection shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parents[2] / "docs" / "detection.md"


def test_the_example_runs() -> None:
    """The example of the page runs, and has about as many events as it says."""
    code = re.search(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code.group(1), names)  # noqa: S102 - our own page
    assert 5 <= names["events"] <= 20


def test_every_detector_is_on_the_page() -> None:
    """No detector is left out of the table."""
    from trueline_model.detectors import DETECTORS  # noqa: PLC0415 - beside its only use

    assert all(f"| `{kind}` |" in _PAGE.read_text() for kind in DETECTORS)
