"""The asyncio client: the methods of `Client`, awaited."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from tightfit.async_connection import AsyncConnection, AsyncImageStream, AsyncModelWatch
from tightfit.client import MAX_PAGES
from tightfit.configured_client import ConfiguredClient
from tightfit.conversion import from_message
from tightfit.drawn_image import DrawnImage, choose_model, read_png, with_parameters
from tightfit.errors import broken_stream
from tightfit.event_decoder import ResultCollector
from tightfit.generation import Estimate, GenerationResult
from tightfit.parameters import ImageParameters, build_parameters, documented
from tightfit.residency import update_request
from tightfit.server_types import Capabilities, Model, ServerInfo
from tightfit.settings import Settings
from tightfit.v1 import image_generation_pb2, model_pb2, server_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncClient(ConfiguredClient):
    """A tightfit server, over one connection that is made with the first call.

    For one event loop: calls may run at the same time in its tasks. Every method takes `timeout`,
    seconds for the whole call, retries included; left out, the client's. Every method raises
    TightfitError; only UNAVAILABLE is retried, and images only before their first event.
    """

    def _set_up(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: AsyncConnection | None = None
        self._closed = False

    async def __aenter__(self) -> AsyncClient:
        self._check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and cancels what runs on it."""
        self._closed = True
        if self._connection is not None:
            await self._connection.close()

    @documented
    async def generate(
        self,
        prompt: str,
        *,
        request_id: str = "",
        timeout: float | None = None,
        **parameters: Unpack[ImageParameters],
    ) -> GenerationResult:
        """Draws and waits for all images, of any size."""
        events = self.stream(prompt, request_id=request_id, timeout=timeout, **parameters)
        collector = ResultCollector()
        async with events:
            async for event in events:
                collector.add(event)
        return collector.result()

    @documented
    async def generate_from_png(
        self,
        image: bytes | str | os.PathLike[str],
        *,
        prompt: str | None = None,
        request_id: str = "",
        timeout: float | None = None,
        **parameters: Unpack[ImageParameters],
    ) -> GenerationResult:
        """Draws the image of a PNG file, or of its bytes, again, to the pixel.

        Reads the text of tightfit, A1111 or Forge. What is given here goes before what the image
        says; None is the model's default, for `seed` a random one. The result's `notes` tell what
        of the image is not done here. Raises ValueError where it holds no such text, was drawn on
        from latents that are not given, or of a model that the server does not have.
        """
        drawn = await self.parameters_from_png(image, timeout=timeout, **parameters)
        text = drawn.prompt if prompt is None else prompt
        result = await self.generate(
            text, request_id=request_id, timeout=timeout, **drawn.parameters
        )
        return replace(result, notes=drawn.notes)

    @documented
    async def parameters_from_png(
        self,
        image: bytes | str | os.PathLike[str],
        *,
        timeout: float | None = None,
        **parameters: Unpack[ImageParameters],
    ) -> DrawnImage:
        """What `generate_from_png` would ask for, without drawing: prompt and keyword arguments."""
        drawn = with_parameters(read_png(image), parameters)
        if parameters.get("model") is not None:
            return drawn
        return choose_model(await self.models(timeout=timeout), drawn)

    @documented
    def stream(
        self,
        prompt: str,
        *,
        request_id: str = "",
        timeout: float | None = None,
        **parameters: Unpack[ImageParameters],
    ) -> AsyncImageStream:
        """Draws with progress: an async iterator of events; leaving it cancels the work.

        request_id: up to 64 characters of [A-Za-z0-9._-] for the server's log
        """
        request = image_generation_pb2.StreamImagesRequest(
            parameters=build_parameters(prompt, parameters), request_id=request_id
        )
        return AsyncImageStream(self._open(), request, self._timeout(timeout))

    @documented
    async def estimate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        **parameters: Unpack[ImageParameters],
    ) -> Estimate:
        """What `generate` would take of the device, and whom it would drive out. Draws nothing."""
        request = image_generation_pb2.EstimateImagesRequest(
            parameters=build_parameters(prompt, parameters)
        )
        connection = self._open()
        reply = await connection.unary(
            connection.images.EstimateImages, request, self._timeout(timeout)
        )
        return from_message(Estimate, reply)

    async def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        """All configured models in the order of the configuration, without modules_left."""
        connection = self._open()
        models: list[Model] = []
        request = model_pb2.ListModelsRequest()
        for _ in range(MAX_PAGES):
            reply = await connection.unary(
                connection.models.ListModels, request, self._timeout(timeout)
            )
            models += [from_message(Model, each) for each in reply.models]
            if not reply.next_page_token:
                return tuple(models)
            request = model_pb2.ListModelsRequest(page_token=reply.next_page_token)
        raise broken_stream("the list of models does not end")

    async def model(self, name: str, *, timeout: float | None = None) -> Model:
        """One model with everything. Raises NotFoundError for an unknown name."""
        request = model_pb2.GetModelRequest(name=name)
        connection = self._open()
        reply = await connection.unary(connection.models.GetModel, request, self._timeout(timeout))
        return from_message(Model, reply.model)

    def watch_models(self, *, timeout: float | None = None) -> AsyncModelWatch:
        """All models, then each one that changes: an async iterator; leaving it ends the call.

        After UNAVAILABLE it begins again and tells all models again; max_attempts counts the tries
        since a model was told.
        """
        return AsyncModelWatch(self._open(), self._timeout(timeout))

    async def load_model(self, name: str, *, timeout: float | None = None) -> Model:
        """Brings a model to the device, idle ones may go for it; returns once it is there."""
        request = model_pb2.LoadModelRequest(name=name)
        connection = self._open()
        reply = await connection.unary(connection.models.LoadModel, request, self._timeout(timeout))
        return from_message(Model, reply.model)

    async def unload_model(
        self, name: str, *, force: bool = False, timeout: float | None = None
    ) -> Model:
        """Takes a model off the device. force: also one that is pinned or in use."""
        request = model_pb2.UnloadModelRequest(name=name, force=force)
        connection = self._open()
        reply = await connection.unary(
            connection.models.UnloadModel, request, self._timeout(timeout)
        )
        return from_message(Model, reply.model)

    async def update_model(
        self,
        name: str,
        *,
        pinned: bool | None = None,
        keep_alive_seconds: float | None = None,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> Model:
        """Changes how long a model stays on the device; what is left out stays as it is.

        pinned: never evicted to make room
        keep_alive_seconds: evicted when unused for so long; 0: only when others need the room
        priority: -1000 to 1000; of the models that may go, those of low priority go first
        """
        request = update_request(name, pinned, keep_alive_seconds, priority)
        connection = self._open()
        reply = await connection.unary(
            connection.models.UpdateModel, request, self._timeout(timeout)
        )
        return from_message(Model, reply.model)

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        request = server_pb2.GetServerInfoRequest()
        connection = self._open()
        reply = await connection.unary(
            connection.server.GetServerInfo, request, self._timeout(timeout)
        )
        return from_message(ServerInfo, reply)

    async def capabilities(self, *, timeout: float | None = None) -> Capabilities:
        """Limits, samplers, formats: what a request may ask for."""
        request = server_pb2.GetCapabilitiesRequest()
        connection = self._open()
        reply = await connection.unary(
            connection.server.GetCapabilities, request, self._timeout(timeout)
        )
        return from_message(Capabilities, reply)

    def _timeout(self, of_call: float | None) -> float | None:
        return self._settings.timeout_of(of_call)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    def _open(self) -> AsyncConnection:
        """gRPC binds a channel to the event loop that runs, so it is made with the first call."""
        self._check_open()
        if self._connection is None:
            self._connection = AsyncConnection(self._settings)
        if self._connection.loop is not asyncio.get_running_loop():
            raise RuntimeError("an AsyncClient serves the event loop of its first call only")
        return self._connection
