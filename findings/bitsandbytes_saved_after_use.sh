#!/usr/bin/env bash
# bitsandbytes 0.50.2, on a CPU with AVX-512 BF16: a 4-bit layer that has been used once is saved in
# another layout than before. Its scales become a matrix, rounded to bfloat16 and turned, [in / 64, out]
# in place of a list, row after row. The codes are the same bytes. Read back by the same library, which
# takes the scales in the order in which they lie, the rows have the scales of others.
#
# Seen: before use: absmax [512] torch.float32, error 0.09
#       after use: absmax [2, 256] torch.bfloat16, error 1.08
#       after use, turned back: error 0.09
set -euo pipefail
if ! grep -qw avx512_bf16 /proc/cpuinfo; then
  echo "this CPU has no avx512_bf16, without which nothing is to be seen" >&2
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  bitsandbytes==0.50.2 torch==2.11.0 numpy==2.3.5
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(bitsandbytes|numpy|torch)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import bitsandbytes
import torch

torch.manual_seed(0)
# Rows of different size, as trained layers have them.
weight = torch.randn(256, 128) * torch.logspace(-1, 1, 256)[torch.randperm(256), None]
layer = bitsandbytes.nn.Linear4bit(
    128, 256, bias=False, quant_type="nf4", compress_statistics=False
)
layer.load_state_dict({"weight": weight})
layer = layer.to("cpu").eval()


def saved():
    return {name: value.clone() for name, value in layer.state_dict().items()}


def error(state):
    state = dict(state)
    packed = bitsandbytes.nn.Params4bit.from_prequantized(state.pop("weight"), state, device="cpu")
    values = bitsandbytes.functional.dequantize_4bit(packed.data, packed.quant_state)
    return float((values.float() - weight).norm() / weight.norm())


before = saved()
with torch.no_grad():
    layer(torch.zeros(1, 128))
after = saved()
turned = {**after, "weight.absmax": after["weight.absmax"].T.float().flatten()}
for when, state in (("before use", before), ("after use", after)):
    scales = state["weight.absmax"]
    print(f"{when}: absmax {list(scales.shape)} {scales.dtype}, error {error(state):.2f}")
print(f"after use, turned back: error {error(turned):.2f}")
assert torch.equal(before["weight"], after["weight"]), "the codes change as well"
assert before["weight.absmax"].shape == (512,) and error(before) < 0.15
assert after["weight.absmax"].shape == (2, 256), "it is saved in the usual layout now"
assert error(after) > 1 and error(turned) < 0.15, "it is read in another way now"
PY
echo "as written"
