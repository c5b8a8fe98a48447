"""Names what made a model's weights smaller where the exporter cannot put them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightfit_export.errors import SourceError
from tightfit_export.quantisation import sdnq_layers, torchao_int8
from tightfit_export.quantisation.recipe import Plan
from tightfit_export.tensor_file import READABLE_DTYPES, StoredTensor

_INSTEAD = "which is not read; take the model in fp16, bf16 or fp32"

# What the names of quantised tensors end with, the most telling first.
_MARKS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".absmax", ".quant_map", ".nested_absmax"), "4 bits of bitsandbytes without quant_state"),
    ((".weight_format",), "int8 of bitsandbytes without its scales (SCB)"),
    ((".smooth_factor", ".wscales", ".wtscale", ".smooth"), "SVDQuant, as nunchaku has it"),
    (("._weight_scale", "._weight_zero_point"), "torchao of another kind than int8"),
    (("._data", "._scale", "._shift"), "quanto of another kind"),
    ((".W_q",), "HQQ"),
    ((".svd_up", ".svd_down"), "sdnq with use_svd"),
    ((".qweight", ".qzeros", ".g_idx"), "GPTQ or AWQ"),
    ((".weight_scale_2",), "NVFP4 with scales (weight_scale_2)"),
)
_SCALES: tuple[str, ...] = (".scale_weight", ".weight_scale", ".weight_scale_inv")
_SCALES += (".scale_input", ".input_scale", ".pre_quant_scale")
_METHODS = {"gguf": "GGUF", "svdquant": "SVDQuant, as nunchaku has it"}
_READABLE_METHODS = ("bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit")
_READABLE_METHODS += ("torchao", "quanto", "sdnq")


def quantisation_of(where: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a component's config.json says of its quantisation; None: there is none.

    Errors: SourceError if it is of a kind that cannot be read.
    """
    said = config.get("quantization_config")
    if not said:
        return None
    method = str(said.get("quant_method", "")).lower() if isinstance(said, dict) else ""
    if method not in _READABLE_METHODS:
        raise _refusal(where, kind_of_config(said if isinstance(said, dict) else {}))
    if method == "torchao":
        torchao_int8.check_config(where, said)
    elif method == "sdnq":
        sdnq_layers.check_config(where, said)
    return said


def kind_of_config(said: Mapping[str, Any]) -> str:
    """What people call it."""
    method = str(said.get("quant_method", "")).lower()[:60]
    if not method.startswith("bitsandbytes"):
        kind = _METHODS.get(method, method or "quantization_config")
        dtype = said.get("weights_dtype")
        return f"{kind} ({str(dtype)[:40]})" if dtype else kind
    if said.get("load_in_4bit"):
        return f"{str(said.get('bnb_4bit_quant_type') or '4 bits')[:20]} of bitsandbytes"
    return "int8 of bitsandbytes"


def refuse_rest(plan: Plan) -> None:
    """Errors: SourceError if a tensor that nobody put back has a quantiser's name or type."""
    kind = _kind(plan.rest)
    if kind is not None:
        raise _refusal(plan.what, kind)


def _kind(tensors: Mapping[str, StoredTensor]) -> str | None:
    for endings, kind in _MARKS:
        found = next((key for key in tensors if key.endswith(endings)), None)
        if found is not None:
            return f"{kind} ({found})"
    scale = next((key for key in tensors if key.endswith(_SCALES)), None)
    if scale is not None:
        weight = tensors.get(f"{scale.rpartition('.')[0]}.weight")
        if weight is not None and weight.dtype in ("I8", "U8"):
            return f"8 bits with scales ({scale}) and no comfy_quant that says how"
        return f"a scale without its fp8 weight ({scale})"
    packed = ("I8", "U8", "I16", "U16", "I32", "U32")
    for key, stored in tensors.items():
        layer, _, leaf = key.rpartition(".")
        has_scale = f"{layer}.scale" in tensors or f"{layer}.zero_point" in tensors
        if leaf == "weight" and stored.dtype in packed and has_scale:
            return f"sdnq, or integers with scales, without a configuration that says how ({key})"
    for key, stored in tensors.items():
        is_weight = key.endswith(("weight", "bias", "in_proj_weight", "in_proj_bias"))
        if is_weight and stored.dtype not in READABLE_DTYPES:
            return f"{stored.dtype} without scales ({key})"
    return None


def _refusal(where: str, kind: str) -> SourceError:
    return SourceError(f"{where} is quantised: {kind}, {_INSTEAD}")
