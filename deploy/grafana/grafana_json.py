"""The pieces of a Grafana dashboard that ours is made of, as Grafana 10 and later import them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """legend: Grafana's template, `{{model}}`; `instant` asks for the last value alone."""

    expression: str
    legend: str
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel. width: of 24 columns; height: in Grafana's rows of about 30 px.

    kind: Grafana's panel type; unit: Grafana's name, "bytes", "s", "reqps", "short"
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str
    kind: str = "timeseries"
    stacked: bool = False
    width: int = 8
    height: int = 8
    overrides: tuple[dict[str, Any], ...] = ()
    mappings: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    title: str
    panels: tuple[Panel, ...]


def override(legend: str, **properties: Any) -> dict[str, Any]:
    """How the series of that legend looks: custom properties by their names in Grafana."""
    return {
        "matcher": {"id": "byName", "options": legend},
        "properties": [
            {"id": name.replace("__", "."), "value": value} for name, value in properties.items()
        ],
    }


def value_mapping(**texts: tuple[str, str]) -> dict[str, Any]:
    """`_0=("loading", "blue")`: what a value is called, and its colour."""
    return {
        "type": "value",
        "options": {
            value.removeprefix("_"): {"text": text, "color": color, "index": index}
            for index, (value, (text, color)) in enumerate(texts.items())
        },
    }


def variable(name: str, query: str, **settings: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        **settings,
    }


def dashboard(
    title: str, uid: str, sections: tuple[Section, ...], variables: list[dict[str, Any]]
) -> dict[str, Any]:
    """The document that Grafana imports."""
    source = {"name": "datasource", "type": "datasource", "query": "prometheus"}
    return {
        "title": title,
        "uid": uid,
        "tags": ["tightfit"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "panels": _laid_out(sections),
    }


def _laid_out(sections: tuple[Section, ...]) -> list[dict[str, Any]]:
    """Row by row from left to right, each row as high as its highest panel."""
    placed: list[dict[str, Any]] = []
    top = 0

    def add(document: dict[str, Any], left: int, width: int, height: int) -> None:
        place = {"x": left, "y": top, "w": width, "h": height}
        placed.append({"id": len(placed) + 1, "gridPos": place, **document})

    for section in sections:
        add({"type": "row", "title": section.title, "collapsed": False}, 0, COLUMNS, 1)
        top += 1
        left = row_height = 0
        for panel in section.panels:
            if left + panel.width > COLUMNS:
                top += row_height
                left = row_height = 0
            add(_panel(panel), left, panel.width, panel.height)
            left += panel.width
            row_height = max(row_height, panel.height)
        top += row_height
    return placed


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "mappings": list(panel.mappings)}
    if panel.unit != "percentunit":
        defaults["min"] = 0
    options = dict(panel.options)
    if panel.kind == "timeseries":
        mode = "normal" if panel.stacked else "none"
        defaults["custom"] = {
            "fillOpacity": 70 if panel.stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": mode, "group": "A"},
        }
        options.setdefault("legend", {"displayMode": "list", "placement": "bottom"})
        options.setdefault("tooltip", {"mode": "multi", "sort": "desc"})
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": list(panel.overrides)},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "instant": query.instant,
                "range": not query.instant,
            }
            for index, query in enumerate(panel.queries)
        ],
    }
