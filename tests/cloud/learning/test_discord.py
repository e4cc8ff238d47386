"""The matrix profile finds a discord."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from trueline_cloud.learning.discord import discord
from trueline_model.series import make_series
from trueline_wire.errors import ConfigError

pytest.importorskip("stumpy", reason="half a minute of compiling is not for every install")

PROGRAM = """
import json, sys
import numpy as np
from trueline_cloud.learning.discord import discord
from trueline_model.series import make_series

rng = np.random.default_rng(1)
normal, asked = (np.sin(np.arange(60) / 3.0)[:, None] + rng.normal(0.0, 0.1, (60, 2)) for _ in range(2))
asked[5, 0] = np.nan
asked[30:34, 1] += 3.0
known, given = make_series(normal), make_series(asked)
print(json.dumps([discord(known, given, 8, level=level).tolist() for level in (True, False)]))
"""


def test_a_discord_is_far_from_every_window_of_normal_running() -> None:
    """A bump scores highest, with and without levels; a window that is not whole leaves its channel out."""
    # Not compiled: that takes half a minute, and these are sixty rows.
    uncompiled = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=uncompiled, capture_output=True, text=True, check=True)
    for each in json.loads(said.stdout):
        score = np.array(each, float)
        assert np.isnan(score[:7]).all()
        assert np.isfinite(score[7:]).all()
        assert 30 <= score[7:].argmax() + 7 <= 41


def test_windows_longer_than_a_recording_are_refused() -> None:
    """Both lengths are named."""
    with pytest.raises(ConfigError, match="windows of 32 rows, and recordings of 100 and 20"):
        discord(make_series(np.zeros((100, 1))), make_series(np.zeros((20, 1))), 32)
