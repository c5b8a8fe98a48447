"""What `text_kv` costs and gains: time of a step and of a request's beginning, and memory.

  python tests/bench/text_kv.py [--model DIR] [--format FORMATS] [--rounds 5] [--steps 30]
                                [--size 64] [--dtype fp32]

Packs the model (emoji-xl by default) with `tightfit pack` and starts one server with it three times
under three names, text_kv=step, request and streamed. Each round draws one image with each, in
turn, so that what else runs on the machine meets all alike; the table has medians of the server's
own clock, as shares of `step`. Weights are those of the UNet; a request's bytes are as predicted.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from bench_report import say  # noqa: E402
from emoji_model import MODEL  # noqa: E402
from server_process import CLI, ServerProcess  # noqa: E402

WAYS = ("step", "request", "streamed")
MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL, metavar="DIR")
    parser.add_argument("--format", default="e2m5r", metavar="FORMATS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--dtype", default="fp32", help="what is computed in")
    options = parser.parse_args()
    step_seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    encode_seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    weights: dict[str, int] = {}
    requests: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "packed"
        say(f"packing {options.model}")
        command = [CLI, "pack", options.model, "--format", options.format, "--out", packed]
        subprocess.run([*map(str, command), "--quiet"], check=True, stdout=subprocess.DEVNULL)
        spec = f"{packed},compute_dtype={options.dtype},share_weights=false,preload=true"
        models = [f"{way}={spec},text_kv={way}" for way in WAYS]
        size = ["--width", str(options.size), "--height", str(options.size)]
        request = ["a red apple", *size, "--steps", str(options.steps), "--seed", "1"]
        with ServerProcess(Path(folder), models) as server:
            for done in range(options.rounds + 1):
                for way in WAYS:
                    arguments = [*request, "--model", way, "-o", f"{folder}/x.png"]
                    timings = server.cli_json("generate", *arguments, timeout=3600)["timings"]
                    if done == 0:  # the first calls are slower
                        continue
                    step_seconds[way].append(timings["denoise_seconds"] / options.steps)
                    encode_seconds[way].append(timings["text_encode_seconds"])
                say(f"round {done} of {options.rounds}")
            for way in WAYS:
                described = server.cli_json("models", way)["model"]
                parts = {part["name"]: part["weight_bytes"] for part in described["components"]}
                weights[way] = parts["unet"]
                estimate = server.cli_json("generate", *request, "--model", way, "--estimate")
                requests[way] = estimate["estimate"]["request_bytes"]
    base = statistics.median(step_seconds["step"])
    print("| `text_kv` | a step, of `step` | beginning ms | UNet's weights MiB | a request MiB |")
    print("|---|---:|---:|---:|---:|")
    for way in WAYS:
        print(
            f"| `{way}` | {statistics.median(step_seconds[way]) / base:.3f} "
            f"| {1000 * statistics.median(encode_seconds[way]):.1f} | {weights[way] / MIB:,.2f} "
            f"| {requests[way] / MIB:,.2f} |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
