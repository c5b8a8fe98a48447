#!/usr/bin/env bash
# gguf 0.19.0 reads a BF16 tensor as uint8 with a doubled last dimension: the array's shape is not the
# tensor's. An F16 tensor of the same file is an array of numbers. The writer wants the same bytes.
# Also: its quantiser names K-quants but makes none of them, and says so by an empty error.
#
# Seen: bf16 (4, 6) uint8, tensor [3, 4]; f16 (4, 3) float16, tensor [3, 4]
#       Q4_K NotImplementedError ''
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.3.5
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(gguf|numpy)=='
cd "$folder"
venv/bin/python - <<'PY'
import gguf
import numpy as np

values = np.arange(12, dtype=np.float32).reshape(4, 3)
bf16_bytes = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
writer = gguf.GGUFWriter("weights.gguf", "unet")
writer.add_tensor("bf16", bf16_bytes, raw_dtype=gguf.GGMLQuantizationType.BF16)
writer.add_tensor("f16", values.astype(np.float16))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

seen = {}
for tensor in gguf.GGUFReader("weights.gguf").tensors:
    seen[tensor.name] = (tensor.data.shape, str(tensor.data.dtype), [int(n) for n in tensor.shape])
    print(tensor.name, tensor.data.shape, tensor.data.dtype, "tensor", seen[tensor.name][2])
assert seen["bf16"] == ((4, 6), "uint8", [3, 4]), "BF16 is read in another way now"
assert seen["f16"] == ((4, 3), "float16", [3, 4]), "F16 is read in another way now"

try:
    gguf.quantize(np.zeros((4, 256), np.float32), gguf.GGMLQuantizationType.Q4_K)
    raise SystemExit("Q4_K can be made now")
except NotImplementedError as error:
    print("Q4_K NotImplementedError", repr(str(error)))
    assert str(error) == "", "the error has a text now"
PY
echo "as written"
