"""On which line of a TOML text each key stands: what `tomllib` knows while it parses and does not tell.

Promises: for a text that `tomllib` accepts, the line of every table header, key and array element. Refuses to check the
text or to understand the values.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["KeyPath", "key_lines", "line_of"]

KeyPath = tuple[str | int, ...]
"""Where a value is: ("stream", 0, "stage", 1, "maximum")."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_INLINE_BLANK: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})' + r"|'''.*?'''(?:'{0,2})" + r'|"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'", re.DOTALL
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every key, table and element. A table's line is that of its first mention."""
    return _Scanner(text).scan()


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the nearest table around it that is written down; 1 where there is none."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[KeyPath, int] = {}
        self._elements: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return self._lines
            table = self._header() if self._text[self._at] == "[" else self._pair(table)

    def _header(self) -> KeyPath:
        start = self._at
        double = self._text.startswith("[[", start)
        self._at += 2 if double else 1
        path = self._key(())
        if double:
            self._note(path, start)
            self._elements[path] = self._elements.get(path, -1) + 1
            path = (*path, self._elements[path])
        self._at += 2 if double else 1
        self._note(path, start)
        return path

    def _pair(self, table: KeyPath) -> KeyPath:
        start = self._at
        path = self._key(table)
        for length in range(len(table) + 1, len(path) + 1):
            self._note(path[:length], start)
        self._at += 1  # the equals sign
        self._value(path)
        return table

    def _key(self, table: KeyPath) -> KeyPath:
        """A dotted key; where it passes through an array of tables, its last element is meant."""
        path = table
        while True:
            self._skip(_INLINE_BLANK)
            quoted = self._text[self._at] in "\"'"
            part = self._skip(_STRING if quoted else _BARE)
            path = (*path, part[1:-1] if quoted else part)
            self._skip(_INLINE_BLANK)
            if self._at >= len(self._text) or self._text[self._at] != ".":
                return path
            if path in self._elements:
                path = (*path, self._elements[path])
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        self._skip(_INLINE_BLANK)
        opening = self._text[self._at]
        if opening in "[{":
            self._at += 1
            self._inside(path, "]" if opening == "[" else "}")
        else:
            self._skip(_STRING if opening in "\"'" else _SCALAR)

    def _inside(self, path: KeyPath, closing: str) -> None:
        element = 0
        while self._skip(_BLANK) is not None and self._text[self._at] != closing:
            if closing == "]":
                self._note((*path, element), self._at)
                self._value((*path, element))
                element += 1
            else:
                self._pair(path)
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None  # noqa: S101 - the text is TOML: tomllib has read it
        self._at = match.end()
        return match.group()

    def _note(self, path: KeyPath, at: int) -> None:
        if path not in self._lines:
            self._lines[path] = self._text.count("\n", 0, at) + 1
