"""For tests/gpu/bundle.sh: the tiny model, and what diffusers draws with it on this CPU in fp32.

bundle_reference.py MODEL_OUT IMAGES_OUT      the jobs are those of tests/python/test_parity.py
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from parity.check import MAX_LATENT_ERROR, MAX_PIXEL_ERROR
from parity.jobs import Job, Weights
from parity.reference import Reference
from test_parity import PACKED, PACKED_JOB, IMAGES, SAMPLED, UNPACKED, name_of
from tiny_model import tiny_root


def main() -> None:
    model, out = map(Path, sys.argv[1:])
    root = tiny_root()
    shutil.copytree(root / "model", model)
    out.mkdir(parents=True)
    jobs: list[tuple[str, Weights, Job]] = [
        (name, UNPACKED, job) for name, job in {**IMAGES, **SAMPLED}.items()
    ]
    # A model is loaded once for all its jobs that follow each other.
    jobs += [(name_of(weights), weights, PACKED_JOB) for weights in PACKED]
    reference = Reference(root / "source")
    listed = []
    for number, (name, weights, job) in enumerate(jobs):
        drawn = reference.draw(weights, job)
        np.save(out / f"{number}.latents.npy", drawn.latents.astype("<f4"))
        np.save(out / f"{number}.pixels.npy", drawn.pixels)
        settings = {"format": weights.format, "scope": weights.scope, "compute_dtype": "fp32"}
        listed.append({"name": name, "model": settings, **job.as_json()})
    limits = {"latent_error": MAX_LATENT_ERROR, "pixel_error": MAX_PIXEL_ERROR}
    (out / "jobs.json").write_text(json.dumps({"limits": limits, "jobs": listed}, indent=1))


if __name__ == "__main__":
    main()
