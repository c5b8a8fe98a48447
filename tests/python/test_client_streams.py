"""Streams that a real server does not send: broken, long, large, of a newer or another server."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from client_sides import Side, on_both_sides
from fake_tightfit_server import (
    FakeServer,
    Refusal,
    chunk,
    completed,
    progress,
    started,
    whole_request,
)
from tightfit import (
    AsyncClient,
    BrokenStreamError,
    Client,
    Completed,
    NotTightfitServerError,
    Progress,
    RequestWarning,
    Started,
)
from tightfit.v1 import image_generation_pb2 as pb

Messages = list[pb.StreamImagesResponse]


def plays(messages: Messages) -> Callable[[int], Iterator[pb.StreamImagesResponse]]:
    return lambda call: iter(messages)


@on_both_sides
def test_warnings_come_with_the_start_and_with_the_result(side: Side) -> None:
    start, *rest = whole_request()
    start.started.warnings.add(
        reason="LORA_IGNORED",
        field="prompt",
        offset_bytes=10,
        text="<lora:x:0.8>",
        message="LoRAs are not loaded; leave it out",
    )
    wanted = RequestWarning(
        "LORA_IGNORED", "prompt", 10, "<lora:x:0.8>", "LoRAs are not loaded; leave it out"
    )
    with FakeServer(plays([start, *rest])) as server:
        events = side.events(server.address, "red apple <lora:x:0.8>")
        assert isinstance(events[0], Started) and events[0].warnings == (wanted,)
        result = side.call(server.address, "generate", "red apple <lora:x:0.8>")
        assert result.warnings == (wanted,) and result.notes == ()


BROKEN: dict[str, tuple[Messages, str]] = {
    "starts twice": ([started(), started()], "the request started twice"),
    "image before start": ([chunk(b"x", 0, 1, last=True)], "an image came before"),
    "end before start": ([completed()], "the request ended before it started"),
    "no end": (whole_request()[:-1], "the stream ended before the request was completed"),
    "nothing": ([], "the stream ended before the request was completed"),
    "after the end": ([*whole_request(), progress(1)], "an event came after the last one"),
    "gap": ([started(), chunk(b"x", 1, 2, last=True)], "starts at byte 1 where byte 0 was due"),
    "too much": ([started(), chunk(b"xyz", 0, 2, last=True)], "more came than the announced 2"),
    "too little": ([started(), chunk(b"x", 0, 2, last=True)], "it ended after 1 of 2 bytes"),
    "size changes": (
        [started(), chunk(b"x", 0, 3, last=False), chunk(b"y", 1, 2, last=True)],
        "its announced size changed",
    ),
    "no size": ([started(), chunk(b"", 0, 0, last=True)], "its size is given as 0 bytes"),
    "vast": ([started(), chunk(b"x", 0, 1 << 40, last=False)], "its size is given as 10995"),
    "bad index": ([started(), chunk(b"x", 0, 1, last=True, index=1)], "outside the request's 1"),
    "twice": (
        [started(), chunk(b"x", 0, 1, last=True), chunk(b"x", 0, 1, last=True)],
        "a chunk came after its last one",
    ),
    "missing": ([started(2), chunk(b"x", 0, 1, last=True), completed()], "image 1: it never came"),
}


@on_both_sides
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_stream_is_refused(side: Side, case: str) -> None:
    messages, wanted = BROKEN[case]
    with FakeServer(plays(messages)) as server:
        with pytest.raises(BrokenStreamError) as caught:
            side.events(server.address, "x")
        assert wanted in caught.value.message
        assert (caught.value.code, caught.value.reason) == ("DATA_LOSS", "BROKEN_STREAM")
        with pytest.raises(BrokenStreamError):
            side.call(server.address, "generate", "x")


@on_both_sides
def test_a_broken_stream_is_cancelled_on_the_server(side: Side) -> None:
    def script(call: int) -> Iterator[pb.StreamImagesResponse]:
        yield completed()
        while not server.cancelled.wait(0.05):
            yield progress(0)

    with FakeServer(script) as server:
        with pytest.raises(BrokenStreamError):
            side.events(server.address, "x")
        assert server.cancelled.wait(5)


@pytest.fixture
def refused_once() -> Iterator[FakeServer]:
    """Then it tells the start, and nothing for as long as the client stays."""

    def script(call: int) -> Iterator[pb.StreamImagesResponse]:
        if call == 0:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "MODEL_LOADING", 0.01)
        server.cancelled.clear()
        yield started()
        server.cancelled.wait(30)

    gc.disable()
    with FakeServer(script) as server:
        yield server
    gc.enable()


def test_a_dropped_stream_is_cancelled_without_a_garbage_collection(
    refused_once: FakeServer,
) -> None:
    with Client(refused_once.address) as client:
        events = client.stream("x")
        next(events)
        del events
        assert refused_once.cancelled.wait(5)


def test_a_dropped_asyncio_stream_is_cancelled_without_a_garbage_collection(
    refused_once: FakeServer,
) -> None:
    async def run() -> None:
        async with AsyncClient(refused_once.address) as client:
            events = client.stream("x")
            await anext(events)
            del events
            assert await asyncio.to_thread(refused_once.cancelled.wait, 5)

    asyncio.run(run())


@on_both_sides
def test_a_thousand_events_come_in_order(side: Side) -> None:
    steps = [progress(step) for step in range(1000)]
    with FakeServer(plays([started(), *steps, *whole_request()[1:]])) as server:
        began = time.monotonic()
        events = side.events(server.address, "x")
        assert time.monotonic() - began < 10
    seen = [event.step for event in events if isinstance(event, Progress)]
    assert seen == list(range(1000))
    assert isinstance(events[-1], Completed)


@on_both_sides
def test_large_pictures_come_whole_from_mixed_chunks(side: Side) -> None:
    """Larger than what gRPC takes as one message."""
    size, piece = 12 << 20, 3 << 20
    pictures = [bytes([index]) * size for index in range(2)]
    messages = [started(2)]
    for offset in range(0, size, piece):
        for index, picture in enumerate(pictures):
            content = picture[offset : offset + piece]
            last = offset + piece == size
            messages.append(chunk(content, offset, size, last=last, index=index))
    with FakeServer(plays([*messages, completed()])) as server:
        images = side.call(server.address, "generate", "x").images
    assert [(image.index, image.seed) for image in images] == [(0, 5), (1, 6)]
    assert [image.content for image in images] == pictures


@on_both_sides
def test_what_a_newer_server_adds_is_passed_over(side: Side) -> None:
    unknown = pb.StreamImagesResponse.FromString(b"\xa2\x06\x00")  # field 100, empty
    assert unknown.WhichOneof("event") is None
    stage = pb.StreamImagesResponse()
    stage.progress.stage = 77  # type: ignore[assignment]
    with FakeServer(plays([unknown, started(), stage, *whole_request()[1:]])) as server:
        events = side.events(server.address, "x")
        assert [type(event).__name__ for event in events] == [
            "Started",
            "Progress",
            "ImageReady",
            "Completed",
        ]
        assert events[1].stage == "unspecified"
        (model,) = side.call(server.address, "models")
        assert model.state == "unspecified"


@on_both_sides
def test_models_of_all_pages_are_listed(side: Side) -> None:
    with FakeServer(plays([]), pages=3) as server:
        names = [model.name for model in side.call(server.address, "models")]
    assert names == ["model-0", "model-1", "model-2"]


@on_both_sides
def test_a_list_that_does_not_end_is_refused(side: Side) -> None:
    with FakeServer(plays([]), pages=1 << 30) as server:
        with pytest.raises(BrokenStreamError, match="does not end"):
            side.call(server.address, "models")


@on_both_sides
def test_another_grpc_server_is_recognised(side: Side) -> None:
    other = grpc.server(futures.ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    try:
        with pytest.raises(NotTightfitServerError, match="does not serve this call of tightfit.v1"):
            side.call(f"127.0.0.1:{port}", "models")
    finally:
        other.stop(None)


def test_a_picture_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    with FakeServer(plays(whole_request())) as server, Client(server.address) as client:
        image = client.generate("x").images[0]
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        image.save(tmp_path / "taken")
    with pytest.raises(OSError):
        image.save(tmp_path / "missing" / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
