"""How long a model stays on the device, as the contract has it."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from tightfit.errors import FieldViolation, InvalidRequestError
from tightfit.plain_numbers import problem_of
from tightfit.v1 import model_pb2

# Beyond any limit of a server; what is above cannot be told in a Duration.
_MAX_SECONDS = 10**10


def update_request(
    name: str, pinned: bool | None, keep_alive_seconds: float | None, priority: int | None
) -> model_pb2.UpdateModelRequest:
    """Raises InvalidRequestError for seconds that are no duration, and for another number."""
    keep_alive = None
    if keep_alive_seconds is not None:
        if problem_of(keep_alive_seconds) or abs(keep_alive_seconds) >= _MAX_SECONDS:
            raise _refused("keep_alive_seconds", "must be a number of seconds", keep_alive_seconds)
        keep_alive = Duration()
        keep_alive.FromNanoseconds(round(keep_alive_seconds * 1e9))
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
        raise _refused("priority", "must be a whole number", priority)
    if priority is not None and not -(2**31) <= priority < 2**31:
        raise _refused("priority", "must be from -1000 to 1000", priority)
    return model_pb2.UpdateModelRequest(
        name=name, pinned=pinned, keep_alive_duration=keep_alive, priority=priority
    )


def _refused(field: str, wanted: str, value: object) -> InvalidRequestError:
    violation = FieldViolation(field, f"{wanted}, not {value!r}")
    return InvalidRequestError(
        f"{violation.field}: {violation.description}",
        reason="INVALID_PARAMETER",
        field_violations=(violation,),
    )
