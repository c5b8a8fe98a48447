#!/usr/bin/env python3
"""Checks the include layers on what the compiler really read, transitively.

Input: ninja's dependency log of a build tree. Each object file of ours is held against the table
below;
the precompiled LibTorch header counts as LibTorch.

    check_layers.py --build build/release
    check_layers.py --self-test
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

# Layer (a folder) -> folders of ours that it may include, beside itself.
ALLOWED: dict[str, set[str]] = {
    "kernels": set(),
    "server/base": set(),
    "server/security": {"server/base"},
    "server/memory": {"server/base"},
    "server/config": {"server/base", "server/security", "kernels"},
    "server/engine": {"server/base", "server/memory"},
    "server/image": {"server/base", "server/engine"},
    "server/telemetry": {"server/base", "server/memory", "server/engine"},
    "server/rpc": {
        "server/base",
        "server/security",
        "server/memory",
        "server/engine",
        "server/image",
        "kernels",
    },
    "server/device": {"server/base", "server/memory", "kernels"},
    "server/model": {"server/base", "server/memory", "server/device", "kernels"},
    "server/weights": {
        "server/base",
        "server/memory",
        "server/engine",
        "server/device",
        "server/model",
        "kernels",
    },
    "server/pipeline": {
        "server/base",
        "server/memory",
        "server/engine",
        "server/device",
        "server/model",
        "server/weights",
        "kernels",
    },
    # The composition root.
    "server/app": {
        "server/base",
        "server/security",
        "server/memory",
        "server/config",
        "server/engine",
        "server/telemetry",
        "server/rpc",
        "server/device",
        "server/pipeline",
        "server/image",
        "server/model",
        "kernels",
    },
    "client": {"server/base"},
    "client/weights": {"client", "kernels", "server/base", "server/model"},
    "client/pack": {
        "client",
        "client/weights",
        "kernels",
        "server/base",
        "server/model",
        "server/weights",
    },
    "client/fidelity": {
        "client",
        "client/weights",
        "kernels",
        "server/base",
        "server/engine",
        "server/image",
        "server/model",
        "server/pipeline",
        "server/weights",
    },
}
# Third parties by the paths of their headers.
TORCH = re.compile(r"/torch/include/|cmake_pch")
GRPC = re.compile(r"(^|/)(grpcpp|grpc)/|\.pb\.h$|(^|/)google/protobuf/")
LOGGING = re.compile(r"(^|/)(spdlog|prometheus)/")
# Third party -> layers that may include it.
MAY_USE: list[tuple[str, re.Pattern[str], set[str]]] = [
    ("LibTorch", TORCH, {"server/device", "server/model", "server/pipeline", "server/weights"}),
    ("gRPC or protobuf", GRPC, {"server/rpc", "client"}),
    ("spdlog or prometheus-cpp", LOGGING, {"server/telemetry"}),
]


def layer_of(path: str) -> str | None:
    """The layer of a source or header of ours, by its path from the root; None outside the
    table."""
    parts = Path(path).parts
    if not parts:
        return None
    if parts[0] == "server":
        return f"server/{parts[1]}" if len(parts) > 2 else "server"
    programs = (("client", "weights"), ("client", "pack"), ("client", "fidelity"))  # without gRPC
    if parts[:2] in programs:
        return "/".join(parts[:2])
    if parts[0] in ("kernels", "client"):
        return parts[0]
    return None


def batch_of(generated: str) -> str | None:
    """The source that stands for a batch of a unity build, in the folder of the files that it
    includes, which are read as its headers; None for other generated files."""
    found = re.fullmatch(r"(.+)/CMakeFiles/[^/]+\.dir/Unity/(unity_\d+)_cxx\.cxx", generated)
    return f"{found[1]}/{found[2]}.cc" if found else None


def violations(source: str, headers: list[str]) -> list[str]:
    """What one object file breaks. `source` and our `headers` are relative to the root."""
    found: list[str] = []
    layer = layer_of(source)
    torch = [h for h in headers if TORCH.search(h)]
    grpc = [h for h in headers if GRPC.search(h) and not TORCH.search(h)]
    if torch and grpc:
        found.append(f"{source}: one file reads both LibTorch and gRPC or protobuf ({grpc[0]})")
    if layer is None:
        return found
    allowed = ALLOWED.get(layer)
    if allowed is None:
        return found + [f"{source}: layer {layer} is not in the table of check_layers.py"]
    for header in headers:
        other = None if header.startswith("/") else layer_of(header)
        if other is not None and other != layer and other not in allowed:
            found.append(f"{source}: {layer} must not include {header}")
    for name, pattern, layers in MAY_USE:
        hit = next(
            (h for h in headers if pattern.search(h) and (pattern is TORCH or not TORCH.search(h))),
            None,
        )
        if hit is not None and layer not in layers:
            found.append(f"{source}: {layer} must not include {name} ({hit})")
    return found


def read_dependencies(build: Path, root: Path) -> dict[str, list[str]]:
    """Source -> headers, ours relative to `root`, of every C++ object below our folders."""
    log = subprocess.run(
        ["ninja", "-C", str(build), "-t", "deps"], check=True, capture_output=True, text=True
    ).stdout
    result: dict[str, list[str]] = {}
    for block in log.split("\n\n"):
        lines = block.splitlines()
        if len(lines) < 2 or not re.search(r"\.(cc|cxx)\.o: #deps", lines[0]):
            continue
        files = []
        for line in lines[1:]:
            # Lexical: a linked .venv must not turn into another place. ccache leaves "../.." here.
            text = os.path.normpath(build.absolute() / line.strip())
            generated = str(build.absolute()) + "/"
            if text.startswith(generated):
                inside = text.removeprefix(generated)
                files.append(batch_of(inside) or f"/{inside}")
            elif "/.venv/" in text or "/site-packages/" in text:
                files.append(text)
            else:
                files.append(text.removeprefix(f"{root}/"))
        if files and not files[0].startswith("/"):
            # Two libraries of one folder have batches of the same number.
            result.setdefault(files[0], []).extend(files[1:])
    return result


def self_test() -> None:
    """Controls: each rule must fire on a file that breaks it, and only then."""
    torch = "/x/site-packages/torch/include/ATen/ATen.h"
    grpc = "/usr/include/grpcpp/server.h"
    cases = [
        ("server/engine/a.cc", ["server/base/status.h"], 0),
        ("server/engine/a.cc", [torch], 1),
        ("server/engine/a.cc", ["server/rpc/x.h"], 1),
        ("server/rpc/a.cc", [grpc, "/generated/tightfit/v1/model.pb.h"], 0),
        ("server/rpc/a.cc", [grpc, torch], 2),
        ("server/pipeline/a.cc", [torch, "server/model/component.h"], 0),
        ("server/pipeline/a.cc", ["/CMakeFiles/p.dir/cmake_pch.hxx.gch", grpc], 2),
        ("kernels/a.cc", ["server/base/status.h"], 1),
        ("client/cpp/a.cc", ["server/base/status.h", grpc], 0),
        ("client/cpp/a.cc", ["server/engine/generation.h"], 1),
        ("client/cpp/a.cc", ["kernels/codec.h"], 1),
        ("client/cli/a.cc", ["client/weights/packed_file.h"], 1),
        ("client/weights/a.cc", ["kernels/codec.h", "server/model/safetensors.h"], 0),
        ("client/weights/a.cc", ["client/cli/table.h", "server/base/status.h"], 0),
        ("client/weights/a.cc", ["server/engine/generation.h"], 1),
        ("client/weights/a.cc", [grpc], 1),
        ("client/weights/a.cc", [torch], 1),
        ("client/fidelity/a.cc", ["server/pipeline/model_loader.h", "client/cli/table.h"], 0),
        ("client/fidelity/a.cc", [grpc], 1),
        ("client/fidelity/a.cc", [torch], 1),
        ("client/cli/a.cc", ["client/fidelity/recognition.h"], 1),
        ("client/pack/a.cc", ["server/weights/packed_directory.h", "client/cli/table.h"], 0),
        ("client/pack/a.cc", [grpc], 1),
        ("client/pack/a.cc", [torch], 1),
        ("client/cli/a.cc", ["client/pack/commands.h"], 1),
        ("server/model/a.cc", ["/usr/include/google/protobuf/message.h"], 1),
        ("server/newfolder/a.cc", [], 1),
        ("server/a.cc", [], 1),
        ("server/config/a.cc", ["server/app/serve.h"], 1),
        ("server/config/a.cc", ["server/engine/diffusion_model.h"], 1),
        ("server/telemetry/a.cc", ["server/rpc/call_record.h"], 1),
        ("server/device/a.cc", [torch, "server/model/component.h"], 1),
        ("server/base/a.cc", ["/usr/include/spdlog/spdlog.h"], 1),
        ("server/app/a.cc", ["/usr/include/spdlog/spdlog.h"], 1),
        ("tests/unit/rpc/a.cc", [grpc, torch], 1),
    ]
    unity = "server/rpc/CMakeFiles/tightfit_rpc.dir/Unity/unity_2_cxx.cxx"
    assert batch_of(unity) == "server/rpc/unity_2.cc"
    assert batch_of("generated/tightfit/v1/model.pb.h") is None
    for source, headers, count in cases:
        got = violations(source, headers)
        assert len(got) == count, f"{source} {headers}: wanted {count}, got {got}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, help="a ninja build tree that was built")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    self_test()
    if arguments.self_test:
        return 0
    if arguments.build is None:
        parser.error("--build is needed")
    root = Path(__file__).resolve().parents[2]
    dependencies = read_dependencies(arguments.build.absolute(), root)
    layers = {layer_of(source) for source in dependencies}
    found = [
        line
        for source, headers in sorted(dependencies.items())
        for line in violations(source, headers)
    ]
    print(
        "\n".join(found)
        if found
        else f"{len(dependencies)} object files in {len(layers - {None})} layers: no rule broken"
    )
    if len(dependencies) < 20:
        print("fewer than 20 object files: build everything first")
        return 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
