"""The house itself: what the distribution carries, which way imports point, what must never be committed."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"trueline_wire", "trueline_model", "trueline_edge", "trueline_cloud", "trueline_sim"}


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what is committed cannot be listed")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_the_wheel_carries_five_prefixed_packages_and_no_other_top_level(tmp_path: Path) -> None:
    """Names such as `edge`, `cloud` or `tests` would collide in site-packages."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("trueline-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert any(name.startswith("trueline_cloud/dashboard/static/") for name in names), "the page is not in the wheel"
    assert all(f"{package}/py.typed" in names for package in PACKAGES)


def test_imports_point_one_way() -> None:
    """The contracts in pyproject.toml hold: programs share the wire, agent and cloud also the model."""
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout


def test_each_package_without_its_extra_imports_only_the_wire() -> None:
    """A device installs `trueline[edge]`: it must not need what only the cloud has."""
    code = (
        "import sys\n"
        "class Nobody:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'fastapi', 'uvicorn', 'plotly', 'pyarrow', 'amqtt', 'aiocoap'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Nobody())\n"
        "import trueline_edge.agent, trueline_edge.config\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_constraints_pin_versions_and_name_no_host() -> None:
    """A pinned version can be had from any registry; a host cannot."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line), line


def test_no_secret_no_machine_path_and_no_large_file_is_committed() -> None:
    """What belongs to one machine or one person does not belong here."""
    secret = re.compile(rb"-----BEGIN (?:EC |RSA )?PRIVATE KEY-----|/(?:home|root|Users)/[a-z]+/")
    for path in _tracked():
        assert path.stat().st_size < 1_000_000, path
        if path != Path(__file__):
            assert not secret.search(path.read_bytes()), path


def test_every_ruff_ignore_has_its_reason() -> None:
    """An ignore nobody explained is a rule nobody decided on."""
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.pydocstyle]")]
    for line in section.splitlines():
        if re.match(r'\s+"[A-Z]+[0-9]+"', line):
            assert "# " in line, line


def test_extras_are_the_ones_the_readme_names() -> None:
    """`pip install "trueline[edge]"` and its sisters exist."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert {"edge", "cloud", "train", "sim", "dev"} <= extras
    named = set(re.findall(r"trueline\[([a-z]+)\]", (ROOT / "README.md").read_text()))
    assert named <= extras
