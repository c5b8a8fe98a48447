"""What a packed checkpoint saves when a model is loaded: time to the first step, memory and disk.

  python tests/bench/packed_load.py --work DIR [--model DIR] [--format FORMATS] [--cold]
                                    [--json FILE]

Exports `--random sdxl-base` into DIR unless --model names a model directory with bf16 graphs; needs
20 GB of disk and 12 GB of memory. Packs it with `tightfit pack`, and starts a server four times:
from the original and from the packed checkpoint, each without and with measured profiles
(`profile_dir`). Then reads the packed files alone, as a bound. Each row is the time from the call
that loads the model to the end of the first step of a 64 x 64 image. --cold drops the page cache
before each (as root).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_report import memory_mib, say
from real_size import BIN, MIB, MemoryWatch, export_model

LOAD_HEADROOM_MIB = 64


@dataclass
class Loaded:
    """One start of a server and its first step."""

    source: str  # "original", "packed"
    profile: str  # "measured", "kept"
    weights_mib: float
    load_seconds: float
    first_step_seconds: float  # from the call that loads to the end of the first step
    peak_anonymous_mib: float
    final_anonymous_mib: float


def drop_page_cache() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1\n", encoding="ascii")


def pack(model: Path, out: Path, formats: str) -> dict[str, Any]:
    say(f"packing as {formats}")
    command = [str(BIN / "tightfit"), "pack", str(model), "--format", formats, "--out", str(out)]
    started = time.monotonic()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return {"seconds": time.monotonic() - started, **json.loads(done.stdout)}


def load(source: str, model: Path, formats: str, profiles: Path, work: Path) -> Loaded:
    profile = "kept" if any(profiles.glob("*.json")) else "measured"
    say(f"loading the {source} model, profile {profile}")
    addresses = work / "addresses.json"
    addresses.unlink(missing_ok=True)
    spec = f"m={model},compute_dtype=bf16"
    if source == "original":
        spec += f",format={formats.replace(',', ';')}"
    flags = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--device", "cpu"]
    flags += ["--profile-dir", str(profiles), "--address-file", str(addresses), "--model", spec]
    with (work / f"server-{source}.log").open("wb") as log:
        server = subprocess.Popen([str(BIN / "tightfit-server"), *flags], stdout=log, stderr=log)
        try:
            while not addresses.is_file() or not addresses.read_text():
                if server.poll() is not None:
                    raise SystemExit(f"the server ended; see {log.name}")
                time.sleep(0.05)
            address = json.loads(addresses.read_text())["listen"]

            def cli(*arguments: str) -> Any:
                command = [str(BIN / "tightfit"), *arguments, "--json", "--server", address]
                return json.loads(subprocess.check_output(command, text=True))

            watch = MemoryWatch(server.pid)
            watch.start()
            started = time.monotonic()
            cli("load", "m")
            peak_mib = watch.finish()
            final_mib = memory_mib(server.pid, "RssAnon")
            image = ["--width", "64", "--height", "64", "--steps", "1", "-o", str(work / "x.png")]
            cli("generate", "a lighthouse", "--seed", "1", *image)
            first_step_seconds = time.monotonic() - started
            described = cli("models", "m")["model"]
        finally:
            server.terminate()
            server.wait()
    weights = sum(part["weight_bytes"] for part in described["components"])
    return Loaded(
        source=source,
        profile=profile,
        weights_mib=weights / MIB,
        load_seconds=described["load_seconds"],
        first_step_seconds=first_step_seconds,
        peak_anonymous_mib=peak_mib,
        final_anonymous_mib=final_mib,
    )


def read_seconds(folder: Path) -> float:
    """Reading the packed weight files, by large pieces, and nothing else."""
    buffer = bytearray(16 << 20)
    started = time.monotonic()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.monotonic() - started


def disk_mib(folder: Path, pattern: str = "*.safetensors") -> float:
    return sum(path.stat().st_size for path in folder.glob(pattern)) / MIB


def table(rows: list[Loaded]) -> str:
    first = rows[0].first_step_seconds
    lines = [
        "| loaded from | memory profile | all weights MiB | load s | to the first step s "
        "| of the first row | anonymous MiB, peak / after |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.source} | {row.profile} | {row.weights_mib:,.0f} | {row.load_seconds:.1f} "
        f"| {row.first_step_seconds:.1f} | {row.first_step_seconds / first:.2f} "
        f"| {row.peak_anonymous_mib:,.0f} / {row.final_anonymous_mib:,.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="DIR")
    parser.add_argument("--format", default="e2m5r", metavar="FORMATS")
    parser.add_argument("--cold", action="store_true", help="drop the page cache before each load")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = options.model or options.work / "sdxl-base"
    export_model(model)
    packed = options.work / f"packed-{options.format.replace('=', '-').replace(',', '_')}"
    packing = None if (packed / "model.json").is_file() else pack(model, packed, options.format)
    rows = []
    for source, folder in (("original", model), ("packed", packed)):
        profiles = options.work / f"profiles-{source}"
        for path in profiles.glob("*.json"):
            path.unlink()
        for _ in range(2):
            if options.cold:
                drop_page_cache()
            rows.append(load(source, folder, options.format, profiles, options.work))
    if options.cold:
        drop_page_cache()
    reading = read_seconds(packed)
    print(table(rows))
    if packing:
        print(f"\npacking: {packing['seconds']:.1f} s")
    print(f"reading the packed files alone: {reading:.1f} s")
    unet = "unet*.safetensors"
    print(f"UNet on disk: {disk_mib(model, unet):,.0f} MiB, packed {disk_mib(packed, unet):,.0f}")
    if options.json:
        document = {"loaded": [asdict(row) for row in rows], "read_seconds": reading}
        document["packing"] = packing
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    missed = [
        f"{row.source}: {row.peak_anonymous_mib:.0f} MiB while loading, "
        f"{row.final_anonymous_mib:.0f} afterwards"
        for row in rows
        # Measuring draws images, which take more than the load does.
        if row.source == "packed"
        and row.profile == "kept"
        and row.peak_anonymous_mib > row.final_anonymous_mib + LOAD_HEADROOM_MIB
    ]
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
