"""`trueline-cloud train`: from a folder to a package a device may trust."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cloud_kit import Machine

from trueline_cloud.__main__ import _parser, main, parse_time
from trueline_cloud.learning.files import recordings_of
from trueline_cloud.learning.made import join
from trueline_cloud.learning.options import parse_rate
from trueline_cloud.learning.pack import measured, pack
from trueline_cloud.learning.recordings import read_folder
from trueline_cloud.learning.settings import TrainSettings
from trueline_cloud.storage.journal import Journal
from trueline_edge.inference.store import ModelStore
from trueline_model.alarm import Alarm, Alarming
from trueline_model.conformal import Calibration
from trueline_model.judge import judge_of
from trueline_model.load import check_golden, detector_of
from trueline_model.package import Package, read_package, write_package
from trueline_model.selection import standing
from trueline_wire.errors import ConfigError, NotAuthentic
from trueline_wire.keys import KeyRing, SigningKey, parse_public_key

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_cloud.learning.recordings import Recording

heavy = pytest.mark.xdist_group("tensorflow")


def write(folder: Path, rows: int = 1200) -> None:
    """Two channels of one wave, a row a minute."""
    random = np.random.default_rng(6)
    phase = np.arange(rows) / 9.0
    value = np.column_stack([np.sin(phase), 5.0 * np.cos(phase)]) + random.normal(size=(rows, 2)) * 0.1
    lines = [f"{60_000_000_000 * i},{a!r},{b!r}" for i, (a, b) in enumerate(value.tolist())]
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join(["time_ns,flow,level", *lines]) + "\n")


def run(tmp_path: Path, *more: str) -> int:
    where = ["--state", str(tmp_path / "state"), "--out", str(tmp_path / "models")]
    return main(["train", "--data", str(tmp_path / "data"), "--name", "pump", "--epochs", "3", *where, *more])


def trusted(tmp_path: Path) -> KeyRing:
    ring = KeyRing()
    ring.trust("cloud", parse_public_key(SigningKey.load_or_create(tmp_path / "state" / "cloud.key").public_text))
    return ring


def opened(tmp_path: Path, name: str) -> Package:
    return read_package((tmp_path / "models" / name).read_bytes(), trusted(tmp_path))


@heavy
def test_a_folder_becomes_a_package_that_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The package is signed, its golden rows score as it says, here and on a device; its alarm is of held-back rows."""
    pytest.importorskip("tensorflow")
    from trueline_cloud.learning.lite import Int8  # noqa: PLC0415 - LiteRT is loaded where it is wanted

    write(tmp_path / "data", 1400)
    assert run(tmp_path, "--model", "autoencoder-conv", "--alarms", "2/hour", "--json") == 0
    summary = msgspec.json.decode(capsys.readouterr().out)
    package = opened(tmp_path, "pump-1.tlm")
    manifest = package.manifest
    assert [one.name for one in manifest.inputs] == ["flow", "level"]
    assert manifest.interval_s == 60.0
    assert manifest.trained.rows == 980
    check_golden(detector_of(package, lambda network, _, answer: Int8(network, answer)), package.golden, 0.0)
    assert np.isfinite(package.golden.score).sum() >= 64
    assert np.nanmax(package.golden.score) > 2 * np.nanmedian(package.golden.score)
    assert Calibration.from_arrays(package.calibration).rows > 50
    assert Alarming.from_arrays(Alarm(**manifest.alarm), package.alarm).recipe.per_s == 3600.0
    assert summary["metrics"] == manifest.metrics
    assert manifest.metrics["size_bytes"] == len(package.network) + sum(x.nbytes for x in package.arrays.values())
    assert manifest.calibrated_s <= 0.15 / 2 * 1400 * 60.0 + 60.0
    installed = ModelStore(tmp_path / "device", trusted(tmp_path)).install(
        (tmp_path / "models" / "pump-1.tlm").read_bytes()
    )
    assert installed.cost.row_us > 0.0
    report = (tmp_path / "models" / "pump-1.html").read_text()
    for word in ("level", "nothing", "int8 against float"):
        assert word in report
    assert "<script" not in report
    assert not list((tmp_path / "models").glob("*.npz"))


def test_auto_stays_in_the_budget_and_counts_versions(tmp_path: Path) -> None:
    """With auto, what is too large is not chosen; a version is not written twice; a foreign key does not open it."""
    write(tmp_path / "data", 900)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "pump-4.tlm").write_bytes(b"")
    assert run(tmp_path, "--trials", "0", "--budget-kb", "8") == 1  # a week is more than it has seen: no alarm
    package = opened(tmp_path, "pump-5.tlm")
    assert package.manifest.metrics["size_bytes"] <= 8 * 1024
    assert package.manifest.kind != "ensemble"  # which is larger
    assert not package.alarm
    other = KeyRing()
    other.trust("cloud", parse_public_key(SigningKey.load_or_create(tmp_path / "other.key").public_text))
    with pytest.raises(NotAuthentic):
        read_package((tmp_path / "models" / "pump-5.tlm").read_bytes(), other)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--model", "oracle"], "there are auto, ensemble, deviation", marks=heavy),
        (["--model", "autoencoder-conv", "--alarms", "1/week"], "cannot be promised from"),
        (["--model", "pca", "--channels", "flow"], "--model pca compares channels: there is one alone"),
        (["--alarms", "often"], "'often' is no rate"),
        (["--separation-s", "-1"], "--separation-s -1.0: 0 or more"),
        (["--stream", "s", "--device", "d"], "--device D --stream S, or --data PATH"),
        (["--channels", "speed"], "no channel is called 'speed'; there are: flow, level"),
        (["--trials", "0", "--budget-us", "0.001"], "no model is within 64 KB and 0.001 us"),
    ],
)
def test_a_mistake_is_told_with_its_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    """Nothing is written, and the exit code says that nothing was done."""
    if "oracle" in more:
        pytest.importorskip("tensorflow")
    write(tmp_path / "data", 1000)
    assert run(tmp_path, *more) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("models/*.tlm"))


@pytest.mark.parametrize("model", ["pca", "auto"])
def test_a_statistical_detector_wants_no_tensorflow(tmp_path: Path, model: str) -> None:
    """Where there is no TensorFlow, pca is trained, auto says what it leaves out, and a device takes what comes."""
    write(tmp_path / "data", 1400)
    arguments = ["train", "--data", str(tmp_path / "data"), "--name", "pump", "--model", model, "--alarms", "2/hour"]
    arguments += ["--state", str(tmp_path / "state"), "--out", str(tmp_path / "models")]
    without = "import sys; sys.modules |= dict.fromkeys(['tensorflow', 'keras', 'optuna', 'ai_edge_litert']);"
    start = f"from trueline_cloud.__main__ import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", without + start], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("no network is tried: " in done.stderr) == (model == "auto")
    package = opened(tmp_path, "pump-1.tlm")
    assert package.manifest.kind == ("pca" if model == "pca" else "ensemble")
    assert not package.network
    assert package.manifest.trained.rows == 1190 - 32
    assert package.manifest.metrics["injected_ap"] > 0.3
    check_golden(detector_of(package), package.golden, 0.0)
    ModelStore(tmp_path / "device", trusted(tmp_path)).install((tmp_path / "models" / "pump-1.tlm").read_bytes())
    report = (tmp_path / "models" / "pump-1.html").read_text()
    for word in ("nothing", "step together", "stuck"):
        assert word in report
    assert "int8 against float" not in report


def test_what_tells_a_sensor_from_the_process_travels_along(tmp_path: Path) -> None:
    """Two channels and enough rows: an event on the device gets a verdict. From one channel nobody can tell."""
    write(tmp_path / "data", 4000)
    assert run(tmp_path, "--model", "pca", "--alarms", "2/hour") == 0
    judge = judge_of(opened(tmp_path, "pump-1.tlm"))
    rows = np.column_stack([np.sin(np.arange(600) / 9.0), 5.0 * np.cos(np.arange(600) / 9.0)])
    rows += np.random.default_rng(1).normal(size=rows.shape) * 0.1
    rows[400:, 1] += 9.0
    assert judge.verdict(rows, np.ones(rows.shape, np.bool_), 400) is not None
    assert run(tmp_path, "--model", "deviation", "--channels", "flow", "--alarms", "2/hour") == 0
    assert judge_of(opened(tmp_path, "pump-2.tlm")).verdict_rows == 0


def test_alarms_are_as_far_apart_as_was_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nearer ones are one; and where no report is wanted, there is none."""
    write(tmp_path / "data", 1400)
    assert run(tmp_path, "--model", "pca", "--alarms", "2/hour", "--separation-s", "300", "--no-report", "--json") == 0
    assert msgspec.json.decode(capsys.readouterr().out)["report"] == ""
    assert not list(tmp_path.glob("models/*.html"))
    judge = judge_of(opened(tmp_path, "pump-1.tlm"))
    assert judge.alarming is not None
    assert judge.alarming.recipe.separation_s == 300.0


@heavy
def test_a_network_joins_the_ensemble(tmp_path: Path) -> None:
    """An ensemble with an int8 network goes through one package, and scores on a device as here."""
    pytest.importorskip("tensorflow")
    from trueline_cloud.learning.fit import fit_network  # noqa: PLC0415 - as above
    from trueline_cloud.learning.lite import Int8  # noqa: PLC0415 - LiteRT is loaded where it is wanted

    write(tmp_path / "data", 1400)
    (recording,) = read_folder(tmp_path / "data", channels=None, labels=None, interval_s=1.0)
    settings = TrainSettings(epochs_max=1, windows_max=64)
    made = join(
        "ensemble+autoencoder-dense", fit_network([recording.series], "autoencoder-dense", settings), standing(2)
    )
    package = pack(made, ["", ""], "pump", 1, "waves", Alarm(events=2, per_s=3600.0), measured(made)).package
    content = write_package(package, SigningKey.load_or_create(tmp_path / "state" / "cloud.key"))
    again = read_package(content, trusted(tmp_path))
    assert again.manifest.kind == "ensemble"
    assert [each["detector"] for each in again.manifest.settings["members"]][-1] == "network"
    check_golden(detector_of(again, lambda network, _, answer: Int8(network, answer)), again.golden, 0.0)
    assert ModelStore(tmp_path / "device", trusted(tmp_path)).install(content).cost.row_us > 0.0


@heavy
def test_auto_compares_networks_with_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network meets the same trouble as every detector, alone and in the ensemble, and all stand in the report."""
    pytest.importorskip("tensorflow")
    write(tmp_path / "data", 1300)
    assert run(tmp_path, "--trials", "1", "--epochs", "1") == 1
    said = capsys.readouterr().err
    for word in ("ensemble: 0.", "autoencoder-conv of 32 rows, window: 0.", "ensemble+autoencoder-conv: 0."):
        assert word in said
    assert "ensemble+autoencoder-conv" in (tmp_path / "models" / "pump-1.html").read_text()


def test_no_other_command_loads_tensorflow() -> None:
    """The service, the ledger and the agent run without TensorFlow, Optuna and scikit-learn."""
    look = "import sys, trueline_cloud.__main__, trueline_cloud.service, trueline_edge.__main__, trueline_edge.agent;"
    heavy_ones = subprocess.run(
        [sys.executable, "-c", look + "print({'tensorflow', 'keras', 'optuna', 'sklearn'} & set(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert heavy_ones.stdout.strip() == "set()"


@pytest.mark.parametrize(("text", "rate"), [("1/week", (1.0, 604_800.0)), ("0.5/hour", (0.5, 3600.0))])
def test_a_rate_is_read(text: str, rate: tuple[float, float]) -> None:
    """Events and the seconds they may come in."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["0/day", "-1/day", "1/fortnight", "1", ""])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ConfigError, match="1/week"):
        parse_rate(text)


@heavy
def test_a_stream_of_the_store_is_learnt_from(tmp_path: Path) -> None:
    """The rows of the time asked for come out of the store, and an unknown stream is named."""
    machine = Machine()
    batch = machine.readings(50)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.commit(machine.group(batch))

    def read(*more: str) -> list[Recording]:
        options = _parser().parse_args(["train", "--name", "pump", "--device", "pump-7", *more])
        return recordings_of(options, tmp_path, parse_time)

    (whole,) = read("--stream", "valve")
    assert whole.series.channels == tuple(channel.name for channel in machine.schema.channels)
    np.testing.assert_array_equal(whole.series.time_ns, batch.time_ns)
    (cut,) = read("--stream", "valve", "--to", str(batch.time_ns[20]))
    assert len(cut.series) == 20
    with pytest.raises(ConfigError, match="'pump-7/tap' has never been heard of"):
        read("--stream", "tap")
