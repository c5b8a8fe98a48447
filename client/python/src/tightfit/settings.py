"""Where the server is and how calls to it behave; what both clients share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from tightfit.attempts import Attempts

DEFAULT_SERVER = "127.0.0.1:50051"


@dataclass(frozen=True)
class Settings:
    """Checked on construction: ValueError names what is wrong. Times in seconds."""

    server: str
    timeout: float | None
    connect_timeout: float
    max_attempts: int
    tls: bool
    root_certificates: bytes | None = field(repr=False)
    token: str | None = field(repr=False)

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}: 1 (no retries) or more")
        if self.connect_timeout <= 0:
            raise ValueError(f"connect_timeout is {self.connect_timeout}: more than 0 seconds")
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"timeout is {self.timeout}: more than 0 seconds, or None")
        if self.root_certificates is not None and not self.tls:
            raise ValueError("root_certificates are of use with tls=True only")
        if self.token is not None and not self.tls:
            raise ValueError("a token is sent over TLS only: tls=True")

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None: not encrypted."""
        if not self.tls:
            return None
        channel = grpc.ssl_channel_credentials(self.root_certificates)
        if self.token is None:
            return channel
        return grpc.composite_channel_credentials(
            channel, grpc.access_token_call_credentials(self.token)
        )

    def channel_options(self) -> Sequence[tuple[str, int]]:
        options = [
            # gRPC's first pause after a refused connection is a second; a server that is just
            # starting is reached sooner with these.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # This client retries by the server's RetryInfo; gRPC's retries would hide that.
            ("grpc.enable_retries", 0),
        ]
        if self.server.startswith(("127.", "localhost", "[::1]")):
            # gRPC would send even loopback traffic through the environment's http_proxy.
            options.append(("grpc.enable_http_proxy", 0))
        return options


def server_address(server: str | None) -> str:
    """As given, else of the environment variable TIGHTFIT_SERVER, else the server's default."""
    return server or os.environ.get("TIGHTFIT_SERVER") or DEFAULT_SERVER


# Answered by every gRPC server that is reached, be it with UNIMPLEMENTED, and in no metric. Its
# request for the whole server's health is an empty message.
HEALTH_CHECK = "/grpc.health.v1.Health/Check"


def as_bytes(message: bytes) -> bytes:
    """Serializer of a message that is bytes already."""
    return message


@dataclass(frozen=True)
class ConnectBudget:
    """How long a call may wait for its connection. `shown` is what the user had asked for."""

    seconds: float
    shown: float


def connect_budget(settings: Settings, attempts: Attempts) -> ConnectBudget:
    remaining = attempts.remaining()
    if remaining is not None and remaining < settings.connect_timeout:
        return ConnectBudget(remaining, attempts.timeout or remaining)
    return ConnectBudget(settings.connect_timeout, settings.connect_timeout)
