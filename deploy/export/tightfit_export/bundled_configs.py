"""The families' own configurations, for sources that bring weights alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tightfit_export.families import SDXL, Family

_FOLDER = Path(__file__).parent / "configs"

Bundled = tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, Any]]


def bundled(family: Family) -> Bundled:
    """The pipeline's index, the configuration of each component, and the scheduler's."""

    def read(name: str) -> dict[str, Any]:
        return json.loads((_FOLDER / family.name / f"{name}.json").read_text(encoding="utf-8"))

    return read("model_index"), {name: read(name) for name in family.components}, read("scheduler")


def sdxl_base() -> Bundled:
    """SDXL base's."""
    return bundled(SDXL)
