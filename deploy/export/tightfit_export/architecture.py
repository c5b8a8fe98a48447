"""The networks, built without weights, with the inputs and outputs that the graphs have.

A subclass may change `forward` only: module and parameter names stay those of diffusers and
transformers, so that a graph's parameter paths are the keys of the weight file.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tightfit_export import MAX_TOKENS, VAE_ENCODER, max_clip_skip
from tightfit_export.errors import SourceError
from tightfit_export.families import SDXL, Family, guidance_embedding_size, inputs_of

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Latent height and width and batch that graphs are traced at. Not multiples of 4: at those,
# diffusers takes a branch that does not hold for other sizes.
TRACED_LATENT_SIZE = (18, 14)
TRACED_BATCH = 2


class TextUNet(UNet2DConditionModel):
    """(sample, timestep, encoder_hidden_states) -> prediction."""

    def forward(self, sample, timestep, encoder_hidden_states):
        return super().forward(sample, timestep, encoder_hidden_states, return_dict=False)[0]


class TextAndSizesUNet(UNet2DConditionModel):
    """(sample, timestep, encoder_hidden_states, text_embeds, time_ids) -> prediction."""

    def forward(self, sample, timestep, encoder_hidden_states, text_embeds, time_ids):
        return super().forward(
            sample,
            timestep,
            encoder_hidden_states,
            added_cond_kwargs={"text_embeds": text_embeds, "time_ids": time_ids},
            return_dict=False,
        )[0]


def _by_clip_skip(hidden_states: tuple[torch.Tensor, ...], config: CLIPTextConfig) -> torch.Tensor:
    """[L, B, T, E]: the last but one hidden states, those before them, and so on."""
    count = max_clip_skip(config.num_hidden_layers) + 1
    return torch.stack([hidden_states[-2 - skip] for skip in range(count)])


class NamedInputsUNet(UNet2DConditionModel):
    """Inputs by `input_names` -> prediction. Of an inpainting UNet the mask, 1 where something is
    drawn, and the latents of the image without that stand beside the sample's channels."""

    input_names: tuple[str, ...] = ()

    def forward(self, *inputs):
        given = dict(zip(self.input_names, inputs, strict=True))
        sample = given["sample"]
        if "mask" in given:
            sample = torch.cat([sample, given["mask"], given["masked_image_latents"]], dim=1)
        added = {name: given[name] for name in ("text_embeds", "time_ids") if name in given}
        return super().forward(
            sample,
            given["timestep"],
            given["encoder_hidden_states"],
            timestep_cond=given.get("guidance_embedding"),
            added_cond_kwargs=added or None,
            return_dict=False,
        )[0]


class NormedTextEncoder(CLIPTextModel):
    """input_ids -> hidden states by clip skip, [L, B, T, E]: each with the final norm."""

    def forward(self, input_ids):
        states = super().forward(input_ids=input_ids, output_hidden_states=True).hidden_states
        count = max_clip_skip(self.config.num_hidden_layers) + 1
        return torch.stack([self.final_layer_norm(states[-1 - skip]) for skip in range(count)])


class TextEncoder(CLIPTextModel):
    """input_ids -> (hidden states by clip skip, pooled)."""

    def forward(self, input_ids):
        output = super().forward(input_ids=input_ids, output_hidden_states=True, return_dict=True)
        return _by_clip_skip(output.hidden_states, self.config), output.pooler_output


class ProjectingTextEncoder(CLIPTextModelWithProjection):
    """input_ids -> (hidden states by clip skip, projected pooled embedding)."""

    def forward(self, input_ids):
        output = super().forward(input_ids=input_ids, output_hidden_states=True, return_dict=True)
        return _by_clip_skip(output.hidden_states, self.config), output.text_embeds


class VaeDecoder(nn.Module):
    """latents, divided by the scaling factor -> image in [-1, 1]."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.decoder = vae.decoder
        self.post_quant_conv = vae.post_quant_conv

    def forward(self, latents):
        if self.post_quant_conv is not None:
            latents = self.post_quant_conv(latents)
        return self.decoder(latents)


class VaeEncoder(nn.Module):
    """image in [-1, 1] -> mean and logarithm of the variance of its latents, channel by channel."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.encoder = vae.encoder
        self.quant_conv = vae.quant_conv

    def forward(self, image):
        moments = self.encoder(image)
        return moments if self.quant_conv is None else self.quant_conv(moments)


def build(component: str, config: dict[str, Any], family: Family = SDXL) -> nn.Module:
    """The network with its parameters on the meta device and its buffers filled."""
    # How the source was saved says nothing about the graph.
    of_source = ("dtype", "torch_dtype", "quantization_config")
    config = {key: value for key, value in config.items() if key not in of_source}
    with torch.device("meta"):
        if component == "unet":
            names = inputs_of(component, family, config)
            plain = TextAndSizesUNet if family.time_ids else TextUNet
            module = (plain if names == family.unet_inputs else NamedInputsUNet).from_config(config)
            module.input_names = names
        elif component == "vae":
            module = VaeDecoder(AutoencoderKL.from_config(config))
        elif component == VAE_ENCODER:
            module = VaeEncoder(AutoencoderKL.from_config(config))
        elif component == "text_encoder":
            encoder = NormedTextEncoder if family.is_text_normed else TextEncoder
            module = encoder(CLIPTextConfig.from_dict(config))
        else:
            module = ProjectingTextEncoder(CLIPTextConfig.from_dict(config))
    for path, buffer in list(module.named_buffers()):
        parent, _, name = path.rpartition(".")
        if name != "position_ids":
            raise SourceError(f"{component}: buffer {path} is none that {family.shown} has")
        positions = torch.arange(buffer.shape[-1]).expand(buffer.shape).contiguous()
        module.get_submodule(parent).register_buffer(name, positions, persistent=False)
    return module.eval().requires_grad_(False)


def set_weights(module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Puts the tensors in as they are, without a copy. Names and shapes must match exactly."""
    module.load_state_dict(weights, strict=True, assign=True)
    module.requires_grad_(False)


def example_inputs(
    component: str,
    config: dict[str, Any],
    *,
    dtype: torch.dtype,
    batch: int,
    latent_size: tuple[int, int],
    pooled_size: int,
    seed: int,
    family: Family = SDXL,
) -> tuple[torch.Tensor, ...]:
    """Inputs of the signature that MODEL_DIRECTORY.md gives, with values of the real ranges."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    height, width = latent_size
    if component == "unet":
        timestep = torch.linspace(37.0, 963.0, batch) if batch > 1 else torch.tensor([501.0])
        time_ids = torch.tensor([[8.0 * height, 8.0 * width, 0.0, 3.0, 1037.0, 1024.0]])
        inputs = {
            "sample": normal(batch, config["out_channels"], height, width),
            "timestep": timestep,
            "encoder_hidden_states": normal(batch, MAX_TOKENS, config["cross_attention_dim"]),
            "text_embeds": normal(batch, pooled_size),
            "time_ids": time_ids.repeat(batch, 1),
            "mask": (normal(batch, 1, height, width) > 0).to(dtype),
            "masked_image_latents": normal(batch, config["out_channels"], height, width),
            "guidance_embedding": normal(batch, guidance_embedding_size(config)),
        }
        return tuple(inputs[name] for name in inputs_of(component, family, config))
    if component == "vae":
        return (normal(batch, config["latent_channels"], height, width),)
    if component == VAE_ENCODER:
        pixels_per_latent = 2 ** (len(config["block_out_channels"]) - 1)
        size = (height * pixels_per_latent, width * pixels_per_latent)
        return (normal(batch, 3, *size).clamp(-1.0, 1.0),)
    return (_token_ids(config, batch, generator),)


def _token_ids(config: dict[str, Any], batch: int, generator: torch.Generator) -> torch.Tensor:
    last = config["vocab_size"] - 1
    ids = torch.randint(0, last - 1, (batch, MAX_TOKENS), generator=generator)
    ids[:, 0] = last - 1
    for row in range(batch):
        ids[row, 5 + 7 * (row % 10) :] = last
    return ids
