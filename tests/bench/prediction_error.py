"""How far predictions of a request's memory lie above what it took, over sizes and counts.

  python tests/bench/prediction_error.py [--model DIR] [--dtypes fp32,bf16] [--formats fp16,hf8]

Makes latents of each size and count, with and without guidance, with a server of its own, and
prints a Markdown table of set-aside bytes over taken ones, less 1, as the metric
tightfit_memory_prediction_error_ratio tells. Needs a built server; the model is emoji-xl unless
--model names another one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from server_process import ServerProcess, metric_values  # noqa: E402

SIDES_PX = (32, 64, 96, 160, 256, 320)
COUNTS = (1, 4)
GUIDANCE = {"with": "5", "without": "1"}


def errors_of(model: Path, dtype: str, weight_format: str) -> dict[str, list[float]]:
    """With and without guidance, in order of count, then side."""
    spec = f"a={model},format={weight_format},compute_dtype={dtype}"
    errors: dict[str, list[float]] = {name: [] for name in GUIDANCE}
    family = "tightfit_memory_prediction_error_ratio_sum"
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), [spec]) as server:
        before = 0.0
        for (name, scale), count, side_px in product(GUIDANCE.items(), COUNTS, SIDES_PX):
            size = ["--width", str(side_px), "--height", str(side_px), "--count", str(count)]
            rest = ["--guidance", scale, "--steps", "2", "-o", f"{folder}/x.safetensors"]
            server.cli_json("generate", "x", *size, *rest)
            total = sum(metric_values(server.metrics(), family).values())
            errors[name].append(total - before)
            before = total
    return errors


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ROOT / "deploy" / "models" / "emoji-xl" / "model"
    parser.add_argument("--model", type=Path, default=default, metavar="DIR")
    parser.add_argument("--dtypes", default="fp32,bf16", metavar="LIST")
    parser.add_argument("--formats", default="fp16,hf8", metavar="LIST")
    options = parser.parse_args()
    print("| computed in | weights | guidance | requests | least | mean | largest |")
    print("|---|---|---|---:|---:|---:|---:|")
    for dtype, weight_format in product(options.dtypes.split(","), options.formats.split(",")):
        for name, errors in errors_of(options.model, dtype, weight_format).items():
            cells = (min(errors), sum(errors) / len(errors), max(errors))
            shown = " | ".join(f"{100 * cell:+.1f} %" for cell in cells)
            print(
                f"| {dtype} | `{weight_format}` | {name} | {len(errors)} | {shown} |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
