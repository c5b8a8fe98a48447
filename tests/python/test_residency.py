"""Several real models under a memory limit: room is made, images stay the same, bytes add up."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import time
from pathlib import Path

import pytest
from server_process import DEVICE, ROOT, ServerProcess, metric_values

MODEL = ROOT / "deploy" / "models" / "emoji-xl" / "model"
MIB = 1 << 20
# One model of 50 to 56 MiB with its requests at a time.
LIMIT_MIB = 68
MODELS = {"a": "hf8", "b": "hf12", "c": "e2m5r"}
# Largest share by which a prediction may miss what a request really took, in fp32.
MAX_PREDICTION_ERROR = 0.05


def spec(name: str) -> str:
    return f"{name}={MODEL},format={MODELS[name]},compute_dtype=fp32,preload=false"


def by_model(server: ServerProcess, family: str, **wanted: str) -> dict[str, float]:
    """Sums of a family's series by model or owner, of those with these labels."""
    sums: dict[str, float] = {}
    for labels, value in metric_values(server.metrics(), family).items():
        found = dict(labels)
        if all(found.get(label) == text for label, text in wanted.items()):
            key = found.get("model", found.get("owner", ""))
            sums[key] = sums.get(key, 0) + value
    return sums


@pytest.fixture(params=[0, 1024], ids=["from files", "from host memory"])
def limited(tmp_path: Path, request: pytest.FixtureRequest) -> ServerProcess:
    limits = ["--memory-limit-mib", str(LIMIT_MIB), "--host-cache-mib", str(request.param)]
    with ServerProcess(tmp_path, [spec(name) for name in MODELS], *limits) as server:
        yield server


def draw(server: ServerProcess, name: str, file: Path) -> bytes:
    arguments = ["--model", name, "--seed", "3", "--steps", "2", "--no-metadata", "-o", str(file)]
    server.cli_json("generate", "red apple", *arguments)
    return file.read_bytes()


def test_images_are_the_same_after_eviction_and_return(
    limited: ServerProcess, tmp_path: Path
) -> None:
    first = {name: draw(limited, name, tmp_path / f"{name}.png") for name in MODELS}
    assert len(set(first.values())) == len(MODELS), "formats must differ, or this proves nothing"
    second = {name: draw(limited, name, tmp_path / f"{name}-2.png") for name in MODELS}
    assert first == second
    evictions = by_model(limited, "tightfit_model_evictions_total", reason="lru")
    assert sum(evictions.values()) >= len(MODELS)
    assert "evicted for" in limited.log


def test_the_ledger_and_the_allocator_count_the_same_weights(
    limited: ServerProcess, tmp_path: Path
) -> None:
    for name in (*MODELS, "a"):
        draw(limited, name, tmp_path / "x.png")
        reserved = by_model(limited, "tightfit_device_memory_reserved_bytes", purpose="weights")
        held = by_model(limited, "tightfit_model_memory_bytes", purpose="weights")
        assert sum(reserved.values()) == sum(held.values()) > 0
        assert {model for model in held if held[model]} == {name}
        in_use = by_model(limited, "tightfit_device_memory_reserved_bytes", purpose="activations")
        assert in_use == {}
        assert sum(by_model(limited, "tightfit_device_memory_reserved_bytes").values()) <= (
            LIMIT_MIB * MIB
        )


def test_models_of_equal_content_share_it_and_the_sum_is_what_the_device_holds(
    tmp_path: Path,
) -> None:
    models = [f"{name}={MODEL},format={name},preload=false" for name in ("hf8", "hf12")]
    twin = f"twin={MODEL},format=hf8,preload=false"
    with ServerProcess(tmp_path, [*models, twin]) as server:
        alone = server.cli_json("load", "hf8")["model"]["weight_bytes"]
        for name in ("hf12", "twin"):
            server.cli_json("load", name)
        by_name = {model["name"]: model for model in server.cli_json("models")["models"]}
        assert by_name["twin"]["weight_bytes"] == by_name["twin"]["shared_weight_bytes"] == alone
        unets = {
            name: next(c for c in model["components"] if c["name"] == "unet")
            for name, model in by_name.items()
        }
        assert {name: unet["holder_count"] for name, unet in unets.items()} == {
            "hf8": 2,
            "hf12": 1,
            "twin": 2,
        }
        others = alone - unets["hf8"]["weight_bytes"]
        held = by_model(server, "tightfit_model_memory_bytes", purpose="weights")
        reserved = by_model(server, "tightfit_device_memory_reserved_bytes", purpose="weights")
        assert sum(held.values()) == sum(reserved.values())
        # Text encoders and VAE stand once for all three, the twins' UNet once for both.
        unet_bytes = unets["hf8"]["weight_bytes"] + unets["hf12"]["weight_bytes"]
        assert abs(sum(held.values()) - unet_bytes - others) < 4096
        image = draw(server, "hf8", tmp_path / "a.png")
        server.cli_json("unload", "hf8")
        assert draw(server, "twin", tmp_path / "b.png") == image


def damage(file: Path) -> None:
    """Changes a weight, which the file's header does not show."""
    with file.open("r+b") as opened:
        opened.seek(-2, 2)
        last = opened.read(1)
        opened.seek(-2, 2)
        opened.write(bytes([last[0] ^ 1]))


def test_a_model_comes_back_from_host_memory_without_its_files(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(MODEL, copy)
    model = f"a={copy},format=hf8,compute_dtype=fp32,preload=false"
    with ServerProcess(tmp_path, [model], "--host-cache-mib", "1024") as server:
        image = draw(server, "a", tmp_path / "first.png")
        [loaded] = server.cli_json("models")["models"]
        assert loaded["host_cached_bytes"] == 0
        server.cli_json("unload", "a")
        [left] = server.cli_json("models")["models"]
        assert 0.99 * loaded["weight_bytes"] <= left["host_cached_bytes"] <= loaded["weight_bytes"]
        device = server.cli_json("info")["server"]["device"]
        assert device["host_cache_bytes"] == left["host_cached_bytes"]
        # The buffer that weights are unpacked into stays.
        assert device["attributed_bytes"] < 0.1 * loaded["weight_bytes"]
        for file in copy.glob("*.safetensors"):
            damage(file)
        assert draw(server, "a", tmp_path / "second.png") == image
        assert server.cli_json("info")["server"]["device"]["host_cache_bytes"] == 0


def leave_a_third_unpacked(folder: Path) -> None:
    """Puts a value that hf8 cannot hold into every third matrix of a copied model's UNet."""
    file = folder / "unet.safetensors"
    content = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    matrices = [t for t in header.values() if t["dtype"] == "F16" and len(t["shape"]) in (2, 4)]
    for tensor in sorted(matrices, key=lambda tensor: tensor["data_offsets"])[::3]:
        at = start + tensor["data_offsets"][0]
        content[at : at + 2] = struct.pack("<e", 2.0)
    file.write_bytes(content)
    manifest = json.loads((folder / "model.json").read_text())
    manifest["components"]["unet"]["weights"]["sha256"] = hashlib.sha256(content).hexdigest()
    # As a model that was one file: its hash is that file's.
    manifest["source"]["sha256"] = manifest["hash"]
    (folder / "model.json").write_text(json.dumps(manifest))


def reserved_bytes(server: ServerProcess) -> float:
    return sum(by_model(server, "tightfit_device_memory_reserved_bytes").values())


def test_a_model_that_comes_out_larger_than_estimated_makes_room_for_itself(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(MODEL, copy)
    leave_a_third_unpacked(copy)
    models = [
        f"{name}={path},format=hf8,compute_dtype=fp32,share_weights=false,preload=false"
        for name, path in (("idle", MODEL), ("usual", MODEL), ("large", copy))
    ]
    with ServerProcess(tmp_path, models) as server:
        server.cli_json("load", "idle")
        server.cli_json("load", "usual")
        estimate = reserved_bytes(server)
        server.cli_json("unload", "usual")
        server.cli_json("load", "large")
        both = reserved_bytes(server)
    assert both > estimate + 6 * MIB, "it must come out larger, or this proves nothing"
    limit_mib = int((both - 1) // MIB)
    with ServerProcess(tmp_path, models, "--memory-limit-mib", str(limit_mib)) as server:
        server.cli_json("load", "idle")
        assert server.cli_json("load", "large")["model"]["state"] == "resident"
        states = {model["name"]: model["state"] for model in server.cli_json("models")["models"]}
        assert states == {"idle": "unloaded", "usual": "unloaded", "large": "resident"}
        assert "evicted for large" in server.log
        assert reserved_bytes(server) <= limit_mib * MIB


def anonymous_bytes(server: ServerProcess) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(
        int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon:")
    )


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU's models leave for host memory")
def test_on_a_cpu_unload_gives_the_memory_back_to_the_system(tmp_path: Path) -> None:
    model = f"a={MODEL},format=fp16,compute_dtype=fp32,preload=false"
    with ServerProcess(tmp_path, [model]) as server:
        # The first load brings graphs and buffers that stay.
        for round_number in range(2):
            draw(server, "a", tmp_path / "x.png")
            [loaded] = server.cli_json("models")["models"]
            before = anonymous_bytes(server)
            server.cli_json("unload", "a")
            assert server.cli_json("info")["server"]["device"]["host_cache_bytes"] == 0
            [left] = server.cli_json("models")["models"]
            assert left["host_cached_bytes"] == 0
            until = time.monotonic() + 20
            wanted = 0.9 * loaded["weight_bytes"]
            while before - anonymous_bytes(server) < wanted and time.monotonic() < until:
                time.sleep(0.1)
            freed = before - anonymous_bytes(server)
            print(
                f"round {round_number}: {freed / MIB:.1f} MiB came back of "
                f"{loaded['weight_bytes'] / MIB:.1f} MiB of weights"
            )
            assert freed >= wanted


def test_without_a_host_cache_a_model_is_read_and_checked_again(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(MODEL, copy)
    model = f"a={copy},format=hf8,preload=false"
    with ServerProcess(tmp_path, [model], "--host-cache-mib", "0") as server:
        draw(server, "a", tmp_path / "first.png")
        server.cli_json("unload", "a")
        assert server.cli_json("info")["server"]["device"]["host_cache_bytes"] == 0
        damage(copy / "unet.safetensors")
        refused = server.cli("load", "a")
        assert refused.returncode == 1 and "CHECKSUM_MISMATCH" in refused.stderr


def test_the_host_cache_keeps_what_left_last_within_its_limit(tmp_path: Path) -> None:
    limit_mib = 40
    models = [spec(name) for name in MODELS]
    with ServerProcess(tmp_path, models, "--host-cache-mib", str(limit_mib)) as server:
        for name in MODELS:
            server.cli_json("load", name)
        for name in MODELS:
            server.cli_json("unload", name)
            held = server.cli_json("info")["server"]["device"]["host_cache_bytes"]
            assert held <= limit_mib * MIB
        cached = {m["name"]: m["host_cached_bytes"] for m in server.cli_json("models")["models"]}
        last = list(MODELS)[-1]
        assert cached[last] == max(cached.values()) > 0


def test_models_that_do_not_share_hold_everything_themselves(tmp_path: Path) -> None:
    models = [f"{name}={MODEL},format=hf8,preload=false,share_weights=false" for name in "ab"]
    with ServerProcess(tmp_path, models) as server:
        for name in "ab":
            server.cli_json("load", name)
        states = server.cli_json("models")["models"]
        assert [model["shared_weight_bytes"] for model in states] == [0, 0]
        held = by_model(server, "tightfit_model_memory_bytes", purpose="weights")
        assert held["a"] == held["b"] == states[0]["weight_bytes"]


def test_what_can_never_fit_is_refused_and_the_next_request_served(
    limited: ServerProcess, tmp_path: Path
) -> None:
    draw(limited, "a", tmp_path / "x.png")
    huge = ["--model", "a", "--width", "1024", "--height", "1024", "--steps", "1"]
    done = limited.cli("generate", "x", *huge, "-o", str(tmp_path / "y.png"))
    assert done.returncode == 1
    assert "EXCEEDS_DEVICE_MEMORY" in done.stderr
    estimate = limited.cli_json("generate", "x", *huge, "--estimate")["estimate"]
    assert estimate["admission"] == "never"
    assert estimate["request_bytes"] > LIMIT_MIB * MIB
    draw(limited, "a", tmp_path / "z.png")


@pytest.mark.parametrize("weight_format", ["fp16", "hf8"])
def test_predictions_are_upper_bounds_within_five_percent(
    tmp_path: Path, weight_format: str
) -> None:
    model = f"a={MODEL},format={weight_format},compute_dtype=fp32"
    with ServerProcess(tmp_path, [model]) as server:
        before = 0.0
        for side_px, count in ((64, 1), (64, 4), (96, 2), (160, 1), (160, 3), (256, 2), (384, 1)):
            size = ["--width", str(side_px), "--height", str(side_px), "--count", str(count)]
            server.cli_json("generate", "x", *size, "--steps", "2", "-o", str(tmp_path / "x.png"))
            sums = by_model(server, "tightfit_memory_prediction_error_ratio_sum")
            error = sums["a"] - before
            before = sums["a"]
            assert 0 <= error <= MAX_PREDICTION_ERROR, (side_px, count, error)


def test_load_unload_and_update_from_the_command_line(limited: ServerProcess) -> None:
    assert limited.cli_json("load", "a")["model"]["state"] == "resident"
    assert limited.cli_json("update", "a", "--pinned", "true")["model"]["pinned"] is True
    refused = limited.cli("unload", "a")
    assert refused.returncode == 1 and "MODEL_PINNED" in refused.stderr
    assert limited.cli_json("unload", "a", "--force")["model"]["state"] == "unloaded"
    assert limited.cli("update", "a").returncode == 2


def test_nothing_is_loaded_beside_a_pinned_model_that_leaves_no_room(tmp_path: Path) -> None:
    models = [f"{spec('b')},pinned=true", spec("a").replace("fp32", "bf16")]
    with ServerProcess(tmp_path, models, "--memory-limit-mib", str(LIMIT_MIB)) as server:
        server.cli_json("load", "b")
        refused = server.cli("load", "a")
        assert refused.returncode == 1 and "EXCEEDS_DEVICE_MEMORY" in refused.stderr
        server.cli_json("update", "b", "--pinned", "false")
        server.cli_json("load", "a")
