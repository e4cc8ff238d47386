"""Units of measure: UCUM codes (and the plain names people and `pint` use) -> how to get from one to another.

Promises: a code is read as UCUM says (case-sensitive; `.` and `/` from left to right; exponents, parentheses, metric
prefixes, annotations in braces); factors are exact until the last rounding; two units of different dimensions never
convert. Carries a table of the units sensors speak, not all of UCUM, and says which word it does not know. Needs no
library, so that the running agent loads none. Source: UCUM 2.2 (ucum.org), NIST SP 811 for the customary units.
"""

from __future__ import annotations

import difflib
import re
from fractions import Fraction
from math import pi
from typing import Final, NamedTuple

__all__ = ["Conversion", "UnitError", "conversion", "read_unit"]

_Dimensions = tuple[int, ...]
"""Powers of metre, second, gram, kelvin, coulomb, candela, radian, mole, bit."""


class UnitError(ValueError):
    """A code that cannot be read, or two units that do not convert."""


class _Unit(NamedTuple):
    """A unit in terms of the base units: base = scale * value + zero."""

    scale: Fraction
    dimensions: _Dimensions
    zero: Fraction = Fraction(0)


class Conversion(NamedTuple):
    """new = factor * old + offset; an uncertainty takes the factor alone."""

    factor: float
    offset: float


_BASES: Final = ("m", "s", "g", "K", "C", "cd", "rad", "mol", "bit")
_ONE: Final = _Unit(Fraction(1), (0,) * len(_BASES))

_PREFIXES: Final = (
    {
        letter: Fraction(10) ** power
        for letter, power in zip("YZEPTGMkhd", (24, 21, 18, 15, 12, 9, 6, 3, 2, -1), strict=True)
    }
    | {
        letter: Fraction(10) ** power
        for letter, power in zip("cmunpfazy", (-2, -3, -6, -9, -12, -15, -18, -21, -24), strict=True)
    }
    | {"da": Fraction(10), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30)}
)

_METRIC: Final = {
    **{name: f"1 {name}" for name in _BASES},
    "Hz": "1 /s", "N": "1 kg.m/s2", "Pa": "1 N/m2", "J": "1 N.m", "W": "1 J/s", "A": "1 C/s", "V": "1 J/C",
    "F": "1 C/V", "Ohm": "1 V/A", "S": "1 A/V", "Wb": "1 V.s", "T": "1 Wb/m2", "H": "1 Wb/A", "lm": "1 cd.rad2",
    "lx": "1 lm/m2", "Bq": "1 /s", "Gy": "1 J/kg", "Sv": "1 J/kg", "kat": "1 mol/s", "sr": "1 rad2", "By": "8 bit",
    "l": "1 dm3", "L": "1 dm3", "t": "1000 kg", "ar": "100 m2", "bar": "100000 Pa", "P": "0.1 Pa.s",
    "G": "0.0001 T", "St": "0.0001 m2/s", "eV": "1.602176634e-19 J", "dyn": "0.00001 N", "erg": "1e-7 J",
    "m[H2O]": "9806.65 Pa", "m[Hg]": "133322.387415 Pa", "[g]": "9.80665 m/s2", "eq": "1 mol", "cal": "4.184 J",
}  # fmt: skip
_OTHER: Final = {
    "%": "0.01 1", "[ppth]": "0.001 1", "[ppm]": "1e-6 1", "[ppb]": "1e-9 1", "[pptr]": "1e-12 1",
    "min": "60 s", "h": "3600 s", "d": "86400 s", "wk": "7 d", "a": "365.25 d", "atm": "101325 Pa",
    "gon": "0.9 deg", "circ": "360 deg", "'": "1 deg/60", "''": "1 deg/3600",
    "[in_i]": "2.54 cm", "[ft_i]": "12 [in_i]", "[yd_i]": "3 [ft_i]", "[mi_i]": "5280 [ft_i]", "[nmi_i]": "1852 m",
    "[kn_i]": "1 [nmi_i]/h", "[lb_av]": "453.59237 g", "[oz_av]": "1 [lb_av]/16", "[lbf_av]": "1 [lb_av].[g]",
    "[psi]": "1 [lbf_av]/[in_i]2", "[in_i'Hg]": "0.0254 m[Hg]", "[in_i'H2O]": "0.0254 m[H2O]",
    "[gal_us]": "231 [in_i]3", "[gal_br]": "4.54609 l", "[Btu_IT]": "1055.05585262 J", "[Btu]": "1055.05585262 J",
    "[HP]": "550 [ft_i].[lbf_av]/s", "[acr_us]": "4046.872609874252 m2", "[degR]": "1 K.5/9",
}  # fmt: skip
_ATOMS: Final[dict[str, _Unit]] = {"deg": _Unit(Fraction(pi) / 180, (*_ONE.dimensions[:6], 1, 0, 0))}
_SPECIAL: Final = {
    "Cel": _Unit(Fraction(1), (0, 0, 0, 1, 0, 0, 0, 0, 0), Fraction("273.15")),
    "[degF]": _Unit(Fraction(5, 9), (0, 0, 0, 1, 0, 0, 0, 0, 0), Fraction("459.67") * 5 / 9),
}
"""Units whose zero is not the zero of the quantity: they stand alone."""

_NAMES: Final = {
    "degC": "Cel", "celsius": "Cel", "degree_Celsius": "Cel", "°C": "Cel", "degF": "[degF]", "fahrenheit": "[degF]",
    "degree_Fahrenheit": "[degF]", "°F": "[degF]", "kelvin": "K", "degR": "[degR]", "meter": "m", "metre": "m",
    "second": "s", "minute": "min", "hour": "h", "hr": "h", "day": "d", "week": "wk", "year": "a", "gram": "g",
    "tonne": "t", "pascal": "Pa", "atmosphere": "atm", "psi": "[psi]", "mmHg": "mm[Hg]", "inHg": "[in_i'Hg]",
    "cmH2O": "cm[H2O]", "inH2O": "[in_i'H2O]", "newton": "N", "joule": "J", "watt": "W", "volt": "V", "ampere": "A",
    "amp": "A", "coulomb": "C", "ohm": "Ohm", "siemens": "S", "farad": "F", "tesla": "T", "gauss": "G", "hertz": "Hz",
    "lux": "lx", "lumen": "lm", "candela": "cd", "liter": "l", "litre": "l", "inch": "[in_i]", "in": "[in_i]",
    "foot": "[ft_i]", "ft": "[ft_i]", "feet": "[ft_i]", "yard": "[yd_i]", "mile": "[mi_i]", "mi": "[mi_i]",
    "knot": "[kn_i]", "kn": "[kn_i]", "nautical_mile": "[nmi_i]", "pound": "[lb_av]", "lb": "[lb_av]",
    "ounce": "[oz_av]", "oz": "[oz_av]", "gallon": "[gal_us]", "horsepower": "[HP]", "hp": "[HP]", "Btu": "[Btu_IT]",
    "radian": "rad", "degree": "deg", "mole": "mol", "percent": "%", "ppm": "[ppm]", "ppb": "[ppb]", "byte": "By",
    "electron_volt": "eV", "calorie": "cal", "dimensionless": "1", "g_0": "[g]", "standard_gravity": "[g]",
}  # fmt: skip
"""Words of pint and of daily life."""
_LONG_PREFIXES: Final = {
    "giga": "G", "mega": "M", "kilo": "k", "hecto": "h", "deci": "d", "centi": "c", "milli": "m", "micro": "u",
    "nano": "n", "pico": "p",
}  # fmt: skip

_TOKEN: Final = re.compile(r"([./()])|((?:\[[^\]]*\]|''?|%|[^\W\d]|°|_)+)([+-]?\d+)?|(\d+)")
_CODE_MAX: Final = 256
_POWER_MAX: Final = 20


def conversion(old: str, new: str) -> Conversion:
    """How a value in one unit becomes one in another.

    Raises:
        UnitError: a code that cannot be read, or two dimensions.
    """
    one, other = read_unit(old), read_unit(new)
    if one.dimensions != other.dimensions:
        raise UnitError(
            f"{old!r} and {new!r} do not measure the same: {_spell(one.dimensions)} and {_spell(other.dimensions)}"
        )
    return Conversion(float(one.scale / other.scale), float((one.zero - other.zero) / other.scale))


def read_unit(code: str) -> _Unit:
    """A unit by its UCUM code or plain name.

    Raises:
        UnitError: the code cannot be read.
    """
    text = re.sub(r"\s*(\*\*|[./*^()])\s*", r"\1", code.strip())
    text = text.replace("**", "").replace("^", "").replace("*", ".").replace("µ", "u")
    text = re.sub(r"\{[^}]*\}", "", re.sub(r"(^|[./(])\{[^}]*\}", r"\g<1>1", text))
    text = _NAMES.get(text, text)
    if text in _SPECIAL:
        return _SPECIAL[text]
    if not text or len(text) > _CODE_MAX:
        raise UnitError(f"{code!r:.80} is not a unit: write a UCUM code, or '1' for a pure number")
    tokens = [found.groups() for found in _TOKEN.finditer(text)]
    if "".join("".join(part or "" for part in token) for token in tokens) != text:
        raise UnitError(f"{code!r} is not a unit")
    unit, rest = _product(tokens, code)
    if rest:
        raise UnitError(f"{code!r} is not a unit: a parenthesis too many")
    return unit


_Tokens = list[tuple[str, ...]]


def _product(tokens: _Tokens, code: str) -> tuple[_Unit, _Tokens]:
    """Terms joined by `.` and `/`, up to the end or a closing parenthesis; and what follows."""
    unit, sign, wanted = _ONE, 1, True
    while tokens and tokens[0][0] != ")":
        (operator, word, power, number), *tokens = tokens
        if operator in {".", "/"}:
            if wanted and not (operator == "/" and unit is _ONE):
                raise UnitError(f"{code!r} is not a unit: two operators in a row")
            sign, wanted = (1 if operator == "." else -1), True
            continue
        if not wanted:
            raise UnitError(f"{code!r} is not a unit: write '.' or '/' between two")
        if operator == "(":
            term, tokens = _product(tokens, code)
            if not tokens:
                raise UnitError(f"{code!r} is not a unit: a parenthesis is not closed")
            tokens = tokens[1:]
        else:
            term = _Unit(Fraction(number), _ONE.dimensions) if number else _word(word, code)
        unit, wanted = _times(unit, term, sign * int(power or 1), code), False
    if wanted:
        raise UnitError(f"{code!r} is not a unit: something is missing")
    return unit, tokens


def _times(unit: _Unit, term: _Unit, power: int, code: str) -> _Unit:
    if abs(power) > _POWER_MAX or term.scale == 0:
        raise UnitError(f"{code!r} is not a unit")
    dimensions = tuple(a + power * b for a, b in zip(unit.dimensions, term.dimensions, strict=True))
    return _Unit(unit.scale * term.scale**power, dimensions)


def _word(word: str, code: str) -> _Unit:
    """An atom, with or without a prefix; by its code, else by its name."""
    if (found := _maybe_word(word)) is not None:
        return found
    singular = word.removesuffix("s")
    for long, short in {"": "", **_LONG_PREFIXES}.items():
        for name in (word, singular):
            if name.startswith(long) and (atom := _NAMES.get(name[len(long) :])) is not None:
                if atom in _SPECIAL:
                    raise UnitError(f"{code!r}: {word!r} has a zero of its own and stands alone; take 'K' for steps")
                found = _maybe_word(short + atom)
                if found is not None or atom == "1":
                    return found or _ONE
    if word in _SPECIAL:
        raise UnitError(f"{code!r}: {word!r} has a zero of its own and stands alone; take 'K' for steps")
    known = [*_METRIC, *_OTHER, *_ATOMS, *_SPECIAL, *_NAMES]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    raise UnitError(f"{code!r}: unit {word!r} is not known" + (f"; did you mean {close[0]!r}?" if close else ""))


def _maybe_word(word: str) -> _Unit | None:
    if (atom := _maybe_atom(word)) is not None:
        return atom
    for prefix, factor in _PREFIXES.items():
        if word.startswith(prefix) and word[len(prefix) :] in _METRIC:
            atom = _maybe_atom(word[len(prefix) :])
            assert atom is not None  # noqa: S101 - it is in the table
            return atom._replace(scale=atom.scale * factor)
    return None


def _maybe_atom(word: str) -> _Unit | None:
    if word in _BASES:
        return _Unit(Fraction(1), tuple(int(word == base) for base in _BASES))
    definition = _METRIC.get(word) or _OTHER.get(word)
    if word not in _ATOMS and definition is not None:
        number, _, unit = definition.partition(" ")
        defined = _ONE if unit == "1" else read_unit(unit)
        _ATOMS[word] = defined._replace(scale=defined.scale * Fraction(number))
    return _ATOMS.get(word)


def _spell(dimensions: _Dimensions) -> str:
    parts = [f"{base}{power if power != 1 else ''}" for base, power in zip(_BASES, dimensions, strict=True) if power]
    return ".".join(parts) or "a pure number"
