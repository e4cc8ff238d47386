"""Networks are trained, made int8, and score as they did in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trueline_model.detector import score_series
from trueline_model.detectors import detector_from
from trueline_model.series import Series, make_series

pytest.importorskip("tensorflow")


from trueline_cloud.learning.dataset import Windowed
from trueline_cloud.learning.examples import examples
from trueline_cloud.learning.fit import Fitted, fit_network
from trueline_cloud.learning.lite import Int8
from trueline_cloud.learning.made import Made
from trueline_cloud.learning.pack import pack
from trueline_cloud.learning.quantise import to_int8
from trueline_cloud.learning.train import Epoch, TrainSettings, predict, train
from trueline_cloud.learning.trouble import trouble
from trueline_cloud.learning.zoo import RANKED, ZOO
from trueline_model.alarm import Alarm
from trueline_model.load import detector_of
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("tensorflow")  # loading it costs seconds: once

BUDGET_KB = 64
BUDGETS_KB = {"autoencoder-mlperf": 160}  # a peer to compare with, which says of itself that it is over the budget
CHANNELS = 3
QUICK = TrainSettings(epochs_max=4, windows_max=512, batch=32, seed=3)


def waves(rows: int = 900, seed: int = 1) -> Series:
    """Three channels of one wave, each with noise of its own."""
    random = np.random.default_rng(seed)
    phase = np.arange(rows)[:, None] / 7.0 + np.array([0.0, 1.0, 2.0])
    return make_series(np.sin(phase) * [1.0, 20.0, 0.1] + random.normal(size=(rows, CHANNELS)) * [0.05, 1.0, 0.005])


@pytest.fixture(scope="module")
def conv() -> Fitted:
    """The default network, trained for four rounds."""
    return fit_network([waves()], "autoencoder-conv", QUICK)


@pytest.mark.parametrize("name", ZOO)
def test_every_network_is_int8_and_answers_as_in_float(name: str) -> None:
    """Every one becomes an int8 file inside the default budget, answers nearly as in float, and alone as in company."""
    build, output, rows = ZOO[name]
    model = build(rows, CHANNELS)
    windows = np.random.default_rng(2).normal(size=(64, rows, CHANNELS)).astype(np.float32)
    tflite = to_int8(model, windows)
    answer = {"forecast": (CHANNELS,), "embedding": model.output_shape[-1:]}.get(output, (rows, CHANNELS))
    int8 = Int8(tflite, answer)
    assert int8.dtypes <= {"int8", "int32"}
    assert len(tflite) <= BUDGETS_KB.get(name, BUDGET_KB) * 1024
    whole, together = predict(model, windows).reshape(len(windows), *answer), int8(windows)
    assert np.sqrt(np.mean((together - whole) ** 2)) < 0.1 * whole.std()
    np.testing.assert_array_equal(np.concatenate([int8(each[None]) for each in windows]), together)


def test_a_fault_scores_above_normal_running(conv: Fitted) -> None:
    """What a trained network has not seen scores higher than what it has, int8 and float, and names the channel."""
    value = waves(seed=9).value.copy()
    value[500:520, 1] += 60.0
    for detector in (conv.detector, conv.reference):
        scored = score_series(detector, make_series(value))
        assert np.nanmin(scored.score[505:520]) > np.nanmax(scored.score[:500])
        assert scored.contribution[510].argmax() == 1


def test_what_is_fitted_goes_through_a_package(conv: Fitted) -> None:
    """Its parts and its file make the same detector again, bit for bit."""
    again = detector_from(conv.detector.parts(), Int8(conv.tflite, (conv.recipe.rows, CHANNELS)))
    series = waves(300, seed=5)
    np.testing.assert_array_equal(score_series(again, series).score, score_series(conv.detector, series).score)


@pytest.mark.parametrize("name", ["marks-unet", "embedding-patch"])
def test_what_marks_and_what_embeds_find_a_fault_and_travel(name: str) -> None:
    """A fault scores above normal running, its channel comes first, and a package makes the same detector again."""
    fitted = fit_network([waves()], name, TrainSettings(epochs_max=15, windows_max=512, batch=32, seed=3), rows=16)
    value = waves(seed=9).value.copy()
    value[500:520, 1] += 60.0
    series = make_series(value)
    scored = score_series(fitted.detector, series)
    assert np.nanmedian(scored.score[506:520]) > np.nanmax(scored.score[:500])
    assert scored.contribution[510].argmax() == 1
    made = Made(name, fitted.detector, fitted.parts, fitted)
    package = pack(made, [""] * CHANNELS, name, 1, "waves", Alarm(events=1.0, per_s=60.0), {}).package
    again = detector_of(package, lambda network, _window, answer: Int8(network, answer))
    np.testing.assert_array_equal(score_series(again, series).score, scored.score)


def test_trouble_is_where_it_is_marked() -> None:
    """A cell without a mark keeps its value, about half the windows hold trouble, and the same seed puts the same."""
    value = np.random.default_rng(3).normal(size=(400, 24, CHANNELS)).astype(np.float32)
    kept = value.copy()
    troubled, marks = trouble(value, np.random.default_rng(5))
    np.testing.assert_array_equal(value, kept)
    np.testing.assert_allclose(troubled[~marks], value[~marks], atol=0.05)
    assert 0.3 < marks.any(axis=(1, 2)).mean() < 0.6
    alone = marks.any(axis=1).sum(axis=1)
    assert {1, 2, 3} <= set(alone.tolist())
    np.testing.assert_array_equal(trouble(value, np.random.default_rng(5))[0], troubled)


def test_what_learns_from_trouble_is_not_ranked_by_it() -> None:
    """`auto` ranks by trouble put in: a network taught by such trouble would win by its book, and is left out."""
    assert "marks-unet" not in RANKED
    assert set(ZOO) - set(RANKED) == {name for name, one in ZOO.items() if one.output == "marks"}


def test_the_calibration_part_is_seen_by_nothing() -> None:
    """Other rows in the calibration part change not one bit of the network: a threshold made there is honest."""
    series = waves(500)
    value = series.value.copy()
    value[-40:] = 1e6
    quick = TrainSettings(epochs_max=1, windows_max=64)
    one, two = (fit_network([each], "autoencoder-dense", quick) for each in (series, make_series(value)))
    assert one.tflite == two.tflite
    np.testing.assert_array_equal(one.detector.scale.centre, two.detector.scale.centre)


def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Stopped after any round and resumed from its checkpoint, a training gives the same weights, bit for bit."""
    random = np.random.default_rng(0)
    value = random.normal(size=(200, 8, 2)).astype(np.float32)
    windows = Windowed(value, np.ones(value.shape, bool))

    def run(checkpoint: Path | None, stop_after: int | None = None) -> list[np.ndarray]:
        def progress(epoch: Epoch) -> None:
            if epoch.number == stop_after:
                raise KeyboardInterrupt

        model, _ = train(
            lambda: ZOO["autoencoder-conv"].build(8, 2),
            "reconstruction",
            windows,
            windows[:50],
            QUICK,
            checkpoint=checkpoint,
            progress=progress,
        )
        return [each.numpy() for each in model.weights]

    whole = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c.npz", stop_after=1)
    for one, two in zip(whole, run(tmp_path / "c.npz"), strict=True):
        np.testing.assert_array_equal(one, two)
    shape_of_another = run(tmp_path / "c.npz")  # whole by now: nothing is left to do
    np.testing.assert_array_equal(whole[0], shape_of_another[0])


def test_what_is_not_valid_never_counts() -> None:
    """A cell that is not valid is no answer to learn, in a reconstruction and in a forecast."""
    valid = np.ones((4, 5, 2), bool)
    valid[1, 4, 0] = valid[2, 2, 1] = False
    windows = Windowed(np.ones((4, 5, 2), np.float32), valid)
    whole = examples(windows, "reconstruction", None)
    np.testing.assert_array_equal(whole.counts.astype(bool), valid)
    ahead = examples(windows, "forecast", None)
    assert ahead.question.shape == (4, 4, 2)
    np.testing.assert_array_equal(ahead.counts.astype(bool), valid[:, -1])


def test_a_mistake_is_named() -> None:
    """A network that does not exist, and windows it cannot have, are told with what there is."""
    with pytest.raises(ConfigError, match="no network is called 'oracle'; there are: autoencoder-conv"):
        fit_network([waves()], "oracle")
    with pytest.raises(ConfigError, match="30 rows are no multiple of 4"):
        fit_network([waves()], "autoencoder-conv", QUICK, rows=30)
