"""Watching models with both clients: what is told, what ends it, and that breaks lose nothing."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from client_sides import Side, later, on_both_sides
from emoji_model import EMOJI
from fake_tightfit_server import FakeServer, Refusal, Script, told
from google.protobuf.message import Message
from server_process import SERVER, ServerProcess
from tightfit import (
    AccessDeniedError,
    AsyncClient,
    BrokenStreamError,
    CannotConnectError,
    Client,
    DeadlineExceededError,
    Model,
    ModelState,
    RequestCancelledError,
    TightfitError,
    UnavailableError,
)
from tightfit.v1 import model_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
NAME = "emoji-xl"
UNLOADED_EMOJI = EMOJI + ",preload=false"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = [UNLOADED_EMOJI, UNLOADED_EMOJI.replace(NAME, "another", 1)]
    with ServerProcess(tmp_path_factory.mktemp("server"), models) as running:
        yield running


@pytest.fixture
def held() -> Iterator[FakeServer]:
    """Tells one model, then nothing for as long as the client stays."""

    def script(call: int) -> Iterator[Message]:
        yield told("model-0")
        server.cancelled.wait(30)

    with FakeServer(script) as server:
        yield server


def stop(model: Model) -> bool:
    return True


@on_both_sides
def test_all_models_are_told_first_as_the_list_has_them(server: ServerProcess, side: Side) -> None:
    listed = side.call(server.address, "models")
    first: list[Model] = []

    def both(model: Model) -> bool:
        first.append(model)
        return len(first) == 2

    assert tuple(side.watch(server.address, both)) == listed
    assert [model.name for model in first] == [NAME, "another"]


@on_both_sides
def test_changes_come_in_their_order(server: ServerProcess, side: Side) -> None:
    count = itertools.count(1)

    def act(model: Model) -> bool:
        is_change = next(count) > 2
        if model.name == "another":  # the last one of the first image
            client.load_model(NAME)
        elif model.state is ModelState.RESIDENT:
            client.unload_model(NAME)
        return is_change and model.state is ModelState.UNLOADED

    with Client(server.address) as client:
        seen = side.watch(server.address, act)
    assert {model.name for model in seen[2:]} == {NAME}
    # That it is being evicted is so short that the next state may overtake it.
    changes = [model for model in seen[2:] if model.state is not ModelState.EVICTING]
    assert [(model.state, model.state_reason) for model in changes] == [
        (ModelState.LOADING, "LoadModel"),
        (ModelState.RESIDENT, "LoadModel"),
        (ModelState.UNLOADED, "UnloadModel"),
    ]
    assert [bool(model.components) for model in changes] == [False, True, False]


@on_both_sides
def test_of_a_thousand_changes_the_order_and_the_last_one_are_kept(
    server: ServerProcess, side: Side
) -> None:
    """The server may leave out what a newer change has overtaken."""

    def change() -> None:
        with Client(server.address) as client:
            for priority in (*range(1, 1000), 0):
                client.update_model(NAME, priority=priority)

    changing = threading.Thread(target=change)

    def act(model: Model) -> bool:
        if model.name == "another":
            changing.start()
        return changing.ident is not None and model.priority == 0 and model.name == NAME

    priorities = [model.priority for model in side.watch(server.address, act)[2:]]
    changing.join()
    assert priorities[-1] == 0 and len(priorities) > 100
    assert all(before < after for before, after in itertools.pairwise(priorities[:-1]))


@on_both_sides
def test_a_thousand_events_all_come_in_order(side: Side) -> None:
    names = [f"model-{i}" for i in range(1000)]
    with FakeServer(lambda call: map(told, names)) as server:
        seen: list[Model] = []
        side.watch(server.address, lambda model: seen.append(model) or len(seen) == 1000)
    assert [model.name for model in seen] == names


@on_both_sides
def test_a_restarted_server_tells_all_models_again(tmp_path: Path, side: Side) -> None:
    """Whether it was stopped or killed, and however it was before."""
    address = "127.0.0.1:0"
    running: list[ServerProcess] = []

    def start() -> None:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        pinned = f",pinned={'true' if running else 'false'}"
        running.append(ServerProcess(folder, [UNLOADED_EMOJI + pinned], listen=address))
        running[-1].__enter__()

    def restart(model: Model) -> bool:
        if len(running) == 3:
            return True
        if len(running) == 1:
            running[-1].stop()
        else:
            running[-1].process.kill()
            running[-1].process.wait()
        start()
        return False

    try:
        start()
        address = running[0].address
        seen = side.watch(address, restart, client_max_attempts=2)
    finally:
        for each in running:
            each.stop()
    assert [(model.name, model.pinned) for model in seen] == [
        (NAME, False),
        (NAME, True),
        (NAME, True),
    ]


def breaks(refusal: Refusal, *, telling: int) -> Script:
    """Call i tells model-i, where i is below `telling`, and breaks."""

    def script(call: int) -> Iterator[Message]:
        if call < telling:
            yield told(f"model-{call}")
        raise refusal

    return script


@on_both_sides
def test_what_has_told_something_has_all_attempts_again(side: Side) -> None:
    with FakeServer(breaks(Refusal(UNAVAILABLE, "DRAINING"), telling=4)) as server:
        seen: list[Model] = []
        with pytest.raises(UnavailableError, match="DRAINING"):
            side.watch(server.address, seen.append, client_max_attempts=2)
        pauses = [b - a for a, b in itertools.pairwise(server.calls)]
    assert [model.name for model in seen] == [f"model-{i}" for i in range(4)]
    # After the last model its call failed, and one more that told nothing.
    assert len(pauses) == 4 and max(pauses) < 1.5, "the delays grow"


@on_both_sides
def test_a_watch_is_not_begun_again_without_retries(side: Side) -> None:
    with FakeServer(breaks(Refusal(UNAVAILABLE, "DRAINING"), telling=9)) as server:
        with pytest.raises(UnavailableError, match="DRAINING"):
            side.watch(server.address, client_max_attempts=1)
        assert len(server.calls) == 1


@on_both_sides
def test_a_watch_is_begun_again_not_before_the_server_says(side: Side) -> None:
    with FakeServer(breaks(Refusal(UNAVAILABLE, "DEVICE_LOST", 0.6), telling=2)) as server:
        side.watch(server.address, lambda model: model.name == "model-1")
        assert server.calls[1] - server.calls[0] >= 0.6


@on_both_sides
def test_nothing_but_unavailable_begins_a_watch_again(side: Side) -> None:
    for code in grpc.StatusCode:
        if code in (grpc.StatusCode.OK, UNAVAILABLE):
            continue
        with FakeServer(breaks(Refusal(code, "SOME_REASON", 0.01), telling=9)) as server:
            with pytest.raises(TightfitError) as caught:
                side.watch(server.address)
            assert len(server.calls) == 1, code
            assert (caught.value.code, caught.value.reason) == (code.name, "SOME_REASON")


@on_both_sides
def test_a_server_that_stays_away_is_waited_for_as_at_the_start(
    held: FakeServer, side: Side
) -> None:
    began = time.monotonic()
    with pytest.raises(CannotConnectError, match="within 0.6 s"):
        side.watch(held.address, lambda model: held.__exit__(), client_connect_timeout=0.6)
    assert 0.6 <= time.monotonic() - began < 5 and len(held.calls) == 1


@on_both_sides
def test_a_watch_that_the_server_ends_is_refused(side: Side) -> None:
    with FakeServer(lambda call: iter([told("model-0")])) as server:
        with pytest.raises(BrokenStreamError, match="the server ended the watch"):
            side.watch(server.address)
        assert len(server.calls) == 1


@on_both_sides
def test_what_a_newer_server_tells_is_passed_over(side: Side) -> None:
    unknown = model_pb2.WatchModelsResponse.FromString(b"\xa2\x06\x00")  # field 100, empty
    with FakeServer(lambda call: iter([unknown, told("model-0")])) as server:
        assert [model.name for model in side.watch(server.address, stop)] == ["model-0"]


@on_both_sides
def test_leaving_the_loop_ends_the_call(held: FakeServer, side: Side) -> None:
    assert len(side.watch(held.address, stop)) == 1
    assert held.cancelled.wait(5)


def test_leaving_in_any_way_ends_the_call_alone(held: FakeServer) -> None:
    def by_break(client: Client) -> None:
        for _ in client.watch_models():
            break

    def by_dropping(client: Client) -> None:
        models = client.watch_models()
        next(models)
        del models

    def by_an_error(client: Client) -> None:
        with pytest.raises(KeyboardInterrupt), client.watch_models() as models:
            next(models)
            raise KeyboardInterrupt

    with Client(held.address) as client:
        for leave in (by_break, by_dropping, by_an_error):
            held.cancelled.clear()
            leave(client)
            assert held.cancelled.wait(5), leave.__name__
        assert len(held.calls) == 3


@pytest.mark.parametrize("closed", ["watch", "client"])
def test_closing_from_another_thread_raises_cancelled(held: FakeServer, closed: str) -> None:
    with Client(held.address) as client:
        models = client.watch_models()
        next(models)
        later(0.2, (models if closed == "watch" else client).close)
        began = time.monotonic()
        with pytest.raises(RequestCancelledError):
            next(models)
        assert time.monotonic() - began < 5 and held.cancelled.wait(5)
        assert list(models) == []


def test_closing_ends_the_wait_for_a_restart() -> None:
    with FakeServer(breaks(Refusal(UNAVAILABLE, "DRAINING", 30), telling=1)) as server:
        with Client(server.address) as client:
            models = client.watch_models()
            next(models)
            later(0.2, models.close)
            began = time.monotonic()
            with pytest.raises(RequestCancelledError):
                next(models)
            assert time.monotonic() - began < 5 and len(server.calls) == 1


async def ended(server: FakeServer) -> bool:
    return await asyncio.to_thread(server.cancelled.wait, 5)


def test_cancelling_the_task_ends_the_call_alone(held: FakeServer) -> None:
    async def watch(client: AsyncClient) -> None:
        async for _ in client.watch_models():
            pass

    async def run() -> None:
        async with AsyncClient(held.address) as client:
            task = asyncio.create_task(watch(client))
            while not held.calls:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await ended(held)
            assert len(await client.models()) == 1

    asyncio.run(run())


def test_leaving_the_async_with_block_ends_the_call_alone(held: FakeServer) -> None:
    async def run() -> None:
        async with AsyncClient(held.address) as client:
            async with client.watch_models() as models:
                assert (await anext(models)).name == "model-0"
            assert await ended(held)
            with pytest.raises(RequestCancelledError):
                await anext(models)

    asyncio.run(run())


@pytest.mark.parametrize("closed", ["watch", "client"])
def test_closing_in_another_task_raises_cancelled(held: FakeServer, closed: str) -> None:
    async def run() -> None:
        async with AsyncClient(held.address) as client:
            models = client.watch_models()
            await anext(models)
            waiting = asyncio.ensure_future(anext(models))
            await asyncio.sleep(0.2)
            await (models if closed == "watch" else client).close()
            with pytest.raises(RequestCancelledError):
                await waiting

    asyncio.run(run())


@on_both_sides
@pytest.mark.parametrize("option", ["timeout", "client_timeout"])
def test_the_deadline_ends_a_watch(held: FakeServer, side: Side, option: str) -> None:
    seen: list[Model] = []
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError, match="not done within 0.7 s"):
        side.watch(held.address, seen.append, **{option: 0.7})
    assert 0.7 <= time.monotonic() - began < 3 and len(seen) == 1
    assert held.cancelled.wait(5)


@pytest.mark.alone
@on_both_sides
def test_the_deadline_counts_from_the_beginning_not_from_the_last_break(side: Side) -> None:
    over = threading.Event()

    def script(call: int) -> Iterator[Message]:
        yield told(f"model-{call}")
        if call == 0:
            time.sleep(0.6)
            raise Refusal(UNAVAILABLE, "DRAINING")
        over.wait(30)

    with FakeServer(script) as server:
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError, match="not done within 1.2 s"):
            side.watch(server.address, timeout=1.2)
        assert 1.2 <= time.monotonic() - began < 1.75
        assert len(server.calls) == 2
        over.set()


@on_both_sides
def test_a_timeout_that_is_over_is_one_as_in_other_calls(held: FakeServer, side: Side) -> None:
    with pytest.raises(TightfitError) as of_call:
        side.call(held.address, "models", timeout=-1)
    with pytest.raises(TightfitError) as of_watch:
        side.watch(held.address, timeout=-1)
    assert type(of_watch.value) is type(of_call.value)
    assert str(of_watch.value) == str(of_call.value)
    assert not held.calls


@on_both_sides
def test_a_name_is_not_taken(held: FakeServer, side: Side) -> None:
    with pytest.raises(TypeError):
        side.call(held.address, "watch_models", NAME)
    with pytest.raises(TypeError):
        side.watch(held.address, name=NAME)
    assert not held.calls


@on_both_sides
def test_a_watch_on_nobody_is_told_as_in_other_calls(side: Side) -> None:
    with FakeServer(lambda call: iter([])) as server:
        pass
    with pytest.raises(CannotConnectError):
        side.watch(server.address, client_connect_timeout=0.3)


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ServerProcess, str]]:
    """A server that asks for tokens, and one that it takes."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = folder / "tokens"
    command = [str(SERVER), "token", "new", "--role", "user", "--name", "alice"]
    made = subprocess.run([*command, "--append-to", str(tokens)], capture_output=True, check=True)
    token = made.stdout.decode().strip()
    tokens.chmod(0o600)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIGHTFIT_TOKEN", token)
        with ServerProcess(folder, [UNLOADED_EMOJI], "--tokens-file", str(tokens)) as running:
            environment.delenv("TIGHTFIT_TOKEN")
            yield running, token


@on_both_sides
def test_a_watch_carries_the_token_and_is_refused_without(
    guarded: tuple[ServerProcess, str], side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, token = guarded
    for wrong in ({}, {"client_token": "wrong"}):
        with pytest.raises(AccessDeniedError, match=r"token=.*TIGHTFIT_TOKEN") as caught:
            side.watch(server.address, **wrong)
        assert (caught.value.code, caught.value.reason) == (
            "UNAUTHENTICATED",
            "INVALID_CREDENTIALS",
        )
    assert side.watch(server.address, stop, client_token=token)[0].name == NAME
    monkeypatch.setenv("TIGHTFIT_TOKEN", token)
    assert side.watch(server.address, stop)[0].name == NAME


@on_both_sides
def test_a_watch_that_begins_again_carries_the_token_again(side: Side) -> None:
    with FakeServer(breaks(Refusal(UNAVAILABLE, "DRAINING"), telling=2)) as server:
        side.watch(server.address, lambda m: m.name == "model-1", client_token="one")
    assert [call["authorization"] for call in server.metadata] == ["Bearer one"] * 2
