"""What clients are told of pings, what the server allows, and what our own clients do agree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOLD_SECONDS = 10
# gRPC's channel argument, as C++ and Python name it.
KEEPALIVE_TIME = re.compile(r"(?:GRPC_ARG_KEEPALIVE_TIME_MS|grpc\.keepalive_time_ms)\W+([\d_']+)")


def test_the_documents_tell_one_interval():
    contract = (ROOT / "proto/tightfit/v1/image_generation.proto").read_text()
    assert f"every {TOLD_SECONDS} seconds" in contract
    assert f"every {TOLD_SECONDS} s" in (ROOT / "docs" / "errors.md").read_text()
    assert f"every {TOLD_SECONDS} s" in (ROOT / "SECURITY.md").read_text()
    assert f"{TOLD_SECONDS}000 or more" in (ROOT / "client/python/README.md").read_text()


def test_the_server_allows_what_it_tells():
    source = (ROOT / "server/rpc/grpc_server.cc").read_text()
    allowed_ms = re.search(r"kMinPingIntervalMs = ([\d']+);", source)
    assert allowed_ms
    assert int(allowed_ms[1].replace("'", "")) < TOLD_SECONDS * 1000
    assert "GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1" in source


def test_our_clients_keep_to_it():
    sources = [
        *(ROOT / "client").rglob("*.cc"),
        *(ROOT / "client").rglob("*.h"),
        *(ROOT / "client/python/src").rglob("*.py"),
    ]
    assert len(sources) > 20
    for source in sources:
        for interval in KEEPALIVE_TIME.findall(source.read_text()):
            milliseconds = int(interval.replace("_", "").replace("'", ""))
            assert milliseconds >= TOLD_SECONDS * 1000, source
