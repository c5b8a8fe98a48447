"""Models that leave a device and return draw the same images: evicted for others, and unloaded.

bundle_residency.py BUNDLE DEVICE OUT.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from server_process import ServerProcess  # noqa: E402

# One model with its requests at a time, as in tests/python/test_residency.py.
LIMIT_MIB = 75
FORMATS = ("hf8", "hf12", "e2m5r")


def draw(server: ServerProcess, name: str, file: Path) -> bytes:
    flags = ["--model", name, "--seed", "3", "--steps", "2", "--no-metadata", "-o", str(file)]
    server.cli_json("generate", "red apple", *flags)
    return file.read_bytes()


def main() -> int:
    bundle, device, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    model = bundle / "models" / "emoji-xl"
    specs = [f"{name}={model},format={name},compute_dtype=fp32,preload=false" for name in FORMATS]
    figures: dict[str, object] = {}
    for way, cache_mib in (("from files", 0), ("from host memory", 1024)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            limits = ["--memory-limit-mib", str(LIMIT_MIB), "--host-cache-mib", str(cache_mib)]
            with ServerProcess(folder, specs, *limits, device=device) as server:
                first = {name: draw(server, name, folder / "x.png") for name in FORMATS}
                again = {name: draw(server, name, folder / "x.png") for name in FORMATS}
                server.cli_json("unload", FORMATS[-1])
                last = draw(server, FORMATS[-1], folder / "x.png")
                figures[way] = {
                    "differ": len(set(first.values())) == len(FORMATS),
                    "same after eviction": first == again,
                    "same after unload": last == first[FORMATS[-1]],
                    "evictions": server.log.count("evicted for"),
                }
    out.write_text(json.dumps(figures))
    right = all(all(each.values()) for each in figures.values())  # type: ignore[attr-defined]
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
