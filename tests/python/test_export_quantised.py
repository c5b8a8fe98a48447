"""What cannot be put back is refused in one line that names it, from headers alone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from emoji_checkpoint import DIFFUSERS, edited_directory, plain_tensors, save_checkpoint
from original_checkpoint import Tensors
from quantised_files import described, golden, opened

from tightfit_export import tensor_file
from tightfit_export.cli import main
from tightfit_export.errors import SourceError

LINEAR = "model.diffusion_model.input_blocks.3.1.proj_in"
FP8 = torch.float8_e4m3fn
BYTES, SCALE = torch.zeros(64, 1, dtype=torch.uint8), torch.ones(64)
INT8 = torch.zeros(128, 128, dtype=torch.int8)


@pytest.fixture(autouse=True)
def no_values_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("values were read before the refusal")

    monkeypatch.setattr(tensor_file.TensorFile, "read", refuse)
    monkeypatch.setattr(tensor_file.TensorFile, "read_stored", refuse)


def refusal(source: Path, out: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["--source", str(source), "--out", str(out), "--quiet", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not out.exists()
    return line


def without_weight(**parts: torch.Tensor) -> Tensors:
    """One Linear of the UNet under a quantiser's names."""
    result = plain_tensors()
    del result[f"{LINEAR}.weight"]
    return result | {LINEAR + name: part for name, part in parts.items()}


def comfy(words: object, weight: torch.Tensor = INT8, **parts: torch.Tensor) -> Tensors:
    scale = {".weight_scale": torch.ones(128, 1)} | parts
    return without_weight(**{".weight": weight, ".comfy_quant": described(words)}, **scale)


INT8_WORDS = {"format": "int8_tensorwise"}
FILES: dict[str, tuple[Callable[[], Tensors], tuple[str, ...]]] = {
    "svdquant": (
        lambda: without_weight(
            **{".qweight": INT8, ".wscales": SCALE, ".smooth_factor": SCALE.clone()}
        ),
        ("SVDQuant",),
    ),
    "gptq": (
        lambda: without_weight(
            **{".qweight": torch.zeros(4, 4, dtype=torch.int32), ".qzeros": SCALE}
        ),
        ("GPTQ",),
    ),
    "hqq": (lambda: without_weight(**{".W_q": INT8}), ("HQQ",)),
    "nvfp4 without a word": (
        lambda: without_weight(
            **{".weight": BYTES, ".weight_scale": SCALE, ".weight_scale_2": SCALE.clone()}
        ),
        ("NVFP4",),
    ),
    "nvfp4": (lambda: comfy({"format": "nvfp4"}, BYTES), ("nvfp4 of ComfyUI",)),
    "mxfp8": (lambda: comfy({"format": "mxfp8"}, INT8.to(FP8)), ("mxfp8 of ComfyUI",)),
    "w4a4": (lambda: comfy({"format": "convrot_w4a4"}), ("convrot_w4a4 of ComfyUI",)),
    "a format of tomorrow": (lambda: comfy({"format": "float3"}), ("float3 of ComfyUI",)),
    "an option of tomorrow": (
        lambda: comfy(INT8_WORDS | {"swirl": 3}),
        ("int8_tensorwise with the option swirl",),
    ),
    "rotated fp8": (
        lambda: comfy({"format": "float8_e4m3fn", "convrot": True}, INT8.to(FP8)),
        ("float8_e4m3fn with ConvRot",),
    ),
    "smoothed": (
        lambda: comfy(INT8_WORDS, **{".pre_quant_scale": SCALE}),
        ("int8_tensorwise with pre_quant_scale",),
    ),
    "int8 with scales": (
        lambda: without_weight(**{".weight": INT8, ".weight_scale": SCALE}),
        ("8 bits with scales", "no comfy_quant"),
    ),
    "fp8 in blocks": (
        lambda: without_weight(**{".weight": INT8.to(FP8), ".weight_scale_inv": SCALE}),
        ("weight_scale_inv",),
    ),
    "integers with scales": (
        lambda: without_weight(**{".weight": INT8, ".scale": SCALE}),
        ("sdnq", "without a configuration"),
    ),
    "another fp8": (
        lambda: without_weight(**{".weight": INT8.to(torch.float8_e4m3fnuz)}),
        ("F8_E4M3FNUZ",),
    ),
    "torchao of 4 bits": (
        lambda: without_weight(**{"._weight_qdata": BYTES, "._weight_scale": SCALE}),
        ("_weight_qdata is U8", "only int8"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_single_file_of_what_is_not_read_is_named_by_kind(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = FILES[name]
    path = save_checkpoint(tmp_path / "model.safetensors", make())
    line = refusal(path, tmp_path / "out", capsys, "--config", str(DIFFUSERS))
    for word in ("model.safetensors", LINEAR, *words):
        assert word in line


# One weight as ComfyUI has it, and what is wrong with it.
DAMAGED: dict[str, tuple[object, dict[str, torch.Tensor], str]] = {
    "no JSON": (b"{'format'", {}, "a.comfy_quant holds no JSON"),
    "JSON without an end": (b"[" * 60000, {}, "a.comfy_quant holds no JSON"),
    "a list": ([1], {}, "a.comfy_quant holds no object"),
    "a description of 70 kB": (b" " * 70000, {}, "a.comfy_quant is U8 [70000], no description"),
    "a number for a yes": (INT8_WORDS | {"convrot": 1}, {}, "convrot is 1, neither yes nor no"),
    "a group of 48": (INT8_WORDS | {"convrot": True, "convrot_groupsize": 48}, {}, "power of 4"),
    "a group of 2^80": (
        INT8_WORDS | {"convrot": True, "convrot_groupsize": 4**40},
        {},
        "no power of 4",
    ),
    "a group that does not divide": (
        INT8_WORDS | {"convrot": True, "convrot_groupsize": 256},
        {},
        "a.weight is I8 [8, 64], whose inputs are no multiple",
    ),
    "a scale for each column": (
        INT8_WORDS,
        {"a.weight_scale": torch.ones(1, 64)},
        "a.weight_scale is F32 [1, 64], which is neither one scale nor one for each row",
    ),
    "a flat list of scales": (
        INT8_WORDS,
        {"a.weight_scale": torch.ones(8)},
        "a.weight_scale is F32 [8], which is neither",
    ),
    "scales that are no floats": (
        INT8_WORDS,
        {"a.weight_scale": torch.ones(8, 1, dtype=torch.int32)},
        "a.weight_scale is stored as I32",
    ),
    "two scales": (INT8_WORDS, {"a.scale_weight": torch.ones(())}, "a.weight has two scales"),
    "another type": ({"format": "float8_e4m3fn"}, {}, "a.weight is I8 [8, 64], its comfy_quant"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_description_is_named_before_values_are_read(name: str, tmp_path: Path) -> None:
    words, parts, message = DAMAGED[name]
    stored = {"a.weight": INT8[:8, :64], "a.weight_scale": torch.ones(8, 1)} | parts
    stored["a.comfy_quant"] = described(words)
    with pytest.raises(SourceError) as raised:
        opened(tmp_path, stored)
    assert message in str(raised.value) and len(str(raised.value)) < 400


def test_a_damaged_header_is_named_before_values_are_read(tmp_path: Path) -> None:
    stored = {"a.weight": INT8[:8, :64], "a.weight_scale": torch.ones(8, 1)}
    for text, message in {
        "{": "_quantization_metadata holds no JSON",
        "{}": "names no layers",
        '{"layers": {"b": {"format": "nvfp4"}}}': "names the layer b, which has no weight",
        '{"layers": {"a": 3}}': "says nothing readable of the layer a",
        '{"layers": {"a": "nvfp4"}}': "a is quantised: nvfp4 of ComfyUI",
    }.items():
        with pytest.raises(SourceError) as raised:
            opened(tmp_path, stored, metadata={"_quantization_metadata": text})
        assert message in str(raised.value)
    # Rotated or not: two descriptions that disagree.
    text = json.dumps({"layers": {"a": INT8_WORDS | {"convrot": True}}})
    with pytest.raises(SourceError, match="say different things"):
        opened(
            tmp_path,
            stored | {"a.comfy_quant": described(INT8_WORDS)},
            metadata={"_quantization_metadata": text},
        )


# By golden file: a tensor to change, to what (None: it is taken away), and the message's words.
CHANGED: list[tuple[str, str, Callable[[torch.Tensor], torch.Tensor] | None, str]] = [
    ("bitsandbytes_nf4", "l6.weight", lambda t: t[:-1], "l6.weight is U8 [383, 1], no 4 bits"),
    ("bitsandbytes_nf4", "l6.weight.absmax", None, "l6.weight lacks l6.weight.absmax"),
    ("bitsandbytes_nf4", "l6.weight.absmax", lambda t: t[:-1], "the weight has 12 blocks"),
    ("bitsandbytes_nf4", "l6.weight.quant_map", lambda t: t[:9], "quant_map is F32 [9]"),
    ("bitsandbytes_nf4", "l6n.weight.nested_absmax", lambda t: t.repeat(2), "nested_absmax is F32"),
    ("bitsandbytes_nf4", "l6n.weight.nested_quant_map", None, "l6n.weight lacks"),
    ("bitsandbytes_int8", "l.SCB", lambda t: t[:-1], "l.weight is I8 [6, 128] and its scales"),
    ("bitsandbytes_int8", "l.weight_format", torch.ones_like, "another order than rows"),
    ("torchao_int8", "0._weight_scale", lambda t: t.T, "0._weight_scale is F32 [1, 24]"),
    ("torchao_int8", "0._weight_scale", None, "0._weight_qdata lacks 0._weight_scale"),
    ("quanto_int8_float16", "0.weight._scale", lambda t: t.T, "0.weight._scale is F16 [1, 24]"),
    ("quanto_int4_float16", "0.weight._shift", lambda t: t[:-1], "do not go with"),
    ("quanto_int4_float16", "0.weight._data._data", lambda t: t[:, :-1], "its configuration says"),
    ("sdnq_int8", "linear.scale", lambda t: t[:-1], "linear.scale is F32 [31, 1]"),
    ("sdnq_int8", "linear.weight", lambda t: t.T, "the configuration says int8 [32, 48]"),
    ("sdnq_int8", "square.scale", lambda t: t.T, "square.weight lies transposed, its config"),
    ("sdnq_uint4", "linear.weight", lambda t: t[:-1], "the configuration says uint4 [32, 48]"),
    ("sdnq_uint4", "linear.zero_point", None, "zero points that do not go with it"),
]


@pytest.mark.parametrize(("name", "key", "change", "words"), CHANGED)
def test_tensors_that_do_not_go_together_are_named_before_values_are_read(
    name: str,
    key: str,
    change: Callable[[torch.Tensor], torch.Tensor] | None,
    words: str,
    tmp_path: Path,
) -> None:
    stored, expected, config = golden(name)
    shapes = {each: tuple(tensor.shape) for each, tensor in expected.items()}
    opened(tmp_path, stored, config, shapes)  # a control
    before = stored.pop(key)
    if change is not None:
        stored[key] = change(before)
    with pytest.raises(SourceError) as raised:
        opened(tmp_path, stored, config, shapes)
    assert words in str(raised.value)


def test_a_lying_shape_costs_no_memory(tmp_path: Path) -> None:
    stored, _, config = golden("bitsandbytes_nf4")
    name = "l6.weight"
    state = json.loads(bytes(stored[f"{name}.quant_state.bitsandbytes__nf4"].tolist()))
    for shape in ([1 << 30, 1 << 30], [-6, -128], [], [6.0, 128], None, [1] * 99, ["6", 128]):
        words = described(state | {"shape": shape})
        damaged = stored | {f"{name}.quant_state.bitsandbytes__nf4": words}
        tracemalloc.start()
        with pytest.raises(SourceError, match=r"l6\.weight"):
            opened(tmp_path, damaged, config)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


SDNQ: dict[str, Any] = {"quant_method": "sdnq", "weights_dtype": "int8"}
CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "nf4 that is not there": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        "nf4 of bitsandbytes, says its configuration, and none of its tensors is",
    ),
    "int8 that is not there": (
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        "int8 of bitsandbytes, says its configuration",
    ),
    "torchao of 4 bits": (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}},
        "Int4WeightOnlyConfig of torchao",
    ),
    "torchao of its own for some": (
        {
            "quant_method": "torchao",
            "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}, "mid": {"_type": "Other"}},
        },
        "Other of torchao (mid)",
    ),
    "sdnq of floats of 6 bits": (SDNQ | {"weights_dtype": "float6_e3m2fn"}, "float6_e3m2fn"),
    "sdnq with svd": (SDNQ | {"use_svd": True}, "sdnq with use_svd True"),
    "sdnq with hadamard": (SDNQ | {"use_hadamard": True}, "sdnq with use_hadamard True"),
    "sdnq with a codebook": (SDNQ | {"use_codebook": True}, "sdnq with use_codebook True"),
    "sdnq with small scales": (SDNQ | {"scale_dtype": "int8"}, "sdnq with scale_dtype int8"),
    "sdnq by modules": (
        SDNQ | {"modules_dtype_dict": {"uint4": ["mid"]}},
        "sdnq with modules_dtype_dict",
    ),
    "sdnq of tomorrow": (SDNQ | {"use_magic": 1}, "sdnq with use_magic 1"),
    "svdquant": ({"quant_method": "svdquant"}, "SVDQuant"),
    "gguf": ({"quant_method": "gguf"}, "GGUF"),
    "gptq": ({"quant_method": "gptq"}, "gptq"),
    "a method of tomorrow": ({"quant_method": "sparkle"}, "sparkle"),
    "without a name": ({"bits": 3}, "quantization_config"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_directory_says_it_in_its_configuration(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, words = CONFIGS[name]
    # Also where the weights beside it look plain.
    source = edited_directory(
        tmp_path / "source", {"unet/config.json": {"quantization_config": config}}
    )
    line = refusal(source, tmp_path / "out", capsys)
    assert "unet is quantised: " in line and words in line


def test_other_components_say_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for component in ("text_encoder_2", "vae"):
        edits = {f"{component}/config.json": {"quantization_config": {"quant_method": "hqq"}}}
        source = edited_directory(tmp_path / component, edits)
        assert f"{component} is quantised: hqq" in refusal(source, tmp_path / "out", capsys)
    line = refusal(DIFFUSERS, tmp_path / "out", capsys, "--vae", str(source))
    assert "the VAE is quantised: hqq" in line


def test_gguf_in_the_place_of_a_model_is_sent_to_its_own_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.gguf", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(b"GGUF" + bytes(100))
        line = refusal(path, tmp_path / "out", capsys)
        assert "GGUF, which holds a UNet alone; give it with --unet" in line
