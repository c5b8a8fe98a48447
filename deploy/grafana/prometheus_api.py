"""The two calls of Prometheus' HTTP API that reading a panel takes."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass


class PrometheusError(Exception):
    """One line: what Prometheus said, or that it cannot be reached."""


@dataclass(frozen=True)
class Series:
    """points: (Unix time in seconds, value), in order of time."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


def query(url: str, expression: str) -> list[Series]:
    """The values now. `url`: where Prometheus listens. Raises PrometheusError."""
    result = _call(url, "query", {"query": expression})
    return [Series(each["metric"], (_point(each["value"]),)) for each in result]


def query_range(
    url: str, expression: str, start: float, end: float, step_seconds: float
) -> list[Series]:
    """The values at start, start + step, ... up to end. Raises PrometheusError."""
    values = {"query": expression, "start": start, "end": end, "step": step_seconds}
    result = _call(url, "query_range", {name: str(value) for name, value in values.items()})
    return [Series(each["metric"], tuple(map(_point, each["values"]))) for each in result]


def has_value(series: list[Series]) -> bool:
    """Whether a panel would show something: NaN, as of 0 / 0, is drawn as nothing."""
    return any(math.isfinite(value) for each in series for _, value in each.points)


def _point(pair: tuple[float, str]) -> tuple[float, float]:
    return pair[0], float(pair[1])


def _call(url: str, method: str, values: dict[str, str]) -> list[dict]:  # type: ignore[type-arg]
    address = f"{url.rstrip('/')}/api/v1/{method}"
    body = urllib.parse.urlencode(values).encode()
    try:
        with urllib.request.urlopen(address, body, timeout=30) as reply:
            document = json.load(reply)
    except urllib.error.HTTPError as error:
        raise PrometheusError(f"Prometheus refused {values['query']!r}: {_reason(error)}") from None
    except (urllib.error.URLError, OSError) as error:
        raise PrometheusError(f"no Prometheus at {url}: {error}") from None
    found: list[dict] = document["data"]["result"]  # type: ignore[type-arg]
    return found


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError):
        return str(error)
