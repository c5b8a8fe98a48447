"""Blurred masks, parts of images drawn by themselves, and margins: as Pillow and diffusers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from diffusers.image_processor import VaeImageProcessor
from image_probe import NOT_BUILT, PROGRAM, Probe, smooth
from PIL import Image, ImageFilter

pytestmark = pytest.mark.skipif(not PROGRAM, reason=NOT_BUILT)

# What a result may take beside what it is made of; pages that the system hands out at once.
SLACK_KIB = 4 * 1024
PROCESSOR = VaeImageProcessor()


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    probe = Probe(tmp_path_factory.mktemp("probe"))
    yield probe
    probe.close()


def mask_of(
    width: int, height: int, box: tuple[int, int, int, int], value: int = 255
) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(value, box)
    return mask


def noise(width: int, height: int, channels: int = 1) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, channels))
    shown = pixels.astype(np.uint8)
    return Image.fromarray(shown[..., 0] if channels == 1 else shown)


def box_of(
    probe: Probe, mask: Image.Image, padding: int, size: tuple[int, int]
) -> tuple[int, ...] | None:
    """Left, top, right and bottom."""
    answer = probe.ask(
        f"box {padding} {size[0]} {size[1]} {mask.width} {mask.height}", mask.tobytes()
    )
    if not answer.pixels:
        return None
    left, top, width, height = map(int, answer.pixels.split())
    return left, top, left + width, top + height


def difference(ours: bytes, reference: Image.Image) -> int:
    theirs = np.asarray(reference).astype(int)
    return int(np.abs(np.frombuffer(ours, np.uint8).reshape(theirs.shape) - theirs).max())


RADII = [1, 2, 3, 4, 8, 17, 33, 64, 128, 255, 256]


@pytest.mark.parametrize("radius", RADII)
def test_a_blur_is_pillows_to_the_bit(radius: int, probe: Probe) -> None:
    masks = [noise(61, 47), mask_of(97, 83, (20, 30, 60, 50)), mask_of(200, 300, (0, 0, 1, 300))]
    for mask in masks:
        expected = mask.filter(ImageFilter.GaussianBlur(radius))
        answer = probe.ask(f"blur {radius} {mask.width} {mask.height}", mask.tobytes())
        assert answer.pixels == expected.tobytes()
        assert answer.pixels == VaeImageProcessor.blur(mask, radius).tobytes()
    # The controls, of the last one: another radius, and a box of the same.
    assert answer.pixels != mask.filter(ImageFilter.GaussianBlur(radius + 1)).tobytes()
    assert answer.pixels != mask.filter(ImageFilter.BoxBlur(radius)).tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (5, 700), (700, 5)])
def test_masks_smaller_than_the_blur_are_pillows_too(size: tuple[int, int], probe: Probe) -> None:
    mask = noise(*size)
    for radius in (1, 5, 256):
        expected = mask.filter(ImageFilter.GaussianBlur(radius)).tobytes()
        assert probe.ask(f"blur {radius} {size[0]} {size[1]}", mask.tobytes()).pixels == expected


def test_no_blur_leaves_a_mask_as_it_is(probe: Probe) -> None:
    mask = noise(61, 47)
    assert probe.ask("blur 0 61 47", mask.tobytes()).pixels == mask.tobytes()


def test_a_blur_takes_its_time_by_the_pixels_and_little_memory(probe: Probe) -> None:
    mask = mask_of(2048, 2048, (500, 500, 1500, 1500))
    near, far = (probe.ask(f"blur {r} 2048 2048", mask.tobytes()) for r in (1, 256))
    # Two masks: the one that it is read into and the one that it is blurred to.
    assert max(near.peak_kib, far.peak_kib) <= 2 * 4096 + SLACK_KIB
    assert far.seconds < 4 * near.seconds + 0.1


BOXES = [
    # Image, white pixels, padding, size that is drawn.
    ((96, 80), (40, 30, 50, 36), 0, (64, 64)),
    ((96, 80), (40, 30, 50, 36), 8, (64, 64)),
    ((96, 80), (40, 30, 50, 36), 32, (64, 64)),
    ((96, 80), (0, 0, 1, 1), 0, (64, 64)),
    ((96, 80), (95, 79, 96, 80), 0, (64, 32)),
    ((96, 80), (95, 79, 96, 80), 5, (32, 64)),
    ((96, 80), (0, 0, 96, 80), 32, (64, 64)),
    ((96, 80), (0, 20, 96, 21), 0, (64, 64)),
    ((300, 40), (100, 0, 120, 40), 4, (64, 64)),
    ((300, 40), (0, 0, 300, 40), 4, (64, 64)),
    ((40, 300), (0, 290, 40, 300), 2048, (128, 64)),
    ((97, 83), (13, 7, 31, 70), 3, (72, 40)),
    ((1, 1), (0, 0, 1, 1), 32, (64, 64)),
]


@pytest.mark.parametrize("case", BOXES, ids=str)
def test_the_box_of_a_mask_is_that_of_diffusers(case: tuple, probe: Probe) -> None:
    image_size, white, padding, size = case
    for value in (255, 1):
        mask = mask_of(*image_size, white, value)
        expected = VaeImageProcessor.get_crop_region(mask, *size, pad=padding)
        assert box_of(probe, mask, padding, size) == expected


def test_boxes_of_random_masks_are_those_of_diffusers(probe: Probe) -> None:
    rng = np.random.default_rng(19)
    found = set()
    for _ in range(400):
        width, height = (int(side) for side in rng.integers(1, 200, 2))
        left, right = sorted(int(x) for x in rng.integers(0, width + 1, 2))
        top, bottom = sorted(int(y) for y in rng.integers(0, height + 1, 2))
        if left == right or top == bottom:
            continue
        mask = mask_of(width, height, (left, top, right, bottom))
        padding = int(rng.integers(0, 60))
        size = tuple(8 * int(side) for side in rng.integers(2, 20, 2))
        expected = VaeImageProcessor.get_crop_region(mask, *size, pad=padding)
        assert box_of(probe, mask, padding, size) == expected, (mask.size, padding, size)
        assert 0 <= expected[0] < expected[2] <= width
        found.add(expected)
    assert len(found) > 200


def test_a_black_mask_has_no_box(probe: Probe) -> None:
    assert box_of(probe, Image.new("L", (96, 80)), 32, (64, 64)) is None


FILLS = [
    ((96, 80), (64, 64)),
    ((80, 96), (64, 64)),
    ((64, 64), (64, 64)),
    ((300, 40), (64, 64)),
    ((40, 300), (128, 64)),
    ((63, 64), (64, 64)),
    ((1000, 1001), (64, 64)),
    ((1, 1), (64, 48)),
    ((2, 100), (64, 64)),
    ((31, 17), (72, 40)),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sizes", FILLS, ids=str)
def test_what_is_given_to_the_model_is_what_diffusers_gives(
    sizes: tuple[tuple[int, int], tuple[int, int]], channels: int, probe: Probe
) -> None:
    (width, height), (new_width, new_height) = sizes
    source = Image.fromarray(smooth(width, height))
    source = source if channels == 3 else source.convert("L")
    expected = PROCESSOR.resize(source, new_height, new_width, resize_mode="fill")
    command = f"fill {channels} {width} {height} {new_width} {new_height}"
    answer = probe.ask(command, source.tobytes())
    assert answer.pixels == expected.convert(source.mode).tobytes()
    if width > 1 and width * new_height != height * new_width:
        stretched = source.resize((new_width, new_height), Image.Resampling.LANCZOS)
        assert answer.pixels != stretched.tobytes(), "the control: the aspect is kept"


def test_a_box_that_would_be_less_than_a_pixel_wide_is_one_pixel(probe: Probe) -> None:
    column = Image.new("RGB", (1, 100), (1, 2, 3))
    with pytest.raises(ValueError, match="must be > 0"):
        PROCESSOR.resize(column, 64, 64, resize_mode="fill")
    answer = probe.ask("fill 3 1 100 64 64", column.tobytes())
    assert answer.pixels == Image.new("RGB", (64, 64), (1, 2, 3)).tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_part_of_a_resized_image_is_a_part_of_the_whole(channels: int, probe: Probe) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        width, height, new_width, new_height = (int(side) for side in rng.integers(1, 120, 4))
        source = noise(width, height, channels)
        left, top = int(rng.integers(0, new_width)), int(rng.integers(0, new_height))
        right = int(rng.integers(left, new_width)) + 1
        bottom = int(rng.integers(top, new_height)) + 1
        whole = source.resize((new_width, new_height), Image.Resampling.LANCZOS)
        part = f"{left} {top} {right - left} {bottom - top}"
        command = f"part {channels} {width} {height} {new_width} {new_height} {part}"
        expected = whole.crop((left, top, right, bottom))
        assert probe.ask(command, source.tobytes()).pixels == expected.tobytes(), command


COMPOSITIONS = [
    # Image, box, size that is drawn.
    ((96, 80), (20, 10, 84, 74), (64, 64)),
    ((96, 80), (0, 0, 96, 80), (96, 80)),
    ((96, 80), (30, 20, 40, 30), (64, 64)),
    ((96, 80), (0, 0, 96, 80), (64, 64)),
    ((300, 40), (100, 0, 140, 40), (64, 64)),
    ((300, 40), (0, 0, 300, 40), (64, 64)),
    ((40, 300), (0, 0, 40, 300), (128, 64)),
    ((97, 83), (13, 0, 45, 79), (32, 80)),
]


def composed(
    probe: Probe,
    image: Image.Image,
    mask: Image.Image,
    box: tuple[int, int, int, int],
    drawn: Image.Image,
) -> bytes:
    left, top, right, bottom = box
    sizes = f"{left} {top} {right - left} {bottom - top} {image.width} {image.height}"
    content = image.tobytes() + mask.crop(box).tobytes() + drawn.tobytes()
    return probe.ask(f"compose {sizes} {drawn.width} {drawn.height}", content).pixels


@pytest.mark.parametrize("blur", [0, 3])
@pytest.mark.parametrize("case", COMPOSITIONS, ids=str)
def test_what_was_drawn_goes_back_as_diffusers_puts_it(
    case: tuple, blur: int, probe: Probe
) -> None:
    image_size, box, size = case
    image = Image.fromarray(smooth(*image_size))
    drawn = Image.fromarray(smooth(size[1], size[0]).transpose(1, 0, 2).copy())
    inner = (box[0] + 6, box[1] + 4, max(box[2] - 6, box[0] + 7), max(box[3] - 4, box[1] + 5))
    soft = mask_of(*image_size, inner).filter(ImageFilter.GaussianBlur(blur))
    mask = Image.new("L", image_size)
    mask.paste(soft.crop(box), box)
    ours = composed(probe, image, mask, box, drawn)
    theirs = PROCESSOR.apply_overlay(mask, image, drawn, box)
    # Theirs goes through premultiplied pixels of 8 bits where the mask is grey.
    assert difference(ours, theirs) <= (0 if blur == 0 else 2)
    # To the bit Pillow's own mixing of the image and of what is resized as diffusers does it.
    pasted = image.copy()
    pasted.paste(
        PROCESSOR.resize(drawn, box[3] - box[1], box[2] - box[0], resize_mode="crop"), box
    )
    assert ours == Image.composite(pasted, image, mask).tobytes()
    kept = np.asarray(mask) == 0
    result = np.frombuffer(ours, np.uint8).reshape(*kept.shape, 3)
    assert np.array_equal(result[kept], np.asarray(image)[kept])
    assert not np.array_equal(result[~kept], np.asarray(image)[~kept]), "something is drawn"
    other = composed(probe, image, mask, box, Image.fromarray(255 - np.asarray(drawn)))
    assert difference(other, theirs) > 2, "the control: another drawn image"


def test_what_was_drawn_goes_back_into_random_boxes_as_diffusers_puts_it(probe: Probe) -> None:
    rng = np.random.default_rng(23)
    for _ in range(80):
        size = tuple(8 * int(side) for side in rng.integers(2, 12, 2))
        left, top = (int(side) for side in rng.integers(0, 20, 2))
        right, bottom = left + int(rng.integers(1, 90)), top + int(rng.integers(1, 90))
        box = (left, top, right, bottom)
        image = noise(right + int(rng.integers(0, 9)), bottom + int(rng.integers(0, 9)), 3)
        drawn, mask = noise(*size, 3), mask_of(*image.size, box)
        theirs = PROCESSOR.apply_overlay(mask, image, drawn, box)
        assert composed(probe, image, mask, box, drawn) == theirs.tobytes(), (size, box)


def test_a_long_box_takes_no_more_than_what_comes_out(probe: Probe) -> None:
    # Scaled to cover the box, what is drawn would be 2 097 152 pixels wide.
    image = Image.new("RGB", (16, 16384), (1, 2, 3))
    mask = Image.new("L", image.size, 255)
    drawn = Image.new("RGB", (2048, 16), (9, 8, 7))
    box = (0, 0, 16, 16384)
    left, top, right, bottom = box
    content = image.tobytes() + mask.tobytes() + drawn.tobytes()
    command = f"compose {left} {top} {right} {bottom} 16 16384 2048 16"
    answer = probe.ask(command, content)
    assert answer.pixels == Image.new("RGB", image.size, (9, 8, 7)).tobytes()
    assert answer.peak_kib < 4 * len(content) // 1024 + SLACK_KIB


@pytest.mark.parametrize("margins", [(0, 0, 24, 0), (3, 5, 7, 11), (0, 0, 0, 0), (200, 0, 0, 100)])
def test_margins_repeat_the_outermost_pixels_and_are_white_in_the_mask(
    margins: tuple[int, int, int, int], probe: Probe
) -> None:
    left, top, right, bottom = margins
    image = smooth(61, 47)
    expected = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="edge")
    white = np.full(expected.shape[:2], 255, np.uint8)
    white[top : top + 47, left : left + 61] = 0
    answer = probe.ask(f"margins {left} {top} {right} {bottom} 61 47", image.tobytes())
    assert answer.size == expected.shape[1::-1]
    assert answer.pixels == expected.tobytes() + white.tobytes()
