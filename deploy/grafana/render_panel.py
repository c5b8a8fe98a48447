#!/usr/bin/env python3
"""Draws the dashboard's main panel, memory by model against the limit, as a PNG from Prometheus.

    python deploy/grafana/render_panel.py --prometheus http://127.0.0.1:9090 -o memory.png

Needs Pillow alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import make_dashboard
from prometheus_api import PrometheusError, Series, query_range
from stacked_chart import HEIGHT_PX, LIMIT, UNATTRIBUTED, UNOWNED, WIDTH_PX, Area, draw, shade

__all__ = ["HEIGHT_PX", "LIMIT", "UNATTRIBUTED", "WIDTH_PX", "main", "shade"]

PARTS = 'sum by (model, component, purpose) (tightfit_model_memory_bytes{instance=~"$instance"})'
WORKING = "activations and scratch"


def areas_of(parts: list[Series], times: list[float]) -> list[Area]:
    """From the bottom up: each model's weights by component, then what it works with."""
    layers: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for series in parts:
        labels = series.labels
        part = labels["component"] if labels["purpose"] == "weights" else WORKING
        held = layers[labels["model"]].setdefault(part, [0.0] * len(times))
        for index, value in enumerate(values_at(series, times)):
            held[index] += value
    areas = []
    for group, (model, by_part) in enumerate(sorted(layers.items())):
        names = sorted(by_part, key=lambda part: (part == WORKING, -max(by_part[part]), part))
        for index, part in enumerate(names):
            heading = model if index == 0 else ""
            label = f" {part}" if part == WORKING else f" {part} weights"
            areas.append(Area(label, shade(group, index), tuple(by_part[part]), heading))
    return areas


def values_at(series: Series, times: list[float]) -> tuple[float, ...]:
    """0 where the series has no value: before the server started."""
    known = {round(at, 3): value for at, value in series.points}
    return tuple(known.get(round(at, 3), 0.0) for at in times)


def grid(end: float, seconds: float, step_seconds: float) -> list[float]:
    count = int(seconds / step_seconds)
    return [round(end - (count - index) * step_seconds, 3) for index in range(count + 1)]


def expression(query: str, instance: str) -> str:
    return query.replace('="$instance"', '=~"$instance"').replace("$instance", instance)


def render(arguments: argparse.Namespace) -> None:
    end = round(arguments.end or time.time(), 3)
    step_seconds = arguments.step or max(0.25, round(arguments.seconds / 240, 2))
    times = grid(end, arguments.seconds, step_seconds)

    def ask(query: str) -> list[Series]:
        text = expression(query, arguments.instance)
        return query_range(arguments.prometheus, text, times[0], times[-1], step_seconds)

    unowned, unattributed, limits, _ = (
        ask(query.expression) for query in make_dashboard.DEVICE_MEMORY.queries[1:]
    )
    if len(unattributed) > 1:
        known = ", ".join(sorted(series.labels["instance"] for series in unattributed))
        raise PrometheusError(f"several servers: choose one with --instance: {known}")
    if not unattributed or not limits:
        raise PrometheusError(
            f"Prometheus has nothing of server {arguments.instance} for the last"
            f" {arguments.seconds:g} s"
        )
    areas = areas_of(ask(PARTS), times)
    if unowned:
        areas.append(Area("tensors of no model", UNOWNED, values_at(unowned[0], times)))
    areas.append(Area("unattributed", UNATTRIBUTED, values_at(unattributed[0], times)))
    image = draw(arguments.title, tuple(times), areas, limits[0].points[-1][1])
    part = arguments.output.with_name(f".{arguments.output.name}.{os.getpid()}.part")
    try:
        image.save(part, format="PNG", optimize=True)
        part.replace(arguments.output)
    finally:
        part.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument(
        "--instance", default=".+", help="host:port of the server's /metrics, if several"
    )
    parser.add_argument("--seconds", type=float, default=1800, help="how far back [1800]")
    parser.add_argument("--end", type=float, help="Unix time of the right edge [now]")
    parser.add_argument("--step", type=float, help="seconds between values")
    parser.add_argument("--title", default="Device memory by model and component")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    try:
        render(arguments)
    except (PrometheusError, OSError) as error:
        print(f"render_panel.py: {error}", file=sys.stderr)
        return 1
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
