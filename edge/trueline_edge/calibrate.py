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
from trueline_edge.calibration.file import Calibration, Uncertainty, dump_calibration
from trueline_edge.calibration.fitting import Fit, Refused, fit
from trueline_edge.calibration.pairing import ClockOffset, average_onto, estimate_offset, interval_of
from trueline_edge.calibration.terms import parse_term
from trueline_edge.csv_table import TableConfig, read_table
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.terms import Term

    F64 = NDArray[np.float64]

__all__ = ["CalibrateRequest", "Outcome", "calibrate"]

_NOISE_MIN = 32


class CalibrateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for.

    Attributes:
        raw: table of raw readings; columns by the channel names the stage will know them by.
        reference: table with one column, "reference".
        channel: which raw column is corrected.
        responses: further columns that respond to the measurand.
        conditions: columns that disturb it, such as temperature and humidity.
        terms: of the function, where the person knows them ("x", "x^2", "x*t"); chosen where left out.
        out: the calibration file.
        report: the HTML report; none where left out.
        id: of the calibration; made from channel and date where left out.
        unit: UCUM code of the reference.
        unit_raw: UCUM code of the raw channel.
        sensor: id of the sensor.
        reference_name: for the reader.
        fit_share: part of the pairs that is fitted to; the rest checks.
        offset_max_s: an offset between the clocks is looked for within so much; 0 trusts them.
        valid_days: how long the calibration is valid.
    """

    raw: TableConfig
    reference: TableConfig
    channel: str
    responses: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    out: Path
    report: Path | None = None
    id: str = ""
    unit: str = "1"
    unit_raw: str = ""
    sensor: str = ""
    reference_name: str = ""
    fit_share: float = 0.7
    offset_max_s: float = 0.0
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
        model: kind of the function.
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
    model: str = ""
    out_of_time_rmse: dict[str, float] = msgspec.field(default_factory=dict)
    fitted: Score | None = None
    checked: Score | None = None
    raw_checked: float | None = None


class _Pairs(msgspec.Struct, frozen=True, kw_only=True):
    data: Data
    offset: ClockOffset
    readings: float
    noise: float
    """Standard deviation of a single raw reading; NaN where readings were not averaged."""


def calibrate(request: CalibrateRequest) -> Outcome:
    """Calibrate one channel, and write its file and report.

    Raises:
        ConfigError: a file cannot be read or written, or holds too little.
    """
    if not 0.0 < request.fit_share < 1.0:
        raise ConfigError(f"--fit-share {request.fit_share} must be between 0 and 1")
    pairs = _pair(request)
    n = len(pairs.data.reference)
    cut = int(n * request.fit_share)
    outcome = Outcome(
        pairs=n,
        readings_per_pair=pairs.readings,
        clock_offset_s=pairs.offset.offset_s,
        clock_certain=pairs.offset.certain,
    )
    fitted, checked = pairs.data.rows(slice(0, cut)), pairs.data.rows(slice(cut, n))
    try:
        found = fit(fitted)
    except Refused as refused:
        outcome.refused = refused.reasons
        return outcome
    made = _calibration(request, fitted, found, found.u)
    outcome.model = str(type(found.model).__struct_config__.tag)
    outcome.out_of_time_rmse = found.rmse
    outcome.fitted = score_of(apply_to(made, fitted), fitted.reference)
    outcome.checked = score_of(apply_to(made, checked), checked.reference) if len(checked.reference) > 1 else None
    if request.unit_raw in {"", request.unit} and len(checked.reference) > 1:
        outcome.raw_checked = float(np.sqrt(np.mean((checked.raw[request.channel] - checked.reference) ** 2)))
    single = msgspec.structs.replace(made, u=_of_single_readings(found, fitted, pairs))
    outcome.out = str(request.out)
    _write(request.out, dump_calibration(single))
    if request.report is not None:
        from trueline_edge.calibration.page import calibration_page  # noqa: PLC0415 - draws, and is slow to load

        _write(request.report, calibration_page(made, single, fitted, checked, found, msgspec.to_builtins(outcome)))
    return outcome


def _pair(request: CalibrateRequest) -> _Pairs:
    raw, reference = read_table(request.raw), read_table(request.reference)
    order = np.argsort(reference.time_ns, kind="stable")
    start_ns, truth = reference.time_ns[order], reference.value[order, 0]
    names = list(request.raw.columns)
    own = raw.value[:, names.index(request.channel)]
    try:
        width_ns, step_ns = interval_of(start_ns), interval_of(raw.time_ns)
    except ValueError as error:
        raise ConfigError(f"{request.raw.path} or {request.reference.path}: {error}") from error
    offset = ClockOffset(0.0, 0.0, 0.0, certain=False)
    if request.offset_max_s > 0.0:
        offset = estimate_offset(start_ns, width_ns, truth, raw.time_ns, own, request.offset_max_s)
    shifted = raw.time_ns - int(offset.offset_s * 1e9)
    mean, count = average_onto(start_ns, width_ns, shifted, raw.value)
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
    noise = _noise_of(own) if width_ns > 1.5 * step_ns else float("nan")
    return _Pairs(data=data, offset=offset, readings=float(count[good].mean()), noise=noise)


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


def _of_single_readings(found: Fit, fitted: Data, pairs: _Pairs) -> Uncertainty:
    """What was noise of averages: the readings' own part apart, the rest common to the readings of an average."""
    if not np.isfinite(pairs.noise):
        return msgspec.structs.replace(found.u, noise_interval_s=0.0)
    own = fitted.raw[fitted.channel]
    gain = abs(float(np.polyfit(own - own.mean(), fitted.reference, 1)[0]))
    noise = pairs.noise * gain
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
