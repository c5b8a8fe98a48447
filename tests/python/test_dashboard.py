"""Dashboard and alerts, asked of a real Prometheus that scrapes a real server under load."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from client_sides import tightfit
from emoji_model import MODEL, failing_model
from PIL import Image
from prometheus_process import CONFIG, PrometheusProcess, program, prometheus_api
from server_process import ROOT, ServerProcess

import make_dashboard  # isort: skip  found once prometheus_process is imported
import render_panel  # isort: skip

GRAFANA = ROOT / "deploy" / "grafana"
MODELS = [f"emoji-{f}={MODEL},format={f}" for f in ("e2m5r", "hf8")]


@dataclass(frozen=True)
class Scraped:
    prometheus: PrometheusProcess
    server: ServerProcess

    def expression(self, text: str) -> str:
        """Grafana's variables filled in."""
        instance = self.server.metrics_address
        for name, value in (
            ("$instance", instance),
            ("$model", ".*"),
            ("$__rate_interval", "1m"),
        ):
            text = text.replace(name, value)
        assert "$" not in text, text
        return text


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Two models that draw and one that failed; images, a refusal, a cancel, a full queue."""
    folder = tmp_path_factory.mktemp("scraped")
    models = [*MODELS, failing_model(folder / "broken")]
    limits = ["--max-queued-requests", "1", "--max-running-requests", "1"]
    with (
        ServerProcess(folder, models, *limits) as server,
        PrometheusProcess(folder / "prometheus", [server.metrics_address]) as prometheus,
    ):
        prometheus.wait_for('up{job="tightfit"} == 1')
        make_traffic(server.address)
        # One scrape later everything is seen.
        prometheus.wait_for('tightfit_admission_rejections_total{reason="queue_full"} > 0')
        time.sleep(1.0)
        yield Scraped(prometheus, server)


def make_traffic(address: str) -> None:
    with tightfit.Client(address, max_attempts=1) as client:
        for model in ("emoji-e2m5r", "emoji-hf8"):
            for seed in range(2):
                client.generate("red apple", model=model, seed=seed, step_count=4)
        with pytest.raises(tightfit.ModelFailedError):
            client.generate("x", model="broken")
        with pytest.raises(tightfit.InvalidRequestError):
            client.generate("x", model="emoji-hf8", step_count=9999)
        long = {"model": "emoji-hf8", "step_count": 150}
        # One runs, one waits, and the third is refused.
        with client.stream("x", **long) as first, client.stream("x", **long) as second:
            while not isinstance(next(first), tightfit.Progress):
                pass
            assert isinstance(next(second), tightfit.Queued)
            with pytest.raises(tightfit.ServerBusyError):
                client.generate("x", **long)


def panels() -> list[dict[str, Any]]:
    document = json.loads((GRAFANA / "tightfit.json").read_text("utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CONFIG / "tightfit_alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


PANELS = {panel["title"]: panel for panel in panels()}
METRIC = re.compile(r"\b(?:tightfit_\w+|up)\b(?=\s*[{\[]|\s*$|\s*[-+*/)<>=])")


def metrics_of(expression: str) -> set[str]:
    return set(METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))


def known_metrics(server: ServerProcess) -> set[str]:
    lines = server.metrics().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")} | {"up"}


@pytest.mark.parametrize("title", PANELS)
def test_every_query_of_a_panel_shows_something(scraped: Scraped, title: str) -> None:
    for target in PANELS[title]["targets"]:
        expression = scraped.expression(target["expr"])
        found = prometheus_api.query(scraped.prometheus.url, expression)
        assert prometheus_api.has_value(found), f"{title}: nothing for {expression}"
        for series in found:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert series.labels.get(label), f"{title}: no label {label} in {series.labels}"


def test_panels_show_what_happened(scraped: Scraped) -> None:
    def values(title: str, label: str) -> dict[str, float]:
        expression = scraped.expression(PANELS[title]["targets"][0]["expr"])
        found = prometheus_api.query(scraped.prometheus.url, expression)
        return {series.labels[label]: series.points[-1][1] for series in found}

    codes = values("Requests by status code", "code")
    wanted = {"OK", "CANCELLED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
    assert {code for code, rate in codes.items() if rate > 0} == wanted
    assert values("Model states", "model") == {"emoji-e2m5r": 2, "emoji-hf8": 2, "broken": 3}
    assert set(values("Step time by weight format", "format")) == {"e2m5r", "hf8"}
    assert values("Refused before the queue", "reason")["queue_full"] > 0
    memory = values("Device memory by model", "model")
    with tightfit.Client(scraped.server.address) as client:
        for model in client.models():
            parts = [use for part in model.components for use in part.memory]
            held = sum(use.current_bytes for use in parts)
            assert memory.get(model.name, 0) == held, model.name


def test_the_layers_of_device_memory_add_up_to_what_is_used(scraped: Scraped) -> None:
    models, no_model, unattributed, limit, reserved = (
        f"sum({scraped.expression(target['expr'])})"
        for target in PANELS["Device memory by model"]["targets"]
    )
    used = "sum(tightfit_device_memory_used_bytes)"
    # One query, so that all values are of one scrape.
    for expression, wanted in (
        (f"{models} + {no_model} + {unattributed} - {used}", 0),
        (f"{no_model} <= bool 0.02 * {used}", 1),
        (f"{models} > bool 0", 1),
        (f"{models} < bool {limit}", 1),
        (f"{reserved} <= bool {limit}", 1),
        (f"{reserved} > bool 0", 1),
    ):
        (found,) = prometheus_api.query(scraped.prometheus.url, expression)
        assert found.points[-1][1] == wanted, expression


@pytest.mark.parametrize("name", [rule["alert"] for rule in alerts()])
def test_every_alert_is_evaluated_on_metrics_that_exist(scraped: Scraped, name: str) -> None:
    (rule,) = (rule for rule in alerts() if rule["alert"] == name)
    names = metrics_of(rule["expr"])
    assert names and names <= known_metrics(scraped.server), (name, names)
    found = prometheus_api.query(scraped.prometheus.url, rule["expr"])
    fires = {"TightfitModelFailed", "TightfitRefusesRequests"}
    assert prometheus_api.has_value(found) == (name in fires), f"{name}: {found}"
    assert set(rule["annotations"]) == {"summary", "action"}


def test_every_metric_of_a_panel_exists_and_none_is_left_out(scraped: Scraped) -> None:
    """Control: the pattern sees the metrics, so a name that is wrong would be found."""
    assert metrics_of('sum by (le) (rate(tightfit_x_bucket{a="up"}[1m])) / up') == {
        "tightfit_x_bucket",
        "up",
    }
    shown = set()
    for panel in PANELS.values():
        for target in panel["targets"]:
            shown |= metrics_of(target["expr"])
    known = known_metrics(scraped.server)
    assert shown <= known, shown - known

    def families(names: set[str]) -> set[str]:
        return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} - {"up"}

    assert families(shown) == families(known), "a metric that no panel shows"


def test_the_dashboard_is_what_its_generator_writes() -> None:
    assert (GRAFANA / "tightfit.json").read_text("utf-8") == make_dashboard.text()
    document = json.loads(make_dashboard.text())
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells


def promtool(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, **options
    )


def test_promtool_accepts_configuration_rules_and_metrics(scraped: Scraped) -> None:
    for done in (
        promtool("check", "config", str(CONFIG / "prometheus.yml")),
        promtool("check", "rules", str(CONFIG / "tightfit_alerts.yml")),
        promtool("check", "metrics", input=scraped.server.metrics()),
    ):
        assert done.returncode == 0 and "WARN" not in done.stdout, done.stdout + done.stderr


def test_alerts_fire_on_what_they_are_for_and_only_then(tmp_path: Path) -> None:
    rules = (CONFIG / "tightfit_alerts.yml").read_text("utf-8")
    cases = (CONFIG / "tightfit_alerts_test.yml").read_text("utf-8")
    tested = {
        test["alertname"]
        for each in yaml.safe_load(cases)["tests"]
        for test in each["alert_rule_test"]
    }
    assert tested == {rule["alert"] for rule in alerts()}

    def run() -> int:
        return promtool("test", "rules", str(tmp_path / "tightfit_alerts_test.yml")).returncode

    (tmp_path / "tightfit_alerts_test.yml").write_text(cases)
    (tmp_path / "tightfit_alerts.yml").write_text(rules)
    assert run() == 0
    # Controls: an alert that comes too late or too early is noticed.
    for was, becomes in (("> 0.95", "> 0.97"), ("for: 15m", "for: 5m")):
        assert was in rules
        (tmp_path / "tightfit_alerts.yml").write_text(rules.replace(was, becomes))
        assert run() != 0, (was, becomes)


def test_the_memory_panel_is_drawn_as_a_image(scraped: Scraped, tmp_path: Path) -> None:
    file = tmp_path / "memory.png"
    instance = ["--instance", scraped.server.metrics_address]
    shown = ["--prometheus", scraped.prometheus.url, "--seconds", "20", "--output", str(file)]
    assert render_panel.main([*shown, *instance]) == 0
    image = Image.open(file)
    assert image.size == (render_panel.WIDTH_PX, render_panel.HEIGHT_PX)
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    for wanted in (render_panel.UNATTRIBUTED, render_panel.LIMIT, render_panel.shade(0, 0)):
        assert wanted in colours, wanted


def test_what_cannot_be_drawn_is_one_line(
    scraped: Scraped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "memory.png")]
    for place, wanted in (
        (["--prometheus", "http://127.0.0.1:1"], "no Prometheus at http://127.0.0.1:1"),
        (["--prometheus", scraped.prometheus.url, "--instance", "none:1"], "nothing"),
    ):
        assert render_panel.main([*place, *output]) == 1
        told = capsys.readouterr().err
        assert wanted in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())
