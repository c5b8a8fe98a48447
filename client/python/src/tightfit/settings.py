"""Where the server is and how calls to it behave; what both clients share."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from tightfit.attempts import Attempts
from tightfit.plain_numbers import seconds

DEFAULT_SERVER = "127.0.0.1:50051"
Metadata = tuple[tuple[str, str], ...]
# Of gRPC's targets; what else has :// is the address of something else.
_TARGET_SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")


@dataclass(frozen=True)
class Settings:
    """Checked on construction: TypeError or ValueError names what is wrong. Times in seconds."""

    server: str
    timeout: float | None
    connect_timeout: float
    max_attempts: int
    tls: bool
    root_certificates: bytes | None = field(repr=False)
    certificate_chain: bytes | None = field(repr=False)
    private_key: bytes | None = field(repr=False)
    token: str | None = field(repr=False)
    allow_plaintext_token: bool
    wait_for_server: bool

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int):
            raise TypeError(f"max_attempts is {self.max_attempts!r}: a whole number is needed")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}: 1 (no retries) or more")
        _put(self, "connect_timeout", self.connect_timeout)
        if self.timeout is not None:
            _put(self, "timeout", self.timeout)
        for name in ("root_certificates", "certificate_chain", "private_key"):
            pem = getattr(self, name)
            wanted = b"PRIVATE KEY-----" if name == "private_key" else b"CERTIFICATE-----"
            if pem is None:
                continue
            if not isinstance(pem, bytes) or b"-----BEGIN " not in pem:
                raise ValueError(f"{name} is not in PEM (-----BEGIN ...-----), as bytes")
            if wanted not in pem:
                kind = "private key" if name == "private_key" else "certificate"
                raise ValueError(f"{name} is PEM, but holds no {kind}")
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("certificate_chain and private_key are of use together only")
        if self.token is None:
            return
        if not isinstance(self.token, str):
            raise TypeError("token is no text")
        # RFC 6750's b64token: what may follow "Bearer ".
        if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,4096}", self.token):
            raise ValueError("token holds characters that no token has; it is one word")
        if not (self.uses_tls or self.allow_plaintext_token or is_this_machine(self.server)):
            raise ValueError(
                f"the token would go to {self.server} in plain text, for others to read and use; "
                "connect with TLS (tls=True, root_certificates)"
            )

    def timeout_of(self, call: float | None) -> float | None:
        """What a call was given, else the client's; None: no limit. One that is over stays so."""
        return self.timeout if call is None else seconds("timeout", call, positive=False)

    @property
    def uses_tls(self) -> bool:
        return (
            self.tls or self.root_certificates is not None or self.certificate_chain is not None
        )

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None: not encrypted."""
        if not self.uses_tls:
            return None
        return grpc.ssl_channel_credentials(
            self.root_certificates, self.private_key, self.certificate_chain
        )

    def metadata(self) -> Metadata:
        """Of every call. Not gRPC's call credentials, which know no plain text."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def channel_options(self) -> Sequence[tuple[str, int]]:
        options = [
            # gRPC's first pause after a refused connection is a second; a server that is just
            # starting is reached sooner with these.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # This client retries by the server's RetryInfo; gRPC's retries would hide that.
            ("grpc.enable_retries", 0),
        ]
        if is_this_machine(self.server):
            # gRPC would send even loopback traffic through the environment's http_proxy.
            options.append(("grpc.enable_http_proxy", 0))
        return options


def _put(settings: Settings, name: str, value: float) -> None:
    """The checked value, in a dataclass that is frozen for everybody else."""
    object.__setattr__(settings, name, seconds(name, value, positive=True))


def is_this_machine(server: str) -> bool:
    """Of a gRPC target: nobody outside this machine sees what is sent there."""
    if server.startswith(("unix:", "unix-abstract:")):
        return True
    target = re.sub(r"^(dns:///|dns:|ipv4:|ipv6:)", "", server)
    if "," in target:  # gRPC's ipv4: and ipv6: take lists
        return False
    bracketed = re.fullmatch(r"\[([^\]]*)\](:.*)?", target)
    host = bracketed[1] if bracketed else target.rpartition(":")[0]
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def access_token(token: str | None) -> str | None:
    """As given, else of the environment variable TIGHTFIT_TOKEN."""
    return token or os.environ.get("TIGHTFIT_TOKEN") or None


def server_address(server: str | None) -> str:
    """As given, else of the environment variable TIGHTFIT_SERVER, else the server's default.

    Raises TypeError for what is no text, ValueError for the scheme of a web page.
    """
    if server is not None and not isinstance(server, str):
        raise TypeError(f'server is {server!r}: text such as "{DEFAULT_SERVER}" is needed')
    address = server or os.environ.get("TIGHTFIT_SERVER") or DEFAULT_SERVER
    scheme, found, rest = address.partition("://")
    if found and scheme.lower() not in _TARGET_SCHEMES:
        with_tls = " and tls=True" if scheme.lower() in ("https", "grpcs") else ""
        raise ValueError(f"server is {address}: give {rest.rstrip('/') or 'HOST:PORT'}{with_tls}")
    return address


# How late a cancel may be seen while connecting: gRPC's wait cannot be interrupted.
POLL_SECONDS = 0.05
# When it is first asked why: a refused connection answers at once.
ASK_FIRST_SECONDS = 0.05
# How often it is asked why there is no connection yet, beside waiting for it.
ASK_WHY_SECONDS = 0.5
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
