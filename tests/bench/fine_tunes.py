"""Fine-tunes of one base on a device that holds all of them but one: who shares, who goes.

  python tests/bench/fine_tunes.py --work DIR [--source DIR] [--count 6] [--rounds 3] [--format hf8]

Exports stand-ins with `tightfit_export --perturb-unet` into DIR (the source is emoji-xl unless
--source names another diffusers directory), finds the limit that holds what they share and all
UNets but one, and asks every model in turn for an image, round after round: first with shared
components, then with `share_weights=false` under the same limit. Prints a Markdown table of each;
exit code 1 where a request fails, where nobody had to go, or where a shared component stands twice.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from bench_report import say  # noqa: E402
from server_process import ServerProcess, metric_values  # noqa: E402

MIB = 1 << 20
SHARED = ("text_encoder", "text_encoder_2", "vae")


def export(source: Path, out: Path, seed: int) -> None:
    if (out / "model.json").is_file():
        return
    say(f"exporting {out.name}")
    command = [sys.executable, "-m", "tightfit_export", "--source", str(source), "--quiet"]
    command += ["--perturb-unet", str(seed), "--dtypes", "bf16", "--out", str(out)]
    subprocess.run(command, check=True, cwd=ROOT / "deploy" / "export")


def specs(work: Path, count: int, weight_format: str, extra: str = "") -> list[str]:
    rest = f"format={weight_format},compute_dtype=bf16,preload=false{extra}"
    return [f"tune-{i}={work / f'tune-{i}'},{rest}" for i in range(1, count + 1)]


def component_bytes(model: dict[str, Any], component: str) -> int:
    return next(c["weight_bytes"] for c in model["components"] if c["name"] == component)


def draw(server: ServerProcess, name: str, folder: str) -> float:
    """Seconds of one request, the model's way to the device included."""
    started = time.monotonic()
    arguments = ["--model", name, "--steps", "4", "--seed", "1", "-o", f"{folder}/x.png"]
    server.cli_json("generate", "red apple", *arguments)
    return time.monotonic() - started


def find_limit_mib(work: Path, count: int, weight_format: str) -> int:
    """Room for what all share, every UNet but one, one request, and loading."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder), specs(work, 1, weight_format)) as server,
    ):
        draw(server, "tune-1", folder)
        model = server.cli_json("models", "tune-1")["model"]
        reserved = metric_values(server.metrics(), "tightfit_device_memory_reserved_bytes")
        scratch = sum(
            value for labels, value in reserved.items() if ("purpose", "scratch") in labels
        )
        server.cli_json("unload", "tune-1")
        arguments = ["--model", "tune-1", "--steps", "4", "--estimate"]
        estimate = server.cli_json("generate", "red apple", *arguments)["estimate"]
    shared = sum(component_bytes(model, component) for component in SHARED)
    unets = (count - 1) * component_bytes(model, "unet")
    passing = estimate["request_bytes"] + estimate["load_scratch_bytes"]
    return math.ceil((shared + unets + scratch + passing) / MIB)


@dataclass
class Outcome:
    requests: int
    evictions: int
    mean_seconds: float
    models: list[dict[str, Any]]

    def resident(self) -> list[dict[str, Any]]:
        return [model for model in self.models if model["state"] == "resident"]

    def copies(self, component: str) -> float:
        """How often a component stands on the device: each holder bears its part."""
        parts = [c for m in self.resident() for c in m["components"] if c["name"] == component]
        return sum(1 / part["holder_count"] for part in parts)


def run(work: Path, options: argparse.Namespace, limit_mib: int, extra: str) -> Outcome:
    names = [f"tune-{i}" for i in range(1, options.count + 1)]
    flags = ["--memory-limit-mib", str(limit_mib), "--host-cache-mib", str(options.host_cache_mib)]
    models = specs(work, options.count, options.format, extra)
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder), models, *flags) as server,
    ):
        seconds = [draw(server, name, folder) for _ in range(options.rounds) for name in names]
        evictions = metric_values(server.metrics(), "tightfit_model_evictions_total")
        return Outcome(
            len(seconds),
            int(sum(evictions.values())),
            sum(seconds) / len(seconds),
            server.cli_json("models")["models"],
        )


def print_table(title: str, outcome: Outcome) -> None:
    print(f"\n{title}: {len(outcome.resident())} of {len(outcome.models)} resident, ", end="")
    print(f"{outcome.requests} requests, {outcome.evictions} evictions, ", end="")
    print(f"{outcome.mean_seconds:.2f} s a request\n")
    print("| model | state | UNet MiB | other MiB | of it shared MiB | its part of all MiB |")
    print("|---|---|---:|---:|---:|---:|")
    total = 0.0
    for model in outcome.models:
        if model["state"] != "resident":
            print(f"| {model['name']} | {model['state']} | | | | |")
            continue
        unet = component_bytes(model, "unet")
        others = model["weight_bytes"] - unet
        part = sum(
            use["current_bytes"]
            for component in model["components"]
            for use in component["memory"]
            if use["purpose"] == "weights"
        )
        total += part
        cells = [unet, others, model["shared_weight_bytes"], part]
        shown = " | ".join(f"{cell / MIB:.1f}" for cell in cells)
        print(f"| {model['name']} | resident | {shown} |")
    print(f"| all | | | | | {total / MIB:.1f} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    emoji = ROOT / "deploy" / "models" / "emoji-xl" / "diffusers"
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--source", type=Path, default=emoji, metavar="DIR")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", default="hf8")
    parser.add_argument("--host-cache-mib", type=int, default=0)
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    for i in range(1, options.count + 1):
        export(options.source.absolute(), work / f"tune-{i}", i)
    limit_mib = find_limit_mib(work, options.count, options.format)
    print(f"Limit: {limit_mib} MiB")
    shared = run(work, options, limit_mib, "")
    print_table("Shared", shared)
    alone = run(work, options, limit_mib, ",share_weights=false")
    print_table("Not shared", alone)
    good = (
        len(shared.resident()) == options.count - 1
        and shared.evictions > 0
        and all(abs(shared.copies(component) - 1) < 1e-6 for component in SHARED)
        and len(alone.resident()) < len(shared.resident())
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
