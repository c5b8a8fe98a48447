"""Why a call failed, by cause. No method of this package raises grpc.RpcError."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldViolation:
    """One field of the request that was refused, named as in the contract, and why."""

    field: str
    description: str


class TightfitError(Exception):
    """Base of all failures of a call; `str()` is one line for people.

    code: gRPC status code, "INVALID_ARGUMENT"
    reason: stable, "MODEL_NOT_FOUND"; may be empty where no tightfit server answered
    detail: what gRPC said where `message` puts it into other words
    metadata: further texts by name, from google.rpc.ErrorInfo and ResourceInfo
    """

    default_code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        reason: str = "",
        detail: str = "",
        field_violations: tuple[FieldViolation, ...] = (),
        retry_after_seconds: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.reason = reason
        self.detail = detail
        self.field_violations = field_violations
        self.retry_after_seconds = retry_after_seconds
        self.metadata = metadata or {}

    def __str__(self) -> str:
        return f"{self.message} [{self.reason or self.code}]"


class InvalidRequestError(TightfitError):
    """`field_violations` names every field that was out of its range."""

    default_code = "INVALID_ARGUMENT"


class NotFoundError(TightfitError):
    """No such model: `metadata["model"]`."""

    default_code = "NOT_FOUND"


class ModelFailedError(TightfitError):
    """The model is configured but could not be loaded; the message says why."""

    default_code = "FAILED_PRECONDITION"


class ServerBusyError(TightfitError):
    """The queue is full; ask again after `retry_after_seconds`. Never retried by the client."""

    default_code = "RESOURCE_EXHAUSTED"


class UnavailableError(TightfitError):
    """The server loads the model, shuts down, or cannot be reached; retries did not help."""

    default_code = "UNAVAILABLE"


class CannotConnectError(UnavailableError):
    """No server listens there, or none answered within the connect timeout."""


class ConnectionLostError(UnavailableError):
    """The connection broke during the call."""


class DeadlineExceededError(TightfitError, TimeoutError):
    """The call was not done within its timeout; the server has stopped the work."""

    default_code = "DEADLINE_EXCEEDED"


class RequestCancelledError(TightfitError):
    """The stream or the client was closed during the call."""

    default_code = "CANCELLED"


class AccessDeniedError(TightfitError):
    """What stands before the server wants another token, or none of this caller's."""

    default_code = "UNAUTHENTICATED"


class BrokenStreamError(TightfitError):
    """The server's messages contradict the contract; nothing of them was passed on."""

    default_code = "DATA_LOSS"


class NotTightfitServerError(TightfitError):
    """Something answers there, but does not serve this call of tightfit.v1."""

    default_code = "UNIMPLEMENTED"


class ServerError(TightfitError):
    """The server failed; its log has the details."""

    default_code = "INTERNAL"


def broken_stream(message: str) -> BrokenStreamError:
    return BrokenStreamError(message, reason="BROKEN_STREAM")
