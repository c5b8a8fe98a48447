#!/usr/bin/env bash
# optimum-quanto 0.2.7: a file of 4-bit weights does not tell which matrix it holds. A layer of 640
# outputs and 1280 inputs and one of 1280 outputs and 640 inputs are saved under the same names with
# the same shapes, [3200, 128]; in 8 bits the shape is the matrix's.
#
# Seen: qint4 Linear(1280, 640) {'0.weight._data._data': [3200, 128], '0.weight._scale': [6400, 1], '0.weight._shift': [6400, 1]}
#       qint4 Linear(640, 1280) {'0.weight._data._data': [3200, 128], '0.weight._scale': [6400, 1], '0.weight._shift': [6400, 1]}
#       qint8 Linear(1280, 640) {'0.weight._data': [640, 1280], '0.weight._scale': [640, 1]}
#       qint8 Linear(640, 1280) {'0.weight._data': [1280, 640], '0.weight._scale': [1280, 1]}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  optimum-quanto==0.2.7 torch==2.11.0 safetensors==0.8.0 numpy==2.3.5
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(numpy|optimum-quanto|safetensors|torch)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import torch
from optimum.quanto import freeze, qint4, qint8, quantize
from safetensors import safe_open
from safetensors.torch import save_file

seen = {}
for kind in (qint4, qint8):
    for inputs, outputs in ((1280, 640), (640, 1280)):
        model = torch.nn.Sequential(torch.nn.Linear(inputs, outputs, bias=False))
        quantize(model, weights=kind)
        freeze(model)
        save_file(model.state_dict(), "model.safetensors")
        with safe_open("model.safetensors", "pt") as file:
            assert not file.metadata(), "the file tells more now"
            shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
        # Scales of what goes into a layer and out of it, which are not used here.
        shapes = {name: shape for name, shape in shapes.items() if shape}
        print(kind.name, f"Linear({inputs}, {outputs})", shapes)
        seen[kind.name, inputs] = shapes
assert seen["qint4", 1280] == seen["qint4", 640], "the shape can be told now"
assert seen["qint4", 640]["0.weight._data._data"] == [3200, 128], "the codes lie in another way now"
assert seen["qint8", 1280] != seen["qint8", 640], "8 bits have lost the shape too"
PY
echo "as written"
