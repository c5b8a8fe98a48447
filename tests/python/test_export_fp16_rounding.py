"""What fp16 loses of small values is counted, and a tensor that loses much stays fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tightfit_export import component_export
from tightfit_export.export_summary import ExportSummary
from tightfit_export.fp16_rounding import LARGE_LOSS, all_finite, rounding
from tightfit_export.progress import Progress
from tightfit_export.source_weights import SourceWeights
from tightfit_export.weight_file import WeightReport, write_weights

NAN, INF = float("nan"), float("inf")


def brute_force(values: torch.Tensor) -> tuple[int, int, float]:
    """Counts and relative loss, value by value in Python's numbers."""
    to_zero = rounded = 0
    lost = norm = 0.0
    for value in values.double().flatten().tolist():
        if value != value or abs(value) == INF:
            continue
        half = torch.tensor(value, dtype=torch.float64).to(torch.float16).item()
        norm += value * value
        if abs(value) < 2**-14 and half != value:
            to_zero += half == 0
            rounded += half != 0
            lost += (half - value) ** 2
    return to_zero, rounded, (lost / norm) ** 0.5 if norm else 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.03, 1e-4, 1e-6, 1e-9])
def test_counts_and_loss_are_those_of_brute_force(dtype: torch.dtype, scale: float) -> None:
    values = torch.randn(40, 50, generator=torch.Generator().manual_seed(1)) * scale
    values[0, :3] = torch.tensor([NAN, 0.0, -INF])
    values = values.to(dtype)
    found = rounding(values)
    to_zero, rounded, loss = brute_force(values)
    assert (found.to_zero, found.rounded_subnormal) == (to_zero, rounded)
    assert found.small_loss == pytest.approx(loss, rel=1e-9)
    assert found.overflows is False
    assert found.is_large is (loss > LARGE_LOSS)


def test_bf16_of_a_trained_networks_size_loses_next_to_nothing() -> None:
    values = torch.randn(1000, 300, generator=torch.Generator().manual_seed(2)) * 0.03
    found = rounding(values.to(torch.bfloat16))
    assert 0 < found.small_loss < 1e-6
    # A bf16 value of at least 2^-14 is an fp16 value.
    normal = values.to(torch.bfloat16)
    normal = normal[normal.abs() >= 2**-14]
    assert rounding(normal) == rounding(torch.ones(1))


def test_what_is_finite_is_told_exactly() -> None:
    assert all_finite(torch.zeros(0)) and all_finite(torch.tensor(3.0))
    for bad in (NAN, INF, -INF):
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            values = torch.zeros(3, 1000, dtype=dtype)
            assert all_finite(values)
            values[1, 17] = bad
            assert not all_finite(values)


def write(path: Path, tensors: dict[str, torch.Tensor]) -> WeightReport:
    save_file(tensors, path.with_name("in.safetensors"))
    source = SourceWeights("unet", [path.with_name("in.safetensors")])
    shapes = {key: torch.Size(tensor.shape) for key, tensor in source.tensors.items()}
    return write_weights(path, "unet", source, {k: k for k in shapes}, shapes, lambda count: None)


def test_a_tensor_that_fp16_would_spoil_stays_fp32(tmp_path: Path) -> None:
    tensors = {
        "good.weight": torch.tensor([0.5, 1e-9]).to(torch.bfloat16),  # the loss is nothing
        "tiny.weight": torch.tensor([1e-7, 3e-9]).to(torch.bfloat16),
        "zero.weight": torch.zeros(4).to(torch.bfloat16),
        "small.weight": torch.tensor([3.1e-6, 1.7e-6]),
        "half.weight": torch.tensor([6e-8]).to(torch.float16),  # is what it is
    }
    path = tmp_path / "out.safetensors"
    report = write(path, tensors)
    written = load_file(path)
    assert report.kept_fp32_small == ["small.weight", "tiny.weight"]
    assert report.kept_fp32 == []
    for name in report.kept_fp32_small:
        assert written[name].dtype == torch.float32
        assert torch.equal(written[name], tensors[name].float())
    assert {written[name].dtype for name in ("good.weight", "zero.weight", "half.weight")} == {
        torch.float16
    }
    assert (report.to_zero, report.rounded_subnormal) == (1, 0)


def test_bf16_beyond_fp16s_range_stays_fp32_bit_for_bit(tmp_path: Path) -> None:
    large = torch.tensor([70000.0, -3.0e38, 1e-20]).to(torch.bfloat16)
    report = write(tmp_path / "out.safetensors", {"large.weight": large})
    assert report.kept_fp32 == ["large.weight"]
    written = load_file(tmp_path / "out.safetensors")["large.weight"]
    assert written.dtype == torch.float32 and torch.equal(written, large.float())


def test_a_loss_worth_a_line_is_noted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(3)) * 1e-4
    tensors = {f"{name}.weight": values.to(torch.bfloat16) for name in "abc"}
    summary = ExportSummary(tmp_path, {})
    report = write(tmp_path / "out.safetensors", tensors)
    component_export.describe("unet", report, summary, Progress(quiet=True))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: unet: of 6,000 weights fp16 made ")
    counted = summary.underflow["unet"]
    assert counted["to_zero"] == report.to_zero
    assert 1e-5 < counted["worst_relative_loss"] < LARGE_LOSS
    assert summary.kept_fp32 == {}

    quiet = write(tmp_path / "out.safetensors", {"a.weight": 300 * values.to(torch.bfloat16)})
    component_export.describe("unet", quiet, summary, Progress(quiet=True))
    assert capsys.readouterr().err == ""
