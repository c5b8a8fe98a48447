"""What models of one base take together: weights and memory after each load.

  python tests/bench/shared_components.py --work DIR --format hf8 MODEL_DIR...

Make stand-ins for fine-tunes with `tightfit_export --random sdxl-base --perturb-unet SEED`, without
--perturb-unet for the base. Serves all of them in one process, loads one after the other, and
prints a Markdown table: what all models hold, what it would be if nothing were shared, and the
process's anonymous memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench_report import memory_mib, say
from real_size import MIB, Server


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL_DIR")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--format", default="hf8")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names = {f"m{i}": model for i, model in enumerate(options.models)}
    server = Server(names, options.format, options.work)
    try:
        print("| models | weights MiB | without sharing MiB | anonymous MiB | load s |")
        print("|---:|---:|---:|---:|---:|")
        for count, name in enumerate(names, start=1):
            say(f"loading model {count}")
            started = time.monotonic()
            server.cli("load", name)
            seconds = time.monotonic() - started
            models = [m for m in server.cli("models")["models"] if m["state"] == "resident"]
            parts = [part for model in models for part in model["components"]]
            held = sum(
                use["current_bytes"]
                for part in parts
                for use in part["memory"]
                if use["purpose"] == "weights"
            )
            alone = sum(model["weight_bytes"] for model in models)
            anonymous_mib = memory_mib(server.process.pid, "RssAnon")
            print(
                f"| {count} | {held / MIB:,.0f} | {alone / MIB:,.0f} "
                f"| {anonymous_mib:,.0f} | {seconds:.0f} |",
                flush=True,
            )
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
