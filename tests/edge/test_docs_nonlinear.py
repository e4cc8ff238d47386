"""The page on models of one's own says what works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from trueline_edge.config import load_config
from trueline_edge.pipeline import Pipeline
from trueline_wire.readings import Readings

pytest.importorskip("filterpy")

_PAGE = (Path(__file__).parents[2] / "docs" / "nonlinear.md").read_text()
_HEAD = """
device = "d"
state = "state"
[cloud]
public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
[[link]]
protocol = "coap"
host = "127.0.0.1"
[[stream]]
name = "tank"
[stream.source]
type = "simulated"
[[stream.channel]]
name = "bottom_pressure"
unit = "bar"
[[stream.channel]]
name = "outlet_flow"
unit = "L/s"
"""


def test_the_pages_model_runs_under_the_pages_configuration(tmp_path: Path) -> None:
    """The tank's level is found from a start half a metre off, and its interval holds it."""
    python, toml = (re.findall(rf"```{kind}\n(.*?)```", _PAGE, re.DOTALL)[0] for kind in ("python", "toml"))
    (tmp_path / "tank.py").write_text(python)
    (tmp_path / "agent.toml").write_text(_HEAD + toml)
    config = load_config(tmp_path / "agent.toml")
    stream = config.streams[0]
    pipeline = Pipeline(stream.stages, stream.schema("d"))
    rng = np.random.default_rng(3)
    level = [1.4]
    for _ in range(199):
        level.append(level[-1] - 0.003 * np.sqrt(2 * 9.81 * level[-1]) / 2.0)
    true = np.array(level)
    value = np.stack([0.0981 * true, 3.0 * np.sqrt(2 * 9.81 * true)], axis=1) + rng.normal(size=(200, 2)) * [5e-4, 0.02]
    out = pipeline(Readings.raw(stream.schema("d"), 10**18 + np.arange(200) * 10**9, value))
    names = [channel.name for channel in out.schema.channels]
    assert names == ["bottom_pressure", "outlet_flow", "level", "volume", "nis"]
    error = out.value[20:, 2] - true[20:]
    assert np.abs(error).max() < 0.02
    assert (np.abs(error) < 1.96 * out.u[20:, 2]).mean() > 0.93
    np.testing.assert_allclose(out.value[:, 3], 2.0 * out.value[:, 2])
    assert 0.7 < np.nanmean(out.value[20:, 4]) < 1.4


def test_the_page_names_every_key() -> None:
    """No setting of the stage is left out."""
    from trueline_edge.stages.estimate import Estimate, Output  # noqa: PLC0415 - only this test needs them

    toml = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)[0]
    keys = {"output" if key == "outputs" else key for key in (*Estimate.__struct_fields__, *Output.__struct_fields__)}
    assert not {key for key in keys if not re.search(rf"\b{key}\b", toml)}
