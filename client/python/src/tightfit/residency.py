"""How long a model stays on the device, as the contract has it."""

from __future__ import annotations

import math

from google.protobuf.duration_pb2 import Duration

from tightfit.errors import FieldViolation, InvalidRequestError
from tightfit.v1 import model_pb2

# Beyond any limit of a server; what is above cannot be told in a Duration.
_MAX_SECONDS = 10**10


def update_request(
    name: str, pinned: bool | None, keep_alive_seconds: float | None, priority: int | None
) -> model_pb2.UpdateModelRequest:
    """Raises InvalidRequestError for seconds that are no duration."""
    keep_alive = None
    if keep_alive_seconds is not None:
        if not (math.isfinite(keep_alive_seconds) and abs(keep_alive_seconds) < _MAX_SECONDS):
            violation = FieldViolation("keep_alive_seconds", "must be a number of seconds")
            raise InvalidRequestError(
                f"{violation.field}: {violation.description}",
                reason="INVALID_PARAMETER",
                field_violations=(violation,),
            )
        keep_alive = Duration()
        keep_alive.FromNanoseconds(round(keep_alive_seconds * 1e9))
    return model_pb2.UpdateModelRequest(
        name=name, pinned=pinned, keep_alive_duration=keep_alive, priority=priority
    )
