"""Every way to leave a request stops its work on the real server; a restarted one is found."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client_sides import PACKAGE, Side, later, on_both_sides
from emoji_model import EMOJI
from server_process import ServerProcess, metric_values
from tightfit import (
    AsyncClient,
    Client,
    ConnectionLostError,
    Event,
    Progress,
    RequestCancelledError,
    UnavailableError,
)

# About a minute of work: whatever ends it sooner is the cancellation.
LONG = {"step_count": 150, "image_count": 8}


@pytest.fixture
def stops_the_work(server: ServerProcess) -> Iterator[None]:
    """Around a test: exactly one request is cancelled, and the server is idle soon after."""
    before = cancelled_count(server)
    yield
    until = time.monotonic() + 10
    with Client(server.address) as client:
        while (info := client.server_info()).running_request_count + info.queued_request_count:
            assert time.monotonic() < until, "the request still runs"
            time.sleep(0.05)
    assert cancelled_count(server) == before + 1


def cancelled_count(server: ServerProcess) -> float:
    return sum(metric_values(server.metrics(), "tightfit_cancelled_requests_total").values())


def is_denoising(event: Event) -> bool:
    return isinstance(event, Progress) and event.step >= 1


@pytest.mark.usefixtures("stops_the_work")
@on_both_sides
def test_breaking_out_of_the_loop_cancels(server: ServerProcess, side: Side) -> None:
    events = side.events(server.address, "x", is_denoising, **LONG)
    assert is_denoising(events[-1])


@pytest.mark.usefixtures("stops_the_work")
def test_dropping_the_iterator_cancels(server: ServerProcess) -> None:
    with Client(server.address) as client:
        events = client.stream("x", **LONG)
        while not is_denoising(next(events)):
            pass
        del events
        gc.collect()
        # The connection is still open: only the request has ended.
        wait_until_idle(client)


def wait_until_idle(client: Client) -> None:
    until = time.monotonic() + 10
    while client.server_info().running_request_count:
        assert time.monotonic() < until, "the request still runs"
        time.sleep(0.05)


@pytest.mark.usefixtures("stops_the_work")
def test_leaving_the_with_block_by_an_error_cancels(server: ServerProcess) -> None:
    with Client(server.address) as client:
        with pytest.raises(KeyboardInterrupt):
            with client.stream("x", **LONG) as events:
                for event in events:
                    if is_denoising(event):
                        raise KeyboardInterrupt
        wait_until_idle(client)


@pytest.mark.usefixtures("stops_the_work")
@pytest.mark.parametrize(
    "code",
    [
        "import tightfit; tightfit.Client().generate('x', step_count=150, image_count=8)",
        "import asyncio, tightfit\n"
        "async def draw():\n"
        "    async with tightfit.AsyncClient() as client:\n"
        "        await client.generate('x', step_count=150, image_count=8)\n"
        "asyncio.run(draw())",
    ],
    ids=["sync", "asyncio"],
)
def test_ctrl_c_ends_a_script_and_its_request(server: ServerProcess, code: str) -> None:
    environment = {**server.environment(), "PYTHONPATH": str(PACKAGE / "src")}
    script = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True
    )
    with Client(server.address) as client:
        until = time.monotonic() + 30
        while not client.server_info().running_request_count:
            assert time.monotonic() < until and script.poll() is None, "the request never ran"
            time.sleep(0.05)
    script.send_signal(signal.SIGINT)
    _, told = script.communicate(timeout=10)
    assert script.returncode == -signal.SIGINT and told.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.usefixtures("stops_the_work")
def test_a_stream_closed_by_another_thread_raises_cancelled(server: ServerProcess) -> None:
    with Client(server.address) as client:
        events = client.stream("x", **LONG)
        timer = None
        with pytest.raises(RequestCancelledError) as caught:
            for event in events:
                if timer is None and is_denoising(event):
                    timer = later(0.1, events.close)
        assert (caught.value.code, caught.value.reason) == ("CANCELLED", "CANCELLED")
        assert list(events) == []


@pytest.mark.usefixtures("stops_the_work")
def test_closing_the_client_cancels_what_runs(server: ServerProcess) -> None:
    client = Client(server.address)
    later(0.5, client.close)
    with pytest.raises(RequestCancelledError):
        client.generate("x", **LONG)


@pytest.mark.usefixtures("stops_the_work")
def test_leaving_the_async_with_block_cancels(server: ServerProcess) -> None:
    async def run() -> None:
        async with AsyncClient(server.address) as client:
            async with client.stream("x", **LONG) as events:
                async for event in events:
                    if is_denoising(event):
                        break
            # The stream is still referenced and the connection open: only the request has ended.
            until = time.monotonic() + 10
            while (await client.server_info()).running_request_count:
                assert time.monotonic() < until, "the request still runs"
                await asyncio.sleep(0.05)
            with pytest.raises(RequestCancelledError):
                await anext(events)

    asyncio.run(run())


@pytest.mark.usefixtures("stops_the_work")
@pytest.mark.parametrize("method", ["generate", "stream"])
def test_cancelling_the_asyncio_task_cancels(server: ServerProcess, method: str) -> None:
    async def draw(client: AsyncClient) -> None:
        if method == "generate":
            await client.generate("x", **LONG)
        async for _ in client.stream("x", **LONG):
            pass

    async def run() -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(draw(client))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            until = time.monotonic() + 10
            while (await client.server_info()).running_request_count:
                assert time.monotonic() < until, "the request still runs"
                await asyncio.sleep(0.05)

    asyncio.run(run())


@pytest.mark.usefixtures("stops_the_work")
@pytest.mark.parametrize("closed", ["stream", "client"])
def test_closing_in_another_task_raises_cancelled(server: ServerProcess, closed: str) -> None:
    async def run() -> None:
        async with AsyncClient(server.address) as client:
            events = client.stream("x", **LONG)

            async def read() -> None:
                async for _ in events:
                    pass

            task = asyncio.create_task(read())
            await asyncio.sleep(0.5)
            await (events if closed == "stream" else client).close()
            with pytest.raises(RequestCancelledError):
                await task

    asyncio.run(run())


def start(folder: Path, listen: str) -> ServerProcess:
    folder.mkdir()
    return ServerProcess(folder, [EMOJI], listen=listen)


def test_a_client_outlives_its_server(tmp_path: Path) -> None:
    with start(tmp_path / "first", "127.0.0.1:0") as first:
        address = first.address
        client = Client(address)
        before = client.generate("red apple", seed=1, step_count=2)
        first.stop()
    with start(tmp_path / "second", address):
        assert client.generate("red apple", seed=1, step_count=2).images == before.images
    client.close()


def test_an_asyncio_client_outlives_its_server(tmp_path: Path) -> None:
    async def draw(restart: Callable[[], None], address: str) -> None:
        async with AsyncClient(address) as client:
            before = await client.generate("red apple", seed=1, step_count=2)
            restart()
            assert (await client.models())[0].name == "emoji-xl"
            again = await client.generate("red apple", seed=1, step_count=2)
            assert again.images == before.images

    running = [start(tmp_path / "first", "127.0.0.1:0").__enter__()]

    def restart() -> None:
        address = running[0].address
        running.pop().stop()
        running.append(start(tmp_path / "second", address).__enter__())

    try:
        asyncio.run(draw(restart, running[0].address))
    finally:
        for server in running:
            server.stop()


@on_both_sides
def test_a_server_that_dies_is_a_lost_connection(tmp_path: Path, side: Side) -> None:
    with start(tmp_path / "server", "127.0.0.1:0") as server:

        def kill(event: Event) -> None:
            if is_denoising(event):
                server.process.kill()

        with pytest.raises(ConnectionLostError) as caught:
            side.events(server.address, "x", kill, **LONG)
        assert isinstance(caught.value, UnavailableError)
        assert str(caught.value) == f"the connection to {server.address} was lost [CONNECTION_LOST]"
