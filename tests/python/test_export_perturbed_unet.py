"""A perturbed export is another model by its UNet alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tightfit_export.cli import main

pytestmark = pytest.mark.usefixtures("without_graphs")


def export(source: Path, out: Path, *flags: str) -> Path:
    assert main(["--source", str(source), "--out", str(out), "--quiet", *flags]) == 0
    return out


def test_only_the_unet_differs_and_by_the_seed(tiny_pipeline_dir: Path, tmp_path: Path) -> None:
    plain = export(tiny_pipeline_dir, tmp_path / "plain")
    first, again, second = (
        export(tiny_pipeline_dir, tmp_path / name, "--perturb-unet", seed)
        for name, seed in (("first", "1"), ("again", "1"), ("second", "2"))
    )
    for path in plain.glob("*.safetensors"):
        same = path.read_bytes() == (first / path.name).read_bytes()
        assert same == (path.name != "unet.safetensors"), path.name
    unet = "unet.safetensors"
    assert (first / unet).read_bytes() == (again / unet).read_bytes()
    assert (first / unet).read_bytes() != (second / unet).read_bytes()

    before, after = load_file(plain / unet), load_file(first / unet)
    for name, values in before.items():
        exact = values.float()
        if exact.numel() >= 1000 and exact.std() > 0:
            moved = (after[name].float() - exact).std() / exact.std()
            assert 0.015 < float(moved) < 0.025, name
    assert all(torch.isfinite(values).all() for values in after.values())
