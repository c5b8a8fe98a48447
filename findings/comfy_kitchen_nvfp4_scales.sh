#!/usr/bin/env bash
# comfy-kitchen 0.2.40: the scales of an NVFP4 weight have the shape [rows, columns / 16] and lie in
# another order, that of the matrix multiplication: within 128 rows, four columns and every 32nd row are
# together. Nothing in the file says so, and taken by their place they are other blocks' scales. The
# sizes are rounded up as well: of 100 rows 112 are stored.
#
# Seen: codes [128, 320], scales [128, 40]
#       scales by their place: error 1.08
#       scales in tiles: error 0.10
#       100 rows: codes [112, 320], scales [128, 40]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  comfy-kitchen==0.2.40 torch==2.11.0 numpy==2.3.5 packaging==26.3
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(comfy[-_]kitchen|numpy|packaging|torch)=='
cd "$folder"
venv/bin/python - <<'PY'
import torch
from comfy_kitchen.tensor import QuantizedTensor

# What the four bits mean: sign, two bits of exponent, one of mantissa.
VALUES = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
VALUES = torch.cat((VALUES, -VALUES))


def stored(weight):
    state = QuantizedTensor.from_float(weight.to(torch.bfloat16), "TensorCoreNVFP4Layout").state_dict("w")
    return state["w"], state["w_scale"].float(), state["w_scale_2"]


def error(scales):
    values = plain * scales.repeat_interleave(16, dim=1) * whole
    return float((values - weight).norm() / weight.norm())


torch.manual_seed(0)
# Rows of different size, as trained layers have them.
weight = torch.randn(128, 640) * torch.logspace(-1, 1, 128)[torch.randperm(128), None]
codes, scales, whole = stored(weight)
print(f"codes {list(codes.shape)}, scales {list(scales.shape)}")
# The first of two values is in the upper half of a byte.
plain = VALUES[torch.stack((codes >> 4, codes & 15), dim=2).flatten(1).long()]
by_place = error(scales)
print(f"scales by their place: error {by_place:.2f}")
# Tiles of 4 columns, in each of which 32 rows have the scales of every 32nd row side by side.
in_tiles = error(scales.reshape(-1, 32, 4, 4).permute(2, 1, 0, 3).reshape(128, -1))
print(f"scales in tiles: error {in_tiles:.2f}")
assert by_place > 0.5 and in_tiles < 0.15, "the scales lie in another order now"
small_codes, small_scales, _ = stored(weight[:100])
print(f"100 rows: codes {list(small_codes.shape)}, scales {list(small_scales.shape)}")
assert list(small_codes.shape) == [112, 320] and list(small_scales.shape) == [128, 40]
PY
echo "as written"
