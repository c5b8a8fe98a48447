"""The images that clients send, as Pillow reads them; and what is refused, at once and by name."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
from image_probe import NOT_BUILT, PROGRAM, Probe, smooth
from PIL import Image, ImageOps

pytestmark = pytest.mark.skipif(not PROGRAM, reason=NOT_BUILT)

# Of a processor. The quickest of some tries counts: caches are cold where other tests run.
MAX_REFUSAL_SECONDS = 0.05
MAX_PIXELS = 16 * 1024 * 1024
# A decoder's own tables, and pages that the system hands out at once.
SLACK_KIB = 3 * 1024


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    probe = Probe(tmp_path_factory.mktemp("probe"))
    yield probe
    probe.close()


def image(width: int = 61, height: int = 47, mode: str = "RGB") -> Image.Image:
    made = Image.fromarray(smooth(width, height, 4), "RGBA")
    return made if mode == "RGBA" else made.convert("RGB").convert(mode)


def file_of(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, depth: int, colours: int, rows: bytes, before: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def interlaced_png(pixels: numpy.ndarray[Any, Any]) -> bytes:
    """Adam7, which Pillow reads but does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    rows = b""
    for left, top, right, down in (*passes, (0, 1, 1, 2)):
        for row in pixels[top::down, left::right]:
            rows += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    ends = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + ends


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def as_pillow(content: bytes) -> Image.Image:
    """RGB as the server is to read it: upright, transparent pixels on white."""
    opened = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if not opened.has_transparency_data:
        return opened.convert("RGB")
    clear = opened.convert("RGBA")
    white = Image.new("RGB", clear.size, "white")
    white.paste(clear.convert("RGB"), mask=clear.getchannel("A"))
    return white


def good_files() -> dict[str, bytes]:
    files = {f"PNG {mode}": file_of(image(mode=mode), "PNG") for mode in ("RGB", "RGBA", "L", "1")}
    files["PNG LA"] = file_of(image(mode="RGBA").convert("LA"), "PNG")
    for colours in (2, 4, 16, 200):
        files[f"PNG palette of {colours}"] = file_of(image().quantize(colours), "PNG")
    files["PNG palette, one colour clear"] = file_of(image().quantize(9), "PNG", transparency=3)
    files["PNG palette, colours half clear"] = file_of(
        image().quantize(9), "PNG", transparency=bytes(range(0, 252, 28))
    )
    red = image()
    red.putpixel((3, 3), (255, 0, 0))
    files["PNG RGB, one colour clear"] = file_of(red, "PNG", transparency=(255, 0, 0))
    files["PNG grey, one grey clear"] = file_of(image(mode="L"), "PNG", transparency=100)
    files["PNG of one pixel"] = file_of(image(1, 1), "PNG")
    files["PNG with a profile and text"] = file_of(
        image(), "PNG", icc_profile=b"no profile", dpi=(72, 72)
    )
    files["PNG, something behind its end"] = files["PNG RGB"] + b"more"
    wide = smooth(20, 10, 3).astype(">u2") * 257 + 100
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    files["PNG of 16 bits"] = png(20, 10, 16, 2, rows)
    grey = b"".join(b"\0" + row.tobytes() for row in wide[:, :, 0])
    nibbles = b"".join(b"\0" + grey[i : i + 10] for i in range(10))
    files["PNG grey of 4 bits"] = png(20, 10, 4, 0, nibbles)
    files["PNG of one frame that says so"] = png(
        20, 10, 16, 2, rows, chunk(b"acTL", struct.pack(">II", 1, 0))
    )
    files["PNG, interlaced"] = interlaced_png(smooth(23, 17))
    for quality, subsampling in ((95, 0), (75, 2), (30, 1)):
        files[f"JPEG {quality} {subsampling}"] = file_of(
            image(), "JPEG", quality=quality, subsampling=subsampling
        )
    files["JPEG progressive"] = file_of(image(200, 133), "JPEG", progressive=True)
    files["JPEG grey"] = file_of(image(mode="L"), "JPEG")
    files["JPEG of one pixel"] = file_of(image(1, 1), "JPEG")
    files["JPEG, something behind its end"] = files["JPEG 95 0"] + b"a film"
    files["JPEG of RGB"] = file_of(image(), "JPEG", keep_rgb=True)
    files["WebP"] = file_of(image(), "WEBP")
    files["WebP lossless"] = file_of(image(), "WEBP", lossless=True)
    files["WebP with alpha"] = file_of(image(mode="RGBA"), "WEBP", lossless=True, exact=True)
    files["WebP, lossy with alpha"] = file_of(image(mode="RGBA"), "WEBP", quality=60)
    files["WebP of one pixel"] = file_of(image(1, 1), "WEBP", lossless=True)
    for turn in range(1, 9):
        for kind in ("PNG", "JPEG", "WEBP"):
            files[f"{kind} turned by {turn}"] = file_of(image(), kind, exif=exif(turn))
    files["JPEG turned by 9"] = file_of(image(), "JPEG", exif=exif(9))
    return files


GOOD = good_files()


@pytest.mark.parametrize("name", GOOD)
def test_pixels_are_those_of_pillow(name: str, probe: Probe) -> None:
    expected = as_pillow(GOOD[name])
    answer = probe.ask("image", GOOD[name])
    assert answer.message == ""
    assert answer.size == expected.size
    difference = numpy.frombuffer(answer.pixels, numpy.uint8).astype(int) - numpy.frombuffer(
        expected.tobytes(), numpy.uint8
    )
    assert numpy.abs(difference).max() == 0


def test_a_picture_that_is_not_turned_is_another(probe: Probe) -> None:
    """The control of the comparison above."""
    answer = probe.ask("image", GOOD["JPEG turned by 6"])
    as_stored = Image.open(io.BytesIO(GOOD["JPEG turned by 6"])).convert("RGB")
    assert answer.pixels != as_stored.tobytes()


OPAQUE = [name for name in GOOD if not re.search("alpha|clear|RGBA|LA", name)]


@pytest.mark.parametrize("name", OPAQUE)
def test_masks_are_grey_as_pillow_makes_them(name: str, probe: Probe) -> None:
    expected = as_pillow(GOOD[name]).convert("L")
    answer = probe.ask("mask", GOOD[name])
    assert answer.message == ""
    assert answer.pixels == expected.tobytes()


def with_zeros(content: bytes, quarter: int) -> bytes:
    broken = bytearray(content)
    at = len(content) * quarter // 4
    broken[at : at + 40] = bytes(40)
    return bytes(broken)


def bad_files() -> dict[str, tuple[bytes, str]]:
    """What it is -> the file, and a part of what is said of it."""
    whole = {
        "PNG": file_of(image(160, 120), "PNG"),
        "JPEG": file_of(image(160, 120), "JPEG"),
        "progressive JPEG": file_of(image(160, 120), "JPEG", progressive=True),
        "WebP": file_of(image(160, 120), "WEBP"),
        "lossless WebP": file_of(image(160, 120), "WEBP", lossless=True),
        "WebP with EXIF": file_of(image(160, 120), "WEBP", exif=exif(6)),
    }
    files: dict[str, tuple[bytes, str]] = {"nothing": (b"", "is empty")}
    for kind, content in whole.items():
        for percent in (1, 3, 10, 25, 50, 75, 90, 99):
            cut = content[: max(len(content) * percent // 100, 16)]
            files[f"{percent} % of a {kind}"] = (cut, kind.removesuffix(" with EXIF").split()[-1])
        files[f"a {kind} but for its last byte"] = (content[:-1], "")
    for place in (1, 2, 3):
        files[f"a PNG with zeros in it, {place}"] = (with_zeros(whole["PNG"], place), "damaged PNG")
    for other in ("GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "PCX"):
        mode = "P" if other == "GIF" else "RGB"
        files[f"a {other}"] = (file_of(image(mode=mode), other), "PNG, JPEG or WebP")
    try:
        files["an AVIF"] = (file_of(image(), "AVIF"), "is an AVIF image")
    except (KeyError, OSError):  # a Pillow without it
        pass
    files["a GIF of two frames"] = (
        file_of(image(), "GIF", save_all=True, append_images=[image(61, 47, "L")]),
        "is a GIF image",
    )
    two = {"save_all": True, "append_images": [ImageOps.invert(image())]}
    files["an animated PNG"] = (file_of(image(), "PNG", **two), "is an animation")
    files["an animated WebP"] = (file_of(image(), "WEBP", **two), "is an animation")
    files["CMYK JPEG"] = (file_of(image().convert("CMYK"), "JPEG"), "CMYK")
    files["text"] = (b"an image of a cat", "PNG, JPEG or WebP")
    files["latents"] = (b"\x40" + bytes(7) + b'{"latents":{}}' + bytes(64), "initial_latents")
    some = b"\0" * 65
    for width, height, said in (
        (100_000, 100_000, "16384 wide"),
        (2**31 - 1, 2**31 - 1, "16384 wide"),
        (2**31 - 1, 1, "16384 wide"),
        (16_385, 1, "16384 wide"),
        (1, 16_385, "16384 wide"),
        (16_384, 16_384, "16777216 in all"),
        (4097, 4096, "16777216 in all"),
        (0, 1, "damaged"),
    ):
        files[f"a PNG that says {width} x {height}"] = (png(width, height, 8, 2, some), said)
    files["a PNG of 4096 x 4096 in 65 bytes"] = (png(4096, 4096, 8, 6, some), "PNG")
    files["a PNG of 3 bits"] = (png(8, 8, 3, 0, some), "damaged")
    files["a PNG of unknown colours"] = (png(8, 8, 8, 5, some), "damaged")
    jpeg = bytearray(whole["JPEG"])
    at = jpeg.index(b"\xff\xc0") + 5
    for width, height, said in (
        (65_535, 65_535, ""),
        (65_500, 65_500, "16384 wide"),
        (16_384, 16_000, "16777216 in all"),
        (0, 0, ""),
    ):
        jpeg[at : at + 4] = struct.pack(">HH", height, width)
        files[f"a JPEG that says {width} x {height}"] = (bytes(jpeg), said)
    jpeg[at : at + 4] = struct.pack(">HH", 4000, 4000)
    files["a JPEG of 4000 x 4000 that holds 160 x 120"] = (bytes(jpeg), "JPEG")
    jpeg[at - 1] = 12
    files["a JPEG of 12 bits"] = (bytes(jpeg), "12 or 16 bits")
    webp = bytearray(whole["WebP"])
    start = webp.index(b"\x9d\x01\x2a") + 3
    webp[start : start + 4] = struct.pack("<HH", 16_383, 16_383)
    files["a WebP that says 16383 x 16383"] = (bytes(webp), "16777216 in all")
    webp[start : start + 4] = struct.pack("<HH", 4000, 4000)
    files["a WebP of 4000 x 4000 that holds 160 x 120"] = (bytes(webp), "WebP")
    canvas = bytearray(whole["WebP with EXIF"])
    place = canvas.index(b"VP8X") + 12
    canvas[place : place + 6] = b"\xff\xff\xff" * 2
    files["a WebP with a canvas of 2^24 squared"] = (bytes(canvas), "")
    files["a file of 8 MiB and a byte"] = (whole["PNG"] + bytes((8 << 20) + 1), "8388608")
    return files


BAD = bad_files()


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 60


@pytest.mark.parametrize("command", ["image", "mask"])
@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_at_once_and_in_little_memory(
    name: str, command: str, probe: Probe
) -> None:
    content, said = BAD[name]
    answers = [probe.ask(command, content) for _ in range(3)]
    for answer in answers:
        assert answer.message and said in answer.message
        # One line for people, of ours: no text of a library, no path.
        assert len(answer.message) < 160 and "\n" not in answer.message
        assert "/" not in answer.message.replace("12 or 16", "")
    assert min(answer.seconds for answer in answers) < MAX_REFUSAL_SECONDS
    # Only what holds so many pixels has room made for it.
    claims_much = "4000 x 4000" in name or "4096 x 4096" in name
    most_kib = MAX_PIXELS * 4 // 1024 if claims_much else len(content) // 1024
    assert min(answer.peak_kib for answer in answers) <= most_kib + SLACK_KIB


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_damage_that_no_checksum_tells_ends_in_pixels_or_in_a_refusal(
    kind: str, probe: Probe
) -> None:
    whole = file_of(image(160, 120), kind)
    rng = numpy.random.default_rng(3)
    for _ in range(100):
        broken = bytearray(whole)
        for at in rng.integers(0, len(whole), 4):
            broken[at] = rng.integers(0, 256)
        answer = probe.ask("image", bytes(broken))
        assert answer.message or answer.size[0] * answer.size[1] * 3 == len(answer.pixels)
        assert answer.seconds < 10


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_every_short_beginning_of_a_file_is_refused(kind: str, probe: Probe) -> None:
    whole = file_of(image(), kind)
    for size in range(40):
        assert probe.ask("image", whole[:size]).message, size
        for magic in (b"RIFF", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0\0\0\x20ftyp"):
            assert probe.ask("image", magic + whole[:size]).message, (magic, size)


def test_a_mask_must_not_be_transparent(probe: Probe) -> None:
    for name in ("PNG RGBA", "PNG LA", "PNG palette, one colour clear", "WebP with alpha"):
        assert "transparent pixels" in probe.ask("mask", GOOD[name]).message, name
    opaque = image(mode="RGBA")
    opaque.putalpha(255)
    answer = probe.ask("mask", file_of(opaque, "PNG"))
    assert answer.pixels == opaque.convert("L").tobytes(), "an alpha channel by itself is fine"


def test_a_progressive_file_of_many_scans_is_refused(probe: Probe) -> None:
    content = file_of(image(64, 64), "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    many = content[:-2] + scan * 200 + b"\xff\xd9"
    answers = [probe.ask("image", many) for _ in range(3)]
    assert all("JPEG" in answer.message for answer in answers)
    assert min(answer.seconds for answer in answers) < MAX_REFUSAL_SECONDS


SIZES = [
    *((w, h, 1, 1) for w, h in ((1, 1), (2, 3), (64, 64), (61, 47))),
    *((w, h, 64, 64) for w, h in ((1, 1), (2, 3), (64, 64), (61, 47))),
    *((w, h, 16, 96) for w, h in ((1, 1), (2, 3), (64, 64), (61, 47))),
    (97, 83, 96, 80),
    (1024, 768, 512, 512),
    (512, 512, 1024, 768),
    (1000, 10, 64, 64),
    (3, 700, 64, 64),
    (255, 256, 254, 257),
    (100, 100, 100, 40),
    (100, 100, 40, 100),
    (640, 480, 639, 481),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_resizing_is_pillows_to_the_bit(
    size: tuple[int, int, int, int], channels: int, probe: Probe
) -> None:
    width, height, new_width, new_height = size
    source = image(width, height, "L" if channels == 1 else "RGB")
    expected = source.resize((new_width, new_height), Image.Resampling.LANCZOS)
    command = f"resize {channels} {width} {height} {new_width} {new_height}"
    assert probe.ask(command, source.tobytes()).pixels == expected.tobytes()


def is_height_first(width: int, height: int, new_width: int, new_height: int) -> bool:
    """Since Pillow 13; those before differ there by 1 here and there."""
    return new_height < height and height - new_height > 2 * (width - new_width)


def test_resizing_random_sizes_is_pillows(probe: Probe) -> None:
    rng = numpy.random.default_rng(7)
    orders = set()
    for _ in range(200):
        width, height, new_width, new_height = (int(side) for side in rng.integers(1, 300, 4))
        hard = rng.integers(0, 2, (height, width, 3), dtype=numpy.uint8) * 255
        source = Image.fromarray(hard, "RGB")
        expected = source.resize((new_width, new_height), Image.Resampling.LANCZOS)
        command = f"resize 3 {width} {height} {new_width} {new_height}"
        told = f"{width} x {height} to {new_width} x {new_height}"
        assert probe.ask(command, source.tobytes()).pixels == expected.tobytes(), told
        orders.add(is_height_first(width, height, new_width, new_height))
        other = source.resize((new_width, new_height), Image.Resampling.BICUBIC)
        if min(width, height) > 50 and (width, height) != (new_width, new_height):
            assert other.tobytes() != expected.tobytes(), "the control: another filter"
    assert orders == {True, False}
