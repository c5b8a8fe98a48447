"""Fixtures for all Python tests: a small random pipeline, as diffusers has it and exported."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before the first import of torch: on a busy machine, threads that wait for each other cost more
# than they bring to networks this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, which children would inherit; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[2]
EXPORTER = REPOSITORY / "deploy" / "export"
sys.path.insert(0, str(EXPORTER))

import pytest  # noqa: E402
from emoji_model import EMOJI  # noqa: E402
from server_process import ServerProcess  # noqa: E402
from tiny_model import tiny_root  # noqa: E402

# Those that take longest, at the front: begun last, they would keep the other workers waiting.
LONGEST_FIRST = (
    "test_memory_predictions",
    "test_residency",
    "test_main_job",
    "test_emoji_xl",
    "test_parity",
    "test_fidelity_command",
    "test_chaos",
    "test_client_cancelling",
    "test_narrow_images",
    "test_weight_sqnr",
    "test_parity_vae",
    "test_parity_emoji",
    "test_parity_prompts",
    "test_parity_denoising_parts",
    "test_parity_scheduler_defaults",
    "test_export_single_file",
    "test_readme",
    "test_export_saved_layouts",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "alone: takes every processor, or holds a time that a busy machine would not"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: index for index, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def tiny_pipeline_dir() -> Path:
    """The random pipeline in diffusers' layout. Read only."""
    return tiny_root() / "source"


@pytest.fixture(scope="session")
def tiny_model_dir() -> Path:
    """The same pipeline as a model directory with fp32 and bf16 graphs. Read only."""
    return tiny_root() / "model"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serves emoji-xl to tests that only ask: a start takes seconds. Others have their own."""
    with ServerProcess(tmp_path_factory.mktemp("server"), [EMOJI]) as running:
        yield running


@pytest.fixture
def without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports write weights and model.json alone; graphs take most of the time."""
    from tightfit_export import component_export
    from tightfit_export.manifest import ComponentFiles

    def write_no_graphs(folder: Path, stem: str, component: str, report: Any, *rest: Any) -> Any:
        file = f"{component}.safetensors"
        weights = {"file": file, "bytes": report.bytes, "sha256": report.sha256}
        return ComponentFiles(report.parameter_count, weights)

    monkeypatch.setattr(component_export, "write_graphs", write_no_graphs)


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
