"""SDXL base's own configuration, for sources that bring weights alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tightfit_export import COMPONENTS

_FOLDER = Path(__file__).parent / "configs"


def sdxl_base() -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, Any]]:
    """The pipeline's index, the configuration of each component, and the scheduler's."""
    return _read("model_index"), {name: _read(name) for name in COMPONENTS}, _read("scheduler")


def _read(name: str) -> dict[str, Any]:
    return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
