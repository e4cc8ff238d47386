from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kit import KEY, STRANGER, golden, manifest, package, ring

from trueline_model.package import Golden, Input, Package, open_package, read_package, write_package
from trueline_wire.errors import NeverRetry, NotAuthentic

FILE = write_package(package(), KEY)


def resigned(rest: bytes) -> bytes:
    """A file with this behind its signature, signed by the key that is trusted."""
    return b"TLMODEL1" + KEY.key_id + KEY.sign(b"TLMODEL1" + rest) + rest


def rewritten(**changes: Any) -> bytes:
    """The file with keys of its manifest changed, signed."""
    size = int.from_bytes(FILE[76:80], "little")
    text = msgspec.json.encode(msgspec.json.decode(FILE[80 : 80 + size]) | changes)
    return resigned(len(text).to_bytes(4, "little") + text + FILE[80 + size :])


def test_what_is_written_is_read_back() -> None:
    """Manifest, arrays, network, golden rows, calibration and alarm come back as they went in."""
    arrays = {
        "f": np.array([[1.5, -2.0]]),
        "g": np.float32([3.0]),
        "i": np.array([-1, 2], np.int8),
        "l": np.array(7, np.int64),
        "b": np.array([True, False]),
        "big endian": np.array([1.0, 2.0], ">f8"),
        "turned": np.arange(6.0).reshape(2, 3).T,
    }
    before = package(arrays, metrics={"ap": 0.5}, golden_tolerance=0.01)
    after = read_package(write_package(before, KEY), ring())
    assert msgspec.structs.replace(after.manifest, parts=()) == before.manifest
    assert after.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert after.arrays[name].dtype.name == array.dtype.name
        np.testing.assert_array_equal(after.arrays[name], array)
    for field in ("value", "valid", "score"):
        np.testing.assert_array_equal(getattr(after.golden, field), getattr(before.golden, field))
    assert after.network == before.network
    np.testing.assert_array_equal(after.calibration["level"], before.calibration["level"])
    assert float(after.alarm["threshold"]) == 3.0
    assert not after.arrays["f"].flags.writeable


def test_a_package_without_network_has_none() -> None:
    """A statistical detector is arrays alone."""
    written = write_package(dataclasses.replace(package(), network=b""), KEY)
    assert open_package(written).network == b""


@given(at=st.integers(0, len(FILE) - 1), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(at: int, bit: int) -> None:
    """A file with one bit turned is refused, and whose it is not is said first."""
    changed = bytearray(FILE)
    changed[at] ^= 1 << bit
    with pytest.raises(NeverRetry):
        read_package(bytes(changed), ring())


@given(size=st.integers(0, len(FILE) - 1), more=st.binary(min_size=1, max_size=20))
def test_nothing_can_be_cut_off_or_sewn_on(size: int, more: bytes) -> None:
    """A file that ends early, or late, is refused."""
    for changed in (FILE[:size], FILE + more):
        with pytest.raises(NeverRetry):
            read_package(changed, ring())


def test_a_stranger_s_signature_is_refused_though_the_package_is_good() -> None:
    """Only the named signer's key counts; the same bytes open where nobody asks for the signature (the control)."""
    theirs = write_package(package(), STRANGER)
    with pytest.raises(NotAuthentic):
        read_package(theirs, ring())
    with pytest.raises(NotAuthentic):
        read_package(FILE, ring(), "somebody-else")
    assert open_package(theirs).manifest.name == "pump"


@given(rest=st.binary(max_size=200))
def test_signed_rubbish_is_refused_with_its_reason(rest: bytes) -> None:
    """Whatever a trusted key signs: it is a package, or NeverRetry, and nothing else."""
    with pytest.raises(NeverRetry):
        read_package(resigned(rest), ring())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../etc/passwd"}, "name"),
        ({"version": 0}, "version"),
        ({"inputs": []}, "inputs"),
        ({"interval_s": 0.0}, "interval_s"),
        ({"golden_tolerance": 2.0}, "golden_tolerance"),
        ({"calibrated_s": -1.0}, "calibrated_s"),
        ({"parts": []}, "its parts are 0 bytes"),
        ({"parts": [{"name": "x", "dtype": "float64", "shape": [1 << 40, 1 << 40]}]}, "its parts are"),
        ({"parts": [{"name": "x", "dtype": "object", "shape": [1]}]}, "object"),
        ({"parts": [{"name": "x", "dtype": "int8", "shape": [-1, -1]}]}, "shape"),
        ({"colour": "red"}, "colour"),
        ({"inputs": [{"name": "a", "unit": "1", "minimum": 1.0, "maximum": 0.0}]}, "no range"),
        ({"inputs": [{"name": "a", "unit": "1", "minimum": 0.0, "maximum": 1.0}]}, "golden rows"),
        ({"created": "yesterday"}, "created"),
    ],
)
def test_a_signed_manifest_that_does_not_fit_says_what(changes: dict[str, Any], said: str) -> None:
    """The message names the place."""
    with pytest.raises(NeverRetry, match=said):
        read_package(rewritten(**changes), ring())


def test_the_package_rewritten_without_change_is_good() -> None:
    """The control of the test above: its way of signing again harms nothing."""
    assert read_package(rewritten(), ring()).manifest.name == "pump"


def test_numbers_that_are_not_finite_make_no_package() -> None:
    """A scale of NaN is refused where a package is made, and so where one is read."""
    with pytest.raises(ValueError, match="scale"):
        package({"scale": np.array([np.nan])})
    bad = FILE.replace(np.ones(2).tobytes(), np.array([np.nan, 1.0]).tobytes())
    assert bad != FILE
    with pytest.raises(NeverRetry, match="scale"):
        read_package(resigned(bad[76:]), ring())
    with pytest.raises(ValueError, match="level"):
        dataclasses.replace(package(), calibration={"level": np.array([np.inf])})
    with pytest.raises(ValueError, match="prove nothing"):
        Golden(np.zeros((3, 2)), np.ones((3, 2), bool), np.full(3, np.nan))


def test_arrays_of_objects_and_packages_too_long_are_not_written() -> None:
    """What could not be read back is not written."""
    with pytest.raises(ValueError, match="object"):
        write_package(package({"o": np.array([None])}), KEY)
    with pytest.raises(ValueError, match="bytes: "):
        write_package(package({"o": np.zeros(1 << 22)}), KEY)


def test_a_golden_row_has_a_number_for_each_input() -> None:
    """Rows of another width prove nothing of this model."""
    with pytest.raises(ValueError, match="golden rows"):
        Package(manifest=manifest(), arrays={}, golden=golden(width=3))


def test_an_input_has_a_range() -> None:
    """NaN is no limit of what a model was trained on."""
    with pytest.raises(ValueError, match="range"):
        Input(name="a", unit="1", minimum=float("nan"), maximum=1.0)
