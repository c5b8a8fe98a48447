#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2: a kohya LoRA whose attention projections have different alphas
# is loaded with one of them for all. The others go into alpha_pattern under names that peft does not
# find (`...attn1.processor.to_k_lora.down.weight`), and a Python warning is all that is said. LoRAs
# that were resized by rank are such files.
#
# Seen: to_q alpha 2 of rank 8: scale 0.25, wanted 0.25
#       to_k alpha 4 of rank 8: scale 0.25, wanted 0.5
#       to_v alpha 8 of rank 8: scale 0.25, wanted 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  diffusers==0.42.1 peft==0.21.2 transformers==5.23.0 accelerate==1.15.0 torch==2.11.0 numpy==2.3.5
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(accelerate|diffusers|numpy|peft|torch|transformers)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin as Loader

RANK, ALPHAS = 8, {"to_q": 2.0, "to_k": 4.0, "to_v": 8.0}
# SDXL's kinds of blocks, as small as they go.
unet = UNet2DConditionModel(
    sample_size=8,
    block_out_channels=(32, 64),
    layers_per_block=1,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=(2, 4),
    cross_attention_dim=32,
    transformer_layers_per_block=(1, 1),
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=8,
    projection_class_embeddings_input_dim=80,
)
block = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
lora = {}
for name, alpha in ALPHAS.items():
    module = unet.get_submodule(f"{block}.{name}")
    key = "lora_unet_" + f"{block}.{name}".replace(".", "_")
    lora[f"{key}.lora_down.weight"] = torch.randn(RANK, module.in_features)
    lora[f"{key}.lora_up.weight"] = torch.randn(module.out_features, RANK)
    lora[f"{key}.alpha"] = torch.tensor(alpha)
state, alphas = Loader.lora_state_dict(lora, unet_config=unet.config)
Loader.load_lora_into_unet(state, network_alphas=alphas, unet=unet, adapter_name="lora")
scales = {name: unet.get_submodule(f"{block}.{name}").scaling["lora"] for name in ALPHAS}
for name, alpha in ALPHAS.items():
    print(f"{name} alpha {alpha:g} of rank {RANK}: scale {scales[name]}, wanted {alpha / RANK}")
assert set(scales.values()) == {0.25}, "alphas are loaded in another way now"
PY
echo "as written"
