"""What gRPC's reason for not connecting tells, in words of this package."""

from __future__ import annotations

from dataclasses import dataclass

from tightfit.errors import CannotConnectError
from tightfit.settings import Settings


@dataclass(frozen=True)
class ConnectFailure:
    """certain: trying again changes nothing. Else it may also be a server that is just starting.

    absent: nobody listens there.
    """

    error: CannotConnectError
    certain: bool
    absent: bool = False


def explain(details: str, settings: Settings) -> ConnectFailure | None:
    """None where nothing is known but that there is no connection yet."""
    server = settings.server
    if "http1.x server" in details or "Expected SETTINGS frame" in details:
        return ConnectFailure(
            CannotConnectError(
                f"{server} answers, but not as a gRPC server does: is it the port of a web server, "
                "such as that of GET /metrics?",
                reason="NOT_GRPC",
                detail=details,
            ),
            certain=True,
        )
    if "Connection refused" in details or "No such file or directory" in details:
        error = CannotConnectError(
            f"no server listens at {server}: the connection was refused",
            reason="CANNOT_CONNECT",
            detail=details,
        )
        return ConnectFailure(error, certain=False, absent=True)
    if "errors resolving" in details or "DNS resolution failed" in details:
        error = CannotConnectError(
            f"the name in {server} cannot be resolved", reason="CANNOT_CONNECT", detail=details
        )
        return ConnectFailure(error, certain=False)
    return _about_tls(details, settings)


def _about_tls(details: str, settings: Settings) -> ConnectFailure | None:
    def failure(why: str, *, certain: bool) -> ConnectFailure:
        message = f"{settings.server} {why}"
        error = CannotConnectError(message, reason="TLS_FAILED", detail=details)
        return ConnectFailure(error, certain)

    # A handshake that the server ends is seen as no more than this: with TLS 1.3 a client believes
    # in its connection before the server has looked at the client's certificate.
    ended_by_server = "Socket closed" in details or "Connection reset by peer" in details
    if not settings.uses_tls:
        if not ended_by_server:
            return None
        return failure(
            "takes the connection and ends it, as a server with TLS does: tls=True, "
            "root_certificates",
            certain=False,
        )
    upper = details.upper().replace("_", " ")
    if "WRONG VERSION NUMBER" in upper:
        return failure("does not speak TLS: leave out tls and certificates", certain=True)
    if "CERTIFICATE VERIFY FAILED" in upper:
        return failure(
            "has a certificate that none of root_certificates vouches for, or that is not valid "
            "now",
            certain=True,
        )
    if "is not in peer certificate" in details or "Hostname Verification Check failed" in details:
        return failure("has a certificate for another name", certain=True)
    if not ended_by_server:
        return None
    if settings.certificate_chain is None:
        return failure(
            "ends the connection, as a server does that asks for a client certificate: "
            "certificate_chain, private_key",
            certain=False,
        )
    return failure(
        "ends the connection, as a server does that the client certificate does not convince",
        certain=False,
    )
