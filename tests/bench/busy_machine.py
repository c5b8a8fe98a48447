"""Steps a second of emoji-xl alone, beside busy processes and under a quota of one processor.

  python tests/bench/busy_machine.py [--seconds 5] [--rounds 5] [--waiting NAME=VALUE ...]

Each round measures every case once, so that what else runs on the machine meets all of them alike;
the table has medians, and their share of what the first server does alone. The server that is
measured chooses how its threads wait; each --waiting adds one that is started with such a variable
instead (GOMP_SPINCOUNT=300000 is OpenMP's own default). A busy process is a loop in Python. The
quota is set by a control group of its own, where this process may make one: version 1 or 2.

What the choice rests on, two cores of a Xeon: how often a thread sleeps in a step alone, with other
work on the machine, and steps a second, medians of this program's rounds on a machine of its own.

| | `PASSIVE` | 1,000 spins | 20,000 | OpenMP's own 300,000 | the server's choice |
|---|---:|---:|---:|---:|---:|
| sleeps a step | 588 | 265 | 15 | 5 | |
| alone (8 rounds) | 26.3 | | | 30.7 | 31.7 |
| beside 2 (3 rounds) | 12.0 | | | 7.4 | 11.9 |
| beside 4 (3 rounds) | 9.4 | | | 3.5 | 10.0 |
| quota of one processor | 33.5 | | | 25.6 | 33.3 |

No single count does for both: what sleeps at every barrier loses a sixth on a free machine, what
spins loses most of its time on a busy one. So the server changes between the two, by a second team
of threads (server/base/openmp_waiting.h).

The promise: beside two busy processes on two processors at least a quarter of alone (half is what
a fair scheduler could give), and alone within 2 % of threads that only spin.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from bench_report import say  # noqa: E402
from emoji_model import EMOJI  # noqa: E402
from server_process import ServerProcess  # noqa: E402

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
STEPS = 50
PROMISED_SHARE = 0.25
CGROUPS = Path("/sys/fs/cgroup")


def start(folder: Path, waiting: str) -> ServerProcess:
    """A server whose environment says nothing of its threads but `waiting`."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    if waiting:
        name, _, value = waiting.partition("=")
        os.environ[name] = value
    folder.mkdir()
    return ServerProcess(folder, [EMOJI])


def steps_per_second(server: ServerProcess, seconds: float, folder: str) -> float:
    """Of the UNet alone, by the server's own clock."""
    steps = 0
    taken = 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        arguments = ["--steps", str(STEPS), "--seed", "1", "-o", f"{folder}/x.png"]
        timings = server.cli_json("generate", "red apple", *arguments)["timings"]
        taken += timings["denoise_seconds"]
        steps += STEPS
    return steps / taken


@contextmanager
def busy(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def make_quota_group() -> tuple[Path, Path] | str:
    """A control group that may use one processor and the one to return to, or why there is none."""
    is_version_2 = (CGROUPS / "cgroup.controllers").exists()
    base = CGROUPS if is_version_2 else CGROUPS / "cpu"
    group = base / f"tightfit-bench-{os.getpid()}"
    try:
        group.mkdir()
        if is_version_2:
            (group / "cpu.max").write_text("100000 100000")
        else:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("100000")
    except OSError as error:
        if group.exists():
            group.rmdir()
        return f"{base}: {error.strerror}"
    return group, base


@contextmanager
def quota_of_one() -> Iterator[str]:
    """Processes that are started inside may use one processor together. Yields why not, or ''."""
    made = make_quota_group()
    if isinstance(made, str):
        yield made
        return
    group, home = made
    try:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield ""
    finally:
        (home / "cgroup.procs").write_text(str(os.getpid()))
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def logged(server: ServerProcess) -> str:
    return next(line for line in server.log.splitlines() if "computing threads" in line)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--waiting", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--alone", action="store_true", help="nothing beside it: what the choice costs there"
    )
    options = parser.parse_args()
    variants = ["", *options.waiting]
    cases = {"alone": 0} if options.alone else {"alone": 0, "beside 2": 2, "beside 4": 4}
    rates: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {
            variant: stack.enter_context(start(Path(folder) / f"server{index}", variant))
            for index, variant in enumerate(variants)
        }
        say(logged(servers[""]))
        for server in servers.values():
            steps_per_second(server, 1, folder)
        for round_number in range(options.rounds):
            for case, count in cases.items():
                with busy(count):
                    for variant, server in servers.items():
                        rate = steps_per_second(server, options.seconds, folder)
                        rates.setdefault((variant, case), []).append(rate)
                        say(f"round {round_number + 1}, {variant or 'server'} {case}: {rate:.1f}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        why_not = "only alone was asked for" if options.alone else ""
        why_not = why_not or stack.enter_context(quota_of_one())
        if why_not:
            print(f"no quota of one processor was measured: {why_not}")
        for index, variant in enumerate([] if why_not else variants):
            with start(Path(folder) / f"server{index}", variant) as server:
                say(logged(server))
                rate = steps_per_second(server, options.seconds, folder)
                rates[variant, "quota of 1"] = [rate]
    reference = statistics.median(rates["", "alone"])
    columns = list(dict.fromkeys(case for _, case in rates))
    print("| waiting | " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for variant in variants:
        medians = [statistics.median(rates[variant, case]) for case in columns]
        cells = [f"{median:.1f} ({median / reference:.2f})" for median in medians]
        print(f"| {variant or 'as the server chooses'} | " + " | ".join(cells) + " |")
    if options.alone:
        return 0
    share = statistics.median(rates["", "beside 2"]) / reference
    is_kept = share >= PROMISED_SHARE
    print(f"beside 2 busy processes: {share:.2f} of alone ({'kept' if is_kept else 'BROKEN'})")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
