"""Drawing over an image, and into a masked part of it, is what diffusers does, image by image.

Where diffusers' batches differ from its single images (all images of an inpainting begin with one
sample of the image's latents) we draw single images; where it gives an empty batch (a strength that
is less than a step) we refuse. Pixels that a mask keeps are the VAE's in diffusers; ours are the
image's own unless the request says otherwise. pndm has a call more than steps, and diffusers counts
a strength's calls from the front: 0.3 of 10 steps are 4 calls, and the second of them, not the
second of all, is what goes back to take its step again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor
from parity.check import assert_different, assert_same
from parity.inputs import SIZES, path_of, write_inputs
from parity.jobs import Job, Weights
from parity.probe import Images, ProbeResult, job_statuses, probe_binary, run_probe
from parity.reference import SCHEDULERS, Reference

pytestmark = [
    pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built"),
    # Of numpy, to diffusers' DEIS and KDPM2.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

UNPACKED = Weights()
PACKED = Weights("e2m5r", "linear+conv")
STRENGTHS = [0.05, 0.29, 0.5, 0.7, 0.9999, 1.0]


def read(job: Job, path: Path | None) -> np.ndarray:
    """The image [height, width, 3] or mask [height, width] in a file."""
    assert path is not None
    channels = () if path == job.mask else (3,)
    return np.fromfile(path, np.uint8).reshape(job.height_px, job.width_px, *channels)


def job_of(folder: Path, mask: str | None = None, **changes: Any) -> Job:
    job = Job(step_count=6, strength=0.6, seed=3).but(**changes)
    size = (job.width_px, job.height_px)
    return job.but(
        init_image=path_of(folder, "image", size), mask=mask and path_of(folder, mask, size)
    )


def cases(folder: Path) -> dict[str, Job]:
    """By name, ways to draw over an image."""
    jobs = {}
    for sampler in SCHEDULERS:
        jobs[sampler] = job_of(folder, sampler=sampler)
        jobs[f"{sampler} in a mask"] = job_of(folder, "mask", sampler=sampler)
    for strength in STRENGTHS:
        steps = {"step_count": 20 if strength < 0.1 else 10, "strength": strength}
        jobs[f"strength {strength}"] = job_of(folder, **steps, sampler="dpmpp-2m-karras")
        jobs[f"strength {strength} in a mask"] = job_of(folder, "mask", **steps, sampler="euler-a")
    for sampler in ("pndm", "kdpm2-a"):
        for mask in (None, "mask"):
            steps = {"sampler": sampler, "step_count": 10, "strength": 0.3}
            name = f"strength 0.3 of {sampler}" + (" in a mask" if mask else "")
            jobs[name] = job_of(folder, mask, **steps)
    # All of the denoising, and all but its first step, whose call is not repeated then.
    jobs["strength 1.0 of pndm"] = job_of(folder, sampler="pndm", strength=1.0)
    jobs["strength 0.9 of pndm"] = job_of(folder, sampler="pndm", step_count=10, strength=0.9)
    wide, odd = ({"width_px": width, "height_px": height} for width, height in SIZES[1:])
    three = odd | {"image_count": 3}
    return jobs | {
        "wide": job_of(folder, **wide),
        "wide in a mask": job_of(folder, "mask", **wide, sampler="heun"),
        "three images": job_of(folder, **three, sampler="euler-a"),
        "three images in a mask": job_of(folder, "mask", **three, sampler="lcm"),
        "strength 1 of three in a mask": job_of(
            folder, "mask", **three, strength=1.0, sampler="unipc"
        ),
        "without guidance": job_of(folder, guidance_scale=1.0),
        "another spacing": job_of(folder, timestep_spacing="trailing"),
        "a mask of everything": job_of(folder, "white", sampler="euler-a"),
        "a black mask": job_of(folder, "black", strength=0.5),
        "an end before the last step": job_of(folder, denoising_end=0.8, step_count=10),
    }


CASES = tuple(cases(Path()))
# What a wrong strength, mask, image or seed must be noticed with.
CONTROLS: dict[str, Callable[[Job], Job]] = {
    "another strength": lambda job: job.but(strength=0.8),
    "the inverted mask": lambda job: job.but(mask=named(job.mask, "inverted")),
    "another image": lambda job: job.but(init_image=named(job.init_image, "other")),
    "no mask": lambda job: job.but(mask=None),
    "another seed": lambda job: job.but(seed=job.seed + 1),
    "as many steps of another schedule": lambda job: job.but(step_count=7, strength=0.5),
}


def last_alone(job: Job) -> Job:
    return job.but(image_count=1, seed=job.seed + job.image_count - 1)


def named(path: Path | None, name: str) -> Path:
    assert path is not None
    return path.with_name(f"{name}-{path.name.partition('-')[2]}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def jobs(folder: Path) -> dict[str, Job]:
    return cases(folder)


@pytest.fixture(scope="module")
def masked(jobs: dict[str, Job]) -> Job:
    """The job that controls are held against."""
    return jobs["euler-a in a mask"]


@pytest.fixture(scope="module")
def ours(
    tiny_model_dir: Path, jobs: dict[str, Job], masked: Job, folder: Path
) -> ProbeResult:
    drawn = [(UNPACKED, job) for job in jobs.values()]
    drawn += [(UNPACKED, change(masked)) for change in CONTROLS.values()]
    drawn += [(UNPACKED, job.but(keep_unmasked_pixels=True)) for job in jobs.values() if job.mask]
    drawn += [(PACKED, jobs["euler"]), (PACKED, masked)]
    drawn += [(UNPACKED, last_alone(jobs["three images in a mask"]))]
    return run_probe(tiny_model_dir, drawn, folder)


@pytest.fixture(scope="module")
def diffusers(tiny_pipeline_dir: Path) -> Reference:
    return Reference(tiny_pipeline_dir)


@pytest.mark.parametrize("name", CASES)
def test_images_are_those_of_diffusers(
    ours: ProbeResult, diffusers: Reference, jobs: dict[str, Job], name: str
) -> None:
    assert_same(ours.images[UNPACKED, jobs[name]], diffusers.draw(UNPACKED, jobs[name]))


@pytest.mark.parametrize("control", CONTROLS)
def test_the_check_notices(
    ours: ProbeResult, diffusers: Reference, masked: Job, control: str
) -> None:
    other = ours.images[UNPACKED, CONTROLS[control](masked)]
    assert_different(other, diffusers.draw(UNPACKED, masked))


@pytest.mark.parametrize("name", ["euler", "euler-a in a mask"])
def test_packed_weights_draw_what_diffusers_draws_with_them(
    ours: ProbeResult, diffusers: Reference, jobs: dict[str, Job], name: str
) -> None:
    assert_same(ours.images[PACKED, jobs[name]], diffusers.draw(PACKED, jobs[name]))
    assert_different(ours.images[UNPACKED, jobs[name]], diffusers.draw(PACKED, jobs[name]))


def test_noise_is_drawn_after_the_sample_of_the_image(
    ours: ProbeResult, diffusers: Reference, jobs: dict[str, Job], vae: AutoencoderKL
) -> None:
    job = jobs["euler"]
    # Latents are taken as they are, so that noise is the first draw of a fresh generator.
    draws = torch.Generator().manual_seed(job.seed)
    shape = (1, 4, job.height_px // 8, job.width_px // 8)
    first, second = torch.randn(shape, generator=draws), torch.randn(shape, generator=draws)
    in_order = diffusers.draw_over_latents(job, sample(vae, job, first), skipped_draws=1)
    assert_same(ours.images[UNPACKED, job], in_order)
    swapped = diffusers.draw_over_latents(job, sample(vae, job, second), skipped_draws=0)
    assert_different(ours.images[UNPACKED, job], swapped)


@pytest.fixture(scope="module")
def vae(tiny_pipeline_dir: Path) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(tiny_pipeline_dir / "vae", dtype=torch.float32).eval()


@torch.no_grad()
def sample(vae: AutoencoderKL, job: Job, noise: torch.Tensor) -> torch.Tensor:
    """The image's latents, scaled, by what VAE and noise say."""
    pixels = torch.from_numpy(read(job, job.init_image)).permute(2, 0, 1)[None]
    mean, log_variance = vae.encode(pixels / 127.5 - 1).latent_dist.parameters.chunk(2, 1)
    return vae.config.scaling_factor * (mean + (log_variance / 2).exp() * noise)


@torch.no_grad()
def decoded(vae: AutoencoderKL, latents: torch.Tensor) -> np.ndarray:
    image = vae.decode(latents / vae.config.scaling_factor).sample
    return np.asarray(VaeImageProcessor().postprocess(image, output_type="pil")[0])


def test_a_black_mask_gives_the_input_back_to_the_pixel(
    ours: ProbeResult, jobs: dict[str, Job], vae: AutoencoderKL
) -> None:
    job = jobs["a black mask"]
    kept = ours.images[UNPACKED, job.but(keep_unmasked_pixels=True)]
    assert np.array_equal(kept.pixels[0], read(job, job.init_image))
    # Without, it is what the VAE makes of the image: nothing of the denoising is left.
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(job.seed))
    round_trip = decoded(vae, sample(vae, job, noise))
    found = ours.images[UNPACKED, job].pixels[0]
    assert np.abs(found.astype(int) - round_trip).max() <= 1
    assert np.abs(found.astype(int) - read(job, job.init_image)).max() > 10


@pytest.mark.parametrize("name", [name for name in CASES if "mask" in name])
def test_pixels_that_are_kept_are_the_images_and_all_others_are_drawn(
    ours: ProbeResult, jobs: dict[str, Job], name: str
) -> None:
    job = jobs[name]
    kept = ours.images[UNPACKED, job.but(keep_unmasked_pixels=True)]
    plain = ours.images[UNPACKED, job]
    assert np.array_equal(kept.latents, plain.latents)
    drawn = read(job, job.mask) == 255
    for i in range(job.image_count):
        assert np.array_equal(kept.pixels[i][drawn], plain.pixels[i][drawn])
        assert np.array_equal(kept.pixels[i][~drawn], read(job, job.init_image)[~drawn])


def test_every_image_of_a_request_is_the_one_that_its_seed_gives_alone(
    ours: ProbeResult, jobs: dict[str, Job]
) -> None:
    three = jobs["three images in a mask"]
    alone = ours.images[UNPACKED, last_alone(three)]
    images = ours.images[UNPACKED, three]
    assert_same(Images(images.latents[2:], images.pixels[2:]), alone)
    assert_different(Images(images.latents[:1], images.pixels[:1]), alone)


def test_a_strength_of_less_than_a_step_is_refused_with_both_numbers(
    tiny_model_dir: Path, jobs: dict[str, Job], tmp_path: Path
) -> None:
    steps = {0.19: 5, 0.0099: 100}
    too_little = [jobs["euler"].but(strength=s, step_count=n) for s, n in steps.items()]
    enough = [job.but(strength=1 / job.step_count) for job in too_little]
    ended = job_statuses(tiny_model_dir, tmp_path, [*too_little, *enough])
    for job, status in zip(too_little, ended[:2], strict=True):
        assert not status["ok"] and status["code"] == 3  # INVALID_ARGUMENT
        assert f"strength {job.strength}" in status["message"]
        assert f"{job.step_count} steps" in status["message"]
    assert all(status["ok"] for status in ended[2:])


def test_the_encoder_is_there_from_the_first_image_on_until_the_model_leaves(
    tiny_model_dir: Path, jobs: dict[str, Job], tmp_path: Path
) -> None:
    text, over_image = Job(step_count=1), jobs["euler"]
    for number, job in enumerate((text, over_image)):
        work = tmp_path / str(number)
        work.mkdir()
        result = run_probe(tiny_model_dir, [(UNPACKED, job)], work)
        accounts = result.accounts_after_job[UNPACKED, job]
        held = {
            purpose: accounts.get(("vae_encoder", purpose), {"current_bytes": 0})["current_bytes"]
            for purpose in ("weights", "activations")
        }
        assert (held["weights"] >= 4 * 100_000) is (job is over_image)
        assert held["activations"] == 0
        assert "vae_encoder" not in result.loads[UNPACKED].description["components"]
        assert result.loads[UNPACKED].bytes_after_unload < 4 * 100_000
