"""What every test may ask for: the recorded data, and hypothesis without its clock and its database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Runs are the same on every machine, however slow or busy, and leave nothing behind.
settings.register_profile("trueline", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("trueline")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of recorded data: $TRUELINE_DATA, else `../shared/data` beside the repository. Skips without it."""
    folder = Path(os.environ.get("TRUELINE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "skab").is_dir():
        pytest.skip(f"no recorded data in {folder}: set TRUELINE_DATA")
    return folder
