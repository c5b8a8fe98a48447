"""Images to draw over in the Python client: paths, bytes and Pillow's images become files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import client_sides  # noqa: F401  makes tightfit importable
import grpc
import pytest
from client_sides import Side, on_both_sides
from fake_tightfit_server import FakeServer, chunk, started
from google.protobuf.message import Message
from PIL import Image
from tightfit import InpaintArea, InvalidRequestError, Margins
from tightfit.drawn_image import read_parameters_text, with_parameters
from tightfit.parameters import build_parameters
from tightfit.v1 import image_generation_pb2 as pb


def picture(mode: str = "RGB", size: tuple[int, int] = (5, 3)) -> Image.Image:
    made = Image.new("RGB", size, (250, 120, 10))
    made.putpixel((4, 0), (1, 2, 3))
    return made.convert(mode)


def sent(image: object, field: str = "init_image") -> Image.Image:
    message = build_parameters("x", {field: image})
    return Image.open(io.BytesIO(getattr(message, field)))


class RecordingServer(FakeServer):
    def __init__(self) -> None:
        super().__init__(self.draw)
        self.requests: list[pb.StreamImagesRequest] = []

    @staticmethod
    def draw(call: int) -> Iterator[Message]:
        yield started()
        yield chunk(b"png", 0, 3, last=True)
        end = pb.StreamImagesResponse()
        end.completed.images.add(mime_type="image/png", size_bytes=3)
        yield end

    def StreamImages(
        self, request: pb.StreamImagesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamImagesResponse]:
        self.requests.append(request)
        return super().StreamImages(request, context)


@on_both_sides
def test_a_request_carries_image_mask_and_strength(side: Side) -> None:
    with RecordingServer() as server:
        side.call(
            server.address,
            "generate",
            "green apple",
            init_image=picture(),
            mask=picture("L"),
            strength=0.7,
            keep_unmasked_pixels=False,
            mask_blur_px=4,
            inpaint_area="masked",
            inpaint_padding_px=16,
            outpaint=(1, 2, 3, 4),
        )
    parameters = server.requests[0].parameters
    assert Image.open(io.BytesIO(parameters.init_image)).tobytes() == picture().tobytes()
    assert Image.open(io.BytesIO(parameters.mask)).mode == "L"
    assert parameters.strength == 0.7
    assert parameters.HasField("keep_unmasked_pixels") and not parameters.keep_unmasked_pixels
    assert parameters.mask_blur_px == 4 and parameters.inpaint_padding_px == 16
    assert parameters.inpaint_area == pb.INPAINT_AREA_MASKED
    assert parameters.outpaint == pb.Margins(left_px=1, top_px=2, right_px=3, bottom_px=4)


@pytest.mark.parametrize("field", ["init_image", "mask"])
def test_files_are_sent_as_they_are(field: str, tmp_path: Path) -> None:
    file = tmp_path / "in.jpg"
    picture().save(file)
    for given in (file, str(file), file.read_bytes(), bytearray(file.read_bytes())):
        assert getattr(build_parameters("x", {field: given}), field) == file.read_bytes()
    message = build_parameters("x", {field: None})
    assert not message.HasField(field)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pillows_images_keep_their_pixels(mode: str) -> None:
    assert sent(picture(mode)).convert("RGBA").tobytes() == picture(mode).convert("RGBA").tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "F", "I"])
def test_modes_that_png_does_not_have_become_rgb(mode: str) -> None:
    assert sent(picture(mode)).mode == "RGB"
    assert sent(picture(mode)).tobytes() == picture(mode).convert("RGB").tobytes()


def test_pillows_images_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    file = tmp_path / "in.png"
    picture().save(file, exif=turned)
    with Image.open(file) as opened:
        assert sent(opened).size == (3, 5)
        assert sent(opened).getexif().get(0x0112, 1) == 1, "not once more by the server"


@pytest.mark.parametrize("given", [7, 0.5, ["in.png"], object()])
def test_what_is_no_image_is_named(given: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build_parameters("x", {"init_image": given, "strength": "much"})
    told = {v.field: v.description for v in caught.value.field_violations}
    assert told["init_image"].startswith("an image (a path, a file's bytes, or Pillow's) cannot be")
    assert "strength" in told


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build_parameters("x", {"init_image": tmp_path / "none.png"})
    endless = tmp_path / "large.png"
    with endless.open("wb") as file:
        os.truncate(file.fileno(), (64 << 20) + 1)
    with pytest.raises(InvalidRequestError, match="init_image"):
        build_parameters("x", {"init_image": endless})


OVER = (
    "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, RNG: CPU,"
    " Denoising strength: 0.7, Version: "
)


def test_an_image_that_was_drawn_over_another_needs_it_again() -> None:
    drawn = read_parameters_text(OVER + "tightfit 0.1.0")
    assert drawn.parameters.get("strength") == 0.7
    with pytest.raises(ValueError, match="give it as init_image"):
        with_parameters(drawn, {})
    again = with_parameters(drawn, {"init_image": b"file"})
    assert again.parameters.get("strength") == 0.7 and not again.notes


MASKED = "Mask blur: 4, Inpaint area: Only masked, Masked area padding: 48"


def test_an_image_that_was_drawn_in_a_mask_needs_it_again() -> None:
    drawn = read_parameters_text(OVER + f"tightfit 0.1.0, {MASKED}")
    assert drawn.parameters.get("inpaint_area") is InpaintArea.MASKED
    with pytest.raises(ValueError, match="drawn in a mask, which is not in it; give it as mask"):
        with_parameters(drawn, {"init_image": b"file"})
    again = with_parameters(drawn, {"init_image": b"file", "mask": b"file"})
    assert not again.notes and again.parameters["mask_blur_px"] == 4
    assert again.parameters["inpaint_padding_px"] == 48
    whole = with_parameters(
        drawn, {"init_image": b"file", "mask": b"file", "inpaint_area": "whole_image"}
    )
    assert "inpaint_padding_px" not in whole.parameters


def test_an_image_that_was_made_larger_is_made_so_again() -> None:
    drawn = read_parameters_text(OVER + 'tightfit 0.1.0, Mask blur: 0, Outpaint: "0,8,16,0"')
    again = with_parameters(drawn, {"init_image": b"file"})
    assert again.parameters["outpaint"] == Margins(0, 8, 16, 0)
    for bad in ("1", '"1,2,3"', '"1,2,3,4,5"', '"1,2,3,x"', '",,,"'):
        with pytest.raises(ValueError, match="which is no four numbers"):
            read_parameters_text(OVER + f"tightfit 0.1.0, Outpaint: {bad}")


def test_of_another_program_the_mask_is_noted() -> None:
    drawn = read_parameters_text(OVER + f"v1.10.1, {MASKED}")
    assert not drawn.notes
    over = with_parameters(drawn, {"init_image": b"file"})
    assert over.notes == ("drawn in a mask; give it as mask",)
    for told in (over, with_parameters(drawn, {})):
        assert not {"mask_blur_px", "inpaint_area", "inpaint_padding_px"} & told.parameters.keys()
    with_mask = with_parameters(drawn, {"init_image": b"file", "mask": b"file"})
    assert with_mask.parameters["inpaint_padding_px"] == 48 and not with_mask.notes
    otherwise = "Mask blur: 4.5, Inpaint area: Padded, Outpaint: left"
    other = read_parameters_text(OVER + f"v1.10.1, {otherwise}")
    assert {"mask_blur_px", "inpaint_area", "outpaint"}.isdisjoint(other.parameters)
    assert "not done here: Mask blur: 4.5" in other.notes


def test_of_another_program_it_is_noted() -> None:
    drawn = with_parameters(read_parameters_text(OVER + "v1.10.1"), {})
    assert "strength" not in drawn.parameters
    assert drawn.notes == ("drawn over another image; give it as init_image",)


def test_the_strength_of_an_enlargement_is_no_drawing_over() -> None:
    for enlarged in ("Hires upscale: 2", "First pass size: 0x0"):
        drawn = read_parameters_text(OVER + f"v1.10.1, {enlarged}")
        assert "strength" not in drawn.parameters
        assert any("Denoising strength: 0.7" in note for note in drawn.notes)
