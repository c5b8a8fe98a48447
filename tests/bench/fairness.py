"""Two models served side by side to eight clients: is anything lost, and does one wait longer?

  python tests/bench/fairness.py [--seconds 600] [--clients 8] [--models hf8,hf12]
      [--memory-limit-mib N]

Half of the clients ask one model for images, half the other, one request after the other. Prints
a Markdown table of requests and seconds by model, and the resident set before and after; exit code
1 where a request fails or the mean times of the models are more than 20 % apart. Needs the Python
client's packages (tests/requirements.txt).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
sys.path.insert(0, str(ROOT / "client" / "python" / "src"))

from bench_report import memory_mib  # noqa: E402
from server_process import ServerProcess  # noqa: E402
from tightfit import Client, TightfitError  # noqa: E402

MAX_RATIO = 1.2
TELL_EVERY_SECONDS = 30


class Clients:
    """Threads that ask for images until told to stop."""

    def __init__(self, address: str, models: list[str], count: int) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.failures: list[str] = []
        self._address = address
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(models[i % len(models)], i))
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, model: str, seed: int) -> None:
        with Client(self._address) as client:
            while not self._stop.is_set():
                started = time.monotonic()
                try:
                    client.generate("red apple", model=model, seed=seed, step_count=4)
                except TightfitError as error:
                    with self._lock:
                        self.failures.append(f"{model}: {error}")
                    continue
                with self._lock:
                    self.seconds[model].append(time.monotonic() - started)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--models", default="hf8,hf12", metavar="FORMAT,FORMAT")
    parser.add_argument("--memory-limit-mib", type=int, default=0)
    options = parser.parse_args()
    directory = ROOT / "deploy" / "models" / "emoji-xl" / "model"
    names = options.models.split(",")
    specs = [f"{name}={directory},format={name},preload=false" for name in names]
    limit = ["--memory-limit-mib", str(options.memory_limit_mib)]
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder), specs, *limit) as server,
    ):
        for name in names:
            server.cli_json("generate", "x", "--model", name, "-o", f"{folder}/x.png")
        before = memory_mib(server.process.pid, "VmRSS")
        clients = Clients(server.address, names, options.clients)
        end = time.monotonic() + options.seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, TELL_EVERY_SECONDS))
            done = {name: len(clients.seconds[name]) for name in names}
            print(f"{max(left, 0):.0f} s left: {done}", file=sys.stderr, flush=True)
        clients.stop()
        after = memory_mib(server.process.pid, "VmRSS")
    print("| model | requests | mean s | p50 s | p95 s | longest s |")
    print("|---|---:|---:|---:|---:|---:|")
    means = []
    for name in names:
        seconds = sorted(clients.seconds[name])
        means.append(statistics.mean(seconds))
        at = [seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.95, 1)]
        shown = " | ".join(f"{value:.3f}" for value in (means[-1], *at))
        print(f"| `{name}` | {len(seconds)} | {shown} |")
    ratio = max(means) / min(means)
    print(f"\n{len(clients.failures)} lost; means {ratio:.3f} apart; resident", end=" ")
    print(f"{before:.0f} MiB before, {after:.0f} MiB after {options.seconds:.0f} s")
    for failure in clients.failures[:5]:
        print(failure, file=sys.stderr)
    return 0 if not clients.failures and ratio <= MAX_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
