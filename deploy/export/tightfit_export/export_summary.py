"""What an export wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class ExportSummary:
    """What was written."""

    out: Path
    content: dict[str, Any]  # model.json
    kept_fp32: dict[str, list[str]] = field(default_factory=dict)  # by component
    non_finite: dict[str, dict[str, int]] = field(default_factory=dict)  # by component
    underflow: dict[str, dict[str, float]] = field(default_factory=dict)  # by component
    restored: dict[str, dict[str, int]] = field(default_factory=dict)  # by component, by kind
    held_exactly: dict[str, dict[str, Any]] = field(default_factory=dict)  # by component
    suggested_format: dict[str, str] = field(default_factory=dict)  # of the UNet
    max_abs_difference: dict[str, float] = field(default_factory=dict)  # by graph file
    seconds: float = 0.0
    peak_memory_bytes: int = 0
