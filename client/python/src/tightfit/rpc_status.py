"""From a failed gRPC call to an error of this package, with the google.rpc details it carries."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from tightfit import errors

_DETAILS_KEY = "grpc-status-details-bin"

_BY_CODE: dict[grpc.StatusCode, type[errors.TightfitError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.ModelFailedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ServerBusyError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.CANCELLED: errors.RequestCancelledError,
    grpc.StatusCode.UNAUTHENTICATED: errors.AccessDeniedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.AccessDeniedError,
    grpc.StatusCode.DATA_LOSS: errors.BrokenStreamError,
}

# What a call that waits for the connection ends with where there is none.
UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def error_of_call(
    code: grpc.StatusCode,
    details: str,
    trailing_metadata: Iterable[tuple[str, str | bytes]],
    *,
    server: str,
    timeout: float | None,
    has_token: bool,
) -> errors.TightfitError:
    """`timeout` in seconds is that of the whole call. Details that do not parse are left out."""
    error = _from_server(code, details, trailing_metadata)
    if error.reason == "INVALID_CREDENTIALS":
        return errors.AccessDeniedError(
            "the server does not know this token: token=..., or the environment variable "
            "TIGHTFIT_TOKEN"
            if has_token
            else "no token was sent, and this server takes calls with one only: token=..., or the "
            "environment variable TIGHTFIT_TOKEN",
            code=error.code,
            reason=error.reason,
            detail=details,
            metadata=error.metadata,
        )
    # A server of ours gives a reason; without one the failure is gRPC's own.
    return error if error.reason else _in_other_words(error, code, details, server, timeout)


def _from_server(
    code: grpc.StatusCode, details: str, trailing_metadata: Iterable[tuple[str, str | bytes]]
) -> errors.TightfitError:
    reason = ""
    violations: list[errors.FieldViolation] = []
    retry_after: float | None = None
    metadata: dict[str, str] = {}
    for any_message in _rich_status(trailing_metadata).details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        resource = error_details_pb2.ResourceInfo()
        try:
            if any_message.Unpack(info):
                reason = info.reason
                metadata.update(info.metadata)
            elif any_message.Unpack(bad_request):
                violations += [
                    errors.FieldViolation(each.field, each.description)
                    for each in bad_request.field_violations
                ]
            elif any_message.Unpack(retry) and retry.HasField("retry_delay"):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            elif any_message.Unpack(resource):
                metadata["resource_type"] = resource.resource_type
                metadata["resource_name"] = resource.resource_name
        except DecodeError:
            continue
    return _BY_CODE.get(code, errors.ServerError)(
        details,
        code=code.name,
        reason=reason,
        field_violations=tuple(violations),
        retry_after_seconds=retry_after,
        metadata=metadata,
    )


def _rich_status(trailing_metadata: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status:
    for key, value in trailing_metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _in_other_words(
    error: errors.TightfitError,
    code: grpc.StatusCode,
    details: str,
    server: str,
    timeout: float | None,
) -> errors.TightfitError:
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.ConnectionLostError(
            f"the connection to {server} was lost", reason="CONNECTION_LOST", detail=details
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout is not None:
        return errors.DeadlineExceededError(
            f"not done within {timeout:.1f} s", reason="DEADLINE_EXCEEDED", detail=details
        )
    if code is grpc.StatusCode.CANCELLED:
        return cancelled()
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return errors.NotTightfitServerError(
            f"{server} answers, but does not serve this call of tightfit.v1",
            reason="NOT_A_TIGHTFIT_SERVER",
            detail=details,
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC's own limits, such as that of a message: no queue is full.
        return errors.ServerError(details, code=code.name)
    return error


def cancelled() -> errors.RequestCancelledError:
    return errors.RequestCancelledError("cancelled by the caller", reason="CANCELLED")


def cannot_connect(server: str, seconds: float) -> errors.CannotConnectError:
    return errors.CannotConnectError(
        f"cannot connect to {server} within {seconds:.1f} s", reason="CANNOT_CONNECT"
    )
