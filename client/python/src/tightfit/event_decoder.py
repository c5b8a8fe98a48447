"""From the messages of one stream to events; refuses what the contract excludes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from tightfit.conversion import from_message
from tightfit.errors import broken_stream
from tightfit.generation import (
    Completed,
    Event,
    GenerationResult,
    ImageReady,
    Progress,
    Queued,
    Started,
)
from tightfit.image import Image
from tightfit.server_types import Model
from tightfit.v1 import image_generation_pb2 as pb
from tightfit.v1 import model_pb2

Message = TypeVar("Message", contravariant=True)
Output = TypeVar("Output", covariant=True)

# Larger than any image a server draws; stops one that announces nonsense.
MAX_IMAGE_BYTES = 256 << 20


class Decoder(Protocol[Message, Output]):
    """One attempt of a streaming call.

    may_begin_again: what another attempt tells may follow what this one has told
    """

    may_begin_again: bool

    def add(self, message: Message) -> Output | None:
        """The event that this message completes, if any. Raises BrokenStreamError."""

    def check_end(self) -> None:
        """Raises BrokenStreamError where the server must not end the stream."""


@dataclass
class _Partial:
    total_bytes: int
    mime_type: str
    content: bytearray = field(default_factory=bytearray)


class ImageAssembler:
    """Puts the images of one request together from chunks; chunks of several images may mix."""

    def __init__(self, first_seed: int, image_count: int) -> None:
        self._first_seed = first_seed
        self._image_count = image_count
        self._partial: dict[int, _Partial] = {}
        self._complete: set[int] = set()

    def add(self, chunk: pb.ImageChunk) -> Image | None:
        """The image that this chunk completes. Raises BrokenStreamError."""
        index = chunk.image_index
        where = f"image {index}"
        if not 0 <= index < self._image_count:
            raise broken_stream(f"{where}: its index is outside the request's {self._image_count}")
        if index in self._complete:
            raise broken_stream(f"{where}: a chunk came after its last one")
        if not 0 < chunk.total_bytes <= MAX_IMAGE_BYTES:
            raise broken_stream(f"{where}: its size is given as {chunk.total_bytes} bytes")
        partial = self._partial.setdefault(index, _Partial(chunk.total_bytes, chunk.mime_type))
        if partial.total_bytes != chunk.total_bytes:
            raise broken_stream(f"{where}: its announced size changed")
        received = len(partial.content)
        if chunk.offset_bytes != received:
            raise broken_stream(
                f"{where}: a chunk starts at byte {chunk.offset_bytes}"
                f" where byte {received} was due"
            )
        if received + len(chunk.content) > partial.total_bytes:
            raise broken_stream(
                f"{where}: more came than the announced {partial.total_bytes} bytes"
            )
        partial.content += chunk.content
        if not chunk.last:
            return None
        if len(partial.content) != partial.total_bytes:
            raise broken_stream(
                f"{where}: it ended after {len(partial.content)} of {partial.total_bytes} bytes"
            )
        del self._partial[index]
        self._complete.add(index)
        return Image(index, self._first_seed + index, partial.mime_type, bytes(partial.content))

    def check_complete(self) -> None:
        for index in range(self._image_count):
            if index not in self._complete:
                raise broken_stream(f"image {index}: it never came whole")


class EventDecoder:
    """Of a request for images."""

    may_begin_again = False

    def __init__(self) -> None:
        self._assembler: ImageAssembler | None = None
        self._completed = False

    def add(self, message: pb.StreamImagesResponse) -> Event | None:
        """The event that this message completes, if any. Raises BrokenStreamError."""
        if self._completed:
            raise broken_stream("an event came after the last one")
        kind = message.WhichOneof("event")
        if kind == "queued":
            return from_message(Queued, message.queued)
        if kind == "started":
            if self._assembler is not None:
                raise broken_stream("the request started twice")
            started = from_message(Started, message.started)
            parameters = started.parameters
            self._assembler = ImageAssembler(parameters.seed, parameters.image_count)
            return started
        if kind == "progress":
            return from_message(Progress, message.progress)
        if kind == "image_chunk":
            if self._assembler is None:
                raise broken_stream("an image came before the request started")
            image = self._assembler.add(message.image_chunk)
            return None if image is None else ImageReady(image)
        if kind == "completed":
            if self._assembler is None:
                raise broken_stream("the request ended before it started")
            self._assembler.check_complete()
            self._completed = True
            return from_message(Completed, message.completed)
        return None  # an event of a newer server

    def check_end(self) -> None:
        if not self._completed:
            raise broken_stream("the stream ended before the request was completed")


class ModelDecoder:
    """Of a watch on models."""

    may_begin_again = True

    def add(self, message: model_pb2.WatchModelsResponse) -> Model | None:
        return from_message(Model, message.model) if message.HasField("model") else None

    def check_end(self) -> None:
        raise broken_stream("the server ended the watch, which is the client's to end")


class ResultCollector:
    """Adds the events of one request up to its result."""

    def __init__(self) -> None:
        self._started: Started | None = None
        self._images: list[Image] = []
        self._completed: Completed | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, Started):
            self._started = event
        elif isinstance(event, ImageReady):
            self._images.append(event.image)
        elif isinstance(event, Completed):
            self._completed = event

    def result(self) -> GenerationResult:
        """After the stream's end, which EventDecoder has checked."""
        if self._started is None or self._completed is None:
            raise broken_stream("the stream ended before the request was completed")
        return GenerationResult(
            request_id=self._started.request_id,
            parameters=self._started.parameters,
            images=tuple(sorted(self._images, key=lambda image: image.index)),
            timings=self._completed.timings,
            prompt_tokens=self._completed.prompt_tokens,
            warnings=self._started.warnings,
        )
