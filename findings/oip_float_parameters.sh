#!/usr/bin/env bash
# The Open Inference Protocol has two contracts of one name. tritonclient 2.73.0 sends a float
# parameter (and its own `priority`) in fields that KServe 0.21.0's contract lacks: KServe's stubs
# parse the message without an error and give a parameter of that name that has no value.
#
# Seen: sent      guidance=double_param priority=uint64_param steps=int64_param
#       received  guidance=None priority=None steps=int64_param
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'tritonclient[grpc]==2.73.0'
# Its stubs alone, which need protobuf.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps kserve==0.21.0
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(kserve|tritonclient)=='
cd "$folder"
# Both contracts name the same messages, so each is loaded by a process of its own.
venv/bin/python - <<'PY'
from tritonclient.grpc import service_pb2

request = service_pb2.ModelInferRequest(model_name="sdxl")
request.parameters["guidance"].double_param = 7.5
request.parameters["priority"].uint64_param = 3
request.parameters["steps"].int64_param = 20
sent = {key: each.WhichOneof("parameter_choice") for key, each in request.parameters.items()}
print("sent     ", *(f"{key}={sent[key]}" for key in sorted(sent)))
with open("request.bin", "wb") as file:
    file.write(request.SerializeToString())
PY
stubs=$(echo venv/lib/python3*/site-packages/kserve/protocol/grpc)
PYTHONPATH=$stubs venv/bin/python - <<'PY'
import grpc_predict_v2_pb2

with open("request.bin", "rb") as file:
    request = grpc_predict_v2_pb2.ModelInferRequest.FromString(file.read())
came = {key: each.WhichOneof("parameter_choice") for key, each in request.parameters.items()}
print("received ", *(f"{key}={came[key]}" for key in sorted(came)))
wanted = {"guidance": None, "priority": None, "steps": "int64_param"}
assert came == wanted, f"such parameters arrive in another way now: {came}"
PY
echo "as written"
