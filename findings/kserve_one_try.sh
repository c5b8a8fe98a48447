#!/usr/bin/env bash
# kserve 0.21.0: InferenceGRPCClient(retries=N) is gRPC's maxAttempts, the first try included. So the
# default of 3 calls a server three times, 0 means one try, and retries=1 makes every call fail in the
# client, before anything is sent: gRPC wants at least 2.
#
# Seen: retries=3 UNAVAILABLE after 3 calls
#       retries=0 UNAVAILABLE after 1 call
#       retries=1 INVALID_ARGUMENT after 0 calls
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kserve==0.21.0 grpcio==1.85.1
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(grpcio|kserve)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import asyncio

import grpc
from kserve import InferenceGRPCClient
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as contract

EXPECTED = {3: ("UNAVAILABLE", 3), 0: ("UNAVAILABLE", 1), 1: ("INVALID_ARGUMENT", 0)}


class Busy(contract.GRPCInferenceServiceServicer):
    def __init__(self):
        self.calls = 0

    async def ServerReady(self, request, context):
        self.calls += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "loading")


async def main():
    server, busy = grpc.aio.server(), Busy()
    contract.add_GRPCInferenceServiceServicer_to_server(busy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    for retries, expected in EXPECTED.items():
        busy.calls = 0
        async with InferenceGRPCClient(f"127.0.0.1:{port}", retries=retries) as client:
            try:
                await client.is_server_ready()
                code = "OK"
            except grpc.RpcError as error:
                code = error.code().name
        print(f"retries={retries}", code, "after", busy.calls, "call" + "s" * (busy.calls != 1))
        assert (code, busy.calls) == expected, "it counts in another way now"
    await server.stop(None)


asyncio.run(main())
PY
echo "as written"
