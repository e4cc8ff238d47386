"""The page on prediction cannot rot: its example is a configuration, for the package the tests make."""

from __future__ import annotations

import re
from pathlib import Path

from model_kit import KEY, prediction_package, ring, text_of

from trueline_edge.config import load_config
from trueline_edge.inference.store import ModelStore
from trueline_edge.stages import Predict
from trueline_model.package import write_package

_PAGE = Path(__file__).parents[2] / "docs" / "prediction.md"
_HEAD = """
device = "pump-1"
state = "state"
cloud = { public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" }
link = [{ protocol = "coap", host = "127.0.0.1" }]
"""


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    """With a model installed where it says, signed by the key it names, `trueline-edge check` takes it."""
    blocks = re.findall(r"^```toml\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "agent.toml").write_text(_HEAD + "\n".join(blocks))
    ModelStore(tmp_path / "models" / "life", ring()).install(write_package(prediction_package(), KEY))
    (stream,) = load_config(tmp_path / "agent.toml").streams
    predict = stream.stages[-1]
    assert isinstance(predict, Predict)
    assert text_of(predict.public_key) == KEY.public_text
    assert stream.channels_out() == 2 + 4
