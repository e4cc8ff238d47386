"""The page on shaping cannot rot: its examples are one stream, and a configuration takes it."""

from __future__ import annotations

import re
from pathlib import Path

from trueline_edge.config import load_config
from trueline_edge.sources import JoinConfig

_PAGE = Path(__file__).parents[2] / "docs" / "shaping.md"
_HEAD = """
device = "boiler-1"
state = "state"
cloud = { public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" }
link = [{ protocol = "coap", host = "127.0.0.1" }]
"""


def test_the_examples_are_one_configuration(tmp_path: Path) -> None:
    """All blocks of the page, one after the other, are what `trueline-edge check` takes."""
    blocks = re.findall(r"^```toml\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "agent.toml"
    path.write_text(_HEAD + "\n".join(blocks))
    (stream,) = load_config(path).streams
    assert isinstance(stream.source, JoinConfig)
    assert [type(stage).__name__ for stage in stream.stages] == ["Convert", "Normalise", "Moving", "Significance"]
    assert stream.channels_out() == 13
