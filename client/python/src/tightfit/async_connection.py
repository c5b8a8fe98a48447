"""One channel of the asyncio client: connecting, calls with retries, streams of events."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import grpc
import grpc.aio

from tightfit.attempts import Attempts
from tightfit.connect_failure import ConnectFailure, explain
from tightfit.errors import ConnectionLostError, TightfitError
from tightfit.event_decoder import Decoder, EventDecoder, ModelDecoder
from tightfit.generation import Event
from tightfit.rpc_status import UNREACHED, cancelled, cannot_connect, error_of_call
from tightfit.server_types import Model
from tightfit.settings import (
    ASK_FIRST_SECONDS,
    ASK_WHY_SECONDS,
    HEALTH_CHECK,
    POLL_SECONDS,
    Metadata,
    Settings,
    as_bytes,
    connect_budget,
)
from tightfit.v1 import image_generation_pb2, model_pb2
from tightfit.v1.image_generation_pb2_grpc import ImageGenerationServiceStub
from tightfit.v1.model_pb2_grpc import ModelServiceStub
from tightfit.v1.server_pb2_grpc import ServerServiceStub

if TYPE_CHECKING:
    from typing_extensions import Self

_logger = logging.getLogger("tightfit")

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)
Message = TypeVar("Message")
Output = TypeVar("Output", covariant=True)


class UnaryMethod(Protocol[Request, Response]):
    def __call__(
        self, request: Request, *, timeout: float | None, metadata: Metadata
    ) -> Awaitable[Response]: ...


class StreamMethod(Protocol[Request, Message]):
    def __call__(
        self, request: Request, *, timeout: float | None, metadata: Metadata
    ) -> grpc.aio.UnaryStreamCall[Any, Message]: ...


class AsyncConnection:
    """Made in the event loop that it is used in, and bound to it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        credentials = settings.credentials()
        options = settings.channel_options()
        self._channel = (
            grpc.aio.insecure_channel(settings.server, options)
            if credentials is None
            else grpc.aio.secure_channel(settings.server, credentials, options)
        )
        self.images = ImageGenerationServiceStub(self._channel)
        self.models = ModelServiceStub(self._channel)
        self.server = ServerServiceStub(self._channel)
        self._health = self._channel.unary_unary(HEALTH_CHECK, as_bytes, as_bytes)
        self._connected = False
        self._was_connected = False
        self.closed = asyncio.Event()

    async def close(self) -> None:
        """Cancels what runs."""
        self.closed.set()
        await self._channel.close()

    async def wait_connected(self, attempts: Attempts, stop: asyncio.Event) -> None:
        """Returns at once where a call has come through before. Raises TightfitError."""
        if self._connected:
            return
        budget = connect_budget(self.settings, attempts)
        waiting = Attempts(1, budget.seconds)
        likely: TightfitError | None = None
        # A server that was there is starting again, or another takes its place.
        waits = self.settings.wait_for_server or self._was_connected
        ask_after = ASK_FIRST_SECONDS
        while not self._connected:
            left = waiting.remaining()
            if not left:
                raise likely or cannot_connect(self.settings.server, budget.shown)
            answer = asyncio.ensure_future(self._answers(left))
            try:
                while not (await asyncio.wait({answer}, timeout=ask_after))[0]:
                    ask_after = ASK_WHY_SECONDS
                    if stop.is_set():
                        raise cancelled()
                    if (failure := await self._last_failure()) is None:
                        continue
                    if failure.certain or (failure.absent and not waits):
                        raise failure.error
                    likely = None if failure.absent else failure.error
                self._connected = answer.result()
            except asyncio.CancelledError:
                # gRPC says so too where the channel was closed meanwhile.
                if not self.closed.is_set():
                    raise
                raise cancelled() from None
            finally:
                answer.cancel()
        self._was_connected = True

    async def _answers(self, seconds: float) -> bool:
        try:
            await self._health(b"", timeout=seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as failure:
            return failure.code() not in UNREACHED
        return True

    async def _last_failure(self) -> ConnectFailure | None:
        """A call that does not wait for the connection is told why the last try failed."""
        try:
            await self._health(b"", timeout=POLL_SECONDS)
        except grpc.aio.AioRpcError as failure:
            if failure.code() is grpc.StatusCode.UNAVAILABLE:
                return explain(failure.details() or "", self.settings)
        return None

    def error(self, failure: grpc.aio.AioRpcError, attempts: Attempts) -> TightfitError:
        error = error_of_call(
            failure.code(),
            failure.details() or "",
            failure.trailing_metadata() or (),
            server=self.settings.server,
            timeout=attempts.timeout,
            has_token=self.settings.token is not None,
        )
        if isinstance(error, ConnectionLostError):
            self._connected = False
        return error

    async def unary(
        self, method: UnaryMethod[Request, Response], request: Request, timeout: float | None
    ) -> Response:
        """`method` with retries. Raises TightfitError."""
        attempts = Attempts(self.settings.max_attempts, timeout)
        while True:
            await self.wait_connected(attempts, self.closed)
            try:
                return await method(
                    request, timeout=attempts.remaining(), metadata=self.settings.metadata()
                )
            except grpc.aio.AioRpcError as failure:
                error = self.error(failure, attempts)
            except asyncio.CancelledError:
                # gRPC says so too where the channel was closed meanwhile.
                if not self.closed.is_set():
                    raise
                raise cancelled() from None
            await pause_or_raise(error, attempts, self.closed)


async def pause_or_raise(error: TightfitError, attempts: Attempts, *stops: asyncio.Event) -> None:
    """Any of `stops` ends the pause, and with it the call."""
    delay = attempts.delay_after(error)
    if delay is None:
        raise error
    _logger.info("%s; trying again in %.2f s", error, delay)
    waiting = [asyncio.ensure_future(stop.wait()) for stop in stops]
    try:
        stopped, _ = await asyncio.wait(
            waiting, timeout=delay, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for each in waiting:
            each.cancel()
    if stopped:
        raise cancelled()


class AsyncEventStream(AsyncIterator[Output], Generic[Message, Output]):
    """What one streaming call gives, message by message.

    The call is made when the first event is asked for. Leaving an `async with` block, `close()`,
    cancelling the task that iterates, or dropping the iterator ends it. Iterating raises
    TightfitError.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        method: StreamMethod[Request, Message],
        request: Request,
        decoder: Callable[[], Decoder[Message, Output]],
        timeout: float | None,
    ) -> None:
        self._connection = connection
        self._begin = functools.partial(method, request)
        self._new_decoder = decoder
        self._timeout = timeout
        self._attempts: Attempts | None = None
        self._call: grpc.aio.UnaryStreamCall[Any, Message] | None = None
        self._decoder = decoder()
        self._finished = False
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cancel()

    def __del__(self) -> None:
        if hasattr(self, "_stop") and not self._connection.loop.is_closed():
            self._cancel()

    def __aiter__(self) -> Self:
        return self

    async def close(self) -> None:
        """Ends the call, and its work on the server; callable any number of times."""
        self._cancel()

    def _cancel(self) -> None:
        self._stop.set()
        if self._call is not None:
            self._call.cancel()

    async def __anext__(self) -> Output:
        if self._finished:
            raise StopAsyncIteration
        try:
            event = await self._next()
        except BaseException:  # a cancelled task too: no work goes on that nobody waits for
            self._finished = True
            self._cancel()
            raise
        if event is None:
            self._finished = True
            raise StopAsyncIteration
        return event

    async def _next(self) -> Output | None:
        """None at the end."""
        connection = self._connection
        if self._attempts is None:
            self._attempts = Attempts(connection.settings.max_attempts, self._timeout)
        while True:
            if self._stop.is_set() or connection.closed.is_set():
                raise cancelled()
            if self._call is None:
                await connection.wait_connected(self._attempts, self._stop)
                if self._stop.is_set():
                    raise cancelled()
                self._call = self._begin(
                    timeout=self._attempts.remaining(), metadata=connection.settings.metadata()
                )
            try:
                message = await self._call.read()
            except grpc.aio.AioRpcError as failure:
                error = connection.error(failure, self._attempts)
            except asyncio.CancelledError:
                # gRPC says so too where the call was cancelled, not the task.
                if not (self._stop.is_set() or connection.closed.is_set()):
                    raise
                raise cancelled() from None
            else:
                if message is grpc.aio.EOF:
                    self._decoder.check_end()
                    return None
                event = self._decoder.add(cast("Message", message))
                if event is None:
                    continue
                self._attempts.answered(may_begin_again=self._decoder.may_begin_again)
                return event
            if self._stop.is_set():
                raise error
            await pause_or_raise(error, self._attempts, self._stop, connection.closed)
            self._call = None
            self._decoder = self._new_decoder()


class AsyncImageStream(AsyncEventStream[image_generation_pb2.StreamImagesResponse, Event]):
    """The events of one request, in order: Queued*, Started, Progress and ImageReady, Completed.

    The request is sent when the first event is asked for. Leaving an `async with` block, `close()`,
    cancelling the task that iterates, or dropping the iterator cancels the work on the server.
    Iterating raises TightfitError; images that were passed on before are whole.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        request: image_generation_pb2.StreamImagesRequest,
        timeout: float | None,
    ) -> None:
        method = connection.images.StreamImages
        super().__init__(connection, method, request, EventDecoder, timeout)


class AsyncModelWatch(AsyncEventStream[model_pb2.WatchModelsResponse, Model]):
    """All models, then each one whose state or policy changes, until it is left as a stream is.

    Of what a slow reader has not taken, the server keeps each model's newest state only. Where the
    call ends in UNAVAILABLE it is made again and all models are told again; one that a restarted
    server no longer has is not told. Iterating raises TightfitError.
    """

    def __init__(self, connection: AsyncConnection, timeout: float | None) -> None:
        method, request = connection.models.WatchModels, model_pb2.WatchModelsRequest()
        super().__init__(connection, method, request, ModelDecoder, timeout)
