"""The Python client against the real server: images, progress, refusals, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from client_sides import Side, on_both_sides
from emoji_model import EMOJI, failing_model
from server_process import ServerProcess
from tightfit import (
    CannotConnectError,
    Client,
    Completed,
    DeadlineExceededError,
    ImageReady,
    InvalidRequestError,
    ModelFailedError,
    ModelState,
    NotFoundError,
    Offset,
    Progress,
    Queued,
    Size,
    Stage,
    Started,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, [EMOJI, failing_model(folder / "broken")]) as running:
        yield running
        assert running.stop() == 0, running.log[-3000:]


@on_both_sides
def test_a_image_equals_that_of_the_command_line(
    server: ServerProcess, side: Side, tmp_path: Path
) -> None:
    file = tmp_path / "cli.png"
    options = ["--model", "emoji-xl", "--seed", "4", "--steps", "6", "--guidance", "3"]
    server.cli_json("generate", "red apple", *options, "--output", str(file))
    result = side.call(
        server.address,
        "generate",
        "red apple",
        model="emoji-xl",
        seed=4,
        step_count=6,
        guidance_scale=3.0,
        request_id=f"equal-{type(side).__name__}",
    )
    (image,) = result.images
    assert image.png == file.read_bytes()
    assert image.pil.size == (64, 64) and image.pil.mode == "RGB"
    assert "Seed: 4" in image.pil.text["parameters"]
    saved = image.save(tmp_path / "saved.png")
    assert saved.read_bytes() == image.content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cli.png", "saved.png"]
    assert result.request_id == f"equal-{type(side).__name__}"
    assert result.parameters.step_count == 6 and result.parameters.guidance_scale == 3.0
    assert result.parameters.format == "hf8"
    timings = result.timings
    parts = timings.text_encode_seconds + timings.denoise_seconds + timings.vae_decode_seconds
    assert 0 < parts <= timings.total_seconds


@on_both_sides
def test_events_come_in_order_from_the_first_step_to_the_last(
    server: ServerProcess, side: Side
) -> None:
    events = side.events(
        server.address, "red apple", model="emoji-xl", seed=7, step_count=5, image_count=2
    )
    assert isinstance(events[0], Queued) and isinstance(events[-1], Completed)
    (start,) = (i for i, event in enumerate(events) if isinstance(event, Started))
    assert all(isinstance(event, Queued) for event in events[:start])
    progress = [event for event in events if isinstance(event, Progress)]
    denoising = [event for event in progress if event.stage is Stage.DENOISE]
    steps = [event.step for event in denoising]  # some may be merged for a reader that is slow
    assert steps == sorted(set(steps)) and (steps[0], steps[-1]) == (0, 5)
    assert {event.step_count for event in progress} == {5}
    elapsed = [event.elapsed_seconds for event in progress]
    assert elapsed == sorted(elapsed)
    assert denoising[0].remaining_seconds is None and denoising[-1].remaining_seconds is not None
    images = [event.image for event in events if isinstance(event, ImageReady)]
    assert [(image.index, image.seed) for image in images] == [(0, 7), (1, 8)]
    told = [(each.index, each.seed, each.size_bytes) for each in events[-1].images]
    assert told == [(image.index, image.seed, len(image.content)) for image in images]


@on_both_sides
def test_resolved_parameters_ask_for_the_same_image(server: ServerProcess, side: Side) -> None:
    first = side.call(server.address, "generate", "a cat", model="emoji-xl", step_count=3)
    told = first.parameters
    assert told.original_size == Size(64, 64) and told.crop_top_left == Offset(0, 0)
    again = side.call(
        server.address,
        "generate",
        "a cat",
        model=told.model,
        width_px=told.width_px,
        height_px=told.height_px,
        step_count=told.step_count,
        guidance_scale=told.guidance_scale,
        guidance_rescale=told.guidance_rescale,
        sampler=told.sampler,
        seed=told.seed,
        image_count=told.image_count,
        original_size=told.original_size,
        target_size=(told.target_size.width_px, told.target_size.height_px),
        crop_top_left=told.crop_top_left,
        timestep_spacing=told.timestep_spacing or None,
    )
    assert again.parameters == told
    assert again.images == first.images


@on_both_sides
def test_an_unknown_model_is_named(server: ServerProcess, side: Side) -> None:
    for method, arguments in (("generate", {"prompt": "x", "model": "sdxl"}), ("model", "sdxl")):
        with pytest.raises(NotFoundError) as caught:
            if isinstance(arguments, dict):
                side.call(server.address, method, **arguments)
            else:
                side.call(server.address, method, arguments)
        error = caught.value
        assert (error.code, error.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
        assert error.metadata["model"] == error.metadata["resource_name"] == "sdxl"
        assert "'sdxl'" in str(error) and "\n" not in str(error)


@on_both_sides
def test_bad_fields_are_told_all_at_once(server: ServerProcess, side: Side) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        side.call(
            server.address,
            "generate",
            "x",
            model="emoji-xl",
            width_px=65,
            step_count=100_000,
            sampler="eulr",
            original_size=(0, 9000),
        )
    error = caught.value
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_PARAMETER")
    assert {violation.field for violation in error.field_violations} == {
        "width_px",
        "step_count",
        "sampler",
        "original_size.width_px",
        "original_size.height_px",
    }
    assert all(violation.description for violation in error.field_violations)


def test_values_that_no_field_holds_are_refused_unsent_all_at_once() -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(InvalidRequestError) as caught:
            client.generate(
                "\ud800",
                width_px="64",  # type: ignore[arg-type]
                seed=2**70,
                crop_top_left=(1, 2, 3),  # type: ignore[arg-type]
            )
        violations = {each.field: each.description for each in caught.value.field_violations}
        assert set(violations) == {"prompt", "width_px", "seed", "crop_top_left"}
        assert violations["width_px"] == "a 32-bit integer cannot be '64'"
        assert violations["crop_top_left"] == "(left_px, top_px) cannot be (1, 2, 3)"
        with pytest.raises(TypeError, match="'steps'; did you mean 'step_count'"):
            client.generate("x", steps=5)  # type: ignore[call-arg]


@on_both_sides
def test_a_model_that_failed_to_load_says_why(server: ServerProcess, side: Side) -> None:
    told = side.call(server.address, "model", "broken")
    assert told.state is ModelState.FAILED and told.failure_reason
    with pytest.raises(ModelFailedError) as caught:
        side.call(server.address, "generate", "x", model="broken")
    assert caught.value.reason == "MODEL_FAILED"
    assert caught.value.metadata["failure_reason"] == told.failure_reason


@on_both_sides
def test_a_deadline_ends_the_work(server: ServerProcess, side: Side) -> None:
    with pytest.raises(DeadlineExceededError) as caught:
        side.call(server.address, "generate", "x", model="emoji-xl", step_count=150, timeout=0.3)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    with pytest.raises(DeadlineExceededError):
        side.call(
            server.address, "generate", "x", model="emoji-xl", step_count=150, client_timeout=0.3
        )


@on_both_sides
def test_models_and_server_say_what_the_command_line_says(
    server: ServerProcess, side: Side
) -> None:
    models = side.call(server.address, "models")
    assert [model.name for model in models] == ["emoji-xl", "broken"]
    model = side.call(server.address, "model", "emoji-xl")
    told = server.cli_json("models", "emoji-xl")["model"]
    assert (model.state, model.format, model.hash) == ("resident", "hf8", told["hash"])
    assert model.defaults is not None and model.defaults.step_count == 20
    assert model.state_time is not None and model.load_seconds == pytest.approx(
        told["load_seconds"]
    )
    assert abs(datetime.now(timezone.utc) - model.state_time) < timedelta(minutes=10)
    for component, wanted in zip(model.components, told["components"], strict=True):
        for name in ("name", "format", "weight_bytes", "packed_bytes", "parameter_count"):
            assert getattr(component, name) == wanted[name], (wanted["name"], name)
        assert [use.purpose for use in component.memory] == [
            use["purpose"] for use in wanted["memory"]
        ]
    info, capabilities = (side.call(server.address, m) for m in ("server_info", "capabilities"))
    document = server.cli_json("info")
    assert info.version == document["server"]["version"]
    assert info.device.total_bytes == document["server"]["device"]["total_bytes"]
    assert list(capabilities.samplers) == document["capabilities"]["samplers"]
    assert capabilities.max_step_count == document["capabilities"]["max_step_count"]
    assert {f.name: f.bits_per_weight for f in capabilities.formats}["hf8"] == 8.0


@on_both_sides
def test_the_servers_address_comes_from_the_environment(
    server: ServerProcess, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIGHTFIT_SERVER", server.address)
    assert len(side.call(None, "models")) == 2


@on_both_sides
def test_no_server_is_one_clear_line(side: Side) -> None:
    with pytest.raises(CannotConnectError) as caught:
        side.call("127.0.0.1:1", "models")
    refused = "no server listens at 127.0.0.1:1: the connection was refused [CANNOT_CONNECT]"
    assert str(caught.value) == refused
    waits = {"client_wait_for_server": True}
    with pytest.raises(CannotConnectError) as caught:
        side.call("127.0.0.1:1", "models", client_connect_timeout=0.3, **waits)
    assert str(caught.value) == "cannot connect to 127.0.0.1:1 within 0.3 s [CANNOT_CONNECT]"
    with pytest.raises(CannotConnectError, match=r"within 0\.2 s"):
        side.call("127.0.0.1:1", "generate", "x", timeout=0.2, **waits)


def test_a_closed_client_says_so(server: ServerProcess) -> None:
    with Client(server.address) as client:
        pass
    for call in (client.models, lambda: client.generate("x"), lambda: next(client.stream("x"))):
        with pytest.raises(RuntimeError, match="the client is closed"):
            call()
