"""What the Python client tries again, and when; and what it does not."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from client_sides import Side, later, on_both_sides
from fake_tightfit_server import FakeServer, Refusal, Script, started, whole_request
from tightfit import (
    AsyncClient,
    Client,
    ConnectionLostError,
    RequestCancelledError,
    ServerBusyError,
)
from tightfit.attempts import Attempts
from tightfit.errors import CannotConnectError, TightfitError, UnavailableError
from tightfit.v1 import image_generation_pb2 as pb

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def refuse_first(count: int, refusal: Refusal) -> Script:
    def script(call: int) -> Iterator[pb.StreamImagesResponse]:
        if call < count:
            raise refusal
        yield from whole_request()

    return script


@on_both_sides
def test_unavailable_is_tried_again_not_before_the_server_says(side: Side) -> None:
    script = refuse_first(2, Refusal(UNAVAILABLE, "MODEL_LOADING", 0.4))
    with FakeServer(script) as server:
        assert side.call(server.address, "generate", "x").images[0].content == b"image"
        pauses = [b - a for a, b in itertools.pairwise(server.calls)]
        assert len(pauses) == 2 and min(pauses) >= 0.4
        assert max(pauses) < 0.4 * 1.25 + 1.0
    with FakeServer(script) as server:
        assert side.call(server.address, "models")[0].name == "model-0"
        assert len(server.calls) == 3


@on_both_sides
def test_nothing_but_unavailable_is_tried_again(side: Side) -> None:
    for code in grpc.StatusCode:
        if code in (grpc.StatusCode.OK, UNAVAILABLE):
            continue
        method, *prompt = ["models"] if code.value[0] % 2 else ["generate", "x"]
        with FakeServer(refuse_first(1, Refusal(code, "SOME_REASON", 0.01))) as server:
            with pytest.raises(TightfitError) as caught:
                side.call(server.address, method, *prompt)
            assert len(server.calls) == 1, code
            assert (caught.value.code, caught.value.reason) == (code.name, "SOME_REASON")
            assert caught.value.message == "refused: SOME_REASON"
            assert caught.value.retry_after_seconds == 0.01


@on_both_sides
def test_a_full_queue_tells_when_to_come_back(side: Side) -> None:
    full = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 2.5)
    with FakeServer(refuse_first(1, full)) as server:
        with pytest.raises(ServerBusyError) as caught:
            side.call(server.address, "generate", "x")
    assert caught.value.retry_after_seconds == 2.5


@on_both_sides
def test_retries_end_with_the_attempts_and_can_be_switched_off(side: Side) -> None:
    refusal = Refusal(UNAVAILABLE, "DRAINING", 0.01)
    for attempts in (1, 3):
        with FakeServer(refuse_first(99, refusal)) as server:
            with pytest.raises(UnavailableError) as caught:
                side.call(server.address, "generate", "x", client_max_attempts=attempts)
            assert len(server.calls) == attempts
            assert caught.value.reason == "DRAINING"


@on_both_sides
def test_no_retry_is_waited_for_beyond_the_deadline(side: Side) -> None:
    with FakeServer(refuse_first(99, Refusal(UNAVAILABLE, "MODEL_LOADING", 30))) as server:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="MODEL_LOADING"):
            side.call(server.address, "generate", "x", timeout=2.0)
        assert time.monotonic() - began < 1.5 and len(server.calls) == 1


@on_both_sides
def test_a_stream_is_not_begun_again_after_its_first_event(side: Side) -> None:
    def script(call: int) -> Iterator[pb.StreamImagesResponse]:
        yield started()
        raise Refusal(UNAVAILABLE, "DRAINING", 0.01)

    with FakeServer(script) as server:
        with pytest.raises(UnavailableError, match="DRAINING"):
            side.events(server.address, "x")
        assert len(server.calls) == 1


LATER = Refusal(UNAVAILABLE, "MODEL_LOADING", 30)


async def assert_closing_cancels(
    waiting: Awaitable[Any], close: Callable[[], Awaitable[None]]
) -> None:
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0.3)
    await close()
    with pytest.raises(RequestCancelledError):
        await asyncio.wait_for(task, timeout=5)


@pytest.mark.parametrize("closed", ["stream", "client"])
def test_closing_ends_a_streams_wait_for_a_retry(closed: str) -> None:
    with FakeServer(refuse_first(99, LATER)) as server:
        with Client(server.address) as client:
            events = client.stream("x")
            later(0.3, (events if closed == "stream" else client).close)
            began = time.monotonic()
            with pytest.raises(RequestCancelledError):
                next(events)
            assert time.monotonic() - began < 5


@pytest.mark.parametrize("closed", ["stream", "client"])
def test_closing_ends_an_asyncio_streams_wait_for_a_retry(closed: str) -> None:
    async def run(server: FakeServer) -> None:
        async with AsyncClient(server.address) as client:
            events = client.stream("x")
            close = (events if closed == "stream" else client).close
            await assert_closing_cancels(anext(events), close)

    with FakeServer(refuse_first(99, LATER)) as server:
        asyncio.run(run(server))


def test_closing_an_asyncio_client_ends_a_calls_wait_for_a_retry() -> None:
    async def run(server: FakeServer) -> None:
        async with AsyncClient(server.address) as client:
            await assert_closing_cancels(client.models(), client.close)

    with FakeServer(refuse_first(99, LATER)) as server:
        asyncio.run(run(server))


@pytest.mark.parametrize("closed", ["stream", "client"])
def test_closing_ends_an_asyncio_streams_wait_for_the_connection(closed: str) -> None:
    async def run() -> None:
        async with AsyncClient(
            "127.0.0.1:1", connect_timeout=30, wait_for_server=True
        ) as client:
            events = client.stream("x")
            close = (events if closed == "stream" else client).close
            await assert_closing_cancels(anext(events), close)

    asyncio.run(run())


def test_an_asyncio_stream_of_a_closed_client_is_cancelled() -> None:
    async def run() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            events = client.stream("x")
        with pytest.raises(RequestCancelledError):
            await anext(events)

    asyncio.run(run())


def draws(call: int) -> Iterator[pb.StreamImagesResponse]:
    return iter(whole_request())


@contextmanager
def started_after(seconds: float, address: str) -> Iterator[None]:
    late: list[FakeServer] = []
    timer = later(seconds, lambda: late.append(FakeServer(draws, address=address).__enter__()))
    try:
        yield
    finally:
        timer.join()
        for server in late:
            server.__exit__()


@on_both_sides
def test_a_client_waits_for_a_server_that_starts_late(side: Side) -> None:
    with FakeServer(draws) as server:
        address = server.address
    with started_after(0.5, address):
        done = side.call(address, "generate", "x", client_wait_for_server=True)
        assert done.images[0].content == b"image"


def test_a_server_may_be_gone_for_longer_than_the_retries() -> None:
    """A lost connection is waited for anew, as long as the first one."""
    with FakeServer(draws) as server:
        client = Client(server.address, max_attempts=2)
        client.models()
    with started_after(1.5, server.address):
        assert client.generate("x").images[0].content == b"image"
    client.close()


def test_an_asyncio_clients_server_may_be_gone_for_longer_than_the_retries() -> None:
    async def run() -> None:
        with FakeServer(draws) as server:
            client = AsyncClient(server.address, max_attempts=2)
            await client.models()
        with started_after(1.5, server.address):
            assert (await client.generate("x")).images[0].content == b"image"
        await client.close()

    asyncio.run(run())


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_delays_grow_with_jitter_and_stay_within_bounds(jitter: float) -> None:
    lost = ConnectionLostError("lost")
    attempts = Attempts(9, None, clock=lambda: 0.0, jitter=lambda: jitter)
    delays = [attempts.delay_after(lost) for _ in range(8)]
    assert delays == [d * (1 + jitter / 4) for d in (0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0)]
    assert attempts.delay_after(lost) is None


def test_a_connection_that_failed_is_not_waited_for_again() -> None:
    assert Attempts(9, None).delay_after(CannotConnectError("waited already")) is None


def test_calls_at_the_same_time_share_one_client() -> None:
    gate = threading.Barrier(3, timeout=10)

    def script(call: int) -> Iterator[pb.StreamImagesResponse]:
        gate.wait()
        yield from whole_request()

    with FakeServer(script) as server, Client(server.address) as client:
        images: list[bytes] = []

        def draw() -> None:
            images.append(client.generate("x").images[0].content)

        threads = [threading.Thread(target=draw) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert images == [b"image"] * 3
