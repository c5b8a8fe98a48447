"""TLS and tokens of the Python client, against servers with certificates made for the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from client_sides import Side, on_both_sides
from fake_tightfit_server import FakeServer, Refusal, whole_request
from tightfit import AccessDeniedError, CannotConnectError, Client, TightfitError
from tightfit.settings import is_this_machine
from tightfit.v1 import image_generation_pb2 as pb


Script = Callable[[int], Iterator[pb.StreamImagesResponse]]


def plays(messages: list[pb.StreamImagesResponse]) -> Script:
    return lambda call: iter(messages)


@dataclass(frozen=True)
class Identity:
    certificate: bytes
    private_key: bytes


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Signs certificates; all keys are on an elliptic curve, which is quick."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
        request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subject = ["-days", "2", "-subj", f"/CN={name}"]
        openssl(*request, *subject, "-keyout", key, "-out", certificate)
        self.certificate = certificate.read_bytes()

    def issue(self, name: str) -> Identity:
        folder = self._folder
        key, request = folder / f"{name}.key", folder / f"{name}.csr"
        certificate, names = folder / f"{name}.pem", folder / "names"
        names.write_text("subjectAltName=DNS:localhost", "utf-8")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        ca = ["-CA", folder / f"{self._name}.pem", "-CAkey", folder / f"{self._name}.key"]
        signed = ["-in", request, "-out", certificate, "-days", "1", "-extfile", names]
        openssl("x509", "-req", *signed, *ca, "-CAcreateserial")
        return Identity(certificate.read_bytes(), key.read_bytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def foreign(folder: Path) -> Authority:
    return Authority(folder, "foreign")


@pytest.fixture(scope="module")
def tls_server(authority: Authority) -> Iterator[FakeServer]:
    own = authority.issue("server")
    credentials = grpc.ssl_server_credentials([(own.private_key, own.certificate)])
    with FakeServer(plays(whole_request()), credentials) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_server(authority: Authority) -> Iterator[FakeServer]:
    own = authority.issue("mutual")
    pair = (own.private_key, own.certificate)
    credentials = grpc.ssl_server_credentials([pair], authority.certificate, True)
    with FakeServer(plays(whole_request()), credentials) as server:
        yield server


def fails_to_connect(side: Side, server: str, why: str, **options: Any) -> None:
    with pytest.raises(CannotConnectError, match=why) as caught:
        side.call(server, "models", client_connect_timeout=2.0, **options)
    assert caught.value.reason == "TLS_FAILED" and server in str(caught.value)
    assert "\n" not in str(caught.value)


@on_both_sides
def test_tls_carries_the_bearer_token(
    side: Side, authority: Authority, tls_server: FakeServer
) -> None:
    options = {"client_root_certificates": authority.certificate, "client_token": "secret"}
    result = side.call(tls_server.address, "generate", "x", **options)
    assert result.images[0].content == b"image"
    side.call(tls_server.address, "models", **options)
    assert [call["authorization"] for call in tls_server.metadata[-2:]] == ["Bearer secret"] * 2


@on_both_sides
def test_plain_text_carries_the_token_on_this_machine(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer(plays(whole_request())) as server:
        side.call(server.address, "models", client_token="one")
        monkeypatch.setenv("TIGHTFIT_TOKEN", "two")
        side.call(server.address, "models")
        side.events(server.address, "x", client_token="three")
    told = [call["authorization"] for call in server.metadata]
    assert told == ["Bearer one", "Bearer two", "Bearer three"]


@on_both_sides
def test_a_certificate_that_nobody_vouches_for_is_not_believed(
    side: Side, foreign: Authority, tls_server: FakeServer
) -> None:
    before = len(tls_server.calls)
    why = "none of root_certificates vouches for"
    fails_to_connect(side, tls_server.address, why, client_root_certificates=foreign.certificate)
    fails_to_connect(side, tls_server.address, why, client_tls=True)
    assert len(tls_server.calls) == before


@on_both_sides
def test_a_certificate_for_another_name_is_not_believed(
    side: Side, authority: Authority, tls_server: FakeServer
) -> None:
    other_name = tls_server.address.replace("localhost", "127.0.0.1")
    fails_to_connect(
        side, other_name, "for another name", client_root_certificates=authority.certificate
    )


@on_both_sides
def test_plain_text_to_a_server_with_tls_is_told(side: Side, tls_server: FakeServer) -> None:
    fails_to_connect(side, tls_server.address, "as a server with TLS does")


@on_both_sides
def test_tls_to_a_server_without_it_is_told(side: Side, authority: Authority) -> None:
    with FakeServer(plays(whole_request())) as server:
        fails_to_connect(
            side,
            server.address,
            "does not speak TLS",
            client_root_certificates=authority.certificate,
        )


@on_both_sides
def test_a_client_certificate_is_shown(
    side: Side, authority: Authority, foreign: Authority, mutual_server: FakeServer
) -> None:
    address, roots = mutual_server.address, authority.certificate
    fails_to_connect(side, address, "asks for a client certificate", client_root_certificates=roots)
    for signer, name in ((foreign, "stranger"), (authority, "client")):
        own = signer.issue(name)
        options = {
            "client_root_certificates": roots,
            "client_certificate_chain": own.certificate,
            "client_private_key": own.private_key,
        }
        if signer is foreign:
            fails_to_connect(side, address, "does not convince", **options)
        else:
            assert len(side.call(address, "models", **options)) == 1


@on_both_sides
def test_a_refusal_of_the_token_says_what_to_do(side: Side) -> None:
    def refuse(call: int) -> Iterator[pb.StreamImagesResponse]:
        raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
        yield

    with FakeServer(refuse) as server:
        with pytest.raises(AccessDeniedError, match=r"token=.*TIGHTFIT_TOKEN") as caught:
            side.call(server.address, "models", client_token="wrong")
    assert caught.value.reason == "INVALID_CREDENTIALS" and len(server.calls) == 1
    assert "wrong" not in str(caught.value)


def test_this_machine_is_told_from_others() -> None:
    ours = ["127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "unix:/x", "dns:///localhost:1"]
    others = ["localhost.example.org:1", "127.0.0.1.example.org:1", "[::2]:1", "10.0.0.1:1"]
    others += ["dns:///example.org:1", "0.0.0.0:1", "127.example.org:1", "unix.example.org:1"]
    # gRPC's ipv4: and ipv6: take lists.
    others += ["ipv6:[::1]:1,[2001:db8::5]:1", "ipv4:127.0.0.1:1,192.0.2.1:1", "[::1]x:1", "[::1"]
    assert all(map(is_this_machine, ours)) and not any(map(is_this_machine, others))


@pytest.mark.parametrize(
    "options",
    [
        {"token": "secret"},
        {"token": "127.0.0.1 is ours, but secret\n"},
        {"root_certificates": b""},
        {"certificate_chain": b"-----BEGIN CERTIFICATE-----"},
        {"private_key": b"-----BEGIN PRIVATE KEY-----"},
        {"max_attempts": 0},
        {"timeout": 0},
        {"connect_timeout": -1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError) as caught:
        Client("192.0.2.1:1", **options)  # type: ignore[arg-type]
    assert next(iter(options)).split("_")[-1] in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_token_is_sent_to_another_machine_in_plain_text_where_that_is_asked_for() -> None:
    with Client(
        "192.0.2.1:1", token="secret", allow_plaintext_token=True, connect_timeout=0.2
    ) as client:
        with pytest.raises(CannotConnectError):
            client.models()
