"""`trueline-edge calibrate`: raw readings beside a reference -> a calibration file, and a report on why to believe it.

Promises: fits to the first part of the time and checks on the rest, which it has not seen; says the offset between the
clocks where it finds one; refuses a channel that does not follow its reference, with the reasons, and writes nothing
then. Refuses to decide for the person: the file can be read, and the report shows where it is wrong.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from trueline_edge.calibration.candidates import Data
from trueline_edge.calibration.checking import Score, apply_to, score_of
from trueline_edge.calibration.datasheet import Datasheet, Known
from trueline_edge.calibration.file import Calibration, Lag, Uncertainty, dump_calibration
from trueline_edge.calibration.fitting import MODELS, Fit, Refused, fit
from trueline_edge.calibration.lagging import LagFound, estimate_lag, rate_max_of, unlagged
from trueline_edge.calibration.pairing import ClockOffset, average_onto, estimate_offset, interval_of
from trueline_edge.calibration.terms import parse_term
from trueline_edge.csv_table import TableConfig, read_table
from trueline_wire.errors import ConfigError
from trueline_wire.settings import load_toml

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.terms import Term

    F64 = NDArray[np.float64]

__all__ = ["CalibrateRequest", "Outcome", "calibrate"]

_NOISE_MIN = 32
_INTERVALS = 2.0
"""Of the reference: an offset of the clocks is looked for within so many, where nothing else was said."""


class CalibrateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for.

    Attributes:
        raw: table of raw readings; columns by the channel names the stage will know them by.
        reference: table with one column, "reference".
        channel: which raw column is corrected.
        responses: further columns that respond to the measurand.
        conditions: columns that disturb it, such as temperature and humidity.
        terms: of the function, where the person knows them ("x", "x^2", "x*t"); chosen where left out.
        model: kind of function, one of `MODELS`; "auto" compares them.
        datasheet: TOML with the sensor's tolerances (`trueline_edge.calibration.datasheet`); none where left out.
        reference_u: standard uncertainty of the reference that averaging does not take away.
        reference_noise: standard deviation of the reference from value to value.
        out: the calibration file.
        report: the HTML report; none where left out.
        id: of the calibration; made from channel and date where left out.
        unit: UCUM code of the reference.
        unit_raw: UCUM code of the raw channel.
        sensor: id of the sensor.
        reference_name: for the reader.
        fit_share: part of the pairs that is fitted to; the rest checks.
        offset_max_s: an offset between the clocks is looked for within so much; 0 trusts them; two intervals of the
            reference where None.
        lag_max_s: a first-order lag of the sensor is looked for up to this time constant; 0: it has none.
        valid_days: how long the calibration is valid.
    """

    raw: TableConfig
    reference: TableConfig
    channel: str
    responses: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    model: str = "auto"
    datasheet: Path | None = None
    reference_u: float = 0.0
    reference_noise: float = 0.0
    out: Path
    report: Path | None = None
    id: str = ""
    unit: str = "1"
    unit_raw: str = ""
    sensor: str = ""
    reference_name: str = ""
    fit_share: float = 0.7
    offset_max_s: float | None = None
    lag_max_s: float = 0.0
    valid_days: float = 365.0


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it.

    Attributes:
        refused: why there is no calibration; empty where there is one.
        out: the file written; "" where refused.
        pairs: of readings and reference.
        readings_per_pair: raw readings averaged for each.
        clock_offset_s: by which the raw clock was found to be ahead, and which was taken off.
        clock_certain: whether the data say so.
        time_constant_s: of the sensor's first-order lag, undone first; 0 where none was found.
        u_time_constant_s: its standard uncertainty.
        model: kind of the function.
        taken: its name among those that were compared.
        out_of_time_rmse: by model, over inner splits of the part that was fitted to.
        fitted: score on the part that was fitted to.
        checked: score on the part that was not.
        raw_checked: as `checked`, for the raw readings as they came, where they have the unit of the reference.
    """

    refused: list[str] = msgspec.field(default_factory=list)
    out: str = ""
    pairs: int = 0
    readings_per_pair: float = 0.0
    clock_offset_s: float = 0.0
    clock_certain: bool = False
    time_constant_s: float = 0.0
    u_time_constant_s: float = 0.0
    model: str = ""
    taken: str = ""
    out_of_time_rmse: dict[str, float] = msgspec.field(default_factory=dict)
    fitted: Score | None = None
    checked: Score | None = None
    raw_checked: float | None = None


class _Pairs(msgspec.Struct, frozen=True, kw_only=True):
    data: Data
    offset: ClockOffset
    lag: LagFound
    rate_max: float
    """Of raw readings, per second: what is faster did not lag behind."""
    readings: float
    noise: float
    """Standard deviation of a single raw reading; NaN where readings were not averaged."""


def calibrate(request: CalibrateRequest) -> Outcome:
    """Calibrate one channel, and write its file and report.

    Raises:
        ConfigError: a file cannot be read or written, or holds too little.
    """
    sheet = _checked(request)
    pairs = _pair(request)
    outcome = Outcome()
    try:
        found = _fit(request, pairs, sheet)
        if pairs.lag.time_constant_s:
            pairs, found = _with_or_without_lag(request, pairs, found, sheet)
    except Refused as refused:
        outcome.refused = refused.reasons
    n = len(pairs.data.reference)
    outcome.pairs, outcome.readings_per_pair = n, pairs.readings
    outcome.clock_offset_s, outcome.clock_certain = pairs.lag.offset_s, pairs.offset.certain
    outcome.time_constant_s, outcome.u_time_constant_s = pairs.lag.time_constant_s, pairs.lag.u_s
    if outcome.refused:
        return outcome
    cut = int(n * request.fit_share)
    fitted, checked = pairs.data.rows(slice(0, cut)), pairs.data.rows(slice(cut, n))
    made = _calibration(request, fitted, found, found.u)
    outcome.model, outcome.taken = str(type(found.model).__struct_config__.tag), found.taken
    outcome.out_of_time_rmse = found.rmse
    outcome.fitted = score_of(apply_to(made, fitted), fitted.reference)
    outcome.checked = score_of(apply_to(made, checked), checked.reference) if len(checked.reference) > 1 else None
    if request.unit_raw in {"", request.unit} and len(checked.reference) > 1:
        outcome.raw_checked = float(np.sqrt(np.mean((checked.raw[request.channel] - checked.reference) ** 2)))
    lag = None
    if pairs.lag.time_constant_s:
        lag = Lag(time_constant_s=pairs.lag.time_constant_s, u_s=pairs.lag.u_s, rate_max=pairs.rate_max)
    single = msgspec.structs.replace(made, u=_of_single_readings(made, found, fitted, pairs), lag=lag)
    outcome.out = str(request.out)
    _write(request.out, dump_calibration(single))
    if request.report is not None:
        from trueline_edge.calibration.page import calibration_page  # noqa: PLC0415 - draws, and is slow to load

        _write(request.report, calibration_page(made, single, fitted, checked, found, msgspec.to_builtins(outcome)))
    return outcome


def _checked(request: CalibrateRequest) -> Datasheet | None:
    """The datasheet, if there is one, and nothing wrong with what was asked."""
    if not 0.0 < request.fit_share < 1.0:
        raise ConfigError(f"--fit-share {request.fit_share} must be between 0 and 1")
    if request.model not in MODELS:
        raise ConfigError(f"--model {request.model!r} is none of {', '.join(MODELS)}")
    if request.model != "auto" and request.terms:
        raise ConfigError("--model and --terms: say one of them")
    if request.datasheet is None:
        if request.model == "datasheet":
            raise ConfigError("--model datasheet needs --datasheet SENSOR.toml")
        return None
    if request.unit_raw not in {"", request.unit}:
        raise ConfigError("--datasheet speaks of readings in the unit of the reference: leave --unit-raw out")
    sheet = load_toml(request.datasheet, Datasheet)
    for name in sheet.conditions.keys() - set(request.conditions):
        raise ConfigError(f"{request.datasheet}: conditions.{name}: is no channel here; name it with --with")
    return sheet


def _fit(request: CalibrateRequest, pairs: _Pairs, sheet: Datasheet | None) -> Fit:
    """To the first part of the time."""
    known = None if sheet is None else Known(sheet, pairs.readings, request.reference_u, request.reference_noise)
    cut = int(len(pairs.data.reference) * request.fit_share)
    return fit(pairs.data.rows(slice(0, cut)), model=request.model, known=known)


def _with_or_without_lag(
    request: CalibrateRequest, pairs: _Pairs, found: Fit, sheet: Datasheet | None
) -> tuple[_Pairs, Fit]:
    """The lag is one more part of the model: out of time it has to do better."""
    plain = _pair(msgspec.structs.replace(request, lag_max_s=0.0))
    without = _fit(request, plain, sheet)
    if without.rmse[without.taken] <= found.rmse[found.taken]:
        return plain, without._replace(rmse=without.rmse | {"with a lag undone": found.rmse[found.taken]})
    return pairs, found._replace(rmse=found.rmse | {"the lag left as it is": without.rmse[without.taken]})


def _pair(request: CalibrateRequest) -> _Pairs:
    raw, reference = read_table(request.raw), read_table(request.reference)
    order = np.argsort(reference.time_ns, kind="stable")
    start_ns, truth = reference.time_ns[order], reference.value[order, 0]
    order = np.argsort(raw.time_ns, kind="stable")
    time_ns, value = raw.time_ns[order], raw.value[order]
    names = list(request.raw.columns)
    column = names.index(request.channel)
    try:
        width_ns, step_ns = interval_of(start_ns), interval_of(time_ns)
    except ValueError as error:
        raise ConfigError(f"{request.raw.path} or {request.reference.path}: {error}") from error
    offset = ClockOffset(0.0, 0.0, 0.0, certain=False)
    offset_max_s = _INTERVALS * width_ns * 1e-9 if request.offset_max_s is None else request.offset_max_s
    if offset_max_s > 0.0:
        offset = estimate_offset(start_ns, width_ns, truth, time_ns, value[:, column], offset_max_s)
    lag = LagFound(0.0, 0.0, offset.offset_s, 0.0)
    if request.lag_max_s > 0.0:
        at = {"max_s": request.lag_max_s, "offset_s": offset.offset_s}
        lag = estimate_lag(start_ns, width_ns, truth, time_ns, value, column, **at)
    rate_max = rate_max_of(time_ns, value[:, column]) if lag.time_constant_s else float("inf")
    value = unlagged(time_ns, value, column, lag.time_constant_s)
    mean, count = average_onto(start_ns, width_ns, time_ns - int(lag.offset_s * 1e9), value)
    good = np.isfinite(truth) & np.isfinite(mean).all(axis=1)
    if not good.any():
        raise ConfigError(
            f"{request.raw.path} and {request.reference.path} have no time in common: look at zone and time_format"
        )
    data = Data(
        time_s=start_ns[good] / 1e9,
        raw={name: mean[good, k] for k, name in enumerate(names)},
        reference=truth[good],
        channel=request.channel,
        responses=request.responses,
        conditions=request.conditions,
        terms=_terms(request),
    )
    noise = _noise_of(value[:, column]) if width_ns > 1.5 * step_ns else float("nan")
    return _Pairs(data=data, offset=offset, lag=lag, rate_max=rate_max, readings=float(count[good].mean()), noise=noise)


def _terms(request: CalibrateRequest) -> tuple[Term, ...]:
    try:
        terms = tuple(parse_term(text) for text in request.terms)
    except ValueError as error:
        raise ConfigError(f"--{error}") from error
    known = {request.channel, *request.responses, *request.conditions}
    for name in {factor.name for term in terms for factor in term} - known:
        raise ConfigError(f"--terms: {name!r} is no channel here: {', '.join(sorted(known))}")
    return tuple(term for term in terms if term)


def _noise_of(value: F64) -> float:
    """Standard deviation of single readings, from second differences (a slope is no noise), robust."""
    second = np.diff(value, 2)
    second = second[np.isfinite(second)]
    if len(second) < _NOISE_MIN:
        return float("nan")
    share = float(np.mean(second != 0))
    robust = 1.4826 * float(np.median(np.abs(second)))
    return (robust if share > 0.5 else float(second.std())) / math.sqrt(6.0)  # noqa: PLR2004 - repeats have no median


def _gain(made: Calibration, data: Data) -> float:
    """Mean change of the corrected value for one of the reading."""
    own = data.raw[data.channel]
    step = 1e-3 * float(np.std(own)) or 1e-6 * float(np.abs(own).max())
    there, here = (
        apply_to(made, data._replace(raw=data.raw | {data.channel: own + side})).value for side in (step, -step)
    )
    return float(np.mean(np.abs(there - here))) / (2.0 * step)


def _of_single_readings(made: Calibration, found: Fit, fitted: Data, pairs: _Pairs) -> Uncertainty:
    """What was noise of averages: the readings' own part apart, the rest common to the readings of an average."""
    if not np.isfinite(pairs.noise):
        return msgspec.structs.replace(found.u, noise_interval_s=0.0)
    noise = pairs.noise * _gain(made, fitted)
    common = max(found.u.noise**2 - noise**2 / max(pairs.readings, 1.0), 0.0)
    model = float(f"{np.hypot(found.u.model, np.sqrt(common)):.9g}")
    return msgspec.structs.replace(found.u, noise=float(f"{noise:.9g}"), model=model)


def _calibration(request: CalibrateRequest, fitted: Data, found: Fit, u: Uncertainty) -> Calibration:
    date = datetime.fromtimestamp(int(fitted.time_s[-1]), UTC)
    first = datetime.fromtimestamp(int(fitted.time_s[0]), UTC)
    return Calibration(
        id=request.id or f"{request.channel}-{date:%Y%m%dT%H%M}",
        channel=request.channel,
        date=date,
        model=found.model,
        range=found.ranges,
        unit=request.unit,
        unit_raw=request.unit_raw,
        sensor=request.sensor,
        reference=request.reference_name,
        valid_until=date + timedelta(days=request.valid_days),
        u=u,
        note=f"trueline-edge calibrate: {len(fitted.reference)} pairs from {first:%Y-%m-%d %H:%M} UTC to the date",
    )


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
