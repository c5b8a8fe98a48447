#!/usr/bin/env bash
# diffusers 0.42.1 with transformers 5.23.0: StableDiffusionPipeline (SD 1.x and 2.x) draws with
# clip_skip=None and raises AttributeError for every number, since it asks the text encoder for
# `text_model`, a level that transformers took out of CLIPTextModel. StableDiffusionXLPipeline, which
# takes hidden states as they are, draws.
#
# Seen: None: an image; 0: AttributeError; 1: AttributeError; 2: AttributeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  diffusers==0.42.1 transformers==5.23.0 torch==2.11.0 numpy==2.3.5
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(diffusers|transformers|torch)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

torch.manual_seed(0)
letters = [chr(97 + i) for i in range(26)]
tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
ids = {token: i for i, token in enumerate(tokens)}
tokenizer = CLIPTokenizer(vocab=ids, merges=[], model_max_length=77)
text = CLIPTextConfig(
    vocab_size=len(tokens), hidden_size=32, intermediate_size=64, num_hidden_layers=3,
    num_attention_heads=2, bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1,
)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2, norm_num_groups=8,
)
vae = AutoencoderKL(
    block_out_channels=(16, 16), norm_num_groups=8, latent_channels=4,
    down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
)
pipeline = StableDiffusionPipeline(
    vae=vae, text_encoder=CLIPTextModel(text).eval(), tokenizer=tokenizer, unet=unet,
    scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None,
    requires_safety_checker=False,
)
pipeline.set_progress_bar_config(disable=True)
seen = {}
for clip_skip in (None, 0, 1, 2):
    try:
        pipeline("a b c", num_inference_steps=2, clip_skip=clip_skip, width=16, height=16)
        seen[clip_skip] = "an image"
    except AttributeError:
        seen[clip_skip] = "AttributeError"
print("; ".join(f"{clip_skip}: {what}" for clip_skip, what in seen.items()))
assert seen == {None: "an image"} | dict.fromkeys((0, 1, 2), "AttributeError"), seen
PY
echo "holds"
