"""What models of one base take together: weights and memory after each load.

  python tests/bench/shared_components.py --work DIR --format hf8 MODEL_DIR...

Make stand-ins for fine-tunes with `tightfit_export --random sdxl-base --perturb-unet SEED`, without
--perturb-unet for the base. Serves all of them in one process, loads one after the other, and
prints a Markdown table: what all models hold, what it would be if nothing were shared, and the
process's anonymous memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from real_size import BIN, MIB, anonymous_mib


def start(
    models: list[Path], weight_format: str, work: Path
) -> tuple[subprocess.Popen[bytes], str]:
    """The server's process and address."""
    addresses = work / "addresses.json"
    addresses.unlink(missing_ok=True)
    command = [str(BIN / "tightfit-server"), "--listen", "127.0.0.1:0", "--device", "cpu"]
    command += ["--metrics-listen", "127.0.0.1:0", "--address-file", str(addresses)]
    for i, model in enumerate(models):
        spec = f"m{i}={model},format={weight_format},scope=linear+conv,compute_dtype=bf16"
        command += ["--model", spec]
    log = work / "server.log"
    process = subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT)
    while not addresses.is_file() or not addresses.read_text():
        if process.poll() is not None:
            raise SystemExit(f"the server ended; see {log}")
        time.sleep(0.05)
    return process, json.loads(addresses.read_text())["listen"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL_DIR")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--format", default="hf8")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    process, address = start(options.models, options.format, options.work)

    def cli(*arguments: str) -> dict[str, Any]:
        command = [str(BIN / "tightfit"), *arguments, "--json", "--server", address]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    try:
        print("| models | weights MiB | without sharing MiB | anonymous MiB | load s |")
        print("|---:|---:|---:|---:|---:|")
        for count in range(1, len(options.models) + 1):
            print(f"loading model {count}", file=sys.stderr, flush=True)
            started = time.monotonic()
            cli("load", f"m{count - 1}")
            seconds = time.monotonic() - started
            models = [m for m in cli("models")["models"] if m["state"] == "resident"]
            parts = [part for model in models for part in model["components"]]
            held = sum(
                use["current_bytes"]
                for part in parts
                for use in part["memory"]
                if use["purpose"] == "weights"
            )
            alone = sum(model["weight_bytes"] for model in models)
            print(
                f"| {count} | {held / MIB:,.0f} | {alone / MIB:,.0f} "
                f"| {anonymous_mib(process.pid):,.0f} | {seconds:.0f} |",
                flush=True,
            )
    finally:
        process.terminate()
        process.wait()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())
