"""The steps of tests/gpu/run_bundle.sh in an unpacked bundle. Needs Python's own library alone.

Each step is a process with a limit of its own within that of the whole; what it measured, or what
it said where it failed, goes to the JSON file before the next one starts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUNDLE = Path(__file__).resolve().parents[2]
SAID_CHARACTERS = 4000
# What the limits of the steps are made for.
USUAL_SECONDS = 480.0


@dataclass(frozen=True)
class Step:
    """command: OUT in it becomes the file that `read` takes the figures from; None: its output."""

    name: str
    command: list[str]
    seconds: float
    read: Callable[[str], Any] | None = json.loads
    needs_device: bool = False


def gtest_figures(text: str) -> Any:
    """Totals, and what did not pass. Nothing that ran is a failure."""
    report = json.loads(text)
    tests = [test for suite in report["testsuites"] for test in suite["testsuite"]]
    skipped = [test["name"] for test in tests if test["result"] == "SKIPPED"]
    if len(skipped) == len(tests):
        raise ValueError(f"all {len(tests)} tests were skipped")
    failed = [test["name"] for test in tests if "failures" in test]
    return {"tests": len(tests), "skipped": skipped, "failed": failed}


def steps(device: str) -> list[Step]:
    """Most important first."""
    binary, python, dry = str(BUNDLE / "bin"), sys.executable, device == "cpu"
    here, bench = str(BUNDLE / "tests" / "gpu"), str(BUNDLE / "tests" / "bench")
    emoji = str(BUNDLE / "models" / "emoji-xl")
    report = "--gtest_output=json:OUT"
    small = ["--size", "64", "--steps", "1", "--formats", "fp16,hf8"]
    usual = ["--size", "256", "--steps", "4"]
    memory = [python, f"{bench}/device_memory.py", emoji, "--device", device, "--json", "OUT"]
    inside = [str(BUNDLE), device, "OUT"]
    return [
        Step("kernels", [f"{binary}/kernels_gpu_test", report], 120, gtest_figures, True),
        Step("operators and graphs", [f"{binary}/model_gpu_test", report], 120, gtest_figures),
        Step("images beside diffusers", [python, f"{here}/bundle_images.py", *inside], 180),
        Step("memory and time", [*memory, *(small if dry else usual)], 180),
        Step("leaving and returning", [python, f"{here}/bundle_residency.py", *inside], 120),
        Step("decoding", [f"{binary}/decode_bench"], 90, None, True),
    ]


def environment(device: str) -> dict[str, str]:
    """Raises ValueError where there is no torch."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        raise ValueError("no torch here: this Python needs the torch 2.11 wheel")
    torch = Path(found.submodule_search_locations[0])
    folders = [torch / "lib", *sorted((torch.parent / "nvidia").glob("*/lib"))]
    # Networks this small gain nothing by threads, and lose where other processes run.
    threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
    return {
        **os.environ,
        **threads,
        "LD_LIBRARY_PATH": ":".join(map(str, folders)),
        "TIGHTFIT_BUILD_DIR": str(BUNDLE),
        "TIGHTFIT_DEVICE": device,
        "TIGHTFIT_TINY_MODEL": str(BUNDLE / "models" / "tiny"),
        # Products of fp32 as exact as those of the oracles.
        "NVIDIA_TF32_OVERRIDE": "0",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _output(
    command: list[str], seconds: float, variables: dict[str, str], folder: str
) -> tuple[int, str]:
    """Exit code and output. Raises TimeoutExpired, with nothing of the command left running."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=variables,
        cwd=folder,
        start_new_session=True,
    ) as running:
        try:
            said, _ = running.communicate(timeout=seconds)
        except BaseException:
            os.killpg(running.pid, signal.SIGKILL)
            raise
        return running.returncode, said


def run_step(step: Step, seconds: float, variables: dict[str, str]) -> dict[str, Any]:
    """Its row of the JSON file."""
    began = time.monotonic()
    row: dict[str, Any] = {"name": step.name, "ok": False}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures"
        command = [re.sub(r"(?:^|(?<=:))OUT$", str(out), word) for word in step.command]
        try:
            code, said = _output(command, seconds, variables, folder)
            row["exit_code"] = code
            row["ok"] = code == 0
            if step.read is None:
                row["figures"] = said.splitlines()
            elif out.exists():
                row["figures"] = step.read(out.read_text("utf-8"))
            else:
                row["ok"] = False
        except subprocess.TimeoutExpired as late:
            said = f"not done within {seconds:.0f} s\n" + _text(late.stdout)
        except (OSError, ValueError, KeyError) as error:
            row["ok"], said = False, str(error)
        if not row["ok"]:
            row["said"] = said[-SAID_CHARACTERS:]
    row["seconds"] = round(time.monotonic() - began, 1)
    return row


def _text(output: bytes | str | None) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""


def run_all(
    listed: list[Step], device: str, seconds: float, file: Path, variables: dict[str, str]
) -> bool:
    """Whether every step that could run here went well; those that had no time left did not."""
    began = time.monotonic()
    more = max(1.0, seconds / USUAL_SECONDS)
    commit = BUNDLE / "commit"
    told: dict[str, Any] = {
        "commit": commit.read_text().strip() if commit.is_file() else "",
        "device": device,
        "machine": machine(),
        "steps": [],
    }
    for step in listed:
        left = seconds - (time.monotonic() - began)
        if step.needs_device and device == "cpu":
            row: dict[str, Any] = {"name": step.name, "ok": True, "skipped": "needs a GPU"}
        elif left < 1:
            row = {"name": step.name, "ok": False, "said": "no time was left"}
        else:
            row = run_step(step, min(more * step.seconds, left), variables)
        told["steps"].append(row)
        told["seconds"] = round(time.monotonic() - began, 1)
        file.write_text(json.dumps(told, indent=1) + "\n")
        word = row.get("skipped") or ("well" if row["ok"] else "FAILED")
        print(f"{step.name}: {word}, at {told['seconds']} s", flush=True)
        if "said" in row:
            print(row["said"], flush=True)
    return all(row["ok"] for row in told["steps"])


def machine() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    except OSError:
        return []


def main() -> int:
    parser = argparse.ArgumentParser(prog="run_bundle.sh", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="on the CPU")
    parser.add_argument("--seconds", type=float, default=USUAL_SECONDS, help="for all steps")
    parser.add_argument("--json", type=Path, default=Path("gpu-bundle.json"))
    options = parser.parse_args()
    device = "cpu" if options.dry_run else "cuda:0"
    if device != "cpu" and not machine():
        print("skipped: no GPU answers here; --dry-run does all but the device")
        return 0
    try:
        variables = environment(device)
    except ValueError as error:
        print(f"run_bundle.sh: {error}", file=sys.stderr)
        return 1
    well = run_all(steps(device), device, options.seconds, options.json, variables)
    print(f"{options.json}: {'all well' if well else 'something failed'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
