"""client/examples: each draws from the real server, tells errors with their details, retries what
may be retried, and sends a token over TLS alone.

Go needs golang-go and Debian's gRPC for it (deploy/install.sh --examples) and a minute to compile:
with TIGHTFIT_FULL=1. Node needs npm's @grpc/grpc-js beside the example.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from client_sides import PACKAGE
from fake_tightfit_server import FakeServer, Refusal, Script, started, whole_request
from server_process import ROOT, ServerProcess
from test_client_security import Authority

EXAMPLES = ROOT / "client" / "examples"
GO_SOURCES = Path("/usr/share/gocode")
PROTOS = ["image_generation", "model", "server"]
LANGUAGES = ["python", "go", "node"]

# Debian's gRPC reads messages by protobuf's API of 2019, its generator writes for that of 2020.
GO_CODEC = """
package main

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/protobuf/proto"
)

type codec struct{}

func (codec) Name() string { return "proto" }
func (codec) Marshal(m interface{}) ([]byte, error) { return proto.Marshal(m.(proto.Message)) }
func (codec) Unmarshal(b []byte, m interface{}) error {
	return proto.Unmarshal(b, m.(proto.Message))
}
func init() { encoding.RegisterCodec(codec{}) }
"""


@dataclass(frozen=True)
class Example:
    command: list[str]

    def run(
        self, server: str, prompt: str, file: Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        ours = {name for name in os.environ if name.startswith("TIGHTFIT_")}
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        paths = {"PYTHONPATH": str(PACKAGE / "src"), "TIGHTFIT_SERVER": server}
        return subprocess.run(
            [*self.command, prompt, str(file)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**kept, **paths, **environment},
        )


def built_go(folder: Path) -> list[str]:
    """Compiled without modules, from what Debian has of gRPC."""
    if os.environ.get("TIGHTFIT_FULL") != "1":
        pytest.skip("compiling gRPC for Go takes a minute: TIGHTFIT_FULL=1")
    for tool in ("go", "protoc-gen-go", "protoc-gen-go-grpc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: deploy/install.sh --examples")
    source = folder / "path" / "src" / "tightfit"
    source.mkdir(parents=True)
    shutil.copy(EXAMPLES / "go" / "main.go", source)
    (source / "codec.go").write_text(GO_CODEC.lstrip(), "utf-8")
    # As the examples' README has it.
    parts = ("out=.", "opt=module=tightfit")
    flags = [f"--{kind}_{part}" for kind in ("go", "go-grpc") for part in parts]
    names = [f"tightfit/v1/{name}.proto" for name in PROTOS]
    subprocess.run(["protoc", f"-I{ROOT / 'proto'}", *flags, *names], cwd=source, check=True)
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": f"{folder / 'path'}:{GO_SOURCES}",
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    program = folder / "generate"
    for command in (["go", "vet", "."], ["go", "build", "-o", str(program), "."]):
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    formatted = subprocess.run(["gofmt", "-l", "."], cwd=source, capture_output=True, text=True)
    assert "main.go" not in formatted.stdout
    return [str(program)]


def node_command() -> list[str]:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    file = EXAMPLES / "node" / "generate.js"
    look = ["node", "-e", "require.resolve('@grpc/grpc-js')"]
    if subprocess.run(look, cwd=file.parent, capture_output=True).returncode != 0:
        pytest.skip("needs @grpc/grpc-js: npm install in client/examples/node")
    return ["node", str(file)]


@pytest.fixture(scope="module", params=LANGUAGES)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    if request.param == "go":
        return Example(built_go(tmp_path_factory.mktemp("go")))
    if request.param == "node":
        return Example(node_command())
    return Example([sys.executable, str(EXAMPLES / "python" / "generate.py")])


def test_node_reads_its_example() -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    subprocess.run(["node", "--check", EXAMPLES / "node" / "generate.js"], check=True)


def test_the_image_is_the_one_of_its_seed(
    example: Example, server: ServerProcess, tmp_path: Path
) -> None:
    file, same = tmp_path / "apple.png", tmp_path / "same.png"
    done = example.run(server.address, "red apple", file)
    assert done.returncode == 0, done.stderr
    name, _, seed = done.stdout.strip().partition(": seed ")
    assert name == str(file) and "step 1 of " in done.stderr
    server.cli_json("generate", "red apple", "--seed", seed, "-o", str(same))
    assert file.read_bytes() == same.read_bytes()


def test_refusals_are_told_with_reason_and_fields(
    example: Example, server: ServerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "x.png"
    done = example.run(server.address, "x", file, TIGHTFIT_MODEL="nobody")
    assert done.returncode == 1 and not file.exists()
    line = done.stderr.splitlines()[0]
    # Go writes NotFound where others write NOT_FOUND.
    assert line.replace("NotFound", "NOT_FOUND").startswith("error: NOT_FOUND MODEL_NOT_FOUND: ")
    done = example.run(server.address, "x" * 5000, file)
    assert done.returncode == 1 and not file.exists()
    first, field = done.stderr.splitlines()[:2]
    assert " INVALID_PARAMETER: " in first and field.startswith("  prompt: ") and "4096" in field


def test_unavailable_is_retried_when_the_server_says_and_nothing_else(
    example: Example, tmp_path: Path
) -> None:
    def busy_twice(call: int) -> Iterator[object]:
        if call < 2:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "MODEL_LOADING", 0.3)
        yield from whole_request(b"content")

    def full(call: int) -> Iterator[object]:
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 0.1)
        yield

    def breaks_off(call: int) -> Iterator[object]:
        yield started()
        raise Refusal(grpc.StatusCode.UNAVAILABLE, "DEVICE_LOST", 0.1)

    def never(call: int) -> Iterator[object]:
        raise Refusal(grpc.StatusCode.UNAVAILABLE, "DRAINING", 0.05)
        yield

    file = tmp_path / "x.png"
    cases: list[tuple[Script, int, int]] = [
        (busy_twice, 0, 3),
        (full, 1, 1),
        (breaks_off, 1, 1),
        (never, 1, 4),
    ]
    for script, code, calls in cases:
        file.unlink(missing_ok=True)
        with FakeServer(script) as fake:
            done = example.run(fake.address, "x", file)
        assert (done.returncode, len(fake.calls)) == (code, calls), (script.__name__, done.stderr)
        assert file.exists() == (code == 0)
        if script is busy_twice:
            assert file.read_bytes() == b"content"
            assert all(b - a >= 0.3 for a, b in zip(fake.calls, fake.calls[1:]))


def test_a_token_goes_over_tls_alone(example: Example, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    own = authority.issue("server")
    credentials = grpc.ssl_server_credentials([(own.private_key, own.certificate)])
    file = tmp_path / "x.png"

    def plays(call: int) -> Iterator[object]:
        yield from whole_request()

    with FakeServer(plays, credentials) as fake:
        ca = str(tmp_path / "authority.pem")
        done = example.run(fake.address, "x", file, TIGHTFIT_TLS_CA=ca, TIGHTFIT_TOKEN="secret")
    assert done.returncode == 0 and file.read_bytes() == b"image", done.stderr
    assert [call["authorization"] for call in fake.metadata] == ["Bearer secret"]
    with FakeServer(plays) as fake:
        done = example.run(fake.address, "x", file, TIGHTFIT_TOKEN="secret")
    assert done.returncode == 1 and "TIGHTFIT_TLS_CA" in done.stderr and fake.calls == []


def test_a_server_that_is_not_there_is_one_line(example: Example, tmp_path: Path) -> None:
    done = example.run("127.0.0.1:1", "x", tmp_path / "x.png")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE / "src")}
    usage = subprocess.run(example.command, capture_output=True, text=True, env=environment)
    assert usage.returncode == 2 and usage.stderr.startswith("usage: ")
