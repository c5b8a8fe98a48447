"""Formats by layer as a user meets them: measured once, then chosen by a budget of bytes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from emoji_model import MODEL
from server_process import CLI, SERVER, ServerProcess

MIB = 1 << 20


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CLI), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def check(model: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SERVER, f"--model=e={model}", "--check"], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def measurement(tiny_model_dir: Path, tmp_path: Path) -> list[str | Path]:
    """A command that measures a copy of the tiny model in a few seconds."""
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("a red apple\n")
    command = ["fidelity", "--sensitivity", "--steps", "1", "--quiet"]
    files = ["--model", tmp_path / "model", "--prompts", tmp_path / "prompts.txt"]
    return [*command, *files, "--out", tmp_path / "out"]


def test_a_model_is_measured_once_and_served_within_a_budget(
    measurement: list[str | Path], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    refused = check(f"{model},budget_mib=100")
    assert refused.returncode == 78 and refused.stderr.count("\n") == 1
    assert "tightfit fidelity --sensitivity --store" in refused.stderr

    done = run(*measurement, "--store", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (model / "sensitivity.json").read_text() == done.stdout
    listed = json.loads((model / "model.json").read_text())["sensitivity"]
    assert listed["file"] == "sensitivity.json" and listed["bytes"] == len(done.stdout)
    errors = document["layers"].values()
    worst, best = document["formats"].index("nf4"), document["formats"].index("e3m8r")
    assert all(layer[worst] >= layer[best] >= 0 for layer in errors)
    assert check(f"{model},budget_mib=100").returncode == 0


def test_an_interrupted_measurement_goes_on_where_it_was(
    measurement: list[str | Path], tmp_path: Path
) -> None:
    log = tmp_path / "out" / "sensitivity.jsonl"
    with subprocess.Popen([str(CLI), *map(str, measurement)], stderr=subprocess.PIPE) as first:
        while first.poll() is None and (not log.exists() or log.read_text().count("\n") < 30):
            time.sleep(0.02)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 130 and b"the same command goes on" in said
    before = log.read_text()
    assert not (tmp_path / "out" / "sensitivity.json").exists()
    done = run(*measurement)
    assert done.returncode == 0, done.stderr
    assert log.read_text().startswith(before)
    measured = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    names = [(one["layer"], one["format"]) for one in measured]
    assert len(names) == len(set(names))
    other = run(*measurement, "--seed", "7")
    assert other.returncode == 1 and "other settings" in other.stderr


@pytest.fixture(scope="module")
def least_mib() -> float:
    refused = check(f"{MODEL},budget_mib=1,compute_dtype=fp32")
    assert refused.returncode == 78 and refused.stderr.count("\n") == 1
    assert "budget_mib: 1 MiB are too few" in refused.stderr
    return float(refused.stderr.rsplit(maxsplit=1)[-1])


@pytest.mark.parametrize("format_key", ["format=hf8", "format=unet=hf8"])
def test_a_budget_and_a_format_of_the_unet_exclude_each_other(format_key: str) -> None:
    done = check(f"{MODEL},budget_mib=100,{format_key}")
    assert done.returncode == 78 and "leave the UNet out of format" in done.stderr


def test_weights_take_no_more_than_the_budget_and_every_layer_is_shown(
    tmp_path: Path, least_mib: float
) -> None:
    budgets = {"least": least_mib, "small": least_mib + 1, "large": least_mib + 5}
    models = [
        f"{name}={MODEL},budget_mib={mib},compute_dtype=fp32" for name, mib in budgets.items()
    ]
    errors = json.loads((MODEL / "sensitivity.json").read_text())

    def predicted(layers: list[dict[str, Any]]) -> float:
        total = 0.0
        for layer in layers:
            if layer["format"] != "fp32":
                column = errors["formats"].index(layer["format"])
                total += errors["layers"][layer["module"]][column]
        return total

    found: dict[str, float] = {}
    with ServerProcess(tmp_path, models) as server:
        for name, mib in budgets.items():
            model = server.cli_json("models", name, "--layers")["model"]
            unet = next(part for part in model["components"] if part["name"] == "unet")
            assert sum(part["weight_bytes"] for part in model["components"]) <= mib * MIB
            assert sum(layer["weight_bytes"] for layer in unet["layers"]) <= unet["weight_bytes"]
            assert model["format"] == "mixed"
            assert unet["format"] == "mixed" or name == "least"
            found[name] = predicted(unet["layers"])
        table = server.cli("models", "small", "--layers").stdout
        assert "BITS/WEIGHT" in table and "mid_block.resnets.0.conv1" in table
        assert "layers" not in server.cli_json("models", "small")["model"]["components"][0]
    assert found["least"] > found["small"] > found["large"]


def test_packing_within_a_budget_is_refused_with_the_least_that_suffices(tmp_path: Path) -> None:
    refused = run("pack", MODEL, "--budget-mib", "1", "--out", tmp_path / "packed")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    least = re.search(r"the least is ([0-9.]+)", refused.stderr)
    assert least
    budget = str(float(least[1]) + 1)
    done = run("pack", MODEL, "--budget-mib", budget, "--out", tmp_path / "packed", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["components"][0]["format"] == "mixed"
    assert 5 < document["predicted_image_psnr_db"] < 60
    assert run("pack", "--verify", tmp_path / "packed").returncode == 0
