"""deploy/compose.yaml and what it mounts into Prometheus and Grafana."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml
from prometheus_process import CONFIG, program
from server_process import ROOT

FILE = ROOT / "deploy" / "compose.yaml"
# The reader knows no variables: their defaults stand for them.
TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text("utf-8"))
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]


def mounts(service: str) -> dict[str, str]:
    """Place inside -> place of this machine, or the name of a volume."""
    parts = [text.split(":") for text in SERVICES[service]["volumes"]]
    return {part[1]: part[0] for part in parts}


def setting(name: str) -> float:
    text = (ROOT / "deploy" / "container" / "tightfit.toml").read_text("utf-8")
    (value,) = re.findall(rf"^{name} = ([\d.]+)$", text, re.MULTILINE)
    return float(value)


def test_compose_yaml_keeps_to_the_specification() -> None:
    compose_spec.PyCompose.from_yaml(TEXT)
    for was, becomes in (
        ("read_only: true", "readonly: true"),
        ("stop_grace_period: 40s", "stop_grace_period: long"),
        ("127.0.0.1:3000:3000", "127.0.0.1:x:3000"),
    ):
        assert TEXT.count(was) == 1
        with pytest.raises(ValueError):
            compose_spec.PyCompose.from_yaml(TEXT.replace(was, becomes))


def test_the_override_for_a_gpu_changes_the_server_alone() -> None:
    text = (ROOT / "deploy" / "compose.gpu.yaml").read_text("utf-8")
    compose_spec.PyCompose.from_yaml(text)
    services = yaml.safe_load(text)["services"]
    assert list(services) == ["tightfit"] and set(services["tightfit"]) == {"build", "deploy"}
    args = services["tightfit"]["build"]["args"]
    assert args == {"TIGHTFIT_DEVICE": "cuda"}
    assert set(args) < set(SERVICES["tightfit"]["build"]["args"])


def test_what_is_mounted_is_there() -> None:
    volumes = set(yaml.safe_load(TEXT)["volumes"])
    for service in SERVICES:
        for inside, outside in mounts(service).items():
            if outside not in volumes and inside != "/models":
                assert (FILE.parent / outside).exists(), f"{service}: {outside}"
    assert (FILE.parent / SERVICES["tightfit"]["build"]["context"] / "Dockerfile").is_file()


def test_the_server_is_confined_and_may_drain() -> None:
    server = SERVICES["tightfit"]
    assert server["read_only"] and server["cap_drop"] == ["ALL"]
    assert server["security_opt"] == ["no-new-privileges:true"]
    seconds = float(server["stop_grace_period"].removesuffix("s"))
    assert seconds >= setting("drain_timeout_seconds") + 10
    # Plain text and no tokens: nothing is published beyond this machine.
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]) or "build" in service


def test_prometheus_scrapes_the_server_and_has_the_alerts(tmp_path: Path) -> None:
    for inside, outside in mounts("prometheus").items():
        if inside.startswith("/etc/prometheus/"):
            shutil.copy(FILE.parent / outside, tmp_path / Path(inside).name)
    config = tmp_path / "prometheus.yml"
    command = [program("promtool"), "check", "config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "10 rules found" in done.stdout, done.stdout + done.stderr
    ours, plain = (
        yaml.safe_load(path.read_text("utf-8")) for path in (config, CONFIG / "prometheus.yml")
    )
    assert ours["scrape_configs"][0]["static_configs"][0]["targets"] == ["tightfit:9400"]
    # Beside the target it is the configuration that tests ask a real Prometheus with.
    plain["scrape_configs"][0]["static_configs"][0]["targets"] = ["tightfit:9400"]
    assert ours == plain


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    folder = FILE.parent / mounts("grafana")["/etc/grafana/provisioning"]
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text("utf-8"))
    (found,) = source["datasources"]
    assert (found["type"], found["isDefault"]) == ("prometheus", True)
    host, port = re.fullmatch(r"http://(\w+):(\d+)", found["url"]).groups()  # type: ignore[union-attr]
    assert host in SERVICES and SERVICES[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    boards = yaml.safe_load((folder / "dashboards" / "tightfit.yaml").read_text("utf-8"))
    place = boards["providers"][0]["options"]["path"]
    inside = {Path(target): target for target in mounts("grafana") if target.endswith(".json")}
    (board,) = inside
    assert str(board.parent) == place
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == str(board)
    document = json.loads((FILE.parent / mounts("grafana")[str(board)]).read_text("utf-8"))
    # It asks the data source that its variable names: the one of this type.
    (variable,) = (v for v in document["templating"]["list"] if v["type"] == "datasource")
    assert variable["query"] == found["type"]
