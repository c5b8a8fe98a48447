"""An interrupted export of a large model goes on from its finished weight files."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tightfit_export import COMPONENTS, component_export, partial_directory
from tightfit_export.cli import main
from tightfit_export.manifest import ComponentFiles
from tightfit_export.random_base import random_base
from tightfit_export.source_pipeline import open_pipeline
from tightfit_export.weight_file import WeightReport


class Export:
    """Exports without graphs, which take most of the time; counts the weight files written."""

    def __init__(self, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.out = source, out
        self.written: list[str] = []
        self.interrupt_at = ""  # a component's weights, or "graphs"
        self._write = component_export.write_component_weights
        monkeypatch.setattr(component_export, "write_component_weights", self._write_weights)
        self._no_graphs = component_export.write_graphs
        monkeypatch.setattr(component_export, "write_graphs", self._write_graphs)
        monkeypatch.setattr(partial_directory, "WORTH_KEEPING_BYTES", 1)

    def run(self, *flags: str) -> int:
        self.written.clear()
        return main(["--source", str(self.source), "--out", str(self.out), "--quiet", *flags])

    @property
    def partials(self) -> list[Path]:
        return sorted(self.out.parent.glob(f".{self.out.name}.*"))

    def _write_weights(self, path: Path, component: str, *rest: Any) -> WeightReport:
        if self.interrupt_at == component:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        self.written.append(component)
        return self._write(path, component, *rest)

    def _write_graphs(
        self, folder: Path, stem: str, component: str, report: WeightReport, *rest: Any
    ) -> ComponentFiles:
        if self.interrupt_at == "graphs":
            (folder / "unet.fp32.ts").touch()
            raise KeyboardInterrupt
        return self._no_graphs(folder, stem, component, report, *rest)


@pytest.fixture
def export(
    without_graphs: None,
    copy_of_source: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Export:
    source = copy_of_source()
    (tmp_path / "models").mkdir()
    return Export(source, tmp_path / "models" / "out", monkeypatch)


def test_finished_weight_files_are_kept_and_taken_over(
    export: Export, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export.interrupt_at = "text_encoder_2"
    assert export.run() == 130
    assert export.written == ["unet", "text_encoder"]
    (kept,) = export.partials
    names = {path.name for path in kept.iterdir()}
    assert names == {"unet.safetensors", "text_encoder.safetensors", "finished.json"}
    line = capsys.readouterr().err
    assert "interrupted; out was not written; the same command goes on after" in line
    assert kept.name in line and not export.out.exists()

    export.interrupt_at = "graphs"
    assert export.run() == 130
    assert export.written == ["text_encoder_2", "vae", "vae_encoder"]
    export.interrupt_at = ""
    assert export.run() == 0
    assert export.written == [] and export.partials == []
    names = {path.name for path in export.out.iterdir()}
    assert "finished.json" not in names and len(names) == 5 + 2 + 1
    for component in COMPONENTS:
        name = f"{component}.safetensors"
        assert (export.out / name).read_bytes() == (tiny_model_dir / name).read_bytes()
    content = json.loads((export.out / "model.json").read_text())
    expected = json.loads((tiny_model_dir / "model.json").read_text())
    assert content["hash"] == expected["hash"]


@pytest.mark.parametrize("change", ["weights", "kept file"])
def test_what_was_made_of_something_else_is_not_taken_over(export: Export, change: str) -> None:
    export.interrupt_at = "graphs"
    assert export.run() == 130
    (kept,) = export.partials
    export.interrupt_at = ""
    if change == "weights":
        (weights,) = (export.source / "vae").glob("*.safetensors")
        data = weights.read_bytes()
        weights.unlink()
        weights.write_bytes(data)
    else:
        with (kept / "unet.safetensors").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\xff")
    assert export.run() == 0
    everything = ["unet", "text_encoder", "text_encoder_2", "vae", "vae_encoder"]
    assert export.written == (["unet"] if change == "kept file" else everything)
    # A whole export leaves nothing of others to the same place.
    assert export.partials == []


def test_the_key_tells_sources_configurations_and_exporters_apart(
    copy_of_source: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copy_of_source()

    def key() -> str:
        return partial_directory.identity_key(open_pipeline(source, "x", None).identity())

    keys = [key()]
    assert key() == keys[0]
    path = source / "vae/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": 32}))
    keys.append(key())
    (weights,) = (source / "unet").glob("*.safetensors")
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data)  # equal bytes, another file: its time tells
    keys.append(key())
    monkeypatch.setattr(partial_directory, "__version__", "9.9.9")
    keys.append(key())
    keys += [partial_directory.identity_key(random_base(seed).identity()) for seed in (0, 1)]
    assert len(set(keys)) == len(keys)


def test_an_unreadable_record_of_what_is_finished_means_nothing_is(export: Export) -> None:
    export.interrupt_at = "graphs"
    assert export.run() == 130
    (kept,) = export.partials
    (kept / "finished.json").write_text("{")
    export.interrupt_at = ""
    assert export.run() == 0
    assert len(export.written) == 5


def test_little_is_not_worth_keeping(
    export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(partial_directory, "WORTH_KEEPING_BYTES", 1 << 30)
    export.interrupt_at = "graphs"
    assert export.run() == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"
    assert list(export.out.parent.iterdir()) == []


def test_two_exports_of_one_source_to_one_place_do_not_mix(
    export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    export.interrupt_at = "graphs"
    assert export.run() == 130
    (kept,) = export.partials
    capsys.readouterr()
    descriptor = os.open(kept, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert export.run() == 2
        assert "another export is at work" in capsys.readouterr().err
        assert (kept / "unet.safetensors").is_file()
    finally:
        os.close(descriptor)


def test_an_error_after_a_resumption_leaves_nothing(export: Export) -> None:
    export.interrupt_at = "graphs"
    assert export.run() == 130
    (export.source / "tokenizer" / "tokenizer.json").write_text("{}")
    assert export.run() == 2
    assert list(export.out.parent.iterdir()) == []
