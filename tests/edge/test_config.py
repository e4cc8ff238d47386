"""The agent's configuration: the sample is the documentation, and every mistake is named."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.config import AgentConfig, load_config
from trueline_edge.publish.config import CoapLinkConfig, MqttLinkConfig
from trueline_edge.sources import MqttSourceConfig, ReplayConfig, SimulatedConfig
from trueline_edge.stages import FlatLine, GrossRange, Missing
from trueline_wire.settings import SettingsError, json_schema, parse_toml

SAMPLE = Path(__file__).parents[2] / "examples" / "agent.toml"

MINIMAL = """
device = "pump-7"
state = "state"
[cloud]
public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
[[link]]
protocol = "mqtt"
host = "h"
[[stream]]
name = "valve"
[stream.source]
type = "simulated"
[[stream.channel]]
name = "a"
[[stream.channel]]
name = "b"
"""


def mistakes(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(SettingsError) as caught:
        parse_toml(text, Path("c/agent.toml"), AgentConfig)
    lines = text.splitlines()
    return [(m.key, lines[m.line - 1], m.message) for m in caught.value.mistakes]


def test_the_sample_loads() -> None:
    """examples/agent.toml is a valid configuration, and its paths are relative to its folder."""
    config = load_config(SAMPLE)
    assert config.device == "pump-7"
    assert config.state == SAMPLE.parent / "state" / "pump-7"
    assert [type(link) for link in config.links] == [MqttLinkConfig, CoapLinkConfig]
    valve, hall, bench = config.streams
    assert isinstance(valve.source, ReplayConfig)
    assert valve.source.path == SAMPLE.parent / "recorded" / "valve.csv"
    assert [type(stage) for stage in valve.stages] == [Missing, GrossRange, FlatLine]
    assert isinstance(hall.source, MqttSourceConfig)
    assert isinstance(bench.source, SimulatedConfig)


def structs_in(value: Any) -> list[msgspec.Struct]:
    if isinstance(value, msgspec.Struct):
        inner = [structs_in(getattr(value, field.name)) for field in msgspec.structs.fields(value)]
        return [value, *(struct for found in inner for struct in found)]
    if isinstance(value, tuple):
        return [struct for item in value for struct in structs_in(item)]
    return []


def test_the_sample_names_every_key() -> None:
    """A key that is not in the sample is a key nobody knows of: add it there, with its meaning."""
    text = SAMPLE.read_text()
    written = set(re.findall(r"([a-z0-9_]+) = ", text)) | set(re.findall(r"\[\[?(?:\w+\.)?(\w+)\]\]?", text))
    for struct in structs_in(load_config(SAMPLE)):
        for field in msgspec.structs.fields(struct):
            assert field.encode_name in written | {"paths"}, f"{type(struct).__name__}.{field.encode_name}"
    assert "paths" in text


def test_the_sample_says_the_defaults() -> None:
    """The agent without the optional tables is the agent of the sample."""
    minimal, sample = parse_toml(MINIMAL, SAMPLE, AgentConfig), load_config(SAMPLE)
    assert minimal.spool == sample.spool
    assert minimal.frame == sample.frame
    assert minimal.metrics is None


def test_a_schema_has_all_a_channel_declares() -> None:
    """What the wire says of a channel is what was written."""
    stream = load_config(SAMPLE).streams[0]
    schema = stream.schema("pump-7")
    assert (schema.device, schema.stream) == ("pump-7", "valve")
    pressure = schema.channels[0]
    assert (pressure.name, pressure.unit, pressure.resolution) == ("Pressure", "bar", 0.328)
    assert (pressure.sensor, pressure.calibration) == ("MPM-482/0193", "")


def lines_with_keys() -> list[int]:
    """The lines of the sample that say `key = value`, counted from 0."""
    return [n for n, line in enumerate(SAMPLE.read_text().splitlines()) if re.match(r"[a-z_]+ = ", line)]


@pytest.mark.parametrize("number", lines_with_keys())
def test_a_slip_on_any_line_is_found_on_that_line(number: int) -> None:
    """Whatever key of the sample is misspelt, or given a table for a value, its line is named, and the key."""
    lines = SAMPLE.read_text().splitlines()
    key = lines[number].split(" = ")[0]
    for slip, wanted in (
        (lines[number].replace(key, key + "x", 1), key + "x"),
        (f"{key} = {{ nonsense = 1 }}", key),
        (f"{key} = [[1]]", key),
    ):
        text = "\n".join([*lines[:number], slip, *lines[number + 1 :]])
        with pytest.raises(SettingsError) as caught:
            parse_toml(text, SAMPLE, AgentConfig)
        here = [mistake for mistake in caught.value.mistakes if mistake.line == number + 1]
        assert any(re.search(rf"\b{wanted}\b", mistake.key) for mistake in here), (slip, str(caught.value))


@given(st.data())
def test_no_text_is_too_strange(data: st.DataObject) -> None:
    """Law: a configuration with lines lost, doubled or exchanged loads, or is refused with its mistakes."""
    lines = SAMPLE.read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["lose", "double", "exchange", "spoil"])):
            case "lose":
                del lines[at]
            case "double":
                lines.insert(at, lines[other])
            case "exchange":
                lines[at], lines[other] = lines[other], lines[at]
            case "spoil":
                lines[at] = lines[at].replace(data.draw(st.sampled_from('="[]{.1')), data.draw(st.text(max_size=2)), 1)
    try:
        parse_toml("\n".join(lines), SAMPLE, AgentConfig)
    except SettingsError as error:
        places = [mistake.line for mistake in error.mistakes]
    else:
        places = [1]
    assert places
    assert all(1 <= place <= len(lines) + 1 for place in places)


CROSS_CHECKS = {
    "device with a blank": (
        'device = "pump-7"',
        'device = "pump 7"',
        ("device", 'device = "pump 7"', "expected `str` matching regex '^[A-Za-z0-9._-]{1,64}$', not 'pump 7'"),
    ),
    "device with a line end": (
        'device = "pump-7"',
        'device = "pump-7\\n"',
        ("device", 'device = "pump-7\\n"', "device 'pump-7\\n' is not a device id"),
    ),
    "key of the wrong size": (
        'public_key = "11qY',
        'public_key = "11qYAAAA',
        (
            "cloud.public_key",
            'public_key = "11qYAAAAAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="',
            "public_key has 35 bytes, not 32: copy what `trueline-cloud key` prints",
        ),
    ),
    "channel named twice": (
        'name = "b"',
        'name = "a"',
        ("stream[0].channel[1].name", 'name = "a"', "'a' names two channels of stream 'valve'"),
    ),
    "key of another source": (
        'name = "b"',
        'name = "b"\ncolumn = "x"',
        ("stream[0].channel[1].column", 'column = "x"', "the source of this stream does not use it"),
    ),
    "negative resolution": (
        'name = "b"',
        'name = "b"\nresolution = -1',
        (
            "stream[0].channel[1].resolution",
            "resolution = -1",
            "resolution -1.0 must be a number that is not negative (0: unknown)",
        ),
    ),
    "infinite u": (
        'name = "b"',
        'name = "b"\nu = inf',
        (
            "stream[0].channel[1].u",
            "u = inf",
            "u inf must be a number that is not negative (leave it out where unknown)",
        ),
    ),
    "stage of an unknown channel": (
        'name = "b"',
        'name = "b"\n[[stream.stage]]\ntype = "missing"\nchannels = ["a", "bb"]',
        ("stream[0].stage[0].channels", 'channels = ["a", "bb"]', "stream 'valve' has no channel 'bb'"),
    ),
    "no certificate without key": (
        'host = "h"',
        'host = "h"\ntls = { certificate = "c" }',
        (
            "link[0].tls.certificate",
            'tls = { certificate = "c" }',
            "certificate and key go together: give both or neither",
        ),
    ),
    "no way to switch a check off": (
        'host = "h"',
        'host = "h"\ntls = { insecure = true }',
        ("link[0].tls.insecure", "tls = { insecure = true }", "unknown key"),
    ),
    "password without a name": (
        'host = "h"',
        'host = "h"\npassword_file = "p"',
        ("link[0].password_file", 'password_file = "p"', "password_file without username"),
    ),
    "too many values in a frame": (
        'state = "state"',
        'state = "state"\nframe = { rows_max = 65536 }\n',
        None,
    ),
}


@pytest.mark.parametrize("name", CROSS_CHECKS)
def test_what_does_not_fit_together_is_named(name: str) -> None:
    """Each check across keys says key, line and what is wrong."""
    old, new, expected = CROSS_CHECKS[name]
    assert MINIMAL.count(old) == 1
    text = MINIMAL.replace(old, new)
    if expected is None:  # 65,536 rows of two channels still fit
        assert parse_toml(text, Path("a.toml"), AgentConfig).frame.rows_max == 65_536
    else:
        assert mistakes(text) == [expected]


def test_two_streams_of_one_name_and_frames_beyond_the_wire() -> None:
    """Names are unique on a device, and a frame of all channels fits the wire."""
    stream = MINIMAL[MINIMAL.index("[[stream]]") :]
    assert mistakes(MINIMAL + stream) == [("stream[1].name", 'name = "valve"', "'valve' names two streams")]
    wide = "".join(f'[[stream.channel]]\nname = "c{n}"\n' for n in range(1000))
    found = mistakes(MINIMAL + wide)
    assert [(key, message) for key, _, message in found] == [("stream[0]", "a frame holds 524288 values at most")]


def test_nothing_to_do_is_a_mistake() -> None:
    """An agent without a link or a stream, and a stream without channels, cannot be meant."""
    cloud = MINIMAL[MINIMAL.index("[cloud]") : MINIMAL.index("[[link]]")]
    text = 'device = "d"\nstate = "s"\nlink = []\nstream = []\n' + cloud
    assert [key for key, *_ in mistakes(text)] == ["link", "stream"]
    no_channels = MINIMAL.split("[[stream.channel]]", maxsplit=1)[0]
    assert [(key, message) for key, _, message in mistakes(no_channels)] == [("stream[0].channel", "missing")]


def test_a_replay_wants_one_way_to_name_files() -> None:
    """`path` or `paths`, never both, never neither."""
    for lines, count in (('path = "a"', 0), ('paths = ["a", "b"]', 0), ('path = "a"\npaths = ["b"]', 1), ("", 1)):
        text = MINIMAL.replace('type = "simulated"', 'type = "replay"\n' + lines)
        if count:
            assert [message for *_, message in mistakes(text)] == ["path or paths is wanted: one of them"]
        else:
            parse_toml(text, Path("a.toml"), AgentConfig)


def test_the_json_schema_fits_the_sample() -> None:
    """Every key of the sample is in the schema an editor is given."""
    schema = json.loads(json.dumps(json_schema(AgentConfig)))
    known = {key for definition in schema["$defs"].values() for key in definition.get("properties", {})}

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()

    assert keys(tomllib.loads(SAMPLE.read_text())) <= known


def test_the_json_schema_explains_every_key() -> None:
    """An editor shows what each key means, in the words of the type's own docstring."""
    schema = json_schema(AgentConfig)
    for name, definition in schema["$defs"].items():
        assert "Attributes" not in definition["description"]
        for key, described in definition.get("properties", {}).items():
            tag = described.keys() == {"enum"}
            assert tag or described.get("description"), f"{name}.{key}: say in the docstring what it means"
