#!/usr/bin/env bash
# sdnq 0.2.8: an int8 Linear is stored as [out, in], in groups of 1024 where they divide a wider input,
# or transposed, by the width and an option that is about speed. With another option it is rotated: the
# file then has the names, types and shapes of a plain one, and codes times scale are another matrix.
# Which one it is stands in the configuration alone.
#
# Seen: {} 640: codes [640, 640], scale [640, 1]: codes * scale is the weight
#       {} 2048: codes [640, 2, 1024], scale [640, 2, 1]: codes * scale is the weight
#       {'use_quantized_matmul': True} 640: codes [640, 640], scale [1, 640]: codes * scale is the weight, transposed
#       {'use_hadamard': True} 640: codes [640, 640], scale [640, 1]: codes * scale is neither
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  sdnq==0.2.8 diffusers==0.42.1 transformers==5.23.0 accelerate==1.15.0 torch==2.11.0 numpy==2.3.5
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(diffusers|numpy|sdnq|torch|transformers)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import torch
from sdnq import sdnq_post_load_quant

CASES = (
    ({}, 640, [640, 640], [640, 1], "the weight"),
    ({}, 2048, [640, 2, 1024], [640, 2, 1], "the weight"),
    ({"use_quantized_matmul": True}, 640, [640, 640], [1, 640], "the weight, transposed"),
    ({"use_hadamard": True}, 640, [640, 640], [640, 1], "neither"),
)


def is_near(values, weight):
    return float((values - weight).norm() / weight.norm()) < 0.02


for options, inputs, *expected in CASES:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(inputs, 640, bias=False))
    weight = model[0].weight.detach().clone()
    model = sdnq_post_load_quant(model, weights_dtype="int8", add_skip_keys=False, **options)
    stored = model.state_dict()
    assert sorted(stored) == ["0.scale", "0.weight"], "the file tells more now"
    codes, scale = stored["0.weight"], stored["0.scale"]
    values = codes.float() * scale
    if is_near(values.flatten(), weight.flatten()):
        meaning = "the weight"
    elif values.ndim == 2 and is_near(values.T, weight):
        meaning = "the weight, transposed"
    else:
        meaning = "neither"
    print(f"{options} {inputs}: codes {list(codes.shape)}, scale {list(scale.shape)}: "
          f"codes * scale is {meaning}")
    assert [list(codes.shape), list(scale.shape), meaning] == expected, "it is stored in another way now"
PY
echo "as written"
