"""The page on fusion cannot rot: its examples are stages a configuration takes, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from trueline_edge.config import load_config
from trueline_wire.readings import Reason

_PAGE = Path(__file__).parents[2] / "docs" / "fusion.md"
_HEAD = """
device = "greenhouse-1"
state = "state"
cloud = { public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" }
link = [{ protocol = "coap", host = "127.0.0.1" }]
[[stream]]
name = "air"
source = { type = "replay", path = "air.csv" }
channel = [{ name = "t1" }, { name = "t2" }, { name = "t3" }, { name = "visitor" }]
"""


def test_the_examples_are_one_configuration(tmp_path: Path) -> None:
    """All blocks of the page, one after the other, are what `trueline-edge check` takes."""
    blocks = re.findall(r"^```toml\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "agent.toml"
    path.write_text(_HEAD + "\n".join(blocks))
    (stream,) = load_config(path).streams
    assert [type(stage).__name__ for stage in stream.stages] == ["Fuse", "SelfCalibrate"]


def test_the_reasons_it_names_exist() -> None:
    """Reasons in capitals on the page are reasons of a reading."""
    page = _PAGE.read_text()
    for name in ("CONSISTENCY", "INNOVATION", "STALE", "UNOBSERVABLE"):
        assert name in page
        assert Reason[name]
