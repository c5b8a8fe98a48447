"""Fixtures for all Python tests: a small random pipeline, as diffusers has it and exported."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

# Before the first import of torch: on a busy machine, threads that wait for each other cost more
# than they bring to networks this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[2]
EXPORTER = REPOSITORY / "deploy" / "export"
sys.path.insert(0, str(EXPORTER))

import pytest  # noqa: E402

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "numpy")
_DTYPES = "fp32,bf16"


def _cache_key() -> str:
    digest = hashlib.sha256(_DTYPES.encode())
    for path in sorted((EXPORTER / "tightfit_export").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def _tiny_root() -> Path:
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


@pytest.fixture(scope="session")
def tiny_pipeline_dir(_tiny_root: Path) -> Path:
    """The random pipeline in diffusers' layout. Read only."""
    return _tiny_root / "source"


@pytest.fixture(scope="session")
def tiny_model_dir(_tiny_root: Path) -> Path:
    """The same pipeline as a model directory with fp32 and bf16 graphs. Read only."""
    return _tiny_root / "model"


@pytest.fixture
def copy_of_source(tiny_pipeline_dir: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of the random pipeline whose small files may be edited; weights are links."""

    def copy() -> Path:
        target = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
        for path in sorted(tiny_pipeline_dir.rglob("*")):
            place = target / path.relative_to(tiny_pipeline_dir)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".safetensors":
                place.symlink_to(path)
            elif path.is_file():
                shutil.copyfile(path, place)
        return target

    return copy
