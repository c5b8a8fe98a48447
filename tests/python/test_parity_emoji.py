"""The default model draws through the server's pipeline what it draws in diffusers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from parity.check import assert_different, assert_same, difference
from parity.inputs import path_of, write_inputs
from parity.jobs import FORMATS, SCOPES, Job, Weights
from parity.probe import REPOSITORY, ProbeResult, probe_binary, run_probe
from parity.reference import SCHEDULERS, Reference

EMOJI_XL = REPOSITORY / "deploy" / "models" / "emoji-xl"
MODEL = EMOJI_XL / "model"
pytestmark = [
    pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built")
]

UNPACKED = Weights()
HF8 = Weights("hf8", "linear+conv")
PROMPTS = ("red apple", "an image of a penguin", "pizza", "blue heart")
JOBS = {prompt: Job(prompt, step_count=8, guidance_scale=4.0, seed=1) for prompt in PROMPTS}
EVERY_SAMPLER = [JOBS["pizza"].but(sampler=sampler) for sampler in SCHEDULERS]
ANCESTRAL = JOBS["pizza"].but(sampler="euler-a", image_count=3)
EVERY_WEIGHTS = [Weights(f, s) for f, s in itertools.product(FORMATS, SCOPES)]


@pytest.fixture(scope="module")
def drawn_over(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """By the name of its mask; images that this VAE, unlike a random one, sees something in."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    image = path_of(folder, "image", (64, 64))
    plain = JOBS["pizza"].but(init_image=image, strength=0.6)
    masks = {mask: path_of(folder, mask, (64, 64)) for mask in ("mask", "inverted")}
    masked = {mask: plain.but(mask=path, sampler="euler-a") for mask, path in masks.items()}
    other = plain.but(init_image=path_of(folder, "other", (64, 64)))
    return {"none": plain, "none, another image": other, **masked}


@pytest.fixture(scope="module")
def ours(
    tmp_path_factory: pytest.TempPathFactory, drawn_over: dict[str, Job]
) -> ProbeResult:
    jobs = list(itertools.product([UNPACKED, HF8], [*JOBS.values(), ANCESTRAL]))
    jobs += [(weights, JOBS["pizza"]) for weights in EVERY_WEIGHTS]
    jobs += [(UNPACKED, job) for job in EVERY_SAMPLER]
    jobs += list(itertools.product([UNPACKED, HF8], drawn_over.values()))
    return run_probe(MODEL, jobs, tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="module")
def ours_in_bf16(tmp_path_factory: pytest.TempPathFactory) -> ProbeResult:
    jobs = [(HF8, job) for job in JOBS.values()]
    return run_probe(MODEL, jobs, tmp_path_factory.mktemp("bf16"), compute_dtype="bf16")


@pytest.fixture(scope="module")
def diffusers() -> Reference:
    return Reference(EMOJI_XL / "diffusers")


@pytest.mark.parametrize("job", [*JOBS.values(), ANCESTRAL], ids=lambda job: job.prompt)
@pytest.mark.parametrize("weights", [UNPACKED, HF8], ids=lambda weights: weights.format)
def test_images_are_those_of_diffusers(
    ours: ProbeResult, diffusers: Reference, weights: Weights, job: Job
) -> None:
    assert_same(ours.images[weights, job], diffusers.draw(weights, job))
    other = HF8 if weights == UNPACKED else UNPACKED
    assert_different(ours.images[other, job], diffusers.draw(weights, job))


@pytest.mark.parametrize("weights", [UNPACKED, HF8], ids=lambda weights: weights.format)
@pytest.mark.parametrize(
    ("mask", "control"), [("none", "none, another image"), ("mask", "inverted")]
)
def test_drawing_over_an_image(
    ours: ProbeResult,
    diffusers: Reference,
    drawn_over: dict[str, Job],
    weights: Weights,
    mask: str,
    control: str,
) -> None:
    reference = diffusers.draw(weights, drawn_over[mask])
    assert_same(ours.images[weights, drawn_over[mask]], reference)
    assert_different(ours.images[weights, drawn_over[control]], reference)


@pytest.mark.parametrize("job", EVERY_SAMPLER, ids=lambda job: job.sampler)
def test_every_sampler(ours: ProbeResult, diffusers: Reference, job: Job) -> None:
    assert_same(ours.images[UNPACKED, job], diffusers.draw(UNPACKED, job))


@pytest.mark.parametrize("weights", EVERY_WEIGHTS, ids=lambda w: f"{w.format} {w.scope}")
def test_every_format_and_scope(ours: ProbeResult, diffusers: Reference, weights: Weights) -> None:
    job = JOBS["pizza"]
    assert_same(ours.images[weights, job], diffusers.draw(weights, job))


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_bf16_gives_the_same_image_within_its_precision(
    ours_in_bf16: ProbeResult, diffusers: Reference, job: Job
) -> None:
    reference = diffusers.draw(HF8, job)
    found = difference(ours_in_bf16.images[HF8, job], reference)
    # Eight significant bits through eight steps; equality would mean that fp32 had run.
    assert 1e-4 < found.latent_error < 0.1
    errors = ours_in_bf16.images[HF8, job].pixels.astype(float) - reference.pixels
    assert np.sqrt(np.mean(errors**2)) < 8
