"""Tells which program made a model's weights smaller, so that the refusal can name it.

Quantised weights are not read: the server packs full-precision weights itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightfit_export.errors import SourceError
from tightfit_export.tensor_file import READABLE_DTYPES, StoredTensor

_INSTEAD = "take the model in fp16, bf16 or fp32; the server packs it itself"

# What the names of quantised tensors end with, the most telling first.
_MARKS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".quant_state.bitsandbytes__nf4",), "nf4 of bitsandbytes"),
    ((".quant_state.bitsandbytes__fp4",), "fp4 of bitsandbytes"),
    ((".absmax", ".quant_map", ".nested_absmax"), "4 bits of bitsandbytes (nf4 or fp4)"),
    ((".SCB", ".weight_format"), "int8 of bitsandbytes"),
    ((".smooth_factor", ".wscales", ".wtscale", ".smooth"), "SVDQuant, as nunchaku has it"),
    (("._weight_qdata", "._weight_scale", "._weight_zero_point"), "torchao"),
    (("._data", "._scale", "._shift"), "quanto"),
    ((".W_q",), "HQQ"),
    ((".svd_up", ".svd_down"), "sdnq"),
    ((".qweight", ".qzeros", ".g_idx"), "GPTQ or AWQ"),
    ((".weight_scale_2",), "NVFP4 with scales (weight_scale_2)"),
)
_FP8_SCALES: tuple[str, ...] = (".scale_weight", ".weight_scale", ".weight_scale_inv")
_FP8_SCALES += (".scale_input", ".input_scale")
_METHODS = {
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "gguf": "GGUF",
    "svdquant": "SVDQuant, as nunchaku has it",
}


def refuse_quantised_config(where: str, config: Mapping[str, Any]) -> None:
    """Errors: SourceError if a component's config.json says that its weights are quantised."""
    said = config.get("quantization_config")
    if not said:
        return
    said = said if isinstance(said, dict) else {}
    method = str(said.get("quant_method", "")).lower()
    kind = _METHODS.get(method, method or "quantization_config")
    if kind == "bitsandbytes":
        bits = "4 bits" if said.get("load_in_4bit") else "int8"
        kind = f"{said.get('bnb_4bit_quant_type') or '4 bits'}" if bits == "4 bits" else bits
        kind += " of bitsandbytes"
    raise _refusal(where, kind)


def refuse_quantised_tensors(where: str, tensors: Mapping[str, StoredTensor]) -> None:
    """Errors: SourceError if the names or types of a file's tensors are those of a quantiser."""
    kind = _kind(tensors)
    if any(key.endswith(".comfy_quant") for key in tensors):
        kind = f"{kind or 'by ComfyUI'} (comfy_quant)"
    if kind is not None:
        raise _refusal(where, kind)


def _kind(tensors: Mapping[str, StoredTensor]) -> str | None:
    fp8 = next((key for key, stored in tensors.items() if stored.dtype.startswith("F8_")), None)
    for endings, kind in _MARKS:
        if any(key.endswith(endings) for key in tensors):
            return kind
    scales = [key for key in tensors if key.endswith(_FP8_SCALES)]
    has_mark = any(key.rpartition(".")[2] == "scaled_fp8" for key in tensors)
    if scales or has_mark:
        if fp8 is None and not has_mark and _holds(tensors, "I8", "U8"):
            return f"8 bits with scales ({scales[0].rpartition('.')[2]})"
        named = scales[0].rpartition(".")[2] if scales else "scaled_fp8"
        return f"fp8 with scales ({named})"
    packed = ("I8", "U8", "I16", "U16", "I32", "U32")
    if any(
        key.endswith(".weight") and stored.dtype in packed for key, stored in tensors.items()
    ) and any(key.endswith((".scale", ".zero_point")) for key in tensors):
        return "sdnq, or integers with scales"
    for key, stored in tensors.items():
        is_weight = key.endswith(("weight", "bias", "in_proj_weight", "in_proj_bias"))
        if is_weight and stored.dtype not in READABLE_DTYPES:
            name = {"F8_E4M3": "fp8 (F8_E4M3)", "F8_E5M2": "fp8 (F8_E5M2)"}
            return f"{name.get(stored.dtype, stored.dtype)} without scales"
    return None


def _holds(tensors: Mapping[str, StoredTensor], *dtypes: str) -> bool:
    return any(stored.dtype in dtypes for stored in tensors.values())


def _refusal(where: str, kind: str) -> SourceError:
    return SourceError(f"{where} is quantised: {kind}; {_INSTEAD}")
