"""Parts of the denoising are those of diffusers, and two of them make the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity.check import assert_different, assert_same
from parity.jobs import Job, Weights
from parity.probe import Images, ProbeResult, probe_binary, run_probe
from parity.reference import SCHEDULERS, Reference

pytestmark = [
    pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built"),
    # Of numpy, to diffusers' DEIS and KDPM2.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

UNPACKED = Weights()
SHARES = (0.3, 0.8)
# Between a step's second call and the next step: elsewhere diffusers leaves latents of the middle
# of a step, and takes the step again from there; our parts are of whole steps. kdpm2-a asks at a
# step's very end, so that diffusers parts its steps wherever it is cut.
SHARES_OF_KDPM2 = (0.36, 0.87)
STEPS = 10
FIRST = {
    (sampler, share): Job(
        sampler=sampler, step_count=STEPS, denoising_end=share, image_count=2, seed=17
    )
    for sampler in SCHEDULERS
    if not sampler.startswith("kdpm2-a")
    for share in (SHARES_OF_KDPM2 if sampler.startswith("kdpm2") else SHARES)
}
# Cut in the middle of a step.
PARTED = FIRST["kdpm2", 0.36].but(denoising_end=0.3)


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
    jobs = [(UNPACKED, job) for job in [*FIRST.values(), *second.values(), PARTED]]
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


def test_a_step_of_kdpm2_is_done_whole(ours: ProbeResult, diffusers: Reference) -> None:
    assert_same(ours.images[UNPACKED, PARTED], diffusers.draw(UNPACKED, FIRST["kdpm2", 0.36]))
    assert_different(ours.images[UNPACKED, PARTED], diffusers.draw(UNPACKED, PARTED))


@pytest.mark.parametrize(
    "part",
    [(sampler, share) for sampler, share in FIRST if sampler in ("euler", "kdpm2")],
    ids=lambda p: f"{p[0]} at {p[1]}",
)
def test_two_parts_make_the_whole(
    ours: ProbeResult, diffusers: Reference, second: dict[tuple[str, float], Job], part: tuple
) -> None:
    whole = FIRST[part].but(denoising_end=1.0)
    assert_same(ours.images[UNPACKED, second[part]], diffusers.draw(UNPACKED, whole))
