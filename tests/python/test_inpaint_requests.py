"""Of the real server: blurred masks, masked areas and margins, drawn as diffusers draws them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from client_sides import Side, on_both_sides, tightfit
from diffusers import EulerDiscreteScheduler, StableDiffusionXLInpaintPipeline
from emoji_model import MODEL
from image_probe import smooth
from PIL import Image, ImageFilter
from server_process import ServerProcess
from tightfit import Client, InpaintArea, InvalidRequestError, Margins

PROMPT = "a red apple"
SEED, STEPS, GUIDANCE, STRENGTH = 5, 6, 4.0, 0.9
# A step of a pixel where both compute, and one where theirs mixes by premultiplied pixels.
MAX_PIXEL_ERROR = 3
PADDING = 12
BLUR = 2
HOLE = (60, 30, 84, 50)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    model = f"emoji-xl={MODEL},format=fp16,compute_dtype=fp32"
    with ServerProcess(tmp_path_factory.mktemp("server"), [model]) as running:
        yield running


@pytest.fixture(scope="module")
def diffusers() -> StableDiffusionXLInpaintPipeline:
    pipeline = StableDiffusionXLInpaintPipeline.from_pretrained(
        MODEL.parent / "diffusers", dtype=torch.float32, use_safetensors=True
    )
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(width: int = 140, height: int = 90) -> Image.Image:
    return Image.fromarray(smooth(width, height))


def hole(width: int = 140, height: int = 90) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(255, HOLE)
    return mask


def theirs(pipeline: Any, image: Image.Image, mask: Image.Image, **changes: Any) -> Image.Image:
    size = {"width": 64, "height": 64} | changes
    return pipeline(
        prompt=PROMPT,
        image=image,
        mask_image=mask,
        strength=STRENGTH,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(SEED)],
        **size,
    ).images[0]


def ours(server: ServerProcess, image: Image.Image, **parameters: Any) -> Image.Image:
    same: dict[str, Any] = {
        "seed": SEED,
        "step_count": STEPS,
        "guidance_scale": GUIDANCE,
        "strength": STRENGTH,
        "sampler": "euler",
    }
    with Client(server.address) as client:
        (drawn,) = client.generate(PROMPT, init_image=image, **(same | parameters)).images
    return drawn.pil.convert("RGB")


def error(left: Image.Image, right: Image.Image) -> int:
    assert left.size == right.size
    return int(np.abs(np.asarray(left).astype(int) - np.asarray(right)).max())


@pytest.mark.parametrize("blur", [0, BLUR])
def test_a_masked_area_is_that_of_diffusers(
    server: ServerProcess, diffusers: Any, blur: int
) -> None:
    image, mask = picture(), hole()
    area = {"mask": mask, "inpaint_area": "masked", "inpaint_padding_px": PADDING}
    drawn = ours(server, image, **area, mask_blur_px=blur)
    soft = mask.filter(ImageFilter.GaussianBlur(blur))
    expected = theirs(diffusers, image, soft, padding_mask_crop=PADDING)
    assert error(drawn, expected) <= MAX_PIXEL_ERROR
    assert drawn.size == image.size
    kept = np.asarray(soft) == 0
    assert np.array_equal(np.asarray(drawn)[kept], np.asarray(image)[kept])
    assert np.asarray(drawn)[np.asarray(mask) == 255].std() > 10, "too flat to prove anything"
    # The controls: another padding, another blur, the whole image.
    for other in (
        theirs(diffusers, image, soft, padding_mask_crop=PADDING + 8),
        theirs(
            diffusers,
            image,
            mask.filter(ImageFilter.GaussianBlur(blur + 3)),
            padding_mask_crop=PADDING,
        ),
        ours(server, image, mask=mask, mask_blur_px=blur),
    ):
        assert other.size != drawn.size or error(drawn, other) > MAX_PIXEL_ERROR


def test_a_box_that_the_image_is_too_low_for_keeps_its_aspect(
    server: ServerProcess, diffusers: Any
) -> None:
    image, mask = picture(200, 36), Image.new("L", (200, 36))
    mask.paste(255, (20, 10, 180, 26))
    drawn = ours(server, image, mask=mask, inpaint_area="masked", inpaint_padding_px=PADDING)
    expected = theirs(diffusers, image, mask, padding_mask_crop=PADDING)
    assert error(drawn, expected) <= MAX_PIXEL_ERROR


def test_a_blurred_mask_is_cut_for_latents_and_mixes_pixels(
    server: ServerProcess, diffusers: Any
) -> None:
    image = picture(64, 64)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 12, 50, 64))
    soft = mask.filter(ImageFilter.GaussianBlur(BLUR))
    drawn = theirs(diffusers, image, soft)
    found = ours(server, image, mask=mask, mask_blur_px=BLUR)
    assert error(found, Image.composite(drawn, image, soft)) <= MAX_PIXEL_ERROR
    hard = Image.composite(drawn, image, soft.point(lambda grey: 255 * (grey >= 128)))
    assert error(found, hard) > MAX_PIXEL_ERROR, "the control: a hard edge"
    plain = ours(server, image, mask=mask, mask_blur_px=BLUR, keep_unmasked_pixels=False)
    assert error(plain, drawn) <= MAX_PIXEL_ERROR


def test_margins_are_drawn_as_diffusers_draws_in_a_mask_of_them(
    server: ServerProcess, diffusers: Any
) -> None:
    image = picture(44, 52)
    found = ours(server, image, outpaint=Margins(0, 12, 20, 0))
    larger = Image.fromarray(np.pad(np.asarray(image), ((12, 0), (0, 20), (0, 0)), mode="edge"))
    mask = Image.new("L", (64, 64), 255)
    mask.paste(0, (0, 12, 44, 64))
    drawn = theirs(diffusers, larger, mask)
    assert error(found, Image.composite(drawn, larger, mask)) <= MAX_PIXEL_ERROR
    assert found.crop((0, 12, 44, 64)).tobytes() == image.tobytes(), "to the bit"
    black = larger.copy()
    black.paste((0, 0, 0), mask=mask)
    other = theirs(diffusers, black, mask)
    assert error(other, drawn) > MAX_PIXEL_ERROR, "the control: another filling"


def test_margins_of_any_size_around_a_masked_area(server: ServerProcess, diffusers: Any) -> None:
    image = picture(90, 71)
    margins = Margins(0, 0, 33, 0)
    with pytest.raises(InvalidRequestError, match="give 30 or 34, or width_px"):
        ours(server, image, outpaint=margins)
    found = ours(server, image, outpaint=margins, inpaint_area=InpaintArea.MASKED)
    assert found.size == (123, 71)
    assert found.crop((0, 0, 90, 71)).tobytes() == image.tobytes()
    larger = Image.fromarray(np.pad(np.asarray(image), ((0, 0), (0, 33), (0, 0)), mode="edge"))
    mask = Image.new("L", larger.size, 255)
    mask.paste(0, (0, 0, 90, 71))
    assert error(found, theirs(diffusers, larger, mask, padding_mask_crop=32)) <= MAX_PIXEL_ERROR


@on_both_sides
def test_both_clients_draw_and_estimate(server: ServerProcess, side: Side) -> None:
    asked: dict[str, Any] = {"init_image": picture(), "mask": hole(), "inpaint_area": "masked"}
    result = side.call(server.address, "generate", PROMPT, step_count=2, seed=1, **asked)
    told = result.parameters
    assert (told.width_px, told.height_px) == (64, 64)
    assert told.inpaint_area is InpaintArea.MASKED and told.inpaint_padding_px == 32
    assert result.images[0].pil.size == (140, 90)
    estimate = side.call(server.address, "estimate", PROMPT, **asked)
    assert estimate.parameters.inpaint_area is tightfit.InpaintArea.MASKED
    with Client(server.address) as client:
        plain = client.estimate(PROMPT, init_image=picture(64, 64), mask=hole(64, 64))
    assert estimate.request_bytes == plain.request_bytes, "of what is drawn, not of the answer"


def test_a_masked_area_is_drawn_again_from_its_text(server: ServerProcess, tmp_path: Path) -> None:
    files = {"image": tmp_path / "image.png", "mask": tmp_path / "mask.png"}
    picture().save(files["image"])
    hole().save(files["mask"])
    given = {"init_image": files["image"], "mask": files["mask"]}
    drawn = tmp_path / "drawn.png"
    again = tmp_path / "again.png"
    inputs = ("--init-image", str(files["image"]), "--mask", str(files["mask"]))
    done = server.cli(
        *("generate", PROMPT, *inputs, "--mask-blur", "3", "--inpaint-area", "masked"),
        *("--inpaint-padding", "9", "--outpaint", "5,0,0,7", "--steps", "3", "-o", str(drawn)),
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(drawn).size == (145, 97)
    redrawn = server.cli("generate", "--from-png", str(drawn), *inputs, "-o", str(again))
    assert redrawn.returncode == 0, redrawn.stderr
    assert again.read_bytes() == drawn.read_bytes()
    with Client(server.address) as client:
        result = client.generate_from_png(drawn, **given)
        assert result.images[0].png == drawn.read_bytes() and result.notes == ()
        assert result.parameters.mask_blur_px == 3
        assert result.parameters.outpaint == Margins(5, 0, 0, 7)
        with pytest.raises(ValueError, match="give it as init_image"):
            client.generate_from_png(drawn)
