"""Writes tests/golden/quantised: small layers as other programs store them, and what they mean.

A file's tensors `stored/KEY` are what a program stores, `expected/KEY` what the same program makes
of them again, `config` in the header its configuration. Run in a Python of its own, which CI does
not need:

  pip install torch==2.11.0 safetensors==0.8.0 diffusers==0.42.1 accelerate==1.15.0 \\
      bitsandbytes==0.50.2 torchao==0.18.0 optimum-quanto==0.2.7 sdnq==0.2.8 \\
      comfy-kitchen==0.2.40 ninja
  python tests/python/make_quantised_golden.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "quantised"
Tensors = dict[str, torch.Tensor]


def weights(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Trained layers have rows of different size, and a few large values."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator) * 0.05
    rows = torch.rand(shape[0], generator=generator) * 2 + 0.2
    return (values * rows.reshape(-1, *[1] * (len(shape) - 1))).to(dtype)


def save(name: str, stored: Tensors, expected: Tensors, config: dict[str, Any] | None) -> None:
    both = {f"stored/{key}": each for key, each in stored.items()}
    both |= {f"expected/{key}": each for key, each in expected.items()}
    both = {key: each.detach().contiguous().clone() for key, each in both.items()}
    header = {} if config is None else {"config": json.dumps(config, sort_keys=True)}
    save_file(both, GOLDEN / f"{name}.safetensors", header)


def described(words: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(list(json.dumps(words).encode()), dtype=torch.uint8)


def comfy() -> None:
    from comfy_kitchen.tensor.base import QuantizedTensor
    from comfy_kitchen.tensor.fp8 import TensorCoreFP8Layout
    from comfy_kitchen.tensor.int8 import TensorWiseINT8Layout

    def add(
        layer: str, layout: Any, weight: torch.Tensor, words: dict[str, Any], **how: Any
    ) -> None:
        codes, params = layout.quantize(weight, **how)
        made = QuantizedTensor(codes, layout.__name__, params)
        for suffix, tensor in layout.state_dict_tensors(codes, params).items():
            stored[f"{layer}.weight{suffix}"] = tensor
        stored[f"{layer}.comfy_quant"] = described(words)
        expected[f"{layer}.weight"] = made.dequantize()

    stored: Tensors = {}
    expected: Tensors = {}
    fp8, int8 = TensorCoreFP8Layout, TensorWiseINT8Layout
    weight = weights(6, 256)
    add("e4m3", fp8, weight, {"format": "float8_e4m3fn"})
    add("e5m2", fp8, weight, {"format": "float8_e5m2"}, dtype=torch.float8_e5m2)
    add("tensor", int8, weight, {"format": "int8_tensorwise"})
    add("row", int8, weight, {"format": "int8_tensorwise"}, per_channel=True)
    for group in (16, 256):
        add(
            f"rotated{group}",
            int8,
            weight,
            {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": group},
            per_channel=True,
            convrot=True,
            convrot_groupsize=group,
        )
    save("comfy", stored, expected, None)
    # A weight of zeros, whose scale is 0 and whose codes are NaN.
    stored, expected = {}, {}
    add("zeros", TensorCoreFP8Layout, torch.zeros(8, 16), {"format": "float8_e4m3fn"})
    expected["zeros.weight"] = torch.zeros(8, 16)  # the program makes NaN of it
    save("comfy_zeros", stored, expected, None)


def bitsandbytes() -> None:
    from bitsandbytes import functional

    config: dict[str, Any] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    for kind in ("nf4", "fp4"):
        stored: Tensors = {}
        expected: Tensors = {}
        for is_nested in (False, True):
            for shape, block in (((6, 128), 64), ((5, 33), 64), ((270, 32), 32)):
                name = f"l{shape[0]}{'n' if is_nested else ''}.weight"
                codes, state = functional.quantize_4bit(
                    weights(*shape, dtype=torch.float16),
                    blocksize=block,
                    compress_statistics=is_nested,
                    quant_type=kind,
                )
                stored[name] = codes
                for leaf, tensor in state.as_dict(packed=True).items():
                    stored[f"{name}.{leaf}"] = tensor
                expected[name] = functional.dequantize_4bit(codes, state)
        save(f"bitsandbytes_{kind}", stored, expected, config | {"bnb_4bit_quant_type": kind})
    weight = weights(6, 128, dtype=torch.float16)
    codes, scales, _ = functional.int8_vectorwise_quant(weight)
    stored = {"l.weight": codes, "l.SCB": scales}
    stored["l.weight_format"] = torch.zeros((), dtype=torch.uint8)
    expected = {"l.weight": functional.int8_vectorwise_dequant(codes, scales)}
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    save("bitsandbytes_int8", stored, expected, config)


def torchao() -> None:
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Int8WeightOnlyConfig, quantize_
    from torchao.core.config import config_to_dict

    how = Int8WeightOnlyConfig()
    model = nn.Sequential(nn.Linear(64, 24), nn.Linear(24, 24, bias=False))
    for i, layer in enumerate(model):
        layer.weight = nn.Parameter(weights(*layer.weight.shape, seed=i))
    quantize_(model, how)
    stored, _ = flatten_tensor_state_dict(model.state_dict())
    expected = {f"{i}.weight": layer.weight.dequantize() for i, layer in enumerate(model)}
    expected["0.bias"] = model[0].bias
    config = {"quant_method": "torchao", "quant_type": {"default": config_to_dict(how)}}
    save("torchao_int8", stored, expected, config)


def quanto() -> None:
    from optimum.quanto import freeze, qfloat8, qint2, qint4, qint8, quantize

    for dtype in (torch.float16, torch.bfloat16):
        for kind, name in ((qint8, "int8"), (qfloat8, "float8"), (qint4, "int4"), (qint2, "int2")):
            model = nn.Sequential(nn.Linear(128, 24), nn.Linear(24, 40), nn.Conv2d(8, 4, 3))
            for i, layer in enumerate(model):
                layer.weight = nn.Parameter(weights(*layer.weight.shape, seed=i))
            model = model.to(dtype)
            quantize(model, weights=kind)
            freeze(model)
            expected = {f"{i}.weight": layer.weight.dequantize() for i, layer in enumerate(model)}
            expected |= {f"{i}.bias": layer.bias for i, layer in enumerate(model)}
            config = {"quant_method": "quanto", "weights_dtype": name}
            suffix = str(dtype).removeprefix("torch.")
            save(f"quanto_{name}_{suffix}", model.state_dict(), expected, config)


def sdnq() -> None:
    from sdnq import SDNQConfig
    from sdnq.quantizer import sdnq_quantize_layer_weight

    cases: dict[str, dict[str, Any]] = {
        name: {"weights_dtype": name}
        for name in ("int8", "uint8", "float8_e4m3fn", "float8_e5m2", "uint4", "int4", "uint2")
    }
    cases |= {name: {"weights_dtype": name} for name in ("uint3", "int5", "uint5", "uint6", "int7")}
    cases["int8_groups"] = {"weights_dtype": "int8", "group_size": 16}
    cases["int8_matmul"] = {"weights_dtype": "int8", "use_quantized_matmul": True}
    cases["int8_matmul"]["use_quantized_matmul_conv"] = True
    cases["float8_matmul"] = {"weights_dtype": "float8_e4m3fn", "use_quantized_matmul": True}
    cases["int8_bf16"] = {"weights_dtype": "int8", "dequantize_fp32": False}
    for name, how in cases.items():
        stored: Tensors = {}
        expected: Tensors = {}
        config = SDNQConfig(quant_conv=True, **how)
        layers = {"linear": (32, 48), "square": (32, 32), "conv": (8, 32, 3, 3)}
        for layer, shape in layers.items():
            is_conv = layer == "conv"
            dequantize, made = sdnq_quantize_layer_weight(
                weights(*shape, dtype=torch.bfloat16),
                layer_class_name="Conv2d" if is_conv else "Linear",
                weights_dtype=config.weights_dtype,
                group_size=config.group_size,
                dequantize_fp32=config.dequantize_fp32,
                use_quantized_matmul=config.use_quantized_matmul,
                torch_dtype=torch.bfloat16,
            )
            made = {leaf: tensor for leaf, tensor in made.items() if tensor is not None}
            stored |= {f"{layer}.{leaf}": tensor for leaf, tensor in made.items()}
            is_plain = dequantize.re_quantize_for_matmul or dequantize.is_packed
            is_turned = dequantize.use_quantized_matmul and not is_plain
            values = dequantize(
                **{leaf: tensor.clone() for leaf, tensor in made.items()},
                skip_quantized_matmul=is_turned,
                skip_compile=True,
                dtype=torch.float32 if config.dequantize_fp32 else torch.bfloat16,
            )
            expected[f"{layer}.weight"] = values.reshape(shape)
        save(f"sdnq_{name}", stored, expected, json.loads(config.to_json_string(use_diff=False)))


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for make in (comfy, bitsandbytes, torchao, quanto, sdnq):
        make()
        print(make.__name__)
