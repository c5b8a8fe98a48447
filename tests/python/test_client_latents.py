"""The Python client and latents: parts of the denoising that make the whole, and their file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from client_sides import Side, on_both_sides
from emoji_model import MODEL
from server_process import ServerProcess
from tightfit import (
    LATENTS_MIME_TYPE,
    Client,
    ImageReady,
    InvalidRequestError,
    PromptSyntax,
    read_latents,
    write_latents,
)

WHOLE = {"seed": 11, "step_count": 10, "sampler": "euler", "guidance_scale": 4.0, "image_count": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    model = f"emoji-xl={MODEL},format=hf8,compute_dtype=fp32"
    with ServerProcess(tmp_path_factory.mktemp("server"), [model]) as running:
        yield running


def pixels(image: object) -> np.ndarray:
    return np.asarray(image.pil, dtype=np.int16)  # type: ignore[attr-defined]


@on_both_sides
def test_two_parts_of_the_denoising_draw_the_whole(server: ServerProcess, side: Side) -> None:
    whole = side.call(server.address, "generate", "red apple", **WHOLE)
    first = side.call(
        server.address,
        "generate",
        "red apple",
        denoising_end=0.8,
        mime_type=LATENTS_MIME_TYPE,
        **WHOLE,
    )
    assert first.parameters.denoising_end == pytest.approx(0.8)
    contents = [image.content for image in first.images]
    rest = side.call(
        server.address,
        "generate",
        "red apple",
        denoising_start=0.8,
        initial_latents=contents,
        **WHOLE,
    )
    for drawn, wanted in zip(rest.images, whole.images, strict=True):
        assert np.abs(pixels(drawn) - pixels(wanted)).max() <= 1
    # Control: the second part alone draws; it does not repeat what it was given.
    other = side.call(
        server.address,
        "generate",
        "red apple",
        denoising_start=0.8,
        initial_latents=contents[::-1],
        **WHOLE,
    )
    assert np.abs(pixels(other.images[0]) - pixels(whole.images[0])).max() > 10


@on_both_sides
def test_latents_are_what_safetensors_reads(
    server: ServerProcess, side: Side, tmp_path: Path
) -> None:
    asked = {**WHOLE, "mime_type": LATENTS_MIME_TYPE, "step_count": 2}
    events = side.events(server.address, "red apple", **asked)
    images = [event.image for event in events if isinstance(event, ImageReady)]
    assert len(images) == 2
    for image in images:
        file = image.save(tmp_path / f"{image.index}.safetensors")
        ((name, wanted),) = safetensors.numpy.load_file(file).items()
        latents = np.asarray(image.latents)
        assert (name, latents.dtype, wanted.dtype) == ("latents", np.float32, np.float32)
        assert latents.shape == wanted.shape and wanted.ndim == 3
        np.testing.assert_array_equal(latents, wanted)
        assert image.latents.tolist() == wanted.tolist()
        for kind in ("pil", "png"):
            with pytest.raises(ValueError, match="latents|x-safetensors"):
                getattr(image, kind)


def test_latents_may_be_edited_between_the_parts(server: ServerProcess) -> None:
    with Client(server.address) as client:
        one = {**WHOLE, "image_count": 1}
        first = client.generate("x", denoising_end=0.5, mime_type=LATENTS_MIME_TYPE, **one)
        latents = np.array(first.images[0].latents)
        pictures = [
            client.generate("x", denoising_start=0.5, initial_latents=[content], **one).images[0]
            for content in (
                first.images[0].content,
                write_latents(latents),
                write_latents(latents[:, :, ::-1]),
            )
        ]
        assert pictures[0].content == pictures[1].content
        assert pictures[0].content != pictures[2].content


def test_what_was_written_is_what_is_read() -> None:
    values = np.random.default_rng(1).standard_normal((4, 8, 6)).astype(np.float32)
    for array in (values, values.transpose(0, 2, 1), np.ascontiguousarray(values)[:, ::2]):
        content = write_latents(array)
        assert safetensors.numpy.load(content)["latents"].tolist() == array.tolist()
        np.testing.assert_array_equal(np.asarray(read_latents(content)), array)
        assert write_latents(read_latents(content)) == content
    described = safetensors.numpy.save({"latents": values}, metadata={"made": "elsewhere"})
    np.testing.assert_array_equal(np.asarray(read_latents(described)), values)


NOT_LATENTS = {
    "nothing": b"",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "a list": (2).to_bytes(8, "little") + b"[]",
    "cut": write_latents(np.zeros((4, 8, 8), np.float32))[:-1],
    "longer": write_latents(np.zeros((4, 8, 8), np.float32)) + b"x",
    "another name": safetensors.numpy.save({"x": np.zeros((4, 8, 8), np.float32)}),
    "fp16": safetensors.numpy.save({"latents": np.zeros((4, 8, 8), np.float16)}),
    "a batch": safetensors.numpy.save({"latents": np.zeros((1, 4, 8, 8), np.float32)}),
    "no area": safetensors.numpy.save({"latents": np.zeros((4, 0, 8), np.float32)}),
    "two": safetensors.numpy.save(
        {"latents": np.zeros((4, 8, 8), np.float32), "x": np.zeros(1, np.float32)}
    ),
}


@pytest.mark.parametrize("case", NOT_LATENTS)
def test_what_is_no_latents_is_refused_in_one_line(case: str) -> None:
    with pytest.raises(ValueError, match="these are no latents") as caught:
        read_latents(NOT_LATENTS[case])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [np.zeros((4, 8, 8)), np.zeros((8, 8), np.float32)])
def test_an_array_that_is_no_latents_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="fp32 .channels, height, width."):
        write_latents(values)


@on_both_sides
def test_a_plain_prompt_is_cut_off_and_told(server: ServerProcess, side: Side) -> None:
    long = " ".join(["apple"] * 100)
    asked = {"negative_prompt": "blur", "step_count": 1, "clip_skip": 1}
    told = {}
    for syntax in (PromptSyntax.WEIGHTED, "plain"):
        result = side.call(server.address, "generate", long, prompt_syntax=syntax, **asked)
        assert result.parameters.prompt_syntax == syntax
        assert (result.parameters.clip_skip, result.parameters.vae_tile_px) == (1, 0)
        tokens = {each.field: each for each in result.prompt_tokens}
        assert set(tokens) == {"prompt", "negative_prompt"}
        told[syntax] = tokens["prompt"]
    assert [told["plain"].token_count, told["plain"].used_token_count] == [100, 75]
    assert told["weighted"].used_token_count == 100 and told["weighted"].chunk_count == 2
    model = side.call(server.address, "model", "emoji-xl")
    assert model.max_clip_skip >= 1 and model.vae_tile_px > 0


def test_values_of_the_parts_that_no_field_holds_are_refused_unsent() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequestError) as caught:
        client.generate(
            "x",
            prompt_syntax="weighty",
            initial_latents=b"not a list",  # type: ignore[arg-type]
        )
    told = {each.field: each.description for each in caught.value.field_violations}
    assert told["prompt_syntax"] == "'weighted' or 'plain' cannot be 'weighty'"
    assert told["initial_latents"].startswith("a list of bytes cannot be b'not")


@on_both_sides
def test_the_server_names_the_latents_that_do_not_fit(server: ServerProcess, side: Side) -> None:
    wrong = [write_latents(np.zeros((4, 9, 8), np.float32)), b"x"]
    with pytest.raises(InvalidRequestError) as caught:
        side.call(
            server.address,
            "generate",
            "x",
            denoising_start=0.5,
            initial_latents=wrong,
            **WHOLE,
        )
    fields = {violation.field for violation in caught.value.field_violations}
    assert fields == {"initial_latents[0]", "initial_latents[1]"}
