"""SDXL at its real size on a CPU: export, load, memory, an image, and the time of a UNet call.

  python tests/bench/real_size.py --work DIR [--model DIR] [--formats hf8,hf12] [--json FILE]

Exports `--random sdxl-base` into DIR unless --model names a model directory with bf16 graphs; needs
14 GB of disk and 12 GB of memory. Serves it once in each format, watches the server's anonymous
memory while it loads, draws images of 512 x 512 in 2 steps through the command line, and calls
diffusers' UNet in eager bf16 with the same weights and shapes. Prints a Markdown table; exit code 1
where a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_report import memory_mib, say

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("TIGHTFIT_BUILD_DIR", ROOT / "build" / "release")) / "bin"
MIB = 1 << 20
# Of the UNet, every Linear and Conv2d packed: what the formats' bits come to.
EXPECTED_UNET_MIB = {"hf8": 2447, "hf12": 3671}
WEIGHT_TOLERANCE = 0.01
LOAD_HEADROOM_MIB = 300
SIZE_PX, STEPS = 512, 2


@dataclass
class Served:
    """What one format takes."""

    format: str
    unet_weight_mib: float
    all_weights_mib: float
    load_seconds: float
    peak_anonymous_mib: float
    final_anonymous_mib: float
    image_seconds: float
    unet_call_seconds: float


class MemoryWatch(threading.Thread):
    """Keeps the largest anonymous memory of a process, looked at every 10 ms."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0
        self._pid = pid
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.01):
            try:
                self.peak_mib = max(self.peak_mib, memory_mib(self._pid, "RssAnon"))
            except OSError:
                return

    def finish(self) -> float:
        self._done.set()
        self.join()
        return self.peak_mib


def export_model(out: Path) -> dict[str, Any]:
    """Time and peak memory of the export; both zero where the directory is there already."""
    if (out / "model.json").is_file():
        return {"seconds": 0.0, "peak_mib": 0.0}
    say("exporting --random sdxl-base in bf16")
    command = [sys.executable, "-m", "tightfit_export", "--random", "sdxl-base"]
    command += ["--dtypes", "bf16", "--out", str(out)]
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "deploy" / "export")}
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"the export failed: {os.waitstatus_to_exitcode(status)}")
    return {"seconds": time.monotonic() - started, "peak_mib": usage.ru_maxrss / 1024}


class Server:
    """A server with models in one format, computing in bf16. What it says goes to `work`."""

    def __init__(self, models: dict[str, Path], weight_format: str, work: Path) -> None:
        addresses = work / "addresses.json"
        addresses.unlink(missing_ok=True)
        flags = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--device", "cpu"]
        for name, path in models.items():
            spec = f"{name}={path},format={weight_format},scope=linear+conv,compute_dtype=bf16"
            flags += ["--model", spec]
        self._log = (work / f"server-{weight_format}.log").open("wb")
        self.process = subprocess.Popen(
            [str(BIN / "tightfit-server"), *flags, "--address-file", addresses],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        while not addresses.is_file() or not addresses.read_text():
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended; see {self._log.name}")
            time.sleep(0.05)
        self._address = json.loads(addresses.read_text())["listen"]

    def cli(self, *arguments: str) -> dict[str, Any]:
        command = [str(BIN / "tightfit"), *arguments, "--json", "--server", self._address]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr.strip())
        return json.loads(done.stdout)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()


def serve(model: Path, weight_format: str, work: Path) -> Served:
    say(f"serving as {weight_format}")
    server = Server({"sdxl": model}, weight_format, work)
    watch = MemoryWatch(server.process.pid)
    watch.start()
    try:
        server.cli("load", "sdxl")
        described = server.cli("models", "sdxl")["model"]
        peak_mib = watch.finish()
        final_mib = memory_mib(server.process.pid, "RssAnon")
        weights = {part["name"]: part["weight_bytes"] for part in described["components"]}
        say(f"drawing {SIZE_PX} x {SIZE_PX} px in {STEPS} steps")
        flags = ["--width", str(SIZE_PX), "--height", str(SIZE_PX), "--steps", str(STEPS)]
        out = work / f"image-{weight_format}.png"
        # The second image's steps are timed: the first call of a size is slower, in eager too.
        first, second = (
            server.cli("generate", "a lighthouse", "--seed", seed, *flags, "-o", str(out))
            for seed in ("1", "2")
        )
        return Served(
            format=weight_format,
            unet_weight_mib=weights["unet"] / MIB,
            all_weights_mib=sum(weights.values()) / MIB,
            load_seconds=described["load_seconds"],
            peak_anonymous_mib=peak_mib,
            final_anonymous_mib=final_mib,
            image_seconds=first["timings"]["total_seconds"],
            unet_call_seconds=second["timings"]["denoise_seconds"] / STEPS,
        )
    finally:
        server.stop()


# Runs in a process of its own: its memory is free again afterwards.
EAGER = """
import json, sys, time, torch
from pathlib import Path
from tightfit_export import architecture
from tightfit_export.weight_file import read_weights
folder, config_file, latent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = json.loads(config_file.read_text())
unet = architecture.build("unet", config)
architecture.set_weights(unet, read_weights(folder / "unet.safetensors", torch.bfloat16))
inputs = architecture.example_inputs("unet", config, dtype=torch.bfloat16, batch=2,
                                     latent_size=(latent, latent), pooled_size=1280, seed=0)
seconds = []
with torch.inference_mode():
    for _ in range(3):
        started = time.monotonic()
        unet(*inputs)
        seconds.append(time.monotonic() - started)
print(json.dumps(seconds))
"""


def eager_seconds(model: Path, config: Path) -> list[float]:
    """Three calls of diffusers' UNet in eager bf16, guidance's two rows; the first warms up."""
    say("calling diffusers' UNet in eager bf16")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "deploy" / "export")}
    command = [sys.executable, "-c", EAGER, str(model), str(config), str(SIZE_PX // 8)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def missed_bounds(row: Served) -> list[str]:
    missed = []
    expected = EXPECTED_UNET_MIB.get(row.format)
    if expected and abs(row.unet_weight_mib / expected - 1) > WEIGHT_TOLERANCE:
        missed.append(f"{row.format}: UNet {row.unet_weight_mib:.0f} MiB, not {expected}")
    if row.peak_anonymous_mib > row.final_anonymous_mib + LOAD_HEADROOM_MIB:
        missed.append(
            f"{row.format}: {row.peak_anonymous_mib:.0f} MiB while loading, "
            f"{row.final_anonymous_mib:.0f} afterwards"
        )
    return missed


def table(rows: list[Served], eager: list[float]) -> str:
    call = min(eager[1:])
    lines = [
        "| weights | UNet MiB | all MiB | load s | anonymous MiB, peak / after | image s "
        "| UNet call s | of eager bf16 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| `{row.format}` | {row.unet_weight_mib:,.0f} | {row.all_weights_mib:,.0f} "
            f"| {row.load_seconds:.0f} | {row.peak_anonymous_mib:,.0f} / "
            f"{row.final_anonymous_mib:,.0f} | {row.image_seconds:.1f} "
            f"| {row.unet_call_seconds:.2f} | {row.unet_call_seconds / call:.2f} |"
        )
    lines.append(f"| *diffusers, eager bf16* | | | | | | {call:.2f} | 1 |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="DIR")
    parser.add_argument("--formats", default="hf8,hf12", metavar="LIST")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = options.model or options.work / "sdxl-base"
    exported = export_model(model)
    rows = [serve(model, name, options.work) for name in options.formats.split(",")]
    config = ROOT / "deploy/export/tightfit_export/configs/unet.json"
    eager = eager_seconds(model, config)
    print(table(rows, eager))
    if exported["seconds"]:
        print(f"\nexport: {exported['seconds']:.0f} s, {exported['peak_mib']:,.0f} MiB at most")
    if options.json:
        document = {"export": exported, "served": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document | {"eager_seconds": eager}, indent=2) + "\n")
    missed = [line for row in rows for line in missed_bounds(row)]
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
