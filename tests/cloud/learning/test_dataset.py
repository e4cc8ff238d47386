"""Parts in time without a leak, and windows that cross no break."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_cloud.learning.dataset import split, windowed
from trueline_model.scale import fit_scale
from trueline_model.series import Series, make_series
from trueline_wire.errors import ConfigError


def numbered(*lengths: int) -> list[Series]:
    """Recordings whose value is the number of the row, over all of them."""
    ends = np.cumsum(lengths)
    return [
        make_series(np.arange(end - length, end, dtype=float), interval_s=1.0)
        for end, length in zip(ends, lengths, strict=True)
    ]


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=5), size=st.integers(1, 40))
def test_no_row_is_in_windows_of_two_parts(lengths: list[int], size: int) -> None:
    """Parts follow one another in time, a window's length apart, and nothing of a recording is there twice."""
    try:
        parts = split(numbered(*lengths), size)
    except ConfigError:
        return
    seen = [np.concatenate([each.value[:, 0] for each in part]) for part in parts]
    for earlier, later in pairwise(seen):
        assert later.min() - earlier.max() > size
    assert all(np.all(np.diff(part) > 0) for part in seen)


def test_windows_cross_no_break() -> None:
    """Every window holds rows that follow one another in one recording; a recording too short gives none."""
    series = numbered(10, 3, 7)
    scale = fit_scale(series, method="standard")
    windows = windowed(series, scale, 5)
    rows = np.rint(windows.value[:, :, 0] * scale.scale[0] + scale.centre[0])
    assert len(windows) == 6 + 0 + 3
    assert (np.diff(rows, axis=1) == 1).all()


def test_what_is_not_valid_is_0_and_masked() -> None:
    """A cell that may not train comes out 0 and not valid, and a window whose newest row says nothing is left out."""
    valid = np.ones((8, 1), bool)
    valid[3] = False
    series = make_series(np.full(8, 1e9), valid=valid)
    windows = windowed([series], fit_scale([series]), 3)
    assert len(windows) == 5
    assert not windows.value[~windows.valid].any()
    assert (~windows.valid).sum() == 2


def test_too_few_rows_are_refused() -> None:
    """A part without one window is told before hours of training."""
    with pytest.raises(ConfigError, match="too few to validate on windows of 32 rows"):
        split(numbered(200), 32)
