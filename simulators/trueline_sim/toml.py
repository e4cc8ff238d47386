"""Writing TOML: the few lines the standard library leaves out.

Promises: what `to_toml` writes, `tomllib` reads back equal. Refuses to know what the keys mean.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["to_toml"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(document: Mapping[str, Any]) -> str:
    """A document as TOML. Mappings become tables, lists of mappings arrays of tables; None is left out.

    Raises:
        TypeError: a value that TOML does not know.
    """
    return "\n".join(_table(document, ())) + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    present = {key: value for key, value in table.items() if value is not None}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in present.items() if not _is_table(value)]
    for key, value in present.items():
        if not _is_table(value):
            continue
        inner = (*path, key)
        name = ".".join(map(_key, inner))
        if isinstance(value, dict):
            lines += [f"[{name}]", *_table(value, inner)]
        else:
            for item in value:
                lines += [f"[[{name}]]", *_table(item, inner)]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} cannot be written as TOML")
