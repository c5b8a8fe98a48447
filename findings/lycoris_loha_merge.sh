#!/usr/bin/env bash
# lycoris-lora 4.1.3: a LoHa module that is merged into its layer changes the layer by another amount
# than the same module does in a forward pass: alpha / rank is applied twice. With alpha 2 and rank 4
# the merged layer has half of the change.
#
# Seen: alpha 2 of rank 4: forward 1.00, merged 0.50 of the formula
#       alpha 4 of rank 4: forward 1.00, merged 1.00 of the formula
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  lycoris-lora==4.1.3 torch==2.11.0 numpy==2.3.5
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(lycoris[-_]lora|numpy|torch)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import torch
from lycoris.modules.loha import LohaModule

RANK = 4
for alpha, expected in ((2, 0.5), (4, 1.0)):
    torch.manual_seed(0)
    layer = torch.nn.Linear(32, 32, bias=False)
    module = LohaModule("loha", layer, multiplier=1.0, lora_dim=RANK, alpha=alpha)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.1)
        # The paper's Hadamard product of two low-rank products, times alpha / rank.
        first = module.hada_w1_a @ module.hada_w1_b
        formula = (first * (module.hada_w2_a @ module.hada_w2_b) * alpha / RANK).norm()
        everything = torch.eye(32)
        plain = layer(everything)
        module.apply_to()
        forward = float((layer(everything) - plain).norm() / formula)
        module.restore()
        module.merge_to(1.0)
        merged = float((layer(everything) - plain).norm() / formula)
    print(f"alpha {alpha} of rank {RANK}: forward {forward:.2f}, merged {merged:.2f} of the formula")
    assert abs(forward - 1) < 0.01, "the forward pass is not the formula"
    assert abs(merged - expected) < 0.01, "merging scales in another way now"
PY
echo "as written"
