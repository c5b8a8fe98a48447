"""Runs pipeline_probe: the C++ pipeline without a server."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .jobs import Job, Weights

# Where the pipeline computes; tests/gpu/run.sh sets it. The oracles compute on the CPU.
DEVICE = os.environ.get("TIGHTFIT_DEVICE", "cpu")
REPOSITORY = Path(__file__).resolve().parents[3]


def probe_binary() -> Path:
    build = Path(os.environ.get("TIGHTFIT_BUILD_DIR") or REPOSITORY / "build" / "release")
    return build / "tests" / "support" / "pipeline_probe"


# By (component, purpose): current_bytes, peak_bytes.
Accounts = dict[tuple[str, str], dict[str, int]]


@dataclass(frozen=True)
class Images:
    latents: np.ndarray  # fp32 [images, channels, h, w]
    pixels: np.ndarray  # uint8 [images, height, width, 3]


@dataclass(frozen=True)
class Load:
    """What the probe tells of one loading."""

    description: dict[str, Any]
    accounts: Accounts
    bytes_while_loaded: int
    peak_bytes: int
    bytes_after_unload: int
    progress_bytes: tuple[int, int]


@dataclass(frozen=True)
class ProbeResult:
    images: dict[tuple[Weights, Job], Images]
    loads: dict[Weights, Load]
    accounts_after_job: dict[tuple[Weights, Job], Accounts]


def run_probe(
    model_dir: Path,
    jobs: list[tuple[Weights, Job]],
    work_dir: Path,
    compute_dtype: str = "fp32",
    **model: Any,
) -> ProbeResult:
    """Runs every job once, each of the models loaded once. `model`: further settings of it."""
    ordered = sorted(set(jobs), key=lambda pair: (pair[0].format, pair[0].scope))
    specs = [
        {
            "model": {
                "path": str(model_dir),
                "format": weights.format,
                "scope": weights.scope,
                "compute_dtype": compute_dtype,
                **model,
            },
            "output": str(work_dir / f"job-{number}"),
            **job.as_json(),
        }
        for number, (weights, job) in enumerate(ordered)
    ]
    summary = _run(work_dir, specs)
    for number, job in enumerate(summary["jobs"]):
        assert job["status"]["ok"], (ordered[number], job["status"])
    return ProbeResult(
        images={
            pair: Images(
                latents=np.load(work_dir / f"job-{number}.latents.npy"),
                pixels=np.load(work_dir / f"job-{number}.pixels.npy"),
            )
            for number, pair in enumerate(ordered)
        },
        loads={
            Weights(load["model"]["format"], load["model"]["scope"]): _load(load)
            for load in summary["models"]
        },
        accounts_after_job={
            pair: _accounts(job["accounts"])
            for pair, job in zip(ordered, summary["jobs"], strict=True)
        },
    )


def job_statuses(model_dir: Path, work_dir: Path, jobs: list[Job]) -> list[dict[str, Any]]:
    """How jobs on the unpacked model end."""
    model = {"path": str(model_dir), "format": "fp16", "scope": "linear+conv"}
    spec = {"model": model | {"compute_dtype": "fp32"}, "output": str(work_dir / "job")}
    ended = _run(work_dir, [spec | job.as_json() for job in jobs])["jobs"]
    return [job["status"] for job in ended]


def load_status(model_dir: Path, work_dir: Path, **model: str) -> dict[str, Any]:
    """How loading a model with these settings ends."""
    settings = {"format": "fp16", "scope": "linear+conv", "compute_dtype": "fp32"}
    spec = {"model": {"path": str(model_dir), **settings, **model}}
    summary = _run(work_dir, [{"output": str(work_dir / "job"), **spec, **Job().as_json()}])
    return summary["jobs"][0]["status"]


def _run(work_dir: Path, specs: list[dict[str, Any]]) -> dict[str, Any]:
    jobs_file = work_dir / "jobs.json"
    summary_file = work_dir / "summary.json"
    jobs_file.write_text(json.dumps(specs))
    subprocess.run(
        [probe_binary(), jobs_file, summary_file, DEVICE], check=True, timeout=600, cwd=work_dir
    )
    return json.loads(summary_file.read_text())


def _accounts(accounts: list[dict[str, Any]]) -> Accounts:
    return {(account["component"], account["purpose"]): account for account in accounts}


def _load(load: dict[str, Any]) -> Load:
    return Load(
        description=load["description"],
        accounts=_accounts(load["accounts"]),
        bytes_while_loaded=load["bytes_while_loaded"],
        peak_bytes=load["peak_bytes_of_load"],
        bytes_after_unload=load["bytes_after_unload"],
        progress_bytes=tuple(load["progress_bytes"]),
    )
