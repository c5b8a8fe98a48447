"""What each format takes of a device, loaded and while sampling, and how long a step takes.

  python tests/bench/device_memory.py MODEL_DIR [--device cuda:0] [--formats fp16,hf8,e2m5r]
      [--scopes linear+conv] [--size 1024] [--steps 4] [--json FILE]

Serves the model once in each format and scope, draws two images, and prints a Markdown table of
ratios to the first row, fp16, which is unpacked. Bytes are what the driver says that the device
has in use over what it had before the model came, caches of LibTorch included; on a CPU, where
this is a trial run, the process's resident set. Needs a built server.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from bench_report import say

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from server_process import DEVICE, ServerProcess, metric_values  # noqa: E402

MIB = 1 << 20


@dataclass
class Row:
    format: str
    scope: str
    weights_mib: float  # of all components
    loaded_mib: float
    sampling_mib: float  # the largest seen
    step_seconds: float


def used_mib(server: ServerProcess) -> float:
    values = metric_values(server.metrics(), "tightfit_device_memory_used_bytes")
    return sum(values.values()) / MIB


class PeakWatch(threading.Thread):
    """The largest used memory, asked for every 20 ms."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._done = threading.Event()
        self.peak_mib = 0.0

    def run(self) -> None:
        while not self._done.wait(0.02):
            self.peak_mib = max(self.peak_mib, used_mib(self._server))

    def finish(self) -> float:
        self._done.set()
        self.join()
        return self.peak_mib


def measure(model: Path, weight_format: str, scope: str, options: argparse.Namespace) -> Row:
    say(f"{weight_format}, {scope}")
    spec = f"m={model},format={weight_format},scope={scope},preload=false"
    size = ["--width", str(options.size), "--height", str(options.size)]
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder), [spec], device=options.device) as server,
    ):
        before_mib = used_mib(server)
        server.cli_json("load", "m", timeout=1800)
        loaded_mib = used_mib(server) - before_mib
        parts = server.cli_json("models", "m")["model"]["components"]
        watch = PeakWatch(server)
        watch.start()
        # The first image of a size is slower: what LibTorch chooses by size it chooses then.
        for seed in ("1", "2"):
            flags = ["--seed", seed, "--steps", str(options.steps), *size]
            drawn = server.cli_json(
                "generate", "a lighthouse", *flags, "-o", f"{folder}/x.png", timeout=1800
            )
        return Row(
            format=weight_format,
            scope=scope,
            weights_mib=sum(part["weight_bytes"] for part in parts) / MIB,
            loaded_mib=loaded_mib,
            sampling_mib=watch.finish() - before_mib,
            step_seconds=drawn["timings"]["denoise_seconds"] / options.steps,
        )


def table(rows: list[Row]) -> str:
    first = rows[0]
    lines = [
        "| weights | scope | weights MiB | loaded MiB | of fp16 | sampling MiB | of fp16 | step ms "
        "| of fp16 |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| `{row.format}` | {row.scope} | {row.weights_mib:,.0f} "
            f"| {row.loaded_mib:,.0f} | {row.loaded_mib / first.loaded_mib:.2f} "
            f"| {row.sampling_mib:,.0f} | {row.sampling_mib / first.sampling_mib:.2f} "
            f"| {1000 * row.step_seconds:,.0f} | {row.step_seconds / first.step_seconds:.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL_DIR")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--formats", default="fp16,hf12,hf10,hf8x,hf8,e2m5r", metavar="LIST")
    parser.add_argument("--scopes", default="linear+conv", metavar="LIST")
    parser.add_argument("--size", type=int, default=1024, metavar="PX")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    kinds = [("fp16", "linear+conv")]
    kinds += [
        (name, scope)
        for scope in options.scopes.split(",")
        for name in options.formats.split(",")
        if name != "fp16"
    ]
    rows = [measure(options.model, name, scope, options) for name, scope in kinds]
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
