"""deploy/systemd/tightfit.service: what systemd says of it, and that it agrees with the server."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from server_process import ROOT

FILE = ROOT / "deploy" / "systemd" / "tightfit.service"
TEXT = FILE.read_text("utf-8")


def settings(section: str) -> dict[str, list[str]]:
    """Name -> its values in order, as systemd reads them: every setting may stand several times."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in TEXT.splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif line and not line.startswith("#") and current == section:
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


SERVICE = {name: values[-1] for name, values in settings("Service").items()}


def verify(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = folder / "tightfit.service"
    # Its program is not installed here.
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text), "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    return subprocess.run(command, capture_output=True, text=True)


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    done = verify(TEXT, tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_systemd_would_find_a_mistake(tmp_path: Path) -> None:
    for was, becomes in (
        ("NoNewPrivileges=yes", "NoNewPrivilege=yes"),
        ("TimeoutStopSec=40", "TimeoutStopSec=long"),
        ("KillSignal=SIGTERM", "KillSignal=SIGNONE"),
    ):
        assert TEXT.count(was) == 1
        assert verify(TEXT.replace(was, becomes), tmp_path).stderr != ""


def test_systemd_calls_it_well_confined(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager"]
    done = subprocess.run([*command, str(FILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    loose = tmp_path / "tightfit.service"
    loose.write_text(re.sub(r"(?m)^(Restrict|Protect|Private|Dynamic).*\n", "", TEXT), "utf-8")
    done = subprocess.run([*command, str(loose)], capture_output=True, text=True)
    assert done.returncode != 0


def test_a_wrong_configuration_is_not_tried_again() -> None:
    header = (ROOT / "server/app/serve.h").read_text("utf-8")
    (code,) = re.findall(r"kExitConfiguration = (\d+)", header)
    assert SERVICE["Restart"] == "on-failure" and SERVICE["RestartPreventExitStatus"] == code


def test_it_may_drain_before_it_is_killed() -> None:
    example = (ROOT / "deploy" / "tightfit.example.toml").read_text("utf-8")
    (drain,) = re.findall(r"(?m)^drain_timeout_seconds = (\d+)$", example)
    assert SERVICE["KillSignal"] == "SIGTERM"
    assert int(SERVICE["TimeoutStopSec"]) >= int(drain) + 10


def test_it_is_confined() -> None:
    assert SERVICE["DynamicUser"] == "yes" and "User" not in SERVICE
    assert SERVICE["NoNewPrivileges"] == "yes" and SERVICE["CapabilityBoundingSet"] == ""
    assert SERVICE["ProtectSystem"] == "strict" and SERVICE["ProtectHome"] == "yes"
    assert "ReadWritePaths" not in SERVICE and "StateDirectory" not in SERVICE
    assert SERVICE["RestrictAddressFamilies"].split() == ["AF_INET", "AF_INET6", "AF_UNIX"]
    # What the server reads of /proc, and what LibTorch does, stays possible.
    assert "ProcSubset" not in SERVICE and "MemoryDenyWriteExecute" not in SERVICE


def test_private_files_are_where_the_comment_says() -> None:
    (name,) = {FILE.name}
    for file in ("key.pem", "tokens"):
        assert f"#LoadCredential={file}:/etc/tightfit/{file}\n" in TEXT
        assert f'"/run/credentials/{name}/{file}"' in TEXT
