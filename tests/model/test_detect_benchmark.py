"""The benchmark of detectors measures what it says it measures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trueline_model.detectors import Deviation, Pca
from trueline_model.series import make_series
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_metrics as script  # noqa: PLC0415 - a benchmark is a script, not a package

    return script


@pytest.fixture
def nab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_nab as script  # noqa: PLC0415 - as above

    return script


@pytest.mark.parametrize(
    ("seed", "published"),
    [(0, 0.31317759599274125), (1, 0.448001334722668), (2, 0.46639855943962966), (3, 0.554713640968738)],
)
def test_vus_pr_is_the_published_one(metrics: ModuleType, seed: int, published: float) -> None:
    """VUS-PR agrees with `vus` 0.0.6 (RangeAUC_volume_opt, buffer 40), with ties, and with events at both ends."""
    rng = np.random.default_rng(seed)
    label = np.zeros(1500, bool)
    for start in rng.integers(60, 1400, 5):
        label[start : start + rng.integers(1, 60)] = True
    if seed == 3:
        label[:20] = label[-30:] = True
    score = rng.normal(size=1500) + 1.5 * np.convolve(label, np.ones(9) / 9, "same")
    score = np.round(score, 1) if seed == 2 else score
    assert metrics.vus_pr(label, score, 40) == pytest.approx(published, rel=1e-9)


def test_average_precision_by_hand(metrics: ModuleType) -> None:
    """AP is the sum of recall steps times precision; equal scores are one step; without a score a row comes last."""
    label = np.array([1, 0, 1, 0, 0], bool)
    assert metrics.average_precision(label, np.array([5.0, 4.0, 3.0, 2.0, 1.0])) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert metrics.average_precision(label, np.ones(5)) == pytest.approx(0.4)
    assert metrics.average_precision(label, np.array([5.0, 4.0, np.nan, 2.0, 1.0])) == pytest.approx(0.5 + 0.5 * 0.4)


def test_best_f1_adjusts_no_point(metrics: ModuleType) -> None:
    """One row found of an event of ten is one row, not ten."""
    label = np.zeros(100, bool)
    label[50:60] = True
    score = np.zeros(100)
    score[50] = 1.0
    assert metrics.best_f1(label, score) == pytest.approx(2 / 11)


def test_events_at_a_rate_of_false_alarms(metrics: ModuleType) -> None:
    """The threshold is the lowest with no more false alarms than allowed; near ones are one."""
    label = np.zeros(40, bool)
    label[10:15] = label[30:35] = True
    score = np.zeros(40)
    score[[12, 20, 22, 31]] = [3.0, 2.0, 2.0, 1.0]
    assert metrics.at_false_alarms(label, score, 0)[:3] == (1, 2, 2.0)
    assert metrics.at_false_alarms(label, score, 1, separation=5)[:2] == (2, 2)
    assert metrics.at_false_alarms(label, score, 1, separation=1)[:2] == (1, 2)


def test_nab_rules(nab: ModuleType) -> None:
    """At once in every window is 100, nothing is 0, late is less, and false detections cost."""
    windows = [(100, 150), (300, 400)]
    score = np.zeros(1000)
    assert nab.nab_score([(score, windows)], 0.5) == 0.0
    score[[100, 300]] = 1.0
    assert nab.nab_score([(score, windows)], 0.5) == pytest.approx(100.0)
    late = np.zeros(1000)
    late[[149, 399]] = 1.0
    assert 50.0 < nab.nab_score([(late, windows)], 0.5) < 60.0
    score[700] = 0.9  # far behind the window: 0.11 of 4
    assert nab.nab_score([(score, windows)], 0.5) == pytest.approx(100.0 - 100.0 * 0.11 / 4.0)
    assert nab.best_nab_score([(score, windows)]) == (pytest.approx(100.0), 1.0)


def test_a_series_in_nab_without_windows_only_costs(nab: ModuleType) -> None:
    """False detections of a quiet series are taken from the score of all."""
    found = np.zeros(1000)
    found[100] = 1.0
    quiet = np.zeros(500)
    quiet[[3, 400]] = 1.0
    assert nab.nab_score([(found, [(100, 150)]), (quiet, [])], 0.5) == pytest.approx(100.0 - 100.0 * 0.22 / 2.0)


def sweep(score: np.ndarray, windows: list[tuple[int, int]], probation: int, threshold: float) -> float:
    """Raw NAB score of one whole file, row by row as published: Lavin and Ahmad 2015, equations 1 and 2, and scorer."""

    def sigmoid(y: float) -> float:
        return -1.0 if y >= 3.0 else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0

    parts = {window: -1.0 for window in windows if window[1] > probation}
    total, last = 0.0, None
    for row, said in enumerate(score):
        inside = next((window for window in windows if window[0] <= row < window[1]), None)
        if inside is not None:
            last = inside
        if row < probation or said < threshold:
            continue
        if inside is not None:
            place = -(inside[1] - 1 - row + 1) / (inside[1] - inside[0])
            parts[inside] = max(parts[inside], sigmoid(place) / sigmoid(-1.0))
        elif last is None:
            total += 0.11 * sigmoid(3.0)
        else:
            total += 0.11 * sigmoid((row - (last[1] - 1)) / (last[1] - last[0] - 1))
    return total + sum(parts.values())


@pytest.mark.parametrize("seed", range(4))
def test_nab_is_the_published_sweep(nab: ModuleType, seed: int) -> None:
    """At every threshold and at the best the score is that of NAB's sweep, a window cut by probation too."""
    rng = np.random.default_rng(seed)
    files = []
    for windows in ([(120, 180), (300, 420), (600, 640)], [(400, 500)], []):
        score = np.round(rng.normal(size=800), 1)
        files.append((score, windows))
    probation = 150

    def normalised(threshold: float) -> float:
        raw = sum(sweep(score, windows, probation, threshold) for score, windows in files)
        return 100.0 * (raw + 4.0) / 8.0

    judged = [(score[probation:], [(a - probation, b - probation) for a, b in windows]) for score, windows in files]
    levels = np.unique(np.concatenate([score for score, _ in judged]))
    found = [nab.nab_score(judged, level) for level in levels]
    np.testing.assert_allclose(found, [normalised(level) for level in levels], atol=1e-4)
    assert nab.best_nab_score(judged)[0] == pytest.approx(max(0.0, *found))


def test_nab_is_silent_after_it_spoke(nab: ModuleType) -> None:
    """What lasts is said once; within the rest only what is half as probable is said again, and after it anything."""
    series = make_series(np.zeros(100))
    case = nab.Case("art", series[:50], series, np.zeros(100, bool))  # rests ten rows
    surprise = np.zeros(100)
    surprise[[20, 21, 25, 29, 40, 60]] = [2.0, 2.0, 2.2, 2.6, np.nan, 2.0]
    said = nab.spoken(surprise, case)
    assert np.flatnonzero(said > 1.0).tolist() == [20, 29, 60]


def test_nab_development_and_held_parts_are_told_apart(nab: ModuleType, data_folder: Path) -> None:
    """Series of both parts are there: 23 were looked at, 16 are held back."""
    if not (data_folder / "nab").is_dir():
        pytest.skip("no nab there")
    names = [case.name for case in nab.read(data_folder / "nab", 0)]
    assert sum(map(nab.NAB.development, names)) == 23
    assert len(names) == 39


def test_wsn_from_beginning_to_end(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On real motes with steam the benchmark finds both events, and knows nothing of positions."""
    if not (data_folder / "wsn_single-hop").is_dir():
        pytest.skip("no wsn_single-hop there")
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_wsn  # noqa: PLC0415 - as above
    import detect  # noqa: PLC0415 - as above

    cases = _detect_wsn.read(data_folder / "wsn_single-hop", 0)
    recipe = Deviation(scaling="standard")
    scored = [detect.scored(recipe.fit([case.train]), case) for case in cases]
    found = detect.figures(_detect_wsn.WSN, recipe, scored, 0)
    assert found["event_recall"] == 1.0
    assert found["ap"] == pytest.approx(0.904, abs=0.01)
    assert not any(case.label[: len(case.label) // 10].any() for case in cases)


def test_the_rate_is_kept_on_a_simulated_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """With noise that grows by half, events come at half to twice the rate; with a fixed threshold at more."""
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_rate  # noqa: PLC0415 - as above

    name, series = _detect_rate.simulated(5003)
    kept = _detect_rate.rate_kept(Pca(scaling="standard"), series, name)
    assert 0.5 * kept.expected <= kept.adaptive <= 2.0 * kept.expected
    assert kept.fixed > 2.0 * kept.expected


def test_a_page_gets_its_tables_between_its_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands between a set's markers is replaced, all else stays; a page without them is told so."""
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_page  # noqa: PLC0415 - as above

    found = {"z": {"ap": [0.5, 0.7]}, "pca": {"ap": [0.8, 0.8], "us": [1.0, 2.0]}}
    made = _detect_page.table("wsn", found | {"auto": {**found["pca"], "chosen": "pca"}})
    assert made.splitlines()[2:] == ["| **pca** (`auto`) | 0.800 | 1.5 |", "| z | 0.600 ± 0.100 |  |"]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- wsn -->\nold\n<!-- /wsn -->\nafter\n")
    _detect_page.write_page(page, {"wsn": made})
    assert page.read_text() == f"before\n<!-- wsn -->\n{made}\n<!-- /wsn -->\nafter\n"
    with pytest.raises(ValueError, match="no place for smd"):
        _detect_page.write_page(page, {"smd": made})


def test_held_back_recordings_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held back is counted alone as well: a detector that only finds what was looked at shows it."""
    monkeypatch.syspath_prepend(str(_FOLDER))
    import detect  # noqa: PLC0415 - as above
    from _detect_case import Case, LabelledSet, ScoredCase  # noqa: PLC0415 - as above

    series, label = make_series(np.zeros((100, 1))), np.arange(100) < 10
    recipe = Deviation()
    fitted = recipe.fit([make_series(np.arange(9.0)[:, None])])
    scored = [
        ScoredCase(Case(name, series, series, label), fitted, score, 1.0)
        for name, score in (("seen", -np.arange(100.0)), ("held", np.arange(100.0)))
    ]
    labelled = LabelledSet("", lambda _folder, _seed: [], lambda name: name == "seen", lambda _found: iter(()))
    found = detect.figures(labelled, recipe, scored, 0)
    assert found["held_ap"] < 0.1
    assert found["ap"] == pytest.approx((1.0 + found["held_ap"]) / 2)


def test_weights_of_verdicts_keep_their_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights tell what the evidence tells, and never against what is known of it beforehand, whatever chance says."""
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_verdict as script  # noqa: PLC0415 - as above

    rng = np.random.default_rng(1)

    def trouble(what: str, number: int) -> object:
        known = rng.normal(0.0, 1.0, len(script.EVIDENCE))
        known[2] += 2.0 if what == script.SENSOR else 0.0  # a fast step speaks for the sensor,
        known[0] += 1.0 if what == script.SENSOR else 0.0  # and here, by chance, so does what the others do
        return script.Told("a", script.Trouble(what, "", number, 0, 1), known)

    weights = script.learnt([trouble(what, i) for i in range(200) for what in (script.SENSOR, script.PROCESS)])
    assert weights.each[2] > 1.0
    assert all(weight * sign >= 0.0 for weight, sign in zip(weights.each, script.SIGNS, strict=True))
    assert weights.each[0] == 0.0


def test_trouble_of_the_benchmark_comes_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slot holds one trouble that ends within it, half of them faults of sensors; same seed, same plan."""
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_verdict as script  # noqa: PLC0415 - as above

    faults, anomalies, troubles = script._plan(script.SCENARIOS["water_loop"], 9, 7)
    assert [len(each) for each in troubles] == [script.SLOTS] * script.DEVICES
    for number, one in ((number, one) for each in troubles for number, one in enumerate(each)):
        assert number * script.SLOT < one.start < one.stop < (number + 1) * script.SLOT
    assert 9 <= len(anomalies) <= 27
    assert faults == script._plan(script.SCENARIOS["water_loop"], 9, 7)[0]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _detect_folder as script  # noqa: PLC0415 - as above

    return script


def test_any_labelled_folder_is_a_set(folder: ModuleType, tmp_path: Path) -> None:
    """Columns of numbers are channels, empty cells are not valid, the label is no channel, and 30 % train."""
    lines = [f"2026-01-01T00:00:{i:02d},{i},{'' if i == 50 else 2 * i},{int(i > 80)}" for i in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["time,flow,level,broken", *lines]) + "\n")
    (case,) = folder.folder_set("broken").read(tmp_path, 0)
    assert case.train.channels == ("flow", "level")
    assert (len(case.train), len(case.test), int(case.label.sum())) == (30, 70, 19)
    assert not case.test.valid[20, 1]
    assert case.test.valid.sum() == 139


def test_a_folder_without_the_column_is_refused(folder: ModuleType, tmp_path: Path) -> None:
    """The refusal names the file and what it has."""
    (tmp_path / "a.csv").write_text("flow\n1\n")
    with pytest.raises(ConfigError, match=r"a\.csv: no column is called 'broken'; it has: flow"):
        folder.folder_set("broken").read(tmp_path, 0)
    with pytest.raises(ConfigError, match="no \\.csv or"):
        folder.folder_set("broken").read(tmp_path / "nowhere", 0)
