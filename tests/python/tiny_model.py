"""The small random pipelines that tests share, made once for a version of the exporter.

tiny_model.py --link PATH    makes PATH a link to its model directory
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
EXPORTER = REPOSITORY / "deploy" / "export"
_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "numpy")
_DTYPES = "fp32,bf16"


def _cache_key() -> str:
    digest = hashlib.sha256(_DTYPES.encode())
    for path in sorted((EXPORTER / "tightfit_export").rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()[:16]


def tiny_root(kind: str = "tiny") -> Path:
    """Holds `source` and `model`; made once for a version of the exporter and its libraries.

    `kind`: a small pipeline of the exporter's --random, and after a plus what is changed in it: a
    key of VARIANTS.
    """
    default = REPOSITORY / "build" / "test-models"
    cache = Path(os.environ.get("TIGHTFIT_TEST_CACHE") or default).absolute()
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"{kind}-{_cache_key()}"
    kind, _, variant = kind.partition("+")
    plain = tiny_root(kind) if variant else root  # before the lock, which is one for all
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "model").is_dir():
            from tightfit_export.cli import main

            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            if variant:
                VARIANTS[variant](plain / "source", root / "source")
                arguments = ["--source", str(root / "source")]
            else:
                arguments = ["--random", kind, "--save-source", str(root / "source")]
            dtypes = _DTYPES if kind == "tiny" and not variant else "fp32"
            arguments += ["--out", str(root / "model"), "--dtypes", dtypes, "--quiet"]
            assert main(arguments) == 0
    return root


def _with_unet(source: Path, target: Path, changes: dict[str, Any], tensors: Any) -> None:
    """Copies a pipeline; `tensors` makes the UNet's of its own."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    config = target / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    (weights,) = (target / "unet").glob("*.safetensors")
    save_file(tensors(load_file(weights)), weights)


def _inpainting(source: Path, target: Path) -> None:
    """With a UNet that sees the mask and the image around it."""
    import torch

    def tensors(unet: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        conv = unet["conv_in.weight"]
        draws = torch.randn(conv.shape[0], 5, 3, 3, generator=torch.Generator().manual_seed(1))
        return unet | {"conv_in.weight": torch.cat([conv, (0.1 * draws).to(conv.dtype)], dim=1)}

    _with_unet(source, target, {"in_channels": 9}, tensors)


def _distilled(source: Path, target: Path) -> None:
    """With a UNet that takes the guidance scale as an embedding, and LCM's scheduler."""
    import torch

    size = 16

    def tensors(unet: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        width = unet["time_embedding.linear_1.weight"].shape[1]
        draws = torch.randn(width, size, generator=torch.Generator().manual_seed(2))
        return unet | {"time_embedding.cond_proj.weight": (0.2 * draws).half()}

    _with_unet(source, target, {"time_cond_proj_dim": size}, tensors)


VARIANTS = {"inpainting": _inpainting, "distilled": _distilled}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--link", type=Path, required=True)
    link: Path = parser.parse_args().link
    sys.path.insert(0, str(EXPORTER))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tiny_root() / "model")


if __name__ == "__main__":
    main()
