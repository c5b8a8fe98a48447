"""Models of SD 1.x's and 2.x's kind draw what diffusers draws, on small random pipelines.

Where diffusers fails (clip_skip with transformers 5) its formula is the oracle; without a negative
prompt an empty one is encoded, as its pipeline of these families does.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from parity.check import assert_different, assert_same
from parity.inputs import SIZES, path_of, write_inputs
from parity.jobs import Job, Weights
from parity.probe import ProbeResult, load_status, probe_binary, run_probe
from parity.reference import SCHEDULERS, Reference
from tiny_model import tiny_root

pytestmark = pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built")

FAMILIES = ("tiny-sd1", "tiny-sd2")
UNPACKED = Weights()
PACKED = [Weights("e2m5r"), Weights("hf12")]
BASE = Job(guidance_scale=7.5)
# Latents of the pipelines are an eighth, and halved three times: none of these is a multiple of 64.
IMAGES = {
    "euler": BASE,
    "three images": BASE.but(image_count=3, seed=11, sampler="euler-a"),
    "latents of 9x10": BASE.but(height_px=72, width_px=80),
    "latents of 13x7": BASE.but(height_px=104, width_px=56, seed=5),
    "wide": BASE.but(width_px=96, seed=2**40),
    "empty negative prompt": BASE.but(negative_prompt=""),
    "negative prompt": BASE.but(negative_prompt="blurry, dark", seed=3),
    "without guidance": BASE.but(guidance_scale=1.0),
    "rescaled guidance": BASE.but(guidance_rescale=0.7),
    "a layer left out": BASE.but(clip_skip=1),
    "two layers left out": BASE.but(clip_skip=2, negative_prompt="dark"),
    "empty prompt": BASE.but(prompt=""),
    "trailing steps": BASE.but(timestep_spacing="trailing"),
    "prompt of more than 77 tokens": BASE.but(prompt="a red apple and " * 40, seed=8),
    **{f"{name}, 6 steps": BASE.but(sampler=name, step_count=6, seed=31) for name in SCHEDULERS},
}
CONTROLS = {
    "another prompt": BASE.but(prompt="a blue bird in the snow"),
    "another seed": BASE.but(seed=2),
    "one step more": BASE.but(step_count=5),
    "a layer less left out": BASE.but(clip_skip=1),
}


def over_images(folder: Path) -> dict[str, Job]:
    """Ways to draw over an image."""
    jobs = {}
    for size, sampler in zip(SIZES[:2], ("euler", "euler-a"), strict=True):
        job = BASE.but(width_px=size[0], height_px=size[1], step_count=6, strength=0.6)
        job = job.but(init_image=path_of(folder, "image", size), sampler=sampler)
        jobs[f"{sampler} over an image"] = job
        jobs[f"{sampler} in a mask"] = job.but(mask=path_of(folder, "mask", size))
    return jobs


class Drawn:
    """A family's images, ours and diffusers'."""

    def __init__(self, kind: str, folder: Path) -> None:
        root = tiny_root(kind)
        self.model = root / "model"
        self.over_images = over_images(folder)
        jobs = [*IMAGES.values(), *CONTROLS.values(), *self.over_images.values()]
        self.ours: ProbeResult = run_probe(
            self.model,
            [(UNPACKED, job) for job in jobs] + [(weights, BASE) for weights in PACKED],
            folder,
        )
        self.reference = Reference(root / "source")


@pytest.fixture(scope="module", params=FAMILIES)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp(request.param)
    write_inputs(folder)
    return Drawn(request.param, folder)


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_those_of_diffusers(drawn: Drawn, name: str) -> None:
    job = IMAGES[name]
    assert_same(drawn.ours.images[UNPACKED, job], drawn.reference.draw(UNPACKED, job))


@pytest.mark.parametrize("name", over_images(Path()))
def test_drawing_over_an_image_is_what_diffusers_does(drawn: Drawn, name: str) -> None:
    job = drawn.over_images[name]
    assert_same(drawn.ours.images[UNPACKED, job], drawn.reference.draw(UNPACKED, job))


@pytest.mark.parametrize("weights", PACKED, ids=lambda weights: weights.format)
def test_packed_weights_draw_what_diffusers_draws_with_them(
    drawn: Drawn, weights: Weights
) -> None:
    expected = drawn.reference.draw(weights, BASE)
    assert_same(drawn.ours.images[weights, BASE], expected)
    assert_different(drawn.ours.images[UNPACKED, BASE], expected)


@pytest.mark.parametrize("name", CONTROLS)
def test_another_request_is_noticed(drawn: Drawn, name: str) -> None:
    assert_different(
        drawn.ours.images[UNPACKED, CONTROLS[name]], drawn.reference.draw(UNPACKED, BASE)
    )


def test_an_absent_negative_prompt_is_an_empty_one(drawn: Drawn) -> None:
    images = drawn.ours.images
    assert (
        images[UNPACKED, BASE].pixels == images[UNPACKED, BASE.but(negative_prompt="")].pixels
    ).all()


def test_a_format_for_an_encoder_that_is_not_there_is_refused(
    drawn: Drawn, tmp_path: Path
) -> None:
    status = load_status(drawn.model, tmp_path, format="unet=hf8,text_encoder_2=q8")
    assert not status["ok"] and "text_encoder_2" in status["message"]
