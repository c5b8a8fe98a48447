"""Client of a tightfit server, synchronous and asyncio. Start here:

    from tightfit import Client

    with Client("localhost:50051") as client:
        client.generate("red apple", seed=1).images[0].save("apple.png")

`AsyncClient` has the same methods, awaited.
"""

from tightfit.async_client import AsyncClient
from tightfit.async_connection import AsyncImageStream, AsyncModelWatch
from tightfit.client import Client
from tightfit.connection import ImageStream, ModelWatch
from tightfit.drawn_image import DrawnImage
from tightfit.errors import (
    AccessDeniedError,
    BrokenStreamError,
    CannotConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    FieldViolation,
    InvalidRequestError,
    ModelFailedError,
    NotFoundError,
    NotTightfitServerError,
    RequestCancelledError,
    ServerBusyError,
    ServerError,
    TightfitError,
    UnavailableError,
)
from tightfit.generation import (
    Admission,
    Completed,
    Estimate,
    Event,
    GenerationResult,
    ImageMetadata,
    ImageReady,
    Progress,
    PromptTokens,
    Queued,
    RequestWarning,
    ResolvedParameters,
    Stage,
    Started,
    Timings,
)
from tightfit.image import Image
from tightfit.latents import LATENTS_MIME_TYPE, read_latents, write_latents
from tightfit.parameters import (
    ImageParameters,
    InpaintArea,
    Margins,
    Offset,
    PromptSyntax,
    Size,
)
from tightfit.server_types import (
    Capabilities,
    Component,
    Device,
    Layer,
    Model,
    ModelDefaults,
    ModelState,
    ModuleLeft,
    PurposeBytes,
    ServerInfo,
    WeightFormat,
)

__version__ = "0.1.0"

__all__ = [
    "AccessDeniedError",
    "Admission",
    "AsyncClient",
    "AsyncImageStream",
    "AsyncModelWatch",
    "BrokenStreamError",
    "CannotConnectError",
    "Capabilities",
    "Client",
    "Completed",
    "Component",
    "ConnectionLostError",
    "DeadlineExceededError",
    "Device",
    "DrawnImage",
    "Estimate",
    "Event",
    "FieldViolation",
    "GenerationResult",
    "Image",
    "ImageMetadata",
    "ImageParameters",
    "ImageReady",
    "ImageStream",
    "InpaintArea",
    "InvalidRequestError",
    "LATENTS_MIME_TYPE",
    "Layer",
    "Margins",
    "Model",
    "ModelDefaults",
    "ModelFailedError",
    "ModelState",
    "ModelWatch",
    "ModuleLeft",
    "NotFoundError",
    "NotTightfitServerError",
    "Offset",
    "Progress",
    "PromptSyntax",
    "PromptTokens",
    "PurposeBytes",
    "Queued",
    "RequestCancelledError",
    "RequestWarning",
    "ResolvedParameters",
    "ServerBusyError",
    "ServerError",
    "ServerInfo",
    "Size",
    "Stage",
    "Started",
    "TightfitError",
    "Timings",
    "UnavailableError",
    "WeightFormat",
    "read_latents",
    "write_latents",
]
