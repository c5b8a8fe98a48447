#!/usr/bin/env python3
"""Serves emoji-xl in four formats under load for a minute and draws the memory that Prometheus saw.

    PYTHONPATH=tests/python python tests/bench/record_memory_panel.py -o deploy/grafana/memory.png

Starts tightfit-server (of build/release, or $TIGHTFIT_BUILD_DIR) and prometheus on free ports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from client_sides import tightfit
from emoji_model import MODEL
from prometheus_process import PrometheusProcess, free_port
from server_process import ServerProcess

import render_panel  # isort: skip  found once prometheus_process is imported

FORMATS = ("fp16", "e2m5r", "hf8", "nf4")
SIDES_PX = (64, 128, 192, 256)


def draw_until(end: float, address: str, worker: int) -> None:
    """Images of growing size, each model in turn."""
    with tightfit.Client(address, timeout=120) as client:
        turn = worker
        while time.time() < end:
            side = SIDES_PX[min(3, int(4 * (1 - (end - time.time()) / 60)))]
            model = f"emoji-{FORMATS[turn % len(FORMATS)]}"
            client.generate("red apple", model=model, width_px=side, height_px=side, step_count=8)
            turn += 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    models = [f"emoji-{name}={MODEL},format={name}" for name in FORMATS]
    metrics = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with PrometheusProcess(folder / "prometheus", [metrics], interval="250ms") as prometheus:
            time.sleep(2)
            began = time.time()
            print(f"drawing for {arguments.seconds:g} s ...", file=sys.stderr)
            with ServerProcess(folder, models, metrics_listen=metrics) as server:
                end = began + arguments.seconds
                threads = [
                    threading.Thread(target=draw_until, args=(end - 6, server.address, worker))
                    for worker in range(2)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                time.sleep(max(1.0, end - time.time()))
                window = ["--seconds", str(round(time.time() - began)), "--instance", metrics]
                title = "One server, emoji-xl in four formats, two clients: device memory"
                shown = ["--prometheus", prometheus.url, "--title", title]
                return render_panel.main([*shown, *window, "--output", str(arguments.output)])


if __name__ == "__main__":
    sys.exit(main())
