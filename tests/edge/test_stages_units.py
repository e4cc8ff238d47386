"""Units: codes as UCUM reads them, factors as pint knows them, and the stages that use them."""

from __future__ import annotations

import functools
from math import isclose, radians
from typing import TYPE_CHECKING

import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.stages import Convert, Normalise
from trueline_edge.stages.units import Conversion, UnitError, conversion, read_unit
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from trueline_edge.stages import StageConfig

SCHEMA = Schema(
    device="d",
    stream="s",
    channels=(
        Channel(name="t", unit="Cel", resolution=0.1),
        Channel(name="p", unit="bar", resolution=0.01, sensor="p-1"),
        Channel(name="x", unit="1"),
    ),
)


@pytest.mark.parametrize(
    ("old", "new", "factor", "offset"),
    [
        ("Cel", "[degF]", 1.8, 32.0),
        ("[degF]", "K", 5 / 9, 459.67 * 5 / 9),
        ("Cel", "K", 1.0, 273.15),
        ("bar", "kPa", 100.0, 0.0),
        ("mbar", "hPa", 1.0, 0.0),
        ("mm[Hg]", "Pa", 133.322387415, 0.0),
        ("km/h", "m/s", 1 / 3.6, 0.0),
        ("kW.h", "MJ", 3.6, 0.0),
        ("%", "1", 0.01, 0.0),
        ("[ppb]", "[ppm]", 0.001, 0.0),
        ("ug/m3", "mg/L", 1e-6, 0.0),
        ("uS/cm", "S/m", 1e-4, 0.0),
        ("umol/(m2.s)", "mol/m2/s", 1e-6, 0.0),
        ("umol/m2.s", "mol.s/m2", 1e-6, 0.0),
        ("deg", "rad", radians(1), 0.0),
        ("{revs}/min", "/s", 1 / 60, 0.0),
        ("m2{net}", "cm2", 1e4, 0.0),
        ("m.s-2", "[g]", 1 / 9.80665, 0.0),
        ("m/(s/m)", "m2/s", 1.0, 0.0),
    ],
)
def test_codes_are_read_as_ucum_says(old: str, new: str, factor: float, offset: float) -> None:
    """Prefixes, powers, parentheses and annotations; `.` and `/` from left to right; both ways."""
    there, back = conversion(old, new), conversion(new, old)
    assert isclose(there.factor, factor, rel_tol=1e-15)
    assert isclose(there.offset, offset, rel_tol=1e-15)
    assert isclose(there.factor * back.factor, 1.0, rel_tol=1e-15)
    assert isclose(back.factor * there.offset + back.offset, 0.0, abs_tol=1e-9)


PAIRS = [
    ("degC", "degF"), ("degF", "kelvin"), ("bar", "psi"), ("psi", "kilopascal"), ("mmHg", "hectopascal"),
    ("inHg", "pascal"), ("cmH2O", "pascal"), ("atmosphere", "bar"), ("km/hour", "m/s"), ("knot", "m/s"),
    ("mile/hour", "km/h"), ("inch", "mm"), ("foot", "meter"), ("gallon/minute", "liter/second"), ("pound", "kg"),
    ("ounce", "g"), ("hp", "watt"), ("radian/second", "degree/second"), ("kW*h", "J"),
    ("percent", "dimensionless"), ("ppm", "percent"), ("meter/second**2", "g_0"),
    ("milliampere*hour", "coulomb"), ("lumen/m**2", "lux"), ("calorie", "joule"), ("eV", "joule"), ("mL/min", "L/hr"),
]  # fmt: skip


@functools.cache
def registry() -> pint.UnitRegistry:  # type: ignore[type-arg]
    return pint.UnitRegistry()


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_names_mean_what_pint_means(old: str, new: str) -> None:
    """Words that pint knows give the factors and offsets that pint gives."""
    zero, one = (registry().Quantity(number, old).to(new).magnitude for number in (0.0, 1.0))
    factor, offset = conversion(old, new)
    assert isclose(offset, zero, rel_tol=1e-7, abs_tol=1e-9)
    assert isclose(factor, one - zero, rel_tol=1e-7)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Cel", "m", "do not measure the same: K and m"),
        ("[ppb]", "ug/m3", "do not measure the same"),
        ("deg", "%", "do not measure the same: rad and a pure number"),
        ("degc", "K", "'degc' is not known; did you mean"),
        ("Cel/s", "K/s", "stands alone"),
        ("degF*m", "K", "stands alone"),
        ("m//s", "m", "two operators"),
        ("m s", "m", "is not a unit"),
        ("(m", "m", "not closed"),
        ("m)", "m", "a parenthesis too many"),
        ("", "m", "write a UCUM code"),
        ("m.", "m", "something is missing"),
        ("m99", "m", "is not a unit"),
        ("0", "1", "is not a unit"),
    ],
)
def test_what_cannot_be_read_is_refused(old: str, new: str, message: str) -> None:
    """A wrong code is never guessed at."""
    with pytest.raises(UnitError, match=message):
        conversion(old, new)


@given(st.text(max_size=12) | st.text(st.sampled_from("mskgPaCel[]{}()./-123%'*^ "), max_size=12))
def test_any_text_is_a_unit_or_an_error(code: str) -> None:
    """No text breaks the reader."""
    try:
        assert conversion(code, code) == Conversion(1.0, 0.0)
    except UnitError:
        with pytest.raises(UnitError):
            read_unit(code)


def out_of(config: StageConfig, *rows: list[float]) -> Readings:
    readings = Readings.raw(SCHEMA, np.arange(len(rows)), list(rows), [0.5, 0.02, 1.0])
    return config.stage(SCHEMA)(readings.flagged(np.isnan(readings.value), Flag.MISSING, Reason.MISSING))


def test_convert_changes_value_u_unit_and_resolution() -> None:
    """All that stands in the old unit stands in the new one; the other channels stay bit for bit."""
    out = out_of(Convert(to={"t": "degF", "p": "kPa"}), [100.0, 1.5, 0.1], [np.nan, -2.0, 7.0])
    assert out.value[0].tolist() == [212.0, 150.0, 0.1]
    assert np.isnan(out.value[1, 0])
    assert out.flag[1, 0] == Flag.MISSING
    assert out.u[0] == pytest.approx([0.9, 2.0, 1.0])
    assert [channel.unit for channel in out.schema.channels] == ["degF", "kPa", "1"]
    assert [channel.resolution for channel in out.schema.channels] == pytest.approx([0.18, 1.0, 0.0])
    assert out.schema.channels[1].sensor == "p-1"


def test_normalise_makes_pure_numbers() -> None:
    """A range becomes 0 to 1, a mean and deviation a score."""
    out = out_of(Normalise(ranges={"t": (-20.0, 60.0)}, scores={"p": (1.0, 0.5)}), [20.0, 2.0, 3.0])
    assert out.value[0].tolist() == [0.5, 2.0, 3.0]
    assert out.u[0] == pytest.approx([0.5 / 80, 0.04, 1.0])
    assert [channel.unit for channel in out.schema.channels] == ["1", "1", "1"]


def test_check_names_what_does_not_fit() -> None:
    """A channel that is not there and a unit that does not convert are objected to before a run."""
    found = list(Convert(to={"t": "kPa", "q": "K"}).objections(SCHEMA))
    assert [objection.path for objection in found] == [("to",), ("to", "t")]
    assert "do not measure the same" in found[1].message
    assert next(iter(Normalise(scores={"q": (0.0, 1.0)}).objections(SCHEMA))).path == ("scores",)
    for build in (
        lambda: Convert(to={}),
        lambda: Convert(to={"t": "degc"}),
        Normalise,
        lambda: Normalise(ranges={"t": (1.0, 1.0)}),
        lambda: Normalise(scores={"t": (1.0, 0.0)}),
        lambda: Normalise(ranges={"t": (0.0, 1.0)}, scores={"t": (0.0, 1.0)}),
    ):
        with pytest.raises(ValueError, match=r"to|ranges|scores"):
            build()
