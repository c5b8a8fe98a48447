#!/usr/bin/env bash
# comfy-kitchen 0.2.40: a weight of zeros becomes a weight of NaN in fp8 and NVFP4. The scale is the
# largest magnitude over the format's, here 0, and the codes are 0 / 0; MXFP8, whose scale is a power
# of two, keeps the zeros. A model with a layer that was never trained draws black images.
#
# Seen: TensorCoreFP8Layout zeros: 512 of 512 NaN
#       TensorCoreNVFP4Layout zeros: 512 of 512 NaN
#       TensorCoreMXFP8Layout zeros: 0 of 512 NaN
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

EXPECTED = {"TensorCoreFP8Layout": 512, "TensorCoreNVFP4Layout": 512, "TensorCoreMXFP8Layout": 0}
for layout, expected in EXPECTED.items():
    counts = []
    for weight in (torch.ones(16, 32), torch.zeros(16, 32)):
        packed = QuantizedTensor.from_float(weight.to(torch.bfloat16), layout)
        counts.append(int(packed.dequantize().isnan().sum()))
    print(f"{layout} zeros: {counts[1]} of 512 NaN")
    assert counts[0] == 0, f"{layout}: ones are not ones"
    assert counts[1] == expected, f"{layout} treats zeros in another way now"
PY
echo "as written"
