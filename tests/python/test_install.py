"""`cmake --install` into a prefix: programs that run from there, the service, and one version of
everything. The .deb is deploy/package_check.sh, which tests/run.sh --full runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import BUILD, ROOT

PROGRAMS = ("tightfit", "tightfit-fidelity", "tightfit-pack", "tightfit-server", "tightfit-weights")
CMAKE = (ROOT / "CMakeLists.txt").read_text("utf-8")
VERSION = re.search(r"project\(tightfit VERSION (\d+\.\d+\.\d+)", CMAKE)[1]  # type: ignore[index]


def install(prefix: Path) -> None:
    command = ["cmake", "--install", str(BUILD), "--prefix", str(prefix), "--strip"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not (BUILD / "documents" / "made").is_file():
        pytest.skip("needs a whole build: cmake --build build/release")
    place = tmp_path_factory.mktemp("prefix") / "opt"
    install(place)
    yield place
    shutil.rmtree(place)  # 0.4 GB


def test_programs_run_from_the_prefix_with_libraries_of_it_and_of_the_system(prefix: Path) -> None:
    for program in PROGRAMS:
        file = prefix / "bin" / program
        done = subprocess.run([file, "--version"], env={}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told = subprocess.run(["ldd", file], env={}, capture_output=True, text=True).stdout
        places = re.findall(r"=> (/\S+)", told)
        strays = [p for p in places if not p.startswith(("/lib/", "/usr/lib/", f"{prefix}/bin/.."))]
        assert places and not strays and "not found" not in told, told
    text = (prefix / "bin" / "tightfit-server").read_bytes()
    assert str(ROOT).encode() not in text, "the checkout's place is in the program"


def test_the_prefix_can_be_moved(prefix: Path) -> None:
    moved = prefix.with_name("moved")
    prefix.rename(moved)
    try:
        command = [moved / "bin" / "tightfit-server", "--version"]
        done = subprocess.run(command, env={}, capture_output=True, text=True)
        assert done.returncode == 0 and "LibTorch" in done.stdout, done.stderr
    finally:
        moved.rename(prefix)


def test_the_service_starts_what_was_installed(prefix: Path, tmp_path: Path) -> None:
    unit = prefix / "lib/systemd/system/tightfit.service"
    (start,) = re.findall(r"(?m)^ExecStart=(.*)$", unit.read_text("utf-8"))
    words = start.split()
    assert words[0] == f"{prefix}/bin/tightfit-server"
    assert words[-1] == f"{prefix}/etc/tightfit/tightfit.toml" and Path(words[-1]).is_file()
    assert unit.read_text("utf-8").startswith("[Unit]\n")
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", "--man=no", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr


def test_a_second_time_leaves_settings_alone(prefix: Path) -> None:
    settings = prefix / "etc/tightfit/tightfit.toml"
    before = settings.read_bytes()
    settings.write_text("# mine\n", "utf-8")
    install(prefix)
    assert settings.read_text("utf-8") == "# mine\n"
    assert (prefix / "share/doc/tightfit/tightfit.example.toml").read_bytes() == before


def test_documents_pages_and_completions_lie_where_they_are_looked_for(prefix: Path) -> None:
    share = prefix / "share"
    assert (share / "doc/tightfit/copyright").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert list((share / "doc/tightfit/licenses/torch").iterdir())
    for program in PROGRAMS:
        assert (share / "bash-completion/completions" / program).is_file()
        assert (share / "fish/vendor_completions.d" / f"{program}.fish").is_file()
        assert (share / "zsh/site-functions" / f"_{program}").is_file()
        if shutil.which("help2man"):
            assert (share / "man/man1" / f"{program}.1").is_file()


def versions() -> dict[str, str]:
    """Where a version stands -> what stands there."""
    found = {}
    for program in PROGRAMS:
        command = [BUILD / "bin" / program, "--version"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        name, number = told.split()[:2]
        found[f"{program} --version"] = number if name == program else told
    for project in ("client/python", "deploy/export"):
        file = ROOT / project / "pyproject.toml"
        found[project] = tomllib.loads(file.read_text("utf-8"))["project"]["version"]
    package = (ROOT / "client/python/src/tightfit/__init__.py").read_text("utf-8")
    found["tightfit.__version__"] = re.findall(r'(?m)^__version__ = "(.*)"$', package)[0]
    cpack = (BUILD / "CPackConfig.cmake").read_text("utf-8")
    found["the .deb"] = re.findall(r'(?m)^set\(CPACK_PACKAGE_VERSION "(.*)"\)$', cpack)[0]
    headings = re.findall(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"))
    found["CHANGELOG.md"] = next(each for each in headings if each != "Unreleased")
    return found


def test_everything_has_one_version() -> None:
    assert versions() == dict.fromkeys(versions(), VERSION)


def test_the_changelogs_versions_are_dated_and_in_order() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"(?m)^## (.*)$", text)
    assert headings[0] == "Unreleased"
    dated = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - \d{4}-\d\d-\d\d", each) for each in headings[1:]]
    assert dated and all(dated)
    numbers = [tuple(map(int, each.groups())) for each in dated]  # type: ignore[union-attr]
    assert numbers == sorted(numbers, reverse=True)
    for section in re.split(r"(?m)^## .*$", text)[1:]:
        topics = re.findall(r"(?m)^### (.*)$", section)
        assert len(topics) == len(set(topics)), f"a topic stands twice: {topics}"
