#!/usr/bin/env bash
# transformers 5.23.0: CLIPTextModel names its weights without `text_model.`, its sibling
# CLIPTextModelWithProjection with it. SDXL has one of each, so the two text encoders of one saved
# pipeline have different layouts, and converters that put a prefix before them make files that
# readers of the original layout do not know.
#
# Seen: CLIPTextModel embeddings.position_embedding.weight
#       CLIPTextModelWithProjection text_model.embeddings.position_embedding.weight
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.11.0
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(torch|transformers)=='
cd "$folder"
venv/bin/python - <<'PY'
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

config = CLIPTextConfig(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9
)
EXPECTED = {CLIPTextModel: "embeddings.", CLIPTextModelWithProjection: "text_model.embeddings."}
for kind, prefix in EXPECTED.items():
    kind(config).save_pretrained(kind.__name__)
    with safe_open(f"{kind.__name__}/model.safetensors", "np") as file:
        name = next(name for name in sorted(file.keys()) if "position_embedding" in name)
    print(kind.__name__, name)
    assert name.startswith(prefix), "the names are others now"
PY
echo "as written"
