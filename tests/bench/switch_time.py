"""How long a model takes to its first step: from a full load, from files, from host memory.

  python tests/bench/switch_time.py NAME=MODEL_DIR... [--format hf8] [--size 512] [--repeat 3]

Make models with `tightfit_export --random sdxl-half` and `--random sdxl-base` (--dtypes bf16). For
each: a server's first request, then requests after the model was unloaded, with and without a host
cache, and while it is resident. One step with guidance; the time is what the server says of the
request up to the end of that step. Prints a Markdown table of seconds, medians where repeated.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from bench_report import say  # noqa: E402
from server_process import ServerProcess  # noqa: E402

# Seconds a command may take: a full load of the largest model on two cores takes minutes.
TIMEOUT = 1800


def to_first_step(server: ServerProcess, size_px: int, folder: str) -> float:
    size = ["--width", str(size_px), "--height", str(size_px), "--steps", "1", "--guidance", "5"]
    out = ["-o", f"{folder}/x.safetensors"]
    timings = server.cli_json("generate", "red apple", *size, *out, timeout=TIMEOUT)["timings"]
    stages = ("queued", "model_load", "text_encode", "denoise")
    return sum(timings.get(f"{stage}_seconds") or 0.0 for stage in stages)


def measure(model: Path, options: argparse.Namespace, host_cache_mib: int) -> list[list[float]]:
    """First request; those after an unloading; those on the resident model."""
    spec = f"a={model},format={options.format},compute_dtype=bf16,preload=false"
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder), [spec], "--host-cache-mib", str(host_cache_mib)) as server,
    ):
        say(f"{model.name}, host cache of {host_cache_mib} MiB: full load")
        first = [to_first_step(server, options.size, folder)]
        returned, resident = [], []
        for repetition in range(options.repeat):
            say(f"{model.name}: return {repetition + 1} of {options.repeat}")
            server.cli_json("unload", "a")
            returned.append(to_first_step(server, options.size, folder))
            resident.append(to_first_step(server, options.size, folder))
        return [first, returned, resident]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL_DIR")
    parser.add_argument("--format", default="hf8")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--host-cache-mib", type=int, default=16384)
    options = parser.parse_args()
    print("| model | full load | from files | from host memory | resident |")
    print("|---|---:|---:|---:|---:|")
    for name, _, path in (model.partition("=") for model in options.models):
        model = Path(path).absolute()
        full, files, _ = measure(model, options, 0)
        also_full, host, resident = measure(model, options, options.host_cache_mib)
        cells = [full + also_full, files, host, resident]
        shown = " | ".join(f"{statistics.median(cell):.2f}" for cell in cells)
        print(f"| {name}, `{options.format}` | {shown} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
