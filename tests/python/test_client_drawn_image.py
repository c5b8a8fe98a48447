"""What the Python client reads of A1111's text; the C++ client has the same table."""

from __future__ import annotations

import time

import pytest
from client_sides import tightfit
from tightfit.drawn_image import choose_model, read_parameters_text, read_png, with_parameters


def foreign(sampler: str, more: str = "") -> tightfit.DrawnImage:
    return read_parameters_text(
        f"a cat\nSteps: 20, Sampler: {sampler}, CFG scale: 7, Seed: 1, Size: 832x1216, RNG: CPU, "
        f"Version: v1.10.1{more}"
    )


@pytest.mark.parametrize(
    ("shown", "sampler", "spacing", "note_count"),
    [
        ("Euler A", "euler-a", "linspace", 0),
        ("Euler, Schedule type: Karras", "euler-karras", "linspace", 0),
        ("Euler, Schedule type: SGM Uniform", "euler", "trailing", 0),
        ("Euler, Schedule type: Beta", "euler", "linspace", 1),
        ("DPM++ 2M Karras", "dpmpp-2m-karras", "linspace", 0),
        ("DPM++ 2M", "dpmpp-2m", "linspace", 0),
        ("DPM++ 2M, Schedule type: Automatic", "dpmpp-2m-karras", "linspace", 0),
        ("DPM++ 2M SDE, Schedule type: Automatic", "dpmpp-2m-sde-karras", "linspace", 1),
        ("DPM++ SDE Karras", "dpmpp-sde-karras", "linspace", 0),
        ("DPM++ 2S a, Schedule type: Karras", "dpmpp-2s-a-karras", "linspace", 0),
        ("DPM++ 3M SDE Karras", "dpmpp-3m-sde-karras", "linspace", 0),
        ("UniPC, Schedule type: Automatic", "unipc", "leading", 0),
        ("dpmpp_2m_sde", "dpmpp_2m_sde", "linspace", 0),
        ("dpmpp_2m, Schedule type: Karras", "dpmpp_2m Karras", "linspace", 0),
        ("dpmpp_2m, Scheduler: karras", "dpmpp_2m karras", "linspace", 0),
        ("euler_a karras", "euler_a karras", "linspace", 0),
        ("euler_ancestral, Scheduler: simple", "euler_ancestral", "trailing", 0),
        ("DPM++ 3M SDE Exponential", "dpmpp-3m-sde", "linspace", 1),
        ("DPM2 a, Schedule type: Automatic", "kdpm2-a-karras", "linspace", 0),
        ("DPM2", "kdpm2", "linspace", 0),
        ("DEIS", "deis", "linspace", 0),
        ("PLMS, Schedule type: Automatic", "pndm", "leading", 0),
        ("DPM fast Exponential", None, None, 1),
    ],
)
def test_samplers_are_read_as_a1111_means_them(
    shown: str, sampler: str | None, spacing: str | None, note_count: int
) -> None:
    read = foreign(shown)
    assert read.parameters.get("sampler") == sampler
    assert read.parameters.get("timestep_spacing") == spacing
    assert len(read.notes) == note_count


@pytest.mark.parametrize(
    ("more", "name", "value"),
    [
        ("", "clip_skip", None),
        (", Clip skip: 1", "clip_skip", 0),
        (", Clip skip: 3", "clip_skip", 1),
        (", Clip skip: 2.5", "clip_skip", 1),
        (", CFG Rescale φ: 0.7", "guidance_rescale", 0.7),
        (", Rescale CFG: 0.5", "guidance_rescale", 0.5),
        (', Crop top left: "8,4"', "crop_top_left", (8, 4)),
        (', Prompt 2: ""', "prompt_2", ""),
        (", Emphasis: None", "prompt_syntax", "plain"),
    ],
)
def test_values_are_read_as_they_are_written(more: str, name: str, value: object) -> None:
    assert foreign("Euler", more).parameters.get(name) == value


@pytest.mark.parametrize(
    "text",
    ["", "a cat", "Steps: 1, Seed: 1", "Steps: x, Sampler: Euler, Seed: 1"]
    + ["Steps: 1, Sampler: Euler, Seed: 99999999999999999999", "{}"],
)
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_parameters_text(text)
    assert str(caught.value) and "\n" not in str(caught.value)


def test_hostile_texts_take_no_long_time() -> None:
    start = time.process_time()
    size = 1 << 20
    for part in ("a", "- ", 'aa: "', "aa:,", 'aa: "\\"', "\u00e9", "9"):
        text = f"Steps: 1, Seed: 1, Sampler: x, {part * (size // len(part))}"
        assert len(read_parameters_text(text).notes) <= 32
    assert time.process_time() - start < 20
    for png in (b"", b"GIF", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40):
        with pytest.raises(ValueError):
            read_png(png)


def test_what_is_given_goes_before_the_image() -> None:
    read = with_parameters(foreign("Euler"), {"seed": None, "step_count": 3})
    assert "seed" not in read.parameters and read.parameters["step_count"] == 3
    with pytest.raises(ValueError, match="initial_latents"):
        with_parameters(foreign("Euler", ", Denoising start: 0.5"), {})


def test_without_its_model_it_says_which_one_it_was() -> None:
    with pytest.raises(ValueError, match="has no model foo"):
        choose_model((), foreign("Euler", ", Model: foo"))
