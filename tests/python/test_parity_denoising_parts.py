"""Parts of the denoising are those of diffusers, and two of them make the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity.check import assert_different, assert_same
from parity.jobs import Job, Weights
from parity.probe import Images, ProbeResult, probe_binary, run_probe
from parity.reference import SCHEDULERS, Reference

pytestmark = pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built")

UNPACKED = Weights()
SHARES = (0.3, 0.8)
STEPS = 10
FIRST = {
    (sampler, share): Job(
        sampler=sampler, step_count=STEPS, denoising_end=share, image_count=2, seed=17
    )
    for sampler in SCHEDULERS
    for share in SHARES
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def diffusers(tiny_pipeline_dir: Path) -> Reference:
    return Reference(tiny_pipeline_dir)


@pytest.fixture(scope="module")
def second(diffusers: Reference, folder: Path) -> dict[tuple[str, float], Job]:
    """The jobs that go on from what diffusers left."""
    jobs = {}
    for (sampler, share), job in FIRST.items():
        file = folder / f"{sampler}-{share}.latents"
        diffusers.draw(UNPACKED, job).latents.astype("<f4").tofile(file)
        jobs[sampler, share] = job.but(
            denoising_start=share, denoising_end=1.0, initial_latents=file
        )
    middle = jobs["euler", 0.3]
    jobs["euler", 0.31] = middle.but(denoising_end=0.8)
    return jobs


@pytest.fixture(scope="module")
def ours(tiny_model_dir: Path, second: dict[tuple[str, float], Job], folder: Path) -> ProbeResult:
    jobs = [(UNPACKED, job) for job in [*FIRST.values(), *second.values()]]
    return run_probe(tiny_model_dir, jobs, folder)


@pytest.mark.parametrize("job", FIRST.values(), ids=[f"{s} to {e}" for s, e in FIRST])
def test_the_first_part_is_that_of_diffusers(
    ours: ProbeResult, diffusers: Reference, job: Job
) -> None:
    assert_same(ours.images[UNPACKED, job], diffusers.draw(UNPACKED, job))


@pytest.mark.parametrize("part", [*FIRST, ("euler", 0.31)], ids=lambda p: f"{p[0]} from {p[1]}")
def test_the_second_part_is_that_of_diffusers(
    ours: ProbeResult, diffusers: Reference, second: dict[tuple[str, float], Job], part: tuple
) -> None:
    job = second[part]
    found = ours.images[UNPACKED, job]
    assert_same(found, diffusers.draw(UNPACKED, job))
    latents = np.fromfile(job.initial_latents, dtype="<f4").reshape(found.latents.shape)
    assert_different(Images(latents, found.pixels), found)


@pytest.mark.parametrize("share", SHARES)
def test_two_parts_of_euler_make_the_whole(
    ours: ProbeResult, diffusers: Reference, second: dict[tuple[str, float], Job], share: float
) -> None:
    whole = FIRST["euler", share].but(denoising_end=1.0)
    assert_same(ours.images[UNPACKED, second["euler", share]], diffusers.draw(UNPACKED, whole))
