from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from model_kit import KEY, STRANGER, network_package, package, pca_package, ring, verified

from trueline_edge.inference import store as store_module
from trueline_edge.inference.store import Disk, ModelStore
from trueline_model.package import write_package
from trueline_wire.errors import ConfigError, NeverRetry, NotAuthentic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE, TWO, THREE = (write_package(pca_package(version), KEY) for version in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models" / "pump", ring(), trial=verified)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "pump"


def serves(store: ModelStore) -> int:
    return store.load().package.manifest.version


def test_the_newest_installed_serves_and_one_is_kept_to_go_back_to(store: ModelStore, folder: Path) -> None:
    """Each install activates; older ones than the last good one are taken away."""
    for version, data in enumerate((ONE, TWO, THREE), start=1):
        assert store.install(data).package.manifest.version == version
        assert serves(store) == version
    assert store.versions() == ["pump-3.tlm", "pump-2.tlm"]
    assert store.rollback().package.manifest.version == 2
    assert serves(store) == 2
    assert {path.name for path in folder.iterdir()} == {"pump-2.tlm", "active.json"}
    with pytest.raises(ConfigError, match="go back"):
        store.rollback()


def test_what_is_installed_is_tried_first_and_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Without another trial said, the store uses the real one."""
    store = ModelStore(tmp_path, ring())
    assert store.install(write_package(network_package(1), KEY)).cost.row_us > 0.0
    served = store.load()
    assert served.cost.row_us > 0.0
    assert served.refused == ()
    with pytest.raises(NeverRetry, match="refused"):
        store.install(write_package(package(version=2), KEY))
    assert serves(store) == 1


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: write_package(pca_package(4), STRANGER), NotAuthentic),
        (lambda: THREE[:-1], NeverRetry),
        (lambda: b"", NeverRetry),
        (lambda: ONE, NeverRetry),
        (lambda: write_package(pca_package(2, metrics={"other": 1.0}), KEY), NeverRetry),
        (lambda: write_package(pca_package(3, name="fan"), KEY), NeverRetry),
    ],
    ids=["a stranger's", "cut off", "empty", "older", "same version, other model", "of another name"],
)
def test_what_may_not_be_installed_changes_nothing(
    make: Callable[[], bytes], error: type[NeverRetry], store: ModelStore, folder: Path
) -> None:
    """The last good one serves on, and the folder is as it was."""
    store.install(ONE)
    store.install(TWO)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(error):
        store.install(make())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert serves(store) == 2


def test_installing_the_same_again_changes_nothing(store: ModelStore) -> None:
    """Sent twice is installed once, and the one to go back to stays."""
    store.install(ONE)
    store.install(TWO)
    store.install(TWO)
    assert store.rollback().package.manifest.version == 1


def rot(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_version_that_rots_gives_way_to_the_one_before(
    store: ModelStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said why, and a sound copy can be installed again."""
    store.install(ONE)
    store.install(TWO)
    rot(folder / "pump-2.tlm")
    served = store.load()
    assert served.package.manifest.version == 1
    assert "pump-2.tlm" in served.refused[0]
    assert "pump-2.tlm" in caplog.records[0].__dict__["reason"]
    store.install(TWO)
    assert serves(store) == 2


def test_without_a_readable_active_file_the_newest_that_passes_serves(store: ModelStore, folder: Path) -> None:
    """The note of which serves is lost: what is left is tried."""
    store.install(ONE)
    store.install(TWO)
    (folder / "active.json").write_bytes(b"{")
    assert serves(store) == 2
    rot(folder / "pump-2.tlm")
    assert serves(store) == 1


def test_where_none_serves_each_is_named_with_its_reason(store: ModelStore, folder: Path) -> None:
    """Nothing there, or nothing sound."""
    with pytest.raises(ConfigError, match="no model serves"):
        store.load()
    store.install(ONE)
    rot(folder / "pump-1.tlm")
    with pytest.raises(ConfigError, match=r"pump-1\.tlm"):
        store.load()


def test_another_litert_than_it_was_tried_with_tries_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade of LiteRT may break what passed: it passes again, or the one before serves."""
    tried: list[bytes] = []

    def trial(data: bytes, *args: object, **options: object) -> object:
        tried.append(data)
        return verified(data, *args, runtime="2.3.0", **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store_module, "runtime_version", lambda: "2.3.0")
    store = ModelStore(tmp_path, ring(), trial=trial)  # type: ignore[arg-type]
    store.install(write_package(network_package(1), KEY))
    store.load()
    assert len(tried) == 1
    monkeypatch.setattr(store_module, "runtime_version", lambda: "9.9.9")
    store.load()
    assert len(tried) == 2


def test_a_disk_that_fails_changes_nothing(store: ModelStore, folder: Path) -> None:
    """No space: ConfigError, the old one serves, and no half of a file is left to take up room."""

    class Full(Disk):
        def write(self, path: Path, data: bytes) -> None:
            super().write(path, data[:10])
            raise OSError(28, "No space left on device")

    store.install(ONE)
    full = ModelStore(folder, ring(), trial=verified, disk=Full())
    with pytest.raises(ConfigError, match="No space left"):
        full.install(TWO)
    assert serves(store) == 1
    assert {path.name for path in folder.iterdir()} == {"pump-1.tlm", "active.json"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """What is in the way is said."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        ModelStore(tmp_path / "file" / "pump", ring(), trial=verified).install(ONE)
