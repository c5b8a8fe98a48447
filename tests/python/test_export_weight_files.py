"""Names and shapes are matched strictly; values are fp16 unless fp16 cannot hold them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tightfit_export.errors import SourceError
from tightfit_export.source_weights import SourceWeights, find_weight_files
from tightfit_export.weight_file import WeightReport, match_keys, write_weights


def write(path: Path, source: Path, component: str = "unet") -> WeightReport:
    weights = SourceWeights(component, [source])
    shapes = {key: torch.Size(tensor.shape) for key, tensor in weights.tensors.items()}
    return write_weights(
        path, component, weights, {k: k for k in shapes}, shapes, lambda count: None
    )


def test_bf16_and_fp32_sources_become_fp16(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    source = {
        "a.weight": torch.randn(5, 3, generator=generator),
        "b.weight": torch.randn(7, generator=generator).to(torch.bfloat16),
        "c.weight": torch.randn(2, 2, generator=generator).to(torch.float64),
        "d.weight": torch.tensor(0.25),
    }
    save_file(source, tmp_path / "in.safetensors")
    report = write(tmp_path / "out.safetensors", tmp_path / "in.safetensors")
    written = load_file(tmp_path / "out.safetensors")
    assert set(written) == set(source)
    for key, tensor in source.items():
        assert written[key].dtype == torch.float16
        assert torch.equal(written[key], tensor.to(torch.float16))
    assert report.parameter_count == 15 + 7 + 4 + 1
    assert report.bytes == (tmp_path / "out.safetensors").stat().st_size
    assert report.kept_fp32 == [] and report.non_finite == {}


def test_a_finite_value_out_of_fp16s_range_keeps_its_tensor_fp32(tmp_path: Path) -> None:
    source = {
        "large.weight": torch.tensor([1.0, 65520.0, 1e-9]),  # 65520 rounds to infinity
        "limit.weight": torch.tensor([65504.0, -65519.0, 3.0]),  # rounds to 65504
        "odd.weight": torch.tensor([2.0]),
    }
    save_file(source, tmp_path / "in.safetensors")
    report = write(tmp_path / "out.safetensors", tmp_path / "in.safetensors")
    written = load_file(tmp_path / "out.safetensors")
    assert report.kept_fp32 == ["large.weight"]
    assert torch.equal(written["large.weight"], source["large.weight"])
    assert written["limit.weight"].tolist() == [65504.0, -65504.0, 3.0]
    assert written["limit.weight"].dtype == written["odd.weight"].dtype == torch.float16


def test_nan_and_infinity_are_kept_and_counted(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    source = {
        "half.weight": torch.tensor([nan, inf, 1.0]).to(torch.float16),
        "full.weight": torch.tensor([-inf, 2.0]),
        "good.weight": torch.tensor([3.0]),
    }
    save_file(source, tmp_path / "in.safetensors")
    report = write(tmp_path / "out.safetensors", tmp_path / "in.safetensors")
    written = load_file(tmp_path / "out.safetensors")
    assert report.non_finite == {"half.weight": 2, "full.weight": 1}
    assert report.kept_fp32 == []
    assert torch.isnan(written["half.weight"][0]) and written["half.weight"][1] == inf
    assert written["full.weight"].tolist() == [-inf, 2.0]


def test_headers_are_aligned_and_tensors_start_at_multiples_of_their_element(
    tmp_path: Path,
) -> None:
    source = {"a": torch.ones(3), "b": torch.full((3,), 1e6), "c": torch.ones(1)}
    save_file(source, tmp_path / "in.safetensors")
    write(tmp_path / "out.safetensors", tmp_path / "in.safetensors")
    data = (tmp_path / "out.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    end = 0
    for name, entry in list(header.items())[1:]:
        begin, next_end = entry["data_offsets"]
        assert begin == end and begin % {"F32": 4, "F16": 2}[entry["dtype"]] == 0, name
        end = next_end
    assert 8 + length + end == len(data)


def source_of(tmp_path: Path, *tensors: tuple[str, tuple[int, ...]]) -> SourceWeights:
    save_file({key: torch.zeros(shape) for key, shape in tensors}, tmp_path / "in.safetensors")
    return SourceWeights("vae", [tmp_path / "in.safetensors"])


def test_missing_unknown_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    expected = {"conv_in.weight": torch.Size((2, 3))}
    with pytest.raises(SourceError, match="lack conv_in.weight"):
        match_keys("unet", source_of(tmp_path), expected)
    with pytest.raises(SourceError, match=r"conv_in.weight has shape \[3, 2\]"):
        match_keys("unet", source_of(tmp_path, ("conv_in.weight", (3, 2))), expected)
    source = source_of(tmp_path, ("conv_in.weight", (2, 3)), ("lora.weight", (1,)))
    with pytest.raises(SourceError, match="no tensor lora.weight"):
        match_keys("unet", source, expected)


def test_names_of_older_libraries_are_understood(tmp_path: Path) -> None:
    prefix = "decoder.mid_block.attentions.0"
    expected = {
        f"{prefix}.to_q.weight": torch.Size((4, 4)),
        f"{prefix}.to_out.0.weight": torch.Size((4, 4)),
    }
    source = source_of(
        tmp_path,
        (f"{prefix}.query.weight", (4, 4, 1, 1)),
        (f"{prefix}.proj_attn.weight", (4, 4)),
        ("encoder.conv_in.weight", (1,)),
        ("quant_conv.weight", (1,)),
    )
    assert match_keys("vae", source, expected) == {
        f"{prefix}.to_q.weight": f"{prefix}.query.weight",
        f"{prefix}.to_out.0.weight": f"{prefix}.proj_attn.weight",
    }
    bare, prefixed = "final_layer_norm.weight", "text_model.final_layer_norm.weight"
    for stored, wanted in ((bare, prefixed), (prefixed, bare)):
        source = source_of(
            tmp_path, (stored, (4,)), ("text_model.embeddings.position_ids", (1, 77))
        )
        found = match_keys("text_encoder", source, {wanted: torch.Size((4,))})
        assert found == {wanted: stored}


def test_tensors_in_types_without_a_meaning_here_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, dtype=torch.int8)}, tmp_path / "in.safetensors")
    with pytest.raises(SourceError, match="stored as I8"):
        write(tmp_path / "out.safetensors", tmp_path / "in.safetensors")


def test_which_files_hold_the_weights(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    folder.mkdir()

    def files(variant: str | None = None) -> list[str]:
        return [path.name for path in find_weight_files(tmp_path, "unet", variant)]

    (folder / "diffusion_pytorch_model.bin").touch()
    (folder / "diffusion_pytorch_model.ema.safetensors").touch()
    assert files() == ["diffusion_pytorch_model.ema.safetensors"]
    (folder / "diffusion_pytorch_model.other.safetensors").touch()
    with pytest.raises(SourceError, match="choose one with --variant"):
        files()
    shards = [f"diffusion_pytorch_model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        (folder / shard).touch()
    index = {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}
    (folder / "diffusion_pytorch_model.safetensors.index.fp16.json").write_text(json.dumps(index))
    assert files() == files("fp16") == shards
    (folder / "diffusion_pytorch_model.safetensors").touch()
    assert files() == ["diffusion_pytorch_model.safetensors"]
    assert files("ema") == ["diffusion_pytorch_model.ema.safetensors"]
