"""Settings: every mistake named at once, with key, line and hint."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_wire.errors import ConfigError
from trueline_wire.settings import Objection, Port, SettingsError, json_schema, load_toml, parse_toml
from trueline_wire.settings_lines import KeyPath, key_lines, line_of


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    ca: Path | None = None


class Mqtt(msgspec.Struct, frozen=True, kw_only=True, tag_field="protocol", tag="mqtt"):
    host: str
    port: Port = 1883
    tls: Tls | None = None


class Coap(msgspec.Struct, frozen=True, kw_only=True, tag_field="protocol", tag="coap"):
    host: str


class Band(msgspec.Struct, frozen=True, kw_only=True):
    minimum: float = 0.0
    maximum: float = 1.0

    def __post_init__(self) -> None:
        if not self.minimum < self.maximum:
            raise ValueError(f"minimum {self.minimum} must be below maximum {self.maximum}")


class House(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, extra={"hint": "any text"})]
    links: tuple[Mqtt | Coap, ...] = msgspec.field(name="link", default=())
    lane: Literal["data", "event"] = "data"
    bands: list[Band] = msgspec.field(name="band", default_factory=list)
    paths: tuple[Path, ...] = ()
    size: int = 1
    words: str | tuple[str, ...] = ()

    def objections(self) -> list[Objection]:
        return [Objection(("size",), "too large")] if self.size > 9 else []


def mistakes(text: str, type_: type[Any] = House) -> list[tuple[int, str, str, str]]:
    with pytest.raises(SettingsError) as caught:
        parse_toml(text, Path("house.toml"), type_)
    return [(m.line, m.key, m.message, m.hint) for m in caught.value.mistakes]


GOOD = """
name = "a"
paths = ["x.csv", "/y.csv"]
words = ["a", "b"]
[[link]]
protocol = "mqtt"
host = "h"
tls = {ca = "ca.pem"}
[[link]]
protocol = "coap"
host = "h"
[[band]]
minimum = 0
maximum = 2
"""


def test_good_settings_become_a_struct() -> None:
    """What is in order is returned, paths relative to the file's folder."""
    house = parse_toml(GOOD, Path("folder/house.toml"), House)
    assert house.links == (Mqtt(host="h", tls=Tls(ca=Path("folder/ca.pem"))), Coap(host="h"))
    assert house.paths == (Path("folder/x.csv"), Path("/y.csv"))
    assert house.bands == [Band(minimum=0.0, maximum=2.0)]
    assert house.words == ("a", "b")


MISTAKES = {
    "unknown key": ('name = "a"\nsise = 3', (2, "sise", "unknown key", "did you mean 'size'?")),
    "missing key": ("size = 3", (1, "name", "missing", "add it: a text")),
    "wrong type": ('name = "a"\nsize = "big"', (2, "size", "expected `int`, got `str`, not 'big'", "")),
    "true is no number": ('name = "a"\nsize = true', (2, "size", "expected `int`, got `bool`, not True", "")),
    "wrong word": ('name = "a"\nlane = "evnt"', (2, "lane", "'evnt' is not known", "did you mean 'event'?")),
    "hint of the type": ('name = ""', (1, "name", "expected `str` of length >= 1, not ''", "any text")),
    "out of range": (
        'name = "a"\n[[band]]\n[[band]]\nminimum = 5\n',
        (4, "band[1].minimum", "minimum 5.0 must be below maximum 1.0", ""),
    ),
    "bad tag": (
        'name = "a"\n[[link]]\nhost = "h"\nprotocol = "amqp"',
        (4, "link[0].protocol", "'amqp' is not known", "did you mean 'mqtt'?"),
    ),
    "no tag": ('name = "a"\n[[link]]\nhost = "h"', (2, "link[0].protocol", "missing", "add it: one of 'mqtt', 'coap'")),
    "table wanted": ('name = "a"\nlink = ["h"]', (2, "link[0]", "a table is wanted, not a text", "")),
    "array wanted": ('name = "a"\nband = 3', (2, "band", "expected `array`, got `int`, not 3", "")),
    "element": ('name = "a"\npaths = [\n  "x",\n  7,\n]', (4, "paths[1]", "expected a path, not 7", "")),
    "objection": ('name = "a"\nsize = 10', (2, "size", "too large", "")),
    "inline table": (
        'name = "a"\n[[link]]\nprotocol = "mqtt"\nhost = "h"\ntls = {cb = "x"}',
        (5, "link[0].tls.cb", "unknown key", "did you mean 'ca'?"),
    ),
    "typo in a required key": ('nam = "a"', (1, "nam", "unknown key", "did you mean 'name'?")),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_has_key_line_and_hint(case: str) -> None:
    """Each kind of mistake is named with key path, line and hint, and nothing else is named beside it."""
    text, expected = MISTAKES[case]
    assert mistakes(text) == [expected]


def test_all_mistakes_come_at_once() -> None:
    """Ten mistakes in one file are ten lines of one error, in the order of the file."""
    text = (
        'nme = 1\nsise = 2\nlane = "x"\nsize = "y"\n[[link]]\nprotocol = "mqtt"\nport = 70000\n'
        "[[band]]\nminimum = 3\n[[band]]\nmaximum = -3\nmid = 1\n"
    )
    found = mistakes(text)
    assert [line for line, *_ in found] == sorted(line for line, *_ in found)
    assert [key for _, key, *_ in found] == [
        "nme",
        "sise",
        "lane",
        "size",
        "link[0].host",
        "link[0].port",
        "band[0].minimum",
        "band[1].maximum",
        "band[1].mid",
    ]


def test_a_syntax_error_is_one_mistake_with_its_line() -> None:
    """What is not TOML is said once, with the line."""
    assert [(line, key) for line, key, *_ in mistakes('name = "a"\nsize = = 3\n')] == [(2, "")]
    assert [(line, key) for line, key, *_ in mistakes('name = "a')] == [(1, "")]


def test_the_message_lists_everything(tmp_path: Path) -> None:
    """The error's text names file, count, lines, keys and hints, for a person at a terminal."""
    path = tmp_path / "house.toml"
    path.write_text('nam = "a"\nsize = "big"\n')
    with pytest.raises(ConfigError) as caught:
        load_toml(path, House)
    assert str(caught.value).splitlines() == [
        f"{path}: 2 mistakes",
        "  line 1: nam: unknown key",
        "      hint: did you mean 'name'?",
        "  line 2: size: expected `int`, got `str`, not 'big'",
    ]


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are not UTF-8 are said in one line each."""
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"\n')
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(ConfigError, match=str(path)):
            load_toml(path, House)


def test_the_schema_is_json() -> None:
    """The JSON Schema names every key and says what a path is."""
    schema = json.loads(json.dumps(json_schema(House)))
    assert '"format": "path"' in json.dumps(schema)
    assert set(schema["$defs"]["House"]["properties"]) == {"name", "link", "lane", "band", "paths", "size", "words"}


LINES = '''# comment [not.a.table]
a = 1 # [nor] = this
"quoted key".b = """
multi # not a comment
c = 3
"""
arr = [ # comment
  {x = 1, y = [1,
     2]}, 'lit]eral',
  """three
""", 4,
]

[t.u]
v.w = 1979-05-27 07:32:00
[[s]]
n = {a.b = "}", c = ']'}
[s.sub]
k = -inf
[[s]]
[[s.deep]]
k = true
[[s.deep]]
k = false
'''


def test_every_key_has_its_line() -> None:
    """Comments, strings of all kinds, nested arrays and tables of tables do not confuse the scanner."""
    lines = key_lines(LINES)
    expected: dict[KeyPath, int] = {
        ("a",): 2,
        ("quoted key", "b"): 3,
        ("arr",): 7,
        ("arr", 0, "x"): 8,
        ("arr", 0, "y", 1): 9,
        ("arr", 1): 9,
        ("arr", 2): 10,
        ("arr", 3): 11,
        ("t", "u"): 14,
        ("t", "u", "v", "w"): 15,
        ("s", 0): 16,
        ("s", 0, "n", "a", "b"): 17,
        ("s", 0, "n", "c"): 17,
        ("s", 0, "sub", "k"): 19,
        ("s", 1): 20,
        ("s", 1, "deep", 0, "k"): 22,
        ("s", 1, "deep", 1, "k"): 24,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert line_of(lines, ("s", 1, "deep", 1, "missing")) == 23
    assert line_of({}, ("x",)) == 1


def paths_of(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(value, dict):
        return [p for key, inner in value.items() for p in [(*path, key), *paths_of(inner, (*path, key))]]
    if isinstance(value, list):
        return [p for i, inner in enumerate(value) for p in [(*path, i), *paths_of(inner, (*path, i))]]
    return []


VALUES = st.recursive(
    st.sampled_from(["1", "'a#]'", '"b\\"}"', '"""x\ny"""', "'''z\n]'''", "true", "1.5e3", "[]", "{}"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[" + ",\n".join(items) + "]"),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from(["", "[t{}]\n", "[[r]]\n", "# c\n"]), VALUES), max_size=8))
def test_every_path_of_any_text_has_a_line(parts: list[tuple[str, str]]) -> None:
    """Law: each key path `tomllib` finds stands on the line where its key is written."""
    text = "".join(f"{head.format(i)}k{i} = {value}\n" for i, (head, value) in enumerate(parts))
    lines = key_lines(text)
    for path in paths_of(tomllib.loads(text)):
        assert path in lines, (text, path)
        if str(path[-1]).startswith("k"):
            assert text.splitlines()[lines[path] - 1].startswith(f"{path[-1]} =")
