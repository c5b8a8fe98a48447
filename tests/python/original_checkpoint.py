"""A pipeline's weights in Stability's original layout, by rules written apart from the exporter's.

Replacements in diffusers' names, as conversion scripts do it, for UNets with one layer to a block
and three blocks, as the small random pipeline and emoji-xl have.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]

_UNET_ENDS = [
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    # each down block: one resnet, then a downsampler, but in the last
    ("down_blocks.0.resnets.0", "input_blocks.1.0"),
    ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
    ("down_blocks.1.resnets.0", "input_blocks.3.0"),
    ("down_blocks.1.attentions.0", "input_blocks.3.1"),
    ("down_blocks.1.downsamplers.0.conv", "input_blocks.4.0.op"),
    ("down_blocks.2.resnets.0", "input_blocks.5.0"),
    ("down_blocks.2.attentions.0", "input_blocks.5.1"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
    # each up block: two resnets; the upsampler belongs to the last of them
    ("up_blocks.0.resnets.0", "output_blocks.0.0"),
    ("up_blocks.0.attentions.0", "output_blocks.0.1"),
    ("up_blocks.0.resnets.1", "output_blocks.1.0"),
    ("up_blocks.0.attentions.1", "output_blocks.1.1"),
    ("up_blocks.0.upsamplers.0", "output_blocks.1.2"),
    ("up_blocks.1.resnets.0", "output_blocks.2.0"),
    ("up_blocks.1.attentions.0", "output_blocks.2.1"),
    ("up_blocks.1.resnets.1", "output_blocks.3.0"),
    ("up_blocks.1.attentions.1", "output_blocks.3.1"),
    ("up_blocks.1.upsamplers.0", "output_blocks.3.2"),
    ("up_blocks.2.resnets.0", "output_blocks.4.0"),
    ("up_blocks.2.resnets.1", "output_blocks.5.0"),
]
_UNET_RESNET = [
    (".norm1.", ".in_layers.0."),
    (".conv1.", ".in_layers.2."),
    (".norm2.", ".out_layers.0."),
    (".conv2.", ".out_layers.3."),
    (".time_emb_proj.", ".emb_layers.1."),
    (".conv_shortcut.", ".skip_connection."),
]
_VAE = [
    ("conv_norm_out", "norm_out"),
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("mid_block.attentions.0", "mid.attn_1"),
    ("conv_shortcut", "nin_shortcut"),
    (".group_norm.", ".norm."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    (".to_out.0.", ".proj_out."),
    (".upsamplers.0.", ".upsample."),
    (".downsamplers.0.", ".downsample."),
]


def _vae_levels(count: int) -> list[tuple[str, str]]:
    """The decoder's levels are numbered from the other end."""
    pairs = []
    for i in range(count):
        up, down = f"decoder.up_blocks.{i}.", f"encoder.down_blocks.{i}."
        last = count - 1 - i
        pairs += [(f"{up}resnets", f"decoder.up.{last}.block"), (up, f"decoder.up.{last}.")]
        pairs += [(f"{down}resnets", f"encoder.down.{i}.block"), (down, f"encoder.down.{i}.")]
    return pairs


def original_unet(tensors: Tensors) -> Tensors:
    result = {}
    for key, tensor in tensors.items():
        if ".resnets." in key:
            for new, old in _UNET_RESNET:
                key = key.replace(new, old)
        for new, old in _UNET_ENDS:
            if key.startswith(new + "."):
                key = old + key.removeprefix(new)
                break
        result[f"model.diffusion_model.{key}"] = tensor
    return result


def original_vae(tensors: Tensors, prefix: str = "first_stage_model.") -> Tensors:
    result = {}
    count = 1 + max(int(key.split(".")[2]) for key in tensors if key.startswith("decoder.up_"))
    for key, tensor in tensors.items():
        for new, old in [*_VAE, *_vae_levels(count)]:
            key = key.replace(new, old)
        # The original's attention is made of 1x1 convolutions.
        is_projection = ".attn_1." in key and ".norm." not in key and key.endswith("weight")
        result[prefix + key] = tensor[:, :, None, None] if is_projection else tensor
    return result


def original_text_encoder(tensors: Tensors) -> Tensors:
    prefix = "conditioner.embedders.0.transformer.text_model."
    return {prefix + key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}


def original_text_encoder_2(tensors: Tensors) -> Tensors:
    prefix = "conditioner.embedders.1.model."
    result = {}
    for key, tensor in tensors.items():
        key = key.removeprefix("text_model.")
        if ".k_proj." in key or ".v_proj." in key:
            continue
        if ".q_proj." in key:
            parts = [tensors[f"text_model.{key}".replace("q_proj", f"{c}_proj")] for c in "qkv"]
            tensor = torch.cat(parts)
            key = key.replace("self_attn.q_proj.", "attn.in_proj_")
        key = key.replace("encoder.layers.", "transformer.resblocks.").replace("self_attn", "attn")
        key = key.replace("layer_norm1", "ln_1").replace("layer_norm2", "ln_2")
        key = key.replace("mlp.fc1", "mlp.c_fc").replace("mlp.fc2", "mlp.c_proj")
        key = key.replace("final_layer_norm", "ln_final")
        key = key.replace("embeddings.token_embedding", "token_embedding")
        key = key.replace("embeddings.position_embedding.weight", "positional_embedding")
        if key == "text_projection.weight":
            key, tensor = "text_projection", tensor.T.contiguous()
        result[prefix + key] = tensor
    return result


def component_weights(pipeline: Path, component: str) -> Tensors:
    """The tensors of one component of a diffusers directory."""
    (path,) = (pipeline / component).glob("*.safetensors")
    return load_file(path)


def original_checkpoint(pipeline: Path) -> Tensors:
    """All of a diffusers directory's weights, as a single-file checkpoint names them."""
    return {
        **original_unet(component_weights(pipeline, "unet")),
        **original_vae(component_weights(pipeline, "vae")),
        **original_text_encoder(component_weights(pipeline, "text_encoder")),
        **original_text_encoder_2(component_weights(pipeline, "text_encoder_2")),
    }


def with_extras(tensors: Tensors) -> Tensors:
    """What real checkpoints carry beside the networks."""
    ids = torch.arange(77)[None]
    return tensors | {
        "alphas_cumprod": torch.zeros(4),
        "betas": torch.zeros(4),
        "denoiser.sigmas": torch.zeros(4),
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": ids,
        "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6),
        "conditioner.embedders.1.model.attn_mask": torch.zeros(2, 2),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(2),
    }


def save(tensors: Tensors, path: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


# The small pipelines of SD 1.x's and 2.x's kind: four levels of one layer, attention in three.
_SD_BLOCKS = {
    **{f"down_blocks.{i}.resnets.0": f"input_blocks.{2 * i + 1}.0" for i in range(4)},
    **{f"down_blocks.{i}.attentions.0": f"input_blocks.{2 * i + 1}.1" for i in range(3)},
    **{f"down_blocks.{i}.downsamplers.0.conv": f"input_blocks.{2 * i + 2}.0.op" for i in range(3)},
    **{
        f"up_blocks.{i}.resnets.{j}": f"output_blocks.{2 * i + j}.0"
        for i in range(4)
        for j in range(2)
    },
    **{
        f"up_blocks.{i}.attentions.{j}": f"output_blocks.{2 * i + j}.1"
        for i in range(1, 4)
        for j in range(2)
    },
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.3.2.conv",
    "up_blocks.2.upsamplers.0.conv": "output_blocks.5.2.conv",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def sd_checkpoint(pipeline: Path) -> Tensors:
    """The weights of such a pipeline as a single file of SD 1.x or 2.x names them."""
    unet = {}
    for key, tensor in component_weights(pipeline, "unet").items():
        if ".resnets." in key:
            for new, old in _UNET_RESNET:
                key = key.replace(new, old)
        (block,) = (name for name in _SD_BLOCKS if key.startswith(f"{name}."))
        unet[f"model.diffusion_model.{_SD_BLOCKS[block]}{key.removeprefix(block)}"] = tensor
    text = component_weights(pipeline, "text_encoder")
    config = json.loads((pipeline / "text_encoder" / "config.json").read_text())
    if config["hidden_act"] == "quick_gelu":
        prefix = "cond_stage_model.transformer.text_model."
        held = {prefix + key.removeprefix("text_model."): each for key, each in text.items()}
    else:
        named = {
            f"text_model.{key.removeprefix('text_model.')}": each for key, each in text.items()
        }
        held = {
            key.replace("conditioner.embedders.1.", "cond_stage_model."): each
            for key, each in original_text_encoder_2(named).items()
        }
        # The layer and the head that diffusers leaves out.
        layer = f"transformer.resblocks.{config['num_hidden_layers']}"
        held[f"cond_stage_model.model.{layer}.ln_1.weight"] = torch.ones(4)
        held["cond_stage_model.model.text_projection"] = torch.ones(4, 4)
    vae = original_vae(component_weights(pipeline, "vae"))
    tensors = unet | held | vae | {"betas": torch.zeros(4)}
    return {key: each.contiguous().clone() for key, each in tensors.items()}
