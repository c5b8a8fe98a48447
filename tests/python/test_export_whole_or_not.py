"""An export is whole or leaves nothing; equal sources give equal bytes in any layout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tightfit_export import component_export, export, verification
from tightfit_export.cli import main
from tightfit_export.export import ExportOptions
from tightfit_export.export_summary import ExportSummary
from tightfit_export.partial_directory import PartialDirectory


@pytest.fixture(scope="module")
def older_model_dir(
    tiny_pipeline_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict]:
    """The tiny pipeline as older libraries and the hub lay it out, exported for fp32 only."""
    root = tmp_path_factory.mktemp("older")
    source = root / "source"
    for path in sorted(tiny_pipeline_dir.rglob("*.json")):
        if path.name not in ("tokenizer.json", "tokenizer_config.json"):
            place = source / path.relative_to(tiny_pipeline_dir)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    write_sharded_unet(tiny_pipeline_dir / "unet", source / "unet")
    write_prefixed_text_encoder(tiny_pipeline_dir / "text_encoder", source / "text_encoder")
    for component in ("text_encoder_2", "vae"):
        (weights,) = (tiny_pipeline_dir / component).glob("*.safetensors")
        name = weights.name.replace(".safetensors", ".fp16.safetensors")
        (source / component / name).symlink_to(weights)
    from test_export_tokenizers import in_older_layout

    for tokenizer in ("tokenizer", "tokenizer_2"):
        in_older_layout(tiny_pipeline_dir / tokenizer, source / tokenizer)
    (source / "README.md").write_text("---\nlicense: openrail++\ntags: [a]\n---\n# Card\n")
    out = root / "model"
    arguments = ["--source", str(source), "--out", str(out), "--dtypes", "fp32", "--quiet"]
    out.mkdir()  # an empty directory is no obstacle
    assert main([*arguments, "--name", "older", "--attribution", "nobody"]) == 0
    return out, json.loads((out / "model.json").read_text(encoding="utf-8"))


def write_sharded_unet(original: Path, folder: Path) -> None:
    (weights,) = original.glob("*.safetensors")
    tensors = load_file(weights)
    names = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    halves: list[dict[str, torch.Tensor]] = [{}, {}]
    weight_map = {}
    for index, (key, tensor) in enumerate(tensors.items()):
        # fp32 holds every fp16 value, so the exported weights must be the same bits.
        halves[index % 2][key] = tensor.to(torch.float32)
        weight_map[key] = names[index % 2]
    for name, half in zip(names, halves, strict=True):
        save_file(half, folder / name)
    index_path = folder / "diffusion_pytorch_model.safetensors.index.json"
    index_path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_prefixed_text_encoder(original: Path, folder: Path) -> None:
    tensors = load_file(original / "model.safetensors")
    prefixed = {f"text_model.{key}": tensor for key, tensor in tensors.items()}
    prefixed["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(prefixed, folder / "model.safetensors")


def test_equal_pipelines_give_equal_files_in_any_layout(
    older_model_dir: tuple[Path, dict], tiny_model_dir: Path
) -> None:
    out, manifest = older_model_dir
    for path in sorted(p for p in out.rglob("*") if p.is_file() and p.name != "model.json"):
        name = path.relative_to(out)
        assert path.read_bytes() == (tiny_model_dir / name).read_bytes(), name
    first = json.loads((tiny_model_dir / "model.json").read_text(encoding="utf-8"))
    assert manifest["hash"] == first["hash"]


def test_the_manifest_names_source_licence_and_attribution(
    older_model_dir: tuple[Path, dict],
) -> None:
    manifest = older_model_dir[1]
    assert manifest["name"] == "older"
    assert manifest["source"] == {"kind": "diffusers", "name": "source"}
    assert manifest["license"] == "openrail++"
    assert manifest["attribution"] == "nobody"
    assert set(manifest["components"]["unet"]["graphs"]) == {"fp32"}


def test_a_failed_verification_leaves_nothing(
    tiny_pipeline_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load_with_one_wrong_weight(archive: bytes, weights: dict[str, torch.Tensor]):
        wrong = dict(weights)
        wrong["conv_in.bias"] = weights["conv_in.bias"] + 0.01
        return verification_load(archive, wrong)

    verification_load = verification.load_graph
    monkeypatch.setattr(component_export.verification, "load_graph", load_with_one_wrong_weight)
    out = tmp_path / "out"
    arguments = ["--source", str(tiny_pipeline_dir), "--out", str(out), "--dtypes", "fp32"]
    assert main([*arguments, "--quiet"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: unet.fp32.ts: output 0 at batch 1, latents 16x16 differs by")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_keeps_the_old_directory(
    copy_of_source: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.json").write_text("old")
    source = copy_of_source()
    (source / "tokenizer_2" / "tokenizer.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    assert main(["--source", str(source), "--out", str(out), "--overwrite", "--quiet"]) == 2
    assert "tokenizer_2" in capsys.readouterr().err
    assert (out / "model.json").read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


def test_a_replacement_leaves_only_the_new_directory(
    tiny_pipeline_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_only_a_manifest(partial: PartialDirectory, options: ExportOptions, *rest: object):
        assert (options.out / "model.json").read_text() == "old"
        (partial.folder / "model.json").write_text("new")
        return ExportSummary(options.out, {})

    monkeypatch.setattr(export, "_write", write_only_a_manifest)
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.json").write_text("old")
    (out / "unet.fp16.ts").write_text("old")
    arguments = ["--source", str(tiny_pipeline_dir), "--out", str(out), "--quiet"]
    assert main([*arguments, "--overwrite"]) == 0
    assert list(tmp_path.iterdir()) == [out]
    assert [path.name for path in out.iterdir()] == ["model.json"]
    assert (out / "model.json").read_text() == "new"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(
    tiny_pipeline_dir: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tightfit_export", "--source", str(tiny_pipeline_dir)]
    with subprocess.Popen(
        [*command, "--out", str(out)],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(component_export.__file__).parents[1])},
        text=True,
        # A shell starts background jobs with SIGINT ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        # Every stage is a line of its own where no terminal is: this one stands amid the work.
        for line in process.stderr:
            if "unet" in line:
                break
        assert list(tmp_path.iterdir()) != [] and not out.exists()
        process.send_signal(sent)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "interrupted; nothing was written" in rest and "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
