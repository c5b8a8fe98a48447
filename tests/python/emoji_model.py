"""emoji-xl, the model that lies in the repository, as tests serve it."""

from __future__ import annotations

from pathlib import Path

from server_process import ROOT

MODEL = ROOT / "deploy" / "models" / "emoji-xl" / "model"
EMOJI = f"emoji-xl={MODEL},format=hf8"


def failing_model(folder: Path) -> str:
    """A --model value: configured like the rest, but its UNet's weights are cut short."""
    for path in MODEL.rglob("*"):
        place = folder / path.relative_to(MODEL)
        if path.is_dir():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    weights = folder / "unet.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[: len(content) // 2])
    return f"broken={folder},format=hf8"
