"""Where Stability's original layout keeps each tensor that diffusers and transformers name.

Tables of module names; the numbering of blocks follows from the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from typing import Any

from tightfit_export import VAE_ENCODER

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "conditioner.embedders.0.transformer.text_model."
TEXT_2_PREFIX = "conditioner.embedders.1.model."
# Of text encoder 2 where a saver wrote it under transformers' names, without `text_model.`.
TEXT_2_TRANSFORMERS_PREFIX = "conditioner.embedders.1.transformer."


@dataclass(frozen=True)
class Place:
    """The stored tensor that holds a parameter, and what has to be done with it."""

    key: str
    third: int | None = None  # which of three equal parts of its rows: query, key, value
    transposed: bool = False


def places(
    component: str,
    names: Iterable[str],
    config: dict[str, Any],
    keys: Collection[str] = (),
) -> dict[str, Place]:
    """The place of each parameter, by its diffusers' or transformers' name.

    `keys` are a file's, of which some say in which form it has its text encoders. A name that the
    layout does not know gets a key that no file has.
    """
    if component == "unet":
        return _by_blocks(names, UNET_PREFIX, _unet_blocks(config), _UNET_LEAVES)
    if component in ("vae", VAE_ENCODER):
        return vae_places(names, config, VAE_PREFIX)
    held = {
        prefix
        for prefix in (TEXT_PREFIX, TEXT_2_PREFIX, TEXT_2_TRANSFORMERS_PREFIX)
        if any(key.startswith(prefix) for key in keys)
    }
    place = _text_place
    # SD 2.x has an OpenCLIP encoder as its only one.
    if component == "text_encoder_2" or (held and TEXT_PREFIX not in held):
        is_transformers = TEXT_2_TRANSFORMERS_PREFIX in held
        place = _transformers_place if is_transformers else _open_clip_place
    return {name: place(name.removeprefix("text_model.")) for name in names}


def vae_places(names: Iterable[str], config: dict[str, Any], prefix: str) -> dict[str, Place]:
    """Those of a VAE, whose keys begin with `prefix` (a file of its own may have none)."""
    return _by_blocks(names, prefix, _vae_blocks(config), _VAE_LEAVES)


def present(place: Place, keys: Container[str]) -> Place:
    """The place itself, or where a file has it that a converter wrote in another form.

    Text encoder 2's projection is a bare matrix, or the weight of a Linear layer, which is its
    transpose.
    """
    if place.transposed and place.key not in keys and f"{place.key}.weight" in keys:
        return Place(f"{place.key}.weight")
    return place


# What a module inside of a block is called: resnets and the VAE's attention. The UNet's
# transformers have diffusers' own names.
_UNET_LEAVES = {
    "resnets": {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
}
_VAE_LEAVES = {
    "resnets": {"conv_shortcut": "nin_shortcut"},
    "attentions": {
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
    },
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE_ENDS = {
    "post_quant_conv": "post_quant_conv",
    "quant_conv": "quant_conv",
    "decoder.conv_in": "decoder.conv_in",
    "decoder.conv_norm_out": "decoder.norm_out",
    "decoder.conv_out": "decoder.conv_out",
    "decoder.mid_block.resnets.0": "decoder.mid.block_1",
    "decoder.mid_block.attentions.0": "decoder.mid.attn_1",
    "decoder.mid_block.resnets.1": "decoder.mid.block_2",
    "encoder.conv_in": "encoder.conv_in",
    "encoder.conv_norm_out": "encoder.norm_out",
    "encoder.conv_out": "encoder.conv_out",
    "encoder.mid_block.resnets.0": "encoder.mid.block_1",
    "encoder.mid_block.attentions.0": "encoder.mid.attn_1",
    "encoder.mid_block.resnets.1": "encoder.mid.block_2",
}


def _unet_blocks(config: dict[str, Any]) -> dict[str, str]:
    """The original name of each of diffusers' blocks."""
    blocks = dict(_UNET_ENDS)
    down, up = config["down_block_types"], config["up_block_types"]
    layers = config["layers_per_block"]
    counts = [layers] * len(down) if isinstance(layers, int) else list(layers)
    number = 1
    for i, kind in enumerate(down):
        for j in range(counts[i]):
            blocks[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{number}.0"
            if "CrossAttn" in kind:
                blocks[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{number}.1"
            number += 1
        if i + 1 < len(down):
            blocks[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    number = 0
    for i, kind in enumerate(up):
        attention = "CrossAttn" in kind
        for j in range(counts[len(up) - 1 - i] + 1):
            blocks[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{number}.0"
            if attention:
                blocks[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{number}.1"
            number += 1
        if i + 1 < len(up):
            last = f"output_blocks.{number - 1}.{2 if attention else 1}.conv"
            blocks[f"up_blocks.{i}.upsamplers.0.conv"] = last
    return blocks


def _vae_blocks(config: dict[str, Any]) -> dict[str, str]:
    """The original numbers the levels of both halves from the image's side."""
    blocks = dict(_VAE_ENDS)
    levels = len(config["block_out_channels"])
    for i in range(levels):
        ours, original = f"decoder.up_blocks.{i}", f"decoder.up.{levels - 1 - i}"
        for j in range(config["layers_per_block"] + 1):
            blocks[f"{ours}.resnets.{j}"] = f"{original}.block.{j}"
        blocks[f"{ours}.upsamplers.0.conv"] = f"{original}.upsample.conv"
        ours, original = f"encoder.down_blocks.{i}", f"encoder.down.{i}"
        for j in range(config["layers_per_block"]):
            blocks[f"{ours}.resnets.{j}"] = f"{original}.block.{j}"
        blocks[f"{ours}.downsamplers.0.conv"] = f"{original}.downsample.conv"
    return blocks


def _by_blocks(
    names: Iterable[str],
    prefix: str,
    blocks: dict[str, str],
    leaves: dict[str, dict[str, str]],
) -> dict[str, Place]:
    result = {}
    for name in names:
        block, _, leaf = name.rpartition(".")
        while block and block not in blocks:
            block, _, inner = block.rpartition(".")
            leaf = f"{inner}.{leaf}"
        module, _, parameter = leaf.rpartition(".")
        for kind, table in leaves.items():
            if f".{kind}." in block and module in table:
                leaf = f"{table[module]}.{parameter}"
        result[name] = Place(f"{prefix}{blocks.get(block, block)}.{leaf}")
    return result


def _text_place(name: str) -> Place:
    return Place(TEXT_PREFIX + name)


_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LEAVES = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_FUSED = re.compile(r"self_attn\.([qkv])_proj\.(weight|bias)")


def _transformers_place(name: str) -> Place:
    if name == "text_projection.weight":
        return _open_clip_place(name)
    return Place(TEXT_2_TRANSFORMERS_PREFIX + name)


def _open_clip_place(name: str) -> Place:
    if name == "text_projection.weight":
        return Place(TEXT_2_PREFIX + "text_projection", transposed=True)
    if name in _OPEN_CLIP:
        return Place(TEXT_2_PREFIX + _OPEN_CLIP[name])
    _, _, rest = name.partition("encoder.layers.")
    number, _, leaf = rest.partition(".")
    block = f"{TEXT_2_PREFIX}transformer.resblocks.{number}."
    fused = _FUSED.fullmatch(leaf)
    if fused:
        return Place(f"{block}attn.in_proj_{fused[2]}", third="qkv".index(fused[1]))
    module, _, parameter = leaf.rpartition(".")
    return Place(f"{block}{_OPEN_CLIP_LEAVES.get(module, module)}.{parameter}")
