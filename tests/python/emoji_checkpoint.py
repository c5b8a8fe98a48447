"""emoji-xl as users bring models to the exporter: one file of the original layout, or a directory
of diffusers whose small files may be edited."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

from original_checkpoint import Tensors, original_checkpoint
from safetensors.torch import save_file

DIFFUSERS = Path(__file__).resolve().parents[2] / "deploy" / "models" / "emoji-xl" / "diffusers"


@functools.cache
def _plain() -> Tensors:
    return original_checkpoint(DIFFUSERS)


def plain_tensors() -> Tensors:
    """The weights under the original layout's names; a new dictionary."""
    return dict(_plain())


def save_checkpoint(
    path: Path, tensors: Tensors | None = None, metadata: dict[str, str] | None = None
) -> Path:
    """Writes one file; without `tensors` the plain ones."""
    chosen = _plain() if tensors is None else tensors
    save_file({key: each.contiguous().clone() for key, each in chosen.items()}, path, metadata)
    return path


def edited_directory(folder: Path, edits: dict[str, dict[str, Any] | None]) -> Path:
    """A copy whose weights are links. `edits`: keys to change, by JSON file; "": all of it."""
    for path in sorted(DIFFUSERS.rglob("*")):
        place = folder / path.relative_to(DIFFUSERS)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            place.symlink_to(path)
        elif path.is_file():
            shutil.copyfile(path, place)
    for name, changes in edits.items():
        place = folder / name
        content = json.loads(place.read_text("utf-8"))
        if changes is not None and "" in changes:
            content = changes[""]
        else:
            content |= changes or {}
        place.write_text(json.dumps(content), "utf-8")
    return folder


def with_scheduler(folder: Path, config: dict[str, Any], *, indexed: bool = True) -> Path:
    """A copy with that scheduler_config.json; `indexed`: model_index.json names its class too."""
    edits: dict[str, dict[str, Any] | None] = {"scheduler/scheduler_config.json": {"": config}}
    if indexed:
        edits["model_index.json"] = {"scheduler": ["diffusers", config["_class_name"]]}
    return edited_directory(folder, edits)
