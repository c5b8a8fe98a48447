"""A server of the contract whose answers a test writes, for what a real one never does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import client_sides  # noqa: F401  makes tightfit importable
import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from tightfit.v1 import image_generation_pb2 as pb
from tightfit.v1 import image_generation_pb2_grpc, model_pb2, model_pb2_grpc

Script = Callable[[int], Iterator[Message]]


class Refusal(Exception):
    """Ends a call with this status and the google.rpc details of the contract."""

    def __init__(
        self, code: grpc.StatusCode, reason: str, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.status = status_pb2.Status(code=code.value[0], message=f"refused: {reason}")
        self._attach(error_details_pb2.ErrorInfo(reason=reason, domain="tightfit"))
        if retry_after_seconds is not None:
            delay = Duration()
            delay.FromNanoseconds(round(retry_after_seconds * 1e9))
            self._attach(error_details_pb2.RetryInfo(retry_delay=delay))

    def _attach(self, detail: Any) -> None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        self.status.details.append(packed)

    def end(self, context: grpc.ServicerContext) -> None:
        details = self.status.SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(self.code, self.status.message)


class FakeServer(
    image_generation_pb2_grpc.ImageGenerationServiceServicer, model_pb2_grpc.ModelServiceServicer
):
    """`script` makes the messages of call number i, or raises Refusal. Use as context manager."""

    def __init__(
        self,
        script: Script,
        credentials: grpc.ServerCredentials | None = None,
        pages: int = 1,
        address: str = "127.0.0.1:0",
    ) -> None:
        self._script = script
        self._pages = pages
        self.calls: list[float] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.cancelled = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        image_generation_pb2_grpc.add_ImageGenerationServiceServicer_to_server(self, self._server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        port = (
            self._server.add_insecure_port(address)
            if credentials is None
            else self._server.add_secure_port("localhost:0", credentials)
        )
        self.address = f"{'127.0.0.1' if credentials is None else 'localhost'}:{port}"

    def __enter__(self) -> FakeServer:
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.stop(None).wait()

    def _arrived(self, context: grpc.ServicerContext) -> int:
        self.calls.append(time.monotonic())
        self.metadata.append(dict(context.invocation_metadata()))
        return len(self.calls) - 1

    def _play(self, context: grpc.ServicerContext) -> Iterator[Any]:
        call = self._arrived(context)
        context.add_callback(self.cancelled.set)
        try:
            yield from self._script(call)
        except Refusal as refusal:
            refusal.end(context)

    # The names are gRPC's.
    def StreamImages(
        self, request: pb.StreamImagesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamImagesResponse]:
        return self._play(context)

    def WatchModels(
        self, request: model_pb2.WatchModelsRequest, context: grpc.ServicerContext
    ) -> Iterator[model_pb2.WatchModelsResponse]:
        return self._play(context)

    def ListModels(
        self, request: model_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_pb2.ListModelsResponse:
        call = self._arrived(context)
        try:
            for _ in self._script(call):
                pass
        except Refusal as refusal:
            refusal.end(context)
        page = int(request.page_token or 0)
        reply = model_pb2.ListModelsResponse()
        reply.models.add(name=f"model-{page}", state=99)
        if page + 1 < self._pages:
            reply.next_page_token = str(page + 1)
        return reply


def started(image_count: int = 1) -> pb.StreamImagesResponse:
    message = pb.StreamImagesResponse()
    message.started.request_id = "fake"
    message.started.parameters.seed = 5
    message.started.parameters.image_count = image_count
    return message


def progress(step: int) -> pb.StreamImagesResponse:
    return pb.StreamImagesResponse(
        progress=pb.Progress(stage=pb.STAGE_DENOISE, step=step, step_count=1000)
    )


def chunk(
    content: bytes, offset: int, total: int, *, last: bool, index: int = 0
) -> pb.StreamImagesResponse:
    return pb.StreamImagesResponse(
        image_chunk=pb.ImageChunk(
            image_index=index,
            offset_bytes=offset,
            content=content,
            last=last,
            total_bytes=total,
            mime_type="image/png",
        )
    )


def completed() -> pb.StreamImagesResponse:
    message = pb.StreamImagesResponse()
    message.completed.timings.total_duration.seconds = 1
    return message


def whole_request(content: bytes = b"image") -> list[pb.StreamImagesResponse]:
    size = len(content)
    return [started(), chunk(content, 0, size, last=True), completed()]


def told(name: str) -> model_pb2.WatchModelsResponse:
    return model_pb2.WatchModelsResponse(model=model_pb2.Model(name=name))
