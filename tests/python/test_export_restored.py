"""Quantised weights come back as the program that made them smaller has them, to one rounding.

The files are of the real programs (make_quantised_golden.py), and so are the weights to compare.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quantised_files import GOLDEN, Tensors, described, error_in_roundings, golden, opened

from tightfit_export.errors import SourceError
from tightfit_export.quantisation import comfy_quant, sdnq_packing
from tightfit_export.quantisation.restored import RestoredTensors

NAMES = sorted(path.stem for path in GOLDEN.glob("*.safetensors"))
# Of the program's own type. fp32 differs by the order of operations, most of all where a rotation
# was undone by a product with a matrix of 256 rows; one rounding of fp16 is 8192 of fp32.
ROUNDINGS = {torch.float32: 16.0, torch.float16: 1.0, torch.bfloat16: 1.0}
# What was rounded after a sum with a shift, and before it: both as large as the largest weight.
SUM_ROUNDINGS = 3.0


def read(name: str, folder: Path) -> tuple[RestoredTensors, Tensors]:
    stored, expected, config = golden(name)
    shapes = {key: tuple(each.shape) for key, each in expected.items()}
    return opened(folder, stored, config, shapes), expected


def share_of_allowed(found: torch.Tensor, meant: torch.Tensor, is_sum: bool) -> float:
    """The largest error; 1 is what is allowed."""
    allowed = ROUNDINGS[meant.dtype] * (SUM_ROUNDINGS if is_sum else 1.0)
    return error_in_roundings(found, meant, float(meant.abs().max()) if is_sum else 0.0) / allowed


def worst(name: str, folder: Path) -> float:
    """Of all weights of a file."""
    file, expected = read(name, folder)
    errors = []
    for key, meant in expected.items():
        found = file.read(key)
        assert found.shape == meant.shape == file.tensors[key].shape
        is_sum = "quanto_int4" in name or "quanto_int2" in name or "sdnq_u" in name
        errors.append(share_of_allowed(found, meant, is_sum or key.startswith("rotated")))
    return max(errors)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_the_program_that_made_the_file(name: str, tmp_path: Path) -> None:
    file, expected = read(name, tmp_path)
    assert set(file.tensors) == set(expected)
    assert any(stored.kind for stored in file.tensors.values())
    assert worst(name, tmp_path) <= 1


def test_all_programs_have_a_file() -> None:
    made = {name.partition("_")[0] for name in NAMES}
    assert made == {"bitsandbytes", "comfy", "quanto", "sdnq", "torchao"} and len(NAMES) > 25


def test_what_is_not_undone_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: the comparison fails without the rotation, and with bits taken from elsewhere."""
    monkeypatch.setattr(comfy_quant, "unrotated", lambda codes, group: codes)
    assert worst("comfy", tmp_path) > 100
    size, places = sdnq_packing._GROUPS[4]
    monkeypatch.setitem(sdnq_packing._GROUPS, 4, (size, places[::-1]))
    assert worst("sdnq_uint4", tmp_path) > 100


OF_ROWS = {  # a scale, and the weight that it belongs to
    "comfy": ("row.weight_scale", "row.weight"),
    "bitsandbytes_int8": ("l.SCB", "l.weight"),
    "torchao_int8": ("0._weight_scale", "0.weight"),
    "quanto_int8_float16": ("0.weight._scale", "0.weight"),
    "sdnq_int8": ("linear.scale", "linear.weight"),
}


@pytest.mark.parametrize("name", OF_ROWS)
def test_scales_of_other_rows_show(name: str, tmp_path: Path) -> None:
    """A control: rows have scales of their own in these files."""
    stored, expected, config = golden(name)
    key, layer = OF_ROWS[name]
    wrong = stored | {key: stored[key].flip(0)}
    shapes = {each: tuple(tensor.shape) for each, tensor in expected.items()}
    found = opened(tmp_path, wrong, config, shapes).read(layer)
    assert share_of_allowed(found, expected[layer], is_sum=False) > 100


def hadamard(size: int) -> torch.Tensor:
    h4 = torch.tensor([[1.0, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]])
    result = torch.ones(1, 1)
    while len(result) < size:
        result = torch.kron(result, h4)
    return result.double() / size**0.5


@pytest.mark.parametrize(("channels", "group"), [(64, 16), (64, 64), (256, 256), (320, 64)])
def test_rotated_convolutions_come_back(channels: int, group: int, tmp_path: Path) -> None:
    """As converters rotate them: along the input channels, a scale for each output channel."""
    generator = torch.Generator().manual_seed(group)
    codes = torch.randint(-127, 128, (6, channels, 3, 3), generator=generator).to(torch.int8)
    scale = torch.rand(6, 1, 1, 1, generator=generator) / 100
    words = {"format": "int8_tensorwise", "params": {"convrot": True, "convrot_groupsize": group}}
    stored = {"c.weight": codes, "c.weight_scale": scale, "c.comfy_quant": described(words)}
    flat = (codes.double() * scale.double()).permute(0, 2, 3, 1).reshape(-1, group)
    expected = (flat @ hadamard(group)).reshape(6, 3, 3, channels).permute(0, 3, 1, 2)
    found = opened(tmp_path, stored).read("c.weight")
    assert error_in_roundings(found, expected.float(), float(expected.abs().max())) <= 1


def test_descriptions_in_the_header_are_those_beside_the_layers(tmp_path: Path) -> None:
    stored, expected, _ = golden("comfy")
    layers = {}
    for key in [key for key in stored if key.endswith(".comfy_quant")]:
        layers[key.removesuffix(".comfy_quant")] = bytes(stored.pop(key).tolist()).decode()
    for prefix in ("", "model.diffusion_model."):
        tensors = {prefix + key: each for key, each in stored.items()}
        said = ", ".join(f'"{layer}": {words}' for layer, words in layers.items())
        header = {"_quantization_metadata": f'{{"format_version": "1.0", "layers": {{{said}}}}}'}
        file = opened(tmp_path, tensors, metadata=header)
        for key, meant in expected.items():
            assert share_of_allowed(file.read(prefix + key), meant, is_sum=True) <= 1


FP8 = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


@pytest.mark.parametrize("name", FP8)
def test_every_code_of_plain_fp8_is_exact_in_fp16(name: str, tmp_path: Path) -> None:
    codes = torch.arange(256).to(torch.uint8).view(FP8[name])
    finite = codes[torch.isfinite(codes.float())]
    file = opened(tmp_path, {"a.weight": finite, "a.bias": finite[:9]})
    assert file.tensors["a.weight"].dtype == "F16"
    assert torch.equal(file.read("a.weight").double(), finite.double())
    # The same as bytes, as older files have them.
    words = {"format": f"float8_{name}" + ("fn" if name == "e4m3" else "")}
    stored = {"a.weight": finite.view(torch.uint8), "a.comfy_quant": described(words)}
    assert torch.equal(opened(tmp_path, stored).read("a.weight").double(), finite.double())


@pytest.mark.parametrize("leaf", ["weight_scale", "scale_weight"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (8, 1)])
def test_scales_of_older_files_are_multiplied(
    leaf: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    codes = torch.randn(8, 16).to(torch.float8_e4m3fn)
    scale = torch.rand(shape) / 7
    stored = {"a.weight": codes, f"a.{leaf}": scale, "a.scale_input": torch.ones(())}
    stored |= {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn), "b.weight": codes.float()}
    file = opened(tmp_path, stored)
    assert set(file.tensors) == {"a.weight", "b.weight"}
    assert torch.equal(file.read("a.weight"), codes.float() * scale)
    assert torch.equal(file.read("b.weight"), codes.float())


def test_scales_that_a_cpu_laid_out_in_columns_are_turned(tmp_path: Path) -> None:
    stored, expected, config = golden("bitsandbytes_nf4")
    name = "l6.weight"
    turned = stored[f"{name}.absmax"].reshape(6, 2).T.to(torch.bfloat16)
    file = opened(tmp_path, stored | {f"{name}.absmax": turned}, config)
    error = file.read(name) - expected[name]
    assert float(error.abs().max()) <= float(expected[name].abs().max()) * 2**-8


def test_nan_is_refused_unless_its_scale_is_0(tmp_path: Path) -> None:
    codes = torch.full((2, 4), float("nan")).to(torch.float8_e4m3fn)
    file = opened(tmp_path, {"a.weight": codes, "a.weight_scale": torch.zeros(())})
    assert torch.equal(file.read("a.weight"), torch.zeros(2, 4))
    for scale in (torch.ones(()), torch.tensor([[0.0], [1.0]]), None, torch.tensor(float("nan"))):
        stored = {"a.weight": codes} | ({} if scale is None else {"a.weight_scale": scale})
        with pytest.raises(SourceError, match=r"a\.weight.* NaN"):
            opened(tmp_path, stored).read("a.weight")
