"""Settings: TOML text in, frozen types out, and every mistake named at once with its key, its line and a hint.

Promises: what is returned is valid; what is refused is refused with all its mistakes, not the first one. An unknown key
is always a mistake. Refuses to know what any setting means: types are `msgspec.Struct`s of the rooms they configure.
A struct says in `__post_init__` (ValueError, best begun with the field's name) what it does not take, and in a method
`objections()`, where it has one, what does not fit together below it. A `Path` is relative to the file's folder.
"""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from trueline_wire.errors import ConfigError
from trueline_wire.settings_lines import KeyPath, key_lines, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Mistake", "Objection", "OpenPort", "Port", "SettingsError", "json_schema", "load_toml", "parse_toml"]

SettingsT = TypeVar("SettingsT")

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
"""A port to connect to."""
OpenPort = Annotated[int, msgspec.Meta(ge=0, le=65535, extra={"hint": "0 takes any free port"})]
"""A port to listen on."""


class Objection(NamedTuple):
    """What a struct's `objections()` has found; `path` leads from the struct to the key."""

    path: KeyPath
    message: str
    hint: str = ""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to mend.

    Attributes:
        line: counted from 1; of the nearest table where the key itself is not written.
        key: "stream[0].stage[1].maximum"; "" for the text as a whole.
        message: what is wrong.
        hint: how to mend it; "" where the message says it.
    """

    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}: {self.key}: " if self.key else f"line {self.line}: "
        return place + self.message + (f"\n      hint: {self.hint}" if self.hint else "")


class SettingsError(ConfigError):
    """A file with mistakes, all of them."""

    def __init__(self, path: Path, mistakes: Iterable[Mistake]) -> None:
        self.path = path
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line))
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__("\n  ".join([f"{path}: {count}", *map(str, self.mistakes)]))


def load_toml(path: Path, type_: type[SettingsT]) -> SettingsT:
    """Read a TOML file into a struct.

    Args:
        path: the file. Every `Path` in the settings is taken relative to its folder.
        type_: a `msgspec.Struct`.

    Raises:
        ConfigError: the file cannot be read, or has mistakes (a `SettingsError`, which lists every one).
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8, which TOML asks for: {error.reason} at byte {error.start}") from error
    return parse_toml(text, path, type_)


def parse_toml(text: str, path: Path, type_: type[SettingsT]) -> SettingsT:
    """As `load_toml`, from a text that is said to stand at `path`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, [_syntax_mistake(text, error)]) from error
    reader = _Reader(path.parent)
    settings = reader.read(document, type_, ())
    if reader.objections:
        lines = key_lines(text)
        raise SettingsError(
            path,
            [
                Mistake(line=line_of(lines, where), key=_spell(where), message=message, hint=hint)
                for where, message, hint in reader.objections
            ],
        )
    return typing.cast("SettingsT", settings)


def json_schema(type_: type[Any]) -> dict[str, Any]:
    """The JSON Schema of what `load_toml` takes, for editors."""

    def hook(custom: type[Any]) -> dict[str, Any]:
        if custom is Path:
            return {"type": "string", "format": "path"}
        raise NotImplementedError(custom)

    schema = msgspec.json.schema(type_, schema_hook=hook)
    for definition in schema.get("$defs", {}).values():
        _describe(definition)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _describe(definition: dict[str, Any]) -> None:
    """Move what a docstring says of each attribute to its property, where an editor shows it."""
    text, _, attributes = definition.get("description", "").partition("Attributes:")
    definition["description"] = " ".join(text.split())
    for name, meaning in _ATTRIBUTE.findall(attributes):
        for key in (name, name.removesuffix("s")):  # a list of streams is written [[stream]]
            if key in definition.get("properties", {}):
                definition["properties"][key].setdefault("description", " ".join(meaning.split()))


_ATTRIBUTE: Final = re.compile(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", re.MULTILINE)

_REFUSED: Final = object()
"""Stands for a value that has been objected to."""


class _Reader:
    """Walks document and type side by side; a mistake is noted, and the walk goes on beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.objections: list[Objection] = []

    def read(self, raw: Any, type_: Any, path: KeyPath) -> Any:
        structs = _structs(type_)
        if structs and isinstance(raw, dict):
            chosen = structs[0] if len(structs) == 1 else self._choose(raw, structs, path)
            return _REFUSED if chosen is None else self._struct(raw, chosen, path)
        if structs:
            return self._object(path, f"a table is wanted, not {_name(raw)}")
        element = _element(type_)
        if element is not None and isinstance(raw, list):
            items = [self.read(item, element, (*path, position)) for position, item in enumerate(raw)]
            return _REFUSED if any(item is _REFUSED for item in items) else self._sequence(items, type_)
        return self._leaf(raw, type_, path)

    def _struct(self, raw: dict[str, Any], struct: type[msgspec.Struct], path: KeyPath) -> Any:
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        tag_field = struct.__struct_config__.tag_field
        known = [*fields, *([tag_field] if tag_field else [])]
        unknown = {key: _did_you_mean(key, known) for key in raw if key not in known}
        for key, hint in unknown.items():
            self._object((*path, key), "unknown key", hint)
        if tag_field in raw and raw[tag_field] != struct.__struct_config__.tag:
            self._object((*path, tag_field), f"must be {struct.__struct_config__.tag!r}, not {raw[tag_field]!r}")
        values: dict[str, Any] = {}
        for key, field in fields.items():
            value = _REFUSED
            if key in raw:
                value = self.read(raw[key], field.type, (*path, key))
            elif field.required and f"did you mean {key!r}?" not in unknown.values():
                self._object((*path, key), "missing", f"add it: {_wanted(field.type)}")
            if value is not _REFUSED:
                values[field.name] = value
        return self._build(struct, values, path)

    def _build(self, struct: type[msgspec.Struct], values: dict[str, Any], path: KeyPath) -> Any:
        """The struct; what it refuses is noted and left at its default, so that the rest is looked at as well."""
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        while all(name in values for name, field in fields.items() if field.required):
            try:
                built = struct(**values)
            except ValueError as error:
                culprit = next((word for word in str(error).split() if word in values), None)
                self._object((*path, fields[culprit].encode_name) if culprit else path, str(error))
                if culprit is None:
                    return _REFUSED
                del values[culprit]
            else:
                objections = getattr(built, "objections", tuple)
                if not inspect.signature(objections).parameters:  # else it wants to be asked by the struct around it
                    for where, message, hint in objections():
                        self._object((*path, *where), message, hint)
                return built
        return _REFUSED

    def _choose(
        self, raw: dict[str, Any], structs: list[type[msgspec.Struct]], path: KeyPath
    ) -> type[msgspec.Struct] | None:
        tag_field = structs[0].__struct_config__.tag_field or "type"
        by_tag = {str(struct.__struct_config__.tag): struct for struct in structs}
        if tag_field not in raw:
            fields = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
            slips = difflib.get_close_matches(tag_field, [key for key in raw if key not in fields], n=1)
            if slips:
                self._object((*path, slips[0]), "unknown key", f"did you mean {tag_field!r}?")
            else:
                self._object((*path, tag_field), "missing", f"add it: one of {', '.join(map(repr, by_tag))}")
            return None
        chosen = by_tag.get(str(raw[tag_field]))
        if chosen is None:
            hint = _did_you_mean(str(raw[tag_field]), list(by_tag)) or f"one of {', '.join(map(repr, by_tag))}"
            self._object((*path, tag_field), f"{raw[tag_field]!r} is not known", hint)
        return chosen

    def _leaf(self, raw: Any, type_: Any, path: KeyPath) -> Any:
        try:
            return msgspec.convert(raw, type_, dec_hook=self._convert_path)
        except msgspec.ValidationError as error:
            message = str(error).split(" - at ")[0]
            choices = [str(choice) for choice in typing.get_args(type_)] if _is_literal(type_) else []
            if choices and isinstance(raw, str):
                return self._object(path, f"{raw!r} is not known", _did_you_mean(raw, choices))
            return self._object(path, f"{message[:1].lower()}{message[1:]}, not {raw!r}", _hint_of(type_))

    def _sequence(self, items: list[Any], type_: Any) -> Any:
        as_list = any(typing.get_origin(member) is list for member in _members(type_))
        return items if as_list else tuple(items)

    def _convert_path(self, type_: type[Any], raw: Any) -> Any:
        if type_ is Path and isinstance(raw, str) and raw:
            return self._folder / raw
        if type_ is Path:
            raise ValueError("Expected a path")
        return raw

    def _object(self, path: KeyPath, message: str, hint: str = "") -> Any:
        self.objections.append(Objection(path, message, hint))
        return _REFUSED


def _members(type_: Any) -> tuple[Any, ...]:
    """The members of a union; a type that is none is its only member."""
    if typing.get_origin(type_) is Annotated:
        return _members(typing.get_args(type_)[0])
    if isinstance(type_, types.UnionType) or typing.get_origin(type_) is typing.Union:
        return tuple(member for member in typing.get_args(type_) if member is not type(None))
    return (type_,)


def _structs(type_: Any) -> list[type[msgspec.Struct]]:
    return [member for member in _members(type_) if isinstance(member, type) and issubclass(member, msgspec.Struct)]


def _element(type_: Any) -> Any:
    """What a list or a tuple of any length holds; None where the type is neither."""
    for member in _members(type_):
        arguments = typing.get_args(member)
        if typing.get_origin(member) is list or (typing.get_origin(member) is tuple and arguments[1:] == (...,)):
            return arguments[0]
    return None


def _is_literal(type_: Any) -> bool:
    return typing.get_origin(type_) is typing.Literal


def _hint_of(type_: Any) -> str:
    """The hint that came with `Annotated[..., msgspec.Meta(extra={"hint": ...})]`."""
    metas = typing.get_args(type_)[1:] if typing.get_origin(type_) is Annotated else ()
    return next((str(meta.extra["hint"]) for meta in metas if meta.extra), "")


def _name(raw: Any) -> str:
    names = {
        dict: "a table",
        list: "an array",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(raw), type(raw).__name__)


def _wanted(type_: Any) -> str:
    if _is_literal(type_):
        return f"one of {', '.join(map(repr, typing.get_args(type_)))}"
    if _structs(type_):
        return "a table"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(_members(type_)[0], "an array" if typing.get_origin(type_) in {list, tuple} else "a value")


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"


def _spell(path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _syntax_mistake(text: str, error: tomllib.TOMLDecodeError) -> Mistake:
    """Python 3.11 to 3.13 tell the line in the message alone: "... (at line 3, column 7)"."""
    message, _, place = str(error).rpartition(" (at ")
    digits = place.removeprefix("line ").split(",")[0]
    line = int(digits) if digits.isdigit() else text.count("\n") + 1
    return Mistake(line=line, key="", message=f"not TOML: {message or error}")
