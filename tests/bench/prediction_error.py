"""How far predictions of a request's memory lie above what it took, over sizes and counts.

  python tests/bench/prediction_error.py [--model DIR] [--dtypes fp32,bf16] [--formats fp16,hf8]
      [--sizes 64,20x2048]

Makes latents, where the UNet takes most, and images, where the VAE does, of each size and count,
with and without guidance, with a server of its own, and prints a Markdown table of set-aside bytes
over taken ones, less 1, as the metric tightfit_memory_prediction_error_ratio tells. Needs a built
server; the model is emoji-xl unless --model names another one.
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

MAX_ERROR = 0.05
SIZES_PX = "64,96,128,160,224,256,320,448"  # squares by their side; others as 20x2048
COUNTS = "1,2,4"
GUIDANCE = {"with": "5", "without": "1"}
OUTPUTS = {"latents": "x.safetensors", "images": "x.png"}


def width_and_height(size: str) -> tuple[str, str]:
    width, _, height = size.partition("x")
    return width, height or width


def errors_of(
    model: Path, dtype: str, weight_format: str, sizes: list[str], counts: list[str]
) -> dict[tuple[str, str], list[float]]:
    """By output and guidance, in order of count, then size."""
    spec = f"a={model},format={weight_format},compute_dtype={dtype}"
    kinds = list(product(OUTPUTS, GUIDANCE))
    errors: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    family = "tightfit_memory_prediction_error_ratio_sum"
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), [spec]) as server:
        before = 0.0
        for kind, count, size_px in product(kinds, counts, sizes):
            width, height = width_and_height(size_px)
            size = ["--width", width, "--height", height, "--count", count]
            rest = ["--guidance", GUIDANCE[kind[1]], "--steps", "1"]
            server.cli_json("generate", "x", *size, *rest, "-o", f"{folder}/{OUTPUTS[kind[0]]}")
            total = sum(metric_values(server.metrics(), family).values())
            errors[kind].append(total - before)
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
    parser.add_argument("--sizes", default=SIZES_PX, metavar="LIST", help="in px: 64,20x2048")
    parser.add_argument("--counts", default=COUNTS, metavar="LIST")
    parser.add_argument("--each", action="store_true", help="also every error, on stderr")
    options = parser.parse_args()
    sizes, counts = options.sizes.split(","), options.counts.split(",")
    head = "| computed in | weights | output | guidance | requests | within 5 %"
    print(f"{head} | least | mean | largest |")
    print("|---|---|---|---|---:|---:|---:|---:|---:|")
    for dtype, weight_format in product(options.dtypes.split(","), options.formats.split(",")):
        by_kind = errors_of(options.model, dtype, weight_format, sizes, counts)
        for (output, guidance), errors in by_kind.items():
            cells = (min(errors), sum(errors) / len(errors), max(errors))
            shown = " | ".join(f"{100 * cell:+.1f} %" for cell in cells)
            close = sum(0 <= error <= MAX_ERROR for error in errors)
            kind = f"| {dtype} | `{weight_format}` | {output} | {guidance} "
            print(f"{kind}| {len(errors)} | {close} | {shown} |", flush=True)
            if options.each:
                for (count, size), error in zip(product(counts, sizes), errors, strict=True):
                    print(f"{count} of {size} px: {100 * error:+.1f} %", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
