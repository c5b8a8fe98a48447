"""One channel of the synchronous client: connecting, calls with retries, streams of events."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import grpc

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
    ) -> Response: ...


class StreamMethod(Protocol[Request, Message]):
    def __call__(
        self, request: Request, *, timeout: float | None, metadata: Metadata
    ) -> grpc._CallIterator[Message]: ...


class Connection:
    """Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        credentials = settings.credentials()
        options = settings.channel_options()
        self._channel = (
            grpc.insecure_channel(settings.server, options)
            if credentials is None
            else grpc.secure_channel(settings.server, credentials, options)
        )
        self.images = ImageGenerationServiceStub(self._channel)
        self.models = ModelServiceStub(self._channel)
        self.server = ServerServiceStub(self._channel)
        self._health = self._channel.unary_unary(HEALTH_CHECK, as_bytes, as_bytes)
        self._connected = False
        self._was_connected = False
        self.closed = threading.Event()

    def close(self) -> None:
        """Cancels what runs."""
        self.closed.set()
        self._channel.close()

    def check_open(self) -> None:
        if self.closed.is_set():
            raise RuntimeError("the client is closed")

    def wait_connected(self, attempts: Attempts, stop: threading.Event) -> None:
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
            answer = self._health.future(b"", timeout=left, wait_for_ready=True)
            try:
                while (answered := self._answers(answer, stop, ask_after)) is None:
                    ask_after = ASK_WHY_SECONDS
                    if (failure := self._last_failure()) is None:
                        continue
                    if failure.certain or (failure.absent and not waits):
                        raise failure.error
                    likely = None if failure.absent else failure.error
            finally:
                answer.cancel()
            self._connected = answered
        self._was_connected = True

    def _last_failure(self) -> ConnectFailure | None:
        """A call that does not wait for the connection is told why the last try failed."""
        try:
            self._health(b"", timeout=POLL_SECONDS)
        except grpc.RpcError as failure:
            if isinstance(failure, grpc.Call) and failure.code() is grpc.StatusCode.UNAVAILABLE:
                return explain(failure.details() or "", self.settings)
        except ValueError:  # gRPC's word for a channel that was closed meanwhile
            pass
        return None

    def _answers(
        self, answer: grpc.Future[bytes], stop: threading.Event, ask_after: float
    ) -> bool | None:
        """None where there is no answer yet, but time to ask why."""
        until = time.monotonic() + ask_after
        while not stop.is_set():
            try:
                answer.result(timeout=POLL_SECONDS)
                return True
            except grpc.FutureTimeoutError:
                if time.monotonic() >= until:
                    return None
            except grpc.FutureCancelledError:  # the channel was closed
                break
            except grpc.RpcError as failure:
                _let_go(failure)
                return isinstance(failure, grpc.Call) and failure.code() not in UNREACHED
        raise cancelled()

    def error(self, failure: grpc.RpcError, attempts: Attempts) -> TightfitError:
        if not isinstance(failure, grpc.Call):
            raise failure  # gRPC's failures of calls all are
        _let_go(failure)
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

    def unary(
        self, method: UnaryMethod[Request, Response], request: Request, timeout: float | None
    ) -> Response:
        """`method` with retries. Raises TightfitError."""
        self.check_open()
        attempts = Attempts(self.settings.max_attempts, timeout)
        while True:
            try:
                self.wait_connected(attempts, self.closed)
                return method(
                    request, timeout=attempts.remaining(), metadata=self.settings.metadata()
                )
            except grpc.RpcError as failure:
                error = self.error(failure, attempts)
            except ValueError:  # gRPC's word for a channel that was closed meanwhile
                if not self.closed.is_set():
                    raise
                raise cancelled() from None
            pause_or_raise(error, attempts, self.closed.wait)


def _let_go(failure: grpc.RpcError) -> None:
    """gRPC raises the call itself, which its traceback's frames hold, and with it the stream.

    In such a circle a stream that is dropped would run on until the next garbage collection.
    """
    failure.__traceback__ = None


def pause_or_raise(error: TightfitError, attempts: Attempts, wait: Callable[[float], bool]) -> None:
    """`wait` sleeps; it returns True where it was woken to stop."""
    delay = attempts.delay_after(error)
    if delay is None:
        raise error
    _logger.info("%s; trying again in %.2f s", error, delay)
    if wait(delay):
        raise cancelled()


class EventStream(Iterator[Output], Generic[Message, Output]):
    """What one streaming call gives, message by message.

    The call is made when the first event is asked for. Leaving a `with` block, `close()`, or
    dropping the iterator ends it. Iterating raises TightfitError; one thread at a time may iterate,
    a second one gets a RuntimeError.
    """

    def __init__(
        self,
        connection: Connection,
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
        self._call: grpc._CallIterator[Message] | None = None
        self._decoder = decoder()
        self._finished = False
        self._stop = threading.Event()
        self._reading = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_stop"):
            self.close()

    def __iter__(self) -> Self:
        return self

    def close(self) -> None:
        """Ends the call, and its work on the server; from any thread, any number of times."""
        self._stop.set()
        if self._call is not None:
            self._call.cancel()

    def __next__(self) -> Output:
        if not self._reading.acquire(blocking=False):
            raise RuntimeError("another thread reads this stream; give each thread its own")
        try:
            if self._finished:
                raise StopIteration
            return self._next()
        except BaseException:  # Ctrl-C too: no work goes on that nobody waits for
            self._finished = True
            self.close()
            raise
        finally:
            self._reading.release()

    def _next(self) -> Output:
        connection = self._connection
        if self._attempts is None:
            connection.check_open()
            self._attempts = Attempts(connection.settings.max_attempts, self._timeout)
        while True:
            if self._stop.is_set():
                raise cancelled()
            try:
                if self._call is None:
                    self._start(self._attempts)
                    continue
                event = self._decoder.add(next(self._call))
                if event is not None:
                    self._attempts.answered(may_begin_again=self._decoder.may_begin_again)
                    return event
                continue
            except StopIteration:
                self._decoder.check_end()
                raise
            except grpc.RpcError as failure:
                error = connection.error(failure, self._attempts)
            except ValueError:  # gRPC's word for a channel that was closed meanwhile
                if not connection.closed.is_set():
                    raise
                raise cancelled() from None
            if self._stop.is_set():
                raise error
            pause_or_raise(error, self._attempts, self._stopped_within)
            self._call = None
            self._decoder = self._new_decoder()

    def _stopped_within(self, seconds: float) -> bool:
        """As `Event.wait`, for the end of the stream or of its client."""
        until = time.monotonic() + seconds
        while not (self._stop.is_set() or self._connection.closed.is_set()):
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._stop.wait(min(left, POLL_SECONDS))
        return True

    def _start(self, attempts: Attempts) -> None:
        self._connection.wait_connected(attempts, self._stop)
        self._call = self._begin(
            timeout=attempts.remaining(), metadata=self._connection.settings.metadata()
        )
        if self._stop.is_set():  # set between the check before and this line
            self._call.cancel()


class ImageStream(EventStream[image_generation_pb2.StreamImagesResponse, Event]):
    """The events of one request, in order: Queued*, Started, Progress and ImageReady, Completed.

    The request is sent when the first event is asked for. Leaving a `with` block, `close()`, or
    dropping the iterator cancels the work on the server. Iterating raises TightfitError; images
    that were passed on before are whole.
    """

    def __init__(
        self,
        connection: Connection,
        request: image_generation_pb2.StreamImagesRequest,
        timeout: float | None,
    ) -> None:
        method = connection.images.StreamImages
        super().__init__(connection, method, request, EventDecoder, timeout)


class ModelWatch(EventStream[model_pb2.WatchModelsResponse, Model]):
    """All models, then each one whose state or policy changes, until it is left as a stream is.

    Of what a slow reader has not taken, the server keeps each model's newest state only. Where the
    call ends in UNAVAILABLE it is made again and all models are told again; one that a restarted
    server no longer has is not told. Iterating raises TightfitError.
    """

    def __init__(self, connection: Connection, timeout: float | None) -> None:
        method, request = connection.models.WatchModels, model_pb2.WatchModelsRequest()
        super().__init__(connection, method, request, ModelDecoder, timeout)
