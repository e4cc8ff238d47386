"""A model out of a Python file: a function `model(**parameters)` that returns a `Model`.

Promises: whatever the file does wrong is a ConfigError that names the file, the line and what to mend. The file runs
with the rights of the agent, like its configuration: whoever may write the one may write the other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from trueline_edge.estimation.nonlinear import Model
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Loaded", "load_model"]


class Loaded(NamedTuple):
    """A model, and the id of the very text it came from: "name@first 12 digits of its SHA-256"."""

    model: Model
    id: str


def load_model(path: Path, parameters: Mapping[str, Any]) -> Loaded:
    """Run the file, and ask its `model` for a model.

    Args:
        path: of the file.
        parameters: given to `model` by name.

    Raises:
        ConfigError: the file cannot be read or run, has no `model`, or `model` gives none.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    name = f"trueline_model_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: a Python file is wanted, one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look themselves up there
    try:
        spec.loader.exec_module(module)
        if not callable(make := getattr(module, "model", None)):
            raise ConfigError(f"{path}: has no function `model`: write `def model(**parameters) -> Model`")
        model = make(**parameters)
    except ConfigError:
        raise
    except Exception as error:  # a person's file may raise anything: it is told where
        raise ConfigError(f"{path}{_line_in(path, error)}: {type(error).__name__}: {error}") from error
    if not isinstance(model, Model):
        raise ConfigError(f"{path}: `model` returned {type(model).__name__}: trueline_edge's Model is wanted")
    return Loaded(model, f"{path.stem}@{digest}")


def _line_in(path: Path, error: Exception) -> str:
    """Where in the file it went wrong: ":12"; "" where the error says so itself, or it was elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    return f":{lines[-1]}" if lines else ""
