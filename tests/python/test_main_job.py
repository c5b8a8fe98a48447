"""The main job on the real server: all formats and scopes, bytes told, bad models refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from server_process import CLI, ServerProcess, metric_values

FORMATS = {"fp16": 16, "hf8": 8, "hf8x": 8, "hf10": 10, "hf12": 12}
SCOPES = ["attention", "linear", "linear+conv"]
SERVED = [("fp16", "linear+conv")] + [(f, s) for f in FORMATS if f != "fp16" for s in SCOPES]


def model_name(weight_format: str, scope: str) -> str:
    return f"tiny-{weight_format}-{scope.replace('+', '-')}"


@pytest.fixture(scope="module")
def server(
    tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One server with thirteen models: the same directory in every format and scope."""
    models = [
        f"{model_name(f, s)}={tiny_model_dir},format={f},scope={s},compute_dtype=fp32"
        for f, s in SERVED
    ]
    with ServerProcess(tmp_path_factory.mktemp("server"), models) as running:
        yield running
        assert running.stop() == 0, running.log[-3000:]


def component(model: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in model["components"] if c["name"] == name)


@pytest.mark.parametrize(("weight_format", "scope"), SERVED)
def test_every_format_and_scope_draws(
    server: ServerProcess, tmp_path: Path, weight_format: str, scope: str
) -> None:
    name = model_name(weight_format, scope)
    file = tmp_path / "picture.png"
    reply = server.cli_json(
        "generate",
        "--model",
        name,
        "--prompt",
        "a red apple",
        "--steps",
        "3",
        "--seed",
        "5",
        "--output",
        str(file),
    )
    picture = Image.open(file)
    assert picture.size == (64, 64)
    lines = picture.text["parameters"].splitlines()
    assert lines[0] == "a red apple"
    assert "Seed: 5" in lines[-1] and "Steps: 3" in lines[-1] and "Sampler: Euler" in lines[-1]
    model = server.cli_json("models", name)["model"]
    assert f"Model hash: {model['hash']}" in lines[-1] and len(model["hash"]) == 10
    assert reply["parameters"]["seed"] == 5


@pytest.mark.parametrize(("weight_format", "scope"), SERVED)
def test_packed_bytes_are_bits_times_elements(
    server: ServerProcess, weight_format: str, scope: str
) -> None:
    unet = component(server.cli_json("models", model_name(weight_format, scope))["model"], "unet")
    if weight_format == "fp16":
        assert unet["packed_bytes"] == 0
        return
    wanted = unet["packed_parameter_count"] * FORMATS[weight_format] / 8
    # Rows are padded to 16 bytes a plane. At SDXL's widths that is below 0.5 % (kernels_test); this
    # model is so narrow that the 2-bit plane of hf10 shows it. test_parity.py has the exact layout.
    padding = 1.08 if weight_format == "hf10" else 1.005
    assert wanted <= unet["packed_bytes"] <= wanted * padding + 16 * 1024
    assert unet["packed_module_count"] > 0 and not unet["modules_left"]
    unpacked_fp32 = (unet["parameter_count"] - unet["packed_parameter_count"]) * 4
    # The graph itself holds a few constants.
    constants = unet["weight_bytes"] - unet["packed_bytes"] - unpacked_fp32
    assert 0 <= constants <= 256
    weights = next(m for m in unet["memory"] if m["purpose"] == "weights")
    # Allocations are whole cache lines; beyond that nothing of the fp16 copy may remain.
    assert unet["weight_bytes"] <= weights["current_bytes"] <= unet["weight_bytes"] * 1.02 + 65536


def test_metrics_parse_and_equal_get_model(server: ServerProcess) -> None:
    text = server.metrics()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    memory = metric_values(text, "tightfit_model_memory_bytes")
    weights = metric_values(text, "tightfit_model_weight_bytes")
    states = metric_values(text, "tightfit_model_state")
    for weight_format, scope in SERVED:
        name = model_name(weight_format, scope)
        model = server.cli_json("models", name)["model"]
        assert states[frozenset({("model", name), ("state", "resident")})] == 1
        for part in model["components"]:
            labels = {("model", name), ("component", part["name"]), ("format", part["format"])}
            assert weights[frozenset(labels)] == part["weight_bytes"]
            for use in part["memory"]:
                key = frozenset(
                    {("model", name), ("component", part["name"]), ("purpose", use["purpose"])}
                )
                assert memory[key] == use["current_bytes"], (name, part["name"], use)


def test_count_gives_that_many_pictures_with_their_seeds(
    server: ServerProcess, tmp_path: Path
) -> None:
    name = model_name("hf8", "linear+conv")
    reply = server.cli_json(
        "generate",
        "--model",
        name,
        "--prompt",
        "a cat",
        "--steps",
        "2",
        "--seed",
        "7",
        "--count",
        "3",
        "--output",
        str(tmp_path / "cat.png"),
    )
    assert [image["seed"] for image in reply["images"]] == [7, 8, 9]
    single = tmp_path / "single.png"
    server.cli_json(
        "generate",
        "--model",
        name,
        "--prompt",
        "a cat",
        "--steps",
        "2",
        "--seed",
        "8",
        "--output",
        str(single),
    )
    second = Image.open(reply["images"][1]["file"])
    difference = max(abs(a - b) for a, b in zip(second.tobytes(), Image.open(single).tobytes()))
    assert difference <= 2, "image 1 of seed 7 is the picture of seed 8"


def test_an_interrupted_client_frees_the_slot(server: ServerProcess, tmp_path: Path) -> None:
    name = model_name("hf8", "linear+conv")
    client = subprocess.Popen(
        [
            str(CLI),
            "generate",
            "--model",
            name,
            "--prompt",
            "x",
            "--steps",
            "150",
            "--count",
            "8",
            "--output",
            str(tmp_path / "x.png"),
        ],
        stderr=subprocess.PIPE,
        env=server.environment(),
    )

    def running() -> int:
        return server.cli_json("info")["server"]["running_request_count"]

    until = time.monotonic() + 30
    while running() == 0:
        assert time.monotonic() < until and client.poll() is None, "the request never ran"
    client.send_signal(signal.SIGINT)
    assert client.wait(timeout=10) == 130
    # One step of eight pictures takes well below a second.
    until = time.monotonic() + 5
    while running() != 0:
        assert time.monotonic() < until, "the slot is still taken"
    cancelled = metric_values(server.metrics(), "tightfit_cancelled_requests_total")
    assert sum(v for labels, v in cancelled.items() if ("model", name) in labels) >= 1


def copy_model(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    for file in target.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    return target


def listed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    change(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))


def flip_weight_byte(folder: Path) -> None:
    file = folder / "unet.safetensors"
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)


def truncate_weights(folder: Path) -> None:
    file = folder / "vae.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_graph(folder: Path) -> None:
    (folder / "text_encoder.fp32.ts").unlink()


def forbid_operator(folder: Path) -> None:
    """A graph that reads a file, with its true hash in model.json: the allow-list must stop it."""
    import hashlib

    import torch

    class Evil(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_file("/etc/hostname", False, 1, dtype=torch.uint8) + x

    file = folder / "unet.fp32.ts"
    torch.jit.save(torch.jit.script(Evil()), str(file))

    def change(manifest: dict[str, Any]) -> None:
        entry = manifest["components"]["unet"]["graphs"]["fp32"]
        entry["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        entry["bytes"] = file.stat().st_size

    listed(folder, change)


BROKEN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "wrong-hash": (flip_weight_byte, "CHECKSUM_MISMATCH", "unet.safetensors"),
    "truncated": (truncate_weights, "FILE_TRUNCATED", "vae.safetensors"),
    "missing-file": (lose_graph, "FILE_MISSING", "text_encoder.fp32.ts"),
    "forbidden": (forbid_operator, "FORBIDDEN_OPERATOR", "from_file"),
}


def test_broken_models_are_refused_with_the_reason_while_another_serves(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    models = [f"good={tiny_model_dir},format=hf8,compute_dtype=fp32"]
    for name, (damage, _, _) in BROKEN.items():
        folder = copy_model(tiny_model_dir, tmp_path / name)
        damage(folder)
        models.append(f"{name}={folder},format=hf8,compute_dtype=fp32")
    with ServerProcess(tmp_path, models) as server:
        for name, (_, reason, words) in BROKEN.items():
            model = server.cli_json("models", name)["model"]
            assert model["state"] == "failed"
            assert model["failure_reason"] == reason, model
            assert words in model["failure_message"], model
            assert str(tmp_path) not in json.dumps(model), "a client must not see paths"
            assert name in server.log
            refused = server.cli(
                "generate", "--model", name, "--prompt", "x", "-o", str(tmp_path / "no.png")
            )
            assert refused.returncode == 1 and "MODEL_FAILED" in refused.stderr
            assert not (tmp_path / "no.png").exists()
            held = sum(
                v
                for labels, v in metric_values(
                    server.metrics(), "tightfit_model_memory_bytes"
                ).items()
                if ("model", name) in labels
            )
            assert held == 0, f"{name} could not be loaded but holds {held} bytes"
        server.cli_json(
            "generate",
            "--model",
            "good",
            "--prompt",
            "x",
            "--steps",
            "2",
            "-o",
            str(tmp_path / "good.png"),
        )


def test_sigterm_lets_a_running_request_finish(tiny_model_dir: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    with ServerProcess(
        tmp_path, [f"tiny={tiny_model_dir},format=hf8,compute_dtype=fp32"]
    ) as server:
        client = subprocess.Popen(
            [str(CLI), "generate", "--prompt", "x", "--steps", "60", "--output", str(picture)],
            stderr=subprocess.PIPE,
            env=server.environment(),
        )
        while server.cli_json("info")["server"]["running_request_count"] == 0:
            assert client.poll() is None, client.communicate()
        assert server.stop() == 0, server.log[-3000:]
        assert client.wait(timeout=10) == 0, client.communicate()
    assert Image.open(picture).size == (64, 64)
    assert "prompt" not in server.log.lower().replace("negative", "")
