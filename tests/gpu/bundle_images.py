"""Draws the jobs of a bundle with pipeline_probe and compares them with what diffusers drew.

bundle_images.py BUNDLE DEVICE OUT.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import array_file


def compare(folder: Path, reference: Path, number: int) -> dict[str, float]:
    """Largest difference of latents over their largest magnitude, and of pixels."""
    ours, theirs = (
        array_file.read(place / f"{prefix}{number}.latents.npy")
        for place, prefix in ((folder, "job-"), (reference, ""))
    )
    pixels = [
        array_file.read(place / f"{prefix}{number}.pixels.npy")
        for place, prefix in ((folder, "job-"), (reference, ""))
    ]
    return {
        "latent_error": array_file.largest_difference(ours, theirs) / array_file.largest(theirs),
        "pixel_error": array_file.largest_difference(*pixels),
    }


def judge(found: dict[str, float], limits: dict[str, float]) -> bool:
    return all(found[name] <= limit for name, limit in limits.items())


def main() -> int:
    bundle, device, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    wanted = json.loads((bundle / "images" / "jobs.json").read_text())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        specs = []
        for number, job in enumerate(wanted["jobs"]):
            model = {"path": str(bundle / "models" / "tiny"), **job["model"]}
            specs.append({**job, "model": model, "output": str(folder / f"job-{number}")})
        (folder / "jobs.json").write_text(json.dumps(specs))
        probe = bundle / "bin" / "pipeline_probe"
        arguments = [folder / "jobs.json", folder / "summary.json", device]
        subprocess.run([probe, *arguments], check=True, cwd=folder)
        summary = json.loads((folder / "summary.json").read_text())
        for number, (job, done) in enumerate(zip(wanted["jobs"], summary["jobs"])):
            row: dict[str, Any] = {"name": job["name"], "status": done["status"]["message"]}
            if done["status"]["ok"]:
                row |= compare(folder, bundle / "images", number)
            row["ok"] = done["status"]["ok"] and judge(row, wanted["limits"])
            rows.append(row)
    right = sum(row["ok"] for row in rows)
    out.write_text(json.dumps({"right": right, "of": len(rows), "images": rows}))
    return 0 if right == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
