"""UNets that take more than latents draw what diffusers draws with them.

Inpainting UNets see the mask and the image around it, and keep nothing by themselves; distilled
ones take the guidance scale as an embedding, and make one row of an image whatever it is.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from parity.check import assert_different, assert_same
from parity.inputs import SIZES, path_of, write_inputs
from parity.jobs import Job, Weights
from parity.probe import probe_binary, run_probe
from parity.reference import Reference
from tiny_model import tiny_root

pytestmark = pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built")

UNPACKED = Weights()
INPAINTING = ("tiny-sd1+inpainting", "tiny+inpainting")
DISTILLED = ("tiny-sd1+distilled", "tiny+distilled")


def inpainting_jobs(folder: Path) -> dict[str, Job]:
    wide = SIZES[1]
    base = Job(step_count=6, strength=0.6, seed=3).but(
        init_image=path_of(folder, "image", SIZES[0]), mask=path_of(folder, "mask", SIZES[0])
    )
    return {
        "in a mask": base,
        "from noise": base.but(strength=1.0),
        "with noise at every step": base.but(sampler="euler-a", seed=8),
        "three images": base.but(image_count=3, sampler="euler-a"),
        "without guidance": base.but(guidance_scale=1.0),
        "wide": base.but(
            width_px=wide[0],
            height_px=wide[1],
            init_image=path_of(folder, "image", wide),
            mask=path_of(folder, "mask", wide),
        ),
    }


@pytest.mark.parametrize("kind", INPAINTING)
def test_an_inpainting_unet_draws_what_diffusers_draws(kind: str, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    root = tiny_root(kind)
    jobs = inpainting_jobs(tmp_path)
    inverted = jobs["in a mask"].but(mask=path_of(tmp_path, "inverted", SIZES[0]))
    pairs = [(UNPACKED, job) for job in [*jobs.values(), inverted]]
    ours = run_probe(root / "model", pairs, tmp_path).images
    reference = Reference(root / "source")
    for name, job in jobs.items():
        print(name)
        assert_same(ours[UNPACKED, job], reference.draw(UNPACKED, job))
    assert_different(ours[UNPACKED, inverted], reference.draw(UNPACKED, jobs["in a mask"]))


@pytest.mark.parametrize("kind", DISTILLED)
def test_a_distilled_unet_takes_the_guidance_scale_itself(kind: str, tmp_path: Path) -> None:
    root = tiny_root(kind)
    base = Job(sampler="lcm", guidance_scale=8.0)
    jobs = {
        "lcm": base,
        "another scale": base.but(guidance_scale=1.5),
        "a negative prompt, which nothing hears": base.but(negative_prompt="dark"),
        "three images": base.but(image_count=3, seed=5),
        "euler": base.but(sampler="euler"),
    }
    ours = run_probe(root / "model", [(UNPACKED, job) for job in jobs.values()], tmp_path).images
    reference = Reference(root / "source")
    for name, job in jobs.items():
        print(name)
        assert_same(ours[UNPACKED, job], reference.draw(UNPACKED, job))
    assert_different(
        ours[UNPACKED, jobs["another scale"]], reference.draw(UNPACKED, jobs["lcm"])
    )
