"""Ultra-wideband ranges of real tags: standing ones calibrated, a moving one located, each with honest intervals.

*Standing* (Hanyang, line of sight, 13 heights of the tag, 2 to 60 m): the median of each file. Models are fitted on the
distances that 4 m divides, chosen by leaving out one of these distances after the other, and scored on the other
distances, through the stage `calibrate`. Five files hold no number.

*Moving* (Hanyang, line of sight, trajectory A, case 1): four anchors, 10 rounds a second, satellite positions (RTK) as
truth. The model's parameters are read off the first half of the drive alone (`examples/uwb/fit.py`); the second half
is scored, through the stage `estimate`. Peers on the same stretch: the authors' two tracks as published, and once more
with the offset of the clocks that was found on the first half taken out, which is their best known configuration; and
our filter told that all errors are new in every row, or (the negative control of the intervals) of the noise alone.

*Another place* (CUHK-Shenzhen, where its data is there): the same on a trolley in a hall, shown and not scored.

    benchmarks/ranging.py --data ../shared/data [--json] [--quick] [--plots DIR]

Bounds: standing RMSE at most 0.0385 m; moving RMSE below both published tracks; 90 to 98 % of the truth within the 95 %
intervals in both.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from _common import finish, parser, say

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "uwb"
sys.path.insert(0, str(EXAMPLE))

from fit import Ranging, fit_model, fit_ranging  # noqa: E402 - the example is the code under test
from hall import FOLDER, read_hall, row_by_row  # noqa: E402 - as above
from measurements import CASE, read_drive, read_standing  # noqa: E402 - as above
from picture import draw  # noqa: E402 - as above
from track import COVERAGE_FACTOR, Score, follow, score  # noqa: E402 - as above

from trueline_edge.calibration.file import Calibration, Uncertainty, dump_calibration  # noqa: E402 - as above
from trueline_edge.calibration.models import MultiInput  # noqa: E402 - as above
from trueline_edge.stages.calibrate import Calibrate  # noqa: E402 - as above
from trueline_wire.readings import Channel, Readings, Schema  # noqa: E402 - as above

if TYPE_CHECKING:
    from measurements import Standing
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RMSE_STANDING_MAX_M = 0.0385
COVERAGE = (0.90, 0.98)
FIT_EVERY_M = 4.0
SCALES = {"range": (30.0, 30.0), "rssi": (-83.0, 5.0), "height": (1.25, 0.75)}
"""Centre and scale of each input, so that the fit is well conditioned."""

CURVES = {
    "offset": ("1",),
    "affine": ("1", "range"),
    "quadratic": ("1", "range", "range^2"),
    "cubic": ("1", "range", "range^2", "range^3"),
}
ADDED = {
    "": (),
    "height": ("inverse(range)", "height*inverse(range)", "height^2*inverse(range)"),
    "power": ("rssi",),
    "power squared": ("rssi", "rssi^2"),
    "height, power": ("inverse(range)", "height*inverse(range)", "height^2*inverse(range)", "rssi"),
    "height, power squared": (
        "inverse(range)",
        "height*inverse(range)",
        "height^2*inverse(range)",
        "rssi",
        "rssi^2",
    ),
}
"""The way from tag to anchor is longer than along the floor by about (height - anchor's)^2 / (2 range); and these
radios' ranges are known to depend on the received power (Decawave, application note APS011, 2014)."""


class Fit(NamedTuple):
    """Coefficients of the terms of distance - range, and their covariance."""

    terms: tuple[str, ...]
    coefficients: Array
    covariance: Array


def columns(files: list[Standing]) -> dict[str, Array]:
    """Inputs by name, (n,) each."""
    return {
        "range": np.array([file.range_m for file in files]),
        "rssi": np.array([file.rssi_dbm for file in files]),
        "height": np.array([file.height_m for file in files]),
    }


def features(terms: tuple[str, ...], inputs: dict[str, Array]) -> Array:
    """(n, m) as the calibration file means them; written anew here, as an oracle should be."""
    scaled = {name: (column - SCALES[name][0]) / SCALES[name][1] for name, column in inputs.items()}
    values = {**scaled, "inverse(range)": 1.0 / inputs["range"]}

    def one(term: str) -> Array:
        made = np.ones(len(inputs["range"]))
        for part in () if term == "1" else term.split("*"):
            name, _, power = part.partition("^")
            made = made * values[name] ** int(power or 1)
        return made

    return np.stack([one(term) for term in terms], axis=1)


def fit(terms: tuple[str, ...], inputs: dict[str, Array], distance: Array) -> Fit:
    """Least squares."""
    x, y = features(terms, inputs), distance - inputs["range"]
    coefficients, *_ = np.linalg.lstsq(x, y)
    residual = y - x @ coefficients
    variance = residual @ residual / (len(y) - len(terms))
    return Fit(terms, coefficients, variance * np.linalg.inv(x.T @ x))


def left_out(terms: tuple[str, ...], inputs: dict[str, Array], distance: Array) -> float:
    """RMSE at each distance of the model fitted on all others (m)."""
    errors = []
    for one in np.unique(distance):
        out = distance == one
        kept = fit(terms, {name: column[~out] for name, column in inputs.items()}, distance[~out])
        held = {name: column[out] for name, column in inputs.items()}
        errors.append(distance[out] - held["range"] - features(terms, held) @ kept.coefficients)
    return float(np.sqrt((np.concatenate(errors) ** 2).mean()))


def calibration(found: Fit, error_m: float, inputs: dict[str, Array]) -> Calibration:
    """As a file: what the model cannot say is what it got wrong at distances left out."""
    terms, coefficients = list(found.terms), list(found.coefficients)
    size = len(terms)
    if "range" not in terms:
        terms, coefficients = [*terms, "range"], [*coefficients, 0.0]
    centre, scale = SCALES["range"]
    coefficients[terms.index("1")] += centre  # distance = range + correction, and range = centre + scale * factor
    coefficients[terms.index("range")] += scale
    covariance = np.zeros((len(terms), len(terms)))
    covariance[:size, :size] = 0.5 * (found.covariance + found.covariance.T)
    used = {name for name in inputs if any(name in term for term in terms)}
    scales = {name: SCALES[name] for name in used if any(name in term.replace(f"({name})", "") for term in terms)}
    return Calibration(
        id="uwb-standing",
        channel="range",
        unit="m",
        date=datetime(2024, 8, 28, tzinfo=UTC),
        reference="tape along the floor",
        model=MultiInput(
            terms=tuple(terms),
            coefficients=tuple(map(float, coefficients)),
            factors=scales,
            covariance=tuple(tuple(map(float, row)) for row in covariance),
        ),
        u=Uncertainty(model=error_m),
        range={name: (float(inputs[name].min()), float(inputs[name].max())) for name in used},
    )


def corrected(made: Calibration, inputs: dict[str, Array]) -> tuple[Array, Array]:
    """(n,) distance and its standard uncertainty, from the stage `calibrate` and the file it reads."""
    units = {"range": "m", "rssi": "dB[mW]", "height": "m"}
    schema = Schema(device="d", stream="s", channels=tuple(Channel(name=n, unit=units[n]) for n in inputs))
    rows = np.stack(list(inputs.values()), axis=1)
    times = int(datetime(2024, 8, 29, tzinfo=UTC).timestamp()) * 10**9 + np.arange(len(rows)) * 10**9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "range.toml")
        path.write_text(dump_calibration(made))
        out = Calibrate(files=(path,)).stage(schema)(Readings.raw(schema, times, rows))
    return out.value[:, 0], out.u[:, 0].astype(np.float64)


def standing(folder: Path) -> dict[str, Any]:
    """Fit, choose, score."""
    files, empty = read_standing(folder)
    distance = np.array([file.distance_m for file in files])
    inputs = columns(files)
    fitted = distance % FIT_EVERY_M == 0.0
    inner = {name: column[fitted] for name, column in inputs.items()}
    outer = {name: column[~fitted] for name, column in inputs.items()}
    choices = {
        f"{curve}{', ' * bool(added)}{added}": (*CURVES[curve], *ADDED[added])
        for curve, added in product(CURVES, ADDED)
    }
    rows = []
    for name, terms in choices.items():
        error_m = left_out(terms, inner, distance[fitted])
        value, u = corrected(calibration(fit(terms, inner, distance[fitted]), error_m, inner), outer)
        error = value - distance[~fitted]
        rows.append(
            {
                "model": name,
                "left_out_rmse_m": error_m,
                "rmse_m": float(np.sqrt((error**2).mean())),
                "coverage_95": float((np.abs(error) <= COVERAGE_FACTOR * u).mean()),
                "half_width_95_m": float(COVERAGE_FACTOR * u.mean()),
            }
        )
        say(f"standing, {name}: left out {error_m:.4f} m, scored {rows[-1]['rmse_m']:.4f} m")
    best = min(rows, key=lambda row: row["left_out_rmse_m"])
    raw = outer["range"] - distance[~fitted]
    every = inputs["range"] - distance
    return {
        "standing_files_scored": int((~fitted).sum()),
        "standing_files_empty": empty,
        "standing_raw_all_rmse_m": float(np.sqrt((every**2).mean())),
        "standing_raw_rmse_m": float(np.sqrt((raw**2).mean())),
        "standing_model": best["model"],
        "standing_rmse_m": best["rmse_m"],
        "standing_coverage_95": best["coverage_95"],
        "standing_half_width_95_m": best["half_width_95_m"],
        "standing_models": rows,
    }


def without_slow(parameters: dict[str, Any], *, as_noise: bool) -> dict[str, Any]:
    """The same model without slow errors: taken as noise that is new in every row, or forgotten."""
    parts = [parameters["noise_m"], *([parameters["common"][0], parameters["own"][0]] if as_noise else [])]
    return {**parameters, "noise_m": float(np.linalg.norm(parts)), "common": [1e-6, 1.0], "own": [1e-6, 1.0]}


def moving(folder: Path, plots: Path | None, *, quick: bool) -> dict[str, Any]:
    """Read the parameters off the first half, score the second."""
    drive = read_drive(folder)
    stop_s = float(drive.time_s[-1])
    split_s = 0.5 * stop_s
    parameters, clock_s, likelihoods = fit_model(drive, split_s, partial(follow, drive))
    say(f"moving: clock {clock_s:.3f} s, {parameters}")
    seen = {"ours, extended": follow(drive, parameters, clock_s)}
    if not quick:
        seen["ours, unscented"] = follow(drive, parameters, clock_s, kind="ukf")
    for name, as_noise in (("slow errors taken as noise", True), ("slow errors forgotten", False)):
        seen[f"ours, {name}"] = follow(drive, without_slow(parameters, as_noise=as_noise), clock_s)
    scores: dict[str, Score] = {name: score(drive, each, split_s, stop_s) for name, each in seen.items()}
    for name, track in drive.authors.items():
        scores[f"authors' {name}"] = score(drive, track, split_s, stop_s)
        scores[f"authors' {name}, clock mended"] = score(drive, track, split_s, stop_s, clock_s)
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        draw(plots / "uwb-track.png", drive, seen["ours, extended"], split_s)
    ours = scores["ours, extended"]
    return {
        "moving_rows_scored": ours.rows,
        "moving_rmse_m": ours.rmse_m,
        "moving_authors_ls_rmse_m": scores["authors' LS"].rmse_m,
        "moving_authors_eskf_rmse_m": scores["authors' ESKF"].rmse_m,
        "moving_coverage_95": ours.coverage,
        "moving_half_width_95_m": ours.width_m,
        "moving_clock_offset_s": clock_s,
        "moving_parameters": parameters,
        "moving_log_likelihood_of_wander": {str(wander): found for wander, found in likelihoods.items()},
        "moving_tracks": [{"track": name, **_stated(each)} for name, each in scores.items()],
    }


def hall(folder: Path) -> dict[str, Any]:
    """The same model and the same way to its parameters at another place; shown, and not scored."""
    drive = read_hall(folder)
    stop_s = float(drive.time_s[-1])
    split_s = 0.5 * stop_s
    parameters, clock_s, _ = fit_model(drive, split_s, partial(follow, drive))
    ranging = fit_ranging(drive, (-np.inf, split_s))
    raw = Ranging(np.zeros(len(drive.anchors_m)), 1.0, 0.0, ranging.tag_height_m)
    tracks = {
        "ours, extended": follow(drive, parameters, clock_s),
        "least squares of each row, same offsets and gain": row_by_row(drive, ranging),
        "least squares of each row, raw": row_by_row(drive, raw),
    }
    scores = {name: score(drive, track, split_s, stop_s) for name, track in tracks.items()}
    return {"hall_tracks": [{"track": name, **_stated(each)} for name, each in scores.items()]}


def misses(result: dict[str, Any]) -> list[str]:
    """What was asked and not reached."""
    ours, (low, high) = result["moving_rmse_m"], COVERAGE
    share = {part: result[f"{part}_coverage_95"] for part in ("standing", "moving")}
    asked = {
        f"standing RMSE {result['standing_rmse_m']:.4f} m, at most {RMSE_STANDING_MAX_M} m": (
            result["standing_rmse_m"] <= RMSE_STANDING_MAX_M
        ),
        f"moving RMSE {ours:.3f} m is not below the authors' LS": ours < result["moving_authors_ls_rmse_m"],
        f"moving RMSE {ours:.3f} m is not below the authors' ESKF": ours < result["moving_authors_eskf_rmse_m"],
        **{
            f"{part}: 95 % intervals hold {held:.1%}, 90 to 98 % asked": low <= held <= high
            for part, held in share.items()
        },
    }
    return [miss for miss, reached in asked.items() if not reached]


def section(result: dict[str, Any]) -> str:
    """The tables in Markdown, for `docs/accuracy.md`."""
    shown = sorted(result["standing_models"], key=lambda row: row["left_out_rmse_m"])
    shown = shown[:3] + [row for row in shown[3:] if row["model"] in CURVES]
    parts = [
        _STANDING.format(**result, asked=RMSE_STANDING_MAX_M),
        "| model of the range | left out, m | scored, m | 95 % intervals hold | half width, m |\n|---|--:|--:|--:|--:|",
        *(
            f"| {row['model']} | {row['left_out_rmse_m']:.4f} | {row['rmse_m']:.4f} | {row['coverage_95']:.1%} | "
            f"{row['half_width_95_m']:.3f} |"
            for row in shown
        ),
        _MOVING.format(
            **result,
            wander=result["moving_parameters"]["wander_m2_s3"],
            wanders=", ".join(result["moving_log_likelihood_of_wander"]),
        ),
        _TRACKS,
        *map(_track_row, result["moving_tracks"]),
        "\n![Truth, estimate with intervals, and the authors' track](images/accuracy/uwb-track.png)",
    ]
    if "hall_tracks" in result:
        parts += [_HALL, _TRACKS, *map(_track_row, result["hall_tracks"])]
    return "\n".join(parts)


_STANDING = """\
**Standing tags**: {standing_files_scored} files at distances that 4 m does not divide, median of each; raw RMSE
{standing_raw_rmse_m:.3f} m ({standing_raw_all_rmse_m:.3f} m over all files; {standing_files_empty} hold no number).
Fitted on the distances that 4 m divides; the model with the least error at distances left out there,
*{standing_model}*, is the one that counts. Asked: at most {asked} m, coverage 90 to 98 %.
"""
_MOVING = """
**Moving tag**: the second half of the drive ({moving_rows_scored} rounds of four anchors). Read off the first half
alone: offsets of the anchors, a gain, the tag's height, the clocks' offset ({moving_clock_offset_s:.3f} s), the noise,
size and memory of the slow errors, and the wander ({wander} m2/s3, the likeliest of {wanders}). Asked: below both of
the authors' tracks, coverage 90 to 98 %.
"""


_HALL = """
**Another place**, shown and not scored: a trolley among eight anchors and motion capture (CUHK-Shenzhen; its authors
have removed the outliers). The same model, its parameters read off the first half, the second half compared. What one
half says of the offsets does not quite hold in the other, so the intervals come out wide.
"""
_TRACKS = "| track | RMSE in the plane, m | 95 % intervals hold | half width, m | rows |\n|---|--:|--:|--:|--:|"


def _track_row(row: dict[str, Any]) -> str:
    return (
        f"| {row['track']} | {row['rmse_m']:.3f} | {_share(row['coverage'])} | {_metres(row['width_m'])} | "
        f"{row['rows']} |"
    )


def _stated(score_: Score) -> dict[str, Any]:
    """As JSON takes it: null where a track states no interval."""
    return {key: None if number != number else number for key, number in score_._asdict().items()}  # noqa: PLR0124 - NaN


def _share(share: float | None) -> str:
    return "none stated" if share is None else f"{share:.1%}"


def _metres(width: float | None) -> str:
    return "" if width is None else f"{width:.2f}"


def main() -> int:
    """Standing, moving, bounds."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="folder that holds uwb_hanyang/")
    arguments.add_argument("--quick", action="store_true", help="without the unscented filter and the other place")
    arguments.add_argument("--plots", type=Path, help="draw uwb-track.png there")
    asked = arguments.parse_args()
    result = {
        **standing(asked.data / "uwb_hanyang" / "Static_measurements"),
        **moving(asked.data / CASE, asked.plots, quick=asked.quick),
    }
    if not asked.quick and (asked.data / FOLDER).is_dir():
        result |= hall(asked.data / FOLDER)
    if not asked.json:
        print(section(result), end="\n\n")
        result = {key: value for key, value in result.items() if not isinstance(value, (list, dict))}
    return finish(result, misses(result), as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
