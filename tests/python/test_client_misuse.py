"""What callers get wrong is told by name, at once, and in the words of this package."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import inspect
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from client_sides import Side, on_both_sides, tightfit
from fake_tightfit_server import FakeServer, Refusal, started, whole_request
from tightfit import (
    AccessDeniedError,
    AsyncClient,
    CannotConnectError,
    Client,
    InvalidRequestError,
    TightfitError,
)
from tightfit.parameters import build_parameters
from tightfit.residency import update_request
from tightfit.settings import Settings, server_address
from tightfit.v1 import image_generation_pb2 as pb

FRACTIONS = ["guidance_scale", "guidance_rescale", "denoising_start", "denoising_end"]
CLIENTS = [Client, AsyncClient]


def plays(call: int) -> Iterator[pb.StreamImagesResponse]:
    return iter(whole_request())


# Numbers


@pytest.mark.parametrize("field", FRACTIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 1e39, -1e300])
def test_a_fraction_that_is_not_finite_is_refused_by_its_name(field: str, value: float) -> None:
    with pytest.raises(InvalidRequestError, match=field) as caught:
        build_parameters("x", {field: value})
    assert [each.field for each in caught.value.field_violations] == [field]


def test_fractions_of_fp32_are_taken() -> None:
    message = build_parameters("x", {"guidance_scale": 0, "guidance_rescale": 3.4e38})
    assert message.guidance_scale == 0 and math.isfinite(message.guidance_rescale)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ["timeout", "connect_timeout"])
def test_seconds_that_are_none_are_refused_by_name(client: Any, name: str) -> None:
    for value in (0, -0.0, -1, math.nan, -math.inf):
        with pytest.raises(ValueError, match=name):
            client("127.0.0.1:1", **{name: value})
    for odd in ("5", True, [1]):
        with pytest.raises(TypeError, match=name):
            client("127.0.0.1:1", **{name: odd})


@on_both_sides
@pytest.mark.parametrize("endless", [math.inf, 1e300, 1e10, 10**30])
def test_endless_timeouts_are_no_limit(side: Side, endless: float) -> None:
    limits = {"client_connect_timeout": endless, "client_timeout": endless}
    with FakeServer(plays) as server:
        assert len(side.call(server.address, "generate", "x", **limits).images) == 1
        assert len(side.call(server.address, "generate", "x", timeout=endless).images) == 1


@on_both_sides
def test_the_timeout_of_a_call_is_a_number(side: Side) -> None:
    with FakeServer(plays) as server:
        with pytest.raises(ValueError, match="timeout is nan"):
            side.call(server.address, "models", timeout=math.nan)
        with pytest.raises(TypeError, match="timeout is '5'"):
            side.call(server.address, "models", timeout="5")
        assert not server.calls


@pytest.mark.parametrize("client", CLIENTS)
def test_attempts_are_a_whole_number(client: Any) -> None:
    for value in (math.nan, 2.0, "3", True):
        with pytest.raises(TypeError, match="max_attempts"):
            client("127.0.0.1:1", max_attempts=value)


def test_a_models_policy_takes_numbers_only() -> None:
    for seconds in (math.nan, math.inf, -0.0, "5"):
        with pytest.raises(InvalidRequestError, match="keep_alive_seconds"):
            update_request("m", None, seconds, None)  # type: ignore[arg-type]
    for priority in (math.nan, 1.0, True, 2**40):
        with pytest.raises(InvalidRequestError, match="priority"):
            update_request("m", None, None, priority)  # type: ignore[arg-type]


# Other misuse


@on_both_sides
def test_a_prompt_is_text(side: Side) -> None:
    with FakeServer(plays) as server:
        for nothing in (None, 5, ["red apple"]):
            with pytest.raises((InvalidRequestError, TypeError), match="prompt"):
                side.call(server.address, "generate", nothing)
        assert not server.calls


@pytest.mark.parametrize("client", CLIENTS)
def test_the_server_is_text(client: Any) -> None:
    for odd in (5, b"127.0.0.1:50051", Path("x")):
        with pytest.raises(TypeError, match="server is .*127.0.0.1:50051"):
            client(odd)
    with pytest.raises(TypeError, match="token"):
        client("127.0.0.1:1", token=5)


def test_a_closed_client_cannot_be_entered() -> None:
    client = Client("127.0.0.1:1")
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        with client:
            pass

    async def enter() -> None:
        closed = AsyncClient("127.0.0.1:1")
        await closed.close()
        async with closed:
            pass

    with pytest.raises(RuntimeError, match="the client is closed"):
        asyncio.run(enter())


def test_a_second_reader_of_a_stream_is_told_and_the_first_reads_on() -> None:
    go_on = threading.Event()

    def slow(call: int) -> Iterator[pb.StreamImagesResponse]:
        yield started()
        go_on.wait(20)
        yield from whole_request()[1:]

    with FakeServer(slow) as server, Client(server.address) as client:
        stream = client.stream("x")
        next(stream)
        rest: list[Any] = []
        reader = threading.Thread(target=lambda: rest.extend(stream))
        reader.start()
        while not stream._reading.locked():
            time.sleep(0.001)
        with pytest.raises(RuntimeError, match="another thread reads this stream"):
            next(stream)
        go_on.set()
        reader.join(20)
        assert isinstance(rest[-1], tightfit.Completed)


def test_saving_to_a_folder_leaves_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        tightfit.Image(0, 1, "image/png", b"image").save(folder)
    assert list(tmp_path.rglob("*")) == [folder]


def test_a_image_that_does_not_end_is_read_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tightfit.drawn_image._MAX_FILE_BYTES", 1 << 20)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def endless() -> None:
        with contextlib.suppress(BrokenPipeError), fifo.open("wb") as pipe:
            while True:
                pipe.write(b"image" * 1000)

    writer = threading.Thread(target=endless)
    writer.start()
    with Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="larger than 1 MiB"):
            client.parameters_from_png(fifo)
        writer.join(20)
        with pytest.raises(IsADirectoryError):
            client.parameters_from_png(tmp_path)


# Connecting


def settings(**options: Any) -> Settings:
    return Client("127.0.0.1:1", **options)._connection.settings


@on_both_sides
def test_a_refused_connection_is_told_without_waiting(side: Side) -> None:
    began = time.monotonic()
    with pytest.raises(CannotConnectError, match="no server listens at 127.0.0.1:1"):
        side.call("127.0.0.1:1", "models", client_connect_timeout=60)
    with pytest.raises(CannotConnectError, match="no server listens at unix:"):
        side.call("unix:/no/such/socket", "models", client_connect_timeout=60)
    assert time.monotonic() - began < 30  # far from both limits


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@on_both_sides
def test_a_web_server_is_told_apart_from_a_server_that_is_down(side: Side) -> None:
    with web_server() as address:
        with pytest.raises(CannotConnectError, match=r"not as a gRPC server does.*/metrics") as got:
            side.call(address, "models", client_connect_timeout=60)
    assert got.value.reason == "NOT_GRPC"


@pytest.mark.parametrize("scheme", ["http", "https", "grpc", "grpcs", "HTTP", "tcp"])
def test_a_scheme_is_told_with_what_to_give(scheme: str) -> None:
    with pytest.raises(ValueError, match="give draw.example.org:50051") as caught:
        server_address(f"{scheme}://draw.example.org:50051/")
    assert ("tls=True" in str(caught.value)) == (scheme in ("https", "grpcs"))
    for target in ("dns:///example.org:1", "unix:///tmp/x", "127.0.0.1:1", "[::1]:1"):
        assert server_address(target) == target


def test_pem_of_the_other_kind_is_told() -> None:
    key = b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"
    certificate = b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
    with pytest.raises(ValueError, match="root_certificates is PEM, but holds no certificate"):
        settings(root_certificates=key)
    with pytest.raises(ValueError, match="certificate_chain is PEM, but holds no certificate"):
        settings(certificate_chain=key, private_key=key)
    with pytest.raises(ValueError, match="private_key is PEM, but holds no private key"):
        settings(certificate_chain=certificate, private_key=certificate)


@on_both_sides
def test_no_token_and_a_wrong_one_are_two_messages(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIGHTFIT_TOKEN", raising=False)

    def refuse(call: int) -> Iterator[pb.StreamImagesResponse]:
        raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
        yield

    with FakeServer(refuse) as server:
        with pytest.raises(AccessDeniedError, match="no token was sent"):
            side.call(server.address, "models")
        with pytest.raises(AccessDeniedError, match="does not know this token"):
            side.call(server.address, "models", client_token="wrong")


# Help


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("method", ["generate", "stream", "estimate", "generate_from_png"])
def test_help_names_every_keyword_with_its_default(client: Any, method: str) -> None:
    function = getattr(client, method)
    keywords = inspect.signature(function).parameters
    lines = {line.partition(":")[0]: line for line in inspect.getdoc(function).splitlines()}
    for field in pb.ImageParameters.DESCRIPTOR.fields:
        if field.name == "prompt":
            continue
        assert keywords[field.name].default is None
        assert keywords[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        told = lines[field.name]
        assert "default" in told or field.name in ("model", "initial_latents"), told
    assert "pixels" in lines["width_px"] and "parameters" not in keywords


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("num_inference_steps", "step_count"),
        ("steps", "step_count"),
        ("cfg_scale", "guidance_scale"),
        ("num_images_per_prompt", "image_count"),
        ("width", "width_px"),
        ("scheduler", "sampler"),
        ("negativ_prompt", "negative_prompt"),
    ],
)
def test_a_name_of_another_library_gets_the_guess(given: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"{given}.*did you mean '{meant}'"):
        build_parameters("x", {given: 3})


def test_a_model_is_shown_in_one_short_line() -> None:
    with FakeServer(plays) as server, Client(server.address) as client:
        with contextlib.suppress(TightfitError):
            client.models()
    from tightfit.conversion import from_message
    from tightfit.v1 import model_pb2

    message = model_pb2.Model(name="sdxl", format="hf8", scope="linear+conv")
    message.components.add(name="unet")
    shown = repr(from_message(tightfit.Model, message))
    assert "sdxl" in shown and "hf8" in shown and len(shown) < 120 and "\n" not in shown
