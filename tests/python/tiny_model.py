"""The small random pipeline that tests share, made once for a version of the exporter.

tiny_model.py --link PATH    makes PATH a link to its model directory
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXPORTER = REPOSITORY / "deploy" / "export"
_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "numpy")
_DTYPES = "fp32,bf16"


def _cache_key() -> str:
    digest = hashlib.sha256(_DTYPES.encode())
    for path in sorted((EXPORTER / "tightfit_export").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()[:16]


def tiny_root() -> Path:
    """Holds `source` and `model`; made once for a version of the exporter and its libraries."""
    default = REPOSITORY / "build" / "test-models"
    cache = Path(os.environ.get("TIGHTFIT_TEST_CACHE") or default).absolute()
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"tiny-{_cache_key()}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "model").is_dir():
            from tightfit_export.cli import main

            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            arguments = ["--random", "tiny", "--dtypes", _DTYPES, "--quiet"]
            places = ["--out", str(root / "model"), "--save-source", str(root / "source")]
            assert main([*arguments, *places]) == 0
    return root


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
