#!/usr/bin/env bash
# safetensors 0.8.0 opens a file of 6-bit floats, tells its type and shape, and refuses its values
# ("Dtype not understood"). 8-bit floats of the same library's own list are refused in numpy by an
# AttributeError about an attribute of numpy, with ml_dtypes installed too. Complex numbers are read.
#
# Seen: F6_E2M3 F6_E2M3 [4, 4] then SafetensorError
#       F8_E4M3 F8_E4M3 [4, 4] then AttributeError
#       F8_E8M0 F8_E8M0 [4, 4] then AttributeError
#       C64 C64 [2] then complex64
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.3.5 ml_dtypes==0.5.4
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(ml[_-]dtypes|numpy|safetensors)=='
cd "$folder"
venv/bin/python - <<'PY'
import json
import struct

import ml_dtypes  # noqa: F401  (registers its types with numpy)
from safetensors import safe_open

EXPECTED = {
    "F6_E2M3": ([4, 4], 12, "SafetensorError"),
    "F8_E4M3": ([4, 4], 16, "AttributeError"),
    "F8_E8M0": ([4, 4], 16, "AttributeError"),
    "C64": ([2], 16, "complex64"),
}
for dtype, (shape, size_bytes, expected) in EXPECTED.items():
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size_bytes]}}).encode()
    with open("file.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes(size_bytes))
    with safe_open("file.safetensors", "np") as opened:
        part = opened.get_slice("w")
        assert (part.get_dtype(), part.get_shape()) == (dtype, shape)
        try:
            came = str(opened.get_tensor("w").dtype)
        except Exception as error:
            came = type(error).__name__
    print(dtype, part.get_dtype(), part.get_shape(), "then", came)
    assert came == expected, f"{dtype} is read in another way now"
PY
echo "as written"
